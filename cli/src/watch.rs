//! The output of many jobs at once (`submit --watch`, `watch`).

use crate::attach::Printer;
use crate::failure::Failure;
use crate::logs::Sinks;
use crate::submission::{Followed, Logs};
use flurm_client::{Client, job};
use flurm_types::JobId;
use flurm_wire::job::{Log, Watch};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Jobs whose logs are followed at the same time; the others' are kept by the instance until their turn.
const FOLLOWED_MAX: usize = 64;

/// Prints the output of all jobs as it comes; ends with the last one.
pub async fn outputs(
    client: &Client,
    jobs: &Followed,
    label: bool,
    sinks: &Arc<Sinks>,
) -> Result<(), Failure> {
    let mut followers = JoinSet::new();
    for id in &jobs.ids {
        if followers.len() == FOLLOWED_MAX
            && let Some(ended) = followers.join_next().await
        {
            joined(ended)??;
        }
        followers.spawn(follow(client.clone(), *id, label, jobs.logs_of(*id).clone(), sinks.clone()));
    }
    while let Some(ended) = followers.join_next().await {
        joined(ended)??;
    }
    Ok(())
}

async fn follow(
    client: Client,
    id: JobId,
    label: bool,
    logs: Logs,
    sinks: Arc<Sinks>,
) -> Result<(), Failure> {
    let mut printer = Printer::new(label, None);
    let mut batches =
        job::watch(&client, &Watch { id, logs: vec![Log::Output], follow: true, paced: true }).await?;
    let print = |printer: &mut Printer| {
        printer.take().into_iter().try_for_each(|(stream, bytes)| sinks.write(stream, &logs, &bytes))
    };
    while let Some(batch) = batches.next().await? {
        for (_, entry) in &batch.entries {
            printer.entry(entry)?;
        }
        print(&mut printer)?;
    }
    printer.close_lines();
    print(&mut printer)
}

fn joined<T>(ended: Result<T, tokio::task::JoinError>) -> Result<T, Failure> {
    ended.map_err(|e| Failure::new(format!("cannot follow a job: {e}")))
}
