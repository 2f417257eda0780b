//! Points in time, as values. Nobody on this floor reads a clock: time is handed in.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;

/// Microseconds since the Unix epoch. In JSON: seconds with a fraction.
///
/// Microseconds fit an `f64` of seconds without loss until the year 2255, so a timestamp written to an
/// eventlog comes back the same.
#[derive(Debug, Copy, Clone, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Timestamp(pub i64);

const MICROS_PER_SEC: f64 = 1e6;

impl Timestamp {
    /// The epoch itself; in [`R`](crate::R) and eventlogs it stands for "not set".
    pub const ZERO: Timestamp = Timestamp(0);

    /// From seconds since the Unix epoch, rounded to the microsecond. Saturates; not-a-number is zero.
    #[must_use]
    pub fn from_secs_f64(secs: f64) -> Timestamp {
        // A float-to-int `as` saturates and maps NaN to zero, which is what is promised above.
        Timestamp((secs * MICROS_PER_SEC).round() as i64)
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / MICROS_PER_SEC
    }

    /// Is this the "not set" value?
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// This time plus some seconds (may be negative). `None` when the sum cannot be represented.
    #[must_use]
    pub fn checked_add_secs(self, secs: f64) -> Option<Timestamp> {
        let micros = (secs * MICROS_PER_SEC).round();
        // 2^63 is the first float past the largest i64; a NaN fails both comparisons.
        let bound = i64::MAX as f64;
        if micros >= -bound && micros < bound {
            self.0.checked_add(micros as i64).map(Timestamp)
        } else {
            None
        }
    }

    /// Seconds from `earlier` to this time; negative if `earlier` is the later one.
    #[must_use]
    pub fn secs_since(self, earlier: Timestamp) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / MICROS_PER_SEC
    }
}

impl fmt::Display for Timestamp {
    /// Seconds with six decimals, as eventlogs show them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_secs_f64())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let secs = f64::deserialize(deserializer)?;
        Timestamp::ZERO
            .checked_add_secs(secs)
            .ok_or_else(|| D::Error::custom("a timestamp is a number of seconds since 1970"))
    }
}

/// The only clock an engine ever sees: what the broker read just before this step.
#[derive(Debug, Copy, Clone, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct Now {
    /// Milliseconds of a clock that never goes back; only differences mean anything.
    pub mono_ms: u64,
    /// Wall clock, for what people and other programs read.
    pub wall: Timestamp,
}
