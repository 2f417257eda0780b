//! Requests of any shape on small random machines, against a matcher that tries every choice there is.

mod request;

use flurm_resource_graph::describe::{Description, Shape};
use flurm_resource_graph::{Criteria, Found, Graph, MatchOp};
use flurm_types::{JobId, R, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Choices that are tried before a case is left undecided.
const TRIES_MAX: u32 = 300_000;

/// A part of a request. In a slot things are whole unless they say otherwise.
#[derive(Debug, Clone)]
enum Wish {
    /// Kind, count, shared with others if it says so, and what is inside.
    Thing(&'static str, u32, Option<bool>, Vec<Wish>),
    /// So much of cores, GPUs or GiB of memory.
    Leaf(&'static str, u32),
    Slot(u32, Vec<Wish>),
}

impl Wish {
    /// In the form of RFC 46. Slots are numbered through.
    fn text(list: &[Wish], slots: &mut u32) -> String {
        let mut parts = Vec::new();
        for wish in list {
            parts.push(match wish {
                Wish::Leaf(kind, n) => format!("{kind}={n}"),
                Wish::Thing(kind, n, shared, with) => {
                    let mark = match shared {
                        None => "",
                        Some(true) => "{-x}",
                        Some(false) => "{x}",
                    };
                    let inside = if with.is_empty() { String::new() } else { "/".to_owned() };
                    format!("{kind}={n}{mark}{inside}{}", Wish::text(with, slots))
                }
                Wish::Slot(n, with) => {
                    *slots += 1;
                    let label = format!("s{slots}");
                    format!("slot={n}{{{label}}}/{}", Wish::text(with, slots))
                }
            });
        }
        match parts.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            several => format!("[{}]", several.join(";")),
        }
    }
}

/// What is inside of a slot that lies in a node.
fn contents() -> impl Strategy<Value = Vec<Wish>> {
    let leaves = (1..3_u32, 0..2_u32, 0..3_u32).prop_map(|(cores, gpus, memory)| {
        let mut list = vec![Wish::Leaf("core", cores)];
        list.extend((gpus > 0).then_some(Wish::Leaf("gpu", gpus)));
        list.extend((memory > 0).then_some(Wish::Leaf("memory", memory)));
        list
    });
    let shared = prop_oneof![Just(None), Just(Some(true)), Just(Some(false))];
    prop_oneof![
        4 => leaves.clone(),
        1 => (1..3_u32, shared.clone(), leaves.clone())
            .prop_map(|(n, shared, with)| vec![Wish::Thing("socket", n, shared, with)]),
        1 => (1..2_u32, shared, leaves.clone(), leaves).prop_map(|(n, shared, with, beside)| {
            let mut list = vec![Wish::Thing("socket", n, shared, with)];
            list.extend(beside);
            list
        }),
    ]
}

fn slot() -> impl Strategy<Value = Wish> {
    (1..3_u32, contents()).prop_map(|(n, with)| Wish::Slot(n, with))
}

/// Around slots.
fn wish() -> impl Strategy<Value = Wish> {
    let shared = prop_oneof![3 => Just(None), 1 => Just(Some(false))];
    let whole = prop_oneof![1 => Just(None), 1 => Just(Some(true))];
    let one_or_two = proptest::collection::vec(slot(), 1..3);
    let node = (1..3_u32, shared.clone(), one_or_two)
        .prop_map(|(n, s, slots)| Wish::Thing("node", n, s, slots))
        .boxed();
    prop_oneof![
        3 => slot(),
        3 => node.clone(),
        1 => (1..4_u32, slot()).prop_map(|(n, slot)| Wish::Thing("socket", n, None, vec![slot])),
        2 => (1..3_u32, shared, node).prop_map(|(n, s, node)| Wish::Thing("rack", n, s, vec![node])),
        1 => (1..3_u32, whole, contents()).prop_map(|(n, s, with)| {
            Wish::Slot(n, vec![Wish::Thing("node", 1, s, with)])
        }),
    ]
}

fn request() -> impl Strategy<Value = Vec<Wish>> {
    prop_oneof![3 => wish().prop_map(|one| vec![one]), 1 => proptest::collection::vec(wish(), 2)]
}

fn machine() -> impl Strategy<Value = Shape> {
    (1..4_u32, 1..3_u32, 1..3_u32, 1..4_u32, 0..2_u32, 0..4_u64).prop_map(
        |(nodes, racks, sockets, cores, gpus, memory)| Shape {
            hosts: format!("n[0-{}]", nodes - 1).parse().unwrap(),
            racks: racks.min(nodes),
            sockets,
            cores,
            gpus,
            memory_gib: Some(memory),
            ..Shape::default()
        },
    )
}

/// A vertex of the slow matcher: what holds comes before what it holds.
#[derive(Debug, Clone)]
struct Vertex {
    kind: String,
    path: String,
    /// Behind the last one below.
    end: usize,
    /// How much is free, of cores, GPUs and memory.
    free: u32,
    size: u32,
    used: bool,
}

fn vertices(description: &Description) -> Vec<Vertex> {
    let (mut all, mut open): (Vec<Vertex>, Vec<usize>) = (Vec::new(), Vec::new());
    for (depth, thing) in description.walk() {
        open.truncate(depth);
        let above = open.last().map_or("", |at| &all[*at].path);
        let path = format!("{above}/{}", thing.name());
        let size = match thing.kind() {
            "core" | "gpu" => 1,
            "memory" => thing.size() as u32,
            _ => 0,
        };
        open.push(all.len());
        all.push(Vertex { kind: thing.kind().to_owned(), path, end: 0, free: size, size, used: false });
        let end = all.len();
        open.iter().for_each(|at| all[*at].end = end);
    }
    all
}

/// Something still to be found.
#[derive(Debug, Clone)]
enum Goal<'a> {
    /// So many more of this in a vertex, from this candidate on.
    Want(&'a Wish, u32, usize, usize, bool),
    /// All that is left of a vertex.
    Rest(usize),
}

struct Slow {
    all: Vec<Vertex>,
    tries: u32,
}

impl Slow {
    /// Is there a place? Unknown if that takes too long.
    fn fits(&mut self, wishes: &[Wish]) -> Option<bool> {
        let goals = wishes.iter().map(|wish| self.goal(wish, 0, false, 1)).collect();
        let found = self.solve(goals);
        (self.tries < TRIES_MAX || found).then_some(found)
    }

    fn goal<'a>(&self, wish: &'a Wish, scope: usize, in_slot: bool, times: u32) -> Goal<'a> {
        let (Wish::Thing(_, n, ..) | Wish::Leaf(_, n) | Wish::Slot(n, _)) = wish;
        Goal::Want(wish, n * times, scope, scope, in_slot)
    }

    fn is_idle(&self, at: usize) -> bool {
        let below = &self.all[at..self.all[at].end];
        below.iter().all(|vertex| vertex.free == vertex.size && !vertex.used)
    }

    fn solve(&mut self, mut goals: Vec<Goal<'_>>) -> bool {
        self.tries += 1;
        if self.tries >= TRIES_MAX {
            return false;
        }
        let Some(goal) = goals.pop() else { return true };
        let (wish, left, scope, from, in_slot) = match goal {
            Goal::Want(_, 0, ..) => return self.solve(goals),
            Goal::Want(wish, left, scope, from, in_slot) => (wish, left, scope, from, in_slot),
            Goal::Rest(at) => {
                let before = self.all.clone();
                (at..self.all[at].end).for_each(|at| self.all[at].free = 0);
                let found = self.solve(goals);
                self.all = before;
                return found;
            }
        };
        let is_above = matches!(&*self.all[scope].kind, "cluster" | "rack");
        match wish {
            // In a node a slot is so many times what is in it.
            Wish::Slot(_, with) if !is_above => {
                goals.extend(with.iter().map(|wish| self.goal(wish, scope, true, left)));
                self.solve(goals)
            }
            // Of nodes likewise, and others lie on one each.
            Wish::Slot(_, with) if with.iter().any(|wish| matches!(wish, Wish::Thing("node", ..))) => {
                goals.extend(with.iter().map(|wish| self.goal(wish, scope, true, left)));
                self.solve(goals)
            }
            Wish::Slot(_, with) => (from..self.all[scope].end).any(|at| {
                if self.all[at].kind != "node" {
                    return false;
                }
                let mut goals = goals.clone();
                goals.push(Goal::Want(wish, left - 1, scope, at, in_slot));
                goals.extend(with.iter().map(|wish| self.goal(wish, at, true, 1)));
                self.solve(goals)
            }),
            Wish::Thing(kind, _, shared, with) => (from..self.all[scope].end).any(|at| {
                let whole = shared.map_or(in_slot, |shared| !shared);
                if self.all[at].kind != *kind || self.all[at].used || whole && !self.is_idle(at) {
                    return false;
                }
                let mut goals = goals.clone();
                goals.push(Goal::Want(wish, left - 1, scope, at + 1, in_slot));
                goals.extend(whole.then_some(Goal::Rest(at)));
                // A whole thing without more said of it has a core anyway.
                goals.extend(with.iter().map(|wish| self.goal(wish, at, in_slot, 1)));
                self.all[at].used = true;
                let found = self.solve(goals);
                self.all[at].used = false;
                found
            }),
            Wish::Leaf(kind, _) => (from..self.all[scope].end).any(|at| {
                if self.all[at].kind != *kind {
                    return false;
                }
                (1..=left.min(self.all[at].free)).rev().any(|amount| {
                    let mut goals = goals.clone();
                    goals.push(Goal::Want(wish, left - amount, scope, at + 1, in_slot));
                    self.all[at].free -= amount;
                    let found = self.solve(goals);
                    self.all[at].free += amount;
                    found
                })
            }),
        }
    }
}

