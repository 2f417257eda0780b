//! Jobs at the leader: the seam between requests, facts, the job manager, the scheduler and the shells.
//!
//! ```text
//!  request ─► decide ─► events ─► manager, facts ──► settle: duties ─► scheduler ─► more events
//!                                                          │                              │
//!                                       one fact per job ◄─┴─► starts and ends, one message per rank
//!                                             │
//!                                       logs, streams
//! ```
//!
//! Everything is applied to our state when it is decided and proposed as one fact per job at the end of the
//! batch; what is said outside meanwhile is held until that is committed ([`Cx`]). [`Jobs::apply`] takes the
//! same facts from the log.
//!
//! * `ingest.rs`: submissions · `manage.rs`: requests about jobs · `update.rs`: changes of them · `purge.rs`: forgetting them · `queues.rs`: gates · `why.rs`: reasons · `external.rs`: another scheduler · `list.rs`: what is known of them
//! * `exec.rs`: shells · `start.rs`: what they are told · `returning.rs`: ranks that were lost · `guest.rs`: logs of tasks · `streams.rs`: answers that go on

mod exec;
mod exec_log;
mod external;
mod guest;
mod ingest;
mod list;
mod manage;
mod purge;
mod queues;
mod returning;
mod spill;
mod start;
mod streams;
#[cfg(test)]
mod tests;
mod update;
mod why;

use crate::cx::Cx;
use crate::door::CoreConfig;
use exec::Runs;
use external::Seat;
use flurm_job_manager::{Duty, Event, Gate, Job, Manager, Raised, Refusal, Request, Turn};
use flurm_jobspec::{Jobspec, OUTPUT_BYTES_KEPT};
use flurm_sched::{ResourceChange, Sched, SchedInput, SchedOutput};
use flurm_types::{FluidGenerator, JobId, JobState, Timestamp};
use flurm_wire::fact::{Fact, GuestLog, JobFact};
use flurm_wire::{Address, ErrorCode, Message, WireError, exec as wire_exec, job, sched};
use guest::{Guest, Surplus};
use ingest::Texts;
use manage::{Inputs, Waiting};
use queues::QueueWaits;
use returning::Returning;
use start::Said;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use streams::Streams;

#[derive(Debug)]
pub(crate) struct Jobs {
    manager: Manager,
    guests: BTreeMap<JobId, Box<Guest>>,
    /// Every fact about a job in order: the job, its first event in that fact, how many.
    journal: Vec<(JobId, u32, u32)>,
    texts: Texts,
    ids: FluidGenerator,
    /// Jobs in the log that cannot be read, for whoever leads to tell.
    unread: Vec<(JobId, String)>,

    // From here on: what is not in the log, because it is about those we talk to.
    sched: Sched,
    seat: Seat,
    leading: bool,
    stopping: bool,
    /// Jobs whose duties may have changed.
    dirty: BTreeSet<JobId>,
    /// Jobs that the scheduler has been asked about.
    asked: BTreeSet<JobId>,
    /// Something has changed that the scheduler may do something about.
    cycle: bool,
    /// What the scheduler says about pending jobs.
    annotations: BTreeMap<JobId, serde_json::Value>,
    runs: Runs,
    said: Said,
    returning: Returning,
    streams: Streams,
    waiting: Waiting,
    queue_waits: QueueWaits,
    inputs: Inputs,
    /// Jobs with output beyond what is kept, until they are over and it is gone.
    full: BTreeSet<JobId>,
    /// What the scheduler has learnt and wants kept.
    learnt: Option<serde_json::Value>,
    /// When the scheduler wants its turn, as was asked last.
    due: Option<(Timestamp, u64)>,
    /// The time-out asked for last, and the monotonic time that was thought to be.
    tick: Option<(Timestamp, u64)>,
    /// Of this batch, by order of their first event.
    facts: Vec<JobFact>,
    fact_of: BTreeMap<JobId, usize>,
}

