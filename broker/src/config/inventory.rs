//! R from files, brought into the order of the instance's brokers, with the graph that may come in it (JGF, RFC 40).

use crate::bootstrap::Mistake;
use flurm_resource_graph::describe::{Description, Document};
use flurm_types::{Hostlist, Idset, R, RNode, counted};
use std::collections::BTreeMap;
use std::path::Path;

/// Kinds of things of which an R without a graph says everything.
const IN_R: &[&str] = &["cluster", "node", "socket", "core", "gpu"];

/// Reads `resource.path`, with the graph of `resource.scheduling` if that names a file.
///
/// # Errors
/// One of them cannot be read, or they describe different machines.
pub fn read(path: &Path, scheduling: Option<&Path>) -> Result<R, Mistake> {
    let wrong = |key: &str, path: &Path, why: String| {
        Mistake::new(
            format!("resource.{key} {}: {why}", path.display()),
            match key {
                "path" => "it names a file with R in JSON, as `flurm resource R` prints it",
                _ => "it names a file with a resource graph in JSON (JGF) of the nodes in R",
            },
        )
    };
    let document = |key: &str, path: &Path| {
        let file = std::fs::File::open(path).map_err(|e| wrong(key, path, e.to_string()))?;
        Document::read(file).map_err(|e| wrong(key, path, e.to_string()))
    };
    let Document { graph, rest } = document("path", path)?;
    let mut r = R::parse(&rest).map_err(|e| wrong("path", path, e.to_string()))?;
    let (graph, named) = match scheduling {
        None => (graph, ("path", path)),
        Some(file) => {
            let Some(graph) = document("scheduling", file)?.graph else {
                return Err(wrong("scheduling", file, "no `nodes`".to_owned()));
            };
            same_nodes(&r, &graph).map_err(|why| wrong("scheduling", file, why))?;
            (Some(graph), ("scheduling", file))
        }
    };
    let Some(graph) = graph else { return Ok(r) };
    r.scheduling = None;
    with_graph(r, &graph).map_err(|why| wrong(named.0, named.1, why))
}

/// A graph in a file of its own is one of the nodes of R, all of them with all their cores and GPUs.
fn same_nodes(r: &R, graph: &Description) -> Result<(), String> {
    let described = graph.to_r().map_err(|error| error.to_string())?;
    if let Some(node) = described.nodes.iter().find(|node| r.node(node.rank).is_none()) {
        return Err(format!("rank {} ({}) is in the graph, but not in R", node.rank, node.host));
    }
    for node in &r.nodes {
        // Without a counterpart it is told of where the graph is read.
        let Some(other) = described.node(node.rank) else { continue };
        let (cores, gpus) = (|node: &RNode| node.cores.to_string(), |node: &RNode| node.gpus.to_string());
        for (what, ours, theirs) in [
            ("is", node.host.clone(), other.host.clone()),
            ("has cores", cores(node), cores(other)),
            ("has GPUs", gpus(node), gpus(other)),
        ] {
            if ours != theirs {
                let none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
                let (ours, theirs) = (none(ours), none(theirs));
                return Err(format!("rank {} {what} {ours} in R, but {theirs} in the graph", node.rank));
            }
        }
    }
    Ok(())
}

/// Takes what a graph says of sockets and properties into R itself, and the graph beside it if it says more.
fn with_graph(mut r: R, graph: &Description) -> Result<R, String> {
    let described = graph.to_r().map_err(|error| error.to_string())?;
    for node in &r.nodes {
        let Some(other) = described.node(node.rank) else {
            return Err(format!("the graph has no node with rank {} ({})", node.rank, node.host));
        };
        if !node.cores.is_subset(&other.cores) || !node.gpus.is_subset(&other.gpus) {
            return Err(format!(
                "rank {} ({}) has cores {} in R, but {} in the graph",
                node.rank, node.host, node.cores, other.cores
            ));
        }
    }
    let ranks = r.ranks();
    let here = described.topology.into_iter().filter(|(rank, _)| ranks.contains(*rank));
    r.topology.extend(here);
    for (name, with) in described.properties {
        let with = with.intersection(&ranks);
        if !with.is_empty() {
            r.properties.entry(name).or_default().union_with(&with);
        }
    }
    if graph.walk().any(|(_, thing)| !IN_R.contains(&thing.kind())) {
        let json = serde_json::to_value(graph).expect("texts and whole numbers always serialize");
        r.scheduling = Some(json.into());
    }
    Ok(r)
}

