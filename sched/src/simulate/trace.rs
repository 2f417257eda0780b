//! Traces of jobs: the standard workload format (SWF, version 2) and JSON lines.
//!
//! A line of JSON is an object with `submit` and `runtime` in seconds and either a whole `jobspec` or any of `ntasks`,
//! `nodes`, `cores_per_task`, `gpus_per_task`, `exclusive`, `duration`, `placement`, `queue`, `constraint`; `priority` (16)
//! and `id` if wanted.

use flurm_jobspec::{Jobspec, build::Builder};
use flurm_types::{Constraint, Timestamp};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest trace in jobs.
pub const JOBS_MAX: usize = 1 << 22;

/// The priority of a job whose trace has none: Flux's default urgency.
const PRIORITY: i64 = 16;

/// Jobs and when they come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// In the order in which they were written.
    pub jobs: Vec<Job>,
}

/// A job of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The trace's number for it.
    pub number: u64,
    /// When it is submitted, from the beginning of the trace.
    pub submit: Timestamp,
    /// How long it runs.
    pub runtime_s: f64,
    /// Higher goes first.
    pub priority: i64,
    /// What it asks for.
    pub jobspec: Arc<Jobspec>,
}

/// A trace that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read trace at line {line}: {rule}")]
pub struct TraceError {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub rule: String,
}

impl Trace {
    /// Reads either format; a trace whose first line of content opens with `{` is JSON lines.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub fn parse(text: &str) -> Result<Trace, TraceError> {
        let lines = || (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let content = lines().find(|(_, line)| !line.trim_start().starts_with([';', '#']));
        let is_json = content.is_some_and(|(_, line)| line.trim_start().starts_with('{'));
        let mut jobs = Vec::new();
        // Jobs of the same shape share a jobspec, which a trace has many of.
        let mut known = BTreeMap::new();
        for (line, text) in lines().filter(|(_, line)| !line.trim_start().starts_with([';', '#'])) {
            let job = if is_json { json_line(text) } else { swf_line(text, &mut known) };
            match job {
                Ok(Some(mut job)) => {
                    if job.number == 0 {
                        job.number = jobs.len() as u64 + 1;
                    }
                    jobs.push(job);
                }
                Ok(None) => {}
                Err(rule) => return Err(TraceError { line, rule }),
            }
            if jobs.len() > JOBS_MAX {
                return Err(TraceError { line, rule: format!("more than {JOBS_MAX} jobs") });
            }
        }
        Ok(Trace { jobs })
    }
}

/// A point of the trace's own time; the first second of it is 1, since zero stands for "not set" elsewhere.
fn time(secs: f64) -> Timestamp {
    Timestamp::from_secs_f64(secs.max(0.0) + 1.0)
}

/// Fields from 0: number, submit, wait, run time, processors used, …, processors asked for at 7, time asked for
/// at 8, …, queue at 14. What is not known is -1.
fn swf_line(line: &str, known: &mut BTreeMap<(u32, u64), Arc<Jobspec>>) -> Result<Option<Job>, String> {
    let fields: Vec<f64> = line
        .split_whitespace()
        .map(|word| word.parse().map_err(|_| format!("`{word}` is not a number")))
        .collect::<Result<_, _>>()?;
    if fields.len() < 5 {
        return Err(format!("expected 5 fields at least, found {}", fields.len()));
    }
    let field = |n: usize| fields.get(n).copied().filter(|value| *value > 0.0);
    // Who never ran has no run time, and says nothing about scheduling.
    let (Some(runtime_s), Some(processors)) = (field(3), field(7).or(field(4))) else { return Ok(None) };
    if processors > f64::from(u32::MAX) {
        return Err(format!("{processors} processors"));
    }
    let duration = field(8).unwrap_or(runtime_s).max(1.0);
    let processors = processors as u32;
    let jobspec = match known.get(&(processors, duration.to_bits())) {
        Some(jobspec) => Arc::clone(jobspec),
        None => {
            let builder = Builder::new(vec!["trace".to_owned()]).ntasks(processors).duration(duration);
            let jobspec = Arc::new(builder.build().map_err(|error| error.to_string())?);
            known.insert((processors, duration.to_bits()), Arc::clone(&jobspec));
            jobspec
        }
    };
    let number = field(0).unwrap_or(0.0) as u64;
    Ok(Some(Job { number, submit: time(fields[1]), runtime_s, priority: PRIORITY, jobspec }))
}

fn json_line(line: &str) -> Result<Option<Job>, String> {
    let mut job: Map<String, Value> = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let submit = number(&mut job, "submit")?.ok_or("`submit` is missing")?;
    let runtime_s = number(&mut job, "runtime")?.ok_or("`runtime` is missing")?;
    let priority = number(&mut job, "priority")?.map_or(PRIORITY, |priority| priority as i64);
    let number = number(&mut job, "id")?.unwrap_or(0.0) as u64;
    let jobspec = match job.remove("jobspec") {
        Some(document) => Jobspec::parse(&document.to_string()).map_err(|error| error.to_string())?,
        None => built(&mut job, runtime_s)?,
    };
    if let Some(key) = job.keys().next() {
        return Err(format!("unknown key `{key}`"));
    }
    Ok(Some(Job { number, submit: time(submit), runtime_s, priority, jobspec: Arc::new(jobspec) }))
}

fn built(job: &mut Map<String, Value>, runtime_s: f64) -> Result<Jobspec, String> {
    let duration = number(job, "duration")?.unwrap_or(runtime_s);
    let mut builder = Builder::new(vec!["trace".to_owned()]).duration(duration);
    type Size = fn(Builder, u32) -> Builder;
    let sizes: [(&str, Size); 4] = [
        ("ntasks", Builder::ntasks),
        ("nodes", Builder::nnodes),
        ("cores_per_task", Builder::cores_per_task),
        ("gpus_per_task", Builder::gpus_per_task),
    ];
    for (key, set) in sizes {
        if let Some(value) = job.remove(key) {
            let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
            builder = set(builder, count.ok_or_else(|| format!("`{key}` is not a count"))?);
        }
    }
    if let Some(value) = job.remove("exclusive") {
        builder = builder.exclusive(value.as_bool().ok_or("`exclusive` is true or false")?);
    }
    for (key, set) in
        [("placement", Builder::placement as fn(Builder, String) -> Builder), ("queue", Builder::queue)]
    {
        if let Some(value) = job.remove(key) {
            builder = set(builder, value.as_str().ok_or_else(|| format!("`{key}` is a word"))?.to_owned());
        }
    }
    if let Some(value) = job.remove("constraint") {
        let query = value.as_str().ok_or("`constraint` is a query such as `thin -host:n1`")?;
        builder = builder.constraint(Constraint::parse_query(query).map_err(|error| error.to_string())?);
    }
    builder.build().map_err(|error| error.to_string())
}

/// A number that is not negative.
fn number(job: &mut Map<String, Value>, key: &str) -> Result<Option<f64>, String> {
    let Some(value) = job.remove(key) else { return Ok(None) };
    let number = value.as_f64().filter(|number| *number >= 0.0);
    number.map(Some).ok_or_else(|| format!("`{key}` is not a number of at least 0"))
}
