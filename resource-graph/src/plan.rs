//! What is free when: jobs that run leave when their time is over, and others are promised a place later.
//!
//! A [`Plan`] keeps who has which cores from when to when, and the sums of what is free between those times. It lasts
//! from cycle to cycle: time goes on ([`Plan::advance`]), jobs begin, leave and change their ends
//! ([`Graph::follow`]), promises come and go. A promise is for certain cores, so that it cannot be broken by how they
//! are cut up.
//!
//! Sums tell for most start times that they will not do. Where they might, the bits of all that overlaps are put
//! together; nothing is kept for each step but its sums, so that a plan needs a few hundred bytes for each job.

use crate::{
    Graph, Unit,
    bits::{Bits, Mask},
    cosched::{self, Sharing},
    general::{Pools, given},
    index::Index,
    totals::Totals,
};
use flurm_types::{Idset, JobId, R, RNode, Timestamp};
use std::collections::BTreeMap;

/// How long a job may take to leave after its time is over, before it is expected once more.
const OVERTIME_US: i64 = 10_000_000;

/// The end of what has no known end.
const NEVER: Timestamp = Timestamp(i64::MAX);

/// What will be free when, as far as is known now.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Ascending by time, one at least: the first is at present, the last one goes on forever.
    steps: Vec<Step>,
    /// Ascending by begin, then by id.
    uses: Vec<Use>,
    begins: BTreeMap<JobId, Timestamp>,
    /// How many of them share their nodes.
    willing: usize,
    /// What is on open nodes.
    open: Bits,
    /// What was found free last, and the same to be searched.
    bits: Bits,
    index: Index,
    sweep: Sweep,
}

/// What a search that may be cut short comes to.
#[derive(Debug)]
pub enum Sought<T, C = Timestamp> {
    /// This.
    Found(T),
    /// There is nothing.
    None,
    /// Nothing yet: nothing before this time, and the search is to go on from there.
    Cut(C),
}

/// What is free from a time until the next step.
#[derive(Debug, Clone)]
struct Step {
    from: Timestamp,
    free: Totals,
    /// How many begin or end here; a step where nobody does is no step.
    edges: u32,
    /// How many of them end.
    ends: u32,
}

/// What a job has, or is promised.
#[derive(Debug, Clone)]
struct Use {
    begin: Timestamp,
    end: Timestamp,
    id: JobId,
    runs: bool,
    what: Box<What>,
    /// Does it share its nodes, but only with its like?
    willing: bool,
}

/// Apart from the times, which are looked at more often.
#[derive(Debug, Clone)]
struct What {
    mask: Mask,
    ranks: Idset,
    /// Of pools, ascending by their numbers.
    amounts: Vec<(u32, u64)>,
    total: Totals,
}

