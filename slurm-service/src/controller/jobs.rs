//! Jobs as `squeue` and `scontrol show job` see them.

use super::{Answer, named, number, unchanged};
use crate::context::Context;
use crate::door::Reply;
use crate::translate::gather::{self, Shown};
use crate::translate::{job, state};
use crate::world::Seen;
use flurm_slurm_protocol::structures::{JobIdMsg, JobInfo, JobInfoRequest, JobInfoResponse, JobUserMsg};
use flurm_slurm_protocol::{Body, Version, errors};
use flurm_types::JobId;
use flurm_wire::job::JobRecord;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All that are active or ended lately, or those that were named.
pub async fn list(ctx: &Arc<Context>, version: Version, asked: &JobInfoRequest) -> Answer {
    let seen = ctx.world.jobs(&ctx.client).await.map_err(|error| number(&error))?;
    if unchanged(asked.last_update, seen.changed) {
        return Err(errors::SLURM_NO_CHANGE_IN_DATA);
    }
    let wanted: Option<BTreeSet<u32>> =
        asked.job_ids.as_ref().filter(|ids| !ids.is_empty()).map(|ids| ids.iter().copied().collect());
    let shown = seen.jobs.iter().filter(|job| {
        wanted.as_ref().is_none_or(|wanted| {
            wanted.contains(&job.number) || job.array.is_some_and(|array| wanted.contains(&array.number))
        })
    });
    let shown = shown.cloned().collect();
    show(ctx, version, seen, shown).await
}

/// One, or all of one array.
pub async fn single(ctx: &Arc<Context>, version: Version, asked: &JobIdMsg) -> Answer {
    let wanted = named::asked(asked.job_id, asked.step_id.as_deref());
    let seen = ctx.world.jobs(&ctx.client).await.map_err(|error| number(&error))?;
    let shown = seen
        .jobs
        .iter()
        .filter(|job| job.number == wanted || job.array.is_some_and(|array| array.number == wanted));
    let shown: Vec<Arc<JobRecord>> = shown.cloned().collect();
    if shown.is_empty() {
        return Err(errors::ESLURM_INVALID_JOB_ID);
    }
    show(ctx, version, seen, shown).await
}

/// Of one user: the owner has all of them.
pub async fn of_user(ctx: &Arc<Context>, version: Version, asked: &JobUserMsg) -> Answer {
    let seen = ctx.world.jobs(&ctx.client).await.map_err(|error| number(&error))?;
    let shown = seen.jobs.iter().filter(|job| job.userid == asked.user_id).cloned().collect();
    show(ctx, version, seen, shown).await
}

async fn show(ctx: &Arc<Context>, version: Version, seen: Seen, shown: Vec<Arc<JobRecord>>) -> Answer {
    let parts = ctx.world.parts.of_all(&ctx.client, &shown).await.map_err(|error| number(&error))?;
    let ctx = Arc::clone(ctx);
    // Ten thousand records are a while's work.
    let last_update = seen.asked;
    let made = tokio::task::spawn_blocking(move || {
        let numbers: BTreeMap<JobId, u32> = seen.jobs.iter().map(|job| (job.id, job.number)).collect();
        let heads = state::heads(seen.jobs.iter().map(|job| &**job));
        let scene = job::Scene { conf: &ctx.conf, version, numbers: &numbers, heads: &heads };
        let part = |id: JobId| parts.get(&id).and_then(|part| part.as_deref());
        let one = |shown: &Shown<'_>| JobInfo {
            array_task_str: shown.waiting.as_ref().map(gather::bitmap).into(),
            ..job::record(&scene, &shown.job, part(shown.id))
        };
        let shown: Vec<JobInfo> = gather::gather(shown.iter().map(|job| &**job)).iter().map(one).collect();
        shown
    });
    let shown = made.await.expect("records are made without panic");
    Ok(Reply::Body(Body::ResponseJobInfo(Box::new(JobInfoResponse {
        record_count: u32::try_from(shown.len()).unwrap_or(u32::MAX),
        last_update,
        last_backfill: 0,
        job_ptr: shown,
    }))))
}
