//! What holds for every history of a graph, tried with random ones against a matcher that is slow and plain.

mod shape;

use flurm_jobspec::Jobspec;
use flurm_resource_graph::{Found, Graph, Mark, MatchOp};
use flurm_types::{Constraint, Idset, JobId, R, RNode, Socket, Timestamp, Topology};
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Asked {
    nodes: Option<u32>,
    /// On each node, or in all.
    pieces: u32,
    piece: Piece,
    cores: u32,
    gpus: u32,
    /// Whole nodes.
    exclusive: bool,
    /// Ranks that will do.
    ranks: Idset,
}

/// Where cores and GPUs of a piece must lie.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Piece {
    Anywhere,
    OneSocket,
    TwoWholeSockets,
}

#[derive(Debug, Clone)]
enum Step {
    Alloc(Asked),
    /// The n-th of the jobs that run, and where from.
    GiveBack(usize, Idset),
    Mark(Idset, u8),
}

fn ranks() -> impl Strategy<Value = Idset> {
    proptest::collection::vec(0..8_u32, 0..8).prop_map(|ids| ids.into_iter().collect())
}

fn asked() -> impl Strategy<Value = Asked> {
    let piece = prop_oneof![
        4 => Just(Piece::Anywhere), 1 => Just(Piece::OneSocket), 1 => Just(Piece::TwoWholeSockets)
    ];
    let size = (proptest::option::of(1..5_u32), 1..6_u32, 1..4_u32, 0..2_u32);
    (size, piece, proptest::bool::weighted(0.2), ranks()).prop_map(|(size, piece, exclusive, some)| {
        let (nodes, pieces, cores, gpus) = size;
        // Mostly without a constraint.
        let ranks = if some.len() < 5 { Idset::from_range(0..=7) } else { some };
        Asked { nodes, pieces, piece, cores, gpus, exclusive, ranks }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => asked().prop_map(Step::Alloc),
        3 => (any::<usize>(), ranks()).prop_map(|(n, ranks)| Step::GiveBack(n, ranks)),
        1 => (ranks(), 0..4_u8).prop_map(|(ranks, mark)| Step::Mark(ranks, mark)),
    ]
}

/// Nodes that may differ, with sockets whose cores are numbered in turns on every other node.
fn inventory() -> impl Strategy<Value = R> {
    proptest::collection::vec((1..3_u32, 1..5_u32, 0..2_u32), 1..8).prop_map(|shapes| {
        let mut r = R::default();
        for (rank, (sockets, cores, gpus)) in (0..).zip(shapes) {
            let inside = (0..sockets).map(|s| {
                let in_turns = (0..cores).map(|c| c * sockets + s);
                let in_blocks = (0..cores).map(|c| s * cores + c);
                let cores = if rank % 2 == 0 { in_turns.collect() } else { in_blocks.collect() };
                Socket { cores, gpus: (0..gpus).map(|g| s * gpus + g).collect(), memory_gib: None }
            });
            r.topology.insert(rank, Topology { sockets: inside.collect() });
            r.nodes.push(RNode {
                rank,
                host: format!("n{rank}"),
                cores: (0..sockets * cores).collect(),
                gpus: (0..sockets * gpus).collect(),
            });
        }
        r
    })
}

fn jobspec(asked: &Asked) -> Jobspec {
    let Asked { pieces, cores, gpus, .. } = asked;
    let x = if asked.exclusive { "x" } else { "" };
    let node = asked.nodes.map_or(String::new(), |nodes| format!("node={nodes}/"));
    let gpu = if *gpus > 0 { format!(",gpu={gpus}") } else { String::new() };
    let inside = match asked.piece {
        Piece::Anywhere => format!("slot={pieces}{x}/core={cores}{gpu}"),
        Piece::OneSocket => format!("socket={pieces}/slot=1{x}/core={cores}{gpu}"),
        Piece::TwoWholeSockets => format!("slot={pieces}{x}/socket=2/core={cores}{gpu}"),
    };
    shape::jobspec(&format!("{node}{inside}"), 0.0, "", &Constraint::Ranks(asked.ranks.clone()))
}

/// How many pieces a node would hold if this were free on it. By counting.
fn holds(asked: &Asked, node: &RNode, inventory: &R) -> u32 {
    let all = inventory.node(node.rank).unwrap();
    if asked.exclusive && node != all || !asked.ranks.contains(node.rank) {
        return 0;
    }
    let pieces = |cores: &Idset, gpus: &Idset| {
        let by_cores = cores.len() as u32 / asked.cores;
        (gpus.len() as u32).checked_div(asked.gpus).map_or(by_cores, |by_gpus| by_gpus.min(by_cores))
    };
    let sockets = || inventory.topology[&node.rank].sockets.iter();
    let whole = |s: &&Socket| s.cores.is_subset(&node.cores) && s.gpus.is_subset(&node.gpus);
    let here = |s: &&Socket| pieces(&s.cores.intersection(&node.cores), &s.gpus.intersection(&node.gpus)) > 0;
    match asked.piece {
        Piece::Anywhere => pieces(&node.cores, &node.gpus),
        Piece::OneSocket => sockets().filter(here).count() as u32,
        Piece::TwoWholeSockets => sockets().filter(whole).filter(here).count() as u32 / 2,
    }
}

fn fits(asked: &Asked, free: &R, inventory: &R) -> bool {
    let held = free.nodes.iter().map(|node| holds(asked, node, inventory));
    match asked.nodes {
        None => held.sum::<u32>() >= asked.pieces,
        Some(nodes) => held.filter(|held| *held >= asked.pieces).count() as u32 >= nodes,
    }
}

fn is_what_was_asked(asked: &Asked, r: &R, inventory: &R) {
    let pieces = asked.pieces * asked.nodes.unwrap_or(1);
    assert_eq!(r.nslots, Some(pieces));
    assert!(asked.nodes.is_none_or(|nodes| nodes as usize == r.nnodes()));
    // What was given must hold what was asked for, by itself ...
    let held: Vec<u32> = r.nodes.iter().map(|node| holds(asked, node, inventory)).collect();
    assert!(held.iter().sum::<u32>() >= pieces);
    assert!(asked.nodes.is_none() || held.iter().all(|held| *held >= asked.pieces));
    assert!(held.iter().all(|held| *held > 0));
    // ... and no more than that.
    if !asked.exclusive && asked.piece != Piece::TwoWholeSockets {
        assert_eq!((r.ncores() as u32, r.ngpus() as u32), (pieces * asked.cores, pieces * asked.gpus));
    }
}

proptest! {
    #[test]
    fn nothing_is_given_twice_and_everything_that_fits_is_found(
        inventory in inventory(),
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let mut graph = Graph::from_r(&inventory);
        graph.mark(&Idset::from_range(0..=7), Mark::Up);
        let mut running: Vec<(JobId, R)> = Vec::new();
        for (id, step) in (1..).map(JobId).zip(steps) {
            match step {
                Step::Alloc(asked) => {
                    let open = graph.free().restrict(&graph.up().difference(&graph.drained()));
                    match graph.find(&jobspec(&asked), MatchOp::Allocate, Timestamp::ZERO) {
                        Found::Now(r) => {
                            is_what_was_asked(&asked, &r, &inventory);
                            assert!(r.is_subset(&open));
                            graph.take(id, &r);
                            running.push((id, r));
                        }
                        Found::NotNow => {
                            assert!(!fits(&asked, &open, &inventory));
                            assert!(fits(&asked, &inventory, &inventory));
                            assert!(graph.shortage(&jobspec(&asked), Timestamp::ZERO).starts_with("waits for "));
                        }
                        Found::Never(_) => assert!(!fits(&asked, &inventory, &inventory)),
                    }
                }
                Step::GiveBack(n, ranks) if !running.is_empty() => {
                    let n = n % running.len();
                    graph.give_back(running[n].0, &ranks);
                    running[n].1 = running[n].1.restrict(&running[n].1.ranks().difference(&ranks));
                }
                Step::GiveBack(..) => {}
                Step::Mark(ranks, 0) => graph.mark(&ranks, Mark::Up),
                Step::Mark(ranks, 1) => graph.mark(&ranks, Mark::Down),
                Step::Mark(ranks, 2) => graph.mark(&ranks, Mark::Drain),
                Step::Mark(ranks, _) => graph.mark(&ranks, Mark::Undrain),
            }
            let (free, allocated) = (graph.free(), graph.allocated());
            assert!(free.is_disjoint(&allocated));
            assert_eq!(free.ncores() + allocated.ncores(), inventory.ncores());
            let held = running.iter().map(|(_, r)| r.ncores()).sum::<usize>();
            assert_eq!(held, allocated.ncores());
        }
    }
}
