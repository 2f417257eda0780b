//! What jobs have of Slurm's in their jobspecs.
//!
//! No update reaches that part of a jobspec, so it is looked at once.

use crate::translate::part::{KEY, Part};
use flurm_client::{Client, ClientError, job};
use flurm_types::JobId;
use flurm_wire::job::JobRecord;
use serde_json::Value;
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinSet;

/// Questions under way at a time.
const ASKED_MAX: usize = 64;

/// None of a job that Slurm's commands did not submit.
pub type Kept = Option<Arc<Part>>;

/// Jobs whose parts are kept; over this, those that nobody has asked for just now are forgotten.
const KEPT_MAX: usize = 100_000;

/// By job.
#[derive(Debug, Default)]
pub struct Parts {
    known: Mutex<BTreeMap<JobId, Kept>>,
}

impl Parts {
    fn known(&self) -> MutexGuard<'_, BTreeMap<JobId, Kept>> {
        // What is in there is complete whoever panicked.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of these jobs.
    ///
    /// # Errors
    /// The broker is gone.
    pub async fn of_all<J: Borrow<JobRecord>>(
        &self,
        client: &Client,
        jobs: &[J],
    ) -> Result<BTreeMap<JobId, Kept>, ClientError> {
        let mut found = {
            let mut known = self.known();
            let found: BTreeMap<JobId, Kept> = jobs
                .iter()
                .map(J::borrow)
                .filter_map(|job| Some((job.id, known.get(&job.id)?.clone())))
                .collect();
            if known.len() > KEPT_MAX {
                *known = found.clone();
            }
            found
        };
        let mut asked = JoinSet::new();
        for job in jobs.iter().map(J::borrow) {
            if !job.slurm {
                found.insert(job.id, None);
            }
            if found.contains_key(&job.id) {
                continue;
            }
            if asked.len() >= ASKED_MAX {
                self.take(&mut asked, &mut found).await?;
            }
            let (client, id) = (client.clone(), job.id);
            asked.spawn(async move { (id, job::lookup(&client, id, &["jobspec"]).await) });
        }
        while !asked.is_empty() {
            self.take(&mut asked, &mut found).await?;
        }
        Ok(found)
    }

    async fn take(
        &self,
        asked: &mut JoinSet<(JobId, Result<Vec<String>, ClientError>)>,
        found: &mut BTreeMap<JobId, Kept>,
    ) -> Result<(), ClientError> {
        let Some(Ok((id, values))) = asked.join_next().await else { return Ok(()) };
        let kept = match values {
            Ok(values) => values.first().and_then(|text| read(text)).map(Arc::new),
            // It was forgotten in the meantime.
            Err(ClientError::Refused(_)) => None,
            Err(error) => return Err(error),
        };
        self.known().insert(id, kept.clone());
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
