//! Constraints as sets of node positions that are looked up 64 at a time, only where a search comes by.

use crate::{
    at_least::{AtLeast, BRANCHES},
    index::Index,
};
use flurm_types::{Constraint, Idset, R};
use std::{borrow::Cow, collections::BTreeMap};

/// Which nodes will do.
#[derive(Debug, Clone)]
pub(crate) enum Filter<'a> {
    /// Every one.
    All,
    /// Those of a set.
    In(Cow<'a, AtLeast>),
    Not(Box<Filter<'a>>),
    /// With an empty list, every one.
    And(Vec<Filter<'a>>),
    /// With an empty list, none.
    Or(Vec<Filter<'a>>),
}

impl<'a> Filter<'a> {
    pub(crate) const NONE: Filter<'a> = Filter::Or(Vec::new());

    /// These positions out of so many.
    pub(crate) fn of(len: usize, positions: &Idset) -> Filter<'a> {
        Filter::In(Cow::Owned(AtLeast::of(len, positions)))
    }

    pub(crate) fn and(self, other: Filter<'a>) -> Filter<'a> {
        match self {
            Filter::All => other,
            one => Filter::And(vec![one, other]),
        }
    }

    pub(crate) fn and_not(self, other: Filter<'a>) -> Filter<'a> {
        self.and(Filter::Not(Box::new(other)))
    }

    /// Bits of the branches of a vertex as in [`AtLeast::word`]. Only bits of nodes that there are mean something.
    pub(crate) fn word(&self, level: usize, block: usize) -> u64 {
        match self {
            Filter::All => u64::MAX,
            Filter::In(set) => set.word(level, block, 1),
            Filter::Not(inner) if level == 0 => !inner.word(level, block),
            // Of some nodes below a branch nothing follows for the others.
            Filter::Not(_) => u64::MAX,
            Filter::And(list) => list.iter().fold(u64::MAX, |word, inner| word & inner.word(level, block)),
            Filter::Or(list) => list.iter().fold(0, |word, inner| word | inner.word(level, block)),
        }
    }

    /// Is it none out of so many?
    pub(crate) fn is_empty(&self, len: usize) -> bool {
        self.positions(len).next().is_none()
    }

    /// The positions out of so many, ascending.
    pub(crate) fn positions(&self, len: usize) -> impl Iterator<Item = usize> + Clone + '_ {
        (0..len.div_ceil(BRANCHES)).flat_map(move |block| {
            let word = self.word(0, block);
            let here = (0..BRANCHES).filter(move |bit| word >> bit & 1 == 1);
            here.map(move |bit| block * BRANCHES + bit).take_while(move |at| *at < len)
        })
    }
}

/// What constraints speak of, ready to be looked up.
#[derive(Debug)]
pub(crate) struct Names {
    len: usize,
    /// A host may have several ranks.
    hosts: BTreeMap<String, Idset>,
    properties: BTreeMap<String, AtLeast>,
}

impl Names {
    pub(crate) fn new(r: &R, index: &Index) -> Names {
        let mut hosts: BTreeMap<String, Idset> = BTreeMap::new();
        for (at, node) in (0..).zip(index.nodes()) {
            hosts.entry(node.host.clone()).or_default().insert(at);
        }
        let len = index.len();
        let properties = r.properties.iter();
        let properties =
            properties.map(|(name, ranks)| (name.clone(), AtLeast::of(len, &index.positions(ranks))));
        Names { len, hosts, properties: properties.collect() }
    }

    /// The nodes that satisfy the constraint.
    pub(crate) fn allowed(&self, constraint: &Constraint, index: &Index) -> Filter<'_> {
        let each = |list: &[Constraint]| list.iter().map(|inner| self.allowed(inner, index)).collect();
        match constraint {
            Constraint::True => Filter::All,
            Constraint::Properties(list) => list.iter().fold(Filter::All, |all, property| {
                let with = self.properties.get(&property.name).map(|with| Filter::In(Cow::Borrowed(with)));
                match (with, property.negated) {
                    (Some(with), false) => all.and(with),
                    (Some(with), true) => all.and_not(with),
                    (None, false) => Filter::NONE,
                    (None, true) => all,
                }
            }),
            Constraint::Hostlist(hosts) => {
                // Long lists mostly have the hosts in their order.
                let (nodes, one_each) = (index.nodes(), self.hosts.len() == self.len);
                let (mut found, mut next) = (Idset::new(), 0);
                for host in hosts {
                    if one_each && nodes.get(next).is_some_and(|node| node.host == *host) {
                        found.insert(next as u32);
                    } else if let Some(here) = self.hosts.get(host) {
                        found.union_with(here);
                        next = here.last().map_or(next, |at| at as usize);
                    }
                    next += 1;
                }
                Filter::of(self.len, &found)
            }
            Constraint::Ranks(ranks) => Filter::of(self.len, &index.positions(ranks)),
            Constraint::And(list) => Filter::And(each(list)),
            Constraint::Or(list) if list.is_empty() => Filter::All,
            Constraint::Or(list) => Filter::Or(each(list)),
            Constraint::Not(list) => Filter::Not(Box::new(Filter::And(each(list)))),
        }
    }
}
