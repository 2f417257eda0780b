//! From the options of `flurm run` and `flurm submit` to jobspecs.
//!
//! Options are kept as they were typed, since `{cc}` in any of them becomes another text for each copy. `build.rs`
//! makes the jobspec, `sub.rs` the options of jobs that are instances, `directives.rs` and `sbatch.rs` those inside their
//! scripts, `env.rs` the environment, `limits.rs` resource limits, `slurm.rs` what habits of Slurm get.
//!
//! Many jobs of one command line: `inputs.rs` has the values, `fill.rs` puts them in, `given.rs` is a number that waits for
//! one, `copies.rs` makes copies, `array.rs` those of an array, `crowd.rs` the row of all of them, `follow.rs` submits them
//! and stays with them.

mod array;
mod build;
mod copies;
mod crowd;
pub mod directives;
mod env;
mod fill;
mod follow;
mod given;
mod inputs;
mod limits;
pub mod sbatch;
mod slurm;
mod sub;
mod within;

pub use build::{Stdin, is_interactive};
pub use copies::Copies;
pub use crowd::{Crowd, Logs};
pub use fill::NO_DEFINE;
pub use follow::{Follow, Followed, Guest, Party};
pub use given::Given;
pub use inputs::{List, Rows, Separator, split};
pub use sub::{Instance, NO_PROGRAM};

use crate::failure::Failure;
use crate::plugins::Chosen;
use env::EnvRules;
use flurm_jobspec::File;
use flurm_types::{Environment, Urgency};
use flurm_wire::job::SubmitFlags;
use flurm_wire::{ErrorCode, WireError};
use std::sync::Arc;

/// A job that was refused, with a way out where the leader gave none.
pub fn refused(error: WireError) -> Failure {
    let hint = match error.code {
        ErrorCode::Unavailable => Some("`flurm queue status` says whether jobs are taken"),
        ErrorCode::Invalid
        | ErrorCode::TooBig
        | ErrorCode::NotFound
        | ErrorCode::Exists
        | ErrorCode::Changed
        | ErrorCode::Denied
        | ErrorCode::NoService
        | ErrorCode::Unreachable
        | ErrorCode::TimedOut
        | ErrorCode::Internal => None,
    };
    let failure = Failure::from(error);
    match hint {
        Some(hint) => failure.or_hint(hint),
        None => failure,
    }
}

/// What a job is: options that all commands which submit share.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub size: Size,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub what: What,
    #[command(flatten)]
    pub io: Io,
    #[command(flatten)]
    pub rules: EnvRules,
    #[command(flatten)]
    slurm: slurm::Habits,
    /// Print the jobspec and submit nothing
    #[arg(long, alias = "dry", help_heading = HEADING_CALL)]
    pub dry_run: bool,
    /// Say less
    #[arg(long, help_heading = HEADING_CALL)]
    pub quiet: bool,
    /// Print the plug-ins of this command and the options that they add
    #[arg(long, help_heading = HEADING_CALL)]
    pub list_plugins: bool,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<String>,
    /// Files that the command itself sends along
    #[arg(skip)]
    pub files: Vec<(String, File)>,
    /// What the rules have made of our environment, if that is known already
    #[arg(skip)]
    pub shared: Option<Arc<Environment>>,
    /// Plug-ins, with their options
    #[arg(skip)]
    pub chosen: Chosen,
}

const HEADING_SIZE: &str = "Size";
const HEADING_PLACE: &str = "Place";
const HEADING_WHAT: &str = "What and when";
const HEADING_IO: &str = "Input and output";
const HEADING_CALL: &str = "This command";

