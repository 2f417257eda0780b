//! The tools that need no instance, as they answer: each file of `transcripts/` is a session in an empty folder.
//!
//! `UPDATE_SCRIPTS=1 cargo test -p flurm-tests --test tools` writes what is printed into them; the difference is for
//! review.

use flurm_tests::{bin_folder, flurm, run};
use flurm_tests::transcript::{run_line, steps};
use std::path::Path;

#[track_caller]
fn session(name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(name);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
    let folder = tempfile::tempdir().expect("a temporary directory");
    let bin = bin_folder(folder.path());
    let steps = steps(&text, false);
    assert!(!steps.is_empty(), "{name} has no command");
    let lines: Vec<&str> = text.lines().collect();
    let (mut fresh, mut wrong, mut from) = (String::new(), Vec::new(), 0);
    for step in &steps {
        let (code, mut printed) = run_line(&step.command, folder.path(), &bin, &[]);
        // Empty lines are for readers of the transcript.
        printed.retain(|line| !line.is_empty());
        // Comments before the command stay where they are.
        let comments =
            lines[from..step.line].iter().filter(|line| is_comment(line) || line.starts_with("$ "));
        comments.for_each(|line| fresh.push_str(&format!("{line}\n")));
        from = step.line;
        if step.is_met(code, &printed) {
            step.expected.iter().for_each(|line| fresh.push_str(&format!("{line}\n")));
        } else {
            printed.iter().for_each(|line| fresh.push_str(&format!("{line}\n")));
            wrong.push(format!(
                "{name}:{}: $ {}\n  exit {code}, printed:\n{}",
                step.line,
                step.command,
                printed.join("\n")
            ));
        }
        if code != 0 {
            fresh.push_str(&format!("? {code}\n"));
        }
    }
    if std::env::var_os("UPDATE_SCRIPTS").is_some() {
        std::fs::write(&file, fresh).expect("the transcript is ours");
    } else {
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

fn is_comment(line: &str) -> bool {
    line.is_empty() || line.starts_with("# ")
}

#[test]
fn graphs_are_made_and_turned_into_each_other() {
    session("jgf.txt");
}

#[test]
fn traces_are_simulated() {
    session("simulate.txt");
}

#[test]
fn the_matcher_answers_queries() {
    session("query.txt");
}

#[test]
fn scripts_of_queries_are_checked() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts/matches.query");
    let mut command = flurm(&["resource", "query", "--check"]);
    command.arg(script);
    if std::env::var_os("UPDATE_SCRIPTS").is_some() {
        command.arg("--update");
    }
    assert_eq!(run(command, b"").ok(), "");
}
