//! Allocations of `salloc` and `srun`: granted at once, or later by a message to the client's port; given back by its word,
//! or when it is no longer there.
//!
//! ```text
//!   submitted ── granted in time ──► answered with its nodes ──┐
//!       └── not yet ──► answered without ── granted ──► told ──┤
//!                                                              ├── the client says so (5017) ──► its task ends with that code
//!                                                              ├── the job ends ──► the client is told
//!                                                              └── the client is gone ──► cancelled
//! ```

use super::submit::{mould, of_instance, refused};
use super::tell::{Listener, is_gone, tell};
use super::{Answer, named, number};
use crate::context::Context;
use crate::door::{Reply, Request};
use crate::translate::allocation::{response, whole_job};
use crate::translate::part::{Kind, Part};
use crate::translate::partition;
use crate::translate::refusal::Refusal;
use flurm_client::{ClientError, job};
use flurm_slurm_protocol::structures::{
    CompleteJobAllocationMsg, JobAllocInfoMsg, JobDescMsg, JobIdMsg, JobInfoListMsg,
    ResourceAllocationResponseMsg, ReturnCode, SrunTimeoutMsg, StepIdMsg,
};
use flurm_slurm_protocol::{Body, Version, errors};
use flurm_types::{JobId, JobState};
use flurm_wire::Dest;
use flurm_wire::job::{JobRecord, List, Stdin};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A job that can start at once does so within this time; a client waits ten seconds for its answer.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How often a client is asked whether it is there.
const PING: Duration = Duration::from_secs(5);

/// A client is gone when its port was closed, or not to be reached, so often in a row; not when it is slow.
const PINGS_LOST_MAX: u32 = 3;

/// Bits of an answer to REQUEST_JOB_READY: nodes, job, prolog.
const READY: u32 = 7;

/// REQUEST_RESOURCE_ALLOCATION.
pub async fn request(ctx: &Arc<Context>, request: &Request, desc: &JobDescMsg) -> Answer {
    let mut mould = match mould(ctx, desc).await? {
        Ok(mould) => mould,
        Err(refusal) => return Ok(refused(refusal)),
    };
    // Without another port it is `salloc --no-shell`: nobody stays.
    let listens = desc.alloc_resp_port > 0 && desc.other_port > 0;
    mould.part.alloc_port = listens.then_some(desc.alloc_resp_port);
    mould.part.other_port = listens.then_some(desc.other_port);
    mould.part.alloc_host = Some(request.peer.ip().to_string());
    mould.part.alloc_version = Some(request.version.to_wire());
    let id = match job::submit(&ctx.client, mould.job(None, None)).await {
        Ok(id) => id,
        Err(error) => return Ok(refused(of_instance(&error))),
    };
    let granted = match timeout(AT_ONCE, granted(ctx, id)).await {
        Ok(Ok(())) => true,
        Ok(Err(refusal)) => return Ok(refused(refusal)),
        Err(_) => false,
    };
    if !granted && desc.immediate == 1 {
        let note = "nothing was free at once";
        job::raise(&ctx.client, &[id], "cancel", 0, note).await.map_err(|error| number(&error))?;
        return Err(errors::ESLURM_CAN_NOT_START_IMMEDIATELY);
    }
    let record = named::record(ctx, id).await?;
    if let Some(client) = client(&mould.part) {
        let (ctx, record) = (Arc::clone(ctx), record.clone());
        tokio::spawn(async move { attend(&ctx, &record, client, granted).await });
    }
    let told = allocated(ctx, &record, &mould.part).await?;
    Ok(Reply::Body(Body::ResponseResourceAllocation(Box::new(told))))
}

/// The job starts; or why it never will.
async fn granted(ctx: &Context, id: JobId) -> Result<(), Refusal> {
    let mut never = None;
    let ids = [id];
    let seen = job::wait(&ctx.client, &ids, Some("start"), |job| {
        if !job.seen {
            let note = job.exception.as_ref().map(|exception| exception.note.clone());
            never = Some(note.unwrap_or_else(|| "it ended before it began".to_owned()));
        }
        Ok::<(), ClientError>(())
    });
    seen.await.map_err(|error| of_instance(&error))?;
    match never {
        None => Ok(()),
        Some(note) => Err(Refusal::new(errors::ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE, note)),
    }
}

