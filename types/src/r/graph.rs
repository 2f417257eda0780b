//! The graph that an R may carry (JGF in `scheduling`, RFC 40): cut to fewer ranks, given other ones, and what it says of
//! sockets. Everything else in it is for the scheduler.

use super::{MAX_SOCKETS, Socket, Topology};
use crate::Idset;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The part of a graph on ranks that have a new number, with those. What belongs to no rank, such as a rack, stays.
/// Nothing if it is no graph, which nobody but its writer can cut.
pub(super) fn on(scheduling: &Value, new: impl Fn(u32) -> Option<u32>) -> Option<Value> {
    let vertices = scheduling.pointer("/graph/nodes")?.as_array()?;
    let edges = scheduling.pointer("/graph/edges").and_then(Value::as_array);
    let above = above(edges.into_iter().flatten());
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
        // Nothing is as deep, unless it goes round in circles.
        for _ in 0..=DEPTH_MAX {
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

/// What each vertex is in: the edges down of containment, as which those count that do not say what they are.
fn above<'a>(edges: impl Iterator<Item = &'a Value>) -> BTreeMap<String, String> {
    let is = |edge: &Value, key: &str, word: &str| edge.pointer(key).is_none_or(|said| said == word);
    let edges = edges.filter(|edge| is(edge, "/metadata/subsystem", "containment"));
    let edges = edges.filter(|edge| is(edge, "/metadata/relationship", "contains"));
    edges.map(|edge| (id(&edge["target"]), id(&edge["source"]))).collect()
}

/// Ids are texts or numbers; both say the same.
fn id(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// How many levels are gone up at most.
const DEPTH_MAX: usize = 64;

/// Most cores that one vertex stands for.
const ON_NODE_MAX: u64 = 1 << 12;

/// Cores and GPUs of a rank by their socket, as ids, in the order in which they are written.
#[derive(Default)]
struct Inside {
    sockets: Vec<Option<u64>>,
    cores: Vec<(usize, i64)>,
    gpus: Vec<(usize, i64)>,
}

/// The sockets of these ranks, as far as a graph says them.
pub(super) fn topology(scheduling: &Value, ranks: &Idset) -> BTreeMap<u32, Topology> {
    let vertices = scheduling.pointer("/graph/nodes").and_then(Value::as_array);
    let edges = scheduling.pointer("/graph/edges").and_then(Value::as_array);
    let (Some(vertices), Some(edges)) = (vertices, edges) else { return BTreeMap::new() };
    let above = above(edges.iter());
    let by_id: BTreeMap<String, &Value> =
        vertices.iter().map(|vertex| (id(&vertex["id"]), &vertex["metadata"])).collect();
    let up = |vertex: &Value| {
        let first = id(&vertex["id"]);
        std::iter::successors(Some(first), |one| above.get(one).cloned()).take(DEPTH_MAX)
    };
    let is_socket = |metadata: &Value| matches!(metadata["type"].as_str(), Some("socket" | "package"));
    let mut sockets: BTreeMap<String, (u32, usize)> = BTreeMap::new();
    let mut inside: BTreeMap<u32, Inside> = BTreeMap::new();
    for vertex in vertices.iter().filter(|vertex| is_socket(&vertex["metadata"])) {
        let rank = up(vertex).find_map(|one| u32::try_from(by_id.get(&one)?["rank"].as_u64()?).ok());
        let Some(rank) = rank.filter(|rank| ranks.contains(*rank)) else { continue };
        if sockets.len() >= MAX_SOCKETS {
            return BTreeMap::new();
        }
        let known = &mut inside.entry(rank).or_default().sockets;
        sockets.insert(id(&vertex["id"]), (rank, known.len()));
        known.push(None);
    }
    for vertex in vertices {
        let metadata = &vertex["metadata"];
        let Some(kind @ ("core" | "gpu" | "memory")) = metadata["type"].as_str() else { continue };
        let Some((rank, socket)) = up(vertex).find_map(|one| sockets.get(&one)) else { continue };
        let here = inside.get_mut(rank).expect("it has a socket");
        let (number, size) = (metadata["id"].as_i64().unwrap_or(-1), metadata["size"].as_u64().unwrap_or(1));
        match (kind, metadata["unit"].as_str().unwrap_or("")) {
            ("core" | "gpu", _) => {
                let ids = if kind == "core" { &mut here.cores } else { &mut here.gpus };
                // Several that are counted together have numbers of their own.
                let number = if size == 1 { number } else { -1 };
                ids.extend((0..size.min(ON_NODE_MAX)).map(|_| (*socket, number)));
            }
            (_, "" | "GiB" | "GB" | "G") => *here.sockets[*socket].get_or_insert(0) += size.min(1 << 40),
            (_, "MiB" | "MB" | "M") => *here.sockets[*socket].get_or_insert(0) += size >> 10,
            _ => {}
        }
    }
    inside.into_iter().map(|(rank, inside)| (rank, inside.topology())).collect()
}

impl Inside {
    fn topology(self) -> Topology {
        let count = self.sockets.len();
        let (cores, gpus) = (numbered(self.cores, count), numbered(self.gpus, count));
        let parts = self.sockets.into_iter().zip(cores).zip(gpus);
        let socket = |((memory_gib, cores), gpus)| Socket { cores, gpus, memory_gib };
        Topology { sockets: parts.map(socket).collect() }
    }
}

/// Ids by socket, as they are if they tell all of a rank apart, else numbers in order.
fn numbered(mut ids: Vec<(usize, i64)>, sockets: usize) -> Vec<Idset> {
    ids.sort_by_key(|(socket, _)| *socket);
    let mut seen = Idset::new();
    let is_own =
        |id: &i64, seen: &mut Idset| u32::try_from(*id).is_ok_and(|id| id < u32::MAX && seen.insert(id));
    let apart = ids.iter().all(|(_, id)| is_own(id, &mut seen));
    let mut by_socket = vec![Idset::new(); sockets];
    for (number, (socket, id)) in (0..).zip(ids) {
        by_socket[socket].insert(if apart { id as u32 } else { number });
    }
    by_socket
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_contains_says_what_is_inside() {
        let vertex = |at: u64, kind: &str, number: u64| {
            let rank = if kind == "cluster" { -1 } else { 0 };
            json!({"id": at.to_string(), "metadata": {"type": kind, "id": number, "rank": rank}})
        };
        let edge = |from: u64, to: u64, subsystem: &str, word: &str| {
            let metadata = json!({"subsystem": subsystem, "relationship": word});
            json!({"source": from.to_string(), "target": to, "metadata": metadata})
        };
        let kinds = ["cluster", "node", "socket", "core", "socket", "core"];
        let nodes: Vec<Value> = (0..).zip(kinds).map(|(at, kind)| vertex(at, kind, at / 4)).collect();
        let mut edges = Vec::new();
        for (from, to) in [(0, 1), (1, 2), (2, 3), (1, 4), (4, 5)] {
            edges.push(edge(from, to, "containment", "contains"));
            // The way back, and a system of other relations that goes round in circles.
            edges.push(edge(to, from, "containment", "in"));
            edges.push(edge(5 - to, 5 - from, "power", "supplies"));
        }
        let graph = json!({"graph": {"nodes": nodes, "edges": edges}});
        let topology = topology(&graph, &Idset::from(0));
        let sockets: Vec<String> =
            topology[&0].sockets.iter().map(|socket| socket.cores.to_string()).collect();
        assert_eq!(sockets, ["0", "1"]);
        let moved = on(&graph, |rank| Some(rank + 7)).expect("it is a graph");
        assert_eq!(moved["graph"]["nodes"].as_array().map(Vec::len), Some(6));
        assert_eq!(moved["graph"]["nodes"][5]["metadata"]["rank"], 7);
    }
}
