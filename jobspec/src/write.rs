//! The canonical text: JSON with sorted keys, nothing said that is the default, no blanks.

use crate::array::Array;
use crate::attributes::Attributes;
use crate::cosched::Cosched;
use crate::dependency::Dependency;
use crate::file::Archive;
use crate::resource::Resource;
use crate::task::Task;
use crate::within::BYPASS;
use crate::{Jobspec, VERSION};
use flurm_types::{Constraint, Environment, JobId, R};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

impl Jobspec {
    /// Canonical JSON: equal jobspecs give equal texts, and it reads back as an equal jobspec.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.text(Some(&self.attributes.environment))
    }

    /// Canonical JSON without the environment, which travels and is kept apart since many jobs share it.
    #[must_use]
    pub fn to_json_without_environment(&self) -> String {
        self.text(None)
    }

    fn text(&self, environment: Option<&Environment>) -> String {
        let document = Document {
            attributes: Section {
                system: system(&self.attributes, environment),
                user: (!self.attributes.user.is_empty()).then_some(&self.attributes.user),
            },
            resources: &self.resources,
            tasks: &self.tasks,
            version: VERSION,
        };
        serde_json::to_string(&document).expect("keys are strings and durations are finite")
    }
}

/// The whole; fields are in the order of their names.
#[derive(Serialize)]
struct Document<'a> {
    attributes: Section<'a>,
    resources: &'a [Resource],
    tasks: &'a [Task],
    version: u32,
}

#[derive(Serialize)]
struct Section<'a> {
    system: BTreeMap<&'a str, Part<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a Map<String, Value>>,
}

/// A value of `system`, borrowed so that nothing large is copied.
#[derive(Serialize)]
#[serde(untagged)]
enum Part<'a> {
    Text(&'a str),
    Word(String),
    Cosched(&'a Cosched),
    Array(&'a Array),
    Job(JobId),
    Bypass {
        #[serde(rename = "R")]
        r: &'a R,
    },
    Number(f64),
    Json(&'a Value),
    Map(&'a Map<String, Value>),
    Environment(&'a Environment),
    Dependencies(&'a [Dependency]),
    Constraint(&'a Constraint),
    Files(&'a Archive),
    Parts(BTreeMap<&'a str, Part<'a>>),
}

fn system<'a>(a: &'a Attributes, environment: Option<&'a Environment>) -> BTreeMap<&'a str, Part<'a>> {
    let other = |key: &str| a.other_system.get(key).and_then(Value::as_object).into_iter().flatten();
    let parts =
        |map: &'a Map<String, Value>| map.iter().map(|(key, value)| (key.as_str(), Part::Json(value)));

    let mut system: BTreeMap<&str, Part<'_>> = parts(&a.other_system).collect();
    let limit = if a.unlimited { Part::Text("inf") } else { Part::Number(a.duration) };
    system.insert("duration", limit);
    if let Some(environment) = environment.filter(|environment| !environment.is_empty()) {
        system.insert("environment", Part::Environment(environment));
    }
    if !a.cwd.is_empty() {
        system.insert("cwd", Part::Text(&a.cwd));
    }
    for (key, value) in [("queue", &a.queue), ("bank", &a.bank), ("project", &a.project)] {
        if let Some(value) = value {
            system.insert(key, Part::Text(value));
        }
    }
    if !a.dependencies.is_empty() {
        system.insert("dependencies", Part::Dependencies(&a.dependencies));
    }
    if a.constraints != Constraint::True {
        system.insert("constraints", Part::Constraint(&a.constraints));
    }
    if let Some(placement) = a.placement {
        system.insert("placement", Part::Word(placement.to_string()));
    }
    if let Some(cosched) = &a.cosched {
        system.insert("cosched", Part::Cosched(cosched));
    }
    if let Some(array) = &a.array {
        system.insert("array", Part::Array(array));
    }
    if let Some(id) = a.retry_of {
        system.insert("retry-of", Part::Job(id));
    }
    if let Some(within) = &a.within {
        system.insert("within", Part::Job(within.id));
        system.insert(BYPASS, Part::Bypass { r: &within.r });
    }
    if !a.files.is_empty() {
        system.insert("files", Part::Files(&a.files));
    }
    if let Some(batch) = &a.batch {
        system.insert("batch", Part::Map(batch));
    }
    if let Some(name) = &a.job_name {
        let rest = other("job").map(|(key, value)| (key.as_str(), Part::Json(value)));
        system.insert("job", Part::Parts(rest.chain([("name", Part::Text(name))]).collect()));
    }
    if !a.shell_options.is_empty() {
        let rest = other("shell").map(|(key, value)| (key.as_str(), Part::Json(value)));
        let options = [("options", Part::Map(&a.shell_options))];
        system.insert("shell", Part::Parts(rest.chain(options).collect()));
    }
    system
}
