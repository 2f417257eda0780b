//! JGF: a description as a JSON graph (RFC 4, RFC 40), as Fluxion and hand-made generators write it.
//!
//! Read: ids that are strings or numbers, properties as a map or a list, names and paths that are left out, edges with
//! a subsystem or in the older form with a map of names. Paths that are given must be the names from the root down.
//! Written: Fluxion's form with everything said. Neither way is the text there a second time as a tree of JSON: a
//! machine of 16,384 nodes has a million vertices. Texts come here piece by piece, from `document.rs`.

use super::build::Sets;
use super::{
    CONTAINMENT, Description, DescriptionError, Document, Id, POOLS_MAX, Pool, Properties, Relation,
    SIZE_MAX, Word, Words, fail,
};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;
use serde::de::{Deserializer, Visitor};
use serde::ser::{SerializeStruct as _, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// A text that is lent if it can be; an option of a `Cow` is a copy always.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A vertex as it is written.
#[derive(Deserialize)]
pub(super) struct Vertex<'a> {
    #[serde(borrow)]
    id: Name<'a>,
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

/// What edges call a vertex, as a text or as a number.
enum Name<'a> {
    Number(u64),
    Text(Cow<'a, str>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name<'a>, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id: a text or a number from 0")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Name<'de>, E> {
                Ok(Name::Number(number))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name::Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Name<'_> {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Name::Number(number) => Cow::Owned(number.to_string()),
            Name::Text(text) => Cow::Borrowed(text),
        }
    }

    fn id(&self, words: &mut Words) -> Id {
        match self {
            // Larger ones than an id holds are texts like any other.
            Name::Number(number) => Id::of(&number.to_string(), words),
            Name::Text(text) => Id::of(text, words),
        }
    }
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    basename: Option<Text<'a>>,
    #[serde(default, borrow)]
    name: Option<Text<'a>>,
    #[serde(default)]
    id: Option<i64>,
    #[serde(default)]
    rank: Option<i64>,
    #[serde(default)]
    size: Option<i64>,
    #[serde(default, borrow)]
    unit: Option<Text<'a>>,
    #[serde(default)]
    exclusive: Option<bool>,
    #[serde(default)]
    properties: Value,
    #[serde(default)]
    status: Value,
    #[serde(default, borrow)]
    paths: Option<BTreeMap<Text<'a>, Text<'a>>>,
}

#[derive(Deserialize)]
pub(super) struct Edge<'a> {
    #[serde(borrow)]
    source: Name<'a>,
    #[serde(borrow)]
    target: Name<'a>,
    #[serde(default, borrow)]
    metadata: Option<EdgeMetadata<'a>>,
}

#[derive(Deserialize, Default)]
struct EdgeMetadata<'a> {
    #[serde(default, borrow)]
    subsystem: Option<Text<'a>>,
    #[serde(default, borrow)]
    relationship: Option<Text<'a>>,
    /// Older: the relation by subsystem.
    #[serde(default, borrow)]
    name: Option<BTreeMap<Text<'a>, Text<'a>>>,
}

/// Places of vertices by id. Ids are mostly numbers without large holes, so most of this is a list.
#[derive(Default)]
struct Places {
    dense: Vec<NodeIndex>,
    others: BTreeMap<u64, NodeIndex>,
}

impl Places {
    fn get(&self, id: Id) -> Option<NodeIndex> {
        let dense = usize::try_from(id.0).ok().and_then(|at| self.dense.get(at));
        match dense {
            Some(place) if *place != NodeIndex::end() => Some(*place),
            _ => self.others.get(&id.0).copied(),
        }
    }

    fn insert(&mut self, id: Id, place: NodeIndex) {
        match usize::try_from(id.0) {
            Ok(at) if at < 4 * place.index() + 1024 => {
                if self.dense.len() <= at {
                    self.dense.resize(at + 1, NodeIndex::end());
                }
                self.dense[at] = place;
            }
            _ => drop(self.others.insert(id.0, place)),
        }
    }
}

/// What is built while the text is read.
#[derive(Default)]
pub(super) struct Reader {
    words: Words,
    sets: Sets,
    graph: DiGraph<Pool, Relation>,
    places: Places,
    /// Paths as written, by place; those above, which many share, as words of their own.
    paths: Vec<Path>,
    above: Words,
    edges: usize,
    /// Edges that came before the vertices.
    early: Vec<(Id, Id, Relation)>,
}

