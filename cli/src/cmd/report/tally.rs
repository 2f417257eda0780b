//! What an instance did with its time: core-seconds by use, failures by kind, waits. From records alone, no I/O.
//!
//! Between two moments at which something changes, so many cores are used, so many are out of service, and the rest are
//! idle for one reason: jobs wait for resources, jobs wait for others (or for a time), or no job waits.

use flurm_types::{Entry, Idset, JobId, JobResult, JobState, R, Timestamp, exit_code, signal_of};
use flurm_wire::job::JobRecord;
use serde::Serialize;
use std::collections::BTreeMap;

/// Of each kind of failure, so many jobs are named.
const NAMED_MAX: usize = 5;
/// Jobs that waited longest.
const SLOWEST_MAX: usize = 10;

/// What is looked at.
#[derive(Debug)]
pub struct Facts {
    pub jobs: Vec<JobRecord>,
    pub all: R,
    /// Of resources: which nodes came and went, and were drained.
    pub events: Vec<Entry>,
    pub begin: Timestamp,
    pub end: Timestamp,
}

/// Seconds of cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Uses {
    pub used: f64,
    /// Idle while a job waited for resources.
    pub idle_waiting: f64,
    /// Idle while the jobs that there were waited for others, or for a time.
    pub idle_dependent: f64,
    /// Idle while no job waited.
    pub idle_empty: f64,
    /// Of nodes that were drained or not there.
    pub down: f64,
}

