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
    pub fn run(self, _face: &Face) -> Result<u8, Failure> {
        let cannot = |error: std::io::Error| {
            Failure::new(format!("cannot write manual pages to {}: {error}", self.dir.display()))
        };
        std::fs::create_dir_all(&self.dir).map_err(cannot)?;
        clap_mangen::generate_to(super::definition(), &self.dir).map_err(cannot)?;
        Ok(0)
    }
}
