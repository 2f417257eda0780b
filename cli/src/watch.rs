//! The output of many jobs at once (`submit --watch`, `watch`).

use crate::attach::Printer;
use crate::failure::Failure;
use flurm_client::{Client, job};
use flurm_types::JobId;
use flurm_wire::job::{Log, Watch};
use tokio::task::{JoinError, JoinSet};

/// Jobs whose output is followed at the same time; the others' is kept by the instance until their turn.
const FOLLOWED_MAX: usize = 64;

/// Prints the output of all jobs as it comes, from now on; the future ends with the last one.
pub fn outputs(
    client: &Client,
    ids: &[JobId],
    label: bool,
) -> impl Future<Output = Result<(), Failure>> + use<> {
    let all = tokio::spawn(follow_all(client.clone(), ids.to_vec(), label));
    async move { all.await.unwrap_or_else(|e| Err(Failure::new(format!("cannot follow the jobs: {e}")))) }
}

async fn follow_all(client: Client, ids: Vec<JobId>, label: bool) -> Result<(), Failure> {
    let mut followers = JoinSet::new();
    for id in ids {
        if followers.len() >= FOLLOWED_MAX {
            over(followers.join_next().await)?;
        }
        followers.spawn(follow(client.clone(), id, label));
    }
    while !followers.is_empty() {
        over(followers.join_next().await)?;
    }
    Ok(())
}

fn over(follower: Option<Result<Result<(), Failure>, JoinError>>) -> Result<(), Failure> {
    match follower {
        None => Ok(()),
        Some(Ok(result)) => result,
        Some(Err(e)) => Err(Failure::new(format!("cannot follow a job: {e}"))),
    }
}

async fn follow(client: Client, id: JobId, label: bool) -> Result<(), Failure> {
    let mut printer = Printer::new(label, None);
    let watch = Watch { id, logs: vec![Log::Output], follow: true, paced: true };
    let mut batches = job::watch(&client, &watch).await?;
    while let Some(batch) = batches.next().await? {
        for (_, entry) in &batch.entries {
            printer.entry(entry)?;
        }
        printer.flush()?;
    }
    printer.finish()
}
