//! One request and its answer over `PMI_FD`.

use flurm_pmi::{Piece, Splitter};
use std::env;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, RawFd};

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

#[derive(Debug)]
pub(crate) struct Connection {
    socket: File,
    splitter: Splitter,
}

impl Connection {
    pub(crate) fn open(place: Place) -> Connection {
        // SAFETY: by the rules of PMI the descriptor is this process's to use and close, and there is one library
        // to do so. Where it is none, the first write fails.
        let socket = unsafe { File::from_raw_fd(place.fd) };
        Connection { socket, splitter: Splitter::new(ANSWER_BYTES_MAX) }
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
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    pub(crate) fn say(&mut self, request: &[u8]) -> Option<()> {
        self.socket.write_all(request).ok()
    }
}
