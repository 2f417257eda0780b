//! Commands that are programs of their own: `flurm NAME` is `flurm-NAME` or `flux-NAME` on an exec path or on `PATH`.

use crate::face::Face;
use crate::failure::Failure;
use flurm_client::attr;
use flurm_client::uri::Level;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Where programs are looked for, in order; the names are Flux's and ours.
const PATHS: &[&str] = &["FLURM_EXEC_PATH", "FLUX_EXEC_PATH", "PATH"];

/// The folders of these.
pub fn folders() -> Vec<PathBuf> {
    let set: Vec<OsString> = PATHS.iter().filter_map(std::env::var_os).collect();
    set.iter().flat_map(|path| std::env::split_paths(path)).collect()
}

/// A program that takes the place of this one.
#[derive(Debug)]
pub struct External {
    level: Level,
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl External {
    /// The program that the first word which is no option names.
    pub fn find(words: &[OsString]) -> Option<External> {
        let (mut parent, mut root) = (0, false);
        let mut rest = words.iter().skip(1);
        let name = loop {
            let word = rest.next()?;
            match word.to_str()? {
                "-p" | "--parent" => parent += 1,
                "-r" | "--root" => root = true,
                name if !name.starts_with('-') && !name.is_empty() && !name.contains('/') => break name,
                _ => return None,
            }
        };
        let level = match (root, parent) {
            (true, _) => Level::Root,
            (false, 0) => Level::Own,
            (false, n) => Level::Parent(n),
        };
        let paths: Vec<OsString> = PATHS.iter().filter_map(std::env::var_os).collect();
        let program = program(name, &paths)?;
        Some(External { level, program, arguments: rest.cloned().collect() })
    }

    /// Becomes the program; returns only if that cannot be.
    pub fn run(self, name: &'static str) -> Result<u8, Failure> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        if self.level != Level::Own {
            let face = Face { name, level: self.level };
            let uri = face.connect()?.run(async |client| attr::get(&client, "local-uri").await)?;
            command.env("FLURM_URI", &uri).env("FLUX_URI", &uri);
        }
        let error = command.exec();
        Err(Failure::new(format!("cannot run {}: {error}", self.program.display())))
    }
}

/// Ours before Flux's in each directory.
fn program(name: &str, paths: &[OsString]) -> Option<PathBuf> {
    let names = [format!("flurm-{name}"), format!("flux-{name}")];
    let dirs = paths.iter().flat_map(|path| std::env::split_paths(OsStr::new(path)));
    let mut files = dirs.flat_map(|dir| names.iter().map(move |name| dir.join(name)));
    files.find(|file| file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_on_the_path_are_commands() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, mode: u32| {
            let file = dir.path().join(name);
            std::fs::write(&file, "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        make("flux-one", 0o755);
        make("flurm-two", 0o755);
        make("flux-two", 0o755);
        make("flux-text", 0o644);
        let paths = [dir.path().as_os_str().to_owned()];
        let found = |name: &str| {
            program(name, &paths).map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        };
        assert_eq!(found("one").as_deref(), Some("flux-one"));
        assert_eq!(found("two").as_deref(), Some("flurm-two"));
        assert_eq!(found("text"), None);
        assert_eq!(found("none"), None);
    }
}
