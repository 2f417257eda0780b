//! Vertices where an entry may have its place, in the order in which they are tried.
//!
//! A machine has many nodes, and mostly the first that is tried will do. So nothing is sorted ahead: the best is looked
//! for when it is asked for, and the others are put in order when that was not enough.

use super::Search;
use crate::describe::flatten::Role;
use crate::general::tree::Place;
use crate::general::wants::{Amount, Pieces, Want};
use crate::index::View;
use flurm_jobspec::Placement;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// The least is tried first; of equals the one that is written first.
type Rank = u64;

/// Ranks of nodes that do not have room for all begin here.
const TOO_SMALL: Rank = 1 << 63;

/// A list of them.
#[derive(Debug)]
pub(super) struct Candidates<'w> {
    /// Those whose turn it was.
    first: Vec<Place>,
    others: Others<'w>,
}

#[derive(Debug)]
enum Others<'w> {
    None,
    /// In no order yet; the entry says in which.
    Loose(&'w Want, Vec<Place>),
    /// By their rank and their number in the list.
    InOrder(BinaryHeap<Reverse<(Rank, u32)>>, Vec<Place>),
}

/// What room there is on nodes of one kind with so many free cores and GPUs and nothing taken of their pools.
struct Rooms {
    /// Is it a matter of numbers alone?
    is_counted: bool,
    /// Is nothing taken of any pool, and none out of use?
    all_whole: bool,
    last: Option<((u32, u32, u32), u64)>,
    all: BTreeMap<(u32, u32, u32), u64>,
}

