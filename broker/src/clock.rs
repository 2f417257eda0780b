//! The only place where the broker reads a clock.

use flurm_types::{Now, Timestamp};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time counted from its creation, and the wall clock.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Clock {
    zero: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { zero: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        // 2^64 milliseconds are not reached.
        let mono_ms = u64::try_from(self.zero.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { mono_ms, wall: wall() }
    }

    /// The instant at which [`Clock::now`] shows `mono_ms`.
    pub(crate) fn at(&self, mono_ms: u64) -> Instant {
        // A time that the system cannot represent is never.
        self.zero
            .checked_add(Duration::from_millis(mono_ms))
            .unwrap_or_else(|| self.zero + Duration::from_secs(u64::from(u32::MAX)))
    }
}

/// The wall clock. A clock before 1970 counts as 1970.
pub(crate) fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
