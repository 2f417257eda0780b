//! Descriptions that are made here, vertex by vertex, and those that are made of an R.

use super::{CONTAINMENT, Description, DescriptionError, Id, Pool, Properties, Relation, Words};
use crate::containment::sockets_of;
use flurm_types::R;
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::{BTreeMap, BTreeSet};

/// A description in the making; vertices are numbered as they come.
pub(crate) struct Builder {
    words: Words,
    graph: DiGraph<Pool, Relation>,
    pub sets: Sets,
}

/// Sets of properties, each once.
pub(crate) struct Sets {
    all: Vec<Properties>,
    known: BTreeMap<Properties, u32>,
}

impl Default for Sets {
    fn default() -> Sets {
        Sets { all: vec![Properties::new()], known: BTreeMap::from([(Properties::new(), 0)]) }
    }
}

impl Sets {
    /// The number of a set.
    pub fn set(&mut self, properties: Properties) -> u32 {
        if properties.is_empty() {
            return 0;
        }
        *self.known.entry(properties).or_insert_with_key(|properties| {
            self.all.push(properties.clone());
            self.all.len() as u32 - 1
        })
    }

    pub fn finish(self) -> Vec<Properties> {
        self.all
    }
}

impl Builder {
    pub fn new() -> Builder {
        Builder { words: Words::default(), graph: DiGraph::new(), sets: Sets::default() }
    }

    /// Number of vertices.
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// A pool named after its kind (`core7`), or one with a name of its own (a host).
    pub fn put(
        &mut self,
        above: Option<NodeIndex>,
        kind: &str,
        name: &str,
        id: i64,
        rank: Option<u32>,
    ) -> NodeIndex {
        let basename = if name.starts_with(kind) { kind } else { name };
        self.put_as(above, kind, basename, name, id, rank)
    }

    pub fn put_as(
        &mut self,
        above: Option<NodeIndex>,
        kind: &str,
        basename: &str,
        name: &str,
        id: i64,
        rank: Option<u32>,
    ) -> NodeIndex {
        let [kind, basename, name, unit] = [kind, basename, name, ""].map(|text| self.words.word(text));
        let vertex = Id::number(self.graph.node_count() as u64);
        let (size, properties, exclusive, up) = (1, 0, false, true);
        let pool = Pool { vertex, kind, basename, name, id, rank, size, unit, properties, exclusive, up };
        let at = self.graph.add_node(pool);
        if let Some(above) = above {
            let [subsystem, name] = [CONTAINMENT, "contains"].map(|text| self.words.word(text));
            self.graph.add_edge(above, at, Relation { subsystem, name });
        }
        at
    }

    /// Says how much of a vertex there is.
    pub fn set_size(&mut self, at: NodeIndex, size: u64, unit: &str) {
        (self.graph[at].size, self.graph[at].unit) = (size, self.words.word(unit));
    }

    /// Gives a vertex these properties, without values.
    pub fn set_properties<'a>(&mut self, at: NodeIndex, names: impl Iterator<Item = &'a str>) {
        let properties = names.map(|name| (name.to_owned(), String::new())).collect();
        self.graph[at].properties = self.sets.set(properties);
    }

    /// The description, checked.
    ///
    /// # Errors
    /// As [`Description::checked`].
    pub fn finish(self) -> Result<Description, DescriptionError> {
        Description::checked(self.graph, self.words, self.sets.finish())
    }

    /// The description, whose first vertex holds all others, and where nobody has two names alike.
    pub fn finish_tree(mut self) -> Description {
        let containment = self.words.word(CONTAINMENT);
        let root = NodeIndex::new(0);
        Description { graph: self.graph, root, words: self.words, sets: self.sets.finish(), containment }
    }
}

impl Description {
    /// Every core and GPU of an R, and what they are in. Hosts with several ranks get names of their own.
    #[must_use]
    pub fn from_r(r: &R) -> Description {
        let mut b = Builder::new();
        let root = b.put(None, "cluster", "cluster0", 0, None);
        let mut names: BTreeSet<String> = BTreeSet::new();
        for node in &r.nodes {
            let host = &node.host;
            let again = (1_u32..).map(|again| format!("{host}:{again}"));
            let name = std::iter::once(host.clone()).chain(again).find(|name| !names.contains(name));
            let name = name.expect("there are more names than nodes");
            let rank = Some(node.rank);
            let at = b.put(Some(root), "node", &name, i64::from(node.rank), rank);
            let properties = r.properties.iter().filter(|(_, with)| with.contains(node.rank));
            b.set_properties(at, properties.map(|(name, _)| &**name));
            names.insert(name);
            let sockets = r.topology.get(&node.rank).map_or(&[][..], |topology| &topology.sockets);
            for (s, socket) in (0..).zip(sockets_of(node, sockets)) {
                let inside = b.put(Some(at), "socket", &format!("socket{s}"), s, rank);
                for core in socket.cores.iter() {
                    b.put(Some(inside), "core", &format!("core{core}"), core.into(), rank);
                }
                for gpu in socket.gpus.iter() {
                    b.put(Some(inside), "gpu", &format!("gpu{gpu}"), gpu.into(), rank);
                }
                if let Some(gib) = socket.memory_gib {
                    let memory = b.put(Some(inside), "memory", &format!("memory{s}"), s, rank);
                    b.set_size(memory, gib, "GiB");
                }
            }
        }
        b.finish_tree()
    }
}
