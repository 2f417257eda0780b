//! Running jobs: what their shells have been told and have said (RFC 32).
//!
//! Nothing of this is in the log except what follows from it. A leader that comes back hears from every shell
//! which jobs it knows, and shells repeat what nobody has acknowledged.

use super::guest::Guest;
use super::start::{Part, Said};
use super::{Jobs, no_such_job};
use crate::cx::Cx;
use flurm_job_manager::{Job, Raised, Request};
use flurm_sched::ResourceChange;
use flurm_types::{Entry, Idset, JobId, JobState, Rank, exit_code, job_status};
use flurm_wire::exec::{ABORT, Kill, PROLOG, Report, Reports, STAGE_IN, ShellReady, Start, What};
use flurm_wire::fact::GuestLog;
use flurm_wire::job::{Done, Exception, Stdin};
use flurm_wire::shell::{Flow, FlowHere, KillHere, StartHere, StdinHere};
use flurm_wire::{Dest, Message, WireError};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, btree_map};

/// Between TERM and KILL at the end of a job.
const KILL_GRACE_MS: u64 = 5000;
/// Jobs in one message to a shell: others wait behind it.
const START_JOBS_MAX: usize = 256;
/// Bytes of one: far below the limit of a frame, which is 64 MiB.
const START_LEN_MAX: usize = 8 << 20;
const SIGTERM: i32 = 15;
/// What a rank that is lost counts as: killed.
const STATUS_LOST: i32 = 9;
/// We never start a job twice.
pub(super) const ATTEMPT: u32 = 0;

/// Every job that holds resources.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: BTreeMap<JobId, Run>,
    /// Of this batch, by rank.
    starts: BTreeMap<u32, Vec<JobId>>,
    /// Of this batch; they leave after the starts.
    ends: Vec<(JobId, Idset)>,
    /// When jobs are looked at that are partly done.
    exits: BTreeSet<(u64, JobId)>,
}

#[derive(Debug, Default)]
pub(super) struct Run {
    ranks: Idset,
    /// Told to start it.
    sent: Idset,
    /// Said that they have.
    started: Idset,
    /// Told to end it.
    ended: Idset,
    /// Nothing of it is there any more, or they are lost.
    gone: Idset,
    /// The worst so far.
    status: i32,
    /// A task has said how the job ends.
    aborted: Option<i32>,
    /// Some task of it has lived, or has been tried to.
    lived: bool,
    /// It is older than our leading: what shells have said of it may have been said to another.
    resumed: bool,
    /// What shells have been told about its output.
    flow: Flow,
    /// Ranks that have no task of it, and so are done before it has begun.
    idle: Idset,
    /// Some of its ranks are done; the others may go on until then.
    exit_by_ms: Option<u64>,
    /// Last report by rank.
    seqs: BTreeMap<u32, u64>,
    /// Processes of tasks, as their shells have said while we led.
    pids: BTreeMap<u32, Vec<i32>>,
}

impl Run {
    /// Ranks that can be talked to about it.
    fn reachable(&self) -> Idset {
        self.sent.difference(&self.gone)
    }

    fn worsen(&mut self, status: i32) {
        if exit_code(status) > exit_code(self.status) {
            self.status = status;
        }
    }
}

impl Runs {
    pub fn begin(&mut self, id: JobId, ranks: Idset) {
        self.runs.insert(id, Run { ranks, ..Run::default() });
    }

