//! Why a request of any shape cannot be had, in words: the first entry that has no place by itself, with how much of it
//! there is.

use super::search::{Outcome, Search};
use super::tree::Place;
use super::wants::{Amount, Want, Wants};
use crate::describe::Word;
use crate::describe::flatten::Role;
use crate::index::View;
use crate::units;
use flurm_types::{Constraint, Idset};
use std::collections::BTreeSet;

/// What is missing.
struct Lack {
    /// How much is asked for and how much there is: `9`, `4 GiB`.
    asked: String,
    there: String,
    /// Of what, for as much as is asked for and for as much as there is: `cores`, `of memory`.
    what: (String, String),
    /// The type of the vertex that should have it; none if it is the whole instance.
    inside: Option<String>,
}

/// Why this can never be had.
pub(crate) fn never<'w>(
    search: &mut Search<'_, 'w>,
    wants: &'w Wants,
    constraint: &Constraint,
    nobody: bool,
) -> String {
    let constrained = *constraint != Constraint::True;
    let said = || format!("`{constraint}`");
    if constrained && nobody {
        return format!("no node satisfies {}", said());
    }
    let here = if constrained { format!(" that satisfies {}", said()) } else { " here".to_owned() };
    let Some(Lack { asked, there, what, inside }) = lack(search, &wants.list, &[Place::Top(0)], None) else {
        return "each of the resources is here, but not all of them side by side".to_owned();
    };
    match inside {
        Some(kind) => format!("no {kind}{here} has {asked} {} (largest: {there})", what.0),
        None if constrained => {
            format!("what satisfies {} has {there} {}, the job asks for {asked}", said(), what.1)
        }
        None => format!("this instance has {there} {}, the job asks for {asked}", what.1),
    }
}

/// What it waits for.
pub(crate) fn not_now<'w>(search: &mut Search<'_, 'w>, wants: &'w Wants) -> String {
    match lack(search, &wants.list, &[Place::Top(0)], None) {
        Some(Lack { asked, there, what, inside: Some(kind) }) => {
            format!("waits for {asked} {} in one {kind} (now: {there})", what.0)
        }
        Some(Lack { asked, there, what, inside: None }) => {
            format!("waits for {asked} {} (free: {there})", what.0)
        }
        None => "waits for several resources side by side".to_owned(),
    }
}

/// The first entry of a list that none of these vertices has, the innermost of what is in it first.
fn lack<'w>(
    search: &mut Search<'_, 'w>,
    list: &'w [Want],
    scopes: &[Place],
    inside: Option<&str>,
) -> Option<Lack> {
    for want in list {
        let one = std::slice::from_ref(want);
        let (mut most, mut found) = (0, false);
        for scope in scopes {
            let here = match want {
                Want::Amount(amount) => {
                    let free = search.amount_free(amount, *scope);
                    found = free >= amount.amount;
                    free
                }
                Want::Things(_) | Want::Pieces(_) => {
                    found = search.find_in(one, *scope) != Outcome::None;
                    search.reset();
                    search.reached
                }
            };
            if found {
                break;
            }
            most = most.max(here);
        }
        if found {
            continue;
        }
        let (with, kind) = match want {
            Want::Amount(_) => (&[][..], None),
            Want::Things(things) => (&things.with[..], Some(things.kind)),
            Want::Pieces(pieces) => (&pieces.with[..], None),
        };
        let kind_name = kind.map_or("node", |kind| search.text(kind)).to_owned();
        let inner = search.places(scopes, kind);
        if most == 0
            && let Some(inner) = lack(search, with, &inner, Some(&kind_name))
        {
            return Some(inner);
        }
        let (asked, there, what) = said(search, want, most);
        return Some(Lack { asked, there, what, inside: inside.map(str::to_owned) });
    }
    None
}

