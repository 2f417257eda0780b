//! `flurm jobs`: what became of the jobs.

mod fields;

pub use fields::Row;

use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::format;
use crate::out::{self, Color, Script};
use crate::when;
use fields::{COLUMNS, View};
use flurm_client::{blocking, job};
use flurm_types::{JobId, JobResult, JobState, Status};
use flurm_wire::job::{JobStats, List, Listed};
use std::io::Write;
use std::rc::Rc;

const NAMED: format::Named = &[
    (
        "default",
        "{id.f58:>12} ?:{queue:<8.8} {username:<8.8} {name:<10.10+} {status_abbrev:>2.2} {ntasks:>6} {nnodes:>6h} \
         {contextual_time!F:>8h} {contextual_info}",
    ),
    (
        "cute",
        "{id.f58:>12} ?:{queue:<8.8} {username:<8.8} {name:<10.10+} {status_emoji:>2.2} {ntasks:>6} {nnodes:>6h} \
         {contextual_time!F:>8h} {contextual_info}",
    ),
    (
        "long",
        "{id.f58:>12} ?:{queue:<8.8} {username:<8.8} {name:<10.10+} {status:>9.9} {ntasks:>6} {nnodes:>6h} \
         {t_submit!d:%b%d %R::>12} {t_remaining!F:>12h} {contextual_time!F:>8h} {contextual_info}",
    ),
    (
        "deps",
        "{id.f58:>12} ?:{queue:<8.8} {name:<10.10+} {urgency:<3} {priority:<12} {state:<8.8} {dependencies}",
    ),
    (
        "endreason",
        "{id.f58:>12} ?:{queue:<8.8} {username:<8.8} {name:<10.10+} {status_abbrev:>2.2} \
         {t_inactive!d:%b%d %R::>12h} {inactive_reason}",
    ),
];

/// As many jobs as a person reads; more are asked for with `-c`.
const COUNT_DEFAULT: usize = 1000;

/// List jobs
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Just these
    #[arg(value_name = "ID")]
    ids: Vec<JobId>,
    /// Jobs in any state, those that are over as well
    #[arg(short = 'a')]
    all: bool,
    /// Jobs of all users (an instance has one)
    #[arg(short = 'A')]
    all_users: bool,
    /// Jobs of this user: a name, a number or `all`
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// At most so many; 0 for all
    #[arg(short, long, value_name = "N", default_value_t = COUNT_DEFAULT)]
    count: usize,
    /// Only jobs in these states or with these results
    #[arg(short, long, value_name = "STATE|RESULT,…", value_delimiter = ',')]
    filter: Vec<String>,
    /// Only jobs of this name
    #[arg(long)]
    name: Option<String>,
    /// Only jobs of this queue
    #[arg(short, long)]
    queue: Option<String>,
    /// Only jobs that were active since then: `-2h`, `yesterday`, `2026-11-21 13:30`
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    since: Option<String>,
    #[command(flatten)]
    format: format::Options,
    /// Order by these fields, those with `-` from the largest down
    #[arg(long, value_name = "[-]FIELD,…", allow_hyphen_values = true)]
    sort: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Say first how many there are of each kind
    #[arg(long)]
    stats: bool,
    /// Say only that; exit 1 when no job is active (with -a: never)
    #[arg(long)]
    stats_only: bool,
    /// Colour lines by what became of the job
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    color: Color,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let format = self.format.read("FLUX_JOBS_FORMAT_DEFAULT", NAMED, COLUMNS)?;
        let Some(mut format) = format else { return Ok(0) };
        if let Some(keys) = &self.sort {
            format.sort_by(keys, COLUMNS)?;
        }
        let client = face.connect()?;
        if self.stats_only {
            return self.stats_only(&client);
        }
        let listed = self.listed(&client)?;
        let view = Rc::new(View::new(when::now(), Script::of_locale()));
        let mut rows: Vec<Row> = listed.jobs.into_iter().map(|job| Row { job, view: view.clone() }).collect();
        if self.json {
            return self.print_json(&rows);
        }
        let mut out = out::stdout();
        if self.stats {
            writeln!(out, "{}", stats_line(&listed.stats))?;
        }
        let colour = self.color.wanted();
        let paint = |row: &Row| if colour { colour_of(row.status()) } else { None };
        format.print(&mut out, &mut rows, !self.format.no_header, paint)?;
        out.flush()?;
        Ok(0)
    }

    fn listed(&self, client: &blocking::Client) -> Result<Listed, Failure> {
        if let Some(user) = self.user.as_deref().filter(|user| *user != "all") {
            let uid = rustix::process::getuid().as_raw();
            if user != uid.to_string() && user != out::user_name(uid) {
                return Err(Failure::new(format!("no jobs of user {user} here"))
                    .hint("an instance runs jobs of its owner only"));
            }
        }
        let (mut states, results) = filter(&self.filter)?;
        let since = self.since.as_ref().map(|text| when::instant(text, when::now())).transpose()?;
        let everything = self.all || !self.ids.is_empty() || since.is_some();
        if self.filter.is_empty() && !everything {
            states = JobState::ALL.into_iter().filter(|state| state.is_active()).collect();
        }
        let list = List {
            ids: self.ids.clone(),
            states,
            results,
            name: self.name.clone(),
            queue: self.queue.clone(),
            since,
            max_entries: if self.ids.is_empty() { self.count } else { 0 },
        };
        Ok(client.run(async |client| job::list(&client, &list).await)?)
    }

    fn stats_only(&self, client: &blocking::Client) -> Result<u8, Failure> {
        let list = List { max_entries: 1, ..List::default() };
        let stats = client.run(async |client| job::list(&client, &list).await)?.stats;
        if self.json {
            out::json(&stats)?;
        } else {
            writeln!(out::stdout(), "{}", stats_line(&stats))?;
        }
        let active = stats.depend + stats.priority + stats.sched + stats.run + stats.cleanup;
        // So that `while flurm jobs --stats-only; do …` ends.
        Ok(if active == 0 && !self.all { FAILED } else { 0 })
    }

    fn print_json(&self, rows: &[Row]) -> Result<u8, Failure> {
        let mut jobs: Vec<serde_json::Value> = rows.iter().map(Row::json).collect();
        match (jobs.pop(), self.ids.len()) {
            (Some(job), 1) if jobs.is_empty() => out::json(&job)?,
            (last, _) => {
                jobs.extend(last);
                out::json(&serde_json::json!({ "jobs": jobs }))?;
            }
        }
        Ok(0)
    }
}

