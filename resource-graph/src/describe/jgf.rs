//! JGF: a description as a JSON graph (RFC 4, RFC 40), as Fluxion and hand-made generators write it.
//!
//! Read: ids that are strings or numbers, properties as a map or a list, names and paths that are left out, edges with
//! a subsystem or in the older form with a map of names. Paths that are given must be the names from the root down.
//! Written: Fluxion's form with everything said.

use super::{CONTAINMENT, Description, DescriptionError, POOLS_MAX, Pool, Relation, SIZE_MAX, Words, fail};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// A vertex as it is written.
#[derive(Deserialize)]
struct Vertex<'a> {
    #[serde(borrow)]
    id: Id<'a>,
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

/// An id, as a text or as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id<'a> {
    Number(u64),
    #[serde(borrow)]
    Text(Cow<'a, str>),
}

impl Id<'_> {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Id::Number(number) => Cow::Owned(number.to_string()),
            Id::Text(text) => Cow::Borrowed(text),
        }
    }
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    basename: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default)]
    id: Option<i64>,
    #[serde(default)]
    rank: Option<i64>,
    #[serde(default)]
    size: Option<i64>,
    #[serde(default, borrow)]
    unit: Option<Cow<'a, str>>,
    #[serde(default)]
    exclusive: Option<bool>,
    #[serde(default)]
    properties: Value,
    #[serde(default)]
    status: Value,
    #[serde(default, borrow)]
    paths: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
}

#[derive(Deserialize)]
struct Edge<'a> {
    #[serde(borrow)]
    source: Id<'a>,
    #[serde(borrow)]
    target: Id<'a>,
    #[serde(default, borrow)]
    metadata: Option<EdgeMetadata<'a>>,
}

#[derive(Deserialize, Default)]
struct EdgeMetadata<'a> {
    #[serde(default, borrow)]
    subsystem: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    relationship: Option<Cow<'a, str>>,
    /// Older: the relation by subsystem.
    #[serde(default, borrow)]
    name: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
}

/// What is built while the text is read, so that it is never there twice.
#[derive(Default)]
struct Reader {
    words: Words,
    graph: DiGraph<Pool, Relation>,
    places: BTreeMap<Box<str>, NodeIndex>,
    /// Paths as written, by place.
    paths: Vec<Box<str>>,
    edges: usize,
    /// Edges that came before the vertices.
    early: Vec<(Box<str>, Box<str>, Relation)>,
    failed: Option<DescriptionError>,
}

impl Reader {
    fn vertex(&mut self, vertex: &Vertex<'_>) -> Result<(), DescriptionError> {
        let id = vertex.id.text();
        let m = &vertex.metadata;
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
        let basename = m.basename.as_deref().unwrap_or(&m.kind);
        let number = m.id.unwrap_or_else(|| match (&vertex.id, &m.name, &*m.kind) {
            (_, Some(name), "node") => digits_at_end(name).unwrap_or(-1),
            (id, ..) => id.text().parse().unwrap_or(-1),
        });
        let name: Box<str> = match &m.name {
            Some(name) => (&**name).into(),
            None if number < 0 => basename.into(),
            None => format!("{basename}{number}").into(),
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
            vertex: (&*id).into(),
            kind: self.words.word(&m.kind),
            basename: self.words.word(basename),
            name,
            id: number,
            rank,
            size,
            unit: self.words.word(m.unit.as_deref().unwrap_or("")),
            exclusive: m.exclusive.unwrap_or(false),
            up,
            properties: properties(&id, &m.properties)?,
        };
        let at = self.graph.add_node(pool);
        if self.places.insert((&*id).into(), at).is_some() {
            return fail(&*id, "two vertices have this id");
        }
        let path = m.paths.as_ref().and_then(|paths| paths.get(CONTAINMENT));
        self.paths.push(path.map_or("", |path| &**path).into());
        Ok(())
    }

    fn edge(&mut self, edge: &Edge<'_>) -> Result<(), DescriptionError> {
        let (source, target) = (edge.source.text(), edge.target.text());
        self.edges += 1;
        if self.edges > 2 * POOLS_MAX {
            return fail(format!("{source} to {target}"), format!("more than {} edges", 2 * POOLS_MAX));
        }
        let none = EdgeMetadata::default();
        let metadata = edge.metadata.as_ref().unwrap_or(&none);
        let mut said: Vec<(&str, &str)> = Vec::new();
        if let Some(subsystem) = &metadata.subsystem {
            said.push((subsystem, metadata.relationship.as_deref().unwrap_or("contains")));
        } else if let Some(names) = &metadata.name {
            said.extend(names.iter().map(|(subsystem, name)| (&**subsystem, &**name)));
        } else {
            said.push((CONTAINMENT, "contains"));
        }
        for (subsystem, relation) in said {
            // The way back, which some write as an edge of its own, says nothing new.
            if relation == "in" {
                continue;
            }
            let relation =
                Relation { subsystem: self.words.word(subsystem), name: self.words.word(relation) };
            if self.graph.node_count() == 0 {
                // Programs that sort keys write edges first.
                self.early.push(((&*source).into(), (&*target).into(), relation));
            } else {
                self.relate(&source, &target, relation)?;
            }
        }
        Ok(())
    }

