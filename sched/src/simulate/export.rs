//! Traces as JSON lines, which read back as the same trace.

use super::trace::{PRIORITY, json_line, time};
use super::{Job, Trace};
use flurm_jobspec::Placement;
use serde_json::{Map, Value, json};

impl Trace {
    /// A line for each job. Its size is written in the short form where that says all there is, else as a whole jobspec,
    /// without the environment: that is nobody's business and has no part in scheduling.
    #[must_use]
    pub fn to_json_lines(&self) -> String {
        self.jobs.iter().map(|job| line(job) + "\n").collect()
    }
}

fn line(job: &Job) -> String {
    let mut head = Map::new();
    let mut put = |key: &str, value: Value| head.insert(key.to_owned(), value);
    put("id", job.number.into());
    put("submit", job.submit.secs_since(time(0.0)).into());
    put("runtime", job.runtime_s.into());
    if job.priority != PRIORITY {
        put("priority", job.priority.into());
    }
    if let Some(secs) = job.waited_s {
        put("wait", secs.into());
    }
    if !job.beside.is_empty() {
        put("beside", json!(job.beside));
    }
    if let Some(class) = &job.class {
        put("class", class.as_str().into());
    }
    if let Some(short) = short(job) {
        let mut line = head.clone();
        line.extend(short);
        let line = Value::Object(line).to_string();
        if json_line(&line).is_ok_and(|read| read.is_some_and(|read| read.jobspec == job.jobspec)) {
            return line;
        }
    }
    let document = job.jobspec.to_json_without_environment();
    let document: Value = serde_json::from_str(&document).expect("it was written a moment ago");
    head.insert("jobspec".to_owned(), document);
    Value::Object(head).to_string()
}

/// What a jobspec asks for in few words, if there are words for it. Whether they say all of it, reading them shows.
fn short(job: &Job) -> Option<Map<String, Value>> {
    let (request, attributes) = (job.jobspec.request()?, job.jobspec.attributes());
    let mut line = Map::new();
    let mut put = |key: &str, value: Value| line.insert(key.to_owned(), value);
    if let Some(nodes) = request.nodes {
        put("nodes", nodes.into());
    }
    if request.nodes != Some(request.slots) || !request.exclusive {
        put("ntasks", request.ntasks.into());
    }
    for (key, count, default) in
        [("cores_per_task", request.cores_per_slot, 1), ("gpus_per_task", request.gpus_per_slot, 0)]
    {
        if count != default {
            put(key, count.into());
        }
    }
    if request.exclusive {
        put("exclusive", true.into());
    }
    put("duration", attributes.duration.into());
    let placement = attributes.placement.as_ref().map(Placement::to_string);
    let texts = [("placement", &placement), ("queue", &attributes.queue), ("name", &attributes.job_name)];
    for (key, text) in texts {
        if let Some(text) = text {
            put(key, text.as_str().into());
        }
    }
    if let Some(cosched) = &attributes.cosched {
        match &cosched.group {
            Some(group) => put("group", format!("{}:{}", group.name, group.size).into()),
            None => put("cosched", json!(true)),
        };
    }
    Some(line)
}
