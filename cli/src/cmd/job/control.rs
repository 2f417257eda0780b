//! `flurm job kill`, `raise`, `urgency`: words to jobs; `killall`, `raiseall`: to all that are in some state.

use crate::cmd::cancel::{refusals, selected};
use crate::cmd::jobs::of_owner;
use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use crate::signals;
use flurm_client::job;
use flurm_types::{JobId, Urgency as Level};
use std::io::Write;

/// Send a signal to all tasks of jobs
#[derive(Debug, clap::Args)]
pub struct Kill {
    /// A name or a number
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM", value_parser = signals::parse)]
    signal: i32,
    #[arg(required = true, value_name = "ID")]
    ids: Vec<JobId>,
}

impl Kill {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let results = face.connect()?.run(async |client| job::kill(&client, &self.ids, self.signal).await)?;
        Ok(refusals(&self.ids, results))
    }
}

/// Send a signal to all tasks of all running jobs; without -f only say how many there are
#[derive(Debug, clap::Args)]
pub struct Killall {
    /// Do it
    #[arg(short, long)]
    force: bool,
    /// A name or a number
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM", value_parser = signals::parse)]
    signal: i32,
    /// Jobs of this user: a name, a number or `all`
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
}

impl Killall {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        of_owner(self.user.as_deref())?;
        let client = face.connect()?;
        let ids = selected(&client, &["run".to_owned()])?;
        if !self.force {
            return would("signal", &ids);
        }
        // A job may have ended while we asked for it.
        client.run(async |client| job::kill(&client, &ids, self.signal).await)?;
        Ok(0)
    }
}

/// What would be done, and how to do it.
fn would(what: &str, ids: &[JobId]) -> Result<u8, Failure> {
    let jobs = if ids.len() == 1 { "job" } else { "jobs" };
    writeln!(out::stdout(), "Would {what} {} {jobs}; -f does it", ids.len())?;
    Ok(0)
}

/// Raise an exception on all active jobs; without -f only say how many there are
#[derive(Debug, clap::Args)]
pub struct Raiseall {
    /// Do it
    #[arg(short, long)]
    force: bool,
    /// 0 is fatal, 7 a remark
    #[arg(short, long, default_value_t = 7, value_parser = clap::value_parser!(u8).range(0..=7))]
    severity: u8,
    /// Only jobs in these states
    #[arg(short = 'S', long, value_name = "STATE,…", value_delimiter = ',')]
    states: Vec<String>,
    /// Jobs of this user: a name, a number or `all`
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// What kind of exception
    #[arg(value_name = "TYPE")]
    kind: String,
    /// Why
    #[arg(value_name = "MESSAGE")]
    words: Vec<String>,
}

impl Raiseall {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        check_kind(&self.kind)?;
        of_owner(self.user.as_deref())?;
        let client = face.connect()?;
        let ids = selected(&client, &self.states)?;
        if !self.force {
            return would("raise an exception on", &ids);
        }
        let note = self.words.join(" ");
        client.run(async |client| job::raise(&client, &ids, &self.kind, self.severity, &note).await)?;
        Ok(0)
    }
}

fn check_kind(kind: &str) -> Result<(), Failure> {
    if kind.is_empty() || kind.contains(char::is_whitespace) {
        return Err(Failure::usage(format!("`{kind}` is no type: it is one word")));
    }
    Ok(())
}

/// Raise an exception on jobs; severity 0 ends them
#[derive(Debug, clap::Args)]
pub struct Raise {
    /// 0 is fatal, 7 a remark
    #[arg(short, long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=7))]
    severity: u8,
    /// What kind of exception
    #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "cancel")]
    kind: String,
    /// Why
    #[arg(short, long, conflicts_with = "words")]
    message: Option<String>,
    #[arg(required = true, value_name = "ID")]
    ids: Vec<JobId>,
    /// Why, after `--`
    #[arg(last = true, value_name = "MESSAGE")]
    words: Vec<String>,
}

impl Raise {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        check_kind(&self.kind)?;
        let note = self.message.unwrap_or_else(|| self.words.join(" "));
        let results = face
            .connect()?
            .run(async |client| job::raise(&client, &self.ids, &self.kind, self.severity, &note).await)?;
        Ok(refusals(&self.ids, results))
    }
}

/// Change the urgency of a job
#[derive(Debug, clap::Args)]
pub struct Urgency {
    /// Say what it was set to
    #[arg(short, long)]
    verbose: bool,
    id: JobId,
    /// 0 to 31, `hold`, `default` or `expedite`
    urgency: Level,
}

impl Urgency {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let urgency = self.urgency.get();
        face.connect()?.run(async |client| job::set_urgency(&client, self.id, urgency).await)?;
        if self.verbose {
            crate::say!("urgency is {urgency}");
        }
        Ok(0)
    }
}
