//! From requests to events: what is allowed, and what follows by itself.
//!
//! A decision about one job may reach others: who waited for it goes on, or can never go on and ends, and
//! that reaches further. [`Draft`] follows until nothing more happens, without touching the manager.

use crate::array::Crowd;
use crate::depend::{Course, Need, Verdict};
use crate::event::{Alloc, Event, Gate, QUEUE, Raised, Release, Submit};
use crate::job::{self, Job};
use crate::manager::Manager;
use flurm_types::{Fsd, Idset, JobId, JobState, Now, R, Timestamp, Urgency};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Priority of an expedited job: the largest of RFC 21.
const PRIORITY_MAX: i64 = 4_294_967_295;

#[derive(Clone, Debug)]
pub enum Request {
    Submit {
        id: JobId,
        submit: Box<Submit>,
    },
    Raise {
        id: JobId,
        raised: Raised,
    },
    Urgency {
        id: JobId,
        urgency: Urgency,
        userid: u32,
    },
    /// The scheduler's answer.
    Alloc {
        id: JobId,
        r: Arc<R>,
        annotations: Option<Value>,
    },
    /// All ranks run it.
    Start {
        id: JobId,
    },
    /// On no rank is anything left of it.
    Finish {
        id: JobId,
        status: i32,
    },
    /// These ranks have nothing of it any more.
    Release {
        id: JobId,
        ranks: Idset,
    },
    Memo {
        id: JobId,
        keys: Value,
    },
    /// Another jobspec than was submitted, by dotted keys; and for a job that runs, another end.
    Update {
        id: JobId,
        keys: Value,
        expiration: Option<Timestamp>,
    },
    /// Forget a job that is over.
    Purge {
        id: JobId,
    },
    /// A note for those who debug.
    Note {
        id: JobId,
        name: String,
    },
    /// The brokers and shells of before are gone, and all that ran with them.
    Restart {
        id: JobId,
    },
    /// Time has passed, see [`Manager::next_tick`].
    Tick,
    Queue(Gate),
}

#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("job submission{} is disabled{}", to(queue), because(reason))]
    Disabled { queue: String, reason: String },
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    #[error("there is a job {0} already")]
    Exists(JobId),
    #[error("job {0} is inactive")]
    Inactive(JobId),
    #[error("job {0} is not over")]
    Active(JobId),
    #[error("{0}")]
    Dependency(String),
    #[error("job {0} has its resources already")]
    Placed(JobId),
    /// Of a job within a job.
    #[error("{0}")]
    Within(String),
    #[error("job {0} cannot let go of what a job within it still has")]
    Occupied(JobId),
    /// An answer that nobody waits for any more.
    #[error("job {0} does not wait for this")]
    Late(JobId),
    #[error("rank {rank} has resources for job {id} that job {holder} holds")]
    Overlap { id: JobId, rank: u32, holder: JobId },
}

