//! A long random life of a graph with racks, memory and licences: jobs of all shapes come and go in parts, vertices fail
//! and come back, nodes are drained and added, and nothing is ever given twice.

mod request;

use flurm_jobspec::Jobspec;
use flurm_resource_graph::describe::{Description, Shape};
use flurm_resource_graph::{Criteria, Found, Graph, Mark, MatchOp};
use flurm_types::{Idset, JobId, R, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;

const STEPS: usize = 100_000;

const SHAPES: &[&str] = &[
    "slot=1/core=1",
    "slot=2/[core=1;gpu=1]",
    "node=1{x}/slot=1/core=1",
    "slot=1/socket=1",
    "slot=2/[core=1;memory=3]",
    "node=2/slot=1/[core=2;memory=4]",
    "rack=1/node=2/slot=1/core=2",
    "rack=1{x}/node=1/slot=1/core=1",
    "rack=1/[node=1/slot=1/core=1;ssd=3]",
    "slot=2/[core=1;licence=1]",
    "socket=2/slot=2/core=1",
    "slot=2/pu=3",
    "[node=1/slot=1{a}/core=2;slot=2{b}/[core=1;memory=1]]",
    "slot=1/[core=1;memory=2-8]",
    "node=1/[slot=1{a}/socket=1{x}/core=1;slot=1{b}/core=2]",
];

/// So many nodes in two racks, each with a disk of its own, and licences for all.
fn machine(nodes: u32) -> Description {
    let shape = Shape {
        hosts: format!("n[0-{}]", nodes - 1).parse().unwrap(),
        racks: 2,
        sockets: 2,
        cores: 3,
        threads: 2,
        gpus: 1,
        memory_gib: Some(8),
        ..Shape::default()
    };
    let mut jgf: serde_json::Value = serde_json::from_str(&shape.describe().to_jgf()).unwrap();
    for (id, above, kind, size) in [("a", "1", "ssd", 8), ("b", "2", "ssd", 8), ("c", "0", "licence", 5)] {
        let metadata = json!({ "type": kind, "name": format!("{kind}-{id}"), "size": size });
        jgf["graph"]["nodes"].as_array_mut().unwrap().push(json!({ "id": id, "metadata": metadata }));
        jgf["graph"]["edges"].as_array_mut().unwrap().push(json!({ "source": above, "target": id }));
    }
    Description::from_jgf_value(&jgf).unwrap()
}

fn inventory(description: &Description) -> R {
    let mut r = description.to_r().unwrap();
    r.scheduling = Some(serde_json::from_str(&description.to_jgf()).unwrap());
    r
}

/// How much of each pool is taken, as the graph says and as the jobs say.
fn check_pools(graph: &Graph) {
    let mut held: BTreeMap<String, u64> = BTreeMap::new();
    for id in graph.holders() {
        let (_, portions) = graph.held_by(id).unwrap();
        portions.into_iter().for_each(|portion| *held.entry(portion.path).or_default() += portion.amount);
    }
    for kind in ["memory", "ssd", "licence"] {
        for info in graph.select(&Criteria::Kind(kind.to_owned())) {
            assert_eq!(info.taken, held.get(&info.path).copied().unwrap_or(0), "{}", info.path);
            assert!(info.taken <= info.size, "{}: {} of {}", info.path, info.taken, info.size);
        }
    }
}

#[test]
fn nothing_is_given_twice_in_a_hundred_thousand_steps_of_any_shape() {
    let requests: Vec<Jobspec> = SHAPES
        .iter()
        .flat_map(|shape| ["", "@first", "@high"].map(|placement| request::jobspec(&[shape, placement])))
        .collect();
    let mut state = 7_u64;
    let mut below = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let machines: Vec<R> = (5..8).map(|nodes| inventory(&machine(nodes))).collect();
    let all = Idset::from_range(0..=6);
    let mut graph = Graph::from_r(&machines[2]);
    graph.mark(&all, Mark::Up);
    let mut running: BTreeMap<JobId, R> = BTreeMap::new();
    let (mut found, mut by_shape) = (0, vec![0; requests.len()]);
    for step in 0..STEPS {
        match below(16) {
            0..8 => {
                let n = below(requests.len());
                if let Found::Now(r) = graph.find(&requests[n], MatchOp::Allocate, Timestamp::ZERO) {
                    (found, by_shape[n]) = (found + 1, by_shape[n] + 1);
                    let open = graph.up().difference(&graph.drained());
                    assert!(r.is_subset(&graph.free()) && r.ranks().is_subset(&open));
                    assert!(running.values().all(|other| r.is_disjoint(other)));
                    let id = JobId(step as u64);
                    graph.take(id, &r);
                    running.insert(id, r);
                }
            }
            8..14 if !running.is_empty() => {
                let id = *running.keys().nth(below(running.len())).unwrap();
                let r = running.remove(&id).unwrap();
                // Now and then a job leaves one node after the other.
                let ranks = if below(4) == 0 { r.ranks().take(1) } else { r.ranks() };
                graph.give_back(id, &ranks);
                let left = r.restrict(&r.ranks().difference(&ranks));
                if !left.is_empty() {
                    running.insert(id, left);
                }
            }
            14 if step % 4 == 0 => {
                let marks = [Mark::Up, Mark::Down, Mark::Drain, Mark::Undrain, Mark::Up, Mark::Undrain];
                graph.mark(&all.take(below(7)), marks[below(6)]);
            }
            14 => {
                let (rank, part) =
                    (below(7), ["", "/socket0", "/socket1", "/socket0/core1", "/socket1/memory1"]);
                let (rack, part) = (usize::from(rank > 3), part[below(5)]);
                let path = if below(8) == 0 {
                    format!("/cluster0/rack{rack}")
                } else {
                    format!("/cluster0/rack{rack}/n{rank}{part}")
                };
                // Nodes move to another rack with the size of the machine.
                let _ = graph.set_status(&path, below(3) > 0);
            }
            15 if step % 64 == 0 => graph.redefine(&machines[below(3)]),
            _ => {}
        }
        if step % 256 == 0 {
            let (free, allocated) = (graph.free(), graph.allocated());
            assert!(free.is_disjoint(&allocated));
            assert_eq!(free.ncores() + allocated.ncores(), graph.inventory().ncores());
            check_pools(&graph);
        }
    }
    assert!(found > STEPS / 20, "{found}");
    assert!(by_shape.iter().all(|found| *found > 0), "{by_shape:?}");
}