/// The path of a vertex as it is written.
#[derive(Copy, Clone)]
enum Path {
    Unsaid,
    /// This, a slash and its name: as it is, if this is the path of what holds it.
    Below(Word),
    /// Something else.
    Wrong(Word),
}

impl Reader {
    fn vertex(&mut self, vertex: Vertex<'_>) -> Result<(), DescriptionError> {
        let id = vertex.id.text();
        let m = vertex.metadata;
        if self.graph.node_count() >= POOLS_MAX {
            return fail(&*id, format!("more than {POOLS_MAX} vertices"));
        }
        if m.kind.is_empty() {
            return fail(&*id, "`type` is empty");
        }
        let rank = match m.rank {
            None | Some(-1) => None,
            Some(rank) => match u32::try_from(rank).ok().filter(|rank| *rank < u32::MAX) {
                Some(rank) => Some(rank),
                None => return fail(&*id, format!("{rank} is no rank")),
            },
        };
        let size = match m.size {
            None => 1,
            Some(size) => match u64::try_from(size).ok().filter(|size| *size <= SIZE_MAX) {
                Some(size) => size,
                None => return fail(&*id, format!("a size is from 0 to {SIZE_MAX}, found {size}")),
            },
        };
        let basename = m.basename.as_ref().map_or(&*m.kind, |text| &*text.0);
        let number = m.id.unwrap_or_else(|| match (&m.name, &*m.kind) {
            (Some(name), "node") => digits_at_end(&name.0).unwrap_or(-1),
            _ => id.parse().unwrap_or(-1),
        });
        let name = match &m.name {
            Some(name) => Cow::Borrowed(&*name.0),
            None if number < 0 => Cow::Borrowed(basename),
            None => Cow::Owned(format!("{basename}{number}")),
        };
        if name.is_empty() || name.contains('/') {
            return fail(&*id, format!("`{name}` is not a name: it is not empty and has no slash"));
        }
        let up = match &m.status {
            Value::Null => true,
            Value::String(word) => word != "down",
            // Fluxion writes 0 for up.
            Value::Number(number) => number.as_u64() == Some(0),
            _ => return fail(&*id, "`status` is up or down"),
        };
        let pool = Pool {
            vertex: vertex.id.id(&mut self.words),
            kind: self.words.word(&m.kind),
            basename: self.words.word(basename),
            name: self.words.word(&name),
            id: number,
            rank,
            size,
            unit: self.words.word(m.unit.as_ref().map_or("", |text| &*text.0)),
            properties: self.sets.set(properties(&id, m.properties)?),
            exclusive: m.exclusive.unwrap_or(false),
            up,
        };
        let vertex = pool.vertex;
        if self.places.get(vertex).is_some() {
            return fail(&*id, "two vertices have this id");
        }
        self.places.insert(vertex, self.graph.add_node(pool));
        let path = m.paths.as_ref().and_then(|paths| paths.get(&Text(Cow::Borrowed(CONTAINMENT))));
        self.paths.push(match path.map_or("", |path| &*path.0) {
            "" => Path::Unsaid,
            path => match path.strip_suffix(&*name).and_then(|above| above.strip_suffix('/')) {
                // Neighbours are mostly in the same.
                Some(above) => match self.paths.last() {
                    Some(Path::Below(last)) if self.above.text(*last) == above => Path::Below(*last),
                    _ => Path::Below(self.above.word(above)),
                },
                None => Path::Wrong(self.above.word(path)),
            },
        });
        Ok(())
    }

    fn edge(&mut self, edge: Edge<'_>) -> Result<(), DescriptionError> {
        self.edges += 1;
        if self.edges > 2 * POOLS_MAX {
            let at = format!("{} to {}", edge.source.text(), edge.target.text());
            return fail(at, format!("more than {} edges", 2 * POOLS_MAX));
        }
        let (source, target) = (edge.source.id(&mut self.words), edge.target.id(&mut self.words));
        let metadata = edge.metadata.unwrap_or_default();
        match (&metadata.subsystem, &metadata.name) {
            (Some(subsystem), _) => {
                let relation = metadata.relationship.as_ref().map_or("contains", |text| &*text.0);
                self.related(source, target, &subsystem.0, relation)
            }
            (None, Some(names)) => names
                .iter()
                .try_for_each(|(subsystem, name)| self.related(source, target, &subsystem.0, &name.0)),
            (None, None) => self.related(source, target, CONTAINMENT, "contains"),
        }
    }

