//! The processes that a broker starts and watches: the shell of its rank, and where it is wanted who answers Slurm's
//! commands there.
//!
//! The shell stays in our session and process group, so that a terminal works for the initial program. It outlives us
//! on purpose. What we know of it lies in the run directory, where the next broker looks before it starts another.

use crate::event::{Event, Events};
use crate::guard;
use flurm_types::Rank;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// Wait status of a shell that was not our child: we see that it ends, not how.
const STATUS_UNKNOWN: i32 = libc::SIGKILL;

/// Wait status instead of the shell's, when there is none: as a shell says "command not found".
pub(crate) const STATUS_NOT_STARTED: i32 = 127 << 8;

const FILE: &str = "shell.pid";
const FILE_NEW: &str = "shell.pid.new";

#[derive(Debug)]
pub(crate) struct Shell {
    pidfd: Arc<OwnedFd>,
}

impl Shell {
    /// Finds the shell that runs for `rundir`, or starts it.
    ///
    /// # Errors
    /// It cannot be started or watched.
    pub(crate) fn start(rundir: &Path, uri: &str, rank: Rank, events: Events) -> io::Result<Shell> {
        if let Some(pid) = running(rundir) {
            tracing::info!(pid = pid.as_raw_nonzero().get(), "shell found");
            return Shell::watch(pidfd_open(pid, PidfdFlags::empty())?, None, events);
        }
        let mut command = Command::new("/proc/self/exe");
        command.arg0("flurm").args(["shell", "--uri", uri, "--rank", &rank.to_string()]);
        let child = deaf(&mut command).spawn()?;
        Shell::adopt(child, rundir, events)
    }

    /// A shell that is not known to the next broker, or not watched, must not run: there would be a second one.
    fn adopt(mut child: Child, rundir: &Path, events: Events) -> io::Result<Shell> {
        let pid = Pid::from_child(&child);
        let shell = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from).and_then(|pidfd| {
            write_record(rundir, pid)?;
            Shell::watch(pidfd, Some(pid), events)
        });
        if shell.is_err() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            forget(rundir);
        }
        shell
    }

    /// `child` when it is ours to reap.
    fn watch(pidfd: OwnedFd, child: Option<Pid>, events: Events) -> io::Result<Shell> {
        let pidfd = Arc::new(pidfd);
        let watched = pidfd.clone();
        // A thread that waits is the plainest way; it ends with the shell or with us.
        std::thread::Builder::new().name("shell-watch".into()).spawn(move || {
            let status = wait(&watched, child);
            // The loop is gone only when the process is about to be.
            let _ = events.blocking_send(Event::ShellExited(status));
        })?;
        Ok(Shell { pidfd })
    }

    /// Sends a signal; nothing happens if the shell has ended.
    pub(crate) fn signal(&self, signum: i32) {
        let Some(signal) = Signal::from_named_raw(signum) else {
            return tracing::error!(signum, "no such signal");
        };
        if let Err(error) = pidfd_send_signal(&self.pidfd, signal) {
            tracing::debug!(%error, "shell is not signalled");
        }
    }
}

/// Who answers Slurm's commands on this rank. It keeps nothing, so the next broker starts another one: it ends by itself
/// when its broker is gone.
#[derive(Debug)]
pub(crate) struct SlurmService {
    pidfd: Arc<OwnedFd>,
}

impl SlurmService {
    /// `key` is for a private munged: it comes through a pipe, for arguments and environment can be read by others.
    ///
    /// # Errors
    /// It cannot be started or watched.
    pub(crate) fn start(uri: &str, rank: Rank, key: &[u8], events: Events) -> io::Result<SlurmService> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("flurm").args(["slurm-service", "--uri", uri, "--rank", &rank.to_string()]);
        // A terminal's keys are for the initial program.
        let mut child = command.stdin(Stdio::piped()).process_group(0).spawn()?;
        let pid = Pid::from_child(&child);
        // A pipe holds more than this, and its end is closed here.
        let told = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(key));
        let watched = told.and_then(|()| Ok(pidfd_open(pid, PidfdFlags::empty())?)).and_then(|pidfd| {
            let pidfd = Arc::new(pidfd);
            let watched = pidfd.clone();
            std::thread::Builder::new().name("slurm-watch".into()).spawn(move || {
                // The loop is gone only when the process is about to be.
                let _ = events.blocking_send(Event::SlurmExited(wait(&watched, Some(pid))));
            })?;
            Ok(SlurmService { pidfd })
        });
        if watched.is_err() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        watched
    }

    /// Sends a signal; nothing happens if it has ended.
    pub(crate) fn signal(&self, signum: i32) {
        let signal = Signal::from_named_raw(signum);
        if let Some(Err(error)) = signal.map(|signal| pidfd_send_signal(&self.pidfd, signal)) {
            tracing::debug!(%error, "the Slurm service is not signalled");
        }
    }
}

