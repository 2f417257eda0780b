//! The shell's loop: events in, reports out.
//!
//! One thread does everything but starting processes. A signal to the whole process group, such as a Ctrl-C, is the
//! broker's to judge, which then says `quit`; only a SIGTERM is heard when there is no broker. A broker that is gone for
//! too long is missed, and the shell ends everything by itself.

use crate::archive::Archives;
use crate::collective::{Collected, Early};
use crate::end::{Exit, Families, Field, GRACE_MS};
use crate::follow::Channel;
use crate::hooks::Hook;
use crate::initial::Initial;
use crate::jobs::Job;
use crate::known::Known;
use crate::launch::{Launched, Launchers, Order, Work};
use crate::memory::OomCounter;
use crate::outbox::Outbox;
use crate::plan::Place;
use crate::rexec::Exec;
use crate::scratch::Scratch;
use crate::stage::Staged;
use crate::{end, link, signals, spawn};
use flurm_client::{Client, ClientError, Uri};
use flurm_pmi::{Piece, ProtocolError};
use flurm_types::{JobId, Rank, Timestamp};
use flurm_wire::archive::Instance;
use flurm_wire::follow::{Feed, Follow, Signal, Took};
use flurm_wire::rexec::{Control, Run, Stream};
use flurm_wire::shell::{
    ExpireHere, Fence, FenceLost, Fenced, FlowHere, Hello, KillHere, KillInitial, PmixGet, Quit, StartHere,
    StartInitial, StdinHere, Welcome,
};
use flurm_wire::{Dest, Kind, Message, Topic};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// What `flurm shell` is told.
#[derive(Debug, Clone)]
pub struct ShellArgs {
    /// `local:///…` of the broker of this rank.
    pub uri: String,
    pub rank: u32,
}

/// A job on this rank: a second attempt of a job is another one.
pub type Key = (JobId, u32);

/// Unanswered reports are sent again after this time.
pub(crate) const REPEAT: Duration = Duration::from_secs(5);
/// After a refusal (the leader is not ready, say).
pub(crate) const RETRY: Duration = Duration::from_millis(300);
/// Before the first welcome, which says how long to live without a broker.
const ORPHAN_MS: u64 = 5000;
/// When nobody is there to wait for a graceful end.
const ORPHAN_GRACE: Duration = Duration::from_millis(1500);
/// When all processes are gone, reports may still take this long.
const FAREWELL: Duration = Duration::from_secs(2);
/// Events that are handled before children and reports are looked at again.
const EVENTS_MAX: usize = 1024;
/// While the last processes are being killed.
const POLL: Duration = Duration::from_millis(20);

/// Whatever happens to a shell.
#[derive(Debug)]
pub enum Event {
    Connected(Client),
    Lost,
    Welcomed(Option<Box<Welcome>>),
    Push(Box<Message>),
    /// Whether the reports that were out have been committed.
    Sent(bool),
    Launched(Box<Launched>),
    Output {
        key: Key,
        stream: Stream,
        task: u32,
        bytes: Vec<u8>,
    },
    StreamEnd {
        key: Key,
        problem: Option<String>,
    },
    /// A record is in an archive, or cannot be.
    Archived {
        key: Key,
        path: Arc<Path>,
        bytes: usize,
        problem: Option<String>,
    },
    InputTaken(Box<Message>),
    /// A request of a task, none at the end of its connection.
    Pmi {
        key: Key,
        local: usize,
        request: Result<Option<Piece>, ProtocolError>,
    },
    /// A word of a job's PMIx server, none at the end of its output.
    Pmix {
        key: Key,
        word: Option<Box<crate::pmix::Word>>,
    },
    /// The parent in a collective has answered.
    Fenced {
        key: Key,
        name: String,
        seq: u64,
        answer: Box<Result<Fenced, ClientError>>,
    },
    /// A collective is through, or has failed.
    Collected {
        key: Key,
        name: String,
        result: Collected,
    },
    /// Who unpacks a job's archives wants something, or is through.
    Staged {
        key: Key,
        said: Staged,
    },
    InitialSent(bool),
    ExecOver(u64),
}

