//! What there is, what is free, what fits.
//!
//! A [`Graph`] holds the inventory of an instance and who has which part of it. [`Graph::find`] answers whether
//! a jobspec fits and with what, and changes nothing; [`Graph::take`] and [`Graph::give_back`] change what is
//! free; [`Graph::mark`] says which nodes may be used. Whose turn it is, is not decided here.
//!
//! `ask.rs` lists the requests that are matched fast; `general/` has all others. Which of the places that would do a job gets is its placement,
//! a word in the jobspec with a file in `policy/`.
//!
//! Matching does not walk a graph of vertices. `index.rs` keeps bits, and `stock.rs` trees of words that say which nodes
//! have at least so much of everything, so that the next node with room is a few words away.

mod allowed;
mod ask;
mod at_least;
mod bits;
mod closed;
mod containment;
mod cosched;
mod counts;
pub mod describe;
mod general;
mod group;
mod index;
mod layout;
mod lifetime;
mod pick;
mod place;
mod plan;
mod policy;
mod query;
mod room;
mod say;
mod serves;
mod slowdowns;
mod stock;
mod totals;
mod units;
mod walk;

pub use containment::{Containment, Vertex};
pub use cosched::{are_apart, class_of, group_of};
pub use group::Unit;
pub use lifetime::span;
pub use plan::{Plan, Sought};
pub use query::{Criteria, Info, Portion};
pub use room::{Room, Seeking};
pub use slowdowns::{SlowDowns, SlowDownsError};
pub use units::amount;

use allowed::{Filter, Names};
use ask::{Ask, Refusal};
use cosched::{Sharing, Tenants};
use counts::Counts;
use describe::{Description, DescriptionError};
use flurm_jobspec::{Jobspec, Placement};
use flurm_types::{Hostlist, Idset, JobId, R, RNode, Timestamp};
use index::{Index, View};
use lifetime::Lifetimes;
use place::Field;
use std::{
    cell::Cell,
    collections::{BTreeMap, btree_map::Entry},
};

/// The question that [`Graph::find`] is asked.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum MatchOp {
    /// What can the job have now?
    Allocate,
    /// Could the job run here at all, with every node up and nothing taken?
    Satisfiability,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// This. For [`MatchOp::Satisfiability`], nodes that could serve, whole and whoever holds them.
    Now(R),
    /// Nothing now, but it fits when others have ended or nodes have come back.
    NotNow,
    /// It does not fit here, and this is why: text for the user, with the largest that would.
    Never(String),
}

/// What happens to nodes.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Mark {
    /// The broker there is online.
    Up,
    /// It is lost.
    Down,
    /// Jobs there go on, new ones go elsewhere.
    Drain,
    /// The end of that.
    Undrain,
}

/// The resources of an instance, and which are held by whom.
#[derive(Debug)]
pub struct Graph {
    inventory: R,
    index: Index,
    names: Names,
    up: Idset,
    drained: Idset,
    lifetimes: Lifetimes,
    /// For jobs that ask for none.
    placement: Placement,
    held: BTreeMap<JobId, Held>,
    /// Those of them that share their nodes with one other job.
    tenants: Tenants,
    /// Cores and GPUs that are not in use, on nodes that may be.
    closed: Vec<RNode>,
}

/// What a job holds.
#[derive(Debug)]
struct Held {
    /// When its time is over; zero if nobody knows.
    until: Timestamp,
    parts: Vec<RNode>,
    /// Of pools.
    portions: Vec<general::given::Portion>,
}

impl Graph {
    /// Everything is free, and every rank down until it is marked up. What more there is than cores and GPUs is taken
    /// from the graph in the R, if it has one that can be read.
    #[must_use]
    pub fn from_r(r: &R) -> Graph {
        let described =
            r.scheduling.as_ref().and_then(|graph| Description::from_jgf_value(&graph.json()).ok());
        Graph::new(r, described.as_ref())
    }

    /// The resources of a description: everything is free, and up unless it says otherwise.
    ///
    /// # Errors
    /// As [`Description::to_r`].
    pub fn from_description(description: &Description) -> Result<Graph, DescriptionError> {
        let r = description.to_r()?;
        let mut graph = Graph::new(&r, Some(description));
        graph.mark(&r.ranks().difference(&description.down()), Mark::Up);
        Ok(graph)
    }

    /// The part of a description that is in an R, everything free and every rank down.
    #[must_use]
    pub fn from_both(r: &R, described: &Description) -> Graph {
        Graph::new(r, Some(described))
    }

