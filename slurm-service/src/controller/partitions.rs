//! Partitions, which are the instance's queues.

use super::{Answer, number, unchanged};
use crate::context::Context;
use crate::door::Reply;
use crate::start::now;
use crate::translate::partition;
use crate::world::Table;
use flurm_slurm_protocol::structures::{PartInfoRequestMsg, PartitionInfoResponse};
use flurm_slurm_protocol::{Body, errors};

pub async fn list(ctx: &Context, asked: &PartInfoRequestMsg) -> Answer {
    let time = now();
    let queues = ctx.world.queues(&ctx.client).await.map_err(|error| number(&error))?;
    let all = partition::all(&ctx.conf, &queues);
    let changed = ctx.world.changed(Table::Partitions, &all);
    if unchanged(asked.last_update, changed) {
        return Err(errors::SLURM_NO_CHANGE_IN_DATA);
    }
    Ok(Reply::Body(Body::ResponsePartitionInfo(Box::new(PartitionInfoResponse {
        record_count: u32::try_from(all.len()).unwrap_or(u32::MAX),
        last_update: time,
        partition: Some(all.clone()),
        partition_array: Some(all),
    }))))
}