impl Jobs {
    pub fn new(config: &CoreConfig, _seed: u64) -> Jobs {
        Jobs {
            manager: Manager::default(),
            guests: BTreeMap::new(),
            journal: Vec::new(),
            texts: Texts::default(),
            unread: Vec::new(),
            ids: FluidGenerator::new(u16::try_from(config.rank.0).unwrap_or(0)),
            sched: Sched::with_config(config.site.scheduling()),
            seat: Seat::default(),
            leading: false,
            stopping: false,
            dirty: BTreeSet::new(),
            asked: BTreeSet::new(),
            cycle: false,
            annotations: BTreeMap::new(),
            runs: Runs::default(),
            said: Said::default(),
            returning: Returning::default(),
            learnt: None,
            due: None,
            streams: Streams::default(),
            waiting: Waiting::default(),
            queue_waits: QueueWaits::default(),
            inputs: Inputs::default(),
            full: BTreeSet::new(),
            tick: None,
            facts: Vec::new(),
            fact_of: BTreeMap::new(),
        }
    }

    /// Requests below `job-ingest.`, `job-manager.`, `job-info.`, `job-list.` and `exec.`.
    pub fn request(&mut self, cx: &mut Cx, m: &Message) {
        use flurm_wire::Topic;
        let done = match &*m.topic {
            job::Submit::NAME => self.submit(cx, m),
            job::Raise::NAME => self.raise(cx, m),
            job::Kill::NAME => self.kill(cx, m),
            job::SetUrgency::NAME => self.set_urgency(cx, m),
            job::Memo::NAME => self.memo(cx, m),
            job::Update::NAME => self.update(cx, m),
            job::Purge::NAME => self.purge(cx, m),
            job::WaitOne::NAME => self.wait(m),
            job::Why::NAME => self.why(cx, m),
            job::Stdin::NAME => self.stdin(cx, m),
            job::Queue::NAME => self.queue(cx, m),
            job::Await::NAME => self.follow_jobs(cx, m),
            job::Watch::NAME => self.follow_logs(m),
            job::Taken::NAME => self.pages_taken(m),
            job::Journal::NAME => self.follow_journal(m),
            job::Lookup::NAME => self.lookup(cx, m),
            job::Pids::NAME => self.pids(cx, m),
            job::List::NAME => self.list(cx, m),
            sched::Serve::NAME => self.serve(cx, m),
            sched::Answer::NAME => self.sched_answer(cx, m),
            wire_exec::Reports::NAME => self.reports(cx, m),
            wire_exec::ShellReady::NAME => self.shell_ready(cx, m),
            other => Err(WireError::new(ErrorCode::NoService, format!("nobody here serves {other}"))),
        };
        if let Err(error) = done {
            cx.refuse(m, error);
        }
    }

    /// The asker of a request that is still open no longer wants it.
    pub fn cancel(&mut self, src: Address, tag: u64) {
        self.streams.cancel(src, tag);
        self.waiting.cancel(src, tag);
        self.queue_waits.cancel(src, tag);
        self.seat.cancel(src, tag);
    }

    /// A fact from the log.
    pub fn apply(&mut self, fact: &JobFact) {
        // A text that cannot be read any more leaves its events without a job; the log still has them.
        let read = fact.spec.as_ref().map(|spec| self.texts.read_again(spec)).transpose();
        let asked = read.unwrap_or_else(|error| {
            self.unread.push((fact.id, error.to_string()));
            None
        });
        for entry in &fact.events {
            self.manager.apply(
                fact.id,
                entry.timestamp,
                &Event::read(entry, asked.as_ref(), fact.r.as_ref()),
            );
        }
        self.ids.advance_past(fact.id);
        if fact.waited {
            self.waiting.handed_out(fact.id);
        } else if fact.purges() {
            self.forget(fact.id);
        } else {
            self.absorb(fact, Vec::new());
        }
    }