/// What is free in a graph, or what an R has, for the slow matcher.
fn slow(description: &Description, free: &R, pools: impl Fn(&str) -> u32) -> Slow {
    let mut all = vertices(description);
    let hosts: BTreeMap<&str, u32> = free.nodes.iter().map(|node| (&*node.host, node.rank)).collect();
    for vertex in &mut all {
        let (_, id) = vertex.path.split_at(vertex.path.trim_end_matches(|c: char| c.is_ascii_digit()).len());
        let node = vertex.path.split('/').find_map(|name| hosts.get(name)).and_then(|rank| free.node(*rank));
        vertex.free = match &*vertex.kind {
            "core" => node.map_or(0, |node| u32::from(node.cores.contains(id.parse().unwrap()))),
            "gpu" => node.map_or(0, |node| u32::from(node.gpus.contains(id.parse().unwrap()))),
            "memory" => pools(&vertex.path),
            _ => 0,
        };
    }
    Slow { all, tries: 0 }
}

const GIB: u64 = 1 << 30;

/// Free GiB of all memory.
fn free_memory(graph: &Graph) -> BTreeMap<String, u32> {
    let memory = graph.select(&Criteria::Kind("memory".to_owned())).into_iter();
    memory.map(|info| (info.path, ((info.size - info.taken) / GIB) as u32)).collect()
}