    /// Of a job that ran before we led.
    pub fn resume(&mut self, job: &Job, guest: Option<&Guest>) {
        let Some(r) = job.r() else { return };
        let ranks = r.ranks();
        let mut run = Run {
            gone: ranks.difference(job.held()),
            // Or it was about to be; the shells will say.
            sent: ranks.clone(),
            lived: job.started(),
            resumed: true,
            // Output that is in the log may be repeated by whoever has not heard that it is.
            seqs: guest.map(|guest| guest.reported.clone()).unwrap_or_default(),
            ranks,
            ..Run::default()
        };
        let exec = guest.map(|guest| guest.text(GuestLog::Exec)).unwrap_or_default();
        for (rank, status, idle) in exec.lines().filter_map(read_shell_exit) {
            run.gone.insert(rank);
            run.worsen(status);
            if idle {
                run.idle.insert(rank);
            }
        }
        // Who has said something about it has started it.
        let spoken: Idset = run.seqs.keys().copied().collect();
        run.started = if job.started() { run.ranks.clone() } else { run.gone.union(&spoken) };
        self.runs.insert(job.id(), run);
    }

    /// Processes of the job's tasks by rank; none unless it runs.
    pub fn pids(&self, id: JobId) -> Option<&BTreeMap<u32, Vec<i32>>> {
        self.runs.get(&id).map(|run| &run.pids)
    }

    pub fn ids(&self) -> impl Iterator<Item = JobId> {
        self.runs.keys().copied()
    }

    pub fn over(&mut self, id: JobId) {
        if let Some(by) = self.runs.remove(&id).and_then(|run| run.exit_by_ms) {
            self.exits.remove(&(by, id));
        }
    }

    pub fn start(&mut self, id: JobId, ranks: &Idset) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        for rank in ranks.difference(&run.sent).difference(&run.gone).iter() {
            run.sent.insert(rank);
            self.starts.entry(rank).or_default().push(id);
        }
    }

    pub fn end(&mut self, id: JobId, ranks: &Idset) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        // Who was never told to start has nothing to end.
        run.gone.union_with(&ranks.difference(&run.sent));
        let ranks = ranks.difference(&run.ended).difference(&run.gone);
        if !ranks.is_empty() {
            run.ended.union_with(&ranks);
            self.ends.push((id, ranks));
        }
    }

    /// Ranks that run it and can be talked to about it.
    pub fn reachable(&self, id: JobId) -> Idset {
        self.runs.get(&id).map(Run::reachable).unwrap_or_default()
    }
}

/// RFC 50's event for a shell that is done while others of its job are not: a leader that comes back reads it.
fn shell_exit(cx: &Cx, rank: u32, status: i32, idle: bool) -> Entry {
    let context = json!({"rank": rank, "wait_status": status, "idle": idle});
    Entry::new(cx.now.wall, "shell-exit").with_context(context)
}

/// Rank, wait status, and whether it had no task at all.
fn read_shell_exit(line: &str) -> Option<(u32, i32, bool)> {
    if !line.contains("\"shell-exit\"") {
        return None;
    }
    let context = Entry::parse_line(line).ok()?.context?;
    let rank = u32::try_from(context.get("rank")?.as_u64()?).ok()?;
    let status = i32::try_from(context.get("wait_status")?.as_i64()?).ok()?;
    Some((rank, status, context.get("idle").and_then(serde_json::Value::as_bool) == Some(true)))
}

impl Jobs {
    pub(super) fn reports(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let body: Reports = m.body()?;
        for report in body.reports {
            self.report(cx, report);
        }
        cx.respond(m, &Done {});
        Ok(())
    }

