//! `flurm slurm-service`: the role that answers Slurm's commands on one rank. Brokers start it, nobody else.

use super::start::code;
use crate::face::Face;
use crate::failure::Failure;
use flurm_slurm_service::ServiceArgs;
use std::io;
use tracing_subscriber::EnvFilter;

/// What answers Slurm's commands on one rank
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the broker listens
    #[arg(long)]
    uri: String,
    #[arg(long)]
    rank: u32,
}

impl Args {
    pub fn run(self, _face: &Face) -> Result<u8, Failure> {
        // The same variable as the broker's: one word makes an instance talk.
        let filter = EnvFilter::try_from_env("FLURM_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_ansi(false)
            .with_target(false)
            .init();
        Ok(code(flurm_slurm_service::run(&ServiceArgs { uri: self.uri, rank: self.rank })))
    }
}
