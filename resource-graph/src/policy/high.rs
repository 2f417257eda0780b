//! `high`: as `low`, from the other end.

use super::in_order;
use crate::{
    ask::Ask,
    pick::Picking,
    place::{Field, Share},
};

pub(super) fn nodes(field: Field<'_>) -> Option<Vec<Share>> {
    in_order(field, move |pieces| field.with_room_from_top(pieces))
}

pub(super) fn pick(ask: &Ask<'_>, picking: &mut Picking<'_>, pieces: u32) {
    let (need, layout) = (ask.need(pieces), picking.layout());
    picking.cores_in_order(layout.cores.ascending().rev(), need.cores);
    picking.gpus_in_order(layout.gpus.ascending().rev(), need.gpus);
}
