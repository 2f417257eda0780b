//! Resources as others describe them: any kinds of things, what contains what, and further relations (RFC 4).
//!
//! A [`Description`] keeps all that a file says. What matching needs of it is an [`R`](flurm_types::R) with the sockets of its nodes
//! ([`Description::to_r`]); the other way makes a description of any R. `jgf.rs` reads and writes JSON, which `document.rs`
//! takes apart; `hwloc.rs` reads what hwloc saves of a machine.

pub(crate) mod build;
mod document;
pub(crate) mod flatten;
mod hwloc;
mod jgf;
mod shape;
mod words;

pub use document::Document;
pub use shape::Shape;
pub(crate) use words::{Word, Words};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Most things in a description: 16,384 nodes of 96 cores with two threads each, and some.
pub const POOLS_MAX: usize = 1 << 23;

/// Most of one kind that a single entry may stand for, by its size.
pub const SIZE_MAX: u64 = 1 << 40;

/// How deep things may lie inside each other; machines have a dozen levels.
const DEPTH_MAX: usize = 64;

/// The subsystem that says what is inside what.
pub const CONTAINMENT: &str = "containment";

/// A description that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read resources at `{at}`: {rule}")]
pub struct DescriptionError {
    /// The vertex by its id or path, or the place in the text.
    pub at: String,
    /// What is wrong with it.
    pub rule: String,
}

fn fail<T>(at: impl Into<String>, rule: impl Into<String>) -> Result<T, DescriptionError> {
    Err(DescriptionError { at: at.into(), rule: rule.into() })
}

/// What edges call a vertex: nearly always a number, which takes no room of its own.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(crate) struct Id(u64);

/// Ids from here on are words.
const WORDS: u64 = 1 << 63;

impl Id {
    pub(crate) fn number(number: u64) -> Id {
        Id(number)
    }

    /// The id of a text. Texts that are numbers as we write them are numbers.
    fn of(text: &str, words: &mut Words) -> Id {
        let plain = text == "0" || !text.starts_with(['0', '+']);
        match text.parse::<u64>() {
            Ok(number) if plain && number < WORDS => Id(number),
            _ => Id(WORDS | u64::from(words.word(text))),
        }
    }

    fn as_number(self) -> Option<u64> {
        (self.0 < WORDS).then_some(self.0)
    }

    fn text(self, words: &Words) -> Cow<'_, str> {
        match self.as_number() {
            Some(number) => Cow::Owned(number.to_string()),
            None => Cow::Borrowed(words.text((self.0 & !WORDS) as Word)),
        }
    }
}

/// A thing, or several alike that are counted together (a *resource pool* of RFC 4). There may be millions, so texts are
/// numbers.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) vertex: Id,
    /// `node`, `core`, `memory` or whatever else.
    pub(crate) kind: Word,
    /// The name's part before the number; mostly the kind.
    pub(crate) basename: Word,
    /// Its name among its neighbours.
    pub(crate) name: Word,
    /// A number among things of its kind; -1 if it has none.
    pub(crate) id: i64,
    /// The broker that it belongs to, if it is said here.
    pub(crate) rank: Option<u32>,
    /// How much of it there is.
    pub(crate) size: u64,
    /// What the size counts.
    pub(crate) unit: Word,
    /// Which of the sets of properties.
    pub(crate) properties: u32,
    /// Never shared?
    pub(crate) exclusive: bool,
    /// In use at all?
    pub(crate) up: bool,
}

/// How two things relate: a subsystem such as `containment` or `power`, and a name such as `contains`.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Relation {
    subsystem: Word,
    name: Word,
}

/// Names with their values, which are mostly empty.
pub type Properties = BTreeMap<String, String>;

/// Everything that a file says of resources; one tree by containment.
#[derive(Debug, Clone)]
pub struct Description {
    /// Vertices and edges in the order in which they were written.
    graph: DiGraph<Pool, Relation>,
    root: NodeIndex,
    words: Words,
    /// The sets of properties that occur; the first is empty.
    sets: Vec<Properties>,
    containment: Word,
}

/// A vertex of a description.
#[derive(Debug, Copy, Clone)]
pub struct Thing<'a> {
    of: &'a Description,
    at: NodeIndex,
}

