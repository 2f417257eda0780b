//! The tree: joining, liveness, status, ping.

use crate::Topic;
use flurm_types::{Idset, Rank, Timestamp};
use serde::{Deserialize, Serialize};

/// Child → parent, first on a new link and again when its subtree changes (`Dest::Rank(parent)`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    pub rank: Rank,
    /// New each time the broker process starts.
    pub epoch: u64,
    /// Ranks reached through this child, itself included.
    pub subtree: Idset,
    /// Ranks below it that went without a goodbye and have not come back; the others that went have left in order.
    pub lost: Idset,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Welcome {
    pub rank: Rank,
    pub epoch: u64,
    /// Whoever leads.
    pub leader: Rank,
}

impl Topic for Hello {
    const NAME: &'static str = "overlay.hello";
    type Response = Welcome;
}

/// Either way on a link that was silent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Heartbeat {}

impl Topic for Heartbeat {
    const NAME: &'static str = "overlay.heartbeat";
    type Response = crate::job::Done;
}

/// Child → parent: I leave on purpose. Parent → child: so should you (`shutdown`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Goodbye {
    /// What to leave with, when the instance was ended from outside; 0 when it has ended in its own way.
    #[serde(default)]
    pub code: i32,
}

impl Topic for Goodbye {
    const NAME: &'static str = "overlay.goodbye";
    type Response = crate::job::Done;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {}

/// Health of one broker and what hangs below it; the leader's answer covers the whole tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TreeStatus {
    pub rank: Rank,
    pub host: String,
    pub status: Health,
    /// How long it has been so, seconds.
    pub for_secs: f64,
    pub children: Vec<TreeStatus>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It and all below are online.
    Full,
    /// Not yet all below have come.
    Partial,
    /// Something below was lost.
    Degraded,
    Lost,
    Offline,
}

impl Topic for Status {
    const NAME: &'static str = "overlay.status";
    type Response = TreeStatus;
}

/// Answered by the addressed broker; `pad` makes it as large as wanted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ping {
    pub seq: u64,
    #[serde(default)]
    pub pad: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pong {
    pub seq: u64,
    pub rank: Rank,
    pub host: String,
    pub pad: String,
    pub time: Timestamp,
}

impl Topic for Ping {
    const NAME: &'static str = "broker.ping";
    type Response = Pong;
}
