//! `flurm start` is two processes: the broker, and its guard, which waits for it.
//!
//! A launcher ends what is left of a task once the task is over; slurmstepd does so at once. If the task were the
//! broker, a killed one would take its shell along before that could end the tasks and clear up. So what the launcher
//! has started is a process that does too little to fail.
//!
//! ```text
//! fork ──▶ signals are passed on ──▶ broker over ──▶ directory gone? ── yes ──▶ the broker's exit code
//!                                                         │ no                        ▲
//!            another broker took its place, and is over   ▼                           │
//!                 └────────────────────────────────▶ shell over, ──▶ what is left is ended, the directory removed
//!                                                    or its time
//! ```
//!
//! It adopts what the broker leaves behind, so that it sees its end. If the guard dies, the kernel tells the broker,
//! which then ends the instance.

use crate::boot::Boot;
use crate::bootstrap::{Mistake, hostname, rundir};
use crate::guests;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, Signal, getpid, kill_process, set_child_subreaper, set_parent_process_death_signal,
};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// After its orphan timeout a shell needs 1.5 s for its tasks, and then a while to look around.
const GRACE: Duration = Duration::from_secs(4);

/// How long processes are killed again that do not die.
const KILL_MAX: Duration = Duration::from_secs(5);

/// Between two looks at what cannot be waited for: a lock, a process that is no child of ours.
const LOOK: Duration = Duration::from_millis(100);

/// The broker's line to its guard.
#[derive(Debug)]
pub(crate) struct Line(File);

impl Line {
    /// Says where this broker leaves its traces.
    pub(crate) fn tell(mut self, boot: &Boot) {
        // A guard that is gone needs to know nothing.
        let _ = write!(self.0, "{} {}", boot.orphan_ms_max, boot.rundir.display());
    }
}

/// Runs `broker` in a child of this process and watches over it; the exit code, in both processes. To be called while
/// there is one thread.
pub(crate) fn guarded(broker: impl FnOnce(Line) -> i32) -> i32 {
    match fork() {
        Ok(Side::Broker(line)) => broker(line),
        Ok(Side::Guard(guard)) => guard.watch(),
        Err(error) => {
            Mistake::new(
                format!("a broker cannot be started here: {error}"),
                "raise the limits on processes and open files (ulimit -u, -n)",
            )
            .print_error();
            1
        }
    }
}

enum Side {
    Broker(Line),
    Guard(Guard),
}

struct Guard {
    broker: Pid,
    /// The other end of the broker's line.
    line: File,
}

/// Why a broker is no more.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
enum End {
    Exited(i32),
    Killed(i32),
}

fn fork() -> io::Result<Side> {
    let (line, tell) = pipe_with(PipeFlags::CLOEXEC)?;
    // Nothing that comes from now on is lost: the guard takes signals one by one, the broker gets them afterwards.
    let before = block_signals();
    // SAFETY: a constant disposition. With one that was inherited, the kernel might not keep our child's status.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    // SAFETY: this process has one thread, so the child finds everything as it is here.
    match unsafe { libc::fork() } {
        -1 => {
            let error = io::Error::last_os_error();
            restore_signals(&before);
            Err(error)
        }
        0 => {
            drop(line);
            die_with_guard(&tell);
            restore_signals(&before);
            Ok(Side::Broker(Line(tell.into())))
        }
        child => {
            let broker = Pid::from_raw(child).expect("fork gives the parent a number above 0");
            Ok(Side::Guard(Guard { broker, line: line.into() }))
        }
    }
}

/// The end of the guard is a SIGTERM for us.
fn die_with_guard(tell: &OwnedFd) {
    // Where it cannot be had, an instance outlives its guard; nothing else is lost.
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
    // It may have died before: then nobody reads the pipe.
    let mut fds = [PollFd::new(tell, PollFlags::empty())];
    if poll(&mut fds, Some(&Timespec::default())).is_ok_and(|found| found > 0) {
        // It stays pending until signals are let in.
        let _ = kill_process(getpid(), Signal::TERM);
    }
}

