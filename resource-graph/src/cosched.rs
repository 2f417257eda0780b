//! Jobs that share sockets because both are willing: who is on which node, and who hinders whom how much.
//!
//! A willing job has half of each of its sockets. Its nodes hold one or two willing jobs and nobody else, so halves are
//! always disjoint and nothing is given twice. That a job is willing stands in its R as a property of its ranks, so that
//! a restart does not forget it.

use flurm_types::{Idset, JobId, R};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// The property by which an R says that its job is willing; behind `=` the class, if it has one. A property with a plus
/// sign stays in its own instance.
const WILLING: &str = "+cosched";

/// How much longer jobs run beside others, by what they stress.
#[derive(Debug, Clone, PartialEq)]
pub struct SlowDowns {
    /// (who, beside whom) to run time beside it by run time alone.
    pairs: BTreeMap<(String, String), f64>,
    /// For pairs that nobody knows.
    unknown: f64,
}

impl Default for SlowDowns {
    /// Guesses for halves of a socket: memory bandwidth is shared, cores and their caches mostly are not.
    fn default() -> SlowDowns {
        let mut table = SlowDowns { pairs: BTreeMap::new(), unknown: 1.3 };
        for (one, beside, factor) in [
            ("compute", "compute", 1.1),
            ("compute", "memory", 1.1),
            ("compute", "io", 1.02),
            ("memory", "compute", 1.15),
            ("memory", "memory", 1.9),
            ("memory", "io", 1.1),
            ("io", "compute", 1.05),
            ("io", "memory", 1.1),
            ("io", "io", 1.5),
        ] {
            table.set(one, beside, factor);
        }
        table
    }
}

impl SlowDowns {
    /// What is known from now on of a class beside another. A factor below 1 or not a number is taken as 1.
    pub fn set(&mut self, one: &str, beside: &str, factor: f64) {
        self.pairs.insert((one.to_owned(), beside.to_owned()), factor.max(1.0));
    }

    /// Run time beside the other by run time alone.
    #[must_use]
    pub fn of(&self, one: &str, beside: &str) -> f64 {
        self.pairs.get(&(one.to_owned(), beside.to_owned())).copied().unwrap_or(self.unknown)
    }

    /// The work that two do together in the time in which one would do one alone: at most 2, and with less than 1 they
    /// had better run one after the other.
    #[must_use]
    pub fn gain(&self, one: &str, other: &str) -> f64 {
        1.0 / self.of(one, other) + 1.0 / self.of(other, one)
    }
}

/// The willing jobs that hold something.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    /// By rank; two at most.
    by_rank: BTreeMap<u32, Vec<JobId>>,
    jobs: BTreeMap<JobId, Tenant>,
    pub(crate) slowdowns: SlowDowns,
}

#[derive(Debug)]
struct Tenant {
    class: String,
    ranks: Idset,
}

/// The class in an R, if its job is willing; empty if it has none.
fn class_of(r: &R) -> Option<&str> {
    r.properties.keys().find_map(|name| match name.strip_prefix(WILLING)?.split_once('=') {
        None => Some(""),
        Some((_, class)) => Some(class),
    })
}

/// Notes in an R that its job is willing.
pub(crate) fn note(r: &mut R, class: &str) {
    let name = if class.is_empty() { WILLING.to_owned() } else { format!("{WILLING}={class}") };
    let ranks = r.ranks();
    r.properties.retain(|name, _| !name.starts_with(WILLING));
    r.properties.insert(name, ranks);
}

impl Tenants {
    pub(crate) fn take(&mut self, id: JobId, r: &R) {
        let Some(class) = class_of(r) else { return };
        let tenant =
            self.jobs.entry(id).or_insert_with(|| Tenant { class: class.to_owned(), ranks: Idset::new() });
        for node in &r.nodes {
            if tenant.ranks.insert(node.rank) {
                self.by_rank.entry(node.rank).or_default().push(id);
            }
        }
    }

    pub(crate) fn give_back(&mut self, id: JobId, ranks: &Idset) {
        let Some(tenant) = self.jobs.get_mut(&id) else { return };
        for rank in tenant.ranks.intersection(ranks).iter() {
            if let Some(here) = self.by_rank.get_mut(&rank) {
                here.retain(|other| *other != id);
                if here.is_empty() {
                    self.by_rank.remove(&rank);
                }
            }
        }
        tenant.ranks = tenant.ranks.difference(ranks);
        if tenant.ranks.is_empty() {
            self.jobs.remove(&id);
        }
    }

    /// Ranks where willing jobs are, and unwilling ones may not be.
    pub(crate) fn ranks(&self) -> Idset {
        self.by_rank.keys().copied().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Where a job of this class may sit beside one other job, the best pairs first: ranks where that job is alone.
    pub(crate) fn mates(&self, class: &str) -> Vec<Idset> {
        let alone =
            |ranks: &Idset| ranks.iter().filter(|rank| self.by_rank[rank].len() == 1).collect::<Idset>();
        let mut mates: Vec<(f64, JobId, Idset)> = self
            .jobs
            .iter()
            .map(|(id, job)| (self.slowdowns.gain(class, &job.class), *id, alone(&job.ranks)))
            .filter(|(gain, _, ranks)| *gain > 1.0 && !ranks.is_empty())
            .collect();
        mates.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal).then(a.1.cmp(&b.1)));
        mates.into_iter().map(|(_, _, ranks)| ranks).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_waste_least_gain_most() {
        let table = SlowDowns::default();
        assert!(table.gain("compute", "memory") > table.gain("compute", "compute") - 0.1);
        assert!(table.gain("memory", "memory") < table.gain("memory", "compute"));
        let mut own = SlowDowns::default();
        own.set("memory", "memory", 2.5);
        assert!(own.gain("memory", "memory") < 1.0);
        own.set("x", "y", 0.1);
        assert_eq!((own.of("x", "y"), own.of("y", "x")), (1.0, 1.3));
    }
}
