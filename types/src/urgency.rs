//! How much a user wants a job to run (RFC 30).

use crate::SyntaxError;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Urgency of a job (RFC 30): 0 holds it, 31 expedites it.
#[derive(Debug, Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Urgency(u8);

impl Urgency {
    /// The job waits until its urgency is raised.
    pub const HOLD: Urgency = Urgency(0);
    /// What a job gets when nobody says otherwise; also the highest a guest may ask for.
    pub const DEFAULT: Urgency = Urgency(16);
    /// Before every job that is not expedited.
    pub const EXPEDITE: Urgency = Urgency(31);

    /// The urgency with this number, if it is one of 0–31.
    #[must_use]
    pub const fn new(value: u8) -> Option<Urgency> {
        if value <= Urgency::EXPEDITE.0 { Some(Urgency(value)) } else { None }
    }

    /// The number, 0–31.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Urgency {
    fn default() -> Urgency {
        Urgency::DEFAULT
    }
}

impl fmt::Display for Urgency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const RULE: &str = "expected 0 to 31, `hold`, `default` or `expedite`";

impl FromStr for Urgency {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Urgency, SyntaxError> {
        match text {
            "hold" => Ok(Urgency::HOLD),
            "default" => Ok(Urgency::DEFAULT),
            "expedite" => Ok(Urgency::EXPEDITE),
            number => number
                .parse()
                .ok()
                .and_then(Urgency::new)
                .ok_or_else(|| SyntaxError::new("urgency", text, 0, RULE)),
        }
    }
}

impl TryFrom<u64> for Urgency {
    type Error = SyntaxError;

    fn try_from(value: u64) -> Result<Urgency, SyntaxError> {
        u8::try_from(value)
            .ok()
            .and_then(Urgency::new)
            .ok_or_else(|| SyntaxError::new("urgency", &value.to_string(), 0, RULE))
    }
}

impl From<Urgency> for u64 {
    fn from(urgency: Urgency) -> u64 {
        u64::from(urgency.0)
    }
}
