//! `flurm pmix-server`: the role that serves the tasks of one job on one rank with PMIx. Shells start it, nobody else.

use super::start::code;
use crate::face::Face;
use crate::failure::Failure;

/// The PMIx server of one job on one rank
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    pub fn run(self, _face: &Face) -> Result<u8, Failure> {
        Ok(code(flurm_shell::pmix::server::serve()))
    }
}
