//! A long random life of a graph: jobs of all placements come and go, nodes are lost, drained and added, and nothing is
//! ever given twice.

mod shape;

use flurm_jobspec::Jobspec;
use flurm_resource_graph::{Found, Graph, Mark, MatchOp};
use flurm_types::{Constraint, Idset, JobId, R, RNode, Socket, Timestamp, Topology};
use std::collections::BTreeMap;

const STEPS: usize = 100_000;

/// Nodes of unequal sockets, the first so many of them.
fn inventory(nodes: u32) -> R {
    let mut r = R::default();
    for rank in 0..nodes {
        let (first, second) = (2 + rank % 3, 3 + rank % 2);
        let sockets = vec![
            Socket { cores: (0..first).collect(), gpus: (0..1).collect(), memory_gib: None },
            Socket { cores: (first..first + second).collect(), gpus: Idset::new(), memory_gib: None },
        ];
        let (cores, gpus) = ((0..first + second).collect(), (0..1).collect());
        r.nodes.push(RNode { rank, host: format!("n{rank}"), cores, gpus });
        r.topology.insert(rank, Topology { sockets: sockets.into() });
    }
    r
}

/// Requests, and whether their jobs are willing to share.
fn requests() -> Vec<(Jobspec, bool)> {
    let shapes =
        ["slot/core", "slot=3/core", "slot=2/core=2", "node=2/slot=2/core", "slot/core,gpu", "slot=2-9/core"];
    let placements = [
        "",
        "first",
        "low",
        "high",
        "locality",
        "spread",
        "spread:1/3",
        "cosched",
        "cosched:memory",
        "cosched:io",
    ];
    let all = shapes.iter().flat_map(|shape| placements.iter().map(move |placement| (shape, placement)));
    let all = all.map(|(shape, placement)| {
        (shape::jobspec(shape, 0.0, placement, &Constraint::True), placement.starts_with("cosched"))
    });
    all.chain([(shape::jobspec("node=1x/slot/core", 0.0, "", &Constraint::True), false)]).collect()
}

#[test]
fn nothing_is_given_twice_in_a_hundred_thousand_steps() {
    let requests = requests();
    let mut state = 42_u64;
    let mut below = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut graph = Graph::from_r(&inventory(12));
    graph.mark(&Idset::from_range(0..=11), Mark::Up);
    let mut running: BTreeMap<JobId, (R, bool)> = BTreeMap::new();
    let mut found = 0;
    for step in 0..STEPS {
        match below(16) {
            0..8 => {
                let (jobspec, willing) = &requests[below(requests.len())];
                if let Found::Now(r) = graph.find(jobspec, MatchOp::Allocate, Timestamp::ZERO) {
                    found += 1;
                    let open = graph.up().difference(&graph.drained());
                    assert!(r.is_subset(&graph.free()) && r.ranks().is_subset(&open));
                    for (other, other_willing) in running.values() {
                        assert!(r.is_disjoint(other));
                        // Willing jobs keep to themselves.
                        assert!(willing == other_willing || r.ranks().is_disjoint(&other.ranks()));
                    }
                    if *willing {
                        let on = |rank| running.values().filter(|(r, _)| r.node(rank).is_some()).count();
                        assert!(r.ranks().iter().all(|rank| on(rank) <= 1), "three on a node");
                    }
                    graph.take(JobId(step as u64), &r);
                    running.insert(JobId(step as u64), (r, *willing));
                }
            }
            8..14 if !running.is_empty() => {
                let id = *running.keys().nth(below(running.len())).unwrap();
                let (r, willing) = running.remove(&id).unwrap();
                // Now and then a job leaves one node after the other.
                let ranks = if below(4) == 0 { r.ranks().take(1) } else { r.ranks() };
                graph.give_back(id, &ranks);
                let left = r.restrict(&r.ranks().difference(&ranks));
                if !left.is_empty() {
                    running.insert(id, (left, willing));
                }
            }
            14 => {
                let mark =
                    [Mark::Up, Mark::Down, Mark::Drain, Mark::Undrain, Mark::Up, Mark::Undrain][below(6)];
                graph.mark(&Idset::from_range(0..=11).take(below(12)), mark);
            }
            15 if step % 64 == 0 => graph.redefine(&inventory(10 + below(3) as u32)),
            _ => {}
        }
        if step % 16 == 0 {
            let (free, allocated) = (graph.free(), graph.allocated());
            assert!(free.is_disjoint(&allocated));
            assert_eq!(free.ncores() + allocated.ncores(), graph.inventory().ncores());
        }
    }
    assert!(found > STEPS / 20, "{found}");
}
