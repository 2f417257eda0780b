//! Jobs that share sockets because they are willing: who is on which node, and who may join whom.
//!
//! A willing job has half of each of its sockets. Its nodes hold one or two willing jobs and nobody else, so halves are
//! always disjoint and nothing is given twice. The nodes of a group (`group.rs`) are its own until its last job has left.
//! All this stands in the R of each job, as properties of its ranks, so that a restart does not forget it, and so that it
//! can be tried out what would be if somebody were there.

use crate::{Graph, SlowDowns};
use flurm_jobspec::Group;
use flurm_types::{Idset, JobId, R};
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

/// The property by which an R says that its job is willing; behind `=` the class, if it has one. A property with a plus
/// sign stays in its own instance.
const WILLING: &str = "+cosched";

/// The property of members of a group, with its name.
const GROUP: &str = "+cosched-group=";

/// Jobs that are looked at one by one for the one that a job is put beside.
const MATES_MAX: usize = 64;

/// Classes that are told apart for that, those of the oldest jobs: each is compared with each.
const CLASSES_MAX: usize = 64;

/// The class in an R, if its job is willing; empty if it has none.
#[must_use]
pub fn class_of(r: &R) -> Option<&str> {
    r.properties.keys().find_map(|name| match name.strip_prefix(WILLING)? {
        "" => Some(""),
        behind => behind.strip_prefix('='),
    })
}

/// The group in an R, if its job is a member of one.
#[must_use]
pub fn group_of(r: &R) -> Option<&str> {
    r.properties.keys().find_map(|name| name.strip_prefix(GROUP))
}

/// Is this the R of a job that shares its sockets, or may?
pub(crate) fn is_willing(r: &R) -> bool {
    class_of(r).is_some()
}

/// Notes in an R that its job is willing.
pub(crate) fn note(r: &mut R, class: &str, group: Option<&Group>) {
    let name = if class.is_empty() { WILLING.to_owned() } else { format!("{WILLING}={class}") };
    let ranks = r.ranks();
    r.properties.retain(|name, _| !name.starts_with(WILLING));
    if let Some(group) = group {
        r.properties.insert(format!("{GROUP}{}", group.name), ranks.clone());
    }
    r.properties.insert(name, ranks);
}

/// Can one be held at any time without a thought of the other? Not if they have something in common, and not if they
/// are on the same node and one of them is willing: who may be there with it depends on who is there already.
#[must_use]
pub fn are_apart(one: &R, other: &R) -> bool {
    one.is_disjoint(other)
        && (!is_willing(one) && !is_willing(other) || one.ranks().is_disjoint(&other.ranks()))
}

/// Ranks with willing jobs, and how many there are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared {
    ranks: Idset,
    /// Those beyond the first, where there are any.
    more: BTreeMap<u32, u32>,
}

impl Shared {
    pub(crate) fn add(&mut self, rank: u32) {
        if !self.ranks.insert(rank) {
            *self.more.entry(rank).or_default() += 1;
        }
    }

    pub(crate) fn remove(&mut self, rank: u32) {
        match self.more.get_mut(&rank) {
            None => {
                self.ranks.remove(rank);
            }
            Some(1) => {
                self.more.remove(&rank);
            }
            Some(more) => *more -= 1,
        }
    }

    /// Ranks with one willing job.
    fn alone(&self) -> Idset {
        self.ranks.difference(&self.more.keys().copied().collect())
    }

    /// Where others may and may not be with this here.
    pub(crate) fn sharing(&self) -> Sharing {
        Sharing { closed: self.ranks.clone(), beside: self.alone() }
    }
}

/// What willing jobs leave of the nodes to others, at some time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sharing {
    /// Ranks where no unwilling job may be.
    pub(crate) closed: Idset,
    /// Ranks where a willing one may join another.
    pub(crate) beside: Idset,
}

/// The willing jobs that hold something.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    on: Shared,
    jobs: BTreeMap<JobId, Tenant>,
    pub(crate) slowdowns: SlowDowns,
}

#[derive(Debug)]
struct Tenant {
    class: String,
    ranks: Idset,
    /// Nobody joins a group.
    grouped: bool,
}

impl Tenants {
    pub(crate) fn take(&mut self, id: JobId, r: &R) {
        let Some(class) = class_of(r) else { return };
        let grouped = group_of(r).is_some();
        let tenant = Tenant { class: class.to_owned(), ranks: Idset::new(), grouped };
        let tenant = self.jobs.entry(id).or_insert(tenant);
        for node in &r.nodes {
            if tenant.ranks.insert(node.rank) {
                self.on.add(node.rank);
            }
        }
    }

