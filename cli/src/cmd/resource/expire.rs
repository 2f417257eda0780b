//! `flurm resource expire`: until when nodes are here.

use crate::face::Face;
use crate::failure::Failure;
use crate::when;
use flurm_types::Timestamp;
use flurm_wire::Dest;
use flurm_wire::resource::Expire;

/// Say when nodes end: no job is placed there that would last longer
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ranks or hosts
    targets: String,
    /// `+2h`, `2026-11-21 18:00`, or `never` for as long as the instance
    #[arg(allow_hyphen_values = true)]
    when: String,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let expiration = match &*self.when {
            "never" => Timestamp::ZERO,
            text => when::instant(text, when::now())?,
        };
        face.connect()?.call(Dest::Leader, &Expire { targets: self.targets, expiration })?;
        Ok(0)
    }
}
