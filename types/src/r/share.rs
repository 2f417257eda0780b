//! A part of an R for some tasks: which nodes, which cores, how many tasks on each. What a step of a job runs on.
//!
//! Whoever asks knows which parts are taken. Nothing is planned here: what there is no room for now is tried again when
//! something has been given back.

use super::{R, RNode};
use crate::Idset;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// At least so many nodes, and at most.
    pub nodes: (u32, u32),
    /// None: one on each node, or what `per_node` says.
    pub tasks: Option<u32>,
    pub per_node: Option<u32>,
    pub cores_per_task: u32,
    /// All that there is on a node, however few cores the tasks need.
    pub whole_nodes: bool,
    /// What others have is no obstacle.
    pub overlap: bool,
    /// More tasks than cores are fine.
    pub overcommit: bool,
    pub spread: Spread,
    /// The first node to look at, by its place in R.
    pub first: u32,
    /// Ranks that it must have.
    pub with: Idset,
    pub without: Idset,
    /// On each node; none: all that there are.
    pub gpus_per_node: Option<u32>,
}

/// How tasks are dealt to nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spread {
    /// One on each, then node by node.
    Fill,
    /// In turn.
    Even,
    /// Ranks in the order of tasks.
    Listed(Vec<u32>),
}

impl Default for Want {
    fn default() -> Want {
        Want {
            nodes: (1, u32::MAX),
            tasks: None,
            per_node: None,
            cores_per_task: 1,
            whole_nodes: false,
            overlap: false,
            overcommit: false,
            spread: Spread::Fill,
            first: 0,
            with: Idset::new(),
            without: Idset::new(),
            gpus_per_node: None,
        }
    }
}

/// A part, and how many tasks each of its nodes has.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    pub r: R,
    pub counts: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// Others have what it needs.
    Busy,
    /// There is not so much, whoever has it.
    Never,
}

impl R {
    /// A part of this R as `want` says, apart from what is `busy`.
    ///
    /// # Errors
    /// There is no such part, now or ever.
    pub fn share(&self, busy: &[&R], want: &Want) -> Result<Share, Lack> {
        let taken = if want.overlap { &[][..] } else { busy };
        if let Some(share) = self.fit(taken, want) {
            return Ok(share);
        }
        Err(if !taken.is_empty() && self.fit(&[], want).is_some() { Lack::Busy } else { Lack::Never })
    }

    fn fit(&self, busy: &[&R], want: &Want) -> Option<Share> {
        let free: Vec<RNode> = self.nodes.iter().map(|node| left(node, busy)).collect();
        let usable = |at: usize| {
            let (node, left) = (&self.nodes[at], &free[at]);
            let room = if want.overcommit { 1 } else { want.cores_per_task.max(1) };
            let whole = !want.whole_nodes || left.cores == node.cores;
            !want.without.contains(node.rank) && whole && left.cores.len() >= room as usize
        };
        let listed: Option<Idset> = match &want.spread {
            Spread::Listed(ranks) => Some(ranks.iter().copied().collect()),
            Spread::Fill | Spread::Even => None,
        };
        let order = (0..self.nodes.len()).filter(|at| usable(*at) && *at >= want.first as usize);
        let order: Vec<usize> =
            order.filter(|at| listed.as_ref().is_none_or(|set| set.contains(self.nodes[*at].rank))).collect();
        let must = |at: &usize| want.with.contains(self.nodes[*at].rank);
        if order.iter().filter(|at| must(at)).count() < want.with.len() {
            return None;
        }
        let slots = |at: usize| free[at].cores.len() as u32 / want.cores_per_task.max(1);
        let in_turn: Vec<usize> =
            order.iter().copied().filter(must).chain(order.iter().copied().filter(|at| !must(at))).collect();
        let mut roomy = in_turn.clone();
        roomy.sort_by_key(|at| (!must(at), std::cmp::Reverse(slots(*at))));
        [in_turn, roomy].into_iter().find_map(|order| {
            let mut chosen = self.choose(&order, want, listed.as_ref(), slots)?;
            chosen.sort_unstable();
            let counts = self.deal(&chosen, want, slots)?;
            Some(self.cut_out(&chosen, counts, &free, want))
        })
    }

