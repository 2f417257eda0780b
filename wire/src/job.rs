//! Topics of a job's life: submission, requests about jobs, listing, eventlogs, output.
//!
//! All are answered by the leader. States, events and results are RFC 21's.

use crate::Topic;
use crate::fact::GuestLog;
use flurm_types::{Entry, Environment, Idset, JobId, JobResult, JobState, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Many jobs in one message; a lone job is a list of one. Environments are shared by index.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Submit {
    /// Chosen by the client, the same on every retry: a remembered one is answered, not repeated.
    pub submit_id: String,
    pub environments: Vec<Arc<Environment>>,
    pub jobs: Vec<SubmitJob>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SubmitJob {
    /// Jobspec (RFC 14) as JSON; its environment is absent when `environment` names a shared one.
    pub jobspec: Box<RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<usize>,
    pub urgency: u8,
    #[serde(default, skip_serializing_if = "SubmitFlags::is_default")]
    pub flags: SubmitFlags,
}

#[derive(Debug, Clone, Copy, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct SubmitFlags {
    #[serde(default)]
    pub waitable: bool,
    #[serde(default)]
    pub debug: bool,
    #[serde(default)]
    pub novalidate: bool,
}

impl SubmitFlags {
    fn is_default(&self) -> bool {
        *self == SubmitFlags::default()
    }
}

/// In the order of the request. Sent when every accepted job is durable.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Submitted {
    pub jobs: Vec<Result<JobId, crate::WireError>>,
}

impl Topic for Submit {
    const NAME: &'static str = "job-ingest.submit";
    type Response = Submitted;
}

/// Raise an exception (RFC 21); severity 0 ends the job. `cancel` is `type: "cancel"`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Raise {
    pub ids: Vec<JobId>,
    #[serde(rename = "type")]
    pub kind: String,
    pub severity: u8,
    #[serde(default)]
    pub note: String,
}

/// One answer per id, in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PerJob {
    pub results: Vec<Result<(), crate::WireError>>,
}

impl Topic for Raise {
    const NAME: &'static str = "job-manager.raise";
    type Response = PerJob;
}

/// Send a signal to all tasks of running jobs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kill {
    pub ids: Vec<JobId>,
    pub signum: i32,
}

