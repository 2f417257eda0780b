//! How long nodes are here: to the end of the instance, or each to one of its own.

use crate::{Graph, Unit};
use flurm_types::{Idset, RNode, Timestamp};
use std::collections::BTreeMap;

/// Nodes that end before the instance does: ranks by the time of their end. There are few such times.
#[derive(Debug, Default)]
pub(crate) struct Lifetimes(BTreeMap<Timestamp, Idset>);

impl Lifetimes {
    /// These ranks end then; with the instance if the time is zero.
    pub(crate) fn set(&mut self, ranks: &Idset, end: Timestamp) {
        for others in self.0.values_mut() {
            *others = others.difference(ranks);
        }
        if !end.is_zero() {
            self.0.entry(end).or_default().union_with(ranks);
        }
        self.0.retain(|_, ranks| !ranks.is_empty());
    }

    /// Ranks that are gone before this time.
    pub(crate) fn gone_before(&self, time: Timestamp) -> Idset {
        self.0.range(..time).fold(Idset::new(), |gone, (_, ranks)| gone.union(ranks))
    }

    /// Do all nodes end with the instance?
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The last of the ends, if all of these ranks have one.
    pub(crate) fn last_end(&self, all: &Idset) -> Option<Timestamp> {
        let (last, _) = self.0.last_key_value()?;
        let ending = self.0.values().fold(Idset::new(), |ending, ranks| ending.union(ranks));
        all.is_subset(&ending).then_some(*last)
    }

    /// The first end that is not before this time.
    pub(crate) fn next_end(&self, from: Timestamp) -> Option<Timestamp> {
        self.0.range(from..).next().map(|(end, _)| *end)
    }

    /// The first end of any of these nodes.
    pub(crate) fn first_end(&self, nodes: &[RNode]) -> Option<Timestamp> {
        let with_one = |ending: &Idset| nodes.iter().any(|node| ending.contains(node.rank));
        self.0.iter().find(|(_, ending)| with_one(ending)).map(|(end, _)| *end)
    }
}

impl Graph {
    /// The end of the instance, or of the last of its nodes; none if nobody knows.
    #[must_use]
    pub fn last_end(&self) -> Option<Timestamp> {
        let nodes =
            if self.lifetimes.is_empty() { None } else { self.lifetimes.last_end(&self.inventory.ranks()) };
        self.instance_end().into_iter().chain(nodes).min()
    }

    /// Do all nodes end at the same time?
    #[must_use]
    pub fn nodes_end_alike(&self) -> bool {
        self.lifetimes.is_empty()
    }

    /// Until when a unit finds the same nodes that last as long as it does, as at this time.
    #[must_use]
    pub fn lasts_alike<'a>(&self, unit: impl Into<Unit<'a>>, now: Timestamp) -> Timestamp {
        let never = Timestamp(i64::MAX);
        let duration = unit.into().duration().max(1e-6);
        let end = now.checked_add_secs(duration).unwrap_or(never);
        let next = self.instance_end().into_iter().chain(self.lifetimes.next_end(end)).min();
        next.and_then(|next| next.checked_add_secs(-duration)).unwrap_or(never)
    }
}

/// A length of time for people, in its two largest units: `2 h`, `1 h 30 min`, `45 s`.
#[must_use]
pub fn span(secs: f64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    // As many seconds as were begun: what is said to take 0 s would be over.
    let whole = secs.max(0.0).ceil() as u64;
    let largest = UNITS.iter().position(|(length, _)| whole >= *length).unwrap_or(UNITS.len() - 1);
    let (length, unit) = UNITS[largest];
    let mut text = format!("{} {unit}", whole / length);
    if let Some((next, unit)) = UNITS.get(largest + 1)
        && whole % length / next > 0
    {
        text += &format!(" {} {unit}", whole % length / next);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_two_units() {
        for (secs, said) in [
            (0.0, "0 s"),
            (0.2, "1 s"),
            (59.0, "59 s"),
            (60.0, "1 min"),
            (5400.0, "1 h 30 min"),
            (7200.0, "2 h"),
            (7201.0, "2 h"),
            (90_061.0, "1 d 1 h"),
        ] {
            assert_eq!(span(secs), said);
        }
    }
}