impl Guard {
    fn watch(mut self) -> i32 {
        let _ = rustix::thread::set_name(c"flurm-guard");
        // Without it (kernels before 3.4) a shell is known by its number only.
        let _ = set_child_subreaper(Some(getpid()));
        close_pmi();
        let end = self.until_over();
        if let Some(place) = Place::read(&mut self.line) {
            if let End::Killed(signum) = end
                && !ends(signum)
            {
                killed(signum).print_error();
            }
            place.clear();
        }
        match end {
            End::Exited(code) => code,
            End::Killed(signum) => 128 + signum,
        }
    }

    fn until_over(&self) -> End {
        loop {
            match next_signal(None) {
                Some(Caught { signum: libc::SIGCHLD, .. }) => {
                    if let Some(end) = self.reap() {
                        return end;
                    }
                }
                // What the kernel sends (Ctrl-C, a hangup) it sends to the broker as well.
                Some(Caught { by_kernel: true, .. }) | None => {}
                // It is not reaped yet, so the number is its own.
                Some(Caught { signum, .. }) => send(self.broker, signum),
            }
        }
    }

    fn reap(&self) -> Option<End> {
        loop {
            match wait() {
                Waited::Child { pid, status } if pid == self.broker.as_raw_pid() => {
                    if libc::WIFSTOPPED(status) {
                        stop_along(libc::WSTOPSIG(status));
                    } else if libc::WIFEXITED(status) {
                        return Some(End::Exited(libc::WEXITSTATUS(status)));
                    } else {
                        return Some(End::Killed(libc::WTERMSIG(status)));
                    }
                }
                Waited::Child { .. } => {}
                Waited::Busy | Waited::Alone => return None,
            }
        }
    }
}

/// A stop from the terminal is meant for all of us, and seen by whoever waits for us. Any other stop is the broker's.
fn stop_along(signum: i32) {
    if [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&signum) {
        let _ = kill_process(getpid(), Signal::STOP);
    }
}

/// Where a broker has run, and how long its shell may wait for another one.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    rundir: PathBuf,
    orphan: Duration,
}

impl Place {
    /// None if the broker has ended before it had one.
    fn read(line: &mut impl Read) -> Option<Place> {
        let mut text = String::new();
        line.read_to_string(&mut text).ok()?;
        let (orphan_ms, rundir) = text.split_once(' ')?;
        Some(Place { rundir: rundir.into(), orphan: Duration::from_millis(orphan_ms.parse().ok()?) })
    }

    fn shell(&self) -> Option<Pid> {
        guests::running(&self.rundir)
    }

    /// Returns when nothing is left.
    fn clear(&self) {
        while self.rundir.exists() {
            self.until_shell_over();
            match rundir::lock(&self.rundir) {
                Ok(Some(_held)) => {
                    self.kill();
                    return rundir::remove(&self.rundir);
                }
                // A broker has taken its place, and now it is that one's shell.
                Ok(None) => self.until_broker_over(),
                // Removed just now, or out of our reach.
                Err(_) => return,
            }
        }
    }

    /// The shell of a dead broker ends its tasks by itself. It gets its time; less if somebody wants us to end.
    fn until_shell_over(&self) {
        let mut deadline = Instant::now() + self.orphan + GRACE;
        while Instant::now() < deadline && (bury() || self.shell().is_some()) {
            if next_signal(Some(LOOK)).is_some_and(Caught::ends) {
                // Without a broker it hears this.
                self.shell().into_iter().for_each(|shell| send(shell, libc::SIGTERM));
                deadline = deadline.min(Instant::now() + GRACE);
            }
        }
    }

    fn until_broker_over(&self) {
        while matches!(rundir::lock(&self.rundir), Ok(None)) {
            bury();
            if let Some(Caught { signum, by_kernel: false }) = next_signal(Some(LOOK))
                && signum != libc::SIGCHLD
                && let Some(broker) = broker_at(&self.rundir)
            {
                send(broker, signum);
            }
        }
    }

    /// The shell, and everything that it held: what loses its parent becomes our child.
    fn kill(&self) {
        let deadline = Instant::now() + KILL_MAX;
        while Instant::now() < deadline && (bury() || self.shell().is_some()) {
            children().into_iter().chain(self.shell()).for_each(|pid| send(pid, libc::SIGKILL));
            next_signal(Some(LOOK));
        }
    }
}

