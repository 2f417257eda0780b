//! `scontrol update`, `hold`, `release`, `suspend`, `resume`, `requeue`, `top`, `notify`, `write batch_script`.

use super::submit::{of_instance, refused};
use super::{Answer, named, number, site};
use crate::context::Context;
use crate::door::Reply;
use crate::translate::name;
use crate::translate::refusal::Refusal;
use crate::translate::submit::SCRIPT;
use crate::translate::update::{self, Changes, SUSPENDED};
use flurm_client::{ClientError, job};
use flurm_jobspec::Jobspec;
use flurm_slurm_protocol::structures::{
    JobArrayRespMsg, JobArrayRespMsgItemsItem, JobDescMsg, JobIdMsg, JobNotify, JobRequeueMsg, JobScriptMsg,
    SrunUserMsg, SuspendMsg, TopJobMsg, UpdateNodeMsg,
};
use flurm_slurm_protocol::{Body, NO_VAL, Text, constants, errors};
use flurm_types::{Hostlist, Idset, JobId, JobState};
use flurm_wire::Dest;
use flurm_wire::job::{JobRecord, List, Memo, Update};
use flurm_wire::resource::{Drain, Undrain};
use serde_json::{Map, Value};

/// In front of all others.
const FIRST: u8 = 31;

fn is_waiting(record: &JobRecord) -> bool {
    matches!(record.state, JobState::New | JobState::Depend | JobState::Priority | JobState::Sched)
}

/// Jobs by the text of a message, or its number.
async fn records(ctx: &Context, text: &Text, plain: u32) -> Result<Vec<JobRecord>, u32> {
    let Some(text) = text.as_str().filter(|text| !text.is_empty()) else {
        ctx.world.arrays.whole(plain).await;
        let records = named::of_number(ctx, plain).await?;
        return if records.is_empty() { Err(errors::ESLURM_INVALID_JOB_ID) } else { Ok(records) };
    };
    let mut records = Vec::new();
    for name in name::parse(text).map_err(|refusal| refusal.code)? {
        records.extend(named::of_name(ctx, &name).await?);
    }
    Ok(records)
}

/// Of an array those that are not over; else the one.
fn active(records: Vec<JobRecord>) -> Result<Vec<JobRecord>, u32> {
    let active: Vec<JobRecord> =
        records.into_iter().filter(|record| record.state != JobState::Inactive).collect();
    if active.is_empty() { Err(errors::ESLURM_ALREADY_DONE) } else { Ok(active) }
}

/// One answer for one job or many: errors are told by job where they differ.
fn together(results: Vec<(String, Result<(), Refusal>)>) -> Answer {
    let wrong: Vec<(&String, &Refusal)> =
        results.iter().filter_map(|(name, result)| Some((name, result.as_ref().err()?))).collect();
    let Some((_, first)) = wrong.first() else { return Ok(Reply::Code(0)) };
    if results.len() == 1
        || (wrong.len() == results.len() && wrong.iter().all(|(_, other)| other.code == first.code))
    {
        return Ok(refused((*first).clone()));
    }
    let item = |(name, refusal): (&String, &Refusal)| JobArrayRespMsgItemsItem {
        error_code: refusal.code,
        job_array_id: Text::from(name.as_str()),
        err_msg: Text::from(refusal.text.as_str()),
    };
    let items = wrong.into_iter().map(item).collect();
    Ok(Reply::Body(Body::ResponseJobArrayErrors(Box::new(JobArrayRespMsg { items: Some(items) }))))
}

/// As `squeue` shows it.
fn shown(record: &JobRecord) -> String {
    match record.array {
        Some(array) => format!("{}_{}", array.number, array.index),
        None => record.number.to_string(),
    }
}

/// REQUEST_UPDATE_JOB.
pub async fn job(ctx: &Context, desc: &JobDescMsg) -> Answer {
    let number = named::asked(desc.job_id, desc.step_id.as_deref());
    let records = active(records(ctx, &desc.job_id_str, number).await?)?;
    let site = site::site(ctx).await?;
    let mut results = Vec::new();
    for record in &records {
        let part = named::part(ctx, record).await?;
        let result = match update::read(desc, &part, &site) {
            Ok(mut changes) => {
                // One that is held stays so: how nice it is counts when it is released.
                if record.urgency == 0 && desc.priority == NO_VAL {
                    changes.urgency = None;
                }
                apply(ctx, record, changes).await
            }
            Err(refusal) => Err(refusal),
        };
        results.push((shown(record), result));
    }
    together(results)
}

