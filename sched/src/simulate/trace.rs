//! Traces of jobs: the standard workload format (SWF, version 2.2) and JSON lines.
//!
//! **SWF.** A line has up to 18 numbers, of which -1 is "unknown". Used are, counted from 1: the number of the job (1), its
//! submission (2), how long it waited (3, for [`Trace::report`] only), its run time (4), the processors that it asked for
//! (8), or if it does not say those that it had (5), the time that it asked for (9), else its run time, the program (14) as
//! its name, and the queue (15). A processor is a core. Jobs without run time or processors never ran and are left out,
//! and so is what is said of processor time (6), memory (7, 10), status (11), users (12, 13), partitions (16), and
//! dependencies (17, 18). Lines that open with `;` are comments, whatever they say.
//!
//! **JSON lines.** A line is an object with these keys; lines that open with `;` or `#` are comments.
//!
//! | key | meaning |
//! | --- | --- |
//! | `submit`, `runtime` | seconds; needed. The run time is that of a job alone, see [`contention`](super) |
//! | `id` | the job's number, else its place in the trace |
//! | `priority` | higher goes first; 16 |
//! | `wait` | seconds that it really waited |
//! | `beside` | `{CLASS: PART}`: for these parts of its run time jobs of these classes were beside it, so that alone it had run less |
//! | `class` | what it stresses, such as `memory`; jobs with a class slow each other down |
//! | `jobspec` | a whole jobspec, instead of the following |
//! | `ntasks`, `nodes`, `cores_per_task`, `gpus_per_task`, `exclusive` | its size, as the options of `flurm submit` |
//! | `duration` | the time that it asks for; else its run time, or twice that if it has a class |
//! | `placement`, `queue`, `constraint`, `name` | as the options |
//! | `cosched` | true: willing to share its sockets |
//! | `group` | the co-scheduling group that it is in: `NAME` or `NAME:SIZE` |

use flurm_jobspec::{Cosched, Jobspec, build::Builder};
use flurm_resource_graph::SlowDowns;
use flurm_types::{Constraint, Timestamp};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest trace in jobs.
pub const JOBS_MAX: usize = 1 << 22;

/// The priority of a job whose trace has none: Flux's default urgency.
pub(super) const PRIORITY: i64 = 16;

/// How much longer than alone a job may take that is slowed down by others, if it does not say: a little more than the
/// worst that we guess of any pair.
const MARGIN: f64 = 2.0;

/// Longest time in a trace: a hundred years, so that there is room for the numbers that Unix gives to days.
const SECONDS_MAX: f64 = 4e9;

/// Jobs and when they come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// In the order in which they were written.
    pub jobs: Vec<Job>,
    /// Lines about jobs that never ran, which are left out.
    pub never_ran: usize,
}

/// A job of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The trace's number for it.
    pub number: u64,
    /// When it is submitted, as [`time`] gives it.
    pub submit: Timestamp,
    /// How long it runs, if nobody slows it down, or together with those in `beside`.
    pub runtime_s: f64,
    /// Parts of that time for which jobs of these classes were beside it.
    pub beside: BTreeMap<String, f64>,
    /// Higher goes first.
    pub priority: i64,
    /// How long it waited in truth, if that is known.
    pub waited_s: Option<f64>,
    /// What it stresses; jobs with a class slow each other down.
    pub class: Option<String>,
    /// What it asks for.
    pub jobspec: Arc<Jobspec>,
}