impl<'w> Search<'_, 'w> {
    /// Where an entry is looked for: things themselves, or nodes to look into. In a node nothing is listed.
    pub(super) fn list_candidates(&mut self, want: &'w Want, scope: Place) -> u32 {
        let Place::Top(v) = scope else {
            if let Want::Pieces(_) = want {
                self.candidates.push(Candidates { first: vec![scope], others: Others::None });
                return self.candidates.len() as u32 - 1;
            }
            return 0;
        };
        let (least, kind, whole) = match want {
            Want::Things(things) => (things.least, Some(things.kind), things.whole),
            Want::Pieces(pieces) => (pieces.least, None, pieces.whole),
            Want::Amount(_) => unreachable!("amounts have no candidates"),
        };
        let tree = self.tree;
        let mut list = Vec::new();
        let is_node = kind.is_none_or(|kind| Role::of(tree.words.text(kind)) == Role::Node);
        let known = kind.and_then(|kind| tree.kinds.get(&kind).copied()).unwrap_or_default();
        if let (Some(kind), false) = (kind, is_node) {
            list.extend(tree.top.below(v, kind).iter().map(|v| tree.place(*v)));
        }
        let stock = self.index.stock(self.view);
        let (most, least) = (stock.most(), (least.0.max(1), least.1));
        if (is_node || known.inside) && u64::from(most.0) >= least.0 && u64::from(most.1) >= least.1 {
            let (cores, gpus) = (least.0 as u32, least.1 as u32);
            let idle = u32::from(whole && is_node);
            let nodes = tree.nodes_of(scope).iter().filter(|at| {
                let peak = stock.peak(**at as usize);
                peak.cores >= cores
                    && peak.gpus >= gpus
                    && peak.idle >= idle
                    && self.allowed.contains(**at as usize)
            });
            list.extend(nodes.map(|at| Place::In(*at, 0)));
            self.visited += tree.nodes_of(scope).len() / 16;
        }
        self.visited += 1;
        if let Want::Pieces(pieces) = want
            && pieces.simple
            && !pieces.whole
        {
            let first = self.candidates.is_empty();
            let room = self.room_for(pieces, &list);
            if room < pieces.count {
                // Why it is refused says how many there is room for.
                self.reached = if first { room } else { self.reached };
                list.clear();
            }
        }
        let made = match self.placement {
            Placement::Compact | Placement::Locality if is_node => {
                Candidates { first: Vec::new(), others: Others::Loose(want, list) }
            }
            Placement::High => {
                list.reverse();
                Candidates { first: list, others: Others::None }
            }
            Placement::First
            | Placement::Low
            | Placement::Spread(_)
            | Placement::Compact
            | Placement::Locality => Candidates { first: list, others: Others::None },
        };
        self.candidates.push(made);
        self.candidates.len() as u32 - 1
    }

    /// How many pieces have room on these nodes, or as many as are wanted. Nothing is taken to find that out, so that
    /// it costs little where there is not enough: of threads and of things by their ids nobody can tell it that way.
    fn room_for(&mut self, pieces: &Pieces, nodes: &[Place]) -> u64 {
        let mut rooms = self.rooms(&pieces.with);
        let (mut sum, mut looked_at) = (0_u64, 0);
        if !rooms.is_counted {
            return pieces.count;
        }
        for place in nodes {
            if let Place::In(at, _) = place {
                sum = sum.saturating_add(self.room(*at, &pieces.with, &mut rooms));
                looked_at += 1;
            }
            if sum >= pieces.count {
                break;
            }
        }
        self.visited += looked_at / 8;
        sum.min(pieces.count)
    }

    /// The candidate whose turn is so late.
    pub(super) fn candidate(&mut self, list: u32, turn: u32) -> Option<Place> {
        let (list, turn) = (list as usize, turn as usize);
        while self.candidates[list].first.len() <= turn {
            let next = match std::mem::replace(&mut self.candidates[list].others, Others::None) {
                Others::None => return None,
                Others::Loose(want, loose) if self.candidates[list].first.is_empty() => {
                    self.best(list, want, loose)?
                }
                Others::Loose(want, loose) => {
                    let mut rooms = self.rooms(of_pieces(want));
                    let ranked = (0..).zip(&loose);
                    let ranked =
                        ranked.map(|(nth, place)| Reverse((self.rank(want, *place, &mut rooms), nth)));
                    let heap = ranked.collect();
                    self.next_in_order(list, heap, loose)?
                }
                Others::InOrder(heap, all) => self.next_in_order(list, heap, all)?,
            };
            self.candidates[list].first.push(next);
        }
        Some(self.candidates[list].first[turn])
    }

    fn next_in_order(
        &mut self,
        list: usize,
        mut heap: BinaryHeap<Reverse<(Rank, u32)>>,
        all: Vec<Place>,
    ) -> Option<Place> {
        let Reverse((_, nth)) = heap.pop()?;
        let place = all[nth as usize];
        self.candidates[list].others = Others::InOrder(heap, all);
        Some(place)
    }

    /// Takes the one that is tried first out of a list. If it does not have room for all, others will be asked for.
    fn best(&mut self, list: usize, want: &'w Want, mut loose: Vec<Place>) -> Option<Place> {
        // None is before one that has room for all that is asked for and for nothing else.
        let perfect = match want {
            Want::Pieces(pieces) if pieces.simple => pieces.count,
            Want::Things(things) => things.least.0.max(1),
            Want::Pieces(_) | Want::Amount(_) => 0,
        };
        let (mut ranked, mut rooms) = (Vec::with_capacity(loose.len()), self.rooms(of_pieces(want)));
        for (nth, place) in (0..).zip(&loose) {
            ranked.push(Reverse((self.rank(want, *place, &mut rooms), nth)));
            if ranked.last().is_some_and(|Reverse((rank, _))| *rank == perfect) {
                break;
            }
        }
        self.visited += ranked.len() / 8;
        let Reverse((rank, nth)) = *ranked.iter().max()?;
        if rank >= TOO_SMALL {
            return self.next_in_order(list, ranked.into(), loose);
        }
        let place = loose.remove(nth as usize);
        self.candidates[list].others = Others::Loose(want, loose);
        Some(place)
    }

    fn rooms(&self, list: &[Want]) -> Rooms {
        let is_counted = list.iter().all(
            |want| matches!(want, Want::Amount(Amount { role, ids: None, .. }) if *role != Role::Thread),
        );
        let pools = &self.index.pools;
        let all_whole = self.more.is_empty()
            && (self.view == View::Ever || !pools.any_taken() && pools.down().is_empty());
        Rooms { is_counted, all_whole, last: None, all: BTreeMap::new() }
    }

    /// One node for all if there is one, the one with the least room; else the largest first. Of nodes to have parts
    /// of, the ones with the least room.
    fn rank(&self, want: &Want, place: Place, rooms: &mut Rooms) -> Rank {
        match (want, place) {
            (Want::Pieces(pieces), Place::In(at, _)) if pieces.simple => {
                match self.room(at, &pieces.with, rooms) {
                    room if room >= pieces.count => room.min(TOO_SMALL - 1),
                    room => u64::MAX - room.min(TOO_SMALL - 1),
                }
            }
            (Want::Pieces(_), _) => u64::MAX - self.cores_free(place),
            (Want::Things(_) | Want::Amount(_), _) => self.cores_free(place),
        }
    }

    /// How often a list of amounts fits into a node. Nodes that are alike have the same room.
    fn room(&self, at: u32, list: &[Want], rooms: &mut Rooms) -> u64 {
        if !rooms.is_counted || !self.is_untouched(at, rooms.all_whole) {
            return self.capacity(at, list);
        }
        let peak = self.index.stock(self.view).peak(at as usize);
        let key = (self.tree.nodes[at as usize].inside, peak.cores, peak.gpus);
        if let Some((_, room)) = rooms.last.filter(|(last, _)| *last == key) {
            return room;
        }
        let room = *rooms.all.entry(key).or_insert_with(|| self.capacity(at, list));
        rooms.last = Some((key, room));
        room
    }

    /// Is what is known of a node in sums still so, and are all its pools in use and nothing of them taken?
    fn is_untouched(&self, at: u32, all_whole: bool) -> bool {
        if all_whole || self.touched.contains(at as usize) {
            return !self.touched.contains(at as usize);
        }
        let node = &self.tree.nodes[at as usize];
        let pools = self.tree.insides[node.inside as usize].list.pools.len() as u32;
        let known = self.base.get(node.pool0 as usize..(node.pool0 + pools) as usize);
        known.is_none_or(|known| known.iter().all(|taken| *taken == 0))
            && self.more.range(node.pool0..node.pool0 + pools).next().is_none()
            && (self.view == View::Ever || self.index.pools.down().is_empty())
    }
}

/// What is in each piece, if an entry is for pieces.
fn of_pieces(want: &Want) -> &[Want] {
    if let Want::Pieces(pieces) = want { &pieces.with } else { &[] }
}