async fn apply(ctx: &Context, record: &JobRecord, changes: Changes) -> Result<(), Refusal> {
    let says = |error: ClientError| of_instance(&error);
    if changes.are_for_waiting() && !is_waiting(record) {
        return Err(Refusal::new(errors::ESLURM_JOB_NOT_PENDING, "the job does not wait any more"));
    }
    let Changes { urgency, mut updates, end, remarks } = changes;
    if let Some(end) = end {
        let from = record.t_run.map_or(0.0, |run| run.as_secs_f64());
        if record.state != JobState::Run || (end as f64) <= from {
            return Err(Refusal::new(
                errors::ESLURM_JOB_NOT_RUNNING,
                "EndTime: the job does not run until then",
            ));
        }
        updates.insert("attributes.system.duration".to_owned(), Value::from(end as f64 - from));
    }
    if !updates.is_empty() {
        let update = Update { id: record.id, updates, dry_run: false };
        ctx.client.call(Dest::Leader, &update).await.map_err(says)?;
    }
    if let Some(urgency) = urgency {
        job::set_urgency(&ctx.client, record.id, urgency).await.map_err(says)?;
    }
    remark(ctx, record.id, remarks).await.map_err(says)
}

async fn remark(ctx: &Context, id: JobId, memo: Map<String, Value>) -> Result<(), ClientError> {
    if !memo.is_empty() {
        ctx.client.call(Dest::Leader, &Memo { id, memo }).await?;
    }
    Ok(())
}

/// REQUEST_SUSPEND: all processes of the job and its steps stop, or go on; what it has it keeps.
pub async fn suspend(ctx: &Context, asked: &SuspendMsg) -> Answer {
    let number_asked = named::asked(asked.job_id, asked.step_id.as_deref());
    let records = active(records(ctx, &asked.job_id_str, number_asked).await?)?;
    let stop = u32::from(asked.op) == constants::SUSPEND_JOB;
    // This answer has no place for a sentence.
    let mut code = 0;
    for record in &records {
        if let Err(refusal) = stop_or_go(ctx, record, stop).await? {
            code = refusal.code;
        }
    }
    Ok(Reply::Code(code))
}

async fn stop_or_go(ctx: &Context, record: &JobRecord, stop: bool) -> Result<Result<(), Refusal>, u32> {
    if record.state != JobState::Run {
        return Ok(Err(Refusal::new(errors::ESLURM_JOB_PENDING, "the job does not run")));
    }
    let is_stopped = is_suspended(record);
    if is_stopped == stop {
        let (code, text) = match stop {
            true => (errors::ESLURM_DISABLED, "it is suspended already"),
            false => (errors::ESLURM_JOB_NOT_SUSPENDED, "it is not suspended"),
        };
        return Ok(Err(Refusal::new(code, text)));
    }
    let signum = if stop { libc_signal::STOP } else { libc_signal::CONT };
    let list = List { within: Some(record.id), states: vec![JobState::Run], ..List::default() };
    let steps = job::list(&ctx.client, &list).await.map_err(|error| number(&error))?;
    let ids: Vec<JobId> = std::iter::once(record.id).chain(steps.jobs.iter().map(|step| step.id)).collect();
    job::kill(&ctx.client, &ids, signum).await.map_err(|error| number(&error))?;
    let mut memo = Map::new();
    memo.insert(SUSPENDED.to_owned(), if stop { Value::from(crate::start::now()) } else { Value::Null });
    remark(ctx, record.id, memo).await.map_err(|error| number(&error))?;
    Ok(Ok(()))
}

/// Numbers of Linux.
mod libc_signal {
    pub const STOP: i32 = rustix::process::Signal::STOP.as_raw();
    pub const CONT: i32 = rustix::process::Signal::CONT.as_raw();
}

/// By `scontrol suspend`.
pub fn is_suspended(record: &JobRecord) -> bool {
    let user = record.annotations.as_ref().and_then(|annotations| annotations.get("user"));
    user.and_then(|user| user.get(SUSPENDED)).is_some_and(|since| !since.is_null())
}

/// REQUEST_JOB_REQUEUE: a job of ours runs once; `flurm retry` submits it again as another.
pub async fn requeue(ctx: &Context, asked: &JobRequeueMsg) -> Answer {
    let number = named::asked(asked.job_id, asked.step_id.as_deref());
    records(ctx, &asked.job_id_str, number).await?;
    Ok(refused(Refusal::new(errors::ESLURM_DISABLED, "a job runs once here; `flurm retry` submits it again")))
}

