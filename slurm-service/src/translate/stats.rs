//! Counts for `sdiag`, priorities for `sprio`.

use super::partition;
use flurm_slurm_protocol::structures::{PriorityFactors, PriorityFactorsObject, StatsResponseMsg, StepId};
use flurm_slurm_protocol::{Double, NO_VAL, Text, constants as c};
use flurm_wire::job::{JobRecord, JobStats};

/// What is counted here; threads and cycles of Slurm's scheduler are not ours.
pub fn record(stats: &JobStats, started: i64, now: i64) -> StatsResponseMsg {
    let narrow = |count: u64| Some(u32::try_from(count).unwrap_or(u32::MAX));
    let over = stats.completed + stats.failed + stats.canceled + stats.timeout;
    StatsResponseMsg {
        parts_packed: Some(1),
        req_time: Some(now),
        req_time_start: Some(started),
        server_thread_count: Some(1),
        agent_queue_size: Some(0),
        agent_count: Some(0),
        agent_thread_count: Some(0),
        dbd_agent_queue_size: Some(0),
        gettimeofday_latency: Some(0),
        jobs_submitted: narrow(stats.pending() + stats.running() + over),
        jobs_started: narrow(stats.running() + stats.completed + stats.failed + stats.timeout),
        jobs_completed: narrow(stats.completed),
        jobs_canceled: narrow(stats.canceled),
        jobs_failed: narrow(stats.failed + stats.timeout),
        jobs_pending: narrow(stats.pending()),
        jobs_running: narrow(stats.running()),
        job_states_ts: Some(now),
        ..StatsResponseMsg::default()
    }
}

/// A job's priority, which comes from its urgency and not from weights.
pub fn priority(job: &JobRecord, account: Option<String>) -> PriorityFactorsObject {
    PriorityFactorsObject {
        account: Text::from(account),
        job_id: Some(job.number),
        step_id: Some(Box::new(StepId {
            sluid: Some(0),
            job_id: job.number,
            step_id: NO_VAL,
            step_het_comp: NO_VAL,
        })),
        partition: Text::from(partition::name(&job.queue)),
        direct_prio: Double::new(job.priority.max(0) as f64),
        prio_factors: Some(Box::new(PriorityFactors {
            priority_site: c::NICE_OFFSET,
            nice: c::NICE_OFFSET,
            ..PriorityFactors::default()
        })),
        user_id: job.userid,
        priority_site: Some(c::NICE_OFFSET),
        nice: Some(c::NICE_OFFSET),
        ..PriorityFactorsObject::default()
    }
}