/// Does the R alone hold what was asked for, and nothing that is not free?
fn check(description: &Description, graph: &mut Graph, wishes: &[Wish], id: JobId, r: &R) {
    assert!(r.is_subset(&graph.free()), "{r:?}");
    let before = free_memory(graph);
    graph.take(id, &R::parse(&r.to_json()).unwrap());
    let (held, portions) = graph.held_by(id).unwrap();
    assert!(held.ncores() == r.ncores() && held.ngpus() == r.ngpus());
    let mut own: BTreeMap<String, u32> = BTreeMap::new();
    for portion in portions {
        assert!(portion.amount.is_multiple_of(GIB));
        *own.entry(portion.path).or_default() += (portion.amount / GIB) as u32;
    }
    for (path, amount) in &own {
        assert!(*amount <= before[path], "{path}: {amount} of {}", before[path]);
    }
    // Whole nodes and sockets of plain requests have their memory without a word of it.
    let plain = r.scheduling.is_none();
    let memory = |path: &str| own.get(path).copied().unwrap_or(if plain { before[path] } else { 0 });
    let mut alone = slow(description, r, memory);
    assert_ne!(alone.fits(wishes), Some(false), "{wishes:?} does not fit into {}", r.to_json());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn what_is_found_is_what_was_asked_and_what_is_there_is_found(
        shape in machine(),
        first in proptest::collection::vec(request(), 0..4),
        request in request(),
        placement in prop_oneof![Just("first"), Just("compact"), Just("high"), Just("low")],
    ) {
        let description = shape.describe();
        let mut graph = Graph::from_description(&description).unwrap();
        let wanted = |wishes: &[Wish]| {
            let text = Wish::text(wishes, &mut 0);
            request::jobspec(&[&text, &format!("@{placement}")])
        };
        for (id, wishes) in (1..).zip(&first) {
            if let Found::Now(r) = graph.find(&wanted(wishes), MatchOp::Allocate, Timestamp::ZERO) {
                check(&description, &mut graph, wishes, JobId(id), &r);
            }
        }
        let memory = free_memory(&graph);
        let now = slow(&description, &graph.free(), |path| memory[path]).fits(&request);
        let ever = Slow { all: vertices(&description), tries: 0 }.fits(&request);
        match graph.find(&wanted(&request), MatchOp::Allocate, Timestamp::ZERO) {
            Found::Now(r) => {
                check(&description, &mut graph, &request, JobId(99), &r);
                assert_ne!((now, ever), (Some(false), Some(false)));
            }
            Found::NotNow => {
                assert_ne!(now, Some(true));
                assert_ne!(ever, Some(false));
                assert!(graph.shortage(&wanted(&request), Timestamp::ZERO).starts_with("waits for "));
            }
            Found::Never(why) => assert_ne!(ever, Some(true), "{why}"),
        }
        // All of it is given back.
        for id in graph.holders().collect::<Vec<_>>() {
            graph.give_back(id, &graph.inventory().ranks());
        }
        assert_eq!(graph.free().ncores(), graph.inventory().ncores());
        prop_assert!(graph.select(&Criteria::Allocated(true)).is_empty());
    }
}
