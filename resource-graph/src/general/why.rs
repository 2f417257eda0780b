//! Why a request of any shape cannot be had, in words: the first entry that has no place by itself, with how much of it
//! there is.

use super::search::{Outcome, Search};
use super::tree::Place;
use super::wants::{Amount, Want, Wants};
use crate::describe::Word;
use crate::describe::flatten::Role;
use crate::units;
use flurm_types::Constraint;

/// What is missing.
struct Lack {
    /// What there is too little of: `9 cores`.
    asked: String,
    /// How much of it there is.
    there: String,
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
    let said = || constraint.to_json().to_string();
    if constrained && nobody {
        return format!("no node satisfies {}", said());
    }
    let here = if constrained { format!(" that satisfies {}", said()) } else { " here".to_owned() };
    match lack(search, &wants.list, &[Place::Top(0)], None) {
        Some(Lack { asked, there, inside: Some(kind) }) => {
            format!("no {kind}{here} has {asked} (largest: {there})")
        }
        Some(Lack { asked, there, inside: None }) if constrained => {
            format!("what satisfies {} has {there}, the job asks for {asked}", said())
        }
        Some(Lack { asked, there, inside: None }) => {
            format!("this instance has {there}, the job asks for {asked}")
        }
        None => "each of the resources is here, but not all of them side by side".to_owned(),
    }
}

/// What it waits for.
pub(crate) fn not_now<'w>(search: &mut Search<'_, 'w>, wants: &'w Wants) -> String {
    match lack(search, &wants.list, &[Place::Top(0)], None) {
        Some(Lack { asked, there, inside: Some(kind) }) => {
            format!("waits for {asked} in one {kind} (now: {there})")
        }
        Some(Lack { asked, there, inside: None }) => format!("waits for {asked} (free: {there})"),
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
            found = search.find_in(one, *scope) != Outcome::None;
            search.reset();
            if found {
                break;
            }
            most = most.max(match want {
                Want::Amount(amount) => search.amount_free(amount, *scope),
                Want::Things(_) | Want::Pieces(_) => search.reached,
            });
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
        let (asked, there) = said(search, want, most);
        return Some(Lack { asked, there, inside: inside.map(str::to_owned) });
    }
    None
}

/// An entry, and how much of it there is, in words.
fn said(search: &Search<'_, '_>, want: &Want, most: u64) -> (String, String) {
    match want {
        Want::Amount(amount) => {
            let there = match search.is_bytes(amount) {
                true => bytes(most),
                false => most.to_string(),
            };
            (search.described(want), there)
        }
        Want::Things(things) => {
            let kind = search.text(things.kind);
            let asked = counted(things.count, kind);
            let whole = if things.whole { " free as a whole" } else { "" };
            let with = sum(search, &things.with);
            let with = if with.is_empty() || things.whole { String::new() } else { format!(" with {with}") };
            (format!("{asked}{whole}{with}"), most.to_string())
        }
        Want::Pieces(pieces) => {
            let with = sum(search, &pieces.with);
            let times = if pieces.count == 1 { String::new() } else { format!("{} times ", pieces.count) };
            (format!("{times}{with} on a node"), format!("{most} times"))
        }
    }
}

fn sum(search: &Search<'_, '_>, list: &[Want]) -> String {
    let parts: Vec<String> = list.iter().map(|want| search.described(want)).collect();
    parts.join(" and ")
}

impl<'w> Search<'_, 'w> {
    fn text(&self, word: Word) -> &str {
        self.tree().words.text(word)
    }

    fn is_bytes(&self, amount: &Amount) -> bool {
        let unit = self.tree().kinds.get(&amount.kind).map_or("", |kind| self.text(kind.unit));
        amount.role == Role::Memory || units::bytes(unit).is_some()
    }

    /// An entry in words.
    fn described(&self, want: &Want) -> String {
        match want {
            Want::Amount(amount) if self.is_bytes(amount) => {
                format!("{} of {}", bytes(amount.amount), self.text(amount.kind))
            }
            Want::Amount(amount) => match amount.role {
                Role::Gpu => counted(amount.amount, "GPU"),
                _ => counted(amount.amount, self.text(amount.kind)),
            },
            Want::Things(things) => counted(things.count, self.text(things.kind)),
            Want::Pieces(pieces) => {
                format!("{} times {}", pieces.count, sum(self, &pieces.with))
            }
        }
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
        places
    }
}

/// Bytes as people say them.
fn bytes(amount: u64) -> String {
    let (size, unit) = units::largest(amount);
    format!("{size} {unit}")
}

fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
