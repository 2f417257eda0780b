//! What matching can use of a description: nodes with their sockets, cores, GPUs and memory, as an R.
//!
//! Levels between are looked through, so a rack or a NUMA domain does no harm. Threads belong to their core.

use super::{Description, DescriptionError, Pool};
use crate::units;
use flurm_types::{Idset, R, RNode, Socket, Topology};
use petgraph::graph::NodeIndex;

/// Most cores of a node, and likewise GPUs: ids above make no sense and long sets slow.
pub(crate) const ON_NODE_MAX: u64 = 1 << 16;

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
    memory_bytes: Option<u64>,
}

/// What a vertex is to an inventory.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    Node,
    Socket,
    Core,
    Gpu,
    Thread,
    Memory,
    /// Looked through.
    Other,
}

impl Role {
    /// The role of things of a kind.
    pub(crate) fn of(kind: &str) -> Role {
        match kind {
            "node" => Role::Node,
            "socket" | "package" => Role::Socket,
            "core" => Role::Core,
            "gpu" => Role::Gpu,
            "pu" | "thread" => Role::Thread,
            "memory" => Role::Memory,
            _ => Role::Other,
        }
    }
}

impl Description {
    pub(crate) fn role(&self, pool: &Pool) -> Role {
        Role::of(self.words.text(pool.kind))
    }

    /// The inventory. Nodes without ranks are numbered in the order in which they are written; cores that are
    /// numbered socket by socket, through the node.
    ///
    /// # Errors
    /// The vertex that cannot be part of an inventory.
    pub fn to_r(&self) -> Result<R, DescriptionError> {
        let mut r = R::default();
        let mut ranks = Idset::new();
        let mut by_set = vec![Idset::new(); self.sets.len()];
        for (at, rank) in self.ranked_nodes()? {
            let pool = &self.graph[at];
            if !ranks.insert(rank) {
                return self.fail_at(at, format!("rank {rank} is another node's, too"));
            }
            let mut found = Found::default();
            self.collect(at, &mut found, None)?;
            let (node, topology) = self.node(at, rank, found)?;
            r.nodes.push(node);
            if let Some(topology) = topology {
                r.topology.insert(rank, topology);
            }
            by_set[pool.properties as usize].insert(rank);
        }
        for (set, with) in self.sets.iter().zip(&by_set).filter(|(_, with)| !with.is_empty()) {
            for name in set.keys() {
                r.properties.entry(name.clone()).or_default().union_with(with);
            }
        }
        r.nodes.sort_by_key(|node| node.rank);
        Ok(r)
    }

    /// The nodes in the order in which they are written, with their ranks, which may be equal.
    pub(crate) fn ranked_nodes(&self) -> Result<Vec<(NodeIndex, u32)>, DescriptionError> {
        let nodes: Vec<NodeIndex> = self
            .walk_places()
            .map(|(_, at)| at)
            .filter(|at| self.role(&self.graph[*at]) == Role::Node)
            .collect();
        if nodes.is_empty() {
            return self.fail_at(self.root, "no vertex of type `node` is in it");
        }
        let unranked = nodes.iter().all(|at| self.graph[*at].rank.is_none());
        (0..)
            .zip(nodes)
            .map(|(n, at)| match self.graph[at].rank.or(unranked.then_some(n)) {
                Some(rank) => Ok((at, rank)),
                None => self.fail_at(at, "it has no rank, but other nodes have one"),
            })
            .collect()
    }

    /// Ranks of nodes that are said to be down.
    #[must_use]
    pub fn down(&self) -> Idset {
        let nodes = self.ranked_nodes().unwrap_or_default().into_iter();
        nodes.filter(|(at, _)| !self.graph[*at].up).map(|(_, rank)| rank).collect()
    }

