//! What a job asks for in the general form: a tree of things, amounts and pieces, as deep as it was written.
//!
//! Slots are gone here. Inside of a node a slot is no thing of its own: so many slots are so many times what is in them.
//! Above nodes a slot of cores and the like is a *piece*, which lies on one node. What a slot contains is the job's own
//! unless it says otherwise; of other things their parts may be given to others.

use super::tree::{Kind, Tree};
use crate::counts::{self, Counts};
use crate::describe::Word;
use crate::describe::flatten::Role;
use crate::totals::{KINDS_MAX, Totals};
use crate::units;
use flurm_jobspec::{Jobspec, Kind as Named, Placement, Resource};
use flurm_types::Idset;

/// One entry of a list that is wanted side by side.
#[derive(Debug, Clone)]
pub(crate) enum Want {
    /// So many vertices of a kind, no two the same, each with these inside.
    Things(Things),
    /// So much of what has no parts, wherever it lies in the vertex around.
    Amount(Amount),
    /// So many times all of this, each on one node.
    Pieces(Pieces),
}

#[derive(Debug, Clone)]
pub(crate) struct Things {
    pub(crate) kind: Word,
    pub(crate) count: u64,
    /// With everything in them.
    pub(crate) whole: bool,
    pub(crate) ids: Option<Idset>,
    pub(crate) with: Vec<Want>,
    /// Cores and GPUs that each has at least.
    pub(crate) least: (u64, u64),
}

#[derive(Debug, Clone)]
pub(crate) struct Amount {
    pub(crate) role: Role,
    pub(crate) kind: Word,
    /// Bytes, if its unit is one of those.
    pub(crate) amount: u64,
    pub(crate) ids: Option<Idset>,
}

#[derive(Debug, Clone)]
pub(crate) struct Pieces {
    pub(crate) count: u64,
    /// With everything on their nodes.
    pub(crate) whole: bool,
    pub(crate) with: Vec<Want>,
    /// Of each.
    pub(crate) least: (u64, u64),
    /// Are there amounts alone in it?
    pub(crate) simple: bool,
}

/// A request in the terms of one tree.
#[derive(Debug, Clone)]
pub(crate) struct Wants {
    pub(crate) list: Vec<Want>,
    /// Slots in all.
    pub(crate) slots: u32,
    pub(crate) placement: Placement,
}

/// Types that go by several names.
const ALIASES: &[&[&str]] = &[
    &["pu", "thread"],
    &["socket", "package"],
    &["numanode", "numa", "NUMANode"],
    &["l3cache", "l3", "L3Cache"],
];

/// Cores and GPUs that a list takes at least.
pub(crate) fn least(list: &[Want]) -> (u64, u64) {
    let times = |(cores, gpus): (u64, u64), n: u64| (cores.saturating_mul(n), gpus.saturating_mul(n));
    list.iter().fold((0, 0), |sum: (u64, u64), want| {
        let one = match want {
            Want::Things(things) => times(things.least, things.count),
            Want::Pieces(pieces) => times(pieces.least, pieces.count),
            Want::Amount(Amount { role: Role::Core, amount, .. }) => (*amount, 0),
            Want::Amount(Amount { role: Role::Gpu, amount, .. }) => (0, *amount),
            Want::Amount(Amount { role: Role::Thread, .. }) => (1, 0),
            Want::Amount(_) => (0, 0),
        };
        (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1))
    })
}

/// What a list takes at least of everything that is summed up.
pub(crate) fn totals(tree: &Tree, list: &[Want]) -> Totals {
    fn add(tree: &Tree, list: &[Want], times: u64, sums: &mut [u64; KINDS_MAX]) {
        for want in list {
            match want {
                Want::Things(things) => add(tree, &things.with, times.saturating_mul(things.count), sums),
                Want::Pieces(pieces) => add(tree, &pieces.with, times.saturating_mul(pieces.count), sums),
                Want::Amount(Amount { kind, amount, .. }) => {
                    if let Some(kind) = tree.summed(*kind) {
                        sums[kind] = sums[kind].saturating_add(amount.saturating_mul(times));
                    }
                }
            }
        }
    }
    let mut totals = Totals::new(least(list));
    add(tree, list, 1, &mut totals.pools);
    totals
}

/// Will whoever gets this have a core?
fn has_core(list: &[Want]) -> bool {
    list.iter().any(|want| match want {
        Want::Things(things) => things.whole || has_core(&things.with),
        Want::Pieces(_) => true,
        Want::Amount(amount) => matches!(amount.role, Role::Core | Role::Thread),
    })
}

/// May what is taken for one entry of a list be missing to another?
pub(crate) fn compete(list: &[Want]) -> bool {
    let inner = list.iter().any(|want| match want {
        Want::Things(things) => compete(&things.with),
        Want::Pieces(pieces) => compete(&pieces.with),
        Want::Amount(_) => false,
    });
    let with_parts = list.iter().any(|want| !matches!(want, Want::Amount(_)));
    inner || list.len() > 1 && with_parts
}

