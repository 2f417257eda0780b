//! `locality`: every slot on one socket, its GPUs beside its cores, if that can be had at all; of such places the
//! fewest nodes. If it cannot be had, the nodes are those of `compact`, and slots are divided only where they must be.

use super::{compact, fewest_of, fullest::fewest};
use crate::{
    pick::Picking,
    place::{Field, Share},
    stock::Need,
};

/// Slots of a node that no two sockets share.
fn undivided(field: Field<'_>, at: usize) -> u32 {
    field.index.layout(at).sockets.iter().map(|socket| field.whole_pieces(at, socket)).sum()
}

pub(super) fn nodes(field: Field<'_>) -> Option<Vec<Share>> {
    let ask = field.ask;
    if ask.exclusive {
        return compact::nodes(field);
    }
    let pieces = ask.pieces;
    let with = |pieces: u32| Need { each: (1, ask.piece.cores), ..ask.need(pieces) };
    let count = ask.nodes.unwrap_or(1) as usize;
    let fitting = field.covering(with(pieces)).filter(|at| undivided(field, *at) >= pieces);
    let found: Vec<Share> = fitting.map(|at| Share { at, pieces }).take(count).collect();
    if found.len() == count {
        return Some(found);
    }
    let several = match ask.nodes {
        Some(_) => None,
        None => fewest(field, with, |at| undivided(field, at), pieces),
    };
    several.or_else(|| compact::nodes(field))
}

pub(super) fn pick(field: Field<'_>, at: usize, picking: &mut Picking<'_>, pieces: u32) {
    let ask = field.ask;
    if undivided(field, at) < pieces {
        return compact::pick(ask, picking, pieces);
    }
    // The fewest sockets, the last of them the one where the rest fits most snugly.
    let sockets = picking.sockets();
    let room = (0..).zip(sockets).map(|(n, socket)| Share { at: n, pieces: field.whole_pieces(at, socket) });
    let mut shares = fewest_of(room.collect(), pieces).expect("they hold all pieces together");
    shares.sort_unstable_by_key(|share| share.at);
    for Share { at: n, pieces } in shares {
        picking.pieces_from(&sockets[n], &ask.piece, pieces);
    }
}
