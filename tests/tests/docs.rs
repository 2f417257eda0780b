//! The sessions in the documentation are run, and print what the documentation says.
//!
//! In a fenced `console` block a line `$ COMMAND` is a shell line; `? N` its exit code when not 0; other lines are
//! what it prints (both streams, in order), with `[..]` for anything within a line and a line `...` for any lines.
//! `$ flurm start …` at the head of a page boots the instance that the rest of the page talks to.

use flurm_tests::{Instance, Options, flurm_bin, run};
use std::path::PathBuf;
use std::process::Command;

#[derive(Debug, Default)]
struct Step {
    line: usize,
    command: String,
    expected: Vec<String>,
    code: i32,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
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
fn line_matches(pattern: &str, line: &str) -> bool {
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

fn page(name: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut steps = steps(&text).into_iter();
    let first = steps.next().expect("a session");
    assert!(
        first.command.starts_with("flurm start --test-size=4"),
        "{name}:{}: begins with its instance",
        first.line
    );
    let instance = Instance::with(Options { size: 4, ..Options::default() });
    let bin = instance.dir.path().join("bin");
    std::fs::create_dir(&bin).expect("a bin directory");
    std::os::unix::fs::symlink(flurm_bin(), bin.join("flurm")).expect("a link");
    let mut wrong = Vec::new();
    for step in steps {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("exec 2>&1; {}", step.command)]).current_dir(instance.dir.path());
        command.env("FLURM_URI", &instance.uri).env("LC_ALL", "C.UTF-8").env("NO_COLOR", "1");
        let path = std::env::var("PATH").expect("PATH");
        command.env("PATH", format!("{}:{path}", bin.display()));
        let ran = run(command, b"");
        let lines: Vec<&str> = ran.stdout.lines().map(str::trim_end).collect();
        let expected: Vec<String> = step.expected.iter().map(|l| l.trim_end().to_owned()).collect();
        if ran.code() != step.code || !matches(&expected, &lines) {
            wrong.push(format!(
                "{name}:{}: $ {}\n  exit {}, printed:\n{}",
                step.line,
                step.command,
                ran.code(),
                ran.stdout
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_readme_tells_the_truth() {
    page("README.md");
}

#[test]
fn the_first_session_runs_as_written() {
    page("docs/first-session.md");
}

#[test]
fn the_commands_page_runs_as_written() {
    page("docs/cli.md");
}

#[test]
fn patterns_match_what_they_should() {
    assert!(line_matches("a[..]c", "abc") && line_matches("[..]", "") && line_matches("x", "x"));
    assert!(!line_matches("a[..]c", "abd") && !line_matches("x", "xy"));
    let e = |t: &str| t.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(matches(&e("a\n...\nb"), &["a", "1", "2", "b"]) && !matches(&e("a\n...\nb"), &["a", "1"]));
}