    fn related(
        &mut self,
        source: Id,
        target: Id,
        subsystem: &str,
        relation: &str,
    ) -> Result<(), DescriptionError> {
        // The way back, which some write as an edge of its own, says nothing new.
        if relation == "in" {
            return Ok(());
        }
        let relation = Relation { subsystem: self.words.word(subsystem), name: self.words.word(relation) };
        if self.graph.node_count() == 0 {
            // Programs that sort keys write edges first.
            self.early.push((source, target, relation));
            return Ok(());
        }
        self.relate(source, target, relation)
    }

    fn relate(&mut self, source: Id, target: Id, relation: Relation) -> Result<(), DescriptionError> {
        let said = || format!("{} to {}", source.text(&self.words), target.text(&self.words));
        let place = |id: Id| match self.places.get(id) {
            Some(place) => Ok(place),
            None => fail(said(), format!("no vertex has the id `{}`", id.text(&self.words))),
        };
        let (from, to) = (place(source)?, place(target)?);
        if from == to {
            return fail(said(), "an edge from a vertex to itself");
        }
        self.graph.add_edge(from, to, relation);
        Ok(())
    }

    /// What has been read, checked.
    pub(super) fn finish(mut self) -> Result<Description, DescriptionError> {
        if self.graph.node_count() == 0 {
            return no_nodes();
        }
        for (source, target, relation) in std::mem::take(&mut self.early) {
            self.relate(source, target, relation)?;
        }
        let Reader { mut graph, paths, above, words, sets, places, .. } = self;
        drop(places);
        graph.shrink_to_fit();
        let description = Description::checked(graph, words, sets.finish())?;
        description.each_path(|at, right| {
            let name = description.words.text(description.graph[at].name);
            let written = match paths[at.index()] {
                Path::Unsaid => return Ok(()),
                Path::Below(word) => {
                    let around = right.strip_suffix(name).and_then(|around| around.strip_suffix('/'));
                    if around == Some(above.text(word)) {
                        return Ok(());
                    }
                    format!("{}/{name}", above.text(word))
                }
                Path::Wrong(word) => above.text(word).to_owned(),
            };
            let said = format!("its path is `{right}` by its names, but `{written}` is written");
            description.fail_at(at, said)
        })?;
        Ok(description)
    }
}

fn no_nodes() -> Result<Description, DescriptionError> {
    fail(".", "no `nodes`")
}

/// The number that a name ends in.
fn digits_at_end(name: &str) -> Option<i64> {
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let digits = digits.rsplit(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// A map of texts, or a list of names; nothing is null.
fn properties(id: &str, value: Value) -> Result<Properties, DescriptionError> {
    let text = |value: Value| if let Value::String(text) = value { Some(text) } else { None };
    let read: Option<Properties> = match value {
        Value::Null => Some(Properties::new()),
        Value::Object(map) => map.into_iter().map(|(name, value)| Some((name, text(value)?))).collect(),
        Value::Array(list) => list.into_iter().map(|name| Some((text(name)?, String::new()))).collect(),
        _ => None,
    };
    match read {
        Some(properties) => Ok(properties),
        None => fail(id, "`properties` is a map of texts or a list of names"),
    }
}

/// What a list has, or stands behind a key.
pub(super) trait Item {
    /// As it is written; texts are lent.
    type Of<'a>: Deserialize<'a>;
    /// What it becomes part of.
    type Into: Default;

    /// Takes it in.
    fn put(item: Self::Of<'_>, into: &mut Self::Into) -> Result<(), DescriptionError>;
}

pub(super) struct Vertices;
pub(super) struct Edges;

impl Item for Vertices {
    type Of<'a> = Vertex<'a>;
    type Into = Reader;

    fn put(vertex: Vertex<'_>, into: &mut Reader) -> Result<(), DescriptionError> {
        into.vertex(vertex)
    }
}

impl Item for Edges {
    type Of<'a> = Edge<'a>;
    type Into = Reader;

    fn put(edge: Edge<'_>, into: &mut Reader) -> Result<(), DescriptionError> {
        into.edge(edge)
    }
}

/// Takes in the graph of a JSON value: what is behind `graph`, or the value itself.
fn take_in(value: &Value, into: &mut Reader) -> Result<(), DescriptionError> {
    fn items<I: Item<Into = Reader>>(list: &Value, into: &mut Reader) -> Result<(), DescriptionError> {
        let Some(list) = list.as_array() else { return fail(".", format!("{list} is no list")) };
        list.iter().try_for_each(|item| match I::Of::deserialize(item) {
            Ok(item) => I::put(item, into),
            Err(error) => fail(".", error.to_string()),
        })
    }
    let Some(object) = value.as_object() else { return fail(".", "no object with `nodes` and `edges`") };
    object.iter().try_for_each(|(key, value)| match key.as_str() {
        "graph" => take_in(value, into),
        "nodes" => items::<Vertices>(value, into),
        "edges" => items::<Edges>(value, into),
        _ => Ok(()),
    })
}

#[derive(Serialize)]
struct Written<'a> {
    id: Cow<'a, str>,
    metadata: WrittenMetadata<'a>,
}

#[derive(Serialize)]
struct WrittenMetadata<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    basename: &'a str,
    name: &'a str,
    id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    uniq_id: Option<u64>,
    rank: i64,
    exclusive: bool,
    unit: &'a str,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    properties: &'a Properties,
    paths: WrittenPaths,
}

#[derive(Serialize)]
struct WrittenPaths {
    containment: String,
}

#[derive(Serialize)]
struct WrittenEdge<'a> {
    source: Cow<'a, str>,
    target: Cow<'a, str>,
    metadata: WrittenEdgeMetadata<'a>,
}

