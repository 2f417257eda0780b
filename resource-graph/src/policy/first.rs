//! `first`: what is found with the least looking. The lowest node that holds everything alone, else nodes filled
//! from the lowest up; on a node the cores as the machine lists them, socket by socket.

use crate::{
    ask::Ask,
    pick::Picking,
    place::{Field, Share, place},
};

pub(super) fn nodes(field: Field<'_>) -> Option<Vec<Share>> {
    place(field)
}

pub(super) fn pick(ask: &Ask<'_>, picking: &mut Picking<'_>, pieces: u32) {
    let need = ask.need(pieces);
    let layout = picking.layout();
    picking.cores_in_order(0..layout.cores.len(), need.cores);
    picking.gpus_in_order(0..layout.gpus.len(), need.gpus);
}
