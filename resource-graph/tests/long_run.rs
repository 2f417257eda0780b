//! A long random life of a graph: jobs of all placements come and go, alone, in pairs and in groups, nodes are lost,
//! drained and added, and nothing is ever given twice.

mod shape;

use flurm_jobspec::Jobspec;
use flurm_resource_graph::{Found, Graph, Mark, MatchOp, Unit};
use flurm_types::{Constraint, Idset, JobId, R, RNode, Socket, Timestamp, Topology};
use std::collections::BTreeMap;
use std::sync::Arc;

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

/// With whom a job may share its nodes.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
enum With {
    /// Other unwilling ones.
    Anybody,
    /// One other willing one.
    OneOther,
    /// The members of its group: the step in which that came, and the number of its jobs.
    Group(usize, usize),
}

impl With {
    /// The part of a socket that the job may have: one of so many.
    fn parts(self) -> usize {
        match self {
            With::Anybody => 1,
            With::OneOther => 2,
            With::Group(_, size) => size,
        }
    }
}

/// Requests, and whether their jobs are willing to share.
fn requests() -> Vec<(Jobspec, With)> {
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
        let with = if placement.starts_with("cosched") { With::OneOther } else { With::Anybody };
        (shape::jobspec(shape, 0.0, placement, &Constraint::True), with)
    });
    all.chain([(shape::jobspec("node=1x/slot/core", 0.0, "", &Constraint::True), With::Anybody)]).collect()
}

/// Groups of two and three jobs; some ask for GPUs, which a node has one of, some for more than there is.
fn groups() -> Vec<Vec<Arc<Jobspec>>> {
    let groups: [&[&str]; 7] = [
        &["slot=2/core", "slot=2/core"],
        &["slot=5/core", "slot=2/core", "slot/core"],
        &["slot=3/core", "slot=3/core", "slot=3/core"],
        &["node=2/slot=2/core", "slot=3/core"],
        &["slot/core,gpu", "slot=4/core"],
        &["slot/core,gpu", "slot/core,gpu"],
        &["slot=9/core=2", "slot/core"],
    ];
    let member = |shape: &&str, size| {
        Arc::new(shape::jobspec(shape, 0.0, &format!("group:g:{size}"), &Constraint::True))
    };
    groups.iter().map(|shapes| shapes.iter().map(|shape| member(shape, shapes.len())).collect()).collect()
}

/// Nobody is anywhere twice, shares with somebody who is not willing, or has more than his part of a socket.
fn is_sound(graph: &Graph, running: &BTreeMap<JobId, (R, With)>, new: &R, with: With) {
    let open = graph.up().difference(&graph.drained());
    assert!(new.is_subset(&graph.free()) && new.ranks().is_subset(&open));
    for (other, other_with) in running.values() {
        assert!(new.is_disjoint(other));
        assert!(
            with == *other_with || new.ranks().is_disjoint(&other.ranks()),
            "{with:?} with {other_with:?}"
        );
    }
    let on = |rank| running.values().filter(|(r, _)| r.node(rank).is_some()).count();
    match with {
        With::Anybody => {}
        With::OneOther => assert!(new.ranks().iter().all(|rank| on(rank) <= 1), "three on a node"),
        With::Group(_, size) => assert!(new.ranks().iter().all(|rank| on(rank) < size), "a stranger"),
    }
    for node in &new.nodes {
        for socket in graph.inventory().topology[&node.rank].sockets.iter() {
            let most = socket.cores.len() / with.parts();
            assert!(socket.cores.intersection(&node.cores).len() <= most, "more than its part");
        }
    }
}

#[test]
fn nothing_is_given_twice_in_a_hundred_thousand_steps() {
    let (requests, groups) = (requests(), groups());
    let mut state = 42_u64;
    let mut below = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut graph = Graph::from_r(&inventory(12));
    graph.mark(&Idset::from_range(0..=11), Mark::Up);
    let mut running: BTreeMap<JobId, (R, With)> = BTreeMap::new();
    let (mut found, mut paired, mut grouped) = (0, 0, 0);
    for step in 0..STEPS {
        let id = |n: usize| JobId((step * 16 + n) as u64);
        match below(17) {
            0..8 => {
                let (jobspec, with) = &requests[below(requests.len())];
                if let Found::Now(r) = graph.find(jobspec, MatchOp::Allocate, Timestamp::ZERO) {
                    is_sound(&graph, &running, &r, *with);
                    let beside = running.values().any(|(other, _)| !other.ranks().is_disjoint(&r.ranks()));
                    found += 1;
                    paired += usize::from(*with == With::OneOther && beside);
                    graph.take(id(0), &r);
                    running.insert(id(0), (r, *with));
                }
            }
            8 => {
                let jobs = &groups[below(groups.len())];
                let unit = Unit::Group(jobs);
                let Found::Now(r) = graph.find(unit, MatchOp::Allocate, Timestamp::ZERO) else { continue };
                let ranks = r.ranks();
                assert!(running.values().all(|(other, _)| ranks.is_disjoint(&other.ranks())), "not alone");
                let parts = graph.split(unit, r).expect("all or none");
                assert_eq!(parts.len(), jobs.len());
                grouped += 1;
                for (n, r) in parts.into_iter().enumerate() {
                    assert!(r.ranks().is_subset(&ranks) && !r.is_empty());
                    is_sound(&graph, &running, &r, With::Group(step, jobs.len()));
                    graph.take(id(n), &r);
                    running.insert(id(n), (r, With::Group(step, jobs.len())));
                }
            }
            9..15 if !running.is_empty() => {
                let id = *running.keys().nth(below(running.len())).unwrap();
                let (r, with) = running.remove(&id).unwrap();
                // Now and then a job leaves one node after the other.
                let ranks = if below(4) == 0 { r.ranks().take(1) } else { r.ranks() };
                graph.give_back(id, &ranks);
                let left = r.restrict(&r.ranks().difference(&ranks));
                if !left.is_empty() {
                    running.insert(id, (left, with));
                }
            }
            15 => {
                let mark =
                    [Mark::Up, Mark::Down, Mark::Drain, Mark::Undrain, Mark::Up, Mark::Undrain][below(6)];
                graph.mark(&Idset::from_range(0..=11).take(below(12)), mark);
            }
            16 if step % 64 == 0 => graph.redefine(&inventory(10 + below(3) as u32)),
            _ => {}
        }
        if step % 16 == 0 {
            let (free, allocated) = (graph.free(), graph.allocated());
            assert!(free.is_disjoint(&allocated));
            assert_eq!(free.ncores() + allocated.ncores(), graph.inventory().ncores());
        }
    }
    // Else this would show nothing.
    assert!(
        found > STEPS / 20 && paired > STEPS / 100 && grouped > STEPS / 200,
        "{found} {paired} {grouped}"
    );
}