impl Manager {
    /// What the request leads to; nothing is changed by asking.
    ///
    /// # Errors
    /// When the request is not allowed in the state of things, with the reason.
    pub fn decide(&self, now: Now, request: &Request) -> Result<Vec<(JobId, Event)>, Refusal> {
        let mut draft = Draft::new(self, now);
        match request {
            Request::Submit { id, submit } => draft.submit(*id, submit)?,
            Request::Raise { id, raised } => draft.raise(self.active_job(*id)?, raised.clone()),
            Request::Urgency { id, urgency, userid } => {
                let job = self.active_job(*id)?;
                if !job.held().is_empty() || job.state() == JobState::Cleanup {
                    return Err(Refusal::Placed(*id));
                }
                draft.say(*id, Event::Urgency { urgency: *urgency, userid: *userid });
                if job.state() == JobState::Sched {
                    draft.say(*id, Event::Priority(priority(*urgency)));
                }
            }
            Request::Alloc { id, r, annotations } => {
                if self.active_job(*id)?.state() != JobState::Sched {
                    return Err(Refusal::Late(*id));
                }
                if let Some((holder, rank)) = self.ledger.holder(r) {
                    return Err(Refusal::Overlap { id: *id, rank, holder });
                }
                let alloc = Alloc { r: r.clone(), annotations: annotations.clone() };
                draft.say(*id, Event::Alloc(Box::new(alloc)));
            }
            Request::Start { id } => {
                let job = self.active_job(*id)?;
                if job.started() || job.held().is_empty() {
                    return Err(Refusal::Late(*id));
                }
                draft.say(*id, Event::Start);
                draft.happened.push_back(Course { started: true, ..Course::from(job) });
            }
            Request::Finish { id, status } => {
                let job = self.active_job(*id)?;
                if job.status().is_some() || job.held().is_empty() {
                    return Err(Refusal::Late(*id));
                }
                draft.say(*id, Event::Finish(*status));
                draft.end_within(job, "cancel", "");
            }
            Request::Release { id, ranks } => draft.release(self.active_job(*id)?, ranks)?,
            Request::Memo { id, keys } => {
                draft.say(self.active_job(*id)?.id(), Event::Memo(Box::new(keys.clone())));
            }
            Request::Update { id, keys, expiration } => {
                let job = self.active_job(*id)?;
                if job.state() == JobState::Cleanup {
                    return Err(Refusal::Late(*id));
                }
                if keys.as_object().is_some_and(|keys| !keys.is_empty()) {
                    draft.say(*id, Event::JobspecUpdate(Box::new(keys.clone())));
                }
                if let Some(expiration) = expiration.filter(|_| job.state() == JobState::Run) {
                    draft.say(*id, Event::ResourceUpdate(expiration));
                    draft.move_within(job, expiration);
                }
            }
            Request::Purge { id } => {
                if self.job(*id).ok_or(Refusal::NoSuchJob(*id))?.state() != JobState::Inactive {
                    return Err(Refusal::Active(*id));
                }
                let inner = self.inner(*id).into_iter().flat_map(|inner| &inner.over);
                inner.for_each(|inner| draft.say(*inner, Event::Purge));
                draft.say(*id, Event::Purge);
            }
            Request::Note { id, name } => {
                let other = crate::event::Other { name: name.clone(), context: None };
                draft.say(self.active_job(*id)?.id(), Event::Other(Box::new(other)));
            }
            Request::Restart { id } => draft.restart(self.active_job(*id)?),
            Request::Tick => draft.tick(),
            Request::Queue(gate) => draft.say(QUEUE, Event::Queue(Box::new(gate.clone()))),
        }
        draft.follow();
        Ok(draft.events)
    }

    fn active_job(&self, id: JobId) -> Result<&Job, Refusal> {
        let job = self.job(id).ok_or(Refusal::NoSuchJob(id))?;
        if job.state() == JobState::Inactive { Err(Refusal::Inactive(id)) } else { Ok(job) }
    }
}

/// Nobody has to give a reason.
fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

fn to(queue: &str) -> String {
    if queue.is_empty() { String::new() } else { format!(" to queue {queue}") }
}

fn priority(urgency: Urgency) -> i64 {
    if urgency == Urgency::EXPEDITE { PRIORITY_MAX } else { i64::from(urgency.get()) }
}

/// A decision in the making.
pub(crate) struct Draft<'a> {
    pub(crate) manager: &'a Manager,
    pub(crate) now: Now,
    events: Vec<(JobId, Event)>,
    /// Needs that this decision meets.
    met: BTreeMap<JobId, Vec<Need>>,
    /// Jobs that this decision ends.
    ended: BTreeSet<JobId>,
    /// Jobs within others that this decision tells to end.
    pub(crate) ending: BTreeSet<JobId>,
    /// What others may have waited for, not yet looked at.
    happened: VecDeque<Course>,
    /// Arrays as they will be after this decision.
    crowds: BTreeMap<JobId, Crowd>,
}