/// How much of an entry is asked for and how much of it there is, and of what.
fn said(search: &Search<'_, '_>, want: &Want, most: u64) -> (String, String, (String, String)) {
    let numbers = |asked: u64| (asked.to_string(), most.to_string());
    let both = |asked: u64, text: &dyn Fn(u64) -> String| (text(asked), text(most));
    match want {
        Want::Amount(amount) if search.is_bytes(amount) => {
            let what = format!("of {}{}", search.text(amount.kind), with_ids(&amount.ids));
            (bytes(amount.amount), bytes(most), (what.clone(), what))
        }
        Want::Amount(amount) => {
            let (asked, there) = numbers(amount.amount);
            let what = |n| format!("{}{}", plural(n, search.name(amount)), with_ids(&amount.ids));
            (asked, there, both(amount.amount, &what))
        }
        Want::Things(things) => {
            let (asked, there) = numbers(things.count);
            let with = search.sum(&things.with);
            let with = match (things.whole, with.is_empty()) {
                (true, _) => " free as a whole".to_owned(),
                (false, true) => String::new(),
                (false, false) => format!(" with {with}"),
            };
            let ids = with_ids(&things.ids);
            let what = |n| format!("{}{ids}{with}", plural(n, search.text(things.kind)));
            (asked, there, both(things.count, &what))
        }
        Want::Pieces(pieces) => {
            let (asked, there) = numbers(pieces.count);
            let with = search.sum(&pieces.with);
            let what = |n| format!("{} of {with} on a node", plural(n, "slot"));
            (asked, there, both(pieces.count, &what))
        }
    }
}

fn with_ids(ids: &Option<Idset>) -> String {
    ids.as_ref().map_or(String::new(), |ids| format!(" with id {ids}"))
}

impl<'w> Search<'_, 'w> {
    fn text(&self, word: Word) -> &str {
        self.tree().words.text(word)
    }

    fn is_bytes(&self, amount: &Amount) -> bool {
        let unit = self.tree().kinds.get(&amount.kind).map_or("", |kind| self.text(kind.unit));
        amount.role == Role::Memory || units::bytes(unit).is_some()
    }

    fn name(&self, amount: &Amount) -> &str {
        if amount.role == Role::Gpu { "GPU" } else { self.text(amount.kind) }
    }

    /// A list in words.
    fn sum(&self, list: &[Want]) -> String {
        let parts = list.iter().map(|want| match want {
            Want::Amount(amount) if self.is_bytes(amount) => {
                format!("{} of {}", bytes(amount.amount), self.text(amount.kind))
            }
            Want::Amount(amount) => counted(amount.amount, self.name(amount)),
            Want::Things(things) => counted(things.count, self.text(things.kind)),
            Want::Pieces(pieces) => format!("{} times {}", pieces.count, self.sum(&pieces.with)),
        });
        parts.collect::<Vec<String>>().join(" and ")
    }

    /// All vertices of a kind in some vertices; nodes if none is named.
    fn places(&self, scopes: &[Place], kind: Option<Word>) -> Vec<Place> {
        let tree = self.tree();
        let mut places = Vec::new();
        for scope in scopes {
            let nodes = tree.nodes_of(*scope).iter().map(|at| Place::In(*at, 0));
            let Some(kind) = kind else {
                places.extend(nodes);
                continue;
            };
            match *scope {
                Place::In(at, v) => {
                    let list = tree.inside(at).list.below(v, kind);
                    places.extend(list.iter().map(|v| Place::In(at, *v)));
                }
                Place::Top(v) => {
                    places.extend(tree.top.below(v, kind).iter().map(|v| tree.place(*v)));
                    if tree.kinds.get(&kind).is_some_and(|kind| kind.inside) {
                        for at in tree.nodes_of(*scope) {
                            let list = tree.inside(*at).list.below(0, kind);
                            places.extend(list.iter().map(|v| Place::In(*at, *v)));
                        }
                    }
                }
            }
        }
        places.retain(|place| self.is_allowed(*place));
        if self.view() == View::Ever {
            // With nothing taken, nodes that look alike have the same.
            let mut seen = BTreeSet::new();
            places.retain(|place| match *place {
                Place::Top(_) => true,
                Place::In(at, v) => seen.insert((tree.nodes[at as usize].inside, v)),
            });
        }
        places
    }
}

/// Bytes as people say them.
fn bytes(amount: u64) -> String {
    let (size, unit) = units::largest(amount);
    format!("{size} {unit}")
}

fn counted(n: u64, what: &str) -> String {
    format!("{n} {}", plural(n, what))
}

fn plural(n: u64, what: &str) -> String {
    format!("{what}{}", if n == 1 { "" } else { "s" })
}
