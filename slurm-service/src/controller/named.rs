//! Jobs by what Slurm's commands call them.

use super::number;
use crate::context::Context;
use crate::translate::name::Name;
use crate::translate::part::{KEY, Part};
use crate::translate::site::Target;
use flurm_client::job;
use flurm_slurm_protocol::errors;
use flurm_slurm_protocol::structures::StepId;
use flurm_types::{JobId, R};
use flurm_wire::job::{JobRecord, List};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Jobs in one question.
const ASKED_MAX: usize = 4096;

/// Jobs of that number; an array's number is that of its first job, and means all of them.
pub async fn of_number(ctx: &Context, number: u32) -> Result<Vec<JobRecord>, u32> {
    Ok(of_numbers(ctx, &[number]).await?.remove(&number).unwrap_or_default())
}

/// The same for several, with one question.
pub async fn of_numbers(ctx: &Context, numbers: &[u32]) -> Result<BTreeMap<u32, Vec<JobRecord>>, u32> {
    let mut found: BTreeMap<u32, Vec<JobRecord>> = BTreeMap::new();
    let all: BTreeMap<u32, Vec<JobId>> =
        numbers.iter().filter_map(|number| Some((*number, ctx.world.numbers.find(*number)?))).collect();
    let first = |number: &u32| Some((*number, ctx.world.numbers.first(*number)?));
    let first: BTreeMap<u32, JobId> =
        numbers.iter().filter(|number| !all.contains_key(number)).filter_map(first).collect();
    let mut ids: Vec<JobId> = all.values().flatten().chain(first.values()).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let mut records: BTreeMap<JobId, JobRecord> = BTreeMap::new();
    for ids in ids.chunks(ASKED_MAX) {
        let list = List { ids: ids.to_vec(), known: true, ..List::default() };
        let listed = job::list(&ctx.client, &list).await.map_err(|error| super::number(&error))?;
        records.extend(listed.jobs.into_iter().map(|record| (record.id, record)));
    }
    for (number, ids) in all {
        let mut records: Vec<JobRecord> = ids.iter().filter_map(|id| records.get(id).cloned()).collect();
        records.sort_by_key(|record| record.number);
        found.insert(number, records);
    }
    for (number, id) in first {
        // Of an array we know the others only if it came through us.
        let is_all = |record: &&JobRecord| record.array.is_none_or(|array| array.number != number);
        if let Some(record) = records.get(&id).filter(is_all) {
            found.insert(number, vec![record.clone()]);
        }
    }
    let numbers: Vec<u32> = numbers.iter().filter(|number| !found.contains_key(number)).copied().collect();
    if numbers.is_empty() {
        return Ok(found);
    }
    // It may not have been heard of yet, or never have been.
    let one = List { max_entries: 1, ..List::default() };
    let newest = job::list(&ctx.client, &one).await.map_err(|error| super::number(&error))?;
    let newest = newest.jobs.first().map_or(0, |record| record.number);
    if numbers.iter().all(|number| *number > newest) {
        return Ok(found);
    }
    let listed = job::list(&ctx.client, &List::default()).await.map_err(|error| super::number(&error))?;
    for record in listed.jobs.into_iter().rev() {
        let array = record.array.map(|array| array.number);
        for number in &numbers {
            if array == Some(*number) || record.number == *number {
                found.entry(*number).or_default().push(record.clone());
            }
        }
    }
    // The first job's number is the array's, and an element's own is its own.
    for (number, records) in found.iter_mut().filter(|(number, _)| numbers.contains(number)) {
        let whole = records.iter().any(|record| record.array.is_some_and(|array| array.number == *number));
        if !whole {
            records.retain(|record| record.number == *number);
            // Of an array some may still be on their way here.
            ctx.world.numbers.note(*number, records.iter().map(|record| record.id).collect());
        }
    }
    Ok(found)
}

/// One job: not all of an array.
pub async fn one(ctx: &Context, number: u32) -> Result<JobRecord, u32> {
    let mut records = of_number(ctx, number).await?;
    let at = records.iter().position(|record| record.number == number);
    at.map(|at| records.swap_remove(at)).ok_or(errors::ESLURM_INVALID_JOB_ID)
}

/// The jobs of a name, once an array is whole.
pub async fn of_name(ctx: &Context, name: &Name) -> Result<Vec<JobRecord>, u32> {
    ctx.world.arrays.whole(name.number).await;
    let mut records = of_number(ctx, name.number).await?;
    if let Some(indices) = &name.indices {
        records.retain(|record| record.array.is_some_and(|array| indices.contains(array.index)));
    }
    if records.is_empty() { Err(errors::ESLURM_INVALID_JOB_ID) } else { Ok(records) }
}

/// What dependencies can name.
pub async fn targets(ctx: &Context, text: &str) -> Result<BTreeMap<u32, Vec<Target>>, u32> {
    let numbers: Vec<u32> =
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect();
    for number in &numbers {
        ctx.world.arrays.whole(*number).await;
    }
    let target = |record: &JobRecord| Target { id: record.id, index: record.array.map(|array| array.index) };
    let found = of_numbers(ctx, &numbers).await?;
    Ok(found.into_iter().map(|(number, records)| (number, records.iter().map(target).collect())).collect())
}

/// Of which job a message speaks: releases have it in one of two places.
pub fn asked(job_id: Option<u32>, step_id: Option<&StepId>) -> u32 {
    step_id.map(|step| step.job_id).or(job_id).unwrap_or(0)
}

/// What Slurm's number of a new job is.
pub async fn number_of(ctx: &Context, id: JobId) -> Result<u32, u32> {
    Ok(record(ctx, id).await?.number)
}

pub async fn record(ctx: &Context, id: JobId) -> Result<JobRecord, u32> {
    let list = List { ids: vec![id], ..List::default() };
    let mut listed = job::list(&ctx.client, &list).await.map_err(|error| number(&error))?;
    listed.jobs.pop().ok_or(errors::ESLURM_INVALID_JOB_ID)
}

/// What the job has of Slurm's; of a job that came another way, what follows from its record.
pub async fn part(ctx: &Context, record: &JobRecord) -> Result<Part, u32> {
    #[derive(Deserialize)]
    struct Jobspec {
        #[serde(default)]
        attributes: Attributes,
    }
    #[derive(Default, Deserialize)]
    struct Attributes {
        #[serde(default)]
        system: BTreeMap<String, serde_json::Value>,
    }
    let values = job::lookup(&ctx.client, record.id, &["jobspec"]).await.map_err(|error| number(&error))?;
    let jobspec: Option<Jobspec> = values.first().and_then(|text| serde_json::from_str(text).ok());
    let part = jobspec.and_then(|mut jobspec| jobspec.attributes.system.remove(KEY));
    let part = part.and_then(|part| serde_json::from_value(part).ok());
    Ok(part.unwrap_or_else(|| Part {
        ntasks: record.ntasks,
        cpus_per_task: (record.ncores / record.ntasks.max(1)).max(1),
        ..Part::default()
    }))
}

/// What it was given, if it was.
pub async fn r(ctx: &Context, id: JobId) -> Result<Option<R>, u32> {
    match job::lookup(&ctx.client, id, &["R"]).await {
        Ok(values) => Ok(values.first().and_then(|text| serde_json::from_str(text).ok())),
        Err(flurm_client::ClientError::Refused(_)) => Ok(None),
        Err(error) => Err(number(&error)),
    }
}
