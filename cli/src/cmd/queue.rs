//! `flurm queue`: the gates for submission and scheduling, and waiting until nothing is left to do.

use crate::face::Face;
use crate::failure::Failure;
use crate::{out, when};
use clap::Subcommand;
use flurm_wire::Dest;
use flurm_wire::job::{Queue, QueueStatus};
use std::io::Write;
use std::time::Duration;

/// Open and close the queue, and wait for it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say whether jobs are taken and started
    Status {
        /// Say how many wait and run
        #[arg(short, long)]
        verbose: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Take jobs again
    Enable {
        #[command(flatten)]
        which: Which,
    },
    /// Take no more jobs
    Disable {
        /// Why, for those who are refused
        #[arg(short, long, default_value = "", hide_default_value = true)]
        message: String,
        #[command(flatten)]
        which: Which,
    },
    /// Start waiting jobs again
    Start {
        #[command(flatten)]
        which: Which,
    },
    /// Start no more jobs; those that run go on
    Stop {
        /// Why, for those who ask
        #[arg(short, long, default_value = "", hide_default_value = true)]
        message: String,
        #[command(flatten)]
        which: Which,
    },
    /// Wait until there is no job
    Drain {
        /// Give up after this time
        #[arg(long, value_name = "DURATION", value_parser = when::duration)]
        timeout: Option<f64>,
    },
    /// Wait until no job runs
    Idle {
        /// Give up after this time
        #[arg(long, value_name = "DURATION", value_parser = when::duration)]
        timeout: Option<f64>,
    },
}

/// Which queue. There is one; scripts for several may still say that they mean all.
#[derive(Debug, clap::Args)]
struct Which {
    /// All queues
    #[arg(short, long)]
    all: bool,
    /// Say nothing (nothing is said anyway)
    #[arg(long, hide = true)]
    quiet: bool,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let (verbose, json, timeout, ask) = match self.command {
            Command::Status { verbose, json, .. } => (verbose, json, None, Queue::Status),
            Command::Enable { .. } => (false, false, None, Queue::Enable),
            Command::Disable { message, .. } => (false, false, None, Queue::Disable { reason: message }),
            Command::Start { .. } => (false, false, None, Queue::Start),
            Command::Stop { message, .. } => (false, false, None, Queue::Stop { reason: message }),
            Command::Drain { timeout } => (false, false, timeout, Queue::Drain),
            Command::Idle { timeout } => (false, false, timeout, Queue::Idle),
        };
        let client = face.connect()?;
        let status = client.run(async |client| match timeout {
            None => Ok(client.call(Dest::Leader, &ask).await?),
            Some(secs) => {
                let limit = Duration::from_secs_f64(secs.min(1e9));
                match tokio::time::timeout(limit, client.call(Dest::Leader, &ask)).await {
                    Ok(answer) => Ok(answer?),
                    Err(_) => Err(Failure::new(format!("there are still jobs after {}", when::rough(secs)))),
                }
            }
        })?;
        if json {
            out::json(&status)?;
        } else if matches!(ask, Queue::Status) {
            out::stdout().write_all(text(&status, verbose).as_bytes())?;
        }
        Ok(0)
    }
}

fn text(status: &QueueStatus, verbose: bool) -> String {
    let because = |reason: &Option<String>| match reason {
        Some(reason) if !reason.is_empty() => format!(": {reason}"),
        _ => String::new(),
    };
    let mut text = if status.enabled {
        "Job submission is enabled\n".to_owned()
    } else {
        format!("Job submission is disabled{}\n", because(&status.disable_reason))
    };
    text.push_str(&if status.started {
        "Scheduling is started\n".to_owned()
    } else {
        format!("Scheduling is stopped{}\n", because(&status.stop_reason))
    });
    if verbose {
        text.push_str(&format!("{} pending jobs\n{} running jobs\n", status.pending, status.running));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_says_why() {
        let status = QueueStatus {
            enabled: false,
            disable_reason: Some("maintenance".into()),
            started: true,
            stop_reason: None,
            pending: 2,
            running: 0,
        };
        assert_eq!(
            text(&status, true),
            "Job submission is disabled: maintenance\nScheduling is started\n2 pending jobs\n0 running jobs\n"
        );
    }
}
