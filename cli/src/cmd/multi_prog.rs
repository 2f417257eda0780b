//! `flurm multi-prog`: other programs for other tasks of one job.
//!
//! `flurm run -n4 flurm multi-prog FILE` starts it as every task; each finds its line in the file and becomes that
//! program. Lines are Slurm's and Flux's: ranks, program, arguments.

use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use flurm_types::Idset;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Run another program on each task of a job
///
/// A line of the file is `RANKS PROGRAM ARGUMENT…`: `0-3,8` or `*` for all that no other line names. `%t` in a word stands for the
/// task's rank, `%o` for its place among those of the line. Words in quotes may hold blanks, `#` begins a comment.
///
///   flurm run -n8 flurm multi-prog FILE
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Show what these ranks would run, and run nothing
    #[arg(short = 'n', long, value_name = "RANKS")]
    dry_run: Option<String>,
    #[arg(value_name = "FILE")]
    file: String,
}

/// A line of the file.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    /// None: all others.
    ranks: Option<Idset>,
    words: Vec<String>,
}

impl Args {
    pub fn run(self, _face: &Face) -> Result<u8, Failure> {
        let text = std::fs::read_to_string(&self.file)
            .map_err(|e| Failure::new(format!("cannot read {}: {e}", self.file)))?;
        let rules =
            read(&text).map_err(|(line, rule)| Failure::new(format!("{}:{line}: {rule}", self.file)))?;
        if let Some(ranks) = &self.dry_run {
            let ranks = Idset::parse_relaxed(ranks)
                .map_err(|e| Failure::usage(format!("--dry-run={ranks}: {e}")).hint("for example 0-3"))?;
            for rank in ranks.iter() {
                let words = command(&rules, rank).ok_or_else(|| self.nobody(rank))?;
                writeln!(out::stdout(), "{rank}: {}", words.join(" "))?;
            }
            return Ok(0);
        }
        let rank = std::env::var("FLURM_TASK_RANK").or_else(|_| std::env::var("FLUX_TASK_RANK"));
        let rank: u32 = rank.ok().and_then(|rank| rank.parse().ok()).ok_or_else(|| {
            Failure::new("this is not the task of a job").hint("flurm run -n8 flurm multi-prog FILE")
        })?;
        let words = command(&rules, rank).ok_or_else(|| self.nobody(rank))?;
        let error = Command::new(&words[0]).args(&words[1..]).exec();
        let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
        crate::say!("error: task {rank}: {}: {error}", words[0]);
        Ok(code)
    }

    fn nobody(&self, rank: u32) -> Failure {
        Failure::new(format!("{}: no line is for task {rank}", self.file))
            .hint("a line that begins with `*` is for all others")
    }
}

/// The program of a task, with its words filled in. A line that names the rank goes before `*`.
fn command(rules: &[Rule], rank: u32) -> Option<Vec<String>> {
    let named = |rule: &&Rule| rule.ranks.as_ref().is_some_and(|ranks| ranks.contains(rank));
    let rule = rules.iter().find(named).or_else(|| rules.iter().find(|rule| rule.ranks.is_none()))?;
    let place = rule.ranks.as_ref().map_or(rank as usize, |ranks| ranks.position(rank));
    let fill = |word: &String| word.replace("%t", &rank.to_string()).replace("%o", &place.to_string());
    Some(rule.words.iter().map(fill).collect())
}

/// The number of the line with what is wrong in it.
fn read(text: &str) -> Result<Vec<Rule>, (usize, String)> {
    let mut rules: Vec<Rule> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = split(line).map_err(|rule| (number, rule))?.into_iter();
        let Some(ranks) = words.next() else { continue };
        let ranks = match &*ranks {
            "*" => None,
            list => Some(Idset::parse_relaxed(list).map_err(|e| (number, e.to_string()))?),
        };
        let words: Vec<String> = words.collect();
        if words.is_empty() {
            return Err((number, "ranks without a program".to_owned()));
        }
        let again = rules.iter().find_map(|rule| match (&rule.ranks, &ranks) {
            (Some(before), Some(ranks)) => {
                before.intersection(ranks).first().map(|rank| format!("task {rank}"))
            }
            (None, None) => Some("`*`".to_owned()),
            (None, Some(_)) | (Some(_), None) => None,
        });
        if let Some(what) = again {
            return Err((number, format!("{what} has a line already")));
        }
        rules.push(Rule { ranks, words });
    }
    Ok(rules)
}

/// Words of a line, as a shell would take them apart, without expanding anything.
fn split(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (Some('\''), _) => word.get_or_insert_default().push(c),
            (_, '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    match quote {
        Some(q) => Err(format!("a {q} has no end")),
        None => {
            words.extend(word);
            Ok(words)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rank_finds_its_line() {
        let rules =
            read("# who\n0 echo master %t\n\n2-3,7 echo 'worker  %o' of%t\n* \"other prog\" \\# x # y\n")
                .unwrap();
        let line = |rank| command(&rules, rank).map(|words| words.join("|")).unwrap_or_default();
        assert_eq!(line(0), "echo|master|0");
        assert_eq!(line(7), "echo|worker  2|of7");
        assert_eq!(line(5), "other prog|#|x");
        let rules = read("1 a").unwrap();
        assert_eq!(command(&rules, 0), None);
    }

    #[test]
    fn lines_that_cannot_be_are_named() {
        for (text, line, rule) in [
            ("0 a\n0-1 b", 2, "task 0 has a line already"),
            ("* a\n* b", 2, "`*` has a line already"),
            ("0", 1, "ranks without a program"),
            ("0 'a", 1, "a ' has no end"),
            ("x a", 1, ""),
        ] {
            let (at, text) = read(text).unwrap_err();
            assert!(at == line && text.contains(rule), "{at}: {text}");
        }
    }
}