#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) rank: Rank,
    pub(crate) events: mpsc::UnboundedSender<Event>,
    pub(crate) client: Option<Client>,
    /// From the latest welcome.
    pub(crate) place: Option<Arc<Place>>,
    welcomed: bool,
    held: VecDeque<Box<Message>>,
    orphan_ms_max: u64,
    /// When to stop waiting for a broker.
    orphan_at: Option<Instant>,
    rundir: PathBuf,
    pub(crate) scratch: Scratch,
    pub(crate) archives: Archives,
    pub(crate) known: Known,
    pub(crate) launchers: Launchers,
    pub(crate) families: Families,
    pub(crate) jobs: BTreeMap<Key, Job>,
    pub(crate) by_field: BTreeMap<Field, Key>,
    pub(crate) hooks: BTreeMap<Field, Hook>,
    pub(crate) owners: BTreeMap<i32, Owner>,
    orders: BTreeMap<u64, For>,
    next_order: u64,
    /// Exits of children that no launcher has told of yet, with the orders that were given by then.
    strays: Vec<(u64, Exit)>,
    pub(crate) outbox: Outbox,
    pub(crate) retry_at: Option<Instant>,
    /// When jobs that want it are measured.
    pub(crate) sample_at: Option<Instant>,
    pub(crate) oom: OomCounter,
    /// Jobs with output to report.
    pub(crate) dirty: BTreeSet<Key>,
    pub(crate) timers: BTreeSet<(Instant, Key, Timer)>,
    pub(crate) execs: BTreeMap<u64, Exec>,
    pub(crate) next_exec: u64,
    pub(crate) early: Early,
    /// By their names.
    pub(crate) channels: BTreeMap<String, Channel>,
    /// Those of them whose jobs are over before anybody has followed them, in order.
    pub(crate) unheard: VecDeque<String>,
    pub(crate) initial: Initial,
    leaving: Option<Leaving>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) enum Timer {
    /// The job's time is nearly over.
    Warning,
    /// The first task of it has ended long ago.
    ExitTimeout,
    /// Its pipes get readers.
    Read,
    /// What it has said is to be sent.
    Batch,
    /// What it has said is to be written to its archive.
    Archive,
    /// It is told to end, and its archive does not take what it has said.
    ArchiveLate,
    /// All its processes are gone, but somebody holds on to a pipe.
    Linger,
    /// A program before or after its tasks has had its time.
    Hook,
    /// A question to another shell was lost: ask again.
    Collective,
    /// Its PMIx server should have been ready by now.
    PmixLate,
}

/// Whose child a process is.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Owner {
    Task(Key, usize),
    Pmix(Key),
    Hook(Field),
    Exec(u64),
    Initial,
}

/// What was ordered.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum For {
    Job(Key),
    Pmix(Key, Field),
    Hook(Field),
    Exec(u64),
    Initial,
}

#[derive(Debug)]
struct Leaving {
    /// Told by the broker; otherwise there is none.
    asked: bool,
    /// All processes are gone since then.
    empty_since: Option<Instant>,
    poll_at: Instant,
}

/// Runs the shell of one rank until its broker says that it may leave. The exit code is 1 when no broker was left to
/// say so.
pub fn run(args: ShellArgs) -> i32 {
    spawn::block_all_signals();
    // Started as /proc/self/exe, we would be called `exe`. Nothing depends on the name.
    let _ = rustix::thread::set_name(c"flurm-shell");
    match begin(args) {
        Ok(code) => code,
        Err(e) => {
            tracing::error!("start the shell: {e}");
            1
        }
    }
}