impl Wants {
    /// Reads the resources of a jobspec; the placement is for those that ask for none.
    ///
    /// # Errors
    /// What this tree does not have, or nobody can be given.
    pub(crate) fn of(
        tree: &Tree,
        jobspec: &Jobspec,
        default: Placement,
        counts: &Counts<'_>,
    ) -> Result<Wants, String> {
        let attributes = jobspec.attributes();
        if attributes.cosched.is_some() {
            return Err(
                "a job that shares its sockets asks for slots of cores, on nodes or anywhere".to_owned()
            );
        }
        counts::check(jobspec)?;
        let placement = match attributes.placement {
            Some(Placement::Spread(_)) => {
                return Err("`spread` is for slots of cores and GPUs, on nodes or anywhere".to_owned());
            }
            Some(placement) => placement,
            None if matches!(default, Placement::Spread(_)) => Placement::Compact,
            None => default,
        };
        let mut reader = Reader { tree, counts, slots: 0 };
        let at = At { above: true, in_slot: false, around: 1 };
        let list = reader.list(jobspec.resources().iter(), at, 1)?;
        let slots = u32::try_from(reader.slots).unwrap_or(u32::MAX).max(1);
        Ok(Wants { list: structures_first(list), slots, placement })
    }
}

/// Where an entry stands.
#[derive(Debug, Copy, Clone)]
struct At {
    /// Above nodes?
    above: bool,
    in_slot: bool,
    /// How often all that is around it is there.
    around: u64,
}

struct Reader<'a> {
    tree: &'a Tree,
    counts: &'a Counts<'a>,
    slots: u64,
}

/// Is something in it wanted as a whole?
fn wholeness(want: &Want) -> bool {
    match want {
        Want::Things(things) => things.whole || things.with.iter().any(wholeness),
        Want::Pieces(pieces) => pieces.whole || pieces.with.iter().any(wholeness),
        Want::Amount(_) => false,
    }
}

/// What has parts is looked for first: amounts find a place beside it more easily than the other way round. Amounts of
/// one kind are put together.
fn structures_first(list: Vec<Want>) -> Vec<Want> {
    let (amounts, mut sorted): (Vec<Want>, Vec<Want>) =
        list.into_iter().partition(|want| matches!(want, Want::Amount(_)));
    // What can be had whole only is harder to find than what has room beside others.
    sorted.sort_by_key(|want| (!wholeness(want), matches!(want, Want::Pieces(_))));
    let first = sorted.len();
    for want in amounts {
        let Want::Amount(amount) = want else { continue };
        let known = sorted[first..].iter_mut().find_map(|want| match want {
            Want::Amount(known) if known.kind == amount.kind && known.ids == amount.ids => Some(known),
            _ => None,
        });
        match known {
            Some(known) => known.amount = known.amount.saturating_add(amount.amount),
            None => sorted.push(Want::Amount(amount)),
        }
    }
    sorted
}

