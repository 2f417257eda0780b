//! The environment a job's tasks are given.

use std::collections::BTreeMap;

/// Names to values; `None` unsets a name that the shell would otherwise pass on.
///
/// Usually shared as `Arc<Environment>`: thousands of jobs submitted together carry the same one.
pub type Environment = BTreeMap<String, Option<String>>;