    /// We lead now: what is not in the log is built from what is.
    pub fn lead(&mut self, cx: &mut Cx) {
        self.leading = true;
        for (id, error) in std::mem::take(&mut self.unread) {
            cx.log(
                3,
                "job-manager",
                format!("job {id} is not known any more: its jobspec in the log: {error}"),
            );
        }
        let mut out = Vec::new();
        let gates = self.manager.gates();
        let whole = gates.all.stopped.iter().map(|_| SchedInput::Stop);
        let single = gates.stopped().map(|queue| SchedInput::Gate { queue: queue.to_owned(), open: false });
        for closed in whole.chain(single) {
            self.sched.step(cx.now, closed, &mut out);
        }
        for job in self.manager.active() {
            self.dirty.insert(job.id());
            if self.guests.get(&job.id()).is_some_and(|guest| guest.is_full()) {
                self.full.insert(job.id());
            }
            if let Some(r) = job.r().filter(|_| !job.held().is_empty()) {
                self.runs.resume(job, self.guests.get(&job.id()).map(|guest| &**guest));
                if job.within().is_some() {
                    continue;
                }
                let r = if *job.held() == r.ranks() {
                    r.clone()
                } else {
                    Arc::new(r.restrict_with_graph(job.held()))
                };
                let (id, priority, t_submit) = (job.id(), job.priority(), job.t_submit());
                let queue = job.jobspec().and_then(|jobspec| jobspec.attributes().queue.clone());
                self.sched.step(cx.now, SchedInput::Hello { id, priority, t_submit, queue, r }, &mut out);
            }
        }
        let resumed: Vec<JobId> = self.runs.ids().collect();
        resumed.into_iter().for_each(|id| self.await_exit(cx, id));
        self.waiting.restore(&self.manager);
        self.cycle = true;
    }

    /// What the scheduler had learnt in an earlier life.
    pub fn remember(&mut self, cx: &mut Cx, value: serde_json::Value) {
        self.sched.step(cx.now, SchedInput::Learnt { value }, &mut Vec::new());
    }

    /// What it has learnt meanwhile, for somebody to keep.
    pub fn learnt(&mut self) -> Option<serde_json::Value> {
        self.learnt.take()
    }

    pub fn resources(&mut self, cx: &mut Cx, change: ResourceChange) {
        let change = self.returning.filter(change);
        let defined = matches!(change, ResourceChange::Define(_));
        match &change {
            ResourceChange::Expiration(at) => self.relay_expiration(None, *at),
            ResourceChange::NodeExpiration(ranks, at) => self.relay_expiration(Some(ranks), *at),
            ResourceChange::Define(_)
            | ResourceChange::Up(_)
            | ResourceChange::Down(_)
            | ResourceChange::Drain(_)
            | ResourceChange::Undrain(_) => {}
        }
        self.sched.step(cx.now, SchedInput::Resource(change), &mut Vec::new());
        self.relay_resources(defined);
        self.texts.forget_verdicts();
        self.cycle = true;
    }

    /// At the end of a batch: does what is owed, asks the scheduler, proposes, tells those who follow.
    pub fn settle(&mut self, cx: &mut Cx) {
        if !self.leading {
            return;
        }
        if self.manager.next_tick().is_some_and(|t| t <= cx.now.wall) {
            self.expect(cx, &Request::Tick);
        }
        self.cycle |= self.sched.wakes_at().is_some_and(|due| due <= cx.now.wall);
        self.look_after_seat(cx);
        self.end_late(cx);
        loop {
            while let Some(id) = self.dirty.pop_first() {
                self.perform(cx, id);
            }
            if !std::mem::take(&mut self.cycle) || self.seat.is_external() || !self.schedule(cx) {
                break;
            }
        }
        self.tell_external(cx);
        self.launch(cx);
        self.propose(cx);
        self.answer_waiting(cx);
        // Whoever is answered has the result, which others must know.
        self.propose(cx);
        self.flush_streams(cx);
        self.pass_output(cx);
        if self.sched.cut_short() && !self.seat.is_external() {
            self.cycle = true;
            cx.wake_at(cx.now.mono_ms);
        }
        wake_once(cx, &mut self.tick, self.manager.next_tick());
        // A job that could start and may not (its queue is stopped) needs no wake.
        let due = self.sched.wakes_at().filter(|due| *due > cx.now.wall);
        wake_once(cx, &mut self.due, due);
    }

    /// The instance ends: nothing new, and what there is goes.
    pub fn stop(&mut self, cx: &mut Cx) {
        self.stopping = true;
        let active: Vec<JobId> = self.manager.active().map(|job| job.id()).collect();
        for id in active {
            // One that ends already needs no second reason.
            if self.manager.job(id).is_some_and(|job| job.state() < JobState::Cleanup) {
                let raised = Raised::fatal("cancel", "the instance is ending");
                self.expect(cx, &Request::Raise { id, raised });
            }
        }
    }

