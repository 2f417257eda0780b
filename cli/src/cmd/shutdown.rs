//! `flurm shutdown`: end the instance.

use crate::face::Face;
use crate::failure::Failure;
use flurm_wire::Dest;
use flurm_wire::state::Shutdown;

/// End the instance: its jobs are cancelled, its initial program gets HUP
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Return at once instead of when the broker has gone
    #[arg(long)]
    background: bool,
    /// Say nothing (nothing is said anyway)
    #[arg(long, hide = true)]
    quiet: bool,
    /// Do not ask (nothing is asked anyway)
    #[arg(short = 'y', hide = true)]
    yes: bool,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        face.connected(async |client| {
            client.call(Dest::Leader, &Shutdown {}).await?;
            if !self.background {
                // No push ever comes to us; what comes is the end of the connection.
                while client.next_push().await.is_some() {}
            }
            Ok(0)
        })
    }
}
