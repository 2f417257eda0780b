//! `flurm job list`, `list-ids`, `list-inactive`, `stats`: what other programs read, one JSON object a line.

use crate::cmd::jobs::{COUNT_DEFAULT, Selection, owner, say_cut};
use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use crate::when;
use flurm_client::{ClientError, job};
use flurm_types::{JobId, JobState, Timestamp};
use flurm_wire::job::{JobRecord, JobStats, List as Ask};
use serde_json::{Value, json};
use std::io::Write;

/// Print what is known of jobs as JSON, one a line (default: of active ones)
#[derive(Debug, clap::Args)]
pub struct List {
    /// Of jobs in any state
    #[arg(short, long)]
    all: bool,
    /// At most so many (1000); 0 for all
    #[arg(short, long, value_name = "N")]
    count: Option<usize>,
    /// Only jobs in these states or with these results
    #[arg(short, long, value_name = "STATE|RESULT,…", value_delimiter = ',')]
    states: Vec<String>,
    /// Jobs of this user: a name, a number or `all`
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
}

impl List {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let max_entries = self.count.unwrap_or(COUNT_DEFAULT);
        let list = Selection::of_states(self.states).list(self.all)?;
        let list = Ask { max_entries, userid: owner(self.user.as_deref())?, ..list };
        let listed = face.connect()?.run(async |client| job::list(&client, &list).await)?;
        say_cut(face, "job", self.count, &listed);
        lines(&listed.jobs)
    }
}

/// Print what is known of jobs that are over, the last one to end first
#[derive(Debug, clap::Args)]
pub struct ListInactive {
    /// At most so many; 0 for all
    #[arg(short, long, value_name = "N", default_value_t = 1000)]
    count: usize,
    /// Only jobs that ended since then
    #[arg(short, long, value_name = "WHEN", allow_hyphen_values = true)]
    since: Option<String>,
    /// Only jobs of this name
    #[arg(short, long)]
    name: Option<String>,
}

impl ListInactive {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let since = self.since.as_ref().map(|text| when::instant(text, when::now())).transpose()?;
        // The last to end need not be the last submitted.
        let list = Ask { states: vec![JobState::Inactive], since, name: self.name, ..Ask::default() };
        let mut jobs = face.connect()?.run(async |client| job::list(&client, &list).await)?.jobs;
        jobs.sort_by_key(|job| std::cmp::Reverse((job.t_inactive.unwrap_or(Timestamp::ZERO), job.id)));
        jobs.truncate(if self.count == 0 { usize::MAX } else { self.count });
        lines(&jobs)
    }
}

/// Print what is known of these jobs, one a line
#[derive(Debug, clap::Args)]
pub struct ListIds {
    /// Wait until each is in this state, or past it
    #[arg(short = 'W', long, value_name = "STATE")]
    wait_state: Option<JobState>,
    #[arg(required = true, value_name = "ID")]
    ids: Vec<JobId>,
}

impl ListIds {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let client = face.connect()?;
        if let Some(event) = self.wait_state.and_then(event_before) {
            client
                .run(async |client| job::wait::<ClientError>(&client, &self.ids, event, |_| Ok(())).await)?;
        }
        let list = Ask { ids: self.ids, ..Ask::default() };
        lines(&client.run(async |client| job::list(&client, &list).await)?.jobs)
    }
}

/// The event that brings a job into a state; none where it is in from the beginning. Jobs are over with `clean`, which is
/// what is waited for where nothing is named.
fn event_before(state: JobState) -> Option<Option<&'static str>> {
    match state {
        JobState::New => None,
        JobState::Depend => Some(Some("validate")),
        JobState::Priority => Some(Some("depend")),
        JobState::Sched => Some(Some("priority")),
        JobState::Run => Some(Some("alloc")),
        JobState::Cleanup => Some(Some("finish")),
        JobState::Inactive => Some(None),
    }
}

/// The record with RFC 43's names: an exception is four values, of which those are there that are known.
fn flat(job: &JobRecord) -> Value {
    let mut value = serde_json::to_value(job).expect("a record has string keys");
    let fields = value.as_object_mut().expect("a record is an object");
    fields.remove("exception");
    fields.entry("dependencies").or_insert_with(|| json!([]));
    // Before its end nobody knows that there will be none.
    if job.exception.is_some() || job.state == JobState::Inactive {
        fields.insert("exception_occurred".into(), job.exception.is_some().into());
    }
    if let Some(exception) = &job.exception {
        fields.insert("exception_severity".into(), exception.severity.into());
        fields.insert("exception_type".into(), exception.kind.as_str().into());
        fields.insert("exception_note".into(), exception.note.as_str().into());
    }
    value
}

fn lines(jobs: &[JobRecord]) -> Result<u8, Failure> {
    let mut out = out::stdout();
    for job in jobs {
        serde_json::to_writer(&mut out, &flat(job)).map_err(std::io::Error::from)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(0)
}

/// Print how many jobs there are of each kind, as one JSON object
#[derive(Debug, clap::Args)]
pub struct Stats {}

impl Stats {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let list = Ask { max_entries: 1, ..Ask::default() };
        let stats = face.connect()?.run(async |client| job::list(&client, &list).await)?.stats;
        out::json(&counted(&stats))?;
        Ok(0)
    }
}

fn counted(stats: &JobStats) -> Value {
    json!({
        "job_states": {
            "depend": stats.depend, "priority": stats.priority, "sched": stats.sched, "run": stats.run,
            "cleanup": stats.cleanup, "inactive": stats.inactive,
            "total": stats.pending() + stats.running() + stats.inactive,
        },
        "successful": stats.completed, "failed": stats.unsuccessful(),
        "canceled": stats.canceled, "timeout": stats.timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_flat() {
        let record = |more: Value| {
            let mut record = json!({
                "id": 7, "userid": 1, "urgency": 16, "priority": 16, "t_submit": 1.0, "name": "x", "cwd": "/",
                "ntasks": 1, "ncores": 1, "nnodes": 1, "duration": 0.0,
            });
            let fields = record.as_object_mut().unwrap();
            fields.extend(more.as_object().unwrap().clone());
            flat(&serde_json::from_value(record).unwrap())
        };
        let good = record(json!({ "state": "INACTIVE", "result": "COMPLETED" }));
        assert_eq!((&good["exception_occurred"], &good["dependencies"]), (&json!(false), &json!([])));
        let exception = json!({ "type": "cancel", "severity": 0, "note": "enough" });
        let bad = record(json!({ "state": "INACTIVE", "result": "CANCELED", "exception": exception }));
        assert_eq!(bad["exception_occurred"], true);
        assert_eq!((&bad["exception_type"], &bad["exception_severity"]), (&json!("cancel"), &json!(0)));
        assert_eq!((&bad["exception_note"], bad.get("exception")), (&json!("enough"), None));
        assert_eq!(record(json!({ "state": "RUN" })).get("exception_occurred"), None);
    }
}