#[derive(Serialize)]
struct WrittenEdgeMetadata<'a> {
    relationship: &'a str,
    subsystem: &'a str,
}

struct WrittenNodes<'a>(&'a Description);
struct WrittenEdges<'a>(&'a Description);

impl Serialize for WrittenNodes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let WrittenNodes(d) = self;
        let text = |word| d.words.text(word);
        serializer.collect_seq(d.graph.node_indices().map(|at| {
            let pool = &d.graph[at];
            let metadata = WrittenMetadata {
                kind: text(pool.kind),
                basename: text(pool.basename),
                name: text(pool.name),
                id: pool.id,
                uniq_id: pool.vertex.as_number(),
                rank: pool.rank.map_or(-1, i64::from),
                exclusive: pool.exclusive,
                unit: text(pool.unit),
                size: pool.size,
                status: (!pool.up).then_some("down"),
                properties: &d.sets[pool.properties as usize],
                paths: WrittenPaths { containment: d.path(at) },
            };
            Written { id: pool.vertex.text(&d.words), metadata }
        }))
    }
}

impl Serialize for WrittenEdges<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let WrittenEdges(d) = self;
        let id = |at: NodeIndex| d.graph[at].vertex.text(&d.words);
        serializer.collect_seq(d.graph.edge_references().map(|edge| {
            let Relation { subsystem, name } = *edge.weight();
            let (relationship, subsystem) = (d.words.text(name), d.words.text(subsystem));
            let metadata = WrittenEdgeMetadata { relationship, subsystem };
            WrittenEdge { source: id(edge.source()), target: id(edge.target()), metadata }
        }))
    }
}

/// `{"nodes":[…],"edges":[…]}`.
struct WrittenGraph<'a>(&'a Description);

impl Serialize for WrittenGraph<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut graph = serializer.serialize_struct("graph", 2)?;
        graph.serialize_field("nodes", &WrittenNodes(self.0))?;
        graph.serialize_field("edges", &WrittenEdges(self.0))?;
        graph.end()
    }
}

impl Serialize for Description {
    /// As JGF.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("document", 1)?;
        document.serialize_field("graph", &WrittenGraph(self))?;
        document.end()
    }
}

impl Description {
    /// Reads JGF, alone or in an R. [`Document::read`](super::Document::read) does so without the whole text.
    ///
    /// # Errors
    /// The vertex, edge or place in the text where it breaks a rule.
    pub fn from_jgf(text: &str) -> Result<Description, DescriptionError> {
        match Document::read(text.as_bytes())?.graph {
            Some(description) => Ok(description),
            None => no_nodes(),
        }
    }

    /// Reads JGF that is a JSON value already.
    ///
    /// # Errors
    /// The vertex or edge that breaks a rule.
    pub fn from_jgf_value(value: &Value) -> Result<Description, DescriptionError> {
        let mut reader = Reader::default();
        take_in(value, &mut reader)?;
        reader.finish()
    }

    /// The JGF: equal descriptions give equal texts, and it reads back as an equal description.
    #[must_use]
    pub fn to_jgf(&self) -> String {
        serde_json::to_string(self).expect("texts and whole numbers always serialize")
    }
}
