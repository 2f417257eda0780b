//! Which cores and GPUs are held, by whom: invariant 4, kept apart from the scheduler on purpose.

use flurm_types::{Idset, JobId, R};
use std::collections::BTreeMap;

/// By rank, then job. A node has few jobs at a time, so looking at all of them is cheap.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ledger(BTreeMap<u32, Vec<Held>>);

#[derive(Clone, Debug, PartialEq)]
struct Held {
    id: JobId,
    cores: Idset,
    gpus: Idset,
}

impl Ledger {
    /// Who holds something of `r`, if anybody, and on which rank.
    pub fn holder(&self, r: &R) -> Option<(JobId, u32)> {
        r.nodes.iter().find_map(|node| {
            let held =
                self.0.get(&node.rank)?.iter().find(|held| {
                    !held.cores.is_disjoint(&node.cores) || !held.gpus.is_disjoint(&node.gpus)
                })?;
            Some((held.id, node.rank))
        })
    }

    /// Does that job hold all of `r`?
    pub fn holds(&self, id: JobId, r: &R) -> bool {
        r.nodes.iter().all(|node| {
            let here = self.0.get(&node.rank).into_iter().flatten();
            here.filter(|held| held.id == id)
                .any(|held| node.cores.is_subset(&held.cores) && node.gpus.is_subset(&held.gpus))
        })
    }

    pub fn take(&mut self, id: JobId, r: &R) {
        for node in &r.nodes {
            let here = self.0.entry(node.rank).or_default();
            // Sorted, so that equal holdings are equal values however they came about.
            let at = here.partition_point(|held| held.id < id);
            here.insert(at, Held { id, cores: node.cores.clone(), gpus: node.gpus.clone() });
        }
    }

    /// Only what that job holds: facts of one record may be applied in another order than they were decided.
    pub fn give_back(&mut self, id: JobId, ranks: &Idset) {
        for rank in ranks.iter() {
            if let Some(here) = self.0.get_mut(&rank) {
                here.retain(|held| held.id != id);
                if here.is_empty() {
                    self.0.remove(&rank);
                }
            }
        }
    }
}
