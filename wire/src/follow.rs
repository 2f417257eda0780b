//! Tasks of a job on one rank, followed by a client: `shell.follow`, answered by the shell of the addressed rank.
//!
//! A job with the shell option `output.follow=NAME` says nothing to its log. What its tasks write waits in the shell for
//! whoever follows that name, and tasks wait in their write while a follower has more than [`WINDOW_BYTES`] in hand. A
//! follower may come before the job does, or after it has ended; when one goes, the output waits for the next.
//!
//! ```text
//! follow ─► ready ─► started ─► output, end, exited … ─► gone
//!                └─► failed ──────────────────────────────┘
//! ```

use crate::Topic;
use crate::job::{Done, Window};
use crate::rexec::Stream;
use flurm_types::{Idset, JobId};
use serde::{Deserialize, Serialize};

/// Bytes of output on their way to a follower that it has not said to have taken.
pub const WINDOW_BYTES: usize = 2 << 20;

/// Follow the job with this name, on this rank.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Follow {
    pub name: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Followed {
    /// Whatever happens from now on will be told.
    Ready {},
    /// All tasks of this rank run; their processes in the same order.
    Started { id: JobId, tasks: Vec<u32>, pids: Vec<i32> },
    /// As it came, in the order of each stream.
    Output { task: u32, stream: Stream, data: String, base64: bool },
    /// The stream has no more.
    End { task: u32, stream: Stream },
    /// Wait status of one task. Output may still follow: its children may have more to say.
    Exited { task: u32, status: i32 },
    /// The tasks of this rank cannot be started.
    Failed { note: String, status: i32 },
    /// Nothing is left of the job here. Last.
    Gone { status: i32 },
}

impl Topic for Follow {
    const NAME: &'static str = "shell.follow";
    const STREAM: bool = true;
    type Response = Followed;
}

/// The follower has used so many bytes more; `tag` is that of its request, on the same connection. No answer is needed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Took {
    pub tag: u64,
    pub bytes: usize,
}

impl Topic for Took {
    const NAME: &'static str = "shell.follow-took";
    type Response = Done;
}

/// Input of tasks here, which take it with the job's option `input.stdin.type=service`. Answered when they have taken it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Feed {
    pub name: String,
    /// None: all tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Idset>,
    pub data: String,
    #[serde(default)]
    pub base64: bool,
    #[serde(default)]
    pub eof: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

impl Topic for Feed {
    const NAME: &'static str = "shell.follow-feed";
    type Response = Done;
}

/// A signal to all processes of the job on this rank alone; `job-manager.kill` reaches all ranks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Signal {
    pub name: String,
    pub signum: i32,
}

impl Topic for Signal {
    const NAME: &'static str = "shell.follow-signal";
    type Response = Done;
}
