//! `compact`: the fewest nodes, on them the fewest sockets, and of equally few those where the least is left over, so
//! that whole sockets stay whole.
//!
//! For one node, or a given number of them, the fewest sockets are looked for over all nodes. Where a job needs
//! several nodes, these come first: the ones with the most room, and at the end the one where the rest fits best.

use super::{fewest_sockets, fullest::fewest};
use crate::{
    ask::Ask,
    layout::Span,
    pick::Picking,
    place::{Field, Share, place},
    stock::Need,
};

/// On a node with more sockets, the fewest are looked for by size only: there are too many sets of them.
const SETS_MAX: usize = 8;

pub(super) fn nodes(field: Field<'_>) -> Option<Vec<Share>> {
    let Field { ask, .. } = field;
    let pieces = ask.pieces;
    if ask.piece.sockets.is_some() || ask.exclusive {
        let alone = ask.nodes.is_some() || field.with_room(pieces).next().is_some();
        return if alone { place(field) } else { several(field) };
    }
    let need = ask.need(pieces);
    let count = ask.nodes.unwrap_or(1) as usize;
    let mut found = Vec::with_capacity(count.min(field.index.len()));
    // One socket after the other: nodes that would do with fewer are found already.
    for sockets in 1..=field.index.most_sockets() {
        let within = |sockets| Need { within: (sockets, need.cores), ..need };
        let here = if sockets == 1 || need.gpus > 0 {
            field.covering(within(sockets))
        } else {
            field.covering_but(within(sockets), within(sockets - 1))
        };
        // Cores alone on few sockets are found without a look at them.
        let sure = need.gpus == 0 && sockets <= SETS_MAX as u32;
        let here = here.filter(|at| sure || sockets_needed(field, *at, pieces) == sockets);
        found.extend(here.take(count - found.len()).map(|at| Share { at, pieces }));
        if found.len() == count {
            return Some(found);
        }
    }
    if ask.nodes.is_some() { None } else { several(field) }
}

fn several(field: Field<'_>) -> Option<Vec<Share>> {
    let ask = field.ask;
    let shares = fewest(field, |pieces| ask.need(pieces), |at| field.capacity(at), ask.pieces)?;
    let better = if ask.piece.sockets.is_some() || ask.exclusive {
        None
    } else {
        fewest_sockets::better(field, &shares)
    };
    Some(better.unwrap_or(shares))
}

/// The least number of sockets of a node that have what these pieces need.
fn sockets_needed(field: Field<'_>, at: usize, pieces: u32) -> u32 {
    let (picking, need) = (Picking::new(field.index, at), field.ask.need(pieces));
    match picking.snuggest(picking.sockets().iter(), need.cores, need.gpus) {
        Some(_) => 1,
        None => several_sockets(field.ask, &picking, pieces).len() as u32,
    }
}

/// The fewest sockets that hold these pieces where none holds them alone, and of equally few those that are fullest
/// already.
fn several_sockets<'a>(ask: &Ask<'_>, picking: &Picking<'a>, pieces: u32) -> Vec<&'a Span> {
    let need = ask.need(pieces);
    let sockets: Vec<&Span> = picking.sockets().iter().collect();
    if sockets.len() <= 2 {
        return sockets;
    }
    let free: Vec<(u32, u32)> =
        sockets.iter().map(|socket| (picking.cores_left(socket), picking.gpus_left(socket))).collect();
    if sockets.len() > SETS_MAX {
        return by_size(sockets, &free, need.cores, need.gpus);
    }
    let in_set = |set: u32| (0..sockets.len()).filter(move |n| set & 1 << n != 0);
    let sets = (1..1_u32 << sockets.len()).filter_map(|set| {
        let sums = in_set(set).fold((0, 0), |sum, n| (sum.0 + free[n].0, sum.1 + free[n].1));
        let left = (sums.0.checked_sub(need.cores)?, sums.1.checked_sub(need.gpus)?);
        Some((set.count_ones(), left.1, left.0, set))
    });
    match sets.min() {
        Some((.., set)) => in_set(set).map(|n| sockets[n]).collect(),
        None => sockets,
    }
}

/// The sockets with the most free cores, until they suffice; those with GPUs first if these are needed.
fn by_size<'a>(mut sockets: Vec<&'a Span>, free: &[(u32, u32)], cores: u32, gpus: u32) -> Vec<&'a Span> {
    let mut order: Vec<usize> = (0..sockets.len()).collect();
    order.sort_by_key(|n| std::cmp::Reverse((free[*n].1.min(gpus), free[*n].0)));
    let mut sums = (0, 0);
    let enough = order.iter().position(|n| {
        sums = (sums.0 + free[*n].0, sums.1 + free[*n].1);
        sums.0 >= cores && sums.1 >= gpus
    });
    order.truncate(enough.map_or(sockets.len(), |last| last + 1));
    order.sort_unstable();
    let mut n = 0;
    sockets.retain(|_| {
        n += 1;
        order.binary_search(&(n - 1)).is_ok()
    });
    sockets
}

pub(super) fn pick(ask: &Ask<'_>, picking: &mut Picking<'_>, pieces: u32) {
    let need = ask.need(pieces);
    if let Some(one) = picking.snuggest(picking.sockets().iter(), need.cores, need.gpus) {
        picking.cores_from(one, need.cores);
        picking.gpus_from(one, need.gpus);
    } else {
        picking.piece_by_piece(&ask.piece, &several_sockets(ask, picking, pieces), pieces);
    }
}
