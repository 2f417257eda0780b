//! Looking at a graph vertex by vertex: what is at a path, which vertices meet criteria, who holds what.

use crate::Graph;
use crate::allowed::Names;
use crate::describe::Properties;
use crate::general::tree::{Home, Place};
use crate::index::Index;
use flurm_types::{Idset, JobId, R, Timestamp};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// A vertex and what has become of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// The names from the root down, behind a slash each.
    pub path: String,
    /// `node`, `core`, `memory` or whatever else.
    pub kind: String,
    /// Its name among its neighbours.
    pub name: String,
    /// A number among things of its kind; -1 if it has none.
    pub id: i64,
    /// The node that it is, or is in.
    pub rank: Option<u32>,
    /// How much of it there is.
    pub size: u64,
    /// What the size counts: `B` for whatever was given in a unit of bytes.
    pub unit: String,
    /// Names with their values, which are mostly empty.
    pub properties: Properties,
    /// Is it in use, and all that it is in?
    pub up: bool,
    /// May no new job come here?
    pub drained: bool,
    /// Does a job hold it, or something of it?
    pub allocated: bool,
    /// Who.
    pub jobs: Vec<JobId>,
    /// Of a pool, how much is taken; else how many of its cores, or of its GPUs if it has no cores.
    pub taken: u64,
}

/// So much of a pool, held by a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portion {
    /// The pool.
    pub path: String,
    /// Bytes, if its unit is one of those.
    pub amount: u64,
}

/// Which vertices are looked for: `status=down and sched-now=allocated`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Criteria {
    /// `type=NAME`.
    Kind(String),
    /// `name=NAME`.
    Name(String),
    /// `property=NAME`.
    Property(String),
    /// `rank=N`.
    Rank(u32),
    /// `status=up|down`.
    Up(bool),
    /// `sched-now=allocated|free`.
    Allocated(bool),
    /// `jobid-alloc=ID`.
    Job(JobId),
    /// All of these.
    And(Vec<Criteria>),
    /// One of these.
    Or(Vec<Criteria>),
    /// Not this.
    Not(Box<Criteria>),
}

/// What may stand before the sign.
const KEYS: &str = "status, sched-now, jobid-alloc, type, name, property, rank";

/// How deep brackets may nest.
const DEPTH_MAX: usize = 64;

impl Criteria {
    /// Reads criteria: `key=value`, with `and`, `or`, `not` and brackets between.
    ///
    /// # Errors
    /// The first word that is not understood.
    pub fn parse(text: &str) -> Result<Criteria, String> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
        let criteria = Criteria::either(&mut words, 0)?;
        match words.pop() {
            None => Ok(criteria),
            Some(word) => Err(format!("expected `and` or `or`, found `{word}`")),
        }
    }

    fn either(words: &mut Vec<&str>, depth: usize) -> Result<Criteria, String> {
        let mut list = vec![Criteria::all(words, depth)?];
        while words.pop_if(|word| word.eq_ignore_ascii_case("or")).is_some() {
            list.push(Criteria::all(words, depth)?);
        }
        Ok(if list.len() == 1 { list.remove(0) } else { Criteria::Or(list) })
    }

    fn all(words: &mut Vec<&str>, depth: usize) -> Result<Criteria, String> {
        let mut list = vec![Criteria::one(words, depth)?];
        while words.pop_if(|word| word.eq_ignore_ascii_case("and")).is_some() {
            list.push(Criteria::one(words, depth)?);
        }
        Ok(if list.len() == 1 { list.remove(0) } else { Criteria::And(list) })
    }

    fn one(words: &mut Vec<&str>, depth: usize) -> Result<Criteria, String> {
        if depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        match words.pop() {
            None => Err("expected key=value at the end".to_owned()),
            Some("(") => {
                let inner = Criteria::either(words, depth + 1)?;
                match words.pop() {
                    Some(")") => Ok(inner),
                    _ => Err("a bracket is not closed".to_owned()),
                }
            }
            Some(word) if word.eq_ignore_ascii_case("not") => {
                Ok(Criteria::Not(Box::new(Criteria::one(words, depth + 1)?)))
            }
            Some(word) => Criteria::term(word),
        }
    }

    fn term(word: &str) -> Result<Criteria, String> {
        let wrong = |expected: &str| Err(format!("expected {expected}, found `{word}`"));
        let Some((key, value)) = word.split_once('=') else { return wrong("key=value") };
        match (key, value) {
            ("type", kind) => Ok(Criteria::Kind(kind.to_owned())),
            ("name", name) => Ok(Criteria::Name(name.to_owned())),
            ("property", name) => Ok(Criteria::Property(name.to_owned())),
            ("rank", rank) => rank.parse().map_or_else(|_| wrong("a rank"), |rank| Ok(Criteria::Rank(rank))),
            ("status", "up") => Ok(Criteria::Up(true)),
            ("status", "down") => Ok(Criteria::Up(false)),
            ("status", _) => wrong("status=up or status=down"),
            ("sched-now", "allocated") => Ok(Criteria::Allocated(true)),
            ("sched-now", "free") => Ok(Criteria::Allocated(false)),
            ("sched-now", _) => wrong("sched-now=allocated or sched-now=free"),
            ("jobid-alloc", id) => match id.parse::<u64>().map(JobId).or_else(|_| id.parse::<JobId>()) {
                Ok(id) => Ok(Criteria::Job(id)),
                Err(_) => wrong("a job's id"),
            },
            _ => Err(format!("`{key}` is not one of {KEYS}")),
        }
    }
}