    pub fn idle(&self) -> bool {
        self.manager.is_idle()
    }

    pub fn sched(&self) -> &Sched {
        &self.sched
    }

    /// The log has jobs of an earlier life of the instance; what ran then is gone.
    pub fn restart(&mut self, cx: &mut Cx) {
        let active: Vec<JobId> = self.manager.active().map(|job| job.id()).collect();
        for id in active {
            // It may have ended with another one in the meantime.
            if self.manager.job(id).is_some_and(|job| job.state() != JobState::Inactive) {
                self.expect(cx, &Request::Restart { id });
            }
        }
    }

    /// Decides, applies and keeps for the log.
    fn decide(&mut self, cx: &mut Cx, request: &Request) -> Result<(), Refusal> {
        for (id, event) in self.manager.decide(cx.now, request)? {
            self.take(cx, id, &event);
        }
        Ok(())
    }

    /// The same where a refusal would be our own mistake.
    fn expect(&mut self, cx: &mut Cx, request: &Request) {
        if let Err(refusal) = self.decide(cx, request) {
            cx.log(3, "job-manager", format!("{request:?}: {refusal}"));
        }
    }

    fn take(&mut self, cx: &mut Cx, id: JobId, event: &Event) {
        // Times in an eventlog rise, even when the clock is set back.
        let time = self.manager.job(id).map_or(cx.now.wall, |job| job.t_last().max(cx.now.wall));
        self.manager.apply(id, time, event);
        let fact = self.fact(id);
        fact.events.push(event.entry(time));
        match event {
            Event::Submit(submit) => {
                fact.spec = Some(submit.asked.text.clone());
                if submit.flags.waitable() {
                    self.waiting.add(id);
                }
            }
            Event::Alloc(alloc) => {
                fact.r = Some(alloc.r.clone());
                self.runs.begin(id, alloc.r.ranks());
            }
            Event::Priority(priority) if self.asked.contains(&id) && *priority > 0 => {
                self.tell_sched(cx, SchedInput::Prioritize { id, priority: *priority });
            }
            Event::Release(release) => {
                match self.manager.job(id).and_then(Job::within) {
                    // The job that it was within may have waited for this.
                    Some(outer) => drop(self.dirty.insert(outer)),
                    None => self.tell_sched(cx, SchedInput::Free { id, ranks: release.ranks.clone() }),
                }
            }
            Event::JobspecUpdate(_) => self.asks_for_other_things(cx, id),
            Event::ResourceUpdate(expiration) => self.ends_at(cx, id, *expiration),
            Event::Clean => self.runs.over(id),
            Event::Purge => self.forget(id),
            Event::Queue(gate) => self.tell_gate(cx, gate),
            _ => {}
        }
        self.dirty.insert(id);
    }

    /// The fact about that job in this batch.
    fn fact(&mut self, id: JobId) -> &mut JobFact {
        let at = *self.fact_of.entry(id).or_insert_with(|| {
            let (events, guest, spilled, reported) = Default::default();
            self.facts.push(JobFact {
                id,
                events,
                spec: None,
                r: None,
                guest,
                spilled,
                reported,
                waited: false,
            });
            self.facts.len() - 1
        });
        &mut self.facts[at]
    }

    fn add_guest(&mut self, id: JobId, log: GuestLog, entry: flurm_types::Entry) {
        self.fact(id).guest.push((log, entry));
    }

    fn tell_gate(&mut self, cx: &mut Cx, gate: &Gate) {
        let open = match gate.turn {
            Turn::Start => true,
            Turn::Stop { .. } => false,
            Turn::Enable | Turn::Disable { .. } => return,
        };
        if let Some(queue) = &gate.queue {
            return self.tell_sched(cx, SchedInput::Gate { queue: queue.to_string(), open });
        }
        self.tell_sched(cx, if open { SchedInput::Start } else { SchedInput::Stop });
        if open {
            for queue in cx.config.site.queues.keys() {
                self.tell_sched(cx, SchedInput::Gate { queue: queue.clone(), open });
            }
        }
    }

    fn tell_sched(&mut self, cx: &mut Cx, input: SchedInput) {
        self.relay(&input);
        self.sched.step(cx.now, input, &mut Vec::new());
        self.cycle = true;
    }