fn begin(args: ShellArgs) -> Result<i32, Box<dyn std::error::Error>> {
    let uri = Uri::parse(&args.uri)?;
    let rundir = uri.path().parent().unwrap_or(Path::new("/"));
    let families = Families::new(GRACE_MS, rundir);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (events, queue) = mpsc::unbounded_channel();
    let launchers = Launchers::start({
        let events = events.clone();
        move |launched| {
            // The shell may be leaving.
            let _ = events.send(Event::Launched(Box::new(launched)));
        }
    })?;
    let code = runtime.block_on(async {
        // SAFETY: an `OwnedFd` names the same open descriptor for as long as it lives.
        let signals = unsafe { AsyncFd::register(signals::open()?)? };
        tokio::spawn(link::keep(uri.clone(), events.clone()));
        let shell = Shell::new(Rank(args.rank), &uri, events, families, launchers);
        Ok::<i32, std::io::Error>(shell.serve(queue, signals).await)
    })?;
    // A file system that hangs must not hold us.
    runtime.shutdown_background();
    Ok(code)
}

/// What readers of logs see.
pub(crate) fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

impl Shell {
    fn new(
        rank: Rank,
        uri: &Uri,
        events: mpsc::UnboundedSender<Event>,
        families: Families,
        launchers: Launchers,
    ) -> Shell {
        let rundir = uri.path().parent().unwrap_or(Path::new("/"));
        let mut scratch = Scratch::new(rundir);
        if scratch.inherit() {
            end::kill_leftovers(rundir);
        }
        Shell {
            rank,
            events,
            client: None,
            place: None,
            welcomed: false,
            held: VecDeque::new(),
            orphan_ms_max: ORPHAN_MS,
            orphan_at: Some(Instant::now() + Duration::from_millis(ORPHAN_MS)),
            rundir: rundir.to_owned(),
            scratch,
            archives: Archives::default(),
            known: Known::default(),
            launchers,
            families,
            jobs: BTreeMap::new(),
            by_field: BTreeMap::new(),
            hooks: BTreeMap::new(),
            owners: BTreeMap::new(),
            orders: BTreeMap::new(),
            next_order: 0,
            strays: Vec::new(),
            outbox: Outbox::new(rank),
            retry_at: None,
            sample_at: None,
            oom: OomCounter::new(Path::new("/")),
            dirty: BTreeSet::new(),
            timers: BTreeSet::new(),
            execs: BTreeMap::new(),
            next_exec: 0,
            early: Early::default(),
            channels: BTreeMap::new(),
            unheard: VecDeque::new(),
            initial: Initial::None,
            leaving: None,
        }
    }

