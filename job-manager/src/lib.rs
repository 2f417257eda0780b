//! A job's life: what may happen, what has happened, what is owed because of it. Pure.
//!
//! States and events are RFC 21's:
//!
//! ```text
//!        validate        depend          priority         alloc        finish        clean
//!  NEW ───────────► DEPEND ─────► PRIORITY ─────► SCHED ────────► RUN ───────► CLEANUP ─────► INACTIVE
//!                     │              │     ◄──────  │              │              ▲
//!                     │              │  flux-restart│              │              │
//!                     └──────────────┴──────────────┴──────────────┴──────────────┘
//!                                   exception of severity 0
//! ```
//!
//! [`Manager::decide`] turns a request into events, with all that follows by itself; [`Manager::apply`] takes
//! events in, whether they were decided now or read from the log; [`Manager::owed`] says what the world still
//! has to do for a job. Who talks to shells, schedulers and clients is the floor above.

mod array;
mod decide;
mod depend;
mod event;
mod gates;
mod job;
mod ledger;
mod manager;
mod view;
mod within;

pub use decide::{Refusal, Request};
pub use event::{
    Alloc, Asked, Batch, Brief, Event, Flags, Gate, Other, QUEUE, Raised, Release, Submit, Turn,
};
pub use gates::{Closed, Count, Gates};
pub use job::{Job, set};
pub use manager::{BATCHES_MAX, Duty, Manager};
