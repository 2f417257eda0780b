//! `sbatch`: a number is answered once the job is in the log of the instance, and not before.

use super::{Answer, arrays, named, site};
use crate::context::Context;
use crate::door::Reply;
use crate::translate::allocation::whole_job;
use crate::translate::partition;
use crate::translate::refusal::Refusal;
use crate::translate::room::Amount;
use crate::translate::site::SiteNode;
use crate::translate::submit::{self, Mould};
use flurm_client::{ClientError, job};
use flurm_slurm_protocol::structures::{
    JobDescMsg, ReturnCode2, StepId, SubmitResponseMsg, WillRunResponseMsg,
};
use flurm_slurm_protocol::{Body, Text, constants, errors};
use flurm_types::R;
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

/// REQUEST_JOB_WILL_RUN, `sbatch --test-only`: whether it could run, on which nodes, and when, where that is known: there is
/// room for it, and nobody is before it. When others end nobody knows, so the time is 0 then, which clients call unknown.
pub async fn will_run(ctx: &Context, desc: &JobDescMsg) -> Answer {
    let mould = match mould(ctx, desc).await? {
        Ok(mould) => mould,
        Err(refusal) => return Ok(refused(refusal)),
    };
    let status = ctx.world.resources(&ctx.client).await.map_err(|error| super::number(&error))?;
    let queues = ctx.world.queues(&ctx.client).await.map_err(|error| super::number(&error))?;
    let queue = queues.queues.iter().find(|queue| partition::name(&queue.name) == mould.partition);
    let nodes = |is_free: bool| -> Vec<(SiteNode, Amount)> {
        let amount = |r: &R, rank| {
            let node = r.node(rank);
            node.map_or_else(Amount::default, |node| Amount {
                cores: node.cores.len(),
                gpus: node.gpus.len(),
            })
        };
        let of_queue = |rank| queue.is_none_or(|queue| queue.ranks.is_empty() || queue.ranks.contains(rank));
        let nodes = site::nodes(ctx).into_iter().filter(|node| of_queue(node.rank));
        let free = |node: SiteNode| {
            let (all, taken) = (amount(&status.all, node.rank), amount(&status.allocated, node.rank));
            let free = Amount {
                cores: all.cores.saturating_sub(taken.cores),
                gpus: all.gpus.saturating_sub(taken.gpus),
            };
            match (is_free, status.up.contains(node.rank)) {
                (false, _) => (node, all),
                (true, true) => (node, free),
                (true, false) => (node, Amount::default()),
            }
        };
        nodes.map(free).collect()
    };
    let goes_on = queues.started && queue.is_none_or(|queue| queue.started);
    let now =
        if goes_on && queues.pending == 0 && mould.is_ready() { mould.place(&nodes(true)) } else { None };
    let start = match &now {
        Some(_) => mould.part.begin.unwrap_or(0).max(crate::start::now()),
        None => 0,
    };
    let place =
        now.or_else(|| mould.place(&nodes(false))).ok_or(errors::ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE)?;
    let names = place.ranks.iter().filter_map(|rank| ctx.conf.nodes.get(rank as usize));
    let hosts: flurm_types::Hostlist = names.map(|node| node.name.clone()).collect();
    Ok(Reply::Body(Body::ResponseJobWillRun(Box::new(WillRunResponseMsg {
        job_id: Some(0),
        step_id: Some(Box::new(whole_job(0))),
        node_list: Text::from(hosts.to_string()),
        part_name: Text::from(mould.partition.as_str()),
        proc_cnt: u32::try_from(place.cores).unwrap_or(u32::MAX),
        start_time: start,
        ..WillRunResponseMsg::default()
    }))))
}
