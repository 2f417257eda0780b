//! What accounting knows: the records of jobs and steps that `sacct` reads, and the tables behind `sacctmgr show`.
//!
//! An instance has one cluster (itself), one user (its owner) and the accounts that its jobs name. What is sent is made
//! from the same records of jobs that `flurm jobs` shows; nothing is kept for accounting only.

mod job;
mod select;
mod step;
mod tables;
mod tres;

pub use job::{Entry, Site, record};
pub use select::{Selection, gather};
pub use step::{Step, numbered};
pub use tables::{Tables, accounts, assocs, clusters, config, qos, stats, users};
pub use tres::{Tres, tres};
