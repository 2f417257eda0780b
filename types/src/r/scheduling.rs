//! What an R carries for schedulers: JSON as it was read, or the part of a machine that a matcher gave away. That becomes
//! JSON only when somebody wants it: a rack is two thousand vertices, and most answers are never written.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The `scheduling` key of an R. Copies share what it says.
#[derive(Debug, Clone)]
pub enum Scheduling {
    /// As it was read.
    Json(Arc<Value>),
    /// Written as a JGF (RFC 4, RFC 40).
    Part(Arc<Part>),
}

/// A part of a machine as a tree.
#[derive(Debug)]
pub struct Part {
    /// What holds before what it holds.
    pub vertices: Vec<PartVertex>,
    /// What vertices say in numbers; the same for all parts of one tree.
    pub texts: Arc<Texts>,
}

/// Texts and sets of properties by their numbers.
#[derive(Debug, Default)]
pub struct Texts {
    /// Types and names.
    pub words: Vec<Arc<str>>,
    /// Names with their values.
    pub sets: Vec<BTreeMap<String, String>>,
}

/// One vertex of a part.
#[derive(Debug, Clone)]
pub struct PartVertex {
    /// The vertex around it.
    pub parent: Option<u32>,
    /// Its type, as a word.
    pub kind: u32,
    /// Its name, as a word.
    pub name: u32,
    /// Its set of properties.
    pub properties: u32,
    /// Its number among things of its kind.
    pub id: i64,
    /// The rank of the node that it is in.
    pub rank: Option<u32>,
    /// How much of it is part of this.
    pub size: u64,
    /// What the size counts.
    pub unit: Cow<'static, str>,
    /// For a pool its number in the tree of which this is a part, and how much of it is taken in that tree's terms.
    pub taken: Option<(u32, u64)>,
}

impl Scheduling {
    /// The JSON.
    #[must_use]
    pub fn json(&self) -> Cow<'_, Value> {
        match self {
            Scheduling::Json(value) => Cow::Borrowed(value),
            Scheduling::Part(part) => {
                Cow::Owned(serde_json::to_value(&**part).expect("texts and whole numbers always serialize"))
            }
        }
    }
}

impl Part {
    /// The names from the root down to a vertex, behind a slash each.
    #[must_use]
    pub fn path(&self, vertex: u32) -> String {
        let at = |n: u32| &self.vertices[n as usize];
        let up: Vec<u32> = std::iter::successors(Some(vertex), |n| at(*n).parent).collect();
        up.iter().rev().flat_map(|n| ["/", &*self.texts.words[at(*n).name as usize]]).collect()
    }
}

impl From<Value> for Scheduling {
    fn from(value: Value) -> Scheduling {
        Scheduling::Json(Arc::new(value))
    }
}

impl From<Part> for Scheduling {
    fn from(part: Part) -> Scheduling {
        Scheduling::Part(Arc::new(part))
    }
}

impl PartialEq for Scheduling {
    /// Do they say the same in JSON?
    fn eq(&self, other: &Scheduling) -> bool {
        match (self, other) {
            (Scheduling::Part(one), Scheduling::Part(other)) if Arc::ptr_eq(one, other) => true,
            _ => self.json() == other.json(),
        }
    }
}

impl<'de> Deserialize<'de> for Scheduling {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scheduling, D::Error> {
        Ok(Value::deserialize(deserializer)?.into())
    }
}

impl Serialize for Scheduling {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Scheduling::Json(value) => value.serialize(serializer),
            Scheduling::Part(part) => part.serialize(serializer),
        }
    }
}

// Keys go by the alphabet, as they do in JSON values, so that a part and the JSON of it give the same text.

#[derive(Serialize)]
struct Document<'a> {
    graph: Graph<'a>,
    writer: &'static str,
}

#[derive(Serialize)]
struct Graph<'a> {
    edges: Vec<Edge>,
    nodes: Vec<Vertex<'a>>,
}

#[derive(Serialize)]
struct Edge {
    metadata: EdgeMetadata,
    source: String,
    target: String,
}

#[derive(Serialize)]
struct EdgeMetadata {
    relationship: &'static str,
    subsystem: &'static str,
}

#[derive(Serialize)]
struct Vertex<'a> {
    id: String,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    basename: &'a str,
    exclusive: bool,
    id: i64,
    name: &'a str,
    paths: Paths<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<&'a BTreeMap<String, String>>,
    rank: i64,
    size: u64,
    #[serde(rename = "type")]
    kind: &'a str,
    uniq_id: usize,
    unit: &'a str,
}

#[derive(Serialize)]
struct Paths<'a> {
    containment: &'a str,
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let word = |word: u32| &*self.texts.words[word as usize];
        let mut paths: Vec<String> = Vec::with_capacity(self.vertices.len());
        for vertex in &self.vertices {
            let above = vertex.parent.map_or("", |parent| &paths[parent as usize]);
            paths.push(format!("{above}/{}", word(vertex.name)));
        }
        let nodes = self.vertices.iter().zip(&paths).enumerate().map(|(number, (vertex, path))| {
            let (kind, name) = (word(vertex.kind), word(vertex.name));
            let metadata = Metadata {
                basename: if name.starts_with(kind) { kind } else { name },
                exclusive: false,
                id: vertex.id,
                name,
                paths: Paths { containment: path },
                properties: Some(&self.texts.sets[vertex.properties as usize]).filter(|set| !set.is_empty()),
                rank: vertex.rank.map_or(-1, i64::from),
                size: vertex.size,
                kind,
                uniq_id: number,
                unit: &vertex.unit,
            };
            Vertex { id: number.to_string(), metadata }
        });
        let edges = self.vertices.iter().enumerate().filter_map(|(number, vertex)| {
            let metadata = EdgeMetadata { relationship: "contains", subsystem: "containment" };
            Some(Edge { metadata, source: vertex.parent?.to_string(), target: number.to_string() })
        });
        let graph = Graph { edges: edges.collect(), nodes: nodes.collect() };
        Document { graph, writer: "fluxion:jgf" }.serialize(serializer)
    }
}
