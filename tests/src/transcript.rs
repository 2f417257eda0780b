//! Sessions as text: what is typed, and what is printed.
//!
//! A line `$ COMMAND` is a shell line; `? N` its exit code when not 0; other lines are what it prints (both streams, in
//! order), with `[..]` for anything within a line and a line `...` for any lines.

use std::path::Path;
use std::process::Command;

/// A shell line with what is to come of it.
#[derive(Debug, Default)]
pub struct Step {
    /// Where it is written, from 1.
    pub line: usize,
    pub command: String,
    pub expected: Vec<String>,
    pub code: i32,
}

impl Step {
    /// Did it end and print as expected?
    #[must_use]
    pub fn is_met(&self, code: i32, lines: &[String]) -> bool {
        let expected: Vec<String> = self.expected.iter().map(|line| line.trim_end().to_owned()).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        code == self.code && matches(&expected, &lines)
    }
}

/// The steps of a page, where they stand in fenced blocks, or of a file that has nothing else but comments (`# …`).
///
/// # Panics
/// When something stands before the first command.
#[must_use]
pub fn steps(text: &str, fenced: bool) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = !fenced;
    for (number, line) in text.lines().enumerate() {
        if !fenced && (line.is_empty() || line.starts_with("# ")) {
        } else if fenced && line.starts_with("```") {
            inside = line == "```console";
        } else if !inside {
        } else if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { line: number + 1, command: command.to_owned(), ..Step::default() });
        } else if let Some(code) = line.strip_prefix("? ") {
            steps.last_mut().expect("a command before its code").code = code.parse().expect("a number");
        } else {
            steps.last_mut().expect("a command before its output").expected.push(line.to_owned());
        }
    }
    steps
}

/// Whether `line` is `pattern` with each `[..]` standing for anything.
#[must_use]
pub fn line_matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let first = parts.next().expect("split gives one at least");
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

fn matches(expected: &[String], lines: &[&str]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((dots, after)) if dots == "..." => (0..=lines.len()).any(|n| matches(after, &lines[n..])),
        Some((pattern, after)) => lines
            .split_first()
            .is_some_and(|(line, rest)| line_matches(pattern, line) && matches(after, rest)),
    }
}

/// Runs a shell line in a folder, with `flurm` from `bin`; gives its exit code and what both streams had, line by line.
#[must_use]
pub fn run_line(line: &str, folder: &Path, bin: &Path, environment: &[(&str, &str)]) -> (i32, Vec<String>) {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("exec 2>&1; {line}")]).current_dir(folder);
    command.env_remove("FLURM_URI").env_remove("FLUX_URI");
    command.envs(environment.iter().copied()).env("LC_ALL", "C.UTF-8").env("NO_COLOR", "1");
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", bin.display()));
    let ran = crate::run(command, b"");
    (ran.code(), ran.stdout.lines().map(|line| line.trim_end().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_should() {
        assert!(line_matches("a[..]c", "abc") && line_matches("[..]", "") && line_matches("x", "x"));
        assert!(!line_matches("a[..]c", "abd") && !line_matches("x", "xy"));
        let e = |t: &str| t.lines().map(str::to_owned).collect::<Vec<_>>();
        assert!(matches(&e("a\n...\nb"), &["a", "1", "2", "b"]) && !matches(&e("a\n...\nb"), &["a", "1"]));
    }
}
