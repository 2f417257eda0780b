//! Events of a job come in RFC 21's order, each where it may, with times that do not fall.

use super::{Broken, broken};
use flurm_types::{JobId, Timestamp};
use flurm_wire::fact::JobFact;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct EventOrder {
    jobs: BTreeMap<JobId, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    names: Vec<String>,
    last: Timestamp,
}

impl EventOrder {
    pub fn committed(&mut self, fact: &JobFact) -> Result<(), Broken> {
        // Gates of the queue are kept below an id that is no job's.
        if fact.id == JobId(0) || fact.id == JobId(u64::MAX) {
            return Ok(());
        }
        let seen = self.jobs.entry(fact.id).or_default();
        for event in &fact.events {
            let has = |name: &str| seen.names.iter().any(|n| n == name);
            let fatal = has("exception-0");
            let legal = match event.name.as_str() {
                "submit" => seen.names.is_empty(),
                "validate" => has("submit") && !has("depend"),
                "depend" => has("validate") && !has("depend"),
                "priority" => has("depend") && !fatal,
                "alloc" => has("priority") && !has("alloc") && !fatal,
                "start" => has("alloc") && !has("start") && !has("finish"),
                "finish" => has("alloc") && !has("finish"),
                "release" => has("alloc") && !has("free") && (has("finish") || fatal),
                "free" => has("release") && !has("free"),
                "clean" => has("submit") && !has("clean") && has("alloc") == has("free"),
                _ => has("submit"),
            };
            if !legal || event.timestamp < seen.last {
                let text =
                    format!("{}: {} at {} after {:?}", fact.id, event.name, event.timestamp, seen.names);
                return broken("event_order", text);
            }
            seen.last = event.timestamp;
            let severity = event.context.as_ref().and_then(|c| c["severity"].as_u64());
            seen.names.push(match (event.name.as_str(), severity) {
                ("exception", Some(severity)) => format!("exception-{severity}"),
                (name, _) => name.to_owned(),
            });
        }
        Ok(())
    }
}
