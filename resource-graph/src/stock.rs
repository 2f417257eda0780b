//! What nodes have to give, to be asked which of them have enough of everything.

use crate::{allowed::Filter, at_least::AtLeast, walk::Query};

/// Sockets of a node that are told apart by how much they have, at most. Of a node with more, those behind are looked
/// at one by one.
const RANKED_MAX: usize = 8;

/// What a node has to give.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
pub(crate) struct Peak {
    /// Free cores.
    pub(crate) cores: u32,
    /// Free GPUs.
    pub(crate) gpus: u32,
    /// All its cores if nothing of the node is taken, else 0.
    pub(crate) idle: u32,
}

/// What a node must have. What cannot be put that way is looked at on the nodes that are found.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
pub(crate) struct Need {
    /// More than none, or the answer is for one.
    pub(crate) cores: u32,
    pub(crate) gpus: u32,
    /// Nobody else on it.
    pub(crate) idle: bool,
    /// So many sockets, each with so many free cores.
    pub(crate) each: (u32, u32),
    /// On so many sockets, so many free cores together.
    pub(crate) within: (u32, u32),
}

/// All nodes, by position.
#[derive(Debug, Clone)]
pub(crate) struct Stock {
    peaks: Vec<Peak>,
    cores: AtLeast,
    gpus: AtLeast,
    idle: AtLeast,
    /// For each node the free cores of its sockets, the most first; as many for all nodes.
    sockets: Vec<u32>,
    ranked: usize,
    /// Free cores of the socket with the most, the one with the next most, and so on.
    each: Vec<AtLeast>,
    /// Free cores of the two sockets with the most, of three, and so on.
    within: Vec<AtLeast>,
    /// Have all nodes no more sockets than are ranked?
    all_ranked: bool,
}

impl Stock {
    /// Nodes that have this at most, and nothing now: peaks, and the cores of each socket.
    pub(crate) fn new(limits: &[(Peak, Vec<u32>)]) -> Stock {
        let most = limits.iter().map(|(_, sockets)| sockets.len()).max().unwrap_or(0);
        let ranked = most.clamp(1, RANKED_MAX);
        let mut sorted: Vec<u32> = Vec::with_capacity(limits.len() * ranked);
        for (_, sockets) in limits {
            sorted.extend(&largest(sockets.iter().copied(), ranked).0[..ranked]);
        }
        let tree = |limit: fn(&Peak) -> u32| AtLeast::new(limits.iter().map(|(peak, _)| limit(peak)));
        let each = |n: usize| AtLeast::new(sorted.chunks(ranked).map(|sockets| sockets[n]));
        let within = |n: usize| AtLeast::new(sorted.chunks(ranked).map(|sockets| sockets[..n].iter().sum()));
        let all_ranked = most <= ranked;
        Stock {
            cores: tree(|peak| peak.cores),
            gpus: tree(|peak| peak.gpus),
            idle: tree(|peak| u32::from(peak.cores > 0)),
            each: (0..ranked).map(each).collect(),
            within: (2..if all_ranked { ranked } else { ranked + 1 }).map(within).collect(),
            peaks: vec![Peak::default(); limits.len()],
            sockets: vec![0; sorted.len()],
            ranked,
            all_ranked,
        }
    }

    pub(crate) fn peak(&self, at: usize) -> Peak {
        self.peaks[at]
    }

    /// The most cores that any node has, and the most GPUs.
    pub(crate) fn most(&self) -> (u32, u32) {
        (self.cores.most(), self.gpus.most())
    }

    /// The most cores that any socket has.
    pub(crate) fn largest_socket(&self) -> u32 {
        self.each[0].most()
    }

    /// A node has so much now, of all that there is on it. Returns what it had and what it has.
    pub(crate) fn set(
        &mut self,
        at: usize,
        gpus: u32,
        sockets: impl Iterator<Item = u32>,
        all: Peak,
    ) -> (Peak, Peak) {
        let (new, cores) = largest(sockets, self.ranked);
        let idle = if (cores, gpus) == (all.cores, all.gpus) { cores } else { 0 };
        let peak = Peak { cores, gpus, idle };
        let before = std::mem::replace(&mut self.peaks[at], peak);
        self.cores.change(at, before.cores, peak.cores);
        self.gpus.change(at, before.gpus, peak.gpus);
        self.idle.change(at, u32::from(before.idle > 0), u32::from(peak.idle > 0));
        let old = &mut self.sockets[at * self.ranked..][..self.ranked];
        let new = &new[..self.ranked];
        if old != new {
            let mut sums = (0, 0);
            for (n, (old, new)) in old.iter_mut().zip(new).enumerate() {
                sums = (sums.0 + *old, sums.1 + new);
                self.each[n].change(at, *old, *new);
                if let Some(within) = n.checked_sub(1).and_then(|n| self.within.get_mut(n)) {
                    within.change(at, sums.0, sums.1);
                }
                *old = *new;
            }
        }
        (before, peak)
    }

