//! Every match policy against an oracle that tries all ways: what fits is found, and none is better by the
//! policy's own measure.

mod oracle;
mod shape;

use flurm_resource_graph::{Found, Graph, MatchOp};
use flurm_types::{Idset, JobId, R, Timestamp};
use oracle::{Case, Kind, Size, case, fewest_sockets, shapes, subsets, sum, touched};
use proptest::prelude::*;

/// What was found, with all that is needed to judge it.
struct Answer {
    r: R,
    free: Vec<Vec<Size>>,
    /// Slots that each node holds.
    held: Vec<u32>,
    given: Vec<Vec<Size>>,
    /// Slots that it has.
    slots: Vec<u32>,
    /// The least number of nodes.
    fewest: usize,
}

/// What every answer must be, whatever the policy: found if there is one, right in size, out of what is free.
fn checked(case: &Case, placement: &str, holds: impl Fn(usize, &[Size]) -> u32) -> Option<Answer> {
    let (graph, all) = case.graph();
    let free = case.free(&graph, &all);
    let held: Vec<u32> = free.iter().enumerate().map(|(n, sockets)| holds(n, sockets)).collect();
    let fewest = case.fewest_nodes(&held);
    let Found::Now(r) = case.find(&graph, placement) else {
        assert_eq!(fewest, None, "it fits and was not found: {free:?}");
        return None;
    };
    let given = case.given(&r, &all);
    for (given, free) in given.iter().flatten().zip(free.iter().flatten()) {
        assert!(given.0 <= free.0 && given.1 <= free.1, "{given:?} of {free:?}");
    }
    assert!(r.is_subset(&graph.free()));
    let slots: Vec<u32> = given.iter().map(|sockets| sum(sockets).0 / case.cores).collect();
    let fewest = fewest.expect("what was found fits");
    Some(Answer { r, free, held, given, slots, fewest })
}

/// The same of slots anywhere: their cores and GPUs and nothing else.
fn checked_slots(case: &Case, placement: &str, holds: impl Fn(usize, &[Size]) -> u32) -> Option<Answer> {
    let answer = checked(case, placement, holds)?;
    for (sockets, slots) in answer.given.iter().zip(&answer.slots) {
        assert_eq!(sum(sockets), (slots * case.cores, slots * case.gpus));
        assert!(case.count.is_none() || [0, case.slots].contains(slots));
    }
    assert_eq!(answer.slots.iter().sum::<u32>(), case.total());
    Some(answer)
}

fn anywhere(case: &Case) -> impl Fn(usize, &[Size]) -> u32 {
    |_, sockets| case.slots_in(sum(sockets))
}

/// Slots that no two sockets share.
fn undivided(case: &Case, sockets: &[Size]) -> u32 {
    sockets.iter().map(|socket| case.slots_in(*socket)).sum()
}

/// What may be had of a socket by a job that spreads.
fn share(case: &Case, node: usize, free: &[Size], (part, of): (u32, u32)) -> Vec<u32> {
    let sockets = free.iter().zip(&case.nodes[node]);
    sockets.map(|(free, all)| case.slots_in((free.0.min(all.0 * part / of), free.1))).collect()
}

