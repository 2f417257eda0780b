//! Jobs as they are listed, kept up to date by the journal: what has not changed is not asked for again.
//!
//! ```text
//!   journal ─► stale ids ──┐
//!   squeue ─► "newest?" ───┴─► these ids alone ─► records ─► shown
//! ```
//!
//! The first question is also what brings the journal up to date: what the leader had said before its answer has come
//! before it, on the same connection.

use super::JOB_AGE_MIN;
use crate::start::now;
use flurm_client::{Client, ClientError, job};
use flurm_types::{JobId, JobState, Timestamp};
use flurm_wire::job::{JobRecord, JournalBatch, List};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Why a job waits is not in the journal: it is asked for again after this time.
const REASONS_MAX: Duration = Duration::from_secs(2);
/// With more than these to ask for, all are asked for.
const STALE_MAX: usize = 10_000;
/// Records in one answer, as the leader has it for lists.
const PAGE: usize = 4096;

/// All jobs that are shown, and since when they are as they are.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The oldest first.
    pub jobs: Vec<Arc<JobRecord>>,
    /// Seconds since 1970, before any of it was asked for.
    pub asked: i64,
    /// And when something was last found to be another.
    pub changed: i64,
}

#[derive(Debug, Default)]
pub struct Records {
    kept: tokio::sync::Mutex<Kept>,
    news: Mutex<News>,
}

/// What the journal has said.
#[derive(Debug, Default)]
struct News {
    /// It has come to the present: from now on nothing is missed.
    follows: bool,
    stale: BTreeSet<JobId>,
    /// Too much of it: list all.
    all: bool,
}

#[derive(Debug, Default)]
struct Kept {
    jobs: BTreeMap<JobId, Arc<JobRecord>>,
    is_whole: bool,
    changed: i64,
    reasons_at: Option<Instant>,
}

impl Records {
    fn news(&self) -> MutexGuard<'_, News> {
        // What is in there is complete whoever panicked.
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what happens to jobs.
    pub fn note(&self, batch: &JournalBatch) {
        let mut news = self.news();
        if news.follows {
            news.stale.extend(batch.events.iter().map(|event| event.id));
            if news.stale.len() > STALE_MAX {
                news.stale.clear();
                news.all = true;
            }
        } else if batch.caught_up {
            news.follows = true;
            news.all = true;
        }
    }

    /// Active jobs and those that ended lately; not those within others, which are steps.
    ///
    /// # Errors
    /// The broker is gone.
    pub async fn all(&self, client: &Client) -> Result<Seen, ClientError> {
        let asked = now();
        // Who comes meanwhile asks for what has changed since.
        let mut kept = self.kept.lock().await;
        let newest = job::list(client, &List { max_entries: 1, ..List::default() }).await?.jobs;
        // Whoever reads the journal was woken before us.
        tokio::task::yield_now().await;
        let (stale, all) = {
            let mut news = self.news();
            let all = std::mem::take(&mut news.all) || !news.follows || !kept.is_whole;
            (std::mem::take(&mut news.stale), all)
        };
        // If the broker goes in the midst of it, nothing of the above has been taken in.
        let was_whole = std::mem::take(&mut kept.is_whole);
        if all {
            let since = Timestamp::from_secs_f64(now() as f64 - JOB_AGE_MIN.as_secs_f64());
            let listed = job::list(client, &List { since: Some(since), ..List::default() }).await?;
            let ids: BTreeSet<JobId> = kept.jobs.keys().copied().collect();
            kept.take(&ids, listed.jobs);
            kept.reasons_at = Some(Instant::now());
        } else {
            let mut stale = stale;
            stale.extend(newest.first().map(|job| job.id).filter(|id| !kept.jobs.contains_key(id)));
            if kept.reasons_at.is_none_or(|at| at.elapsed() >= REASONS_MAX) {
                let waiting = kept.jobs.values().filter(|job| job.state == JobState::Sched);
                stale.extend(waiting.map(|job| job.id));
                kept.reasons_at = Some(Instant::now());
            }
            let stale: Vec<JobId> = stale.into_iter().collect();
            for ids in stale.chunks(PAGE) {
                let list = List { ids: ids.to_vec(), known: true, ..List::default() };
                let listed = job::list(client, &list).await?;
                kept.take(&ids.iter().copied().collect(), listed.jobs);
            }
        }
        kept.is_whole = all || was_whole;
        kept.age(now());
        Ok(Seen { jobs: kept.jobs.values().cloned().collect(), asked, changed: kept.changed })
    }
}