impl Job {
    /// How long it runs alone, if jobs slow each other down as this says.
    pub(super) fn alone_s(&self, table: &SlowDowns) -> f64 {
        let Some(class) = &self.class else { return self.runtime_s };
        // Beside somebody it does less in the same time.
        let lost = |(other, part): (&String, &f64)| part * (1.0 - 1.0 / table.of(class, other).max(1.0));
        self.runtime_s * (1.0 - self.beside.iter().map(lost).sum::<f64>())
    }
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
        let (mut jobs, mut never_ran) = (Vec::new(), 0);
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
                Ok(None) => never_ran += 1,
                Err(rule) => return Err(TraceError { line, rule }),
            }
            if jobs.len() > JOBS_MAX {
                return Err(TraceError { line, rule: format!("more than {JOBS_MAX} jobs") });
            }
        }
        Ok(Trace { jobs, never_ran })
    }

    /// The same jobs, all of them willing to share their sockets that could and that ask for no placement.
    #[must_use]
    pub fn willing(&self) -> Trace {
        let willing = |job: &Job| {
            let exclusive = job.jobspec.request().is_some_and(|request| request.exclusive);
            if exclusive {
                return job.clone();
            }
            let cosched = Cosched { class: job.class.clone(), group: None };
            let with = flurm_jobspec::Amendment { cosched: Some(cosched), ..Default::default() };
            let jobspec = Arc::new(Jobspec::clone(&job.jobspec).amended(with));
            Job { jobspec, ..job.clone() }
        };
        Trace { jobs: self.jobs.iter().map(willing).collect(), ..*self }
    }
}

/// A point of a trace's own time; the first second of it is 1, since zero stands for "not set" elsewhere.
#[must_use]
pub fn time(secs: f64) -> Timestamp {
    Timestamp::from_secs_f64(secs.clamp(0.0, SECONDS_MAX) + 1.0)
}

/// Processors, time, program and queue of a line of SWF.
type Like = (u32, u64, u32, u32);

fn swf_line(line: &str, known: &mut BTreeMap<Like, Arc<Jobspec>>) -> Result<Option<Job>, String> {
    let fields: Vec<f64> = line
        .split_whitespace()
        .map(|word| word.parse().ok().filter(|n: &f64| n.is_finite()).ok_or(word))
        .collect::<Result<_, _>>()
        .map_err(|word| format!("`{word}` is not a number"))?;
    if fields.len() < 5 {
        return Err(format!("expected 5 fields at least, found {}", fields.len()));
    }
    // By their numbers in the standard.
    let field = |n: usize| fields.get(n - 1).copied().filter(|value| *value > 0.0);
    let seconds = |n: usize| match field(n) {
        Some(secs) if secs > SECONDS_MAX => Err(format!("{secs} seconds")),
        secs => Ok(secs),
    };
    // Who never ran has no run time, and says nothing about scheduling.
    let (Some(runtime_s), Some(processors)) = (seconds(4)?, field(8).or(field(5))) else { return Ok(None) };
    if processors > f64::from(u32::MAX) {
        return Err(format!("{processors} processors"));
    }
    let duration = seconds(9)?.unwrap_or(runtime_s).max(1.0);
    let (program, queue) = (field(14).unwrap_or(0.0) as u32, field(15).unwrap_or(0.0) as u32);
    let like = (processors as u32, duration.to_bits(), program, queue);
    let jobspec = match known.get(&like) {
        Some(jobspec) => Arc::clone(jobspec),
        None => {
            let mut builder = Builder::new(vec!["trace".to_owned()]).ntasks(like.0).duration(duration);
            if program > 0 {
                builder = builder.name(format!("program{program}"));
            }
            if queue > 0 {
                builder = builder.queue(queue.to_string());
            }
            let jobspec = Arc::new(builder.build().map_err(|error| error.to_string())?);
            known.insert(like, Arc::clone(&jobspec));
            jobspec
        }
    };
    let number = field(1).unwrap_or(0.0) as u64;
    let (submit, waited_s) =
        (time(fields[1]), Some(fields[2]).filter(|secs| (0.0..=SECONDS_MAX).contains(secs)));
    let (priority, class, beside) = (PRIORITY, None, BTreeMap::new());
    Ok(Some(Job { number, submit, runtime_s, beside, priority, waited_s, class, jobspec }))
}

