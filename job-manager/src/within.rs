//! Jobs within jobs: they run on what another job holds, begin at once, and end with it.
//!
//! The ledger does not hear of them: what they have is the other job's, which is not free before they are gone from it.
//! Several may have the same cores; who submits them decides that.

use crate::decide::{Draft, Refusal};
use crate::event::{Alloc, Event, Submit};
use crate::job::Job;
use flurm_jobspec::Within;
use flurm_types::{JobId, JobState, R, Timestamp, Urgency};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Those within one job.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Inner {
    pub active: BTreeSet<JobId>,
    pub over: BTreeSet<JobId>,
}

impl Draft<'_> {
    /// All that happens to such a job before it runs.
    pub(crate) fn submit_within(
        &mut self,
        id: JobId,
        submit: &Submit,
        within: &Within,
    ) -> Result<(), Refusal> {
        let outer = self.manager.job(within.id).ok_or(Refusal::NoSuchJob(within.id))?;
        let refuse = |why: String| Err(Refusal::Within(why));
        if outer.userid() != submit.userid {
            return refuse(format!("job {} is another user's", outer.id()));
        }
        if let Some(outermost) = outer.within() {
            return refuse(format!("job {} is within job {outermost}: none can be within it", outer.id()));
        }
        if outer.state() != JobState::Run {
            return refuse(format!("job {} is not running", outer.id()));
        }
        if submit.urgency == Urgency::HOLD {
            return refuse("a job within another starts at once: it cannot be held".to_owned());
        }
        let r = outer.r().and_then(|all| Some((all, all.part(&within.r)?)));
        let Some((all, r)) = r.filter(|(_, r)| self.manager.ledger.holds(outer.id(), r)) else {
            return refuse(format!("R has what job {} does not have", outer.id()));
        };
        let wall = self.now.wall;
        if !all.expiration.is_zero() && all.expiration <= wall {
            return refuse(format!("the time of job {} is over", outer.id()));
        }
        let own = Some(submit.asked.brief.duration).filter(|secs| *secs > 0.0);
        let own = own.and_then(|secs| wall.checked_add_secs(secs)).filter(|own| *own > wall);
        let expiration = match own {
            Some(own) if all.expiration.is_zero() || own < all.expiration => own,
            Some(_) | None => all.expiration,
        };
        let r = Arc::new(R { starttime: wall, expiration, ..r });
        let annotations = Some(json!({"alloc": {"bypass": true}}));
        for event in [
            Event::Submit(Box::new(submit.clone())),
            Event::Validate,
            Event::Depend,
            Event::Priority(i64::from(submit.urgency.get())),
            Event::Alloc(Box::new(Alloc { r, annotations })),
        ] {
            self.say(id, event);
        }
        Ok(())
    }

    /// The job has come to its end: those within it follow.
    pub(crate) fn end_within(&mut self, outer: &Job, kind: &str, why: &str) {
        let manager = self.manager;
        for job in manager.within(outer.id()) {
            if job.state() < JobState::Cleanup && self.ending.insert(job.id()) {
                let note = format!("job {}, within which it ran, has ended{why}", outer.id());
                self.raise(job, crate::event::Raised::fatal(kind, note));
            }
        }
    }

    /// The job has another end: those that would have lasted as long do so again.
    pub(crate) fn move_within(&mut self, outer: &Job, expiration: Timestamp) {
        let manager = self.manager;
        let before = outer.r().map(|r| r.expiration);
        for job in manager.within(outer.id()).filter(|job| job.state() == JobState::Run) {
            if job.r().map(|r| r.expiration) == before {
                self.say(job.id(), Event::ResourceUpdate(expiration));
            }
        }
    }
}
