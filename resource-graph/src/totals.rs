//! Sums of what there is or what is asked for, to tell at once that it cannot be enough.

use crate::general::tree::Tree;

/// Kinds of pools that are summed up, at most: machines have memory, and perhaps licences or burst buffers. What is
/// behind them is found out by a search.
pub(crate) const KINDS_MAX: usize = 4;

/// So much of everything.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) cores: u64,
    pub(crate) gpus: u64,
    /// By number of the kind.
    pub(crate) pools: [u64; KINDS_MAX],
}

impl Totals {
    pub(crate) fn new((cores, gpus): (u64, u64)) -> Totals {
        Totals { cores, gpus, pools: [0; KINDS_MAX] }
    }

    /// The same with amounts of pools of a tree.
    pub(crate) fn with_amounts(mut self, tree: &Tree, amounts: &[(u32, u64)]) -> Totals {
        for (pool, amount) in amounts {
            if let Some(kind) = tree.summed_kind(*pool) {
                self.pools[kind] = self.pools[kind].wrapping_add(*amount);
            }
        }
        self
    }

    /// Is there less of something than is asked for?
    pub(crate) fn is_short_of(&self, asked: &Totals) -> bool {
        self.cores < asked.cores
            || self.gpus < asked.gpus
            || self.pools.iter().zip(&asked.pools).any(|(here, asked)| here < asked)
    }

    // What begins where something ends may be taken off before that is added.

    pub(crate) fn plus(self, other: &Totals) -> Totals {
        self.each(other, u64::wrapping_add)
    }

    pub(crate) fn minus(self, other: &Totals) -> Totals {
        self.each(other, u64::wrapping_sub)
    }

    fn each(self, other: &Totals, f: fn(u64, u64) -> u64) -> Totals {
        Totals {
            cores: f(self.cores, other.cores),
            gpus: f(self.gpus, other.gpus),
            pools: std::array::from_fn(|kind| f(self.pools[kind], other.pools[kind])),
        }
    }

    /// The sum of two things that are asked for.
    pub(crate) fn and(self, other: &Totals) -> Totals {
        self.each(other, u64::saturating_add)
    }
}
