//! Resources: inventory, up and down, drain.

use crate::Topic;
use flurm_types::{Entry, Idset, R, Timestamp};
use serde::{Deserialize, Serialize};

/// Broker → leader: what that rank has. Said again whenever there is a new way to the leader.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inventory {
    pub r: R,
}

impl Topic for Inventory {
    const NAME: &'static str = "resource.inventory";
    type Response = crate::job::Done;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {}

/// Everything `flurm resource list|info|status|R` needs, as R objects (RFC 20).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusInfo {
    pub all: R,
    pub allocated: R,
    pub up: Idset,
    pub online: Idset,
    pub drained: Vec<Drained>,
    pub expiration: Timestamp,
    /// Nodes that have an end of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expiring: Vec<Expiring>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Expiring {
    pub ranks: Idset,
    pub expiration: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Drained {
    pub ranks: Idset,
    pub reason: String,
    pub since: Timestamp,
}

impl Topic for Status {
    const NAME: &'static str = "resource.status";
    type Response = StatusInfo;
}

/// Targets are ranks or host names.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Drain {
    pub targets: String,
    pub reason: String,
    /// Replace the reason of what is drained already.
    #[serde(default)]
    pub overwrite: bool,
}

impl Topic for Drain {
    const NAME: &'static str = "resource.drain";
    type Response = crate::job::Done;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Undrain {
    pub targets: String,
    pub reason: String,
}

impl Topic for Undrain {
    const NAME: &'static str = "resource.undrain";
    type Response = crate::job::Done;
}

/// Until when nodes are here. Targets are ranks or host names.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Expire {
    pub targets: String,
    /// Zero: as long as the instance.
    pub expiration: Timestamp,
}

impl Topic for Expire {
    const NAME: &'static str = "resource.expire";
    type Response = crate::job::Done;
}

/// The instance ends at another time: its job has another time limit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lease {
    /// Zero: it does not end by itself.
    pub expiration: Timestamp,
}

impl Topic for Lease {
    const NAME: &'static str = "resource.lease";
    type Response = crate::job::Done;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Eventlog {
    pub follow: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventlogBatch {
    pub entries: Vec<Entry>,
}

impl Topic for Eventlog {
    const NAME: &'static str = "resource.eventlog";
    const STREAM: bool = true;
    type Response = EventlogBatch;
}