    fn new(r: &R, described: Option<&Description>) -> Graph {
        let mut index = Index::new(r);
        let tree = general::tree::Tree::new(r, &index, described);
        let down = tree.down.clone();
        index.pools = general::Pools::new(tree);
        let names = Names::new(r, &index);
        let inventory = R { nslots: None, ..r.clone() };
        let (up, drained) = (Idset::new(), Idset::new());
        let placement = Placement::default();
        let (held, tenants, lifetimes) = (BTreeMap::new(), Tenants::default(), Lifetimes::default());
        let closed = Vec::new();
        let mut graph =
            Graph { inventory, index, names, up, drained, lifetimes, placement, held, tenants, closed };
        graph.set_down(down);
        graph
    }

    /// Another inventory. Marks stay, and so does what jobs hold, as far as it is still there.
    pub fn redefine(&mut self, r: &R) {
        let held = std::mem::take(&mut self.held);
        let (up, drained) = (std::mem::take(&mut self.up), std::mem::take(&mut self.drained));
        let tenants = std::mem::take(&mut self.tenants);
        let lifetimes = std::mem::take(&mut self.lifetimes);
        let placement = self.placement;
        let down = self.down_paths();
        *self = Graph { held, up, drained, lifetimes, placement, tenants, ..Graph::from_r(r) };
        for held in self.held.values_mut() {
            held.portions.iter_mut().for_each(|portion| portion.settle(self.index.pools.tree()));
            self.index.set_parts_free(&held.parts, false);
            self.index.pools.set_free(&held.portions, false);
        }
        self.set_down_paths(&down);
        for at in 0..self.index.len() {
            self.reopen(at);
        }
    }

