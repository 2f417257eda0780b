//! `flurm job eventlog`, `wait-event`: the logs of a job.

use crate::events::{self, Match};
use crate::face::Face;
use crate::failure::Failure;
use crate::{out, when};
use flurm_client::job;
use flurm_types::JobId;
use flurm_wire::job::{Log, Watch};
use std::io::Write;
use std::time::Duration;

/// Print the events of a job
#[derive(Debug, clap::Args)]
pub struct Eventlog {
    #[command(flatten)]
    options: events::Options,
    /// Go on until the log is complete
    #[arg(short = 'F', long)]
    follow: bool,
    /// Another log: exec, output, input
    #[arg(short, long, value_name = "LOG", default_value = "eventlog", value_parser = events::log)]
    path: Log,
    id: JobId,
}

impl Eventlog {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let watch = Watch { id: self.id, logs: vec![self.path], follow: self.follow, paced: true };
        let mut writer = self.options.writer();
        face.connected(async |client| {
            let mut batches = job::watch(&client, &watch).await?;
            while let Some(batch) = batches.next().await? {
                let mut out = out::stdout();
                for (_, entry) in &batch.entries {
                    writeln!(out, "{}", writer.line(entry))?;
                }
                out.flush()?;
            }
            Ok(0)
        })
    }
}

/// Wait until a job has an event, and print it
#[derive(Debug, clap::Args)]
pub struct WaitEvent {
    #[command(flatten)]
    options: events::Options,
    /// Give up after this time
    #[arg(short, long, value_name = "DURATION", value_parser = when::duration)]
    timeout: Option<f64>,
    /// Only an event with this in its context
    #[arg(short, long, value_name = "KEY=VALUE")]
    match_context: Vec<String>,
    /// Only the event's N-th time
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Another log: exec, output, input
    #[arg(short, long, value_name = "LOG", value_parser = events::log)]
    path: Option<Log>,
    /// Do not print the event
    #[arg(short, long)]
    quiet: bool,
    /// Print all events until then
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    /// Wait for the log itself as well (it is always there)
    #[arg(short = 'W', long, hide = true)]
    waitcreate: bool,
    id: JobId,
    event: String,
}

impl WaitEvent {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let matches =
            self.match_context.iter().map(|text| Match::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let (log, event) = match self.path {
            Some(log) => (log, self.event.as_str()),
            None => events::event(&self.event),
        };
        let mut writer = self.options.writer();
        face.connected(async |client| {
            let limit = async {
                match self.timeout {
                    Some(secs) => tokio::time::sleep(Duration::from_secs_f64(secs.min(1e9))).await,
                    None => std::future::pending().await,
                }
            };
            tokio::pin!(limit);
            let watch = Watch { id: self.id, logs: vec![log], follow: true, paced: true };
            let mut batches = job::watch(&client, &watch).await?;
            let mut seen = 0;
            loop {
                let batch = tokio::select! {
                    biased;
                    batch = batches.next() => batch?,
                    () = &mut limit => {
                        return Err(Failure::new(format!("there was no event `{}` in time", self.event)));
                    }
                };
                let Some(batch) = batch else {
                    return Err(Failure::new(format!("event `{}` never came", self.event))
                        .hint("the log is complete; `flurm job eventlog` shows it"));
                };
                for (_, entry) in &batch.entries {
                    let wanted = entry.name == event && matches.iter().all(|m| m.holds(entry));
                    seen += u64::from(wanted);
                    let found = wanted && seen == self.count;
                    let line = writer.line(entry);
                    if self.verbose || (found && !self.quiet) {
                        writeln!(out::stdout(), "{line}")?;
                    }
                    if found {
                        return Ok(0);
                    }
                }
            }
        })
    }
}