impl Graph {
    /// What will be free when, if those who run leave when their time is over and these promises are kept. They must
    /// not overlap.
    #[must_use]
    pub fn plan<'a>(&self, now: Timestamp, promises: impl IntoIterator<Item = (JobId, &'a R)>) -> Plan {
        let mut open = self.index.open_bits();
        open.remove(&self.index.mask(&self.closed));
        let running = self.held.keys().filter_map(|id| self.running(*id, now));
        let promised = promises.into_iter().map(|(id, r)| self.promised(id, r));
        let mut uses: Vec<Use> = running.chain(promised).collect();
        uses.sort_unstable_by_key(|used| (used.begin, used.id));
        let begins = uses.iter().map(|used| (used.id, used.begin)).collect();
        let willing = uses.iter().filter(|used| used.willing).count();
        let mut edges: Vec<(Timestamp, bool, usize)> = Vec::with_capacity(2 * uses.len());
        for (place, used) in uses.iter().enumerate() {
            edges.push((used.begin.max(now), false, place));
            edges.push((used.end, true, place));
        }
        edges.sort_unstable();
        // Pools that are not in use count as if they were: sums only tell that there is not enough.
        let free = Totals { pools: self.index.pools.tree().sums, ..Totals::new(open.count()) };
        let mut steps = vec![Step { from: now, free, edges: 0, ends: 0 }];
        for (at, is_end, place) in edges {
            if at == NEVER {
                continue;
            }
            let last = steps.last().expect("there is one");
            if last.from < at {
                steps.push(Step { from: at, edges: 0, ends: 0, ..*last });
            }
            let step = steps.last_mut().expect("there is one");
            step.edges += 1;
            step.ends += u32::from(is_end);
            // What begins where something ends comes first, and is taken off before that is added.
            let total = &uses[place].what.total;
            step.free = if is_end { step.free.plus(total) } else { step.free.minus(total) };
        }
        let (bits, index, sweep) = (open.clone(), self.index.clone(), Sweep::default());
        Plan { steps, uses, begins, willing, bits, index, sweep, open }
    }

    /// What a job holds now, until it leaves. Whoever is late is expected soon; without a known end, never.
    fn running(&self, id: JobId, now: Timestamp) -> Option<Use> {
        let held = self.held.get(&id)?;
        let mask = self.index.mask(&self.in_use(&held.parts));
        let end = self.leaves(held.until, now);
        let ranks = held.parts.iter().map(|part| part.rank).collect();
        let willing = self.tenants.ranks_of(id).is_some();
        let amounts = self.index.pools.amounts(&held.portions);
        Some(Use {
            begin: Timestamp::ZERO,
            end,
            id,
            runs: true,
            willing,
            what: Box::new(What { total: self.total_of(&mask, &amounts), mask, ranks, amounts }),
        })
    }

    fn promised(&self, id: JobId, r: &R) -> Use {
        let end = if r.expiration.is_zero() { NEVER } else { r.expiration };
        let (ranks, willing) = (r.ranks(), cosched::is_willing(r));
        let amounts = self.index.pools.amounts(&given::portions(self.index.pools.tree(), r));
        // Who is willing is promised nodes where nobody is, and whoever may join him does so when he is there.
        let mask = if willing { self.index.mask(&self.whole(&ranks)) } else { self.index.mask(&r.nodes) };
        Use {
            begin: r.starttime,
            end,
            id,
            runs: false,
            willing,
            what: Box::new(What { total: self.total_of(&mask, &amounts), mask, ranks, amounts }),
        }
    }

    fn total_of(&self, mask: &Mask, amounts: &[(u32, u64)]) -> Totals {
        Totals::new(mask.count()).with_amounts(self.index.pools.tree(), amounts)
    }

    /// All of these nodes that is not taken out of use.
    fn whole(&self, ranks: &Idset) -> Vec<RNode> {
        let positions = ranks.iter().filter_map(|rank| self.index.position(rank));
        let nodes: Vec<RNode> = positions.map(|at| self.index.whole(at)).collect();
        self.in_use(&nodes).into_owned()
    }

    /// Running jobs with a known end, by the time they leave.
    pub(crate) fn ends(&self, now: Timestamp) -> Vec<(Timestamp, JobId, &[RNode])> {
        let held = self.held.iter().filter(|(_, held)| !held.until.is_zero());
        let mut ends: Vec<(Timestamp, JobId, &[RNode])> =
            held.map(|(id, held)| (self.leaves(held.until, now), *id, &held.parts[..])).collect();
        ends.sort_by_key(|(end, ..)| *end);
        ends
    }

    /// When somebody leaves whose time is over then.
    pub(crate) fn leaves(&self, until: Timestamp, now: Timestamp) -> Timestamp {
        match until {
            until if until.is_zero() => NEVER,
            until if until <= now => Timestamp(now.0.saturating_add(OVERTIME_US)),
            until => until,
        }
    }

    /// Brings the plan in line with what a job holds now. Returns until when it was to have what it had before.
    pub fn follow(&self, plan: &mut Plan, id: JobId, now: Timestamp) -> Option<Timestamp> {
        let before = plan.release(id);
        if let Some(used) = self.running(id, now) {
            plan.insert(used);
        }
        before
    }

    /// Promises this from its start to its expiration.
    pub fn reserve(&self, plan: &mut Plan, id: JobId, r: &R) {
        plan.release(id);
        plan.insert(self.promised(id, r));
    }

    /// Are these nodes open, and do they last until its expiration?
    #[must_use]
    pub fn stands(&self, r: &R) -> bool {
        let last = self.instance_end().into_iter().chain(self.lifetimes.first_end(&r.nodes)).min();
        let in_time = last.is_none_or(|last| !r.expiration.is_zero() && r.expiration <= last);
        in_time && self.index.mask(&r.nodes).all_open()
    }

    /// The earliest start of a job from one time on and before another, and what it would get then. If it has a
    /// promise, as if it had none. `None` if there is no such start, or none that anybody knows.
    #[must_use]
    pub fn earliest<'a>(
        &self,
        plan: &mut Plan,
        id: JobId,
        unit: impl Into<Unit<'a>>,
        times: (Timestamp, Timestamp),
        visited: &mut usize,
    ) -> Option<R> {
        match self.seek(plan, id, unit, times, visited, usize::MAX) {
            Sought::Found(r) => Some(r),
            Sought::None | Sought::Cut(_) => None,
        }
    }

    /// [`Graph::earliest`], which goes on until `visits_max` are visited.
    #[must_use]
    pub fn seek<'a>(
        &self,
        plan: &mut Plan,
        id: JobId,
        unit: impl Into<Unit<'a>>,
        times: (Timestamp, Timestamp),
        visited: &mut usize,
        visits_max: usize,
    ) -> Sought<R> {
        match self.seek_until(plan, id, unit.into(), times, visited, visits_max) {
            Ok(Some(r)) => Sought::Found(r),
            Ok(None) => Sought::None,
            Err(at) => Sought::Cut(at),
        }
    }

    /// The same; or the time at which it was cut.
    fn seek_until(
        &self,
        plan: &mut Plan,
        id: JobId,
        unit: Unit<'_>,
        (from, before): (Timestamp, Timestamp),
        visited: &mut usize,
        visits_max: usize,
    ) -> Result<Option<R>, Timestamp> {
        let Some(total) = self.total(unit) else { return Ok(None) };
        let alone = Totals { cores: total.cores.saturating_mul(unit.parts()), ..total };
        if alone != total && from <= plan.steps[0].from && from < before {
            // Only at present does it join others; later it needs nodes where nobody is.
            let joins = self.reserve_at(plan, id, unit, from, visited);
            if joins.is_some() {
                return Ok(joins);
            }
        }
        let own = plan.place(id).map(|place| &plan.uses[place]);
        let own = own.map(|own| (own.begin..own.end, own.what.total));
        let is_short = |step: &Step| match &own {
            Some((times, own)) if times.contains(&step.from) => step.free.plus(own).is_short_of(&alone),
            _ => step.free.is_short_of(&alone),
        };
        let mut at = plan.steps.partition_point(|step| step.from <= from).saturating_sub(1);
        let first = at;
        // Steps before this one, as far as the window reaches, have enough.
        let mut checked = at;
        while let Some(step) = plan.steps.get(at) {
            let start = step.from.max(from);
            let Some(end) = self.stays_until(unit, start).filter(|_| start < before) else { return Ok(None) };
            if *visited >= visits_max && at > first {
                return Err(start);
            }
            checked = checked.max(at);
            let mut window = plan.steps[checked..].iter().take_while(|step| step.from < end);
            let enough = window.by_ref().take_while(|step| !is_short(step)).count();
            *visited += 1 + enough / 8;
            checked += enough;
            let short = plan.steps.get(checked).is_some_and(|step| step.from < end);
            if !short && let Some(r) = self.fit_between(plan, id, unit, (start, end), &alone, visited) {
                return Ok(Some(r));
            }
            // There is more only where somebody ends.
            let next = if short { checked + 1 } else { at + 1 };
            let mut behind = plan.steps.iter().skip(next);
            let Some(more) = behind.position(|step| step.ends > 0) else { return Ok(None) };
            *visited += more / 8;
            at = next + more;
        }
        Ok(None)
    }

    /// What a job would get if it began at this very time. If it has a promise, as if it had none.
    #[must_use]
    pub fn reserve_at<'a>(
        &self,
        plan: &mut Plan,
        id: JobId,
        unit: impl Into<Unit<'a>>,
        start: Timestamp,
        visited: &mut usize,
    ) -> Option<R> {
        let unit = unit.into();
        let total = self.total(unit)?;
        let end = self.stays_until(unit, start)?;
        let first = plan.steps.partition_point(|step| step.from <= start).saturating_sub(1);
        let mut window = plan.steps[first..].iter().take_while(|step| step.from < end);
        *visited += 1;
        // A job with a promise would have its own as well.
        if plan.place(id).is_none() && window.any(|step| step.free.is_short_of(&total)) {
            return None;
        }
        self.fit_between(plan, id, unit, (start, end), &total, visited)
    }

    /// Until when a job would stay at most that begins then; `None` if the instance ends before that.
    fn stays_until(&self, unit: Unit<'_>, start: Timestamp) -> Option<Timestamp> {
        let last = self.instance_end().unwrap_or(NEVER);
        let end = match unit.duration() {
            0.0 => last,
            duration => start.checked_add_secs(duration).unwrap_or(NEVER),
        };
        (end <= last && start < last).then_some(end)
    }

    /// What a job gets out of what is free from one time to another.
    fn fit_between(
        &self,
        plan: &mut Plan,
        id: JobId,
        unit: Unit<'_>,
        (begin, end): (Timestamp, Timestamp),
        total: &Totals,
        visited: &mut usize,
    ) -> Option<R> {
        plan.look(id, begin, end, visited);
        if plan.bits.count().0 < total.cores || !plan.index.pools.may_have(total) {
            return None;
        }
        *visited += plan.index.become_free(&plan.bits);
        let sharing = self.sharing_in(plan, id, unit, begin, end);
        self.in_index(unit, &plan.index, &sharing, begin, visited)
    }

    /// What willing jobs leave to one that begins and ends at these times. It joins only such as are there at present,
    /// where nobody is expected before it ends: what will be is not known well enough.
    fn sharing_in(
        &self,
        plan: &Plan,
        without: JobId,
        unit: Unit<'_>,
        begin: Timestamp,
        end: Timestamp,
    ) -> Sharing {
        let mut sharing = Sharing::default();
        let is_willing = unit.parts() > 1;
        if plan.willing == 0 || is_willing && begin > plan.steps[0].from {
            return sharing;
        }
        let others = plan.uses.iter().take_while(|used| used.begin < end).filter(|used| used.id != without);
        if is_willing {
            let expected = others.filter(|used| !used.runs).flat_map(|used| used.what.ranks.iter());
            sharing.beside = self.sharing().beside;
            sharing.beside = sharing.beside.difference(&expected.collect());
        } else {
            let there = others.filter(|used| used.willing && used.end > begin);
            sharing.closed = there.flat_map(|used| used.what.ranks.iter()).collect();
        }
        sharing
    }
}

