//! Small random cases, and what the best answers to them are, by trying all ways.

use crate::shape;
use flurm_jobspec::Jobspec;
use flurm_resource_graph::{Found, Graph, Mark, MatchOp};
use flurm_types::{Constraint, Idset, JobId, Property, R, RNode, Socket, Timestamp, Topology};
use proptest::prelude::*;

/// Cores and GPUs of a socket.
pub type Size = (u32, u32);

/// One case: nodes with sockets of these sizes, what is taken of each, and a request.
#[derive(Debug, Clone)]
pub struct Case {
    pub nodes: Vec<Vec<Size>>,
    /// Random bits that say which cores and GPUs are taken.
    pub taken: u64,
    /// Nodes that are left as they are, as bits.
    pub idle: u32,
    /// Nodes that the constraint leaves, as bits, and the way in which it says so.
    pub allowed: u32,
    pub words: u32,
    /// A given number of nodes, or as many as it takes.
    pub count: Option<u32>,
    /// On each node if their number is given, else in all.
    pub slots: u32,
    pub cores: u32,
    pub gpus: u32,
    pub kind: Kind,
}

/// Where a slot's cores and GPUs are.
#[derive(Debug, Copy, Clone, PartialEq)]
pub enum Kind {
    Anywhere,
    /// On nodes where nobody else is.
    Exclusive,
    /// On a socket of its own.
    OnSocket,
    /// As much as this on each of some sockets, or all of those.
    Sockets {
        count: u32,
        whole: bool,
    },
}

/// Slots anywhere.
pub fn case() -> impl Strategy<Value = Case> {
    let socket = (1..6_u32, 0..3_u32);
    let nodes = proptest::collection::vec(proptest::collection::vec(socket, 1..4), 1..5);
    let size = (proptest::option::weighted(0.3, 1..4_u32), 1..11_u32, 1..4_u32);
    let allowed = prop_oneof![2 => Just(u32::MAX), 1 => any::<u32>()];
    let bits = (any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>(), allowed, 0..5_u32);
    (nodes, bits, size, proptest::bool::weighted(0.25)).prop_map(|(nodes, bits, size, gpu)| {
        let (a, b, c, d, allowed, words) = bits;
        let (count, slots, cores) = size;
        // Half of all cores on average would leave little that fits.
        let slots = if count.is_some() { slots.div_ceil(3) } else { slots };
        let (gpus, kind) = (u32::from(gpu), Kind::Anywhere);
        Case { nodes, taken: a & b, idle: c & d, allowed, words, count, slots, cores, gpus, kind }
    })
}

/// Slots of all other kinds.
pub fn shapes() -> impl Strategy<Value = Case> {
    let kinds = prop_oneof![
        2 => Just(Kind::Exclusive),
        2 => Just(Kind::OnSocket),
        1 => (1..3_u32, any::<bool>()).prop_map(|(count, whole)| Kind::Sockets { count, whole }),
    ];
    (case(), kinds).prop_map(|(case, kind)| {
        let slots = if kind == Kind::Exclusive { case.slots } else { case.slots.div_ceil(2) };
        Case { kind, slots, ..case }
    })
}

