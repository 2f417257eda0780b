//! What a policy does with a job whose turn it is: it starts, it waits, or it is turned down.

use crate::group::Wants;
use crate::queue::Pending;
use crate::running::Load;
use crate::{CYCLE_VISITS_MAX, Sched, SchedOutput};
use flurm_resource_graph::Unit;
use flurm_types::{JobId, Now, R, Timestamp};
use serde_json::{Value, json};

/// What it counts to try a job, apart from the search for a place.
const TRY_VISITS: usize = 64;

/// Jobs that a cycle turns down for want of time, at most: why is found out for each of them.
const DENIED_MAX: usize = 256;

impl Sched {
    /// Has a cycle done enough? Then another one goes on.
    pub(crate) fn spent(&mut self, visited: usize) -> bool {
        self.cut_short |= visited >= CYCLE_VISITS_MAX;
        self.cut_short
    }

    /// The first job of the lanes that are not held up by one, if any.
    pub(crate) fn next_head(&self) -> Option<(crate::queue::Key, JobId)> {
        self.heads.next(&self.queue, |lane| !self.config.is_stopped(lane))
    }

    /// What an entry of the queue is to a lane that may have only so much at once.
    pub(crate) fn load_of(&self, id: JobId, r: &R) -> Load {
        let jobs = self.groups.members(id).map_or(1, |members| members.len() as u32);
        Load { jobs, ..Load::of(r.ncores()) }
    }

    /// Why a lane may not have so much more now; none if it may.
    pub(crate) fn excess(&self, lane: usize, more: Load) -> Option<String> {
        let (name, queue) = self.config.queue(lane)?;
        queue.running.excess(name, self.loads.of(lane).and(more))
    }

    /// May a lane have so much at once if nothing else of it runs?
    pub(crate) fn is_within<'a>(&self, lane: usize, unit: impl Into<Unit<'a>>) -> Result<(), String> {
        let Some((name, queue)) = self.config.queue(lane) else { return Ok(()) };
        let unit = unit.into();
        let alone = Load { jobs: unit.jobs().count() as u32, cores: self.graph.cores_at_least(unit) };
        let asked = |why| match alone.jobs {
            1 => format!("{why}, the job asks for {}", alone.cores),
            jobs => format!("{why}, the group asks for {} in {jobs} jobs", alone.cores),
        };
        queue.running.excess(name, alone).map(asked).map_or(Ok(()), Err)
    }

    /// Could the job run here at all? If not, it is turned down.
    pub(crate) fn is_possible(
        &mut self,
        id: JobId,
        now: Now,
        out: &mut Vec<SchedOutput>,
        visited: &mut usize,
    ) -> bool {
        *visited += TRY_VISITS;
        let Some(job) = self.queue.get(id) else { return false };
        let (inventory, until) = job.possible;
        if inventory == self.inventories && now.wall <= until {
            return true;
        }
        match self.is_still_satisfiable(job, now) {
            Ok(()) => {
                let until = self.graph.lasts_alike(&self.wants(job), now.wall);
                self.queue.set_possible(id, self.inventories, until);
                true
            }
            Err(note) => {
                self.deny(id, note, out);
                false
            }
        }
    }

    /// Turns down whoever could not be over in time even if he started now. Tells whether these were all of them.
    pub(crate) fn deny_too_long(&mut self, now: Now, out: &mut Vec<SchedOutput>) -> bool {
        for _ in 0..DENIED_MAX {
            let (Some(last), Some((length, id))) = (self.graph.last_end(), self.queue.longest()) else {
                return true;
            };
            if u64::try_from(last.0.saturating_sub(now.wall.0)).is_ok_and(|left| length <= left) {
                return true;
            }
            let Some(job) = self.queue.get(id) else { return true };
            match self.is_still_satisfiable(job, now) {
                Ok(()) => return true,
                Err(note) => self.deny(id, note, out),
            }
        }
        false
    }

    pub(crate) fn is_still_satisfiable(&self, job: &Pending, now: Now) -> Result<(), String> {
        let wants = self.wants(job);
        self.is_within(job.lane, &wants)?;
        // Whether the members of a group agree was asked when they came; the next group of that name may be another.
        Unit::from(&wants).jobs().try_for_each(|job| self.is_satisfiable(job, now))?;
        match &wants {
            Wants::Job(_) => Ok(()),
            Wants::Group(_) => self.is_satisfiable(&wants, now),
        }
    }

    /// There is no room at all for jobs like this one. Where nodes end at different times, one that stays less long
    /// may have more of them.
    pub(crate) fn no_room(&mut self, id: JobId) {
        let Some(job) = self.queue.get(id) else { return };
        let from = if self.graph.nodes_end_alike() { 0 } else { job.length };
        self.queue.set_failed(id, from);
    }

    /// A job starts, or all of its group. Tells whether they did: nodes may be others than when this was found.
    pub(crate) fn start(&mut self, id: JobId, r: R, now: Now, out: &mut Vec<SchedOutput>) -> bool {
        let Some(job) = self.queue.get(id) else { return false };
        let (lane, key, told) = (job.lane, job.key, job.told);
        let wants = self.wants(job);
        let Some(parts) = self.graph.split(&wants, r) else { return false };
        self.queue.remove(id);
        self.promises.started(key);
        let members = self.groups.remove(id);
        let annotations = match (told, &members) {
            (None, None) => Value::Null,
            (Some(None), None) => json!({ "sched": { "reason_pending": null } }),
            // Members have been told when they came.
            (Some(Some(_)), _) | (_, Some(_)) => {
                json!({ "sched": { "reason_pending": null, "t_estimate": null } })
            }
        };
        let jobs = Unit::from(&wants).jobs();
        for ((id, job), r) in members.unwrap_or_else(|| vec![id]).into_iter().zip(jobs).zip(parts) {
            self.graph.take(id, &r);
            self.learner.begins(id, Some(job), &r, now);
            self.loads.set(id, lane, r.ncores());
            self.promises.follow(&self.graph, id, now);
            out.push(SchedOutput::Alloc { id, r, annotations: annotations.clone() });
        }
        true
    }

    pub(crate) fn deny(&mut self, id: JobId, note: String, out: &mut Vec<SchedOutput>) {
        self.forget(id);
        self.queue.remove(id);
        for id in self.groups.remove(id).unwrap_or_else(|| vec![id]) {
            out.push(SchedOutput::Deny { id, note: note.clone() });
        }
    }

    /// A job was tried in vain, for this reason or for want of resources; it starts at this time if all goes as planned.
    pub(crate) fn wait(
        &mut self,
        now: Now,
        id: JobId,
        start: Option<Timestamp>,
        why: Option<String>,
        out: &mut Vec<SchedOutput>,
        visited: &mut usize,
    ) {
        let Some(job) = self.queue.get(id) else { return };
        if job.told == Some(start) {
            return;
        }
        let mut said = json!({});
        if job.told.is_none() {
            said["reason_pending"] = why
                .unwrap_or_else(|| self.graph.shortage_counting(&self.wants(job), now.wall, visited))
                .into();
        }
        if let Some(start) = start {
            said["t_estimate"] = start.as_secs_f64().into();
        } else if job.told.is_some() {
            said["t_estimate"] = Value::Null;
        }
        self.queue.set_told(id, start);
        for id in self.members(id) {
            out.push(SchedOutput::Annotate { id, annotations: json!({ "sched": said.clone() }) });
        }
    }
}