/// States and results that the words stand for.
pub fn filter(words: &[String]) -> Result<(Vec<JobState>, Vec<JobResult>), Failure> {
    let (mut states, mut results) = (0, 0);
    for word in words {
        let (of_state, of_result) = Status::filter(word).map_err(|e| {
            Failure::from(e).hint(
                "states: depend priority sched run cleanup inactive pending running active; \
                 results: completed failed canceled timeout",
            )
        })?;
        states |= of_state;
        results |= of_result;
    }
    // A result is a question about jobs that are over.
    if results != 0 && states != 0 {
        states |= JobState::Inactive.bits();
    } else if results != 0 {
        states = JobState::Inactive.bits();
    }
    Ok((
        JobState::ALL.into_iter().filter(|state| states & state.bits() != 0).collect(),
        JobResult::ALL.into_iter().filter(|result| results & result.bits() != 0).collect(),
    ))
}

fn stats_line(stats: &JobStats) -> String {
    format!(
        "{} running, {} completed, {} failed, {} pending",
        stats.run + stats.cleanup,
        stats.completed,
        stats.failed + stats.canceled + stats.timeout,
        stats.depend + stats.priority + stats.sched
    )
}

fn colour_of(status: Status) -> Option<&'static str> {
    match status {
        Status::Result(JobResult::Failed | JobResult::Timeout) => Some("\x1b[31m"),
        Status::Result(JobResult::Canceled) => Some("\x1b[2m"),
        Status::State(JobState::Run | JobState::Cleanup) => Some("\x1b[32m"),
        Status::Result(JobResult::Completed) | Status::State(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_words_are_states_and_results() {
        let words = |words: &[&str]| {
            filter(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
                .map(|(s, r)| (s.len(), r.len()))
        };
        assert_eq!(words(&["pending"]), Ok((3, 0)));
        assert_eq!(words(&["failed", "timeout"]), Ok((1, 2)));
        assert_eq!(words(&["run", "failed"]), Ok((2, 1)));
        assert!(words(&["bogus"]).is_err());
    }

    #[test]
    fn the_named_formats_can_be_read() {
        for (name, text) in NAMED {
            assert!(format::Format::parse(text, COLUMNS).is_ok(), "{name}");
        }
    }
}
