//! Which cores and GPUs tasks get, and in which order nodes get tasks. Pure.

use super::{Given, OptionError, bad, find, text};
use flurm_types::{Idset, TaskMap};
use serde_json::Value;

/// In which order nodes get tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    Block,
    Cyclic(u32),
    Manual(TaskMap),
}

/// How cores or GPUs are shared out to the tasks of a rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spread {
    Off,
    /// Every task may use all.
    All,
    PerTask,
    /// Given by the user, in task order.
    Map(Vec<Idset>),
}

/// What `cpu-affinity` or `gpu-affinity` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Affinity {
    /// None: as it is best for this job.
    pub how: Option<Spread>,
    /// Say on each task's standard error what it gets.
    pub say: bool,
    /// And do nothing else.
    pub dry_run: bool,
}

pub(super) fn affinity(given: &Given, name: &str) -> Result<Affinity, OptionError> {
    let mut affinity = Affinity::default();
    let mut word = match find(given, name) {
        None => return Ok(affinity),
        Some(Value::Number(_)) => "on",
        Some(Value::String(word)) => word,
        Some(other) => return bad(name, format!("`{other}` is not a word")),
    };
    loop {
        let (first, rest) = word.split_once(',').unwrap_or((word, ""));
        match first {
            "verbose" => affinity.say = true,
            "dry-run" => (affinity.say, affinity.dry_run) = (true, true),
            _ => break,
        }
        if rest.is_empty() {
            return Ok(affinity);
        }
        word = rest;
    }
    affinity.how = Some(match word {
        "on" | "1" | "" => Spread::All,
        "off" | "0" => Spread::Off,
        "per-task" => Spread::PerTask,
        _ => match word.strip_prefix("map:") {
            Some(map) => Spread::Map(
                map.split(';')
                    .map(|part| Idset::parse_relaxed(part).or_else(|e| bad(name, e.to_string())))
                    .collect::<Result<_, _>>()?,
            ),
            None => {
                let known = "on, off, per-task or map:LIST;LIST, with verbose, or dry-run, in front";
                return bad(name, format!("`{word}` is not {known}"));
            }
        },
    });
    Ok(affinity)
}

pub(super) fn taskmap(given: &Given) -> Result<Order, OptionError> {
    let value = text(given, "taskmap.value")?.unwrap_or("");
    match text(given, "taskmap.scheme")?.unwrap_or("block") {
        "block" => Ok(Order::Block),
        "cyclic" => match value.is_empty().then_some(1).or_else(|| value.parse().ok()) {
            Some(stride) if stride > 0 => Ok(Order::Cyclic(stride)),
            _ => bad("taskmap", format!("cyclic takes a number of tasks, not `{value}`")),
        },
        "manual" => match value.parse() {
            Ok(map) => Ok(Order::Manual(map)),
            Err(e) => bad("taskmap", e.to_string()),
        },
        scheme => bad("taskmap", format!("no scheme `{scheme}` (block, cyclic, manual)")),
    }
}
