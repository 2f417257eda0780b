//! Broker attributes (`flurm getattr`), read from the broker the client is connected to.

use crate::Topic;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Get {
    pub name: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Value {
    pub value: String,
}

impl Topic for Get {
    const NAME: &'static str = "attr.get";
    type Response = Value;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Set {
    pub name: String,
    pub value: String,
    /// Also where the attribute is read-only after start.
    #[serde(default)]
    pub force: bool,
}

impl Topic for Set {
    const NAME: &'static str = "attr.set";
    type Response = crate::job::Done;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct List {}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct All {
    pub attributes: BTreeMap<String, String>,
}

impl Topic for List {
    const NAME: &'static str = "attr.list";
    type Response = All;
}
