//! `flurm trace`: what jobs really did, as traces that `flurm simulate` plays.

use crate::face::Face;
use crate::failure::Failure;
use crate::{inventory, out, when};
use clap::Subcommand;
use flurm_client::{Client, job};
use flurm_jobspec::Jobspec;
use flurm_sched::simulate::{Job, Trace, time};
use flurm_types::{JobState, Timestamp};
use flurm_wire::job::{JobRecord, List};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Write traces of jobs
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Export(Export),
}

/// Write a trace of the jobs that have run here, for `flurm simulate`
#[derive(Debug, clap::Args)]
struct Export {
    /// Only jobs that were active since then: `-2h`, `yesterday`, `2026-11-21 13:30`
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    since: Option<String>,
    /// Also jobs that still run, with their time until now
    #[arg(short)]
    all: bool,
    /// Where to (default: standard output)
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Jobspecs that are asked for at the same time.
const ASKED_MAX: usize = 64;

/// What scheduling looks at. The rest (environment, files, working directory) is nobody's business in a trace.
const KEPT: &[&str] =
    &["duration", "constraints", "queue", "placement", "alloc-type", "cosched", "cosched-class"];

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        match self.command {
            Command::Export(args) => args.run(face),
        }
    }
}

impl Export {
    fn run(self, face: &Face) -> Result<u8, Failure> {
        let now = when::now();
        let since = self.since.as_ref().map(|text| when::instant(text, now)).transpose()?;
        let mut states = vec![JobState::Inactive];
        if self.all {
            states.extend([JobState::Run, JobState::Cleanup]);
        }
        let list = List { states, since, ..List::default() };
        let client = face.connect()?;
        let text = client.run(async |client| -> Result<String, Failure> {
            let mut jobs = job::list(&client, &list).await?.jobs;
            // Who never ran has nothing to tell.
            jobs.retain(|job| job.t_run.is_some());
            jobs.sort_by_key(|job| (eligible(job), job.id));
            let first = jobs.first().map_or(Timestamp::ZERO, eligible);
            let jobspecs = jobspecs(&client, &jobs).await?;
            let past = jobs.iter().zip(&jobspecs).map(|(job, jobspec)| past(job, jobspec, first, now));
            let mut trace = Trace { jobs: past.collect::<Result<_, _>>()?, ..Trace::default() };
            mark_neighbours(&mut trace, &jobs);
            Ok(trace.to_json_lines())
        })?;
        match &self.file {
            Some(file) => inventory::write(file, &text)?,
            None => out::stdout().write_all(text.as_bytes())?,
        }
        Ok(0)
    }
}

/// When a job began to wait for resources. What it waited for before, such as another job, no scheduler can change.
fn eligible(job: &JobRecord) -> Timestamp {
    job.t_sched.unwrap_or(job.t_submit)
}

/// The jobspecs as they were submitted, in the order of the jobs.
async fn jobspecs(client: &Client, jobs: &[JobRecord]) -> Result<Vec<String>, Failure> {
    let mut texts = vec![String::new(); jobs.len()];
    let mut left = jobs.iter().enumerate();
    let mut asked = JoinSet::new();
    loop {
        while asked.len() < ASKED_MAX
            && let Some((at, job)) = left.next()
        {
            let (client, id) = (client.clone(), job.id);
            asked.spawn(async move { (at, job::lookup(&client, id, &["jobspec"]).await) });
        }
        let Some(answered) = asked.join_next().await else { return Ok(texts) };
        let (at, values) = answered.map_err(|e| Failure::new(format!("cannot look up a job: {e}")))?;
        texts[at] = values?.pop().unwrap_or_default();
    }
}

/// A job of the trace; times from its beginning.
fn past(job: &JobRecord, jobspec: &str, first: Timestamp, now: Timestamp) -> Result<Job, Failure> {
    let odd = |rule: String| Failure::new(format!("cannot read the jobspec of job {}: {rule}", job.id));
    let document: Value = serde_json::from_str(jobspec).map_err(|error| odd(error.to_string()))?;
    let jobspec =
        Jobspec::parse(&bare(document, &job.name).to_string()).map_err(|error| odd(error.to_string()))?;
    let started = job.t_run.unwrap_or(now);
    let ended = job.t_cleanup.or(job.t_inactive).unwrap_or(now);
    Ok(Job {
        number: job.id.0,
        submit: time(eligible(job).secs_since(first)),
        runtime_s: ended.secs_since(started).max(0.0),
        beside: BTreeMap::new(),
        priority: job.priority,
        waited_s: Some(started.secs_since(eligible(job)).max(0.0)),
        class: jobspec.attributes().cosched.as_ref().and_then(|cosched| cosched.class.clone()),
        jobspec: Arc::new(jobspec),
    })
}

