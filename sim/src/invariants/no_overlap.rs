//! No core or GPU is held by two jobs: from `alloc` to the `release` of its rank it is one job's.

use super::{Broken, broken};
use flurm_types::{Idset, JobId, R};
use flurm_wire::fact::{Fact, JobFact};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct NoOverlap {
    held: BTreeMap<JobId, R>,
}

impl NoOverlap {
    /// A record is all or nothing, and has one fact for each job: what is given back in it comes first.
    pub fn committed(&mut self, facts: &[Fact]) -> Result<(), Broken> {
        let jobs =
            || facts.iter().filter_map(|fact| if let Fact::Job(fact) = fact { Some(fact) } else { None });
        jobs().try_for_each(|fact| self.given_back(fact))?;
        jobs().try_for_each(|fact| self.given(fact))?;
        jobs().try_for_each(|fact| self.given_back(fact))
    }

    fn given(&mut self, fact: &JobFact) -> Result<(), Broken> {
        if !fact.events.iter().any(|event| event.name == "alloc") {
            return Ok(());
        }
        let Some(r) = &fact.r else { return broken("no_overlap", format!("{}: alloc without R", fact.id)) };
        if let Some((other, theirs)) = self.held.iter().find(|(_, held)| !held.is_disjoint(r)) {
            let text = format!("{} was given {r:?}, of which {other} holds {theirs:?}", fact.id);
            return broken("no_overlap", text);
        }
        self.held.insert(fact.id, (**r).clone());
        Ok(())
    }

    fn given_back(&mut self, fact: &JobFact) -> Result<(), Broken> {
        for event in &fact.events {
            let Some(r) = self.held.get_mut(&fact.id) else { return Ok(()) };
            match event.name.as_str() {
                "release" => {
                    let ranks = event.context.as_ref().and_then(|c| c["ranks"].as_str()).unwrap_or_default();
                    let ranks: Idset = ranks.parse().unwrap_or_default();
                    *r = r.restrict(&r.ranks().difference(&ranks));
                }
                "free" => {
                    self.held.remove(&fact.id);
                }
                _ => {}
            }
        }
        Ok(())
    }
}
