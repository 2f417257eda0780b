//! Co-scheduling groups: who has come, and who is missing.
//!
//! Until all are there, the jobs of a group wait here and are in nobody's way. Then the first of them stands in the queue
//! for all, and whatever a policy does with it is done to all at once. One that is canceled sends the others back.

use crate::{SchedOutput, queue::Wish};
use flurm_jobspec::{Group, Jobspec};
use flurm_resource_graph::Unit;
use flurm_types::JobId;
use serde_json::json;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What an entry of the queue wants: what one job does, or what all of a group do.
#[derive(Debug, Clone)]
pub(crate) enum Wants {
    Job(Arc<Jobspec>),
    Group(Arc<[Arc<Jobspec>]>),
}

impl<'a> From<&'a Wants> for Unit<'a> {
    fn from(wants: &'a Wants) -> Unit<'a> {
        match wants {
            Wants::Job(job) => Unit::Job(job),
            Wants::Group(jobs) => Unit::Group(jobs),
        }
    }
}

/// The group that a job is to be in.
pub(crate) fn group_of(jobspec: &Jobspec) -> Option<&Group> {
    jobspec.attributes().cosched.as_ref()?.group.as_ref()
}

/// The jobs under one name. More may come than it takes: those are the next group of that name.
#[derive(Debug)]
struct Party {
    size: u32,
    lane: usize,
    /// By submission.
    waiting: Vec<Wish>,
    /// Complete ones in the queue.
    complete: usize,
}

/// A group that is complete.
#[derive(Debug)]
struct Complete {
    name: String,
    members: Vec<Wish>,
    wants: Arc<[Arc<Jobspec>]>,
}

/// Where a member is.
#[derive(Debug, Clone)]
enum Place {
    /// In the party of this name.
    Waits(String),
    /// In the queue, where this job stands for it.
    Behind(JobId),
}

#[derive(Debug, Default)]
pub(crate) struct Groups {
    parties: BTreeMap<String, Party>,
    /// By the job that stands in the queue.
    complete: BTreeMap<JobId, Complete>,
    places: BTreeMap<JobId, Place>,
    /// Who could not be taken in, and why.
    refused: BTreeMap<JobId, String>,
    /// Those that wait and have not been told.
    untold: BTreeSet<JobId>,
}

/// What follows for the queue when somebody leaves.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// This one no longer stands for a group.
    pub(crate) out: Option<JobId>,
    /// This one does now.
    pub(crate) into: Option<Wish>,
}

impl Groups {
    /// Could such a job be taken in with those that wait?
    ///
    /// # Errors
    /// In what it disagrees with them.
    pub(crate) fn check(&self, jobspec: &Jobspec, lane: usize) -> Result<(), String> {
        let Some(group) = group_of(jobspec) else { return Ok(()) };
        let Some(party) = self.parties.get(&group.name) else { return Ok(()) };
        let (name, size) = (&group.name, party.size);
        if size != group.size {
            let said = group.size;
            return Err(format!("co-scheduling group {name} is of {size} jobs, this one says {said}"));
        }
        if party.lane != lane {
            return Err(format!("the others of co-scheduling group {name} are in another queue"));
        }
        let nodes = |jobspec: &Jobspec| jobspec.request().and_then(|request| request.nodes);
        let others = party.waiting.iter().find_map(|wish| nodes(&wish.jobspec));
        match (nodes(jobspec), others) {
            (Some(own), Some(others)) if own != others => {
                let others = format!("co-scheduling group {name} is on nodes of its own: {others}");
                Err(format!("{others} are asked for, this job asks for {own}"))
            }
            _ => Ok(()),
        }
    }

    /// Takes a job in. Returns the one that is to stand in the queue, if all are there now.
    pub(crate) fn join(&mut self, wish: Wish) -> Option<Wish> {
        let group = group_of(&wish.jobspec)?;
        if let Err(why) = self.check(&wish.jobspec, wish.lane) {
            self.refused.insert(wish.id, why);
            return None;
        }
        let name = group.name.clone();
        let new = Party { size: group.size, lane: wish.lane, waiting: Vec::new(), complete: 0 };
        let party = self.parties.entry(name.clone()).or_insert(new);
        self.places.insert(wish.id, Place::Waits(name.clone()));
        self.untold.insert(wish.id);
        party.waiting.push(wish);
        self.close(&name)
    }

    /// Makes a group of those that wait if there are enough.
    fn close(&mut self, name: &str) -> Option<Wish> {
        let party = self.parties.get_mut(name)?;
        party.waiting.sort_by_key(|wish| (wish.t_submit, wish.id));
        if party.waiting.len() < party.size as usize {
            return None;
        }
        let mut members: Vec<Wish> = party.waiting.drain(..party.size as usize).collect();
        party.complete += 1;
        members.sort_by_key(|wish| (Reverse(wish.priority), wish.t_submit, wish.id));
        let first = members[0].clone();
        for member in &members {
            self.untold.remove(&member.id);
            self.places.insert(member.id, Place::Behind(first.id));
        }
        let wants = members.iter().map(|wish| Arc::clone(&wish.jobspec)).collect();
        self.complete.insert(first.id, Complete { name: name.to_owned(), members, wants });
        Some(first)
    }

