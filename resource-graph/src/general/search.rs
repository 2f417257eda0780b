//! Finding a place for a tree of wants.
//!
//! A machine with a list of goals, a trail of what was taken and a stack of choices, so that neither depth nor number
//! of what is asked for costs stack. A goal is one entry of a list of wants in one vertex: it takes one candidate after
//! the other, each with its own list first. If that list cannot be had there, the next candidate is tried.
//!
//! Candidates of one goal lie beside each other, so what one of them gives is nothing to the next: for a list whose
//! entries do not compete the first that fit are as good as any, and one pass finds a place if there is one. Only where
//! entries compete do earlier choices get a second look, and that is bounded. Which cores are taken for an amount is then
//! left open until all things are chosen: what is wanted in smaller vertices is taken first, and one order will do.

mod candidates;
mod taking;

use candidates::Candidates;

use super::tree::{Place, Tree};
use super::wants::{Amount, Pieces, Things, Want, Wants, compete};
use crate::bits::Bits;
use crate::index::{Index, View};
use fixedbitset::FixedBitSet;
use flurm_jobspec::Placement;
use flurm_types::{Idset, RNode};
use std::collections::{BTreeMap, BTreeSet};

/// How often a choice that fitted is taken back, at most.
const SECOND_LOOKS_MAX: u32 = 4096;

/// How many candidates may be looked at, at most, while choices are taken back: about a millisecond.
const VISITS_MAX: usize = 1 << 15;

/// What was done, to be undone or given.
#[derive(Debug, Copy, Clone)]
enum Done {
    /// Position of the node, number of the core in it.
    Core(u32, u32),
    Gpu(u32, u32),
    Pool(u32, u64),
    Used(Place),
}

/// A list of wants in a vertex, and how far it has come.
#[derive(Debug, Copy, Clone)]
struct Goal<'w> {
    list: &'w [Want],
    nth: usize,
    scope: Place,
    /// Of the current entry; none if it was not begun.
    left: Option<u64>,
    /// Which candidate is next, and where inside it if it is a node to look into.
    next: (u32, u32),
    /// The list of candidates, if it was made.
    candidates: u32,
    /// At most so many pieces on the next candidate.
    limit: u64,
    /// What is taken as a whole before anything else.
    whole: Option<Place>,
    /// Where the amounts of the list lie near each other, if that was looked for.
    near: Option<Place>,
    /// What goes on when the list is through.
    then: Option<u32>,
    /// The last amount that was put off.
    later: Option<u32>,
    /// Is it in something that is taken as a whole?
    in_whole: bool,
    /// Choices that were there when this list was begun; the last one chose its vertex.
    around: usize,
    /// Choices that were there when the entry was begun.
    before: usize,
}

#[derive(Debug)]
struct Choice<'w> {
    /// The goal with the next candidate.
    goal: Goal<'w>,
    trail: usize,
    goals: usize,
}

/// What a search came to.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Found,
    /// There is no place.
    None,
    /// None was found, and not all was tried.
    GivenUp,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Picked {
    /// Cores and GPUs by position of the node, as bits of its layout.
    pub(crate) nodes: BTreeMap<u32, (Vec<usize>, Vec<usize>)>,
    /// Amounts by pool.
    pub(crate) pools: BTreeMap<u32, u64>,
}

impl Picked {
    /// The part of an R.
    pub(crate) fn rnodes(&self, index: &Index) -> Vec<RNode> {
        let nodes = self.nodes.iter().map(|(at, (cores, gpus))| {
            index.rnode(*at as usize, cores.iter().copied(), gpus.iter().copied())
        });
        nodes.filter(|node| !node.cores.is_empty()).collect()
    }
}

