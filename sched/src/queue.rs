//! The pending jobs in the order they are served: higher priority, the shortest if the policy says so, earlier
//! submission, lower id.

use flurm_jobspec::Jobspec;
use flurm_types::{JobId, Timestamp};
use std::{cmp::Reverse, collections::BTreeMap, ops::Bound, sync::Arc};

/// What decides who is ahead of whom.
#[derive(Debug, Copy, Clone, Default)]
pub(crate) struct Order {
    /// Microseconds of waiting that count as one step of priority.
    pub(crate) age_us: Option<i64>,
    /// Among equal priorities, the shortest first.
    pub(crate) shortest: bool,
}

/// A job that wants resources, as it comes.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) id: JobId,
    pub(crate) jobspec: Arc<Jobspec>,
    pub(crate) priority: i64,
    pub(crate) t_submit: Timestamp,
    /// Which of the queues with names it is in.
    pub(crate) lane: usize,
}

/// A job that waits for resources.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) id: JobId,
    pub(crate) jobspec: Arc<Jobspec>,
    pub(crate) t_submit: Timestamp,
    pub(crate) lane: usize,
    pub(crate) key: Key,
    /// What its owner has been told: that it waits, and until when.
    pub(crate) told: Option<Option<Timestamp>>,
    /// The epoch in which it was tried in vain; 0 is none.
    pub(crate) tried: u64,
    /// The inventory that it was found to fit into; 0 is none.
    pub(crate) possible: u64,
}

/// The smaller, the earlier.
pub(crate) type Key = (Reverse<i128>, u64, Timestamp, JobId);

impl Order {
    fn key(self, id: JobId, jobspec: &Jobspec, priority: i64, t_submit: Timestamp) -> Key {
        // All jobs grow old equally fast, so that what age adds can be said once and for all.
        let rank = self.age_us.map_or(i128::from(priority), |us| {
            i128::from(priority) * i128::from(us) - i128::from(t_submit.0)
        });
        let duration = jobspec.attributes().duration;
        let length = match (self.shortest, duration > 0.0) {
            (true, true) => (duration * 1e6) as u64,
            (true, false) => u64::MAX,
            (false, _) => 0,
        };
        (Reverse(rank), length, t_submit, id)
    }
}

/// Every step is a logarithm of the number of jobs, except counting who is ahead.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    order: Order,
    jobs: BTreeMap<Key, Pending>,
    keys: BTreeMap<JobId, Key>,
}

impl Queue {
    pub(crate) fn new(order: Order) -> Queue {
        Queue { order, ..Queue::default() }
    }

    /// Adds a job; one that was here already is replaced. Returns its place.
    pub(crate) fn insert(&mut self, wish: Wish) -> Key {
        self.remove(wish.id);
        let Wish { id, jobspec, priority, t_submit, lane } = wish;
        let key = self.order.key(id, &jobspec, priority, t_submit);
        self.put(Pending { id, jobspec, t_submit, lane, key, told: None, tried: 0, possible: 0 });
        key
    }

    fn put(&mut self, job: Pending) {
        self.keys.insert(job.id, job.key);
        self.jobs.insert(job.key, job);
    }

    pub(crate) fn remove(&mut self, id: JobId) -> Option<Pending> {
        self.keys.remove(&id).and_then(|key| self.jobs.remove(&key))
    }

    /// Gives a job another priority. Returns its place before and now.
    pub(crate) fn prioritize(&mut self, id: JobId, priority: i64) -> Option<(Key, Key)> {
        let job = self.remove(id)?;
        let (before, key) = (job.key, self.order.key(id, &job.jobspec, priority, job.t_submit));
        self.put(Pending { key, ..job });
        Some((before, key))
    }

    fn get_mut(&mut self, id: JobId) -> Option<&mut Pending> {
        self.keys.get(&id).and_then(|key| self.jobs.get_mut(key))
    }

    /// Remembers that there was nothing for it.
    pub(crate) fn set_tried(&mut self, id: JobId, epoch: u64) {
        if let Some(job) = self.get_mut(id) {
            job.tried = epoch;
        }
    }

    pub(crate) fn set_possible(&mut self, id: JobId, inventory: u64) {
        if let Some(job) = self.get_mut(id) {
            job.possible = inventory;
        }
    }

    pub(crate) fn set_told(&mut self, id: JobId, start: Option<Timestamp>) {
        if let Some(job) = self.get_mut(id) {
            job.told = Some(start);
        }
    }

    /// The job behind this place, or the first one.
    pub(crate) fn after(&self, key: Option<Key>) -> Option<&Pending> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.jobs.range((from, Bound::Unbounded)).next().map(|(_, job)| job)
    }

    pub(crate) fn get(&self, id: JobId) -> Option<&Pending> {
        self.keys.get(&id).and_then(|key| self.jobs.get(key))
    }

    /// How many jobs of the same lane come before this one, and which is the first; counts them one by one.
    pub(crate) fn ahead(&self, id: JobId) -> (usize, Option<JobId>) {
        let Some(job) = self.get(id) else { return (0, None) };
        let mut ahead = self.jobs.range(..job.key).filter(|(_, other)| other.lane == job.lane);
        let first = ahead.next().map(|(_, job)| job.id);
        (ahead.count() + usize::from(first.is_some()), first)
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }
}
