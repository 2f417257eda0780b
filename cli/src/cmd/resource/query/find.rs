//! Criteria of `find`: terms such as `type=core`, joined by `and`, `or`, `not` and parentheses.

use super::vertices::{Tally, Vertices};
use crate::failure::Failure;
use flurm_types::{Hostlist, Idset, R};
use std::collections::BTreeMap;

/// Which vertices are wanted.
#[derive(Debug)]
pub enum Criteria {
    Type(String),
    Name(String),
    Property(String),
    Rank(Idset),
    Host(Hostlist),
    Status(Status),
    Held(Held),
    /// A job holds something of it.
    Job(u64),
    /// A reservation waits for something of it.
    Reserved(bool),
    Not(Box<Criteria>),
    All(Vec<Criteria>),
    Any(Vec<Criteria>),
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Status {
    Up,
    Down,
    Drained,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Held {
    Free,
    Partial,
    Allocated,
}

impl Held {
    /// Of so many there are, so many are held.
    pub fn of((all, held): (u32, u32)) -> Held {
        match held {
            0 => Held::Free,
            held if held == all => Held::Allocated,
            _ => Held::Partial,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Held::Free => "free",
            Held::Partial => "partial",
            Held::Allocated => "allocated",
        }
    }
}

/// Most terms in each other; what people type has two or three.
const DEPTH_MAX: usize = 32;

const KEYS: &str = "type, name, property, rank, host, status (up, down, drained), sched-now (free, partial, allocated), \
                    sched-future (free, reserved), jobid";

impl Criteria {
    /// Reads words.
    pub fn read(words: &[String]) -> Result<Criteria, Failure> {
        let text = words.join(" ").replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut rest = words.as_slice();
        let criteria = any(&mut rest, 0)?;
        match rest.first() {
            None => Ok(criteria),
            Some(word) => Err(Failure::usage(format!("cannot read criteria: `{word}` without `(`"))),
        }
    }
}

fn any(rest: &mut &[&str], depth: usize) -> Result<Criteria, Failure> {
    let mut some = vec![all(rest, depth)?];
    while rest.first() == Some(&"or") {
        *rest = &rest[1..];
        some.push(all(rest, depth)?);
    }
    Ok(if some.len() == 1 { some.remove(0) } else { Criteria::Any(some) })
}

fn all(rest: &mut &[&str], depth: usize) -> Result<Criteria, Failure> {
    let mut some = vec![term(rest, depth)?];
    while let Some(word) = rest.first().filter(|word| **word != "or" && **word != ")") {
        if *word == "and" {
            *rest = &rest[1..];
        }
        some.push(term(rest, depth)?);
    }
    Ok(if some.len() == 1 { some.remove(0) } else { Criteria::All(some) })
}

fn term(rest: &mut &[&str], depth: usize) -> Result<Criteria, Failure> {
    if depth > DEPTH_MAX {
        return Err(Failure::usage("cannot read criteria: too many in each other"));
    }
    let Some((word, behind)) = rest.split_first() else {
        return Err(Failure::usage("cannot read criteria: a term is missing at the end"));
    };
    *rest = behind;
    match *word {
        "not" => Ok(Criteria::Not(Box::new(term(rest, depth + 1)?))),
        "(" => {
            let inside = any(rest, depth + 1)?;
            match rest.split_first() {
                Some((word, behind)) if *word == ")" => *rest = behind,
                _ => return Err(Failure::usage("cannot read criteria: `(` without `)`")),
            }
            Ok(inside)
        }
        word => single(word),
    }
}

fn single(word: &str) -> Result<Criteria, Failure> {
    let unknown = || {
        Failure::usage(format!("cannot read criteria: `{word}` is no term"))
            .hint(format!("terms are KEY=VALUE: {KEYS}"))
    };
    let (key, value) = word.split_once('=').ok_or_else(unknown)?;
    Ok(match (key, value) {
        ("type", kind) => Criteria::Type(kind.to_owned()),
        ("name", name) => Criteria::Name(name.to_owned()),
        ("property", name) => Criteria::Property(name.to_owned()),
        ("rank", ranks) => Criteria::Rank(ranks.parse()?),
        ("host", hosts) => Criteria::Host(hosts.parse()?),
        ("status", "up") => Criteria::Status(Status::Up),
        ("status", "down") => Criteria::Status(Status::Down),
        ("status", "drained" | "drain") => Criteria::Status(Status::Drained),
        ("sched-now", "free") => Criteria::Held(Held::Free),
        ("sched-now", "partial") => Criteria::Held(Held::Partial),
        ("sched-now", "allocated") => Criteria::Held(Held::Allocated),
        ("sched-future", "free") => Criteria::Reserved(false),
        ("sched-future", "reserved") => Criteria::Reserved(true),
        ("jobid" | "jobid-alloc", id) => Criteria::Job(id.parse().map_err(|_| unknown())?),
        _ => return Err(unknown()),
    })
}

/// What criteria look at, beside the vertices themselves.
#[derive(Debug)]
pub struct Scene<'a> {
    pub vertices: &'a Vertices<'a>,
    pub up: Idset,
    pub drained: Idset,
    /// What jobs hold now.
    pub held: Tally,
    /// What is reserved.
    pub reserved: Tally,
    /// What each job holds or will hold.
    pub jobs: BTreeMap<u64, &'a R>,
    /// Where properties are known from.
    pub inventory: &'a R,
}

impl Criteria {
    /// The vertices that meet them, in their order.
    pub fn found(&self, scene: &Scene<'_>) -> Vec<bool> {
        let count = scene.vertices.len();
        let each = |meets: &dyn Fn(usize) -> bool| (0..count).map(meets).collect();
        let vertex = |at| scene.vertices.get(at);
        match self {
            Criteria::Type(kind) => each(&|at| vertex(at).kind() == kind),
            Criteria::Name(name) => each(&|at| vertex(at).name() == name),
            Criteria::Property(name) => {
                let ranks = scene.inventory.properties.get(name).cloned().unwrap_or_default();
                each(&|at| match vertex(at).is_node() {
                    true => vertex(at).rank.is_some_and(|rank| ranks.contains(rank)),
                    false => vertex(at).properties().contains_key(name),
                })
            }
            Criteria::Rank(ranks) => each(&|at| vertex(at).rank.is_some_and(|rank| ranks.contains(rank))),
            Criteria::Host(hosts) => each(&|at| vertex(at).is_node() && hosts.contains(vertex(at).name())),
            Criteria::Status(status) => each(&|at| scene.status(at) == *status),
            Criteria::Held(held) => each(&|at| Held::of(scene.held[at]) == *held),
            Criteria::Reserved(wanted) => each(&|at| (scene.reserved[at].1 > 0) == *wanted),
            Criteria::Job(id) => {
                let tally = scene.jobs.get(id).map(|r| scene.vertices.tally(r));
                each(&|at| tally.as_ref().is_some_and(|tally| tally[at].1 > 0))
            }
            Criteria::Not(one) => one.found(scene).into_iter().map(|found| !found).collect(),
            Criteria::All(some) => some.iter().fold(vec![true; count], |all, one| {
                all.into_iter().zip(one.found(scene)).map(|(all, one)| all && one).collect()
            }),
            Criteria::Any(some) => some.iter().fold(vec![false; count], |any, one| {
                any.into_iter().zip(one.found(scene)).map(|(any, one)| any || one).collect()
            }),
        }
    }
}

impl Scene<'_> {
    /// A vertex is down if all nodes that it has to do with are, and so on.
    pub fn status(&self, at: usize) -> Status {
        let ranks = self.vertices.ranks(at);
        if ranks.is_disjoint(&self.up) {
            Status::Down
        } else if ranks.is_subset(&self.drained) {
            Status::Drained
        } else {
            Status::Up
        }
    }
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Up => "up",
            Status::Down => "down",
            Status::Drained => "drained",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criteria_that_mean_nothing_are_refused() {
        for (text, said) in [
            ("core", "`core` is no term"),
            ("kind=core", "`kind=core` is no term"),
            ("status=well", "is no term"),
            ("jobid=x", "is no term"),
            ("type=core and", "a term is missing"),
            ("(type=core", "`(` without `)`"),
            ("type=core)", "`)` without `(`"),
            ("not", "a term is missing"),
            ("rank=a", "cannot read idset"),
        ] {
            let failure = Criteria::read(&[text.to_owned()]).unwrap_err();
            assert!(failure.lines().0.contains(said), "{text}: {failure:?}");
        }
        let deep = vec!["not".to_owned(); 1000];
        assert!(Criteria::read(&deep).unwrap_err().lines().0.contains("too many"));
    }
}
