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
            let jobs = jobs.iter().zip(&jobspecs).map(|(job, jobspec)| past(job, jobspec, first, now));
            Ok(Trace { jobs: jobs.collect::<Result<_, _>>()? }.to_json_lines())
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
        priority: job.priority,
        waited_s: Some(started.secs_since(eligible(job)).max(0.0)),
        class: jobspec.attributes().cosched.as_ref().and_then(|cosched| cosched.class.clone()),
        jobspec: Arc::new(jobspec),
    })
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
}
