//! Everything about a job that is not its shape: time, environment, names, constraints, options of its shell.
//!
//! A new attribute is a field here, a line in `system`, and one in `write.rs`.

use crate::array::{self, Array};
use crate::cosched::{self, Cosched};
use crate::dependency::Dependency;
use crate::error::{JobspecError, Place};
use crate::file::{self, Archive};
use crate::limits::{DEPENDENCIES_MAX, ENVIRONMENT_MAX};
use crate::placement::{self, Placement};
use crate::read::{Object, items, kernel_text, noun, object, text};
use crate::task::TaskCount;
use crate::within::{self, Within};
use flurm_types::{Constraint, Environment, Fsd, JobId};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Attributes of a job (RFC 14, RFC 25).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes {
    /// Seconds the job may run; 0 is no limit of its own.
    pub duration: f64,
    /// It says itself that it has no limit, and gets no default.
    pub unlimited: bool,
    /// Shared: jobs submitted together carry the same one.
    pub environment: Arc<Environment>,
    /// An absolute path; empty when the job does not say.
    pub cwd: String,
    pub job_name: Option<String>,
    pub queue: Option<String>,
    pub bank: Option<String>,
    pub project: Option<String>,
    pub dependencies: Vec<Dependency>,
    pub constraints: Constraint,
    /// Where in nodes and sockets the job's cores should lie; the instance's default when the job does not say.
    pub placement: Option<Placement>,
    /// Set if the job is willing to share its sockets.
    pub cosched: Option<Cosched>,
    /// The job's place in an array of jobs.
    pub array: Option<Array>,
    /// The job that this one does again (`flurm retry`).
    pub retry_of: Option<JobId>,
    /// The job on whose resources this one runs, and on which of them.
    pub within: Option<Within>,
    pub shell_options: Map<String, Value>,
    pub files: Archive,
    /// What tools that start an instance as a job leave for it.
    pub batch: Option<Map<String, Value>>,
    /// Keys of `system` that we do not know. Worth a warning, never a refusal.
    pub other_system: Map<String, Value>,
    /// Free for users.
    pub user: Map<String, Value>,
}

/// Reads the section, which may have no environment of its own when there is one to share.
pub(crate) fn read(
    place: &Place<'_>,
    value: Value,
    shared: Option<Arc<Environment>>,
) -> Result<Attributes, JobspecError> {
    // RFC 14 lets the section be null.
    let value = if value.is_null() { Value::Object(Map::new()) } else { value };
    let mut section = Object::open(place, value)?;
    let user = section.read("user", object)?.unwrap_or_default();
    let attributes = section.read("system", |place, value| system(place, value, shared.clone()))?;
    section.close()?;
    let attributes = attributes
        .unwrap_or_else(|| Attributes { environment: shared.unwrap_or_default(), ..Attributes::default() });
    Ok(Attributes { user, ..attributes })
}

