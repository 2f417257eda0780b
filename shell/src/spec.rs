//! What a shell needs of a jobspec (RFC 14): the command, the shape of its slots, attributes of its tasks.
//!
//! The leader has validated the jobspec; this reader takes what it needs out of it and refuses what it could not
//! carry out.

use serde::Deserialize;
use serde_json::{Map, Value};

/// A jobspec as the shell sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spec {
    pub command: Vec<String>,
    pub count: Count,
    /// Slots on every node, when the request says so.
    pub slots_per_node: Option<u32>,
    /// Of one slot; 0 when a slot is a whole node.
    pub cores_per_slot: u32,
    pub gpus_per_slot: u32,
    pub cwd: String,
    pub name: String,
    pub options: Map<String, Value>,
}

/// How many tasks there are.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Count {
    PerSlot(u32),
    Total(u32),
    PerNode(u32),
    PerCore(u32),
}

impl Default for Count {
    fn default() -> Count {
        Count::PerSlot(1)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("read the jobspec: {0}")]
    Json(#[from] serde_json::Error),
    #[error("read the jobspec: {0}")]
    Rule(&'static str),
}

#[derive(Deserialize)]
struct Document {
    resources: Vec<Vertex>,
    tasks: Vec<Task>,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Deserialize)]
struct Vertex {
    #[serde(rename = "type")]
    kind: String,
    count: Value,
    #[serde(default)]
    with: Vec<Vertex>,
}

#[derive(Deserialize)]
struct Task {
    command: Command,
    #[serde(default)]
    count: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Command {
    Words(Vec<String>),
    Word(String),
}

#[derive(Deserialize, Default)]
struct Attributes {
    #[serde(default)]
    system: System,
}

#[derive(Deserialize, Default)]
struct System {
    #[serde(default)]
    cwd: String,
    #[serde(default)]
    job: Map<String, Value>,
    #[serde(default)]
    shell: Shell,
}

#[derive(Deserialize, Default)]
struct Shell {
    #[serde(default)]
    options: Map<String, Value>,
}

impl Spec {
    /// # Errors
    /// Not a jobspec, or one without a command.
    pub fn parse(text: &str) -> Result<Spec, SpecError> {
        let document: Document = serde_json::from_str(text)?;
        let task = document.tasks.into_iter().next().ok_or(SpecError::Rule("it has no task"))?;
        let command = match task.command {
            Command::Words(words) => words,
            Command::Word(word) => vec![word],
        };
        let first = command.first().ok_or(SpecError::Rule("its command is empty"))?;
        let System { cwd, job, shell } = document.attributes.system;
        let name = match job.get("name").and_then(Value::as_str) {
            Some(name) => name.to_owned(),
            None => first.rsplit('/').next().unwrap_or(first).to_owned(),
        };
        let mut slot = Slot::default();
        for vertex in &document.resources {
            slot.find(vertex, 1, None);
        }
        Ok(Spec {
            count: count(&task.count, &shell.options)?,
            slots_per_node: slot.per_node,
            cores_per_slot: slot.cores,
            gpus_per_slot: slot.gpus,
            command,
            cwd,
            name,
            options: shell.options,
        })
    }
}

fn count(task: &Map<String, Value>, options: &Map<String, Value>) -> Result<Count, SpecError> {
    let number = |value: Option<&Value>| value.and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    // `flurm run --tasks-per-node` and the like write what they mean here, and something V1 would accept there.
    if let Some(per) = options.get("per-resource") {
        let n = number(per.get("count")).unwrap_or(1);
        return match per.get("type").and_then(Value::as_str) {
            Some("node") => Ok(Count::PerNode(n)),
            Some("core") => Ok(Count::PerCore(n)),
            _ => Err(SpecError::Rule("shell option `per-resource` knows the types node and core")),
        };
    }
    if let Some(n) = number(task.get("total")) {
        return Ok(Count::Total(n));
    }
    if let Some(n) = number(task.get("per_slot")) {
        return Ok(Count::PerSlot(n));
    }
    if let Some(per) = task.get("per_resource") {
        let n = number(per.get("count")).unwrap_or(1);
        return match per.get("type").and_then(Value::as_str) {
            Some("node") => Ok(Count::PerNode(n)),
            Some("core") => Ok(Count::PerCore(n)),
            _ => Err(SpecError::Rule("`per_resource` knows the types node and core")),
        };
    }
    Err(SpecError::Rule("its task has no count"))
}

#[derive(Default)]
struct Slot {
    per_node: Option<u32>,
    cores: u32,
    gpus: u32,
}

impl Slot {
    /// Looks for the slot; `in_node` counts what is between a node and here.
    fn find(&mut self, vertex: &Vertex, times: u32, in_node: Option<u32>) {
        // A range of counts says nothing about the place of a slot: R decides.
        let own = vertex.count.as_u64().and_then(|n| u32::try_from(n).ok());
        let n = own.unwrap_or(1);
        match vertex.kind.as_str() {
            "slot" => {
                let in_node = own.and(in_node.map(|m| m.saturating_mul(n)));
                self.per_node = in_node;
                for child in &vertex.with {
                    self.inside(child, 1);
                }
            }
            "node" => vertex.with.iter().for_each(|child| self.find(child, 1, Some(1))),
            _ => {
                let in_node = in_node.map(|m| m.saturating_mul(n));
                vertex.with.iter().for_each(|child| self.find(child, times.saturating_mul(n), in_node));
            }
        }
    }

    fn inside(&mut self, vertex: &Vertex, times: u32) {
        let n = vertex.count.as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
        let times = times.saturating_mul(n);
        match vertex.kind.as_str() {
            "core" => self.cores = self.cores.saturating_add(times),
            "gpu" => self.gpus = self.gpus.saturating_add(times),
            // A slot that is a whole node.
            "node" => self.per_node = Some(1),
            _ => {}
        }
        vertex.with.iter().for_each(|child| self.inside(child, times));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(resources: &str, count: &str) -> Spec {
        Spec::parse(&format!(
            r#"{{"version":1,"resources":{resources},"tasks":[{{"command":["/bin/a","b"],"slot":"t","count":{count}}}],
            "attributes":{{"system":{{"cwd":"/w"}}}}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn the_shape_of_a_slot_is_found_wherever_it_is() {
        let slot = r#"{"type":"slot","count":4,"label":"t","with":[{"type":"core","count":3},{"type":"gpu","count":1}]}"#;
        let flat = spec(&format!("[{slot}]"), r#"{"per_slot":1}"#);
        assert_eq!((flat.slots_per_node, flat.cores_per_slot, flat.gpus_per_slot), (None, 3, 1));
        assert_eq!((flat.name.as_str(), flat.cwd.as_str(), flat.count), ("a", "/w", Count::PerSlot(1)));
        let node = spec(&format!(r#"[{{"type":"node","count":2,"with":[{slot}]}}]"#), r#"{"total":7}"#);
        assert_eq!((node.slots_per_node, node.count), (Some(4), Count::Total(7)));
        let deep = format!(
            r#"[{{"type":"node","count":2,"with":[{{"type":"socket","count":2,"with":[{slot}]}}]}}]"#
        );
        assert_eq!(spec(&deep, r#"{"per_slot":1}"#).slots_per_node, Some(8));
    }
}
