//! What the table of Flux's options calls refused, the real command line refuses: by name, with the way out.

use flurm_tests::{flurm, run};
use std::path::Path;

#[test]
fn what_is_refused_says_so_and_what_to_do() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/src/compat.txt");
    let table = std::fs::read_to_string(file).expect("the table");
    let (mut command, mut wrong, mut asked) = ("", Vec::new(), 0);
    for line in table.lines() {
        if let Some(name) = line.strip_prefix("= ") {
            command = name;
            continue;
        }
        let Some((word, way)) = line.rsplit_once(" | - ") else { continue };
        let path = if command == "COMMANDS" || command == "flux" { "" } else { command };
        for spelling in word.split(", ").map(|s| s.split(['=', '[']).next().expect("a first part")) {
            let words: Vec<&str> =
                path.split(' ').chain(spelling.split(' ')).filter(|w| !w.is_empty()).collect();
            let ran = run(flurm(&words), b"#!/bin/sh\n");
            let name = spelling.rsplit(' ').next().expect("a word");
            let said = ran.stderr.contains(name) && ran.stderr.contains(&format!("hint: {way}"));
            if ran.code() != 2 || !said {
                wrong.push(format!("flurm {}: exit {}: {}", words.join(" "), ran.code(), ran.stderr));
            }
            asked += 1;
        }
    }
    assert!(asked > 20 && wrong.is_empty(), "{}", wrong.join("\n"));
}