    /// What a job would get, or why it gets nothing. A group is found whole nodes, for [`Graph::split`].
    #[must_use]
    pub fn find<'a>(&self, unit: impl Into<Unit<'a>>, op: MatchOp, now: Timestamp) -> Found {
        self.find_counting(unit, op, now, &mut 0)
    }

    /// [`Graph::find`], adding the number of vertices looked at, for callers that have a budget.
    #[must_use]
    pub fn find_counting<'a>(
        &self,
        unit: impl Into<Unit<'a>>,
        op: MatchOp,
        now: Timestamp,
        visited: &mut usize,
    ) -> Found {
        let jobspec = match unit.into() {
            Unit::Job(jobspec) => jobspec,
            group @ Unit::Group(_) => return self.find_group(group, op, now, visited),
        };
        let ask = match Ask::of(jobspec, self.placement, &Counts::default()) {
            // Whether all of a socket is free, is not for cores alone to say.
            Ok(ask) if ask.takes_all() && self.index.pools.any_taken() => {
                return self.general_find(jobspec, op, now, visited);
            }
            Ok(ask) => ask,
            Err(Refusal::Shape(_)) => return self.general_find(jobspec, op, now, visited),
            Err(Refusal::Never(why)) => return Found::Never(why),
        };
        if op == MatchOp::Allocate
            && let Some(r) = self.most_of(jobspec, &ask, &self.index, &self.sharing(), now, visited)
        {
            return Found::Now(r);
        }
        let allowed = self.allowed(jobspec, now);
        let visited = Cell::from_mut(visited);
        let field = |view| Field { ask: &ask, index: &self.index, view, allowed: &allowed, visited };
        match (place::place(field(View::Ever)), op) {
            (Some(_), MatchOp::Allocate) => Found::NotNow,
            (Some(shares), MatchOp::Satisfiability) => {
                Found::Now(self.described(shares.iter().map(|share| self.index.whole(share.at)).collect()))
            }
            (None, _) => {
                let ever = self.names.allowed(ask.constraint, &self.index);
                let ever = Field { allowed: &ever, ..field(View::Ever) };
                let too_long = place::place(ever).is_some();
                Found::Never(if too_long { self.too_long(jobspec, now) } else { say::never(ever) })
            }
        }
    }

    /// Where a job that begins at this time may be: its constraint holds there, and the nodes last that long.
    fn allowed(&self, jobspec: &Jobspec, at: Timestamp) -> Filter<'_> {
        let attributes = jobspec.attributes();
        let allowed = self.names.allowed(&attributes.constraints, &self.index);
        // A job without a duration takes what time there is.
        let end = at.checked_add_secs(attributes.duration.max(1e-6)).unwrap_or(at);
        if self.instance_end().is_some_and(|last| last < end) {
            return Filter::NONE;
        }
        match self.lifetimes.gone_before(end) {
            gone if gone.is_empty() => allowed,
            gone => allowed.and_not(self.on(&gone)),
        }
    }

    /// The nodes with these ranks.
    fn on(&self, ranks: &Idset) -> Filter<'static> {
        Filter::of(self.index.len(), &self.index.positions(ranks))
    }

    fn instance_end(&self) -> Option<Timestamp> {
        Some(self.inventory.expiration).filter(|at| !at.is_zero())
    }

    /// Why a job that would fit otherwise cannot be over in time.
    fn too_long(&self, jobspec: &Jobspec, now: Timestamp) -> String {
        let needs = match jobspec.attributes().duration {
            0.0 => "the job needs time".to_owned(),
            duration => format!("the job needs {}", span(duration)),
        };
        match self.instance_end() {
            Some(end) if end <= now => format!("{needs}, but the time of this instance is over"),
            Some(end) if self.allowed(jobspec, now).is_empty(self.index.len()) => {
                format!("{needs}, but this instance ends in {}", span(end.secs_since(now)))
            }
            _ => format!("{needs}, and too few of the nodes that it could have last that long"),
        }
    }

    fn find_group(&self, group: Unit<'_>, op: MatchOp, now: Timestamp, visited: &mut usize) -> Found {
        if op == MatchOp::Allocate
            && let Some(r) = self.in_index(group, &self.index, &self.sharing(), now, visited)
        {
            return Found::Now(r);
        }
        match (self.group_ever(group, now, visited), op) {
            (Ok(_), MatchOp::Allocate) => Found::NotNow,
            (Ok(nodes), MatchOp::Satisfiability) => {
                Found::Now(self.described(nodes.iter().map(|at| self.index.whole(at as usize)).collect()))
            }
            (Err(why), _) => Found::Never(why),
        }
    }

    /// What a job gets out of what is free in an index, with the largest of its counts. A willing one that finds nobody
    /// to join gets nodes where nobody is.
    fn most(
        &self,
        jobspec: &Jobspec,
        index: &Index,
        sharing: &Sharing,
        at: Timestamp,
        visited: &mut usize,
    ) -> Option<R> {
        match Ask::of(jobspec, self.placement, &Counts::default()) {
            // Whether all of a socket is free, is not for cores alone to say.
            Ok(ask) if ask.takes_all() && index.pools.any_taken() => {
                self.general_most(jobspec, index, sharing, at, visited)
            }
            Ok(ask) => self.most_of(jobspec, &ask, index, sharing, at, visited),
            Err(Refusal::Shape(_)) => self.general_most(jobspec, index, sharing, at, visited),
            Err(Refusal::Never(_)) => None,
        }
    }

    /// The same of a job that asks for this, with the least of its counts.
    fn most_of(
        &self,
        jobspec: &Jobspec,
        ask: &Ask<'_>,
        index: &Index,
        sharing: &Sharing,
        at: Timestamp,
        visited: &mut usize,
    ) -> Option<R> {
        let allowed = self.allowed(jobspec, at);
        let visited = Cell::from_mut(visited);
        let search = |allowed: &Filter<'_>, fresh: bool| {
            let attempt = |ask: &Ask<'_>| {
                let ask = &Ask { fresh, ..*ask };
                let nodes = policy::choose(Field { ask, index, view: View::Now, allowed, visited })?;
                Some((nodes, ask.slots))
            };
            let (nodes, slots) = counts::largest(jobspec, index.largest_count(), attempt(ask)?, |counts| {
                attempt(&Ask::of(jobspec, self.placement, counts).ok()?)
            });
            let r = R { starttime: at, nslots: Some(slots), ..self.described(nodes) };
            Some(R { expiration: self.end_of(jobspec.attributes().duration, at, &r.nodes), ..r })
        };
        match &jobspec.attributes().cosched {
            None if sharing.closed.is_empty() => search(&allowed, false),
            None => search(&allowed.and_not(self.on(&sharing.closed)), false),
            Some(willing) => {
                let class = willing.class.as_deref().unwrap_or("");
                let mates = match willing.group {
                    None => self.tenants.mates(class, &sharing.beside),
                    Some(_) => Vec::new(),
                };
                let beside =
                    mates.into_iter().find_map(|ranks| search(&allowed.clone().and(self.on(&ranks)), false));
                let mut r = beside.or_else(|| search(&allowed, true))?;
                cosched::note(&mut r, class, willing.group.as_ref());
                Some(r)
            }
        }
    }

    /// How much jobs slow each other down, for pairs of those that are willing to share.
    pub fn set_slowdowns(&mut self, slowdowns: SlowDowns) {
        self.tenants.slowdowns = slowdowns;
    }

    /// The same, to be changed.
    pub fn slowdowns(&mut self) -> &mut SlowDowns {
        &mut self.tenants.slowdowns
    }

    /// What a unit waits for, in words. Of use only after [`Found::NotNow`].
    #[must_use]
    pub fn shortage<'a>(&self, unit: impl Into<Unit<'a>>, now: Timestamp) -> String {
        self.shortage_counting(unit, now, &mut 0)
    }

    /// [`Graph::shortage`], adding the number of vertices looked at.
    #[must_use]
    pub fn shortage_counting<'a>(
        &self,
        unit: impl Into<Unit<'a>>,
        now: Timestamp,
        visited: &mut usize,
    ) -> String {
        let jobspec = match unit.into() {
            Unit::Job(jobspec) => jobspec,
            group @ Unit::Group(_) => return self.group_shortage(group, now),
        };
        match Ask::of(jobspec, self.placement, &Counts::default()) {
            Ok(ask) => {
                let allowed = self.allowed(jobspec, now);
                let (index, visited) = (&self.index, &Cell::new(0));
                let closed = self.on(&self.sharing().closed);
                let field = |allowed| Field { ask: &ask, index, view: View::Now, allowed, visited };
                let mut but = Vec::new();
                if allowed.positions(index.len()).count()
                    < self.names.allowed(ask.constraint, index).positions(index.len()).count()
                {
                    but.push("nodes that end before it would");
                }
                let waits = if let Some(willing) = &jobspec.attributes().cosched {
                    let class = willing.class.as_deref().unwrap_or("");
                    let mates = self.tenants.mates(class, &self.sharing().beside);
                    let with_mates = mates.iter().fold(Idset::new(), |all, ranks| all.union(ranks));
                    let fresh = &Ask { fresh: true, ..ask };
                    say::not_beside(Field { ask: fresh, ..field(&allowed) }, with_mates.len() as u64)
                } else if allowed.clone().and(closed.clone()).is_empty(index.len()) {
                    say::not_now(field(&allowed))
                } else {
                    but.push("nodes that co-scheduled jobs share");
                    say::not_now(field(&allowed.clone().and_not(closed)))
                };
                if !but.is_empty() {
                    return format!("{waits}, not counting {}", but.join(" and "));
                }
                match self.missed(&ask, &allowed) {
                    Some(missed) => format!("{waits}, and {missed}"),
                    None => waits,
                }
            }
            Err(Refusal::Shape(_)) => self.general_shortage(jobspec, visited),
            Err(Refusal::Never(why)) => why,
        }
    }

    /// The nodes without which a job has no room even when all others are over: `node2 is down`.
    fn missed(&self, ask: &Ask<'_>, allowed: &Filter<'_>) -> Option<String> {
        let index = &self.index;
        let out = |rank: u32| !self.up.contains(rank) || self.drained.contains(rank);
        let ranks = allowed.positions(index.len()).map(|at| index.nodes()[at].rank);
        let out: Idset = ranks.filter(|rank| out(*rank)).collect();
        let open = allowed.clone().and_not(self.on(&out));
        let field = Field { ask, index, view: View::Ever, allowed: &open, visited: &Cell::new(0) };
        if out.is_empty() || place::place(field).is_some() {
            return None;
        }
        let named = |ranks: &Idset, what: &str| {
            let nodes = index.nodes().iter().filter(|node| ranks.contains(node.rank));
            let hosts: Hostlist = nodes.map(|node| node.host.clone()).collect();
            let verb = if ranks.len() == 1 { "is" } else { "are" };
            (!ranks.is_empty()).then(|| format!("{hosts} {verb} {what}"))
        };
        let down = out.difference(&self.up);
        let drained = out.difference(&down);
        let said: Vec<String> = named(&down, "down").into_iter().chain(named(&drained, "drained")).collect();
        Some(said.join(", "))
    }

    /// Gives a job what [`Graph::find`] found, or what it had before a restart. Ranks and ids that are not in the
    /// inventory are kept in mind, in case they come back into it.
    pub fn take(&mut self, id: JobId, r: &R) {
        let portions = general::given::portions(self.index.pools.tree(), r);
        let held = self.held.entry(id).or_insert_with(|| Held {
            until: r.expiration,
            parts: Vec::new(),
            portions: Vec::new(),
        });
        held.parts.extend(r.nodes.iter().cloned());
        self.index.set_parts_free(&r.nodes, false);
        self.index.pools.set_free(&portions, false);
        held.portions.extend(portions);
        self.tenants.take(id, r);
    }

    /// Frees what a job holds on these ranks.
    pub fn give_back(&mut self, id: JobId, ranks: &Idset) {
        let Entry::Occupied(mut held) = self.held.entry(id) else { return };
        let leaves = |part: &RNode| ranks.contains(part.rank);
        let (left, portions) = if held.get().parts.iter().all(leaves) {
            let held = held.remove();
            (held.parts, held.portions)
        } else {
            let held = held.get_mut();
            let left = held.parts.extract_if(.., |part| leaves(part)).collect();
            (left, held.portions.extract_if(.., |portion| portion.is_on(ranks)).collect())
        };
        self.index.set_parts_free(&left, true);
        self.index.pools.set_free(&portions, true);
        if !self.closed.is_empty() {
            self.index.set_parts_free(&self.closed, false);
        }
        self.tenants.give_back(id, ranks);
    }

    /// How many cores a job holds.
    #[must_use]
    pub fn held_cores(&self, id: JobId) -> usize {
        self.held.get(&id).map_or(0, |held| held.parts.iter().map(|part| part.cores.len()).sum())
    }

    /// Says what has become of nodes. What jobs hold there stays held.
    pub fn mark(&mut self, ranks: &Idset, mark: Mark) {
        match mark {
            Mark::Up => self.up.union_with(ranks),
            Mark::Down => self.up = self.up.difference(ranks),
            Mark::Drain => self.drained.union_with(ranks),
            Mark::Undrain => self.drained = self.drained.difference(ranks),
        }
        for (lo, hi) in ranks.ranges() {
            for at in self.index.below(lo)..self.index.below(hi + 1) {
                self.reopen(at);
            }
        }
    }

    fn reopen(&mut self, at: usize) {
        let rank = self.index.nodes()[at].rank;
        let open = self.up.contains(rank) && !self.drained.contains(rank) && !self.is_node_down(at);
        self.index.set_open(at, open);
    }

    /// When the instance ends; zero if nobody knows.
    pub fn set_expiration(&mut self, expiration: Timestamp) {
        self.inventory.expiration = expiration;
    }

    /// When these nodes end, if before the instance; zero if with it.
    pub fn set_node_expiration(&mut self, ranks: &Idset, expiration: Timestamp) {
        self.lifetimes.set(ranks, expiration);
    }

    /// The placement of jobs that ask for none; compact until somebody says otherwise.
    pub fn set_placement(&mut self, placement: Placement) {
        self.placement = placement;
    }

    /// Everything, whatever its state.
    #[must_use]
    pub fn inventory(&self) -> &R {
        &self.inventory
    }

    /// What no job holds, whether the node is up or not. A node whose cores are all held is not in it.
    #[must_use]
    pub fn free(&self) -> R {
        self.half(true)
    }

    /// What jobs hold.
    #[must_use]
    pub fn allocated(&self) -> R {
        self.half(false)
    }

    fn half(&self, free: bool) -> R {
        let index = self.index_in_use();
        let parts = (0..index.len()).map(|at| index.part(at, free));
        let nodes = parts.filter(|node| !node.cores.is_empty()).collect();
        let (starttime, expiration) = (self.inventory.starttime, self.inventory.expiration);
        R { starttime, expiration, ..self.described(nodes) }
    }

    /// The ranks that are up.
    #[must_use]
    pub fn up(&self) -> Idset {
        self.up.clone()
    }

    /// The ranks that are drained, up or not.
    #[must_use]
    pub fn drained(&self) -> Idset {
        self.drained.clone()
    }

    /// Nodes with what the inventory says of their ranks.
    fn described(&self, nodes: Vec<RNode>) -> R {
        let ranks: Idset = nodes.iter().map(|node| node.rank).collect();
        // Most have few nodes and few properties: to collect them in order first would take longer.
        let mut r = R::default();
        for (name, with) in &self.inventory.properties {
            let with = with.intersection(&ranks);
            if !with.is_empty() {
                r.properties.insert(name.clone(), with);
            }
        }
        for node in &nodes {
            if let Some(topology) = self.inventory.topology.get(&node.rank) {
                r.topology.insert(node.rank, topology.clone());
            }
        }
        R { nodes, ..r }
    }

    /// An allocation ends with its duration, or with the first of its nodes if it has none; zero if nobody knows.
    fn end_of(&self, duration: f64, start: Timestamp, nodes: &[RNode]) -> Timestamp {
        let end = if duration > 0.0 { start.checked_add_secs(duration) } else { None };
        let ends = [end, self.instance_end(), self.lifetimes.first_end(nodes)];
        ends.into_iter().flatten().min().unwrap_or(Timestamp::ZERO)
    }
}
