//! Jobs on this rank: started, watched, ended, reported.
//!
//! ```text
//! start --> launching --launched: Started--> running --all tasks and descendants gone--> empty --pipes at their end--> gone
//!               |                              ^ |                                        epilog
//!            prolog, files                     | `--kill(end): TERM, grace, KILL
//!               |--a task cannot start: Failed-|
//!               `--kill(end) before any starts-'
//! ```
//!
//! `gone` is reported and kept until the leader has committed it.

use crate::archive::Gathered;
use crate::collective::{Collectives, Question};
use crate::end::{Exit, Field, GRACE_MS};
use crate::env::Base;
use crate::feed::Feed;
use crate::io::{Last, Output, Room, UNACKNOWLEDGED_BYTES_MAX};
use crate::launch::{Claim, Failure, Launched, Opened, Work};
use crate::offer::Program;
use crate::options::Sink;
use crate::options::pmi::Ask;
use crate::pipes::Unread;
use crate::plan::{self, Numbers, Plan};
use crate::pmi::Pmi;
use crate::pmix::Pmix;
use crate::scratch;
use crate::shell::{For, Key, Owner, Shell, Timer, wall};
use crate::stage::Staging;
use crate::sysmon::{self, Usage};
use crate::wrap;
use flurm_types::{R, exit_code};
use flurm_wire::Message;
use flurm_wire::exec::{ABORT, Kill, Start, StartJob, What};
use flurm_wire::follow::Followed;
use flurm_wire::job::Stdin;
use flurm_wire::rexec::Stream;
use flurm_wire::shell::{ExpireHere, Flow, FlowHere, PmixGet};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A pipe that somebody outside the job holds open is not waited for any longer than this; nor, once the job was told to
/// end, is who does not take what comes out of it.
const LINGER: Duration = Duration::from_secs(1);

/// No more than this is collected: far below what readers wait for.
const COLLECTED_BYTES_MAX: usize = UNACKNOWLEDGED_BYTES_MAX / 4;

/// There is a number for each family of processes, and none is left.
const TOO_MANY: &str = "too many jobs run here";

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) plan: Arc<Plan>,
    pub(crate) r: Arc<R>,
    pub(crate) base: Arc<Base>,
    field: Field,
    pub(crate) phase: Phase,
    /// A program of the user's runs before or after the tasks.
    pub(crate) hook: Option<Field>,
    /// One has run before, so another one is due after.
    pub(crate) epilog_due: bool,
    tasks_left: usize,
    pub(crate) streams: usize,
    /// More of them that have no reader yet.
    pub(crate) unread: Vec<Unread>,
    pub(crate) inputs: Vec<Feed>,
    pub(crate) output: Output,
    /// Its output is being collected.
    collecting: bool,
    /// Tasks that wait for other nodes to open their files.
    pub(crate) opened: Option<Opened>,
    pub(crate) staging: Staging,
    /// What is for an archive.
    pub(crate) gathered: Option<Gathered>,
    /// What its readers share.
    pub(crate) room: Arc<Room>,
    /// What the leader wants of its output.
    flow: Flow,
    /// It has been told to end: who does not read its output is not waited for.
    pub(crate) ending: bool,
    /// Why it has been told to end; empty when nobody said.
    pub(crate) why: String,
    /// Wait status of the worst task.
    pub(crate) status: i32,
    /// It ended before its tasks were started; whoever prepares them may still write to its directory.
    pub(crate) abandoned: bool,
    /// We have killed some of it, or are about to.
    killed: bool,
    /// Of a job that wants to be measured.
    pub(crate) usage: Option<Usage>,
    pub(crate) pmi: Option<Pmi>,
    pub(crate) collectives: Collectives<Message>,
    /// What the parent has been asked, by the collective's name.
    pub(crate) questions: BTreeMap<String, Question>,
    pub(crate) pmix: Option<Pmix>,
    /// A task has asked for PMI.
    pub(crate) spoke: bool,
    /// What tasks elsewhere want of ours, while these are not started yet.
    pub(crate) pmix_asked: Vec<(Message, PmixGet)>,
    /// Tasks that have finalized PMI or PMIx.
    pub(crate) goodbyes: BTreeSet<u32>,
}

