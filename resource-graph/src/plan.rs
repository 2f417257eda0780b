//! What is free when: jobs that run leave when their time is over, and others are promised a place later.
//!
//! A [`Plan`] is a line of steps, each with the bits that are free from its time until the next one's. A promise is
//! for certain cores, so that it cannot be broken by how they are cut up. Sums of each step tell for most start
//! times that they will not do; the bits are looked at only where they might.

use crate::{
    Graph, Room, Unit,
    cosched::{self, Shared, Sharing, Stay},
    index::{Bits, Mask},
};
use flurm_types::{Idset, JobId, R, RNode, Timestamp};

/// How long a job may take to leave after its time is over, before it is expected once more.
const OVERTIME_US: i64 = 10_000_000;

/// Steps for the ends of jobs that run. If there are more ends, several share the last one's time, which makes
/// promises later, never wrong.
const ENDS_MAX: usize = 4096;

/// What will be free when, as far as is known now.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Ascending by time, one at least; the last one goes on forever.
    steps: Vec<Step>,
    /// Promises by the time at which they begin: only then is less free than before.
    promised: Vec<Promise>,
    /// Where willing jobs are and will be, which unwilling ones keep away from.
    stays: Vec<Stay>,
}

#[derive(Debug, Clone)]
struct Promise {
    begin: Timestamp,
    nodes: Vec<RNode>,
    mask: Mask,
}

#[derive(Debug, Clone)]
struct Step {
    from: Timestamp,
    free: Bits,
    cores: u64,
    gpus: u64,
}

impl Step {
    fn count(&mut self) {
        self.cores = self.free.cores.count_ones(..) as u64;
        self.gpus = self.free.gpus.count_ones(..) as u64;
    }
}

impl Graph {
    /// Running jobs by the time they leave. Whoever is late is expected soon; without a known end, never.
    pub(crate) fn ends(&self, now: Timestamp) -> Vec<(Timestamp, JobId, &[RNode])> {
        let held = self.held.iter().filter(|(_, held)| !held.until.is_zero());
        let mut ends: Vec<(Timestamp, JobId, &[RNode])> =
            held.map(|(id, held)| (self.leaves(held.until, now), *id, &held.parts[..])).collect();
        ends.sort_by_key(|(end, ..)| *end);
        ends
    }

    /// When somebody leaves whose time is over then; without a known end at the end of time.
    pub(crate) fn leaves(&self, until: Timestamp, now: Timestamp) -> Timestamp {
        match until {
            until if until.is_zero() => Timestamp(i64::MAX),
            until if until <= now => Timestamp(now.0.saturating_add(OVERTIME_US)),
            until => until,
        }
    }

    /// What will be free when, with nothing promised to anybody yet.
    #[must_use]
    pub fn plan(&self, now: Timestamp) -> Plan {
        let mut free = self.index.free_bits();
        let mut steps = vec![Step { from: now, free: free.clone(), cores: 0, gpus: 0 }];
        let ends = self.ends(now);
        let at_once = ends.len().div_ceil(ENDS_MAX).max(1);
        let mut first = 0;
        while first < ends.len() {
            let from = ends[(first + at_once).min(ends.len()) - 1].0;
            let next = ends.partition_point(|(end, ..)| *end <= from);
            for (_, _, parts) in &ends[first..next] {
                self.index.mask(parts).apply(&mut free, true);
            }
            steps.push(Step { from, free: free.clone(), cores: 0, gpus: 0 });
            first = next;
        }
        steps.iter_mut().for_each(Step::count);
        Plan { steps, promised: Vec::new(), stays: self.stays(now).collect() }
    }

