//! What an instance has, as far as a request is judged by it before there is a job.

use flurm_types::{Constraint, JobId};
use std::collections::{BTreeMap, BTreeSet};

/// The instance as last heard of.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// Name in the private `slurm.conf`.
    pub cluster: String,
    pub nodes: Vec<SiteNode>,
    /// Partitions by name, with our queue behind each; none for the partition of an instance without queues.
    pub partitions: BTreeMap<String, Option<String>>,
    /// Where jobs go that name none; empty if that is nowhere.
    pub default_partition: String,
    /// Memory is shared out with cores (it is in the resource graph); else it is only watched.
    pub memory: bool,
    pub owner: Owner,
}

/// A node, which is a broker's rank.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SiteNode {
    pub rank: u32,
    /// In `slurm.conf`.
    pub name: String,
    pub host: String,
    pub cores: u32,
    pub sockets: u32,
    pub gpus: u32,
    /// MiB, if anybody has said it.
    pub memory: Option<u64>,
    pub properties: BTreeSet<String>,
}

/// Whose instance it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
    pub name: String,
    pub home: String,
    pub shell: String,
}

/// A job that another one may wait for, found by its number of Slurm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    pub id: JobId,
    /// Its index, if it is one of an array.
    pub index: Option<u32>,
}

/// Jobs by number. The number of an array's first job means all of the array.
pub type Find<'a> = &'a dyn Fn(u32) -> Vec<Target>;

impl SiteNode {
    pub fn has(&self, property: &str) -> bool {
        self.properties.contains(property)
    }

    pub fn fits(&self, constraint: &Constraint) -> bool {
        constraint.matches(&self.host, self.rank, &|name| self.has(name))
    }
}
