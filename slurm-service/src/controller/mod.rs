//! Which message is answered by whom.

mod allocate;
mod arrays;
mod cancel;
mod jobs;
mod named;
mod nodes;
mod partitions;
mod site;
mod steps;
mod submit;
mod tell;
mod update;
mod views;

pub use allocate::resume;
pub use arrays::resume as complete_arrays;
pub use steps::{Steps, follow as follow_steps};

use crate::context::Context;
use crate::door::{Reply, Request};
use flurm_client::ClientError;
use flurm_slurm_protocol::{Body, errors};
use flurm_wire::ErrorCode;
use std::sync::Arc;

/// The answer, or the number of an error.
pub type Answer = Result<Reply, u32>;

/// One line per message type. What is not listed is not supported.
pub async fn answer(ctx: Arc<Context>, request: Request) -> Reply {
    let name = request.body.name();
    let answered = match &request.body {
        Body::RequestPing => Ok(Reply::Code(0)),
        Body::RequestPartitionInfo(asked) => partitions::list(&ctx, asked).await,
        Body::RequestNodeInfo(asked) => nodes::list(&ctx, request.version, asked).await,
        Body::RequestNodeInfoSingle(asked) => nodes::single(&ctx, request.version, asked).await,
        Body::RequestJobInfo(asked) => jobs::list(&ctx, request.version, asked).await,
        Body::RequestJobInfoSingle(asked) => jobs::single(&ctx, request.version, asked).await,
        Body::RequestJobUserInfo(asked) => jobs::of_user(&ctx, request.version, asked).await,
        Body::RequestFedInfo => views::federation(),
        Body::RequestReservationInfo(_) => views::reservations(),
        Body::RequestLicenseInfo(_) => views::licenses(),
        Body::RequestBurstBufferStatus(_) => views::burst_buffers(),
        Body::RequestBuildInfo(_) => views::configuration(&ctx, request.version).await,
        Body::RequestConfig(_) => views::files(&ctx),
        Body::RequestControlStatus => views::control_status(&ctx),
        Body::RequestStatsInfo(_) => views::statistics(&ctx).await,
        Body::RequestPriorityFactors | Body::RequestPriorityFactorsUntil38(_) => {
            views::priorities(&ctx).await
        }
        Body::RequestSubmitBatchJob(asked) => submit::batch(&ctx, asked).await,
        Body::RequestJobWillRun(asked) => submit::will_run(&ctx, asked).await,
        Body::RequestResourceAllocation(asked) => allocate::request(&ctx, &request, asked).await,
        Body::RequestJobAllocationInfo(asked) => allocate::info(&ctx, asked).await,
        Body::RequestHetJobAllocInfo(asked) => allocate::het_info(&ctx, asked).await,
        Body::RequestJobReady(asked) => allocate::ready(&ctx, asked).await,
        Body::RequestJobEndTime(asked) => allocate::end_time(&ctx, asked).await,
        Body::RequestCompleteJobAllocation(asked) => allocate::complete(&ctx, asked).await,
        Body::RequestJobStepCreate(asked) => steps::create(&ctx, &request, asked).await,
        Body::RequestCancelJobStep(asked) => steps::cancel(&ctx, asked).await,
        Body::RequestJobSbcastCred(asked) => steps::broadcast(&ctx, request.version, asked).await,
        Body::RequestStepLayout(asked) => steps::layout(&ctx, request.version, asked).await,
        Body::RequestJobStepInfo(asked) => steps::info(&ctx, request.version, asked).await,
        Body::RequestKillJob(asked) => cancel::kill(&ctx, asked).await,
        Body::RequestKillJobs(asked) => cancel::kill_many(&ctx, asked).await,
        Body::RequestUpdateJob(asked) => update::job(&ctx, asked).await,
        Body::RequestSuspend(asked) => update::suspend(&ctx, asked).await,
        Body::RequestJobRequeue(asked) => update::requeue(&ctx, asked).await,
        Body::RequestTopJob(asked) => update::top(&ctx, asked).await,
        Body::RequestJobNotify(asked) => update::notify(&ctx, asked).await,
        Body::RequestBatchScript(asked) => update::script(&ctx, asked).await,
        Body::RequestUpdateNode(asked) => update::node(&ctx, asked).await,
        Body::RequestSubmitBatchHetJob(_) | Body::RequestHetJobAllocation(_) => submit::unsupported(
            "several parts of a job",
            "there is one here; several jobs can wait for each other",
        ),
        Body::RequestCreateReservation(_) => submit::unsupported(
            "create reservation",
            "the instance is its user's alone; a queue keeps nodes apart",
        ),
        Body::RequestUpdateReservation(_) | Body::RequestDeleteReservation(_) => {
            Err(errors::ESLURM_RESERVATION_INVALID)
        }
        Body::RequestShutdown(_) => submit::unsupported("shutdown", "`flurm shutdown` ends the instance"),
        // Nothing is read from a file that somebody could have changed.
        Body::RequestReconfigure => Ok(Reply::Code(0)),
        _ => Err(errors::ESLURM_NOT_SUPPORTED),
    };
    let reply = answered.unwrap_or_else(Reply::Code);
    tracing::debug!(message = name, version = %request.version, peer = %request.peer, "answered");
    reply
}

/// Has a client seen all of this, which says as of when it was last told? That time was taken before its answer was asked
/// for; times are whole seconds, so what changed in the same one may have come after it.
fn unchanged(asked: i64, changed: i64) -> bool {
    asked > changed
}

/// Slurm's number for anything that has none: -1.
const SLURM_ERROR: u32 = u32::MAX;

/// A refusal of the instance as a number of Slurm's.
pub fn number(error: &ClientError) -> u32 {
    match error {
        ClientError::Refused(refusal) => match refusal.code {
            ErrorCode::NotFound => errors::ESLURM_INVALID_JOB_ID,
            ErrorCode::Denied => errors::ESLURM_ACCESS_DENIED,
            ErrorCode::NoService => errors::ESLURM_NOT_SUPPORTED,
            ErrorCode::Unavailable => errors::ESLURM_DISABLED,
            _ => SLURM_ERROR,
        },
        _ => errors::SLURM_COMMUNICATIONS_CONNECTION_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_asks_again_is_told_that_nothing_has_changed_unless_it_may_have() {
        // It was told at 100 as of then; the change was found at that time.
        let (told, mut changed) = (100, 100);
        assert!(!unchanged(0, changed), "its first question");
        assert!(!unchanged(told, changed), "in the same second");
        let told = 101;
        assert!(unchanged(told, changed));
        changed = 102;
        assert!(!unchanged(told, changed));
    }
}
