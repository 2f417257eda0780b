//! Requests of any shape on trees of any types.
//!
//! What `ask.rs` does not understand comes here: memory and other amounts, racks, NUMA domains and whatever a
//! description names, several resources side by side, threads, things by their ids. A request becomes a tree of
//! [`wants`], and [`search`] finds a place for it in the [`tree`] of vertices.
//!
//! Free cores and GPUs are the bits of `index.rs`, here as there. All that is kept apart is how much of each pool is
//! taken ([`Pools`]), and it travels with the bits. What a job holds of pools stands in its R as a JGF of its own part
//! of the tree ([`given`]), so that a restart does not forget it.

pub(crate) mod given;
pub(crate) mod search;
pub(crate) mod tree;
pub(crate) mod wants;
mod why;

use crate::allowed::Filter;
use crate::at_least::BRANCHES;
use crate::cosched::Sharing;
use crate::counts::{self, Counts};
use crate::index::{Index, View};
use crate::totals::{KINDS_MAX, Totals};
use crate::{Found, Graph, MatchOp};
use fixedbitset::FixedBitSet;
use flurm_jobspec::Jobspec;
use flurm_types::{R, Scheduling, Timestamp};
use given::Portion;
use search::{Outcome, Picked, Search};
use std::collections::BTreeSet;
use std::sync::Arc;
use tree::{Place, Tree};
use wants::Wants;

/// What it counts to write down a core or a pool that was found as part of the tree, in vertices that are looked at.
const PART_VISITS: usize = 2;

/// What of a tree is taken that is no core and no GPU, and what is not in use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pools {
    tree: Arc<Tree>,
    /// Amounts by pool.
    taken: Vec<u64>,
    /// How much of each kind that is summed up.
    sums: [u64; KINDS_MAX],
    /// How many pools something is taken of.
    in_use: usize,
    down: Arc<Down>,
}

/// What is not in use. Nodes as a whole are marked elsewhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct Down {
    pub(crate) places: BTreeSet<Place>,
    pools: BTreeSet<u32>,
}

