//! Which nodes a request gets: the lowest that fit, and one alone if it holds everything.

use crate::{
    ask::{Ask, Sockets},
    index::{Index, Span, View},
    max_tree::{MaxTree, Peak},
};
use flurm_types::Idset;

/// Pieces on one node.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) at: usize,
    pub(crate) pieces: u32,
}

/// Chooses nodes out of the allowed positions, or `None` when they do not suffice.
pub(crate) fn place(
    ask: &Ask<'_>,
    index: &Index,
    view: View,
    allowed: &Idset,
    visited: &mut usize,
) -> Option<Vec<Share>> {
    let pieces = ask.pieces;
    let mut with_all = with_room(ask, index, view, pieces, allowed, visited).map(|at| Share { at, pieces });
    if let Some(nodes) = ask.nodes {
        let shares: Vec<Share> = with_all.take(nodes as usize).collect();
        return (shares.len() == nodes as usize).then_some(shares);
    }
    if let Some(alone) = with_all.next() {
        return Some(vec![alone]);
    }
    drop(with_all);
    if view == View::Now && !sums_suffice(ask, index) {
        return None;
    }
    let mut left = pieces;
    let mut shares = Vec::new();
    for at in with_room(ask, index, view, 1, allowed, visited) {
        let pieces = capacity(ask, index, view, at).min(left);
        shares.push(Share { at, pieces });
        left -= pieces;
        if left == 0 {
            return Some(shares);
        }
    }
    None
}

/// Could the free cores and GPUs of all open nodes together be enough?
fn sums_suffice(ask: &Ask<'_>, index: &Index) -> bool {
    let (cores, gpus) = ask.total();
    index.cores_now >= cores && index.gpus_now >= gpus
}

/// The allowed nodes that hold at least this many pieces, ascending.
pub(crate) fn with_room<'a>(
    ask: &'a Ask<'_>,
    index: &'a Index,
    view: View,
    pieces: u32,
    allowed: &'a Idset,
    visited: &'a mut usize,
) -> impl Iterator<Item = usize> + 'a {
    let candidates = Candidates { tree: index.tree(view), need: ask.need(pieces), allowed, from: 0, visited };
    candidates.filter(move |at| ask.piece.sockets.is_none() || capacity(ask, index, view, *at) >= pieces)
}

/// How many pieces a node holds.
pub(crate) fn capacity(ask: &Ask<'_>, index: &Index, view: View, at: usize) -> u32 {
    let piece = &ask.piece;
    match piece.sockets {
        Some(sockets) => {
            let fitting = index.layout(at).sockets.iter();
            let fitting = fitting.filter(|socket| socket_fits(ask, sockets, index, view, at, socket));
            fitting.count() as u32 / sockets.count
        }
        None => {
            let peak = index.tree(view).get(at);
            let cores = peak.cores / piece.cores;
            peak.gpus.checked_div(piece.gpus).map_or(cores, |gpus| cores.min(gpus))
        }
    }
}

/// Has this socket what each socket of a piece must have?
pub(crate) fn socket_fits(
    ask: &Ask<'_>,
    sockets: Sockets,
    index: &Index,
    view: View,
    at: usize,
    socket: &Span,
) -> bool {
    let all = (socket.cores.len() as u32, socket.gpus.len() as u32);
    let (cores, gpus) = match view {
        View::Now => (index.count_cores(at, &socket.cores), index.count_gpus(at, &socket.gpus)),
        View::Ever => all,
    };
    cores >= ask.piece.cores && gpus >= ask.piece.gpus && (!sockets.whole || (cores, gpus) == all)
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
