//! `guest.exec.eventlog` (RFC 50): what was done to run a job. Most of it follows from the job's own eventlog, and is
//! told from there; what does not, such as the end of one shell of several, is kept.

use flurm_job_manager::Job;
use flurm_types::{Entry, R};
use serde_json::json;

/// What an event of the job says about its execution.
pub(super) fn of_event(job: &Job, event: &Entry) -> Vec<Entry> {
    let entry = |name: &str| Entry::new(event.timestamp, name);
    match event.name.as_str() {
        "alloc" => vec![entry("init"), entry("starting")],
        "start" => {
            // Of a job that is over, R is kept as text alone.
            let packed = || job.r_json().and_then(|text| R::parse(&text).ok());
            let ranks =
                job.r().map(|r| r.ranks()).or_else(|| packed().map(|r| r.ranks())).unwrap_or_default();
            let init = json!({"service": "shell", "leader-rank": ranks.first(), "size": ranks.len()});
            vec![entry("shell.init").with_context(init), entry("shell.start")]
        }
        "finish" => {
            let status = event.context.as_ref().and_then(|context| context.get("status"));
            vec![entry("complete").with_context(json!({ "status": status }))]
        }
        "free" => vec![entry("done")],
        _ => Vec::new(),
    }
}

/// All of it, with what is kept, in the order of time.
pub(super) fn whole(job: &Job, kept: &str) -> String {
    let kept = kept.lines().filter_map(|line| Entry::parse_line(line).ok());
    let mut all: Vec<Entry> = job.entries(0).flat_map(|event| of_event(job, &event)).chain(kept).collect();
    all.sort_by_key(|entry| entry.timestamp);
    all.iter().map(|entry| entry.to_line() + "\n").collect()
}
