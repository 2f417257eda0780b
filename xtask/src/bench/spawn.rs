//! How fast this machine starts processes at all: the ceiling of every figure about no-op jobs.

use std::ffi::CStr;
use std::time::Instant;

use super::Effort;
use super::measure::{Figure, times_ms};

const PROGRAM: &CStr = c"/bin/true";

/// One process, then the rates of one thread and of four, each with its own children.
pub fn rate(effort: Effort) -> Result<Vec<Figure>, String> {
    let total = if effort == Effort::Quick { 400 } else { 10_000 };
    let one = times_ms(total / 10, spawn_and_reap)?;
    let mut figures = vec![Figure::samples("one process, started and reaped", "ms", one)];
    for threads in [1, 4] {
        figures.push(rate_with(threads, total)?);
    }
    Ok(figures)
}

/// Children per second that `threads` threads start and reap, `total` in all.
pub fn rate_with(threads: usize, total: usize) -> Result<Figure, String> {
    let start = Instant::now();
    std::thread::scope(|scope| {
        let each = |_| scope.spawn(|| (0..total / threads).try_for_each(|_| spawn_and_reap()));
        let started: Vec<_> = (0..threads).map(each).collect();
        started.into_iter().try_for_each(|thread| thread.join().expect("a spawning thread does not panic"))
    })?;
    let per_second = total as f64 / start.elapsed().as_secs_f64();
    let what = format!("posix_spawn + waitpid, {threads} thread{}", if threads == 1 { "" } else { "s" });
    Ok(Figure::value(what, "processes/s", total, per_second))
}

/// Bare `posix_spawn`: the standard library's `Command` prepares more than the ceiling should carry.
fn spawn_and_reap() -> Result<(), String> {
    let mut pid = 0;
    let arguments = [PROGRAM.as_ptr().cast_mut(), std::ptr::null_mut()];
    let environment = [std::ptr::null_mut()];
    // SAFETY: path and both lists are valid, NUL-terminated and outlive the call; null attributes are allowed.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            PROGRAM.as_ptr(),
            std::ptr::null(),
            std::ptr::null(),
            arguments.as_ptr(),
            environment.as_ptr(),
        )
    };
    if error != 0 {
        return Err(format!("posix_spawn: {}", std::io::Error::from_raw_os_error(error)));
    }
    let mut status = 0;
    // SAFETY: `pid` is a child of ours that nobody else waits for, `status` is writable.
    if unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
        return Err(format!("waitpid: {}", std::io::Error::last_os_error()));
    }
    (status == 0).then_some(()).ok_or_else(|| format!("{PROGRAM:?} ended with status {status}"))
}
