//! Which nodes a job may run on (RFC 31): properties, hosts and ranks, joined by logic.
//!
//! `json.rs` has the JSON form that jobspecs carry, `query.rs` the short form that people type.

mod json;
mod query;

pub use json::ConstraintError;

use crate::{Hostlist, Idset};

/// How deep logic may nest; far above what a person writes, far below what a stack holds.
pub const MAX_DEPTH: usize = 32;
/// Most operators and values in one constraint.
pub const MAX_TERMS: usize = 4096;

/// What a node must satisfy (RFC 31).
#[derive(Debug, Clone, Default, Eq, PartialEq)]
pub enum Constraint {
    /// Every node will do: `{}`.
    #[default]
    True,
    /// The node has all of these, and none of the negated ones.
    Properties(Vec<Property>),
    /// The node is one of these.
    Hostlist(Hostlist),
    /// The node's rank is one of these.
    Ranks(Idset),
    /// All hold; an empty list holds.
    And(Vec<Constraint>),
    /// At least one holds; an empty list holds.
    Or(Vec<Constraint>),
    /// Not all of them hold; an empty list never holds.
    Not(Vec<Constraint>),
}

/// A property a node must have, or must not have when negated (`^name`).
#[derive(Debug, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Property {
    /// Name without the `^`.
    pub name: String,
    /// Must the property be absent?
    pub negated: bool,
}

/// Signs that a property name cannot have, because queries and shells use them.
const RESERVED: &[char] = &['!', '&', '\'', '"', '^', '`', '|', '(', ')'];

impl Property {
    /// Reads `name` or `^name`.
    ///
    /// # Errors
    /// The rule that the name breaks.
    fn read(text: &str) -> Result<Property, String> {
        let (negated, name) = text.strip_prefix('^').map_or((false, text), |name| (true, name));
        if name.is_empty() {
            return Err("a property name is not empty".to_owned());
        }
        if let Some(sign) = name.chars().find(|c| RESERVED.contains(c)) {
            return Err(format!("a property name cannot have `{sign}`"));
        }
        Ok(Property { name: name.to_owned(), negated })
    }
}

impl Constraint {
    /// Does a node with this host, rank and properties satisfy the constraint?
    #[must_use]
    pub fn matches(&self, host: &str, rank: u32, props: &dyn Fn(&str) -> bool) -> bool {
        let holds = |inner: &Constraint| inner.matches(host, rank, props);
        match self {
            Constraint::True => true,
            Constraint::Properties(list) => list.iter().all(|p| props(&p.name) != p.negated),
            Constraint::Hostlist(hosts) => hosts.contains(host),
            Constraint::Ranks(ranks) => ranks.contains(rank),
            Constraint::And(list) => list.iter().all(holds),
            Constraint::Or(list) => list.is_empty() || list.iter().any(holds),
            Constraint::Not(list) => !list.iter().all(holds),
        }
    }

    /// Every property name the constraint speaks of.
    #[must_use]
    pub fn property_names(&self) -> Vec<&str> {
        match self {
            Constraint::True | Constraint::Hostlist(_) | Constraint::Ranks(_) => Vec::new(),
            Constraint::Properties(list) => list.iter().map(|p| p.name.as_str()).collect(),
            Constraint::And(list) | Constraint::Or(list) | Constraint::Not(list) => {
                list.iter().flat_map(Constraint::property_names).collect()
            }
        }
    }

    /// Both this constraint and another.
    #[must_use]
    pub fn and(self, other: Constraint) -> Constraint {
        match (self, other) {
            (Constraint::True, only) | (only, Constraint::True) => only,
            (Constraint::And(mut list), other) => {
                list.push(other);
                Constraint::And(list)
            }
            (one, two) => Constraint::And(vec![one, two]),
        }
    }
}
