//! Descriptions that are made here: of an R, or of so many nodes that look alike.

use super::{CONTAINMENT, Description, Pool, Relation, Words};
use crate::containment::sockets_of;
use flurm_types::{Hostlist, Idset, R, RNode, Socket, Topology};
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::BTreeMap;

/// Nodes that look alike.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shape {
    /// The hosts, one a node.
    pub hosts: Hostlist,
    /// On each node; at least 1.
    pub sockets: u32,
    /// On each socket; at least 1.
    pub cores: u32,
    /// On each socket.
    pub gpus: u32,
    /// GiB on each socket, if it matters.
    pub memory_gib: Option<u64>,
    /// Hosts with a property each.
    pub properties: Vec<(String, String)>,
}

impl Shape {
    /// The inventory of such nodes. `host:name` of a host that is not there is passed over.
    #[must_use]
    pub fn to_r(&self) -> R {
        let ids = |each: u32, s: u32| -> Idset { (s * each..(s + 1) * each).collect() };
        let socket =
            |s| Socket { cores: ids(self.cores, s), gpus: ids(self.gpus, s), memory_gib: self.memory_gib };
        let sockets: Vec<Socket> = (0..self.sockets).map(socket).collect();
        let mut r = R::default();
        for (rank, host) in (0..).zip(self.hosts.iter()) {
            let cores = (0..self.sockets * self.cores).collect();
            let gpus = (0..self.sockets * self.gpus).collect();
            r.nodes.push(RNode { rank, host: host.clone(), cores, gpus });
            r.topology.insert(rank, Topology { sockets: sockets.clone() });
        }
        for (host, property) in &self.properties {
            if let Some(rank) = self.hosts.find(host) {
                r.properties.entry(property.clone()).or_default().insert(rank as u32);
            }
        }
        r
    }
}

/// A description in the making; vertices are numbered as they come.
#[derive(Default)]
pub(super) struct Builder {
    pub words: Words,
    pub graph: DiGraph<Pool, Relation>,
}

impl Builder {
    /// A pool named after its kind (`core7`), or one with a name of its own (a host).
    fn put(
        &mut self,
        above: Option<NodeIndex>,
        kind: &str,
        name: String,
        id: i64,
        rank: Option<u32>,
    ) -> NodeIndex {
        let basename = if name.starts_with(kind) { kind.to_owned() } else { name.clone() };
        self.put_as(above, kind, &basename, name, id, rank)
    }

    pub fn put_as(
        &mut self,
        above: Option<NodeIndex>,
        kind: &str,
        basename: &str,
        name: String,
        id: i64,
        rank: Option<u32>,
    ) -> NodeIndex {
        let pool = Pool {
            vertex: self.graph.node_count().to_string().into(),
            kind: self.words.word(kind),
            basename: self.words.word(basename),
            name: name.into(),
            id,
            rank,
            size: 1,
            unit: self.words.word(""),
            exclusive: false,
            up: true,
            properties: BTreeMap::new(),
        };
        let at = self.graph.add_node(pool);
        if let Some(above) = above {
            let relation =
                Relation { subsystem: self.words.word(CONTAINMENT), name: self.words.word("contains") };
            self.graph.add_edge(above, at, relation);
        }
        at
    }
}

impl Description {
    /// Every core and GPU of an R, and what they are in. Hosts with several ranks get names of their own.
    #[must_use]
    pub fn from_r(r: &R) -> Description {
        let mut b = Builder::default();
        let root = b.put(None, "cluster", "cluster0".to_owned(), 0, None);
        let mut hosts: BTreeMap<&str, u32> = BTreeMap::new();
        for node in &r.nodes {
            let again = hosts.entry(&node.host).or_insert(0);
            let name = if *again == 0 { node.host.clone() } else { format!("{}:{again}", node.host) };
            *again += 1;
            let rank = Some(node.rank);
            let at = b.put(Some(root), "node", name, i64::from(node.rank), rank);
            for (property, with) in &r.properties {
                if with.contains(node.rank) {
                    b.graph[at].properties.insert(property.clone(), String::new());
                }
            }
            let sockets = r.topology.get(&node.rank).map_or(&[][..], |topology| &topology.sockets);
            for (s, socket) in (0..).zip(sockets_of(node, sockets)) {
                let inside = b.put(Some(at), "socket", format!("socket{s}"), s, rank);
                for core in socket.cores.iter() {
                    b.put(Some(inside), "core", format!("core{core}"), core.into(), rank);
                }
                for gpu in socket.gpus.iter() {
                    b.put(Some(inside), "gpu", format!("gpu{gpu}"), gpu.into(), rank);
                }
                if let Some(gib) = socket.memory_gib {
                    let memory = b.put(Some(inside), "memory", format!("memory{s}"), s, rank);
                    (b.graph[memory].size, b.graph[memory].unit) = (gib, b.words.word("GiB"));
                }
            }
        }
        Description { graph: b.graph, root }
    }
}
