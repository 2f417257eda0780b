//! Forgetting jobs that are over: those named, or the oldest ones.

use super::{Jobs, wire_error};
use crate::cx::Cx;
use flurm_job_manager::{Job, Request};
use flurm_types::{JobId, JobState, Timestamp};
use flurm_wire::job::{Purge, Purged};
use flurm_wire::{ErrorCode, Message, WireError};

impl Jobs {
    pub(super) fn purge(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let Purge { mut ids, age_limit, num_limit, batch, dry_run } = m.body()?;
        if ids.is_empty() {
            ids = self.beyond(cx.now.wall, age_limit, num_limit)?;
        }
        ids.truncate(batch);
        ids.sort_unstable();
        ids.dedup();
        // All or none: who has named a job that still runs has meant another one.
        for id in &ids {
            self.manager
                .decide(cx.now, &Request::Purge { id: *id })
                .map_err(|refusal| wire_error(&refusal))?;
        }
        let mut left = self.manager.stats().inactive;
        if !dry_run {
            // What has ended in this batch is in the log before it is said to be forgotten.
            self.propose(cx);
            for id in &ids {
                self.expect(cx, &Request::Purge { id: *id });
            }
            left = self.manager.stats().inactive;
        }
        cx.respond(m, &Purged { jobs: ids.len(), left });
        Ok(())
    }

    /// Jobs that are older or more than the limits allow, the oldest first.
    fn beyond(
        &self,
        now: Timestamp,
        age_limit: Option<f64>,
        num_limit: Option<usize>,
    ) -> Result<Vec<JobId>, WireError> {
        if age_limit.is_none() && num_limit.is_none() {
            let text = "nothing says which jobs are to be purged";
            return Err(WireError::new(ErrorCode::Invalid, text)
                .hint("name jobs, or say --age-limit=DURATION or --num-limit=COUNT"));
        }
        let over = self.manager.jobs().filter(|job| job.state() == JobState::Inactive);
        let mut over: Vec<(Timestamp, JobId)> = over.map(|job: &Job| (job.t_last(), job.id())).collect();
        over.sort_unstable();
        let many = num_limit.map_or(0, |limit| over.len().saturating_sub(limit));
        let old = age_limit.map_or(0, |limit| over.partition_point(|(end, _)| now.secs_since(*end) > limit));
        Ok(over.into_iter().take(many.max(old)).map(|(_, id)| id).collect())
    }

    /// What is kept beside the manager goes too.
    pub(super) fn forget(&mut self, id: JobId) {
        self.guests.remove(&id);
        self.full.remove(&id);
        self.waiting.forget(id);
        self.streams.forget(id);
    }
}
