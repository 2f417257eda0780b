//! What went wrong at the start, as the user reads it: the fact, and the way out.

use serde::{Deserialize, Serialize};

/// Two lines. Brokers send theirs to rank 0, so that a mistake of all is said once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what}")]
pub struct Mistake {
    pub what: String,
    pub hint: String,
}

impl Mistake {
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Mistake {
        Mistake { what: what.into(), hint: hint.into() }
    }

    /// Ends the start.
    pub fn print_error(&self) {
        eprintln!("error: {}\nhint: {}", self.what, self.hint);
    }

    /// Does not end it.
    pub fn print_warning(&self) {
        eprintln!("warning: {}\nhint: {}", self.what, self.hint);
    }
}

/// Why this process does not become a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoBoot {
    /// Has yet to be said.
    Mistake(Mistake),
    /// Another broker of the instance says it, or a signal ended us: leave with this code.
    Quiet { code: i32 },
}

impl From<Mistake> for NoBoot {
    fn from(mistake: Mistake) -> NoBoot {
        NoBoot::Mistake(mistake)
    }
}
