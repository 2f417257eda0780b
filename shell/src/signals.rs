//! Signals as something to read.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Readable when a child has ended or somebody asks us to end. Both signals are blocked already.
pub(crate) fn open() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialized before use; a descriptor that is not negative is new and ours.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            fd if fd < 0 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// The number of a signal is the first word of what is read.
pub(crate) fn next(signals: &OwnedFd) -> Option<i32> {
    let mut info = [0; size_of::<libc::signalfd_siginfo>()];
    rustix::io::read(signals, &mut info).ok()?;
    Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
}
