//! The first job of each lane that has to wait, for policies that serve each lane from its head.

use crate::group::Wants;
use crate::policy::easy::Start;
use crate::queue::{Key, Queue};
use crate::running::Load;
use flurm_resource_graph::Seeking;
use flurm_types::JobId;
use std::collections::BTreeMap;

/// A job that was tried in vain and holds up its lane.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) id: JobId,
    pub(crate) wants: Wants,
    pub(crate) key: Key,
    /// May jobs of its lane pass it, and under which condition? Nobody does if this is not known.
    pub(crate) start: Option<Start>,
}

/// What is known of heads in an epoch.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    epoch: u64,
    pub(crate) by_lane: BTreeMap<usize, Head>,
    /// Up to here, jobs of a lane are no heads: they wait for nodes to come back, whoever else runs.
    passed: BTreeMap<usize, Key>,
    /// Whose start was being looked for when a cycle was spent, and how far.
    pub(crate) sought: Option<(JobId, Seeking)>,
}

impl Heads {
    /// What was found in another epoch is forgotten.
    pub(crate) fn begin_epoch(&mut self, epoch: u64) {
        if self.epoch != epoch {
            *self = Heads { epoch, ..Heads::default() };
        }
    }

    /// Is this job one?
    pub(crate) fn has(&self, id: JobId) -> bool {
        self.by_lane.values().any(|head| head.id == id)
    }

    /// What a lane will have of its head, as far as that has a start.
    pub(crate) fn load_ahead(&self, lane: usize) -> Load {
        let start = self.by_lane.get(&lane).and_then(|head| head.start.as_ref());
        start.map_or(Load::default(), |start| Load::of(start.r.ncores()))
    }

    /// Would a job of this lane at this place be ahead of what is known? Heads give way to those before them, whatever
    /// their lane.
    pub(crate) fn is_ahead(&self, lane: usize, key: Key) -> bool {
        self.by_lane.values().any(|head| key < head.key)
            || self.passed.get(&lane).is_some_and(|passed| key <= *passed)
    }

    /// This job of a lane does not hold up the ones behind it.
    pub(crate) fn pass(&mut self, lane: usize, key: Key) {
        self.passed.insert(lane, key);
    }

    /// The first job of a lane without a head, of the lanes that are open.
    pub(crate) fn next(&self, queue: &Queue, is_open: impl Fn(usize) -> bool) -> Option<(Key, JobId)> {
        let lanes = (0..queue.lanes()).filter(|lane| !self.by_lane.contains_key(lane) && is_open(*lane));
        let firsts = lanes.filter_map(|lane| queue.after_in(lane, self.passed.get(&lane).copied()));
        firsts.map(|job| (job.key, job.id)).min()
    }
}
