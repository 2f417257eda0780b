//! What there is of Flux's command line, option by option: `compat.txt`, the one table behind `docs/flux-compat.md`,
//! the answers to what is refused, and the test that there is no third case.
//!
//! ```text
//! = COMMAND
//! -s, --long=VALUE | FILE of a test that fails when the option is taken and ignored | where the test sees its effect
//! -s, --long=VALUE | - why it is refused, and what to do instead
//! ```
//!
//! The rows of `COMMANDS` are commands themselves. That the tests fail is looked at by `cargo xtask options`.

/// The table.
const TABLE: &str = include_str!("compat.txt");

/// Rows below this are commands.
const COMMANDS: &str = "COMMANDS";

/// One option, or one command.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// `COMMANDS` for those that are commands.
    pub command: &'static str,
    /// As Flux's pages have it: `-n, --ntasks=N`, or the name of a command.
    pub word: &'static str,
    pub how: How,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    /// It works: this file of the repository is a test that fails when the option is ignored, and `reads` is the word
    /// for where it sees the effect.
    Tested { file: &'static str, reads: &'static str },
    /// The way out.
    Refused(&'static str),
}

impl Row {
    pub fn is_command(&self) -> bool {
        self.command == COMMANDS
    }

    /// `-n` and `--ntasks`.
    pub fn spellings(&self) -> impl Iterator<Item = &'static str> {
        let ends = |c: char| matches!(c, '=' | '[');
        self.word.split(", ").map(move |word| word.split(ends).next().expect("a split has a first part"))
    }
}

/// All rows, in the order of the table.
pub fn rows() -> impl Iterator<Item = Row> {
    let mut command = "";
    TABLE.lines().filter_map(move |line| {
        if let Some(name) = line.strip_prefix("= ") {
            command = name;
            return None;
        }
        let (word, how) = line.split_once(" | ")?;
        let how = match how.strip_prefix("- ") {
            Some(way) => How::Refused(way),
            None => {
                let (file, reads) = how.split_once(" | ").unwrap_or((how, ""));
                How::Tested { file, reads }
            }
        };
        Some(Row { command, word, how })
    })
}

/// What to do instead of an option of Flux that is refused.
pub fn refused_option(command: &str, spelling: &str) -> Option<&'static str> {
    rows().filter(|row| row.command == command && row.spellings().any(|s| s == spelling)).find_map(way_out)
}

/// What to do instead of a command of Flux that is refused.
pub fn refused_command(path: &str) -> Option<&'static str> {
    rows().filter(|row| row.is_command() && row.word == path).find_map(way_out)
}

