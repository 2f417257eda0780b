//! Requests about jobs that are there.

use super::exec::input_entry;
use super::guest::INPUT_LEN_MAX;
use super::{Jobs, no_such_job, wire_error};
use crate::cx::{Cx, asker};
use flurm_job_manager::{Job, Manager, Raised, Request};
use flurm_types::{Idset, JobId, JobState, Rank, Urgency, exit_code, signal_of};
use flurm_wire::fact::{GuestLog, JobFact};
use flurm_wire::job::{Done, Exception, Kill, Memo, PerJob, Raise, SetUrgency, Stdin, WaitOne, Waited};
use flurm_wire::shell::StdinHere;
use flurm_wire::{Address, Dest, ErrorCode, Message, Topic, WireError};
use std::collections::{BTreeMap, BTreeSet};

/// Signals are 1 to 64 on Linux.
const SIGNAL_MAX: i32 = 64;

/// Who waits for what is not there yet.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Waitable jobs whose result nobody has had.
    jobs: BTreeSet<JobId>,
    /// Those of them that are over.
    over: BTreeSet<JobId>,
    waits: Vec<(Message, Option<JobId>)>,
    /// Of those in the log, until we lead.
    handed_out: BTreeSet<JobId>,
}

/// Input on its way to tasks. Who sent it hears when all of them have taken it, and so sends no faster than they read.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    last: u64,
    open: BTreeMap<u64, Input>,
}

#[derive(Debug)]
struct Input {
    id: JobId,
    /// Whose tasks have not taken it.
    ranks: Idset,
    asker: Message,
}

impl Inputs {
    /// The tag under which shells answer.
    fn open(&mut self, id: JobId, ranks: Idset, asker: Message) -> u64 {
        self.last += 1;
        self.open.insert(self.last, Input { id, ranks, asker });
        self.last
    }

    /// Whom to tell, if that was the last rank.
    fn taken(&mut self, tag: u64, rank: u32) -> Option<Message> {
        let input = self.open.get_mut(&tag)?;
        input.ranks.remove(rank);
        if !input.ranks.is_empty() {
            return None;
        }
        self.open.remove(&tag).map(|input| input.asker)
    }

    fn lost(&mut self, rank: u32, id: Option<JobId>) -> Vec<Message> {
        let there = |input: &Input| input.ranks.contains(rank) && id.is_none_or(|id| id == input.id);
        let tags: Vec<u64> = self.open.iter().filter(|(_, i)| there(i)).map(|(tag, _)| *tag).collect();
        tags.into_iter().filter_map(|tag| self.taken(tag, rank)).collect()
    }
}

impl Waiting {
    pub fn cancel(&mut self, src: Address, tag: u64) {
        let other = |m: &Message| (m.src, m.tag) != (src, tag);
        self.waits.retain(|(m, _)| other(m));
    }

    /// A waitable job has been submitted.
    pub fn add(&mut self, id: JobId) {
        self.jobs.insert(id);
    }

    /// The log says that somebody has its result.
    pub fn handed_out(&mut self, id: JobId) {
        self.handed_out.insert(id);
    }

    /// What those who lead anew know from the log.
    pub fn restore(&mut self, manager: &Manager) {
        let handed_out = std::mem::take(&mut self.handed_out);
        let waitable = manager.jobs().filter(|job| job.flags().waitable());
        for job in waitable.filter(|job| !handed_out.contains(&job.id())) {
            self.jobs.insert(job.id());
            if job.state() == JobState::Inactive {
                self.over.insert(job.id());
            }
        }
    }

    /// Nobody can have its result any more.
    pub fn forget(&mut self, id: JobId) {
        for jobs in [&mut self.jobs, &mut self.over, &mut self.handed_out] {
            jobs.remove(&id);
        }
    }

    pub fn note(&mut self, fact: &JobFact) {
        if self.jobs.contains(&fact.id) && fact.events.iter().any(|e| e.name == "clean") {
            self.over.insert(fact.id);
        }
    }

    /// Hands out the result of that job, or of any.
    fn take(&mut self, id: Option<JobId>) -> Option<JobId> {
        let id = match id {
            Some(id) => self.over.take(&id)?,
            None => self.over.pop_first()?,
        };
        self.jobs.remove(&id);
        Some(id)
    }

