//! One job: its state as the events so far have made it, and these events, kept small.
//!
//! A million of them have to fit the leader, so what many share is behind an `Arc`, entries are typed
//! events rather than JSON, and what only a running job needs goes when it is over.

use crate::depend::Need;
use crate::event::{Asked, Batch, Brief, Event, Flags, Submit, alloc_context, submit_context};
use flurm_jobspec::Jobspec;
use flurm_types::{Entry, Idset, JobId, JobResult, JobState, R, Timestamp, Urgency};
use flurm_wire::fact::JobSpecText;
use flurm_wire::job::Exception;
use serde_json::Value;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    id: JobId,
    userid: u32,
    flags: Flags,
    urgency_at_submit: Urgency,
    urgency: Urgency,
    state: JobState,
    started: bool,
    priority: i64,
    batch: Option<Batch>,
    number: u32,
    text: JobSpecText,
    brief: Arc<Brief>,
    /// Until the job is over.
    jobspec: Option<Arc<Jobspec>>,
    pub(crate) needs: Vec<Need>,
    given: Given,
    placed: Option<Box<Placed>>,
    /// Ranks not yet released.
    held: Idset,
    status: Option<i32>,
    /// Index of the first fatal exception in `log`.
    fatal: Option<u32>,
    pub(crate) log: Vec<(Timestamp, Line)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Given {
    Nothing,
    R(Arc<R>),
    /// After the end, as JSON.
    Text(Box<str>),
}

/// What a listing says of an R.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Placed {
    pub ranks: Idset,
    pub nodelist: Box<str>,
    pub ncores: u32,
    pub expiration: Timestamp,
}

/// A line of the eventlog; what the job has in fields is not kept twice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Line {
    Submit,
    /// Annotations as text: JSON objects in memory are a kilobyte each.
    Alloc(Option<Box<str>>),
    Event(Event),
}

impl Job {
    /// `number` is Slurm's, which an old log does not have in `submit`.
    pub(crate) fn new(id: JobId, number: u32, submit: &Submit) -> Job {
        let Asked { text, jobspec, brief } = submit.asked.clone();
        Job {
            id,
            userid: submit.userid,
            flags: submit.flags,
            urgency_at_submit: submit.urgency,
            urgency: submit.urgency,
            state: JobState::New,
            started: false,
            priority: 0,
            batch: submit.batch.clone(),
            number,
            text,
            brief,
            jobspec: Some(jobspec),
            needs: Vec::new(),
            given: Given::Nothing,
            placed: None,
            held: Idset::new(),
            status: None,
            fatal: None,
            // A plain job's ten events, without room for more.
            log: Vec::with_capacity(10),
        }
    }

    pub fn id(&self) -> JobId {
        self.id
    }

    /// What Slurm's commands call it.
    pub fn number(&self) -> u32 {
        self.number
    }

    pub fn userid(&self) -> u32 {
        self.userid
    }

    pub fn flags(&self) -> Flags {
        self.flags
    }

    pub fn urgency(&self) -> Urgency {
        self.urgency
    }

    pub fn priority(&self) -> i64 {
        self.priority
    }

    pub fn state(&self) -> JobState {
        self.state
    }

    pub fn started(&self) -> bool {
        self.started
    }

    /// The first job of the array that it is one of.
    pub(crate) fn array(&self) -> Option<JobId> {
        self.brief.array.map(|array| array.id.unwrap_or(self.id))
    }

    /// The job on whose resources it runs, if it is within one.
    pub fn within(&self) -> Option<JobId> {
        self.brief.within
    }

    pub fn brief(&self) -> &Arc<Brief> {
        &self.brief
    }

    pub fn text(&self) -> &JobSpecText {
        &self.text
    }

    /// While the job is active.
    pub fn jobspec(&self) -> Option<&Arc<Jobspec>> {
        self.jobspec.as_ref()
    }

    /// While the job is active.
    pub fn r(&self) -> Option<&Arc<R>> {
        match &self.given {
            Given::R(r) => Some(r),
            Given::Nothing | Given::Text(_) => None,
        }
    }

    pub fn r_json(&self) -> Option<String> {
        match &self.given {
            Given::Nothing => None,
            Given::R(r) => Some(r.to_json()),
            Given::Text(text) => Some(text.to_string()),
        }
    }

