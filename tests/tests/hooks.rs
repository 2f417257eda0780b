//! Programs of the user's around jobs and tasks: `[shell] prolog`, `-o task-epilog`, and the like.

use flurm_tests::{DEADLINE, Instance, Options, eventually, fake_nodes, processes_with};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn script(dir: &Path, name: &str, body: &str) -> String {
    let file = dir.join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    file.display().to_string()
}

fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn hooks_run_once_on_each_node_around_the_tasks() {
    let instance = Instance::start(2);
    let dir = instance.dir.path();
    let log = dir.join("log");
    let note = |what: &str| format!("echo {what} $SLURMD_NODENAME $FLURM_HOOK >>{}", log.display());
    let before = script(
        dir,
        "before",
        &format!("{}; touch $FLURM_JOB_TMPDIR/made; echo said by a prolog", note("before")),
    );
    let after = script(dir, "after", &note("after $FLURM_JOB_EXIT_CODE"));
    let task = format!("test -e $FLURM_JOB_TMPDIR/made && {}; exit 3", note("task"));
    let options = [format!("prolog={before}"), format!("epilog={after}")];
    let args = ["run", "-N2", "-n4", "-o", &options[0], "-o", &options[1], "sh", "-c", &task];
    let ran = instance.run(&args).code_is(3);
    assert_eq!(ran.stdout, "said by a prolog\nsaid by a prolog\n");
    let said = std::fs::read_to_string(&log).unwrap();
    // No task of any node before the prologs of all.
    let kinds: Vec<&str> = said.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(kinds[..2], ["before", "before"], "{said}");
    assert_eq!(
        lines(&said),
        [
            "after 3 node0 epilog",
            "after 3 node1 epilog",
            "before node0 prolog",
            "before node1 prolog",
            "task node0",
            "task node0",
            "task node1",
            "task node1"
        ]
    );
}

#[test]
fn a_failing_prolog_fails_the_job_with_its_reason() {
    let instance = Instance::start(2);
    let dir = instance.dir.path();
    let after = script(dir, "after", &format!("echo after >>{}/log", dir.display()));
    let bad = script(dir, "bad", "test $SLURMD_NODENAME != node1");
    for (prolog, text) in [
        (bad.as_str(), format!("prolog {bad} on node1 ended with 1")),
        ("/no/such/hook", "prolog /no/such/hook on node".to_owned()),
    ] {
        let options = [format!("prolog={prolog}"), format!("epilog={after}")];
        let mark = dir.join("ran").display().to_string();
        let ran = instance.run(&["run", "-N2", "-n2", "-o", &options[0], "-o", &options[1], "touch", &mark]);
        assert_ne!(ran.code(), 0);
        assert!(ran.stderr.contains(&format!("type=prolog severity=0 {text}")), "{}", ran.stderr);
        assert!(!Path::new(&mark).exists(), "no task has run");
        let said = std::fs::read_to_string(dir.join("log")).unwrap();
        assert_eq!(said, "after\nafter\n", "it may have done half of its work");
        std::fs::remove_file(dir.join("log")).unwrap();
    }
    assert_eq!(instance.ok(&["run", "-N2", "-n2", "echo", "well"]), "well\nwell");
}

#[test]
fn a_failing_epilog_is_a_note() {
    let instance = Instance::start(1);
    let bad = script(instance.dir.path(), "bad", "kill -9 $$");
    instance.run(&["run", "-o", &format!("epilog={bad}"), "sh", "-c", "exit 5"]).code_is(5);
    instance.run(&["run", "-o", &format!("epilog={bad}"), "true"]).code_is(0);
    let log = instance.ok(&["job", "eventlog", &instance.ok(&["job", "last"])]);
    assert!(log.contains(&format!("epilog {bad} on node0 was killed by signal 9")), "{log}");
}

#[test]
fn an_epilog_may_take_its_time() {
    let instance = Instance::start(1);
    let after = script(instance.dir.path(), "after", "echo begun; sleep 1.3; echo over; echo over >&2");
    let ran = instance.run(&["run", "-o", &format!("epilog={after}"), "echo", "job"]).code_is(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("job\nbegun\nover\n", "over\n"));
}

#[test]
fn a_hook_that_takes_too_long_or_is_cancelled_leaves_nothing() {
    let instance = Instance::start(1);
    let mark = format!("hook-of-{}", std::process::id());
    // It ignores TERM, and leaves a process that has left its session.
    let body = format!(
        "export MARK={mark}; setsid sleep 1000 & trap '' TERM; touch $FLURM_JOB_TMPDIR/here; echo here; while :; do sleep 1000; done"
    );
    let slow = script(instance.dir.path(), "slow", &body);
    let prolog = format!("prolog={slow}");
    let ran = instance.run(&["run", "-o", &prolog, "-o", "hook-timeout=0.2s", "true"]).code_is(1);
    assert!(ran.stderr.contains("took longer than 0.2 s"), "{}", ran.stderr);
    assert_eq!(processes_with(&format!("MARK={mark}")), [] as [i32; 0]);

    let id = instance.ok(&["submit", "-o", &prolog, "true"]);
    eventually("the prolog", DEADLINE, || {
        (!processes_with(&format!("MARK={mark}")).is_empty()).then_some(())
    });
    instance.ok(&["cancel", &id]);
    instance.run(&["job", "status", &id]).code_is(143);
    assert_eq!(processes_with(&format!("MARK={mark}")), [] as [i32; 0]);
    assert_eq!(instance.ok(&["run", "echo", "next"]), "next");
}

