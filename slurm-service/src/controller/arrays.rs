//! Arrays: the number is said once the first job is in the log, and the others follow while other clients are answered.
//!
//! A mark in the store is there from before the first job until after the last. The first job has the mark's name, and tells
//! all that the others are made of; so a service that finds a mark completes the array, and nobody has half of one.

use super::submit::of_instance;
use super::{named, number};
use crate::context::Context;
use crate::translate::refusal::Refusal;
use crate::translate::submit::Mould;
use crate::world::Growth;
use flurm_client::{ClientError, job, kvs};
use flurm_slurm_protocol::errors;
use flurm_types::{Environment, Idset, JobId};
use flurm_wire::fact::KvsOp;
use flurm_wire::job::{JobRecord, List};
use flurm_wire::kvs::{Node, PRIMARY};
use flurm_wire::{ErrorCode, WireError};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Below it are the marks.
const MARKS: &str = "slurm.array";

/// A small array is whole within this time, and a client is told if it cannot be; it waits ten seconds for its answer.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Jobs in one message that ends them.
const ENDED_MAX: usize = 4096;

/// One whose jobs are submitted.
struct Array {
    number: u32,
    first: JobId,
    mould: Mould,
    mark: String,
}

fn mark(name: &str) -> String {
    format!("{MARKS}.{name}")
}

/// Submits the first job, and sees to the others; the array's number.
pub async fn submit(ctx: &Arc<Context>, mut mould: Mould, ids: &Idset) -> Result<u32, Refusal> {
    let name = job::submit_id();
    let put = KvsOp::Put { key: mark(&name), value: Value::Bool(true) };
    kvs::commit(&ctx.client, PRIMARY, vec![put]).await.map_err(|error| of_instance(&error))?;
    mould.part.array_mark = Some(name.clone());
    let first = match job::submit(&ctx.client, mould.job(ids.first(), None)).await {
        Ok(first) => first,
        Err(error) => {
            unmark(ctx, &name).await;
            return Err(of_instance(&error));
        }
    };
    let number = named::number_of(ctx, first).await.map_err(|code| Refusal::new(code, "no number"))?;
    let growth = ctx.world.arrays.begin(number);
    let rest = ids.difference(&ids.take(1));
    let array = Array { number, first, mould, mark: name };
    let mut grown = tokio::spawn(grow(Arc::clone(ctx), growth, array, vec![first], rest));
    match timeout(AT_ONCE, &mut grown).await {
        Ok(Ok(Some(error))) => Err(of_instance(&ClientError::Refused(error))),
        Ok(_) | Err(_) => Ok(number),
    }
}

async fn unmark(ctx: &Context, name: &str) {
    if let Err(error) = kvs::commit(&ctx.client, PRIMARY, vec![KvsOp::Unlink { key: mark(name) }]).await {
        tracing::debug!(%error, "the mark of an array stays");
    }
}

/// Submits the rest, and says why it could not; `ids` are there already.
async fn grow(
    ctx: Arc<Context>,
    growth: Growth,
    array: Array,
    mut ids: Vec<JobId>,
    rest: Idset,
) -> Option<WireError> {
    let Array { number, first, mould, mark } = array;
    let mut refused = None;
    let indices = rest.iter().take_while(|_| !growth.is_stopped());
    let jobs = indices.map(|index| mould.job(Some(index), Some(first)));
    let sent = job::submit_each(&ctx.client, jobs, |batch| {
        for result in &batch.jobs {
            match result {
                Ok(id) => ids.push(*id),
                Err(error) => {
                    growth.stop();
                    refused.get_or_insert_with(|| error.clone());
                }
            }
        }
        Ok::<(), ClientError>(())
    });
    match sent.await {
        Ok(()) => {}
        Err(ClientError::Refused(error)) => refused = Some(error),
        // The broker is gone; who comes after it finds the mark.
        Err(error) => {
            tracing::warn!(number, %error, "the array is not whole");
            return None;
        }
    }
    if let Some(error) = &refused {
        abandon(&ctx, number, &ids, &error.to_string()).await;
    }
    unmark(&ctx, &mark).await;
    if refused.is_none() && !growth.is_stopped() {
        ctx.world.numbers.note(number, ids);
    }
    refused
}

