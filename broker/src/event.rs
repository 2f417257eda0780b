//! Everything that can wake the main loop, on one channel; only the log has its own (see `run.rs`).

use crate::link::LinkEvent;
use crate::local::LocalEvent;
use flurm_types::R;
use tokio::sync::mpsc;

#[derive(Debug)]
pub(crate) enum Event {
    Link(LinkEvent),
    Local(LocalEvent),
    /// The shell has ended, with this wait status.
    ShellExited(i32),
    /// And so has the service that answers Slurm's commands.
    SlurmExited(i32),
    Signal(i32),
    Inventory(R),
}

/// Events that wait for the loop. Over it whoever has one waits, and so does the peer behind its socket.
pub(crate) const EVENTS_MAX: usize = 1024;

pub(crate) type Events = mpsc::Sender<Event>;