    fn report(&mut self, cx: &mut Cx, report: Report) {
        let Report { id, attempt, rank: Rank(rank), seq, what } = report;
        if matches!(what, What::Gone { .. }) && self.returning.gone(rank, id, attempt) {
            self.resources(cx, ResourceChange::Up(rank.into()));
        }
        let run = self.runs.runs.get_mut(&id).filter(|run| attempt == ATTEMPT && run.ranks.contains(rank));
        let Some(run) = run else {
            self.end_stranger(cx, rank, id, attempt, &what);
            return;
        };
        let seen = run.seqs.entry(rank).or_default();
        // A repetition, or the last words of a rank that was given up.
        if seq <= *seen || run.gone.contains(rank) {
            return;
        }
        *seen = seq;
        self.dirty.insert(id);
        match what {
            What::Started { pids, .. } => {
                run.lived = true;
                run.started.insert(rank);
                if pids.is_empty() {
                    run.idle.insert(rank);
                } else {
                    run.pids.insert(rank, pids);
                }
            }
            What::Output { entries } => self.keep(id, rank, seq, GuestLog::Output, entries),
            What::Exec { entries } => self.keep(id, rank, seq, GuestLog::Exec, entries),
            What::Failed { kind, note, status } => {
                run.lived = true;
                run.worsen(status);
                // One reason is enough, however many ranks have it.
                if self.manager.job(id).is_some_and(|job| job.exception().is_none()) {
                    // Whoever loses its peer by that may abort, too.
                    if [ABORT, PROLOG, STAGE_IN].contains(&kind.as_str()) {
                        run.aborted.get_or_insert(status);
                    }
                    self.expect(cx, &Request::Raise { id, raised: Raised::fatal(&kind, note) });
                }
            }
            What::Warning { kind, severity, note } => {
                let exception = Exception { kind, severity: severity.clamp(1, 7), note };
                self.expect(cx, &Request::Raise { id, raised: Raised { exception, userid: None } });
                // Raised once, also when another leads by the time its shell repeats it.
                self.fact(id).reported.insert(rank, seq);
            }
            What::Gone { status, .. } => {
                run.lived = true;
                run.worsen(status);
                run.gone.insert(rank);
                let idle = run.idle.contains(rank);
                let last = run.gone == run.ranks;
                if !last {
                    self.await_exit(cx, id);
                }
                // What goes on within it holds back its release, and another leader may come meanwhile.
                if !last || !self.manager.held_within(id).is_empty() {
                    self.add_guest(id, GuestLog::Exec, shell_exit(cx, rank, status, idle));
                }
                self.inputs_lost(cx, rank, Some(id));
            }
        }
    }

    /// Begins to wait for the others once a rank of a job is done that had tasks. Its shell would watch tasks of its
    /// own; those elsewhere are for us to watch.
    pub(super) fn await_exit(&mut self, cx: &mut Cx, id: JobId) {
        let Some(run) = self.runs.runs.get_mut(&id) else { return };
        let done = run.gone.difference(&run.idle);
        if run.exit_by_ms.is_some() || done.is_empty() || run.gone == run.ranks {
            return;
        }
        let timeout_s = self.manager.job(id).and_then(|job| job.jobspec()?.attributes().exit_timeout_s());
        let Some(timeout_s) = timeout_s else { return };
        let by = cx.now.mono_ms.saturating_add((timeout_s * 1000.0) as u64);
        run.exit_by_ms = Some(by);
        self.runs.exits.insert((by, id));
        cx.wake_at(by);
    }

    /// Ends jobs of which some rank has been done for too long while others go on.
    pub(super) fn end_late(&mut self, cx: &mut Cx) {
        while let Some((by, id)) = self.runs.exits.first().copied().filter(|(by, _)| *by <= cx.now.mono_ms) {
            self.runs.exits.remove(&(by, id));
            let late = self.runs.runs.get(&id).is_some_and(|run| run.gone != run.ranks);
            let runs = self.manager.job(id).is_some_and(|job| job.state() == JobState::Run);
            if late && runs {
                let note = "some tasks still run long after the first have ended (exit-timeout)".to_owned();
                self.expect(cx, &Request::Raise { id, raised: Raised::fatal("exec", note) });
                self.dirty.insert(id);
            }
        }
    }

    fn keep(&mut self, id: JobId, rank: u32, seq: u64, log: GuestLog, entries: Vec<Entry>) {
        let fact = self.fact(id);
        fact.guest.extend(entries.into_iter().map(|entry| (log, entry)));
        fact.reported.insert(rank, seq);
    }

    /// A shell speaks of a job that is over here: whatever runs there is to end.
    fn end_stranger(&self, cx: &mut Cx, rank: u32, id: JobId, attempt: u32, what: &What) {
        if !matches!(what, What::Gone { .. }) {
            tell_end(cx, rank, id, attempt, String::new());
        }
    }

