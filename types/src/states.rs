//! States and results of a job (RFC 21), and the words listings use for them (RFC 43).

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

use crate::SyntaxError;

/// Where a job is in its life (RFC 21), in the order it passes through.
#[derive(Debug, Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobState {
    /// Submitted, not yet checked.
    New,
    /// Waits for its dependencies.
    Depend,
    /// Waits for a priority.
    Priority,
    /// Waits for resources.
    Sched,
    /// Holds resources and runs.
    Run,
    /// Over, but something is still to be given back.
    Cleanup,
    /// Never changes again.
    Inactive,
}

impl JobState {
    /// Every state, in order.
    pub const ALL: [JobState; 7] = [
        JobState::New,
        JobState::Depend,
        JobState::Priority,
        JobState::Sched,
        JobState::Run,
        JobState::Cleanup,
        JobState::Inactive,
    ];

    /// The bit that stands for this state in Flux messages.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            JobState::New => 1,
            JobState::Depend => 2,
            JobState::Priority => 4,
            JobState::Sched => 8,
            JobState::Run => 16,
            JobState::Cleanup => 32,
            JobState::Inactive => 64,
        }
    }

    /// The state of a bit.
    #[must_use]
    pub fn from_bits(bits: u32) -> Option<JobState> {
        JobState::ALL.into_iter().find(|state| state.bits() == bits)
    }

    /// The one letter of narrow listings.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            JobState::New => 'N',
            JobState::Depend => 'D',
            JobState::Priority => 'P',
            JobState::Sched => 'S',
            JobState::Run => 'R',
            JobState::Cleanup => 'C',
            JobState::Inactive => 'I',
        }
    }

    /// The name, in capitals.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            JobState::New => "NEW",
            JobState::Depend => "DEPEND",
            JobState::Priority => "PRIORITY",
            JobState::Sched => "SCHED",
            JobState::Run => "RUN",
            JobState::Cleanup => "CLEANUP",
            JobState::Inactive => "INACTIVE",
        }
    }

    /// Waiting for resources or for something before them.
    #[must_use]
    pub fn is_pending(self) -> bool {
        self < JobState::Run
    }

    /// Running or cleaning up.
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(self, JobState::Run | JobState::Cleanup)
    }

    /// Not yet over.
    #[must_use]
    pub fn is_active(self) -> bool {
        self != JobState::Inactive
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for JobState {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<JobState, SyntaxError> {
        JobState::ALL
            .into_iter()
            .find(|state| text.eq_ignore_ascii_case(state.name()))
            .ok_or_else(|| SyntaxError::new("job state", text, 0, "no such state"))
    }
}

/// How a job ended (RFC 21).
#[derive(Debug, Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobResult {
    /// All tasks ended with 0.
    Completed,
    /// A task failed, or a fatal exception other than the two below was raised.
    Failed,
    /// Ended by a `cancel` exception.
    Canceled,
    /// Ended by a `timeout` exception.
    Timeout,
}

impl JobResult {
    /// Every result, in order of their bits.
    pub const ALL: [JobResult; 4] =
        [JobResult::Completed, JobResult::Failed, JobResult::Canceled, JobResult::Timeout];

    /// The bit that stands for this result in Flux messages.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            JobResult::Completed => 1,
            JobResult::Failed => 2,
            JobResult::Canceled => 4,
            JobResult::Timeout => 8,
        }
    }

    /// The result of a bit.
    #[must_use]
    pub fn from_bits(bits: u32) -> Option<JobResult> {
        JobResult::ALL.into_iter().find(|result| result.bits() == bits)
    }

    /// The two letters of narrow listings.
    #[must_use]
    pub const fn abbrev(self) -> &'static str {
        match self {
            JobResult::Completed => "CD",
            JobResult::Failed => "F",
            JobResult::Canceled => "CA",
            JobResult::Timeout => "TO",
        }
    }

    /// The name, in capitals.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            JobResult::Completed => "COMPLETED",
            JobResult::Failed => "FAILED",
            JobResult::Canceled => "CANCELED",
            JobResult::Timeout => "TIMEOUT",
        }
    }
}

impl fmt::Display for JobResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for JobResult {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<JobResult, SyntaxError> {
        JobResult::ALL
            .into_iter()
            .find(|result| text.eq_ignore_ascii_case(result.name()))
            .ok_or_else(|| SyntaxError::new("job result", text, 0, "no such result"))
    }
}

/// One word for a job in a listing: its state while it is active, its result afterwards.
#[derive(Debug, Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Status {
    /// Still on its way.
    State(JobState),
    /// Over, and how.
    Result(JobResult),
}

impl Status {
    /// The word for a job in this state; an inactive one should have a result.
    #[must_use]
    pub fn new(state: JobState, result: Option<JobResult>) -> Status {
        match result {
            Some(result) if state == JobState::Inactive => Status::Result(result),
            _ => Status::State(state),
        }
    }

    /// The word, in capitals.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Status::State(state) => state.name(),
            Status::Result(result) => result.name(),
        }
    }

    /// The one or two letters of narrow listings.
    #[must_use]
    pub const fn abbrev(self) -> &'static str {
        match self {
            Status::State(JobState::New) => "N",
            Status::State(JobState::Depend) => "D",
            Status::State(JobState::Priority) => "P",
            Status::State(JobState::Sched) => "S",
            Status::State(JobState::Run) => "R",
            Status::State(JobState::Cleanup) => "C",
            Status::State(JobState::Inactive) => "I",
            Status::Result(result) => result.abbrev(),
        }
    }

    /// The states and results a filter word stands for: a state, a result, or one of the virtual states
    /// `pending`, `running`, `active`, `inactive` (RFC 43). As bits of states and bits of results.
    ///
    /// # Errors
    /// When the word is none of these.
    pub fn filter(word: &str) -> Result<(u32, u32), SyntaxError> {
        let bits = |test: fn(JobState) -> bool| {
            JobState::ALL.into_iter().filter(|state| test(*state)).map(JobState::bits).sum()
        };
        match word.to_ascii_lowercase().as_str() {
            "pending" => return Ok((bits(|state| state.is_pending() && state != JobState::New), 0)),
            "running" => return Ok((bits(JobState::is_running), 0)),
            "active" => return Ok((bits(|state| state.is_active() && state != JobState::New), 0)),
            _ => {}
        }
        if let Ok(state) = word.parse::<JobState>() {
            return Ok((state.bits(), 0));
        }
        word.parse::<JobResult>()
            .map(|result| (0, result.bits()))
            .map_err(|_| SyntaxError::new("job status", word, 0, "no such state or result"))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
