//! The task section: what runs in which slot, and how often (RFC 14).

use crate::error::{JobspecError, Place};
use crate::limits::{ARGUMENTS_MAX, TASK_ENTRIES_MAX};
use crate::read::{Object, items, kernel_text, object, positive, text};
use crate::resource::Kind;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value, json};

/// A command and the slots it runs in.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Program and arguments; never empty.
    pub command: Vec<String>,
    /// Label of the slot.
    pub slot: String,
    pub count: TaskCount,
    pub attributes: Option<Map<String, Value>>,
    pub distribution: Option<String>,
}

/// How many tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskCount {
    /// So many in each slot.
    PerSlot(u32),
    /// So many in all slots together.
    Total(u32),
    /// So many for each resource of a kind that the job is given.
    PerResource { kind: Kind, count: u32 },
}

pub(crate) fn read(place: &Place<'_>, value: Value) -> Result<Vec<Task>, JobspecError> {
    items(place, value, TASK_ENTRIES_MAX, task)
}

fn task(place: &Place<'_>, value: Value) -> Result<Task, JobspecError> {
    let mut entry = Object::open(place, value)?;
    let command = command(&place.key("command"), entry.need("command")?)?;
    let slot = text(&place.key("slot"), entry.need("slot")?)?;
    let count = TaskCount::read(&place.key("count"), entry.need("count")?)?;
    let attributes = entry.read("attributes", object)?;
    let distribution = entry.read("distribution", text)?;
    entry.close()?;
    Ok(Task { command, slot, count, attributes, distribution })
}

/// A list of words, or one string that is split as a shell would.
fn command(place: &Place<'_>, value: Value) -> Result<Vec<String>, JobspecError> {
    let words = match value {
        Value::String(_) => {
            let line = kernel_text(place, value)?;
            shlex::split(&line).ok_or_else(|| place.error("a quote is not closed"))?
        }
        value => items(place, value, ARGUMENTS_MAX, kernel_text)?,
    };
    match words.first().map(String::as_str) {
        None | Some("") => place.fail("the command is empty"),
        Some(_) => Ok(words),
    }
}

impl TaskCount {
    fn read(place: &Place<'_>, value: Value) -> Result<TaskCount, JobspecError> {
        let mut object = Object::open(place, value)?;
        let per_slot = object.read("per_slot", |place, value| positive(place, &value))?;
        let total = object.read("total", |place, value| positive(place, &value))?;
        let per_resource = object.read("per_resource", TaskCount::per_resource)?;
        object.close()?;
        match (per_slot, total, per_resource) {
            (Some(count), None, None) => Ok(TaskCount::PerSlot(count)),
            (None, Some(count), None) => Ok(TaskCount::Total(count)),
            (None, None, Some(count)) => Ok(count),
            _ => place.fail("expected one of `per_slot`, `total`, `per_resource`"),
        }
    }

    /// `{type, count}`, in the task section and in the shell option `per-resource`, where `count` may be left out.
    pub(crate) fn per_resource(place: &Place<'_>, value: Value) -> Result<TaskCount, JobspecError> {
        let mut object = Object::open(place, value)?;
        let kind = Kind::from(text(&place.key("type"), object.need("type")?)?);
        let count = object.read("count", |place, value| positive(place, &value))?.unwrap_or(1);
        object.close()?;
        match kind {
            Kind::Slot => place.key("type").fail("for tasks in each slot use `per_slot`"),
            kind => Ok(TaskCount::PerResource { kind, count }),
        }
    }
}

impl Serialize for Task {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(attributes) = &self.attributes {
            map.serialize_entry("attributes", attributes)?;
        }
        map.serialize_entry("command", &self.command)?;
        map.serialize_entry("count", &self.count)?;
        if let Some(distribution) = &self.distribution {
            map.serialize_entry("distribution", distribution)?;
        }
        map.serialize_entry("slot", &self.slot)?;
        map.end()
    }
}

impl Serialize for TaskCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            TaskCount::PerSlot(count) => map.serialize_entry("per_slot", count)?,
            TaskCount::Total(count) => map.serialize_entry("total", count)?,
            TaskCount::PerResource { kind, count } => {
                map.serialize_entry("per_resource", &json!({ "type": kind.as_str(), "count": count }))?;
            }
        }
        map.end()
    }
}