    fn perform(&mut self, cx: &mut Cx, id: JobId) {
        let duties = self.manager.owed(id);
        let wants = duties.contains(&Duty::Alloc);
        if wants != self.asked.contains(&id) {
            self.ask_sched(cx, id, wants);
        }
        for duty in duties {
            match duty {
                Duty::Alloc => {}
                Duty::Start { ranks } => self.runs.start(id, &ranks),
                Duty::End { ranks } => self.runs.end(id, &ranks),
            }
        }
        self.progress(cx, id);
    }

    fn ask_sched(&mut self, cx: &mut Cx, id: JobId, wants: bool) {
        if !wants {
            self.asked.remove(&id);
            self.annotations.remove(&id);
            self.tell_sched(cx, SchedInput::Cancel { id });
            return;
        }
        let Some(job) = self.manager.job(id) else { return };
        let Some(jobspec) = job.jobspec().cloned() else { return };
        let (priority, t_submit, debug) = (job.priority(), job.t_submit(), job.flags().debug());
        self.asked.insert(id);
        self.tell_sched(cx, SchedInput::Alloc { id, jobspec, priority, t_submit });
        if debug {
            self.expect(cx, &Request::Note { id, name: "debug.alloc-request".to_owned() });
        }
    }

    /// One cycle of the scheduler; tells whether it led to anything.
    fn schedule(&mut self, cx: &mut Cx) -> bool {
        let mut out = Vec::new();
        self.sched.step(cx.now, SchedInput::Cycle, &mut out);
        let any = !out.is_empty();
        for output in out {
            match output {
                SchedOutput::Alloc { id, r, annotations } => {
                    self.asked.remove(&id);
                    self.annotations.remove(&id);
                    let ranks = r.ranks();
                    let annotations = Some(annotations).filter(|a| !a.is_null());
                    let request = Request::Alloc { id, r: Arc::new(r), annotations };
                    if let Err(refusal) = self.decide(cx, &request) {
                        // The ledger is right by definition: the scheduler takes it back and asks are repeated.
                        cx.log(3, "sched", format!("allocation refused: {refusal}"));
                        self.sched.step(cx.now, SchedInput::Free { id, ranks }, &mut Vec::new());
                        let raised = Raised::fatal("alloc", refusal.to_string());
                        if !matches!(refusal, Refusal::Late(_) | Refusal::Inactive(_)) {
                            self.expect(cx, &Request::Raise { id, raised });
                        }
                    }
                }
                SchedOutput::Deny { id, note } => {
                    self.asked.remove(&id);
                    self.annotations.remove(&id);
                    self.expect(cx, &Request::Raise { id, raised: Raised::fatal("alloc", note) });
                }
                SchedOutput::Annotate { id, annotations } => {
                    self.annotations.insert(id, annotations);
                }
                SchedOutput::Canceled { id } => {
                    self.asked.remove(&id);
                }
                SchedOutput::Learnt { value } => self.learnt = Some(value),
            }
        }
        any
    }

    /// This batch's facts into the log.
    fn propose(&mut self, cx: &mut Cx) {
        self.fact_of.clear();
        for mut fact in std::mem::take(&mut self.facts) {
            if fact.waited || fact.purges() {
                cx.propose(Fact::Job(fact));
                continue;
            }
            let surplus = self.trim(&mut fact);
            let empty = fact.events.is_empty() && fact.guest.is_empty() && fact.spilled.is_none();
            if empty && surplus.is_empty() {
                continue;
            }
            self.absorb(&fact, surplus);
            self.streams.note(&fact, &self.manager);
            self.waiting.note(&fact);
            if !empty {
                cx.propose(Fact::Job(fact));
            }
        }
    }