impl Pools {
    /// Nothing is taken.
    pub(crate) fn new(tree: Tree) -> Pools {
        let taken = vec![0; tree.pools as usize];
        Pools { tree: Arc::new(tree), taken, sums: [0; KINDS_MAX], in_use: 0, down: Arc::default() }
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    pub(crate) fn taken(&self) -> &[u64] {
        &self.taken
    }

    /// Is something taken of any of them?
    pub(crate) fn any_taken(&self) -> bool {
        self.in_use > 0
    }

    pub(crate) fn down(&self) -> &BTreeSet<Place> {
        &self.down.places
    }

    /// Says what is not in use.
    pub(crate) fn set_down(&mut self, places: BTreeSet<Place>) {
        let pools = places.iter().flat_map(|place| self.tree.pools_in(*place));
        self.down = Arc::new(Down { pools: pools.collect(), places });
    }

    /// Is this not in use, or what it is in?
    pub(crate) fn is_down(&self, place: Place) -> bool {
        let mut next = (!self.down.places.is_empty()).then_some(place);
        while let Some(place) = next {
            if self.down.places.contains(&place) {
                return true;
            }
            next = self.tree.parent(place);
        }
        false
    }

    pub(crate) fn is_pool_down(&self, pool: u32) -> bool {
        self.down.pools.contains(&pool)
    }

    /// The same with nothing taken and everything in use.
    pub(crate) fn all_free(&self) -> Pools {
        Pools { down: Arc::default(), ..self.none_taken() }
    }

    /// The same with nothing taken.
    pub(crate) fn none_taken(&self) -> Pools {
        let (tree, down) = (Arc::clone(&self.tree), Arc::clone(&self.down));
        Pools { taken: vec![0; self.taken.len()], sums: [0; KINDS_MAX], in_use: 0, tree, down }
    }

    /// Nothing is taken from now on.
    pub(crate) fn clear(&mut self) {
        if self.in_use > 0 {
            self.taken.fill(0);
            self.sums = [0; KINDS_MAX];
            self.in_use = 0;
        }
    }

    /// Takes portions, or puts them back. What is not in the tree is passed over.
    pub(crate) fn set_free(&mut self, portions: &[Portion], free: bool) {
        for portion in portions {
            if let Some(pool) = portion.pool() {
                let taken = self.taken[pool as usize];
                let now = if free {
                    taken.saturating_sub(portion.amount)
                } else {
                    taken.saturating_add(portion.amount)
                };
                self.set(pool, now);
            }
        }
    }

    /// At least so much of a pool is taken.
    pub(crate) fn raise(&mut self, pool: u32, amount: u64) {
        self.set(pool, amount.max(self.taken[pool as usize]));
    }

    fn set(&mut self, pool: u32, amount: u64) {
        let before = std::mem::replace(&mut self.taken[pool as usize], amount);
        self.in_use = self.in_use + usize::from(amount > 0) - usize::from(before > 0);
        if let Some(kind) = self.tree.summed_kind(pool) {
            self.sums[kind] = self.sums[kind].wrapping_add(amount).wrapping_sub(before);
        }
    }

    /// Can there be as much left as is asked for? What is not in use counts as if it were.
    pub(crate) fn may_have(&self, asked: &Totals) -> bool {
        let left = self.tree.sums.iter().zip(&self.sums).map(|(all, taken)| all.saturating_sub(*taken));
        left.zip(&asked.pools).all(|(left, asked)| left >= *asked)
    }

    /// How much that is of which pools, ascending by their numbers. What is not in the tree is passed over.
    pub(crate) fn amounts(&self, portions: &[Portion]) -> Vec<(u32, u64)> {
        let mut amounts = Vec::with_capacity(portions.len());
        amounts.extend(portions.iter().filter_map(|portion| Some((portion.pool()?, portion.amount))));
        amounts.sort_unstable();
        amounts.dedup_by(|next, first| {
            let same = next.0 == first.0;
            first.1 = if same { first.1.saturating_add(next.1) } else { first.1 };
            same
        });
        amounts
    }

    /// How much there is of a pool; nothing while it is not in use.
    pub(crate) fn size(&self, pool: u32) -> u64 {
        if self.is_pool_down(pool) { 0 } else { self.tree.facts(pool).size }
    }

    /// Is so much of them left?
    pub(crate) fn have(&self, portions: &[Portion]) -> bool {
        portions.iter().all(|portion| match portion.pool() {
            Some(pool) if !self.is_pool_down(pool) => {
                self.size(pool).saturating_sub(self.taken[pool as usize]) >= portion.amount
            }
            _ => false,
        })
    }
}

/// Positions for looking up one by one.
fn positions(allowed: &Filter<'_>, len: usize) -> FixedBitSet {
    let mut set = FixedBitSet::with_capacity(len);
    for block in 0..len.div_ceil(BRANCHES) {
        let (first, mut word) = (block * BRANCHES, allowed.word(0, block));
        if word == u64::MAX {
            set.insert_range(first..len.min(first + BRANCHES));
            continue;
        }
        while word != 0 {
            let at = first + word.trailing_zeros() as usize;
            word &= word - 1;
            if at < len {
                set.insert(at);
            }
        }
    }
    set
}

impl Graph {
    fn wants(&self, jobspec: &Jobspec, counts: &Counts<'_>) -> Result<Wants, String> {
        Wants::of(self.index.pools.tree(), jobspec, self.placement, counts)
    }

    /// What a job of any shape takes at least; none if it can have nothing.
    pub(crate) fn general_total(&self, jobspec: &Jobspec) -> Option<Totals> {
        let wants = self.wants(jobspec, &Counts::default()).ok()?;
        Some(wants::totals(self.index.pools.tree(), &wants.list))
    }

