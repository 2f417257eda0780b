//! The node daemon of one rank.

use crate::door::{Door, Reply, Request};
use flurm_client::Client;
use flurm_slurm_protocol::{Body, errors};
use std::sync::Arc;
use tokio::net::TcpListener;

/// What its handlers get.
#[derive(Debug)]
pub struct Node {
    pub client: Client,
    pub door: Arc<Door>,
    pub rank: u32,
    /// As `slurm.conf` calls this rank.
    pub name: String,
}

/// For as long as the process lives.
pub async fn serve(node: Arc<Node>, listener: TcpListener) {
    let door = Arc::clone(&node.door);
    door.serve(listener, move |request| answer(Arc::clone(&node), request)).await;
}

/// One line per message type. What is not listed is not supported.
async fn answer(node: Arc<Node>, request: Request) -> Reply {
    tracing::debug!(rank = node.rank, message = request.body.name(), "asked");
    match &request.body {
        Body::RequestPing => Reply::Code(0),
        _ => Reply::Code(errors::ESLURM_NOT_SUPPORTED),
    }
}
