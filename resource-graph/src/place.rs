//! How much of a request each node holds, and the plainest choice of nodes: the lowest that fit.
//!
//! Whether a request fits at all does not depend on how it is placed, except that a job that spreads may have only
//! a part of each socket. Better choices of nodes are in `policy/`.

use crate::{
    ask::{Ask, Sockets},
    index::{Index, Span, View},
    max_tree::{MaxTree, Peak},
};
use flurm_jobspec::Placement;
use flurm_types::Idset;

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
    /// Positions that the constraint leaves.
    pub(crate) allowed: &'a Idset,
}

/// The lowest nodes, and one alone if it holds everything; `None` when all of them do not suffice.
pub(crate) fn place(field: Field<'_>, visited: &mut usize) -> Option<Vec<Share>> {
    let pieces = field.ask.pieces;
    if let Some(nodes) = field.ask.nodes {
        let shares: Vec<Share> =
            field.with_room(pieces, visited).map(|at| Share { at, pieces }).take(nodes as usize).collect();
        return (shares.len() == nodes as usize).then_some(shares);
    }
    if let Some(at) = field.with_room(pieces, visited).next() {
        return Some(vec![Share { at, pieces }]);
    }
    if !field.sums_suffice() {
        return None;
    }
    let one_or_more = field.with_room(1, visited);
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
    fn tree(self) -> &'a MaxTree {
        self.index.tree(self.view)
    }

    /// Could the free cores and GPUs of all open nodes together be enough?
    pub(crate) fn sums_suffice(self) -> bool {
        let (cores, gpus) = self.ask.total();
        self.view == View::Ever || self.index.cores_now >= cores && self.index.gpus_now >= gpus
    }

    /// The allowed nodes that hold at least this many pieces, ascending.
    pub(crate) fn with_room(self, pieces: u32, visited: &'a mut usize) -> impl Iterator<Item = usize> + 'a {
        self.covering(self.ask.need(pieces), visited).filter(move |at| self.is_sure(*at, pieces))
    }

    /// The same, descending.
    pub(crate) fn with_room_from_top(
        self,
        pieces: u32,
        visited: &'a mut usize,
    ) -> impl Iterator<Item = usize> + 'a {
        let (tree, need) = (self.tree(), self.ask.need(pieces));
        let mut to = self.allowed.last();
        let covering = std::iter::from_fn(move || {
            loop {
                let at = tree.last(to? as usize, need, visited)? as u32;
                let found = self.allowed.contains(at);
                // Ids below `at`: the last of them is where to go on.
                to = self.allowed.position(at).checked_sub(1).and_then(|n| self.allowed.nth(n));
                if found {
                    return Some(at as usize);
                }
                // What lies between two allowed ones is passed over.
            }
        });
        covering.filter(move |at| self.is_sure(*at, pieces))
    }

    /// The allowed nodes whose maxima cover a need, ascending.
    pub(crate) fn covering(self, need: Peak, visited: &'a mut usize) -> impl Iterator<Item = usize> + 'a {
        Candidates { tree: self.tree(), need, allowed: self.allowed, from: 0, visited }
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
                let peak = self.tree().get(at);
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

/// The allowed nodes that cover a need, ascending. Tree and ranges take turns in skipping.
struct Candidates<'a> {
    tree: &'a MaxTree,
    need: Peak,
    allowed: &'a Idset,
    from: usize,
    visited: &'a mut usize,
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            let at = self.tree.first(self.from, self.need, self.visited)?;
            let next = self.allowed.at_or_after(at as u32)? as usize;
            if next == at {
                self.from = at + 1;
                return Some(at);
            }
            self.from = next;
        }
    }
}
