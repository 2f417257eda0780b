//! What must never be otherwise. One file each; a check sees committed facts, or what leaves a broker, as it happens.

pub mod all_end;
pub mod event_order;
pub mod held;
pub mod inactive_final;
pub mod no_overlap;
pub mod nothing_lost;
pub mod once;
pub mod replay;

use flurm_wire::Message;
use flurm_wire::fact::{Fact, JobFact};

/// A broken invariant: its name and what was seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broken {
    pub invariant: &'static str,
    pub text: String,
}

pub(crate) fn broken(invariant: &'static str, text: String) -> Result<(), Broken> {
    Err(Broken { invariant, text })
}

/// The checks that go on during a run.
#[derive(Debug, Default)]
pub struct Checks {
    pub no_overlap: no_overlap::NoOverlap,
    pub event_order: event_order::EventOrder,
    pub inactive_final: inactive_final::InactiveFinal,
    pub held: held::Held,
}

impl Checks {
    /// A record is durable.
    pub fn committed(&mut self, facts: &[Fact]) -> Result<(), Broken> {
        self.no_overlap.committed(facts)?;
        for fact in facts {
            self.held.committed(fact);
            if let Fact::Job(fact) = fact {
                self.job(fact)?;
            }
        }
        Ok(())
    }

    fn job(&mut self, fact: &JobFact) -> Result<(), Broken> {
        self.event_order.committed(fact)?;
        self.inactive_final.committed(fact)
    }

    /// A message leaves a broker.
    pub fn sent(&mut self, message: &Message) -> Result<(), Broken> {
        self.held.sent(message)
    }
}
