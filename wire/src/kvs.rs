//! The key-value store (RFC 11 semantics, JSON values). `job.<id>.*`, `resource.*` are read-only views of the log.

use crate::Topic;
use crate::fact::KvsOp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub const PRIMARY: &str = "primary";

/// All or nothing; answered when durable.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Commit {
    pub namespace: String,
    pub ops: Vec<KvsOp>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Committed {
    pub version: u64,
}

impl Topic for Commit {
    const NAME: &'static str = "kvs.commit";
    type Response = Committed;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Get {
    pub namespace: String,
    pub key: String,
    /// Wait until the key exists.
    #[serde(default)]
    pub waitcreate: bool,
    /// Answer again on every change, until cancelled.
    #[serde(default)]
    pub watch: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Node {
    Value(Value),
    /// Names of what is in the directory, with their kind.
    Dir(Vec<(String, NodeKind)>),
    Symlink(String),
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    Value,
    Dir,
    Symlink,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Got {
    /// None: the key is gone (only while watching).
    pub node: Option<Node>,
    pub version: u64,
}

impl Topic for Get {
    const NAME: &'static str = "kvs.get";
    const STREAM: bool = true;
    type Response = Got;
}

/// Do not follow a final symlink.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Readlink {
    pub namespace: String,
    pub key: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Link {
    pub target: String,
}

impl Topic for Readlink {
    const NAME: &'static str = "kvs.readlink";
    type Response = Link;
}

/// Version (number of commits) of a namespace; waits for at least `at_least`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Version {
    pub namespace: String,
    #[serde(default)]
    pub at_least: u64,
}

impl Topic for Version {
    const NAME: &'static str = "kvs.version";
    type Response = Committed;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Namespaces {}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NamespaceList {
    /// Name, owner's uid.
    pub namespaces: Vec<(String, u32)>,
}

impl Topic for Namespaces {
    const NAME: &'static str = "kvs.namespaces";
    type Response = NamespaceList;
}