/// How large.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = HEADING_SIZE)]
pub struct Size {
    /// Nodes to spread the tasks over; alone: whole nodes, one task on each
    #[arg(short = 'N', long, value_name = "N")]
    pub nodes: Option<Given<u32>>,
    /// Tasks
    #[arg(short, long, value_name = "N")]
    pub ntasks: Option<Given<u32>>,
    /// Cores of each task
    #[arg(short, long, value_name = "N", alias = "cpus-per-task")]
    pub cores_per_task: Option<Given<u32>>,
    /// GPUs of each task
    #[arg(short, long, value_name = "N")]
    pub gpus_per_task: Option<Given<u32>>,
    /// Whole nodes; needs -N
    #[arg(short = 'x', long)]
    pub exclusive: bool,
    /// Cores in all; not together with -n, -c, -g
    #[arg(long, value_name = "N")]
    pub cores: Option<Given<u32>>,
    /// Tasks on each node; with -n it says how many nodes, and goes not together with -c, -g else
    #[arg(long, value_name = "N", alias = "ntasks-per-node")]
    pub tasks_per_node: Option<Given<u32>>,
    /// Tasks on each core; not together with -n, -c, -g
    #[arg(long, value_name = "N")]
    pub tasks_per_core: Option<Given<u32>>,
    /// GPUs on each node; not together with -n, -c, -g
    #[arg(long, value_name = "N")]
    pub gpus_per_node: Option<Given<u32>>,
    /// Resources in one line (RFC 46), instead of all these: node=2/slot=4/core=2
    #[arg(long, value_name = "SHAPE")]
    pub shape: Option<String>,
    /// Slots with one task on each node, instead of tasks: `batch` and `alloc` have an option for it
    #[arg(skip)]
    pub nslots: Option<u32>,
}

/// Where on nodes and sockets, and beside whom.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = HEADING_PLACE)]
pub struct Place {
    /// first, low, high, locality, compact (few nodes, few sockets), `spread[:SHARE]`, or cosched
    #[arg(long, value_name = "POLICY", alias = "alloc-type")]
    pub placement: Option<String>,
    /// Tasks even over sockets, of each of which at most this share is taken (default: 1/2)
    #[arg(long, value_name = "SHARE", num_args = 0..=1, require_equals = true, default_missing_value = "",
          conflicts_with = "placement")]
    pub spread: Option<String>,
    /// Share sockets with one other willing job; or start together with the N jobs of a group, on the same nodes
    #[arg(long, value_name = "GROUP[:N]", num_args = 0..=1, require_equals = true, default_missing_value = "",
          conflicts_with = "spread")]
    pub cosched: Option<String>,
    /// What the job stresses, for finding it a partner: compute, memory, io or another name
    #[arg(long, value_name = "NAME")]
    pub cosched_class: Option<String>,
}

