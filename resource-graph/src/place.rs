//! How much of a request each node holds, and the plainest choice of nodes: the lowest that fit.
//!
//! Whether a request fits at all does not depend on how it is placed, except that a job that spreads may have only
//! a part of each socket. Better choices of nodes are in `policy/`.

use crate::{
    allowed::Filter,
    ask::{Ask, Sockets},
    at_least::BRANCHES,
    index::{Index, View},
    layout::Span,
    stock::Need,
    walk::{Walk, Words},
};
use flurm_jobspec::Placement;
use std::cell::Cell;

/// Pieces on one node.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) at: usize,
    pub(crate) pieces: u32,
}

/// Where a request is looked for.
#[derive(Debug, Copy, Clone)]
pub(crate) struct Field<'a> {
    pub(crate) ask: &'a Ask<'a>,
    pub(crate) index: &'a Index,
    pub(crate) view: View,
    /// Nodes that the constraint leaves.
    pub(crate) allowed: &'a Filter<'a>,
    /// Vertices looked at, for callers that have a budget.
    pub(crate) visited: &'a Cell<usize>,
}

/// The lowest nodes, and one alone if it holds everything; `None` when all of them do not suffice.
pub(crate) fn place(field: Field<'_>) -> Option<Vec<Share>> {
    let pieces = field.ask.pieces;
    if let Some(nodes) = field.ask.nodes {
        let shares: Vec<Share> =
            field.with_room(pieces).map(|at| Share { at, pieces }).take(nodes as usize).collect();
        return (shares.len() == nodes as usize).then_some(shares);
    }
    if let Some(at) = field.with_room(pieces).next() {
        return Some(vec![Share { at, pieces }]);
    }
    if !field.sums_suffice() {
        return None;
    }
    let one_or_more = field.with_room(1);
    fill(one_or_more.map(|at| Share { at, pieces: field.capacity(at) }), pieces)
}

/// Takes what each node holds, in this order, until all pieces have a place.
pub(crate) fn fill(capacities: impl Iterator<Item = Share>, pieces: u32) -> Option<Vec<Share>> {
    let mut left = pieces;
    let mut shares = Vec::new();
    for Share { at, pieces } in capacities {
        let pieces = pieces.min(left);
        shares.push(Share { at, pieces });
        left -= pieces;
        if left == 0 {
            return Some(shares);
        }
    }
    None
}

impl<'a> Field<'a> {
    /// Counts vertices that were looked at.
    pub(crate) fn visit(self, vertices: usize) {
        self.visited.set(self.visited.get() + vertices);
    }

    /// Could the free cores and GPUs of all open nodes together be enough?
    pub(crate) fn sums_suffice(self) -> bool {
        let (cores, gpus) = self.ask.total();
        self.view == View::Ever || self.index.cores_now >= cores && self.index.gpus_now >= gpus
    }

    /// The allowed nodes that hold at least this many pieces, ascending.
    pub(crate) fn with_room(self, pieces: u32) -> impl Iterator<Item = usize> + 'a {
        self.covering(self.ask.need(pieces)).filter(move |at| self.is_sure(*at, pieces))
    }

    /// The same, descending.
    pub(crate) fn with_room_from_top(self, pieces: u32) -> impl Iterator<Item = usize> + 'a {
        let walk: Walk<'a> = self.words(self.ask.need(pieces), None, true).into();
        walk.filter(move |at| self.is_sure(*at, pieces))
    }

    /// The allowed nodes that have what is needed, ascending.
    pub(crate) fn covering(self, need: Need) -> Walk<'a> {
        self.words(need, None, false).into()
    }

    /// Those of them that do not have this as well.
    pub(crate) fn covering_but(self, need: Need, but: Need) -> Walk<'a> {
        self.words(need, Some(but), false).into()
    }

    fn words(self, need: Need, but: Option<Need>, from_top: bool) -> Words<'a> {
        let stock = self.index.stock(self.view);
        let query = |need| stock.query(need, self.allowed);
        Words::new(query(need), but.map(query), from_top, self.visited)
    }

    /// Of the nodes that hold at least so many pieces the one that holds the fewest, if it holds less than `below`; the
    /// lowest among equals. What is needed for more pieces must be more.
    pub(crate) fn snuggest(self, need: impl Fn(u32) -> Need, pieces: u32, below: u32) -> Option<usize> {
        let stock = self.index.stock(self.view);
        let (mut best, mut found) = (below, None);
        for (base, word) in self.words(need(pieces), None, false) {
            let fewer_than =
                |more: u32| word & !stock.query(need(more), self.allowed).word(0, base / BRANCHES);
            if best > pieces && fewer_than(best) != 0 {
                // The fewest that one of these holds: there are ever more with fewer than that.
                let (mut low, mut high) = (pieces, best - 1);
                while low < high {
                    let middle = low + (high - low) / 2;
                    if fewer_than(middle + 1) == 0 { low = middle + 1 } else { high = middle }
                }
                (best, found) = (low, Some(base + fewer_than(low + 1).trailing_zeros() as usize));
            }
            if best == pieces {
                break;
            }
        }
        found
    }

    /// Where sockets matter, the sums of a node say too little.
    fn is_sure(self, at: usize, pieces: u32) -> bool {
        let by_socket =
            self.ask.piece.sockets.is_some() || matches!(self.ask.placement, Placement::Spread(_));
        !by_socket || self.capacity(at) >= pieces
    }

    /// How many pieces a node holds.
    pub(crate) fn capacity(self, at: usize) -> u32 {
        let piece = &self.ask.piece;
        let here = &self.index.layout(at).sockets;
        if let Some(sockets) = piece.sockets {
            let fitting = here.iter().filter(|socket| self.socket_fits(sockets, at, socket));
            return fitting.count() as u32 / sockets.count;
        }
        match self.ask.placement {
            Placement::Spread(_) => here.iter().map(|socket| self.whole_pieces(at, socket)).sum(),
            Placement::First
            | Placement::Low
            | Placement::High
            | Placement::Locality
            | Placement::Compact => {
                let peak = self.index.stock(self.view).peak(at);
                let cores = peak.cores / piece.cores;
                peak.gpus.checked_div(piece.gpus).map_or(cores, |gpus| cores.min(gpus))
            }
        }
    }

    /// How many pieces lie in a socket undivided.
    pub(crate) fn whole_pieces(self, at: usize, socket: &Span) -> u32 {
        let piece = &self.ask.piece;
        let (cores, gpus) = self.free(at, socket);
        let cores = cores.min(self.ask.cap(socket.cores.len() as u32)) / piece.cores;
        gpus.checked_div(piece.gpus).map_or(cores, |gpus| cores.min(gpus))
    }

    /// Cores and GPUs of a socket that can be had.
    fn free(self, at: usize, socket: &Span) -> (u32, u32) {
        match self.view {
            View::Now => (self.index.count_cores(at, &socket.cores), self.index.count_gpus(at, &socket.gpus)),
            View::Ever => (socket.cores.len() as u32, socket.gpus.len() as u32),
        }
    }

    /// Has this socket what each socket of a piece must have?
    pub(crate) fn socket_fits(self, sockets: Sockets, at: usize, socket: &Span) -> bool {
        let all = (socket.cores.len() as u32, socket.gpus.len() as u32);
        let (cores, gpus) = self.free(at, socket);
        cores.min(self.ask.cap(all.0)) >= self.ask.piece.cores
            && gpus >= self.ask.piece.gpus
            && (!sockets.whole || (cores, gpus) == all)
    }
}
