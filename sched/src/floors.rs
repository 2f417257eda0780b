//! Starts before which it is of no use to look.
//!
//! While nothing is given back, what is free at any time only gets less. So a job that asks for the same as another one
//! and stays as long or longer starts no earlier than that one, and a search that was cut short goes on where it was.

use crate::CYCLE_VISITS_MAX;
use crate::shapes::{Length, Shape};
use flurm_types::{JobId, Timestamp};
use std::collections::BTreeMap;

/// Lengths of a shape that are looked up, the longest first.
const LOOKED_UP_MAX: usize = 8;

/// What is known until something is given back.
#[derive(Debug, Default)]
pub(crate) struct Floors {
    known: BTreeMap<(Shape, Length), Timestamp>,
    /// Whose search was cut short last, and how often. That outlasts what is known.
    cut: Option<(JobId, usize)>,
}

impl Floors {
    /// Something was given back.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
    }

    /// No such job starts before this, if that is known.
    pub(crate) fn of(&self, shape: Shape, length: Length) -> Timestamp {
        // Who says no length takes what time there is, which may be less than others need.
        let least = if length == Length::MAX { length } else { 0 };
        let shorter = self.known.range((shape, least)..=(shape, length)).rev().take(LOOKED_UP_MAX);
        shorter.map(|(_, start)| *start).max().unwrap_or(Timestamp::ZERO)
    }

    /// No such job starts before this.
    pub(crate) fn set(&mut self, shape: Shape, length: Length, start: Timestamp) {
        self.known.insert((shape, length), start);
    }

    /// How much a cycle may visit for the search of this job. One that is cut short again and again, since things are
    /// given back all the time, may go further each time.
    pub(crate) fn visits_max(&self, id: JobId) -> usize {
        let cuts = self.cut.filter(|(cut, _)| *cut == id).map_or(0, |(_, cuts)| cuts);
        CYCLE_VISITS_MAX + CYCLE_VISITS_MAX / 8 * cuts
    }

    /// The search of this job was cut short.
    pub(crate) fn cut(&mut self, id: JobId) {
        let cuts = self.cut.filter(|(cut, _)| *cut == id).map_or(0, |(_, cuts)| cuts);
        self.cut = Some((id, cuts + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stays_longer_starts_no_earlier() {
        let at = |s: i64| Timestamp(s);
        let mut floors = Floors::default();
        floors.set(1, 50, at(7));
        floors.set(1, 80, at(5));
        floors.set(2, 10, at(9));
        let starts = [(1, 49), (1, 50), (1, 90), (1, Length::MAX), (2, 9), (2, 10), (3, 99)];
        assert_eq!(starts.map(|(shape, length)| floors.of(shape, length).0), [0, 7, 7, 0, 0, 9, 0]);
        floors.clear();
        assert_eq!(floors.of(1, 90), Timestamp::ZERO);
    }
}
