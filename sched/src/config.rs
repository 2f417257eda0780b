//! What a site says about scheduling: the policy, how much waiting counts, and queues with their limits.

use crate::Policy;
use flurm_jobspec::{Amendment, Jobspec, Placement};
use flurm_resource_graph::SlowDowns;
use std::collections::BTreeMap;
use std::sync::Arc;

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

    /// A job as its queue takes it: with a placement if it does not say.
    pub(crate) fn amended(&self, lane: usize, jobspec: Arc<Jobspec>) -> Arc<Jobspec> {
        let attributes = jobspec.attributes();
        let placement = self.queue(lane).and_then(|(_, queue)| queue.placement);
        if placement.is_none() || attributes.placement.is_some() || attributes.cosched.is_some() {
            return jobspec;
        }
        Arc::new(Jobspec::clone(&jobspec).amended(Amendment { placement, ..Amendment::default() }))
    }
}

/// A queue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueConfig {
    /// No job of it starts.
    pub stopped: bool,
    /// What one job may ask for.
    pub limits: Limits,
    /// What its jobs may have together.
    pub running: Running,
    /// Added to the priority of each of its jobs.
    pub priority: i64,
    /// Where its jobs go that do not say.
    pub placement: Option<Placement>,
}

/// The most that the jobs of a queue that run may have together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Running {
    /// Jobs at once.
    pub jobs_max: Option<u32>,
    /// Cores at once.
    pub cores_max: Option<u32>,
}

/// The most that one job may ask for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Nodes, for jobs that give their number.
    pub nodes_max: Option<u32>,
    /// Cores in all.
    pub cores_max: Option<u32>,
    /// Seconds; a job without a duration asks for more than any limit.
    pub duration_s_max: Option<f64>,
}

impl Limits {
    /// Is a job within the limits?
    ///
    /// # Errors
    /// The first limit that it exceeds, for its owner.
    pub fn check(&self, queue: &str, jobspec: &Jobspec) -> Result<(), String> {
        let duration = jobspec.attributes().duration;
        if let Some(max) = self.duration_s_max
            && (duration == 0.0 || duration > max)
        {
            let asked = if duration == 0.0 { "no limit".to_owned() } else { format!("{duration} s") };
            return Err(format!("jobs in queue {queue} run at most {max} s, the job asks for {asked}"));
        }
        let Some(request) = jobspec.request() else { return Ok(()) };
        let cores = request.slots.saturating_mul(request.cores_per_slot);
        for (what, asked, max) in
            [("nodes", request.nodes.unwrap_or(0), self.nodes_max), ("cores", cores, self.cores_max)]
        {
            if let Some(max) = max.filter(|max| asked > *max) {
                return Err(format!(
                    "jobs in queue {queue} have at most {max} {what}, the job asks for {asked}"
                ));
            }
        }
        Ok(())
    }
}