    /// Takes the news of a run to the manager.
    pub(super) fn progress(&mut self, cx: &mut Cx, id: JobId) {
        let (Some(job), Some(run)) = (self.manager.job(id), self.runs.runs.get(&id)) else { return };
        let (all_gone, status, lived) = (run.gone == run.ranks, run.aborted.unwrap_or(run.status), run.lived);
        let occupied = self.manager.held_within(id);
        let releasable = run.gone.intersection(job.held()).difference(&occupied);
        let unfinished = job.status().is_none();
        let running = job.state() == JobState::Run;
        if running && !job.started() && run.started == run.ranks {
            self.expect(cx, &Request::Start { id });
        }
        if all_gone && unfinished && (running || lived) {
            self.expect(cx, &Request::Finish { id, status: job_status(status) });
        }
        let ending = self.manager.job(id).is_some_and(|job| job.state() == JobState::Cleanup);
        if ending && !releasable.is_empty() {
            self.expect(cx, &Request::Release { id, ranks: releasable });
        }
    }

    /// Sends what this batch has to say to shells: starts first, one message per rank.
    pub(super) fn launch(&mut self, cx: &mut Cx) {
        let starts = std::mem::take(&mut self.runs.starts);
        // Shared by the messages to all ranks of a job.
        let mut parts: BTreeMap<JobId, Part> = BTreeMap::new();
        let mut said = std::mem::take(&mut self.said);
        for (rank, ids) in starts {
            let (mut start, mut len) = (Start::default(), 0);
            for id in &ids {
                let Some(part) = self.part(&mut parts, &mut said, *id) else { continue };
                let full = start.jobs.len() == START_JOBS_MAX || len + part.len(&start) > START_LEN_MAX;
                if full && !start.jobs.is_empty() {
                    cx.tell(Dest::Rank(Rank(rank)), &StartHere(std::mem::take(&mut start)));
                    len = 0;
                }
                len += part.len(&start);
                part.add_to(&mut start, *id);
            }
            if !start.jobs.is_empty() {
                cx.tell(Dest::Rank(Rank(rank)), &StartHere(start));
            }
            for id in ids {
                for stdin in self.kept_input(id) {
                    cx.tell(Dest::Rank(Rank(rank)), &StdinHere(stdin));
                }
            }
        }
        said.forget_long();
        self.said = said;
        for id in parts.into_keys() {
            if self.manager.job(id).is_some_and(|job| job.flags().debug() && job.state() == JobState::Run) {
                self.expect(cx, &Request::Note { id, name: "debug.start-request".to_owned() });
            }
        }
        for (id, ranks) in std::mem::take(&mut self.runs.ends) {
            let exception = self.manager.job(id).and_then(Job::exception);
            let why = exception.map(|e| format!("type={} severity={} {}", e.kind, e.severity, e.note));
            let why = why.unwrap_or_default();
            for rank in ranks.iter() {
                tell_end(cx, rank, id, ATTEMPT, why.clone());
            }
        }
    }

