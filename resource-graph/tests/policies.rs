//! Every match policy against an oracle that tries all ways: what fits is found, and none is better by the
//! policy's own measure.

mod shape;

use flurm_resource_graph::{Found, Graph, Mark, MatchOp};
use flurm_types::{Constraint, Idset, JobId, R, RNode, Socket, Timestamp, Topology};
use proptest::prelude::*;

/// One case: nodes with sockets of these sizes (cores, GPUs), what is taken of each, and a request.
#[derive(Debug, Clone)]
struct Case {
    nodes: Vec<Vec<(u32, u32)>>,
    /// Random bits that say which cores and GPUs are taken.
    taken: u64,
    /// A given number of nodes, or as many as it takes.
    count: Option<u32>,
    /// On each node if their number is given, else in all.
    slots: u32,
    cores: u32,
    gpus: u32,
}

fn case() -> impl Strategy<Value = Case> {
    let socket = (1..6_u32, 0..3_u32);
    let nodes = proptest::collection::vec(proptest::collection::vec(socket, 1..4), 1..5);
    let size = (proptest::option::weighted(0.3, 1..4_u32), 1..11_u32, 1..4_u32);
    (nodes, any::<u64>(), any::<u64>(), size, proptest::bool::weighted(0.25)).prop_map(
        |(nodes, a, b, (count, slots, cores), gpu)| {
            // Half of all cores on average would leave little that fits.
            let slots = if count.is_some() { slots.div_ceil(3) } else { slots };
            Case { nodes, taken: a & b, count, slots, cores, gpus: u32::from(gpu) }
        },
    )
}

impl Case {
    /// On odd ranks the cores of the sockets are numbered in turns.
    fn inventory(&self) -> R {
        let mut r = R::default();
        for (rank, shape) in (0..).zip(&self.nodes) {
            let (mut sockets, mut core, mut gpu) = (vec![Socket::default(); shape.len()], 0, 0);
            if rank % 2 == 1 {
                for turn in 0..shape.iter().map(|(cores, _)| *cores).max().unwrap() {
                    for (socket, (cores, _)) in sockets.iter_mut().zip(shape) {
                        if turn < *cores {
                            socket.cores.insert(core);
                            core += 1;
                        }
                    }
                }
            }
            for (socket, (cores, gpus)) in sockets.iter_mut().zip(shape) {
                if rank % 2 == 0 {
                    socket.cores = (core..core + cores).collect();
                    core += cores;
                }
                socket.gpus = (gpu..gpu + gpus).collect();
                gpu += gpus;
            }
            let (cores, gpus) = ((0..core).collect(), (0..gpu).collect());
            r.nodes.push(RNode { rank, host: format!("n{rank}"), cores, gpus });
            r.topology.insert(rank, Topology { sockets: sockets.into() });
        }
        r
    }

    fn graph(&self) -> (Graph, R) {
        let all = self.inventory();
        let mut bits = self.taken;
        let mut some = |ids: &Idset| -> Idset {
            let taken = ids.iter().filter(|_| {
                let taken = bits & 1 == 1;
                bits = bits.rotate_right(1);
                taken
            });
            taken.collect()
        };
        let nodes = all.nodes.iter();
        let nodes =
            nodes.map(|node| RNode { cores: some(&node.cores), gpus: some(&node.gpus), ..node.clone() });
        let taken = R { nodes: nodes.collect(), ..R::default() };
        let mut graph = Graph::from_r(&all);
        graph.mark(&all.ranks(), Mark::Up);
        graph.take(JobId(1), &taken);
        (graph, all)
    }

    fn find(&self, graph: &Graph, placement: &str) -> Found {
        let node = self.count.map_or(String::new(), |count| format!("node={count}/"));
        let gpu = if self.gpus > 0 { format!(",gpu={}", self.gpus) } else { String::new() };
        let shape = format!("{node}slot={}/core={}{gpu}", self.slots, self.cores);
        let jobspec = shape::jobspec(&shape, 0.0, placement, &Constraint::True);
        graph.find(&jobspec, MatchOp::Allocate, Timestamp::ZERO)
    }

    /// Slots that go into so much.
    fn slots_in(&self, cores: u32, gpus: u32) -> u32 {
        gpus.checked_div(self.gpus).map_or(cores / self.cores, |n| n.min(cores / self.cores))
    }

    fn total(&self) -> u32 {
        self.slots * self.count.unwrap_or(1)
    }
}

/// Free cores and GPUs of each socket of each node, by counting.
fn free(case: &Case, graph: &Graph, all: &R) -> Vec<Vec<(u32, u32)>> {
    let free = graph.free();
    let none = (Idset::new(), Idset::new());
    let nodes = (0..case.nodes.len() as u32).map(|rank| {
        let (cores, gpus) = free.node(rank).map_or(none.clone(), |n| (n.cores.clone(), n.gpus.clone()));
        let count = |a: &Idset, b: &Idset| a.intersection(b).len() as u32;
        let sockets = all.topology[&rank].sockets.iter();
        sockets.map(|s| (count(&s.cores, &cores), count(&s.gpus, &gpus))).collect()
    });
    nodes.collect()
}

