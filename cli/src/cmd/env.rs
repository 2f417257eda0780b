//! `flurm env`: the environment that leads to an instance.

use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use flurm_client::attr;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Print what leads to the instance, for `eval`, or run a command with it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let inside = face.uri().is_ok();
        let uri = if inside {
            Some(face.connect()?.run(async |client| attr::get(&client, "local-uri").await)?)
        } else {
            None
        };
        let names = ["FLURM_URI", "FLUX_URI"];
        let Some((program, arguments)) = self.command.split_first() else {
            let mut out = out::stdout();
            for (name, uri) in names.iter().flat_map(|name| uri.iter().map(move |uri| (name, uri))) {
                let quoted = shlex::try_quote(uri)
                    .map_err(|_| Failure::new(format!("{uri} cannot be written for a shell")))?;
                writeln!(out, "export {name}={quoted}")?;
            }
            return Ok(0);
        };
        let mut command = Command::new(program);
        command.args(arguments).envs(names.iter().flat_map(|name| uri.iter().map(move |uri| (name, uri))));
        let error = command.exec();
        let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
        Err(Failure::new(format!("cannot run {}: {error}", program.display())).code(code))
    }
}
