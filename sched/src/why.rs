//! Why a job waits, and when it starts.
//!
//! Both are looked for when somebody asks. Whoever has no promise gets an estimate: those ahead of him are given the
//! earliest places one after the other, as if everybody stayed as long as he said. That is done for so many, and no more:
//! an answer must not hold up the scheduler.

use crate::running::Load;
use crate::{Policy, Sched, group::Wants, queue::Pending};
use flurm_resource_graph::{Plan, span};
use flurm_types::{JobId, Now, Timestamp, counted};
use std::collections::BTreeMap;

/// Jobs ahead of one that are given places before it.
const AHEAD_MAX: usize = 2000;

/// Vertices of the graph that an answer may look at: a few milliseconds.
const WHY_VISITS_MAX: usize = 1 << 16;

/// The end of what has no known end.
const NEVER: Timestamp = Timestamp(i64::MAX);

/// Why a pending job does not run yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Why {
    /// In words, for its owner.
    pub reason: String,
    /// The job that it waits for, if it is one: ahead in the queue, or delayed if this one ran now.
    pub blocked_by: Option<JobId>,
    /// When it starts, if those that run stay as long as they said and nobody more urgent comes; none if nobody
    /// knows.
    pub earliest: Option<Timestamp>,
}

impl Sched {
    /// Why a pending job does not run yet; `None` if it is not pending. Looks for the answer when it is asked.
    #[must_use]
    pub fn why(&self, id: JobId, now: Now) -> Option<Why> {
        let because = |reason: String| Some(Why { reason, blocked_by: None, earliest: None });
        if let Some(reason) = self.groups.why(id) {
            return because(reason);
        }
        let id = self.groups.first(id).unwrap_or(id);
        let job = self.queue.get(id)?;
        if !self.started {
            return because(
                "scheduling is stopped: no job gets resources until it is started again".to_owned(),
            );
        }
        if self.inventories == 0 {
            return because("waits for the resources of this instance to become known".to_owned());
        }
        if let Some((queue, _)) = self.config.queue(job.lane).filter(|(_, queue)| queue.stopped) {
            return because(format!("queue {queue} is stopped"));
        }
        if let Err(why) = self.is_still_satisfiable(job, now) {
            return because(why);
        }
        let wants = self.wants(job);
        let load = Load { jobs: self.members(id).len() as u32, cores: self.graph.cores_at_least(&wants) };
        if let Some(excess) = self.excess(job.lane, self.promises.load(job.lane).and(load))
            && (self.passes() || self.queue.ahead(id).next().is_none())
        {
            // A plan knows what is free when, not what a queue may have then.
            return because(excess);
        }
        let mut plan = self.graph.plan(now.wall, self.promises.all().map(|(key, r)| (key.3, r)));
        let estimate = self.estimate(job, &wants, &mut plan, now);
        let promised = self.promises.get(job.key).map(|r| r.starttime).filter(|start| *start > now.wall);
        let earliest = promised.or(estimate);
        Some(Why { earliest, ..self.reason(job, &wants, &mut plan, earliest.is_none(), now) })
    }

    /// The start that its owner has been told, without looking for a better answer.
    #[must_use]
    pub fn promised(&self, id: JobId) -> Option<Timestamp> {
        self.queue.get(self.groups.first(id).unwrap_or(id))?.told.flatten()
    }

    /// The earliest start of a job behind those ahead of it, which are put into the plan.
    fn estimate(&self, job: &Pending, wants: &Wants, plan: &mut Plan, now: Now) -> Option<Timestamp> {
        let mut visited = 0;
        // Where nobody passes, nobody starts before those ahead of him in his queue.
        let mut last: BTreeMap<usize, Timestamp> = BTreeMap::new();
        let mut looked: BTreeMap<usize, crate::queue::Key> = BTreeMap::new();
        for _ in 0..AHEAD_MAX {
            let open = (0..self.queue.lanes()).filter(|lane| !self.config.is_stopped(*lane));
            let firsts = open.filter_map(|lane| self.queue.after_in(lane, looked.get(&lane).copied()));
            let next = firsts.min_by_key(|job| job.key)?;
            let from = last.get(&next.lane).copied().unwrap_or(now.wall);
            looked.insert(next.lane, next.key);
            if next.id == job.id {
                let r = self.graph.earliest(plan, job.id, wants, (from, NEVER), &mut visited)?;
                return Some(r.starttime);
            }
            let promised = self.promises.get(next.key);
            let start = if promised.is_some() {
                promised.map(|r| r.starttime)
            } else {
                let ahead = self.wants(next);
                let found = self.graph.earliest(plan, next.id, &ahead, (from, NEVER), &mut visited);
                found.map(|r| {
                    self.graph.reserve(plan, next.id, &r);
                    r.starttime
                })
            };
            if !self.passes() {
                last.insert(next.lane, start.unwrap_or(NEVER));
            }
            if visited >= WHY_VISITS_MAX {
                return None;
            }
        }
        None
    }

    /// May jobs pass others of their queue?
    fn passes(&self) -> bool {
        match self.config.policy {
            Policy::Fcfs | Policy::Sjf => false,
            Policy::Easy | Policy::Conservative | Policy::Hybrid { .. } => true,
        }
    }

    /// Why a job does not run now, with those ahead of it in the plan.
    fn reason(&self, job: &Pending, wants: &Wants, plan: &mut Plan, unknown: bool, now: Now) -> Why {
        let mut ahead = self.queue.ahead(job.id);
        let first = ahead.next().map(|first| first.id);
        let more = ahead.count();
        let why = |reason: String, blocked_by| Why { reason, blocked_by, earliest: None };
        if let Some(first) = first.filter(|_| !self.passes()) {
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            return why(format!("blocked by {first}{more} ahead in the queue"), Some(first));
        }
        let Some(r) = self.graph.fit_now(wants, now.wall, &mut 0) else {
            let others = first.map_or(0, |_| 1 + more);
            let behind = match others {
                0 => String::new(),
                _ if !unknown => String::new(),
                others => format!(", behind {}", counted(others as u64, "other")),
            };
            return why(self.graph.shortage(wants, now.wall) + &behind, None);
        };
        self.graph.reserve(plan, job.id, &r);
        let delayed = plan.broken_by(job.id).into_iter().filter_map(|id| Some((self.queue.get(id)?.key, id)));
        match delayed.min().map(|(_, id)| id).or(first) {
            None => why("is the next to get resources".to_owned(), None),
            Some(other) => {
                let start = plan.begins(other).or(self.promised(other)).filter(|start| *start > now.wall);
                let when =
                    start.map(|start| format!(", which is to start in {}", span(start.secs_since(now.wall))));
                why(format!("running now would delay {other}{}", when.unwrap_or_default()), Some(other))
            }
        }
    }
}
