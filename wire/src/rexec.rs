//! Processes outside the scheduler (`flurm exec`): one per addressed broker, run by the shell there.
//!
//! The client asks the leader for a set of ranks; every addressed shell streams back.

use crate::Topic;
use flurm_types::{Environment, Rank};
use serde::{Deserialize, Serialize};

/// Sent to `Dest::Rank(r)`; the shell of that rank answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    pub command: Vec<String>,
    pub cwd: Option<String>,
    pub environment: Environment,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutput {
    Started {
        rank: Rank,
        pid: i32,
    },
    Output {
        rank: Rank,
        stream: Stream,
        data: String,
        base64: bool,
    },
    /// Wait status; all output came before. Last.
    Exited {
        rank: Rank,
        status: i32,
    },
    /// Could not be started (errno text). Last.
    Failed {
        rank: Rank,
        errno: i32,
        text: String,
    },
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Topic for Run {
    const NAME: &'static str = "rexec.run";
    const STREAM: bool = true;
    type Response = RunOutput;
}

/// Same connection, the `tag` of the open `Run`: input, or a signal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Control {
    pub tag: u64,
    #[serde(default)]
    pub signum: Option<i32>,
    #[serde(default)]
    pub stdin: Option<String>,
    #[serde(default)]
    pub base64: bool,
    #[serde(default)]
    pub eof: bool,
}

impl Topic for Control {
    const NAME: &'static str = "rexec.control";
    type Response = crate::job::Done;
}
