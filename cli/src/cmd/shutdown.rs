//! `flurm shutdown`: end the instance.

use crate::face::Face;
use crate::failure::Failure;
use flurm_client::{Client, Uri};
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
    /// Say when it has gone
    #[arg(short, long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    verbose: Option<u8>,
    /// Do not ask (nothing is asked anyway)
    #[arg(short = 'y', long, hide = true)]
    yes: bool,
    /// Do not collect garbage (there is none to collect)
    #[arg(long, hide = true)]
    skip_gc: bool,
    /// Another instance than this one, as `flurm uri` takes it; it must be on this machine
    target: Option<String>,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let place = match &self.target {
            None => None,
            Some(word) => Some(super::uri::Target::parse(word)?.place(face)?),
        };
        if let Some(place) = place.as_ref().filter(|place| !place.is_here()) {
            let word = self.target.unwrap_or_default();
            return Err(Failure::new(format!("{word} is on {}", place.host))
                .hint(format!("`flurm proxy {word} flurm shutdown` reaches it")));
        }
        face.connected(async |own| {
            let client = match &place {
                None => own,
                Some(place) => Client::connect(&Uri::from_path(&place.socket)).await?,
            };
            client.call(Dest::Leader, &Shutdown {}).await?;
            if !self.background {
                // No push ever comes to us; what comes is the end of the connection.
                while client.next_push().await.is_some() {}
                if self.verbose.is_some() {
                    crate::say!("{}: the instance has ended", face.prefix("shutdown"));
                }
            }
            Ok(0)
        })
    }
}
