//! Forgetting jobs that are over: those named, or the oldest ones.

use super::{Jobs, wire_error};
use crate::cx::Cx;
use flurm_job_manager::Request;
use flurm_types::{JobId, Timestamp};
use flurm_wire::job::{Purge, Purged};
use flurm_wire::{ErrorCode, Message, WireError};

impl Jobs {
    pub(super) fn purge(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let Purge { mut ids, age_limit, num_limit, batch, dry_run } = m.body()?;
        if ids.is_empty() {
            ids = self.beyond(cx.now.wall, age_limit, num_limit, batch)?;
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
            // With a job go those that were within it, which may be named as well.
            for id in ids.iter().rev() {
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
        most: usize,
    ) -> Result<Vec<JobId>, WireError> {
        if age_limit.is_none() && num_limit.is_none() {
            let text = "nothing says which jobs are to be purged";
            return Err(WireError::new(ErrorCode::Invalid, text)
                .hint("name jobs, or say --age-limit=DURATION or --num-limit=COUNT"));
        }
        let over = self.manager.over();
        let many = num_limit.map_or(0, |limit| over.len().saturating_sub(limit));
        let is_old = |end: Timestamp| age_limit.is_some_and(|limit| now.secs_since(end) > limit);
        let gone = over.take(most).enumerate().take_while(|(at, (end, _))| *at < many || is_old(*end));
        Ok(gone.map(|(_, (_, id))| id).collect())
    }

    /// What is kept beside the manager goes too.
    pub(super) fn forget(&mut self, id: JobId) {
        self.guests.remove(&id);
        self.full.remove(&id);
        self.waiting.forget(id);
        self.streams.forget(id);
    }
}
