//! Rules of `docs/style.md` that need no compiler: file heads, sizes, words we do not use, documents that must exist.
//!
//! Clippy holds what it can hold; this is the rest.

use std::collections::BTreeSet;
use std::path::Path;

use crate::layers;
use crate::source::{self, File};

/// A file longer than this has more than one reason to change.
const LINES_MAX: usize = 900;

/// Sleeping in a test is waiting for luck. The one place that polls the world for an event stands here.
const MAY_SLEEP: &[&str] = &["tests/src/"];

const DOCUMENTS: &[&str] = &[
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "docs/architecture.md",
    "docs/dependencies.md",
    "docs/style.md",
];

/// Names of sites (in pieces, or this file would name them): what is true at one site only lives in that site's folder.
const SITES: &[(&str, &str)] = &[("A", "RIS"), ("GR", "NET"), ("gr", "net"), ("Gr", "net")];
const SITE_FOLDER: &str = "aris/";

const TEXT_ENDINGS: &[&str] =
    &[".rs", ".md", ".toml", ".sh", ".sbatch", ".txt", ".yml", ".yaml", "Makefile", "run"];

/// Every finding, one line each.
pub fn check(root: &Path) -> Vec<String> {
    let files = source::files(root);
    let mut findings: Vec<String> = files.iter().flat_map(check_file).collect();
    let present: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let missing = DOCUMENTS.iter().filter(|document| !present.contains(**document));
    findings.extend(missing.map(|document| format!("{document}: missing")));
    findings.extend(check_dependencies(&files));
    findings
}

fn check_file(file: &File) -> Vec<String> {
    let File { path, text } = file;
    let mut findings = Vec::new();
    if TEXT_ENDINGS.iter().any(|ending| path.ends_with(ending)) {
        for (number, line) in (1..).zip(text.lines()) {
            if line.ends_with([' ', '\t']) {
                findings.push(format!("{path}:{number}: space at the end of the line"));
            }
            if !path.starts_with(SITE_FOLDER)
                && SITES.iter().any(|(a, b)| source::has_word(line, &format!("{a}{b}")))
            {
                findings.push(format!("{path}:{number}: names a site outside {SITE_FOLDER}"));
            }
            if line.contains(concat!("../", "shared")) {
                findings.push(format!("{path}:{number}: points outside the repository"));
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            findings.push(format!("{path}: no newline at the end"));
        }
    }
    if path.ends_with(".rs") {
        findings.extend(check_rust(path, text));
    }
    findings
}

fn check_rust(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    if !text.starts_with("//! ") {
        findings.push(format!("{path}: opens with no `//!` head"));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        findings.push(format!("{path}: {lines} lines (at most {LINES_MAX})"));
    }
    let code = source::code_only(text);
    for (number, line) in (1..).zip(code.lines()) {
        let words = [
            ("todo", "!"),
            ("unimplemented", "!"),
            ("dbg", "!"),
            ("#[allow", "("),
            ("#![allow", "("),
            ("#[ignore", ""),
        ];
        for word in words.map(|(start, end)| format!("{start}{end}")) {
            if line.contains(&word) {
                findings.push(format!("{path}:{number}: `{word}`"));
            }
        }
    }
    if !MAY_SLEEP.iter().any(|place| path.starts_with(place)) {
        let all_tests = path.contains("tests/") || path.ends_with("/tests.rs");
        let tests: Vec<(usize, &str)> = if all_tests {
            (1..).zip(code.lines()).collect()
        } else {
            source::lines_of_tests(&code).collect()
        };
        for (number, line) in tests {
            if line.contains("thread::sleep") {
                findings.push(format!("{path}:{number}: a test sleeps; wait for an event, with a deadline"));
            }
        }
    }
    findings
}

/// Every crate of others that a manifest names has its line, with a reason, in `docs/dependencies.md`.
fn check_dependencies(files: &[File]) -> Vec<String> {
    let list = files.iter().find(|file| file.path == "docs/dependencies.md");
    let list = list.map(|file| file.text.as_str()).unwrap_or_default();
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for file in files.iter().filter(|file| file.path.ends_with("Cargo.toml")) {
        let Ok(manifest) = file.text.parse::<toml::Table>() else {
            findings.push(format!("{}: not valid TOML", file.path));
            continue;
        };
        let workspace = manifest.get("workspace").and_then(toml::Value::as_table);
        let both = layers::dependencies(&manifest).into_iter();
        for (_, name) in both.chain(workspace.map(layers::dependencies).unwrap_or_default()) {
            if !name.starts_with("flurm") && seen.insert(name.clone()) && !reasoned(list, &name) {
                findings.push(format!("{}: {name} has no line in docs/dependencies.md", file.path));
            }
        }
    }
    let unused = named(list).filter(|name| !seen.contains(*name));
    findings.extend(unused.map(|name| format!("docs/dependencies.md: nothing depends on {name}")));
    findings
}

/// The crates that lines of the form "| `name` | reason |" name.
fn named(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name)
}

fn reasoned(list: &str, name: &str) -> bool {
    let start = format!("| `{name}` |");
    list.lines()
        .any(|line| line.strip_prefix(&start).is_some_and(|rest| rest.trim_matches([' ', '|']).len() > 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check_file(&File { path: path.to_owned(), text: text.to_owned() })
    }

    #[test]
    fn the_repository_is_tidy() {
        let findings = check(&source::workspace_root());
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }

    #[test]
    fn a_file_without_a_head_is_found() {
        assert_eq!(findings("a/src/b.rs", "fn f() {}\n"), ["a/src/b.rs: opens with no `//!` head"]);
    }

    #[test]
    fn words_we_do_not_use_are_found_in_code_only() {
        let text = "//! No `todo!` here.\nfn f() {\n    todo!()\n}\n";
        assert_eq!(findings("a/src/b.rs", text), ["a/src/b.rs:3: `todo!`"]);
        assert_eq!(findings("a/src/b.rs", "//! H.\n#[allow(dead_code)]\n").len(), 1);
    }

    #[test]
    fn a_sleeping_test_is_found_and_a_sleeping_program_is_not() {
        let text = "//! H.\nfn f() { std::thread::sleep(t) }\n#[cfg(test)]\nmod tests { fn g() { thread::sleep(t) } }\n";
        assert_eq!(
            findings("a/src/b.rs", text),
            ["a/src/b.rs:4: a test sleeps; wait for an event, with a deadline"]
        );
        assert_eq!(findings("tests/src/lib.rs", text), [] as [&str; 0]);
    }

    #[test]
    fn a_site_is_named_in_its_own_folder_only() {
        let text = format!("see {}{}\n", SITES[0].0, SITES[0].1);
        assert_eq!(findings("docs/x.md", &text), ["docs/x.md:1: names a site outside aris/"]);
        assert_eq!(findings("aris/x.md", &text), [] as [&str; 0]);
    }

    #[test]
    fn a_dependency_needs_a_reason() {
        let manifest = |list: &str| {
            let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
            check_dependencies(&[
                file("Cargo.toml", "[dependencies]\nserde = \"1\"\n"),
                file("docs/dependencies.md", list),
            ])
        };
        assert_eq!(manifest(""), ["Cargo.toml: serde has no line in docs/dependencies.md"]);
        assert_eq!(manifest("| `serde` | |\n"), ["Cargo.toml: serde has no line in docs/dependencies.md"]);
        assert_eq!(manifest("| `serde` | every message and file |\n"), [] as [&str; 0]);
        assert_eq!(
            manifest("| `serde` | every message and file |\n| `gone` | once used for things |\n"),
            ["docs/dependencies.md: nothing depends on gone"]
        );
    }
}
