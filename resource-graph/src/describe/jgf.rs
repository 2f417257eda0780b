//! JGF: a description as a JSON graph (RFC 4, RFC 40), as Fluxion and hand-made generators write it.
//!
//! Read: ids that are strings or numbers, properties as a map or a list, names and paths that are left out, edges with
//! a subsystem or in the older form with a map of names. Paths that are given must be the names from the root down.
//! Written: Fluxion's form with everything said. Neither way is the text there a second time as a tree of JSON: a
//! machine of 16,384 nodes has a million vertices.

use super::build::Sets;
use super::{
    CONTAINMENT, Description, DescriptionError, Id, POOLS_MAX, Pool, Properties, Relation, SIZE_MAX, Words,
    fail,
};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
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
struct Vertex<'a> {
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
struct Edge<'a> {
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
struct Reader<'a> {
    words: Words,
    sets: Sets,
    graph: DiGraph<Pool, Relation>,
    places: Places,
    /// Paths as written, by place.
    paths: Vec<Cow<'a, str>>,
    edges: usize,
    /// Edges that came before the vertices.
    early: Vec<(Id, Id, Relation)>,
    failed: Option<DescriptionError>,
}

impl<'a> Reader<'a> {
    fn vertex(&mut self, vertex: Vertex<'a>) -> Result<(), DescriptionError> {
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
        let path = m.paths.and_then(|mut paths| paths.remove(&Text(Cow::Borrowed(CONTAINMENT))));
        self.paths.push(path.map_or(Cow::Borrowed(""), |path| path.0));
        Ok(())
    }

    fn edge(&mut self, edge: Edge<'a>) -> Result<(), DescriptionError> {
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

    fn finish(mut self) -> Result<Description, DescriptionError> {
        for (source, target, relation) in std::mem::take(&mut self.early) {
            self.relate(source, target, relation)?;
        }
        let Reader { mut graph, paths, words, sets, places, .. } = self;
        drop(places);
        graph.shrink_to_fit();
        let description = Description::checked(graph, words, sets.finish())?;
        description.each_path(|at, right| match &*paths[at.index()] {
            "" => Ok(()),
            path if path == right => Ok(()),
            path => {
                let said = format!("its path is `{right}` by its names, but `{path}` is written");
                description.fail_at(at, said)
            }
        })?;
        Ok(description)
    }
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

/// The object with `graph` in it, or the graph itself; other keys are passed over.
struct Top<'r, 'a>(&'r mut Reader<'a>);
struct Vertices<'r, 'a>(&'r mut Reader<'a>);
struct Edges<'r, 'a>(&'r mut Reader<'a>);

impl<'de> DeserializeSeed<'de> for Top<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a graph with `nodes` and `edges`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "graph" => map.next_value_seed(Top(self.0))?,
                "nodes" => map.next_value_seed(Vertices(self.0))?,
                "edges" => map.next_value_seed(Edges(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// A list whose items are handed to the reader one by one.
macro_rules! items {
    ($list:ident, $item:ident, $method:ident, $what:literal) => {
        impl<'de> DeserializeSeed<'de> for $list<'_, 'de> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
                deserializer.deserialize_seq(self)
            }
        }

        impl<'de> Visitor<'de> for $list<'_, 'de> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($what)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
                while let Some(item) = items.next_element::<$item<'de>>()? {
                    if let Err(error) = self.0.$method(item) {
                        let said = A::Error::custom(&error);
                        self.0.failed = Some(error);
                        return Err(said);
                    }
                }
                Ok(())
            }
        }
    };
}

items!(Vertices, Vertex, vertex, "a list of vertices");
items!(Edges, Edge, edge, "a list of edges");

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
    /// Reads JGF, alone or as the `scheduling` part of an R.
    ///
    /// # Errors
    /// The vertex, edge or place in the text where it breaks a rule.
    pub fn from_jgf(text: &str) -> Result<Description, DescriptionError> {
        let mut reader = Reader::default();
        let mut json = serde_json::Deserializer::from_str(text);
        let read = Top(&mut reader).deserialize(&mut json).and_then(|()| json.end());
        reader.result(read)
    }

    /// Reads JGF that is a JSON value already.
    ///
    /// # Errors
    /// The vertex or edge that breaks a rule.
    pub fn from_jgf_value(value: &Value) -> Result<Description, DescriptionError> {
        let mut reader = Reader::default();
        let read = Top(&mut reader).deserialize(value);
        reader.result(read)
    }

    /// The JGF: equal descriptions give equal texts, and it reads back as an equal description.
    #[must_use]
    pub fn to_jgf(&self) -> String {
        serde_json::to_string(self).expect("texts and whole numbers always serialize")
    }
}

impl Reader<'_> {
    fn result(mut self, read: serde_json::Result<()>) -> Result<Description, DescriptionError> {
        match (read, self.failed.take()) {
            (_, Some(error)) => Err(error),
            (Err(error), None) if error.line() == 0 => fail(".", error.to_string()),
            (Err(error), None) => {
                fail(format!("line {} column {}", error.line(), error.column()), error.to_string())
            }
            (Ok(()), None) if self.graph.node_count() == 0 => fail(".", "no `nodes`"),
            (Ok(()), None) => self.finish(),
        }
    }
}
