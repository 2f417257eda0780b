//! The nouns of flurm: what every other floor talks about.
//!
//! Plain values with their text forms. Nothing here does I/O, reads a clock or draws a random number, and
//! nothing here decides: a [`R`] can be compared and cut, but who gets it is the scheduler's matter.
//!
//! Every reader of outside text answers with a one-line error that names the position and the broken rule,
//! and stops at a named limit before a short text can grow into a large value.

pub mod by_node;
mod constraint;
mod counted;
mod environment;
mod eventlog;
mod exit;
mod fsd;
mod glob;
mod hostlist;
mod idset;
mod job_id;
mod r;
mod rank;
mod states;
mod syntax;
mod taskmap;
mod time;
mod urgency;

pub use constraint::{Constraint, ConstraintError, Property};
pub use counted::counted;
pub use environment::Environment;
pub use eventlog::{Entry, EntryError};
pub use exit::{exit_code, job_status, signal_of};
pub use fsd::Fsd;
pub use glob::matches;
pub use hostlist::Hostlist;
pub use idset::Idset;
pub use job_id::{Encoding, FluidGenerator, JobId};
pub use r::{
    Lack, Part, PartVertex, R, RError, RNode, Scheduling, Share, Socket, Spread, Texts, Topology, Want,
};
pub use rank::Rank;
pub use states::{JobResult, JobState, Status};
pub use syntax::SyntaxError;
pub use taskmap::{Block, TaskMap};
pub use time::{Now, Timestamp};
pub use urgency::Urgency;

/// Limits that keep a short text from growing into a large value.
pub mod limits {
    pub use crate::constraint::{MAX_DEPTH as CONSTRAINT_MAX_DEPTH, MAX_TERMS as CONSTRAINT_MAX_TERMS};
    pub use crate::eventlog::MAX_LINE as EVENTLOG_MAX_LINE;
    pub use crate::hostlist::MAX_HOSTS;
    pub use crate::idset::MAX_LEN as IDSET_MAX_LEN;
    pub use crate::r::MAX_SOCKETS as R_MAX_SOCKETS;
    pub use crate::taskmap::MAX_TASKS as TASKMAP_MAX_TASKS;
}
