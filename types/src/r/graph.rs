//! The graph that an R may carry (JGF in `scheduling`, RFC 40), cut to fewer ranks or given other ones.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The part of a graph on ranks that have a new number, with those. What belongs to no rank, such as a rack, stays.
/// Nothing if it is no graph, which nobody but its writer can cut.
pub(super) fn on(scheduling: &Value, new: impl Fn(u32) -> Option<u32>) -> Option<Value> {
    let vertices = scheduling.pointer("/graph/nodes")?.as_array()?;
    let edges = scheduling.pointer("/graph/edges").and_then(Value::as_array);
    let is_containment =
        |edge: &Value| edge.pointer("/metadata/subsystem").is_none_or(|name| name == "containment");
    let above: BTreeMap<String, String> = edges
        .into_iter()
        .flatten()
        .filter(|edge| is_containment(edge))
        .map(|edge| (id(&edge["target"]), id(&edge["source"])))
        .collect();
    let rank = |vertex: &Value| {
        let rank = vertex.pointer("/metadata/rank").and_then(Value::as_u64);
        rank.and_then(|rank| u32::try_from(rank).ok())
    };
    let gone: BTreeSet<String> = vertices
        .iter()
        .filter(|vertex| rank(vertex).is_some_and(|rank| new(rank).is_none()))
        .map(|vertex| id(&vertex["id"]))
        .collect();
    let stays = |vertex: String| {
        let mut next = Some(&vertex);
        // No graph is as deep as it has vertices, unless it goes round in circles.
        for _ in 0..=vertices.len() {
            match next {
                Some(one) if gone.contains(one) => return false,
                Some(one) => next = above.get(one),
                None => return true,
            }
        }
        false
    };
    let left: Vec<Value> = vertices
        .iter()
        .filter(|vertex| stays(id(&vertex["id"])))
        .map(|vertex| {
            let mut vertex = vertex.clone();
            if let Some(new) = rank(&vertex).and_then(&new) {
                vertex["metadata"]["rank"] = new.into();
            }
            vertex
        })
        .collect();
    let ids: BTreeSet<String> = left.iter().map(|vertex| id(&vertex["id"])).collect();
    let is_left = |edge: &&Value| ids.contains(&id(&edge["source"])) && ids.contains(&id(&edge["target"]));
    let edges: Vec<Value> = edges.into_iter().flatten().filter(is_left).cloned().collect();
    let mut cut = json!({ "graph": { "nodes": left, "edges": edges } });
    if let Some(writer) = scheduling.get("writer") {
        cut["writer"] = writer.clone();
    }
    Some(cut)
}

/// Ids are texts or numbers; both say the same.
fn id(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