    /// The earliest start of a unit, not before `from`, and what it would get then. `None` if it would have to wait
    /// for something that has no known end.
    #[must_use]
    pub fn earliest<'a>(
        &self,
        plan: &Plan,
        unit: impl Into<Unit<'a>>,
        from: Timestamp,
        visited: &mut usize,
    ) -> Option<R> {
        let unit = unit.into();
        let total = self.total(unit)?;
        let mut at = plan.steps.partition_point(|step| step.from <= from).saturating_sub(1);
        while at < plan.steps.len() {
            let start = plan.steps[at].from.max(from);
            match self.stretch(plan, unit, total, at, start, visited) {
                Ok(r) => return Some(r),
                Err(next) => at = next,
            }
        }
        None
    }

    /// What a unit would get if it began at this very time.
    #[must_use]
    pub fn reserve_at<'a>(
        &self,
        plan: &Plan,
        unit: impl Into<Unit<'a>>,
        start: Timestamp,
        visited: &mut usize,
    ) -> Option<R> {
        let unit = unit.into();
        let at = plan.steps.partition_point(|step| step.from <= start).checked_sub(1)?;
        self.stretch(plan, unit, self.total(unit)?, at, start, visited).ok()
    }

    /// What a unit of so many cores and GPUs gets from a start on, or the next step where to try.
    fn stretch(
        &self,
        plan: &Plan,
        unit: Unit<'_>,
        (cores, gpus): (u64, u64),
        at: usize,
        start: Timestamp,
        visited: &mut usize,
    ) -> Result<R, usize> {
        let duration = unit.duration();
        let end = if duration > 0.0 { start.checked_add_secs(duration) } else { None };
        let behind = end.map_or(plan.steps.len(), |end| plan.steps.partition_point(|step| step.from < end));
        let steps = &plan.steps[at..behind.max(at + 1)];
        *visited += steps.len();
        if let Some(short) = steps.iter().rposition(|step| step.cores < cores || step.gpus < gpus) {
            return Err(at + short + 1);
        }
        // What is free at the start and is not taken before the end is free all the time.
        let mut free = steps[0].free.clone();
        let first = plan.promised.partition_point(|promise| promise.begin <= start);
        for promise in &plan.promised[first..] {
            if end.is_some_and(|end| promise.begin >= end) {
                break;
            }
            promise.mask.apply(&mut free, false);
        }
        if (free.cores.count_ones(..) as u64) < cores {
            return Err(at + 1);
        }
        *visited += self.index.len();
        let index = self.index.with_free(free);
        let sharing = self.sharing_in(plan, at == 0, start, end.unwrap_or(Timestamp(i64::MAX)));
        self.in_index(unit, &index, &sharing, start, visited).ok_or(at + 1)
    }

    /// What willing jobs leave to one that begins and ends at these times. It joins only such as are there at present,
    /// where nobody is expected before it ends: what will be is not known well enough.
    fn sharing_in(&self, plan: &Plan, now: bool, start: Timestamp, end: Timestamp) -> Sharing {
        let there = plan.stays.iter().filter(|stay| stay.begin < end && start < stay.end);
        let closed = there.fold(Idset::new(), |closed, stay| closed.union(&stay.ranks));
        let mut beside = if now { self.sharing().beside } else { Idset::new() };
        if !beside.is_empty() {
            for node in plan.promised.iter().filter(|p| p.begin < end).flat_map(|promise| &promise.nodes) {
                beside.remove(node.rank);
            }
        }
        Sharing { closed, beside }
    }

    /// Promises this from its start to its expiration.
    pub fn reserve(&self, plan: &mut Plan, r: &R) {
        let mask = self.index.mask(&r.nodes);
        plan.set(r, &mask, false);
        let place = plan.promised.partition_point(|promise| promise.begin <= r.starttime);
        plan.promised.insert(place, Promise { begin: r.starttime, nodes: r.nodes.clone(), mask });
        plan.stays.extend(Stay::of(r));
    }

    /// Takes a promise back.
    pub fn release(&self, plan: &mut Plan, r: &R) {
        let same = |promise: &Promise| promise.begin == r.starttime && promise.nodes == r.nodes;
        if let Some(place) = plan.promised.iter().position(same) {
            let promise = plan.promised.remove(place);
            plan.set(r, &promise.mask, true);
            if let Some(at) = Stay::of(r).and_then(|stay| plan.stays.iter().position(|other| *other == stay))
            {
                plan.stays.remove(at);
            }
        }
    }

    /// Is all of this free from its start to its expiration?
    #[must_use]
    pub fn is_free(&self, plan: &Plan, r: &R) -> bool {
        let end = if r.expiration.is_zero() { Timestamp(i64::MAX) } else { r.expiration };
        let first = plan.steps.partition_point(|step| step.from <= r.starttime).saturating_sub(1);
        let last = plan.steps.partition_point(|step| step.from < end);
        let mask = self.index.mask(&r.nodes);
        let ranks = r.ranks();
        let apart =
            |stay: &Stay| stay.end <= r.starttime || end <= stay.begin || stay.ranks.is_disjoint(&ranks);
        plan.steps[first..last.max(first + 1)].iter().all(|step| mask.is_in(&step.free))
            && (cosched::is_willing(r) || plan.stays.iter().all(apart))
    }

    /// What is free at a time of the plan.
    #[must_use]
    pub fn room_at(&self, plan: &Plan, at: Timestamp) -> Room {
        let n = plan.steps.partition_point(|step| step.from <= at).saturating_sub(1);
        let mut shared = Shared::default();
        let there = plan.stays.iter().filter(|stay| stay.begin <= at && at < stay.end);
        there.flat_map(|stay| stay.ranks.iter()).for_each(|rank| shared.add(rank));
        Room { index: self.index.with_free(plan.steps[n].free.clone()), shared }
    }
}

impl Plan {
    fn set(&mut self, r: &R, mask: &Mask, free: bool) {
        let first = self.cut(r.starttime);
        let last = if r.expiration.is_zero() { self.steps.len() } else { self.cut(r.expiration) };
        for step in &mut self.steps[first..last.max(first)] {
            let (cores, gpus) = mask.apply(&mut step.free, free);
            if free {
                step.cores += cores;
                step.gpus += gpus;
            } else {
                step.cores -= cores;
                step.gpus -= gpus;
            }
        }
    }

    /// The place of the step that begins at this time; makes one if there is none. Before the first step is at it.
    fn cut(&mut self, at: Timestamp) -> usize {
        let behind = self.steps.partition_point(|step| step.from < at);
        let is_there = self.steps.get(behind).is_some_and(|step| step.from == at);
        if !is_there && behind > 0 {
            let step = Step { from: at, ..self.steps[behind - 1].clone() };
            self.steps.insert(behind, step);
        }
        behind
    }
}
