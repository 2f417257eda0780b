//! `flurm run`: submit a job, stay with it, end with its code.

use crate::attach::{self, Wish};
use crate::face::Face;
use crate::failure::Failure;
use crate::out::{self, Script};
use crate::submission::{Copies, Options, Stdin, refused};
use flurm_client::{ClientError, job};
use std::io::Write;

/// Run a program and wait for it
///
/// Ctrl-C twice cancels the job, Ctrl-C Ctrl-Z leaves it alone. Other signals go to its tasks.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Leave after this event of the job
    #[arg(long, value_name = "EVENT")]
    wait_event: Option<String>,
    /// Print the id; twice: events of the job, and what its shells have to say; three times: events of its execution
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(flatten)]
    pub options: Options,
}

impl Args {
    pub fn run(mut self, face: &Face) -> Result<u8, Failure> {
        if self.verbose > 1 {
            // What the user says about it comes later, and wins.
            self.options.what.setopt.insert(0, "verbose=2".into());
        }
        let feed = self.options.input_file().is_none() && attach::wish() == Wish::Feed;
        let stdin = if feed { Stdin::Ours } else { Stdin::Nothing };
        if self.options.what.within.is_some() {
            face.connect()?.run(async |client| self.options.take_part(&client).await)?;
        }
        if self.options.dry_run {
            writeln!(out::stdout(), "{}", self.options.jobspec(&stdin)?.to_json())?;
            return Ok(0);
        }
        let job = Copies::one(&self.options, &stdin)?;
        face.connected(async |client| {
            let hands = attach::Hands::new(true)?;
            let id = job::submit(&client, job).await.map_err(|e| match e {
                ClientError::Refused(error) => refused(error),
                other => other.into(),
            })?;
            if self.verbose > 0 {
                crate::say!("jobid: {}", Script::of_locale().id(id));
            }
            let options = attach::Options {
                label: self.options.io.label_io,
                show_events: self.verbose > 1,
                show_exec: self.verbose > 2,
                wait_event: self.wait_event,
                stdin: feed.then(|| self.options.input_ranks().unwrap_or("all").to_owned()),
                show_status: out::on_terminal() && !self.options.quiet,
                forwards: true,
                ..attach::Options::default()
            };
            let ended = attach::attach(face, &client, id, &options, Some(hands)).await;
            if ended.as_ref().is_err_and(Failure::is_unread) {
                // `flurm run yes | head` is over when `head` is, as `yes | head` would be. Too late is no failure.
                drop(job::raise(&client, &[id], "cancel", 0, "nobody reads its output").await?);
            }
            ended
        })
    }
}
