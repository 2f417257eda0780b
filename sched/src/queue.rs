//! The pending jobs in the order they are served: higher priority, the shortest if the policy says so, earlier
//! submission, lower id.
//!
//! Each lane has its own order; together they are one. For policies that let jobs pass others, there is a second way
//! through the queue: the jobs that might fit as far as is known, in the same order ([`Queue::next_untried`]). It
//! leaves out whole kinds of jobs, so that what it costs does not grow with the number of jobs that wait in vain.

use crate::shapes::{self, Length, Shape, Shapes};
use flurm_jobspec::Jobspec;
use flurm_types::{JobId, Timestamp};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    ops::Bound,
    sync::Arc,
};

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
    pub(crate) shape: Shape,
    pub(crate) length: Length,
    /// Cores at least.
    cores: u64,
    /// What its owner has been told: that it waits, and until when.
    pub(crate) told: Option<Option<Timestamp>>,
    /// The inventory that it was found to fit into, and until when that holds; 0 is none.
    pub(crate) possible: (u64, Timestamp),
}

/// What it counts to come to the next job.
const POP_VISITS: usize = 8;

/// The smaller, the earlier.
pub(crate) type Key = (Reverse<i128>, u64, Timestamp, JobId);

/// Jobs of a lane and a shape that stay about equally long. First their cores, of which too many may be asked for now.
type Kind = (u64, usize, Shape, u16);

impl Order {
    fn key(self, id: JobId, length: Length, priority: i64, t_submit: Timestamp) -> Key {
        // All jobs grow old equally fast, so that what age adds can be said once and for all.
        let rank = self.age_us.map_or(i128::from(priority), |us| {
            i128::from(priority) * i128::from(us) - i128::from(t_submit.0)
        });
        (Reverse(rank), if self.shortest { length } else { 0 }, t_submit, id)
    }
}

/// Every step is a logarithm of the number of jobs, except counting who is ahead.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    order: Order,
    lanes: Vec<BTreeMap<Key, Pending>>,
    places: BTreeMap<JobId, (usize, Key)>,
    shapes: Shapes,
    kinds: BTreeMap<Kind, BTreeMap<Key, Length>>,
    /// Jobs with a duration, the longest last.
    lengths: BTreeSet<(Length, JobId)>,
    /// From each kind the next that was not tried in this epoch.
    untried: BinaryHeap<Reverse<(Key, Kind)>>,
    epoch: u64,
    /// Kinds of jobs that found room and could not have it: they are tried again when somebody has started.
    put_off: BTreeSet<Kind>,
    /// Counts those who start and the epochs: what would delay somebody holds until then.
    turn: u64,
}

impl Queue {
    pub(crate) fn new(order: Order, lanes: usize) -> Queue {
        let lanes = (0..lanes).map(|_| BTreeMap::new()).collect();
        Queue { order, lanes, ..Queue::default() }
    }

    /// Adds a job that stays so many seconds, or longer than all others if these are zero, and asks for so many cores at
    /// least; one that was here already is replaced. Returns its place.
    pub(crate) fn insert(&mut self, wish: Wish, duration: f64, cores: u64) -> Key {
        self.remove(wish.id);
        let Wish { id, jobspec, priority, t_submit, lane } = wish;
        let length = shapes::length(duration);
        let key = self.order.key(id, length, priority, t_submit);
        let shape = self.shapes.add(&jobspec, id);
        let (told, possible) = (None, (0, Timestamp::ZERO));
        self.put(Pending { id, jobspec, t_submit, lane, key, shape, length, cores, told, possible });
        key
    }

    fn put(&mut self, job: Pending) {
        let (kind, key) = (job.kind(), job.key);
        self.places.insert(job.id, (job.lane, key));
        self.kinds.entry(kind).or_default().insert(key, job.length);
        if job.length < Length::MAX {
            self.lengths.insert((job.length, job.id));
        }
        if self.shapes.fails_from(job.shape, self.epoch).is_none_or(|from| job.length < from) {
            self.untried.push(Reverse((key, kind)));
        }
        self.lanes[job.lane].insert(key, job);
    }

    fn take(&mut self, id: JobId) -> Option<Pending> {
        let (lane, key) = self.places.remove(&id)?;
        let job = self.lanes[lane].remove(&key)?;
        self.lengths.remove(&(job.length, id));
        let kind = job.kind();
        if let Some(jobs) = self.kinds.get_mut(&kind) {
            jobs.remove(&key);
            if jobs.is_empty() {
                self.kinds.remove(&kind);
            }
        }
        Some(job)
    }

    pub(crate) fn remove(&mut self, id: JobId) -> Option<Pending> {
        let job = self.take(id)?;
        self.shapes.remove(job.shape);
        Some(job)
    }

    /// Gives a job another priority. Returns its new place.
    pub(crate) fn prioritize(&mut self, id: JobId, priority: i64) -> Option<Key> {
        let job = self.take(id)?;
        let key = self.order.key(id, job.length, priority, job.t_submit);
        self.put(Pending { key, ..job });
        Some(key)
    }

    fn get_mut(&mut self, id: JobId) -> Option<&mut Pending> {
        let (lane, key) = self.places.get(&id)?;
        self.lanes[*lane].get_mut(key)
    }

