//! Which jobs a number of Slurm's means: it never means another one, so what was found once is not looked for again.

use flurm_types::JobId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Numbers that are kept; then all are forgotten, and found again when they are asked for.
const KEPT_MAX: usize = 1 << 18;

/// A job behind its number, all jobs of an array behind that of the first.
#[derive(Debug, Default)]
pub struct Numbers(Mutex<BTreeMap<u32, Vec<JobId>>>);

impl Numbers {
    pub fn find(&self, number: u32) -> Option<Vec<JobId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// Of an array only once all of it is submitted.
    pub fn note(&self, number: u32, ids: Vec<JobId>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT_MAX {
            known.clear();
        }
        known.insert(number, ids);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_found() {
        let numbers = Numbers::default();
        numbers.note(7, vec![JobId(70), JobId(71)]);
        assert_eq!((numbers.find(7), numbers.find(8)), (Some(vec![JobId(70), JobId(71)]), None));
    }
}
