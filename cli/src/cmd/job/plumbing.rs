//! `flurm job list`, `list-ids`, `list-inactive`, `stats`: what other programs read, one JSON object a line.

use crate::cmd::jobs::{Selection, of_owner};
use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use crate::when;
use flurm_client::{ClientError, job};
use flurm_types::{JobId, JobState, Timestamp};
use flurm_wire::job::{JobRecord, JobStats, List as Ask};
use serde_json::json;
use std::io::Write;

/// Print what is known of jobs as JSON, one a line (default: of active ones)
#[derive(Debug, clap::Args)]
pub struct List {
    /// Of jobs in any state
    #[arg(short, long)]
    all: bool,
    /// At most so many; 0 for all
    #[arg(short, long, value_name = "N", default_value_t = 1000)]
    count: usize,
    /// Only jobs in these states or with these results
    #[arg(short, long, value_name = "STATE|RESULT,…", value_delimiter = ',')]
    states: Vec<String>,
    /// Jobs of this user: a name, a number or `all`
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
}

impl List {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        of_owner(self.user.as_deref())?;
        let list = Selection::of_states(self.states).list(self.all)?;
        print(face, Ask { max_entries: self.count, ..list })
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

fn print(face: &Face, list: Ask) -> Result<u8, Failure> {
    lines(&face.connect()?.run(async |client| job::list(&client, &list).await)?.jobs)
}

fn lines(jobs: &[JobRecord]) -> Result<u8, Failure> {
    let mut out = out::stdout();
    for job in jobs {
        serde_json::to_writer(&mut out, job).map_err(std::io::Error::from)?;
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

fn counted(stats: &JobStats) -> serde_json::Value {
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
