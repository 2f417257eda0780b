//! The resource section: a small tree of what each slot needs and where slots may lie (RFC 14).

use crate::count::Count;
use crate::error::{JobspecError, Place};
use crate::limits::{RESOURCE_DEPTH_MAX, VERTICES_MAX};
use crate::read::{Object, boolean, items, text};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// A request for resources of one kind, and for what is inside each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    pub kind: Kind,
    pub count: Count,
    /// Unit of the count, for example `GiB`.
    pub unit: Option<String>,
    /// As written; see [`Resource::is_exclusive`].
    pub exclusive: Option<bool>,
    /// Name that tasks know a slot by; every slot has one.
    pub label: Option<String>,
    /// Which ones: a set of ids, as written.
    pub id: Option<String>,
    pub with: Vec<Resource>,
}

/// Kind of a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What one task, or a group of tasks, runs in; the only kind that is not a thing.
    Slot,
    Node,
    Socket,
    Core,
    Gpu,
    Memory,
    /// Any other; whether such a thing exists is the resource graph's matter.
    Other(String),
}

impl Kind {
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Kind::Slot => "slot",
            Kind::Node => "node",
            Kind::Socket => "socket",
            Kind::Core => "core",
            Kind::Gpu => "gpu",
            Kind::Memory => "memory",
            Kind::Other(name) => name,
        }
    }
}

impl From<String> for Kind {
    fn from(name: String) -> Kind {
        match name.as_str() {
            "slot" => Kind::Slot,
            "node" => Kind::Node,
            "socket" => Kind::Socket,
            "core" => Kind::Core,
            "gpu" => Kind::Gpu,
            "memory" => Kind::Memory,
            _ => Kind::Other(name),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Resource {
    /// Is it for this job alone? What is inside a slot is, unless it says otherwise; what is outside is not.
    #[must_use]
    pub fn is_exclusive(&self, in_slot: bool) -> bool {
        self.exclusive.unwrap_or(in_slot)
    }

    /// This vertex and all below, parents first.
    pub fn walk(&self) -> impl Iterator<Item = &Resource> {
        let mut left = vec![self];
        std::iter::from_fn(move || {
            let next = left.pop()?;
            left.extend(next.with.iter().rev());
            Some(next)
        })
    }
}

/// Reads the list of resources at the top.
pub(crate) fn read(place: &Place<'_>, value: Value) -> Result<Vec<Resource>, JobspecError> {
    let mut reader = Reader { vertices: 0, labels: BTreeSet::new() };
    items(place, value, VERTICES_MAX, |place, value| reader.vertex(place, value, 1, false))
}

/// What is known of the whole section while it is read.
struct Reader {
    vertices: usize,
    labels: BTreeSet<String>,
}

impl Reader {
    fn vertex(
        &mut self,
        place: &Place<'_>,
        value: Value,
        depth: usize,
        in_slot: bool,
    ) -> Result<Resource, JobspecError> {
        self.vertices += 1;
        if self.vertices > VERTICES_MAX {
            return place.fail(format!("more than {VERTICES_MAX} resources"));
        }
        if depth > RESOURCE_DEPTH_MAX {
            return place.fail(format!("resources nested deeper than {RESOURCE_DEPTH_MAX}"));
        }
        let mut object = Object::open(place, value)?;
        let name = text(&place.key("type"), object.need("type")?)?;
        if name.is_empty() {
            return place.key("type").fail("a type is not empty");
        }
        let kind = Kind::from(name);
        let count = Count::read(&place.key("count"), object.need("count")?)?;
        let unit = object.read("unit", text)?;
        let exclusive = object.read("exclusive", boolean)?;
        let label = object.read("label", text)?;
        let id = object.read("id", text)?;
        let is_slot = kind == Kind::Slot;
        if is_slot {
            self.slot(place, label.as_deref(), in_slot)?;
        }
        let with = object.read("with", |place, value| {
            items(place, value, VERTICES_MAX, |place, value| {
                self.vertex(place, value, depth + 1, in_slot || is_slot)
            })
        })?;
        object.close()?;
        if is_slot && with.is_none() {
            return place.fail("a slot needs `with`: it is made of resources");
        }
        Ok(Resource { kind, count, unit, exclusive, label, id, with: with.unwrap_or_default() })
    }

    /// The rules for slots alone.
    fn slot(&mut self, place: &Place<'_>, label: Option<&str>, in_slot: bool) -> Result<(), JobspecError> {
        if in_slot {
            return place.fail("a slot inside a slot");
        }
        match label {
            None | Some("") => place.fail("a slot needs a `label`"),
            Some(label) if !self.labels.insert(label.to_owned()) => {
                place.key("label").fail(format!("two slots are labelled `{label}`"))
            }
            Some(_) => Ok(()),
        }
    }
}

impl Serialize for Resource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("count", &self.count)?;
        if let Some(exclusive) = self.exclusive {
            map.serialize_entry("exclusive", &exclusive)?;
        }
        for (key, value) in [("id", &self.id), ("label", &self.label)] {
            if let Some(value) = value {
                map.serialize_entry(key, value)?;
            }
        }
        map.serialize_entry("type", self.kind.as_str())?;
        if let Some(unit) = &self.unit {
            map.serialize_entry("unit", unit)?;
        }
        if !self.with.is_empty() {
            map.serialize_entry("with", &self.with)?;
        }
        map.end()
    }
}
