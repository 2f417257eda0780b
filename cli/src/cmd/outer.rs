//! `flurm outer`: a command of the Slurm cluster around the instance, where the instance answers Slurm's commands itself.

use crate::face::Face;
use crate::failure::Failure;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Under this name the outer values of Slurm's variables go on inside.
pub const OUTER: &str = "FLURM_OUTER_";

/// Run a command with Slurm's variables as they are around the instance
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Args {
    pub fn run(self, _face: &Face) -> Result<u8, Failure> {
        let (program, arguments) = self.command.split_first().expect("the command is required");
        let mut command = Command::new(program);
        command.args(arguments);
        for (name, change) in changes(std::env::vars_os()) {
            match change {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let error = command.exec();
        let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
        Err(Failure::new(format!("cannot run {}: {error}", program.display())).code(code))
    }
}

/// Is this one of the variables that Slurm sets, rather than its users?
pub fn is_slurms(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b"SLURM_") || name.starts_with(b"SLURMD_")
}

/// What leads from inside to outside: none removes. What is inside goes first.
fn changes(
    vars: impl IntoIterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (OsString, Option<OsString>)> {
    let mut removed = Vec::new();
    let mut restored = Vec::new();
    for (name, value) in vars {
        if is_slurms(&name) {
            removed.push((name, None));
        } else if let Some(outer) = name.to_str().and_then(|name| name.strip_prefix(OUTER))
            && outer.starts_with("SLURM")
        {
            restored.push((OsString::from(outer), Some(value)));
        }
    }
    removed.into_iter().chain(restored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outer_values_come_back_and_inner_ones_go() {
        let vars = [
            ("HOME", "/h"),
            ("SLURM_CONF", "/inner"),
            ("SLURM_JOB_ID", "1"),
            ("FLURM_OUTER_SLURM_JOB_ID", "4711"),
            ("FLURM_OUTER_STEP", "x"),
            ("SQUEUE_FORMAT", "%i"),
        ];
        let vars = vars.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let text = |text: Option<OsString>| text.map(|text| text.into_string().unwrap());
        let changes: Vec<_> =
            changes(vars).map(|(name, value)| (text(Some(name)).unwrap(), text(value))).collect();
        let of = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        assert_eq!(
            changes,
            [of("SLURM_CONF", None), of("SLURM_JOB_ID", None), of("SLURM_JOB_ID", Some("4711"))]
        );
    }
}