/// The same of what was given.
fn given(case: &Case, r: &R, all: &R) -> Vec<Vec<(u32, u32)>> {
    let nodes = (0..case.nodes.len() as u32).map(|rank| {
        let sockets = all.topology[&rank].sockets.iter();
        let part = r.node(rank);
        let count = |a: &Idset, b: Option<&Idset>| b.map_or(0, |b| a.intersection(b).len() as u32);
        sockets
            .map(|s| (count(&s.cores, part.map(|n| &n.cores)), count(&s.gpus, part.map(|n| &n.gpus))))
            .collect()
    });
    nodes.collect()
}

fn sum(sockets: &[(u32, u32)]) -> (u32, u32) {
    sockets.iter().fold((0, 0), |sum, socket| (sum.0 + socket.0, sum.1 + socket.1))
}

/// Every subset of `0..n`.
fn subsets(n: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..1_u32 << n).map(move |set| (0..n).filter(|i| set & 1 << i != 0).collect())
}

/// The least number of sockets with so many cores and GPUs in all.
fn sockets_for(sockets: &[(u32, u32)], cores: u32, gpus: u32) -> Option<usize> {
    let enough = |set: &Vec<usize>| {
        let sum = set.iter().fold((0, 0), |sum, n| (sum.0 + sockets[*n].0, sum.1 + sockets[*n].1));
        sum.0 >= cores && sum.1 >= gpus
    };
    subsets(sockets.len()).filter(enough).map(|set| set.len()).min()
}

fn touched(sockets: &[(u32, u32)]) -> usize {
    sockets.iter().filter(|socket| **socket != (0, 0)).count()
}

/// The least number of nodes that hold all slots, given what each holds.
fn nodes_for(case: &Case, capacities: &[u32]) -> Option<usize> {
    if let Some(count) = case.count {
        let fit = capacities.iter().filter(|held| **held >= case.slots).count();
        return (fit >= count as usize).then_some(count as usize);
    }
    let enough = |set: &Vec<usize>| set.iter().map(|n| capacities[*n]).sum::<u32>() >= case.slots;
    subsets(capacities.len()).filter(enough).map(|set| set.len()).min()
}

/// Slots per node as far up front as they go.
fn packed(case: &Case, capacities: &[u32], order: impl Iterator<Item = usize>) -> Vec<u32> {
    let mut left = case.total();
    let mut slots = vec![0; capacities.len()];
    for n in order {
        let here = match case.count {
            Some(_) if capacities[n] < case.slots => 0,
            Some(_) => case.slots.min(left),
            None => capacities[n].min(left),
        };
        slots[n] = here;
        left -= here;
    }
    slots
}

/// What every answer must be, whatever the policy: right in size, out of what is free.
fn checked(case: &Case, placement: &str, capacity: impl Fn(&[(u32, u32)]) -> u32) -> Option<Answer> {
    let (graph, all) = case.graph();
    let free = free(case, &graph, &all);
    let capacities: Vec<u32> = free.iter().map(|sockets| capacity(sockets)).collect();
    let fewest = nodes_for(case, &capacities);
    let Found::Now(r) = case.find(&graph, placement) else {
        assert_eq!(fewest, None, "it fits and was not found: {free:?}");
        return None;
    };
    assert!(r.is_subset(&graph.free()));
    let given = given(case, &r, &all);
    let slots: Vec<u32> = given.iter().map(|sockets| sum(sockets).0 / case.cores).collect();
    for (sockets, slots) in given.iter().zip(&slots) {
        assert_eq!(sum(sockets), (slots * case.cores, slots * case.gpus));
        assert!(case.count.is_none() || [0, case.slots].contains(slots));
    }
    assert_eq!(slots.iter().sum::<u32>(), case.total());
    let fewest = fewest.expect("what was found fits");
    Some(Answer { r, free, capacities, given, slots, fewest })
}

struct Answer {
    r: R,
    free: Vec<Vec<(u32, u32)>>,
    capacities: Vec<u32>,
    given: Vec<Vec<(u32, u32)>>,
    slots: Vec<u32>,
    /// The least number of nodes.
    fewest: usize,
}

fn anywhere(case: &Case) -> impl Fn(&[(u32, u32)]) -> u32 {
    |sockets| {
        let (cores, gpus) = sum(sockets);
        case.slots_in(cores, gpus)
    }
}

fn undivided(case: &Case) -> impl Fn(&[(u32, u32)]) -> u32 {
    |sockets| sockets.iter().map(|(cores, gpus)| case.slots_in(*cores, *gpus)).sum()
}

