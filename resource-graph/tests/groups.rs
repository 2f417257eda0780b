//! Groups against an oracle that tries all sets of nodes: what fits is found, and what is found is a place for all.

mod shape;

use flurm_jobspec::Jobspec;
use flurm_resource_graph::{Found, Graph, Mark, MatchOp, Unit};
use flurm_types::{Constraint, Idset, JobId, R, RNode, Socket, Timestamp, Topology};
use proptest::prelude::*;
use std::sync::Arc;

/// Nodes by the sizes of their sockets, which of them are taken, and members: slots and cores of each.
#[derive(Debug, Clone)]
struct Case {
    nodes: Vec<Vec<u32>>,
    taken: u32,
    members: Vec<(u32, u32)>,
    /// Given by the first member.
    count: Option<u32>,
}

fn case() -> impl Strategy<Value = Case> {
    let nodes = proptest::collection::vec(proptest::collection::vec(1..9_u32, 1..4), 1..5);
    let member = (1..9_u32, prop_oneof![3 => Just(1_u32), 1 => 2..4_u32]);
    let members = proptest::collection::vec(member, 2..4);
    (nodes, any::<u32>(), members, proptest::option::weighted(0.2, 1..3_u32))
        .prop_map(|(nodes, taken, members, count)| Case { nodes, taken: taken & taken >> 8, members, count })
}

impl Case {
    fn graph(&self) -> Graph {
        let mut r = R::default();
        for (rank, sizes) in (0..).zip(&self.nodes) {
            let mut first = 0;
            let sockets = sizes.iter().map(|size| {
                let cores = (first..first + size).collect();
                first += size;
                Socket { cores, ..Socket::default() }
            });
            let sockets: Arc<[Socket]> = sockets.collect();
            let (cores, gpus) = ((0..first).collect(), Idset::new());
            r.nodes.push(RNode { rank, host: format!("n{rank}"), cores, gpus });
            r.topology.insert(rank, Topology { sockets });
        }
        let mut graph = Graph::from_r(&r);
        graph.mark(&r.ranks(), Mark::Up);
        for node in r.nodes.iter().filter(|node| self.is_taken(node.rank)) {
            let one = RNode { cores: Idset::from_range(0..=0), ..node.clone() };
            graph.take(JobId(node.rank.into()), &R::from_nodes([one]));
        }
        graph
    }

    fn is_taken(&self, rank: u32) -> bool {
        self.taken >> rank & 1 == 1
    }

    fn jobs(&self) -> Vec<Arc<Jobspec>> {
        let group = format!("group:g:{}", self.members.len());
        let members = self.members.iter().enumerate().map(|(n, (slots, cores))| {
            let nodes = self.count.filter(|_| n == 0).map_or(String::new(), |count| format!("node={count}/"));
            let shape = format!("{nodes}slot={slots}/core={cores}");
            Arc::new(shape::jobspec(&shape, 0.0, &group, &Constraint::True))
        });
        members.collect()
    }

    /// Slots of a member that a node holds.
    fn room(&self, rank: u32, cores: u32) -> u32 {
        let share = |size: &u32| size / self.members.len() as u32 / cores;
        self.nodes[rank as usize].iter().map(share).sum()
    }

    /// Is there a set of idle nodes where each member fits, and could be on each of them?
    fn fits(&self) -> bool {
        (1..1_u32 << self.nodes.len()).any(|set| {
            let ranks: Vec<u32> = (0..self.nodes.len() as u32).filter(|rank| set >> rank & 1 == 1).collect();
            let is_good = |(n, (slots, cores)): (usize, &(u32, u32))| {
                let rooms = ranks.iter().map(|rank| self.room(*rank, *cores));
                let on_each = self.count.is_some() && n == 0;
                let enough = if on_each {
                    rooms.clone().all(|room| room >= *slots)
                } else {
                    rooms.clone().sum::<u32>() >= *slots
                };
                enough && rooms.clone().all(|room| room >= 1)
            };
            self.count.is_none_or(|count| count as usize == ranks.len())
                && ranks.iter().all(|rank| !self.is_taken(*rank))
                && self.members.iter().enumerate().all(is_good)
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_group_starts_when_there_is_a_place_for_all_of_it(case in case()) {
        let (graph, jobs) = (case.graph(), case.jobs());
        let unit = Unit::Group(&jobs);
        let found = graph.find(unit, MatchOp::Allocate, Timestamp::ZERO);
        let Found::Now(whole) = found else {
            prop_assert!(!case.fits(), "{:?}", found);
            return Ok(());
        };
        prop_assert!(case.fits());
        let parts = graph.split(unit, whole.clone()).expect("all of it");
        for (n, (one, (slots, cores))) in parts.iter().zip(&case.members).enumerate() {
            let nodes = case.count.filter(|_| n == 0).unwrap_or(1);
            prop_assert_eq!(one.ncores() as u32, nodes * slots * cores);
            prop_assert_eq!(one.nslots, Some(nodes * slots));
            prop_assert!(one.is_subset(&whole) && one.is_subset(&graph.free()));
            prop_assert!(parts[..n].iter().all(|other| one.is_disjoint(other)));
            for node in &one.nodes {
                for socket in graph.inventory().topology[&node.rank].sockets.iter() {
                    let (here, all) = (socket.cores.intersection(&node.cores).len(), socket.cores.len());
                    prop_assert!(here <= all / case.members.len() && (here as u32).is_multiple_of(*cores));
                }
            }
        }
        prop_assert!(whole.ranks().iter().all(|rank| !case.is_taken(rank)));
        // Each is on as many of the nodes as it has slots for.
        for (one, (slots, _)) in parts.iter().zip(&case.members) {
            prop_assert!(one.nnodes() == whole.nnodes().min(*slots as usize) || one.nnodes() == whole.nnodes());
        }
    }
}
