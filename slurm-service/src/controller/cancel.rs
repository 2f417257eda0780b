//! `scancel`: jobs, jobs of arrays, signals.
//!
//! Slurm's KILL ends the job and all of it. Another signal goes to the job's steps, with `--batch` to the script alone, with
//! `--full` to both.

use super::{Answer, named, number};
use crate::context::Context;
use crate::door::Reply;
use crate::translate::allocation::whole_job;
use crate::translate::name;
use flurm_client::job;
use flurm_slurm_protocol::structures::{
    JobStepKillMsg, KillJobsMsg, KillJobsRespMsg, KillJobsRespMsgItemsItem, SelectedStep,
};
use flurm_slurm_protocol::{Body, NO_VAL, Text, Version, constants, errors};
use flurm_types::{JobId, JobState};
use flurm_wire::job::{JobRecord, List};

/// SIGKILL, which means the end of a job.
const KILL: u16 = 9;

/// REQUEST_KILL_JOB, and REQUEST_CANCEL_JOB_STEP where it is about a whole job or its script.
pub async fn kill(ctx: &Context, asked: &JobStepKillMsg) -> Answer {
    let is_script = asked.step_id.step_id == constants::SLURM_BATCH_SCRIPT;
    let flags = asked.flags | if is_script { constants::KILL_JOB_BATCH as u16 } else { 0 };
    let records = match asked.sjob_id.as_str().filter(|text| !text.is_empty()) {
        Some(text) => {
            let mut records = Vec::new();
            for name in name::parse(text).map_err(|refusal| refusal.code)? {
                if ends(asked.signal, flags) && name.indices.is_none() {
                    ctx.world.arrays.stop(name.number);
                }
                records.extend(named::of_name(ctx, &name).await?);
            }
            records
        }
        None => {
            let number = asked.step_id.job_id;
            if ends(asked.signal, flags) {
                ctx.world.arrays.stop(number);
            }
            named::of_name(ctx, &name::Name { number, indices: None }).await?
        }
    };
    if records.is_empty() {
        return Err(errors::ESLURM_INVALID_JOB_ID);
    }
    // Of several, those that are over are left alone.
    let active: Vec<&JobRecord> =
        records.iter().filter(|record| record.state != JobState::Inactive).collect();
    if active.is_empty() {
        return Err(errors::ESLURM_ALREADY_DONE);
    }
    signal(ctx, &active, asked.signal, flags).await.map(|()| Reply::Code(0))
}

/// Whether it is the end of the job, and no signal to some of it.
fn ends(signal: u16, flags: u16) -> bool {
    let some = constants::KILL_JOB_BATCH | constants::KILL_STEPS_ONLY | constants::KILL_FULL_JOB;
    signal == KILL && u32::from(flags) & some == 0
}

/// Sends a signal in Slurm's sense.
async fn signal(ctx: &Context, records: &[&JobRecord], signal: u16, flags: u16) -> Result<(), u32> {
    let has = |flag: u32| u32::from(flags) & flag != 0;
    let ids: Vec<JobId> = records.iter().map(|record| record.id).collect();
    if ends(signal, flags) {
        let results = job::raise(&ctx.client, &ids, "cancel", 0, "").await.map_err(|error| number(&error))?;
        return first_error(results);
    }
    let running: Vec<&JobRecord> =
        records.iter().copied().filter(|record| record.state == JobState::Run).collect();
    if running.is_empty() {
        return Err(errors::ESLURM_JOB_NOT_RUNNING);
    }
    let mut ids: Vec<JobId> = Vec::new();
    if has(constants::KILL_JOB_BATCH) || has(constants::KILL_FULL_JOB) {
        ids.extend(running.iter().map(|record| record.id));
    }
    if !has(constants::KILL_JOB_BATCH) {
        for record in &running {
            let list = List { within: Some(record.id), states: vec![JobState::Run], ..List::default() };
            let steps = job::list(&ctx.client, &list).await.map_err(|error| number(&error))?;
            ids.extend(steps.jobs.iter().map(|step| step.id));
        }
    }
    let results = job::kill(&ctx.client, &ids, i32::from(signal)).await.map_err(|error| number(&error))?;
    first_error(results)
}

