//! Descriptions that are made here, vertex by vertex, and those that are made of an R.

use super::{CONTAINMENT, Description, Pool, Relation, Words};
use crate::containment::sockets_of;
use flurm_types::R;
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::BTreeMap;

/// A description in the making; vertices are numbered as they come.
#[derive(Default)]
pub(super) struct Builder {
    pub words: Words,
    pub graph: DiGraph<Pool, Relation>,
}

impl Builder {
    /// A pool named after its kind (`core7`), or one with a name of its own (a host).
    pub fn put(
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