pub(crate) struct Search<'a, 'w> {
    tree: &'a Tree,
    index: &'a Index,
    /// Is it about what is free now, or about all that there is?
    view: View,
    /// Positions that may be used.
    allowed: &'a FixedBitSet,
    free: Bits,
    /// Amounts of pools that others have; none if it is empty.
    base: &'a [u64],
    /// Amounts that are taken here.
    more: BTreeMap<u32, u64>,
    /// Nodes of which cores or GPUs were taken at some time.
    touched: FixedBitSet,
    used: BTreeSet<Place>,
    placement: Placement,
    trail: Vec<Done>,
    goals: Vec<Goal<'w>>,
    choices: Vec<Choice<'w>>,
    candidates: Vec<Candidates<'w>>,
    competing: bool,
    /// Amounts that were put off, each with its vertex and the one before it.
    later: Vec<(&'w Amount, u64, Place, Option<u32>)>,
    /// Are amounts put off?
    puts_off: bool,
    second_looks: u32,
    /// How many of the first entry were had at most.
    pub(crate) reached: u64,
    pub(crate) visited: usize,
    /// Amounts that were taken, those included that were put back.
    taken: usize,
}

/// What it counts to take an amount, in vertices that are looked at.
const TAKE_VISITS: usize = 2;

/// What comes after a step.
enum Next<'w> {
    Goal(Goal<'w>),
    Found,
    /// Not this way. All choices of this entry are gone with it if its candidates are independent.
    Back {
        around: usize,
        before: Option<usize>,
    },
}

impl<'a, 'w> Search<'a, 'w> {
    /// Among what is free in an index, or among everything. What is allowed is on open nodes.
    pub(crate) fn new(
        index: &'a Index,
        view: View,
        allowed: &'a FixedBitSet,
        placement: Placement,
    ) -> Search<'a, 'w> {
        let (free, base) = match view {
            View::Now => (index.bits().clone(), index.pools.taken()),
            View::Ever => (index.all_bits(), &[][..]),
        };
        Search {
            tree: index.pools.tree(),
            index,
            view,
            allowed,
            free,
            base,
            more: BTreeMap::new(),
            touched: FixedBitSet::with_capacity(index.len()),
            used: BTreeSet::new(),
            placement,
            trail: Vec::new(),
            goals: Vec::new(),
            choices: Vec::new(),
            candidates: Vec::new(),
            competing: false,
            later: Vec::new(),
            puts_off: false,
            second_looks: 0,
            reached: 0,
            // To lay it over what is free costs something before anything is looked at.
            visited: 16 + index.len() / 64,
            taken: 0,
        }
    }

    /// A place for all of this below the root.
    pub(crate) fn find(&mut self, wants: &'w Wants) -> Outcome {
        self.find_in(&wants.list, Place::Top(0))
    }

    /// A place for a list in a vertex.
    pub(crate) fn find_in(&mut self, list: &'w [Want], scope: Place) -> Outcome {
        self.competing = compete(list);
        self.puts_off = false;
        self.second_looks = 0;
        let outcome = self.run(list, scope);
        if outcome == Outcome::Found || !self.competing {
            return outcome;
        }
        self.reset();
        self.puts_off = true;
        self.second_looks = 0;
        self.run(list, scope)
    }

    fn run(&mut self, list: &'w [Want], scope: Place) -> Outcome {
        self.reached = 0;
        let begin = self.visited;
        // What the first way through has cost is no reason to give up.
        let mut first_pass = 0;
        let mut goal = self.begin(list, scope, None, 0);
        loop {
            match self.step(goal) {
                Next::Goal(next) => goal = next,
                Next::Found => return Outcome::Found,
                Next::Back { around, before } => {
                    let keep = if self.competing { before.unwrap_or(self.choices.len()) } else { around };
                    self.choices.truncate(keep);
                    let second_look = self.choices.len() > around;
                    let Some(choice) = self.choices.pop() else { return Outcome::None };
                    if second_look {
                        if self.second_looks == 0 {
                            first_pass = self.visited - begin;
                        }
                        self.second_looks += 1;
                        let visits = self.visited - begin;
                        if self.second_looks > SECOND_LOOKS_MAX || visits > VISITS_MAX.max(2 * first_pass) {
                            return Outcome::GivenUp;
                        }
                    }
                    self.undo(choice.trail);
                    self.goals.truncate(choice.goals);
                    goal = choice.goal;
                }
            }
        }
    }

    /// What all this has cost, for callers that have a budget. The bound on second looks knows vertices alone.
    pub(crate) fn cost(&self) -> usize {
        self.visited + TAKE_VISITS * self.taken
    }

