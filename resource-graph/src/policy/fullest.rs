//! Nodes in the order of how much they hold, without a look at those that are not asked for.

use crate::{
    place::{Field, Share},
    stock::Need,
    walk::Walk,
};
use std::collections::{BTreeMap, BTreeSet};

/// Nodes with what they hold, the most first, the lowest among equals. Nothing holds more than a limit, and whoever
/// holds nothing is left out.
///
/// What a node must have to hold so much is known for all nodes at once, what it holds may be less than that allows.
/// So it goes down from the limit; at each level come the nodes that may hold as much and those put off above.
pub(super) struct Fullest<'a, N, H> {
    field: Field<'a>,
    need: N,
    holds: H,
    level: u32,
    walk: Walk<'a>,
    /// The next of the walk that holds as much as the level says.
    next: Option<usize>,
    /// Who holds less than was to be expected.
    put_off: BTreeMap<u32, BTreeSet<usize>>,
}

impl<'a, N: Fn(u32) -> Need, H: Fn(usize) -> u32> Fullest<'a, N, H> {
    pub(super) fn new(field: Field<'a>, need: N, holds: H, limit: u32) -> Fullest<'a, N, H> {
        let (cores, _) = field.index.stock(field.view).most();
        let level = limit.min(cores / field.ask.piece.cores).max(1);
        let walk = field.covering(need(level));
        let mut fullest = Fullest { field, need, holds, level, walk, next: None, put_off: BTreeMap::new() };
        fullest.step();
        fullest
    }

    fn step(&mut self) {
        self.next = None;
        for at in &mut self.walk {
            match (self.holds)(at) {
                held if held >= self.level => {
                    self.next = Some(at);
                    return;
                }
                0 => {}
                held => _ = self.put_off.entry(held).or_default().insert(at),
            }
        }
    }
}

impl<N: Fn(u32) -> Need, H: Fn(usize) -> u32> Iterator for Fullest<'_, N, H> {
    type Item = Share;

    fn next(&mut self) -> Option<Share> {
        loop {
            let late = self.put_off.get(&self.level).and_then(BTreeSet::first).copied();
            let at = match (self.next, late) {
                (Some(next), Some(late)) if late < next => Some(late),
                (Some(next), _) => {
                    self.step();
                    return Some(Share { at: next, pieces: self.level });
                }
                (None, late) => late,
            };
            if let Some(at) = at {
                self.put_off.get_mut(&self.level).expect("it was just there").remove(&at);
                return Some(Share { at, pieces: self.level });
            }
            if self.level == 1 {
                return None;
            }
            self.level -= 1;
            self.walk = self.field.covering_but((self.need)(self.level), (self.need)(self.level + 1));
            self.step();
        }
    }
}

/// The fewest nodes that hold all pieces together: the fullest first, and at the end the one where the rest fits most
/// snugly.
pub(super) fn fewest(
    field: Field<'_>,
    need: impl Fn(u32) -> Need,
    holds: impl Fn(usize) -> u32,
    pieces: u32,
) -> Option<Vec<Share>> {
    let mut left = pieces;
    let mut shares = Vec::new();
    for share in Fullest::new(field, &need, &holds, pieces) {
        if share.pieces >= left {
            // Those that are taken hold more.
            let snug = field.snuggest(&need, left, share.pieces).filter(|at| holds(*at) >= left);
            shares.push(Share { at: snug.unwrap_or(share.at), pieces: left });
            return Some(shares);
        }
        left -= share.pieces;
        shares.push(share);
    }
    None
}
