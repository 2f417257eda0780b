//! A job as accounting shows it.

use super::step::{self, Step};
use super::tres::Tres;
use crate::translate::part::{Kind, Part};
use crate::translate::partition;
use crate::translate::state::exit;
use flurm_slurm_protocol::constants::{
    JOB_CANCELLED, JOB_COMPLETE, JOB_FAILED, JOB_NODE_FAIL, JOB_OOM, JOB_PENDING, JOB_RUNNING, JOB_TIMEOUT,
    SLURMDB_JOB_FLAG_SCHED, SLURMDB_JOB_FLAG_START_R,
};
use flurm_slurm_protocol::structures::DbJobRec;
use flurm_slurm_protocol::{INFINITE, NO_VAL};
use flurm_types::{Hostlist, JobResult, JobState, Timestamp};
use flurm_wire::job::JobRecord;

/// The id of the only quality of service, `normal`.
pub(super) const QOS_NORMAL: u32 = 1;
/// Nobody has asked for the job's end.
const NOBODY: u32 = u32::MAX;
/// The mark of memory that is meant per processor.
const PER_CPU: u64 = 1 << 63;
/// What is written for nodes that there were none of.
pub(super) const NO_NODES: &str = "None assigned";

/// What is the same for all jobs of an instance.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    pub cluster: &'a str,
    /// The owner.
    pub user: &'a str,
    pub gid: u32,
    /// What nodes are called, by rank.
    pub nodes: &'a [&'a str],
    /// What a job that does not say has of a node, in MiB; at least 1 is counted, as by Slurm.
    pub node_mem_mib: u64,
    pub now: i64,
}

/// A job and what its record does not hold.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub job: &'a JobRecord,
    /// None if Slurm's clients did not submit it.
    pub part: Option<&'a Part>,
    pub gpus: u32,
    pub steps: &'a [Step<'a>],
}

/// What ran in a job.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Ran {
    /// Tasks of its own, as of `flurm submit`: shown as its step 0.
    Tasks,
    Batch,
    /// Nothing but steps.
    Steps,
}

impl Ran {
    fn of(part: Option<&Part>) -> Self {
        match part.map(|part| part.kind) {
            None => Self::Tasks,
            Some(Kind::Batch) => Self::Batch,
            Some(Kind::Allocation) => Self::Steps,
        }
    }
}

/// Whole seconds, as accounting counts them.
pub(super) fn secs(time: Timestamp) -> i64 {
    time.0.div_euclid(1_000_000)
}

/// `later - earlier`, which is not negative.
pub(super) fn elapsed(earlier: i64, later: i64) -> u32 {
    u32::try_from((later - earlier).max(0)).unwrap_or(u32::MAX)
}

/// Its state, as a number of Slurm's.
pub(super) fn state(job: &JobRecord) -> u32 {
    let cause = job.exception.as_ref().map(|exception| exception.kind.as_str());
    match (job.state, job.result) {
        (JobState::Inactive, Some(JobResult::Completed)) => JOB_COMPLETE,
        (JobState::Inactive, Some(JobResult::Canceled)) => JOB_CANCELLED,
        (JobState::Inactive, Some(JobResult::Timeout)) => JOB_TIMEOUT,
        (JobState::Inactive, Some(JobResult::Failed) | None) => match cause {
            Some("node-failure") => JOB_NODE_FAIL,
            Some("oom") => JOB_OOM,
            _ => JOB_FAILED,
        },
        (JobState::Run | JobState::Cleanup, _) if job.t_run.is_some() => JOB_RUNNING,
        (
            JobState::New
            | JobState::Depend
            | JobState::Priority
            | JobState::Sched
            | JobState::Run
            | JobState::Cleanup,
            _,
        ) => JOB_PENDING,
    }
}

