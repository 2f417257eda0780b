//! Between the leader's `exec` and the shells: what to start and what became of it (RFC 32).
//!
//! At least once, in order per shell: a shell repeats what was not acknowledged, the leader drops what it
//! has seen (`seq`), and starting what already runs changes nothing.

use crate::Topic;
use flurm_types::{Entry, JobId, Rank, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;

/// What a shell is to start, see [`crate::shell::StartHere`].
///
/// Bulk submissions are thousands of equal jobspecs in equal environments. A message has each of them once, and as a
/// text: who has read the same text before need not read it again.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Start {
    /// Each an [`flurm_types::Environment`].
    pub environments: Vec<Arc<RawValue>>,
    /// Without their environments.
    pub jobspecs: Vec<Arc<RawValue>>,
    pub jobs: Vec<StartJob>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StartJob {
    pub id: JobId,
    /// Counts from 0; a duty is keyed by (job, rank, attempt).
    pub attempt: u32,
    /// Index into `environments`.
    pub environment: usize,
    /// Index into `jobspecs`.
    pub jobspec: usize,
    /// The job is another copy of that one: its text has this number instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<u32>,
    /// What Slurm's commands call the job, and the array that it is of; 0 without one.
    #[serde(default)]
    pub number: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub array_number: u32,
    /// All of R: a shell finds its own part by its rank.
    pub r: Arc<RawValue>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What a shell says about a job on its rank.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub id: JobId,
    pub attempt: u32,
    pub rank: Rank,
    /// Rises by one per (job, attempt, rank), from 1.
    pub seq: u64,
    pub what: What,
}

/// The kind of [`What::Failed`] when a task has ended the job itself (`MPI_Abort`): the job ends with that task's code, not with
/// the signals by which the others are ended for it.
pub const ABORT: &str = "abort";
/// The same of a program before the tasks that has failed.
pub const PROLOG: &str = "prolog";
/// The same of archives that could not be unpacked before the tasks.
pub const STAGE_IN: &str = "stage-in";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// All tasks of this rank run. `pids` by local task order.
    Started { time: Timestamp, pids: Vec<i32> },
    /// Entries of `guest.output` (RFC 24): data, redirect, log.
    Output { entries: Vec<Entry> },
    /// Entries of `guest.exec.eventlog` (RFC 50).
    Exec { entries: Vec<Entry> },
    /// A task could not be started, or the shell gave up: a fatal exception with this type and note.
    Failed { kind: String, note: String, status: i32 },
    /// A non-fatal exception (severity above 0).
    Warning { kind: String, severity: u8, note: String },
    /// All tasks of this rank are gone, all their descendants too, all output has been reported. Last of its job.
    /// `status` is the largest wait status (128+signal counts as its exit code).
    Gone { time: Timestamp, status: i32 },
}

/// Shell → leader. Answered when the facts that follow are committed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reports {
    pub reports: Vec<Report>,
}

impl Topic for Reports {
    const NAME: &'static str = "exec.report";
    type Response = crate::job::Done;
}

/// What a shell is to end or to signal, see [`crate::shell::KillHere`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kill {
    pub id: JobId,
    pub attempt: u32,
    pub ranks: flurm_types::Idset,
    pub signum: i32,
    /// End the job: TERM now, KILL to every descendant after `grace_ms`.
    #[serde(default)]
    pub end: bool,
    #[serde(default)]
    pub grace_ms: u64,
    /// For who reads the file of the job's errors.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// Broker of a rank → leader: the shell there is ready (again) and knows these jobs. Repeated when the broker has
/// a new way to the leader.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShellReady {
    pub rank: Rank,
    /// Jobs and attempts that run there or have reports that nobody has acknowledged.
    pub jobs: Vec<(JobId, u32)>,
}

impl Topic for ShellReady {
    const NAME: &'static str = "exec.shell-ready";
    type Response = crate::job::Done;
}
