//! What a job holds besides cores and GPUs, as the `scheduling` part of its R (RFC 20, RFC 40): a JGF of its own part of
//! the tree, where a pool has the size that was taken of it.

use super::search::Picked;
use super::tree::{Home, Place, Tree};
use crate::describe::flatten::Role;
use crate::index::Index;
use crate::units;
use flurm_types::{Idset, R};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// So much of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Portion {
    path: Box<str>,
    /// The node that it is in, if it is in one.
    rank: Option<u32>,
    /// Bytes, if its unit is one of those.
    pub(crate) amount: u64,
}

impl Portion {
    /// Is it on one of these ranks? What is above nodes stays as long as anything.
    pub(crate) fn is_on(&self, ranks: &Idset) -> bool {
        self.rank.is_some_and(|rank| ranks.contains(rank))
    }

    /// The pool in a tree.
    pub(crate) fn pool(&self, tree: &Tree) -> Option<u32> {
        tree.pool(tree.find(&self.path)?)
    }
}

/// The portions of pools in an R. Which of its vertices are pools, the tree says.
pub(crate) fn portions(r: &R) -> Vec<Portion> {
    let Some(scheduling) = &r.scheduling else { return Vec::new() };
    let nodes = scheduling.pointer("/graph/nodes").and_then(Value::as_array);
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
        let path = metadata.pointer("/paths/containment")?.as_str()?.into();
        let rank = metadata.get("rank").and_then(Value::as_u64).and_then(|rank| u32::try_from(rank).ok());
        Some(Portion { path, rank, amount })
    };
    nodes.into_iter().flatten().filter_map(portion).collect()
}

/// The `scheduling` part for what was picked.
pub(crate) fn written(index: &Index, picked: &Picked) -> Value {
    let tree = index.pools.tree();
    let mut places: BTreeSet<(u32, Place)> = BTreeSet::new();
    let mut amounts: BTreeMap<Place, u64> = BTreeMap::new();
    let mut add = |place: Place| {
        let mut next = Some(place);
        while let Some(place) = next {
            // Vertices of the upper list stand before what is in nodes, as they do in paths.
            let order = match place {
                Place::Top(v) => v,
                Place::In(at, _) => tree.nodes[at as usize].top,
            };
            if !places.insert((order, place)) {
                break;
            }
            next = tree.parent(place);
        }
    };
    for (pool, amount) in &picked.pools {
        let place = tree.pool_place(*pool);
        amounts.insert(place, *amount);
        add(place);
    }
    for (at, (cores, gpus)) in &picked.nodes {
        let inside = tree.inside(*at);
        for (bits, leaves) in [(cores, &inside.cores), (gpus, &inside.gpus)] {
            let bits: BTreeSet<u32> = bits.iter().map(|bit| *bit as u32).collect();
            let taken = leaves.iter().filter(|(bit, _)| bits.contains(bit));
            taken.for_each(|(_, vertex)| add(Place::In(*at, *vertex)));
        }
    }
    // By place: the number of the vertex, and its path.
    let mut made: BTreeMap<Place, (usize, String)> = BTreeMap::new();
    let (mut nodes, mut edges) = (Vec::with_capacity(places.len()), Vec::with_capacity(places.len()));
    for (number, (_, place)) in places.into_iter().enumerate() {
        let vertex = tree.vertex(place);
        let (kind, name) = (tree.words.text(vertex.kind), tree.words.text(vertex.name));
        let above = tree.parent(place).and_then(|parent| made.get(&parent));
        if let Some((above, _)) = above {
            let metadata = json!({ "subsystem": "containment", "relationship": "contains" });
            let (source, target) = (above.to_string(), number.to_string());
            edges.push(json!({ "source": source, "target": target, "metadata": metadata }));
        }
        let path = format!("{}/{name}", above.map_or("", |(_, path)| path));
        let rank = match place {
            Place::Top(_) => -1,
            Place::In(at, _) => i64::from(index.nodes()[at as usize].rank),
        };
        // What the rest of the R calls cores and GPUs.
        let id = match (place, vertex.home) {
            (Place::In(at, _), Home::Core(n)) => {
                index.layout(at as usize).cores.id(tree.inside(at).cores[n as usize].0).into()
            }
            (Place::In(at, _), Home::Gpu(n)) => {
                index.layout(at as usize).gpus.id(tree.inside(at).gpus[n as usize].0).into()
            }
            _ => vertex.id,
        };
        let (size, unit) = match amounts.get(&place) {
            Some(amount) if tree.is_bytes(vertex) => units::largest(*amount),
            Some(amount) => (*amount, tree.words.text(vertex.unit)),
            None => (1, ""),
        };
        let basename = if name.starts_with(kind) { kind } else { name };
        let mut metadata = json!({
            "type": kind, "basename": basename, "name": name, "id": id, "uniq_id": number, "rank": rank,
            "exclusive": false, "unit": unit, "size": size, "paths": { "containment": path },
        });
        let properties = &tree.sets[vertex.properties as usize];
        if !properties.is_empty() {
            metadata["properties"] = json!(properties);
        }
        nodes.push(json!({ "id": number.to_string(), "metadata": metadata }));
        made.insert(place, (number, path));
    }
    json!({ "writer": "fluxion:jgf", "graph": { "nodes": nodes, "edges": edges } })
}