impl Topic for Kill {
    const NAME: &'static str = "job-manager.kill";
    type Response = PerJob;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SetUrgency {
    pub id: JobId,
    pub urgency: u8,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Done {}

impl Topic for SetUrgency {
    const NAME: &'static str = "job-manager.urgency";
    type Response = Done;
}

/// Remarks on a job (RFC 21): keys to set, null removes. An instance that is a job says its `uri` so.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Memo {
    pub id: JobId,
    pub memo: Map<String, Value>,
}

impl Topic for Memo {
    const NAME: &'static str = "job-manager.memo";
    type Response = Done;
}

/// Wait for a `waitable` job (any, when `id` is none); each result is handed out once.
/// Change what a job has asked for. Keys are dotted paths of its jobspec: `attributes.system.duration` (seconds, or text
/// such as `+10m`, of running jobs too), and of pending ones `….queue`, `….constraints`, `….job.name`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Update {
    pub id: JobId,
    pub updates: BTreeMap<String, serde_json::Value>,
    /// Only say what would be.
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Updated {
    /// What has been set, relative values worked out.
    pub updates: BTreeMap<String, serde_json::Value>,
}

impl Topic for Update {
    const NAME: &'static str = "job-manager.update";
    type Response = Updated;
}

/// Forget jobs that are over: those named, or else the oldest, as far as the limits say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Purge {
    #[serde(default)]
    pub ids: Vec<JobId>,
    /// Those that ended longer ago, in seconds.
    #[serde(default)]
    pub age_limit: Option<f64>,
    /// Those beyond so many.
    #[serde(default)]
    pub num_limit: Option<usize>,
    /// At most so many by this request.
    pub batch: usize,
    /// Only say how many there are.
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Purged {
    pub jobs: usize,
    /// Jobs that are over and still known.
    pub left: u64,
}

impl Topic for Purge {
    const NAME: &'static str = "job-manager.purge";
    type Response = Purged;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WaitOne {
    pub id: Option<JobId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Waited {
    pub id: JobId,
    pub success: bool,
    /// Why not, in one line.
    pub errstr: String,
}

impl Topic for WaitOne {
    const NAME: &'static str = "job-manager.wait";
    type Response = Waited;
}

/// Follow jobs until each has the event (`clean` when none is named). Answers come in batches, as they happen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Await {
    pub ids: Vec<JobId>,
    #[serde(default)]
    pub event: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Awaited {
    pub jobs: Vec<AwaitedJob>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AwaitedJob {
    pub id: JobId,
    /// False when the job ended without the event.
    pub seen: bool,
    pub state: JobState,
    /// Wait status (`code << 8`, or a signal) once finished; none when the job ended before it started.
    pub status: Option<i32>,
    pub result: Option<JobResult>,
    /// The first fatal exception.
    pub exception: Option<Exception>,
}

#[derive(Debug, Clone, Eq, PartialEq, Serialize, Deserialize)]
pub struct Exception {
    #[serde(rename = "type")]
    pub kind: String,
    pub severity: u8,
    pub note: String,
}

impl Topic for Await {
    const NAME: &'static str = "job-manager.await";
    const STREAM: bool = true;
    type Response = Awaited;
}

/// Read (and follow) the logs of one job, in one stream so that their order holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Watch {
    pub id: JobId,
    pub logs: Vec<Log>,
    /// False: what is there now, then the end. True: until the logs are complete.
    pub follow: bool,
    /// Each answer will be acknowledged with [`Taken`]; few are sent beyond the last one that was. Who follows output
    /// in this way gets what is not kept as well.
    #[serde(default)]
    pub paced: bool,
}

/// The asker has used one more answer of a paced stream; `tag` is that of its request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Taken {
    pub tag: u64,
}

impl Topic for Taken {
    const NAME: &'static str = "job-info.taken";
    type Response = Done;
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Log {
    Eventlog,
    Exec,
    Output,
    Input,
}

impl From<GuestLog> for Log {
    fn from(log: GuestLog) -> Log {
        match log {
            GuestLog::Exec => Log::Exec,
            GuestLog::Output => Log::Output,
            GuestLog::Input => Log::Input,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Watched {
    pub entries: Vec<(Log, Entry)>,
}

impl Topic for Watch {
    const NAME: &'static str = "job-info.watch";
    const STREAM: bool = true;
    type Response = Watched;
}

/// Read keys of one job: `jobspec`, `J`, `R`, `eventlog`, `guest.exec.eventlog`, `guest.output`, `guest.input`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lookup {
    pub id: JobId,
    pub keys: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LookedUp {
    /// As text, in the order of the keys.
    pub values: Vec<String>,
}

impl Topic for Lookup {
    const NAME: &'static str = "job-info.lookup";
    type Response = LookedUp;
}

/// Processes of a running job's tasks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pids {
    pub id: JobId,
}

/// By rank; on each, by task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PidsOf {
    pub ranks: Vec<(u32, Vec<i32>)>,
}

impl Topic for Pids {
    const NAME: &'static str = "job-info.pids";
    type Response = PidsOf;
}

/// List jobs, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct List {
    /// Just these, in this order; an unknown id is an error.
    #[serde(default)]
    pub ids: Vec<JobId>,
    /// It is not: those that are known are listed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub known: bool,
    /// Of this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userid: Option<u32>,
    /// States wanted; empty means all.
    #[serde(default)]
    pub states: Vec<JobState>,
    /// Of the inactive ones, only these results; empty means all.
    #[serde(default)]
    pub results: Vec<JobResult>,
    #[serde(default)]
    pub name: Option<String>,
    /// Of these queues; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<String>,
    /// Those that have, or had, one of these ranks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<Idset>,
    /// Active, or inactive since then.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Those within this job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<JobId>,
    /// Those within others as well, which are left out else unless they are named.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub steps: bool,
    /// Only jobs older than this one: the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<JobId>,
    /// 0: no limit.
    #[serde(default)]
    pub max_entries: usize,
}

/// One page.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listed {
    pub jobs: Vec<JobRecord>,
    /// The page is full, and there is at least one more job: ask again, with `before` the last one's id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// Counts over all jobs of the queues that were named, or of the instance, whatever else the filter.
    pub stats: JobStats,
}

impl Topic for List {
    const NAME: &'static str = "job-list.list";
    type Response = Listed;
}

/// What a listing knows of a job; names are RFC 43's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    pub id: JobId,
    /// What Slurm's commands call it: dense, from 1.
    #[serde(default)]
    pub number: u32,
    pub userid: u32,
    pub urgency: u8,
    pub priority: i64,
    pub t_submit: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t_depend: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t_priority: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t_sched: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t_run: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t_cleanup: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t_inactive: Option<Timestamp>,
    pub state: JobState,
    pub name: String,
    pub cwd: String,
    #[serde(default)]
    pub queue: String,
    #[serde(default)]
    pub project: String,
    #[serde(default)]
    pub bank: String,
    pub ntasks: u32,
    pub ncores: u32,
    pub nnodes: u32,
    #[serde(default)]
    pub ranks: Idset,
    #[serde(default)]
    pub nodelist: String,
    pub duration: f64,
    #[serde(default)]
    pub expiration: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<JobResult>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waitstatus: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<Exception>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<JobArray>,
    /// The job that this one does again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<JobId>,
    /// One of Slurm's commands has submitted it: its jobspec says more in `attributes.system.slurm`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub slurm: bool,
    /// The job on whose resources this one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<JobId>,
}

/// A job's place in an array, whose name is its first job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobArray {
    pub id: JobId,
    /// What Slurm's commands call the array: its first job's number.
    #[serde(default)]
    pub number: u32,
    pub index: u32,
    /// So many may run at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct JobStats {
    pub depend: u64,
    pub priority: u64,
    pub sched: u64,
    pub run: u64,
    pub cleanup: u64,
    pub inactive: u64,
    /// Of the inactive: by result.
    pub completed: u64,
    pub failed: u64,
    pub canceled: u64,
    pub timeout: u64,
}

