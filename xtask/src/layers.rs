//! Holds the floors of `docs/architecture.md`: an arrow points to a strictly lower floor, and below floor 5 there is
//! no I/O, no clock, no environment and no randomness.
//!
//! The table here and the one in the document are the same table. A crate that is in neither does not build CI.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::source;

/// Floor of each crate, by package name, with its folder.
const FLOORS: &[(&str, u8, &str)] = &[
    ("flurm-types", 0, "types"),
    ("flurm-jobspec", 1, "jobspec"),
    ("flurm-wire", 1, "wire"),
    ("flurm-pmi", 1, "pmi"),
    ("flurm-slurm-protocol", 1, "slurm-protocol"),
    ("flurm-resource-graph", 2, "resource-graph"),
    ("flurm-job-manager", 3, "job-manager"),
    ("flurm-sched", 3, "sched"),
    ("flurm-core", 4, "broker/core"),
    ("flurm-broker", 5, "broker"),
    ("flurm-libpmi", 5, "pmi/lib"),
    ("flurm-client", 5, "client"),
    ("flurm-slurm-auth", 5, "slurm-auth"),
    ("flurm-shell", 6, "shell"),
    ("flurm-slurm-service", 6, "slurm-service"),
    ("flurm-pybindings", 6, "pybindings"),
    ("flurm", 7, "cli"),
];

/// Beside the house: they may use anything, and nothing may use them.
const BESIDE: &[(&str, &str)] =
    &[("flurm-sim", "sim"), ("flurm-tests", "tests"), ("xtask", "xtask"), ("flurm-fuzz", "fuzz")];

/// The first floor with hands.
const FIRST_IO_FLOOR: u8 = 5;

/// Crates of others that floors 0 to 4 may use: each turns values into values.
const PURE: &[&str] = &[
    "base64",
    "bytes",
    "fixedbitset",
    "jsonschema",
    "k12",
    "lz4_flex",
    "mnemonic",
    "petgraph",
    "serde",
    "serde-saphyr",
    "serde_json",
    "shlex",
    "smallvec",
    "thiserror",
    "toml",
    // Spans only; whoever listens is above.
    "tracing",
];

/// Parts of the standard library that reach outside, or whose order is random.
const OUTSIDE: &[&str] =
    &["fs", "net", "process", "env", "thread", "os", "io::stdin", "io::stdout", "io::stderr"];
const CLOCKS: &[&str] = &["Instant", "SystemTime", "UNIX_EPOCH"];
const PRINTS: &[&str] = &["println", "eprintln", "print", "eprint"];
const HASHED: &[&str] = &["HashMap", "HashSet", "RandomState", "DefaultHasher"];

/// Every finding, one line each.
pub fn check(root: &Path) -> Vec<String> {
    let mut findings = Vec::new();
    let manifests = match members(root) {
        Ok(manifests) => manifests,
        Err(message) => return vec![message],
    };
    for (folder, manifest) in &manifests {
        findings.extend(check_manifest(folder, manifest));
    }
    for file in source::files(root) {
        if let Some(floor) = floor_of_source(&file.path)
            && floor < FIRST_IO_FLOOR
        {
            findings.extend(check_source(&file.path, &file.text, floor));
        }
    }
    findings
}

/// The members' folders and parsed manifests.
fn members(root: &Path) -> Result<BTreeMap<String, toml::Table>, String> {
    let read = |path: &Path| -> Result<toml::Table, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        text.parse().map_err(|error| format!("{}: {error}", path.display()))
    };
    let workspace = read(&root.join("Cargo.toml"))?;
    let list =
        workspace.get("workspace").and_then(|table| table.get("members")).and_then(toml::Value::as_array);
    let list = list.ok_or("Cargo.toml: no workspace.members")?;
    let folders = list.iter().filter_map(toml::Value::as_str);
    folders.map(|folder| Ok((folder.to_owned(), read(&root.join(folder).join("Cargo.toml"))?))).collect()
}

/// All tables of dependencies in a manifest, `target.*` ones included: (table's name, dependency).
pub fn dependencies(manifest: &toml::Table) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, value) in manifest {
        let Some(table) = value.as_table() else { continue };
        if name.ends_with("dependencies") {
            found.extend(table.keys().map(|dependency| (name.clone(), dependency.clone())));
        } else if name == "target" {
            found.extend(table.values().filter_map(toml::Value::as_table).flat_map(dependencies));
        }
    }
    found
}