impl Plan {
    /// Time goes on. Tells whether it does: a plan that is ahead of the clock is of no use.
    #[must_use]
    pub fn advance(&mut self, now: Timestamp) -> bool {
        let past = self.steps.partition_point(|step| step.from <= now);
        let Some(last) = past.checked_sub(1) else { return false };
        self.steps.drain(..last);
        (self.steps[0].from, self.steps[0].edges, self.steps[0].ends) = (now, 0, 0);
        true
    }

    /// Jobs that run although their time is over.
    #[must_use]
    pub fn late(&self) -> Vec<JobId> {
        let now = self.steps[0].from;
        let running = self.uses.iter().take_while(|used| used.begin.is_zero());
        running.filter(|used| used.end <= now).map(|used| used.id).collect()
    }

    /// When a job begins that is promised something.
    #[must_use]
    pub fn begins(&self, id: JobId) -> Option<Timestamp> {
        self.begins.get(&id).copied().filter(|begin| !begin.is_zero())
    }

    /// Promises that cannot be kept beside what this job has.
    #[must_use]
    pub fn broken_by(&self, id: JobId) -> Vec<JobId> {
        let Some(place) = self.place(id) else { return Vec::new() };
        let one = &self.uses[place];
        let overdrawn = self.overdrawn(one);
        let is_short = |used: &Use| {
            let hit = |(pool, from, to): &(u32, Timestamp, Timestamp)| {
                used.begin < *to && *from < used.end && used.what.has(*pool)
            };
            overdrawn.iter().any(hit)
        };
        let overlaps = |used: &&Use| {
            !used.runs
                && used.id != id
                && used.begin < one.end
                && one.begin < used.end
                && (used.what.mask.overlaps(&one.what.mask)
                    || used.willing != one.willing && !used.what.ranks.is_disjoint(&one.what.ranks)
                    || is_short(used))
        };
        self.uses.iter().filter(overlaps).map(|used| used.id).collect()
    }