    /// Takes output out of a fact that is not for the log.
    fn trim(&mut self, fact: &mut JobFact) -> Vec<Surplus> {
        if fact.guest.is_empty() {
            return Vec::new();
        }
        let bytes = self.manager.job(fact.id).and_then(|job| match job.jobspec() {
            Some(spec) => spec.attributes().output_bytes_kept(),
            // The end of a short job comes with all that it has said, and its jobspec is only a text by now.
            None if job.text().jobspec.contains(r#"limit""#) => {
                Jobspec::parse(&job.text().jobspec).ok()?.attributes().output_bytes_kept()
            }
            None => None,
        });
        let followed = self.streams.passed(fact.id).is_some();
        let guest = self.guest_of(fact);
        let (spilled, surplus) = guest.trim(&mut fact.guest, bytes.unwrap_or(OUTPUT_BYTES_KEPT), followed);
        fact.spilled = spilled;
        if !surplus.is_empty() {
            self.full.insert(fact.id);
        }
        surplus
    }

    /// What a fact adds to the logs that the manager does not keep.
    fn absorb(&mut self, fact: &JobFact, surplus: Vec<Surplus>) {
        if !fact.events.is_empty() {
            let count = u32::try_from(fact.events.len()).expect("a fact has few events");
            self.journal.push((fact.id, self.first_event(fact), count));
        }
        if !fact.guest.is_empty() || fact.spilled.is_some() || !fact.reported.is_empty() {
            self.guest_of(fact).absorb(fact, surplus);
        } else if let Some(guest) = self.guests.get_mut(&fact.id) {
            guest.absorb(fact, surplus);
        }
        if self.manager.job(fact.id).is_some_and(|job| job.state() == JobState::Inactive)
            && let Some(guest) = self.guests.get_mut(&fact.id)
        {
            guest.pack();
        }
    }

    fn guest_of(&mut self, fact: &JobFact) -> &mut Guest {
        let first = self.first_event(fact);
        self.guests.entry(fact.id).or_insert_with(|| Box::new(Guest::after(first)))
    }

    /// Where in the job's eventlog the events of a fact that has just been applied begin.
    fn first_event(&self, fact: &JobFact) -> u32 {
        let len = self.manager.job(fact.id).map_or(0, flurm_job_manager::Job::len);
        u32::try_from(len.saturating_sub(fact.events.len())).expect("an eventlog has few events")
    }
}

fn wire_error(refusal: &Refusal) -> WireError {
    let code = match refusal {
        Refusal::NoSuchJob(_) => ErrorCode::NotFound,
        Refusal::Exists(_) => ErrorCode::Exists,
        Refusal::Disabled { .. } => ErrorCode::Unavailable,
        Refusal::Inactive(_)
        | Refusal::Active(_)
        | Refusal::Dependency(_)
        | Refusal::Placed(_)
        | Refusal::Within(_)
        | Refusal::Late(_) => ErrorCode::Invalid,
        Refusal::Overlap { .. } | Refusal::Occupied(_) => ErrorCode::Internal,
    };
    let error = WireError::new(code, refusal.to_string());
    match refusal {
        Refusal::NoSuchJob(_) => error.hint("`flurm jobs -a` lists all jobs"),
        Refusal::Dependency(_) => error.hint(
            "after, afterany, afterok, afternotok and afterexcept take the id of a job in `flurm jobs -a`; \
             there are singleton and begin-time as well",
        ),
        Refusal::Disabled { .. }
        | Refusal::Exists(_)
        | Refusal::Inactive(_)
        | Refusal::Active(_)
        | Refusal::Placed(_)
        | Refusal::Within(_)
        | Refusal::Occupied(_)
        | Refusal::Late(_)
        | Refusal::Overlap { .. } => error,
    }
}

fn no_such_job(id: JobId) -> WireError {
    wire_error(&Refusal::NoSuchJob(id))
}

/// Asks for a wake at this time: once for each time, and again when the wall clock was set back meanwhile.
fn wake_once(cx: &mut Cx, asked: &mut Option<(Timestamp, u64)>, time: Option<Timestamp>) {
    let Some(time) = time else { return };
    if asked.is_none_or(|(before, at)| before != time || at <= cx.now.mono_ms) {
        let at = mono_of(cx, time);
        cx.wake_at(at);
        *asked = Some((time, at));
    }
}

/// The monotonic time at which the wall clock will show `time`, if nobody touches it.
fn mono_of(cx: &Cx, time: Timestamp) -> u64 {
    let micros = time.0.saturating_sub(cx.now.wall.0).max(0);
    cx.now.mono_ms + u64::try_from(micros).unwrap_or(0).div_ceil(1000)
}