impl Criteria {
    /// The types that are named anywhere in them.
    fn kinds(&self) -> Vec<&str> {
        match self {
            Criteria::Kind(kind) => vec![kind],
            Criteria::And(list) | Criteria::Or(list) => list.iter().flat_map(Criteria::kinds).collect(),
            Criteria::Not(inner) => inner.kinds(),
            Criteria::Name(_) | Criteria::Property(_) | Criteria::Rank(_) => Vec::new(),
            Criteria::Up(_) | Criteria::Allocated(_) | Criteria::Job(_) => Vec::new(),
        }
    }
}

impl Graph {
    /// Criteria that name a type of which there is nothing here may be a slip: the first such type, and those that there
    /// are.
    #[must_use]
    pub fn unknown_kind<'a>(&self, criteria: &'a Criteria) -> Option<(&'a str, BTreeSet<&str>)> {
        let tree = self.index.pools.tree();
        let known: BTreeSet<&str> =
            tree.walk().map(|place| tree.words.text(tree.vertex(place).kind)).collect();
        let unknown = criteria.kinds().into_iter().find(|kind| !known.contains(kind))?;
        Some((unknown, known))
    }

    /// The vertices that meet criteria, what holds before what it holds.
    #[must_use]
    pub fn select(&self, criteria: &Criteria) -> Vec<Info> {
        let index = self.index_in_use();
        let places = self.index.pools.tree().walk().filter(|place| self.meets(&index, *place, criteria));
        places.map(|place| self.look(&index, place)).collect()
    }

    /// What is at a path.
    #[must_use]
    pub fn info(&self, path: &str) -> Option<Info> {
        let place = self.index.pools.tree().find(path)?;
        Some(self.look(&self.index_in_use(), place))
    }

    /// The jobs that hold something, ascending.
    pub fn holders(&self) -> impl Iterator<Item = JobId> + '_ {
        self.held.keys().copied()
    }

    /// What a job holds of cores and GPUs, and of pools.
    #[must_use]
    pub fn held_by(&self, id: JobId) -> Option<(R, Vec<Portion>)> {
        let held = self.held.get(&id)?;
        let r = R { expiration: held.until, ..self.described(R::from_nodes(held.parts.clone()).nodes) };
        let tree = self.index.pools.tree();
        let portions = held.portions.iter().filter_map(|portion| {
            let path = tree.path(tree.pool_place(portion.pool()?));
            Some(Portion { path, amount: portion.amount })
        });
        Some((R { starttime: Timestamp::ZERO, ..r }, portions.collect()))
    }

    /// Gives nodes a property, or takes it from them.
    pub fn set_property(&mut self, ranks: &Idset, name: &str, has: bool) {
        let with = self.inventory.properties.entry(name.to_owned()).or_default();
        *with = if has { with.union(ranks) } else { with.difference(ranks) };
        self.inventory.properties.retain(|_, with| !with.is_empty());
        self.names = Names::new(&self.inventory, &self.index);
    }

    fn meets(&self, index: &Index, place: Place, criteria: &Criteria) -> bool {
        let tree = self.index.pools.tree();
        let vertex = tree.vertex(place);
        match criteria {
            Criteria::Kind(kind) => tree.words.text(vertex.kind) == kind,
            Criteria::Name(name) => tree.words.text(vertex.name) == name,
            Criteria::Property(name) => self.properties(place).contains_key(name),
            Criteria::Rank(rank) => self.rank(place) == Some(*rank),
            Criteria::Up(up) => self.is_up(place) == *up,
            Criteria::Allocated(allocated) => (self.taken(index, place) > 0) == *allocated,
            Criteria::Job(id) => self.has_part(*id, place),
            Criteria::And(list) => list.iter().all(|inner| self.meets(index, place, inner)),
            Criteria::Or(list) => list.iter().any(|inner| self.meets(index, place, inner)),
            Criteria::Not(inner) => !self.meets(index, place, inner),
        }
    }

    fn look(&self, index: &Index, place: Place) -> Info {
        let tree = self.index.pools.tree();
        let vertex = tree.vertex(place);
        let (rank, taken) = (self.rank(place), self.taken(index, place));
        Info {
            path: tree.path(place),
            kind: tree.words.text(vertex.kind).to_owned(),
            name: tree.words.text(vertex.name).to_owned(),
            id: vertex.id,
            rank,
            size: vertex.size,
            unit: if tree.is_bytes(vertex) { "B" } else { tree.words.text(vertex.unit) }.to_owned(),
            properties: self.properties(place).into_owned(),
            up: self.is_up(place),
            drained: rank.is_some_and(|rank| self.drained.contains(rank)),
            allocated: taken > 0,
            jobs: self.held.keys().copied().filter(|id| self.has_part(*id, place)).collect(),
            taken,
        }
    }

    /// Those of the vertex. Those of a node are in the inventory, with their values in the vertex.
    fn properties(&self, place: Place) -> Cow<'_, Properties> {
        let tree = self.index.pools.tree();
        let set = &tree.texts.sets[tree.vertex(place).properties as usize];
        let Place::In(at, 0) = place else { return Cow::Borrowed(set) };
        let rank = self.index.nodes()[at as usize].rank;
        let with = self.inventory.properties.iter().filter(|(_, ranks)| ranks.contains(rank));
        let value = |name: &String| set.get(name).cloned().unwrap_or_default();
        Cow::Owned(with.map(|(name, _)| (name.clone(), value(name))).collect())
    }

    fn rank(&self, place: Place) -> Option<u32> {
        match place {
            Place::Top(_) => None,
            Place::In(at, _) => Some(self.index.nodes()[at as usize].rank),
        }
    }

    fn is_up(&self, place: Place) -> bool {
        self.rank(place).is_none_or(|rank| self.up.contains(rank)) && !self.index.pools.is_down(place)
    }

    /// How much of a vertex jobs hold.
    fn taken(&self, index: &Index, place: Place) -> u64 {
        let tree = self.index.pools.tree();
        if let Some(pool) = tree.pool(place) {
            return self.index.pools.taken()[pool as usize];
        }
        let Place::In(at, _) = place else {
            let nodes = tree.nodes_of(place).iter().map(|at| self.taken(index, Place::In(*at, 0)));
            return nodes.sum();
        };
        let (inside, span) = (tree.inside(at), tree.span(place));
        if span.home == Home::Thread {
            return self.taken(index, Place::In(at, span.parent));
        }
        let at = at as usize;
        let cores =
            inside.cores[span.cores()].iter().filter(|(bit, _)| !index.is_core_free(at, *bit as usize));
        let gpus = inside.gpus[span.gpus()].iter().filter(|(bit, _)| !index.is_gpu_free(at, *bit as usize));
        match cores.count() as u64 {
            0 => gpus.count() as u64,
            cores => cores,
        }
    }

    /// Does a job hold something of a vertex?
    fn has_part(&self, id: JobId, place: Place) -> bool {
        let Some(held) = self.held.get(&id) else { return false };
        let tree = self.index.pools.tree();
        let mut of_pools = held.portions.iter().filter_map(|portion| portion.pool());
        if of_pools.any(|pool| tree.pools_in(place).any(|here| here == pool)) {
            return true;
        }
        match self.inside_of(place) {
            Some(here) => {
                let parts = held.parts.iter().filter(|part| part.rank == here.rank);
                parts
                    .into_iter()
                    .any(|part| !part.cores.is_disjoint(&here.cores) || !part.gpus.is_disjoint(&here.gpus))
            }
            None => {
                let here = tree.nodes_of(place);
                let mut ranks = here.iter().map(|at| self.index.nodes()[*at as usize].rank);
                ranks.any(|rank| held.parts.iter().any(|part| part.rank == rank))
            }
        }
    }
}