    pub(crate) fn tree(&self) -> &'a Tree {
        self.tree
    }

    pub(crate) fn view(&self) -> View {
        self.view
    }

    /// May this be used, or what it is in?
    pub(crate) fn is_allowed(&self, place: Place) -> bool {
        match place {
            Place::Top(_) => true,
            Place::In(at, _) => self.allowed.contains(at as usize),
        }
    }

    /// As if nothing had been looked for.
    pub(crate) fn reset(&mut self) {
        self.undo(0);
        self.goals.clear();
        self.choices.clear();
        self.candidates.clear();
        self.later.clear();
    }

    /// What was found.
    pub(crate) fn picked(&self) -> Picked {
        let mut picked = Picked::default();
        for done in &self.trail {
            match *done {
                Done::Core(at, n) => {
                    let (bit, _) = self.tree.inside(at).cores[n as usize];
                    picked.nodes.entry(at).or_default().0.push(bit as usize);
                }
                Done::Gpu(at, n) => {
                    let (bit, _) = self.tree.inside(at).gpus[n as usize];
                    picked.nodes.entry(at).or_default().1.push(bit as usize);
                }
                Done::Pool(pool, amount) => *picked.pools.entry(pool).or_default() += amount,
                Done::Used(_) => {}
            }
        }
        picked
    }