impl Kept {
    /// What these are now; those that are not among them are no more.
    fn take(&mut self, asked: &BTreeSet<JobId>, found: Vec<JobRecord>) {
        let mut gone = asked.clone();
        let mut differs = false;
        for record in found.into_iter().filter(|record| record.within.is_none()) {
            gone.remove(&record.id);
            if self.jobs.get(&record.id).is_none_or(|kept| **kept != record) {
                self.jobs.insert(record.id, Arc::new(record));
                differs = true;
            }
        }
        for id in gone {
            differs |= self.jobs.remove(&id).is_some();
        }
        if differs || self.changed == 0 {
            self.changed = now();
        }
    }

    /// Forgets what has been over for long enough.
    fn age(&mut self, now: i64) {
        let limit = now as f64 - JOB_AGE_MIN.as_secs_f64();
        let before = self.jobs.len();
        self.jobs.retain(|_, job| job.t_inactive.is_none_or(|ended| ended.as_secs_f64() >= limit));
        if self.jobs.len() < before {
            self.changed = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(id: u64, state: &str) -> JobRecord {
        let record = json!({
            "id": JobId(id), "number": id, "userid": 1, "urgency": 16, "priority": 16, "t_submit": 1.0, "state": state,
            "name": "a", "cwd": "/", "ntasks": 1, "ncores": 1, "nnodes": 1, "duration": 0.0,
        });
        serde_json::from_value(record).unwrap()
    }

    fn ids(kept: &Kept) -> Vec<u64> {
        kept.jobs.keys().map(|id| id.0).collect()
    }

    #[test]
    fn the_time_of_the_last_change_moves_with_changes_alone() {
        let mut kept = Kept::default();
        kept.take(&BTreeSet::new(), vec![record(1, "SCHED"), record(2, "RUN")]);
        assert!(kept.changed > 0);
        kept.changed = 7;
        kept.take(&[JobId(1)].into(), vec![record(1, "SCHED")]);
        assert_eq!(kept.changed, 7);
        kept.take(&[JobId(1)].into(), vec![record(1, "RUN")]);
        assert!(kept.changed > 7);
    }

    #[test]
    fn jobs_that_are_forgotten_or_long_over_or_steps_are_not_shown() {
        let mut kept = Kept::default();
        let over = JobRecord { t_inactive: Some(Timestamp::from_secs_f64(1000.0)), ..record(3, "INACTIVE") };
        let step = JobRecord { within: Some(JobId(1)), ..record(4, "RUN") };
        kept.take(&BTreeSet::new(), vec![record(1, "RUN"), record(2, "RUN"), over, step]);
        assert_eq!(ids(&kept), [1, 2, 3]);
        kept.take(&[JobId(2)].into(), Vec::new());
        kept.age(1300);
        assert_eq!(ids(&kept), [1, 3]);
        kept.age(1301);
        assert_eq!((ids(&kept), kept.changed), (vec![1], 1301));
    }

    #[test]
    fn what_the_journal_says_counts_once_it_has_come_to_the_present() {
        let records = Records::default();
        let event =
            |id: u64| json!({"index": id, "id": JobId(id), "entry": {"timestamp": 1.0, "name": "clean"}});
        let batch = |ids: &[u64], caught_up: bool| {
            let events: Vec<_> = ids.iter().map(|id| event(*id)).collect();
            serde_json::from_value::<JournalBatch>(json!({"events": events, "caught_up": caught_up})).unwrap()
        };
        records.note(&batch(&[1, 2], false));
        records.note(&batch(&[3], true));
        assert!(records.news().all && records.news().stale.is_empty());
        records.note(&batch(&[4, 5, 4], false));
        assert_eq!(records.news().stale, [JobId(4), JobId(5)].into());
        records.news().all = false;
        records.note(&batch(&(0..=STALE_MAX as u64).collect::<Vec<_>>(), false));
        assert!(records.news().all && records.news().stale.is_empty());
    }
}
