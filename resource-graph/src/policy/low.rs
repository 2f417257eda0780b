//! `low`: the lowest ranks and on them the lowest ids, even if a job that one node could hold is scattered by it.
//! High ranks stay empty, for whoever needs whole nodes or wants to give some back.

use crate::{
    ask::Ask,
    pick::Picking,
    place::{Field, Share, fill},
};

pub(super) fn nodes(field: Field<'_>, visited: &mut usize) -> Option<Vec<Share>> {
    let pieces = field.ask.pieces;
    match field.ask.nodes {
        Some(nodes) => {
            let shares = field.with_room(pieces, visited).map(|at| Share { at, pieces });
            let shares: Vec<Share> = shares.take(nodes as usize).collect();
            (shares.len() == nodes as usize).then_some(shares)
        }
        None => {
            let lowest = field.with_room(1, visited);
            fill(lowest.map(|at| Share { at, pieces: field.capacity(at) }), pieces)
        }
    }
}

pub(super) fn pick(ask: &Ask<'_>, picking: &mut Picking<'_>, pieces: u32) {
    let (need, layout) = (ask.need(pieces), picking.layout());
    picking.cores_in_order(layout.cores.ascending(), need.cores);
    picking.gpus_in_order(layout.gpus.ascending(), need.gpus);
}