    fn begin(&self, list: &'w [Want], scope: Place, then: Option<u32>, around: usize) -> Goal<'w> {
        Goal {
            list,
            nth: 0,
            scope,
            left: None,
            next: (0, 0),
            candidates: 0,
            limit: u64::MAX,
            whole: None,
            near: None,
            then,
            later: None,
            in_whole: false,
            around,
            before: around,
        }
    }

    fn undo(&mut self, keep: usize) {
        while self.trail.len() > keep {
            match self.trail.pop().expect("it is longer than that") {
                Done::Core(at, n) => {
                    let bit = self.core_bit(at, n);
                    self.free.cores.insert(bit);
                }
                Done::Gpu(at, n) => {
                    let bit = self.gpu_bit(at, n);
                    self.free.gpus.insert(bit);
                }
                Done::Pool(pool, amount) => self.put_back(pool, amount),
                Done::Used(place) => drop(self.used.remove(&place)),
            }
        }
    }

    fn step(&mut self, mut goal: Goal<'w>) -> Next<'w> {
        if let Some(place) = goal.whole.take() {
            self.take_all(place);
        }
        let Some(want) = goal.list.get(goal.nth) else {
            return match goal.then {
                Some(then) => Next::Goal(Goal { later: goal.later, ..self.goals[then as usize] }),
                None if self.take_later(goal.later) => Next::Found,
                None => Next::Back { around: goal.around, before: None },
            };
        };
        let entry_done = |goal: Goal<'w>| Goal { nth: goal.nth + 1, left: None, next: (0, 0), ..goal };
        let count = match want {
            Want::Amount(amount) if self.puts_off && !goal.in_whole => {
                return match self.put_off(amount, amount.amount, goal.scope, goal.later) {
                    Some(later) => Next::Goal(Goal { later: Some(later), ..entry_done(goal) }),
                    None => Next::Back { around: goal.around, before: None },
                };
            }
            Want::Amount(amount) => {
                // Amounts come last in a list, so these are all of them.
                let near = goal.near.unwrap_or_else(|| self.near(goal.scope, &goal.list[goal.nth..]));
                goal.near = Some(near);
                if self.take_amount(amount, goal.scope, near) {
                    return Next::Goal(entry_done(goal));
                }
                return Next::Back { around: goal.around, before: None };
            }
            Want::Things(things) => things.count,
            Want::Pieces(pieces) => pieces.count,
        };
        let left = match goal.left {
            Some(left) => left,
            None => {
                goal.before = self.choices.len();
                goal.candidates = self.list_candidates(want, goal.scope);
                goal.limit = u64::MAX;
                count
            }
        };
        goal.left = Some(left);
        if goal.around == 0 && goal.nth == 0 {
            self.reached = self.reached.max(count - left);
        }
        if !self.competing {
            // What was chosen for this entry so far stays.
            self.choices.truncate(goal.before);
        }
        if left == 0 {
            return Next::Goal(entry_done(goal));
        }
        match want {
            Want::Things(things) => self.next_thing(goal, things, left),
            Want::Pieces(pieces) => self.next_pieces(goal, pieces, left),
            Want::Amount(_) => unreachable!("amounts were seen to"),
        }
    }

    fn choose(&mut self, goal: Goal<'w>) {
        self.choices.push(Choice { goal, trail: self.trail.len(), goals: self.goals.len() });
    }

    fn next_thing(&mut self, mut goal: Goal<'w>, things: &'w Things, left: u64) -> Next<'w> {
        let Some(place) = self.next_candidate(&mut goal, things) else {
            return Next::Back { around: goal.around, before: Some(goal.before) };
        };
        self.choose(goal);
        self.used.insert(place);
        self.trail.push(Done::Used(place));
        let then = Goal { left: Some(left - 1), whole: things.whole.then_some(place), ..goal };
        if things.with.is_empty() {
            return Next::Goal(then);
        }
        self.goals.push(then);
        let then = Some(self.goals.len() as u32 - 1);
        let inner = self.begin(&things.with, place, then, self.choices.len());
        Next::Goal(Goal { later: goal.later, in_whole: goal.in_whole || things.whole, ..inner })
    }

    fn next_pieces(&mut self, mut goal: Goal<'w>, pieces: &'w Pieces, left: u64) -> Next<'w> {
        while let Some(place) = self.candidate(goal.candidates, goal.next.0) {
            self.visited += 1;
            let Place::In(at, _) = place else { unreachable!("pieces lie on nodes") };
            if !pieces.simple {
                if pieces.whole && goal.next.1 == 0 && !self.is_idle(place) || !self.has(place, pieces.least)
                {
                    goal.next = (goal.next.0 + 1, 0);
                    continue;
                }
                self.choose(Goal { next: (goal.next.0 + 1, 0), ..goal });
                let whole = pieces.whole.then_some(place);
                // A whole node goes to one piece, others hold as many as fit.
                let next = if pieces.whole { (goal.next.0 + 1, 0) } else { (goal.next.0, 1) };
                self.goals.push(Goal { left: Some(left - 1), next, whole, ..goal });
                let then = Some(self.goals.len() as u32 - 1);
                let inner = self.begin(&pieces.with, place, then, self.choices.len());
                return Next::Goal(Goal { later: goal.later, in_whole: pieces.whole, ..inner });
            }
            let fit = if pieces.whole && !self.is_idle(place) { 0 } else { self.capacity(at, &pieces.with) };
            let fit = fit.min(left).min(goal.limit);
            goal.next.0 += 1;
            goal.limit = u64::MAX;
            if fit == 0 {
                continue;
            }
            if self.puts_off && !pieces.whole {
                if fit == 0 {
                    continue;
                }
                self.choose(Goal { next: (goal.next.0 - 1, 0), limit: fit - 1, ..goal });
                for want in &pieces.with {
                    let Want::Amount(amount) = want else { unreachable!("there are amounts alone") };
                    let wanted = amount.amount.saturating_mul(fit);
                    goal.later = self.put_off(amount, wanted, place, goal.later);
                    if goal.later.is_none() {
                        return Next::Back { around: goal.around, before: None };
                    }
                }
                return Next::Goal(Goal { left: Some(left - fit), ..goal });
            }
            let begin = self.trail.len();
            let fit = (0..fit).take_while(|_| self.take_piece(pieces, place)).count() as u64;
            if fit == 0 {
                continue;
            }
            if self.competing {
                // One less here, if it comes to that.
                let goal = Goal { next: (goal.next.0 - 1, 0), limit: fit - 1, ..goal };
                self.choices.push(Choice { goal, trail: begin, goals: self.goals.len() });
            }
            let whole = pieces.whole.then_some(place);
            return Next::Goal(Goal { left: Some(left - fit), whole, ..goal });
        }
        Next::Back { around: goal.around, before: None }
    }