/// Start, end (0: not yet) and the seconds between. One that ended without a start has Slurm's mark for that.
pub(super) fn span(job: &JobRecord, state: u32, now: i64) -> (i64, i64, u32) {
    let over = !matches!(state, JOB_PENDING | JOB_RUNNING);
    let end = job.t_cleanup.or(job.t_inactive).filter(|_| over).map_or(0, secs);
    match job.t_run.map(secs) {
        Some(start) => (start, end, elapsed(start, if over { end } else { now })),
        None if over => (NO_VAL.into(), end, 0),
        None => (0, 0, 0),
    }
}

/// Its nodes by Slurm's names for them.
pub(super) fn hosts(site: &Site<'_>, job: &JobRecord) -> Hostlist {
    job.ranks.iter().filter_map(|rank| site.nodes.get(rank as usize).copied().map(str::to_owned)).collect()
}

/// The record of a job, with its steps.
pub fn record(site: &Site<'_>, entry: &Entry<'_>) -> DbJobRec {
    let Entry { job, part, .. } = *entry;
    // One that says nothing has nothing to say.
    let none = Part::default();
    let said = part.unwrap_or(&none);
    let state = state(job);
    let (start, end, elapsed) = span(job, state, site.now);
    let ran = job.t_run.is_some();
    let ended_by_us = matches!(state, JOB_CANCELLED | JOB_TIMEOUT | JOB_NODE_FAIL);
    // One that did not say how many nodes has one at least.
    let (nodes, cpus) = (u64::from(job.nnodes.max(1)), u64::from(job.ncores));
    let mem_mib = memory(site, part, job.nnodes.max(1), job.ncores);
    let tres = Tres { cpus, mem_mib, nodes, billing: cpus, gpus: entry.gpus.into() };
    let asked = match u64::from(said.ntasks) * u64::from(said.cpus_per_task.max(1)) {
        0 => cpus,
        asked => asked,
    };
    let steps = step::records(site, entry, Ran::of(part), state);
    let worst = steps.iter().filter(|step| step.step_id.step_id < step::NAMED).map(|step| step.exitcode);
    let bank = said.account.as_deref().unwrap_or(&job.bank);
    DbJobRec {
        account: Some(bank).filter(|bank| !bank.is_empty()).into(),
        alloc_nodes: if ran { job.nnodes } else { 0 },
        array_job_id: job.array.map_or(0, |array| array.number),
        array_max_tasks: job.array.and_then(|array| array.throttle).unwrap_or_default(),
        array_task_id: job.array.map_or(NO_VAL, |array| array.index),
        cluster: site.cluster.into(),
        constraints: said.features.as_deref().unwrap_or_default().into(),
        // Jobs are told apart by it, and it never comes again.
        db_index: job.id.0,
        derived_ec: worst.max().unwrap_or_default(),
        derived_es: said.comment.as_deref().into(),
        elapsed,
        eligible: job.t_priority.or(job.t_sched).map_or(0, secs),
        end,
        env: "".into(),
        exclusive: "NO".into(),
        exitcode: if ended_by_us { 0 } else { exit(job, part) },
        extra: said.extra.as_deref().into(),
        flags: SLURMDB_JOB_FLAG_START_R | if ran { SLURMDB_JOB_FLAG_SCHED } else { 0 },
        gid: site.gid,
        jobid: job.number,
        jobname: job.name.as_str().into(),
        lft: Some(NO_VAL),
        mcs_label: "".into(),
        nodes: if ran { hosts(site, job).to_string() } else { NO_NODES.to_owned() }.into(),
        het_job_offset: NO_VAL,
        oversubscribe: "NO".into(),
        partition: partition::name(&job.queue).into(),
        priority: u32::try_from(job.priority.max(0)).unwrap_or(u32::MAX),
        qosid: QOS_NORMAL,
        req_cpus: asked.try_into().unwrap_or(u32::MAX),
        req_mem: match (said.memory_per_node, said.memory_per_cpu) {
            (Some(memory), _) => memory,
            (None, Some(memory)) => memory | PER_CPU,
            (None, None) => 0,
        },
        requid: if state == JOB_CANCELLED { job.userid } else { NOBODY },
        script: "".into(),
        sluid: Some(job.id.0),
        show_full: 1,
        start,
        state,
        step: Some(steps),
        std_err: said.std_err.as_deref().unwrap_or_default().into(),
        std_in: said.std_in.as_deref().unwrap_or_default().into(),
        std_out: said.std_out.as_deref().unwrap_or_default().into(),
        submit: secs(job.t_submit),
        submit_line: said.submit_line.as_deref().into(),
        timelimit: minutes(job.duration),
        tres_alloc_str: if ran { tres.text() } else { String::new() }.into(),
        tres_req_str: Tres { cpus: asked, billing: asked, ..tres }.text().into(),
        uid: job.userid,
        user: site.user.into(),
        wckey: said.wckey.as_deref().unwrap_or_default().into(),
        work_dir: job.cwd.as_str().into(),
        ..DbJobRec::default()
    }
}

