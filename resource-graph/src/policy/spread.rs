//! `spread`: slots even over sockets, of each of which the job gets at most a share. The rest stays usable by others.
//!
//! The fewest sockets that hold all slots that way, as if the request had said how many (`socket=N > slot`), then
//! neighbours on the same node. The even load is what distinguishes this from filling one socket after another.

use super::ENTRY_VISITS;
use crate::{ask::Ask, pick::Picking, place::Field, stock::Need};
use flurm_types::{Idset, RNode};
use std::collections::BTreeMap;

/// A socket, with the slots that it can take or is to take.
#[derive(Debug, Copy, Clone)]
struct Part {
    at: usize,
    socket: usize,
    slots: u32,
}

pub(super) fn choose(field: Field<'_>) -> Option<Vec<RNode>> {
    let Field { ask, index, .. } = field;
    let slots = ask.pieces;
    // No socket can take more, so there is no way with fewer sockets than this.
    let most = (ask.cap(index.largest_socket()) / ask.piece.cores).max(1);
    let least = slots.div_ceil(most);
    let parts = match ask.nodes {
        Some(nodes) => {
            let mut found = Vec::new();
            for sockets in least..=index.most_sockets() {
                let here = alone(field, slots, sockets, most);
                found.extend(here.take(nodes as usize - found.len()));
                if found.len() == nodes as usize {
                    break;
                }
            }
            if found.len() < nodes as usize {
                return None;
            }
            let each = found.into_iter().map(|parts| even(parts, slots));
            each.collect::<Option<Vec<_>>>()?.concat()
        }
        None => even(together(field, slots, least, most)?, slots)?,
    };
    Some(taken(ask, field, parts))
}

/// Slots even over all these nodes, and on each of them over its sockets.
pub(super) fn over_all(field: Field<'_>, on: &Idset) -> Option<Vec<RNode>> {
    let ask = field.ask;
    let nodes = on.iter().map(|at| at as usize);
    let nodes = nodes.map(|at| Part { at, socket: 0, slots: field.capacity(at) });
    let nodes = match ask.nodes {
        Some(count) if count as usize != on.len() => return None,
        Some(_) => nodes
            .map(|node| (node.slots >= ask.pieces).then_some(Part { slots: ask.pieces, ..node }))
            .collect(),
        None => even(nodes.collect(), ask.pieces),
    }?;
    let each = nodes.into_iter().map(|node| even(parts_of(field, node.at), node.slots));
    Some(taken(ask, field, each.collect::<Option<Vec<_>>>()?.concat()))
}

/// The fewest sockets for all slots, on one node or on neighbours if that is no more.
fn together(field: Field<'_>, slots: u32, least: u32, most: u32) -> Option<Vec<Part>> {
    let full = field.index.most_sockets();
    if least <= full {
        let even = alike(field, slots, least, least).find(|parts| parts.len() >= least as usize);
        if let Some(parts) = even.or_else(|| alone(field, slots, least, most).next()) {
            return Some(parts.into_iter().take(least as usize).collect());
        }
    }
    let fewest = fullest(field, slots, most)?;
    let count = fewest.len() as u32;
    if count <= full {
        return alone(field, slots, count, most).next().or(Some(fewest));
    }
    // Nodes that have all their sockets to give keep the job together.
    let mut parts = Vec::new();
    for here in alike(field, slots, count, full).filter(|parts| parts.len() == full as usize) {
        parts.extend(here);
        if parts.len() >= count as usize {
            parts.truncate(count as usize);
            return Some(parts);
        }
    }
    Some(fewest)
}

/// The sockets of a node with what they can take.
fn parts_of(field: Field<'_>, at: usize) -> Vec<Part> {
    let sockets = (0..).zip(&field.index.layout(at).sockets);
    let parts = sockets.map(|(n, socket)| Part { at, socket: n, slots: field.whole_pieces(at, socket) });
    parts.filter(|part| part.slots > 0).collect()
}