    async fn serve(mut self, mut queue: mpsc::UnboundedReceiver<Event>, signals: AsyncFd<OwnedFd>) -> i32 {
        loop {
            let due = self.next_due();
            let nap = tokio::time::sleep_until(due.unwrap_or_else(|| Instant::now() + REPEAT).into());
            tokio::select! {
                event = queue.recv() => {
                    if let Some(event) = event {
                        self.take(event);
                    }
                }
                ready = signals.readable() => {
                    if let Ok(mut ready) = ready {
                        while let Some(signum) = signals::next(signals.get_ref()) {
                            // SIGCHLD only says that there is something to reap.
                            if signum == libc::SIGTERM && self.client.is_none() {
                                self.orphan_at = Some(Instant::now());
                            }
                        }
                        ready.clear_ready();
                    }
                }
                () = nap => {}
            }
            for _ in 0..EVENTS_MAX {
                let Ok(event) = queue.try_recv() else { break };
                self.take(event);
            }
            let now = Instant::now();
            self.look_after_children(now);
            self.ring(now);
            self.flush(now);
            if let Some(code) = self.leave(now) {
                return code;
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let leaving = self.leaving.as_ref().map(|leaving| leaving.poll_at);
        let timer = self.timers.first().map(|(at, ..)| *at);
        [self.families.next_due(), timer, self.orphan_at, self.retry_at, leaving, self.sample_at]
            .into_iter()
            .flatten()
            .min()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Connected(client) => self.connected(client),
            Event::Lost => self.lost(),
            Event::Welcomed(Some(welcome)) => self.welcome(*welcome),
            // The connection goes as well, or the broker does not want us; then there is nothing to do but to end.
            Event::Welcomed(None) => {}
            Event::Push(message) if self.welcomed => self.push(*message),
            Event::Push(message) => self.held.push_back(message),
            Event::Sent(true) => self.acknowledged(),
            Event::Sent(false) => {
                self.outbox.failed();
                self.retry_at = Some(Instant::now() + RETRY);
            }
            Event::Launched(launched) => self.launched(*launched),
            Event::Output { key, stream, task, bytes } => self.output(key, stream, task, bytes),
            Event::StreamEnd { key, problem } => self.stream_end(key, problem),
            Event::Archived { key, path, bytes, problem } => self.archived(key, &path, bytes, problem),
            Event::InputTaken(message) => self.respond(*message, flurm_wire::job::Done {}),
            Event::Fenced { key, name, seq, answer } => self.fenced(key, name, seq, *answer),
            Event::Collected { key, name, result } => self.collected(key, &name, result),
            Event::Pmi { key, local, request } => {
                if matches!(request, Ok(Some(_))) {
                    self.spoke(key);
                }
                self.pmi_request(key, local, request);
            }
            Event::Pmix { key, word } => self.pmix_word(key, word),
            Event::Staged { key, said } => self.staged(key, said),
            Event::InitialSent(told) => self.initial_told(told),
            Event::ExecOver(exec) => {
                self.execs.remove(&exec);
            }
        }
    }

    fn connected(&mut self, client: Client) {
        let hello = Hello {
            rank: self.rank,
            pid: std::process::id().cast_signed(),
            jobs: self.jobs.keys().copied().collect(),
        };
        let events = self.events.clone();
        self.client = Some(client.clone());
        tokio::spawn(async move {
            let answer = client.call(Dest::Local, &hello).await;
            // The shell may be leaving.
            let _ = events.send(Event::Welcomed(answer.ok().map(Box::new)));
        });
    }

    fn lost(&mut self) {
        self.client = None;
        self.welcomed = false;
        self.held.clear();
        self.orphan_at = Some(Instant::now() + Duration::from_millis(self.orphan_ms_max));
    }

    fn welcome(&mut self, welcome: Welcome) {
        self.welcomed = true;
        self.orphan_at = None;
        self.orphan_ms_max = welcome.orphan_ms_max;
        self.place = Some(Arc::new(Place {
            rank: welcome.rank.0,
            instance: Instance::of(&welcome.instance_id),
            uri: welcome.uri,
            enclosing_id: std::env::var("FLURM_JOB_ID").ok().filter(|id| !id.is_empty()),
            instance_level: welcome.instance_level,
            slurm_conf: welcome.slurm_conf,
        }));
        for message in std::mem::take(&mut self.held) {
            self.push(*message);
        }
    }

    fn push(&mut self, message: Message) {
        if message.kind == Kind::Cancel {
            self.exec_cancelled(&message);
            self.follower_gone(&message);
            return;
        }
        let understood = match &*message.topic {
            StartHere::NAME => message.body().map(|StartHere(start)| self.start(start)),
            KillHere::NAME => message.body().map(|KillHere(kill)| self.kill(&kill)),
            ExpireHere::NAME => message.body().map(|expire| self.expire(&expire)),
            FlowHere::NAME => message.body().map(|flow| self.set_flow(flow)),
            StdinHere::NAME => message.body().map(|StdinHere(stdin)| self.stdin(stdin, message.clone())),
            StartInitial::NAME => message.body().map(|start| self.start_initial(start)),
            KillInitial::NAME => message.body().map(|kill| self.kill_initial(&kill)),
            Quit::NAME => message.body().map(|Quit {}| self.quit()),
            Fence::NAME => message.body().map(|fence| self.fence(message.clone(), fence)),
            FenceLost::NAME => message.body().map(|lost| {
                self.respond(message.clone(), flurm_wire::job::Done {});
                self.fence_lost(lost);
            }),
            PmixGet::NAME => message.body().map(|get| self.pmix_get(message.clone(), get)),
            Follow::NAME => message.body().map(|follow| self.follow(message.clone(), follow)),
            Took::NAME => message.body().map(|took| self.follower_took(&message, took)),
            Feed::NAME => message.body().map(|feed| self.feed(message.clone(), feed)),
            Signal::NAME => message.body().map(|signal| self.signal_followed(message.clone(), signal)),
            Run::NAME => message.body().map(|run| self.exec_run(message.clone(), run)),
            Control::NAME => message.body().map(|control| self.exec_control(message.clone(), control)),
            _ => Err(flurm_wire::WireError::new(
                flurm_wire::ErrorCode::NoService,
                format!("the shell knows no {}", message.topic),
            )),
        };
        if let Err(error) = understood {
            self.refuse(message, error);
        }
    }

    /// Hands the result of a collective to whoever began it.
    fn collected(&mut self, key: Key, name: &str, result: Collected) {
        match name {
            crate::pmi::NAME => self.pmi_fenced(key, result),
            name if name.starts_with(crate::pmix::COLLECTIVE) => self.pmix_fenced(key, name, result),
            crate::hooks::NAME => self.all_prologs_over(key, result),
            crate::redirect::NAME => self.all_files_opened(key, result),
            crate::stage::NAME => self.all_staged(key, result),
            _ => tracing::warn!(name, "nobody has begun this collective"),
        }
    }

    pub(crate) fn respond<B: serde::Serialize + Send + Sync + 'static>(&self, message: Message, body: B) {
        if let Some(client) = self.client.clone() {
            tokio::spawn(async move {
                // A lost connection loses its questions too.
                let _ = client.respond(&message, &body, false).await;
            });
        }
    }