/// Where the client of an allocation listens.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// For its nodes, as long as it waits for them.
    granted: Listener,
    /// For all else, until it ends.
    pub told: Listener,
}

/// If it does.
pub fn client(part: &Part) -> Option<Client> {
    let ip: IpAddr = part.alloc_host.as_ref()?.parse().ok()?;
    let version = Version::from_wire(part.alloc_version?)?;
    let at = |port| Listener { address: SocketAddr::new(ip, port), version };
    Some(Client { granted: at(part.alloc_port?), told: at(part.other_port?) })
}

/// Allocations whose clients a service before this one has attended to: those of jobs up to `newest`, which was the newest
/// before the first question was answered.
///
/// # Errors
/// The broker is gone.
pub async fn resume(ctx: Arc<Context>, newest: Option<JobId>) -> Result<(), ClientError> {
    let Some(newest) = newest else { return Ok(()) };
    let active = [JobState::Depend, JobState::Priority, JobState::Sched, JobState::Run];
    let before = Some(JobId(newest.0.saturating_add(1)));
    let list = List { states: active.to_vec(), before, ..List::default() };
    let listed = job::list(&ctx.client, &list).await?;
    let submitted: Vec<JobRecord> = listed.jobs.into_iter().filter(|record| record.slurm).collect();
    let parts = ctx.world.parts.of_all(&ctx.client, &submitted).await?;
    for record in submitted {
        let Some(Some(part)) = parts.get(&record.id) else { continue };
        if let (Kind::Allocation, Some(client)) = (part.kind, client(part)) {
            let ctx = Arc::clone(&ctx);
            let granted = record.state == JobState::Run;
            tokio::spawn(async move { attend(&ctx, &record, client, granted).await });
        }
    }
    Ok(())
}

/// For as long as the job is there: tells its client what happens, and looks whether it is there.
async fn attend(ctx: &Context, record: &JobRecord, client: Client, mut is_granted: bool) {
    let ids = [record.id];
    let over = job::wait(&ctx.client, &ids, None, |_| Ok::<(), ClientError>(()));
    tokio::pin!(over);
    let mut lost = 0;
    loop {
        // A client that waits takes no other message than the allocation or the end.
        if !is_granted {
            tokio::select! {
                _ = &mut over => break,
                started = granted(ctx, record.id) => if started.is_ok() {
                    is_granted = true;
                    if let Err(error) = grant(ctx, record, client.granted).await {
                        tracing::debug!(job = record.number, %error, "nobody takes the allocation");
                        lost = if is_gone(&error) { PINGS_LOST_MAX - 1 } else { 0 };
                    }
                } else {
                    // It ended before it began.
                    let _ = (&mut over).await;
                    break;
                },
            }
        }
        tokio::select! {
            _ = &mut over => break,
            () = tokio::time::sleep(PING) => {}
        }
        lost = match tell(ctx, client.told, Body::SrunPing).await {
            Ok(()) => 0,
            Err(error) if is_gone(&error) => lost + 1,
            Err(_) => 0,
        };
        if lost >= PINGS_LOST_MAX {
            let note = "its client is gone";
            if let Err(error) = job::raise(&ctx.client, &[record.id], "cancel", 0, note).await {
                tracing::debug!(job = record.number, %error, "cancel");
            }
            return;
        }
    }
    let done = Body::SrunJobComplete(Box::new(StepIdMsg { msg: whole_job(record.number) }));
    // It may have gone already: most often it is the client that has ended the job.
    if let Err(error) = tell(ctx, client.told, done).await {
        tracing::trace!(job = record.number, %error, "told nobody that it is over");
    }
}

/// Tells a client that has waited.
async fn grant(ctx: &Context, record: &JobRecord, to: Listener) -> std::io::Result<()> {
    let wrong = |code: u32| std::io::Error::other(format!("error {code}"));
    let part = named::part(ctx, record).await.map_err(wrong)?;
    let told = allocated(ctx, record, &part).await.map_err(wrong)?;
    tell(ctx, to, Body::ResponseResourceAllocation(Box::new(told))).await
}

