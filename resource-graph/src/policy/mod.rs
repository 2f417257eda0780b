//! Match policies, one a file: which of the nodes, sockets and cores that would do a job gets.
//!
//! A policy is asked only about what is free now. It finds a place whenever there is one; what it is free to choose
//! is the place. Where the request itself says which sockets (`slot > socket`, `socket > slot`), policies choose
//! nodes only.

mod compact;
mod fewest_sockets;
mod first;
mod fullest;
mod high;
mod locality;
mod low;
mod spread;

use crate::{
    pick::Picking,
    place::{Field, Share, fill},
};
use flurm_jobspec::Placement;
use flurm_types::{Idset, RNode};

/// What a node in an answer costs, in vertices looked at: its entry in the R takes as much time.
const ENTRY_VISITS: usize = 16;

/// What a request gets, ascending by rank; `None` when nothing holds it now.
pub(crate) fn choose(field: Field<'_>) -> Option<Vec<RNode>> {
    if !field.sums_suffice() {
        field.visit(1);
        return None;
    }
    let Field { ask, index, .. } = field;
    let by_socket = ask.piece.sockets;
    let mut shares = match ask.placement {
        Placement::Spread(_) if by_socket.is_none() => return spread::choose(field),
        Placement::First | Placement::Spread(_) => first::nodes(field),
        Placement::Low => low::nodes(field),
        Placement::High => high::nodes(field),
        Placement::Locality if by_socket.is_none() => locality::nodes(field),
        Placement::Locality | Placement::Compact => compact::nodes(field),
    }?;
    field.visit(shares.len() * ENTRY_VISITS);
    shares.sort_unstable_by_key(|share| share.at);
    let nodes = shares.into_iter().map(|Share { at, pieces }| {
        if ask.exclusive {
            return index.whole(at);
        }
        let mut picking = Picking::new(index, at);
        match (by_socket, ask.placement) {
            (Some(sockets), placement) => {
                picking.by_socket(ask, sockets, pieces, placement == Placement::High);
            }
            (None, Placement::First | Placement::Spread(_)) => first::pick(ask, &mut picking, pieces),
            (None, Placement::Low) => low::pick(ask, &mut picking, pieces),
            (None, Placement::High) => high::pick(ask, &mut picking, pieces),
            (None, Placement::Locality) => locality::pick(field, at, &mut picking, pieces),
            (None, Placement::Compact) => compact::pick(ask, &mut picking, pieces),
        }
        picking.finish()
    });
    Some(nodes.collect())
}

/// The same on all these nodes, which are those that are allowed, evenly, whichever placement is asked for.
pub(crate) fn over_all(field: Field<'_>, on: &Idset) -> Option<Vec<RNode>> {
    if field.ask.piece.sockets.is_some() { choose(field) } else { spread::over_all(field, on) }
}

/// Nodes as an order gives them: each with all the pieces that the request wants there, or filled one by one.
/// `with_room` gives the nodes that hold at least so many pieces.
fn in_order<I: Iterator<Item = usize>>(
    field: Field<'_>,
    with_room: impl FnOnce(u32) -> I,
) -> Option<Vec<Share>> {
    let pieces = field.ask.pieces;
    match field.ask.nodes {
        Some(nodes) => {
            let shares = with_room(pieces).map(|at| Share { at, pieces });
            let shares: Vec<Share> = shares.take(nodes as usize).collect();
            (shares.len() == nodes as usize).then_some(shares)
        }
        None => fill(with_room(1).map(|at| Share { at, pieces: field.capacity(at) }), pieces),
    }
}

/// The fewest of a list that hold all pieces together: the fullest first, and at the end the one where the rest fits
/// most snugly.
fn fewest_of(mut capacities: Vec<Share>, pieces: u32) -> Option<Vec<Share>> {
    capacities.sort_unstable_by_key(|share| (std::cmp::Reverse(share.pieces), share.at));
    let mut left = pieces;
    for (count, share) in capacities.iter().enumerate() {
        if share.pieces >= left {
            let rest = &capacities[count..];
            let snug = rest.iter().filter(|share| share.pieces >= left);
            let last = snug.min_by_key(|share| (share.pieces, share.at)).expect("this one at least");
            let mut shares = capacities[..count].to_vec();
            shares.push(Share { at: last.at, pieces: left });
            return Some(shares);
        }
        left -= share.pieces;
    }
    None
}
