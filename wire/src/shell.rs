//! Between a broker and the shell of its rank. The shell is a client; the broker pushes requests to it
//! (`Dest::Client`), which the shell answers with reports, never with responses.

use crate::Topic;
use crate::exec::{Kill, Start};
use crate::job::{Done, Stdin};
use flurm_types::{Environment, JobId, Rank, Timestamp};
use serde::{Deserialize, Serialize};

/// First words of a shell, also after each reconnection: a broker that is new learns what runs here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    pub rank: Rank,
    pub pid: i32,
    /// Jobs this shell still knows: running, or ended with unacknowledged reports.
    pub jobs: Vec<(JobId, u32)>,
}

/// What a shell must know of its instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Welcome {
    pub rank: Rank,
    pub size: u32,
    pub hostname: String,
    /// `local:///…` of the broker: becomes `FLURM_URI` of tasks.
    pub uri: String,
    pub instance_id: String,
    /// 0 for an instance that is not inside another.
    pub instance_level: u32,
    /// The owner's broker has gone and nobody came back: after this long the shell ends all and leaves.
    pub orphan_ms_max: u64,
    /// What Slurm's commands are to read (`SLURM_CONF`), where somebody answers them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slurm_conf: Option<String>,
}

impl Topic for Hello {
    const NAME: &'static str = "shell.hello";
    type Response = Welcome;
}

/// Leader → shell of a rank: `jobs` hold only what this rank takes part in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StartHere(pub Start);

impl Topic for StartHere {
    const NAME: &'static str = "shell.start";
    type Response = Done;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KillHere(pub Kill);

impl Topic for KillHere {
    const NAME: &'static str = "shell.kill";
    type Response = Done;
}

/// Leader → shell: what to do with output of a job from now on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FlowHere {
    pub id: JobId,
    pub attempt: u32,
    pub flow: Flow,
}

#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flow {
    /// Report it.
    #[default]
    Pass,
    /// Whoever follows it has not taken what there is: tasks wait in their write.
    Wait,
    /// It is not kept, and nobody follows it: drop it.
    Drop,
}

impl Topic for FlowHere {
    const NAME: &'static str = "shell.flow";
    type Response = Done;
}

/// A job that runs ends at another time than its R says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExpireHere {
    pub id: JobId,
    pub attempt: u32,
    /// Zero: it has no end.
    pub expiration: Timestamp,
}

impl Topic for ExpireHere {
    const NAME: &'static str = "shell.expire";
    type Response = Done;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StdinHere(pub Stdin);

impl Topic for StdinHere {
    const NAME: &'static str = "shell.stdin";
    type Response = Done;
}

/// The instance's initial program: inherits the terminal (descriptors 0, 1, 2) of the shell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StartInitial {
    pub command: Vec<String>,
    pub cwd: String,
    pub environment: Environment,
}

impl Topic for StartInitial {
    const NAME: &'static str = "shell.start-initial";
    type Response = Done;
}

/// Signal the initial program (`end`: and all it left behind).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KillInitial {
    pub signum: i32,
    #[serde(default)]
    pub end: bool,
}

impl Topic for KillInitial {
    const NAME: &'static str = "shell.kill-initial";
    type Response = Done;
}

/// Shell → its broker: the initial program ended with this wait status.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InitialExited {
    pub status: i32,
}

impl Topic for InitialExited {
    const NAME: &'static str = "shell.initial-exited";
    type Response = Done;
}

/// Broker → shell: end everything (TERM, then KILL), report, and exit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Quit {}

impl Topic for Quit {
    const NAME: &'static str = "shell.quit";
    type Response = Done;
}

/// Shell → shell, from child to parent in the tree of a job's shells (by index in R): what all shells below give to an
/// all-gather. The answer comes when all shells have given theirs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fence {
    pub id: JobId,
    pub attempt: u32,
    /// Which one: those of one name come one after the other.
    pub name: String,
    /// Counts those of this name, from 0.
    pub seq: u64,
    /// The child's index in R.
    pub from: u32,
    pub parts: Vec<Part>,
}

/// What one shell gives: its index in R, and bytes in base64.
#[derive(Debug, Clone, Eq, PartialEq, Serialize, Deserialize)]
pub struct Part(pub u32, pub String);

/// What all shells have given, by index.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fenced {
    pub parts: Vec<Part>,
}

impl Topic for Fence {
    const NAME: &'static str = "shell.fence";
    type Response = Fenced;
}

/// Child → parent in that tree: the child will not take part in the all-gather of this name, or, without a name, in
/// any, since its tasks have ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FenceLost {
    pub id: JobId,
    pub attempt: u32,
    pub from: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub why: String,
}

impl Topic for FenceLost {
    const NAME: &'static str = "shell.fence-lost";
    type Response = Done;
}

/// A task on one rank wants what a task on another has put (PMIx's direct modex): shell to shell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PmixGet {
    pub id: JobId,
    pub attempt: u32,
    pub task: u32,
}

/// All that the task has put, as base64.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PmixGot {
    pub data: String,
}

impl Topic for PmixGet {
    const NAME: &'static str = "shell.pmix-get";
    type Response = PmixGot;
}
