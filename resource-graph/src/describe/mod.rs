//! Resources as others describe them: any kinds of things, what contains what, and further relations (RFC 4).
//!
//! A [`Description`] keeps all that a file says. What matching needs of it is an [`R`](flurm_types::R) with the sockets of its nodes
//! ([`Description::to_r`]); the other way makes a description of any R. `jgf.rs` reads and writes JSON, `hwloc.rs` reads
//! what hwloc saves of a machine.

mod build;
mod flatten;
mod hwloc;
mod jgf;
mod shape;

pub use shape::Shape;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most things in a description: 16,384 nodes of 96 cores with two threads each, and some.
pub const POOLS_MAX: usize = 1 << 23;

/// Most of one kind that a single entry may stand for, by its size.
pub const SIZE_MAX: u64 = 1 << 40;

/// How deep things may lie inside each other; machines have a dozen levels.
const DEPTH_MAX: usize = 64;

/// The subsystem that says what is inside what.
pub const CONTAINMENT: &str = "containment";

/// A description that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read resources at `{at}`: {rule}")]
pub struct DescriptionError {
    /// The vertex by its id or path, or the place in the text.
    pub at: String,
    /// What is wrong with it.
    pub rule: String,
}

fn fail<T>(at: impl Into<String>, rule: impl Into<String>) -> Result<T, DescriptionError> {
    Err(DescriptionError { at: at.into(), rule: rule.into() })
}

/// A thing, or several alike that are counted together (a *resource pool* of RFC 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// What edges call it.
    pub vertex: Box<str>,
    /// `node`, `core`, `memory` or whatever else.
    pub kind: Arc<str>,
    /// The name's part before the number; mostly the kind.
    pub basename: Arc<str>,
    /// Its name among its neighbours.
    pub name: Box<str>,
    /// A number among things of its kind; -1 if it has none.
    pub id: i64,
    /// The broker that it belongs to, if it is said here.
    pub rank: Option<u32>,
    /// How much of it there is.
    pub size: u64,
    /// What the size counts.
    pub unit: Arc<str>,
    /// Never shared?
    pub exclusive: bool,
    /// In use at all?
    pub up: bool,
    /// Names with their values, which are mostly empty.
    pub properties: BTreeMap<String, String>,
}

/// How two things relate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// `containment` or another system of relations, such as `power`.
    pub subsystem: Arc<str>,
    /// Such as `contains`.
    pub name: Arc<str>,
}

/// Everything that a file says of resources; one tree by containment.
#[derive(Debug, Clone)]
pub struct Description {
    /// Vertices and edges in the order in which they were written.
    graph: DiGraph<Pool, Relation>,
    root: NodeIndex,
}

impl PartialEq for Description {
    /// The same vertices and edges in the same order.
    fn eq(&self, other: &Description) -> bool {
        let edges = |d: &Description| -> Vec<_> {
            d.graph.edge_references().map(|e| (e.source(), e.target(), e.weight().clone())).collect()
        };
        self.graph.node_weights().eq(other.graph.node_weights()) && edges(self) == edges(other)
    }
}

impl Description {
    /// A graph that is a tree by containment, with names that tell siblings apart.
    fn checked(graph: DiGraph<Pool, Relation>) -> Result<Description, DescriptionError> {
        let contains = |relation: &Relation| &*relation.subsystem == CONTAINMENT;
        let parents = |at: NodeIndex| {
            graph.edges_directed(at, Direction::Incoming).filter(|edge| contains(edge.weight())).count()
        };
        let mut roots = Vec::new();
        for at in graph.node_indices() {
            match parents(at) {
                0 => roots.push(at),
                1 => {}
                n => return fail(&*graph[at].vertex, format!("inside {n} others at once")),
            }
        }
        let root = match roots.as_slice() {
            [root] => *root,
            [] => return fail(".", "nothing that is not inside something else"),
            [one, two, ..] => {
                let said =
                    format!("inside nothing, as is `{}`; one thing holds all others", graph[*one].vertex);
                return fail(&*graph[*two].vertex, said);
            }
        };
        let description = Description { graph, root };
        let mut reached = 0;
        for (depth, at) in description.walk_places() {
            reached += 1;
            if depth > DEPTH_MAX {
                return fail(&*description.graph[at].vertex, format!("inside more than {DEPTH_MAX} others"));
            }
        }
        if reached < description.graph.node_count() {
            let mut seen = vec![false; description.graph.node_count()];
            description.walk_places().for_each(|(_, at)| seen[at.index()] = true);
            let lost = seen.iter().position(|seen| !seen).expect("one was not reached");
            return fail(&*description.graph[NodeIndex::new(lost)].vertex, "inside itself, by way of others");
        }
        for at in description.graph.node_indices() {
            let mut names: Vec<&str> =
                description.children(at).iter().map(|child| &*description.graph[*child].name).collect();
            names.sort_unstable();
            if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
                return fail(&*description.graph[at].vertex, format!("contains `{}` twice", twice[0]));
            }
        }
        Ok(description)
    }

    /// What is directly inside, in the order in which it was written.
    fn children(&self, at: NodeIndex) -> Vec<NodeIndex> {
        let edges = self.graph.edges(at).filter(|edge| &*edge.weight().subsystem == CONTAINMENT);
        let mut children: Vec<NodeIndex> = edges.map(|edge| edge.target()).collect();
        // petgraph has the youngest edge first.
        children.reverse();
        children
    }

    fn walk_places(&self) -> impl Iterator<Item = (usize, NodeIndex)> + '_ {
        let mut left = vec![(0, self.root)];
        std::iter::from_fn(move || {
            let (depth, at) = left.pop()?;
            left.extend(self.children(at).into_iter().rev().map(|child| (depth + 1, child)));
            Some((depth, at))
        })
    }

    /// Every thing with its depth, what holds before what it holds.
    pub fn walk(&self) -> impl Iterator<Item = (usize, &Pool)> {
        self.walk_places().map(|(depth, at)| (depth, &self.graph[at]))
    }

    /// Number of vertices.
    #[must_use]
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Never: there is a root at least.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.graph.node_count() == 0
    }

    /// The paths of all vertices by their place: the names from the root down, behind a slash each.
    fn paths(&self) -> Vec<String> {
        let mut paths = vec![String::new(); self.graph.node_count()];
        for (_, at) in self.walk_places() {
            let above = self.graph.edges_directed(at, Direction::Incoming);
            let above = above
                .filter(|edge| &*edge.weight().subsystem == CONTAINMENT)
                .map(|edge| edge.source())
                .next();
            let above = above.map_or("", |above| &paths[above.index()]);
            paths[at.index()] = format!("{above}/{}", self.graph[at].name);
        }
        paths
    }
}

/// Shares equal texts, of which a description has many.
#[derive(Debug, Default)]
struct Words(BTreeMap<Box<str>, Arc<str>>);

impl Words {
    fn word(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let word: Arc<str> = text.into();
        self.0.insert(text.into(), Arc::clone(&word));
        word
    }
}