#[derive(Debug)]
pub(crate) enum Phase {
    /// What came while the tasks were on their way.
    Launching {
        tag: Option<u64>,
        /// None: its prolog comes first.
        ticket: Option<u64>,
        claim: Claim,
        end: Option<Duration>,
        signals: Vec<i32>,
        inputs: Vec<(Stdin, Message)>,
    },
    Running,
    /// All its processes are gone.
    Empty,
    Gone,
}

pub(crate) fn worse(a: i32, b: i32) -> i32 {
    if exit_code(b) > exit_code(a) { b } else { a }
}

impl Job {
    /// How often it wants to be looked at.
    pub(crate) fn sampled(&self) -> Option<Duration> {
        self.usage.as_ref()?;
        let watched = self.plan.memory_watched.map(|_| sysmon::WATCH_PERIOD);
        Some(self.plan.options.sysmon.into_iter().chain(watched).min().unwrap_or(sysmon::PERIOD))
    }

    /// Is it certain that no task elsewhere waits for one of these, which have ended?
    pub(crate) fn ended_in_order(&self) -> bool {
        let offer = self.plan.options.pmi;
        let mute = (!offer.wire && offer.pmix == Ask::No) || self.plan.program.get() == Some(&Program::Plain);
        self.status == 0 && (mute || self.plan.tasks.iter().all(|task| self.goodbyes.contains(task)))
    }

    /// Between TERM and KILL.
    pub(crate) fn grace(&self) -> Duration {
        self.plan.options.kill_timeout.unwrap_or(Duration::from_millis(GRACE_MS))
    }
}

impl Shell {
    pub(crate) fn start(&mut self, start: Start) {
        for job in &start.jobs {
            let key = (job.id, job.attempt);
            // Said twice: what is known of it is on its way or will be repeated.
            if self.jobs.contains_key(&key) {
                continue;
            }
            if let Err(note) = self.start_job(key, job, &start) {
                self.never_came(key);
                let jobspec = start.jobspecs.get(job.jobspec).map_or("", |text| text.get());
                self.never_followed(job.id, jobspec, &note, 1 << 8);
                self.outbox.push(key, What::Failed { kind: "exec".into(), note, status: 1 << 8 }, 0);
                self.outbox.push(key, What::Gone { time: wall(), status: 1 << 8 }, 0);
            }
        }
    }

    fn start_job(&mut self, key: Key, job: &StartJob, start: &Start) -> Result<(), String> {
        if self.is_leaving() {
            return Err("the shell is leaving".into());
        }
        let environment =
            start.environments.get(job.environment).ok_or("the start message lacks the job's environment")?;
        let place = self.place.clone().ok_or("the shell has not been welcomed yet")?;
        // Its environment comes apart from it, shared by many.
        let spec = start.jobspecs.get(job.jobspec).ok_or("the start message lacks the job's jobspec")?;
        let (spec, copy) = self.known.jobspec(spec.get(), job.copy)?;
        let exact = &spec.jobspec.attributes().shell_options;
        let base = self.known.base(environment.get(), exact.contains_key("slurm-environment"))?;
        let r = Arc::new(R::parse(job.r.get()).map_err(|e| e.to_string())?);
        let tmpdir = self.scratch.take(SystemTime::now());
        let numbers = Numbers { copy, job: job.number, array: job.array_number };
        let ready = match plan::plan(job.id, &spec, numbers, &r, &place, &tmpdir) {
            Ok(plan) => {
                self.families.found().map(|family| (Arc::new(plan), family)).ok_or_else(|| TOO_MANY.into())
            }
            Err(error) => Err(error.to_string()),
        };
        let (plan, (field, tag)) = match ready {
            Ok(ready) => ready,
            Err(note) => {
                // Not made, or still as it was: there is nothing to remove.
                let _ = self.scratch.give_back(tmpdir);
                return Err(note);
            }
        };
        let gathered = match self.use_archive(&plan) {
            Ok(gathered) => gathered,
            Err(note) => {
                let _ = self.scratch.give_back(tmpdir);
                self.families.started(field, [], &[]);
                return Err(note);
            }
        };
        let phase = Phase::Launching {
            tag,
            ticket: None,
            claim: Claim::default(),
            end: None,
            signals: Vec::new(),
            inputs: Vec::new(),
        };
        let job = Job {
            field,
            phase,
            base,
            hook: None,
            epilog_due: plan.options.hooks.epilog.is_some(),
            tasks_left: 0,
            streams: 0,
            unread: Vec::new(),
            inputs: Vec::new(),
            output: Output::default(),
            collecting: false,
            opened: None,
            staging: Staging::default(),
            gathered,
            room: Arc::new(Room::new(UNACKNOWLEDGED_BYTES_MAX)),
            flow: Flow::Pass,
            ending: false,
            why: String::new(),
            status: 0,
            abandoned: false,
            killed: false,
            usage: None,
            pmi: None,
            collectives: Collectives::new(plan.node_index),
            questions: BTreeMap::new(),
            pmix: None,
            spoke: false,
            pmix_asked: Vec::new(),
            goodbyes: BTreeSet::new(),
            r,
            plan,
        };
        self.by_field.insert(field, key);
        self.jobs.insert(key, job);
        self.take_early(key);
        self.begin_channel(key);
        self.prolog(key);
        Ok(())
    }

