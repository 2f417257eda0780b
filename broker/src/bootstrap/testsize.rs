//! `flurm start --test-size=N`: N brokers on this host, as children of one process that serves them PMI-1.
//!
//! ```text
//! spawned ──▶ exchanging ──▶ all finalized ──▶ rank 0 ends ──▶ the rest gets a while, TERM, KILL ──▶ exit code
//!                │ one ends
//!                └──▶ named; the rest gets TERM, KILL
//! ```

use super::{Mistake, Vars, slurm};
use crate::config::Settings;
use crate::guard;
use crate::start::BrokerArgs;
use flurm_pmi::{Effect, Job, Piece, Server, Splitter};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Children know by it that they are a test.
const KVSNAME: &str = "flurm-test";
/// Longest request of a broker.
const REQUEST_MAX: usize = 1 << 20;
/// After rank 0 has ended in order, the others are about to.
const END_MAX: Duration = Duration::from_secs(10);
/// After SIGTERM: tasks get five seconds of it themselves before they are killed, and then a shell has to look around.
const TERM_MAX: Duration = Duration::from_secs(15);

/// Is this the launcher of `--test-size`?
pub fn is_test(kvsname: &str) -> bool {
    kvsname == KVSNAME
}

/// A broker of a test does not outlive its launcher.
pub fn end_with_launcher(kvsname: &str) {
    if is_test(kvsname) {
        // Where it cannot be had, brokers see by the silence of rank 0 that it is over.
        let _ = set_parent_process_death_signal(Some(Signal::TERM));
    }
}

/// Starts the brokers and waits for them; the exit code is rank 0's.
pub fn start(size: u32, args: &BrokerArgs, vars: &Vars) -> i32 {
    if size == 0 {
        Mistake::new("--test-size is 0", "an instance has at least one broker").print_error();
        return 1;
    }
    // Every broker reads them again; here a mistake is said before there are any.
    if let Err(mistake) = Settings::load(args) {
        mistake.print_error();
        return 1;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run(size, args, vars))) {
        Ok(code) => code,
        Err(error) => {
            Mistake::new(
                format!("{size} brokers cannot be started here: {error}"),
                "start fewer, or raise the limits on processes and open files (ulimit -u, -n)",
            )
            .print_error();
            1
        }
    }
}

enum Event {
    /// None: the broker has closed its end.
    Pmi(u32, Option<Piece>),
    /// Some child has ended.
    Child,
    Signal(i32),
}

struct Launch {
    children: BTreeMap<u32, Child>,
    to: BTreeMap<u32, OwnedWriteHalf>,
    server: Server,
    finalized: BTreeSet<u32>,
    /// The exit code, once it is known, and how long those that are left may take to end by themselves.
    over: Option<(i32, Duration)>,
}

async fn run(size: u32, args: &BrokerArgs, vars: &Vars) -> io::Result<i32> {
    let (tell, mut events) = mpsc::channel(64);
    watch_signals(&tell)?;
    let mapping = format!("(vector,(0,1,{size}))");
    let server = Server::new(Job {
        name: KVSNAME.into(),
        size,
        ranks: (0..size).collect(),
        known: BTreeMap::from([("PMI_process_mapping".to_owned(), mapping)]),
    });
    let mut launch = Launch {
        children: BTreeMap::new(),
        to: BTreeMap::new(),
        server,
        finalized: BTreeSet::new(),
        over: None,
    };
    for rank in 0..size {
        if let Err(error) = launch.spawn(rank, size, args, vars, &tell) {
            launch.end(&mut events, Duration::ZERO).await;
            return Err(error);
        }
    }
    let (code, patience) = loop {
        if let Some(over) = launch.over {
            break over;
        }
        match events.recv().await {
            Some(event) => launch.take(event).await,
            None => break (1, Duration::ZERO),
        }
    };
    launch.end(&mut events, patience).await;
    Ok(code)
}

