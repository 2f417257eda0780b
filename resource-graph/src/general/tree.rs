//! What there is, down to the last thread: vertices of any type, in two lists.
//!
//! The upper list has the cluster, its racks and the like, and the nodes. What is inside of a node is a [`Inside`], and
//! nodes that look alike share one, so a machine of a million vertices takes little more than one of its nodes. In
//! either list what holds comes before what it holds, so everything below a vertex is the range up to its `end`.
//!
//! Cores and GPUs point into the bits of `index.rs`, which know whether they are free. Other things without parts are
//! *pools*: memory, licences, burst buffers. Pools are numbered through the tree.

mod looking;

use crate::containment::sockets_of;
use crate::describe::flatten::{ON_NODE_MAX, Role, numbers};
use crate::describe::{Description, Properties, Thing, Word, Words};
use crate::index::Index;
use crate::layout::Ids;
use crate::totals::KINDS_MAX;
use crate::units;
use flurm_types::{R, RNode, Socket, Texts};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// The name of a node in its inside: it has one above.
const NAMELESS: Word = Word::MAX;

/// A vertex of either list.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In the upper list, and not a node.
    Top(u32),
    /// The node at this position, or something inside; 0 is the node itself.
    In(u32, u32),
}

/// What a vertex is for matching.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Home {
    /// It holds others, or nothing.
    Inner,
    /// In the upper list: the node at this position.
    Node(u32),
    /// By its number in its node.
    Core(u32),
    Gpu(u32),
    /// Belongs to the core around it.
    Thread,
    /// By its number in its list.
    Pool(u32),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Vertex {
    pub(crate) kind: Word,
    pub(crate) name: Word,
    pub(crate) id: i64,
    /// Bytes, if its unit is one of those.
    pub(crate) size: u64,
    pub(crate) unit: Word,
    /// Which set of properties.
    pub(crate) properties: u32,
    /// Itself, for the first of a list.
    pub(crate) parent: u32,
    /// Behind the last vertex below.
    pub(crate) end: u32,
    pub(crate) home: Home,
    /// Numbers of the cores below; above nodes, of the nodes in the order in which they are written.
    pub(crate) inside: (u32, u32),
    pub(crate) gpus: (u32, u32),
    pub(crate) pools: (u32, u32),
}

impl Vertex {
    pub(crate) fn cores(&self) -> Range<usize> {
        self.inside.0 as usize..self.inside.1 as usize
    }

    pub(crate) fn gpus(&self) -> Range<usize> {
        self.gpus.0 as usize..self.gpus.1 as usize
    }
}

/// Vertices, what holds before what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct List {
    pub(crate) vertices: Vec<Vertex>,
    /// The vertices of pools by their number.
    pub(crate) pools: Vec<u32>,
    pub(crate) by_kind: BTreeMap<Word, Vec<u32>>,
}

impl List {
    /// The vertices of a kind below one, in order.
    pub(crate) fn below(&self, at: u32, kind: Word) -> &[u32] {
        let all = self.by_kind.get(&kind).map_or(&[][..], |all| all);
        let end = self.vertices[at as usize].end;
        &all[all.partition_point(|v| *v <= at)..all.partition_point(|v| *v < end)]
    }
}

/// The inside of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Inside {
    pub(crate) list: List,
    /// By core number: its bit in the layout of the node, and its vertex.
    pub(crate) cores: Vec<(u32, u32)>,
    pub(crate) gpus: Vec<(u32, u32)>,
    /// Are cores numbered as their bits are?
    pub(crate) in_order: bool,
}

impl Inside {
    fn new(list: List, cores: Vec<(u32, u32)>, gpus: Vec<(u32, u32)>) -> Inside {
        let in_order = (0..).zip(&cores).all(|(n, (bit, _))| n == *bit);
        Inside { list, cores, gpus, in_order }
    }
}

#[derive(Debug, Copy, Clone)]
pub(crate) struct Node {
    /// Its vertex in the upper list.
    pub(crate) top: u32,
    pub(crate) inside: u32,
    /// The first of its pools, among all.
    pub(crate) pool0: u32,
}

