//! One broker's mind: messages, commits and time in, messages, proposals and wishes out. No I/O, no clock.

mod cx;
mod door;

pub use door::{CoreConfig, Guest, Hold, Input, Output, Peer, Role};