impl Launch {
    fn spawn(
        &mut self,
        rank: u32,
        size: u32,
        args: &BrokerArgs,
        vars: &Vars,
        tell: &mpsc::Sender<Event>,
    ) -> io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("flurm").arg("broker").args(options(args));
        for name in vars.keys().filter(|name| name.starts_with("PMI_") || name.starts_with("PMIX_")) {
            command.env_remove(name);
        }
        command.env("PMI_FD", theirs.as_raw_fd().to_string());
        command.env("PMI_RANK", rank.to_string()).env("PMI_SIZE", size.to_string());
        // A step of Slurm around us is not theirs to take.
        command.envs(slurm::key(vars).map(|key| (slurm::OUTER_STEP, key)));
        if rank > 0 {
            command.stdin(Stdio::null());
        }
        // Nothing else is spawned before this end is closed again, so that one child inherits it alone.
        fcntl_setfd(&theirs, FdFlags::empty())?;
        self.children.insert(rank, command.spawn()?);
        drop(theirs);
        ours.set_nonblocking(true)?;
        let (from, to) = tokio::net::UnixStream::from_std(ours)?.into_split();
        self.to.insert(rank, to);
        tokio::spawn(read_requests(rank, from, tell.clone()));
        Ok(())
    }

    async fn take(&mut self, event: Event) {
        match event {
            Event::Pmi(rank, Some(piece)) => self.request(rank, &piece).await,
            Event::Pmi(rank, None) => drop(self.to.remove(&rank)),
            Event::Child => self.reap(),
            Event::Signal(signum) => self.forward(signum),
        }
    }

    async fn request(&mut self, rank: u32, piece: &Piece) {
        let mut effects = Vec::new();
        if self.server.request(rank as usize, piece, &mut effects).is_err() {
            self.to.remove(&rank);
        }
        for effect in effects {
            match effect {
                Effect::Reply { task, bytes } => {
                    let Some(to) = self.to.get_mut(&(task as u32)) else { continue };
                    // A broker that has gone is noticed when it is reaped.
                    let _ = to.write_all(&bytes).await;
                }
                Effect::Finalized { task } => drop(self.finalized.insert(task as u32)),
                // All are here, so the server answers a barrier by itself.
                Effect::Fence(_) => {}
                Effect::Abort { exitcode, .. } => self.over = Some((exitcode, Duration::ZERO)),
            }
        }
    }

    fn reap(&mut self) {
        let mut ended: Vec<(u32, ExitStatus)> = Vec::new();
        for (rank, child) in &mut self.children {
            if let Ok(Some(status)) = child.try_wait() {
                ended.push((*rank, status));
            }
        }
        for (rank, status) in ended {
            self.children.remove(&rank);
            if self.over.is_some() {
                continue;
            }
            if let Some(signum) = status.signal().filter(|signum| guard::ends(*signum)) {
                self.over = Some((128 + signum, END_MAX));
            } else if !self.finalized.contains(&rank) {
                let how = match status.signal() {
                    Some(signum) => format!("killed by signal {signum}"),
                    None => format!("exit code {}", code_of(status)),
                };
                Mistake::new(
                    format!("broker {rank} ended before the instance was there ({how})"),
                    "what it wrote above says why; FLURM_LOG=debug makes it say more",
                )
                .print_error();
                self.over = Some((1, Duration::ZERO));
            } else if rank == 0 {
                // Killed, it could not tell the others.
                let patience = if status.signal().is_some() { Duration::ZERO } else { END_MAX };
                self.over = Some((code_of(status), patience));
            }
        }
    }

    fn forward(&self, signum: i32) {
        // Rank 0 ends the instance in order; without it every broker is told.
        let rank0 = self.children.get(&0).map(|child| vec![child]);
        for child in rank0.unwrap_or_else(|| self.children.values().collect()) {
            send(child, signum);
        }
    }

    /// Waits for all, then makes them end.
    async fn end(&mut self, events: &mut mpsc::Receiver<Event>, patience: Duration) {
        for (patience, signum) in
            [(patience, libc::SIGTERM), (TERM_MAX, libc::SIGKILL), (Duration::MAX, libc::SIGKILL)]
        {
            let deadline = Instant::now().checked_add(patience);
            while !self.children.is_empty() {
                let event = match deadline {
                    Some(deadline) => tokio::time::timeout_at(deadline, events.recv()).await,
                    None => Ok(events.recv().await),
                };
                match event {
                    Ok(Some(event)) => self.take(event).await,
                    Ok(None) => return,
                    Err(_) => break,
                }
            }
            self.children.values().for_each(|child| send(child, signum));
        }
    }
}

fn send(child: &Child, signum: i32) {
    if let Some(signal) = Signal::from_named_raw(signum) {
        // It is not reaped yet, so the number is still its own.
        let _ = kill_process(Pid::from_child(child), signal);
    }
}

fn code_of(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// The options of `flurm broker` that say the same.
fn options(args: &BrokerArgs) -> Vec<std::ffi::OsString> {
    let mut options = Vec::new();
    if let Some(path) = &args.config_path {
        options.extend(["--config-path".into(), path.as_os_str().to_owned()]);
    }
    for (name, value) in &args.setattr {
        options.push(format!("-S{name}={value}").into());
    }
    options.push("--".into());
    options.extend(args.command.iter().map(Into::into));
    options
}

async fn read_requests(rank: u32, mut from: OwnedReadHalf, tell: mpsc::Sender<Event>) {
    let mut splitter = Splitter::new(REQUEST_MAX);
    let mut buffer = [0; 4096];
    // A broker that closes, breaks off or sends what is no PMI is not listened to any longer.
    while let Ok(len) = from.read(&mut buffer).await
        && len > 0
    {
        splitter.feed(&buffer[..len]);
        loop {
            let piece = match splitter.piece() {
                Ok(Some(piece)) => Some(piece),
                Ok(None) => break,
                Err(_) => None,
            };
            let over = piece.is_none();
            if tell.send(Event::Pmi(rank, piece)).await.is_err() || over {
                return;
            }
        }
    }
    let _ = tell.send(Event::Pmi(rank, None)).await;
}

fn watch_signals(tell: &mpsc::Sender<Event>) -> io::Result<()> {
    let kinds = [
        SignalKind::child(),
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ];
    for kind in kinds {
        let mut signals = signal(kind)?;
        let tell = tell.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let event = match kind {
                    kind if kind == SignalKind::child() => Event::Child,
                    kind => Event::Signal(kind.as_raw_value()),
                };
                if tell.send(event).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_told_what_start_was_told() {
        let args = BrokerArgs {
            config_path: Some("a.toml".into()),
            setattr: vec![("tbon.fanout".into(), "2".into())],
            command: vec!["sh".into(), "-c".into(), "-x".into()],
            rejoin: None,
        };
        let said: Vec<String> = options(&args).into_iter().map(|o| o.into_string().unwrap()).collect();
        assert_eq!(said, ["--config-path", "a.toml", "-Stbon.fanout=2", "--", "sh", "-c", "-x"]);
    }
}