/// What is known of a pool by its number, so that nobody has to look for its vertex.
#[derive(Debug, Copy, Clone)]
pub(crate) struct PoolFacts {
    pub(crate) size: u64,
    pub(crate) kind: Word,
    /// The number of its kind, if that is summed up.
    summed: Option<u8>,
}

/// What is known of a type of things.
#[derive(Debug, Copy, Clone, Default)]
pub(crate) struct Kind {
    /// Are there any above nodes, nodes included?
    pub(crate) above: bool,
    /// Are there any in nodes?
    pub(crate) inside: bool,
    /// Has one of them parts, so that they are counted and not measured?
    pub(crate) parts: bool,
    /// What their sizes count: bytes for units of those.
    pub(crate) unit: Word,
    /// Cores and GPUs that each has at least, if all are in nodes.
    pub(crate) fewest: (u64, u64),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    pub(crate) words: Words,
    /// The same texts, and the sets of properties, for those who are given a part of this.
    pub(crate) texts: Arc<Texts>,
    pub(crate) top: List,
    /// Vertices of the upper list by what holds them and by name.
    named: BTreeMap<(u32, Word), u32>,
    /// Positions of nodes in the order in which they are written.
    pub(crate) order: Vec<u32>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) insides: Vec<Inside>,
    pub(crate) kinds: BTreeMap<Word, Kind>,
    /// The kinds of pools that are summed up.
    summed: Vec<Word>,
    /// How much there is of each of them.
    pub(crate) sums: [u64; KINDS_MAX],
    /// Number of pools in all.
    pub(crate) pools: u32,
    facts: Vec<PoolFacts>,
    /// What was said to be down.
    pub(crate) down: BTreeSet<Place>,
}

/// A list in the making.
#[derive(Default)]
struct Making {
    vertices: Vec<Vertex>,
    pools: Vec<u32>,
    cores: u32,
    gpus: u32,
}

impl Making {
    fn open(
        &mut self,
        parent: u32,
        [kind, name, unit]: [Word; 3],
        id: i64,
        size: u64,
        properties: u32,
    ) -> u32 {
        let at = self.vertices.len() as u32;
        let (inside, gpus, pools) = ((self.cores, 0), (self.gpus, 0), (self.pools.len() as u32, 0));
        let (end, home) = (at + 1, Home::Inner);
        self.vertices.push(Vertex {
            kind,
            name,
            id,
            size,
            unit,
            properties,
            parent,
            end,
            home,
            inside,
            gpus,
            pools,
        });
        at
    }

    /// A vertex is the next core or GPU.
    fn leaf(&mut self, at: u32, role: Role) {
        let (home, next): (fn(u32) -> Home, _) = match role {
            Role::Core => (Home::Core, &mut self.cores),
            _ => (Home::Gpu, &mut self.gpus),
        };
        let home = home(*next);
        *next += 1;
        self.set_home(at, home);
    }

    fn set_home(&mut self, at: u32, home: Home) {
        self.vertices[at as usize].home = home;
    }

    /// A vertex that nothing more will be put into.
    fn close(&mut self, at: u32) {
        let (end, cores, gpus) = (self.vertices.len() as u32, self.cores, self.gpus);
        let vertex = &mut self.vertices[at as usize];
        vertex.end = end;
        (vertex.inside.1, vertex.gpus.1) = (cores, gpus);
    }

    fn pool(&mut self, at: u32) {
        self.set_home(at, Home::Pool(self.pools.len() as u32));
        self.pools.push(at);
    }

    /// All closed. Pools are those that were found to hold nothing, so they are counted now.
    fn finish(mut self) -> List {
        let mut by_kind: BTreeMap<Word, Vec<u32>> = BTreeMap::new();
        for (at, vertex) in (0..).zip(&mut self.vertices) {
            by_kind.entry(vertex.kind).or_default().push(at);
            let below = |bound: u32| self.pools.partition_point(|pool| *pool < bound) as u32;
            vertex.pools = (below(at), below(vertex.end));
        }
        List { vertices: self.vertices, pools: self.pools, by_kind }
    }
}

