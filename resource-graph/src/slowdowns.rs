//! Who hinders whom how much: run time beside another by run time alone, by what jobs stress.

use std::collections::BTreeMap;

/// How much longer jobs run beside others, by what they stress.
#[derive(Debug, Clone, PartialEq)]
pub struct SlowDowns {
    /// (who, beside whom) to run time beside it by run time alone.
    pairs: BTreeMap<(String, String), f64>,
    /// For pairs that nobody knows.
    unknown: f64,
}

impl Default for SlowDowns {
    /// Guesses for halves of a socket: memory bandwidth is shared, cores and their caches mostly are not.
    fn default() -> SlowDowns {
        let mut table = SlowDowns { pairs: BTreeMap::new(), unknown: 1.3 };
        for (one, beside, factor) in [
            ("compute", "compute", 1.1),
            ("compute", "memory", 1.1),
            ("compute", "io", 1.02),
            ("memory", "compute", 1.15),
            ("memory", "memory", 1.9),
            ("memory", "io", 1.1),
            ("io", "compute", 1.05),
            ("io", "memory", 1.1),
            ("io", "io", 1.5),
        ] {
            table.set(one, beside, factor);
        }
        table
    }
}

impl SlowDowns {
    /// What is known from now on of a class beside another. A factor below 1 or not a number is taken as 1.
    pub fn set(&mut self, one: &str, beside: &str, factor: f64) {
        self.pairs.insert((one.to_owned(), beside.to_owned()), factor.max(1.0));
    }

    /// Run time beside the other by run time alone.
    #[must_use]
    pub fn of(&self, one: &str, beside: &str) -> f64 {
        self.pairs.get(&(one.to_owned(), beside.to_owned())).copied().unwrap_or(self.unknown)
    }

    /// The work that two do together in the time in which one would do one alone: at most 2, and with less than 1 they
    /// had better run one after the other.
    #[must_use]
    pub fn gain(&self, one: &str, other: &str) -> f64 {
        1.0 / self.of(one, other) + 1.0 / self.of(other, one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_waste_least_gain_most() {
        let table = SlowDowns::default();
        assert!(table.gain("compute", "memory") > table.gain("compute", "compute") - 0.1);
        assert!(table.gain("memory", "memory") < table.gain("memory", "compute"));
        let mut own = SlowDowns::default();
        own.set("memory", "memory", 2.5);
        assert!(own.gain("memory", "memory") < 1.0);
        own.set("x", "y", 0.1);
        assert_eq!((own.of("x", "y"), own.of("y", "x")), (1.0, 1.3));
    }
}
