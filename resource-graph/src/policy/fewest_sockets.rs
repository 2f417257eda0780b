//! The fewest sockets on the fewest nodes, for jobs that no node holds alone.
//!
//! Nodes that hold most may do so with many sockets where others need few. With the number of nodes given, the best is
//! found by trying how many sockets each candidate gives: of any number of sockets, only those nodes can be part of
//! a best choice that hold most with so many, as many of them as nodes are wanted.

use super::fullest::Fullest;
use crate::{
    ask::Ask,
    place::{Field, Share},
    stock::Need,
};

/// For more nodes, and for nodes with more sockets, the choice stays as it is: the search grows with the cube of either.
const NODES_MAX: usize = 8;
const SOCKETS_MAX: usize = 8;

/// How many pieces a node holds on one socket, on two, and so on.
#[derive(Debug, Copy, Clone)]
struct Held {
    at: usize,
    on: [u32; SOCKETS_MAX],
}

impl Held {
    fn of(field: Field<'_>, at: usize) -> Held {
        let Field { ask, index, .. } = field;
        let (piece, spans) = (&ask.piece, &index.layout(at).sockets);
        let mut free = [(0, 0); SOCKETS_MAX];
        for (free, span) in free.iter_mut().zip(spans) {
            *free = (index.count_cores(at, &span.cores), index.count_gpus(at, &span.gpus));
        }
        let mut on = [0; SOCKETS_MAX];
        for (count, cores, gpus) in sums(&free[..spans.len()]) {
            let pieces = cores / piece.cores;
            let pieces = gpus.checked_div(piece.gpus).map_or(pieces, |gpus| gpus.min(pieces));
            on[count - 1] = pieces.max(on[count - 1]);
        }
        // More sockets hold no less, also if there are not so many.
        (1..SOCKETS_MAX).for_each(|n| on[n] = on[n].max(on[n - 1]));
        Held { at, on }
    }

    /// The fewest sockets for so many pieces.
    fn sockets(&self, pieces: u32) -> usize {
        1 + self.on.iter().position(|held| *held >= pieces).expect("the node holds them")
    }
}

/// Every set of sockets: how many they are, their cores and GPUs.
fn sums(free: &[(u32, u32)]) -> impl Iterator<Item = (usize, u32, u32)> + '_ {
    (1..1_u32 << free.len()).map(move |set| {
        let inside = free.iter().enumerate().filter(move |(n, _)| set >> n & 1 == 1);
        inside.fold((0, 0, 0), |sum, (_, (cores, gpus))| (sum.0 + 1, sum.1 + cores, sum.2 + gpus))
    })
}

/// As few sockets as can be on as many nodes as were chosen, if that is fewer than there.
pub(super) fn better(field: Field<'_>, chosen: &[Share]) -> Option<Vec<Share>> {
    let Field { ask, index, .. } = field;
    let (nodes, most) = (chosen.len(), index.most_sockets() as usize);
    if nodes > NODES_MAX || most > SOCKETS_MAX || most == 1 {
        return None;
    }
    let used: usize = chosen.iter().map(|share| Held::of(field, share.at).sockets(share.pieces)).sum();
    // As many as there would be if all were like the one with most.
    let largest = index.stock(field.view).largest_socket().max(1);
    let least = ask.pieces.saturating_mul(ask.piece.cores).div_ceil(largest) as usize;
    if used <= least.max(nodes) {
        return None;
    }
    let held = candidates(field, nodes, most);
    let found = search(&held, nodes, used - 1, ask.pieces)?;
    // Some of it may be too much. No node can be left out, so each keeps a piece.
    let mut shares: Vec<Share> = found
        .iter()
        .map(|(n, sockets)| Share { at: held[*n].at, pieces: held[*n].on[sockets - 1] })
        .collect();
    let all: u32 = shares.iter().map(|share| share.pieces).sum();
    shares.last_mut().expect("a node at least").pieces -= all - ask.pieces;
    Some(shares)
}

/// For each number of sockets the nodes that hold most with so many.
fn candidates(field: Field<'_>, nodes: usize, most: usize) -> Vec<Held> {
    let ask: &Ask<'_> = field.ask;
    let mut found: Vec<Held> = Vec::new();
    for sockets in 1..=most {
        let need = |pieces| {
            let need = ask.need(pieces);
            Need { within: (sockets as u32, need.cores), ..need }
        };
        let holds = |at| Held::of(field, at).on[sockets - 1];
        for share in Fullest::new(field, need, holds, ask.pieces).take(nodes) {
            if found.iter().all(|known| known.at != share.at) {
                found.push(Held::of(field, share.at));
            }
        }
    }
    found.sort_unstable_by_key(|held| held.at);
    found
}

/// Which of the candidates give how many of their sockets, so that a number of nodes holds all pieces with the fewest, no
/// more than `most`.
fn search(held: &[Held], nodes: usize, most: usize, pieces: u32) -> Option<Vec<(usize, usize)>> {
    // By candidates so far, nodes and sockets: the most pieces, and the sockets of the last of the candidates for it.
    let size = (nodes + 1) * (most + 1);
    let place = |nodes: usize, sockets: usize| nodes * (most + 1) + sockets;
    let mut table: Vec<Option<(u32, usize)>> = vec![None; (held.len() + 1) * size];
    table[place(0, 0)] = Some((0, 0));
    for (n, candidate) in held.iter().enumerate() {
        let (before, now) = table[n * size..].split_at_mut(size);
        for (now, before) in now.iter_mut().zip(&*before) {
            *now = before.map(|(sum, _)| (sum, 0));
        }
        for (n, s) in (1..=nodes).flat_map(|n| (n..=most).map(move |s| (n, s))) {
            // Each of the other nodes gives a socket at least.
            for here in 1..=(s + 1 - n).min(SOCKETS_MAX) {
                let Some((sum, _)) = before[place(n - 1, s - here)] else { continue };
                let sum = sum + candidate.on[here - 1];
                if now[place(n, s)].is_none_or(|(best, _)| best < sum) {
                    now[place(n, s)] = Some((sum, here));
                }
            }
        }
    }
    let best = |n: usize, nodes: usize, sockets: usize| table[n * size + place(nodes, sockets)];
    let enough = |sockets: &usize| best(held.len(), nodes, *sockets).is_some_and(|(sum, _)| sum >= pieces);
    let mut sockets = (nodes..=most).find(enough)?;
    let (mut left, mut found) = (nodes, Vec::new());
    for n in (0..held.len()).rev() {
        let (_, here) = best(n + 1, left, sockets).expect("it was come by");
        if here > 0 {
            found.push((n, here));
            (left, sockets) = (left - 1, sockets - here);
        }
    }
    Some(found)
}
