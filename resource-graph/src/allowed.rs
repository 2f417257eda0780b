//! Constraints as sets of node positions, by algebra on ranges instead of a look at every node.

use crate::index::Index;
use flurm_types::{Constraint, Idset, R};
use std::collections::BTreeMap;

/// What constraints speak of, ready to be looked up.
#[derive(Debug)]
pub(crate) struct Names {
    all: Idset,
    /// A host may have several ranks.
    hosts: BTreeMap<String, Idset>,
    properties: BTreeMap<String, Idset>,
}

impl Names {
    pub(crate) fn new(r: &R, index: &Index) -> Names {
        let mut hosts: BTreeMap<String, Idset> = BTreeMap::new();
        for (at, node) in (0..).zip(index.nodes()) {
            hosts.entry(node.host.clone()).or_default().insert(at);
        }
        let properties = r.properties.iter().map(|(name, ranks)| (name.clone(), positions(index, ranks)));
        Names { all: positions(index, &r.ranks()), hosts, properties: properties.collect() }
    }

    /// The positions of those ranks that are here.
    pub(crate) fn positions(&self, index: &Index, ranks: &Idset) -> Idset {
        positions(index, ranks)
    }

    /// The positions of all nodes that satisfy the constraint.
    pub(crate) fn allowed(&self, constraint: &Constraint, index: &Index) -> Idset {
        let all_of = |list: &[Constraint]| {
            list.iter().fold(self.all.clone(), |set, inner| set.intersection(&self.allowed(inner, index)))
        };
        match constraint {
            Constraint::True => self.all.clone(),
            Constraint::Properties(list) => list.iter().fold(self.all.clone(), |set, property| {
                match (self.properties.get(&property.name), property.negated) {
                    (Some(with), false) => set.intersection(with),
                    (Some(with), true) => set.difference(with),
                    (None, false) => Idset::new(),
                    (None, true) => set,
                }
            }),
            Constraint::Hostlist(hosts) => {
                hosts.iter().filter_map(|host| self.hosts.get(host)).flat_map(Idset::iter).collect()
            }
            Constraint::Ranks(ranks) => positions(index, ranks),
            Constraint::And(list) => all_of(list),
            Constraint::Or(list) if list.is_empty() => self.all.clone(),
            Constraint::Or(list) => {
                list.iter().fold(Idset::new(), |set, inner| set.union(&self.allowed(inner, index)))
            }
            Constraint::Not(list) => self.all.difference(&all_of(list)),
        }
    }
}

/// The positions of those ranks that are here.
fn positions(index: &Index, ranks: &Idset) -> Idset {
    let mut out = Idset::new();
    for (lo, hi) in ranks.ranges() {
        // `hi + 1` cannot overflow: the largest u32 is never an id.
        let (start, end) = (index.below(lo) as u32, index.below(hi + 1) as u32);
        if start < end {
            out.union_with(&Idset::from_range(start..=end - 1));
        }
    }
    out
}