fn system(
    place: &Place<'_>,
    value: Value,
    shared: Option<Arc<Environment>>,
) -> Result<Attributes, JobspecError> {
    let mut system = Object::open(place, value)?;
    let duration = system.read("duration", duration)?.unwrap_or(0.0);
    let (duration, unlimited) = if duration.is_infinite() { (0.0, true) } else { (duration, false) };
    let environment = match (system.read("environment", environment)?, shared) {
        (Some(_), Some(_)) => {
            return place.key("environment").fail("the environment is already given beside the jobspec");
        }
        (Some(own), None) => Arc::new(own),
        (None, shared) => shared.unwrap_or_default(),
    };
    let cwd = system.read("cwd", folder)?.unwrap_or_default();
    let queue = system.read("queue", text)?;
    let bank = system.read("bank", text)?;
    let project = system.read("project", text)?;
    let dependencies = system.read("dependencies", |place, value| match value {
        Value::Array(list) if list.is_empty() => Ok(Vec::new()),
        list => items(place, list, DEPENDENCIES_MAX, Dependency::read),
    })?;
    let constraints = system.read("constraints", constraint)?.unwrap_or_default();
    let (placement, willing) = placement::read(&mut system)?;
    let cosched = cosched::read(&mut system, willing)?;
    if let (Some(placement), Some(_)) = (placement, &cosched) {
        return place
            .key("placement")
            .fail(format!("{placement}, but co-scheduled jobs have half of each socket"));
    }
    let array = system.read("array", array::read)?;
    let retry_of = system.read("retry-of", array::job)?;
    let within = within::read(&mut system)?;
    let waits = dependencies.as_ref().is_some_and(|list| !list.is_empty()) || array.is_some();
    if within.is_some() && (waits || cosched.is_some()) {
        return place.key("within").fail(
            "a job within another starts at once: it has no dependencies, is in no array and is not co-scheduled",
        );
    }
    let files = system.read("files", file::read)?.unwrap_or_default();
    let batch = system.read("batch", object)?;
    let (job_name, job) = system.read("job", job)?.unwrap_or_default();
    let (shell_options, shell) = system.read("shell", shell)?.unwrap_or_default();
    let mut other_system = system.rest();
    if let Some(seconds) = other_system.get("preemptible-after")
        && !seconds.as_f64().is_some_and(|seconds| seconds >= 0.0)
    {
        return place.key("preemptible-after").fail("expected seconds, 0 or more");
    }
    for (key, rest) in [("job", job), ("shell", shell)] {
        if !rest.is_empty() {
            other_system.insert(key.to_owned(), Value::Object(rest));
        }
    }
    Ok(Attributes {
        duration,
        unlimited,
        environment,
        cwd,
        job_name,
        queue,
        bank,
        project,
        dependencies: dependencies.unwrap_or_default(),
        constraints,
        placement,
        cosched,
        array,
        retry_of,
        within,
        shell_options,
        files,
        batch,
        other_system,
        user: Map::new(),
    })
}

/// Seconds as a number, or a duration as people write it (RFC 23).
fn duration(place: &Place<'_>, value: Value) -> Result<f64, JobspecError> {
    let given = match &value {
        Value::Number(number) => number.as_f64().and_then(Fsd::from_secs),
        Value::String(words) => {
            Some(words.parse().map_err(|error: flurm_types::SyntaxError| place.error(error.to_string()))?)
        }
        other => return place.fail(format!("expected seconds or a duration, found {}", noun(other))),
    };
    let Some(given) = given else { return place.fail("a duration is not negative") };
    Ok(given.as_secs())
}

fn environment(place: &Place<'_>, value: Value) -> Result<Environment, JobspecError> {
    let map = object(place, value)?;
    if map.len() > ENVIRONMENT_MAX {
        return place.fail(format!("more than {ENVIRONMENT_MAX} variables"));
    }
    let mut environment = Environment::new();
    for (name, value) in map {
        check_variable(&name).map_err(|rule| place.error(rule))?;
        let value = match value {
            Value::Null => None,
            value => Some(kernel_text(&place.key(&name), value)?),
        };
        environment.insert(name, value);
    }
    Ok(environment)
}

/// Is there such a byte? Looking at all of them, without stopping at the first, is what a compiler makes fast: the
/// leader asks this of the environment of every job.
fn has(text: &str, is_it: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(false, |found, b| found | is_it(b))
}

/// A name that an environment can hold.
fn check_variable(name: &str) -> Result<(), String> {
    if name.is_empty() || has(name, |b| b == 0 || b == b'=') {
        return Err(format!("`{}` cannot be the name of a variable", name.escape_default()));
    }
    Ok(())
}

/// The rules for an environment that does not come out of a text.
pub(crate) fn check_environment(environment: &Environment) -> Result<(), JobspecError> {
    let top = Place::Top;
    let (attributes, system);
    attributes = top.key("attributes");
    system = attributes.key("system");
    let place = system.key("environment");
    if environment.len() > ENVIRONMENT_MAX {
        return place.fail(format!("more than {ENVIRONMENT_MAX} variables"));
    }
    for (name, value) in environment {
        check_variable(name).map_err(|rule| place.error(rule))?;
        if value.as_ref().is_some_and(|value| has(value, |b| b == 0)) {
            return place.key(name).fail("a zero byte cannot be passed to a program");
        }
    }
    Ok(())
}