    /// Leaves an amount for later; not if it is plain already that there is too little.
    fn put_off(&mut self, amount: &'w Amount, wanted: u64, scope: Place, before: Option<u32>) -> Option<u32> {
        let mut sum = wanted;
        let mut next = before;
        while let Some((other, wanted, place, before)) = next.map(|n| self.later[n as usize]) {
            if other.kind == amount.kind && self.tree.is_in(place, scope) {
                sum = sum.saturating_add(wanted);
            }
            next = before;
        }
        if self.amount_free(amount, scope) < wanted
            || amount.ids.is_none() && self.amount_of(amount, scope) < sum
        {
            return None;
        }
        self.later.push((amount, wanted, scope, before));
        Some(self.later.len() as u32 - 1)
    }

    /// How much there is of a kind, whatever its ids.
    fn amount_of(&self, amount: &Amount, scope: Place) -> u64 {
        self.amount_free(&Amount { ids: None, ..amount.clone() }, scope)
    }

    /// Takes what was put off, what is wanted in smaller vertices first: others may have what that leaves.
    fn take_later(&mut self, last: Option<u32>) -> bool {
        let mut list = Vec::new();
        let mut next = last;
        while let Some((amount, wanted, scope, before)) = next.map(|n| self.later[n as usize]) {
            list.push((self.tree.depth(scope), amount, wanted, scope));
            next = before;
        }
        list.sort_by_key(|(depth, amount, ..)| (amount.ids.is_none(), std::cmp::Reverse(*depth)));
        list.into_iter().all(|(_, amount, wanted, scope)| {
            self.take_amount(&Amount { amount: wanted, ..amount.clone() }, scope, scope)
        })
    }

    /// Takes one piece of a node, or nothing.
    fn take_piece(&mut self, pieces: &Pieces, node: Place) -> bool {
        let begin = self.trail.len();
        let near = self.near(node, &pieces.with);
        let taken = pieces.with.iter().all(|want| match want {
            Want::Amount(amount) => self.take_amount(amount, node, near),
            Want::Things(_) | Want::Pieces(_) => false,
        });
        if !taken {
            self.undo(begin);
        }
        taken
    }

    /// The next vertex that might do, and the goal behind it.
    fn next_candidate(&mut self, goal: &mut Goal<'w>, things: &Things) -> Option<Place> {
        let tree = self.tree;
        let from_top = self.placement == Placement::High;
        let pick = |list: &[u32], n: u32| {
            let n = n as usize;
            if from_top { list.len().checked_sub(n + 1).map(|n| list[n]) } else { list.get(n).copied() }
        };
        if let Place::In(at, v) = goal.scope {
            let list = tree.inside(at).list.below(v, things.kind);
            while let Some(v) = pick(list, goal.next.0) {
                goal.next.0 += 1;
                self.visited += 1;
                if self.may_be(Place::In(at, v), things) {
                    return Some(Place::In(at, v));
                }
            }
            return None;
        }
        while let Some(place) = self.candidate(goal.candidates, goal.next.0) {
            let inner = match place {
                Place::In(at, 0) if tree.vertex(place).kind != things.kind => Some(at),
                _ => None,
            };
            let Some(at) = inner else {
                goal.next.0 += 1;
                self.visited += 1;
                if self.may_be(place, things) {
                    return Some(place);
                }
                continue;
            };
            let list = tree.inside(at).list.below(0, things.kind);
            while let Some(v) = pick(list, goal.next.1) {
                goal.next.1 += 1;
                self.visited += 1;
                if self.may_be(Place::In(at, v), things) {
                    return Some(Place::In(at, v));
                }
            }
            goal.next = (goal.next.0 + 1, 0);
        }
        None
    }

    /// Is this worth a look? Counts only.
    fn may_be(&self, place: Place, things: &Things) -> bool {
        let id = |ids: &Idset| {
            let vertex = self.tree.vertex(place);
            let rank = match place {
                Place::In(at, 0) if vertex.id < 0 => i64::from(self.index.nodes()[at as usize].rank),
                _ => vertex.id,
            };
            u32::try_from(rank).is_ok_and(|id| ids.contains(id))
        };
        things.ids.as_ref().is_none_or(id)
            && (self.used.is_empty() || !self.used.contains(&place))
            && self.has(place, things.least)
            && !self.is_down(place)
            && (!things.whole || self.is_idle(place))
    }
}