impl Tree {
    /// The tree of an inventory, and of a description of it if there is one. What the description says of ranks and ids
    /// that are not in the inventory is passed over, and what it does not know is taken from the inventory.
    pub(crate) fn new(r: &R, index: &Index, description: Option<&Description>) -> Tree {
        let nodes = vec![Node { top: 0, inside: 0, pool0: 0 }; index.len()];
        let mut tree = Tree { nodes, ..Tree::default() };
        let mut known = vec![false; index.len()];
        let mut top = Making::default();
        let (mut insides, mut sets) = (BTreeMap::new(), vec![Properties::new()]);
        match description {
            Some(description) => {
                tree.words = description.words().clone();
                sets = description.sets().to_vec();
                tree.describe(description, index, &mut top, &mut insides, &mut known);
            }
            None => {
                let names = ["cluster", "cluster0", ""].map(|text| tree.words.word(text));
                top.open(0, names, 0, 1, 0);
            }
        }
        tree.complete(r, index, &mut top, &mut insides, &known, &mut sets);
        let mut in_order: Vec<(u32, Inside)> =
            insides.into_iter().map(|((_, inside), number)| (number, inside)).collect();
        in_order.sort_unstable_by_key(|(number, _)| *number);
        tree.insides = in_order.into_iter().map(|(_, inside)| inside).collect();
        tree.top = top.finish();
        tree.pools = tree.top.pools.len() as u32;
        for node in &mut tree.nodes {
            node.pool0 = tree.pools;
            tree.pools += tree.insides[node.inside as usize].list.pools.len() as u32;
        }
        let top = (0..).zip(&tree.top.vertices).skip(1);
        tree.named = top.map(|(v, vertex)| ((vertex.parent, vertex.name), v)).collect();
        tree.learn_kinds();
        tree.sum_up();
        tree.texts = Arc::new(Texts { words: tree.words.all().to_vec(), sets });
        tree
    }

    fn learn_kinds(&mut self) {
        let lists = self.insides.iter().map(|inside| (&inside.list, false));
        let mut kinds: BTreeMap<Word, Kind> = BTreeMap::new();
        for (list, above) in std::iter::once((&self.top, true)).chain(lists) {
            for vertex in &list.vertices {
                let fewest = (u64::MAX, u64::MAX);
                let new = Kind { unit: vertex.unit, fewest, ..Kind::default() };
                let kind = kinds.entry(vertex.kind).or_insert(new);
                kind.above |= above;
                // The first of an inside is the node, which is in the upper list as well.
                kind.inside |= !above && vertex.name != NAMELESS;
                kind.parts |= matches!(vertex.home, Home::Inner | Home::Node(_));
                let here =
                    if above { (0, 0) } else { (vertex.cores().len() as u64, vertex.gpus().len() as u64) };
                kind.fewest = (kind.fewest.0.min(here.0), kind.fewest.1.min(here.1));
            }
        }
        self.kinds = kinds;
    }

    fn sum_up(&mut self) {
        let lists = self.insides.iter().map(|inside| &inside.list);
        for list in std::iter::once(&self.top).chain(lists) {
            let kinds = list.pools.iter().map(|v| list.vertices[*v as usize].kind);
            self.summed.extend(kinds);
        }
        self.summed.sort_unstable();
        self.summed.dedup();
        self.summed.truncate(KINDS_MAX);
        // In the order of their numbers.
        let of_nodes = self.nodes.iter().map(|node| &self.insides[node.inside as usize].list);
        for list in std::iter::once(&self.top).chain(of_nodes) {
            for vertex in list.pools.iter().map(|v| &list.vertices[*v as usize]) {
                let summed = self.summed.binary_search(&vertex.kind).ok();
                if let Some(kind) = summed {
                    self.sums[kind] = self.sums[kind].saturating_add(vertex.size);
                }
                let (size, kind) = (vertex.size, vertex.kind);
                self.facts.push(PoolFacts { size, kind, summed: summed.map(|kind| kind as u8) });
            }
        }
    }

