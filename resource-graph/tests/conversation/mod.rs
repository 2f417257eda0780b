//! Conversations that files keep: each line behind `> ` is a command, and the answer stands below it.
//!
//! With `UPDATE_SCRIPTS` set, the answers are written anew; the difference is for review.

use flurm_resource_graph::Found;
use flurm_types::R;
use std::{fmt::Write as _, fs, path::Path};

/// Plays every file of a folder below `tests/`, each with somebody new who answers.
pub fn play<F: FnMut(&[&str]) -> String>(folder: &str, somebody: impl Fn() -> F) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let written = fs::read_to_string(&file).unwrap();
        let spoken = replay(&written, somebody());
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            fs::write(&file, spoken).unwrap();
        } else {
            assert_eq!(written, spoken, "{}", file.display());
        }
    }
}

/// The script with the answers that are given now.
fn replay(script: &str, mut say: impl FnMut(&[&str]) -> String) -> String {
    let mut out = String::new();
    for line in script.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            let words: Vec<&str> = command.split_whitespace().collect();
            let answer = say(&words);
            writeln!(out, "{line}").unwrap();
            answer.lines().for_each(|line| writeln!(out, "{line}").unwrap());
        } else if line.is_empty() || line.starts_with('#') {
            writeln!(out, "{line}").unwrap();
        }
    }
    out
}

pub fn answer(found: Found) -> String {
    match found {
        Found::Now(r) => parts(&r),
        Found::NotNow => "not now".to_owned(),
        Found::Never(why) => format!("never: {why}"),
    }
}

/// A line for each node.
pub fn parts(r: &R) -> String {
    let mut out = String::new();
    for node in &r.nodes {
        write!(out, "{} core{}", node.rank, node.cores).unwrap();
        if !node.gpus.is_empty() {
            write!(out, " gpu{}", node.gpus).unwrap();
        }
        out.push('\n');
    }
    if out.is_empty() { "nothing\n".to_owned() } else { out }
}
