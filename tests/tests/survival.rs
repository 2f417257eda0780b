//! A broker is replaced, or a shell dies, under jobs of all kinds: batch jobs, jobs with a terminal, plain ones.

use flurm_tests::terminal::Terminal;
use flurm_tests::{
    DEADLINE, Instance, Options, alive, eventually, fake_nodes, flurm, kill, processes_with, wait_child,
};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Rank 1 is where all happens.
const THERE: &str = "--requires=rank:1";

fn instance() -> Instance {
    Instance::with(Options {
        size: 2,
        args: vec!["-Sbroker.orphan-timeout=1m".into(), "-Stbon.lost-timeout=1m".into()],
        config: Some(fake_nodes(2, 8)),
        ..Options::default()
    })
}

/// A pipe with a name: who reads from it waits until somebody has written.
fn gate(instance: &Instance, name: &str) -> PathBuf {
    let path = instance.dir.path().join(name);
    let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
    assert!(made.success());
    path
}

fn open(gate: &PathBuf) {
    std::fs::write(gate, "go\n").expect("somebody reads");
}

fn submit(instance: &Instance, script: &str) -> String {
    let id = instance.ok(&["submit", THERE, "sh", "-c", script]);
    instance.ok(&["job", "wait-event", &id, "start"]);
    id
}

/// Queues a script in an instance of its own on that rank, and waits until a job of its has said `inside`.
fn batch(instance: &Instance, script: &str) -> String {
    let path = |name: &str| instance.dir.path().join(name);
    std::fs::write(path("job.sh"), format!("#!/bin/sh\n{script}")).expect("a script");
    let id = instance.ok(&["batch", "-N1", "-n2", THERE, "--output=job.out", "job.sh"]);
    eventually("the job inside", DEADLINE, || {
        std::fs::read_to_string(path("job.out")).ok().filter(|said| said.contains("inside"))
    });
    id
}

fn at_terminal(instance: &Instance) -> Terminal {
    let mut command =
        instance.command(&["run", THERE, "-o", "pty.interactive", "bash", "--norc", "--noprofile"]);
    command.env("PS1", "ready> ").env_remove("PROMPT_COMMAND").env("INPUTRC", "/dev/null");
    let mut terminal = Terminal::start(command, 24, 80);
    terminal.expect("ready> ");
    terminal
}

fn shell_of(instance: &Instance, rank: u32) -> i32 {
    let rundir = instance.rundir(rank);
    let uri = format!("local://{}/local", rundir.display());
    let is_shell = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|b| *b == 0).collect();
        words.get(1) == Some(&&b"shell"[..]) && words.contains(&uri.as_bytes())
    };
    processes_with(&uri).into_iter().find(is_shell).expect("a shell")
}

#[test]
fn jobs_of_all_kinds_go_on_while_their_broker_is_replaced() {
    let instance = instance();
    let (early, late, within) =
        (gate(&instance, "early"), gate(&instance, "late"), gate(&instance, "within"));
    let plain = |gate: &PathBuf, code| {
        submit(&instance, &format!("echo before; cat {}; seq 1 5000; exit {code}", gate.display()))
    };
    let (first, second) = (plain(&early, 3), plain(&late, 4));
    let script = format!("flurm run sh -c 'echo inside; cat {}; echo after'\nexit 5\n", within.display());
    let batch = batch(&instance, &script);
    let mut terminal = at_terminal(&instance);
    terminal.type_in("kept=her''e\r");
    terminal.expect("ready> ");
    let pids = processes_with(early.to_str().expect("UTF-8"));
    assert!(!pids.is_empty());

    let rundir = instance.rundir(1);
    let broker = instance.broker_pid(1);
    kill(broker, libc::SIGKILL);
    eventually("its end", DEADLINE, || (!alive(broker)).then_some(()));
    // One ends while there is no broker.
    open(&early);
    eventually("the first one's end", DEADLINE, || (!pids.iter().any(|pid| alive(*pid))).then_some(()));
    let mut again =
        flurm(&["broker", "--rejoin"]).arg(&rundir).stdin(Stdio::null()).spawn().expect("a broker starts");

    let lines: String = (1..=5000).map(|n| format!("{n}\n")).collect();
    let ends = |id: &str, code| {
        let ran = instance.run(&["job", "attach", id]).code_is(code);
        assert!(ran.stdout == format!("before\ngo\n{lines}"), "{}", ran.stdout);
    };
    ends(&first, 3);
    assert_eq!(instance.ok(&["jobs", "-n", "-o", "{state}", &second]), "RUN");
    open(&late);
    ends(&second, 4);
    open(&within);
    instance.run(&["job", "status", &batch]).code_is(5);
    let said = std::fs::read_to_string(instance.dir.path().join("job.out")).expect("output");
    assert_eq!(said, "inside\ngo\nafter\n");

    terminal.type_in("echo still $kept\r");
    terminal.expect("still here");
    terminal.expect("ready> ");
    terminal.resize(40, 120);
    terminal.type_in("stty size; exit 7\r");
    terminal.expect("40 120");
    assert_eq!(terminal.wait().code(), Some(7));
    assert!(!terminal.is_raw());
    assert_eq!(instance.ok(&["run", THERE, "echo", "new"]), "new");
    assert_eq!(instance.json(&["overlay", "status", "--json"])["status"], "full");
    instance.end();
    assert!(wait_child(&mut again, DEADLINE).is_some(), "the new broker leaves with the rest");
}