    /// The vertices of a description.
    fn describe(
        &mut self,
        description: &Description,
        index: &Index,
        top: &mut Making,
        insides: &mut BTreeMap<(usize, Inside), u32>,
        known: &mut [bool],
    ) {
        let ranked = description.ranked_nodes().unwrap_or_default();
        let ranks: BTreeMap<_, u32> = ranked.into_iter().collect();
        // Vertices that are open, by depth.
        let mut open: Vec<u32> = Vec::new();
        // How deep the node is that is read as an inside of its own.
        let mut within: Option<usize> = None;
        for (depth, thing) in description.walk() {
            if within.is_some_and(|node| depth > node) {
                continue;
            }
            within = None;
            while open.len() > depth {
                top.close(open.pop().expect("it is longer than something"));
            }
            let pool = thing.pool();
            let position = ranks.get(&thing.place()).map(|rank| index.position(*rank));
            if let Some(position) = position {
                within = Some(depth);
                let Some(at) = position.filter(|at| !known[*at]) else { continue };
                let Some((inside, down)) = self.inside_of(thing, at, index) else { continue };
                known[at] = true;
                self.down.extend(down);
                let vertex = self.open_node(top, open.last().copied().unwrap_or(0), at, thing);
                self.put_inside(insides, at, vertex, index.layout_number(at), inside);
                continue;
            }
            if let Role::Core | Role::Gpu | Role::Thread = Role::of(thing.kind()) {
                // Outside of all nodes nobody can be given one.
                within = Some(depth);
                continue;
            }
            let parent = open.last().copied().unwrap_or(0);
            let size = self.measure(thing);
            let names = [pool.kind, pool.name, pool.unit];
            let vertex = top.open(parent, names, pool.id, size, pool.properties);
            if !pool.up {
                self.down.insert(Place::Top(vertex));
            }
            if !thing.has_parts() && depth > 0 {
                top.pool(vertex);
            }
            open.push(vertex);
        }
        while let Some(vertex) = open.pop() {
            top.close(vertex);
        }
    }

    /// A size in bytes, if that is what its unit counts.
    fn measure(&self, thing: Thing<'_>) -> u64 {
        match (Role::of(thing.kind()), thing.unit()) {
            (Role::Memory, unit) => units::memory(thing.size(), unit).unwrap_or(thing.size()),
            (_, unit) => thing.size().saturating_mul(units::bytes(unit).unwrap_or(1)),
        }
    }

    fn open_node(&mut self, top: &mut Making, parent: u32, at: usize, thing: Thing<'_>) -> u32 {
        let pool = thing.pool();
        let vertex = top.open(parent, [pool.kind, pool.name, pool.unit], pool.id, pool.size, pool.properties);
        if !pool.up {
            self.down.insert(Place::In(at as u32, 0));
        }
        vertex
    }

    fn put_inside(
        &mut self,
        insides: &mut BTreeMap<(usize, Inside), u32>,
        at: usize,
        vertex: u32,
        layout: usize,
        inside: Inside,
    ) {
        let next = insides.len() as u32;
        let inside = *insides.entry((layout, inside)).or_insert(next);
        self.nodes[at] = Node { top: vertex, inside, pool0: 0 };
    }

    /// The bits of all cores and all GPUs that a description has in a node, in its order. What the inventory does not
    /// have has none; nothing if the inventory has more.
    fn bits_of(&self, node: Thing<'_>, at: usize, index: &Index) -> Option<[Vec<Option<u32>>; 2]> {
        // By the socket they are in, in the order in which `to_r` numbers them.
        let mut leaves: [Vec<(usize, i64)>; 2] = [Vec::new(), Vec::new()];
        // How deep the socket is that is read, and its number; what is outside of all comes last.
        let (mut around, mut sockets): (Vec<(usize, usize)>, usize) = (Vec::new(), 0);
        for (depth, thing) in node.walk() {
            while around.last().is_some_and(|(socket, _)| *socket >= depth) {
                around.pop();
            }
            let pool = thing.pool();
            let role = Role::of(thing.kind());
            match role {
                Role::Socket => {
                    around.push((depth, sockets));
                    sockets += 1;
                }
                Role::Core | Role::Gpu => {
                    let socket = around.last().map_or(usize::MAX, |(_, number)| *number);
                    let id = if pool.size == 1 { pool.id } else { -1 };
                    let leaves = &mut leaves[usize::from(role == Role::Gpu)];
                    if leaves.len() as u64 + pool.size > ON_NODE_MAX {
                        return None;
                    }
                    leaves.extend((0..pool.size).map(|_| (socket, id)));
                }
                Role::Node | Role::Thread | Role::Memory | Role::Other => {}
            }
        }
        let layout = index.layout(at);
        let bits = |leaves: &[(usize, i64)], ids: &Ids| {
            let mut by_socket: Vec<usize> = (0..leaves.len()).collect();
            by_socket.sort_by_key(|n| leaves[*n].0);
            let numbers = numbers(by_socket.iter().map(|n| leaves[*n].1));
            let mut bits = vec![None; leaves.len()];
            for (n, id) in by_socket.into_iter().zip(numbers) {
                bits[n] = ids.bit(id);
            }
            (bits.iter().flatten().count() == ids.len()).then_some(bits)
        };
        Some([bits(&leaves[0], &layout.cores)?, bits(&leaves[1], &layout.gpus)?])
    }