    /// When more is to be taken of a pool that somebody has than there is, while he has it: pools, from when, to when.
    fn overdrawn(&self, one: &Use) -> Vec<(u32, Timestamp, Timestamp)> {
        let mut edges = Vec::new();
        if one.what.amounts.is_empty() {
            return Vec::new();
        }
        let behind = self.uses.partition_point(|used| used.begin < one.end);
        for used in self.uses[..behind].iter().filter(|used| used.end > one.begin) {
            for (pool, amount) in used.what.amounts.iter().filter(|(pool, _)| one.what.has(*pool)) {
                edges.push((*pool, used.begin.max(one.begin), true, *amount));
                edges.push((*pool, used.end.min(one.end), false, *amount));
            }
        }
        // What ends where something begins comes first.
        edges.sort_unstable();
        let mut found = Vec::new();
        for of_pool in edges.chunk_by(|a, b| a.0 == b.0) {
            let (size, mut taken) = (self.index.pools.size(of_pool[0].0), 0_u64);
            for pair in of_pool.windows(2) {
                let (pool, from, is_begin, amount) = pair[0];
                taken = if is_begin { taken.saturating_add(amount) } else { taken.saturating_sub(amount) };
                if taken > size && from < pair[1].1 {
                    found.push((pool, from, pair[1].1));
                }
            }
        }
        found
    }

