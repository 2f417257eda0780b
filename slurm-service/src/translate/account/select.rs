//! Which jobs somebody asks for, and as how much of them.

use flurm_slurm_protocol::constants::{
    JOB_PENDING, JOB_RUNNING, JOB_SUSPENDED, JOBCOND_FLAG_NO_STEP, JOBCOND_FLAG_NO_TRUNC,
    SLURMDB_JOB_FLAG_NOTSET,
};
use flurm_slurm_protocol::structures::{DbJobCond, DbJobRec, SelectedStep};
use flurm_slurm_protocol::{NO_VAL, Text};
use flurm_types::{Hostlist, Idset};
use std::collections::{BTreeMap, BTreeSet};

/// State numbers below this are states, the rest are marks on them.
const STATE_BASE: u32 = 0xff;

/// What `sacct` asks for, read once.
#[derive(Debug)]
pub struct Selection<'a> {
    cond: &'a DbJobCond,
    accounts: Words<'a>,
    associations: Numbers,
    clusters: Words<'a>,
    constraints: Words<'a>,
    groups: Numbers,
    names: Words<'a>,
    partitions: Words<'a>,
    qos: Numbers,
    reasons: Numbers,
    reservations: Words<'a>,
    reservation_ids: Numbers,
    users: Numbers,
    wckeys: Words<'a>,
    states: Option<BTreeSet<u32>>,
    hosts: Option<BTreeSet<String>>,
}

/// One of these; anything if there are none.
type Words<'a> = Option<BTreeSet<&'a [u8]>>;
type Numbers = Option<BTreeSet<u32>>;

fn words(list: &Option<Vec<Text>>) -> Words<'_> {
    let list = list.as_ref().filter(|list| !list.is_empty())?;
    Some(list.iter().filter_map(Text::get).collect())
}

/// What is no number is the number of nobody.
fn numbers(list: &Option<Vec<Text>>) -> Numbers {
    let list = list.as_ref().filter(|list| !list.is_empty())?;
    Some(list.iter().filter_map(|text| text.as_str()?.parse().ok()).collect())
}

fn has(words: &Words<'_>, text: &Text) -> bool {
    words.as_ref().is_none_or(|words| words.contains(text.get().unwrap_or_default()))
}

fn is(numbers: &Numbers, number: u32) -> bool {
    numbers.as_ref().is_none_or(|numbers| numbers.contains(&number))
}

/// Exactly `min`, or between both; anything if neither is given.
fn within(value: u32, min: u32, max: u32) -> bool {
    match (min, max) {
        (0, 0) => true,
        (min, 0) => value == min,
        (min, max) => (min..=max).contains(&value),
    }
}

impl<'a> Selection<'a> {
    pub fn new(cond: &'a DbJobCond) -> Self {
        let hosts = cond.used_nodes.as_str().filter(|hosts| !hosts.is_empty());
        Self {
            cond,
            accounts: words(&cond.acct_list),
            associations: numbers(&cond.associd_list),
            clusters: words(&cond.cluster_list),
            constraints: words(&cond.constraint_list),
            groups: numbers(&cond.groupid_list),
            names: words(&cond.jobname_list),
            partitions: words(&cond.partition_list),
            qos: numbers(&cond.qos_list),
            reasons: numbers(&cond.reason_list),
            reservations: words(&cond.resv_list),
            reservation_ids: numbers(&cond.resvid_list),
            users: numbers(&cond.userid_list),
            wckeys: words(&cond.wckey_list),
            states: numbers(&cond.state_list)
                .map(|states| states.into_iter().map(|state| state & STATE_BASE).collect()),
            hosts: hosts.map(|hosts| {
                let hosts: Hostlist = hosts.parse().unwrap_or_default();
                hosts.iter().cloned().collect()
            }),
        }
    }

    /// The job as it was asked for, or none.
    pub fn keep(&self, mut job: DbJobRec) -> Option<DbJobRec> {
        let cond = self.cond;
        let wanted = has(&self.accounts, &job.account)
            && is(&self.associations, job.associd)
            && has(&self.clusters, &job.cluster)
            && has(&self.constraints, &job.constraints)
            && is(&self.groups, job.gid)
            && has(&self.names, &job.jobname)
            && has(&self.partitions, &job.partition)
            && is(&self.qos, job.qosid)
            && is(&self.reasons, job.state_reason_prev)
            && has(&self.reservations, &job.resv_name)
            && is(&self.reservation_ids, job.resvid)
            && is(&self.users, job.uid)
            && has(&self.wckeys, &job.wckey)
            && within(job.req_cpus, cond.cpus_min, cond.cpus_max)
            && within(job.alloc_nodes, cond.nodes_min, cond.nodes_max)
            && within(job.timelimit, cond.timelimit_min, cond.timelimit_max)
            && (matches!(cond.db_flags, 0 | SLURMDB_JOB_FLAG_NOTSET) || job.flags & cond.db_flags != 0)
            && self.at_that_time(&job)
            && self.on_those_hosts(&job);
        if !wanted || !self.pick_steps(&mut job) {
            return None;
        }
        if cond.flags & JOBCOND_FLAG_NO_STEP != 0 {
            job.step = Some(Vec::new());
        }
        if cond.flags & JOBCOND_FLAG_NO_TRUNC == 0 {
            cut(&mut job, cond.usage_start, cond.usage_end);
        }
        Some(job)
    }

