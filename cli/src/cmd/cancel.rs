//! `flurm cancel`: end jobs, waiting or running.

use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::out::{self, Script};
use flurm_client::{blocking, job};
use flurm_types::{JobId, JobState};
use flurm_wire::WireError;
use flurm_wire::job::{JobRecord, List};
use std::io::Write;

/// Cancel jobs
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The jobs
    #[arg(value_name = "ID", required_unless_present_any = ["all", "states", "user"], conflicts_with_all = ["all", "states"])]
    ids: Vec<JobId>,
    /// Cancel all jobs
    #[arg(long)]
    all: bool,
    /// Cancel the jobs in these states (with --all: only those)
    #[arg(short = 'S', long, value_name = "STATE,…", value_delimiter = ',')]
    states: Vec<String>,
    /// All jobs of the arrays that these are of
    #[arg(long, requires = "ids")]
    array: bool,
    /// Only jobs of this user: a name, a number or `all`
    #[arg(short, long, value_name = "USER", conflicts_with = "ids")]
    user: Option<String>,
    /// Why, for the job's eventlog
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// Only say how many there would be
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Do not say how many there were
    #[arg(short, long)]
    quiet: bool,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        super::jobs::of_owner(self.user.as_deref())?;
        let client = face.connect()?;
        if !self.ids.is_empty() && !self.array {
            if self.dry_run {
                self.count(self.ids.len(), "Would cancel")?;
                return Ok(0);
            }
            let results = client
                .run(async |client| job::raise(&client, &self.ids, "cancel", 0, &self.message).await)?;
            return Ok(refusals(&self.ids, results));
        }
        let ids = if self.array { of_arrays(&client, &self.ids)? } else { selected(&client, &self.states)? };
        if self.dry_run {
            self.count(ids.len(), "Would cancel")?;
            return Ok(0);
        }
        client.run(async |client| job::raise(&client, &ids, "cancel", 0, &self.message).await)?;
        // A job may have ended while we asked for it: that is what was wanted.
        if !self.quiet && out::on_terminal() {
            self.count(ids.len(), "Canceled")?;
        }
        Ok(0)
    }

    fn count(&self, n: usize, what: &str) -> Result<(), Failure> {
        if !self.quiet {
            writeln!(out::stdout(), "{what} {n} job{}", if n == 1 { "" } else { "s" })?;
        }
        Ok(())
    }
}

/// Active jobs in `states`; all active ones when none is named.
pub fn selected(client: &blocking::Client, states: &[String]) -> Result<Vec<JobId>, Failure> {
    let (states, results) = super::jobs::filter(states)?;
    if !results.is_empty() {
        return Err(Failure::usage("jobs that are over cannot be cancelled")
            .hint("states are depend, priority, sched, run, pending, running and active"));
    }
    let states = if states.is_empty() {
        JobState::ALL.into_iter().filter(|s| s.is_active()).collect()
    } else {
        states
    };
    let list = List { states, ..List::default() };
    let listed = client.run(async |client| job::list(&client, &list).await)?;
    Ok(listed.jobs.iter().filter(|job| job.state.is_active()).map(|job| job.id).collect())
}

/// Active jobs of the arrays that these jobs are of.
fn of_arrays(client: &blocking::Client, ids: &[JobId]) -> Result<Vec<JobId>, Failure> {
    let named = List { ids: ids.to_vec(), ..List::default() };
    let named = client.run(async |client| job::list(&client, &named).await)?;
    let mut arrays = Vec::new();
    for job in &named.jobs {
        let array = job
            .array
            .ok_or_else(|| Failure::new(format!("job {} is of no array", Script::of_locale().id(job.id))))?;
        arrays.push(array.id);
    }
    let states = JobState::ALL.into_iter().filter(|s| s.is_active()).collect();
    let list = List { states, ..List::default() };
    let listed = client.run(async |client| job::list(&client, &list).await)?;
    let is_meant = |job: &&JobRecord| job.array.is_some_and(|array| arrays.contains(&array.id));
    Ok(listed.jobs.iter().filter(is_meant).map(|job| job.id).collect())
}

/// Says which requests were refused; the exit code is 1 if any was.
pub fn refusals(ids: &[JobId], results: Vec<Result<(), WireError>>) -> u8 {
    let script = Script::of_locale();
    let mut code = 0;
    for (id, result) in ids.iter().zip(results) {
        if let Err(error) = result {
            Failure::from(error).within(&script.id(*id)).say();
            code = FAILED;
        }
    }
    code
}