    /// Takes back what a job was to have; tells until when.
    pub fn release(&mut self, id: JobId) -> Option<Timestamp> {
        let place = self.place(id)?;
        let used = self.uses.remove(place);
        self.begins.remove(&id);
        self.willing -= usize::from(used.willing);
        let (first, last) = (self.step_from(used.begin), self.step_from(used.end));
        for step in &mut self.steps[first..last] {
            step.free = step.free.plus(&used.what.total);
        }
        self.leave(last, used.end, true);
        self.leave(first, used.begin, false);
        Some(used.end)
    }

    fn insert(&mut self, used: Use) {
        let first = self.cut(used.begin, false);
        let last = if used.end == NEVER { self.steps.len() } else { self.cut(used.end, true) };
        for step in &mut self.steps[first..last.max(first)] {
            step.free = step.free.minus(&used.what.total);
        }
        self.begins.insert(used.id, used.begin);
        self.willing += usize::from(used.willing);
        let place = self.uses.partition_point(|other| (other.begin, other.id) < (used.begin, used.id));
        self.uses.insert(place, used);
    }

    fn place(&self, id: JobId) -> Option<usize> {
        let begin = *self.begins.get(&id)?;
        self.uses.binary_search_by_key(&(begin, id), |used| (used.begin, used.id)).ok()
    }

