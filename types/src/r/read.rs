//! R from JSON, checked. Reads what other tools and people write, TreePool topologies (RFC 49) included.

use super::{MAX_SOCKETS, R, RNode, Socket, Topology};
use crate::{Hostlist, Idset, SyntaxError, Timestamp};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap};

/// Most (entry, rank) pairs of `R_lite`: entries may name the same ranks again, so that ranks alone do not
/// bound the work.
const MAX_PAIRS: usize = 1 << 20;

/// An R that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RError {
    /// Not JSON, or a wrong type somewhere.
    #[error("read R: {0}")]
    Json(#[source] serde_json::Error),
    /// Another version.
    #[error("read R: `version` is {0}, not 1")]
    Version(u64),
    /// An idset or hostlist that cannot be read.
    #[error("read R at `{path}`: {source}")]
    Text {
        /// Which key.
        path: String,
        /// What is wrong with it.
        source: SyntaxError,
    },
    /// A rule between values is broken.
    #[error("read R at `{path}`: {rule}")]
    Rule {
        /// Which key.
        path: String,
        /// The rule.
        rule: String,
    },
    /// Two parts that should be joined do not describe the same machine.
    #[error("join two R: rank {rank} is both `{one}` and `{two}`")]
    Hosts {
        /// The rank.
        rank: u32,
        /// Its host in one.
        one: String,
        /// Its host in the other.
        two: String,
    },
}

#[derive(Deserialize)]
struct Document<'a> {
    version: u64,
    #[serde(borrow)]
    execution: Execution<'a>,
    #[serde(default)]
    scheduling: Option<Value>,
}

#[derive(Deserialize)]
struct Execution<'a> {
    #[serde(rename = "R_lite", borrow)]
    groups: Vec<Group<'a>>,
    #[serde(borrow)]
    nodelist: Vec<Cow<'a, str>>,
    #[serde(default)]
    nslots: Option<u32>,
    #[serde(default, borrow)]
    properties: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
    #[serde(default)]
    starttime: Timestamp,
    #[serde(default)]
    expiration: Timestamp,
}

#[derive(Deserialize)]
struct Group<'a> {
    #[serde(borrow)]
    rank: Cow<'a, str>,
    #[serde(borrow)]
    children: Children<'a>,
}

/// Other kinds of children are left out: we could neither count nor give them.
#[derive(Deserialize)]
struct Children<'a> {
    #[serde(default, borrow)]
    core: Cow<'a, str>,
    #[serde(default, borrow)]
    gpu: Cow<'a, str>,
}

#[derive(Deserialize)]
struct TreePool {
    children: Vec<TreeChild>,
}

#[derive(Deserialize)]
struct TreeChild {
    ranks: String,
    #[serde(default)]
    topo: TreeTopology,
}

/// Localities other than sockets are not kept: nothing above can use them yet.
#[derive(Deserialize, Default)]
struct TreeTopology {
    #[serde(default)]
    socket: Vec<TreeSocket>,
}

#[derive(Deserialize)]
struct TreeSocket {
    #[serde(default)]
    cores: String,
    #[serde(default)]
    gpus: String,
    #[serde(default)]
    memory: Option<u64>,
}

impl R {
    /// Reads the JSON of version 1.
    ///
    /// # Errors
    /// With the key and the rule, when the text is no R or does not agree with itself.
    pub fn parse(text: &str) -> Result<R, RError> {
        checked(serde_json::from_str(text).map_err(RError::Json)?)
    }

    /// Reads an R that is already a JSON value.
    ///
    /// # Errors
    /// As [`R::parse`].
    pub fn from_value(value: &Value) -> Result<R, RError> {
        checked(Document::deserialize(value).map_err(RError::Json)?)
    }
}

