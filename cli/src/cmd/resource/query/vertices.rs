//! The vertices of a graph as a query sees them: where they are, and what of them is held.

use flurm_resource_graph::describe::{Description, Properties, Thing};
use flurm_types::{Idset, R};
use std::collections::{BTreeMap, BTreeSet};

/// All vertices, what holds before what it holds.
#[derive(Debug)]
pub struct Vertices<'a> {
    all: Vec<Vertex<'a>>,
}

#[derive(Debug)]
pub struct Vertex<'a> {
    thing: Thing<'a>,
    above: Option<usize>,
    /// The rank of the node that it is or is in.
    pub rank: Option<u32>,
    /// What an R calls it, for cores and GPUs.
    number: u32,
    /// Behind the last vertex inside.
    end: usize,
}

impl<'a> Vertex<'a> {
    pub fn kind(&self) -> &'a str {
        self.thing.kind()
    }

    pub fn name(&self) -> &'a str {
        self.thing.name()
    }

    pub fn size(&self) -> u64 {
        self.thing.size()
    }

    pub fn unit(&self) -> &'a str {
        self.thing.unit()
    }

    pub fn properties(&self) -> &'a Properties {
        self.thing.properties()
    }

    pub fn is_node(&self) -> bool {
        self.kind() == "node"
    }
}

/// For each vertex, how many cores and GPUs are in it and how many of them are in some set.
pub type Tally = Vec<(u32, u32)>;

impl<'a> Vertices<'a> {
    /// Nodes are those of the R, whose numbers for cores and GPUs a description may not have.
    pub fn of(description: &'a Description, r: &R) -> Vertices<'a> {
        let mut all: Vec<Vertex<'a>> = Vec::with_capacity(description.len());
        let mut open: Vec<usize> = Vec::new();
        let mut nodes = r.nodes.iter();
        for (depth, thing) in description.walk() {
            for done in open.drain(depth..) {
                all[done].end = all.len();
            }
            let above = open.last().copied();
            let rank = match (thing.kind(), above) {
                ("node", _) => thing.rank().or_else(|| nodes.next().map(|node| node.rank)),
                (_, above) => above.and_then(|above| all[above].rank),
            };
            open.push(all.len());
            all.push(Vertex { thing, above, rank, number: 0, end: 0 });
        }
        for done in open {
            all[done].end = all.len();
        }
        let mut vertices = Vertices { all };
        vertices.number();
        vertices
    }

    /// Numbers that tell all of a node apart stay; else they are counted through the node, as in an R.
    fn number(&mut self) {
        let nodes: Vec<usize> = (0..self.all.len()).filter(|at| self.all[*at].is_node()).collect();
        for node in nodes {
            for kind in ["core", "gpu"] {
                let inside = node..self.all[node].end;
                let places: Vec<usize> = inside.filter(|at| self.all[*at].kind() == kind).collect();
                let mut seen = BTreeSet::new();
                let mut own =
                    |at: &usize| u32::try_from(self.all[*at].thing.id()).ok().filter(|id| seen.insert(*id));
                let ids: Option<Vec<u32>> = places.iter().map(&mut own).collect();
                let ids = ids.unwrap_or_else(|| (0..places.len() as u32).collect());
                for (at, id) in places.into_iter().zip(ids) {
                    self.all[at].number = id;
                }
            }
        }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn get(&self, at: usize) -> &Vertex<'a> {
        &self.all[at]
    }

    /// The names from the root down.
    pub fn path(&self, at: usize) -> String {
        let mut names = Vec::new();
        let mut next = Some(at);
        while let Some(at) = next {
            names.push(self.all[at].name());
            next = self.all[at].above;
        }
        names.iter().rev().flat_map(|name| ["/", name]).collect()
    }

    /// The vertex with this path, or the node with this name.
    pub fn find(&self, path: &str) -> Option<usize> {
        let Some(names) = path.strip_prefix('/') else {
            return (0..self.len()).find(|at| self.all[*at].is_node() && self.all[*at].name() == path);
        };
        let mut names = names.split('/').filter(|name| !name.is_empty());
        let mut at = 0;
        if self.all.first()?.name() != names.next()? {
            return None;
        }
        for name in names {
            let mut child = at + 1;
            while child < self.all[at].end && self.all[child].name() != name {
                child = self.all[child].end;
            }
            if child >= self.all[at].end {
                return None;
            }
            at = child;
        }
        Some(at)
    }

    /// Ranks of the nodes in a vertex; of its own node if it is in one.
    pub fn ranks(&self, at: usize) -> Idset {
        match self.all[at].rank {
            Some(rank) => rank.into(),
            None => (at..self.all[at].end).filter_map(|at| self.all[at].rank).collect(),
        }
    }

    /// Counts what of each vertex is in this R.
    pub fn tally(&self, r: &R) -> Tally {
        let nodes: BTreeMap<u32, _> = r.nodes.iter().map(|node| (node.rank, node)).collect();
        let mut tally: Tally = vec![(0, 0); self.all.len()];
        for (at, vertex) in self.all.iter().enumerate().rev() {
            let ids = |node: &flurm_types::RNode| match vertex.kind() {
                "core" => node.cores.contains(vertex.number),
                _ => node.gpus.contains(vertex.number),
            };
            if ["core", "gpu"].contains(&vertex.kind()) {
                let inside = vertex.rank.and_then(|rank| nodes.get(&rank)).is_some_and(|node| ids(node));
                tally[at] = (1, inside.into());
            }
            if let Some(above) = vertex.above {
                let (all, some) = tally[at];
                tally[above] = (tally[above].0 + all, tally[above].1 + some);
            }
        }
        // What is in a core is with it.
        for (at, vertex) in self.all.iter().enumerate() {
            if tally[at].0 == 0
                && let Some(above) = vertex.above.filter(|above| self.all[*above].kind() == "core")
            {
                tally[at] = tally[above];
            }
        }
        tally
    }

    /// Of this kind, in a vertex, with how many of them are in a set.
    pub fn count(&self, at: usize, kind: &str, tally: &Tally) -> (u32, u32) {
        let inside = (at..self.all[at].end).filter(|at| self.all[*at].kind() == kind);
        inside.fold((0, 0), |(all, some), at| (all + tally[at].0, some + tally[at].1))
    }
}