    fn part<'a>(&self, parts: &'a mut BTreeMap<JobId, Part>, said: &mut Said, id: JobId) -> Option<&'a Part> {
        match parts.entry(id) {
            btree_map::Entry::Occupied(there) => Some(there.into_mut()),
            btree_map::Entry::Vacant(place) => {
                let job = self.manager.job(id)?;
                Some(place.insert(said.part(job, self.manager.array_number(job))?))
            }
        }
    }

    /// Input that came before the job ran.
    fn kept_input(&self, id: JobId) -> Vec<Stdin> {
        let kept = self.guests.get(&id).map(|guest| guest.text(GuestLog::Input)).unwrap_or_default();
        let now = self.fact_of.get(&id).map_or(&[][..], |at| &self.facts[*at].guest);
        let now = now.iter().filter(|(log, _)| *log == GuestLog::Input).map(|(_, entry)| entry.clone());
        kept.lines()
            .filter_map(|line| Entry::parse_line(line).ok())
            .chain(now)
            .filter_map(|entry| read_input(id, &entry))
            .collect()
    }

    /// Nobody knows what runs on these ranks: they are to say it before they get jobs.
    pub fn expect_shells(&mut self, ranks: &Idset) {
        ranks.iter().for_each(|rank| self.returning.expect(rank));
    }

    pub fn rank_lost(&mut self, cx: &mut Cx, rank: Rank) {
        self.returning.expect(rank.0);
        let host = cx.config.hosts.get(rank.0 as usize).map_or("?", String::as_str);
        let note = format!("lost contact with {host} (rank {rank})");
        for id in self.with_rank(rank.0).into_iter().chain(self.idle_at(rank.0)) {
            self.give_up(cx, id, rank.0, Some(Raised::fatal("node-failure", note.clone())));
        }
    }

    /// Jobs of Slurm's commands that hold that rank and have no task of their own there: what runs within them needs it.
    fn idle_at(&self, rank: u32) -> Vec<JobId> {
        let needs = |job: &Job| job.brief().slurm && job.state() == JobState::Run;
        let idle =
            self.runs.runs.iter().filter(|(_, run)| run.idle.contains(rank) && run.gone.contains(rank));
        idle.map(|(id, _)| *id).filter(|id| self.manager.job(*id).is_some_and(needs)).collect()
    }

    /// Jobs that have something on that rank.
    fn with_rank(&self, rank: u32) -> Vec<JobId> {
        let there = |run: &Run| run.ranks.contains(rank) && !run.gone.contains(rank);
        self.runs.runs.iter().filter(|(_, run)| there(run)).map(|(id, _)| *id).collect()
    }

    /// Nothing more will be heard of the job from that rank.
    fn give_up(&mut self, cx: &mut Cx, id: JobId, rank: u32, why: Option<Raised>) {
        let Some(run) = self.runs.runs.get_mut(&id) else { return };
        run.gone.insert(rank);
        if run.sent.contains(rank) {
            run.worsen(STATUS_LOST);
        }
        if run.gone != run.ranks || !self.manager.held_within(id).is_empty() {
            self.add_guest(id, GuestLog::Exec, shell_exit(cx, rank, STATUS_LOST, false));
        }
        self.inputs_lost(cx, rank, Some(id));
        if let Some(raised) = why {
            self.expect(cx, &Request::Raise { id, raised });
        }
        self.dirty.insert(id);
    }

    /// A shell is there (again): what it knows and what we know is made one.
    pub(super) fn shell_ready(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let ShellReady { rank: Rank(rank), jobs } = m.body()?;
        // An answer may have been on a link that was cut.
        self.inputs_lost(cx, rank, None);
        let known: BTreeMap<JobId, u32> = jobs.into_iter().collect();
        let mut strangers = BTreeSet::new();
        for (id, attempt) in &known {
            let wanted = self.runs.runs.get(id).is_some_and(|run| {
                *attempt == ATTEMPT && run.ranks.contains(rank) && !run.gone.contains(rank)
            });
            if !wanted {
                tell_end(cx, rank, *id, *attempt, String::new());
                strangers.insert((*id, *attempt));
            }
        }
        if self.returning.shell_ready(rank, strangers) {
            self.resources(cx, ResourceChange::Up(rank.into()));
        }
        for id in self.with_rank(rank) {
            if self.full.contains(&id)
                && let Some(run) = self.runs.runs.get(&id)
            {
                cx.tell(Dest::Rank(Rank(rank)), &FlowHere { id, attempt: ATTEMPT, flow: run.flow });
            }
            self.reconcile(cx, id, rank, known.get(&id) == Some(&ATTEMPT));
        }
        cx.respond(m, &Done {});
        Ok(())
    }

    fn reconcile(&mut self, cx: &mut Cx, id: JobId, rank: u32, known: bool) {
        let Some(run) = self.runs.runs.get_mut(&id) else { return };
        let ending = self.manager.job(id).is_some_and(|job| job.state() == JobState::Cleanup);
        let started = run.started.contains(rank);
        if ending && known {
            // What was said to the end of it may have been lost.
            run.ended.remove(rank);
        } else if ending {
            let died = started.then(|| self.shell_died(cx, rank));
            self.give_up(cx, id, rank, died);
        } else if started && !known {
            let died = self.shell_died(cx, rank);
            self.give_up(cx, id, rank, Some(died));
        } else if !started && !known {
            run.sent.remove(rank);
        } else if !started && run.resumed {
            // Whether it has said so, nobody knows any more; if it could not start it, that is still to come.
            run.started.insert(rank);
        }
        self.dirty.insert(id);
    }

    fn shell_died(&self, cx: &Cx, rank: u32) -> Raised {
        let host = cx.config.hosts.get(rank as usize).map_or("?", String::as_str);
        Raised::fatal("exec", format!("shell on {host} died"))
    }

    /// Tells the shells of a job what to do with its output, if that is not what they do. None when it is over.
    pub(super) fn set_flow(&mut self, cx: &mut Cx, id: JobId, next: impl Fn(Flow) -> Flow) -> Option<Flow> {
        let run = self.runs.runs.get_mut(&id)?;
        let flow = next(run.flow);
        if std::mem::replace(&mut run.flow, flow) == flow {
            return Some(flow);
        }
        for rank in run.reachable().iter() {
            cx.tell(Dest::Rank(Rank(rank)), &FlowHere { id, attempt: ATTEMPT, flow });
        }
        Some(flow)
    }

    /// Signals all tasks of a running job.
    pub(super) fn signal(&self, cx: &mut Cx, id: JobId, signum: i32) -> Result<(), WireError> {
        let job = self.manager.job(id).ok_or_else(|| no_such_job(id))?;
        if job.state() != JobState::Run || !job.started() {
            return Err(WireError::new(flurm_wire::ErrorCode::Invalid, format!("job {id} is not running")));
        }
        for rank in self.runs.reachable(id).iter() {
            let kill = Kill {
                id,
                attempt: ATTEMPT,
                ranks: rank.into(),
                signum,
                end: false,
                grace_ms: 0,
                why: String::new(),
            };
            cx.tell(Dest::Rank(Rank(rank)), &KillHere(kill));
        }
        Ok(())
    }
}