    pub(crate) fn set_possible(&mut self, id: JobId, inventory: u64, until: Timestamp) {
        if let Some(job) = self.get_mut(id) {
            job.possible = (inventory, until);
        }
    }

    pub(crate) fn set_told(&mut self, id: JobId, start: Option<Timestamp>) {
        if let Some(job) = self.get_mut(id) {
            job.told = Some(start);
        }
    }

    pub(crate) fn get(&self, id: JobId) -> Option<&Pending> {
        let (lane, key) = self.places.get(&id)?;
        self.lanes[*lane].get(key)
    }

    /// The job of a lane behind this place, or the first one.
    pub(crate) fn after_in(&self, lane: usize, key: Option<Key>) -> Option<&Pending> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.lanes[lane].range((from, Bound::Unbounded)).next().map(|(_, job)| job)
    }

    /// The jobs of the same lane that come before this one, from the first.
    pub(crate) fn ahead(&self, id: JobId) -> impl Iterator<Item = &Pending> {
        let place = self.places.get(&id).copied();
        place.into_iter().flat_map(|(lane, key)| self.lanes[lane].range(..key)).map(|(_, job)| job)
    }

    /// The job that stays longest, of those that say how long.
    pub(crate) fn longest(&self) -> Option<(Length, JobId)> {
        self.lengths.last().copied()
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// There was nothing for jobs like this one that stay so long or longer.
    pub(crate) fn set_failed(&mut self, id: JobId, from: Length) {
        if let Some(shape) = self.get(id).map(|job| job.shape) {
            self.shapes.set_failed(shape, self.epoch, from);
        }
    }

    /// A job found room, and would delay somebody there, as would those like it that stay as long.
    pub(crate) fn set_delay(&mut self, id: JobId) {
        let Some((shape, length)) = self.get(id).map(|job| (job.shape, job.length)) else { return };
        self.shapes.set_delay(shape, self.turn, length);
        self.put_off(id);
    }

    /// A job found room and may not have it until somebody has started.
    pub(crate) fn put_off(&mut self, id: JobId) {
        let kind = self.get(id).map(Pending::kind);
        self.put_off.extend(kind);
    }

    /// Somebody has started, after which others may find room elsewhere than before.
    pub(crate) fn started(&mut self) {
        self.turn += 1;
        for kind in std::mem::take(&mut self.put_off) {
            let first = self.kinds.get(&kind).and_then(|jobs| jobs.keys().next());
            self.untried.extend(first.map(|first| Reverse((*first, kind))));
        }
    }

    /// From an epoch on everybody might fit again who wants no more cores than are free at its beginning: in an epoch
    /// nothing is given back.
    pub(crate) fn begin_epoch(&mut self, epoch: u64, free: u64) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.turn += 1;
            self.put_off.clear();
            let kinds = self.kinds.range(..(free.saturating_add(1), 0, 0, 0));
            let firsts = kinds.filter_map(|(kind, jobs)| Some((*jobs.keys().next()?, *kind)));
            self.untried = firsts.map(Reverse).collect();
        }
    }

    /// Nobody goes through them.
    pub(crate) fn forget_untried(&mut self) {
        self.epoch = 0;
        self.untried.clear();
    }

    /// The next job that might fit with so many cores free, if it is before this place. Jobs of lanes that are closed
    /// are left out until the next epoch, those of lanes that may not have so many cores more until somebody has started.
    /// Counts those that it passes over.
    pub(crate) fn next_untried(
        &mut self,
        free: u64,
        before: Option<Key>,
        is_closed: impl Fn(usize) -> bool,
        is_over: impl Fn(usize, u64) -> bool,
        visited: &mut usize,
    ) -> Option<JobId> {
        loop {
            let Reverse((key, kind)) = *self.untried.peek()?;
            if before.is_some_and(|before| key >= before) {
                return None;
            }
            self.untried.pop();
            *visited += POP_VISITS;
            let (cores, lane, shape, class) = kind;
            if cores > free || is_closed(lane) {
                continue;
            }
            let Some(jobs) = self.kinds.get(&kind) else { continue };
            if is_over(lane, cores) {
                self.put_off.insert(kind);
                continue;
            }
            let fails = self.shapes.fails_from(shape, self.epoch);
            let delays = self.shapes.delays_from(shape, self.turn);
            if delays.is_some() {
                self.put_off.insert(kind);
            }
            let fails = fails.into_iter().chain(delays).min();
            if fails.is_some_and(|from| from <= shapes::least(class)) {
                continue;
            }
            let might = |(_, length): &(&Key, &Length)| fails.is_none_or(|from| **length < from);
            let mut passed = 0;
            let mut here = jobs.range(key..).inspect(|_| passed += 1).filter(might);
            let found = here.next().map(|(found, _)| *found);
            let next = if found == Some(key) { here.next().map(|(next, _)| *next) } else { found };
            *visited += passed / 8;
            if let Some(next) = next {
                self.untried.push(Reverse((next, kind)));
            }
            if found == Some(key) {
                return Some(key.3);
            }
        }
    }
}

impl Pending {
    fn kind(&self) -> Kind {
        (self.cores, self.lane, self.shape, shapes::class(self.length))
    }
}
