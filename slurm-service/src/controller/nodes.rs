//! Nodes as `sinfo` and `scontrol show node` see them.

use super::{Answer, number, unchanged};
use crate::context::Context;
use crate::door::Reply;
use crate::start::now;
use crate::translate::node;
use crate::world::Table;
use flurm_slurm_protocol::structures::{
    NodeInfo, NodeInfoRequestMsg, NodeInfoResponse, NodeInfoResponseItemsItem, NodeInfoSingleMsg,
};
use flurm_slurm_protocol::{Bits, Body, Version, errors};

pub async fn list(ctx: &Context, version: Version, asked: &NodeInfoRequestMsg) -> Answer {
    let time = now();
    let (nodes, changed) = all(ctx, version).await?;
    if unchanged(asked.last_update, changed) {
        return Err(errors::SLURM_NO_CHANGE_IN_DATA);
    }
    Ok(answer(nodes, time))
}

pub async fn single(ctx: &Context, version: Version, asked: &NodeInfoSingleMsg) -> Answer {
    let time = now();
    let (mut nodes, _) = all(ctx, version).await?;
    nodes.retain(|node| node.name == asked.node_name);
    if nodes.is_empty() {
        return Err(errors::ESLURM_INVALID_NODE_NAME);
    }
    Ok(answer(nodes, time))
}

async fn all(ctx: &Context, version: Version) -> Result<(Vec<NodeInfo>, i64), u32> {
    let status = ctx.world.resources(&ctx.client).await.map_err(|error| number(&error))?;
    let nodes = node::all(&ctx.conf, &status, ctx.started, version);
    let changed = ctx.world.changed(Table::Nodes, &status);
    Ok((nodes, changed))
}

/// As of that time, which the client says when it asks again.
fn answer(nodes: Vec<NodeInfo>, time: i64) -> Reply {
    let item = |node: &NodeInfo| NodeInfoResponseItemsItem { node_array: node.clone() };
    Reply::Body(Body::ResponseNodeInfo(Box::new(NodeInfoResponse {
        record_count: u32::try_from(nodes.len()).unwrap_or(u32::MAX),
        last_update: time,
        hidden_nodes: Bits::NULL,
        items: Some(nodes.iter().map(item).collect()),
        node_array: Some(nodes),
    })))
}