/// Nodes that hold all slots on so many sockets and not on fewer, by those sockets. A socket takes `most` slots at most.
fn alone(field: Field<'_>, slots: u32, sockets: u32, most: u32) -> impl Iterator<Item = Vec<Part>> {
    let piece = &field.ask.piece;
    // What the others cannot take is for the last one.
    let last = slots.saturating_sub((sockets - 1).saturating_mul(most)).max(1);
    let need = field.ask.need(slots);
    let need =
        Need { each: (sockets, last.saturating_mul(piece.cores)), within: (sockets, need.cores), ..need };
    let parts = field.covering(need).filter_map(move |at| fewest(parts_of(field, at), slots));
    parts.filter(move |parts| parts.len() == sockets as usize)
}

/// Nodes with so many sockets that can each take as much as if all slots were even over a number of them, by all their
/// sockets that can.
fn alike(field: Field<'_>, slots: u32, over: u32, sockets: u32) -> impl Iterator<Item = Vec<Part>> {
    let load = slots.div_ceil(over);
    let Need { idle, .. } = field.ask.need(slots);
    let Need { cores, gpus, .. } = field.ask.need(load.saturating_mul(sockets).min(slots));
    let each = (sockets, load.saturating_mul(field.ask.piece.cores));
    let need = Need { cores, gpus, idle, each, ..Need::default() };
    field.covering(need).map(move |at| {
        let parts = parts_of(field, at).into_iter();
        parts.filter(|part| part.slots >= load).collect()
    })
}

/// The sockets that can take most, until they take all; of equal ones those of the lowest nodes.
fn fullest(field: Field<'_>, slots: u32, most: u32) -> Option<Vec<Part>> {
    let piece = &field.ask.piece;
    let free = field.index.stock(field.view).largest_socket();
    let (mut parts, mut sum) = (Vec::new(), 0);
    for level in (1..=most.min(free / piece.cores)).rev() {
        let need = field.ask.need(level);
        let need = Need { each: (1, need.cores), ..need };
        for at in field.covering(need) {
            for part in parts_of(field, at).into_iter().filter(|part| part.slots == level) {
                parts.push(part);
                sum += level;
                if sum >= slots {
                    return Some(parts);
                }
            }
        }
    }
    None
}

/// The fewest sockets of a node that can take all slots.
fn fewest(mut parts: Vec<Part>, slots: u32) -> Option<Vec<Part>> {
    parts.sort_by_key(|part| std::cmp::Reverse(part.slots));
    let mut sum = 0;
    let last = parts.iter().position(|part| {
        sum += part.slots;
        sum >= slots
    })?;
    parts.truncate(last + 1);
    Some(parts)
}

/// Loads as equal as the sockets allow: what the smaller ones cannot take goes to the others in equal parts.
fn even(mut parts: Vec<Part>, slots: u32) -> Option<Vec<Part>> {
    parts.sort_by_key(|part| (part.slots, part.at, part.socket));
    let mut left = slots;
    let mut others = parts.len() as u32;
    for part in &mut parts {
        // The larger ones come later and take the odd slots.
        part.slots = part.slots.min(left / others);
        left -= part.slots;
        others -= 1;
    }
    if left > 0 { None } else { Some(parts) }
}

fn taken(ask: &Ask<'_>, field: Field<'_>, parts: Vec<Part>) -> Vec<RNode> {
    let mut by_node: BTreeMap<usize, Vec<Part>> = BTreeMap::new();
    for part in parts.into_iter().filter(|part| part.slots > 0) {
        by_node.entry(part.at).or_default().push(part);
    }
    field.visit(by_node.len() * ENTRY_VISITS);
    let nodes = by_node.into_iter().map(|(at, parts)| {
        let mut picking = Picking::new(field.index, at);
        let sockets = picking.sockets();
        for part in parts {
            picking.pieces_from(&sockets[part.socket], &ask.piece, part.slots);
        }
        picking.finish()
    });
    nodes.collect()
}
