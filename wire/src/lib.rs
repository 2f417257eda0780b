//! Messages of flurm: the only thing clients and brokers share.
//!
//! A [`Message`] is an envelope (who asks, who answers, which topic) around a JSON payload; one module per
//! service holds that service's request and response types. [`fact`] holds what the log keeps. Nothing here
//! does I/O: [`frame`] says how a message looks as bytes, links and sockets carry them.
//!
//! Formats are versioned by [`VERSION`] in every envelope; fields are only ever added, with a default.

pub mod archive;
pub mod attr;
pub mod event;
pub mod exec;
pub mod fact;
pub mod files;
pub mod follow;
pub mod frame;
pub mod job;
pub mod kvs;
mod message;
pub mod overlay;
pub mod pack;
pub mod resource;
pub mod rexec;
pub mod sched;
pub mod shell;
pub mod slurm;
pub mod spill;
pub mod state;

pub use message::{Address, ClientId, Dest, ErrorCode, Kind, Message, Topic, WireError};

/// Version of the envelope and of every payload in it.
pub const VERSION: u8 = 1;