impl JobStats {
    /// The count of jobs in that state; nobody counts jobs that are not checked yet.
    pub fn of_state(&mut self, state: JobState) -> Option<&mut u64> {
        match state {
            JobState::New => None,
            JobState::Depend => Some(&mut self.depend),
            JobState::Priority => Some(&mut self.priority),
            JobState::Sched => Some(&mut self.sched),
            JobState::Run => Some(&mut self.run),
            JobState::Cleanup => Some(&mut self.cleanup),
            JobState::Inactive => Some(&mut self.inactive),
        }
    }

    /// The count of jobs that ended so.
    pub fn of_result(&mut self, result: JobResult) -> &mut u64 {
        match result {
            JobResult::Completed => &mut self.completed,
            JobResult::Failed => &mut self.failed,
            JobResult::Canceled => &mut self.canceled,
            JobResult::Timeout => &mut self.timeout,
        }
    }

    /// Counts one more job.
    pub fn count(&mut self, state: JobState, result: Option<JobResult>) {
        if let Some(count) = self.of_state(state) {
            *count += 1;
        }
        if let Some(result) = result {
            *self.of_result(result) += 1;
        }
    }

    pub fn pending(&self) -> u64 {
        self.depend + self.priority + self.sched
    }

    pub fn running(&self) -> u64 {
        self.run + self.cleanup
    }

