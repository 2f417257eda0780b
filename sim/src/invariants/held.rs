//! Nothing leaves a broker before the fact behind it is committed: no start without a durable `alloc`, no id without
//! a durable `submit`, no news of a job's end before its end, no acknowledged key that could be lost.

use super::{Broken, broken};
use flurm_types::JobId;
use flurm_wire::fact::{Fact, KvsOp};
use flurm_wire::job::{Await, Awaited, Submit, Submitted};
use flurm_wire::kvs::{self, Got, Node};
use flurm_wire::shell::StartHere;
use flurm_wire::{Kind, Message, Topic};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct Held {
    submitted: BTreeSet<JobId>,
    allocated: BTreeSet<JobId>,
    over: BTreeSet<JobId>,
    /// Values that a key has had.
    values: BTreeMap<String, Vec<serde_json::Value>>,
    commits: u64,
}

impl Held {
    pub fn committed(&mut self, fact: &Fact) {
        match fact {
            Fact::Job(fact) => {
                for event in &fact.events {
                    let set = match event.name.as_str() {
                        "submit" => &mut self.submitted,
                        "alloc" => &mut self.allocated,
                        "clean" => &mut self.over,
                        _ => continue,
                    };
                    set.insert(fact.id);
                }
            }
            Fact::Kvs(fact) => {
                self.commits += 1;
                for op in &fact.ops {
                    if let KvsOp::Put { key, value } = op {
                        self.values.entry(key.clone()).or_default().push(value.clone());
                    }
                }
            }
            Fact::Resource(_) => {}
        }
    }

    pub fn has_submitted(&self, id: JobId) -> bool {
        self.submitted.contains(&id)
    }

    pub fn jobs(&self) -> impl Iterator<Item = JobId> + '_ {
        self.submitted.iter().copied()
    }

    pub fn is_over(&self, id: JobId) -> bool {
        self.over.contains(&id)
    }

    pub fn last_value(&self, key: &str) -> Option<&serde_json::Value> {
        self.values.get(key)?.last()
    }

    pub fn sent(&mut self, m: &Message) -> Result<(), Broken> {
        if m.error.is_some() || m.payload.is_none() {
            return Ok(());
        }
        let early = |what: String| broken("held", format!("{what} left before it was committed"));
        match (m.kind, &*m.topic) {
            (Kind::Request, StartHere::NAME) => {
                let StartHere(start) = m.body().map_err(unreadable)?;
                match start.jobs.iter().find(|job| !self.allocated.contains(&job.id)) {
                    Some(job) => early(format!("the start of {}", job.id)),
                    None => Ok(()),
                }
            }
            (Kind::Response, Submit::NAME) => {
                let Submitted { jobs } = m.body().map_err(unreadable)?;
                match jobs.iter().flatten().find(|id| !self.submitted.contains(id)) {
                    Some(id) => early(format!("the id {id}")),
                    None => Ok(()),
                }
            }
            (Kind::Response, Await::NAME) => {
                let Awaited { jobs } = m.body().map_err(unreadable)?;
                match jobs.iter().find(|job| !self.over.contains(&job.id)) {
                    Some(job) => early(format!("the end of {}", job.id)),
                    None => Ok(()),
                }
            }
            (Kind::Response, kvs::Commit::NAME) => {
                let kvs::Committed { version } = m.body().map_err(unreadable)?;
                if version > self.commits { early(format!("version {version}")) } else { Ok(()) }
            }
            (Kind::Response, kvs::Get::NAME) => {
                let got: Got = m.body().map_err(unreadable)?;
                let known = |value| self.values.values().any(|values| values.contains(value));
                match &got.node {
                    Some(Node::Value(value)) if value.is_u64() && !known(value) => {
                        early(format!("value {value}"))
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

fn unreadable(error: flurm_wire::WireError) -> Broken {
    Broken { invariant: "held", text: error.text }
}