pub(super) fn json_line(line: &str) -> Result<Option<Job>, String> {
    let mut job: Map<String, Value> = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let submit = seconds(&mut job, "submit")?.ok_or("`submit` is missing")?;
    let runtime_s = seconds(&mut job, "runtime")?.ok_or("`runtime` is missing")?;
    let waited_s = seconds(&mut job, "wait")?;
    let priority = match job.remove("priority") {
        None => PRIORITY,
        Some(value) => value.as_i64().ok_or("`priority` is not a whole number")?,
    };
    let number = match job.remove("id") {
        None => 0,
        Some(value) => value.as_u64().filter(|id| *id > 0).ok_or("`id` is not a whole number above 0")?,
    };
    let class = word(&mut job, "class")?;
    if let Some(class) = &class {
        Cosched::check_class(class)?;
    }
    let beside = parts(&mut job, "beside")?;
    let jobspec = match job.remove("jobspec") {
        Some(document) => Jobspec::parse(&document.to_string()).map_err(|error| error.to_string())?,
        None => built(&mut job, runtime_s, class.as_deref())?,
    };
    if let Some(key) = job.keys().next() {
        return Err(format!("unknown key `{key}`"));
    }
    let own = jobspec.attributes().cosched.as_ref().and_then(|cosched| cosched.class.clone());
    let (submit, class, jobspec) = (time(submit), class.or(own), Arc::new(jobspec));
    Ok(Some(Job { number, submit, runtime_s, beside, priority, waited_s, class, jobspec }))
}

fn built(job: &mut Map<String, Value>, runtime_s: f64, class: Option<&str>) -> Result<Jobspec, String> {
    let margin = if class.is_some() { MARGIN } else { 1.0 };
    // No duration at all would be one without an end.
    let duration = seconds(job, "duration")?.unwrap_or((runtime_s * margin).max(1.0));
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
    if let Some(exclusive) = truth(job, "exclusive")? {
        builder = builder.exclusive(exclusive);
    }
    type Text = fn(Builder, String) -> Builder;
    let texts: [(&str, Text); 3] =
        [("placement", Builder::placement), ("queue", Builder::queue), ("name", Builder::name)];
    for (key, set) in texts {
        if let Some(text) = word(job, key)? {
            builder = set(builder, text);
        }
    }
    if let Some(query) = word(job, "constraint")? {
        builder = builder.constraint(Constraint::parse_query(&query).map_err(|error| error.to_string())?);
    }
    let group = word(job, "group")?.map(|group| group.parse()).transpose()?;
    match (truth(job, "cosched")?, group) {
        (Some(false), Some(_)) => return Err("a job of a `group` is willing to share".to_owned()),
        (None | Some(false), None) => {}
        (_, group) => {
            builder = builder.cosched(&Cosched { class: class.map(str::to_owned), group });
        }
    }
    builder.build().map_err(|error| error.to_string())
}

/// Classes with parts of a whole.
fn parts(job: &mut Map<String, Value>, key: &str) -> Result<BTreeMap<String, f64>, String> {
    let wrong = || format!("`{key}` has a class and a part of the run time for each that was beside the job");
    let given = match job.remove(key) {
        None => Map::new(),
        Some(Value::Object(given)) => given,
        Some(_) => return Err(wrong()),
    };
    let mut parts = BTreeMap::new();
    for (class, part) in given {
        Cosched::check_class(&class)?;
        let part = part.as_f64().filter(|part| (0.0..=1.0).contains(part)).ok_or_else(wrong)?;
        parts.insert(class, part);
    }
    if parts.values().sum::<f64>() > 1.0 + 1e-6 { Err(wrong()) } else { Ok(parts) }
}

/// Seconds that are not negative.
fn seconds(job: &mut Map<String, Value>, key: &str) -> Result<Option<f64>, String> {
    let Some(value) = job.remove(key) else { return Ok(None) };
    let number = value.as_f64().filter(|number| (0.0..=SECONDS_MAX).contains(number));
    number.map(Some).ok_or_else(|| format!("`{key}` is not a number from 0 to {SECONDS_MAX:e}"))
}

fn word(job: &mut Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match job.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{key}` is a word")),
    }
}

fn truth(job: &mut Map<String, Value>, key: &str) -> Result<Option<bool>, String> {
    match job.remove(key) {
        None => Ok(None),
        Some(Value::Bool(truth)) => Ok(Some(truth)),
        Some(_) => Err(format!("`{key}` is true or false")),
    }
}
