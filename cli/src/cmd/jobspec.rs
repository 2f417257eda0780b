//! `flurm jobspec`: the jobspec that options of `submit` stand for.

use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use crate::submission::{Options, Stdin};
use flurm_jobspec::Jobspec;
use std::io::{Read, Write};

/// Make and check jobspecs
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(visible_alias = "create")]
    Emit(Box<Emit>),
    Validate(Validate),
}

impl Args {
    pub fn run(self, _face: &Face) -> Result<u8, Failure> {
        match self.command {
            Command::Emit(args) => args.run(),
            Command::Validate(args) => args.run(),
        }
    }
}

/// Print a jobspec, as `submit --dry-run` does
#[derive(Debug, clap::Args)]
struct Emit {
    #[command(flatten)]
    options: Options,
}

impl Emit {
    fn run(self) -> Result<u8, Failure> {
        writeln!(out::stdout(), "{}", self.options.jobspec(&Stdin::Nothing)?.to_json())?;
        Ok(0)
    }
}

/// Check a jobspec (RFC 14, JSON or YAML): fail with what is wrong
#[derive(Debug, clap::Args)]
struct Validate {
    /// Files; `-` is standard input
    #[arg(default_value = "-", value_name = "FILE")]
    files: Vec<String>,
}

impl Validate {
    fn run(self) -> Result<u8, Failure> {
        for file in &self.files {
            let mut text = String::new();
            let read = match file.as_str() {
                "-" => std::io::stdin().read_to_string(&mut text).map(drop),
                path => std::fs::read_to_string(path).map(|read| text = read),
            };
            read.map_err(|e| Failure::new(format!("cannot read {file}: {e}")))?;
            Jobspec::parse(&text).map_err(|e| Failure::new(format!("{file}: {e}")))?;
        }
        Ok(0)
    }
}
