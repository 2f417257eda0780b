//! The shape of the tree: a full k-ary one over the ranks, known from size and fanout alone.

use flurm_types::Rank;

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Topology {
    size: u32,
    fanout: u32,
}

impl Topology {
    /// A fanout of zero means a flat tree: everybody hangs below rank 0.
    pub fn new(size: u32, fanout: u32) -> Topology {
        Topology { size, fanout: if fanout == 0 { size.max(1) } else { fanout } }
    }

    pub fn parent(self, rank: Rank) -> Option<Rank> {
        (rank.0 > 0).then(|| Rank((rank.0 - 1) / self.fanout))
    }

    pub fn children(self, rank: Rank) -> impl Iterator<Item = Rank> {
        let first = u64::from(rank.0) * u64::from(self.fanout) + 1;
        let end = (first + u64::from(self.fanout)).min(u64::from(self.size));
        (first..end).map(|r| Rank(r as u32))
    }

    /// The child of `from` towards `to`; none when `to` is not below `from`.
    pub fn child_towards(self, from: Rank, to: Rank) -> Option<Rank> {
        let mut at = to;
        // Parents have smaller ranks, so the walk up ends.
        while let Some(parent) = self.parent(at).filter(|_| at > from) {
            if parent == from {
                return Some(at);
            }
            at = parent;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_is_reached_from_the_root_and_back() {
        for (size, fanout) in [(1, 2), (2, 2), (64, 8), (100, 3), (10, 0), (7, 1)] {
            let tree = Topology::new(size, fanout);
            for rank in 1..size {
                let mut at = Rank(0);
                while at != Rank(rank) {
                    let next = tree.child_towards(at, Rank(rank)).expect("all hang below the root");
                    assert_eq!(tree.parent(next), Some(at));
                    assert!(tree.children(at).any(|c| c == next));
                    at = next;
                }
                assert_eq!(tree.child_towards(Rank(rank), Rank(0)), None);
                assert_eq!(tree.child_towards(Rank(rank), Rank(rank)), None);
            }
            let below: u32 = (0..size).map(|r| tree.children(Rank(r)).count() as u32).sum();
            assert_eq!(below, size - 1);
        }
    }
}