fn tell_end(cx: &mut Cx, rank: u32, id: JobId, attempt: u32, why: String) {
    let ranks = rank.into();
    let kill = Kill { id, attempt, ranks, signum: SIGTERM, end: true, grace_ms: KILL_GRACE_MS, why };
    cx.tell(Dest::Rank(Rank(rank)), &KillHere(kill));
}

/// An entry of `guest.input` (RFC 24) for what came from a client.
pub(super) fn input_entry(cx: &Cx, stdin: &Stdin) -> Entry {
    let mut context = json!({"stream": "stdin", "rank": stdin.ranks});
    if !stdin.data.is_empty() {
        context["data"] = Value::from(stdin.data.as_str());
    }
    if stdin.base64 {
        context["encoding"] = "base64".into();
    }
    if stdin.eof {
        context["eof"] = true.into();
    }
    Entry::new(cx.now.wall, "data").with_context(context)
}

fn read_input(id: JobId, entry: &Entry) -> Option<Stdin> {
    let context = entry.context.as_ref().filter(|_| entry.name == "data")?;
    let text = |key: &str| context.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Stdin {
        id,
        ranks: text("rank"),
        data: text("data"),
        base64: text("encoding") == "base64",
        eof: context.get("eof").and_then(Value::as_bool).unwrap_or(false),
        typed: false,
        window: None,
    })
}