/// REQUEST_TOP_JOB: in front of all that wait.
pub async fn top(ctx: &Context, asked: &TopJobMsg) -> Answer {
    let records = active(records(ctx, &asked.job_id_str, asked.job_id.unwrap_or(0)).await?)?;
    let mut results = Vec::new();
    for record in &records {
        let changes = Changes { urgency: Some(FIRST), ..Changes::default() };
        results.push((shown(record), apply(ctx, record, changes).await));
    }
    together(results)
}

/// REQUEST_JOB_NOTIFY: a line for who sits before `salloc` or `srun`.
pub async fn notify(ctx: &Context, asked: &JobNotify) -> Answer {
    let record = named::one(ctx, asked.step_id.job_id).await?;
    let part = named::part(ctx, &record).await?;
    let Some(client) = super::allocate::client(&part) else {
        let why = "a batch job's output is its own: nobody listens there";
        return Ok(refused(Refusal::unsupported("notify", why)));
    };
    let step_id = Some(Box::new(crate::translate::allocation::whole_job(record.number)));
    let message = SrunUserMsg { job_id: Some(record.number), step_id, msg: asked.message.clone() };
    let told = super::tell::tell(ctx, client.told, Body::SrunUserMsg(Box::new(message))).await;
    told.map(|()| Reply::Code(0)).map_err(|_| errors::SLURM_COMMUNICATIONS_CONNECTION_ERROR)
}

/// REQUEST_BATCH_SCRIPT: the script as it came.
pub async fn script(ctx: &Context, asked: &JobIdMsg) -> Answer {
    let record = named::one(ctx, named::asked(asked.job_id, asked.step_id.as_deref())).await?;
    let values = job::lookup(&ctx.client, record.id, &["jobspec"]).await.map_err(|error| number(&error))?;
    let jobspec = values.first().and_then(|text| Jobspec::parse(text).ok());
    let files = jobspec.map(|jobspec| jobspec.attributes().files.clone()).unwrap_or_default();
    // `flurm batch` calls it so.
    let file = files.get(SCRIPT).or_else(|| files.get("script"));
    let bytes = file.and_then(|file| file.bytes()).ok_or(errors::ESLURM_JOB_SCRIPT_MISSING)?;
    let text = Text::new(&bytes);
    Ok(Reply::Body(Body::ResponseBatchScript(Box::new(JobScriptMsg { msg: text.clone(), data: text }))))
}

/// REQUEST_UPDATE_NODE: no new jobs on it, or again.
pub async fn node(ctx: &Context, asked: &UpdateNodeMsg) -> Answer {
    let list = asked.node_names.as_str().unwrap_or_default();
    let hosts: Hostlist = list.parse().map_err(|_| errors::ESLURM_INVALID_NODE_NAME)?;
    let mut ranks = Idset::new();
    for host in hosts.iter() {
        let at = ctx.conf.nodes.iter().position(|node| node.name == *host);
        let rank = at.and_then(|at| u32::try_from(at).ok()).ok_or(errors::ESLURM_INVALID_NODE_NAME)?;
        ranks.insert(rank);
    }
    let others =
        [&asked.comment, &asked.extra, &asked.features, &asked.features_act, &asked.gres, &asked.node_addr];
    if others.iter().any(|text| !text.is_null()) || asked.weight != NO_VAL {
        return Ok(refused(Refusal::unsupported("update node", "only State and Reason can be changed")));
    }
    let reason = asked.reason.lossy().into_owned();
    let targets = ranks.to_string();
    let done = match asked.node_state {
        state if state & constants::NODE_STATE_DRAIN != 0 && state != NO_VAL => {
            ctx.client.call(Dest::Leader, &Drain { targets, reason, overwrite: true }).await
        }
        constants::NODE_RESUME => ctx.client.call(Dest::Leader, &Undrain { targets, reason }).await,
        state if state != NO_VAL && state & constants::NODE_STATE_UNDRAIN != 0 => {
            ctx.client.call(Dest::Leader, &Undrain { targets, reason }).await
        }
        _ => return Err(errors::ESLURM_INVALID_NODE_STATE),
    };
    match done {
        Ok(_) => Ok(Reply::Code(0)),
        Err(error) => Ok(refused(of_instance(&error))),
    }
}