    pub(crate) fn give_back(&mut self, id: JobId, ranks: &Idset) {
        let Some(tenant) = self.jobs.get_mut(&id) else { return };
        tenant.ranks.intersection(ranks).iter().for_each(|rank| self.on.remove(rank));
        tenant.ranks = tenant.ranks.difference(ranks);
        if tenant.ranks.is_empty() {
            self.jobs.remove(&id);
        }
    }

    /// Who is where, to be changed.
    pub(crate) fn shared(&self) -> Shared {
        self.on.clone()
    }

    /// What is left to others now.
    pub(crate) fn sharing(&self) -> Sharing {
        if self.jobs.is_empty() { Sharing::default() } else { self.on.sharing() }
    }

    /// The ranks of a willing job.
    pub(crate) fn ranks_of(&self, id: JobId) -> Option<&Idset> {
        self.jobs.get(&id).map(|job| &job.ranks)
    }

    /// Where a job of this class may sit beside others that are alone on these ranks, the best places first: beside one
    /// job, else beside several of one class.
    ///
    /// Best is who gains more with this job than with others on average, of the classes that are here: who gets on with
    /// everybody is left to those who do not.
    pub(crate) fn mates(&self, class: &str, beside: &Idset) -> Vec<Idset> {
        let mut by_class: BTreeMap<&str, (f64, Vec<Idset>)> = BTreeMap::new();
        for job in self.jobs.values().filter(|job| !job.grouped) {
            let is_full = by_class.len() == CLASSES_MAX;
            let (gain, mates) = match by_class.entry(&job.class) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(_) if is_full => continue,
                Entry::Vacant(new) => new.insert((self.slowdowns.gain(class, &job.class), Vec::new())),
            };
            if *gain > 1.0 {
                let alone = job.ranks.intersection(beside);
                mates.extend(Some(alone).filter(|alone| !alone.is_empty()));
            }
        }
        let classes: BTreeSet<&str> = by_class.keys().copied().chain([class]).collect();
        let on_average = |one: &str| {
            classes.iter().map(|other| self.slowdowns.gain(one, other)).sum::<f64>() / classes.len() as f64
        };
        let with_mates = by_class.into_iter().filter(|(_, (_, mates))| !mates.is_empty());
        let mut by_class: Vec<(f64, Vec<Idset>)> =
            with_mates.map(|(one, (gain, mates))| (gain - on_average(one), mates)).collect();
        by_class.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut places = Vec::new();
        for (_, mates) in by_class {
            let all = mates.iter().fold(Idset::new(), |all, mate| all.union(mate));
            places.extend(mates.into_iter().take(MATES_MAX));
            places.push(all);
        }
        places
    }
}

impl Graph {
    /// What willing jobs leave to others now.
    pub(crate) fn sharing(&self) -> Sharing {
        self.tenants.sharing()
    }

    /// May this job be where it is to be, with those who are there now?
    pub(crate) fn may_be_there(&self, r: &R) -> bool {
        let Some(class) = class_of(r) else {
            return self.tenants.jobs.is_empty() || self.tenants.on.ranks.is_disjoint(&r.ranks());
        };
        let is_idle = |rank| self.index.position(rank).is_some_and(|at| self.index.is_idle(at));
        let with_others: Idset = r.ranks().iter().filter(|rank| !is_idle(*rank)).collect();
        let joins = |beside| self.tenants.mates(class, beside).iter().any(|all| with_others.is_subset(all));
        with_others.is_empty() || group_of(r).is_none() && joins(&self.sharing().beside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_classes_are_told_apart_and_no_more() {
        let mut tenants = Tenants::default();
        for n in 0..200 {
            let ranks = Idset::from_range(n..=n);
            // Two of each class.
            let tenant = Tenant { class: format!("c{}", n % 100), ranks, grouped: false };
            tenants.jobs.insert(JobId(n.into()), tenant);
        }
        let places = tenants.mates("mine", &Idset::from_range(0..=199));
        // Each of the two, and both.
        assert_eq!(places.len(), 3 * CLASSES_MAX);
        let all = places.iter().fold(Idset::new(), |all, place| all.union(place));
        assert_eq!(all, Idset::from_range(0..=63).union(&Idset::from_range(100..=163)));
    }
}