    /// Can it be waited for at all?
    fn check(&self, id: Option<JobId>) -> Result<(), WireError> {
        let invalid = |text: String| Err(WireError::new(ErrorCode::Invalid, text));
        match id {
            Some(id) if !self.jobs.contains(&id) => {
                invalid(format!("job {id} is not waitable, or has been waited for"))
            }
            None if self.jobs.len() <= self.waits.len() => {
                invalid("there are no more waitable jobs".to_owned())
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Jobs {
    pub(super) fn raise(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let Raise { ids, kind, severity, note } = m.body()?;
        if kind.is_empty() || kind.contains(char::is_whitespace) || severity > 7 {
            let text = "an exception has a type of one word and a severity of 0 to 7";
            return Err(WireError::new(ErrorCode::Invalid, text));
        }
        let mut results = Vec::with_capacity(ids.len());
        for id in ids {
            let exception = Exception { kind: kind.clone(), severity, note: note.clone() };
            let raised = Raised { exception, userid: Some(cx.config.owner) };
            results.push(self.decide(cx, &Request::Raise { id, raised }).map_err(|r| wire_error(&r)));
        }
        cx.respond(m, &PerJob { results });
        Ok(())
    }

    pub(super) fn kill(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let Kill { ids, signum } = m.body()?;
        if !(1..=SIGNAL_MAX).contains(&signum) {
            return Err(WireError::new(ErrorCode::Invalid, format!("there is no signal {signum}")));
        }
        let results = ids.into_iter().map(|id| self.signal(cx, id, signum)).collect();
        cx.respond(m, &PerJob { results });
        Ok(())
    }

    pub(super) fn set_urgency(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let SetUrgency { id, urgency } = m.body()?;
        let urgency = Urgency::new(urgency).ok_or_else(|| {
            WireError::new(ErrorCode::Invalid, format!("urgency {urgency}: expected 0 to 31"))
        })?;
        let userid = cx.config.owner;
        self.decide(cx, &Request::Urgency { id, urgency, userid }).map_err(|r| wire_error(&r))?;
        cx.respond(m, &Done {});
        Ok(())
    }

    pub(super) fn memo(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let Memo { id, memo } = m.body()?;
        self.decide(cx, &Request::Memo { id, keys: memo.into() }).map_err(|r| wire_error(&r))?;
        cx.respond(m, &Done {});
        Ok(())
    }

    pub(super) fn wait(&mut self, m: &Message) -> Result<(), WireError> {
        let WaitOne { id } = m.body()?;
        if let Some(id) = id {
            self.manager.job(id).ok_or_else(|| no_such_job(id))?;
        }
        self.waiting.check(id)?;
        // Answered when this batch settles, with all others whose job is over.
        self.waiting.waits.push((asker(m), id));
        Ok(())
    }

    /// Answers whoever waited for what is there now.
    pub(super) fn answer_waiting(&mut self, cx: &mut Cx) {
        if !self.waiting.over.is_empty() && !self.waiting.waits.is_empty() {
            let mut waits = std::mem::take(&mut self.waiting.waits);
            waits.retain(|(m, wanted)| {
                let Some(job) = self.waiting.take(*wanted).and_then(|id| self.manager.job(id)) else {
                    return true;
                };
                cx.respond(m, &waited(job));
                self.facts.push(handed_out(job.id()));
                false
            });
            self.waiting.waits = waits;
        }
        self.answer_queue_waits(cx);
    }

    pub(super) fn stdin(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let stdin: Stdin = m.body()?;
        let id = stdin.id;
        let invalid = |text: String| WireError::new(ErrorCode::Invalid, text);
        if stdin.ranks != "all" && stdin.ranks.parse::<Idset>().is_err() {
            return Err(invalid(format!("task ranks `{}`: expected `all` or a set of numbers", stdin.ranks)));
        }
        let job = self.manager.job(id).ok_or_else(|| no_such_job(id))?;
        if job.state() >= JobState::Cleanup {
            return Err(invalid(format!("job {id} reads no input any more")));
        }
        let ranks = self.runs.reachable(id);
        let kept = self.guests.get(&id).map_or(0, |guest| guest.input_bytes());
        if ranks.is_empty() && kept + stdin.data.len() as u64 > INPUT_LEN_MAX {
            let text =
                format!("job {id} does not run yet, and {} MiB of input wait for it", INPUT_LEN_MAX >> 20);
            return Err(WireError::new(ErrorCode::Unavailable, text));
        }
        if !stdin.typed {
            let entry = input_entry(cx, &stdin);
            self.add_guest(id, GuestLog::Input, entry);
        }
        // Before it runs, what is kept is all there is: it is sent after the start.
        if ranks.is_empty() {
            cx.respond(m, &Done {});
            return Ok(());
        }
        let tag = self.inputs.open(id, ranks.clone(), asker(m));
        let here = StdinHere(stdin);
        for rank in ranks.iter() {
            let message = Message::request(cx.me(), Dest::Rank(Rank(rank)), tag, &here);
            cx.send(message);
        }
        Ok(())
    }

    /// A shell has answered what the leader asked: its tasks have taken their input, or want none.
    pub fn answered(&mut self, cx: &mut Cx, m: &Message) {
        if m.topic == StdinHere::NAME
            && let Some(asker) = self.inputs.taken(m.tag, m.src.rank.0)
        {
            cx.respond(&asker, &Done {});
        }
    }

    /// Nothing more will be heard of input that was sent to that rank.
    pub(super) fn inputs_lost(&mut self, cx: &mut Cx, rank: u32, id: Option<JobId>) {
        for asker in self.inputs.lost(rank, id) {
            cx.respond(&asker, &Done {});
        }
    }
}

/// The fact behind the answer, of its own: the job itself is over.
fn handed_out(id: JobId) -> JobFact {
    let (events, guest, spilled, reported) = Default::default();
    JobFact { id, events, spec: None, r: None, guest, spilled, reported, waited: true }
}

fn waited(job: &Job) -> Waited {
    let errstr = match (job.exception(), job.status()) {
        (Some(exception), _) if exception.note.is_empty() => format!("exception {}", exception.kind),
        (Some(exception), _) => format!("exception {}: {}", exception.kind, exception.note),
        (None, Some(0)) => String::new(),
        (None, Some(status)) => match signal_of(exit_code(status)) {
            Some(signum) => format!("killed by signal {signum}"),
            None => format!("exited with code {}", exit_code(status)),
        },
        (None, None) => "ended before it started".to_owned(),
    };
    Waited { id: job.id(), success: errstr.is_empty(), errstr }
}
