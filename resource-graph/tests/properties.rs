//! What holds for every history of a graph, tried with random ones against a matcher that is slow and plain.

use flurm_jobspec::{Jobspec, build::Builder};
use flurm_resource_graph::{Found, Graph, Mark, MatchOp};
use flurm_types::{Constraint, Idset, JobId, R, RNode, Socket, Timestamp, Topology};
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Asked {
    nodes: Option<u32>,
    slots: u32,
    cores: u32,
    gpus: u32,
    exclusive: bool,
    /// Ranks that will do.
    ranks: Idset,
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
    (proptest::option::of(1..5_u32), 1..9_u32, 1..4_u32, 0..2_u32, proptest::bool::weighted(0.2), ranks())
        .prop_map(|(nodes, slots, cores, gpus, exclusive, some)| {
            let slots = slots.max(nodes.unwrap_or(1));
            // Mostly without a constraint.
            let ranks = if some.len() < 5 { Idset::from_range(0..=7) } else { some };
            Asked { nodes, slots, cores, gpus, exclusive, ranks }
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
    let mut builder = Builder::new(vec!["true".to_owned()])
        .ntasks(asked.slots)
        .cores_per_task(asked.cores)
        .gpus_per_task(asked.gpus)
        .exclusive(asked.exclusive)
        .constraint(Constraint::Ranks(asked.ranks.clone()));
    if let Some(nodes) = asked.nodes {
        builder = builder.nnodes(nodes);
    }
    builder.build().unwrap()
}

/// Would it fit, if these were free? By counting.
fn fits(asked: &Asked, free: &R, inventory: &R) -> bool {
    let slots: Vec<u32> = free
        .nodes
        .iter()
        .filter(|node| asked.ranks.contains(node.rank))
        .filter(|node| !asked.exclusive || inventory.node(node.rank) == Some(node))
        .map(|node| {
            let cores = node.cores.len() as u32 / asked.cores;
            (node.gpus.len() as u32).checked_div(asked.gpus).map_or(cores, |gpus| gpus.min(cores))
        })
        .collect();
    match asked.nodes {
        None => slots.iter().sum::<u32>() >= asked.slots,
        Some(nodes) => {
            let (base, more) = (asked.slots / nodes, asked.slots % nodes);
            let with = |least: u32| slots.iter().filter(|slots| **slots >= least).count() as u32;
            with(base) >= nodes && with(base + 1) >= more
        }
    }
}

fn is_what_was_asked(asked: &Asked, r: &R, inventory: &R) {
    assert_eq!(r.nslots, Some(asked.slots));
    assert!(r.ranks().is_subset(&asked.ranks));
    assert!(asked.nodes.is_none_or(|nodes| nodes as usize == r.nnodes()));
    if asked.exclusive {
        assert!(r.nodes.iter().all(|node| inventory.node(node.rank) == Some(node)));
        return;
    }
    assert_eq!(r.ncores() as u32, asked.slots * asked.cores);
    assert_eq!(r.ngpus() as u32, asked.slots * asked.gpus);
    for node in &r.nodes {
        let slots = node.cores.len() as u32 / asked.cores;
        assert_eq!(node.cores.len() as u32, slots * asked.cores);
        assert_eq!(node.gpus.len() as u32, slots * asked.gpus);
        if let Some(nodes) = asked.nodes {
            let base = asked.slots / nodes;
            assert!(slots == base || slots == base + 1);
        }
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
                            assert!(graph.shortage(&jobspec(&asked)).starts_with("waits for "));
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
