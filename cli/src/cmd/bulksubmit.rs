//! `flurm bulksubmit`: a job for each value of a list, or for each combination of values of several.

use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use crate::submission::{Crowd, Follow, List, NO_DEFINE, Options, Rows, Separator, split};
use std::io::{IsTerminal, Write};

/// Queue a job for each of many inputs
///
/// Inputs stand behind the command: `::: A B …`, or `:::: FILE …` for lines of files; without either they are the lines of
/// standard input. Several lists are combined each with each; `:::+` and `::::+` go along with the list before. In the
/// command and in options `{}` is the input, `{0}` `{1}` those of the lists, `{.%}` is it without its extension, `{./}` the
/// name without folders, `{./%}` without both, `{.//}` the folder, `{seq}` and `{seq1}` the number of the job from 0 and from
/// 1. Without a command the inputs are the commands.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A copy of each job for each id; {cc} is filled in last
    #[arg(long, value_name = "IDS")]
    cc: Option<String>,
    /// As --cc, without FLUX_JOB_CC
    #[arg(long, value_name = "IDS", conflicts_with = "cc")]
    bcc: Option<String>,
    /// A job for each line of this file, which is its command; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    from_file: Option<String>,
    /// What is between the inputs of a file; `none`: any blanks (default: newline)
    #[arg(long, value_name = "TEXT")]
    sep: Option<String>,
    /// Submit in random order
    #[arg(long)]
    shuffle: bool,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    define: Vec<String>,
    #[command(flatten)]
    follow: Follow,
    #[command(flatten)]
    pub options: Options,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let Args { cc, bcc, from_file, sep, shuffle, define, follow, mut options } = self;
        if let Some(define) = define.first() {
            return Err(Failure::usage(format!("--define={define}: there is no Python here to compute it"))
                .hint(NO_DEFINE));
        }
        follow.check()?;
        if options.input_ranks().is_some() {
            return Err(Failure::usage("--input=RANKS needs somebody who gives input")
                .hint("use `run`, or --input=FILE"));
        }
        let separator = Separator::new(sep.as_deref())?;
        let (command, mut lists) = split(std::mem::take(&mut options.command))?;
        options.command = command;
        if let Some(file) = &from_file {
            lists.push(List::of_commands(file));
        } else if lists.is_empty() {
            if std::io::stdin().is_terminal() {
                crate::say!("note: inputs are read from the terminal, one on each line; Ctrl-D ends them");
            }
            lists.push(List::of_stdin());
        }
        let rows = if shuffle { Rows::shuffled(&lists, &separator) } else { Rows::new(&lists, &separator) };
        let (dry_run, quiet, label) = (options.dry_run, options.quiet, options.io.label_io);
        let mut crowd = Crowd::new(options, cc, bcc, follow.logs()).over(rows?);
        if let Some(word) = crowd.stays() {
            crate::say!("note: `{word}` stays as it is: values go into {{}}, {{0}}, {{seq}} and their kin");
        }
        if dry_run {
            let mut out = out::stdout();
            for line in crowd.lines() {
                writeln!(out, "bulksubmit: submit {}", line?)?;
            }
            return Ok(0);
        }
        face.connected(async |client| follow.submit(&client, crowd, quiet, label).await)
    }
}
