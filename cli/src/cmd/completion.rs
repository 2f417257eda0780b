//! `flurm completion`: a script for the shell that completes commands and options.

use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use clap::ValueEnum;
use clap_complete::Shell;

/// Print the completion script for a shell
///
/// For bash: `flurm completion bash > ~/.local/share/bash-completion/completions/flurm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    shell: Kind,
}

/// The shells we have been asked for.
#[derive(Copy, Clone, Debug, ValueEnum)]
enum Kind {
    Bash,
    Zsh,
    Fish,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let shell = match self.shell {
            Kind::Bash => Shell::Bash,
            Kind::Zsh => Shell::Zsh,
            Kind::Fish => Shell::Fish,
        };
        // The generator panics when a write fails, so it writes to memory.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut super::definition(), face.name, &mut script);
        std::io::Write::write_all(&mut out::stdout(), &script)?;
        Ok(0)
    }
}
