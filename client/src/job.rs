//! Jobs: submit many in few messages, follow them, read their logs.

use crate::{Client, ClientError, Responses};
use flurm_types::{Environment, JobId};
use flurm_wire::job::{
    Await, AwaitedJob, Kill, List, Listed, Lookup, PerJob, Raise, SetUrgency, Submit, SubmitFlags, SubmitJob,
    Watch,
};
use flurm_wire::{Dest, WireError};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Jobs in one message. More would let the leader answer others less often, and win nothing: the disk
/// already writes many groups at once.
pub const BATCH_JOBS_MAX: usize = 256;
/// Bytes of jobspecs and environments in one message.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// Messages under way at once, so that the leader has the next one while it writes this one.
pub const BATCHES_IN_FLIGHT_MAX: usize = 4;

/// One job to submit.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Jobspec as JSON, without its environment.
    pub jobspec: Box<RawValue>,
    /// Jobs that share one share the `Arc`: it is sent once a message.
    pub environment: Arc<Environment>,
    pub urgency: u8,
    pub flags: SubmitFlags,
}

/// What became of the jobs of one message: they are the ones from `first` on, in the order they came.
#[derive(Debug)]
pub struct Batch {
    pub first: usize,
    pub jobs: Vec<Result<JobId, WireError>>,
}

/// Submit one job.
///
/// # Errors
/// The job is refused, or the connection is lost.
pub async fn submit(client: &Client, job: NewJob) -> Result<JobId, ClientError> {
    let mut jobs = submit_many(client, std::iter::once(job), |_| Ok::<(), ClientError>(())).await?;
    let first = jobs.pop().ok_or(ClientError::Lost)?;
    Ok(first?)
}

/// Submit all of `jobs`, in order, and call `each` for every answered message.
///
/// As [`submit_each`], which keeps no results.
///
/// # Errors
/// A message is refused as a whole, the connection is lost, or `each` fails.
pub async fn submit_many<E: From<ClientError>>(
    client: &Client,
    jobs: impl IntoIterator<Item = NewJob>,
    mut each: impl FnMut(&Batch) -> Result<(), E>,
) -> Result<Vec<Result<JobId, WireError>>, E> {
    let mut results = Vec::new();
    submit_each(client, jobs, |batch| {
        each(batch)?;
        results.extend(batch.jobs.iter().cloned());
        Ok::<(), E>(())
    })
    .await?;
    Ok(results)
}

/// Submit all of `jobs`, in order, and call `each` for every answered message.
///
/// Jobs are made while the ones before travel. One refused job does not keep the others from running: look
/// at each result.
///
/// # Errors
/// A message is refused as a whole, the connection is lost, or `each` fails.
pub async fn submit_each<E: From<ClientError>>(
    client: &Client,
    jobs: impl IntoIterator<Item = NewJob>,
    mut each: impl FnMut(&Batch) -> Result<(), E>,
) -> Result<(), E> {
    let mut batches = Batches { jobs: jobs.into_iter(), over: None };
    let mut first = 0;
    let mut flying = VecDeque::new();
    loop {
        while flying.len() < BATCHES_IN_FLIGHT_MAX
            && let Some(request) = batches.next()
        {
            let client = client.clone();
            // A task, so that the next message is on its way before this one is answered.
            flying.push_back(tokio::spawn(async move { client.call(Dest::Leader, &request).await }));
        }
        let Some(answer) = flying.pop_front() else { return Ok(()) };
        let answer = answer.await.map_err(|_| ClientError::Lost)?.map_err(E::from)?;
        let batch = Batch { first, jobs: answer.jobs };
        each(&batch)?;
        first += batch.jobs.len();
    }
}

struct Batches<I> {
    jobs: I,
    /// Did not fit into the message before.
    over: Option<NewJob>,
}

impl<I: Iterator<Item = NewJob>> Iterator for Batches<I> {
    type Item = Submit;

    fn next(&mut self) -> Option<Submit> {
        let mut submit = Submit {
            submit_id: String::new(),
            environments: Vec::new(),
            jobs: Vec::with_capacity(BATCH_JOBS_MAX),
        };
        let mut known = BTreeMap::new();
        let mut bytes = 0;
        while submit.jobs.len() < BATCH_JOBS_MAX {
            let Some(job) = self.over.take().or_else(|| self.jobs.next()) else { break };
            let pointer = Arc::as_ptr(&job.environment) as usize;
            let new_environment =
                if known.contains_key(&pointer) { 0 } else { environment_len(&job.environment) };
            let len = job.jobspec.get().len() + new_environment;
            if bytes + len > BATCH_BYTES_MAX && !submit.jobs.is_empty() {
                self.over = Some(job);
                break;
            }
            bytes += len;
            let environment = *known.entry(pointer).or_insert_with(|| {
                submit.environments.push(job.environment.clone());
                submit.environments.len() - 1
            });
            submit.jobs.push(SubmitJob {
                jobspec: job.jobspec,
                environment: Some(environment),
                urgency: job.urgency,
                flags: job.flags,
            });
        }
        if submit.jobs.is_empty() {
            return None;
        }
        submit.submit_id = submit_id();
        Some(submit)
    }
}