/// MiB that a job or step has on all of its nodes.
pub(super) fn memory(site: &Site<'_>, part: Option<&Part>, nodes: u32, cpus: u32) -> u64 {
    let (nodes, cpus) = (u64::from(nodes), u64::from(cpus));
    let per_node = part.and_then(|part| part.memory_per_node).map(|memory| memory.saturating_mul(nodes));
    let per_cpu = part.and_then(|part| part.memory_per_cpu).map(|memory| memory.saturating_mul(cpus));
    per_node.or(per_cpu).unwrap_or(site.node_mem_mib.max(1).saturating_mul(nodes))
}

/// A time limit in Slurm's unit, which is a minute and always a whole one.
fn minutes(seconds: f64) -> u32 {
    if seconds <= 0.0 { INFINITE } else { (seconds / 60.0).ceil().min(f64::from(NO_VAL - 1)) as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::account::{gather, numbered};
    use crate::translate::part::OfStep;
    use flurm_slurm_protocol::constants::SLURM_BATCH_SCRIPT;
    use flurm_slurm_protocol::{Body, Limits, Version, persist};
    use serde_json::{Value, json};

    const SITE: Site<'_> = Site {
        cluster: "flurm",
        user: "ann",
        gid: 100,
        nodes: &["c1", "c2", "c3"],
        node_mem_mib: 0,
        now: 1_800_000_100,
    };

    /// A job of two nodes that has run for 60 seconds and is over, but for what `extra` says.
    fn job(extra: &Value) -> JobRecord {
        let mut job = json!({
            "id": 16_777_219_079_u64, "number": 7, "userid": 1000, "urgency": 16, "priority": 16, "state": "INACTIVE",
            "t_submit": 1_800_000_000.9, "t_priority": 1_800_000_001.0, "t_sched": 1_800_000_001.5,
            "t_run": 1_800_000_002.9, "t_cleanup": 1_800_000_062.1, "t_inactive": 1_800_000_063.0,
            "name": "wrap", "cwd": "/home/ann", "bank": "physics", "ntasks": 4, "ncores": 8, "nnodes": 2,
            "nodelist": "h[2-3]", "ranks": "1-2", "duration": 601.0, "result": "COMPLETED", "waitstatus": 0,
        });
        let more = extra.as_object().expect("an object").clone();
        job.as_object_mut().expect("an object").extend(more);
        serde_json::from_value(job).expect("a record")
    }

    fn shown(job: &JobRecord, part: Option<&Part>) -> DbJobRec {
        record(&SITE, &Entry { job, part, gpus: 2, steps: &[] })
    }

    /// State, exit code and who asked for the end; and the same of its first step.
    fn end(extra: &Value, part: &Part) -> (u32, u32, u32, Option<(u16, u32)>) {
        let job = shown(&job(extra), Some(part));
        let step = job.step.as_ref().and_then(|steps| steps.first());
        (job.state, job.exitcode, job.requid, step.map(|step| (step.state, step.exitcode)))
    }

    #[test]
    fn a_batch_job_has_its_times_amounts_and_its_script() {
        let part = Part {
            submit_line: Some("sbatch -N2 x.sh".to_owned()),
            memory_per_node: Some(1000),
            ntasks: 3,
            cpus_per_task: 2,
            ..Part::default()
        };
        let job = shown(&job(&json!({})), Some(&part));
        assert_eq!(
            (job.submit, job.eligible, job.start, job.end),
            (1_800_000_000, 1_800_000_001, 1_800_000_002, 1_800_000_062)
        );
        assert_eq!((job.elapsed, job.timelimit, job.req_cpus, job.alloc_nodes), (60, 11, 6, 2));
        assert_eq!(job.tres_alloc_str.as_str(), Some("1=8,2=2000,4=2,5=8,1001=2"));
        assert_eq!(job.tres_req_str.as_str(), Some("1=6,2=2000,4=2,5=6,1001=2"));
        assert_eq!(job.partition.as_str(), Some("batch"));
        assert_eq!(job.account.as_str(), Some("physics"));
        assert_eq!(job.submit_line.as_str(), Some("sbatch -N2 x.sh"));
        let [step] = job.step.as_deref().unwrap_or_default() else { panic!("one step") };
        assert_eq!((step.step_id.job_id, step.step_id.step_id), (7, SLURM_BATCH_SCRIPT));
        assert_eq!(
            (step.stepname.as_str(), step.nodes.as_str(), step.nnodes),
            (Some("batch"), Some("c2"), 1)
        );
        assert_eq!(step.tres_alloc_str.as_str(), Some("1=4,2=1000,4=1"));
    }

    #[test]
    fn a_job_of_flurm_submit_is_its_own_step_0_and_an_allocation_has_none() {
        let tasks = shown(&job(&json!({})), None);
        let [step] = tasks.step.as_deref().unwrap_or_default() else { panic!("one step") };
        assert_eq!((step.step_id.step_id, step.ntasks, step.nodes.as_str()), (0, 4, Some("c[2-3]")));
        let allocation = Part { kind: Kind::Allocation, ..Part::default() };
        assert_eq!(shown(&job(&json!({})), Some(&allocation)).step, Some(Vec::new()));
    }

    #[test]
    fn steps_have_the_numbers_that_they_were_given() {
        let step = |step: u32| Part {
            step: Some(OfStep { step, submit_line: Some("srun x".to_owned()) }),
            ..Part::default()
        };
        // Step 0 was never launched, and a job that is no step ran between 1 and 3.
        let (one, three, job) = (step(1), step(3), job(&json!({})));
        let steps = numbered(&[(&job, Some(&one)), (&job, None), (&job, Some(&three))]);
        let record = record(&SITE, &Entry { job: &job, part: None, gpus: 0, steps: &steps });
        let shown: Vec<_> = record.step.as_deref().unwrap_or_default()[1..]
            .iter()
            .map(|step| (step.step_id.step_id, step.submit_line.as_str()))
            .collect();
        assert_eq!(shown, [(1, Some("srun x")), (3, Some("srun x")), (4, None)]);
    }

    #[test]
    fn an_end_is_told_in_slurms_words() {
        let batch = Part::default();
        let code = |code: i32| json!({ "result": "FAILED", "waitstatus": code });
        assert_eq!(end(&json!({}), &batch), (3, 0, NOBODY, Some((3, 0))));
        assert_eq!(end(&code(3 << 8), &batch), (5, 768, NOBODY, Some((5, 768))));
        // A script that says 137 is not one that was killed; a program that is 137 to us was.
        assert_eq!(end(&code(137 << 8), &batch), (5, 137 << 8, NOBODY, Some((5, 137 << 8))));
        let program = shown(&job(&code(137 << 8)), None);
        assert_eq!(program.exitcode, 9);
        let cancelled = json!({ "result": "CANCELED", "waitstatus": 143 << 8 });
        assert_eq!(end(&cancelled, &batch), (4, 0, 1000, Some((4, 15))));
        let late = json!({ "result": "TIMEOUT", "waitstatus": 143 << 8 });
        assert_eq!(end(&late, &batch), (6, 0, NOBODY, Some((4, 15))));
        let lost = json!({ "type": "node-failure", "severity": 0, "note": "lost" });
        let lost = json!({ "result": "FAILED", "exception": lost, "waitstatus": 0 });
        assert_eq!(end(&lost, &batch).0, 7);
    }

    #[test]
    fn what_has_not_ended_or_not_started_has_no_time_for_it() {
        let times = |extra: &Value| {
            let job = shown(&job(extra), None);
            let nodes = job.nodes.lossy().into_owned();
            (job.state, job.start, job.end, job.elapsed, nodes, job.step.map_or(0, |steps| steps.len()))
        };
        let open = json!({ "t_cleanup": null, "t_inactive": null, "result": null, "waitstatus": null });
        let with = |more: Value| {
            let mut all = open.clone();
            all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            all
        };
        let running = with(json!({ "state": "RUN" }));
        assert_eq!(times(&running), (1, 1_800_000_002, 0, 98, "c[2-3]".to_owned(), 1));
        let waiting = with(json!({ "state": "SCHED", "t_run": null, "nodelist": "" }));
        assert_eq!(times(&waiting), (0, 0, 0, 0, NO_NODES.to_owned(), 0));
        let never = json!({ "result": "CANCELED", "t_run": null, "nodelist": "", "waitstatus": null });
        assert_eq!(times(&never), (4, NO_VAL.into(), 1_800_000_062, 0, NO_NODES.to_owned(), 0));
    }

    #[test]
    fn elements_that_wait_are_one_record() {
        let open =
            json!({ "t_run": null, "t_cleanup": null, "t_inactive": null, "result": null, "state": "SCHED" });
        let element = |index: u32, over: bool| {
            let array = json!({ "id": 16_777_219_079_u64, "number": 7, "index": index, "throttle": 2 });
            let array = json!({ "array": array, "number": 7 + index });
            let mut extra = if over { json!({}) } else { open.clone() };
            extra.as_object_mut().expect("an object").extend(array.as_object().expect("an object").clone());
            let job = job(&extra);
            record(&SITE, &Entry { job: &job, part: None, gpus: 0, steps: &[] })
        };
        let jobs: Vec<_> = (0..6).map(|index| element(index, index < 2)).collect();
        let gathered = gather(jobs);
        let shown: Vec<_> = gathered
            .iter()
            .map(|job| (job.jobid, job.array_job_id, job.array_task_id, job.array_task_str.as_str()))
            .collect();
        assert_eq!(shown, [(7, 7, 0, None), (7, 7, NO_VAL, Some("2-5%2")), (8, 7, 1, None)]);
    }

    #[test]
    fn every_version_writes_a_record_and_reads_the_same() {
        let job = shown(&job(&json!({})), Some(&Part::default()));
        for version in Version::all() {
            let answer = flurm_slurm_protocol::structures::DbdListMsgDbdGotJobs {
                my_list: Some(vec![job.clone()]),
                return_code: 0,
            };
            let bytes = persist::write(&Body::DbdGotJobs(Box::new(answer)), version).expect("it is written");
            let read = persist::read(&bytes, version, &Limits::default()).expect("it is read");
            assert_eq!(persist::write(&read, version), Ok(bytes), "{version}");
            let Body::DbdGotJobs(answer) = read else { panic!("{version}") };
            let read = &answer.my_list.as_ref().expect("a list")[0];
            assert_eq!((read.jobid, read.state, read.elapsed), (7, 3, 60), "{version}");
        }
    }
}