    /// How to find the nodes that have all this.
    pub(crate) fn query<'a>(&'a self, need: Need, allowed: &'a Filter<'a>) -> Query<'a> {
        let query = Query::new(&self.cores, need.cores.max(1), allowed)
            .and(&self.gpus, need.gpus)
            .and(&self.idle, u32::from(need.idle));
        let query = match need.each {
            (0, _) | (_, 0) => query,
            // No node has so many sockets.
            (sockets, _) if self.all_ranked && sockets as usize > self.ranked => {
                query.and(&self.cores, u32::MAX)
            }
            (sockets, cores) => query.and(&self.each[(sockets as usize).min(self.ranked) - 1], cores),
        };
        match need.within {
            (0, _) => query,
            (1, cores) => query.and(&self.each[0], cores),
            (sockets, cores) => match self.within.get(sockets as usize - 2) {
                Some(within) => query.and(within, cores),
                None => query.and(&self.cores, cores),
            },
        }
    }
}

/// So many of the largest numbers, descending, and the sum of all.
fn largest(numbers: impl Iterator<Item = u32>, count: usize) -> ([u32; RANKED_MAX], u32) {
    let (mut sorted, mut sum) = ([0; RANKED_MAX], 0);
    for number in numbers {
        sum += number;
        let mut next = number;
        for place in &mut sorted[..count] {
            (*place, next) = ((*place).max(next), (*place).min(next));
        }
    }
    (sorted, sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::{Walk, Words};
    use std::cell::Cell;

    /// Numbers that look random.
    fn below(state: &mut u64, n: u64) -> u32 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*state >> 33) % n) as u32
    }

    #[test]
    fn what_is_needed_of_sockets_is_found_whatever_their_number() {
        for most in [1, 2, 4, 11] {
            let mut state = most;
            let shapes: Vec<Vec<u32>> = (0..300)
                .map(|_| (0..1 + below(&mut state, most)).map(|_| 1 + below(&mut state, 9)).collect())
                .collect();
            let peak = |sockets: &[u32]| Peak { cores: sockets.iter().sum(), ..Peak::default() };
            let limits: Vec<_> = shapes.iter().map(|sockets| (peak(sockets), sockets.clone())).collect();
            let mut stock = Stock::new(&limits);
            let mut free = shapes.clone();
            for _ in 0..1000 {
                let at = below(&mut state, 300) as usize;
                free[at] = shapes[at].iter().map(|all| below(&mut state, u64::from(*all) + 1)).collect();
                stock.set(at, 0, free[at].iter().copied(), limits[at].0);
            }
            let free: Vec<Vec<u32>> = (0..300)
                .map(|at| if stock.peak(at).cores == 0 { vec![] } else { free[at].clone() })
                .collect();
            let (visited, all) = (Cell::new(0), Filter::All);
            for sockets in 1..8_u32 {
                for cores in 1..20 {
                    let found = |need| -> Vec<usize> {
                        Walk::from(Words::new(stock.query(need, &all), None, false, &visited)).collect()
                    };
                    let sorted = |at: &usize| {
                        let mut sorted = free[*at].clone();
                        sorted.sort_by_key(|n| std::cmp::Reverse(*n));
                        sorted
                    };
                    let each = |at: &usize| sorted(at).get(sockets as usize - 1).is_some_and(|n| *n >= cores);
                    let expected: Vec<usize> = (0..300).filter(each).collect();
                    assert_eq!(found(Need { each: (sockets, cores), ..Need::default() }), expected);
                    let within = |at: &usize| sorted(at).iter().take(sockets as usize).sum::<u32>() >= cores;
                    let expected: Vec<usize> = (0..300).filter(within).collect();
                    assert_eq!(found(Need { within: (sockets, cores), ..Need::default() }), expected);
                }
            }
        }
    }
}