    pub(crate) fn refuse(&self, message: Message, error: flurm_wire::WireError) {
        if let Some(client) = self.client.clone() {
            tokio::spawn(async move {
                // As above.
                let _ = client.refuse(&message, error).await;
            });
        }
    }

    /// Gives an order to the launchers; its number.
    pub(crate) fn order(&mut self, whom: For, tag: Option<u64>, work: Work) -> u64 {
        let ticket = self.ticket(whom);
        self.launchers.order(Order { ticket, tag, work });
        ticket
    }

    pub(crate) fn ticket(&mut self, whom: For) -> u64 {
        self.next_order += 1;
        self.orders.insert(self.next_order, whom);
        self.next_order
    }

    /// Nothing will be heard of this order.
    pub(crate) fn forget_order(&mut self, ticket: u64) {
        self.orders.remove(&ticket);
    }

    fn launched(&mut self, mut launched: Launched) {
        let Some(whom) = self.orders.remove(&launched.ticket) else { return };
        // Some may have ended before we heard of them.
        let oldest = self.orders.first_key_value().map_or(u64::MAX, |(ticket, _)| *ticket);
        let is_child = |exit: &Exit| launched.children.iter().any(|child| child.pid == exit.pid);
        let (ended, mut strays): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.strays).into_iter().partition(|(_, exit)| is_child(exit));
        strays.retain(|(seq, _)| *seq >= oldest);
        self.strays = strays;
        launched.ended = ended.iter().map(|(_, exit)| exit.pid).collect();
        match whom {
            For::Job(key) => self.job_launched(key, launched),
            For::Pmix(key, field) => self.pmix_launched(key, field, launched),
            For::Hook(field) => self.hook_launched(field, launched),
            For::Exec(exec) => self.exec_launched(exec, launched),
            For::Initial => self.initial_launched(launched),
        }
        for (_, exit) in ended {
            self.exited(exit);
        }
    }

    fn look_after_children(&mut self, now: Instant) {
        let mut exits = self.families.reap();
        let over = self.families.settle(now, &mut exits);
        for exit in exits {
            if !self.exited(exit) && !self.orders.is_empty() {
                self.strays.push((self.next_order, exit));
            }
        }
        for field in over {
            if let Some(key) = self.by_field.remove(&field) {
                self.family_over(key, now);
            } else if let Some(hook) = self.hooks.remove(&field) {
                self.hook_over(hook, now);
            }
        }
    }

    /// True when it was somebody we know.
    fn exited(&mut self, exit: Exit) -> bool {
        match self.owners.remove(&exit.pid) {
            None => return false,
            Some(Owner::Task(key, local)) => self.task_exited(key, local, exit),
            Some(Owner::Pmix(key)) => self.pmix_exited(key, exit.status),
            Some(Owner::Hook(field)) => self.hook_exited(field, exit.status),
            Some(Owner::Exec(exec)) => self.exec_exited(exec, exit.status),
            Some(Owner::Initial) => self.initial_exited(exit),
        }
        true
    }

    fn ring(&mut self, now: Instant) {
        while let Some((at, key, timer)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            self.rings(key, timer, now);
        }
        if self.orphan_at.is_some_and(|at| at <= now) && self.leaving.is_none() {
            tracing::warn!("no broker for {} ms: everything here is ended", self.orphan_ms_max);
            self.leaving = Some(Leaving { asked: false, empty_since: None, poll_at: now });
            self.end_everything(now, ORPHAN_GRACE);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
        }
        if self.sample_at.is_some_and(|at| at <= now) {
            self.sample_at = self.sample(now);
        }
        self.early_expire(now);
    }

    /// Sends what can be sent.
    fn flush(&mut self, now: Instant) {
        if !self.welcomed || self.retry_at.is_some_and(|at| at > now) {
            return;
        }
        let Some(client) = self.client.clone() else { return };
        self.tell_initial(&client);
        if !self.outbox.is_waiting() {
            for key in std::mem::take(&mut self.dirty) {
                self.report_output(key);
            }
        }
        let Some(reports) = self.outbox.send() else { return };
        let events = self.events.clone();
        tokio::spawn(async move {
            let answer = tokio::time::timeout(REPEAT, client.call(Dest::Leader, &*reports)).await;
            if let Ok(Err(error)) = &answer {
                tracing::debug!(%error, "reports come back");
            }
            // The shell may be leaving.
            let _ = events.send(Event::Sent(matches!(answer, Ok(Ok(_)))));
        });
    }

    fn acknowledged(&mut self) {
        let freed = self.outbox.acknowledged();
        for (key, bytes) in freed.bytes {
            self.make_room(key, bytes);
        }
        for key in freed.gone {
            self.jobs.remove(&key);
        }
    }

    fn quit(&mut self) {
        let now = Instant::now();
        self.end_everything(now, Duration::from_millis(GRACE_MS));
        match &mut self.leaving {
            Some(leaving) => leaving.asked = true,
            None => self.leaving = Some(Leaving { asked: true, empty_since: None, poll_at: now }),
        }
    }

    fn end_everything(&mut self, now: Instant, grace: Duration) {
        let keys: Vec<Key> = self.jobs.keys().copied().collect();
        // Tasks that are just being started are ended with their families.
        keys.into_iter().for_each(|key| self.abandon(key, libc::SIGTERM));
        self.families.end_all(now, grace);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// The exit code, once nothing is left to do.
    fn leave(&mut self, now: Instant) -> Option<i32> {
        let leaving = self.leaving.as_mut()?;
        leaving.poll_at = now + POLL;
        if !self.families.is_empty() || !self.orders.is_empty() {
            return None;
        }
        if leaving.empty_since.is_none() {
            if !self.families.nobody_left() {
                return None;
            }
            leaving.empty_since = Some(now);
        }
        let reported = self.outbox.is_empty() && self.jobs.is_empty();
        let late = leaving.empty_since.is_some_and(|since| since + FAREWELL <= now);
        if leaving.asked && self.client.is_some() && !reported && !late {
            return None;
        }
        let code = if leaving.asked { 0 } else { 1 };
        self.scratch.clear();
        // Whoever asked may have been killed while we ended the tasks.
        if self.client.is_none() {
            self.clear_rundir();
        }
        Some(code)
    }

    /// The broker that should have done this is gone.
    fn clear_rundir(&self) {
        for result in [
            std::fs::remove_dir_all(&self.rundir),
            // Other ranks on this host may still be there; the last one takes it away.
            self.rundir.parent().map_or(Ok(()), std::fs::remove_dir),
        ] {
            if let Err(error) = result {
                tracing::debug!(%error, "clear the run directory");
            }
        }
    }
}