    /// Ranks given and not yet released.
    pub fn held(&self) -> &Idset {
        &self.held
    }

    /// Does it have, or did it have, one of these ranks?
    pub fn has_been_on(&self, ranks: &Idset) -> bool {
        self.placed.as_ref().is_some_and(|placed| !placed.ranks.is_disjoint(ranks))
    }

    /// Wait status, once finished.
    pub fn status(&self) -> Option<i32> {
        self.status
    }

    /// The first fatal exception.
    pub fn exception(&self) -> Option<&Exception> {
        let (_, line) = self.log.get(usize::try_from(self.fatal?).ok()?)?;
        match line {
            Line::Event(Event::Exception(raised)) => Some(&raised.exception),
            Line::Event(_) | Line::Submit | Line::Alloc(_) => None,
        }
    }

    /// How it ended; none while it is active.
    pub fn result(&self) -> Option<JobResult> {
        (self.state == JobState::Inactive).then(|| result(self.exception(), self.status))
    }

    /// What the scheduler said with the allocation, and what users keep with `memo`.
    pub fn annotations(&self) -> Option<Value> {
        let mut all = None;
        for (_, line) in &self.log {
            let said = match line {
                Line::Alloc(Some(text)) => parse(text),
                Line::Event(Event::Memo(keys)) => {
                    Value::Object([("user".to_owned(), (**keys).clone())].into_iter().collect())
                }
                Line::Submit | Line::Alloc(None) | Line::Event(_) => continue,
            };
            merge(all.get_or_insert_with(|| Value::Object(Default::default())), &said);
        }
        all
    }

    pub fn t_submit(&self) -> Timestamp {
        self.log.first().map_or(Timestamp::ZERO, |(time, _)| *time)
    }

    /// Of the last event.
    pub fn t_last(&self) -> Timestamp {
        self.log.last().map_or(Timestamp::ZERO, |(time, _)| *time)
    }

