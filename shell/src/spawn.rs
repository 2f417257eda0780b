//! One process, started as fast as the kernel can: `clone` with the parent's memory borrowed until `execve`.
//!
//! `posix_spawn` does the same but cannot set affinity, limits, a directory and a terminal's foreground group in the
//! child; a hook between fork and exec would copy page tables. The child here allocates nothing, takes no lock and
//! calls only what is safe after `vfork`. It runs on a stack of its own while the calling thread sleeps.

use crate::cpu::Mask;
use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::io;
use std::os::fd::RawFd;
use std::sync::OnceLock;

/// Number of a resource limit; the C libraries disagree on its type.
#[cfg(target_env = "gnu")]
pub type Limit = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
pub type Limit = c_int;

/// Everything the child needs, made before it exists.
#[derive(Debug)]
pub struct Process<'a> {
    pub program: &'a CStr,
    /// Both end with a null pointer.
    pub arguments: &'a [*const c_char],
    pub environment: &'a [*const c_char],
    pub directory: &'a CStr,
    /// Become descriptors 0, 1, 2; each is above 2, or is already in its place.
    pub stdio: [RawFd; 3],
    /// Stays open across the exec.
    pub keep: Option<RawFd>,
    pub limits: &'a [(Limit, libc::rlimit)],
    pub mask: Option<&'a Mask>,
    /// Make its process group the foreground one of the terminal at descriptor 0.
    pub foreground: bool,
    /// Make a session of its own, whose terminal is the one at descriptor 1.
    pub terminal: bool,
    pub oom_adjust: Option<&'a OomAdjust>,
    pub umask: Option<libc::mode_t>,
}

/// How early the kernel is to end a process when memory runs out.
#[derive(Debug)]
pub struct OomAdjust {
    text: CString,
    /// Somebody has asked for it, so it must not fail unheard.
    asked: bool,
}

/// Tasks are better ended than the broker and the shell, which everybody's jobs hang on: as if a task used half of the
/// machine's memory more. Anybody may raise this number.
const OOM_RAISE: i32 = 500;

impl OomAdjust {
    pub fn asked(adjust: i32) -> OomAdjust {
        OomAdjust { text: CString::new(adjust.to_string()).expect("a number has no NUL"), asked: true }
    }

    /// Above ours.
    pub fn raised() -> OomAdjust {
        static OWN: OnceLock<i32> = OnceLock::new();
        let own = OWN.get_or_init(|| {
            let text = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
            text.trim().parse().unwrap_or(0)
        });
        OomAdjust { asked: false, ..OomAdjust::asked(own.saturating_add(OOM_RAISE).min(1000)) }
    }
}

/// What failed in the child.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
#[repr(i32)]
pub enum Step {
    Start = 0,
    Directory = 1,
    Descriptors = 2,
    Limits = 3,
    Exec = 4,
    OomAdjust = 5,
}

#[derive(Debug)]
pub struct SpawnError {
    pub step: Step,
    /// Which one of several: limits.
    pub at: usize,
    pub source: io::Error,
}

/// Deep enough for `execve` and signal frames; the child's own frames are small.
const STACK_BYTES: usize = 64 << 10;

/// The stack of children, one at a time.
#[derive(Debug)]
pub struct Stack(Vec<u128>);

impl Default for Stack {
    fn default() -> Stack {
        Stack(vec![0; STACK_BYTES / size_of::<u128>()])
    }
}

struct Borrowed<'a> {
    process: &'a Process<'a>,
    parent: libc::pid_t,
    ignored: &'static [c_int],
    failed: UnsafeCell<Option<(Step, usize, c_int)>>,
}

/// Signals that we ignore, which would pass to the task: a Rust program ignores SIGPIPE, and whoever started the
/// instance may ignore others. Handlers, in contrast, end with the exec.
fn ignored() -> &'static [c_int] {
    static IGNORED: OnceLock<Vec<c_int>> = OnceLock::new();
    IGNORED.get_or_init(|| {
        let is_ignored = |signal: &c_int| {
            // SAFETY: asks only, into a value of ours; for a number that is no signal nothing is written.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                libc::sigaction(*signal, std::ptr::null(), &raw mut action) == 0
                    && action.sa_sigaction == libc::SIG_IGN
            }
        };
        (1..=libc::SIGRTMAX()).filter(is_ignored).collect()
    })
}

/// A program that was just written is busy until whoever was started meanwhile has become another program.
const BUSY_TRIES_MAX: u32 = 200;
const BUSY_MS: c_int = 1;

/// Starts a process in a process group of its own. The caller has blocked all signals of its thread and stays alive
/// as long as the process should: when the thread ends, the kernel kills the process.
///
/// # Errors
/// No process could be made, or it could not become the program.
pub fn spawn(process: &Process<'_>, stack: &mut Stack) -> Result<libc::pid_t, SpawnError> {
    debug_assert!(process.arguments.last() == Some(&std::ptr::null()));
    debug_assert!(process.environment.last() == Some(&std::ptr::null()));
    let mut borrowed = Borrowed {
        process,
        parent: std::process::id().cast_signed(),
        ignored: ignored(),
        failed: UnsafeCell::new(None),
    };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is ours alone and aligned to 16, its end is passed since stacks grow down. CLONE_VFORK keeps
    // this thread from running, and so `borrowed` and the stack alive, until the child has left this memory by exec
    // or exit. `child` keeps to calls that are allowed after vfork.
    let pid = unsafe {
        let top = stack.0.as_mut_ptr_range().end.cast::<c_void>();
        libc::clone(child, top, flags, (&raw mut borrowed).cast())
    };
    if pid < 0 {
        return Err(SpawnError { step: Step::Start, at: 0, source: io::Error::last_os_error() });
    }
    match borrowed.failed.into_inner() {
        None => Ok(pid),
        // Its exit is reaped like that of any other child.
        Some((step, at, errno)) => Err(SpawnError { step, at, source: io::Error::from_raw_os_error(errno) }),
    }
}