    fn relate(&mut self, source: &str, target: &str, relation: Relation) -> Result<(), DescriptionError> {
        let place = |id: &str| {
            let none = || DescriptionError {
                at: format!("{source} to {target}"),
                rule: format!("no vertex has the id `{id}`"),
            };
            self.places.get(id).copied().ok_or_else(none)
        };
        let (from, to) = (place(source)?, place(target)?);
        if from == to {
            return fail(format!("{source} to {target}"), "an edge from a vertex to itself");
        }
        self.graph.add_edge(from, to, relation);
        Ok(())
    }

    fn finish(mut self) -> Result<Description, DescriptionError> {
        for (source, target, relation) in std::mem::take(&mut self.early) {
            self.relate(&source, &target, relation)?;
        }
        let Reader { graph, paths, .. } = self;
        let description = Description::checked(graph)?;
        let right = description.paths();
        for (at, (path, right)) in paths.iter().zip(&right).enumerate() {
            if !path.is_empty() && **path != **right {
                let vertex = &description.graph[NodeIndex::new(at)].vertex;
                return fail(
                    &**vertex,
                    format!("its path is `{right}` by its names, but `{path}` is written"),
                );
            }
        }
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
fn properties(id: &str, value: &Value) -> Result<BTreeMap<String, String>, DescriptionError> {
    let wrong = || fail(id, "`properties` is a map of texts or a list of names");
    match value {
        Value::Null => Ok(BTreeMap::new()),
        Value::Object(map) => {
            let mut properties = BTreeMap::new();
            for (name, value) in map {
                let Some(value) = value.as_str() else { return wrong() };
                properties.insert(name.clone(), value.to_owned());
            }
            Ok(properties)
        }
        Value::Array(list) => {
            let names: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            let Some(names) = names else { return wrong() };
            Ok(names.into_iter().map(|name| (name.to_owned(), String::new())).collect())
        }
        _ => wrong(),
    }
}

/// The object with `graph` in it, or the graph itself; other keys are passed over.
struct Top<'r>(&'r mut Reader);
struct Vertices<'r>(&'r mut Reader);
struct Edges<'r>(&'r mut Reader);

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a graph with `nodes` and `edges`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
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
        impl<'de> DeserializeSeed<'de> for $list<'_> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
                deserializer.deserialize_seq(self)
            }
        }

        impl<'de> Visitor<'de> for $list<'_> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($what)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
                while let Some(item) = items.next_element::<$item<'de>>()? {
                    if let Err(error) = self.0.$method(&item) {
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
    id: &'a str,
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
    properties: &'a BTreeMap<String, String>,
    paths: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct WrittenEdge<'a> {
    source: &'a str,
    target: &'a str,
    metadata: BTreeMap<&'a str, &'a str>,
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
        match (read, reader.failed.take()) {
            (_, Some(error)) => Err(error),
            (Err(error), None) => {
                fail(format!("line {} column {}", error.line(), error.column()), error.to_string())
            }
            (Ok(()), None) if reader.graph.node_count() == 0 => fail(".", "no `nodes`"),
            (Ok(()), None) => reader.finish(),
        }
    }

    /// The JGF: equal descriptions give equal texts, and it reads back as an equal description.
    #[must_use]
    pub fn to_jgf(&self) -> String {
        let paths = self.paths();
        let nodes: Vec<Written<'_>> = self
            .graph
            .node_weights()
            .zip(&paths)
            .map(|(pool, path)| Written {
                id: &pool.vertex,
                metadata: WrittenMetadata {
                    kind: &pool.kind,
                    basename: &pool.basename,
                    name: &pool.name,
                    id: pool.id,
                    uniq_id: pool.vertex.parse().ok(),
                    rank: pool.rank.map_or(-1, i64::from),
                    exclusive: pool.exclusive,
                    unit: &pool.unit,
                    size: pool.size,
                    status: (!pool.up).then_some("down"),
                    properties: &pool.properties,
                    paths: BTreeMap::from([(CONTAINMENT, &**path)]),
                },
            })
            .collect();
        let edges: Vec<WrittenEdge<'_>> = self
            .graph
            .edge_references()
            .map(|edge| WrittenEdge {
                source: &self.graph[edge.source()].vertex,
                target: &self.graph[edge.target()].vertex,
                metadata: BTreeMap::from([
                    ("subsystem", &*edge.weight().subsystem),
                    ("relationship", &*edge.weight().name),
                ]),
            })
            .collect();
        #[derive(Serialize)]
        struct Graph<'a> {
            nodes: Vec<Written<'a>>,
            edges: Vec<WrittenEdge<'a>>,
        }
        let graph = BTreeMap::from([("graph", Graph { nodes, edges })]);
        serde_json::to_string(&graph).expect("texts and whole numbers always serialize")
    }
}
