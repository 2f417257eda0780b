//! R to JSON, in normal form: nodes with equal children share an entry, entries go by lowest rank, and known
//! topology is a TreePool (RFC 49).

use super::{R, Topology};
use crate::{Idset, Timestamp};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Document<'a> {
    version: u8,
    execution: Execution<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduling: Option<Scheduling<'a>>,
}

#[derive(Serialize)]
struct Execution<'a> {
    #[serde(rename = "R_lite")]
    groups: Vec<Group<'a>>,
    nodelist: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nslots: Option<u32>,
    #[serde(skip_serializing_if = "is_empty")]
    properties: &'a BTreeMap<String, Idset>,
    starttime: Timestamp,
    expiration: Timestamp,
}

fn is_empty(properties: &&BTreeMap<String, Idset>) -> bool {
    properties.is_empty()
}

#[derive(Serialize)]
struct Group<'a> {
    rank: Idset,
    children: Children<'a>,
}

#[derive(Serialize)]
struct Children<'a> {
    core: &'a Idset,
    #[serde(skip_serializing_if = "Idset::is_empty_ref")]
    gpu: &'a Idset,
}

impl Idset {
    /// serde hands `skip_serializing_if` a reference to the field, which is a reference already.
    fn is_empty_ref(set: &&Idset) -> bool {
        set.is_empty()
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Scheduling<'a> {
    Foreign(&'a super::Scheduling),
    TreePool { writer: &'static str, children: Vec<TreeChild<'a>> },
}

#[derive(Serialize)]
struct TreeChild<'a> {
    ranks: Idset,
    topo: TreeTopology<'a>,
}

#[derive(Serialize)]
struct TreeTopology<'a> {
    socket: Vec<TreeSocket<'a>>,
}

#[derive(Serialize)]
struct TreeSocket<'a> {
    cores: &'a Idset,
    #[serde(skip_serializing_if = "Idset::is_empty_ref")]
    gpus: &'a Idset,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<u64>,
}

impl R {
    /// The JSON text, in normal form: equal sets give equal texts.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("idsets, names and finite numbers always serialize")
    }

    /// The JSON as a value.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("idsets, names and finite numbers always serialize")
    }

    fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        let mut known: BTreeMap<(&Idset, &Idset), usize> = BTreeMap::new();
        for node in &self.nodes {
            // Nodes come by rank, so groups begin in the order of their lowest rank.
            let at = *known.entry((&node.cores, &node.gpus)).or_insert_with(|| {
                let children = Children { core: &node.cores, gpu: &node.gpus };
                groups.push(Group { rank: Idset::new(), children });
                groups.len() - 1
            });
            groups[at].rank.insert(node.rank);
        }
        groups
    }

    fn scheduling(&self) -> Option<Scheduling<'_>> {
        if let Some(foreign) = &self.scheduling {
            return Some(Scheduling::Foreign(foreign));
        }
        let mut children: Vec<TreeChild<'_>> = Vec::new();
        let mut known: BTreeMap<&Topology, usize> = BTreeMap::new();
        for (rank, topology) in self.topology.iter().filter(|(_, topology)| !topology.sockets.is_empty()) {
            let at = *known.entry(topology).or_insert_with(|| {
                let socket = topology.sockets.iter().map(|socket| TreeSocket {
                    cores: &socket.cores,
                    gpus: &socket.gpus,
                    memory: socket.memory_gib,
                });
                let topo = TreeTopology { socket: socket.collect() };
                children.push(TreeChild { ranks: Idset::new(), topo });
                children.len() - 1
            });
            children[at].ranks.insert(*rank);
        }
        if children.is_empty() { None } else { Some(Scheduling::TreePool { writer: "TreePool", children }) }
    }
}

impl Serialize for R {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hosts = self.hostlist();
        let document = Document {
            version: 1,
            execution: Execution {
                groups: self.groups(),
                nodelist: if hosts.is_empty() { Vec::new() } else { vec![hosts.to_string()] },
                nslots: self.nslots,
                properties: &self.properties,
                starttime: self.starttime,
                expiration: self.expiration,
            },
            scheduling: self.scheduling(),
        };
        document.serialize(serializer)
    }
}