async fn allocated(
    ctx: &Context,
    record: &JobRecord,
    part: &Part,
) -> Result<ResourceAllocationResponseMsg, u32> {
    let r = named::r(ctx, record.id).await?;
    Ok(response(&ctx.conf, record.number, partition::name(&record.queue), part, r.as_ref()))
}

/// What a job that runs was given.
async fn of_running(ctx: &Context, asked: &JobAllocInfoMsg) -> Result<ResourceAllocationResponseMsg, u32> {
    let record = named::one(ctx, named::asked(asked.job_id, asked.step_id.as_deref())).await?;
    match record.state {
        JobState::Run => {
            let part = named::part(ctx, &record).await?;
            allocated(ctx, &record, &part).await
        }
        JobState::New | JobState::Depend | JobState::Priority | JobState::Sched => {
            Err(errors::ESLURM_JOB_PENDING)
        }
        JobState::Cleanup | JobState::Inactive => Err(errors::ESLURM_ALREADY_DONE),
    }
}

/// REQUEST_JOB_ALLOCATION_INFO.
pub async fn info(ctx: &Context, asked: &JobAllocInfoMsg) -> Answer {
    let found = of_running(ctx, asked).await?;
    Ok(Reply::Body(Body::ResponseJobAllocationInfo(Box::new(found))))
}

/// REQUEST_HET_JOB_ALLOC_INFO: of an ordinary job a list of one.
pub async fn het_info(ctx: &Context, asked: &JobAllocInfoMsg) -> Answer {
    let mut found = of_running(ctx, asked).await?;
    found.environment.clear();
    let list = JobInfoListMsg { count_word: 1, resp: Some(vec![found.clone()]), msg: Some(vec![found]) };
    Ok(Reply::Body(Body::ResponseHetJobAllocation(Box::new(list))))
}

/// REQUEST_JOB_READY: what of it is there.
pub async fn ready(ctx: &Context, asked: &JobIdMsg) -> Answer {
    let record = named::one(ctx, named::asked(asked.job_id, asked.step_id.as_deref())).await?;
    match record.state {
        JobState::Run => Ok(Reply::Body(Body::ResponseJobReady(Box::new(ReturnCode { return_code: READY })))),
        JobState::New | JobState::Depend | JobState::Priority | JobState::Sched => {
            Ok(Reply::Body(Body::ResponseJobReady(Box::new(ReturnCode { return_code: 0 }))))
        }
        JobState::Cleanup | JobState::Inactive => Err(errors::ESLURM_INVALID_JOB_ID),
    }
}

/// REQUEST_JOB_END_TIME.
pub async fn end_time(ctx: &Context, asked: &JobAllocInfoMsg) -> Answer {
    let record = named::one(ctx, named::asked(asked.job_id, asked.step_id.as_deref())).await?;
    let end = record.expiration.as_secs_f64() as i64;
    // Nobody has set an end: a year is as good.
    let timeout = if end > 0 { end } else { crate::start::now() + 365 * 24 * 3600 };
    Ok(Reply::Body(Body::SrunTimeout(Box::new(SrunTimeoutMsg {
        step_id: whole_job(record.number),
        timeout,
    }))))
}

/// REQUEST_COMPLETE_JOB_ALLOCATION: the client is done, with this wait status.
pub async fn complete(ctx: &Context, asked: &CompleteJobAllocationMsg) -> Answer {
    let record = named::one(ctx, named::asked(asked.job_id, asked.step_id.as_deref())).await?;
    match record.state {
        JobState::Run => {
            let (code, signal) = (asked.job_rc >> 8 & 0xff, asked.job_rc & 0x7f);
            let code = if signal > 0 { 128 + signal } else { code };
            let word = Stdin {
                id: record.id,
                ranks: "0".to_owned(),
                data: format!("{code}\n"),
                base64: false,
                eof: true,
                typed: false,
                window: None,
            };
            ctx.client.call(Dest::Leader, &word).await.map_err(|error| number(&error))?;
            Ok(Reply::Code(0))
        }
        JobState::New | JobState::Depend | JobState::Priority | JobState::Sched => {
            let raised = job::raise(&ctx.client, &[record.id], "cancel", 0, "its client has given up").await;
            raised.map_err(|error| number(&error))?;
            Ok(Reply::Code(0))
        }
        JobState::Cleanup | JobState::Inactive => Err(errors::ESLURM_ALREADY_DONE),
    }
}
