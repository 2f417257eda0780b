//! Why a job waits, and when it starts.

use crate::{Policy, Sched};
use flurm_resource_graph::{Found, MatchOp};
use flurm_types::{JobId, Now, Timestamp};

/// Why a pending job does not run yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Why {
    /// In words, for its owner.
    pub reason: String,
    /// The job that it waits for, if it is one: ahead in the queue, or delayed if this one ran now.
    pub blocked_by: Option<JobId>,
    /// When it starts, if those that run stay as long as they said and nobody more urgent comes; none if nobody
    /// knows.
    pub earliest: Option<Timestamp>,
}

impl Sched {
    /// Why a pending job does not run yet; `None` if it is not pending. Looks for the answer when it is asked.
    #[must_use]
    pub fn why(&self, id: JobId, now: Now) -> Option<Why> {
        if let Some(reason) = self.groups.why(id) {
            return Some(Why { reason, blocked_by: None, earliest: None });
        }
        let id = self.groups.first(id).unwrap_or(id);
        let job = self.queue.get(id)?;
        let earliest = self.promised(id);
        let because = |reason: String| Some(Why { reason, blocked_by: None, earliest });
        if !self.started {
            return because(
                "scheduling is stopped: no job gets resources until it is started again".to_owned(),
            );
        }
        if self.inventories == 0 {
            return because("waits for the resources of this instance to become known".to_owned());
        }
        if let Some((queue, _)) = self.config.queue(job.lane).filter(|(_, queue)| queue.stopped) {
            return because(format!("queue {queue} is stopped"));
        }
        let mut ahead = self.queue.ahead(id);
        let first = ahead.next().map(|job| job.id);
        let ahead = ahead.count() + usize::from(first.is_some());
        let passing = match self.config.policy {
            Policy::Fcfs | Policy::Sjf => false,
            Policy::Easy | Policy::Conservative | Policy::Hybrid { .. } => true,
        };
        match (first, passing) {
            (Some(first), false) => {
                let more = if ahead > 1 { format!(" and {} more", ahead - 1) } else { String::new() };
                let reason = format!("blocked by {first}{more} ahead in the queue");
                Some(Why { reason, blocked_by: Some(first), earliest })
            }
            (first, _) => match self.graph.find(&self.wants(job), MatchOp::Allocate, now.wall) {
                Found::Now(_) => match first {
                    None => because("is the next to get resources".to_owned()),
                    Some(first) => {
                        let reason = format!("would delay {first} if it ran now");
                        Some(Why { reason, blocked_by: Some(first), earliest })
                    }
                },
                Found::NotNow => because(self.graph.shortage(&self.wants(job))),
                Found::Never(why) => because(why),
            },
        }
    }

    /// When a pending job starts, as far as anybody knows; `None` if it is not pending, too.
    #[must_use]
    pub fn expected_start(&self, id: JobId, now: Now) -> Option<Timestamp> {
        self.why(id, now)?.earliest
    }

    /// The start that its owner has been told, without looking for a better answer.
    #[must_use]
    pub fn promised(&self, id: JobId) -> Option<Timestamp> {
        self.queue.get(self.groups.first(id).unwrap_or(id))?.told.flatten()
    }
}