fn killed(signum: i32) -> Mistake {
    let hint = match signum {
        libc::SIGKILL => "nobody did? the kernel does when memory is short: see the node's dmesg",
        _ => "what it held is being ended; FLURM_LOG=debug makes brokers say more",
    };
    Mistake::new(format!("the broker on {} was killed by signal {signum}", hostname()), hint)
}

/// Who listens in that directory.
fn broker_at(rundir: &Path) -> Option<Pid> {
    let stream = UnixStream::connect(rundir.join("local")).ok()?;
    Some(socket_peercred(&stream).ok()?.pid)
}

/// The launcher shall see the end of the broker at its end of the connection.
fn close_pmi() {
    let fd = std::env::var("PMI_FD").ok().and_then(|fd| fd.trim().parse::<i32>().ok());
    if let Some(fd) = fd.filter(|fd| *fd > libc::STDERR_FILENO) {
        // SAFETY: it is the launcher's, and nothing in this process knows of it.
        unsafe { libc::close(fd) };
    }
}

fn send(pid: Pid, signum: i32) {
    // SAFETY: no memory is involved. One that has ended needs no signal.
    unsafe { libc::kill(pid.as_raw_pid(), signum) };
}

/// Our children, as the kernel lists them.
fn children() -> Vec<Pid> {
    let me = getpid().as_raw_pid();
    let list = std::fs::read_to_string(format!("/proc/{me}/task/{me}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// True if there are children that live.
fn bury() -> bool {
    loop {
        match wait() {
            Waited::Child { .. } => {}
            Waited::Busy => return true,
            Waited::Alone => return false,
        }
    }
}

enum Waited {
    Child {
        pid: i32,
        status: i32,
    },
    /// None of the children has anything to tell.
    Busy,
    /// There are no children.
    Alone,
}

fn wait() -> Waited {
    let mut status = 0;
    // SAFETY: a writable status; all children are ours to reap.
    match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED) } {
        0 => Waited::Busy,
        pid if pid > 0 => Waited::Child { pid, status },
        _ => Waited::Alone,
    }
}

/// Is that how somebody says that a program shall end? Who dies of it, since it was not listening yet, is no news.
pub(crate) fn ends(signum: i32) -> bool {
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP].contains(&signum)
}

#[derive(Debug, Copy, Clone)]
struct Caught {
    signum: i32,
    by_kernel: bool,
}

impl Caught {
    fn ends(self) -> bool {
        ends(self.signum)
    }
}

/// Takes the next signal; none when none has come in time, or when we have been stopped and continued.
fn next_signal(limit: Option<Duration>) -> Option<Caught> {
    let all = all_signals();
    // SAFETY: the zeroed record is plain data, which the call fills in.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let limit = limit.map(|limit| libc::timespec {
        tv_sec: limit.as_secs().cast_signed(),
        tv_nsec: limit.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: all three live across the call; a null limit means to wait.
    let signum = unsafe { libc::sigtimedwait(&raw const all, &raw mut info, limit) };
    (signum > 0).then_some(Caught { signum, by_kernel: info.si_code == libc::SI_KERNEL })
}

fn all_signals() -> libc::sigset_t {
    // SAFETY: the set is initialized by the call.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        set
    }
}

/// What was blocked before.
pub(crate) fn block_signals() -> libc::sigset_t {
    let all = all_signals();
    let mut before = all;
    // SAFETY: both sets live across the call.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) };
    before
}

fn restore_signals(before: &libc::sigset_t) {
    // SAFETY: a set that the kernel has given us.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::tests::boot;

    #[test]
    fn what_a_broker_tells_is_what_its_guard_hears() {
        let dir = tempfile::tempdir().unwrap();
        let (hear, tell) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let rundir = dir.path().join("with blank");
        Line(tell.into()).tell(&boot(&rundir, 0, 1));
        let heard = Place::read(&mut File::from(hear));
        assert_eq!(heard, Some(Place { rundir, orphan: Duration::from_secs(5) }));
        for early in ["", "5000", "x /tmp"] {
            assert_eq!(Place::read(&mut early.as_bytes()), None, "{early:?}");
        }
    }
}
