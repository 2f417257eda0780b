//! The broker's own life: states, uptime, log ring, shutdown, memory.

use crate::Topic;
use flurm_types::{Rank, Timestamp};
use serde::{Deserialize, Serialize};

/// Where in the key-value store it stands when an instance with a state directory was started and stopped: an eventlog.
pub const STARTLOG: &str = "admin.eventlog";
/// Its events. A start without a finish behind it was a crash.
pub const START: &str = "start";
pub const FINISH: &str = "finish";

#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BrokerState {
    Join,
    Init,
    Quorum,
    Run,
    Cleanup,
    Shutdown,
    Finalize,
}

impl BrokerState {
    pub fn name(self) -> &'static str {
        match self {
            BrokerState::Join => "join",
            BrokerState::Init => "init",
            BrokerState::Quorum => "quorum",
            BrokerState::Run => "run",
            BrokerState::Cleanup => "cleanup",
            BrokerState::Shutdown => "shutdown",
            BrokerState::Finalize => "finalize",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Get {}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Info {
    pub rank: Rank,
    pub state: BrokerState,
    pub size: u32,
    pub online: u32,
    pub owner: u32,
    pub starttime: Timestamp,
    pub now: Timestamp,
    pub expiration: Timestamp,
    pub instance_level: u32,
    pub drained: u32,
    pub submission_enabled: bool,
    pub scheduling_started: bool,
    pub version: String,
}

impl Topic for Get {
    const NAME: &'static str = "state.get";
    type Response = Info;
}

/// Answered when the instance has reached `wait` (or is past it).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wait {
    pub state: BrokerState,
}

impl Topic for Wait {
    const NAME: &'static str = "state.wait";
    type Response = Info;
}

/// End the instance: the initial program gets HUP, then all ends. Answered at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shutdown {}

impl Topic for Shutdown {
    const NAME: &'static str = "state.shutdown";
    type Response = crate::job::Done;
}

/// The log ring of the addressed broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dmesg {
    #[serde(default)]
    pub follow: bool,
    #[serde(default)]
    pub clear: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DmesgLines {
    pub lines: Vec<LogLine>,
}

#[derive(Debug, Clone, Eq, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    pub time: Timestamp,
    /// RFC 5424: 3 error, 4 warning, 6 info, 7 debug.
    pub level: u8,
    pub rank: Rank,
    pub component: String,
    pub text: String,
}

impl Topic for Dmesg {
    const NAME: &'static str = "log.dmesg";
    const STREAM: bool = true;
    type Response = DmesgLines;
}

/// A line for the log of the addressed broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Log {
    /// RFC 5424: 0 emergency to 7 debug.
    pub level: u8,
    /// Who says it.
    pub component: String,
    pub text: String,
}

/// Bytes of what is logged at a time.
pub const LOG_LEN_MAX: usize = 64 << 10;

impl Topic for Log {
    const NAME: &'static str = "log.append";
    type Response = crate::job::Done;
}

/// What the addressed broker can be asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Modules {}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// The first word of its topics.
    pub name: String,
    /// The leader alone has it.
    pub leaders: bool,
    /// Since the broker has started.
    pub requests: u64,
    /// Since the last of them, seconds; none: nobody has asked.
    pub idle_secs: Option<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServiceList {
    pub services: Vec<Service>,
}

impl Topic for Modules {
    const NAME: &'static str = "module.list";
    type Response = ServiceList;
}
