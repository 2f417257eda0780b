//! Which cores and GPUs tasks get, and in which order nodes get tasks. Pure.

use super::{Given, OptionError, bad, find, text};
use flurm_types::{Hostlist, Idset, TaskMap};
use serde_json::Value;

/// No machine has more CPUs than this.
const CPUS_MAX: u32 = 1 << 16;

/// In which order nodes get tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    Block,
    Cyclic(u32),
    Manual(TaskMap),
    /// Each name gets the next task, over and over.
    Hosts(Hostlist),
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
                    .map(|part| ids(part).or_else(|rule| bad(name, rule)))
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
        "hosts" => match value.parse::<Hostlist>() {
            Ok(hosts) if !hosts.is_empty() => Ok(Order::Hosts(hosts)),
            Ok(_) => bad("taskmap", "hosts takes a list of hosts"),
            Err(e) => bad("taskmap", e.to_string()),
        },
        // Nodes that read it at different times, or not at all, would each have a map of their own.
        "hostfile" => {
            bad("taskmap", "the command line reads the host file and sends `hosts` with what is in it")
        }
        scheme => bad("taskmap", format!("no scheme `{scheme}` (block, cyclic, manual, hosts)")),
    }
}

/// Numbers as a list (`0-3,8`), or as a mask: `0xff`, or 32 bits at a time with the highest first, as hwloc prints it.
fn ids(text: &str) -> Result<Idset, String> {
    let text = text.trim();
    let ids = if text.starts_with("0x") || text.starts_with("0X") {
        mask(text).ok_or_else(|| format!("`{text}` is not a mask"))?
    } else {
        Idset::parse_relaxed(text).map_err(|e| e.to_string())?
    };
    match ids.last() {
        None => Err(format!("`{text}` holds nothing")),
        Some(last) if last >= CPUS_MAX => Err(format!("`{text}`: there is no number {last}")),
        Some(_) => Ok(ids),
    }
}

fn mask(text: &str) -> Option<Idset> {
    let words: Vec<&str> = text.split(',').collect();
    let mut ids = Idset::new();
    let mut base = 0;
    for word in words.iter().rev() {
        let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).unwrap_or(word);
        let fits = if words.len() > 1 { digits.len() <= 8 } else { digits.len() <= CPUS_MAX as usize / 4 };
        if digits.is_empty() || !fits || base >= CPUS_MAX {
            return None;
        }
        for (at, digit) in (0..).zip(digits.chars().rev()) {
            let bits = digit.to_digit(16)?;
            (0..4).filter(|bit| bits >> bit & 1 == 1).for_each(|bit| {
                ids.insert(base + at * 4 + bit);
            });
        }
        base += 32;
    }
    Some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_masks_name_the_same_numbers() {
        for (text, wanted) in [
            ("0-3,8", "0-3,8"),
            ("0xf", "0-3"),
            ("0xF0", "4-7"),
            ("0x1,0x00000001", "0,32"),
            ("0x00000001,,", ""),
            ("0x80000000000000000", "67"),
            ("0xg", ""),
            ("0x", ""),
            ("0x0", ""),
            ("4000000000", ""),
            ("", ""),
        ] {
            assert_eq!(ids(text).map(|ids| ids.to_string()).unwrap_or_default(), wanted, "{text}");
        }
    }
}