    /// The first step that is not before this time.
    fn step_from(&self, at: Timestamp) -> usize {
        self.steps.partition_point(|step| step.from < at)
    }

    /// The step that begins at this time, where somebody begins or ends. What is past is at present.
    fn cut(&mut self, at: Timestamp, is_end: bool) -> usize {
        let behind = self.step_from(at);
        if behind == 0 {
            return 0;
        }
        if self.steps.get(behind).is_none_or(|step| step.from != at) {
            self.steps.insert(behind, Step { from: at, edges: 0, ends: 0, ..self.steps[behind - 1] });
        }
        self.steps[behind].edges += 1;
        self.steps[behind].ends += u32::from(is_end);
        behind
    }

    /// Somebody does not begin or end here any more.
    fn leave(&mut self, place: usize, at: Timestamp, is_end: bool) {
        let Some(step) = self.steps.get_mut(place).filter(|step| place > 0 && step.from == at) else {
            return;
        };
        step.edges -= 1;
        step.ends -= u32::from(is_end);
        if step.edges == 0 {
            self.steps.remove(place);
        }
    }

    /// Puts together what is free from one time to another, as if one job were not in the plan.
    fn look(&mut self, without: JobId, begin: Timestamp, end: Timestamp, visited: &mut usize) {
        self.bits.copy(&self.open);
        self.index.pools.clear();
        let behind = self.uses.partition_point(|used| used.begin < end);
        *visited += 1 + behind / 8;
        self.sweep.begin();
        let mut amounts = 0;
        for (at, used) in self.uses[..behind].iter().enumerate() {
            if used.end > begin && used.id != without {
                self.bits.remove(&used.what.mask);
                if !used.what.amounts.is_empty() {
                    self.sweep.with_pools.push((used.end, at));
                    amounts += used.what.amounts.len();
                }
            }
        }
        *visited += amounts / 8;
        self.sweep.fill(&self.uses, begin, &mut self.index.pools);
    }
}

impl What {
    /// Is it something of this pool?
    fn has(&self, pool: u32) -> bool {
        self.amounts.binary_search_by_key(&pool, |(pool, _)| *pool).is_ok()
    }
}

/// How much is taken of pools at most at a time, of what is to be had one after the other.
#[derive(Debug, Clone, Default)]
struct Sweep {
    /// The ends and the places of uses of pools, ascending by begin.
    with_pools: Vec<(Timestamp, usize)>,
    /// The same by end.
    by_end: Vec<(Timestamp, usize)>,
    /// What is taken by pool, at the time that is looked at.
    levels: Vec<u64>,
}

impl Sweep {
    fn begin(&mut self) {
        self.with_pools.clear();
    }

    /// Takes from pools what these uses take at most at a time, from a time on at which all that began before are there.
    fn fill(&mut self, uses: &[Use], from: Timestamp, pools: &mut Pools) {
        if self.with_pools.is_empty() {
            return;
        }
        self.levels.clear();
        self.levels.resize(pools.taken().len(), 0);
        self.by_end.clear();
        // Ends matter only where somebody begins afterwards.
        if let Some(last) = self.with_pools.last().map(|(_, at)| uses[*at].begin) {
            self.by_end.extend(self.with_pools.iter().filter(|(end, _)| *end <= last));
            self.by_end.sort_unstable();
        }
        let mut leaving = self.by_end.iter().peekable();
        for (_, at) in &self.with_pools {
            let begin = uses[*at].begin.max(from);
            while let Some((_, gone)) = leaving.next_if(|(end, _)| *end <= begin) {
                for (pool, amount) in &uses[*gone].what.amounts {
                    let level = &mut self.levels[*pool as usize];
                    *level = level.saturating_sub(*amount);
                }
            }
            for (pool, amount) in &uses[*at].what.amounts {
                let level = &mut self.levels[*pool as usize];
                *level = level.saturating_add(*amount);
                pools.raise(*pool, *level);
            }
        }
    }
}