/// The ranks behind `0,3-5` or `c[1-2]`.
pub fn excluded(text: &str, r: &R) -> Result<Idset, Mistake> {
    let wrong = |why: String| {
        Mistake::new(format!("resource.exclude: {why}"), "it is a set of ranks (0,3-5) or of hosts (c[1-2])")
    };
    if let Ok(ranks) = text.parse::<Idset>() {
        let unknown = ranks.difference(&r.ranks());
        return match unknown.is_empty() {
            true => Ok(ranks),
            false => Err(wrong(format!("there is no rank {unknown} here"))),
        };
    }
    let hosts: Hostlist = text.parse().map_err(|e: flurm_types::SyntaxError| wrong(e.to_string()))?;
    if let Some(unknown) = hosts.iter().find(|host| !r.nodes.iter().any(|node| node.host == **host)) {
        return Err(wrong(format!("there is no host {unknown} here")));
    }
    Ok(r.nodes.iter().filter(|node| hosts.contains(&node.host)).map(|node| node.rank).collect())
}

/// Puts R's lines into the order of the instance's brokers: by name where the names are the same ones, else as they
/// stand.
///
/// # Errors
/// They are not as many.
pub fn align(r: &R, hosts: &[String]) -> Result<R, Mistake> {
    let r = r.renumber();
    if r.nnodes() != hosts.len() {
        return Err(Mistake::new(
            format!(
                "R has {}, but this instance has {}",
                counted(r.nnodes() as u64, "node"),
                counted(hosts.len() as u64, "broker")
            ),
            "start one broker on each node that R names",
        ));
    }
    // Where a host stands twice, names cannot tell ranks apart.
    let place: BTreeMap<&str, u32> = (0..).zip(hosts).map(|(rank, host)| (host.as_str(), rank)).collect();
    let found: Option<Vec<u32>> = r.nodes.iter().map(|node| place.get(node.host.as_str()).copied()).collect();
    let Some(new) = found.filter(|_| place.len() == hosts.len()) else { return Ok(r) };
    if new.iter().collect::<std::collections::BTreeSet<_>>().len() != hosts.len() {
        return Ok(r);
    }
    Ok(r.with_ranks(|rank| new[rank as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_resource_graph::describe::Shape;

    fn hosts(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("c{i}")).collect()
    }

    #[test]
    fn r_is_brought_into_the_order_of_brokers_by_name() {
        let node = |rank, host: &str, cores: &str| RNode {
            rank,
            host: host.into(),
            cores: cores.parse().unwrap(),
            gpus: Idset::new(),
        };
        let mut r = R::from_nodes([node(3, "c1", "0-1"), node(7, "c0", "4")]);
        r.properties.insert("big".into(), Idset::from_iter([3]));
        let vertex = |rank: i64| serde_json::json!({"id": "1", "metadata": {"type": "node", "rank": rank}});
        r.scheduling =
            Some(serde_json::json!({"graph": {"nodes": [vertex(-1), vertex(3), vertex(7)]}}).into());
        let aligned = align(&r, &hosts(2)).unwrap();
        assert_eq!(aligned.hostlist().to_string(), "c[0-1]");
        assert_eq!(aligned.nodes[1].cores.to_string(), "0-1");
        assert_eq!(aligned.properties["big"].to_string(), "1");
        let graph = aligned.scheduling.unwrap().json().into_owned();
        let ranks: Vec<i64> = graph["graph"]["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v["metadata"]["rank"].as_i64().unwrap())
            .collect();
        assert_eq!(ranks, [-1, 1, 0]);
        let other = align(&r, &["x".to_owned(), "x".to_owned()]).unwrap();
        assert_eq!(other.nodes[0].host, "c1", "as they stand");
        assert!(align(&r, &hosts(3)).is_err());
    }

    #[test]
    fn sockets_of_a_graph_become_part_of_r() {
        let shape = Shape { hosts: "c[0-1]".parse().unwrap(), sockets: 2, cores: 4, ..Shape::default() };
        let whole = shape.to_r();
        let graph = Description::from_r(&whole);
        let flat = R { topology: BTreeMap::new(), ..whole.clone() };
        assert_eq!(with_graph(flat.clone(), &graph).unwrap().topology, whole.topology);
        assert_eq!(same_nodes(&flat, &graph), Ok(()));
        for (change, why) in [
            (|r: &mut R| drop(r.nodes.pop()), "rank 1 (c1) is in the graph, but not in R"),
            (|r: &mut R| r.nodes[1].host = "d1".into(), "rank 1 is d1 in R, but c1 in the graph"),
            (
                |r: &mut R| assert!(r.nodes[0].cores.remove(0)),
                "rank 0 has cores 1-7 in R, but 0-7 in the graph",
            ),
            (|r: &mut R| assert!(r.nodes[0].gpus.insert(0)), "rank 0 has GPUs 0 in R, but none in the graph"),
        ] as [(fn(&mut R), &str); 4]
        {
            let mut other = flat.clone();
            change(&mut other);
            assert_eq!(same_nodes(&other, &graph), Err(why.to_owned()));
        }
        let mut more = flat;
        more.nodes[1].cores.insert(99);
        assert!(with_graph(more, &graph).unwrap_err().contains("rank 1"));
    }
}
