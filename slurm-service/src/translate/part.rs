//! What a job of Slurm's clients has that flurm has no word for: `attributes.system.slurm` of its jobspec.
//!
//! The service writes it when such a job is submitted and reads it when somebody asks what the job is like; the shell reads
//! [`Part::environment`], [`Part::ntasks`] and [`Part::cpus_per_task`]. A job that came by `flurm submit` has none.
//! `docs/formats.md` shows it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where it stands in a jobspec: below `attributes.system`.
pub const KEY: &str = "slurm";

/// How the job came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// By `sbatch`: its one task runs a script.
    #[default]
    Batch,
    /// By `salloc`, or `srun` outside a job: its one task waits for the client's word.
    Allocation,
}

/// What is known of a step besides: `step` has the rest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OfStep {
    /// As its commands call it, `SLURM_STEP_ID`.
    pub step: u32,
    #[serde(default)]
    pub submit_line: Option<String>,
}

/// As asked for; what was not asked for is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Part {
    pub kind: Kind,
    /// None of a job that is no step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<OfStep>,
    /// Tasks of the job, which its steps have if they do not say.
    pub ntasks: u32,
    pub cpus_per_task: u32,
    /// Set by who submitted, so that steps inherit them.
    #[serde(skip_serializing_if = "is_false")]
    pub ntasks_asked: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub cpus_per_task_asked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes_min: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes_max: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ntasks_per_node: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ntasks_per_socket: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ntasks_per_core: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus_per_node_min: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets_per_node: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores_per_socket: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads_per_core: Option<u16>,
    /// MiB; 0 is all that there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_per_node: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_per_cpu: Option<u64>,
    /// Generic resources as Slurm writes them, `gres:gpu:2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tres_per_job: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tres_per_node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tres_per_socket: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tres_per_task: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus_per_tres: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_per_tres: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tres_bind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ntasks_per_tres: Option<u16>,
    /// Slurm's `shared`: 0 exclusive, 1 willing to share, 2 with its user only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<u16>,
    #[serde(skip_serializing_if = "is_false")]
    pub overcommit: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distribution: Option<u32>,
    /// File names with Slurm's `%j`, absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std_in: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std_out: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std_err: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub append: bool,
    /// Path of the script as far as the client says it, and its arguments; for an allocation its program.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submit_line: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wckey: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail_user: Option<String>,
    /// Without Slurm's offset: above 0 is nicer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nice: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub req_nodes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exc_nodes: Option<String>,
    /// As typed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependency: Option<String>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begin: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<i64>,
    /// Minutes; Slurm's 0xffffffff is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_min: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requeue: Option<bool>,
    /// A signal before the end that is for the steps, not for the script: its number and how many seconds before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_signal: Option<(u16, u16)>,
    /// The array as typed, `0-9:2%5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub array: Option<String>,
    /// Of an array's jobs: what marks it in the store until all of them are submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub array_mark: Option<String>,
    /// Who asked: host, and for an allocation the ports where `salloc` or `srun` listens: for its nodes, until it has them,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alloc_host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alloc_port: Option<u16>,
    /// and for all else, until it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_port: Option<u16>,
    /// Version word of its protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alloc_version: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alloc_sid: Option<u32>,
    /// `SLURM_*` that follow from the request alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}
