//! What Slurm calls the state of a job, and why it is in it.

use super::part::{Kind, Part};
use super::update::SUSPENDED;
use flurm_slurm_protocol::constants as c;
use flurm_types::{JobId, JobResult, JobState, Timestamp, signal_of};
use flurm_wire::job::JobRecord;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// State with its flags.
pub fn state(job: &JobRecord) -> u32 {
    let cause = job.exception.as_ref().map(|exception| exception.kind.as_str());
    let ended = |result| match result {
        Some(JobResult::Completed) => c::JOB_COMPLETE,
        Some(JobResult::Canceled) => c::JOB_CANCELLED,
        Some(JobResult::Timeout) => c::JOB_TIMEOUT,
        Some(JobResult::Failed) | None => match cause {
            Some("node-failure") => c::JOB_NODE_FAIL,
            Some("oom") => c::JOB_OOM,
            _ => c::JOB_FAILED,
        },
    };
    match job.state {
        JobState::New | JobState::Depend | JobState::Priority | JobState::Sched => c::JOB_PENDING,
        JobState::Run if is_suspended(job) => c::JOB_SUSPENDED,
        JobState::Run => c::JOB_RUNNING,
        JobState::Cleanup => c::JOB_COMPLETING | ended(job.result.or_else(|| result_so_far(job))),
        JobState::Inactive => ended(job.result),
    }
}

/// Has `scontrol suspend` stopped it?
fn is_suspended(job: &JobRecord) -> bool {
    let said = job.annotations.as_ref().and_then(|said| said.get("user")?.get(SUSPENDED));
    said.is_some_and(|said| !said.is_null() && *said != Value::Bool(false))
}

/// As it will be once all is given back.
fn result_so_far(job: &JobRecord) -> Option<JobResult> {
    match job.exception.as_ref().filter(|exception| exception.severity == 0) {
        Some(exception) if exception.kind == "cancel" => Some(JobResult::Canceled),
        Some(exception) if exception.kind == "timeout" => Some(JobResult::Timeout),
        Some(_) => Some(JobResult::Failed),
        None => {
            job.waitstatus.map(|status| if status == 0 { JobResult::Completed } else { JobResult::Failed })
        }
    }
}

/// Exit code and signal as a wait status. Of a job there is the code that a shell would end with: 128 and more are signals
/// again, but for a script that nobody has ended: it has ended with that code itself, after a command of its own as a rule.
pub fn exit(job: &JobRecord, part: Option<&Part>) -> u32 {
    let status = job.waitstatus.unwrap_or_default();
    let is_script = part.is_some_and(|part| part.kind == Kind::Batch && part.step.is_none());
    let was_ended = job.exception.is_some() || job.result.is_some_and(|result| result != JobResult::Failed);
    let signal = signal_of(status >> 8 & 0xff).filter(|_| !is_script || was_ended);
    signal.unwrap_or(status).try_into().unwrap_or_default()
}

/// Those that are next in their partition: the others wait behind them.
pub fn heads<'a>(jobs: impl IntoIterator<Item = &'a JobRecord>) -> BTreeSet<JobId> {
    let mut first: BTreeMap<&str, &JobRecord> = BTreeMap::new();
    for job in jobs.into_iter().filter(|job| job.state == JobState::Sched && job.priority > 0) {
        let ahead = |other: &&JobRecord| {
            (other.priority, std::cmp::Reverse(other.id)) >= (job.priority, std::cmp::Reverse(job.id))
        };
        if !first.get(job.queue.as_str()).is_some_and(ahead) {
            first.insert(&job.queue, job);
        }
    }
    first.values().map(|job| job.id).collect()
}

/// Why it waits or has ended so.
pub fn reason(job: &JobRecord, is_head: bool) -> u32 {
    match job.state {
        JobState::New | JobState::Depend | JobState::Priority | JobState::Sched => waits_for(job, is_head),
        JobState::Run => c::WAIT_NO_REASON,
        JobState::Cleanup | JobState::Inactive => match state(job) & c::JOB_STATE_BASE {
            c::JOB_TIMEOUT => c::FAIL_TIMEOUT,
            c::JOB_NODE_FAIL => c::FAIL_DOWN_NODE,
            c::JOB_OOM => c::FAIL_OOM,
            c::JOB_FAILED if job.waitstatus.is_some() => c::FAIL_EXIT_CODE,
            c::JOB_FAILED => c::FAIL_LAUNCH,
            _ => c::WAIT_NO_REASON,
        },
    }
}

fn waits_for(job: &JobRecord, is_head: bool) -> u32 {
    if job.urgency == 0 {
        return c::WAIT_HELD_USER;
    }
    let scheme = job.dependencies.first().map(|need| need.split('=').next().unwrap_or_default());
    match scheme {
        Some("begin-time") => return c::WAIT_TIME,
        Some("array") => return c::WAIT_ARRAY_TASK_LIMIT,
        Some(_) => return c::WAIT_DEPENDENCY,
        None => {}
    }
    let said = job
        .annotations
        .as_ref()
        .and_then(|said| said.pointer("/sched/reason_pending"))
        .and_then(Value::as_str);
    match said {
        Some(text) if text.starts_with("queue") && text.ends_with("is stopped") => c::WAIT_PART_DOWN,
        Some(text) if text.contains("down") || text.contains("drained") => c::WAIT_NODE_NOT_AVAIL,
        _ if is_head => c::WAIT_RESOURCES,
        _ => c::WAIT_PRIORITY,
    }
}

/// When the scheduler thinks that it will start.
pub fn estimate(job: &JobRecord) -> Option<Timestamp> {
    let said = job.annotations.as_ref()?.pointer("/sched/t_estimate")?.as_f64()?;
    Some(Timestamp::from_secs_f64(said))
}