impl Case {
    /// On odd ranks the cores of the sockets are numbered in turns.
    pub fn inventory(&self) -> R {
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
            let name = if self.is_allowed(rank) { "yes" } else { "no" };
            r.properties.entry(name.to_owned()).or_default().insert(rank);
        }
        r
    }

    /// All up, and somebody on some of it.
    pub fn graph(&self) -> (Graph, R) {
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
        let nodes = all.nodes.iter().filter(|node| self.idle >> node.rank & 1 == 0);
        let nodes =
            nodes.map(|node| RNode { cores: some(&node.cores), gpus: some(&node.gpus), ..node.clone() });
        let taken = R { nodes: nodes.collect(), ..R::default() };
        let mut graph = Graph::from_r(&all);
        graph.mark(&all.ranks(), Mark::Up);
        graph.take(JobId(1), &taken);
        (graph, all)
    }

    fn is_allowed(&self, rank: u32) -> bool {
        self.allowed >> rank & 1 == 1
    }

    fn constraint(&self) -> Constraint {
        let ranks = (0..self.nodes.len() as u32).filter(|rank| self.is_allowed(*rank));
        let property = |name: &str, negated| Property { name: name.to_owned(), negated };
        match self.words {
            _ if self.allowed == u32::MAX => Constraint::True,
            0 => Constraint::Ranks(ranks.collect()),
            1 if self.idle.is_multiple_of(2) => {
                Constraint::Hostlist(ranks.map(|rank| format!("n{rank}")).collect())
            }
            1 => {
                let hosts = ranks.rev().map(|rank| format!("n{rank}"));
                Constraint::Hostlist(hosts.chain(["nowhere".to_owned()]).collect())
            }
            2 => Constraint::Properties(vec![property("yes", false), property("no", true)]),
            3 => Constraint::Not(vec![Constraint::Properties(vec![property("no", false)])]),
            _ => Constraint::Or(vec![
                Constraint::Properties(vec![property("unknown", false)]),
                Constraint::And(vec![Constraint::True, Constraint::Properties(vec![property("yes", false)])]),
            ]),
        }
    }

    pub fn find(&self, graph: &Graph, placement: &str) -> Found {
        graph.find(&self.jobspec(placement), MatchOp::Allocate, Timestamp::ZERO)
    }

    pub fn jobspec(&self, placement: &str) -> Jobspec {
        let Case { slots, cores, .. } = self;
        let node = self.count.map_or(String::new(), |count| format!("node={count}/"));
        let gpu = if self.gpus > 0 { format!(",gpu={}", self.gpus) } else { String::new() };
        let shape = match self.kind {
            Kind::Anywhere => format!("{node}slot={slots}/core={cores}{gpu}"),
            Kind::Exclusive => format!("{node}slot={slots}x/core={cores}{gpu}"),
            Kind::OnSocket => format!("{node}socket={slots}/slot/core={cores}{gpu}"),
            Kind::Sockets { count, whole } => {
                let how = if whole { 'x' } else { 's' };
                format!("{node}slot={slots}/socket={count}{how}/core={cores}{gpu}")
            }
        };
        shape::jobspec(&shape, 0.0, placement, &self.constraint())
    }

    /// Slots that go into so much.
    pub fn slots_in(&self, (cores, gpus): Size) -> u32 {
        gpus.checked_div(self.gpus).map_or(cores / self.cores, |n| n.min(cores / self.cores))
    }

    pub fn total(&self) -> u32 {
        self.slots * self.count.unwrap_or(1)
    }

    /// Free cores and GPUs of each socket of each node that the constraint leaves, by counting; elsewhere none.
    pub fn free(&self, graph: &Graph, all: &R) -> Vec<Vec<Size>> {
        self.usable(self.given(&graph.free(), all))
    }

    /// The same if nothing were taken.
    pub fn ever(&self) -> Vec<Vec<Size>> {
        self.usable(self.nodes.clone())
    }

    fn usable(&self, mut free: Vec<Vec<Size>>) -> Vec<Vec<Size>> {
        for (rank, sockets) in (0..).zip(&mut free) {
            if !self.is_allowed(rank) || self.kind == Kind::Exclusive && *sockets != self.nodes[rank as usize]
            {
                sockets.fill((0, 0));
            }
        }
        free
    }

    /// Cores and GPUs of each socket of each node that are in an R.
    pub fn given(&self, r: &R, all: &R) -> Vec<Vec<Size>> {
        let nodes = (0..self.nodes.len() as u32).map(|rank| {
            let part = r.node(rank);
            let count = |a: &Idset, b: Option<&Idset>| b.map_or(0, |b| a.intersection(b).len() as u32);
            let size =
                |s: &Socket| (count(&s.cores, part.map(|n| &n.cores)), count(&s.gpus, part.map(|n| &n.gpus)));
            all.topology[&rank].sockets.iter().map(size).collect()
        });
        nodes.collect()
    }

    /// How many slots a node holds when this is free on its sockets, `cap` of each of them may be had.
    pub fn holds(&self, node: usize, free: &[Size], cap: impl Fn(u32) -> u32) -> u32 {
        let sockets = || free.iter().zip(&self.nodes[node]);
        let fits = |whole: bool| {
            let fitting = sockets().filter(|(free, all)| {
                self.slots_in((free.0.min(cap(all.0)), free.1)) > 0 && (!whole || free == all)
            });
            fitting.count() as u32
        };
        match self.kind {
            Kind::Anywhere | Kind::Exclusive => self.slots_in(sum(free)),
            Kind::OnSocket => fits(false),
            Kind::Sockets { count, whole } => fits(whole) / count,
        }
    }

    /// The least number of nodes that hold all slots, given what each holds.
    pub fn fewest_nodes(&self, held: &[u32]) -> Option<usize> {
        if let Some(count) = self.count {
            let fit = held.iter().filter(|held| **held >= self.slots).count();
            return (fit >= count as usize).then_some(count as usize);
        }
        let enough = |set: &Vec<usize>| set.iter().map(|n| held[*n]).sum::<u32>() >= self.slots;
        subsets(held.len()).filter(enough).map(|set| set.len()).min()
    }

    /// The fewest nodes with the fewest sockets for all slots: every way to share them out.
    pub fn fewest_nodes_and_sockets(&self, free: &[Vec<Size>]) -> Option<(usize, usize)> {
        let needed = |sockets: &[Size], slots: u32| {
            fewest_sockets(sockets, (slots * self.cores, slots * self.gpus)).map(|sockets| (1, sockets))
        };
        let add = |one: Option<(usize, usize)>, other: Option<(usize, usize)>| {
            let (one, other) = (one?, other?);
            Some((one.0 + other.0, one.1 + other.1))
        };
        if let Some(count) = self.count {
            let mut each: Vec<_> = free.iter().filter_map(|sockets| needed(sockets, self.slots)).collect();
            each.sort_unstable();
            let sockets = each.get(..count as usize)?.iter().map(|(_, sockets)| sockets);
            return Some((count as usize, sockets.sum()));
        }
        // For each number of slots the best on the nodes so far.
        let mut best = vec![None; self.slots as usize + 1];
        best[0] = Some((0, 0));
        for sockets in free {
            let with = |slots: usize| {
                let here = (1..=slots).map(|here| add(best[slots - here], needed(sockets, here as u32)));
                here.chain([best[slots]]).flatten().min()
            };
            best = (0..best.len()).map(with).collect();
        }
        best[self.slots as usize]
    }

    /// Slots per node as far up front as they go.
    pub fn packed(&self, held: &[u32], order: impl Iterator<Item = usize>) -> Vec<u32> {
        let mut left = self.total();
        let mut slots = vec![0; held.len()];
        for n in order {
            let here = match self.count {
                Some(_) if held[n] < self.slots => 0,
                Some(_) => self.slots.min(left),
                None => held[n].min(left),
            };
            slots[n] = here;
            left -= here;
        }
        slots
    }

    /// As `first` has it: on the first node that holds everything, else packed.
    pub fn first(&self, held: &[u32]) -> Vec<u32> {
        match (self.count, held.iter().position(|held| *held >= self.slots)) {
            (None, Some(alone)) => (0..held.len()).map(|n| if n == alone { self.slots } else { 0 }).collect(),
            _ => self.packed(held, 0..held.len()),
        }
    }
}

pub fn sum(sockets: &[Size]) -> Size {
    sockets.iter().fold((0, 0), |sum, socket| (sum.0 + socket.0, sum.1 + socket.1))
}

/// Every subset of `0..n`.
pub fn subsets(n: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..1_u32 << n).map(move |set| (0..n).filter(|i| set & 1 << i != 0).collect())
}

/// The least number of sockets with so many cores and GPUs in all.
pub fn fewest_sockets(sockets: &[Size], (cores, gpus): Size) -> Option<usize> {
    let enough = |set: &Vec<usize>| {
        let all = sum(&set.iter().map(|n| sockets[*n]).collect::<Vec<_>>());
        all.0 >= cores && all.1 >= gpus
    };
    subsets(sockets.len()).filter(enough).map(|set| set.len()).min()
}

/// Sockets with something on them.
pub fn touched(sockets: &[Size]) -> usize {
    sockets.iter().filter(|socket| **socket != (0, 0)).count()
}