    /// What a description says of the inside of a node; nothing if it has not all cores that the inventory has.
    fn inside_of(&self, node: Thing<'_>, at: usize, index: &Index) -> Option<(Inside, Vec<Place>)> {
        let [cores, gpus] = self.bits_of(node, at, index)?;
        let (mut cores_in, mut gpus_in) = (cores.into_iter(), gpus.into_iter());
        let (mut cores, mut gpus, mut pools, mut down) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut making = Making::default();
        let mut open: Vec<u32> = Vec::new();
        // How deep the core is that is passed over.
        let mut skipped: Option<usize> = None;
        for (depth, thing) in node.walk() {
            if skipped.is_some_and(|core| depth > core) {
                continue;
            }
            skipped = None;
            while open.len() > depth {
                making.close(open.pop().expect("it is longer than something"));
            }
            let pool = thing.pool();
            let role = Role::of(thing.kind());
            let parent = open.last().copied().unwrap_or(0);
            let mut put = |making: &mut Making, size: u64| {
                let (name, id, properties) = match depth {
                    0 => (NAMELESS, 0, 0),
                    _ => (pool.name, pool.id, pool.properties),
                };
                let vertex = making.open(parent, [pool.kind, name, pool.unit], id, size, properties);
                if !pool.up && depth > 0 {
                    down.push(Place::In(at as u32, vertex));
                }
                vertex
            };
            if let Role::Core | Role::Gpu = role {
                let (bits, leaves) =
                    if role == Role::Core { (&mut cores_in, &mut cores) } else { (&mut gpus_in, &mut gpus) };
                // What is counted in one vertex is as many here.
                let mut last = None;
                for bit in bits.by_ref().take(pool.size as usize).flatten() {
                    last.into_iter().for_each(|vertex| making.close(vertex));
                    let vertex = put(&mut making, 1);
                    making.leaf(vertex, role);
                    leaves.push((bit, vertex));
                    last = Some(vertex);
                }
                match last {
                    Some(vertex) => open.push(vertex),
                    None => skipped = Some(depth),
                }
                continue;
            }
            let vertex = put(&mut making, self.measure(thing));
            open.push(vertex);
            match role {
                Role::Thread => making.set_home(vertex, Home::Thread),
                Role::Memory | Role::Other if !thing.has_parts() => pools.push(vertex),
                Role::Memory | Role::Other | Role::Node | Role::Socket | Role::Core | Role::Gpu => {}
            }
        }
        open.into_iter().rev().for_each(|vertex| making.close(vertex));
        pools.into_iter().for_each(|vertex| making.pool(vertex));
        Some((Inside::new(making.finish(), cores, gpus), down))
    }