    /// Those that ended, and not well.
    pub fn unsuccessful(&self) -> u64 {
        self.failed + self.canceled + self.timeout
    }
}

/// Why a job waits, in one line (`flurm job why`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Why {
    pub id: JobId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reason {
    pub text: String,
    /// The job that it waits for, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<JobId>,
    /// When it starts if all goes as planned; none if nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earliest: Option<Timestamp>,
}

impl Topic for Why {
    const NAME: &'static str = "job-manager.why";
    type Response = Reason;
}

/// Standard input for tasks of a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stdin {
    pub id: JobId,
    /// Task ranks; `all`, or an idset.
    pub ranks: String,
    /// Base64 when not UTF-8 (RFC 24's `encoding`).
    pub data: String,
    #[serde(default)]
    pub base64: bool,
    #[serde(default)]
    pub eof: bool,
    /// Typed at a terminal: for tasks that run now, and nothing to keep, for it may be a password.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub typed: bool,
    /// The size of that terminal, when it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// The size of a terminal in characters.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Window {
    pub rows: u16,
    pub cols: u16,
}

impl Topic for Stdin {
    const NAME: &'static str = "job-manager.stdin";
    type Response = Done;
}

/// Submission and scheduling gates (`flurm queue`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Queue {
    #[serde(flatten)]
    pub act: QueueAct,
    /// Queues by name; none means all of them where something is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<String>,
    /// To turn the gates of all queues of several, it must be said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "do")]
pub enum QueueAct {
    Status,
    Enable,
    Disable {
        reason: String,
    },
    Start,
    Stop {
        reason: String,
    },
    /// Answered when no job is active.
    Drain,
    /// Answered when no job runs.
    Idle,
}

impl From<QueueAct> for Queue {
    fn from(act: QueueAct) -> Queue {
        Queue { act, queues: Vec::new(), all: false }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QueueStatus {
    pub enabled: bool,
    pub disable_reason: Option<String>,
    pub started: bool,
    pub stop_reason: Option<String>,
    pub pending: u64,
    pub running: u64,
    /// Those that were asked for; in an instance without queues, one without a name.
    #[serde(default)]
    pub queues: Vec<QueueInfo>,
    /// Who chooses resources for jobs.
    #[serde(default)]
    pub scheduler: String,
}

/// One queue, with what it demands of jobs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueInfo {
    pub name: String,
    /// Jobs that name no queue go here.
    #[serde(default)]
    pub default: bool,
    pub enabled: bool,
    pub disable_reason: Option<String>,
    pub started: bool,
    pub stop_reason: Option<String>,
    pub pending: u64,
    pub running: u64,
    /// Seconds that a job gets which does not say.
    #[serde(default)]
    pub duration: Option<f64>,
    /// Seconds.
    #[serde(default)]
    pub duration_max: Option<f64>,
    #[serde(default)]
    pub max: QueueSize,
    #[serde(default)]
    pub min: QueueSize,
    /// Its nodes.
    #[serde(default)]
    pub ranks: Idset,
    /// Added to the priority of its jobs.
    #[serde(default)]
    pub priority: i64,
    /// The most that its jobs have together while they run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs_max: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores_max: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueSize {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nnodes: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ncores: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ngpus: Option<u32>,
}

impl Topic for Queue {
    const NAME: &'static str = "job-manager.queue";
    type Response = QueueStatus;
}

/// Every committed job fact from `from` on, as it happens: what `JobView`s feed on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Journal {
    /// Log index to start at; 0 is the beginning.
    pub from: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JournalBatch {
    pub events: Vec<JournalEvent>,
    /// Set once: everything older than the request has been sent.
    pub caught_up: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JournalEvent {
    pub index: u64,
    pub id: JobId,
    pub entry: Entry,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobspec: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r: Option<Box<RawValue>>,
}

impl Topic for Journal {
    const NAME: &'static str = "job-manager.journal";
    const STREAM: bool = true;
    type Response = JournalBatch;
}