fn is_compact(case: &Case, answer: &Answer) {
    assert_eq!(answer.r.nnodes(), answer.fewest);
    // On each node no fewer sockets would have done ...
    for (given, free) in answer.given.iter().zip(&answer.free) {
        let (cores, gpus) = sum(given);
        assert_eq!(Some(touched(given)), sockets_for(free, cores, gpus).filter(|_| cores > 0).or(Some(0)));
    }
    // ... and where each node is to hold the same, on no other nodes either.
    if case.count.is_some() || answer.fewest == 1 {
        let (cores, gpus) = (case.slots * case.cores, case.slots * case.gpus);
        let mut needed: Vec<usize> =
            answer.free.iter().filter_map(|sockets| sockets_for(sockets, cores, gpus)).collect();
        needed.sort_unstable();
        let best: usize = needed[..answer.fewest].iter().sum();
        assert_eq!(answer.given.iter().map(|given| touched(given)).sum::<usize>(), best);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn first_takes_the_first_node_that_holds_everything(case in case()) {
        if let Some(answer) = checked(&case, "first", anywhere(&case)) {
            let alone = answer.capacities.iter().position(|held| *held >= case.slots);
            match (case.count, alone) {
                (None, Some(alone)) => prop_assert_eq!(answer.slots[alone], case.slots),
                _ => prop_assert_eq!(
                    &answer.slots,
                    &packed(&case, &answer.capacities, 0..case.nodes.len())
                ),
            }
        }
    }

    #[test]
    fn low_takes_the_lowest_nodes_and_ids(case in case()) {
        if let Some(answer) = checked(&case, "low", anywhere(&case)) {
            prop_assert_eq!(&answer.slots, &packed(&case, &answer.capacities, 0..case.nodes.len()));
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
        if let Some(answer) = checked(&case, "high", anywhere(&case)) {
            prop_assert_eq!(&answer.slots, &packed(&case, &answer.capacities, (0..case.nodes.len()).rev()));
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
    fn compact_takes_the_fewest_nodes_and_sockets(case in case()) {
        if let Some(answer) = checked(&case, "", anywhere(&case)) {
            is_compact(&case, &answer);
        }
    }

    #[test]
    fn locality_divides_no_slot_if_that_can_be_had(case in case()) {
        if let Some(answer) = checked(&case, "locality", anywhere(&case)) {
            let inside: Vec<u32> = answer.free.iter().map(|sockets| undivided(&case)(sockets)).collect();
            let Some(fewest) = nodes_for(&case, &inside) else {
                prop_assert_eq!(answer.r.nnodes(), answer.fewest);
                return Ok(());
            };
            prop_assert_eq!(answer.r.nnodes(), fewest);
            for (given, slots) in answer.given.iter().zip(&answer.slots) {
                prop_assert_eq!(undivided(&case)(given), *slots);
            }
        }
    }

    #[test]
    fn spread_is_even_over_the_fewest_sockets_and_leaves_a_share_of_each(
        case in case(),
        (part, of) in prop_oneof![Just((1, 2)), Just((1, 3)), Just((2, 3)), Just((1, 1))],
    ) {
        let cap = |(n, socket): (usize, (u32, u32)), shape: &[(u32, u32)]| {
            case.slots_in(socket.0.min(shape[n].0 * part / of), socket.1)
        };
        let caps = |n: usize, free: &[(u32, u32)]| -> Vec<u32> {
            free.iter().copied().enumerate().map(|socket| cap(socket, &case.nodes[n])).collect()
        };
        // Whose capacity it is, is not told by its sockets: count along.
        let node = std::cell::Cell::new(0);
        let capacity = |free: &[(u32, u32)]| {
            let n = node.replace(node.get() + 1);
            caps(n, free).iter().sum()
        };
        let Some(answer) = checked(&case, &format!("spread:{part}/{of}"), capacity) else { return Ok(()) };
        let groups: Vec<Vec<usize>> = match case.count {
            None => vec![(0..case.nodes.len()).collect()],
            Some(_) => (0..case.nodes.len()).filter(|n| answer.slots[*n] > 0).map(|n| vec![n]).collect(),
        };
        for group in groups {
            let (mut caps_here, mut loads) = (Vec::new(), Vec::new());
            for n in group {
                caps_here.extend(caps(n, &answer.free[n]));
                for given in &answer.given[n] {
                    prop_assert_eq!((given.0 % case.cores, given.0 / case.cores * case.gpus), (0, given.1));
                    loads.push(given.0 / case.cores);
                }
            }
            prop_assert!(loads.iter().zip(&caps_here).all(|(load, cap)| load <= cap));
            // The fewest sockets, by trying all sets.
            let enough = |set: &Vec<usize>| set.iter().map(|n| caps_here[*n]).sum::<u32>() >= case.slots;
            let best = subsets(caps_here.len()).filter(enough).map(|set| set.len()).min().unwrap();
            prop_assert_eq!(loads.iter().filter(|load| **load > 0).count(), best);
            // Even: nobody has two less than somebody else, unless that is all it can take.
            let most = loads.iter().max().unwrap();
            let uneven = loads.iter().zip(&caps_here).any(|(load, cap)| *load > 0 && load + 1 < *most && load < cap);
            prop_assert!(!uneven, "{:?} of {:?}", loads, caps_here);
        }
    }
}