    /// The fewest nodes in this order with room for the tasks.
    fn choose(
        &self,
        order: &[usize],
        want: &Want,
        listed: Option<&Idset>,
        slots: impl Fn(usize) -> u32,
    ) -> Option<Vec<usize>> {
        let (least, most) = match listed {
            Some(set) => (set.len(), set.len()),
            None => (want.nodes.0.max(1) as usize, want.nodes.1 as usize),
        };
        let least = least.max(want.with.len());
        let mut chosen = Vec::new();
        let mut room = 0_u32;
        for at in order {
            let here = want.per_node.map_or(slots(*at), |n| n.min(slots(*at)));
            let full =
                chosen.len() >= least && want.tasks.is_none_or(|tasks| want.overcommit || room >= tasks);
            if full || chosen.len() >= most {
                break;
            }
            room = room.saturating_add(here);
            chosen.push(*at);
        }
        (chosen.len() >= least).then_some(chosen)
    }

    /// Tasks by node.
    fn deal(&self, chosen: &[usize], want: &Want, slots: impl Fn(usize) -> u32) -> Option<Vec<u32>> {
        if let Spread::Listed(ranks) = &want.spread {
            let count =
                |at: &usize| ranks.iter().filter(|rank| **rank == self.nodes[*at].rank).count() as u32;
            let counts: Vec<u32> = chosen.iter().map(count).collect();
            let fits = |(at, n): (&usize, &u32)| want.overcommit || *n <= slots(*at);
            return chosen.iter().zip(&counts).all(fits).then_some(counts);
        }
        let each = want.per_node.unwrap_or(1);
        let tasks = want.tasks.unwrap_or(each.saturating_mul(chosen.len() as u32));
        let limit = |at: usize| want.per_node.unwrap_or(u32::MAX).min(slots(at));
        let mut room: Vec<u32> = chosen.iter().map(|at| limit(*at)).collect();
        let mut counts = vec![0; chosen.len()];
        let mut left = tasks;
        let mut give = |at: usize, most: u32, room: &mut [u32], counts: &mut [u32]| {
            let n = most.min(room[at]).min(left);
            (room[at], counts[at], left) = (room[at] - n, counts[at] + n, left - n);
            left
        };
        let mut rest = tasks;
        for at in 0..chosen.len() {
            rest = give(at, 1, &mut room, &mut counts);
        }
        match want.spread {
            Spread::Fill if want.per_node.is_none() => {
                for at in 0..chosen.len() {
                    rest = give(at, u32::MAX, &mut room, &mut counts);
                }
            }
            _ => {
                while rest > 0 && room.iter().any(|room| *room > 0) {
                    for at in 0..chosen.len() {
                        rest = give(at, 1, &mut room, &mut counts);
                    }
                }
            }
        }
        if rest > 0 && want.overcommit {
            let nodes = chosen.len() as u32;
            for (at, count) in (0..).zip(&mut counts) {
                *count += rest / nodes + u32::from(at < rest % nodes);
            }
            rest = 0;
        }
        (rest == 0 && counts.iter().all(|n| *n > 0)).then_some(counts)
    }

    fn cut_out(&self, chosen: &[usize], counts: Vec<u32>, free: &[RNode], want: &Want) -> Share {
        let nodes = chosen.iter().zip(&counts).map(|(at, count)| {
            let (node, left) = (&self.nodes[*at], &free[*at]);
            if want.whole_nodes {
                return node.clone();
            }
            let need = count.saturating_mul(want.cores_per_task.max(1)) as usize;
            let cores = left.cores.iter().take(need.max(1)).collect();
            let gpus = match want.gpus_per_node {
                None => node.gpus.clone(),
                Some(n) => left.gpus.iter().take(n as usize).collect(),
            };
            RNode { cores, gpus, ..node.clone() }
        });
        let nodes = nodes.collect();
        Share { r: self.cut(nodes), counts }
    }
}