fn way_out(row: Row) -> Option<&'static str> {
    match row.how {
        How::Refused(way) => Some(way),
        How::Tested { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;
    use std::path::{Path, PathBuf};

    /// Where an effect can be seen, and the words of the page for it.
    const READS: &[(&str, &str)] = &[
        ("jobspec", "the job's jobspec"),
        ("R", "the job's R"),
        ("eventlog", "an eventlog"),
        ("env", "a task's environment or limits"),
        ("output", "what is printed"),
        ("state", "what another command finds then"),
        ("exit", "the exit code, or when the command ends"),
        ("nothing", "nowhere: what it asks for is so without it"),
    ];

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn find<'a>(definition: &'a clap::Command, path: &str) -> Option<&'a clap::Command> {
        path.split(' ').try_fold(definition, |at, name| at.find_subcommand(name))
    }

    fn has(command: &clap::Command, spelling: &str) -> bool {
        command.get_arguments().any(|arg| match spelling.strip_prefix("--") {
            Some(long) => {
                arg.get_long() == Some(long) || arg.get_all_aliases().unwrap_or_default().contains(&long)
            }
            None => {
                let short = spelling.chars().nth(1);
                arg.get_short() == short
                    || short.is_some_and(|s| arg.get_all_short_aliases().unwrap_or_default().contains(&s))
            }
        })
    }

    /// Is the word there, and not as a part of a longer one?
    fn mentions(text: &str, word: &str) -> bool {
        let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-');
        text.match_indices(word).any(|(at, _)| {
            let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
            // A value may stand right behind a letter.
            let ends = word.starts_with("--") || !word.starts_with('-');
            !(inside(before) || ends && inside(after))
        })
    }

    #[test]
    fn every_option_of_flux_works_and_is_tested_or_is_refused_by_name() {
        let mut definition = crate::cmd::definition();
        definition.build();
        let mut wrong = Vec::new();
        for row in rows() {
            let (command, word) = (row.command, row.word);
            let there = if row.is_command() {
                find(&definition, word).is_some()
            } else {
                match (command, find(&definition, command)) {
                    ("flux", _) => row.spellings().all(|s| has(&definition, s)),
                    (_, Some(found)) => row.spellings().all(|s| has(found, s)),
                    (_, None) => false,
                }
            };
            match row.how {
                How::Tested { .. } if !there => wrong.push(format!("{command} {word}: is not there")),
                How::Tested { reads, .. } if !READS.iter().any(|(kind, _)| *kind == reads) => {
                    wrong.push(format!("{command} {word}: reads {reads:?}, which is none of {READS:?}"));
                }
                How::Tested { file, .. } => {
                    let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
                    let last = word.rsplit(' ').next().expect("a word");
                    let tested = match row.is_command() {
                        true => mentions(&text, last),
                        false => row.spellings().any(|spelling| mentions(&text, spelling)),
                    };
                    if !tested {
                        wrong.push(format!("{command} {word}: {file:?} has no test of it"));
                    }
                }
                How::Refused("") => {
                    wrong.push(format!("{command} {word}: is refused without a way out"));
                }
                How::Refused(_) => {}
            }
        }
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows().count(), wrong.join("\n"));
    }

    #[test]
    fn the_page_shows_the_table() {
        let all: Vec<Row> = rows().collect();
        let refused = all.iter().filter(|row| matches!(row.how, How::Refused(_))).count();
        let mut page = String::from(PAGE);
        for (word, place) in READS {
            writeln!(page, "| {word} | {place} |").expect("a String takes it");
        }
        writeln!(
            page,
            "\nOf {} options and commands, {} work and {refused} are refused.",
            all.len(),
            all.len() - refused,
        )
        .expect("a String takes it");
        let mut command = "";
        for row in &all {
            if row.command != command {
                command = row.command;
                let title = if row.is_command() { "Commands with no options of their own" } else { command };
                writeln!(page, "\n## {title}\n\n| | | |\n| --- | --- | --- |").expect("a String takes it");
            }
            let word = row.word.replace('|', "\\|");
            match row.how {
                How::Tested { file, reads } => {
                    let name = file.rsplit('/').next().expect("a name");
                    writeln!(page, "| `{word}` | works | {reads}: [{name}](../{file}) |")
                }
                How::Refused(way) => writeln!(page, "| `{word}` | refused | {} |", way.replace('|', "\\|")),
            }
            .expect("a String takes it");
        }
        let file = root().join("docs/flux-compat.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&file, &page).expect("docs/flux-compat.md is ours");
        } else {
            let old = std::fs::read_to_string(&file).expect("docs/flux-compat.md");
            assert!(old == page, "docs/flux-compat.md is behind: UPDATE_DOCS=1 cargo test -p flurm compat");
        }
    }

    const PAGE: &str = "# Flux's command line, option by option\n\n\
        What a Flux user types, and whether it works here under the name `flux` (a link to `flurm`). What works has a test that\n\
        sees its effect, in the file named, and the word before it says where; `cargo xtask options` runs each of these\n\
        tests with the option taken away on its way to `flurm`, and each must fail then. What does not is refused by name,\n\
        with what to do instead. The table is [compat.txt](../cli/src/compat.txt), from which the refusals come as well.\n\
        Options of `run` are those of `submit`, `bulksubmit`, `batch` and `alloc` where Flux has them there.\n\n\
        | word | the effect is seen in |\n| --- | --- |\n";
}
