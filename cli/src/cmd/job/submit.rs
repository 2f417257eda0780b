//! `flurm job submit`: a jobspec as it is, of any shape.

use crate::face::Face;
use crate::failure::Failure;
use crate::inventory;
use crate::out::{self, Script};
use crate::submission::Flag;
use flurm_client::job::{self, NewJob};
use flurm_jobspec::Jobspec;
use flurm_types::Urgency;
use serde_json::value::RawValue;
use std::io::Write;
use std::path::PathBuf;

/// Queue a jobspec (RFC 14; JSON or YAML), and print the job's id
///
/// The job gets the environment and the directory that the jobspec says, not ours.
#[derive(Debug, clap::Args)]
pub struct Submit {
    /// 0 to 31, `hold`, `default` or `expedite`
    #[arg(short, long, value_name = "N", default_value_t, hide_default_value = true)]
    urgency: Urgency,
    /// waitable, debug, novalidate
    #[arg(short, long, value_enum, value_delimiter = ',', value_name = "FLAG,…")]
    flags: Vec<Flag>,
    /// The file; without one, or with `-`, standard input
    #[arg(value_name = "JOBSPEC")]
    file: Option<PathBuf>,
}

impl Submit {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let file = self.file.unwrap_or_else(|| PathBuf::from("-"));
        let text = inventory::read(&file)?;
        let unreadable = |e: &dyn std::fmt::Display| Failure::new(format!("{}: {e}", file.display()));
        let jobspec = Jobspec::parse(&text).map_err(|e| unreadable(&e))?;
        let raw = RawValue::from_string(jobspec.to_json_without_environment());
        let job = NewJob {
            jobspec: raw.map_err(|e| unreadable(&e))?,
            environment: jobspec.attributes().environment.clone(),
            urgency: self.urgency.get(),
            flags: Flag::all(&self.flags),
        };
        let id = face.connect()?.run(async |client| job::submit(&client, job).await)?;
        writeln!(out::stdout(), "{}", Script::of_locale().id(id))?;
        Ok(0)
    }
}
