//! A client that schedules instead of the built-in scheduler (RFC 27).
//!
//! ```text
//!              sched.serve              stream ends, an answer that cannot be, or none in time
//!  built-in ────────────────► external ────────────────────────────────────────────────────► built-in
//! ```
//!
//! The built-in scheduler goes on keeping the books: it hears of everything as before, and of what the other one has
//! given, but has no cycles. So it can take over at any time, and no job depends on who schedules.

use super::{Jobs, wire_error};
use crate::cx::{Cx, asker};
use flurm_job_manager::{Raised, Refusal, Request};

use flurm_sched::{SchedInput, SchedOutput, span};
use flurm_types::{Idset, JobId, R, RNode, Timestamp};
use flurm_wire::job::Done;
use flurm_wire::sched::{Answer, AnswerKind, News, NewsKind, Serve, Served};
use flurm_wire::{Address, ErrorCode, Message, WireError};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Bytes of jobspecs and R in one message, or what is left of it when one of them is longer.
const NEWS_BYTES_MAX: usize = 1 << 20;
const NAME_LEN_MAX: usize = 64;
/// Of a note, which becomes part of a job's eventlog.
const NOTE_LEN_MAX: usize = 1 << 10;
/// Of annotations in JSON, which are part of every listing.
const ANNOTATIONS_LEN_MAX: usize = 16 << 10;
/// Of a node in an R where no two are alike, and then some.
const NODE_BYTES: usize = 128;
/// How long it may say nothing when nobody has configured that: longer than programs compute that people wait for.
const TIMEOUT_S: f64 = 30.0;

/// Who schedules, and who did.
#[derive(Debug, Default)]
pub(super) struct Seat {
    external: Option<External>,
    /// The stream of the external one is gone.
    gone: bool,
    /// Why the last one is it no longer.
    failed: Option<String>,
}

#[derive(Debug)]
struct External {
    asker: Message,
    name: String,
    /// Jobs that it knows to wait.
    offered: BTreeSet<JobId>,
    /// The ranks that it knows to be usable.
    usable: Idset,
    news: Vec<News>,
    /// Monotonic time by which it answers anything at all: it was told of something while jobs wait.
    answers_by: Option<u64>,
}

impl Seat {
    pub fn is_external(&self) -> bool {
        self.external.is_some()
    }

    /// True if that was the scheduler's request.
    pub fn cancel(&mut self, src: Address, tag: u64) {
        self.gone |= self.external.as_ref().is_some_and(|e| (e.asker.src, e.asker.tag) == (src, tag));
    }

    /// For `flurm queue status`.
    pub fn describe(&self, built_in: &str) -> String {
        match (&self.external, &self.failed) {
            (Some(external), _) => format!("external, {}", external.name),
            (None, Some(why)) => format!("built-in, {built_in} ({why})"),
            (None, None) => format!("built-in, {built_in}"),
        }
    }

    /// For a job about which it has said nothing.
    pub fn waits(&self) -> Option<String> {
        self.external.as_ref().map(|external| format!("waits for the external scheduler {}", external.name))
    }
}

impl Jobs {
    pub(super) fn serve(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let Serve { name } = m.body()?;
        let name = if name.is_empty() { "a client without a name".to_owned() } else { name };
        if name.len() > NAME_LEN_MAX || name.contains(char::is_control) {
            let text =
                format!("a scheduler's name has up to {NAME_LEN_MAX} bytes, none of them control characters");
            return Err(WireError::new(ErrorCode::Invalid, text));
        }
        self.look_after_seat(cx);
        if let Some(other) = &self.seat.external {
            let text = format!("{} schedules already", other.name);
            return Err(WireError::new(ErrorCode::Exists, text)
                .hint("end it first; the built-in scheduler takes over"));
        }
        cx.log(6, "sched", format!("the external scheduler {name} takes over"));
        let mut news: Vec<News> = Vec::new();
        for job in self.manager.active().filter(|job| job.within().is_none()) {
            if let Some(r) = job.r().filter(|_| !job.held().is_empty()) {
                news.push(News {
                    id: Some(job.id()),
                    priority: Some(job.priority()),
                    t_submit: Some(job.t_submit()),
                    r: Some(r.restrict(job.held())),
                    ..News::new(NewsKind::Hello)
                });
            }
        }
        let graph = self.sched.graph();
        let usable = graph.up().difference(&graph.drained());
        news.push(all_there_is(graph.inventory(), &usable));
        let offered = BTreeSet::new();
        self.seat = Seat {
            external: Some(External { asker: asker(m), name, offered, usable, news, answers_by: None }),
            ..Seat::default()
        };
        self.annotations.clear();
        self.offer_all();
        Ok(())
    }

