//! Partitions, which are the instance's queues.

use super::{Answer, number};
use crate::context::Context;
use crate::door::Reply;
use crate::translate::partition;
use flurm_slurm_protocol::Body;
use flurm_slurm_protocol::structures::{PartInfoRequestMsg, PartitionInfoResponse};

pub async fn list(ctx: &Context, _asked: &PartInfoRequestMsg) -> Answer {
    let queues = ctx.world.queues(&ctx.client).await.map_err(|error| number(&error))?;
    let all = partition::all(&ctx.conf, &queues);
    Ok(Reply::Body(Body::ResponsePartitionInfo(Box::new(PartitionInfoResponse {
        record_count: u32::try_from(all.len()).unwrap_or(u32::MAX),
        last_update: crate::start::now(),
        partition: Some(all.clone()),
        partition_array: Some(all),
    }))))
}