impl Uses {
    pub fn total(&self) -> f64 {
        self.used + self.idle_waiting + self.idle_dependent + self.idle_empty + self.down
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Failures {
    pub kind: String,
    pub jobs: usize,
    pub core_seconds: f64,
    /// The first few.
    pub ids: Vec<JobId>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Start {
    pub id: JobId,
    pub name: String,
    pub ncores: u32,
    /// From when it could have started.
    pub waited: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub begin: Timestamp,
    pub end: Timestamp,
    pub nnodes: usize,
    pub ncores: usize,
    pub jobs: usize,
    pub results: BTreeMap<&'static str, usize>,
    pub core_seconds: Uses,
    pub failures: Vec<Failures>,
    pub slowest_starts: Vec<Start>,
}

impl Report {
    /// Of the cores that were there, the share that jobs had.
    pub fn utilization(&self) -> f64 {
        let there = self.core_seconds.total() - self.core_seconds.down;
        if there > 0.0 { self.core_seconds.used / there } else { 0.0 }
    }

    pub fn of(facts: &Facts) -> Report {
        let mut results: BTreeMap<&'static str, usize> = BTreeMap::new();
        for job in &facts.jobs {
            *results.entry(job.result.map_or("ACTIVE", JobResult::name)).or_default() += 1;
        }
        let mut starts: Vec<Start> = facts.jobs.iter().filter_map(start).collect();
        starts.sort_by(|a, b| b.waited.total_cmp(&a.waited).then(a.id.cmp(&b.id)));
        starts.truncate(SLOWEST_MAX);
        Report {
            begin: facts.begin,
            end: facts.end,
            nnodes: facts.all.nnodes(),
            ncores: facts.all.ncores(),
            jobs: facts.jobs.len(),
            results,
            core_seconds: uses(facts),
            failures: failures(facts),
            slowest_starts: starts,
        }
    }
}

fn start(job: &JobRecord) -> Option<Start> {
    let waited = job.t_run?.secs_since(job.t_sched?);
    Some(Start { id: job.id, name: job.name.clone(), ncores: job.ncores, waited: waited.max(0.0) })
}

/// From its allocation until it gives it back.
fn ran(job: &JobRecord, end: Timestamp) -> Option<(Timestamp, Timestamp)> {
    Some((job.t_run?, job.t_inactive.unwrap_or(end)))
}

/// How a job failed, if it did.
fn kind(job: &JobRecord) -> Option<String> {
    let exception = job.exception.as_ref();
    match job.result? {
        JobResult::Completed => None,
        JobResult::Timeout => Some("time limit".to_owned()),
        JobResult::Canceled => Some("canceled".to_owned()),
        JobResult::Failed => Some(match (exception, job.waitstatus) {
            (Some(exception), _) => format!("exception {}", exception.kind),
            (None, Some(status)) => match signal_of(exit_code(status)) {
                Some(signum) => format!("signal {signum}"),
                None => format!("exit code {}", exit_code(status)),
            },
            (None, None) => "unknown".to_owned(),
        }),
    }
}

fn failures(facts: &Facts) -> Vec<Failures> {
    let mut kinds: BTreeMap<String, Failures> = BTreeMap::new();
    for job in &facts.jobs {
        let Some(kind) = kind(job) else { continue };
        let of = kinds.entry(kind.clone()).or_insert_with(|| Failures { kind, ..Failures::default() });
        of.jobs += 1;
        of.core_seconds += ran(job, facts.end).map_or(0.0, |(from, to)| cost(job, from, to));
        if of.ids.len() < NAMED_MAX {
            of.ids.push(job.id);
        }
    }
    let mut all: Vec<Failures> = kinds.into_values().collect();
    all.sort_by(|a, b| b.jobs.cmp(&a.jobs).then(a.kind.cmp(&b.kind)));
    all
}

fn cost(job: &JobRecord, from: Timestamp, to: Timestamp) -> f64 {
    f64::from(job.ncores) * to.secs_since(from).max(0.0)
}

/// What changes at some moment.
#[derive(Clone, Debug)]
enum Change {
    /// A job takes cores or gives them back.
    Cores(i64),
    /// A job begins or ends to wait for resources.
    Waiting(i64),
    /// The same for other jobs, or for a time.
    Dependent(i64),
    Nodes(Why, Idset, bool),
}

/// Why a node is not to be used.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Why {
    Drained,
    Offline,
}

fn changes(facts: &Facts) -> Vec<(Timestamp, Change)> {
    let mut changes = Vec::new();
    for job in &facts.jobs {
        let over = job.t_cleanup.or(job.t_inactive);
        let mut span =
            |from: Option<Timestamp>, to: Option<Timestamp>, change: fn(i64) -> Change, by: i64| {
                let Some(from) = from else { return };
                changes.push((from, change(by)));
                changes.extend(to.map(|to| (to, change(-by))));
            };
        span(job.t_run, job.t_inactive, Change::Cores, job.ncores.into());
        // A job that is held waits for its owner.
        let held = job.state == JobState::Sched && job.priority == 0;
        let waiting = if held { Change::Dependent } else { Change::Waiting };
        span(job.t_sched, job.t_run.or(over), waiting, 1);
        span(job.t_depend, job.t_priority.or(over), Change::Dependent, 1);
    }
    let of_nodes = facts.events.iter().filter_map(|event| {
        let (why, ranks, gone) = of_nodes(event)?;
        Some((event.timestamp, Change::Nodes(why, ranks, gone)))
    });
    changes.extend(of_nodes);
    changes.sort_by_key(|(time, _)| *time);
    changes
}

/// Nodes that go, or come back.
fn of_nodes(event: &Entry) -> Option<(Why, Idset, bool)> {
    let (why, gone) = match event.name.as_str() {
        "drain" => (Why::Drained, true),
        "undrain" => (Why::Drained, false),
        "offline" => (Why::Offline, true),
        "online" => (Why::Offline, false),
        _ => return None,
    };
    let ranks = event.context.as_ref()?.get("idset")?.as_str()?.parse().ok()?;
    Some((why, ranks, gone))
}

/// When nodes were drained or not there.
pub fn gaps(facts: &Facts) -> Vec<(u32, Timestamp, Timestamp)> {
    let mut gaps = Vec::new();
    let mut since: BTreeMap<(u32, Why), Timestamp> = BTreeMap::new();
    for event in &facts.events {
        let Some((why, ranks, gone)) = of_nodes(event) else { continue };
        for rank in ranks.iter() {
            if gone {
                since.entry((rank, why)).or_insert(event.timestamp);
            } else if let Some(from) = since.remove(&(rank, why)) {
                gaps.push((rank, from, event.timestamp));
            }
        }
    }
    gaps.extend(since.into_iter().map(|((rank, _), from)| (rank, from, facts.end)));
    gaps.retain(|(_, from, to)| *to > facts.begin && *from < facts.end);
    gaps
}

fn uses(facts: &Facts) -> Uses {
    let total = facts.all.ncores() as f64;
    let mut uses = Uses::default();
    let (mut cores, mut waiting, mut dependent, mut down) = (0_i64, 0_i64, 0_i64, 0.0);
    let (mut drained, mut offline) = (Idset::new(), Idset::new());
    let mut at = facts.begin;
    let end = [(facts.end, Change::Cores(0))];
    for (time, change) in changes(facts).into_iter().chain(end) {
        // What was before the instance, and what will be, counts at its edges.
        let until = time.clamp(facts.begin, facts.end);
        let secs = until.secs_since(at).max(0.0);
        at = at.max(until);
        let used = (cores.max(0) as f64).min(total);
        // A job goes on where a node is drained.
        let gone = f64::min(down, total - used);
        uses.used += used * secs;
        uses.down += gone * secs;
        let idle = (total - used - gone) * secs;
        *match (waiting > 0, dependent > 0) {
            (true, _) => &mut uses.idle_waiting,
            (false, true) => &mut uses.idle_dependent,
            (false, false) => &mut uses.idle_empty,
        } += idle;
        match change {
            Change::Cores(by) => cores += by,
            Change::Waiting(by) => waiting += by,
            Change::Dependent(by) => dependent += by,
            Change::Nodes(why, ranks, gone) => {
                let of = if why == Why::Drained { &mut drained } else { &mut offline };
                *of = if gone { of.union(&ranks) } else { of.difference(&ranks) };
                down = facts.all.restrict(&drained.union(&offline)).ncores() as f64;
            }
        }
    }
    uses
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::RNode;
    use serde_json::{Value, json};

    fn job(id: u64, extra: &Value) -> JobRecord {
        let mut record = json!({
            "id": id, "userid": 1, "urgency": 16, "priority": 16, "t_submit": 100.0, "t_depend": 100.0,
            "t_priority": 100.0, "t_sched": 100.0, "state": "INACTIVE", "name": "x", "cwd": "/", "ntasks": 1,
            "ncores": 2, "nnodes": 1, "duration": 0.0, "result": "COMPLETED", "waitstatus": 0,
        });
        for (key, value) in extra.as_object().unwrap() {
            record[key] = value.clone();
        }
        serde_json::from_value(record).unwrap()
    }

    /// Two nodes of two cores, for a hundred seconds from 100 on.
    fn facts(jobs: Vec<JobRecord>, events: &[Value]) -> Facts {
        let at = |secs: f64| Timestamp::from_secs_f64(secs);
        let nodes = (0..2).map(|rank| RNode {
            rank,
            host: format!("n{rank}"),
            cores: "0-1".parse().unwrap(),
            gpus: Idset::new(),
        });
        let events = events.iter().map(|event| serde_json::from_value(event.clone()).unwrap()).collect();
        Facts { jobs, all: R::from_nodes(nodes), events, begin: at(100.0), end: at(200.0) }
    }

    fn used(jobs: &[Value], events: &[Value]) -> [f64; 5] {
        let jobs = (1..).zip(jobs).map(|(id, extra)| job(id, extra)).collect();
        let uses = uses(&facts(jobs, events));
        assert_eq!(uses.total().round(), 400.0, "every core is something at any time");
        [uses.used, uses.idle_waiting, uses.idle_dependent, uses.idle_empty, uses.down].map(f64::round)
    }

    #[test]
    fn each_core_second_has_one_use() {
        let ran = |from: f64, to: f64| json!({ "t_run": from, "t_cleanup": to, "t_inactive": to });
        assert_eq!(used(&[], &[]), [0.0, 0.0, 0.0, 400.0, 0.0]);
        assert_eq!(used(&[ran(100.0, 150.0)], &[]), [100.0, 0.0, 0.0, 300.0, 0.0]);
        // It waited for ten seconds, in which all four cores were idle.
        assert_eq!(used(&[ran(110.0, 150.0)], &[]), [80.0, 40.0, 0.0, 280.0, 0.0]);
        let later = json!({ "t_priority": 150.0, "t_sched": 150.0, "t_run": 150.0, "t_inactive": 200.0 });
        assert_eq!(used(&[later], &[]), [100.0, 0.0, 200.0, 100.0, 0.0]);
        let drain =
            json!({ "timestamp": 150.0, "name": "drain", "context": { "idset": "1", "nodelist": "n1" } });
        let back = json!({ "timestamp": 175.0, "name": "undrain", "context": { "idset": "1" } });
        assert_eq!(used(&[], std::slice::from_ref(&drain)), [0.0, 0.0, 0.0, 300.0, 100.0]);
        let seen: Vec<(u32, f64)> = gaps(&facts(Vec::new(), &[drain.clone(), back.clone()]))
            .into_iter()
            .map(|(rank, from, to)| (rank, to.secs_since(from)))
            .collect();
        assert_eq!(seen, [(1, 25.0)]);
        assert_eq!(used(&[], &[drain, back]), [0.0, 0.0, 0.0, 350.0, 50.0]);
        // One that still runs, and began before anybody looked.
        let running = json!({ "t_run": 50.0, "state": "RUN", "result": null });
        assert_eq!(used(&[running], &[]), [200.0, 0.0, 0.0, 200.0, 0.0]);
    }

    #[test]
    fn failures_are_put_together_by_kind() {
        let ran = |extra: Value| {
            let mut all = json!({ "t_run": 100.0, "t_inactive": 110.0, "result": "FAILED" });
            all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            all
        };
        let jobs = [
            ran(json!({ "waitstatus": 768 })),
            ran(json!({ "waitstatus": 768 })),
            ran(json!({ "waitstatus": 137 << 8 })),
            ran(json!({ "exception": { "type": "oom", "severity": 0, "note": "" } })),
            json!({ "result": "CANCELED" }),
            json!({}),
        ];
        let jobs = (1..).zip(&jobs).map(|(id, extra)| job(id, extra)).collect();
        let report = Report::of(&facts(jobs, &[]));
        let kinds: Vec<(&str, usize, f64)> =
            report.failures.iter().map(|f| (&*f.kind, f.jobs, f.core_seconds)).collect();
        assert_eq!(
            kinds,
            [
                ("exit code 3", 2, 40.0),
                ("canceled", 1, 0.0),
                ("exception oom", 1, 20.0),
                ("signal 9", 1, 20.0)
            ]
        );
        assert_eq!(report.results["FAILED"], 4);
        assert_eq!(report.slowest_starts.len(), 4);
    }
}
