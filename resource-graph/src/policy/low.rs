//! `low`: the lowest ranks and on them the lowest ids, even if a job that one node could hold is scattered by it.
//! High ranks stay empty, for whoever needs whole nodes or wants to give some back.

use super::in_order;
use crate::{
    ask::Ask,
    pick::Picking,
    place::{Field, Share},
};

pub(super) fn nodes(field: Field<'_>) -> Option<Vec<Share>> {
    in_order(field, move |pieces| field.with_room(pieces))
}

pub(super) fn pick(ask: &Ask<'_>, picking: &mut Picking<'_>, pieces: u32) {
    let (need, layout) = (ask.need(pieces), picking.layout());
    picking.cores_in_order(layout.cores.ascending(), need.cores);
    picking.gpus_in_order(layout.gpus.ascending(), need.gpus);
}
