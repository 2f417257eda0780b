//! `flurm submit`: queue one job or many, and wait for them if asked to.

use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use crate::submission::{Crowd, Follow, List, Options, Rows, Separator};
use std::io::Write;

/// Queue a program and print the job's id
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A copy for each id; FLUX_JOB_CC tells a job which one it is, and {cc} is filled in everywhere
    #[arg(long, value_name = "IDS")]
    cc: Option<String>,
    /// As --cc, without FLUX_JOB_CC
    #[arg(long, value_name = "IDS", conflicts_with = "cc")]
    bcc: Option<String>,
    /// A job for each index, of which so many may run at a time: `0-99`, `0-98:2%5`; SLURM_ARRAY_TASK_ID tells a job which
    /// one it is
    #[arg(long, value_name = "INDICES[%N]", conflicts_with_all = ["cc", "bcc", "from_file"])]
    array: Option<String>,
    /// A job for each line of this file, which is its command; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    from_file: Option<String>,
    #[command(flatten)]
    follow: Follow,
    #[command(flatten)]
    pub options: Options,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let Args { cc, bcc, array, from_file, follow, mut options } = self;
        if options.what.within.is_some() {
            if array.is_some() || !options.what.dependency.is_empty() {
                return Err(Failure::usage("a job within another starts at once")
                    .hint("leave --array and --dependency away"));
            }
            face.connect()?.run(async |client| options.take_part(&client).await)?;
        }
        follow.check()?;
        if options.input_ranks().is_some() {
            return Err(Failure::usage("--input=RANKS needs somebody who gives input")
                .hint("use `run`, or --input=FILE"));
        }
        let (dry_run, quiet, label) = (options.dry_run, options.quiet, options.io.label_io);
        let mut crowd = Crowd::new(options, cc, bcc, follow.logs()).in_array(array);
        if let Some(file) = &from_file {
            crowd = crowd.over(Rows::new(&[List::of_commands(file)], &Separator::lines())?);
        }
        if dry_run {
            let mut out = out::stdout();
            for jobspec in crowd.jobspecs() {
                writeln!(out, "{}", jobspec?.to_json())?;
            }
            return Ok(0);
        }
        face.connected(async |client| follow.submit(&client, crowd, quiet, label).await)
    }
}