    /// Nodes that no description knows, below the first vertex.
    fn complete(
        &mut self,
        r: &R,
        index: &Index,
        top: &mut Making,
        insides: &mut BTreeMap<(usize, Inside), u32>,
        known: &[bool],
        all_sets: &mut Vec<Properties>,
    ) {
        let mut made: BTreeMap<usize, u32> = BTreeMap::new();
        let mut sets: BTreeMap<Properties, u32> = BTreeMap::new();
        let taken = top.vertices.iter().map(|vertex| self.words.text(vertex.name).to_owned());
        let mut names: BTreeSet<String> = taken.collect();
        for (at, node) in r.nodes.iter().enumerate().filter(|(at, _)| !known[*at]) {
            let properties = r.properties.iter().filter(|(_, with)| with.contains(node.rank));
            let properties: Properties = properties.map(|(name, _)| (name.clone(), String::new())).collect();
            let set = *sets.entry(properties).or_insert_with_key(|properties| {
                all_sets.push(properties.clone());
                all_sets.len() as u32 - 1
            });
            let name = free_name(&mut names, &node.host);
            let words = ["node", &*name, ""].map(|text| self.words.word(text));
            let vertex = top.open(0, words, node.rank.into(), 1, set);
            top.close(vertex);
            let layout = index.layout_number(at);
            match made.get(&layout) {
                Some(inside) => {
                    self.nodes[at] = Node { top: vertex, inside: *inside, pool0: 0 };
                }
                None => {
                    let sockets = r.topology.get(&node.rank).map_or(&[][..], |topology| &topology.sockets);
                    let inside = self.inside_of_r(node, sockets);
                    self.put_inside(insides, at, vertex, layout, inside);
                    made.insert(layout, self.nodes[at].inside);
                }
            }
        }
        // The homes of nodes, and which of them each vertex above has.
        let mut by_vertex: Vec<(u32, u32)> =
            (0..).zip(&self.nodes).map(|(at, node)| (node.top, at)).collect();
        by_vertex.sort_unstable();
        self.order = by_vertex.iter().map(|(_, at)| *at).collect();
        for (vertex, at) in &by_vertex {
            top.set_home(*vertex, Home::Node(*at));
        }
        top.close(0);
        for (at, vertex) in (0..).zip(&mut top.vertices) {
            let below = |bound: u32| by_vertex.partition_point(|(vertex, _)| *vertex < bound) as u32;
            vertex.inside = (below(at), below(vertex.end));
        }
    }

    /// The inside of a node of which no more is known than an inventory says.
    fn inside_of_r(&mut self, node: &RNode, sockets: &[Socket]) -> Inside {
        let mut making = Making::default();
        let (mut cores, mut gpus, mut memory) = (Vec::new(), Vec::new(), Vec::new());
        let unit = self.words.word("");
        let kind = self.words.word("node");
        making.open(0, [kind, NAMELESS, unit], 0, 1, 0);
        for (s, socket) in (0..).zip(sockets_of(node, sockets)) {
            let mut name = |kind: &str, n: i64, unit: &str| {
                [self.words.word(kind), self.words.word(&format!("{kind}{n}")), self.words.word(unit)]
            };
            let at = making.open(0, name("socket", s, ""), s, 1, 0);
            for core in socket.cores.iter() {
                let leaf = making.open(at, name("core", core.into(), ""), core.into(), 1, 0);
                cores.push((making.cores, leaf));
                making.leaf(leaf, Role::Core);
                making.close(leaf);
            }
            for gpu in socket.gpus.iter() {
                let leaf = making.open(at, name("gpu", gpu.into(), ""), gpu.into(), 1, 0);
                gpus.push((making.gpus, leaf));
                making.leaf(leaf, Role::Gpu);
                making.close(leaf);
            }
            if let Some(gib) = socket.memory_gib {
                let leaf = making.open(at, name("memory", s, "GiB"), s, gib.saturating_mul(1 << 30), 0);
                making.close(leaf);
                memory.push(leaf);
            }
            making.close(at);
        }
        making.close(0);
        memory.into_iter().for_each(|leaf| making.pool(leaf));
        Inside::new(making.finish(), cores, gpus)
    }
}

/// A name that no other has: a host that is there again gets a number behind a colon.
fn free_name(names: &mut BTreeSet<String>, host: &str) -> String {
    let again = (1_u32..).map(|again| format!("{host}:{again}"));
    let name = std::iter::once(host.to_owned()).chain(again).find(|name| !names.contains(name));
    let name = name.expect("there are more names than nodes");
    names.insert(name.clone());
    name
}
