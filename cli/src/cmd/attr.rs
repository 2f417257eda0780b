//! `flurm getattr`, `setattr`, `lsattr`: attributes of the broker we are connected to.

use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use flurm_client::attr;
use std::io::Write;

/// Print an attribute of the broker
#[derive(Debug, clap::Args)]
pub struct Get {
    /// Its name, as `flurm lsattr` lists them
    name: String,
}

impl Get {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let value = face
            .connect()?
            .run(async |client| attr::get(&client, &self.name).await)
            .map_err(|e| Failure::from(e).or_hint("`flurm lsattr` lists them"))?;
        writeln!(out::stdout(), "{value}")?;
        Ok(0)
    }
}

/// Set an attribute of the broker
#[derive(Debug, clap::Args)]
pub struct Set {
    /// Set it even if it should not change after the start
    #[arg(short, long)]
    force: bool,
    name: String,
    value: String,
}

impl Set {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        face.connect()?.run(async |client| attr::set(&client, &self.name, &self.value, self.force).await)?;
        Ok(0)
    }
}

/// List the attributes of the broker
#[derive(Debug, clap::Args)]
pub struct List {
    /// Print values as well
    #[arg(short, long)]
    verbose: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let attributes = face.connect()?.run(async |client| attr::list(&client).await)?;
        if self.json {
            out::json(&attributes)?;
            return Ok(0);
        }
        let mut out = out::stdout();
        for (name, value) in &attributes {
            if self.verbose {
                writeln!(out, "{name:<30} {value}")?;
            } else {
                writeln!(out, "{name}")?;
            }
        }
        Ok(0)
    }
}