impl<'de> Deserialize<'de> for R {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<R, D::Error> {
        // By way of a value, since not every deserializer can lend its text.
        R::from_value(&Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn rule<T>(path: impl Into<String>, rule: impl Into<String>) -> Result<T, RError> {
    Err(RError::Rule { path: path.into(), rule: rule.into() })
}

fn idset(text: &str, path: impl FnOnce() -> String) -> Result<Idset, RError> {
    text.parse().map_err(|source| RError::Text { path: path(), source })
}

fn checked(document: Document<'_>) -> Result<R, RError> {
    if document.version != 1 {
        return Err(RError::Version(document.version));
    }
    let execution = document.execution;
    let nodes = nodes(&execution.groups, hosts(&execution.nodelist)?)?;
    if execution.nslots == Some(0) {
        return rule("execution.nslots", "must be at least 1");
    }
    if !execution.expiration.is_zero() && execution.expiration <= execution.starttime {
        return rule("execution.expiration", "must be after `starttime`");
    }
    if execution.starttime < Timestamp::ZERO {
        return rule("execution.starttime", "must not be negative");
    }
    let ranks: Idset = nodes.iter().map(|node| node.rank).collect();
    let mut properties = BTreeMap::new();
    for (name, with) in execution.properties.unwrap_or_default() {
        let path = || format!("execution.properties.{name}");
        if name.is_empty() || name.contains(['!', '&', '\'', '"', '^', '`', '|', '(', ')']) {
            return rule(path(), "a property name is not empty and has none of ! & ' \" ^ ` | ( )");
        }
        let with = idset(&with, path)?;
        if !with.is_subset(&ranks) {
            return rule(path(), format!("rank {} is not in this R", with.difference(&ranks)));
        }
        properties.insert(name.into_owned(), with);
    }
    let (topology, scheduling) = match document.scheduling {
        Some(value) if value["writer"] == "TreePool" => (topology(&value, &ranks)?, None),
        Some(Value::Null) | None => (BTreeMap::new(), None),
        Some(Value::Object(foreign)) if foreign.is_empty() => (BTreeMap::new(), None),
        Some(foreign) => (super::graph::topology(&foreign, &ranks), Some(foreign.into())),
    };
    Ok(R {
        nodes,
        properties,
        starttime: execution.starttime,
        expiration: execution.expiration,
        nslots: execution.nslots,
        topology,
        scheduling,
    })
}

fn hosts(nodelist: &[Cow<'_, str>]) -> Result<Hostlist, RError> {
    let mut hosts = Hostlist::new();
    for (n, text) in nodelist.iter().enumerate() {
        let more: Hostlist = text
            .parse()
            .map_err(|source| RError::Text { path: format!("execution.nodelist[{n}]"), source })?;
        hosts.extend(more);
        if hosts.len() > crate::hostlist::MAX_HOSTS {
            return rule("execution.nodelist", "too many hosts");
        }
    }
    Ok(hosts)
}

/// The groups turned into nodes, ascending by rank.
fn nodes(groups: &[Group<'_>], hosts: Hostlist) -> Result<Vec<RNode>, RError> {
    let mut all = Idset::new();
    let mut pairs = 0;
    let mut parsed = Vec::with_capacity(groups.len());
    for (n, group) in groups.iter().enumerate() {
        let path = |key: &str| format!("execution.R_lite[{n}].{key}");
        let ranks = idset(&group.rank, || path("rank"))?;
        let cores = idset(&group.children.core, || path("children.core"))?;
        let gpus = idset(&group.children.gpu, || path("children.gpu"))?;
        if ranks.is_empty() {
            return rule(path("rank"), "names no rank");
        }
        pairs += ranks.len();
        if pairs > MAX_PAIRS {
            return rule(path("rank"), format!("more than {MAX_PAIRS} ranks over all entries"));
        }
        all.union_with(&ranks);
        parsed.push((ranks, cores, gpus));
    }
    if all.len() != hosts.len() {
        let said = format!("{} hosts for {} ranks", hosts.len(), all.len());
        return rule("execution.nodelist", said);
    }
    let mut nodes: Vec<RNode> = all
        .iter()
        .zip(hosts)
        .map(|(rank, host)| RNode { rank, host, cores: Idset::new(), gpus: Idset::new() })
        .collect();
    for (n, (ranks, cores, gpus)) in parsed.iter().enumerate() {
        for (lo, hi) in ranks.ranges() {
            let start = all.position(lo);
            for node in &mut nodes[start..start + (hi - lo) as usize + 1] {
                if !node.cores.is_disjoint(cores) || !node.gpus.is_disjoint(gpus) {
                    let said = format!("rank {} has the same core or gpu in an earlier entry", node.rank);
                    return rule(format!("execution.R_lite[{n}]"), said);
                }
                node.cores.union_with(cores);
                node.gpus.union_with(gpus);
            }
        }
    }
    match nodes.iter().find(|node| node.cores.is_empty()) {
        Some(node) => rule("execution.R_lite", format!("rank {} has no cores", node.rank)),
        None => Ok(nodes),
    }
}

fn topology(scheduling: &Value, ranks: &Idset) -> Result<BTreeMap<u32, Topology>, RError> {
    let pool = TreePool::deserialize(scheduling).map_err(RError::Json)?;
    let (mut topology, mut total) = (BTreeMap::new(), 0);
    for (n, child) in pool.children.iter().enumerate() {
        let path = |key: String| format!("scheduling.children[{n}].{key}");
        // Ranks that are not ours may be left over from the R this one was cut from.
        let here = idset(&child.ranks, || path("ranks".to_owned()))?.intersection(ranks);
        let (mut sockets, mut seen) = (Vec::new(), (Idset::new(), Idset::new()));
        for (s, socket) in child.topo.socket.iter().enumerate() {
            let path = |key: &str| path(format!("topo.socket[{s}].{key}"));
            let cores = idset(&socket.cores, || path("cores"))?;
            let gpus = idset(&socket.gpus, || path("gpus"))?;
            if !cores.is_disjoint(&seen.0) || !gpus.is_disjoint(&seen.1) {
                return rule(path("cores"), "a core or gpu is in two sockets");
            }
            seen.0.union_with(&cores);
            seen.1.union_with(&gpus);
            sockets.push(Socket { cores, gpus, memory_gib: socket.memory });
        }
        if sockets.is_empty() {
            // Nothing is known of these nodes, which is what no entry says as well.
            continue;
        }
        total += sockets.len().saturating_mul(here.len());
        if total > MAX_SOCKETS {
            return rule("scheduling.children", format!("more than {MAX_SOCKETS} sockets"));
        }
        let inside = Topology { sockets: sockets.into() };
        for rank in here.iter() {
            let known = topology.insert(rank, inside.clone());
            if known.is_some() {
                return rule(path("ranks".to_owned()), format!("rank {rank} is in two entries"));
            }
        }
    }
    Ok(topology)
}
