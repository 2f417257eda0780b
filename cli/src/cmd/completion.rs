//! `flurm completion`: a script for the shell that completes commands, options, and what the instance has.
//!
//! The scripts are short: they hand over the line and take what `complete.rs` says.

use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use clap::ValueEnum;
use std::io::Write;

/// Print the completion script for a shell
///
/// Jobs, queues, hosts and formats are those of the moment. For bash: `flurm completion bash >
/// ~/.local/share/bash-completion/completions/flurm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    shell: Kind,
}

/// The shells we have been asked for.
#[derive(Copy, Clone, Debug, ValueEnum)]
pub enum Kind {
    Bash,
    Zsh,
    Fish,
}

impl Kind {
    /// For a command called NAME.
    fn script(self) -> &'static str {
        match self {
            Kind::Bash => BASH,
            Kind::Zsh => ZSH,
            Kind::Fish => FISH,
        }
    }
}

const BASH: &str = r#"_NAME() {
    local IFS=$'\n'
    COMPREPLY=($(NAME __complete bash "${COMP_LINE:0:COMP_POINT}" 2> /dev/null))
    case ${COMPREPLY[0]-} in
        :files) compopt -o default; COMPREPLY=() ;;
        *[=:]) compopt -o nospace ;;
    esac
}
complete -F _NAME NAME
"#;

const ZSH: &str = r#"#compdef NAME
_NAME() {
    local -a found
    found=("${(@f)$(NAME __complete zsh "${(j: :)words[1,CURRENT-1]} ${PREFIX}" 2> /dev/null)}")
    if [[ ${found[1]} == :files ]]; then
        compset -P '*='
        _files
    else
        compadd -Q -S '' -- ${(M)found:#*[=:]}
        compadd -Q -- ${found:#*[=:]}
    fi
}
if [[ ${funcstack[1]} == _NAME ]]; then _NAME "$@"; else compdef _NAME NAME; fi
"#;

const FISH: &str = r#"function __NAME_complete
    set -l found (NAME __complete fish (commandline -cp) 2> /dev/null)
    if test "$found[1]" = ":files"
        set -l stem (string match -r '^--[^=]*=' -- (commandline -ct))
        for path in (__fish_complete_path (string replace -r '^--[^=]*=' '' -- (commandline -ct)))
            echo $stem$path
        end
    else
        printf '%s\n' $found
    end
end
complete -c NAME -f -a '(__NAME_complete)'
"#;

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        // Who has the link has both names; who has not may have another `flux`.
        let others = (face.name != "flurm").then_some("flurm");
        for name in std::iter::once(face.name).chain(others) {
            write!(out::stdout(), "{}", self.shell.script().replace("NAME", name))?;
        }
        Ok(0)
    }
}
