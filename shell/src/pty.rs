//! Pseudo terminals: a task on one has its own session, and what is typed there reaches its foreground process group.
//!
//! ```text
//! task -- theirs (a terminal) -- kernel -- ours --> the way of all output
//!                                          ours <-- what people type, window sizes
//! ```
//!
//! The kernel's terminal does the work: Ctrl-C becomes a signal in it, and the end of our end hangs the session up.

use crate::launch::Failure;
use crate::options::pty::Size;
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Ends a line of input that has nothing else, and so the input (Ctrl-D).
pub const END_OF_INPUT: u8 = 4;

/// A new terminal.
#[derive(Debug)]
pub struct Pty {
    /// Does not block.
    pub ours: OwnedFd,
    pub theirs: OwnedFd,
}

/// # Errors
/// This host has none left, or no `/dev/pts`.
pub fn open(size: Size) -> io::Result<Pty> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let theirs = ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    resize(&theirs, size)?;
    rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK)?;
    Ok(Pty { ours, theirs })
}

/// Tells the kernel, which tells the foreground process group.
///
/// # Errors
/// The terminal is gone.
pub fn resize(terminal: impl AsFd, size: Size) -> io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}

impl Pty {
    /// Our end once more, for somebody who closes it at another time.
    pub(crate) fn ours_again(&self) -> Result<OwnedFd, Failure> {
        self.ours.try_clone().map_err(|e| Failure::of("pseudo terminal", &e))
    }
}