/// Half an array is none.
async fn abandon(ctx: &Context, number: u32, ids: &[JobId], why: &str) {
    let note = format!("the array could not be submitted as a whole: {why}");
    tracing::warn!(number, "{note}");
    for some in ids.chunks(ENDED_MAX) {
        if let Err(error) = job::raise(&ctx.client, some, "cancel", 0, &note).await {
            tracing::warn!(number, %error, "cancel");
        }
    }
}

/// Completes what a service before this one has begun.
///
/// # Errors
/// The broker is gone.
pub async fn resume(ctx: &Arc<Context>) -> Result<(), u32> {
    let mut marks: BTreeSet<String> = match kvs::get(&ctx.client, PRIMARY, MARKS).await {
        Ok(got) => match got.node {
            Some(Node::Dir(names)) => names.into_iter().map(|(name, _)| name).collect(),
            _ => return Ok(()),
        },
        Err(ClientError::Refused(error)) if error.code == ErrorCode::NotFound => return Ok(()),
        Err(error) => return Err(number(&error)),
    };
    if marks.is_empty() {
        return Ok(());
    }
    let mut jobs = job::list(&ctx.client, &List::default()).await.map_err(|error| number(&error))?.jobs;
    jobs.retain(|job| job.slurm && job.array.is_some());
    let firsts: Vec<JobRecord> =
        jobs.iter().filter(|job| job.array.is_some_and(|array| array.id == job.id)).cloned().collect();
    let parts = ctx.world.parts.of_all(&ctx.client, &firsts).await.map_err(|error| number(&error))?;
    for first in firsts {
        let part = parts.get(&first.id).cloned().flatten();
        let Some(name) = part.and_then(|part| part.array_mark.clone()) else { continue };
        if !marks.remove(&name) {
            continue;
        }
        let growth = ctx.world.arrays.begin(first.number);
        let of_it = jobs.iter().filter(|job| job.array.is_some_and(|array| array.id == first.id));
        let there: Vec<(JobId, u32)> = of_it.filter_map(|job| Some((job.id, job.array?.index))).collect();
        let ctx = Arc::clone(ctx);
        // In a task, since it may wait for another one to be whole.
        tokio::spawn(async move {
            let ids: Vec<JobId> = there.iter().map(|(id, _)| *id).collect();
            match again(&ctx, &first).await {
                Ok((mould, all)) => {
                    let rest = all.difference(&there.iter().map(|(_, index)| *index).collect());
                    tracing::info!(number = first.number, missing = rest.len(), "an array is completed");
                    let array = Array { number: first.number, first: first.id, mould, mark: name };
                    grow(ctx, growth, array, ids, rest).await;
                }
                Err(refusal) => {
                    abandon(&ctx, first.number, &ids, &refusal.text).await;
                    unmark(&ctx, &name).await;
                }
            }
        });
    }
    // Their first jobs never were.
    for name in marks {
        unmark(ctx, &name).await;
    }
    Ok(())
}

/// What the array's jobs are made of, out of its first one, and all of its indices.
async fn again(ctx: &Context, first: &JobRecord) -> Result<(Mould, Idset), Refusal> {
    let texts = job::lookup(&ctx.client, first.id, &["jobspec", "J"]).await;
    let texts = texts.map_err(|error| of_instance(&error))?;
    let mut read = texts.iter().map(|text| serde_json::from_str::<Value>(text).unwrap_or_default());
    let (jobspec, whole) = (read.next().unwrap_or_default(), read.next().unwrap_or_default());
    let environment = whole.pointer("/attributes/system/environment").cloned().unwrap_or_default();
    let environment: Environment = serde_json::from_value(environment)
        .map_err(|error| Refusal::new(errors::ESLURM_INVALID_ARRAY, error.to_string()))?;
    let waited = jobspec.pointer("/attributes/system/slurm/dependency").and_then(Value::as_str);
    let targets = named::targets(ctx, waited.unwrap_or_default()).await;
    let targets = targets.map_err(|code| Refusal::new(code, "what it waits for is not known"))?;
    let find = |number: u32| targets.get(&number).cloned().unwrap_or_default();
    let mould = Mould::again(jobspec, environment, first.urgency, &ctx.conf.owner, &find)?;
    let all = mould.indices().map(|indices| indices.ids.clone()).unwrap_or_default();
    Ok((mould, all))
}