    /// Number of events so far.
    pub fn len(&self) -> usize {
        self.log.len()
    }

    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// The eventlog, from that event on.
    pub fn entries(&self, from: usize) -> impl Iterator<Item = Entry> + '_ {
        self.log[from.min(self.log.len())..].iter().map(|(time, line)| match line {
            Line::Submit => {
                let context = submit_context(
                    self.userid,
                    self.urgency_at_submit,
                    self.flags,
                    self.number,
                    self.batch.as_ref(),
                );
                Entry::new(*time, "submit").with_context(context)
            }
            Line::Alloc(annotations) => Entry {
                timestamp: *time,
                name: "alloc".to_owned(),
                context: alloc_context(annotations.as_deref().map(parse).as_ref()),
            },
            Line::Event(event) => event.entry(*time),
        })
    }

    /// Has this event happened?
    pub fn has(&self, event: &str) -> bool {
        self.log.iter().any(|(_, line)| match line {
            Line::Submit => event == "submit",
            Line::Alloc(_) => event == "alloc",
            Line::Event(e) => e.name() == event,
        })
    }

    /// What it still waits for, as in `dependency-add`.
    pub fn dependencies(&self) -> Vec<String> {
        self.needs.iter().map(Need::to_string).collect()
    }

    pub(crate) fn placed(&self) -> Option<&Placed> {
        self.placed.as_deref()
    }

    /// When its time is over; none unless it runs under a limit.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let expiration = self.placed.as_ref()?.expiration;
        (self.state == JobState::Run && !expiration.is_zero()).then_some(expiration)
    }

    pub(crate) fn apply(&mut self, time: Timestamp, event: &Event) {
        let line = match event {
            Event::Submit(_) => Line::Submit,
            Event::Alloc(alloc) => Line::Alloc(alloc.annotations.as_ref().map(|a| a.to_string().into())),
            other => Line::Event(other.clone()),
        };
        self.log.push((time, line));
        match event {
            Event::Validate => self.step(JobState::New, JobState::Depend),
            Event::DependencyAdd(description) => self.needs.extend(Need::of_description(description)),
            Event::DependencyRemove(description) => {
                if let Some(need) = Need::of_description(description) {
                    self.needs.retain(|n| *n != need);
                }
            }
            Event::Depend => self.step(JobState::Depend, JobState::Priority),
            Event::Priority(priority) => {
                self.priority = *priority;
                self.step(JobState::Priority, JobState::Sched);
            }
            Event::Urgency { urgency, .. } => self.urgency = *urgency,
            Event::FluxRestart => self.step(JobState::Sched, JobState::Priority),
            Event::Alloc(alloc) => {
                self.held = alloc.r.ranks();
                self.placed = Some(Box::new(Placed {
                    ranks: self.held.clone(),
                    nodelist: alloc.r.hostlist().to_string().into(),
                    ncores: u32::try_from(alloc.r.ncores()).unwrap_or(u32::MAX),
                    expiration: alloc.r.expiration,
                }));
                self.given = Given::R(alloc.r.clone());
                self.step(JobState::Sched, JobState::Run);
            }
            Event::JobspecUpdate(keys) => self.amend(keys),
            Event::ResourceUpdate(expiration) => {
                if let Some(placed) = &mut self.placed {
                    placed.expiration = *expiration;
                }
                if let Given::R(r) = &mut self.given {
                    Arc::make_mut(r).expiration = *expiration;
                }
            }
            Event::Start => self.started = true,
            Event::Finish(status) => {
                self.status = Some(*status);
                self.step(JobState::Run, JobState::Cleanup);
            }
            Event::Release(release) => self.held = self.held.difference(&release.ranks),
            Event::Exception(raised) if raised.is_fatal() && self.state != JobState::Inactive => {
                if self.fatal.is_none() {
                    self.fatal = u32::try_from(self.log.len() - 1).ok();
                }
                self.needs = Vec::new();
                self.state = JobState::Cleanup;
            }
            Event::Clean => {
                self.state = JobState::Inactive;
                self.pack();
            }
            Event::Submit(_)
            | Event::Free
            | Event::Exception(_)
            | Event::Memo(_)
            | Event::Purge
            | Event::Queue(_)
            | Event::Other(_) => {}
        }
    }

    fn step(&mut self, from: JobState, to: JobState) {
        if self.state == from {
            self.state = to;
        }
    }

    /// The jobspec with other values. What makes no jobspec was refused before it could become an event.
    fn amend(&mut self, keys: &Value) {
        let (Ok(mut spec), Some(keys)) =
            (serde_json::from_str::<Value>(&self.text.jobspec), keys.as_object())
        else {
            return;
        };
        for (key, value) in keys {
            set(&mut spec, key, value);
        }
        let environment = self.text.environment.clone();
        let Ok(jobspec) = Jobspec::parse_with_environment(&spec.to_string(), environment.clone()) else {
            return;
        };
        let text = JobSpecText { jobspec: jobspec.to_json_without_environment().into(), environment };
        let Asked { text, jobspec, brief } = Asked::new(text, Arc::new(jobspec));
        (self.text, self.jobspec, self.brief) = (text, Some(jobspec), brief);
    }

    /// Lets go of what only an active job needs.
    fn pack(&mut self) {
        self.jobspec = None;
        if let Given::R(r) = &self.given {
            self.given = Given::Text(r.to_json().into());
        }
        self.log.shrink_to_fit();
    }
}

/// RFC 21's result, from the first fatal exception and the wait status.
pub(crate) fn result(exception: Option<&Exception>, status: Option<i32>) -> JobResult {
    match (exception.map(|e| e.kind.as_str()), status) {
        (Some("timeout"), _) => JobResult::Timeout,
        (Some("cancel"), _) => JobResult::Canceled,
        (None, Some(0)) => JobResult::Completed,
        (Some(_), _) | (None, _) => JobResult::Failed,
    }
}

/// Sets what is at a dotted key; null removes it.
pub fn set(object: &mut Value, key: &str, value: &Value) {
    let (dirs, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut at = object;
    for dir in dirs.split('.').filter(|dir| !dir.is_empty()) {
        if !at.is_object() {
            return;
        }
        at = &mut at[dir];
        if at.is_null() {
            *at = Value::Object(Default::default());
        }
    }
    let Some(map) = at.as_object_mut() else { return };
    if value.is_null() {
        map.remove(name);
    } else {
        map.insert(name.to_owned(), value.clone());
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("we wrote it as JSON")
}

/// Objects key by key; null removes.
fn merge(into: &mut Value, from: &Value) {
    let (Some(map), Some(new)) = (into.as_object_mut(), from.as_object()) else {
        *into = from.clone();
        return;
    };
    for (key, value) in new {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Object(Default::default())), value);
        }
    }
}
