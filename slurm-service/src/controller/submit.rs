//! `sbatch`: a number is answered once the job is in the log of the instance, and not before.

use super::{Answer, arrays, named, site};
use crate::context::Context;
use crate::door::Reply;
use crate::translate::allocation::whole_job;
use crate::translate::refusal::Refusal;
use crate::translate::submit::{self, Mould};
use flurm_client::{ClientError, job};
use flurm_slurm_protocol::structures::{
    JobDescMsg, ReturnCode2, StepId, SubmitResponseMsg, WillRunResponseMsg,
};
use flurm_slurm_protocol::{Body, Text, constants, errors};
use flurm_wire::ErrorCode;
use std::sync::Arc;

/// A refusal with its sentence, which clients print.
pub fn refused(refusal: Refusal) -> Reply {
    let Refusal { code, text } = refusal;
    Reply::Body(Body::ResponseSlurmRcMsg(Box::new(ReturnCode2 {
        return_code: code,
        err_msg: Text::from(text),
    })))
}

/// What there is nothing for here.
pub fn unsupported(what: &str, why: &str) -> Answer {
    Ok(refused(Refusal::unsupported(what, why)))
}

/// What the instance says against a job, as one of Slurm's numbers.
pub fn of_instance(error: &ClientError) -> Refusal {
    let ClientError::Refused(said) = error else {
        return Refusal::new(super::number(error), error.to_string());
    };
    let code = match said.code {
        ErrorCode::Invalid => errors::ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE,
        ErrorCode::Unavailable => errors::ESLURM_PARTITION_NOT_AVAIL,
        _ => super::number(error),
    };
    let hint = said.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    Refusal::new(code, format!("{}{hint}", said.text))
}

/// What a request comes to.
pub async fn mould(ctx: &Context, desc: &JobDescMsg) -> Result<Result<Mould, Refusal>, u32> {
    let targets = named::targets(ctx, desc.dependency.as_str().unwrap_or_default()).await?;
    let site = site::site(ctx).await?;
    let find = |number: u32| targets.get(&number).cloned().unwrap_or_default();
    Ok(match desc.script.is_null() {
        true => submit::allocation(desc, &site, &find),
        false => submit::batch(desc, &site, &find),
    })
}

/// REQUEST_SUBMIT_BATCH_JOB.
pub async fn batch(ctx: &Arc<Context>, desc: &JobDescMsg) -> Answer {
    if desc.script.is_null() {
        return Err(errors::ESLURM_JOB_SCRIPT_MISSING);
    }
    let mould = match mould(ctx, desc).await? {
        Ok(mould) => mould,
        Err(refusal) => return Ok(refused(refusal)),
    };
    if let Some(ids) = mould.indices().map(|indices| indices.ids.clone()).filter(|ids| ids.len() > 1) {
        return match arrays::submit(ctx, mould, &ids).await {
            Ok(number) => submitted(number),
            Err(refusal) => Ok(refused(refusal)),
        };
    }
    let index = mould.indices().and_then(|indices| indices.ids.first());
    let id = match job::submit(&ctx.client, mould.job(index, None)).await {
        Ok(id) => id,
        Err(error) => return Ok(refused(of_instance(&error))),
    };
    let number = named::number_of(ctx, id).await?;
    ctx.world.numbers.note(number, vec![id]);
    submitted(number)
}

fn submitted(number: u32) -> Answer {
    let step = StepId { step_id: constants::SLURM_BATCH_SCRIPT, ..whole_job(number) };
    Ok(Reply::Body(Body::ResponseSubmitBatchJob(Box::new(SubmitResponseMsg {
        job_id: Some(number),
        step_id_until_43: Some(constants::SLURM_BATCH_SCRIPT),
        step_id: Some(Box::new(step)),
        ..SubmitResponseMsg::default()
    }))))
}

/// REQUEST_JOB_WILL_RUN, `sbatch --test-only`: whether it could run, and when: now, if so much is free.
pub async fn will_run(ctx: &Context, desc: &JobDescMsg) -> Answer {
    let mould = match mould(ctx, desc).await? {
        Ok(mould) => mould,
        Err(refusal) => return Ok(refused(refusal)),
    };
    let status = ctx.world.resources(&ctx.client).await.map_err(|error| super::number(&error))?;
    let wanted = mould.cores_min();
    let free = |rank: u32| {
        let all = status.all.node(rank).map_or(0, |node| node.cores.len());
        let taken = status.allocated.node(rank).map_or(0, |node| node.cores.len());
        if status.up.contains(rank) { all.saturating_sub(taken) } else { 0 }
    };
    let mut found = (0, Vec::new());
    for (rank, node) in ctx.conf.nodes.iter().enumerate() {
        let rank = u32::try_from(rank).unwrap_or(u32::MAX);
        if found.0 < wanted && free(rank) > 0 {
            found.0 += free(rank);
            found.1.push(node.name.clone());
        }
    }
    let now = crate::start::now();
    let ends = status.allocated.expiration.as_secs_f64() as i64;
    let start = if found.0 >= wanted { now } else { ends.max(now) };
    let hosts: flurm_types::Hostlist = found.1.into_iter().collect();
    Ok(Reply::Body(Body::ResponseJobWillRun(Box::new(WillRunResponseMsg {
        job_id: Some(0),
        step_id: Some(Box::new(whole_job(0))),
        node_list: Text::from(hosts.to_string()),
        part_name: Text::from(mould.partition.as_str()),
        proc_cnt: u32::try_from(wanted).unwrap_or(u32::MAX),
        start_time: start,
        ..WillRunResponseMsg::default()
    }))))
}