    /// Starts its tasks, once what they want to find is there, unless it has been told to end meanwhile.
    pub(crate) fn launch(&mut self, key: Key) {
        if self.stage(key) {
            return;
        }
        let Some(job) = self.jobs.get(&key) else { return };
        let Phase::Launching { tag, ticket: None, claim, .. } = &job.phase else { return };
        let (plan, base, claim) = (Arc::clone(&job.plan), Arc::clone(&job.base), claim.clone());
        let number = self.order(For::Job(key), *tag, Work::Tasks { plan, base, claim, pmix: None });
        if let Some(Job { phase: Phase::Launching { ticket, .. }, .. }) = self.jobs.get_mut(&key) {
            *ticket = Some(number);
        }
    }

    pub(crate) fn job_launched(&mut self, key: Key, launched: Launched) {
        if let Some(first) = launched.first {
            return self.pmix_first(key, first);
        }
        if let Some(opened) = launched.opened {
            return self.files_opened(key, opened);
        }
        let now = Instant::now();
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let Phase::Launching { end, signals, inputs, .. } = std::mem::replace(&mut job.phase, Phase::Running)
        else {
            return;
        };
        let field = job.field;
        let pids: Vec<i32> = launched.children.iter().map(|child| child.pid).collect();
        job.tasks_left = pids.len();
        self.families.started(field, pids.iter().copied(), &launched.ended);
        self.owners.extend((0..).zip(&pids).map(|(local, pid)| (*pid, Owner::Task(key, local))));
        if launched.failure.is_none() {
            let pids = pids.clone();
            self.tell_followers(key, |plan| Followed::Started {
                id: plan.id,
                tasks: plan.tasks.clone(),
                pids,
            });
        }
        let unheard = self.connect(key, launched.children);
        self.read_soon(key, now);
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let unheard = unheard.map(|note| Failure { note, status: 1 << 8, errno: libc::EIO });
        match launched.failure.or(unheard) {
            Some(failure) => {
                job.status = worse(job.status, failure.status);
                job.ending = true;
                let grace = job.grace();
                let (note, status) = (failure.note.clone(), failure.status);
                self.tell_followers(key, |_| Followed::Failed { note, status });
                let what = What::Failed { kind: "exec".into(), note: failure.note, status: failure.status };
                self.outbox.push(key, what, 0);
                self.families.end(field, now, grace);
            }
            None => {
                self.outbox.push(key, What::Started { time: wall(), pids }, 0);
                self.redirects(key);
                self.set_warning(key, now);
                self.measure(key, now);
            }
        }
        for signum in signals {
            self.families.signal(field, signum);
        }
        if let Some(grace) = end {
            self.families.end(field, now, grace);
        }
        for (stdin, message) in inputs {
            self.stdin(stdin, message);
        }
        self.pmix_answer_early(key);
    }

