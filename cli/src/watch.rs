//! The output of many jobs at once (`submit --watch`).

use crate::attach::Printer;
use crate::failure::Failure;
use flurm_client::{Client, job};
use flurm_types::JobId;
use flurm_wire::job::{Log, Watch};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Jobs whose output is followed at the same time; the others' is kept by the instance until their turn.
const FOLLOWED_MAX: usize = 64;

/// Prints the output of all jobs as it comes; ends with the last one.
pub fn outputs(
    client: &Client,
    ids: &[JobId],
    label: bool,
) -> impl Future<Output = Result<(), Failure>> + use<> {
    let turns = Arc::new(Semaphore::new(FOLLOWED_MAX));
    let mut followers = JoinSet::new();
    for id in ids {
        followers.spawn(follow(client.clone(), *id, label, turns.clone()));
    }
    async move {
        while let Some(ended) = followers.join_next().await {
            match ended {
                Ok(result) => result?,
                Err(e) => return Err(Failure::new(format!("cannot follow a job: {e}"))),
            }
        }
        Ok(())
    }
}

async fn follow(client: Client, id: JobId, label: bool, turns: Arc<Semaphore>) -> Result<(), Failure> {
    let _turn = turns.acquire().await.expect("nobody closes the semaphore");
    let mut printer = Printer::new(label, None);
    let mut batches =
        job::watch(&client, &Watch { id, logs: vec![Log::Output], follow: true, paced: true }).await?;
    while let Some(batch) = batches.next().await? {
        for (_, entry) in &batch.entries {
            printer.entry(entry)?;
        }
        printer.flush()?;
    }
    printer.finish()
}
