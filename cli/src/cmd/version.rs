//! `flurm version`: versions of this program and of the broker it would speak to.

use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use flurm_wire::Dest;
use flurm_wire::state;
use std::io::Write;

/// Print versions
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let mut out = out::stdout();
        writeln!(out, "{:<10} {}", "commands:", env!("CARGO_PKG_VERSION"))?;
        // Outside an instance there is no broker to name, and that is fine.
        let Ok(uri) = face.uri() else { return Ok(0) };
        if let Ok(info) = face.connect().and_then(|client| Ok(client.call(Dest::Local, &state::Get {})?)) {
            writeln!(out, "{:<10} {}", "broker:", info.version)?;
        }
        let [name, _] = face.variables("URI");
        writeln!(out, "{:<10} {uri}", format!("{name}:"))?;
        Ok(0)
    }
}