    /// Is this job here, in the queue or not?
    pub(crate) fn has(&self, id: JobId) -> bool {
        self.places.contains_key(&id) || self.refused.contains_key(&id)
    }

    /// The wish of a job that is here.
    pub(crate) fn wish(&self, id: JobId) -> Option<&Wish> {
        let list = match self.places.get(&id)? {
            Place::Waits(name) => &self.parties.get(name)?.waiting,
            Place::Behind(first) => &self.complete.get(first)?.members,
        };
        list.iter().find(|wish| wish.id == id)
    }

    /// A job goes. Those that it was in the queue with wait again.
    pub(crate) fn leave(&mut self, id: JobId) -> Left {
        self.refused.remove(&id);
        self.untold.remove(&id);
        let (name, out) = match self.places.remove(&id) {
            None => return Left::default(),
            Some(Place::Waits(name)) => (name, None),
            Some(Place::Behind(first)) => {
                let Some(group) = self.complete.remove(&first) else { return Left::default() };
                for member in group.members.iter().filter(|member| member.id != id) {
                    self.places.insert(member.id, Place::Waits(group.name.clone()));
                    self.untold.insert(member.id);
                }
                if let Some(party) = self.parties.get_mut(&group.name) {
                    party.complete -= 1;
                    party.waiting.extend(group.members);
                }
                (group.name, Some(first))
            }
        };
        if let Some(party) = self.parties.get_mut(&name) {
            party.waiting.retain(|wish| wish.id != id);
        }
        let into = self.close(&name);
        self.tidy(&name);
        Left { out, into }
    }

    /// The group that this job stood for is no longer in the queue: it runs, or never will. Returns its members.
    pub(crate) fn remove(&mut self, first: JobId) -> Option<Vec<JobId>> {
        let group = self.complete.remove(&first)?;
        let members: Vec<JobId> = group.members.iter().map(|member| member.id).collect();
        for id in &members {
            self.places.remove(id);
        }
        if let Some(party) = self.parties.get_mut(&group.name) {
            party.complete -= 1;
        }
        self.tidy(&group.name);
        Some(members)
    }

    fn tidy(&mut self, name: &str) {
        if self.parties.get(name).is_some_and(|party| party.complete == 0 && party.waiting.is_empty()) {
            self.parties.remove(name);
        }
    }

    /// What all members of the group want that this job stands for.
    pub(crate) fn wants(&self, first: JobId) -> Option<Arc<[Arc<Jobspec>]>> {
        self.complete.get(&first).map(|group| Arc::clone(&group.wants))
    }

    /// The members of the group that this job stands for.
    pub(crate) fn members(&self, first: JobId) -> Option<Vec<JobId>> {
        Some(self.complete.get(&first)?.members.iter().map(|member| member.id).collect())
    }

    /// The job that stands in the queue for this one, if it is in a group that is complete.
    pub(crate) fn first(&self, id: JobId) -> Option<JobId> {
        match self.places.get(&id)? {
            Place::Behind(first) => Some(*first),
            Place::Waits(_) => None,
        }
    }

    /// Jobs here that the queue does not have.
    pub(crate) fn beside_queue(&self) -> usize {
        self.places.len() + self.refused.len() - self.complete.len()
    }

    /// For whom a job waits; none if its group is complete.
    pub(crate) fn why(&self, id: JobId) -> Option<String> {
        if let Some(why) = self.refused.get(&id) {
            return Some(why.clone());
        }
        let Some(Place::Waits(name)) = self.places.get(&id) else { return None };
        let Party { size, waiting, .. } = self.parties.get(name)?;
        let here = waiting.len();
        let missing = (*size as usize).saturating_sub(here);
        Some(format!(
            "waits for {missing} more job{} of co-scheduling group {name} ({here} of {size} {} here)",
            if missing == 1 { "" } else { "s" },
            if here == 1 { "is" } else { "are" },
        ))
    }

    /// What is to be said to jobs that have come or been sent back since the last time.
    pub(crate) fn news(&mut self, out: &mut Vec<SchedOutput>) {
        for (id, note) in std::mem::take(&mut self.refused) {
            out.push(SchedOutput::Deny { id, note });
        }
        for id in std::mem::take(&mut self.untold) {
            let said = json!({ "reason_pending": self.why(id), "t_estimate": null });
            out.push(SchedOutput::Annotate { id, annotations: json!({ "sched": said }) });
        }
    }
}