#[test]
fn tasks_have_hooks_of_their_own() {
    let instance = Instance::start(1);
    let dir = instance.dir.path();
    let before = script(dir, "before", "echo before $FLURM_TASK_RANK");
    let after = script(dir, "after", "echo after $FLURM_TASK_RANK $FLURM_TASK_EXIT_CODE");
    let hooks = [format!("task-prolog={before}"), format!("task-epilog={after}")];
    let with =
        |words: &[&str]| instance.run(&[&["run", "-n2", "-o", &hooks[0], "-o", &hooks[1]], words].concat());
    let ran = with(&["sh", "-c", "echo task $FLURM_TASK_RANK; exit $FLURM_TASK_RANK"]).code_is(1);
    assert_eq!(lines(&ran.stdout), ["after 0 0", "after 1 1", "before 0", "before 1", "task 0", "task 1"]);
    let ran = with(&["sh", "-c", "kill -USR1 $$"]).code_is(128 + libc::SIGUSR1);
    assert_eq!(lines(&ran.stdout), ["after 0 138", "after 1 138", "before 0", "before 1"]);
    with(&["/no/such/program"]).code_is(127);

    // A signal that nobody but the task is to end by comes before there is one.
    let early = script(dir, "early", "kill -TERM $PPID");
    let early = format!("task-prolog={early}");
    let ran = instance.run(&["run", "-o", &early, "-o", &hooks[1], "echo", "never"]).code_is(143);
    assert_eq!(lines(&ran.stdout), ["after 0 143"]);

    let bad = script(dir, "bad", "test $FLURM_TASK_RANK = 0 || exit 7");
    let ran = instance.run(&["run", "-n2", "-o", &format!("task-prolog={bad}"), "sleep", "1000"]);
    let text = format!("type=prolog severity=0 task-prolog {bad} of task 1 on node0 ended with 7");
    assert!(ran.stderr.contains(&text) && ran.code() != 0, "{}", ran.stderr);
}

#[test]
fn hooks_of_the_configuration_are_for_jobs_that_have_none() {
    let dir = tempfile::tempdir().unwrap();
    let site = script(dir.path(), "site", "echo of the site");
    let own = script(dir.path(), "own", "echo of the job");
    let config = format!("{}[shell]\nprolog = \"{site}\"\nhook-timeout = \"1m\"\n", fake_nodes(1, 4));
    let instance = Instance::with(Options { size: 1, config: Some(config), ..Options::default() });
    assert_eq!(instance.ok(&["run", "true"]), "of the site");
    assert_eq!(instance.ok(&["run", "-o", &format!("prolog={own}"), "true"]), "of the job");
    assert_eq!(instance.ok(&["run", "-o", "prolog=none", "true"]), "");
    let sent =
        ["run", "--add-file=hook:0700=#!/bin/sh\necho sent along\n", "-o", "prolog={{tmpdir}}/hook", "true"];
    assert_eq!(instance.ok(&sent), "sent along");
}

#[test]
fn an_instance_that_ends_waits_for_the_epilogs_of_its_jobs_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let after =
        script(dir.path(), "after", &format!("sleep 0.7; echo $FLURM_JOB_EXIT_CODE >>{}", log.display()));
    let instance = Instance::start(2);
    let id = instance.ok(&["submit", "-N2", "-o", &format!("epilog={after}"), "sleep", "1000"]);
    instance.ok(&["job", "wait-event", &id, "start"]);
    instance.end();
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "143\n143\n");

    let args = vec!["-Sbroker.cleanup-timeout=1s".to_owned()];
    let instance = Instance::with(Options { size: 1, args, ..Options::default() });
    assert_eq!(instance.ok(&["getattr", "broker.cleanup-timeout"]), "1s");
    let mark = format!("slow-epilog-{}", std::process::id());
    let slow = script(dir.path(), "slow", &format!("MARK={mark} exec sleep 1000"));
    let id = instance.ok(&["submit", "-o", &format!("epilog={slow}"), "sleep", "1000"]);
    instance.ok(&["job", "wait-event", &id, "start"]);
    instance.end();
    assert_eq!(processes_with(&format!("MARK={mark}")), [] as [i32; 0]);
}
