//! From what the launcher says to one plain value: rank, size, hosts, addresses, key.

pub mod card;
pub mod mistake;
pub mod net;
pub mod pmi;
pub mod pmi_wire;
pub mod slurm;

pub use mistake::{Mistake, NoBoot};

use std::collections::BTreeMap;

/// The process's environment, as a value.
pub type Vars = BTreeMap<String, String>;
