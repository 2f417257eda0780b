//! No core or GPU is held by two jobs: from `alloc` to the `release` of its rank it is one job's. What jobs within that one
//! have is its own all the time.

use super::{Broken, broken};
use flurm_types::{Idset, JobId, R};
use flurm_wire::fact::{Fact, JobFact};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct NoOverlap {
    held: BTreeMap<JobId, R>,
    /// Of jobs within others.
    inner: BTreeMap<JobId, (JobId, R)>,
    within: BTreeMap<JobId, JobId>,
}

impl NoOverlap {
    /// A record is all or nothing, and has one fact for each job: what is given back in it comes first.
    pub fn committed(&mut self, facts: &[Fact]) -> Result<(), Broken> {
        let jobs =
            || facts.iter().filter_map(|fact| if let Fact::Job(fact) = fact { Some(fact) } else { None });
        jobs().for_each(|fact| self.note_within(fact));
        jobs().for_each(|fact| self.given_back(fact));
        jobs().try_for_each(|fact| self.given(fact))?;
        jobs().for_each(|fact| self.given_back(fact));
        self.inner.iter().try_for_each(|(id, (outer, r))| match self.held.get(outer) {
            Some(theirs) if r.is_subset(theirs) => Ok(()),
            theirs => broken("no_overlap", format!("{id} has {r:?} of {outer}, which has {theirs:?}")),
        })
    }

    fn note_within(&mut self, fact: &JobFact) {
        let text = fact.spec.as_ref().map_or("", |spec| &spec.jobspec);
        if text.contains("\"within\"") {
            let spec: serde_json::Value = serde_json::from_str(text).expect("a jobspec is JSON");
            let outer = &spec["attributes"]["system"]["within"];
            let outer = serde_json::from_value(outer.clone()).expect("the id of a job");
            self.within.insert(fact.id, outer);
        }
    }

    fn given(&mut self, fact: &JobFact) -> Result<(), Broken> {
        if !fact.events.iter().any(|event| event.name == "alloc") {
            return Ok(());
        }
        let Some(r) = &fact.r else { return broken("no_overlap", format!("{}: alloc without R", fact.id)) };
        if let Some(outer) = self.within.get(&fact.id) {
            self.inner.insert(fact.id, (*outer, (**r).clone()));
            return Ok(());
        }
        if let Some((other, theirs)) = self.held.iter().find(|(_, held)| !held.is_disjoint(r)) {
            let text = format!("{} was given {r:?}, of which {other} holds {theirs:?}", fact.id);
            return broken("no_overlap", text);
        }
        self.held.insert(fact.id, (**r).clone());
        Ok(())
    }

    fn given_back(&mut self, fact: &JobFact) {
        for event in &fact.events {
            let inner = self.inner.get_mut(&fact.id).map(|(_, r)| r);
            let Some(r) = self.held.get_mut(&fact.id).or(inner) else { return };
            match event.name.as_str() {
                "release" => {
                    let ranks = event.context.as_ref().and_then(|c| c["ranks"].as_str()).unwrap_or_default();
                    let ranks: Idset = ranks.parse().unwrap_or_default();
                    *r = r.restrict(&r.ranks().difference(&ranks));
                }
                "free" => {
                    self.held.remove(&fact.id);
                    self.inner.remove(&fact.id);
                }
                _ => {}
            }
        }
    }
}
