//! What a job holds besides cores and GPUs, as the `scheduling` part of its R (RFC 20, RFC 40): a graph of its own part of
//! the tree, where a pool has the size that was taken of it.

use super::search::Picked;
use super::tree::{Home, Place, Tree};
use crate::describe::flatten::Role;
use crate::index::Index;
use crate::units;
use flurm_types::{Idset, Part, PartVertex, R, Scheduling};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// So much of a pool.
#[derive(Debug, Clone)]
pub(crate) struct Portion {
    /// The pool in the tree that it was looked up in last.
    pool: Option<u32>,
    path: Path,
    /// The node that it is in, if it is in one.
    rank: Option<u32>,
    /// Bytes, if its unit is one of those.
    pub(crate) amount: u64,
}

/// Where it is in any tree.
#[derive(Debug, Clone)]
enum Path {
    Text(Box<str>),
    Of(Arc<Part>, u32),
}

impl Path {
    fn pool(&self, tree: &Tree) -> Option<u32> {
        let path = match self {
            Path::Text(path) => Cow::Borrowed(&**path),
            Path::Of(part, vertex) => Cow::Owned(part.path(*vertex)),
        };
        tree.pool(tree.find(&path)?)
    }
}

impl Portion {
    /// Is it on one of these ranks? What is above nodes stays as long as anything.
    pub(crate) fn is_on(&self, ranks: &Idset) -> bool {
        self.rank.is_some_and(|rank| ranks.contains(rank))
    }

    /// The pool, if the tree has it.
    pub(crate) fn pool(&self) -> Option<u32> {
        self.pool
    }

    /// Looks it up in another tree.
    pub(crate) fn settle(&mut self, tree: &Tree) {
        self.pool = self.path.pool(tree);
    }
}

/// The portions of pools in an R. Which of its vertices are pools, the tree says.
pub(crate) fn portions(tree: &Tree, r: &R) -> Vec<Portion> {
    match &r.scheduling {
        None => Vec::new(),
        Some(Scheduling::Json(graph)) => portions_read(tree, graph),
        Some(Scheduling::Part(part)) => {
            // Numbers are of the tree that wrote them, which mostly is this one.
            let is_own = Arc::ptr_eq(&part.texts, &tree.texts);
            let portion = |(number, vertex): (u32, &PartVertex)| {
                let (pool, amount) = vertex.taken?;
                let path = Path::Of(Arc::clone(part), number);
                let pool = if is_own { Some(pool) } else { path.pool(tree) };
                Some(Portion { pool, path, rank: vertex.rank, amount })
            };
            (0..).zip(&part.vertices).filter_map(portion).collect()
        }
    }
}

fn portions_read(tree: &Tree, graph: &Value) -> Vec<Portion> {
    let nodes = graph.pointer("/graph/nodes").and_then(Value::as_array);
    let portion = |node: &Value| {
        let metadata = node.get("metadata")?;
        let kind = metadata.get("type")?.as_str()?;
        let size = metadata.get("size").and_then(Value::as_u64).unwrap_or(1);
        let unit = metadata.get("unit").and_then(Value::as_str).unwrap_or("");
        let amount = match Role::of(kind) {
            Role::Memory => units::memory(size, unit)?,
            Role::Other => size.saturating_mul(units::bytes(unit).unwrap_or(1)),
            Role::Node | Role::Socket | Role::Core | Role::Gpu | Role::Thread => return None,
        };
        let path = Path::Text(metadata.pointer("/paths/containment")?.as_str()?.into());
        let rank = metadata.get("rank").and_then(Value::as_u64).and_then(|rank| u32::try_from(rank).ok());
        Some(Portion { pool: path.pool(tree), path, rank, amount })
    };
    nodes.into_iter().flatten().filter_map(portion).collect()
}

/// The `scheduling` part for what was picked.
pub(crate) fn part(index: &Index, picked: &Picked) -> Part {
    let tree = index.pools.tree();
    let places = places(tree, picked);
    let amounts: BTreeMap<Place, (u32, u64)> =
        picked.pools.iter().map(|(pool, amount)| (tree.pool_place(*pool), (*pool, *amount))).collect();
    let number = |place: Place| places.binary_search(&(order(tree, place), place)).ok();
    let vertices = places.iter().map(|(_, place)| {
        let vertex = tree.vertex(*place);
        // What the rest of the R calls cores and GPUs.
        let (rank, id) = match (*place, vertex.home) {
            (Place::Top(_), _) => (None, vertex.id),
            (Place::In(at, _), home) => {
                let (layout, inside) = (index.layout(at as usize), tree.inside(at));
                let id = match home {
                    Home::Core(n) => layout.cores.id(inside.cores[n as usize].0).into(),
                    Home::Gpu(n) => layout.gpus.id(inside.gpus[n as usize].0).into(),
                    Home::Inner | Home::Node(_) | Home::Thread | Home::Pool(_) => vertex.id,
                };
                (Some(index.nodes()[at as usize].rank), id)
            }
        };
        let taken = amounts.get(place).copied();
        let (size, unit) = match taken {
            Some((_, amount)) if tree.is_bytes(vertex) => {
                let (size, unit) = units::largest(amount);
                (size, Cow::Borrowed(unit))
            }
            Some((_, amount)) => (amount, Cow::Owned(tree.words.text(vertex.unit).to_owned())),
            None => (1, Cow::Borrowed("")),
        };
        PartVertex {
            parent: tree.parent(*place).and_then(number).map(|parent| parent as u32),
            kind: vertex.kind,
            name: vertex.name,
            properties: vertex.properties,
            id,
            rank,
            size,
            unit,
            taken,
        }
    });
    Part { vertices: vertices.collect(), texts: Arc::clone(&tree.texts) }
}

/// Vertices of the upper list stand before what is in nodes, as they do in paths.
fn order(tree: &Tree, place: Place) -> u32 {
    match place {
        Place::Top(v) => v,
        Place::In(at, _) => tree.nodes[at as usize].top,
    }
}

/// What was picked and all that it is in, what holds before what it holds.
fn places(tree: &Tree, picked: &Picked) -> Vec<(u32, Place)> {
    let (mut places, mut around) = (Vec::new(), BTreeSet::new());
    let mut add = |place: Place| {
        places.push((order(tree, place), place));
        let mut next = tree.parent(place);
        while let Some(place) = next.filter(|place| around.insert(*place)) {
            places.push((order(tree, place), place));
            next = tree.parent(place);
        }
    };
    picked.pools.keys().for_each(|pool| add(tree.pool_place(*pool)));
    for (at, (cores, gpus)) in &picked.nodes {
        let inside = tree.inside(*at);
        for (bits, leaves) in [(cores, &inside.cores), (gpus, &inside.gpus)] {
            let mut bits = bits.clone();
            bits.sort_unstable();
            let taken = leaves.iter().filter(|(bit, _)| bits.binary_search(&(*bit as usize)).is_ok());
            taken.for_each(|(_, vertex)| add(Place::In(*at, *vertex)));
        }
    }
    // A core may hold a pool of its own, and is there twice then.
    places.sort_unstable();
    places.dedup();
    places
}
