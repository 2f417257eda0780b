//! No core is given to a second job while a process of the first still lives on it, whatever the leader knows of that
//! node. The log cannot tell: a node that is cut off is given up there while its tasks go on.

use super::{Broken, broken};
use crate::shell::Shell;
use flurm_types::{Idset, JobId};
use flurm_wire::fact::Fact;

/// A shell has been told something.
pub fn check(shell: &Shell) -> Result<(), Broken> {
    let alive: Vec<_> = shell.alive().collect();
    for (at, (id, owner, cores)) in alive.iter().enumerate() {
        let shared = |theirs: &&(JobId, JobId, &Idset)| theirs.1 != *owner && !theirs.2.is_disjoint(cores);
        if let Some((other, ..)) = alive[..at].iter().find(shared) {
            let text = format!("{id} and {other} both live on cores of rank {}", shell.rank);
            return broken("alive", text);
        }
    }
    Ok(())
}

/// How many jobs these facts give up on ranks where their processes live on.
pub fn outlived(facts: &[Fact], shells: &[Option<Shell>]) -> u64 {
    let mut count = 0;
    for fact in facts {
        let Fact::Job(fact) = fact else { continue };
        for event in fact.events.iter().filter(|event| event.name == "release") {
            let ranks = event.context.as_ref().and_then(|c| c["ranks"].as_str()).unwrap_or_default();
            let ranks: Idset = ranks.parse().unwrap_or_default();
            let there = shells.iter().flatten().filter(|shell| ranks.contains(shell.rank.0));
            count += there.filter(|shell| shell.alive().any(|(id, ..)| id == fact.id)).count() as u64;
        }
    }
    count
}
