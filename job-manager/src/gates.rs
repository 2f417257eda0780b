//! Gates for submission and scheduling, of the whole instance and of single queues.

use crate::event::{Gate, Turn};
use std::collections::BTreeMap;

/// Why not, for each gate that is closed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Closed {
    pub disabled: Option<String>,
    pub stopped: Option<String>,
}

/// What is closed, for all and for queues by name. A queue is open if it is so for all and for itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gates {
    pub all: Closed,
    named: BTreeMap<Box<str>, Closed>,
}

impl Gates {
    /// What is closed for jobs of that queue; the empty name is for jobs without one.
    pub fn of(&self, queue: &str) -> Closed {
        let own = self.named.get(queue).cloned().unwrap_or_default();
        Closed {
            disabled: self.all.disabled.clone().or(own.disabled),
            stopped: self.all.stopped.clone().or(own.stopped),
        }
    }

    /// Queues that are stopped themselves.
    pub fn stopped(&self) -> impl Iterator<Item = &str> {
        self.named.iter().filter(|(_, closed)| closed.stopped.is_some()).map(|(name, _)| &**name)
    }

    pub(crate) fn apply(&mut self, gate: &Gate) {
        let Some(queue) = &gate.queue else {
            self.all.turn(&gate.turn);
            // Who opens all means each of them as well.
            if matches!(gate.turn, Turn::Enable | Turn::Start) {
                self.named.values_mut().for_each(|closed| closed.turn(&gate.turn));
            }
            return;
        };
        self.named.entry(queue.clone()).or_default().turn(&gate.turn);
    }
}

impl Closed {
    fn turn(&mut self, turn: &Turn) {
        match turn {
            Turn::Enable => self.disabled = None,
            Turn::Disable { reason } => self.disabled = Some(reason.clone()),
            Turn::Start => self.stopped = None,
            Turn::Stop { reason } => self.stopped = Some(reason.clone()),
        }
    }
}

/// Active jobs of a queue.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Count {
    pub pending: u64,
    pub running: u64,
}
