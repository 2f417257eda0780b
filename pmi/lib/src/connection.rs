//! Whom a process talks to: its launcher, over `PMI_FD`, or nobody.

use crate::alone::Alone;
use flurm_pmi::{Piece, Splitter};
use std::env;
use std::ffi::{c_int, c_void};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What the launcher says of this process.
#[derive(Debug, Copy, Clone)]
pub(crate) struct Place {
    fd: RawFd,
    pub(crate) rank: i32,
    pub(crate) size: i32,
}

impl Place {
    /// None where no launcher has left a descriptor.
    pub(crate) fn find() -> Option<Place> {
        let number = |name: &str| env::var(name).ok()?.trim().parse::<i32>().ok();
        let place = Place { fd: number("PMI_FD")?, rank: number("PMI_RANK")?, size: number("PMI_SIZE")? };
        (place.fd >= 0 && (0..place.size).contains(&place.rank)).then_some(place)
    }
}

/// Was this process started by another one of its kind?
pub(crate) fn spawned() -> i32 {
    i32::from(env::var("PMI_SPAWNED").is_ok_and(|spawned| !spawned.is_empty() && spawned != "0"))
}

/// Who answers a client of either interface.
#[derive(Debug)]
pub(crate) enum To {
    Launcher(Connection),
    Nobody(Alone),
}

#[derive(Debug)]
pub(crate) struct Connection {
    socket: UnixStream,
    splitter: Splitter,
}

impl Connection {
    /// None: it has been used and closed, here or by the program that started this one, and the number may be a file of the
    /// program's by now.
    pub(crate) fn open(place: Place) -> Option<Connection> {
        if !is_socket(place.fd) || USED.swap(true, Ordering::SeqCst) {
            return None;
        }
        // SAFETY: by the rules of PMI the descriptor is this process's to use and close, it is open, as just seen, and
        // taken once.
        let socket = unsafe { UnixStream::from_raw_fd(place.fd) };
        Some(Connection { socket, splitter: Splitter::new(ANSWER_BYTES_MAX) })
    }

    /// None: the launcher has gone, or speaks another language.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Option<Piece> {
        self.say(request)?;
        let mut buffer = [0; 4096];
        loop {
            if let Some(piece) = self.splitter.piece().ok()? {
                return Some(piece);
            }
            match self.socket.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => self.splitter.feed(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    pub(crate) fn say(&mut self, request: &[u8]) -> Option<()> {
        let mut rest = request;
        while !rest.is_empty() {
            let fd = self.socket.as_raw_fd();
            // SAFETY: `rest.len()` bytes are there to be read.
            let sent = unsafe { send(fd, rest.as_ptr().cast(), rest.len(), MSG_NOSIGNAL) };
            match usize::try_from(sent) {
                Ok(n) => rest = &rest[n..],
                Err(_) if std::io::Error::last_os_error().kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        Some(())
    }
}

/// `PMI_FD` has been taken, through whichever of the two interfaces.
static USED: AtomicBool = AtomicBool::new(false);

fn is_socket(fd: RawFd) -> bool {
    let mut file_type: c_int = 0;
    let mut len = size_of::<c_int>() as u32;
    // SAFETY: there is room for a number, and `len` says so.
    let rc = unsafe { getsockopt(fd, SOL_SOCKET, SO_TYPE, (&raw mut file_type).cast(), &raw mut len) };
    rc == 0 && file_type == SOCK_STREAM
}

/// A launcher that has gone is an error, not the end of the program by SIGPIPE.
const MSG_NOSIGNAL: c_int = 0x4000;
const SOL_SOCKET: c_int = 1;
const SO_TYPE: c_int = 3;
const SOCK_STREAM: c_int = 1;

unsafe extern "C" {
    fn send(fd: c_int, bytes: *const c_void, len: usize, flags: c_int) -> isize;
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut u32) -> c_int;
}