    /// Known in the time asked for; in one of the states asked for at some moment of it, if there are any.
    fn at_that_time(&self, job: &DbJobRec) -> bool {
        let (from, to) = (self.cond.usage_start, self.cond.usage_end);
        let before = |time: i64| to == 0 || time <= to;
        let after = |time: i64| time == 0 || time >= from;
        // A job that is held is known since it came.
        let since = if job.eligible == 0 { job.submit } else { job.eligible };
        let Some(states) = &self.states else { return before(since) && after(job.end) };
        states.iter().any(|state| match *state {
            JOB_PENDING => before(since) && after(if started(job) { job.start } else { job.end }),
            JOB_RUNNING => started(job) && before(job.start) && after(job.end),
            JOB_SUSPENDED => job.suspended > 0 && before(since) && after(job.end),
            ended => job.state == ended && before(job.end) && after(job.end),
        })
    }

    fn on_those_hosts(&self, job: &DbJobRec) -> bool {
        let Some(hosts) = &self.hosts else { return true };
        let nodes: Hostlist = job.nodes.as_str().and_then(|nodes| nodes.parse().ok()).unwrap_or_default();
        job.alloc_nodes > 0 && nodes.iter().any(|node| hosts.contains(node))
    }

    /// Whether it is one of the jobs that were named. Of one of which only steps were named, those are left.
    fn pick_steps(&self, job: &mut DbJobRec) -> bool {
        let Some(named) = self.cond.job.as_ref().filter(|named| !named.is_empty()) else { return true };
        let mine: Vec<&SelectedStep> = named.iter().filter(|named| names(named, job)).collect();
        if mine.is_empty() {
            return false;
        }
        if mine.iter().all(|named| named.step_id.step_id != NO_VAL) {
            job.show_full = 0;
            if let Some(steps) = &mut job.step {
                steps.retain(|step| mine.iter().any(|named| named.step_id.step_id == step.step_id.step_id));
            }
        }
        true
    }
}

/// Whether those words (`17`, `17_3`, `17_[1-3]`, `17+1`) mean this job.
fn names(named: &SelectedStep, job: &DbJobRec) -> bool {
    let id = named.step_id.job_id;
    if !named.array_bitmap.is_null() {
        return job.array_job_id == id && named.array_bitmap.ones().any(|index| index == job.array_task_id);
    }
    if named.array_task_id != NO_VAL {
        return job.array_job_id == id && job.array_task_id == named.array_task_id;
    }
    if named.het_job_offset != NO_VAL {
        return job.het_job_id == id && job.het_job_offset == named.het_job_offset;
    }
    job.jobid == id || job.array_job_id == id || job.het_job_id == id
}

/// Whether it ever ran.
fn started(job: &DbJobRec) -> bool {
    job.start != 0 && job.start != i64::from(NO_VAL)
}

/// Leaves of a job what lies in that time.
fn cut(job: &mut DbJobRec, from: i64, to: i64) {
    if !started(job) {
        return;
    }
    job.start = job.start.max(from);
    if to != 0 && job.end > to {
        job.end = 0;
    }
    let until = if job.end == 0 { to } else { job.end };
    if until != 0 {
        job.elapsed = super::job::elapsed(job.start, until);
    }
}

/// Elements of an array that wait are one record (`17_[3-9%2]`), as long as they wait. By number of the job.
pub fn gather(jobs: Vec<DbJobRec>) -> Vec<DbJobRec> {
    let mut waiting: BTreeMap<u32, (DbJobRec, Idset)> = BTreeMap::new();
    let mut all = Vec::with_capacity(jobs.len());
    for job in jobs {
        if job.state != JOB_PENDING || job.array_task_id == NO_VAL {
            all.push(job);
            continue;
        }
        let index = job.array_task_id;
        let array = waiting.entry(job.array_job_id).or_insert_with(|| (job, Idset::default()));
        array.1.insert(index);
    }
    for (array, (mut job, indexes)) in waiting {
        let throttle = Some(job.array_max_tasks).filter(|max| *max > 0);
        let throttle = throttle.map(|max| format!("%{max}")).unwrap_or_default();
        job.array_task_str = format!("{indexes}{throttle}").into();
        job.array_task_id = NO_VAL;
        job.jobid = array;
        all.push(job);
    }
    all.sort_by_key(|job| job.jobid);
    all
}
