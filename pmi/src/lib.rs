//! PMI, by which the processes of a parallel program find each other, as it looks on the wire (RFC 13).
//!
//! PMI-1 ([`one`]) is lines, PMI-2 ([`two`]) is frames behind a length; both come over the same socket, and the first
//! line decides. [`Splitter`] cuts a stream into them, [`Server`] answers the tasks of one node. Who owns the sockets, and
//! how nodes exchange what their tasks have put, is left to others. Nothing here but the standard library is used:
//! `libpmi.so` is made of it.

pub mod one;
mod server;
mod split;
pub mod two;

pub use server::{Effect, Job, Server};
pub use split::{Piece, Splitter};

use std::fmt;

/// Longest name of a key-value space, with the zero byte that C counts.
pub const KVSNAME_MAX: usize = 64;
/// Longest key, likewise.
pub const KEY_MAX: usize = 64;
/// Longest value, likewise. Slurm and hydra stop at the same length, and clients have buffers of it.
pub const VALUE_MAX: usize = 1024;

/// What came is no PMI: whoever sent it is lost to the protocol and should be hung up on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolError {
    text: String,
    rule: &'static str,
}

impl ProtocolError {
    fn new(text: &str, rule: &'static str) -> ProtocolError {
        ProtocolError { text: text.chars().take(64).collect(), rule }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read PMI `{}`: {}", self.text.trim_end().escape_default(), self.rule)
    }
}

impl std::error::Error for ProtocolError {}