extern "C" fn child(argument: *mut c_void) -> c_int {
    let borrowed = argument.cast::<Borrowed<'_>>();
    // SAFETY: `spawn` passes a pointer to a live `Borrowed` that nobody else touches while the child runs; every
    // pointer in `process` is valid and terminated for as long as that. Only system calls follow.
    unsafe {
        let process = (*borrowed).process;
        let step = prepare(process, (*borrowed).parent, (*borrowed).ignored);
        let step = match step {
            Ok(()) => {
                let (arguments, environment) = (process.arguments.as_ptr(), process.environment.as_ptr());
                libc::execve(process.program.as_ptr(), arguments, environment);
                let mut tries = 0;
                while *libc::__errno_location() == libc::ETXTBSY && tries < BUSY_TRIES_MAX {
                    // Somebody who is being started beside us has the file's writer still, as we may have his.
                    let keep = process.keep.map_or(2, |fd| fd.cast_unsigned());
                    libc::close_range(3, keep.saturating_sub(1), 0);
                    libc::close_range(keep + 1, c_uint::MAX, 0);
                    libc::poll(std::ptr::null_mut(), 0, BUSY_MS);
                    libc::execve(process.program.as_ptr(), arguments, environment);
                    tries += 1;
                }
                (Step::Exec, 0)
            }
            Err(failed) => failed,
        };
        *(*borrowed).failed.get() = Some((step.0, step.1, *libc::__errno_location()));
        libc::_exit(127)
    }
}

/// # Safety
/// Runs in a child that shares our memory: system calls only.
unsafe fn prepare(
    process: &Process<'_>,
    parent: libc::pid_t,
    ignored: &[c_int],
) -> Result<(), (Step, usize)> {
    let done = |result: c_int, step| if result < 0 { Err((step, 0)) } else { Ok(()) };
    // SAFETY: plain system calls on values that live in the parent, which waits.
    unsafe {
        // A killed shell takes its tasks along; what they started is found by the shell that follows.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != parent {
            libc::_exit(127);
        }
        if process.terminal {
            libc::setsid();
        } else {
            libc::setpgid(0, 0);
        }
        if process.foreground {
            libc::tcsetpgrp(0, libc::getpid());
        }
        for (at, (resource, limit)) in process.limits.iter().enumerate() {
            if libc::setrlimit(*resource, limit) != 0 {
                return Err((Step::Limits, at));
            }
        }
        if let Some(umask) = process.umask {
            libc::umask(umask);
        }
        if let Some(mask) = process.mask {
            // A CPU may have been taken from us since R was made; then the task runs where it can.
            libc::sched_setaffinity(0, size_of_val(&*mask.0), mask.0.as_ptr().cast());
        }
        if let Some(adjust) = process.oom_adjust {
            let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            let written = libc::write(file, adjust.text.as_ptr().cast(), adjust.text.count_bytes());
            if adjust.asked && written < 0 {
                return Err((Step::OomAdjust, 0));
            }
            libc::close(file);
        }
        done(libc::chdir(process.directory.as_ptr()), Step::Directory)?;
        for (target, source) in (0..).zip(process.stdio) {
            if source != target {
                done(libc::dup2(source, target), Step::Descriptors)?;
            }
        }
        if process.terminal {
            done(libc::ioctl(1, libc::TIOCSCTTY, 0), Step::Descriptors)?;
        }
        if let Some(fd) = process.keep {
            done(libc::fcntl(fd, libc::F_SETFD, 0), Step::Descriptors)?;
        }
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        for signal in ignored {
            libc::sigaction(*signal, &raw const action, std::ptr::null_mut());
        }
        let none: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
    Ok(())
}

/// Blocks every signal for this thread: handlers must not run in a child that borrows our memory.
pub fn block_all_signals() {
    // SAFETY: the set is filled before it is used; changing the own mask has no other effect.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(pid: i32) -> i32 {
        let mut status = 0;
        // SAFETY: our own child, a writable status.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        status
    }

    fn run(program: &CStr, arguments: &[&CStr], directory: &CStr) -> Result<i32, SpawnError> {
        let arguments: Vec<*const c_char> =
            arguments.iter().map(|a| a.as_ptr()).chain([std::ptr::null()]).collect();
        let process = Process {
            program,
            arguments: &arguments,
            environment: &[std::ptr::null()],
            directory,
            stdio: [0, 1, 2],
            keep: None,
            limits: &[],
            mask: None,
            foreground: false,
            terminal: false,
            oom_adjust: None,
            umask: None,
        };
        spawn(&process, &mut Stack::default()).map(wait)
    }

    #[test]
    fn errors_say_what_failed_and_why() {
        let sh = c"/bin/sh";
        assert_eq!(run(sh, &[sh, c"-c", c"exit 3"], c"/").expect("starts"), 3 << 8);
        let error = run(c"/no/such", &[c"x"], c"/").expect_err("no program");
        assert_eq!((error.step, error.source.raw_os_error()), (Step::Exec, Some(libc::ENOENT)));
        let error = run(sh, &[sh], c"/no/such").expect_err("no directory");
        assert_eq!((error.step, error.source.raw_os_error()), (Step::Directory, Some(libc::ENOENT)));
    }
}
