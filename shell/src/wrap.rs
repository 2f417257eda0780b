//! A task with programs of the user's around it (`-o task-prolog`, `-o task-epilog`).
//!
//! What the shell starts is then a small process that runs the prolog, the task and the epilog one after the other, and
//! ends as the task has ended. Signals reach all of its process group, so it has to pass none on. Why a task never ran is
//! left in the job's directory, where the shell looks for it.

use crate::elf::open_regular;
use crate::options::Hooks;
use crate::template::Tags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{PidfdFlags, Resource, Rlimit, pidfd_open, setrlimit};
use std::io::{self, Read as _};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What `flurm task` is told.
#[derive(Debug, Clone)]
pub struct Wrapped {
    pub prolog: Option<String>,
    pub epilog: Option<String>,
    /// Of each of them.
    pub timeout_s: Option<f64>,
    pub command: Vec<String>,
}

/// The command line that leads to [`run`].
pub(crate) fn command(hooks: &Hooks, tags: &Tags<'_>, command: Vec<String>) -> Vec<String> {
    let mut words = vec!["/proc/self/exe".to_owned(), "task".to_owned()];
    for (name, hook) in [("prolog", &hooks.task_prolog), ("epilog", &hooks.task_epilog)] {
        words.extend(hook.as_ref().map(|hook| format!("--{name}={}", tags.render_known(hook))));
    }
    words.extend(hooks.timeout_s.map(|seconds| format!("--timeout={seconds}")));
    words.push("--".to_owned());
    words.extend(command);
    words
}

/// Where a task's wrapper says why there was no task.
fn note_file(dir: &Path, task: &str) -> PathBuf {
    dir.join(format!(".task-prolog.{task}"))
}

/// The end of a longer one is not read.
const NOTE_BYTES_MAX: u64 = 4096;

/// Why this task never ran, if its prolog has failed.
pub(crate) fn note(dir: &str, task: u32) -> Option<String> {
    // The directory is the user's, and so may be what has this name now.
    let file = open_regular(&note_file(Path::new(dir), &task.to_string())).ok()??;
    let mut note = String::new();
    file.take(NOTE_BYTES_MAX).read_to_string(&mut note).ok()?;
    Some(note)
}

/// Signals that are meant for the task. They end with it, and the epilog comes after.
const FOR_THE_TASK: [libc::c_int; 7] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGALRM];

/// The last signal that ends jobs and came to us, or 0. One that comes before there is a task would else be lost.
static END: AtomicI32 = AtomicI32::new(0);

extern "C" fn seen(signum: libc::c_int) {
    if matches!(signum, libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT) {
        END.store(signum, Relaxed);
    }
}

/// Runs all three; does not come back if a signal has ended the task.
pub fn run(wrapped: &Wrapped) -> i32 {
    for signum in FOR_THE_TASK {
        // SAFETY: the handler writes a number. One, unlike a signal that is ignored, ends with the exec of what we start.
        unsafe { libc::signal(signum, seen as *const () as libc::sighandler_t) };
    }
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let host = var("SLURMD_NODENAME");
    let limit = wrapped.timeout_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    if let Some(prolog) = &wrapped.prolog
        && let Err(why) = hook("task-prolog", prolog, limit, None)
    {
        let (task, dir) = (var("FLURM_TASK_RANK"), var("FLURM_JOB_TMPDIR"));
        let text = format!("task-prolog {prolog} of task {task} on {host} {why}");
        // Then only the exit code tells.
        if std::fs::write(note_file(Path::new(&dir), &task), &text).is_err() {
            eprintln!("flurm: {text}");
        }
        return 1;
    }
    let status = task(&wrapped.command);
    if let Some(epilog) = &wrapped.epilog
        && let Err(why) = hook("task-epilog", epilog, limit, Some(code(status)))
    {
        eprintln!("flurm: task-epilog {epilog} on {host} {why}");
    }
    end_as(status)
}

/// As a shell counts.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn task(command: &[String]) -> ExitStatus {
    let (name, arguments) = command.split_first().expect("a job has a command");
    let early = END.load(Relaxed);
    if early != 0 {
        return ExitStatus::from_raw(early);
    }
    match Command::new(name).args(arguments).spawn().and_then(wait) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("flurm: {name}: {error}");
            let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
            ExitStatus::from_raw(code << 8)
        }
    }
}

/// Passes on what came while the task was being made: rather twice than not at all.
fn wait(mut child: Child) -> io::Result<ExitStatus> {
    let late = END.load(Relaxed);
    if late != 0 {
        // SAFETY: kill has no memory arguments. The child is not waited for yet, so its number is its own.
        unsafe { libc::kill(child.id().cast_signed(), late) };
    }
    child.wait()
}

/// Whoever waits for us shall see what has happened to the task.
fn end_as(status: ExitStatus) -> i32 {
    if let Some(signum) = status.signal() {
        // One core file is enough.
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        // SAFETY: the default action of a signal that has ended a process is to end one.
        unsafe {
            libc::signal(signum, libc::SIG_DFL);
            libc::raise(signum);
        }
    }
    code(status)
}

/// Err: what has become of it, in words.
fn hook(name: &str, program: &str, limit: Option<Duration>, code: Option<i32>) -> Result<(), String> {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env("FLURM_HOOK", name);
    if let Some(code) = code {
        command.env("FLURM_TASK_EXIT_CODE", code.to_string());
    }
    let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    let late = limit.is_some_and(|limit| !ends_within(&child, limit));
    if late {
        // It may have ended just now.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| format!("is lost: {error}"))?;
    match (late, limit) {
        (true, Some(limit)) => Err(format!("took longer than {} s", limit.as_secs_f64())),
        _ if status.success() => Ok(()),
        _ => Err(said(status.into_raw())),
    }
}

/// The end of a program in words.
pub(crate) fn said(status: i32) -> String {
    if libc::WIFSIGNALED(status) {
        format!("was killed by signal {}", libc::WTERMSIG(status))
    } else {
        format!("ended with {}", libc::WEXITSTATUS(status))
    }
}

fn ends_within(child: &Child, limit: Duration) -> bool {
    // Without a descriptor there is no limit: kernels before 5.3.
    let Ok(pidfd) = pidfd_open(rustix::process::Pid::from_child(child), PidfdFlags::empty()) else {
        return true;
    };
    let end = Instant::now() + limit;
    let ended = retry_on_intr(|| {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).unwrap_or_default();
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left))
    });
    ended.is_ok_and(|ready| ready > 0)
}