/// Slots even over the fewest sockets, whole, and on one node if that takes no more sockets.
fn is_spread(case: &Case, answer: &Answer, part: (u32, u32)) {
    let caps: Vec<Vec<u32>> =
        answer.free.iter().enumerate().map(|(n, free)| share(case, n, free, part)).collect();
    let fewest = |caps: &[u32]| {
        let enough = |set: &Vec<usize>| set.iter().map(|n| caps[*n]).sum::<u32>() >= case.slots;
        subsets(caps.len()).filter(enough).map(|set| set.len()).min()
    };
    let groups: Vec<Vec<usize>> = match case.count {
        None => vec![(0..case.nodes.len()).collect()],
        Some(_) => (0..case.nodes.len()).filter(|n| answer.slots[*n] > 0).map(|n| vec![n]).collect(),
    };
    let mut used = 0;
    for group in groups {
        let (mut caps_here, mut loads) = (Vec::new(), Vec::new());
        for n in group {
            caps_here.extend(&caps[n]);
            for given in &answer.given[n] {
                assert_eq!((given.0 % case.cores, given.0 / case.cores * case.gpus), (0, given.1));
                loads.push(given.0 / case.cores);
            }
        }
        assert!(loads.iter().zip(&caps_here).all(|(load, cap)| load <= cap));
        let best = fewest(&caps_here).expect("it was found");
        assert_eq!(loads.iter().filter(|load| **load > 0).count(), best);
        used += best;
        // Even: nobody has two less than somebody else, unless that is all it can take.
        let most = loads.iter().max().unwrap();
        let uneven =
            loads.iter().zip(&caps_here).any(|(load, cap)| *load > 0 && load + 1 < *most && load < cap);
        assert!(!uneven, "{loads:?} of {caps_here:?}");
    }
    let mut alone: Vec<usize> = caps.iter().filter_map(|caps| fewest(caps)).collect();
    alone.sort_unstable();
    match case.count {
        // No other nodes would have done with fewer sockets in all.
        Some(count) => assert_eq!(used, alone[..count as usize].iter().sum::<usize>()),
        None if alone.first() == Some(&used) => assert_eq!(answer.r.nnodes(), 1),
        None => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn first_takes_the_first_node_that_holds_everything(case in case()) {
        if let Some(answer) = checked_slots(&case, "first", anywhere(&case)) {
            prop_assert_eq!(&answer.slots, &case.first(&answer.held));
        }
    }

    #[test]
    fn low_takes_the_lowest_nodes_and_ids(case in case()) {
        if let Some(answer) = checked_slots(&case, "low", anywhere(&case)) {
            prop_assert_eq!(&answer.slots, &case.packed(&answer.held, 0..case.nodes.len()));
            let (graph, _) = case.graph();
            for node in &answer.r.nodes {
                let free = graph.free().node(node.rank).unwrap().clone();
                prop_assert_eq!(&node.cores, &free.cores.take(node.cores.len()));
                prop_assert_eq!(&node.gpus, &free.gpus.take(node.gpus.len()));
            }
        }
    }

    #[test]
    fn high_takes_the_highest_nodes_and_ids(case in case()) {
        if let Some(answer) = checked_slots(&case, "high", anywhere(&case)) {
            prop_assert_eq!(&answer.slots, &case.packed(&answer.held, (0..case.nodes.len()).rev()));
            let (graph, _) = case.graph();
            for node in &answer.r.nodes {
                let free = graph.free().node(node.rank).unwrap().clone();
                let below = free.cores.take(free.cores.len() - node.cores.len());
                prop_assert_eq!(&node.cores, &free.cores.difference(&below));
                let below = free.gpus.take(free.gpus.len() - node.gpus.len());
                prop_assert_eq!(&node.gpus, &free.gpus.difference(&below));
            }
        }
    }

    #[test]
    fn compact_takes_the_fewest_nodes_and_on_them_the_fewest_sockets(case in case()) {
        if let Some(answer) = checked_slots(&case, "compact", anywhere(&case)) {
            prop_assert_eq!(answer.r.nnodes(), answer.fewest);
            let sockets = answer.given.iter().map(|given| touched(given)).sum::<usize>();
            prop_assert_eq!(case.fewest_nodes_and_sockets(&answer.free), Some((answer.fewest, sockets)));
        }
    }

    #[test]
    fn locality_divides_no_slot_if_that_can_be_had(case in case()) {
        if let Some(answer) = checked_slots(&case, "locality", anywhere(&case)) {
            let inside: Vec<u32> = answer.free.iter().map(|sockets| undivided(&case, sockets)).collect();
            let Some(fewest) = case.fewest_nodes(&inside) else {
                // As compact, but on each node no slot is divided without need.
                prop_assert_eq!(answer.r.nnodes(), answer.fewest);
                for (n, given) in answer.given.iter().enumerate().filter(|(n, _)| answer.slots[*n] > 0) {
                    if inside[n] >= answer.slots[n] {
                        prop_assert_eq!(undivided(&case, given), answer.slots[n]);
                    } else {
                        prop_assert_eq!(fewest_sockets(&answer.free[n], sum(given)), Some(touched(given)));
                    }
                }
                return Ok(());
            };
            prop_assert_eq!(answer.r.nnodes(), fewest);
            for (given, slots) in answer.given.iter().zip(&answer.slots) {
                prop_assert_eq!(undivided(&case, given), *slots);
            }
        }
    }

    #[test]
    fn spread_is_even_over_the_fewest_sockets_and_leaves_a_share_of_each(
        case in case(),
        part in prop_oneof![Just((1, 2)), Just((1, 3)), Just((2, 3)), Just((1, 1))],
    ) {
        let holds = |n: usize, free: &[Size]| share(&case, n, free, part).iter().sum();
        if let Some(answer) = checked_slots(&case, &format!("spread:{}/{}", part.0, part.1), holds) {
            is_spread(&case, &answer, part);
        }
    }

    #[test]
    fn a_willing_job_sits_beside_another_or_where_nobody_is(case in case(), first in 0..4_u32) {
        let (mut graph, all) = case.graph();
        // Somebody else who is willing is there already, unless nothing is idle.
        let other = Case { slots: 1 + first, count: None, cores: 1, gpus: 0, allowed: u32::MAX, ..case.clone() };
        let mut mate = Idset::new();
        if let Found::Now(r) = other.find(&graph, "cosched:memory") {
            prop_assert!(r.nodes.iter().all(|node| graph.free().node(node.rank) == all.node(node.rank)));
            graph.take(JobId(2), &r);
            mate = r.ranks();
        }
        is_willing(&case, &graph, &all, &mate)?;
    }

    #[test]
    fn whether_it_fits_at_all_is_known_whatever_is_taken(case in prop_oneof![case(), shapes()]) {
        let (graph, _) = case.graph();
        for placement in ["first", "low", "high", "locality", "compact", "spread"] {
            let takes_all = matches!(case.kind, Kind::Exclusive | Kind::Sockets { whole: true, .. });
            if placement == "spread" && takes_all {
                continue;
            }
            let cap = |all: u32| if placement == "spread" { all / 2 } else { all };
            let holds = |(n, free): (usize, &Vec<Size>)| match (case.kind, placement) {
                (Kind::Anywhere, "spread") => share(&case, n, free, (1, 2)).iter().sum(),
                _ => case.holds(n, free, cap),
            };
            let held: Vec<u32> = case.ever().iter().enumerate().map(holds).collect();
            let fits = case.fewest_nodes(&held).is_some();
            let jobspec = case.jobspec(placement);
            prop_assert_eq!(graph.fits_open(&jobspec, Timestamp::ZERO), fits);
            let could = graph.find(&jobspec, MatchOp::Satisfiability, Timestamp::ZERO);
            prop_assert_eq!(matches!(could, Found::Now(_)), fits, "{:?}", could);
        }
    }

    #[test]
    fn pieces_of_all_kinds_are_where_each_policy_wants_them(case in shapes()) {
        for placement in ["first", "low", "high", "locality", "compact", "spread"] {
            let takes_all = matches!(case.kind, Kind::Exclusive | Kind::Sockets { whole: true, .. });
            if placement == "spread" && takes_all {
                prop_assert!(matches!(case.find(&case.graph().0, placement), Found::Never(_)));
                continue;
            }
            let cap = |all: u32| if placement == "spread" { all / 2 } else { all };
            let holds = |n: usize, free: &[Size]| case.holds(n, free, cap);
            let Some(answer) = checked(&case, placement, holds) else { continue };
            for (n, given) in answer.given.iter().enumerate() {
                let piece = (case.cores, case.gpus);
                for (given, all) in given.iter().zip(&case.nodes[n]) {
                    match case.kind {
                        Kind::Anywhere => unreachable!("these are in the other tests"),
                        Kind::Exclusive => prop_assert!(sum(&answer.given[n]) == (0, 0) || given == all),
                        Kind::Sockets { whole: true, .. } => prop_assert!([(0, 0), *all].contains(given)),
                        Kind::OnSocket | Kind::Sockets { .. } => prop_assert!([(0, 0), piece].contains(given)),
                    }
                }
            }
            // How many pieces there are on a node, as far as it can be told.
            let count = |n: usize| match case.kind {
                Kind::OnSocket => touched(&answer.given[n]) as u32,
                Kind::Sockets { count, .. } => touched(&answer.given[n]) as u32 / count,
                Kind::Anywhere | Kind::Exclusive => u32::from(touched(&answer.given[n]) > 0),
            };
            let slots: Vec<u32> = (0..case.nodes.len()).map(count).collect();
            if case.kind != Kind::Exclusive {
                prop_assert_eq!(slots.iter().sum::<u32>(), case.total());
                prop_assert!(slots.iter().all(|n| case.count.is_none() || [0, case.slots].contains(n)));
            }
            let expected = match placement {
                "first" | "spread" => case.first(&answer.held),
                "low" => case.packed(&answer.held, 0..case.nodes.len()),
                "high" => case.packed(&answer.held, (0..case.nodes.len()).rev()),
                _ => {
                    prop_assert_eq!(answer.r.nnodes(), answer.fewest);
                    continue;
                }
            };
            let seen = |n: &u32| if case.kind == Kind::Exclusive { u32::from(*n > 0) } else { *n };
            prop_assert_eq!(&slots, &expected.iter().map(seen).collect::<Vec<_>>(), "{}", placement);
        }
    }
}

/// A willing job gets half of each of its sockets at most: on nodes where another one is alone if it fits there, else on
/// nodes where nobody is.
fn is_willing(case: &Case, graph: &Graph, all: &R, mate: &Idset) -> Result<(), TestCaseError> {
    let half = (1, 2);
    let free = case.free(graph, all);
    let only = |on: &dyn Fn(u32, &[Size]) -> bool| -> Vec<Vec<Size>> {
        let blank = |(rank, sockets): (u32, &Vec<Size>)| {
            if on(rank, sockets) { sockets.clone() } else { vec![(0, 0); sockets.len()] }
        };
        (0..).zip(&free).map(blank).collect()
    };
    let beside = only(&|rank, _| mate.contains(rank));
    let fresh = only(&|rank, sockets| sockets == case.nodes[rank as usize]);
    let fits = |free: &[Vec<Size>]| {
        let held: Vec<u32> =
            free.iter().enumerate().map(|(n, sockets)| share(case, n, sockets, half).iter().sum()).collect();
        case.fewest_nodes(&held).map(|fewest| (held, fewest))
    };
    let found = case.find(graph, "cosched:compute");
    let place = [beside, fresh].into_iter().find_map(|free| fits(&free).map(|fits| (free, fits)));
    let Found::Now(r) = found else {
        prop_assert!(place.is_none(), "it fits and was not found");
        return Ok(());
    };
    let (free, (held, fewest)) = place.expect("what was found fits");
    let given = case.given(&r, all);
    for (given, free) in given.iter().flatten().zip(free.iter().flatten()) {
        prop_assert!(given.0 <= free.0 && given.1 <= free.1, "{:?} of {:?}", given, free);
    }
    let slots = given.iter().map(|sockets| sum(sockets).0 / case.cores).collect();
    is_spread(case, &Answer { r, free, held, given, slots, fewest }, half);
    Ok(())
}