    /// Ends a job none of whose tasks has been started: one may wait for a file to open. Otherwise nothing happens.
    pub(crate) fn abandon(&mut self, key: Key, status: i32) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let Phase::Launching { ticket, claim, inputs, .. } = &mut job.phase else { return };
        if !claim.take() {
            return;
        }
        let (ticket, inputs) = (*ticket, std::mem::take(inputs));
        job.phase = Phase::Running;
        job.status = worse(job.status, status);
        job.abandoned = true;
        job.opened = None;
        job.staging = Staging::default();
        let (field, hook, grace) = (job.field, job.hook, job.grace());
        ticket.into_iter().for_each(|ticket| self.forget_order(ticket));
        self.families.started(field, [], &[]);
        if let Some(hook) = hook {
            self.families.end(hook, Instant::now(), grace);
        }
        for (stdin, message) in inputs {
            self.stdin(stdin, message);
        }
    }

    fn measure(&mut self, key: Key, now: Instant) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        if job.plan.options.sysmon.is_some() || job.plan.memory_watched.is_some() {
            job.usage = Some(Usage::new());
            self.sample_at = Some(now);
        }
    }

    fn set_warning(&mut self, key: Key, now: Instant) {
        let Some(job) = self.jobs.get(&key) else { return };
        let Some((_, left_s)) = job.plan.options.warning else { return };
        if job.r.expiration.is_zero() {
            return;
        }
        let wait = (job.r.expiration.secs_since(wall()) - left_s).max(0.0);
        if let Ok(wait) = Duration::try_from_secs_f64(wait) {
            self.timers.insert((now + wait, key, Timer::Warning));
        }
    }

    /// The job's end has been put off, or brought near.
    pub(crate) fn expire(&mut self, expire: &ExpireHere) {
        let key = (expire.id, expire.attempt);
        let Some(job) = self.jobs.get_mut(&key) else { return };
        Arc::make_mut(&mut job.r).expiration = expire.expiration;
        self.timers.retain(|(_, of, timer)| *of != key || *timer != Timer::Warning);
        self.set_warning(key, Instant::now());
    }

    pub(crate) fn kill(&mut self, kill: &Kill) {
        if !kill.ranks.contains(self.rank.0) {
            return;
        }
        let key = (kill.id, kill.attempt);
        if kill.end {
            self.abandon(key, libc::SIGTERM);
        }
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let grace = job.plan.options.kill_timeout.unwrap_or(Duration::from_millis(kill.grace_ms));
        job.ending |= kill.end;
        if kill.end && job.why.is_empty() {
            job.why.clone_from(&kill.why);
        }
        job.killed |= kill.end || kill.signum == libc::SIGKILL;
        if let Phase::Launching { end, signals, .. } = &mut job.phase {
            if kill.end {
                *end = Some(end.map_or(grace, |before| before.min(grace)));
            } else {
                signals.push(kill.signum);
            }
            return;
        }
        if kill.end {
            // Shells that people type at do not end by SIGTERM, but when their terminal hangs up.
            if job.plan.options.pty.as_ref().is_some_and(|pty| pty.interactive) {
                self.families.signal(job.field, libc::SIGHUP);
            }
            self.families.end(job.field, Instant::now(), grace);
            // All that it waits for may be its archive.
            self.finish(key);
        } else {
            self.families.signal(job.field, kill.signum);
        }
    }

    /// A signal for all that the job has here.
    pub(crate) fn signal_here(&mut self, key: Key, signum: i32) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        job.killed |= signum == libc::SIGKILL;
        match &mut job.phase {
            Phase::Launching { signals, .. } => signals.push(signum),
            Phase::Running | Phase::Empty | Phase::Gone => self.families.signal(job.field, signum),
        }
    }

    pub(crate) fn output(&mut self, key: Key, stream: Stream, task: u32, mut bytes: Vec<u8>) {
        if self.output_followed(key, stream, task, &mut bytes) {
            return;
        }
        // After the last report nothing is reported: a server of PMIx may still say something.
        let job = self.jobs.get_mut(&key).filter(|job| !matches!(job.phase, Phase::Gone));
        let Some(job) = job else { return };
        let options = &job.plan.options;
        let sink = if stream == Stream::Stdout { &options.stdout } else { &options.stderr };
        if *sink == Sink::Archive {
            self.gather(key, stream, task, bytes);
        } else if job.flow == Flow::Drop {
            job.room.bytes.add_permits(bytes.len());
        } else {
            job.output.push(stream, task, bytes, wall());
            match job.plan.options.batch {
                Some(wait) if job.output.bytes() < COLLECTED_BYTES_MAX => {
                    if !std::mem::replace(&mut job.collecting, true) {
                        self.timers.insert((Instant::now() + wait, key, Timer::Batch));
                    }
                }
                Some(_) | None => {
                    self.dirty.insert(key);
                }
            }
        }
    }

    pub(crate) fn set_flow(&mut self, to: FlowHere) {
        let key = (to.id, to.attempt);
        if let Some(job) = self.jobs.get_mut(&key) {
            job.flow = to.flow;
            self.dirty.insert(key);
        }
    }

    /// The leader has so many bytes of the job's output.
    pub(crate) fn make_room(&self, key: Key, bytes: usize) {
        if let Some(job) = self.jobs.get(&key) {
            job.room.bytes.add_permits(bytes);
        }
    }

    pub(crate) fn report_output(&mut self, key: Key) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let waits = job.flow == Flow::Wait && !matches!(job.phase, Phase::Gone);
        if !job.output.is_empty() && !waits {
            let (entries, bytes) = job.output.take();
            self.outbox.push(key, What::Output { entries }, bytes);
        }
    }

    pub(crate) fn stream_end(&mut self, key: Key, problem: Option<String>) {
        if let Some(note) = problem {
            self.output_lost(key, note);
        }
        if let Some(job) = self.jobs.get_mut(&key) {
            job.streams = job.streams.saturating_sub(1);
        }
        self.finish(key);
    }

    pub(crate) fn task_exited(&mut self, key: Key, local: usize, exit: Exit) {
        let (now, status) = (Instant::now(), exit.status);
        self.tell_followers(key, |plan| Followed::Exited { task: plan.tasks[local], status });
        let Some(job) = self.jobs.get_mut(&key) else { return };
        job.tasks_left -= 1;
        if let Some(usage) = &mut job.usage {
            usage.task_exited(exit.peak_kib << 10, exit.cpu);
        }
        // Perhaps by way of a shell, which then ends with this code.
        if exit_code(status) == 128 + libc::SIGKILL && !job.killed {
            self.ask_why_killed(key, local);
        }
        let Some(job) = self.jobs.get_mut(&key) else { return };
        job.status = worse(job.status, status);
        let first = job.tasks_left + 1 == job.plan.tasks.len();
        let options = &job.plan.options;
        let unprepared = options.hooks.task_prolog.is_some() && status != 0;
        if let Some(note) = unprepared.then(|| wrap::note(&job.plan.tmpdir, job.plan.tasks[local])).flatten()
        {
            self.fail_as(key, "prolog", note, status);
        } else if status != 0 && options.exit_on_error {
            let note =
                format!("task {} ended with {} (exit-on-error)", job.plan.tasks[local], exit_code(status));
            self.fail(key, note, status);
        } else if first
            && job.tasks_left > 0
            && let Some(wait) = options.exit_timeout_s
        {
            let wait = Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX);
            if let Some(at) = now.checked_add(wait) {
                self.timers.insert((at, key, Timer::ExitTimeout));
            }
        }
    }

    /// A task was killed, and not by us: does the kernel say that it was for lack of memory?
    fn ask_why_killed(&mut self, key: Key, local: usize) {
        let (Some(job), Some(counter)) = (self.jobs.get(&key), self.oom.risen()) else { return };
        let (task, host) = (job.plan.tasks[local], &job.plan.node.host);
        let counter = counter.display();
        let note =
            format!("task {task} was killed on {host} because memory ran out (oom_kill rose in {counter})");
        self.outbox.push(key, What::Warning { kind: "oom".into(), severity: 1, note }, 0);
    }

    /// The job cannot go on: the leader hears why, and ends it elsewhere; here it ends at once.
    pub(crate) fn fail(&mut self, key: Key, note: String, status: i32) {
        self.fail_as(key, "exec", note, status);
    }

    /// A task ends the job, with this exit code.
    pub(crate) fn abort(&mut self, key: Key, note: String, code: i32) {
        let code = if (1..=255).contains(&code) { code } else { 1 };
        let Some(job) = self.jobs.get_mut(&key) else { return };
        if job.plan.nnodes == 1 {
            return self.fail_as(key, ABORT, note, code << 8);
        }
        // The leader ends the tasks, here as elsewhere: were ours ended now, others that lose their peers would abort as
        // well, and be heard first.
        job.killed = true;
        self.outbox.push(key, What::Failed { kind: ABORT.into(), note, status: code << 8 }, 0);
    }

    fn fail_as(&mut self, key: Key, kind: &str, note: String, status: i32) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        job.status = worse(job.status, status);
        job.killed = true;
        let (field, grace) = (job.field, job.grace());
        self.outbox.push(key, What::Failed { kind: kind.into(), note, status }, 0);
        self.families.end(field, Instant::now(), grace);
    }

    pub(crate) fn family_over(&mut self, key: Key, now: Instant) {
        self.read_rest(key);
        let Some(job) = self.jobs.get_mut(&key) else { return };
        job.phase = Phase::Empty;
        job.inputs.clear();
        self.pmix_over(key, now);
        self.look_for_singletons(key);
        self.say_why(key);
        let Some(job) = self.jobs.get_mut(&key) else { return };
        if job.streams > 0 {
            self.linger(key, now);
        }
        self.leave_collectives(key);
        if let Some(job) = self.jobs.get_mut(&key) {
            job.pmi = None;
        }
        self.finish(key);
    }

    /// Its pipes are read for a while after the last process.
    pub(crate) fn linger(&mut self, key: Key, now: Instant) {
        self.timers.insert((now + LINGER, key, Timer::Linger));
    }

    /// Its tasks are not started yet, and nobody has told it to end.
    pub(crate) fn waits_to_launch(&self, key: Key) -> bool {
        self.jobs.get(&key).is_some_and(|job| matches!(job.phase, Phase::Launching { ticket: None, .. }))
    }

    pub(crate) fn rings(&mut self, key: Key, timer: Timer, now: Instant) {
        let leaving = self.is_leaving();
        let Some(job) = self.jobs.get_mut(&key) else { return };
        match timer {
            Timer::Warning => {
                let options = &job.plan.options;
                match options.warning {
                    Some((signum, _)) if options.warning_alone => {
                        self.families.signal_alone(job.field, signum);
                    }
                    Some((signum, _)) => self.families.signal(job.field, signum),
                    None => {}
                }
            }
            Timer::ExitTimeout if job.tasks_left > 0 => {
                let n = job.tasks_left;
                let tasks = flurm_types::counted(n as u64, "task");
                let verb = if n == 1 { "still runs" } else { "still run" };
                let note = format!("{tasks} {verb} long after the first has ended (exit-timeout)");
                self.fail(key, note, 1 << 8);
            }
            Timer::ExitTimeout => {}
            Timer::Batch => {
                job.collecting = false;
                self.dirty.insert(key);
            }
            Timer::Read => self.read_from_now_on(key),
            Timer::Hook => self.hook_late(key, now),
            Timer::Archive => self.write_gathered(key, false),
            Timer::ArchiveLate => self.archive_late(key),
            Timer::Collective => self.ask_again(key),
            Timer::PmixLate => self.pmix_late(key),
            Timer::Linger if job.streams == 0 => {}
            Timer::Linger => {
                let call = &job.room.call;
                let last = call.is(Last::Rest) && (job.ending || leaving);
                call.tell(if last { Last::Now } else { Last::Rest });
                if !last {
                    // They end by themselves, unless they wait for somebody to whom their output goes.
                    let wait = if leaving { LINGER / 2 } else { LINGER };
                    self.timers.insert((now + wait, key, Timer::Linger));
                }
            }
        }
    }

    /// Reports the end of a job once there is nothing left of it.
    pub(crate) fn finish(&mut self, key: Key) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        if !matches!(job.phase, Phase::Empty) || job.streams > 0 || job.hook.is_some() || self.epilog(key) {
            return;
        }
        if !self.is_archived(key) {
            return;
        }
        let Some(job) = self.jobs.get_mut(&key) else { return };
        job.phase = Phase::Gone;
        let (status, time) = (job.status, wall());
        self.dirty.remove(&key);
        self.report_output(key);
        self.tell_usage(key);
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let entries = job.output.end(&job.plan.tasks, time);
        if !entries.is_empty() {
            self.outbox.push(key, What::Output { entries }, 0);
        }
        self.outbox.push(key, What::Gone { time, status }, 0);
        self.end_channel(key, status);
        let Some(job) = self.jobs.get(&key) else { return };
        let tmpdir = job.plan.tmpdir.clone();
        let lost = job.abandoned;
        let dir = if lost { Some(self.scratch.lose(tmpdir)) } else { self.scratch.give_back(tmpdir) };
        dir.into_iter().for_each(scratch::remove);
        self.timers.retain(|(_, of, _)| *of != key);
    }
}