impl Reader<'_> {
    fn list<'r>(
        &mut self,
        resources: impl Iterator<Item = &'r Resource>,
        at: At,
        times: u64,
    ) -> Result<Vec<Want>, String> {
        let mut list = Vec::new();
        for resource in resources {
            if resource.kind == Named::Slot {
                list.extend(self.slot(resource, at, times)?);
            } else {
                list.push(self.one(resource, at, times)?);
            }
        }
        Ok(structures_first(list))
    }

    fn slot(&mut self, slot: &Resource, at: At, times: u64) -> Result<Vec<Want>, String> {
        let count = u64::from(self.counts.of(slot));
        self.slots = self.slots.saturating_add(at.around.saturating_mul(count).saturating_mul(times));
        let inside = At { in_slot: true, around: at.around.saturating_mul(count), ..at };
        if !at.above {
            let times = times.saturating_mul(count);
            let mut list = self.list(slot.with.iter(), inside, times)?;
            if !has_core(&list) {
                list.push(self.cores(times));
            }
            return Ok(list);
        }
        let (mut upper, mut lower) = (Vec::new(), Vec::new());
        for resource in &slot.with {
            let (_, kind) = self.kind(resource)?;
            if kind.above { upper.push(resource) } else { lower.push(resource) }
        }
        let mut list = self.list(upper.into_iter(), inside, times.saturating_mul(count))?;
        let lower = self.list(lower.into_iter(), At { above: false, ..inside }, 1)?;
        if !lower.is_empty() || !has_core(&list) {
            let whole = slot.exclusive == Some(true);
            list.push(self.pieces(count.saturating_mul(times), lower, whole));
        }
        Ok(list)
    }

    /// So many pieces, each with a core at least: nothing runs without one.
    fn pieces(&self, count: u64, mut with: Vec<Want>, whole: bool) -> Want {
        if !has_core(&with) {
            with.push(self.cores(1));
        }
        let with = structures_first(with);
        let simple = with.iter().all(|want| matches!(want, Want::Amount(_)));
        Want::Pieces(Pieces { count, whole, least: least(&with), simple, with })
    }

    fn cores(&self, amount: u64) -> Want {
        // A tree without cores has no nodes either, and nobody gets anything.
        let kind = self.tree.words.find("core").unwrap_or(0);
        Want::Amount(Amount { role: Role::Core, kind, amount, ids: None })
    }

    /// The type of a resource in this tree.
    fn kind(&self, resource: &Resource) -> Result<(Word, Kind), String> {
        let name = resource.kind.as_str();
        let names = ALIASES.iter().find(|names| names.contains(&name)).copied().unwrap_or_default();
        let known = std::iter::once(&name).chain(names).find_map(|name| {
            let word = self.tree.words.find(name)?;
            Some((word, *self.tree.kinds.get(&word)?))
        });
        known.ok_or_else(|| {
            let mut has: Vec<&str> = self.tree.kinds.keys().map(|word| self.tree.words.text(*word)).collect();
            has.sort_unstable();
            format!("this instance has no resources of type `{name}` (has: {})", has.join(", "))
        })
    }

    fn one(&mut self, resource: &Resource, at: At, times: u64) -> Result<Want, String> {
        let (word, kind) = self.kind(resource)?;
        let name = &resource.kind;
        let role = Role::of(self.tree.words.text(word));
        let written = u64::from(self.counts.of(resource));
        let count = written.saturating_mul(times);
        if !at.above && !kind.inside {
            return Err(format!("a {name} is not inside a node here"));
        }
        let ids = match &resource.id {
            None => None,
            Some(ids) => Some(ids.parse::<Idset>().map_err(|_| format!("`{ids}` is no set of ids"))?),
        };
        let leaf = matches!(role, Role::Core | Role::Gpu | Role::Thread);
        if leaf && resource.exclusive == Some(false) {
            return Err(format!("a {name} is never shared between jobs"));
        }
        if resource.with.is_empty() && (leaf || !kind.parts && resource.exclusive != Some(false)) {
            let amount = count.saturating_mul(self.unit(resource, kind)?);
            let amount = Want::Amount(Amount { role, kind: word, amount, ids });
            // Loose parts of nodes above nodes lie on one of them.
            let loose = at.above && (leaf || !kind.above);
            return Ok(if loose { self.pieces(1, vec![amount], false) } else { amount });
        }
        if let Some(unit) = &resource.unit {
            return Err(format!("a {name} is counted, it has no unit `{unit}`"));
        }
        let node = role == Role::Node;
        let whole_slot = |inside: &Resource| inside.kind == Named::Slot && inside.exclusive == Some(true);
        let whole = leaf || resource.is_exclusive(at.in_slot) || node && resource.with.iter().any(whole_slot);
        let above = at.above && kind.above && !node;
        let around = at.around.saturating_mul(written);
        let mut with = self.list(resource.with.iter(), At { above, around, ..at }, 1)?;
        let leaves =
            |want: &Want| matches!(want, Want::Amount(a) if matches!(a.role, Role::Core | Role::Gpu));
        if leaf && with.iter().any(leaves) {
            return Err(format!("cores and GPUs are not inside a {name}"));
        }
        // A node that gives anything gives a core, as does a part of one that stands alone.
        if at.above && !above && !whole && (at.in_slot || !with.is_empty()) && !has_core(&with) {
            with.push(self.cores(1));
        }
        let with = structures_first(with);
        let mut least = least(&with);
        if whole {
            // The smallest that there is has as much.
            least = (least.0.max(kind.fewest.0), least.1.max(kind.fewest.1));
        }
        Ok(Want::Things(Things { kind: word, count, whole, ids, least, with }))
    }

    /// What one of the units of a request is in the tree's.
    fn unit(&self, resource: &Resource, kind: Kind) -> Result<u64, String> {
        let here = self.tree.words.text(kind.unit);
        let memory = resource.kind == Named::Memory;
        let bytes_here = if memory && here.is_empty() { units::bytes("GiB") } else { units::bytes(here) };
        let asked = resource.unit.as_deref().unwrap_or("");
        match (asked, units::bytes(asked), bytes_here) {
            ("", _, bytes) => Ok(bytes.unwrap_or(1)),
            (_, Some(asked), Some(_)) => Ok(asked),
            (same, None, None) if same == here => Ok(1),
            _ => {
                let name = &resource.kind;
                let here = if memory && here.is_empty() { "GiB" } else { here };
                let counted =
                    if here.is_empty() { "has no unit".to_owned() } else { format!("is counted in {here}") };
                Err(format!("{name} {counted} here, but `{asked}` is asked for"))
            }
        }
    }
}