    fn collect(
        &self,
        at: NodeIndex,
        found: &mut Found,
        socket: Option<usize>,
    ) -> Result<(), DescriptionError> {
        for child in self.children_as_written(at) {
            let pool = &self.graph[child];
            let mut inside = socket;
            let part = match socket {
                Some(n) => &mut found.sockets[n],
                None => &mut found.rest,
            };
            match self.role(pool) {
                role @ (Role::Core | Role::Gpu) => {
                    let ids = if role == Role::Core { &mut part.cores } else { &mut part.gpus };
                    if ids.len() as u64 + pool.size > ON_NODE_MAX {
                        let kind = self.words.text(pool.kind);
                        return self.fail_at(child, format!("more than {ON_NODE_MAX} of type `{kind}`"));
                    }
                    // Several that are counted together get numbers of their own.
                    let first = if pool.size == 1 { pool.id } else { -1 };
                    ids.extend((0..pool.size).map(|_| first));
                    continue;
                }
                Role::Memory => {
                    let unit = self.words.text(pool.unit);
                    let Some(bytes) = units::memory(pool.size, unit) else {
                        let rule = format!("`{unit}` is no unit of memory (GiB, MiB, TiB)");
                        return self.fail_at(child, rule);
                    };
                    let sum = part.memory_bytes.get_or_insert(0);
                    *sum = sum.saturating_add(bytes);
                }
                Role::Socket => {
                    found.sockets.push(Part::default());
                    inside = Some(found.sockets.len() - 1);
                }
                Role::Node => return self.fail_at(child, "a node inside a node"),
                Role::Thread | Role::Other => {}
            }
            self.collect(child, found, inside)?;
        }
        Ok(())
    }

    fn node(
        &self,
        at: NodeIndex,
        rank: u32,
        found: Found,
    ) -> Result<(RNode, Option<Topology>), DescriptionError> {
        let Found { mut sockets, rest } = found;
        let known = !sockets.is_empty();
        // Memory beside the only socket is that socket's.
        if let ([socket], Some(bytes)) = (&mut sockets[..], rest.memory_bytes) {
            let own = socket.memory_bytes.get_or_insert(0);
            *own = own.saturating_add(bytes);
        }
        if !rest.cores.is_empty() || !rest.gpus.is_empty() {
            sockets.push(rest);
        }
        let cores = numbered(sockets.iter().map(|part| &part.cores[..]));
        let gpus = numbered(sockets.iter().map(|part| &part.gpus[..]));
        let parts = sockets.iter().zip(cores).zip(gpus);
        let sockets: Vec<Socket> = parts.map(|((part, cores), gpus)| part.socket(cores, gpus)).collect();
        let all =
            |part: fn(&Socket) -> &Idset| sockets.iter().fold(Idset::new(), |all, s| all.union(part(s)));
        let (cores, gpus) = (all(|s| &s.cores), all(|s| &s.gpus));
        if cores.is_empty() {
            return self.fail_at(at, "a node without cores");
        }
        let node = RNode { rank, host: host(self.words.text(self.graph[at].name)).to_owned(), cores, gpus };
        Ok((node, known.then_some(Topology { sockets: sockets.into() })))
    }
}

impl Part {
    fn socket(&self, cores: Idset, gpus: Idset) -> Socket {
        Socket { cores, gpus, memory_gib: self.memory_bytes.map(|bytes| bytes >> 30) }
    }
}

/// The ids of each part as they are, if they tell all of a node apart; else numbers in order.
fn numbered<'a>(parts: impl Iterator<Item = &'a [i64]> + Clone) -> Vec<Idset> {
    let mut numbers = numbers(parts.clone().flatten().copied()).into_iter();
    parts.map(|ids| numbers.by_ref().take(ids.len()).collect()).collect()
}

/// The same, one by one.
pub(crate) fn numbers(ids: impl Iterator<Item = i64> + Clone) -> Vec<u32> {
    let mut seen = Idset::new();
    let as_they_are = ids
        .clone()
        .map(|id| u32::try_from(id).ok().filter(|id| u64::from(*id) < ON_NODE_MAX * 16 && seen.insert(*id)));
    match as_they_are.collect() {
        Some(numbers) => numbers,
        None => (0..).zip(ids).map(|(number, _)| number).collect(),
    }
}

/// The host of a node, whose name has a number behind a colon if the host has several.
fn host(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((host, again)) if !again.is_empty() && again.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => name,
    }
}
