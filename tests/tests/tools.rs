//! The tools that need no instance, as they answer: each file of `transcripts/` is a session in an empty folder.
//!
//! `UPDATE_SCRIPTS=1 cargo test -p flurm-tests --test tools` writes what is printed into them; the difference is for
//! review.

use flurm_tests::transcript::{run_line, steps};
use flurm_tests::{Instance, Options, bin_folder, fake_nodes, flurm, run};
use serde_json::{Value, json};
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

/// Under first come, first served, on four cores: each job waits for the one before it.
#[test]
fn a_trace_of_real_jobs_is_simulated_as_they_ran() {
    let instance = Instance::with(Options {
        size: 1,
        config: Some(format!("{}\n[sched]\npolicy = \"fcfs\"\n", fake_nodes(1, 4))),
        ..Options::default()
    });
    let go = instance.dir.path().join("go");
    let waits = format!("until [ -e {} ]; do sleep 0.02; done", go.display());
    instance.ok(&["submit", "--quiet", "-n2", "sh", "-c", &waits]);
    for tasks in ["-n3", "-n4", "-n1"] {
        instance.ok(&["submit", "--quiet", tasks, "--env=SECRET=hush", "true"]);
    }
    std::fs::write(&go, "").expect("the folder is ours");
    instance.ok(&["queue", "drain"]);
    let file = instance.dir.path().join("trace.jsonl");
    let path = file.to_str().expect("UTF-8");
    instance.ok(&["trace", "export", path]);
    let text = std::fs::read_to_string(&file).expect("it was written");
    assert!(!text.contains("hush") && text.lines().count() == 4, "{text}");
    assert_eq!(format!("{}\n", instance.ok(&["trace", "export"])), text);
    let recorded: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let number = |job: &Value, key: &str| job[key].as_f64().unwrap_or_else(|| panic!("{key} in {job}"));
    let started = |job: &Value| number(job, "submit") + number(job, "wait");
    assert!(recorded.windows(2).all(|two| started(&two[0]) <= started(&two[1])), "{text}");

    let csv = instance.dir.path().join("runs.csv");
    let graph = ["--nodes=1", "--cores=4", "--policy=fcfs", "--json"];
    let mut command = flurm(&["simulate", path]);
    command.args(graph).arg("--csv").arg(&csv);
    let runs: Value = serde_json::from_str(&run(command, b"").ok()).expect("JSON");
    assert_eq!((&runs[0]["policy"], &runs[1]["policy"]), (&json!("recorded"), &json!("fcfs")));
    let figure = |run: usize, name: &str| runs[run]["report"][name].as_f64().expect("a figure");
    assert_eq!((figure(0, "jobs"), figure(1, "jobs")), (4.0, 4.0));
    // The same jobs in the same order, but without the time it takes to start one.
    assert!(figure(1, "makespan_s") <= figure(0, "makespan_s") && figure(1, "makespan_s") > 0.0, "{runs}");
    let runs = std::fs::read_to_string(csv).expect("it was written");
    let simulated: Vec<(u64, f64)> = runs
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect::<Vec<_>>())
        .map(|cells| (cells[0].parse().expect("an id"), cells[2].parse().expect("a time")))
        .collect();
    assert!(simulated.windows(2).all(|two| two[0].1 <= two[1].1), "{runs}");
    let ids = recorded.iter().map(|job| job["id"].as_u64().expect("an id"));
    assert!(ids.eq(simulated.iter().map(|(id, _)| *id)), "{runs}");
}
