//! The main loop: what happens becomes an input of the mind, what the mind wants is done.
//!
//! ```text
//!   links, clients, shell, signals ──▶ events ─┐
//!   log ──▶ its own events ────────────────────┼──▶ one batch ──▶ Core::step … BatchEnd ──▶ outputs are performed
//!   clock ──▶ wake ────────────────────────────┘
//! ```
//!
//! Everything that is ready goes into one batch, and a batch makes at most one record of the log. While the log is far
//! behind, events wait, and so do their senders; the log's own events never do.

use crate::boot::Boot;
use crate::bootstrap::{JobOf, announce, lease, rundir};
use crate::clock::{self, Clock};
use crate::event::{EVENTS_MAX, Event, Events};
use crate::guests::{self, Shell, SlurmService};
use crate::hw;
use crate::link::{Change, Identity, Links};
use crate::local::{Clients, LocalEvent};
use crate::log::{Log, LogError, LogEvent};
use crate::unsent::{Instead, Unsent};
use flurm_core::{Core, CoreConfig, Guest, Input, Output, Peer, Role};
use flurm_types::{Now, R, Rank};
use flurm_wire::shell::StartInitial;
use flurm_wire::state::LogLine;
use flurm_wire::{Address, ClientId, Message};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::Instrument;

/// Exit code after a panic (EX_SOFTWARE of sysexits.h).
const EXIT_PANIC: i32 = 70;

/// Events of one batch; a client's event holds many messages.
const EVENTS_TOGETHER_MAX: usize = 128;

