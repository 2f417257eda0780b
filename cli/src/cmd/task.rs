//! `flurm task`: a task with programs around it. Shells start it, nobody else.

use super::start::code;
use crate::face::Face;
use crate::failure::Failure;
use flurm_shell::wrap::{self, Wrapped};

/// A task between its prolog and its epilog
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    prolog: Option<String>,
    #[arg(long)]
    epilog: Option<String>,
    /// Seconds for each of them
    #[arg(long)]
    timeout: Option<f64>,
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<String>,
}

impl Args {
    pub fn run(self, _face: &Face) -> Result<u8, Failure> {
        let Args { prolog, epilog, timeout: timeout_s, command } = self;
        Ok(code(wrap::run(&Wrapped { prolog, epilog, timeout_s, command })))
    }
}
