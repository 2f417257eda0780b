//! The instance, as requests for jobs are judged by it.

use super::number;
use crate::conf::CLUSTER;
use crate::context::Context;
use crate::translate::partition;
use crate::translate::site::{Owner, Site, SiteNode};

/// What there is now.
pub async fn site(ctx: &Context) -> Result<Site, u32> {
    let queues = ctx.world.queues(&ctx.client).await.map_err(|error| number(&error))?;
    let conf = &ctx.conf;
    let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    let default = queues.queues.iter().find(|queue| queue.default || queues.queues.len() == 1);
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    Ok(Site {
        cluster: CLUSTER.to_owned(),
        nodes: nodes(ctx),
        partitions: queues
            .queues
            .iter()
            .map(|queue| (partition::name(&queue.name).to_owned(), named(&queue.name)))
            .collect(),
        default_partition: default.map(|queue| partition::name(&queue.name).to_owned()).unwrap_or_default(),
        memory: conf.nodes.iter().all(|node| node.memory_mib > 0),
        owner: Owner {
            uid: conf.uid,
            gid: conf.gid,
            name: conf.owner.clone(),
            home: of("HOME"),
            shell: of("SHELL"),
        },
    })
}

/// Its nodes, as they are in `slurm.conf`.
pub fn nodes(ctx: &Context) -> Vec<SiteNode> {
    let node = |(rank, node): (usize, &crate::conf::Node)| SiteNode {
        rank: u32::try_from(rank).unwrap_or(u32::MAX),
        name: node.name.clone(),
        host: node.host.clone(),
        cores: node.cores,
        sockets: node.sockets,
        gpus: node.gpus,
        memory: (node.memory_mib > 0).then_some(node.memory_mib),
        properties: node.properties.iter().cloned().collect(),
    };
    ctx.conf.nodes.iter().enumerate().map(node).collect()
}