fn first_error(results: Vec<Result<(), flurm_wire::WireError>>) -> Result<(), u32> {
    match results.into_iter().find_map(Result::err) {
        None => Ok(()),
        Some(error) => Err(match error.code {
            flurm_wire::ErrorCode::NotFound => errors::ESLURM_INVALID_JOB_ID,
            _ => errors::ESLURM_ALREADY_DONE,
        }),
    }
}

/// REQUEST_KILL_JOBS, `scancel --ctld`: filters are ours to apply.
pub async fn kill_many(ctx: &Context, asked: &KillJobsMsg) -> Answer {
    let text = |text: &Text| text.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let mut items = Vec::new();
    let mut records: Vec<JobRecord> = Vec::new();
    if asked.jobs_array.is_empty() {
        ctx.world.arrays.all_whole().await;
        let listed = job::list(&ctx.client, &List::default()).await.map_err(|error| number(&error))?;
        records = listed.jobs.into_iter().filter(|record| record.state != JobState::Inactive).collect();
    }
    for word in asked.jobs_array.iter().filter_map(text) {
        let mut found = Vec::new();
        let mut code = None;
        match name::parse(&word) {
            Err(refusal) => code = Some(refusal.code),
            Ok(names) => {
                for name in names {
                    if ends(asked.signal, asked.flags) && name.indices.is_none() {
                        ctx.world.arrays.stop(name.number);
                    }
                    match named::of_name(ctx, &name).await {
                        Ok(records) => found.extend(records),
                        Err(number) => code = Some(number),
                    }
                }
            }
        }
        if let Some(code) = code {
            let number =
                word.split(['_', '+']).next().and_then(|digits| digits.parse().ok()).unwrap_or(NO_VAL);
            items.push(item(number, code));
        }
        records.extend(found);
    }
    let (job_name, partition, account) =
        (text(&asked.job_name), text(&asked.partition), text(&asked.account));
    records.retain(|record| {
        job_name.as_ref().is_none_or(|name| record.name == *name)
            && partition
                .as_ref()
                .is_none_or(|name| crate::translate::partition::name(&record.queue) == name.as_str())
            && account.as_ref().is_none_or(|name| record.bank == *name)
            && has_state(record, asked.state)
    });
    for record in &records {
        let result = match record.state {
            JobState::Inactive => Err(errors::ESLURM_ALREADY_DONE),
            _ => signal(ctx, &[record], asked.signal, asked.flags).await,
        };
        if let Err(code) = result {
            items.push(item(record.number, code));
        }
    }
    Ok(Reply::Body(Body::ResponseKillJobs(Box::new(KillJobsRespMsg { items: Some(items) }))))
}

/// Slurm's states that a filter may name; beyond them is any.
fn has_state(record: &JobRecord, state: u32) -> bool {
    match state {
        constants::JOB_PENDING => {
            matches!(record.state, JobState::Depend | JobState::Priority | JobState::Sched)
        }
        constants::JOB_RUNNING => record.state == JobState::Run,
        _ => true,
    }
}

fn item(number: u32, code: u32) -> KillJobsRespMsgItemsItem {
    let explained = errors::explain(code, Version::LAST).map(|(_, meaning)| meaning).unwrap_or_default();
    KillJobsRespMsgItemsItem {
        error_code: code,
        error_msg: Text::from(explained),
        id: SelectedStep {
            step_id: whole_job(number),
            array_task_id: NO_VAL,
            het_job_offset: NO_VAL,
            ..SelectedStep::default()
        },
        real_job_id: NO_VAL,
        sibling_name: Text::NULL,
    }
}
