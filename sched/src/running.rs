//! What the jobs of each lane have that run, for lanes that may have only so much at once.

use crate::Running;
use flurm_types::{JobId, counted};
use std::collections::BTreeMap;

/// Jobs and their cores.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) jobs: u32,
    pub(crate) cores: u64,
}

impl Load {
    /// One job with so many cores.
    pub(crate) fn of(cores: usize) -> Load {
        Load { jobs: 1, cores: cores as u64 }
    }

    pub(crate) fn and(self, other: Load) -> Load {
        Load { jobs: self.jobs + other.jobs, cores: self.cores + other.cores }
    }

    pub(crate) fn less(self, other: Load) -> Load {
        Load { jobs: self.jobs - other.jobs, cores: self.cores - other.cores }
    }
}

/// Who runs, and in which lane.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    lanes: BTreeMap<usize, Load>,
    jobs: BTreeMap<JobId, (usize, u64)>,
}

impl Loads {
    /// A job of this lane has so many cores from now on.
    pub(crate) fn set(&mut self, id: JobId, lane: usize, cores: usize) {
        self.remove(id);
        let load = self.lanes.entry(lane).or_default();
        *load = load.and(Load::of(cores));
        self.jobs.insert(id, (lane, cores as u64));
    }

    /// A job has so many cores left; without any it has gone.
    pub(crate) fn shrink(&mut self, id: JobId, cores: usize) {
        if let Some((lane, _)) = self.jobs.get(&id).copied() {
            if cores > 0 { self.set(id, lane, cores) } else { self.remove(id) }
        }
    }

    fn remove(&mut self, id: JobId) {
        if let Some((lane, cores)) = self.jobs.remove(&id)
            && let Some(load) = self.lanes.get_mut(&lane)
        {
            *load = load.less(Load { jobs: 1, cores });
        }
    }

    pub(crate) fn of(&self, lane: usize) -> Load {
        self.lanes.get(&lane).copied().unwrap_or_default()
    }
}

impl Running {
    /// May a queue with such limits have so much at once?
    pub(crate) fn allows(&self, load: Load) -> bool {
        self.jobs_max.is_none_or(|max| load.jobs <= max)
            && self.cores_max.is_none_or(|max| load.cores <= u64::from(max))
    }

    /// Why a queue with such limits may not have so much at once; none if it may.
    pub(crate) fn excess(&self, queue: &str, load: Load) -> Option<String> {
        if let Some(max) = self.jobs_max.filter(|max| load.jobs > *max) {
            return Some(format!("queue {queue} has at most {} at once", counted(max.into(), "running job")));
        }
        let max = self.cores_max.filter(|max| load.cores > u64::from(*max))?;
        Some(format!("queue {queue} has at most {} at once", counted(max.into(), "core")))
    }
}
