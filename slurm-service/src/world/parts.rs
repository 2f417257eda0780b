//! What jobs have of Slurm's in their jobspecs.
//!
//! A jobspec of a job that is over does not change any more, so it is looked at once.

use crate::translate::part::{KEY, Part};
use flurm_client::{Client, ClientError, job};
use flurm_types::{JobId, JobState};
use flurm_wire::job::JobRecord;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinSet;

/// Questions under way at a time.
const ASKED_MAX: usize = 64;

/// None of a job that Slurm's commands did not submit.
pub type Kept = Option<Arc<Part>>;

/// By job.
#[derive(Debug, Default)]
pub struct Parts {
    over: Mutex<BTreeMap<JobId, Kept>>,
}

impl Parts {
    fn over(&self) -> MutexGuard<'_, BTreeMap<JobId, Kept>> {
        // What is in there is complete whoever panicked.
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of all jobs that there are: what is kept of others is forgotten.
    ///
    /// # Errors
    /// The broker is gone.
    pub async fn of_all(
        &self,
        client: &Client,
        jobs: &[JobRecord],
    ) -> Result<BTreeMap<JobId, Kept>, ClientError> {
        let mut found = {
            let mut over = self.over();
            let found: BTreeMap<JobId, Kept> =
                jobs.iter().filter_map(|job| over.remove_entry(&job.id)).collect();
            *over = found.clone();
            found
        };
        let mut asked = JoinSet::new();
        for job in jobs {
            if found.contains_key(&job.id) {
                continue;
            }
            if asked.len() >= ASKED_MAX {
                self.take(&mut asked, &mut found).await?;
            }
            let (client, id, over) = (client.clone(), job.id, job.state == JobState::Inactive);
            asked.spawn(async move { (id, over, job::lookup(&client, id, &["jobspec"]).await) });
        }
        while !asked.is_empty() {
            self.take(&mut asked, &mut found).await?;
        }
        Ok(found)
    }

    async fn take(
        &self,
        asked: &mut JoinSet<(JobId, bool, Result<Vec<String>, ClientError>)>,
        found: &mut BTreeMap<JobId, Kept>,
    ) -> Result<(), ClientError> {
        let Some(Ok((id, over, values))) = asked.join_next().await else { return Ok(()) };
        let kept = match values {
            Ok(values) => values.first().and_then(|text| read(text)).map(Arc::new),
            // It was forgotten in the meantime.
            Err(ClientError::Refused(_)) => None,
            Err(error) => return Err(error),
        };
        if over {
            self.over().insert(id, kept.clone());
        }
        found.insert(id, kept);
        Ok(())
    }
}

/// The part of a jobspec.
fn read(jobspec: &str) -> Option<Part> {
    let mut jobspec: Value = serde_json::from_str(jobspec).ok()?;
    let part = jobspec.pointer_mut("/attributes/system")?.get_mut(KEY)?.take();
    serde_json::from_value(part).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_in_its_jobspec_and_nowhere_else() {
        let jobspec = r#"{"attributes":{"system":{"slurm":{"kind":"allocation","ntasks":3}}},"version":1}"#;
        assert_eq!(read(jobspec).map(|part| part.ntasks), Some(3));
        assert_eq!(read(r#"{"attributes":{"system":{}},"version":1}"#), None);
        assert_eq!(read("no jobspec"), None);
    }
}
