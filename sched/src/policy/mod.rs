//! The orders in which pending jobs are tried, one a file.
//!
//! A policy is a function that is called for a cycle. It goes through the queue, tries jobs, and says of each what
//! became of it by the methods of [`Sched`](crate::Sched): `start`, `deny`, `wait`. It stops when `spent` says so; whatever it has
//! not tried is tried in the next cycle.

pub(crate) mod conservative;
pub(crate) mod easy;
pub(crate) mod fcfs;
pub(crate) mod hybrid;
pub(crate) mod sjf;

use std::fmt;
use std::str::FromStr;

/// The order in which pending jobs are tried.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
pub enum Policy {
    /// First come, first served, by priority; a job that must wait holds up all behind it.
    #[default]
    Fcfs,
    /// The shortest job first; otherwise as first come, first served.
    Sjf,
    /// Jobs may pass the first one that must wait, as long as it does not start later by that.
    Easy,
    /// Every job is promised a start when it comes, and nobody passes it if that would break the promise.
    Conservative,
    /// So many jobs that must wait are promised a start; those behind them may pass if all promises hold.
    Hybrid {
        /// How many.
        depth: u32,
    },
}

/// Promises of `hybrid` when nobody says how many.
const DEPTH: u32 = 32;

/// The words, for the text that says which are known.
const KNOWN: &str = "fcfs, sjf, easy, conservative, hybrid, hybrid:DEPTH";

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Policy, String> {
        let depth = |digits: &str| digits.parse().ok().filter(|depth| *depth > 0);
        match (text, text.strip_prefix("hybrid:").map(depth)) {
            ("fcfs", _) => Ok(Policy::Fcfs),
            ("sjf", _) => Ok(Policy::Sjf),
            ("easy", _) => Ok(Policy::Easy),
            ("conservative", _) => Ok(Policy::Conservative),
            ("hybrid", _) => Ok(Policy::Hybrid { depth: DEPTH }),
            (_, Some(Some(depth))) => Ok(Policy::Hybrid { depth }),
            (_, Some(None)) => Err(format!("`{text}`: the depth of hybrid is a number of at least 1")),
            (_, None) => Err(format!("no queue policy is called `{text}` (known: {KNOWN})")),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Policy::Fcfs => f.write_str("fcfs"),
            Policy::Sjf => f.write_str("sjf"),
            Policy::Easy => f.write_str("easy"),
            Policy::Conservative => f.write_str("conservative"),
            Policy::Hybrid { depth } => write!(f, "hybrid:{depth}"),
        }
    }
}