    pub(super) fn sched_answer(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let Some(external) = self.seat.external.as_mut().filter(|e| e.asker.src == m.src) else {
            let text = "only the client that has sent sched.serve schedules";
            return Err(WireError::new(ErrorCode::Denied, text));
        };
        external.answers_by = None;
        let impossible = match m.body::<Answer>().and_then(within_limits) {
            Err(error) => error,
            Ok(Answer { id, .. }) if self.manager.job(id).is_none() => {
                WireError::new(ErrorCode::NotFound, format!("there is no job {id}"))
            }
            Ok(Answer { id, kind: AnswerKind::Alloc, r: None, .. }) => {
                WireError::new(ErrorCode::Invalid, format!("job {id} gets no R"))
            }
            Ok(Answer { id, kind: AnswerKind::Alloc, r: Some(r), annotations, .. }) => {
                match self.complete(cx, id, r) {
                    Ok(r) => match self.give(cx, id, r, annotations) {
                        Ok(()) => {
                            cx.respond(m, &Done {});
                            return Ok(());
                        }
                        Err(error) => error,
                    },
                    Err(error) => error,
                }
            }
            Ok(Answer { id, kind, note, annotations, .. }) => {
                // A job that has just gone is none of its business any more.
                if external.offered.contains(&id) {
                    match kind {
                        AnswerKind::Deny => {
                            let note =
                                if note.is_empty() { "denied by the scheduler".to_owned() } else { note };
                            external.offered.remove(&id);
                            self.expect(cx, &Request::Raise { id, raised: Raised::fatal("alloc", note) });
                        }
                        AnswerKind::Annotate => {
                            self.annotations.insert(id, annotations.unwrap_or_default());
                        }
                        AnswerKind::Alloc | AnswerKind::Cancel => {}
                    }
                }
                cx.respond(m, &Done {});
                return Ok(());
            }
        };
        self.take_back(cx, &format!("its answer cannot be: {impossible}"));
        Err(impossible)
    }

    /// R as the leader would have written it, if it can be had at all.
    fn complete(&self, cx: &Cx, id: JobId, r: Value) -> Result<R, WireError> {
        let impossible = |text: String| WireError::new(ErrorCode::Invalid, text);
        let inventory = self.sched.graph().inventory();
        if r.get("scheduling").is_some_and(|foreign| !foreign.is_null()) {
            let text =
                format!("R of job {id} has a key `scheduling`, and only ranks, cores and GPUs can be given");
            return Err(impossible(text));
        }
        let r = read_r(r, inventory).map_err(|rule| impossible(format!("R of job {id}: {rule}")))?;
        if r.is_empty() {
            return Err(impossible(format!("job {id} gets an R with nothing in it")));
        }
        if !r.is_subset(inventory) {
            return Err(impossible(format!("R of job {id} has what is not in the inventory")));
        }
        if !r.expiration.is_zero() && r.expiration <= cx.now.wall {
            return Err(impossible(format!("R of job {id} is over already")));
        }
        let jobspec = self.manager.job(id).and_then(|job| job.jobspec());
        if let Some(Err(why)) = jobspec.map(|jobspec| self.sched.graph().serves(jobspec, &r, cx.now.wall)) {
            return Err(impossible(format!("R of job {id}: {why}")));
        }
        let part = inventory.restrict(&r.ranks());
        let host = |rank: u32| part.node(rank).map_or_else(String::new, |node| node.host.clone());
        let nodes = r.nodes.iter().map(|node| RNode { host: host(node.rank), ..node.clone() }).collect();
        let duration = self.manager.job(id).map_or(0.0, |job| job.brief().duration);
        let end = if duration > 0.0 { cx.now.wall.checked_add_secs(duration) } else { None };
        let ends = [end, Some(r.expiration), Some(inventory.expiration)];
        let expiration = ends.into_iter().flatten().filter(|end| !end.is_zero()).min();
        Ok(R {
            nodes,
            starttime: cx.now.wall,
            expiration: expiration.unwrap_or(Timestamp::ZERO),
            nslots: r.nslots,
            ..part
        })
    }

