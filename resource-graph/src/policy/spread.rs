//! `spread`: slots even over sockets, of each of which the job gets at most a share. The rest stays usable by others.
//!
//! The fewest sockets that hold all slots that way, as if the request had said how many (`socket=N > slot`), then
//! neighbours on the same node. The even load is what distinguishes this from filling one socket after another.

use super::cheapest;
use crate::{ask::Ask, pick::Picking, place::Field};
use flurm_types::RNode;
use std::collections::BTreeMap;

/// A socket, with the slots that it can take or is to take.
#[derive(Debug, Copy, Clone)]
struct Part {
    at: usize,
    socket: usize,
    slots: u32,
}

pub(super) fn choose(field: Field<'_>, visited: &mut usize) -> Option<Vec<RNode>> {
    let Field { ask, index, .. } = field;
    let slots = ask.pieces;
    // No socket can take more, so there is no way with fewer sockets than this.
    let most = (ask.cap(index.largest_socket()) / ask.piece.cores).max(1);
    let least = slots.div_ceil(most);
    let parts = match ask.nodes {
        Some(nodes) => {
            let needed = |at| fewest(parts_of(field, at), slots).map_or(u32::MAX, |parts| parts.len() as u32);
            let chosen = cheapest(nodes, field.with_room(slots, visited), needed, least)?;
            let each = chosen.into_iter().map(|at| even(fewest(parts_of(field, at), slots)?, slots));
            each.collect::<Option<Vec<_>>>()?.concat()
        }
        None => match alike(field, slots, least, visited) {
            Some(parts) => even(parts, slots)?,
            None => {
                let all = field.with_room(1, visited).flat_map(|at| parts_of(field, at));
                even(fewest(all.collect(), slots)?, slots)?
            }
        },
    };
    Some(taken(ask, field, parts))
}

/// Slots even over all allowed nodes, and on each of them over its sockets.
pub(super) fn over_all(field: Field<'_>, visited: &mut usize) -> Option<Vec<RNode>> {
    let Field { ask, allowed, .. } = field;
    *visited += allowed.len();
    let nodes = allowed.iter().map(|at| at as usize);
    let nodes = nodes.map(|at| Part { at, socket: 0, slots: field.capacity(at) });
    let nodes = match ask.nodes {
        Some(count) if count as usize != allowed.len() => return None,
        Some(_) => nodes
            .map(|node| (node.slots >= ask.pieces).then_some(Part { slots: ask.pieces, ..node }))
            .collect(),
        None => even(nodes.collect(), ask.pieces),
    }?;
    let each = nodes.into_iter().map(|node| even(parts_of(field, node.at), node.slots));
    Some(taken(ask, field, each.collect::<Option<Vec<_>>>()?.concat()))
}

/// The sockets of a node with what they can take.
fn parts_of(field: Field<'_>, at: usize) -> Vec<Part> {
    let sockets = (0..).zip(&field.index.layout(at).sockets);
    let parts = sockets.map(|(n, socket)| Part { at, socket: n, slots: field.whole_pieces(at, socket) });
    parts.filter(|part| part.slots > 0).collect()
}

/// As few sockets as there can be, each with room for an even load: nothing is better, so whoever has them need not
/// look at the other nodes. On one node if one has them all.
fn alike(field: Field<'_>, slots: u32, least: u32, visited: &mut usize) -> Option<Vec<Part>> {
    let load = slots.div_ceil(least);
    let of =
        |at| -> Vec<Part> { parts_of(field, at).into_iter().filter(|part| part.slots >= load).collect() };
    let full = field.index.most_sockets() as u32;
    let piece = &field.ask.piece;
    let need = |sockets: u32| {
        let mut need = field.ask.need(load.saturating_mul(sockets).min(slots));
        need.socket = load.saturating_mul(piece.cores);
        need
    };
    if least <= full
        && let Some(alone) = field.covering(need(least), visited).map(of).find(|p| p.len() >= least as usize)
    {
        return Some(alone.into_iter().take(least as usize).collect());
    }
    // Nodes that have all their sockets to give keep the job together.
    let mut parts = Vec::new();
    for here in field.covering(need(full), visited).map(of).filter(|parts| parts.len() == full as usize) {
        parts.extend(here);
        if parts.len() >= least as usize {
            parts.truncate(least as usize);
            return Some(parts);
        }
    }
    None
}

/// The fewest sockets that can take all slots; of equal ones those of the lowest nodes.
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