/// What a handbook's daemon leaves: nothing says whose it is.
const DAEMON: &str = r#"
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3): os.close(fd)
        os.execve("/bin/sleep", ["sleep", "77123510"], {})
    os._exit(0)
os.wait()
time.sleep(1000)
"#;

#[test]
fn a_killed_shell_fails_jobs_of_all_kinds_with_a_reason_and_leaves_nothing_of_them() {
    let instance = instance();
    let plain = submit(&instance, "exec sleep 77123511");
    let daemon = instance.ok(&["submit", THERE, "python3", "-c", DAEMON]);
    let batch = batch(&instance, "flurm run sh -c 'echo inside; exec sleep 77123512'\n");
    let mut terminal = at_terminal(&instance);
    terminal.type_in("sleep 77123513 & echo st''arted\r");
    terminal.expect("started");
    let mine = instance.ok(&["job", "last"]);
    eventually("the daemon", DEADLINE, || (!processes_with("sleep\x0077123510").is_empty()).then_some(()));
    let shell = shell_of(&instance, 1);
    kill(shell, libc::SIGKILL);

    for id in [&plain, &daemon, &batch, &mine] {
        instance.ok(&["job", "wait-event", id, "clean"]);
        let log = instance.ok(&["job", "eventlog", id]);
        assert!(log.contains("shell on node1 died"), "{log}");
        assert_eq!(instance.ok(&["jobs", "-n", "-o", "{result}", id]), "FAILED");
    }
    assert_ne!(terminal.wait().code(), Some(0));
    assert!(!terminal.is_raw());
    // Its cores are used again only when all are gone that have used them.
    assert_eq!(
        instance.ok(&["run", "-n8", THERE, "--label-io", "sh", "-c", "echo again"]).lines().count(),
        8
    );
    for marker in ["77123510", "77123511", "77123512", "77123513"] {
        assert_eq!(processes_with(marker), [] as [i32; 0], "{marker}");
    }
    assert_ne!(shell_of(&instance, 1), shell);
}

#[test]
fn starts_and_stops_are_kept_with_the_log() {
    let state = tempfile::tempdir().unwrap();
    let begin = || {
        let args = vec![format!("-Sstatedir={}", state.path().join("log").display())];
        Instance::with(Options { size: 1, args, ..Options::default() })
    };
    let lines = |instance: &Instance| -> Vec<String> {
        instance.ok(&["startlog"]).lines().map(str::to_owned).collect()
    };
    let instance = begin();
    let said = lines(&instance);
    assert!(said.len() == 1 && said[0].contains(" - running "), "{said:?}");
    instance.end();

    let mut instance = begin();
    let said = lines(&instance);
    assert!(said.len() == 2 && !said[0].contains("crashed") && said[1].contains(" - running "), "{said:?}");
    assert_eq!(instance.run(&["startlog", "--check", "--quiet"]).code_is(0).stdout, "");
    kill(instance.broker_pid(0), libc::SIGKILL);
    instance.wait();

    let instance = begin();
    let said = lines(&instance);
    assert!(said.len() == 3 && said[1].contains(" - crashed") && !said[0].contains("crashed"), "{said:?}");
    instance.run(&["startlog", "--check", "--quiet"]).code_is(1);
    let with_version = instance.ok(&["startlog", "--show-version"]);
    assert_eq!(with_version.matches(" flurm ").count(), 3, "{with_version}");
    instance.end();

    // The log goes with an instance that has no state directory, and so nothing is kept in it.
    let instance = Instance::start(1);
    assert_eq!(lines(&instance).len(), 1);
    instance.run(&["kvs", "get", "admin.eventlog"]).code_is(1);
}