    /// An error is an allocation that cannot be; one that comes too late is taken back in silence.
    fn give(&mut self, cx: &mut Cx, id: JobId, r: R, annotations: Option<Value>) -> Result<(), WireError> {
        let Some(external) = &mut self.seat.external else { return Ok(()) };
        let usable = r.ranks().is_subset(&external.usable);
        let waits = external.offered.contains(&id);
        let r = Arc::new(r);
        if !waits || !usable {
            external.news.push(News { id: Some(id), r: Some((*r).clone()), ..News::new(NewsKind::Free) });
            if waits {
                // The node went as it was given away: the job is offered again.
                external.offered.remove(&id);
                self.offer(id);
            }
            return Ok(());
        }
        match self.decide(cx, &Request::Alloc { id, r: r.clone(), annotations }) {
            Ok(()) => {}
            Err(refusal @ (Refusal::Late(_) | Refusal::Inactive(_))) => {
                cx.log(6, "sched", format!("an allocation came too late: {refusal}"));
                let Some(external) = &mut self.seat.external else { return Ok(()) };
                external.news.push(News { id: Some(id), r: Some((*r).clone()), ..News::new(NewsKind::Free) });
                return Ok(());
            }
            Err(refusal) => return Err(wire_error(&refusal)),
        }
        self.asked.remove(&id);
        self.annotations.remove(&id);
        if let Some(external) = &mut self.seat.external {
            external.offered.remove(&id);
        }
        let (priority, t_submit, queue) = match self.manager.job(id) {
            Some(job) => {
                let queue = job.jobspec().and_then(|jobspec| jobspec.attributes().queue.clone());
                (job.priority(), job.t_submit(), queue)
            }
            None => return Ok(()),
        };
        // The books: it waits no longer, and holds what it was given.
        let mut out: Vec<SchedOutput> = Vec::new();
        for input in [SchedInput::Cancel { id }, SchedInput::Hello { id, priority, t_submit, queue, r }] {
            self.sched.step(cx.now, input, &mut out);
        }
        Ok(())
    }

    /// The built-in scheduler goes on.
    fn take_back(&mut self, cx: &mut Cx, why: &str) {
        let Some(external) = self.seat.external.take() else { return };
        let text = format!("the external scheduler {} is gone: {why}", external.name);
        cx.log(4, "sched", format!("{text}; the built-in one goes on"));
        if !self.seat.gone {
            let error = WireError::new(ErrorCode::Invalid, why).hint("the built-in scheduler goes on");
            cx.refuse(&external.asker, error);
        }
        self.seat = Seat { external: None, gone: false, failed: Some(text) };
        self.annotations.clear();
        self.cycle = true;
    }

    /// At the beginning of the end of a batch: the scheduler's stream may have ended, or its time to answer.
    pub(super) fn look_after_seat(&mut self, cx: &mut Cx) {
        if self.seat.gone {
            return self.take_back(cx, "its connection has ended");
        }
        let answers_by = self.seat.external.as_ref().and_then(|external| external.answers_by);
        if answers_by.is_some_and(|by| by <= cx.now.mono_ms) {
            let limit = span(timeout_s(cx));
            self.take_back(cx, &format!("jobs wait, and it has answered nothing for {limit}"));
        }
    }

    /// At the end of a batch: tells it what has happened.
    pub(super) fn tell_external(&mut self, cx: &mut Cx) {
        let Some(external) = &mut self.seat.external else { return };
        let limit_ms = timeout_s(cx) * 1000.0;
        // Whoever waits, does so for something that has happened: it is to say what becomes of it.
        if limit_ms > 0.0
            && !external.news.is_empty()
            && !external.offered.is_empty()
            && external.answers_by.is_none()
        {
            let by = cx.now.mono_ms.saturating_add(limit_ms as u64);
            external.answers_by = Some(by);
            cx.wake_at(by);
        } else if external.offered.is_empty() {
            external.answers_by = None;
        }
        let mut together: Vec<News> = Vec::new();
        let mut bytes = 0;
        let mut messages = Vec::new();
        for news in std::mem::take(&mut external.news) {
            bytes += 256 + news.jobspec.as_ref().map_or(0, |jobspec| jobspec.get().len());
            bytes += news.r.as_ref().map_or(0, |r| NODE_BYTES * r.nnodes());
            together.push(news);
            if bytes >= NEWS_BYTES_MAX {
                bytes = 0;
                messages.push(std::mem::take(&mut together));
            }
        }
        if !together.is_empty() {
            messages.push(together);
        }
        for news in messages {
            cx.respond_more(&external.asker, &Served { news });
        }
    }

    /// What the built-in scheduler hears, the external one is to hear as well.
    pub(super) fn relay(&mut self, input: &SchedInput) {
        if !self.seat.is_external() {
            return;
        }
        match input {
            SchedInput::Alloc { id, .. } => self.offer(*id),
            SchedInput::Cancel { id } => self.withdraw(*id),
            SchedInput::Free { id, ranks } => {
                let r = self.manager.job(*id).and_then(|job| job.r()).map(|r| r.restrict(ranks));
                self.tell_news(News { id: Some(*id), r, ..News::new(NewsKind::Free) });
            }
            SchedInput::Prioritize { id, priority } => {
                if self.seat.external.as_ref().is_some_and(|e| e.offered.contains(id)) {
                    let news = News::new(NewsKind::Prioritize);
                    self.tell_news(News { id: Some(*id), priority: Some(*priority), ..news });
                }
            }
            SchedInput::Start | SchedInput::Stop | SchedInput::Gate { .. } => self.offer_all(),
            SchedInput::Resource(_)
            | SchedInput::Hello { .. }
            | SchedInput::Learnt { .. }
            | SchedInput::Cycle => {}
        }
    }

