//! Events of users' own: a topic and a value, for whoever listens at that moment. They are kept nowhere.

use crate::Topic;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bytes of a topic.
pub const TOPIC_LEN_MAX: usize = 256;
/// Bytes of a value, as JSON.
pub const PAYLOAD_LEN_MAX: usize = 1 << 20;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Publish {
    pub topic: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Published {
    /// The event's number in this instance, from 1.
    pub seq: u64,
    /// How many it was sent to.
    pub listeners: usize,
}

impl Topic for Publish {
    const NAME: &'static str = "event.publish";
    type Response = Published;
}

/// Events whose topic begins with one of these; the first answer has none, and says that all later ones will come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Subscribe {
    pub topics: Vec<String>,
}

#[derive(Debug, Clone, Eq, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub seq: u64,
    pub topic: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Events {
    pub events: Vec<Event>,
}

impl Topic for Subscribe {
    const NAME: &'static str = "event.subscribe";
    const STREAM: bool = true;
    type Response = Events;
}
