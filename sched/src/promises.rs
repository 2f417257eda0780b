//! Starts that jobs are promised, and the plan that keeps them apart, from cycle to cycle.

use crate::CYCLE_VISITS_MAX;
use crate::floors::Floors;
use crate::queue::{Key, Queue};
use crate::running::Load;
use flurm_resource_graph::{Graph, Plan};
use flurm_types::{JobId, Now, R, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// The end of what has no known end.
const NEVER: Timestamp = Timestamp(i64::MAX);

/// Promises that are taken out of a plan one by one, at most.
const RELEASED_MAX: usize = 256;

/// Vertices that are visited to move promises into what one job gave back, at most: a few cycles. On a machine that is
/// cut up there are many times at which there are cores enough, and none of them will do.
const MOVING_VISITS_MAX: usize = 4 * CYCLE_VISITS_MAX;

/// What a job is promised.
#[derive(Debug)]
struct Promise {
    r: R,
    lane: usize,
    load: Load,
}

/// Who is promised what, and who is to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    by_key: BTreeMap<Key, Promise>,
    by_start: BTreeSet<(Timestamp, Key)>,
    loads: BTreeMap<usize, Load>,
    /// None before the first cycle, and after what cannot be followed step by step.
    plan: Option<Plan>,
    /// Up to here everybody in a lane was looked at, except those in `again`.
    looked: BTreeMap<usize, Key>,
    again: BTreeMap<Key, usize>,
    /// Lanes that have all they may have at once, in this epoch.
    full: BTreeMap<usize, u64>,
    /// Somebody waits for one who has no known end, in this epoch, and nobody behind may pass.
    stuck: Option<(u64, Key)>,
    /// What was given back before its time ends at the latest then: who could start before that may move forward.
    gap: Option<Timestamp>,
    floors: Floors,
    /// What was visited to move promises into it.
    moving_visits: usize,
    /// How far down the queue that was looked into, and the gap that those leave who moved meanwhile.
    moving: (Option<Key>, Option<Timestamp>),
}

impl Promises {
    /// Brings the plan up to now. Promises that the world has broken are in need of another look.
    pub(crate) fn update(&mut self, graph: &Graph, now: Now) {
        let advanced = self.plan.as_mut().is_some_and(|plan| plan.advance(now.wall));
        if !advanced {
            self.floors.clear();
            let broken: Vec<Key> = self.all().filter(|(_, r)| !graph.stands(r)).map(|(key, _)| key).collect();
            self.plan = None;
            broken.into_iter().for_each(|key| self.drop(key));
            self.plan = Some(graph.plan(now.wall, self.all().map(|(key, r)| (key.3, r))));
        }
        let late = self.plan.as_ref().map_or_else(Vec::new, Plan::late);
        late.into_iter().for_each(|id| self.follow(graph, id, now));
    }

    /// The plan, which a cycle begins with.
    pub(crate) fn plan(&mut self) -> &mut Plan {
        self.plan.as_mut().expect("a cycle begins with it")
    }

    /// What a job holds has changed, or how long: promises that this breaks are dropped.
    pub(crate) fn follow(&mut self, graph: &Graph, id: JobId, now: Now) {
        let Some(plan) = &mut self.plan else { return };
        let before = graph.follow(plan, id, now.wall);
        let broken: BTreeSet<JobId> = plan.broken_by(id).into_iter().collect();
        if let Some(end) = before.filter(|end| *end > now.wall) {
            self.widen(end);
        }
        if !broken.is_empty() {
            let keys: Vec<Key> = self.by_key.keys().filter(|key| broken.contains(&key.3)).copied().collect();
            keys.into_iter().for_each(|key| self.drop(key));
        }
    }

    /// The plan has to be made anew, and everybody without a promise looked at once more.
    pub(crate) fn forget_plan(&mut self) {
        self.plan = None;
        self.again.clear();
        self.looked.clear();
        self.widen(NEVER);
    }

    fn widen(&mut self, until: Timestamp) {
        self.floors.clear();
        self.gap = self.gap.max(Some(until));
        self.moving.0 = None;
        self.moving_visits = 0;
    }