fn check_manifest(folder: &str, manifest: &toml::Table) -> Vec<String> {
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    let Some(name) = name else { return vec![format!("{folder}/Cargo.toml: no package name")] };
    if BESIDE.contains(&(name, folder)) {
        return Vec::new();
    }
    let Some(&(_, floor, _)) = FLOORS.iter().find(|(known, _, place)| *known == name && *place == folder)
    else {
        return vec![format!(
            "{folder}/Cargo.toml: {name} stands on no floor; give it one in xtask and docs"
        )];
    };
    let mut findings = Vec::new();
    for (table, dependency) in dependencies(manifest) {
        let wrong = match FLOORS.iter().find(|(known, _, _)| *known == dependency) {
            // A test stands at a door, and may come in by it: the broker's as a client.
            Some((_, below, _)) if *below == floor && table == "dev-dependencies" => None,
            Some((_, below, _)) if *below >= floor => {
                Some(format!("floor {floor} may not use floor {below}"))
            }
            Some(_) => None,
            None if BESIDE.iter().any(|(known, _)| *known == dependency) => {
                Some("it stands beside the house".to_owned())
            }
            None if floor < FIRST_IO_FLOOR
                && table != "dev-dependencies"
                && !PURE.contains(&&*dependency) =>
            {
                Some(format!("not on the list of crates without I/O that floor {floor} may use"))
            }
            None => None,
        };
        findings.extend(wrong.map(|why| format!("{folder}/Cargo.toml: {table}: {dependency}: {why}")));
    }
    findings
}

/// The floor of a file of a crate's own sources, tests left out.
fn floor_of_source(path: &str) -> Option<u8> {
    if !path.ends_with(".rs") || path.ends_with("/tests.rs") || path.contains("/tests/") {
        return None;
    }
    let inside = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with("/src/"));
    FLOORS.iter().find(|(_, _, folder)| inside(folder)).map(|(_, floor, _)| *floor)
}

fn check_source(path: &str, text: &str, floor: u8) -> Vec<String> {
    let code = source::code_only(text);
    let mut findings = Vec::new();
    for (number, line) in source::lines_before_tests(&code) {
        for word in offences(line) {
            findings.push(format!("{path}:{number}: floor {floor} names {word}"));
        }
    }
    findings
}

fn offences(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    // `use std::{env, fs};` names them without the path.
    let group = line.trim_start().strip_prefix("use std::{").unwrap_or_default();
    for part in OUTSIDE {
        if source::has_word(line, &format!("std::{part}")) || source::has_word(group, part) {
            found.push(format!("std::{part}"));
        }
    }
    found.extend(CLOCKS.iter().filter(|word| source::has_word(line, word)).map(|word| (*word).to_owned()));
    found.extend(HASHED.iter().filter(|word| source::has_word(line, word)).map(|word| (*word).to_owned()));
    found.extend(PRINTS.iter().map(|word| format!("{word}!")).filter(|word| {
        line.match_indices(word.as_str())
            .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
    }));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(folder: &str, text: &str) -> String {
        check_manifest(folder, &text.parse().expect("valid toml")).join("\n")
    }

    #[test]
    fn arrows_point_down_and_nothing_below_floor_5_touches_the_world() {
        let findings = check(&source::workspace_root());
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }

    #[test]
    fn an_arrow_up_is_found() {
        let text = "[package]\nname = \"flurm-wire\"\n[dependencies]\nflurm-types.workspace = true\nflurm-jobspec.workspace = true";
        assert_eq!(
            manifest("wire", text),
            "wire/Cargo.toml: dependencies: flurm-jobspec: floor 1 may not use floor 1"
        );
    }

    #[test]
    fn an_io_crate_below_floor_5_is_found_but_not_above() {
        let core = "[package]\nname = \"flurm-core\"\n[target.'cfg(unix)'.dependencies]\ntokio = \"1\"\n[dev-dependencies]\ntempfile = \"3\"";
        assert!(manifest("broker/core", core).contains("tokio: not on the list"));
        assert!(!manifest("broker/core", core).contains("tempfile"));
        assert_eq!(
            manifest("client", "[package]\nname = \"flurm-client\"\n[dependencies]\ntokio = \"1\""),
            ""
        );
    }

    #[test]
    fn nobody_uses_what_stands_beside_the_house() {
        let text = "[package]\nname = \"flurm\"\n[dev-dependencies]\nflurm-sim.workspace = true";
        assert!(manifest("cli", text).contains("beside the house"));
    }

    #[test]
    fn an_unknown_crate_has_no_floor() {
        assert!(manifest("utils", "[package]\nname = \"flurm-utils\"").contains("stands on no floor"));
    }

    #[test]
    fn the_world_is_found_in_code_and_not_in_words_about_it() {
        let text = "//! std::fs is not for us.\nuse std::{collections::BTreeMap, env};\nlet t = Instant::now();\nwriteln!(out);\n#[cfg(test)]\nuse std::fs;\n";
        let findings = check_source("sched/src/lib.rs", text, 3);
        assert_eq!(
            findings,
            ["sched/src/lib.rs:2: floor 3 names std::env", "sched/src/lib.rs:3: floor 3 names Instant"]
        );
    }
}
