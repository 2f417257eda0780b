//! What is free when: jobs that run leave when their time is over, and others are promised a place later.
//!
//! A [`Plan`] is a line of steps, each with the bits that are free from its time until the next one's. A promise is
//! for certain cores, so that it cannot be broken by how they are cut up. Sums of each step tell for most start
//! times that they will not do; the bits are looked at only where they might.

use crate::{
    Graph, Room,
    ask::Ask,
    counts::Counts,
    index::{Bits, Mask},
};
use flurm_jobspec::Jobspec;
use flurm_types::{Idset, R, RNode, Timestamp};

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
    pub(crate) fn ends(&self, now: Timestamp) -> Vec<(Timestamp, &[RNode])> {
        let soon = Timestamp(now.0.saturating_add(OVERTIME_US));
        let held = self.held.values().filter(|held| !held.until.is_zero());
        let mut ends: Vec<(Timestamp, &[RNode])> =
            held.map(|held| (if held.until <= now { soon } else { held.until }, &held.parts[..])).collect();
        ends.sort_by_key(|(end, _)| *end);
        ends
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
            let next = ends.partition_point(|(end, _)| *end <= from);
            for (_, parts) in &ends[first..next] {
                self.index.mask(parts).apply(&mut free, true);
            }
            steps.push(Step { from, free: free.clone(), cores: 0, gpus: 0 });
            first = next;
        }
        steps.iter_mut().for_each(Step::count);
        Plan { steps, promised: Vec::new() }
    }

    /// The earliest start of a job, not before `from`, and what it would get then. `None` if it would have to wait
    /// for something that has no known end.
    #[must_use]
    pub fn earliest(
        &self,
        plan: &Plan,
        jobspec: &Jobspec,
        from: Timestamp,
        visited: &mut usize,
    ) -> Option<R> {
        let ask = Ask::of(jobspec, self.placement, &Counts::default()).ok()?;
        let mut at = plan.steps.partition_point(|step| step.from <= from).saturating_sub(1);
        while at < plan.steps.len() {
            let start = plan.steps[at].from.max(from);
            match self.stretch(plan, &ask, jobspec, at, start, visited) {
                Ok(r) => return Some(r),
                Err(next) => at = next,
            }
        }
        None
    }

    /// What a job would get if it began at this very time.
    #[must_use]
    pub fn reserve_at(
        &self,
        plan: &Plan,
        jobspec: &Jobspec,
        start: Timestamp,
        visited: &mut usize,
    ) -> Option<R> {
        let ask = Ask::of(jobspec, self.placement, &Counts::default()).ok()?;
        let at = plan.steps.partition_point(|step| step.from <= start).checked_sub(1)?;
        self.stretch(plan, &ask, jobspec, at, start, visited).ok()
    }

    /// What the job gets from a start on, or the next step where to try.
    fn stretch(
        &self,
        plan: &Plan,
        ask: &Ask<'_>,
        jobspec: &Jobspec,
        at: usize,
        start: Timestamp,
        visited: &mut usize,
    ) -> Result<R, usize> {
        let duration = jobspec.attributes().duration;
        let end = if duration > 0.0 { start.checked_add_secs(duration) } else { None };
        let behind = end.map_or(plan.steps.len(), |end| plan.steps.partition_point(|step| step.from < end));
        let steps = &plan.steps[at..behind.max(at + 1)];
        let (cores, gpus) = ask.total();
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
        let allowed = self.allowed(jobspec, start);
        // Who shares what is known only of the present.
        let shared = if at == 0 { self.shared() } else { Idset::new() };
        self.most(jobspec, &index, &allowed, &shared, start, visited).ok_or(at + 1)
    }

    /// Promises this from its start to its expiration.
    pub fn reserve(&self, plan: &mut Plan, r: &R) {
        let mask = self.index.mask(&r.nodes);
        plan.set(r, &mask, false);
        let place = plan.promised.partition_point(|promise| promise.begin <= r.starttime);
        plan.promised.insert(place, Promise { begin: r.starttime, nodes: r.nodes.clone(), mask });
    }

    /// Takes a promise back.
    pub fn release(&self, plan: &mut Plan, r: &R) {
        let same = |promise: &Promise| promise.begin == r.starttime && promise.nodes == r.nodes;
        if let Some(place) = plan.promised.iter().position(same) {
            let promise = plan.promised.remove(place);
            plan.set(r, &promise.mask, true);
        }
    }

    /// Is all of this free from its start to its expiration?
    #[must_use]
    pub fn is_free(&self, plan: &Plan, r: &R) -> bool {
        let first = plan.steps.partition_point(|step| step.from <= r.starttime).saturating_sub(1);
        let last = match r.expiration {
            end if end.is_zero() => plan.steps.len(),
            end => plan.steps.partition_point(|step| step.from < end),
        };
        let mask = self.index.mask(&r.nodes);
        plan.steps[first..last.max(first + 1)].iter().all(|step| mask.is_in(&step.free))
    }

    /// What is free at a time of the plan.
    #[must_use]
    pub fn room_at(&self, plan: &Plan, at: Timestamp) -> Room {
        let n = plan.steps.partition_point(|step| step.from <= at).saturating_sub(1);
        let shared = if n == 0 { self.shared() } else { Idset::new() };
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
