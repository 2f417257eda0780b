//! Nodes as `sinfo` and `scontrol show node` see them.

use super::{Answer, number};
use crate::context::Context;
use crate::door::Reply;
use crate::translate::node;
use flurm_slurm_protocol::structures::{NodeInfoRequestMsg, NodeInfoResponse, NodeInfoResponseItemsItem};
use flurm_slurm_protocol::{Bits, Body, Version};

pub async fn list(ctx: &Context, version: Version, _asked: &NodeInfoRequestMsg) -> Answer {
    let status = ctx.world.resources(&ctx.client).await.map_err(|error| number(&error))?;
    let nodes = node::all(&ctx.conf, &status, ctx.started, version);
    Ok(Reply::Body(Body::ResponseNodeInfo(Box::new(NodeInfoResponse {
        record_count: u32::try_from(nodes.len()).unwrap_or(u32::MAX),
        last_update: crate::start::now(),
        hidden_nodes: Bits::NULL,
        items: Some(
            nodes.iter().map(|node| NodeInfoResponseItemsItem { node_array: node.clone() }).collect(),
        ),
        node_array: Some(nodes),
    }))))
}