/// Notes for which part of their run times willing jobs with a class had each other beside them: such a run time is not
/// that of the job alone.
fn mark_neighbours(trace: &mut Trace, records: &[JobRecord]) {
    let mut on: BTreeMap<u32, Vec<(f64, f64, usize)>> = BTreeMap::new();
    for (at, (job, record)) in trace.jobs.iter().zip(records).enumerate() {
        let cosched = job.jobspec.attributes().cosched.as_ref();
        let Some(start) = record.t_run.filter(|_| cosched.is_some() && job.class.is_some()) else { continue };
        let start = start.as_secs_f64();
        for rank in record.ranks.iter() {
            on.entry(rank).or_default().push((start, start + job.runtime_s, at));
        }
    }
    // On as many nodes as it may be, a neighbour is one.
    let mut together: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    for runs in on.values_mut() {
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (n, (_, end, one)) in runs.iter().enumerate() {
            for (begin, other_end, other) in runs[n + 1..].iter().take_while(|run| run.0 < *end) {
                let secs = end.min(*other_end) - begin;
                for pair in [(*one, *other), (*other, *one)] {
                    let known = together.entry(pair).or_default();
                    *known = known.max(secs);
                }
            }
        }
    }
    for ((one, other), secs) in together {
        let Some(class) = trace.jobs[other].class.clone() else { continue };
        let job = &mut trace.jobs[one];
        let left = 1.0 - job.beside.values().sum::<f64>();
        let part = (secs / job.runtime_s).min(left);
        // Thousandths are more than anybody can tell.
        let part = (part * 1000.0).floor() / 1000.0;
        if part > 0.0 {
            *job.beside.entry(class).or_default() += part;
        }
    }
}

/// A jobspec with only what scheduling looks at, and the job's name.
fn bare(mut jobspec: Value, name: &str) -> Value {
    for task in jobspec["tasks"].as_array_mut().into_iter().flatten() {
        task["command"] = json!(["trace"]);
    }
    let mut system: Map<String, Value> = match jobspec["attributes"]["system"].take() {
        Value::Object(system) => system.into_iter().filter(|(key, _)| KEPT.contains(&key.as_str())).collect(),
        _ => Map::new(),
    };
    if !name.is_empty() {
        system.insert("job".to_owned(), json!({ "name": name }));
    }
    jobspec["attributes"] = json!({ "system": system });
    jobspec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_says_nothing_that_is_not_needed() {
        let jobspec = json!({
            "version": 1,
            "resources": [{ "type": "slot", "count": 1, "label": "task", "with": [{ "type": "core", "count": 1 }] }],
            "tasks": [{ "command": ["solver", "--password=x"], "slot": "task", "count": { "per_slot": 1 } }],
            "attributes": {
                "system": { "duration": 60.0, "environment": { "TOKEN": "x" }, "cwd": "/home/x", "queue": "long" },
                "user": { "note": "x" },
            },
        });
        let bare = bare(jobspec, "solver");
        let system = json!({ "duration": 60.0, "queue": "long", "job": { "name": "solver" } });
        assert_eq!(bare["attributes"], json!({ "system": system }));
        assert!(!bare.to_string().contains('x'), "{bare}");
        flurm_jobspec::Jobspec::parse(&bare.to_string()).unwrap();
    }
    #[test]
    fn run_times_beside_others_are_marked() {
        let record = |id: u64, run: f64, ranks: &str, end: f64| -> JobRecord {
            serde_json::from_value(json!({
                "id": id, "userid": 0, "urgency": 16, "priority": 16, "t_submit": 1.0, "t_sched": 1.0, "t_run": run,
                "t_cleanup": end, "t_inactive": end, "state": "INACTIVE", "name": "x", "cwd": "/", "ntasks": 1,
                "ncores": 1, "nnodes": 1, "duration": 0.0, "ranks": ranks,
            }))
            .unwrap()
        };
        let jobspec = |cosched: Value| {
            json!({
                "version": 1, "attributes": { "system": { "cosched": cosched } },
                "resources": [{ "type": "slot", "count": 1, "label": "t", "with": [{ "type": "core", "count": 1 }] }],
                "tasks": [{ "command": ["x"], "slot": "t", "count": { "per_slot": 1 } }],
            })
            .to_string()
        };
        let (memory, io) = (json!({ "class": "memory" }), json!({ "class": "io" }));
        let cases = [
            (record(1, 10.0, "0-1", 110.0), jobspec(memory.clone())),
            (record(2, 60.0, "0-1", 110.0), jobspec(io)),
            (record(3, 110.0, "1", 160.0), jobspec(memory)),
            (record(4, 10.0, "2", 60.0), jobspec(json!({ "class": "memory" }))),
        ];
        let (records, specs): (Vec<JobRecord>, Vec<String>) = cases.into_iter().unzip();
        let now = Timestamp::ZERO;
        let jobs = records.iter().zip(&specs).map(|(job, spec)| past(job, spec, job.t_submit, now).unwrap());
        let mut trace = Trace { jobs: jobs.collect(), ..Trace::default() };
        mark_neighbours(&mut trace, &records);
        let beside: Vec<Value> = trace.jobs.iter().map(|job| json!(job.beside)).collect();
        assert_eq!(beside, [json!({ "io": 0.5 }), json!({ "memory": 1.0 }), json!({}), json!({})]);
        assert_eq!(Trace::parse(&trace.to_json_lines()).unwrap(), trace);
    }
}