    /// What a job of any shape gets out of what is free in an index, with the largest of its counts.
    pub(crate) fn general_most(
        &self,
        jobspec: &Jobspec,
        index: &Index,
        sharing: &Sharing,
        at: Timestamp,
        visited: &mut usize,
    ) -> Option<R> {
        let allowed = self.allowed(jobspec, at).and_not(self.on(&sharing.closed)).and(index.open());
        let allowed = positions(&allowed, index.len());
        // Amounts are counted in units of which there may be many.
        let most = if index.pools.taken().is_empty() { index.largest_count() } else { u32::MAX };
        let mut attempt = |counts: &Counts<'_>| {
            let wants = self.wants(jobspec, counts).ok()?;
            let mut search = Search::new(index, View::Now, &allowed, wants.placement);
            let found = search.find(&wants) == Outcome::Found;
            *visited += search.cost();
            found.then(|| (search.picked(), wants.slots))
        };
        let first = attempt(&Counts::default())?;
        let (picked, slots) = counts::largest(jobspec, most, first, attempt);
        if !picked.pools.is_empty() {
            let cores: usize = picked.nodes.values().map(|(cores, gpus)| cores.len() + gpus.len()).sum();
            *visited += PART_VISITS * (cores + picked.pools.len());
        }
        let r = R { starttime: at, nslots: Some(slots), ..self.described(picked.rnodes(index)) };
        let expiration = self.end_of(jobspec.attributes().duration, at, &r.nodes);
        Some(R { expiration, scheduling: self.part(index, &picked), ..r })
    }

    /// What an R says besides cores and GPUs, if there is anything.
    fn part(&self, index: &Index, picked: &Picked) -> Option<Scheduling> {
        (!picked.pools.is_empty()).then(|| given::part(index, picked).into())
    }

    /// [`Graph::find`] for a job of any shape.
    pub(crate) fn general_find(
        &self,
        jobspec: &Jobspec,
        op: MatchOp,
        now: Timestamp,
        visited: &mut usize,
    ) -> Found {
        let wants = match self.wants(jobspec, &Counts::default()) {
            Ok(wants) => wants,
            Err(why) => return Found::Never(why),
        };
        if op == MatchOp::Allocate
            && let Some(r) = self.general_most(jobspec, &self.index, &self.sharing(), now, visited)
        {
            return Found::Now(r);
        }
        let ever = &self.index;
        let allowed = positions(&self.allowed(jobspec, now), ever.len());
        let mut search = Search::new(ever, View::Ever, &allowed, wants.placement);
        let outcome = search.find(&wants);
        *visited += search.cost();
        match (outcome, op) {
            // What is too large to be tried out is not refused.
            (Outcome::Found | Outcome::GivenUp, MatchOp::Allocate) => Found::NotNow,
            (Outcome::Found | Outcome::GivenUp, MatchOp::Satisfiability) => {
                let nodes = search.picked().nodes.into_keys();
                Found::Now(self.described(nodes.map(|at| ever.whole(at as usize)).collect()))
            }
            (Outcome::None, _) => {
                let constraint = &jobspec.attributes().constraints;
                let allowed = positions(&self.names.allowed(constraint, ever), ever.len());
                let mut search = Search::new(ever, View::Ever, &allowed, wants.placement);
                if search.find(&wants) == Outcome::None {
                    search.reset();
                    return Found::Never(why::never(&mut search, &wants, constraint, allowed.is_clear()));
                }
                Found::Never(self.too_long(jobspec, now))
            }
        }
    }

    /// What a job of any shape waits for.
    pub(crate) fn general_shortage(&self, jobspec: &Jobspec, visited: &mut usize) -> String {
        let wants = match self.wants(jobspec, &Counts::default()) {
            Ok(wants) => wants,
            Err(why) => return why,
        };
        let allowed = self.names.allowed(&jobspec.attributes().constraints, &self.index);
        let allowed = allowed.and_not(self.on(&self.sharing().closed)).and(self.index.open());
        let allowed = positions(&allowed, self.index.len());
        let mut search = Search::new(&self.index, View::Now, &allowed, wants.placement);
        let why = why::not_now(&mut search, &wants);
        *visited += search.cost();
        why
    }

    /// Would a job of any shape fit if nobody else were on the nodes that are open?
    pub(crate) fn general_fits_open(&self, jobspec: &Jobspec, now: Timestamp) -> bool {
        let mut index = self.index.clone();
        for held in self.held.values() {
            index.set_parts_free(&held.parts, true);
        }
        self.close_again(&mut index);
        index.pools = index.pools.none_taken();
        let allowed = positions(&self.allowed(jobspec, now).and(index.open()), index.len());
        self.wants(jobspec, &Counts::default()).is_ok_and(|wants| {
            Search::new(&index, View::Now, &allowed, wants.placement).find(&wants) != Outcome::None
        })
    }
}