fn folder(place: &Place<'_>, value: Value) -> Result<String, JobspecError> {
    let path = kernel_text(place, value)?;
    if path.starts_with('/') { Ok(path) } else { place.fail("expected an absolute path") }
}

fn constraint(place: &Place<'_>, value: Value) -> Result<Constraint, JobspecError> {
    Constraint::from_json(&value).map_err(|error| {
        let inner = error.path.trim_start_matches('.');
        if inner.is_empty() { place.error(error.rule) } else { place.key(inner).error(error.rule) }
    })
}

/// `job`: its name, and the rest.
fn job(place: &Place<'_>, value: Value) -> Result<(Option<String>, Map<String, Value>), JobspecError> {
    let mut job = Object::open(place, value)?;
    let name = job.read("name", text)?;
    let rest = job.rest();
    match rest.iter().find(|(_, value)| !value.is_string()) {
        Some((key, value)) => place.key(key).fail(format!("expected a string, found {}", noun(value))),
        None => Ok((name, rest)),
    }
}

type Maps = (Map<String, Value>, Map<String, Value>);

/// `shell`: its options, and the rest.
fn shell(place: &Place<'_>, value: Value) -> Result<Maps, JobspecError> {
    let mut shell = Object::open(place, value)?;
    let options = shell.read("options", |place, value| {
        let options = object(place, value)?;
        if let Some(option) = options.get(PER_RESOURCE) {
            TaskCount::per_resource(&place.key(PER_RESOURCE), option.clone())?;
        }
        Ok(options)
    })?;
    Ok((options.unwrap_or_default(), shell.rest()))
}

/// Bytes of output that the instance keeps of a job, unless `output.limit` says something else: as many as Flux's of one
/// user.
pub const OUTPUT_BYTES_KEPT: u64 = 1 << 30;

/// Seconds that tasks may outlive the first that ends, unless `exit-timeout` says something else: Flux's.
pub const EXIT_TIMEOUT_S: f64 = 30.0;

/// A number of bytes: `4096`, `"10M"`.
pub fn size(value: &Value) -> Option<u64> {
    match value {
        Value::Number(n) => n.as_u64(),
        Value::String(s) => {
            let digits = s.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let shift = match s[digits.len()..].to_ascii_uppercase().as_str() {
                "" | "B" => 0,
                "K" | "KB" => 10,
                "M" | "MB" => 20,
                "G" | "GB" => 30,
                "T" | "TB" => 40,
                _ => return None,
            };
            digits.parse::<u64>().ok()?.checked_mul(1 << shift)
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The shell option with which Flux's tools ask for tasks on each node or core, since V1 has no word for it.
pub(crate) const PER_RESOURCE: &str = "per-resource";

impl Attributes {
    /// Bytes of output to keep; none when the job asks for something that is no size.
    pub fn output_bytes_kept(&self) -> Option<u64> {
        let nested = || self.shell_options.get("output")?.get("limit");
        let limit = self.shell_options.get("output.limit").or_else(nested);
        limit.map_or(Some(OUTPUT_BYTES_KEPT), size)
    }

    /// Seconds that tasks may outlive the first that ends; none when they may as long as they like. A value that is no
    /// time is for the shell to refuse.
    pub fn exit_timeout_s(&self) -> Option<f64> {
        match self.shell_options.get("exit-timeout") {
            None => Some(EXIT_TIMEOUT_S),
            Some(Value::Number(n)) => n.as_f64(),
            Some(Value::String(s)) => s.parse::<flurm_types::Fsd>().ok().map(|fsd| fsd.as_secs()),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
        }
    }

    /// The count of tasks that the shell options ask for, if they do.
    pub(crate) fn per_resource(&self) -> Option<TaskCount> {
        let option = self.shell_options.get(PER_RESOURCE)?;
        Some(TaskCount::per_resource(&Place::Top, option.clone()).expect("checked when it was read"))
    }
}
