//! Nothing comes after `clean`: INACTIVE is final.

use super::{Broken, broken};
use flurm_types::JobId;
use flurm_wire::fact::JobFact;
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub struct InactiveFinal {
    over: BTreeSet<JobId>,
}

impl InactiveFinal {
    pub fn committed(&mut self, fact: &JobFact) -> Result<(), Broken> {
        for event in &fact.events {
            // A memo says something about a job; it changes nothing.
            if self.over.contains(&fact.id) && event.name != "memo" {
                return broken("inactive_final", format!("{}: {} after clean", fact.id, event.name));
            }
            if event.name == "clean" {
                self.over.insert(fact.id);
            }
        }
        Ok(())
    }
}