/// At the end, time for peers and clients to take what was sent to them.
const FINISH_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("lock the run directory {path}")]
    Lock { path: String, source: io::Error },
    #[error("use the run directory {path}: a broker runs there already")]
    Taken { path: String },
    #[error("write boot.json into {path}")]
    Save { path: String, source: io::Error },
    #[error("start the event loop")]
    Runtime(#[source] io::Error),
    #[error("watch for signals")]
    Signals(#[source] io::Error),
    #[error("listen on {path}")]
    Local { path: String, source: io::Error },
    #[error("listen for other brokers")]
    Listen(#[source] io::Error),
    #[error("start the log's thread")]
    LogThread(#[source] io::Error),
    #[error("draw a random number")]
    Seed(#[source] io::Error),
    #[error("keep the log")]
    Log(#[from] LogError),
}

/// Runs the broker that `boot` describes to its end; the process's exit code. `listener` is bound to the address that
/// the peers were told. On rank 0, `initial` is what runs once the instance does; `job_of` hears where that is, or says until when.
pub fn broker(
    boot: Boot,
    listener: Option<TcpListener>,
    initial: Option<StartInitial>,
    job_of: Option<JobOf>,
) -> i32 {
    start_tracing();
    // Started as /proc/self/exe, we would be called `exe`. Nothing depends on the name.
    let _ = rustix::thread::set_name(c"flurm");
    let rank = boot.rank;
    match catch_unwind(AssertUnwindSafe(|| run(boot, listener, initial, job_of))) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            tracing::error!(%rank, "failed to {}", chain(&error));
            1
        }
        Err(_) => {
            // The message is on standard error already. The shell and the log stay for the next broker here.
            tracing::error!(%rank, "this broker has a defect and ends; its log is kept");
            EXIT_PANIC
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Warnings and errors go to standard error; `FLURM_LOG` chooses more or less.
fn start_tracing() {
    use std::io::IsTerminal;
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("FLURM_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let to_stderr = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    // Whoever set up another one before us knows why.
    let _ = to_stderr.try_init();
}

fn run(
    mut boot: Boot,
    listener: Option<TcpListener>,
    initial: Option<StartInitial>,
    job_of: Option<JobOf>,
) -> Result<i32, RunError> {
    let rundir = boot.rundir.clone();
    let path = || rundir.display().to_string();
    let locked = rundir::lock(&rundir).map_err(|source| RunError::Lock { path: path(), source })?;
    let _locked = locked.ok_or_else(|| RunError::Taken { path: path() })?;
    boot.begin(clock::wall());
    boot.save().map_err(|source| RunError::Save { path: path(), source })?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Runtime)?;
    let span = tracing::error_span!("broker", rank = boot.rank.0);
    let ended = runtime.block_on(
        async {
            let mut broker = Broker::new(boot, listener, initial)?;
            match job_of.filter(|_| broker.boot.rank == Rank(0)) {
                Some(JobOf::Instance(parent)) => announce::begin(&broker.boot, parent),
                Some(JobOf::Slurm(job)) => lease::begin(&broker.boot, job),
                None => {}
            }
            let code = broker.live().await?;
            broker.finish().await;
            Ok(code)
        }
        .instrument(span),
    );
    // After an error, a shell that is there waits for the next broker, and removes the directory if none comes.
    if ended.is_ok() || guests::running(&rundir).is_none() {
        rundir::remove(&rundir);
    }
    ended
}

struct Broker {
    boot: Boot,
    uri: String,
    core: Core,
    clock: Clock,
    now: Now,
    links: Links,
    clients: Clients,
    /// Rank 0's.
    log: Option<Log>,
    shell: Option<Shell>,
    slurm: Option<SlurmService>,
    wake_ms: Option<u64>,
    /// Events have waited since the last wake, because the log was behind.
    unread: bool,
    events: mpsc::Receiver<Event>,
    tell: Events,
    outputs: Vec<Output>,
    /// What followed from performing outputs.
    next: Vec<Input>,
    exit: Option<i32>,
}

impl Broker {
    fn new(
        boot: Boot,
        listener: Option<TcpListener>,
        initial: Option<StartInitial>,
    ) -> Result<Broker, RunError> {
        let (tell, events) = mpsc::channel(EVENTS_MAX);
        let config = boot.core(clock::wall(), initial);
        watch_signals(&tell).map_err(RunError::Signals)?;

        // Started first, for it also holds the lock that no two leaders can have.
        let log = match boot.rank {
            Rank(0) => {
                let dir = boot.statedir.as_deref().unwrap_or(&boot.rundir);
                Some(Log::open(dir).map_err(RunError::LogThread)?)
            }
            _ => None,
        };
        let me = Identity {
            rank: boot.rank,
            size: boot.size,
            instance_id: boot.instance_id.clone(),
            secret: boot.secret.clone(),
        };
        let mut links = Links::new(me, boot.peers.clone(), boot.rundir.clone(), tell.clone());
        if let Some(listener) = listener {
            let children = boot.fanout.min(boot.size.saturating_sub(1));
            links.accept(listener, children).map_err(RunError::Listen)?;
        }
        let clients = listen(&boot, &config, &tell)?;
        if boot.resources.is_none() {
            discover(boot.rank, boot.hosts.get(boot.rank.0 as usize).cloned(), tell.clone());
        }
        let clock = Clock::start();
        Ok(Broker {
            uri: config.uri.clone(),
            core: Core::new(config, seed().map_err(RunError::Seed)?),
            now: clock.now(),
            boot,
            clock,
            links,
            clients,
            log,
            shell: None,
            slurm: None,
            wake_ms: None,
            unread: false,
            events,
            tell,
            outputs: Vec::new(),
            next: Vec::new(),
            exit: None,
        })
    }

    /// The exit code, once the mind has given one.
    async fn live(&mut self) -> Result<i32, RunError> {
        // A log that cannot be used is noticed before anybody else hears of us.
        match &mut self.log {
            Some(log) => {
                let event = log.next().await;
                self.log_event(event)?;
            }
            None => self.step(Input::Role(Role::Follower { term: 1, leader: Some(Rank(0)) })),
        }
        self.end_batch();
        let mut batch = Vec::new();
        loop {
            if let Some(code) = self.exit {
                return Ok(code);
            }
            let behind = self.log.as_ref().is_some_and(Log::is_behind);
            self.unread |= behind;
            let idle = self.next.is_empty();
            tokio::select! {
                biased;
                event = next(&mut self.log) => {
                    self.now = self.clock.now();
                    self.log_event(event)?;
                }
                _ = self.events.recv_many(&mut batch, EVENTS_TOGETHER_MAX), if !behind => {}
                () = until(self.clock, self.wake_ms) => {}
                () = std::future::ready(()), if !idle => {}
            }
            self.now = self.clock.now();
            while let Some(event) = self.log.as_mut().and_then(Log::try_next) {
                self.log_event(event)?;
            }
            while !behind
                && batch.len() < EVENTS_TOGETHER_MAX
                && let Ok(event) = self.events.try_recv()
            {
                batch.push(event);
            }
            for input in std::mem::take(&mut self.next) {
                self.step(input);
            }
            for event in batch.drain(..) {
                self.event(event);
            }
            if self.wake_ms.is_some_and(|wake| wake <= self.now.mono_ms) {
                self.wake_ms = None;
                if std::mem::take(&mut self.unread) {
                    self.step(Input::Unread);
                }
                self.step(Input::Wake);
            }
            self.end_batch();
        }
    }

    fn step(&mut self, input: Input) {
        tracing::debug!(?input);
        self.core.step(self.now, input, &mut self.outputs);
    }

    fn end_batch(&mut self) {
        self.step(Input::BatchEnd);
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            self.perform(output);
        }
        self.outputs = outputs;
    }

    fn log_event(&mut self, event: LogEvent) -> Result<(), RunError> {
        match event {
            LogEvent::Replayed(records) | LogEvent::Committed(records) => {
                for record in records {
                    self.step(Input::Committed { index: record.index, facts: record.facts });
                }
            }
            LogEvent::Opened { term } => self.step(Input::Role(Role::Leader { term })),
            LogEvent::Read { id, offset, bytes } => self.step(Input::SpillRead { id, offset, bytes }),
            LogEvent::Unwritten { id, why } => self.step(Input::SpillFailed { id, why }),
            LogEvent::Failed(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Link(event) => {
                let Some((peer, change)) = self.links.note(event) else { return };
                let from = Peer::Broker(peer);
                match change {
                    Change::Up { again } => {
                        if again {
                            self.step(Input::PeerGone(from));
                        }
                        self.step(Input::PeerUp(from));
                    }
                    Change::Message(message) => self.step(Input::Message { from, message }),
                    Change::Gone => self.step(Input::PeerGone(from)),
                }
            }
            Event::Local(LocalEvent::Up(id, outbox)) => {
                self.clients.up(id, outbox);
                self.step(Input::PeerUp(Peer::Client(id)));
            }
            Event::Local(LocalEvent::Messages(id, messages)) => {
                for message in messages {
                    if self.clients.is_live(id) {
                        self.step(Input::Message { from: Peer::Client(id), message });
                    }
                }
            }
            Event::Local(LocalEvent::Down(id)) => {
                if self.clients.close(id) {
                    self.step(Input::PeerGone(Peer::Client(id)));
                }
            }
            Event::ShellExited(status) => {
                self.shell = None;
                guests::forget(&self.boot.rundir);
                self.step(Input::GuestExited { guest: Guest::Shell, status });
            }
            Event::SlurmExited(status) => {
                self.slurm = None;
                self.step(Input::GuestExited { guest: Guest::Slurm, status });
            }
            Event::Signal(signum) => self.step(Input::Signal(signum)),
            Event::Inventory(r) => self.step(Input::Inventory(r)),
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Send { to, message } => {
                if let Err(unsent) = self.send(to, &message) {
                    self.unsent(to, &message, unsent);
                }
            }
            Output::Propose { facts } => match &mut self.log {
                Some(log) => log.propose(facts),
                None => tracing::error!("facts proposed on a rank without a log"),
            },
            Output::ReadSpill { id, offset, len } => match &self.log {
                Some(log) => log.read(id, offset, len),
                None => tracing::error!("output is asked for on a rank without a log"),
            },
            Output::WakeAt { mono_ms } => self.wake_ms = Some(mono_ms),
            Output::StartGuest(Guest::Shell) => self.start_shell(),
            Output::KillGuest { guest: Guest::Shell, signum } => {
                if let Some(shell) = &self.shell {
                    shell.signal(signum);
                }
            }
            Output::StartGuest(Guest::Slurm) => self.start_slurm(),
            Output::KillGuest { guest: Guest::Slurm, signum } => {
                if let Some(slurm) = &self.slurm {
                    slurm.signal(signum);
                }
            }
            Output::Close(peer) => {
                let was_live = match peer {
                    Peer::Broker(rank) => self.links.close(rank),
                    Peer::Client(id) => self.clients.close(id),
                };
                if was_live {
                    self.next.push(Input::PeerGone(peer));
                }
            }
            Output::Dial(rank) => self.links.dial(rank),
            Output::Exit { code } => self.exit = Some(code),
            Output::Log(line) => trace(&line),
        }
    }

    fn send(&mut self, to: Peer, message: &Message) -> Result<(), Unsent> {
        match to {
            Peer::Broker(rank) => self.links.send(rank, message),
            Peer::Client(id) => self.clients.send(id, message),
        }
    }

    fn unsent(&mut self, to: Peer, message: &Message, unsent: Unsent) {
        let len = match unsent {
            Unsent::Behind => return self.next.push(Input::PeerGone(to)),
            Unsent::TooLong { len } => len,
        };
        tracing::warn!(topic = &*message.topic, len, "a message is too long; whoever waits for it is told");
        let me = Address { rank: self.boot.rank, client: ClientId(0) };
        match Instead::of(message, me, len) {
            // As if it came from where the request could not go.
            Instead::Back(message) => self.next.push(Input::Message { from: to, message }),
            Instead::Onward(message) => {
                if let Err(Unsent::Behind) = self.send(to, &message) {
                    self.next.push(Input::PeerGone(to));
                }
            }
            Instead::Nothing => {}
        }
    }

    fn start_shell(&mut self) {
        match Shell::start(&self.boot.rundir, &self.uri, self.boot.rank, self.tell.clone()) {
            Ok(shell) => self.shell = Some(shell),
            Err(error) => {
                tracing::error!(%error, "cannot start the shell");
                self.next
                    .push(Input::GuestExited { guest: Guest::Shell, status: guests::STATUS_NOT_STARTED });
            }
        }
    }

    fn start_slurm(&mut self) {
        match SlurmService::start(
            &self.uri,
            self.boot.rank,
            &*self.boot.secret.derive("munge"),
            self.tell.clone(),
        ) {
            Ok(slurm) => self.slurm = Some(slurm),
            Err(error) => {
                tracing::error!(%error, "cannot start the Slurm service");
                self.next
                    .push(Input::GuestExited { guest: Guest::Slurm, status: guests::STATUS_NOT_STARTED });
            }
        }
    }

    /// Lets go of everything in the order in which others may still need it.
    async fn finish(self) {
        // `events` lives on to the end of this: a link whose events nobody takes would end before it has said all.
        let Broker { boot, links, clients, log, events: _events, .. } = self;
        let flushed = async { tokio::join!(links.finish(), clients.finish()) };
        if tokio::time::timeout(FINISH_MAX, flushed).await.is_err() {
            tracing::info!("not all that was said at the end has been heard");
        }
        match log {
            // It is in the run directory, which goes now.
            Some(log) if boot.statedir.is_none() => log.forsake(),
            log => drop(log),
        }
    }
}

/// The next event of the log; none ever comes where there is none.
async fn next(log: &mut Option<Log>) -> LogEvent {
    match log {
        Some(log) => log.next().await,
        None => std::future::pending().await,
    }
}

async fn until(clock: Clock, wake_ms: Option<u64>) {
    match wake_ms {
        Some(wake_ms) => tokio::time::sleep_until(clock.at(wake_ms).into()).await,
        None => std::future::pending().await,
    }
}

fn listen(boot: &Boot, config: &CoreConfig, tell: &Events) -> Result<Clients, RunError> {
    let path = boot.socket();
    // Numbers of clients begin where no earlier broker in this place can have come.
    Clients::listen(&path, config.owner, ClientId(config.epoch.max(1)), tell.clone())
        .map_err(|source| RunError::Local { path: path.display().to_string(), source })
}

/// What ends an instance, and USR1, which would end us if nobody watched for it.
fn watch_signals(tell: &Events) -> io::Result<()> {
    let kinds =
        [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::user_defined1()];
    for kind in kinds {
        let mut stream = signal(kind)?;
        let tell = tell.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() && tell.send(Event::Signal(kind.as_raw_value())).await.is_ok()
            {
            }
        });
    }
    Ok(())
}

/// Looks at the hardware, on a thread of its own since hwloc takes its time.
fn discover(rank: Rank, host: Option<String>, tell: Events) {
    std::thread::spawn(move || match hw::discover() {
        Ok(node) => {
            let mut r = R::from_nodes([node.rnode(rank, &host.unwrap_or_default())]);
            r.topology = BTreeMap::from([(rank.0, node.topology())]);
            // The loop is gone only when the process is about to be.
            let _ = tell.blocking_send(Event::Inventory(r));
        }
        Err(error) => tracing::error!(%rank, "failed to {}", chain(&error)),
    });
}

fn seed() -> io::Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// A line of the mind, by its level of RFC 5424.
fn trace(line: &LogLine) {
    let LogLine { component, text, .. } = line;
    match line.level {
        0..=3 => tracing::error!(component, "{text}"),
        4 => tracing::warn!(component, "{text}"),
        5..=6 => tracing::info!(component, "{text}"),
        _ => tracing::debug!(component, "{text}"),
    }
}

#[cfg(test)]
mod tests;
