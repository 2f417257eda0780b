//! `flurm job attach`: see a job's output, live or afterwards, and end with its code.

use crate::attach::{self, Options, Wish};
use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use flurm_types::{Idset, JobId};

/// Print a job's output until it ends, and end with its exit code
///
/// Ctrl-C twice cancels the job, Ctrl-C Ctrl-Z leaves it alone. Other signals end only this command.
#[derive(Debug, clap::Args)]
pub struct Args {
    id: JobId,
    /// Begin each line with the task's rank
    #[arg(short, long)]
    label_io: bool,
    /// Do not collect output (it is never collected here)
    #[arg(short, long, hide = true)]
    unbuffered: bool,
    /// Give our input to these tasks
    #[arg(short = 'i', long, value_name = "RANKS|all", default_value = "all")]
    stdin_ranks: String,
    /// Of what was printed before, only the last lines
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "10")]
    tail: Option<usize>,
    /// Only look: no input, no signals
    #[arg(long)]
    read_only: bool,
    /// Leave after this event
    #[arg(short, long, value_name = "EVENT")]
    wait_event: Option<String>,
    /// Show the events of the job on standard error
    #[arg(short = 'E', long)]
    show_events: bool,
    /// Show the events of its execution as well
    #[arg(short = 'X', long)]
    show_exec: bool,
    /// Say what a waiting job waits for, even when nobody seems to look
    #[arg(long)]
    show_status: bool,
    /// Print the id; twice: events; three times: those of the execution
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        if self.stdin_ranks != "all" {
            Idset::parse_relaxed(&self.stdin_ranks)?;
        }
        if self.verbose > 0 {
            crate::say!("jobid: {}", out::Script::of_locale().id(self.id));
        }
        // A job that was not submitted with an input takes none: then the feeder is refused, and stops.
        let feed = attach::wish() == Wish::Feed && !self.read_only;
        let options = Options {
            label: self.label_io,
            show_events: self.show_events || self.verbose > 1,
            show_exec: self.show_exec || self.verbose > 2,
            wait_event: self.wait_event,
            tail: self.tail,
            read_only: self.read_only,
            cancels_waiting: false,
            forwards: false,
            stdin: feed.then_some(self.stdin_ranks),
            show_status: self.show_status || out::on_terminal(),
        };
        face.connected(async |client| {
            let hands = if options.read_only { None } else { Some(attach::Hands::new(options.forwards)?) };
            attach::attach(face, &client, self.id, &options, hands).await
        })
    }
}