    /// Resources have changed, and the built-in scheduler knows it.
    pub(super) fn relay_resources(&mut self, defined: bool) {
        let Some(external) = &mut self.seat.external else { return };
        let graph = self.sched.graph();
        let usable = graph.up().difference(&graph.drained());
        let before = std::mem::replace(&mut external.usable, usable.clone());
        if defined {
            external.news.push(all_there_is(graph.inventory(), &usable));
            return;
        }
        let (up, down) = (usable.difference(&before), before.difference(&usable));
        for (kind, ranks) in [(NewsKind::Up, up), (NewsKind::Down, down)] {
            if !ranks.is_empty() {
                external.news.push(News { ranks: Some(ranks), ..News::new(kind) });
            }
        }
    }

    /// Of the instance, or of these ranks.
    pub(super) fn relay_expiration(&mut self, ranks: Option<&Idset>, expiration: Timestamp) {
        let (expiration, ranks) = (Some(expiration), ranks.cloned());
        self.tell_news(News { expiration, ranks, ..News::new(NewsKind::Expiration) });
    }

    fn tell_news(&mut self, news: News) {
        if let Some(external) = &mut self.seat.external {
            external.news.push(news);
        }
    }

    /// Every job that waits and whose queue is started; those of stopped queues are withdrawn.
    fn offer_all(&mut self) {
        let asked: Vec<JobId> = self.asked.iter().copied().collect();
        for id in asked {
            if self.may_start(id) {
                self.offer(id);
            } else {
                self.withdraw(id);
            }
        }
    }

    fn may_start(&self, id: JobId) -> bool {
        let gates = self.manager.gates();
        self.manager.job(id).is_some_and(|job| gates.of(&job.brief().queue).stopped.is_none())
    }

    fn offer(&mut self, id: JobId) {
        if !self.may_start(id) {
            return;
        }
        let (Some(external), Some(job)) = (&mut self.seat.external, self.manager.job(id)) else { return };
        if !external.offered.insert(id) {
            return;
        }
        let jobspec = RawValue::from_string(job.text().jobspec.to_string());
        external.news.push(News {
            id: Some(id),
            priority: Some(job.priority()),
            t_submit: Some(job.t_submit()),
            jobspec: Some(jobspec.expect("a canonical jobspec is JSON")),
            ..News::new(NewsKind::Alloc)
        });
    }

    fn withdraw(&mut self, id: JobId) {
        let Some(external) = &mut self.seat.external else { return };
        if external.offered.remove(&id) {
            external.news.push(News { id: Some(id), ..News::new(NewsKind::Cancel) });
        }
    }
}

/// What a site's graph says beyond nodes, sockets, cores and GPUs may be longer than a message, and stays behind.
fn all_there_is(inventory: &R, usable: &Idset) -> News {
    let r = inventory.restrict(&inventory.ranks());
    News { r: Some(r), ranks: Some(usable.clone()), ..News::new(NewsKind::Resources) }
}

fn timeout_s(cx: &Cx) -> f64 {
    cx.config.site.external_timeout_s.unwrap_or(TIMEOUT_S)
}

fn within_limits(answer: Answer) -> Result<Answer, WireError> {
    let annotations = answer.annotations.as_ref().map_or(0, |said| said.to_string().len());
    for (what, len, len_max) in
        [("a note", answer.note.len(), NOTE_LEN_MAX), ("annotations", annotations, ANNOTATIONS_LEN_MAX)]
    {
        if len > len_max {
            let text = format!("{what} of {len} bytes about job {}: the limit is {len_max}", answer.id);
            return Err(WireError::new(ErrorCode::Invalid, text));
        }
    }
    Ok(answer)
}

/// An R in which the hosts may be missing: they are the inventory's.
fn read_r(mut r: Value, inventory: &R) -> Result<R, String> {
    let groups =
        r.pointer("/execution/R_lite").and_then(Value::as_array).ok_or("it has no execution.R_lite")?;
    let mut ranks = Idset::new();
    for group in groups {
        let text = group["rank"].as_str().ok_or("a group has no `rank`")?;
        ranks.union_with(&text.parse::<Idset>().map_err(|error| error.to_string())?);
    }
    let unknown = ranks.difference(&inventory.ranks());
    if !unknown.is_empty() {
        return Err(format!("there is no rank {unknown}"));
    }
    let hosts = vec![Value::from(inventory.restrict(&ranks).hostlist().to_string())];
    if let Some(execution) = r["execution"].as_object_mut() {
        execution.insert("nodelist".to_owned(), hosts.into());
    }
    R::from_value(&r).map_err(|error| error.to_string())
}