impl<'a> Draft<'a> {
    fn new(manager: &'a Manager, now: Now) -> Draft<'a> {
        let (events, met, ended, ending, happened, crowds) = Default::default();
        Draft { manager, now, events, met, ended, ending, happened, crowds }
    }

    pub(crate) fn say(&mut self, id: JobId, event: Event) {
        self.events.push((id, event));
    }

    fn submit(&mut self, id: JobId, submit: &Submit) -> Result<(), Refusal> {
        if id == QUEUE || self.manager.job(id).is_some() {
            return Err(Refusal::Exists(id));
        }
        if let Some(within) = &submit.asked.jobspec.attributes().within {
            return self.submit_within(id, submit, within);
        }
        let queue = &submit.asked.brief.queue;
        if let Some(reason) = self.manager.gates().of(queue).disabled {
            return Err(Refusal::Disabled { queue: queue.to_string(), reason });
        }
        let mut needs = Vec::new();
        for dependency in &submit.asked.jobspec.attributes().dependencies {
            let need = Need::read(&dependency.scheme, &dependency.value).map_err(Refusal::Dependency)?;
            if let Some(target) = need.target()
                && self.manager.job(target).is_none()
            {
                let text = format!("{}: there is no job {target}", dependency.scheme);
                return Err(Refusal::Dependency(text));
            }
            if !needs.contains(&need) {
                needs.push(need);
            }
        }
        if let Some(array) = &submit.asked.brief.array {
            if let Some(first) = array.id.filter(|first| self.manager.job(*first).is_none()) {
                return Err(Refusal::Dependency(format!("array: there is no job {first}")));
            }
            let place = array.throttle.map(|most| Need::Place { array: array.id.unwrap_or(id), most });
            // One that has its place at once never hears of it.
            needs.extend(place.filter(|place| self.verdict_at_submit(*place, submit) == Verdict::Open));
        }
        let number = self.manager.number_next();
        self.say(id, Event::Submit(Box::new(Submit { number, ..submit.clone() })));
        self.say(id, Event::Validate);
        for need in &needs {
            self.say(id, Event::DependencyAdd(need.to_string().into()));
        }
        let mut open = false;
        for need in needs {
            match self.verdict_at_submit(need, submit) {
                Verdict::Open => open = true,
                Verdict::Met => self.say(id, Event::DependencyRemove(need.to_string().into())),
                Verdict::Never(why) => {
                    self.say(id, Event::Exception(Box::new(never(need, why))));
                    self.say(id, Event::Clean);
                    return Ok(());
                }
            }
        }
        if !open {
            self.say(id, Event::Depend);
            self.say(id, Event::Priority(priority(submit.urgency)));
        }
        Ok(())
    }

    fn verdict_at_submit(&self, need: Need, submit: &Submit) -> Verdict {
        let met = match need {
            Need::After(_, target) => {
                let own = submit.asked.brief.array.and_then(|array| array.id);
                let course = self.manager.job(target).map(|job| match job.array() {
                    Some(array) if array == target && own != Some(array) => {
                        self.manager.crowd(array).course(array)
                    }
                    Some(_) | None => job.into(),
                });
                return course.map_or(Verdict::Open, |course| need.verdict(course));
            }
            Need::One(_, target) => {
                let course = self.manager.job(target).map(Course::from);
                return course.map_or(Verdict::Open, |course| need.verdict(course));
            }
            Need::Singleton => self.manager.namesakes(&submit.asked.brief.name).next().is_none(),
            Need::BeginTime(time) => time <= self.now.wall,
            Need::Place { array, most } => self
                .manager
                .members(array)
                .is_none_or(|members| members.waiting.is_empty() && members.active.len() < most as usize),
        };
        if met { Verdict::Met } else { Verdict::Open }
    }

    pub(crate) fn raise(&mut self, job: &Job, raised: Raised) {
        let fatal = raised.is_fatal();
        let kind = raised.exception.kind.clone();
        let first = job.exception().unwrap_or(&raised.exception).clone();
        self.say(job.id(), Event::Exception(Box::new(raised)));
        if fatal && job.held().is_empty() {
            self.clean(job, job::result(Some(&first), job.status()), true);
        }
        if fatal {
            self.end_within(job, &kind, &format!(" ({kind})"));
        }
    }

    fn release(&mut self, job: &Job, ranks: &Idset) -> Result<(), Refusal> {
        if ranks.is_empty() || !ranks.is_subset(job.held()) || job.state() != JobState::Cleanup {
            return Err(Refusal::Late(job.id()));
        }
        if !ranks.is_disjoint(&self.manager.held_within(job.id())) {
            return Err(Refusal::Occupied(job.id()));
        }
        let last = ranks == job.held();
        self.say(job.id(), Event::Release(Box::new(Release { ranks: ranks.clone(), last })));
        if last {
            self.say(job.id(), Event::Free);
            self.clean(job, job::result(job.exception(), job.status()), job.exception().is_some());
        }
        Ok(())
    }

    fn restart(&mut self, job: &Job) {
        let manager = self.manager;
        manager.within(job.id()).for_each(|inner| self.restart(inner));
        if job.state() == JobState::Sched {
            self.say(job.id(), Event::FluxRestart);
            self.say(job.id(), Event::Priority(priority(job.urgency())));
        }
        if !job.held().is_empty() {
            let raised = Raised::fatal("node-failure", "the instance was restarted");
            let first = job.exception().unwrap_or(&raised.exception).clone();
            self.say(job.id(), Event::Exception(Box::new(raised)));
            let release = Release { ranks: job.held().clone(), last: true };
            self.say(job.id(), Event::Release(Box::new(release)));
            self.say(job.id(), Event::Free);
            self.clean(job, job::result(Some(&first), job.status()), true);
        }
    }

    fn tick(&mut self) {
        for job in self.manager.due(self.now.wall) {
            for need in &job.needs {
                if matches!(need, Need::BeginTime(time) if *time <= self.now.wall) {
                    self.meet(job, *need);
                }
            }
            let over = job.deadline().is_some_and(|deadline| deadline <= self.now.wall);
            if over && !self.ending.contains(&job.id()) {
                let note = match Fsd::from_secs(job.brief().duration) {
                    Some(limit) if limit > Fsd::ZERO => format!("the time limit of {limit} is over"),
                    _ => "the allocation of the instance is over".to_owned(),
                };
                self.raise(job, Raised::fatal("timeout", note));
            }
        }
    }

    fn clean(&mut self, job: &Job, result: flurm_types::JobResult, excepted: bool) {
        self.say(job.id(), Event::Clean);
        self.ended.insert(job.id());
        self.happened.push_back(Course {
            id: job.id(),
            started: job.started(),
            result: Some(result),
            excepted,
        });
    }

    fn meet(&mut self, job: &Job, need: Need) {
        let met = self.met.entry(job.id()).or_default();
        if met.contains(&need) {
            return;
        }
        met.push(need);
        let all = met.len() == job.needs.len();
        self.say(job.id(), Event::DependencyRemove(need.to_string().into()));
        if all {
            self.say(job.id(), Event::Depend);
            self.say(job.id(), Event::Priority(priority(job.urgency())));
        }
    }

    /// Until nobody is left who waited for what has happened.
    fn follow(&mut self) {
        while let Some(course) = self.happened.pop_front() {
            let array = self.array_of(course);
            for waiter in self.manager.waiters(course.id) {
                // The first job of an array stands for all of them, but not for those who are in it themselves.
                let stands =
                    array.is_some_and(|array| array.id == course.id && waiter.array() != Some(array.id));
                self.reach(waiter, course, |need| !stands || matches!(need, Need::One(..)));
            }
            if let Some(array) = array {
                for waiter in self.manager.waiters(array.id).filter(|job| job.array() != Some(array.id)) {
                    self.reach(waiter, array, |need| !matches!(need, Need::One(..)));
                }
            }
            if course.result.is_some()
                && let Some(job) = self.manager.job(course.id)
            {
                self.next_singleton(&job.brief().name);
                self.next_of_array(job);
            }
        }
    }

    /// With this course of one of its jobs, that of its array.
    fn array_of(&mut self, course: Course) -> Option<Course> {
        let array = self.manager.job(course.id)?.array()?;
        let manager = self.manager;
        let crowd = self.crowds.entry(array).or_insert_with(|| manager.crowd(array));
        crowd.note(course);
        Some(crowd.course(array))
    }

    fn reach(&mut self, waiter: &Job, course: Course, is_meant: impl Fn(&Need) -> bool) {
        for need in waiter.needs.iter().filter(|need| is_meant(need)) {
            if self.ended.contains(&waiter.id()) {
                return;
            }
            match need.verdict(course) {
                Verdict::Open => {}
                Verdict::Met => self.meet(waiter, *need),
                Verdict::Never(why) => self.raise(waiter, never(*need, why)),
            }
        }
    }

    fn next_singleton(&mut self, name: &Arc<str>) {
        let oldest = self.manager.namesakes(name).find(|id| !self.ended.contains(id));
        if let Some(job) = oldest.and_then(|id| self.manager.job(id))
            && job.needs.contains(&Need::Singleton)
        {
            self.meet(job, Need::Singleton);
        }
    }
}

impl Draft<'_> {
    /// Gives the places that are free in the array of a job that has ended to those who wait longest.
    fn next_of_array(&mut self, ended: &Job) {
        let Some(array) = ended.brief().array.map(|array| array.id.unwrap_or(ended.id())) else { return };
        let Some(members) = self.manager.members(array) else { return };
        // As they will be when this decision is done.
        let left =
            self.ended.iter().filter(|id| members.active.contains(id) && !members.waiting.contains(id));
        let is_place = |need: &Need| matches!(need, Need::Place { .. });
        let given = self.met.iter().filter(|(id, met)| {
            members.waiting.contains(id) && met.iter().any(is_place) && !self.ended.contains(id)
        });
        let mut taken = members.active.len() - members.waiting.len() - left.count() + given.count();
        for waiting in &members.waiting {
            let Some(job) = self.manager.job(*waiting).filter(|job| !self.ended.contains(&job.id())) else {
                continue;
            };
            let Some(place) = job.needs.iter().copied().find(is_place) else { continue };
            if self.met.get(waiting).is_some_and(|met| met.contains(&place)) {
                continue;
            }
            let Need::Place { most, .. } = place else { continue };
            if taken >= most as usize {
                break;
            }
            self.meet(job, place);
            taken += 1;
        }
    }
}

fn never(need: Need, why: &str) -> Raised {
    let note = match need.target() {
        Some(target) => format!("{need} can never be met: {target} {why}"),
        None => format!("{need} can never be met: {why}"),
    };
    Raised::fatal("dependency", note)
}