fn environment_len(environment: &Environment) -> usize {
    environment.iter().map(|(name, value)| name.len() + value.as_ref().map_or(4, String::len) + 6).sum()
}

/// Unlike any other client's. The standard library seeds its hash keys from the system's random source.
pub fn submit_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let state = std::collections::hash_map::RandomState::new();
    let process = std::process::id();
    let time = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    format!("{:016x}{:016x}", state.hash_one((process, count)), state.hash_one((time, count, process)))
}

/// All jobs that `list` asks for, however many pages they are.
///
/// # Errors
/// An unknown id or queue, or the connection is lost.
pub async fn list(client: &Client, list: &List) -> Result<Listed, ClientError> {
    let mut all = client.call(Dest::Leader, list).await?;
    let wanted = if list.max_entries == 0 { usize::MAX } else { list.max_entries };
    while all.more && all.jobs.len() < wanted {
        let before = all.jobs.last().map(|job| job.id);
        let max_entries = if list.max_entries == 0 { 0 } else { wanted - all.jobs.len() };
        let page = client.call(Dest::Leader, &List { before, max_entries, ..list.clone() }).await?;
        all.jobs.extend(page.jobs);
        all.more = page.more;
    }
    Ok(all)
}

/// Raise an exception on each; severity 0 ends a job.
///
/// # Errors
/// The connection is lost; each job has its own result.
pub async fn raise(
    client: &Client,
    ids: &[JobId],
    kind: &str,
    severity: u8,
    note: &str,
) -> Result<Vec<Result<(), WireError>>, ClientError> {
    let raise = Raise { ids: ids.to_vec(), kind: kind.to_owned(), severity, note: note.to_owned() };
    let PerJob { results } = client.call(Dest::Leader, &raise).await?;
    Ok(results)
}

/// Signal all tasks of each.
///
/// # Errors
/// The connection is lost; each job has its own result.
pub async fn kill(
    client: &Client,
    ids: &[JobId],
    signum: i32,
) -> Result<Vec<Result<(), WireError>>, ClientError> {
    let PerJob { results } = client.call(Dest::Leader, &Kill { ids: ids.to_vec(), signum }).await?;
    Ok(results)
}

/// # Errors
/// Unknown or inactive job, or the connection is lost.
pub async fn set_urgency(client: &Client, id: JobId, urgency: u8) -> Result<(), ClientError> {
    client.call(Dest::Leader, &SetUrgency { id, urgency }).await?;
    Ok(())
}

/// Wait until each job has `event` (`clean` when none is named); calls `each` as they come, in any order.
///
/// # Errors
/// An unknown job, the connection is lost, or `each` fails.
pub async fn wait<E: From<ClientError>>(
    client: &Client,
    ids: &[JobId],
    event: Option<&str>,
    mut each: impl FnMut(&AwaitedJob) -> Result<(), E>,
) -> Result<(), E> {
    if ids.is_empty() {
        return Ok(());
    }
    let wait = Await { ids: ids.to_vec(), event: event.map(str::to_owned) };
    let mut answers = client.stream(Dest::Leader, &wait).await?;
    while let Some(batch) = answers.next().await? {
        for job in &batch.jobs {
            each(job)?;
        }
    }
    Ok(())
}

/// Follow logs of one job, in one stream.
///
/// # Errors
/// The connection is lost. A refusal arrives as the stream's item.
pub async fn watch(client: &Client, watch: &Watch) -> Result<Responses<Watch>, ClientError> {
    let responses = client.stream(Dest::Leader, watch).await?;
    Ok(if watch.paced { responses.paced() } else { responses })
}

/// Values of keys of one job, in their order.
///
/// # Errors
/// Unknown job or key, or the connection is lost.
pub async fn lookup(client: &Client, id: JobId, keys: &[&str]) -> Result<Vec<String>, ClientError> {
    let lookup = Lookup { id, keys: keys.iter().map(|k| (*k).to_owned()).collect() };
    Ok(client.call(Dest::Leader, &lookup).await?.values)
}
