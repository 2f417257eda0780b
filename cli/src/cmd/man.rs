//! `flurm man`: the manual pages, from the definition of the commands.

use crate::face::Face;
use crate::failure::Failure;
use std::path::PathBuf;

/// Write the manual pages into a directory
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where `man -M` would look for them: `…/man1`
    dir: PathBuf,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let cannot = |error: std::io::Error| {
            Failure::new(format!("cannot write manual pages to {}: {error}", self.dir.display()))
        };
        std::fs::create_dir_all(&self.dir).map_err(cannot)?;
        // Who has a link called `flux` has both names; who has not may have the pages of another `flux`.
        let others = (face.name != "flurm").then_some("flurm");
        for name in std::iter::once(face.name).chain(others) {
            clap_mangen::generate_to(super::definition().name(name), &self.dir).map_err(cannot)?;
        }
        Ok(0)
    }
}
