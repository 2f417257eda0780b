//! Views of the cluster as a whole: configuration, statistics, priorities, and tables that are empty here.

use super::{Answer, number};
use crate::context::Context;
use crate::door::Reply;
use crate::start::now;
use crate::translate::{config, stats};
use flurm_client::job;
use flurm_slurm_protocol::structures::{
    BbStatusRespMsg, ConfigFile, ConfigResponseMsg, ControlStatusMsg, CtlConfResponse, JobStepInfoResponse,
    LicenseInfoMsg, PriorityFactorsResponseMsg, ReservationInfoResponse,
};
use flurm_slurm_protocol::{Body, Text, Version};
use flurm_wire::job::List;

/// There is no federation.
pub fn federation() -> Answer {
    Ok(Reply::Body(Body::ResponseFedInfo(Box::default())))
}

/// There are no reservations: the whole instance is its owner's.
pub fn reservations() -> Answer {
    Ok(Reply::Body(Body::ResponseReservationInfo(Box::new(ReservationInfoResponse {
        last_update: now(),
        reserve: Some(Vec::new()),
        reservation_array: Some(Vec::new()),
        ..ReservationInfoResponse::default()
    }))))
}

pub fn licenses() -> Answer {
    Ok(Reply::Body(Body::ResponseLicenseInfo(Box::new(LicenseInfoMsg {
        last_update: now(),
        ..LicenseInfoMsg::default()
    }))))
}

/// None of jobs that have none.
pub fn no_steps() -> Answer {
    Ok(Reply::Body(Body::ResponseJobStepInfo(Box::new(JobStepInfoResponse {
        last_update: now(),
        step: Some(Vec::new()),
        job_steps: Some(Vec::new()),
        ..JobStepInfoResponse::default()
    }))))
}

pub fn burst_buffers() -> Answer {
    Ok(Reply::Body(Body::ResponseBurstBufferStatus(Box::<BbStatusRespMsg>::default())))
}

pub fn control_status(ctx: &Context) -> Answer {
    let status = ControlStatusMsg { backup_inx: 0, control_time: ctx.started };
    Ok(Reply::Body(Body::ResponseControlStatus(Box::new(status))))
}

/// For clients that know nothing but our address.
pub fn files(ctx: &Context) -> Answer {
    let file = ConfigFile {
        exists: true,
        execute: Some(false),
        file_name: Text::from(crate::start::FILE),
        file_content: Text::from(ctx.conf.to_string()),
    };
    Ok(Reply::Body(Body::ResponseConfig(Box::new(ConfigResponseMsg {
        config_files: Some(vec![file]),
        slurmd_spooldir: Text::NULL,
    }))))
}

pub async fn configuration(ctx: &Context, version: Version) -> Answer {
    let one = List { max_entries: 1, ..List::default() };
    let newest = job::list(&ctx.client, &one).await.map_err(|error| number(&error))?;
    let next = newest.jobs.first().map_or(1, |job| job.number.saturating_add(1));
    let conf = config::record(&ctx.conf, version, ctx.started, now(), next);
    let old = Body::ResponseBuildInfoUntil44(Box::new(conf.clone()));
    Ok(Reply::Body(match old.number(version) {
        Some(_) => old,
        None => Body::ResponseBuildInfo(Box::new(CtlConfResponse { build_ptr: conf })),
    }))
}

pub async fn statistics(ctx: &Context) -> Answer {
    let none = List { max_entries: 1, ..List::default() };
    let listed = job::list(&ctx.client, &none).await.map_err(|error| number(&error))?;
    let made = stats::record(&listed.stats, ctx.started, now());
    Ok(Reply::Body(Body::ResponseStatsInfo(Box::new(made))))
}

pub async fn priorities(ctx: &Context) -> Answer {
    let seen = ctx.world.jobs(&ctx.client).await.map_err(|error| number(&error))?;
    let pending = seen.jobs.into_iter().filter(|job| job.state.is_pending());
    let pending: Vec<_> = pending.collect();
    let parts = ctx.world.parts.of_all(&ctx.client, &pending).await.map_err(|error| number(&error))?;
    let account = |job| parts.get(&job).and_then(|part| part.as_deref()?.account.clone());
    let list = pending.iter().map(|job| stats::priority(job, account(job.id))).collect();
    Ok(Reply::Body(Body::ResponsePriorityFactors(Box::new(PriorityFactorsResponseMsg {
        priority_factors_list: Some(list),
    }))))
}
