//! What matching can use of a description: nodes with their sockets, cores, GPUs and memory, as an R.
//!
//! Levels between are looked through, so a rack or a NUMA domain does no harm. Threads belong to their core.

use super::{Description, DescriptionError, Pool, fail};
use flurm_types::{Idset, R, RNode, Socket, Topology};
use petgraph::graph::NodeIndex;

/// Most cores of a node, and likewise GPUs: ids above make no sense and long sets slow.
pub(super) const ON_NODE_MAX: u64 = 1 << 16;

/// What is found below a node.
#[derive(Default)]
struct Found {
    sockets: Vec<Part>,
    /// Outside of all sockets.
    rest: Part,
}

#[derive(Default)]
struct Part {
    cores: Vec<i64>,
    gpus: Vec<i64>,
    memory_gib: Option<u64>,
}

impl Description {
    /// The inventory. Nodes without ranks are numbered in the order in which they are written; cores that are
    /// numbered socket by socket, through the node.
    ///
    /// # Errors
    /// The vertex that cannot be part of an inventory.
    pub fn to_r(&self) -> Result<R, DescriptionError> {
        let mut r = R::default();
        let nodes: Vec<NodeIndex> =
            self.walk_places().map(|(_, at)| at).filter(|at| &*self.graph[*at].kind == "node").collect();
        if nodes.is_empty() {
            return fail(&*self.graph[self.root].vertex, "no vertex of type `node` is in it");
        }
        let unranked = nodes.iter().all(|at| self.graph[*at].rank.is_none());
        let mut ranks = Idset::new();
        for (n, at) in (0..).zip(nodes) {
            let pool = &self.graph[at];
            let Some(rank) = pool.rank.or(unranked.then_some(n)) else {
                return fail(&*pool.vertex, "it has no rank, but other nodes have one");
            };
            if !ranks.insert(rank) {
                return fail(&*pool.vertex, format!("rank {rank} is another node's, too"));
            }
            let mut found = Found::default();
            self.collect(at, &mut found, None)?;
            let (node, topology) = self.node(pool, rank, found)?;
            r.nodes.push(node);
            if let Some(topology) = topology {
                r.topology.insert(rank, topology);
            }
            for name in pool.properties.keys() {
                r.properties.entry(name.clone()).or_default().insert(rank);
            }
        }
        r.nodes.sort_by_key(|node| node.rank);
        Ok(r)
    }

    /// Ranks of nodes that are said to be down.
    #[must_use]
    pub fn down(&self) -> Idset {
        let nodes = self.walk().map(|(_, pool)| pool).filter(|pool| &*pool.kind == "node");
        (0..).zip(nodes).filter(|(_, pool)| !pool.up).map(|(n, pool)| pool.rank.unwrap_or(n)).collect()
    }

    fn collect(
        &self,
        at: NodeIndex,
        found: &mut Found,
        socket: Option<usize>,
    ) -> Result<(), DescriptionError> {
        for child in self.children(at) {
            let pool = &self.graph[child];
            let mut inside = socket;
            let part = match socket {
                Some(n) => &mut found.sockets[n],
                None => &mut found.rest,
            };
            match &*pool.kind {
                "core" | "gpu" => {
                    let ids = if &*pool.kind == "core" { &mut part.cores } else { &mut part.gpus };
                    if ids.len() as u64 + pool.size > ON_NODE_MAX {
                        return fail(
                            &*pool.vertex,
                            format!("more than {ON_NODE_MAX} of type `{}`", pool.kind),
                        );
                    }
                    // Several that are counted together get numbers of their own.
                    let first = if pool.size == 1 { pool.id } else { -1 };
                    ids.extend((0..pool.size).map(|_| first));
                    continue;
                }
                "memory" => {
                    let unit = match &*pool.unit {
                        "" | "GB" | "GiB" | "G" => 1.0,
                        "MB" | "MiB" | "M" => 1.0 / 1024.0,
                        "TB" | "TiB" | "T" => 1024.0,
                        unit => {
                            return fail(
                                &*pool.vertex,
                                format!("`{unit}` is no unit of memory (GiB, MiB, TiB)"),
                            );
                        }
                    };
                    *part.memory_gib.get_or_insert(0) += (pool.size as f64 * unit) as u64;
                }
                "socket" | "package" => {
                    found.sockets.push(Part::default());
                    inside = Some(found.sockets.len() - 1);
                }
                "node" => return fail(&*pool.vertex, "a node inside a node"),
                _ => {}
            }
            self.collect(child, found, inside)?;
        }
        Ok(())
    }

    fn node(
        &self,
        pool: &Pool,
        rank: u32,
        found: Found,
    ) -> Result<(RNode, Option<Topology>), DescriptionError> {
        let Found { mut sockets, rest } = found;
        let known = !sockets.is_empty();
        if !rest.cores.is_empty() || !rest.gpus.is_empty() {
            sockets.push(rest);
        }
        let cores = numbered(sockets.iter().map(|part| &part.cores[..]));
        let gpus = numbered(sockets.iter().map(|part| &part.gpus[..]));
        let parts = sockets.iter().zip(cores).zip(gpus);
        let sockets: Vec<Socket> =
            parts.map(|((part, cores), gpus)| Socket { cores, gpus, memory_gib: part.memory_gib }).collect();
        let all =
            |part: fn(&Socket) -> &Idset| sockets.iter().fold(Idset::new(), |all, s| all.union(part(s)));
        let (cores, gpus) = (all(|s| &s.cores), all(|s| &s.gpus));
        if cores.is_empty() {
            return fail(&*pool.vertex, "a node without cores");
        }
        let node = RNode { rank, host: host(&pool.name).to_owned(), cores, gpus };
        Ok((node, known.then_some(Topology { sockets: sockets.into() })))
    }
}

/// The ids as they are, if they tell all of a node apart; else numbers in order.
fn numbered<'a>(parts: impl Iterator<Item = &'a [i64]> + Clone) -> Vec<Idset> {
    let mut seen = Idset::new();
    let apart = parts
        .clone()
        .flatten()
        .all(|id| u32::try_from(*id).is_ok_and(|id| u64::from(id) < ON_NODE_MAX * 16 && seen.insert(id)));
    let mut next = 0..;
    let part = |ids: &[i64]| -> Idset {
        let number =
            |id: &i64| if apart { u32::try_from(*id).expect("seen") } else { next.next().expect("no end") };
        ids.iter().map(number).collect()
    };
    parts.map(part).collect()
}

/// The host of a node, whose name has a number behind a colon if the host has several.
fn host(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((host, again)) if !again.is_empty() && again.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => name,
    }
}
