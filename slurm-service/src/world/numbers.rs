//! Which jobs a number of Slurm's means: it never means another one, so what was found once is not looked for again.

use flurm_types::JobId;
use flurm_wire::job::JournalEvent;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Numbers that are kept; then all are forgotten, and found again when they are asked for.
const KEPT_MAX: usize = 1 << 18;

#[derive(Debug, Default)]
pub struct Numbers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// A job behind its number, all jobs of an array behind that of the first.
    all: BTreeMap<u32, Vec<JobId>>,
    /// As the journal has it: of an array the first.
    first: BTreeMap<u32, JobId>,
}

impl Numbers {
    fn known(&self) -> MutexGuard<'_, Known> {
        // What is in there is complete whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn find(&self, number: u32) -> Option<Vec<JobId>> {
        self.known().all.get(&number).cloned()
    }

    /// The job of this number; others may be meant as well, if it is in an array.
    pub fn first(&self, number: u32) -> Option<JobId> {
        self.known().first.get(&number).copied()
    }

    /// Takes in what happens to a job.
    pub fn submitted(&self, event: &JournalEvent) {
        let number = |context: &Value| context.get("number")?.as_u64()?.try_into().ok();
        if event.entry.name != "submit" {
            return;
        }
        if let Some(number) = event.entry.context.as_ref().and_then(number) {
            let mut known = self.known();
            if known.first.len() >= KEPT_MAX {
                known.first.clear();
            }
            known.first.insert(number, event.id);
        }
    }

    /// Of an array only once all of it is submitted.
    pub fn note(&self, number: u32, ids: Vec<JobId>) {
        let mut known = self.known();
        if known.all.len() >= KEPT_MAX {
            known.all.clear();
        }
        known.all.insert(number, ids);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_noted_is_found() {
        let numbers = Numbers::default();
        numbers.note(7, vec![JobId(70), JobId(71)]);
        assert_eq!((numbers.find(7), numbers.find(8)), (Some(vec![JobId(70), JobId(71)]), None));
    }

    #[test]
    fn the_journal_says_which_job_has_a_number() {
        let numbers = Numbers::default();
        let event = |name: &str| {
            let entry = json!({"timestamp": 1.0, "name": name, "context": {"number": 9}});
            serde_json::from_value(json!({"index": 1, "id": JobId(90), "entry": entry})).unwrap()
        };
        numbers.submitted(&event("validate"));
        assert_eq!(numbers.first(9), None);
        numbers.submitted(&event("submit"));
        assert_eq!((numbers.first(9), numbers.find(9)), (Some(JobId(90)), None));
    }
}
