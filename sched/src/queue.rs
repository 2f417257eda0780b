//! The pending jobs in the order they are served: higher priority, earlier submission, lower id.

use flurm_jobspec::Jobspec;
use flurm_types::{JobId, Timestamp};
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

/// A job that waits for resources.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) id: JobId,
    pub(crate) jobspec: Arc<Jobspec>,
    pub(crate) priority: i64,
    pub(crate) t_submit: Timestamp,
    /// Has its owner been told why it waits?
    pub(crate) annotated: bool,
}

type Key = (Reverse<i64>, Timestamp, JobId);

impl Pending {
    fn key(&self) -> Key {
        (Reverse(self.priority), self.t_submit, self.id)
    }
}

/// Every step is a logarithm of the number of jobs, except counting who is ahead.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    jobs: BTreeMap<Key, Pending>,
    keys: BTreeMap<JobId, Key>,
}

impl Queue {
    /// Adds a job; one that was here already is replaced.
    pub(crate) fn insert(&mut self, job: Pending) {
        self.remove(job.id);
        self.keys.insert(job.id, job.key());
        self.jobs.insert(job.key(), job);
    }

    pub(crate) fn remove(&mut self, id: JobId) -> Option<Pending> {
        self.keys.remove(&id).and_then(|key| self.jobs.remove(&key))
    }

    pub(crate) fn prioritize(&mut self, id: JobId, priority: i64) {
        if let Some(job) = self.remove(id) {
            self.insert(Pending { priority, ..job });
        }
    }

    pub(crate) fn annotated(&mut self, id: JobId) {
        if let Some(job) = self.keys.get(&id).and_then(|key| self.jobs.get_mut(key)) {
            job.annotated = true;
        }
    }

    pub(crate) fn head(&self) -> Option<&Pending> {
        self.jobs.first_key_value().map(|(_, job)| job)
    }

    pub(crate) fn get(&self, id: JobId) -> Option<&Pending> {
        self.keys.get(&id).and_then(|key| self.jobs.get(key))
    }

    /// How many jobs come before this one; counts them one by one.
    pub(crate) fn ahead(&self, id: JobId) -> usize {
        self.keys.get(&id).map_or(0, |key| self.jobs.range(..key).count())
    }
}