impl<'a> Thing<'a> {
    pub(crate) fn pool(self) -> &'a Pool {
        &self.of.graph[self.at]
    }

    /// Where it stands, for telling vertices apart.
    pub(crate) fn place(self) -> NodeIndex {
        self.at
    }

    /// This and all that is inside, with depths from 0.
    pub(crate) fn walk(self) -> impl Iterator<Item = (usize, Thing<'a>)> {
        self.of.walk_from(self.at).map(move |(depth, at)| (depth, self.of.thing(at)))
    }

    pub(crate) fn has_parts(self) -> bool {
        self.of.children(self.at).next().is_some()
    }

    /// `node`, `core`, `memory` or whatever else.
    #[must_use]
    pub fn kind(self) -> &'a str {
        self.of.words.text(self.pool().kind)
    }

    /// Its name among its neighbours.
    #[must_use]
    pub fn name(self) -> &'a str {
        self.of.words.text(self.pool().name)
    }

    /// Its number among things of its kind; -1 if it has none.
    #[must_use]
    pub fn id(self) -> i64 {
        self.pool().id
    }

    /// The broker that it belongs to, if it is said here.
    #[must_use]
    pub fn rank(self) -> Option<u32> {
        self.pool().rank
    }

    /// How much of it there is.
    #[must_use]
    pub fn size(self) -> u64 {
        self.pool().size
    }

    /// What the size counts; mostly nothing.
    #[must_use]
    pub fn unit(self) -> &'a str {
        self.of.words.text(self.pool().unit)
    }

    /// Names with their values, which are mostly empty.
    #[must_use]
    pub fn properties(self) -> &'a Properties {
        &self.of.sets[self.pool().properties as usize]
    }

    /// Is it in use at all?
    #[must_use]
    pub fn is_up(self) -> bool {
        self.pool().up
    }
}

/// One vertex, all of it as text, for comparing.
type Said<'a> = (Cow<'a, str>, [&'a str; 4], i64, Option<u32>, u64, bool, bool, &'a Properties);

impl PartialEq for Description {
    /// The same vertices and edges in the same order.
    fn eq(&self, other: &Description) -> bool {
        fn vertices(d: &Description) -> impl Iterator<Item = Said<'_>> {
            d.graph.node_weights().map(|pool| {
                let words = [pool.kind, pool.basename, pool.name, pool.unit].map(|word| d.words.text(word));
                let properties = &d.sets[pool.properties as usize];
                let id = pool.vertex.text(&d.words);
                (id, words, pool.id, pool.rank, pool.size, pool.exclusive, pool.up, properties)
            })
        }
        fn edges(d: &Description) -> impl Iterator<Item = (NodeIndex, NodeIndex, &str, &str)> {
            d.graph.edge_references().map(|edge| {
                let Relation { subsystem, name } = *edge.weight();
                (edge.source(), edge.target(), d.words.text(subsystem), d.words.text(name))
            })
        }
        vertices(self).eq(vertices(other)) && edges(self).eq(edges(other))
    }
}

impl Description {
    /// A graph that is a tree by containment, with names that tell siblings apart.
    fn checked(
        graph: DiGraph<Pool, Relation>,
        mut words: Words,
        sets: Vec<Properties>,
    ) -> Result<Description, DescriptionError> {
        let containment = words.word(CONTAINMENT);
        let mut description = Description { graph, root: NodeIndex::new(0), words, sets, containment };
        description.find_root()?;
        description.check_reach()?;
        description.check_names()?;
        Ok(description)
    }

    /// What is said of a vertex, at its id.
    fn fail_at<T>(&self, at: NodeIndex, rule: impl Into<String>) -> Result<T, DescriptionError> {
        fail(self.graph[at].vertex.text(&self.words), rule)
    }

    fn find_root(&mut self) -> Result<(), DescriptionError> {
        let mut roots = Vec::new();
        for at in self.graph.node_indices() {
            let edges = self.graph.edges_directed(at, Direction::Incoming);
            match edges.filter(|edge| edge.weight().subsystem == self.containment).count() {
                0 => roots.push(at),
                1 => {}
                n => return self.fail_at(at, format!("inside {n} others at once")),
            }
        }
        self.root = match roots.as_slice() {
            [root] => *root,
            [] => return fail(".", "nothing that is not inside something else"),
            [one, two, ..] => {
                let one = self.graph[*one].vertex.text(&self.words);
                let said = format!("inside nothing, as is `{one}`; one thing holds all others");
                return self.fail_at(*two, said);
            }
        };
        Ok(())
    }