    /// All that is promised, in the order of the queue.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Key, &R)> {
        self.by_key.iter().map(|(key, promise)| (*key, &promise.r))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn has(&self, key: Key) -> bool {
        self.by_key.contains_key(&key)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&R> {
        self.by_key.get(&key).map(|promise| &promise.r)
    }

    pub(crate) fn first_start(&self) -> Option<Timestamp> {
        self.by_start.first().map(|(start, _)| *start)
    }

    /// What the jobs of a lane are promised together.
    pub(crate) fn load(&self, lane: usize) -> Load {
        self.loads.get(&lane).copied().unwrap_or_default()
    }

    /// A job is promised this, whatever it was promised before.
    pub(crate) fn put(&mut self, graph: &Graph, key: Key, lane: usize, load: Load, r: R) {
        self.take(key);
        if let Some(plan) = &mut self.plan {
            graph.reserve(plan, key.3, &r);
        }
        self.by_start.insert((r.starttime, key));
        let all = self.loads.entry(lane).or_default();
        *all = all.and(load);
        self.by_key.insert(key, Promise { r, lane, load });
    }

    /// Takes a promise out of the plan, with its lane.
    pub(crate) fn take(&mut self, key: Key) -> Option<(R, usize)> {
        let Promise { r, lane, load } = self.by_key.remove(&key)?;
        self.by_start.remove(&(r.starttime, key));
        if let Some(all) = self.loads.get_mut(&lane) {
            *all = all.less(load);
        }
        if let Some(plan) = &mut self.plan {
            plan.release(key.3);
        }
        Some((r, lane))
    }

    /// Where the search for a start begins and what was found out about it.
    pub(crate) fn floors(&mut self) -> &mut Floors {
        &mut self.floors
    }

    /// A job without a promise is to be looked at once more, and what it was promised is free.
    pub(crate) fn look_at(&mut self, key: Key, lane: usize) {
        self.floors.clear();
        self.again.insert(key, lane);
    }

    /// A promise cannot be kept: its job is looked at once more.
    pub(crate) fn drop(&mut self, key: Key) {
        if let Some((r, lane)) = self.take(key) {
            self.again.insert(key, lane);
            self.widen(if r.expiration.is_zero() { NEVER } else { r.expiration });
        }
    }

    /// A job waits no more, and has no promise any more.
    pub(crate) fn started(&mut self, key: Key) {
        self.again.remove(&key);
    }

    /// A job of a lane waits no more; tells whether it had a promise, or may have been in the way of others.
    pub(crate) fn forget(&mut self, key: Key, lane: usize) -> bool {
        self.again.remove(&key);
        let held_up = self.full.remove(&lane).is_some();
        let stuck = self.stuck.take_if(|(_, stuck)| *stuck == key).is_some();
        let Some((r, _)) = self.take(key) else { return held_up || stuck };
        self.widen(if r.expiration.is_zero() { NEVER } else { r.expiration });
        true
    }

    /// Somebody has come in at this place of a lane: who is behind must not be in his way. Tells whether anybody was.
    pub(crate) fn came(&mut self, key: Key, lane: usize) -> bool {
        // Who was the last one that was looked at may have left, and comes back to its old place.
        if self.looked.get(&lane).is_some_and(|looked| key <= *looked) {
            self.again.insert(key, lane);
        }
        let behind: Vec<Key> = self.by_key.range(key..).map(|(key, _)| *key).collect();
        if behind.len() > RELEASED_MAX {
            // To make the plan anew costs less than to take so many out of it.
            self.plan = None;
        }
        behind.iter().for_each(|key| self.drop(*key));
        if self.stuck.is_some_and(|(_, stuck)| key < stuck) {
            self.stuck = None;
        }
        !behind.is_empty()
    }

    /// Whose time has come, in the order of the queue.
    pub(crate) fn due(&self, now: Now) -> Vec<Key> {
        let due = self.by_start.iter().take_while(|(start, _)| *start <= now.wall);
        let mut due: Vec<Key> = due.map(|(_, key)| *key).collect();
        due.sort_unstable();
        due
    }

    /// All jobs of a lane are looked at once more, those with promises except.
    pub(crate) fn look_again(&mut self, lane: usize) {
        self.again.retain(|_, other| *other != lane);
        self.looked.remove(&lane);
    }

    /// A lane is closed: nobody in it is promised anything.
    pub(crate) fn close(&mut self, lane: usize) {
        let theirs = self.by_key.iter().filter(|(_, promise)| promise.lane == lane);
        let theirs: Vec<Key> = theirs.map(|(key, _)| *key).collect();
        if theirs.len() > RELEASED_MAX {
            self.plan = None;
        }
        theirs.into_iter().for_each(|key| self.drop(key));
        self.look_again(lane);
    }

    /// A lane has all it may have at once until something is given back.
    pub(crate) fn is_full(&mut self, lane: usize, epoch: u64) {
        self.look_again(lane);
        self.full.insert(lane, epoch);
    }

    pub(crate) fn is_stuck(&self, epoch: u64) -> bool {
        self.stuck.is_some_and(|(known, _)| known == epoch)
    }

    /// This job waits for one who has no known end.
    pub(crate) fn stick(&mut self, key: Key, lane: usize, epoch: u64) {
        self.again.insert(key, lane);
        self.stuck = Some((epoch, key));
    }

    pub(crate) fn is_open(&self, lane: usize, epoch: u64) -> bool {
        self.full.get(&lane) != Some(&epoch)
    }

    /// The first job in the order of the queue that has no promise and was not looked at, of the lanes that are open.
    pub(crate) fn next(&mut self, queue: &Queue, epoch: u64, is_open: impl Fn(usize) -> bool) -> Option<Key> {
        let mut next = None;
        for lane in 0..queue.lanes() {
            if !is_open(lane) || !self.is_open(lane, epoch) {
                continue;
            }
            while let Some(job) = queue.after_in(lane, self.looked.get(&lane).copied()) {
                if !self.has(job.key) {
                    next = Some(next.map_or(job.key, |next| job.key.min(next)));
                    break;
                }
                self.looked.insert(lane, job.key);
            }
        }
        let mut again = self.again.iter();
        let again =
            again.find(|(_, lane)| is_open(**lane) && self.is_open(**lane, epoch)).map(|(key, _)| *key);
        let next = next.into_iter().chain(again).min()?;
        let stuck = self.stuck.filter(|(known, _)| *known == epoch);
        stuck.is_none_or(|(_, stuck)| next < stuck).then_some(next)
    }

    /// This job was looked at.
    pub(crate) fn looked_at(&mut self, key: Key, lane: usize) {
        self.again.remove(&key);
        let looked = self.looked.entry(lane).or_insert(key);
        *looked = key.max(*looked);
    }

    /// The next promise that may move forward, and the time before which that would have to be.
    pub(crate) fn next_to_move(&self) -> Option<(Key, Timestamp)> {
        let gap = self.gap?;
        let from = self.moving.0.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let (key, promise) = self.by_key.range((from, std::ops::Bound::Unbounded)).next()?;
        Some((*key, gap.min(promise.r.starttime)))
    }

    /// It was tried.
    pub(crate) fn has_tried(&mut self, key: Key) {
        self.moving.0 = Some(key);
    }

    /// So much was visited to try it.
    pub(crate) fn add_visits(&mut self, visited: usize) {
        self.moving_visits += visited;
    }

    /// Was enough visited for what was given back? Then the others are moved only if they can start at once.
    pub(crate) fn is_weary(&self) -> bool {
        self.moving_visits >= MOVING_VISITS_MAX
    }

    /// It has moved, and leaves a gap that ends then.
    pub(crate) fn has_moved(&mut self, end: Timestamp) {
        self.floors.clear();
        let end = if end.is_zero() { NEVER } else { end };
        self.gap = self.gap.max(Some(end));
        self.moving.1 = self.moving.1.max(Some(end));
    }

    /// All were tried. What those left behind who moved may be of use to ones ahead of them: then it is done once more.
    pub(crate) fn all_tried(&mut self) -> bool {
        self.gap = self.moving.1.take().filter(|_| !self.is_weary());
        self.moving.0 = None;
        self.gap.is_some()
    }
}
