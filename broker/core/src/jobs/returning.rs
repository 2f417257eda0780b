//! Ranks that were given up and come back: what they still run of old jobs ends before they get new ones.
//!
//! ```text
//!   lost ──► Unheard ── shell ready, knows strangers ──► Ending ── the last one gone ──► usable
//!               └────── shell ready, knows none ────────────────────────────────────────► usable
//! ```
//!
//! The scheduler sees such a rank as down until then, whatever the overlay says of its broker.

use flurm_sched::ResourceChange;
use flurm_types::{Idset, JobId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Returning {
    ranks: BTreeMap<u32, Shell>,
    /// Of these ranks: whose brokers are there.
    online: Idset,
}

#[derive(Debug)]
enum Shell {
    /// Nobody knows what runs there.
    Unheard,
    /// These jobs, which are over here, have not ended there.
    Ending(BTreeSet<(JobId, u32)>),
}

impl Returning {
    pub fn expect(&mut self, rank: u32) {
        self.ranks.insert(rank, Shell::Unheard);
    }

    /// What the scheduler may hear of a change.
    pub fn filter(&mut self, change: ResourceChange) -> ResourceChange {
        match change {
            ResourceChange::Up(ranks) => {
                let ours: Idset = ranks.iter().filter(|rank| self.ranks.contains_key(rank)).collect();
                self.online.union_with(&ours);
                ResourceChange::Up(ranks.difference(&ours))
            }
            ResourceChange::Down(ranks) => {
                self.online = self.online.difference(&ranks);
                ResourceChange::Down(ranks)
            }
            ResourceChange::Define(_)
            | ResourceChange::Drain(_)
            | ResourceChange::Undrain(_)
            | ResourceChange::Expiration(_)
            | ResourceChange::NodeExpiration(..) => change,
        }
    }

    /// Tells whether the rank can be used from now on.
    #[must_use]
    pub fn shell_ready(&mut self, rank: u32, strangers: BTreeSet<(JobId, u32)>) -> bool {
        let Some(shell) = self.ranks.get_mut(&rank) else { return false };
        *shell = Shell::Ending(strangers);
        self.usable(rank)
    }

    /// The same, when a job has ended there.
    #[must_use]
    pub fn gone(&mut self, rank: u32, id: JobId, attempt: u32) -> bool {
        let Some(Shell::Ending(strangers)) = self.ranks.get_mut(&rank) else { return false };
        strangers.remove(&(id, attempt)) && self.usable(rank)
    }

    fn usable(&mut self, rank: u32) -> bool {
        let over = matches!(self.ranks.get(&rank), Some(Shell::Ending(left)) if left.is_empty());
        if over {
            self.ranks.remove(&rank);
        }
        over && self.online.remove(rank)
    }
}