/// What and when.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = HEADING_WHAT)]
pub struct What {
    /// The job's name (default: the program's)
    #[arg(long, value_name = "NAME")]
    pub job_name: Option<String>,
    /// End the job after this time: minutes, a duration as `1.5h`, or `1:30:00`
    #[arg(short, long, value_name = "TIME", alias = "time")]
    pub time_limit: Option<String>,
    /// Queue
    #[arg(short, long, value_name = "NAME", alias = "partition")]
    pub queue: Option<String>,
    /// Bank, for accounting
    #[arg(short = 'B', long, value_name = "NAME", alias = "account")]
    pub bank: Option<String>,
    /// Nodes that will do: properties, `hosts:node[1-2]`, `rank:3`, joined by & | not ( )
    #[arg(long, value_name = "CONSTRAINT", aliases = ["require", "constraint"], allow_hyphen_values = true)]
    pub requires: Vec<String>,
    /// Wait for another job: afterok:ID, afterany:ID, afternotok:ID, afterstart:ID, …; may be repeated
    #[arg(long, value_name = "SCHEME:ID")]
    pub dependency: Vec<String>,
    /// Wait until then: `+2h`, `tomorrow 6am`, `2026-11-21 13:30`
    #[arg(long, value_name = "WHEN", alias = "begin")]
    pub begin_time: Option<String>,
    /// 0 to 31, `hold`, `default` or `expedite`
    #[arg(long, value_name = "N")]
    pub urgency: Option<Given<Urgency>>,
    /// waitable, debug, novalidate
    #[arg(long, value_name = "FLAG,…", value_delimiter = ',')]
    pub flags: Vec<Flag>,
    /// Directory to run in (default: this one)
    #[arg(long, value_name = "DIR", alias = "chdir")]
    pub cwd: Option<String>,
    /// Limits of the tasks: `name=VALUE`, `name` copies ours, `-name` does not, `*` means all
    #[arg(long, value_name = "RULE", allow_hyphen_values = true)]
    pub rlimit: Vec<String>,
    /// An option of the job's shell
    #[arg(short = 'o', long, value_name = "NAME[=VALUE]")]
    pub setopt: Vec<String>,
    /// An attribute of the jobspec, below `system.` unless it says otherwise
    #[arg(short = 'S', long, value_name = "NAME[=VALUE]")]
    pub setattr: Vec<String>,
    /// How tasks are put on nodes: block, cyclic, cyclic:N, manual:MAP
    #[arg(long, value_name = "SCHEME[:VALUE]")]
    pub taskmap: Option<String>,
    /// Warn the tasks before the time limit: a signal, a time, or both
    #[arg(long, value_name = "[SIGNAL][@TIME]")]
    pub signal: Option<String>,
    /// Send a small file along: a path, or text with a newline; tasks find it as {{tmpdir}}/NAME
    #[arg(long, value_name = "[NAME[:MODE]=]FILE|TEXT")]
    pub add_file: Vec<String>,
    /// Run at once on resources of this job, beside what it runs: all of them, or so much as -N, -n and -c say
    #[arg(long, value_name = "ID")]
    pub within: Option<String>,
    /// Write debugging events to the job's eventlog
    #[arg(long)]
    pub debug: bool,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Flag {
    Waitable,
    Debug,
    Novalidate,
}

impl Flag {
    /// What the leader is told.
    pub fn all(flags: &[Flag]) -> SubmitFlags {
        let has = |flag| flags.contains(&flag);
        SubmitFlags {
            waitable: has(Flag::Waitable),
            debug: has(Flag::Debug),
            novalidate: has(Flag::Novalidate),
        }
    }
}

/// Where input comes from and output goes.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = HEADING_IO)]
pub struct Io {
    /// Input from a file; with `run` also ranks of tasks that get ours
    #[arg(long, value_name = "FILE|RANKS")]
    pub input: Option<String>,
    /// Output to a file; {{id}} and {{task.id}} are filled in
    #[arg(long, value_name = "FILE")]
    pub output: Option<String>,
    /// Standard error to a file (default: where the output goes)
    #[arg(long, value_name = "FILE")]
    pub error: Option<String>,
    /// Put the output of many jobs into one file, for `flurm job output` and `flurm output export`
    #[arg(long, value_name = "FILE")]
    pub output_archive: Option<String>,
    /// Begin lines of output with the task's rank
    #[arg(short, long)]
    pub label_io: bool,
    /// Pass output on at once, not by lines; with labels, which lines have, a line is still shown when it is whole
    #[arg(short, long)]
    pub unbuffered: bool,
}

impl Options {
    /// What the leader is told beside the jobspec.
    pub fn flags(&self) -> SubmitFlags {
        let flags = Flag::all(&self.what.flags);
        SubmitFlags { debug: flags.debug || self.what.debug, ..flags }
    }

    /// Every text in which `{cc}` stands for the number of the copy.
    fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let What {
            job_name,
            time_limit,
            queue,
            bank,
            requires,
            dependency,
            begin_time,
            cwd,
            rlimit,
            setopt,
            setattr,
            taskmap,
            signal,
            add_file,
            urgency,
            within,
            flags: _,
            debug: _,
        } = &mut self.what;
        let Place { placement, spread, cosched, cosched_class } = &mut self.place;
        let Io { input, output, error, output_archive, label_io: _, unbuffered: _ } = &mut self.io;
        let single = [
            job_name,
            time_limit,
            queue,
            bank,
            begin_time,
            cwd,
            taskmap,
            signal,
            within,
            input,
            output,
            error,
            output_archive,
        ];
        let Size {
            nodes,
            ntasks,
            cores_per_task,
            gpus_per_task,
            cores,
            tasks_per_node,
            tasks_per_core,
            gpus_per_node,
            shape,
            exclusive: _,
            nslots: _,
        } = &mut self.size;
        let counts = [
            nodes,
            ntasks,
            cores_per_task,
            gpus_per_task,
            cores,
            tasks_per_node,
            tasks_per_core,
            gpus_per_node,
        ];
        let places = [placement, spread, cosched, cosched_class];
        let lists = [requires, dependency, rlimit, setopt, setattr, add_file, &mut self.command];
        single
            .into_iter()
            .chain(places)
            .flatten()
            .chain(lists.into_iter().flatten())
            .chain(self.rules.texts())
            .chain(self.chosen.texts())
            .chain(shape)
            .chain(counts.into_iter().flatten().map(Given::text))
            .chain(urgency.as_mut().map(Given::text))
    }

    pub fn urgency(&self) -> Result<Urgency, Failure> {
        self.what.urgency.as_ref().map_or(Ok(Urgency::DEFAULT), Given::get)
    }
}
