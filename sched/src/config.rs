//! What a site says about scheduling: the policy, how much waiting counts, and queues. What one job may ask for is
//! checked where jobs come in, and what a queue adds to them is added there.

use crate::Policy;
use flurm_jobspec::Placement;
use flurm_resource_graph::SlowDowns;
use std::collections::BTreeMap;

/// How to schedule.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// The order in which pending jobs are tried.
    pub policy: Policy,
    /// Where jobs go that do not say.
    pub placement: Placement,
    /// Seconds of waiting that count as much as one step of priority. If it is not set, age decides only among
    /// jobs of equal priority.
    pub age_s_per_priority: Option<u32>,
    /// How much willing jobs slow each other down that share sockets.
    pub slowdowns: SlowDowns,
    /// Queues by name. A job of one does not wait for the jobs of another, except for resources.
    pub queues: BTreeMap<String, QueueConfig>,
}

impl Config {
    /// Lanes are the queues by name, in order, and behind them one for jobs without a queue.
    pub(crate) fn lanes(&self) -> usize {
        self.queues.len() + 1
    }

    pub(crate) fn lane_of(&self, queue: Option<&str>) -> usize {
        let known = queue.and_then(|queue| self.queues.keys().position(|name| name == queue));
        known.unwrap_or(self.queues.len())
    }

    pub(crate) fn queue(&self, lane: usize) -> Option<(&str, &QueueConfig)> {
        self.queues.iter().nth(lane).map(|(name, queue)| (name.as_str(), queue))
    }

    pub(crate) fn is_stopped(&self, lane: usize) -> bool {
        self.queue(lane).is_some_and(|(_, queue)| queue.stopped)
    }

    /// What the queue adds to the priority of its jobs.
    pub(crate) fn priority_of(&self, lane: usize) -> i64 {
        self.queue(lane).map_or(0, |(_, queue)| queue.priority)
    }
}

/// A queue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueConfig {
    /// No job of it starts.
    pub stopped: bool,
    /// What its jobs may have together.
    pub running: Running,
    /// Added to the priority of each of its jobs.
    pub priority: i64,
}

/// The most that the jobs of a queue that run may have together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Running {
    /// Jobs at once.
    pub jobs_max: Option<u32>,
    /// Cores at once.
    pub cores_max: Option<u32>,
}