/// Waits for the end of a process; its wait status, as far as it can be known.
fn wait(pidfd: &OwnedFd, child: Option<Pid>) -> i32 {
    if child.is_some() {
        let ended = retry_on_intr(|| waitpid(child, WaitOptions::empty()));
        return ended.ok().flatten().map_or(STATUS_UNKNOWN, |(_, status)| status.as_raw());
    }
    // An error would come at once and always: no pidfd of ours is refused by poll.
    let _ = retry_on_intr(|| poll(&mut [PollFd::new(pidfd, PollFlags::IN)], None));
    STATUS_UNKNOWN
}

/// What a terminal's user types is for all of us at once. A shell that does not listen yet would die of it; it will see
/// what has come meanwhile.
fn deaf(command: &mut Command) -> &mut Command {
    let block = || {
        guard::block_signals();
        Ok(())
    };
    // SAFETY: only the new process's own mask is changed, by calls that are allowed after a fork.
    unsafe { command.pre_exec(block) }
}

fn record(rundir: &Path) -> PathBuf {
    rundir.join(FILE)
}

/// A reader finds the whole of it or nothing.
fn write_record(rundir: &Path, pid: Pid) -> io::Result<()> {
    // One that has ended already leaves nothing to find.
    let Ok(born) = birth(pid) else { return Ok(()) };
    let fresh = rundir.join(FILE_NEW);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    writeln!(file, "{} {born}", pid.as_raw_nonzero())?;
    std::fs::rename(fresh, record(rundir))
}

/// Nothing runs for this directory any more.
pub(crate) fn forget(rundir: &Path) {
    // Where there is no record, none has to go.
    let _ = std::fs::remove_file(record(rundir));
}

/// The shell that an earlier broker started for this directory, if it still runs.
pub(crate) fn running(rundir: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(record(rundir)).ok()?;
    let (pid, born) = text.trim().split_once(' ')?;
    let pid = Pid::from_raw(pid.parse().ok().filter(|pid| *pid > 0)?)?;
    // Numbers of processes are used again; with the time of birth they are not.
    (birth(pid).ok()? == born).then_some(pid)
}

/// When a process was started, in the kernel's own count.
fn birth(pid: Pid) -> io::Result<String> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    // The name in parentheses may hold anything. After it comes field 3; the birth is field 22, a zombie's state is Z.
    let mut fields = stat.rsplit(") ").next().unwrap_or("").split(' ');
    match (fields.next(), fields.nth(18)) {
        (Some(state), Some(born)) if state != "Z" => Ok(born.to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use tokio::sync::mpsc;

    /// A process that stays until it is killed, as an earlier broker would have left it.
    fn earlier_shell(rundir: &Path) -> Child {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        record_shell(rundir, &child);
        child
    }

    pub(crate) fn record_shell(rundir: &Path, child: &Child) {
        let pid = Pid::from_child(child);
        std::fs::write(record(rundir), format!("{} {}\n", pid.as_raw_nonzero(), birth(pid).unwrap()))
            .unwrap();
    }

    #[test]
    fn a_shell_that_is_there_is_found_watched_and_signalled() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = earlier_shell(dir.path());
        let (tell, mut events) = mpsc::channel(1);
        let shell = Shell::start(dir.path(), "local:///nowhere", Rank(0), tell).unwrap();
        shell.signal(libc::SIGTERM);
        let Some(Event::ShellExited(status)) = events.blocking_recv() else { panic!("not seen") };
        assert_eq!(status, STATUS_UNKNOWN, "not our child, as far as it knows");
        assert!(running(dir.path()).is_none(), "a zombie does not run");
        child.wait().unwrap();
        assert!(running(dir.path()).is_none());
    }

    #[test]
    fn a_shell_is_deaf_until_it_listens() {
        let mut grep = Command::new("grep");
        let out = deaf(grep.args(["SigBlk", "/proc/self/status"])).output().unwrap();
        let mask = String::from_utf8(out.stdout).unwrap();
        let mask = u64::from_str_radix(mask.split_whitespace().last().unwrap(), 16).unwrap();
        for signum in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP] {
            assert_ne!(mask & 1 << (signum - 1), 0, "{signum}");
        }
    }

    #[test]
    fn a_shell_that_cannot_be_recorded_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(FILE_NEW)).unwrap();
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let (tell, _events) = mpsc::channel(1);
        assert!(Shell::adopt(child, dir.path(), tell).is_err());
        assert!(birth(pid).is_err(), "it has ended");
    }

    #[test]
    fn another_process_with_the_same_number_is_not_taken_for_the_shell() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "1", "1 0\n", "0 0\n", "-5 7", "x y", &format!("{} 1\n", std::process::id())] {
            std::fs::write(record(dir.path()), text).unwrap();
            assert!(running(dir.path()).is_none(), "{text:?}");
        }
        forget(dir.path());
        assert!(running(dir.path()).is_none());
    }
}
