//! What ran in a job, as accounting shows it: the batch script, steps, or the job's own tasks as step 0.

use super::job::{Entry, NO_NODES, Ran, Site, hosts, memory, span, state};
use super::tres::Tres;
use crate::translate::part::Part;
use crate::translate::state::exit;
use flurm_slurm_protocol::constants::{
    JOB_CANCELLED, JOB_COMPLETE, JOB_FAILED, JOB_TIMEOUT, SLURM_BATCH_SCRIPT,
};
use flurm_slurm_protocol::structures::{DbStepRec, SlurmdbStats, StepId};
use flurm_slurm_protocol::{NO_VAL, Text};
use flurm_wire::job::JobRecord;

/// From here on up numbers of steps are names (`batch`, `extern`).
pub(super) const NAMED: u32 = 0xffff_fff0;

/// A job within a job.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    pub job: &'a JobRecord,
    pub number: u32,
    /// None if Slurm's clients did not submit it.
    pub part: Option<&'a Part>,
    pub gpus: u32,
}

/// The jobs within one, by the numbers that steps were given; whatever else ran within it comes behind them.
pub fn numbered<'a>(jobs: &[(&'a JobRecord, Option<&'a Part>)]) -> Vec<Step<'a>> {
    let given = |part: Option<&Part>| part.and_then(|part| part.step.as_ref()).map(|of| of.step);
    let mut next = jobs.iter().filter_map(|(_, part)| given(*part)).max().map_or(0, |last| last + 1);
    let step = |&(job, part): &(&'a JobRecord, Option<&'a Part>)| {
        let number = given(part).unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        Step { job, number, part, gpus: 0 }
    };
    let mut steps: Vec<Step<'_>> = jobs.iter().map(step).collect();
    steps.sort_by_key(|step| step.number);
    steps
}

/// All of a job's, the batch script first.
pub(super) fn records(site: &Site<'_>, entry: &Entry<'_>, ran: Ran, job_state: u32) -> Vec<DbStepRec> {
    let own = match ran {
        _ if entry.job.t_run.is_none() => None,
        Ran::Batch => Some(batch(site, entry, job_state)),
        Ran::Tasks => Some(tasks(site, entry, job_state)),
        Ran::Steps => None,
    };
    let others = entry.steps.iter().filter(|step| step.job.t_run.is_some());
    own.into_iter().chain(others.map(|step| record(site, entry.job.number, step))).collect()
}

fn record(site: &Site<'_>, job: u32, step: &Step<'_>) -> DbStepRec {
    let tres = Tres {
        cpus: step.job.ncores.into(),
        mem_mib: memory(site, step.part, step.job.nnodes, step.job.ncores),
        nodes: step.job.nnodes.into(),
        gpus: step.gpus.into(),
        ..Tres::default()
    };
    let state = state(step.job);
    let base = of(site, job, step.number, step.job, state);
    DbStepRec {
        ntasks: step.job.ntasks,
        req_cpufreq_min: NO_VAL,
        req_cpufreq_max: NO_VAL,
        req_cpufreq_gov: NO_VAL,
        submit_line: submit_line(step.part).into(),
        tres_alloc_str: tres.text().into(),
        ..base
    }
}

fn submit_line(part: Option<&Part>) -> Option<&str> {
    let of_step = part?.step.as_ref().and_then(|of| of.submit_line.as_deref());
    of_step.or(part?.submit_line.as_deref())
}

/// A job's own tasks.
fn tasks(site: &Site<'_>, entry: &Entry<'_>, state: u32) -> DbStepRec {
    let step = Step { job: entry.job, number: 0, part: entry.part, gpus: entry.gpus };
    DbStepRec { state: narrow(state), ..record(site, entry.job.number, &step) }
}

/// The script, which runs on the first node.
fn batch(site: &Site<'_>, entry: &Entry<'_>, state: u32) -> DbStepRec {
    let job = entry.job;
    let hosts = hosts(site, job);
    let first = hosts.get(0).unwrap_or(NO_NODES);
    // Nodes of a job are alike as a rule.
    let cpus = job.ncores.div_ceil(job.nnodes.max(1));
    let mem_mib = memory(site, entry.part, 1, cpus);
    // A signal ended it that somebody sent for the job's sake.
    let state = if state == JOB_TIMEOUT { JOB_CANCELLED } else { state };
    DbStepRec {
        exitcode: exit(job, entry.part),
        nnodes: 1,
        nodes: first.into(),
        ntasks: 1,
        stepname: "batch".into(),
        tres_alloc_str: Tres { cpus: cpus.into(), mem_mib, nodes: 1, ..Tres::default() }.text().into(),
        ..of(site, entry.job.number, SLURM_BATCH_SCRIPT, job, state)
    }
}

/// What all kinds have.
fn of(site: &Site<'_>, job: u32, step: u32, tasks: &JobRecord, state: u32) -> DbStepRec {
    let (start, end, elapsed) = span(tasks, state, site.now);
    // A step has no other word for an end that was not its own.
    let state = match (state, tasks.waitstatus) {
        (JOB_COMPLETE, Some(status)) if status != 0 => JOB_FAILED,
        _ => state,
    };
    DbStepRec {
        elapsed,
        end,
        exitcode: exit(tasks, None),
        nnodes: tasks.nnodes,
        nodes: hosts(site, tasks).to_string().into(),
        requid: u32::MAX,
        start,
        state: narrow(state),
        step_id: StepId { sluid: Some(0), job_id: job, step_id: step, step_het_comp: NO_VAL },
        stepname: tasks.name.as_str().into(),
        cwd: tasks.cwd.as_str().into(),
        stats: no_stats(),
        timelimit: Some(NO_VAL),
        ..DbStepRec::default()
    }
}

/// Of what nobody has measured: texts that are empty, which some commands want rather than none.
fn no_stats() -> SlurmdbStats {
    let none = || Text::from("");
    SlurmdbStats {
        tres_usage_in_ave: none(),
        tres_usage_in_max: none(),
        tres_usage_in_max_nodeid: none(),
        tres_usage_in_max_taskid: none(),
        tres_usage_in_min: none(),
        tres_usage_in_min_nodeid: none(),
        tres_usage_in_min_taskid: none(),
        tres_usage_in_tot: none(),
        tres_usage_out_ave: none(),
        tres_usage_out_max: none(),
        tres_usage_out_max_nodeid: none(),
        tres_usage_out_max_taskid: none(),
        tres_usage_out_min: none(),
        tres_usage_out_min_nodeid: none(),
        tres_usage_out_min_taskid: none(),
        tres_usage_out_tot: none(),
        ..SlurmdbStats::default()
    }
}

fn narrow(state: u32) -> u16 {
    state.try_into().unwrap_or(u16::MAX)
}
