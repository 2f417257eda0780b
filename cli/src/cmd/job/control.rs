//! `flurm job kill`, `raise`, `urgency`: words to jobs.

use crate::cmd::cancel::refusals;
use crate::face::Face;
use crate::failure::Failure;
use crate::signals;
use flurm_client::job;
use flurm_types::{JobId, Urgency as Level};

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
        if self.kind.is_empty() || self.kind.contains(char::is_whitespace) {
            return Err(Failure::usage(format!("`{}` is no type: it is one word", self.kind)));
        }
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