/// What is free of a node.
fn left(node: &RNode, busy: &[&R]) -> RNode {
    busy.iter().filter_map(|r| r.node(node.rank)).fold(node.clone(), |left, theirs| RNode {
        cores: left.cores.difference(&theirs.cores),
        gpus: left.gpus.difference(&theirs.gpus),
        ..left
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three nodes of four cores.
    fn all() -> R {
        R::from_nodes((0..3).map(|rank| RNode {
            rank,
            host: format!("n{rank}"),
            cores: Idset::from_range(0..=3),
            gpus: Idset::from_range(0..=1),
        }))
    }

    /// `0:0-1*2,2:0*1`: ranks, their cores, their tasks.
    fn told(share: Result<Share, Lack>) -> String {
        match share {
            Err(lack) => format!("{lack:?}"),
            Ok(Share { r, counts }) => {
                let parts = r.nodes.iter().zip(counts).map(|(n, c)| format!("{}:{}*{c}", n.rank, n.cores));
                parts.collect::<Vec<_>>().join(",")
            }
        }
    }

    #[test]
    fn tasks_get_nodes_and_cores_as_they_ask() {
        let any = Want::default;
        let want = |nodes, tasks| Want { nodes, tasks: Some(tasks), ..Want::default() };
        for (want, expected) in [
            (any(), "0:0*1"),
            (want((1, 3), 6), "0:0-3*4,1:0-1*2"),
            (want((3, 3), 4), "0:0-1*2,1:0*1,2:0*1"),
            (Want { spread: Spread::Even, ..want((2, 2), 6) }, "0:0-2*3,1:0-2*3"),
            (Want { whole_nodes: true, ..want((3, 3), 4) }, "0:0-3*2,1:0-3*1,2:0-3*1"),
            (Want { per_node: Some(2), nodes: (2, 2), ..any() }, "0:0-1*2,1:0-1*2"),
            (Want { cores_per_task: 3, ..want((1, 3), 2) }, "0:0-2*1,1:0-2*1"),
            (Want { first: 1, ..want((1, 1), 1) }, "1:0*1"),
            (Want { with: 2.into(), ..want((1, 1), 1) }, "2:0*1"),
            (Want { without: 0.into(), ..want((1, 1), 1) }, "1:0*1"),
            (Want { spread: Spread::Listed(vec![2, 0, 2]), ..any() }, "0:0*1,2:0-1*2"),
            (want((1, 3), 13), "Never"),
            (want((1, 1), 5), "Never"),
            (want((4, 4), 4), "Never"),
            (Want { cores_per_task: 5, ..any() }, "Never"),
            (Want { overcommit: true, ..want((2, 2), 13) }, "0:0-3*7,1:0-3*6"),
        ] {
            assert_eq!(told(all().share(&[], &want)), expected, "{want:?}");
        }
    }

    #[test]
    fn what_others_have_is_left_to_them_unless_they_share() {
        let all = all();
        let first = all.share(&[], &Want { tasks: Some(3), ..Want::default() }).unwrap().r;
        let want = Want { nodes: (1, 1), tasks: Some(2), ..Want::default() };
        assert_eq!(told(all.share(&[&first], &want)), "1:0-1*2", "a node with room for both");
        let one = Want { tasks: Some(1), ..want.clone() };
        assert_eq!(told(all.share(&[&first], &one)), "0:3*1");
        let whole = Want { whole_nodes: true, nodes: (3, 3), ..one };
        assert_eq!(told(all.share(&[&first], &Want { tasks: Some(3), ..whole.clone() })), "Busy");
        assert_eq!(told(all.share(&[&first], &whole)), "Never", "one task, three nodes");
        assert_eq!(told(all.share(&[&all], &Want { overlap: true, ..want })), "0:0-1*2");
    }
}