    fn check_reach(&self) -> Result<(), DescriptionError> {
        let mut seen = vec![false; self.graph.node_count()];
        for (depth, at) in self.walk_places() {
            seen[at.index()] = true;
            if depth > DEPTH_MAX {
                return self.fail_at(at, format!("inside more than {DEPTH_MAX} others"));
            }
        }
        match seen.iter().position(|seen| !seen) {
            Some(lost) => self.fail_at(NodeIndex::new(lost), "inside itself, by way of others"),
            None => Ok(()),
        }
    }

    fn check_names(&self) -> Result<(), DescriptionError> {
        // Whose child had this name last, by word.
        let mut last = vec![NodeIndex::end(); self.words.len()];
        for at in self.graph.node_indices() {
            for child in self.children(at) {
                let name = self.graph[child].name;
                if std::mem::replace(&mut last[name as usize], at) == at {
                    return self.fail_at(at, format!("contains `{}` twice", self.words.text(name)));
                }
            }
        }
        Ok(())
    }

    /// What is directly inside, the last written first, as petgraph has it.
    fn children(&self, at: NodeIndex) -> impl Iterator<Item = NodeIndex> + '_ {
        let edges = self.graph.edges(at).filter(|edge| edge.weight().subsystem == self.containment);
        edges.map(|edge| edge.target())
    }

    /// The same, in the order in which it was written.
    fn children_as_written(&self, at: NodeIndex) -> Vec<NodeIndex> {
        let mut children: Vec<NodeIndex> = self.children(at).collect();
        children.reverse();
        children
    }

    /// All vertices with their depths, what holds before what it holds, siblings in the order in which they were
    /// written.
    fn walk_places(&self) -> impl Iterator<Item = (usize, NodeIndex)> + '_ {
        self.walk_from(self.root)
    }

    fn walk_from(&self, root: NodeIndex) -> impl Iterator<Item = (usize, NodeIndex)> + '_ {
        let mut left = vec![(0, root)];
        std::iter::from_fn(move || {
            let (depth, at) = left.pop()?;
            left.extend(self.children(at).map(|child| (depth + 1, child)));
            Some((depth, at))
        })
    }

    /// The path of one vertex.
    fn path(&self, at: NodeIndex) -> String {
        let mut names = Vec::new();
        let mut next = Some(at);
        while let Some(at) = next {
            names.push(self.words.text(self.graph[at].name));
            let mut above = self.graph.edges_directed(at, Direction::Incoming);
            next = above.find(|edge| edge.weight().subsystem == self.containment).map(|edge| edge.source());
        }
        names.iter().rev().flat_map(|name| ["/", name]).collect()
    }

    fn thing(&self, at: NodeIndex) -> Thing<'_> {
        Thing { of: self, at }
    }

    pub(crate) fn words(&self) -> &Words {
        &self.words
    }

    pub(crate) fn sets(&self) -> &[Properties] {
        &self.sets
    }

    /// Every thing with its depth, what holds before what it holds.
    pub fn walk(&self) -> impl Iterator<Item = (usize, Thing<'_>)> {
        self.walk_places().map(|(depth, at)| (depth, self.thing(at)))
    }

    /// Number of vertices.
    #[must_use]
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Never: there is a root at least.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.graph.node_count() == 0
    }

    /// Calls with every vertex and its path: the names from the root down, behind a slash each.
    fn each_path<E>(&self, mut call: impl FnMut(NodeIndex, &str) -> Result<(), E>) -> Result<(), E> {
        let mut path = String::new();
        // Where the paths of the vertices above end, by depth.
        let mut ends: Vec<usize> = Vec::new();
        for (depth, at) in self.walk_places() {
            ends.truncate(depth);
            path.truncate(ends.last().copied().unwrap_or(0));
            path.push('/');
            path.push_str(self.words.text(self.graph[at].name));
            ends.push(path.len());
            call(at, &path)?;
        }
        Ok(())
    }
}
