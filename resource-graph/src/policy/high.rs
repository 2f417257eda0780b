//! `high`: as `low`, from the other end.

use crate::{
    ask::Ask,
    pick::Picking,
    place::{Field, Share, fill},
};

pub(super) fn nodes(field: Field<'_>, visited: &mut usize) -> Option<Vec<Share>> {
    let pieces = field.ask.pieces;
    match field.ask.nodes {
        Some(nodes) => {
            let shares = field.with_room_from_top(pieces, visited).map(|at| Share { at, pieces });
            let shares: Vec<Share> = shares.take(nodes as usize).collect();
            (shares.len() == nodes as usize).then_some(shares)
        }
        None => {
            let highest = field.with_room_from_top(1, visited);
            fill(highest.map(|at| Share { at, pieces: field.capacity(at) }), pieces)
        }
    }
}

pub(super) fn pick(ask: &Ask<'_>, picking: &mut Picking<'_>, pieces: u32) {
    let (need, layout) = (ask.need(pieces), picking.layout());
    picking.cores_in_order(layout.cores.ascending().rev(), need.cores);
    picking.gpus_in_order(layout.gpus.ascending().rev(), need.gpus);
}
