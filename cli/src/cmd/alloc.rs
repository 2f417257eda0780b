//! `flurm alloc`: an instance of one's own, now, with a program or a shell in it.

use super::job::exit_code;
use crate::attach::{self, Wish};
use crate::events;
use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::out::{self, Script};
use crate::submission::{Copies, Instance, NO_PROGRAM, Stdin, refused};
use flurm_client::{Client, ClientError, job};
use flurm_types::{Entry, JobId};
use std::io::{IsTerminal, Write};

/// Get nodes and run a program, or your shell, in an instance over them
///
/// The program runs on the first node with FLURM_URI set to the new instance; its end is the end of the job, its code the
/// exit code. Ctrl-C while the job waits cancels it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not stay: print the id once the instance is ready, which runs until it is cancelled or shut down
    #[arg(long)]
    bg: bool,
    /// Print the id; twice: events of the job; three times: those of its execution
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(flatten)]
    pub instance: Instance,
    /// The program and its arguments (default: your shell; nothing with --bg)
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Standard input is for the program, and that is the first broker's.
const FED: &str = "0";

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let Args { bg, verbose, mut instance, command } = self;
        let name = command.first().and_then(|word| word.rsplit('/').next()).unwrap_or("alloc");
        instance.what.job_name.get_or_insert_with(|| name.to_owned());
        let nothing = bg && command.is_empty();
        let attributes: &[String] = if nothing { &[NO_PROGRAM.to_owned()] } else { &[] };
        // Whoever sits at a terminal gets one there.
        if !bg && std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            instance.what.setopt.insert(0, "pty.interactive".to_owned());
        }
        let options = instance.options(&command, attributes)?;
        let feed = !bg && options.input_file().is_none() && attach::wish() == Wish::Feed;
        let stdin = if feed { Stdin::Ours } else { Stdin::Nothing };
        if options.dry_run {
            writeln!(out::stdout(), "{}", options.jobspec(&stdin)?.to_json())?;
            return Ok(0);
        }
        let job = Copies::one(&options, &stdin)?;
        face.connected(async |client| {
            let hands = if bg { None } else { Some(attach::Hands::new(true)?) };
            let id = job::submit(&client, job).await.map_err(|e| match e {
                ClientError::Refused(error) => refused(error),
                other => other.into(),
            })?;
            if bg {
                return leave(face, &client, id, options.quiet).await;
            }
            if verbose > 0 {
                crate::say!("jobid: {}", Script::of_locale().id(id));
            }
            let stay = attach::Options {
                label: options.io.label_io,
                show_events: verbose > 1,
                show_exec: verbose > 2,
                stdin: feed.then(|| FED.to_owned()),
                show_status: out::on_terminal() && !options.quiet,
                forwards: true,
                cancels_waiting: true,
                ..attach::Options::default()
            };
            attach::attach(face, &client, id, &stay, hands).await
        })
    }
}

/// Says where the instance is, once it is there.
async fn leave(face: &Face, client: &Client, id: JobId, quiet: bool) -> Result<u8, Failure> {
    let name = Script::of_locale().id(id);
    let mut failed = None;
    job::wait::<Failure>(client, &[id], Some("memo"), |job| {
        if !job.seen {
            let note = job.exception.as_ref().map(|e| format!(": {} {}", e.kind, e.note)).unwrap_or_default();
            failed = Some(
                Failure::new(format!("{name} has ended before it was ready{note}"))
                    .code(exit_code(job, FAILED)),
            );
        }
        Ok(())
    })
    .await?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    if !quiet {
        let log = job::lookup(client, id, &["eventlog"]).await?.pop().unwrap_or_default();
        let uri = log.lines().rev().find_map(|line| uri_of(&serde_json::from_str(line).ok()?));
        if let Some(uri) = uri {
            let [variable, _] = face.variables("URI");
            crate::say!("{name} is ready: export {variable}={uri}");
        }
        writeln!(out::stdout(), "{name}")?;
    }
    Ok(0)
}

/// What an instance has said of itself.
fn uri_of(entry: &Entry) -> Option<String> {
    events::text(entry, "uri").filter(|_| entry.name == "memo").map(str::to_owned)
}
