//! The end of a job is the end of all it started, however it tried to hide.

use flurm_tests::{DEADLINE, Instance, eventually, processes_with};

/// A daemon as old handbooks teach it: fork, setsid, fork again, cleared environment, closed descriptors.
const DAEMON: &str = r#"
import os, signal, sys, time
marker = sys.argv[1]
if "deaf" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3): os.close(fd)
        os.execve("/bin/sleep", ["sleep", marker], {})
    os._exit(0)
os.wait()
print("ready", flush=True)
time.sleep(1000)
"#;

fn daemon_dies(instance: &Instance, marker: &str, end: impl FnOnce(&str)) {
    let id = instance.ok(&["submit", "python3", "-c", DAEMON, marker]);
    eventually("the daemon", DEADLINE, || (processes_with(marker).len() >= 2).then_some(()));
    end(&id);
    instance.ok(&["job", "wait-event", &id, "clean"]);
    assert_eq!(processes_with(marker), [] as [i32; 0], "the job has left something behind");
}

#[test]
fn cancel_leaves_no_descendant_alive() {
    let instance = Instance::start(1);
    daemon_dies(&instance, "77123401", |id| {
        instance.ok(&["cancel", id]);
    });
}

#[test]
fn a_job_that_cancels_others_by_name_spares_itself_whatever_its_environment_lacks() {
    let instance = Instance::start(1);
    let other = instance.ok(&["submit", "--job-name=alike", "sleep", "1000"]);
    let bin = flurm_tests::flurm_bin();
    let script = format!("{} pkill --wait ^alike$ && echo spared", bin.display());
    let own = ["run", "--job-name=alike", "--env-remove=FLUX_JOB_ID", "sh", "-c", &script];
    assert_eq!(instance.ok(&own), "spared");
    instance.ok(&["job", "wait-event", &other, "clean"]);
}

#[test]
fn a_daemon_that_ignores_term_is_gone_five_seconds_after_the_cancellation() {
    let instance = Instance::start(1);
    let id = instance.ok(&["submit", "python3", "-c", DAEMON, "77123409", "deaf"]);
    // Its processes alone say nothing: `python3` may be a script that has not begun with it.
    eventually("its word", DEADLINE, || {
        instance.ok(&["job", "info", &id, "guest.output"]).contains("ready").then_some(())
    });
    eventually("the daemon", DEADLINE, || (processes_with("77123409").len() >= 2).then_some(()));
    instance.ok(&["cancel", &id]);
    instance.ok(&["job", "wait-event", &id, "clean"]);
    assert_eq!(processes_with("77123409"), [] as [i32; 0]);
    let log = instance.ok(&["job", "eventlog", "--format=json", &id]);
    let times = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let time = |name: &str| times.clone().find(|e| e["name"] == name).and_then(|e| e["timestamp"].as_f64());
    let took = time("clean").expect("clean") - time("exception").expect("cancelled");
    assert!((5.0..8.0).contains(&took), "{took}: {log}");
}

#[test]
fn a_task_that_ignores_term_is_killed_after_the_grace_time() {
    let instance = Instance::start(1);
    let id = instance.ok(&[
        "submit",
        "sh",
        "-c",
        "trap '' TERM; echo up; while :; do read x < /dev/zero; done",
        "77123402",
    ]);
    eventually("its output", DEADLINE, || {
        instance.ok(&["job", "info", &id, "guest.output"]).contains("up").then_some(())
    });
    instance.ok(&["cancel", &id]);
    instance.ok(&["job", "wait-event", &id, "clean"]);
    assert_eq!(processes_with("77123402"), [] as [i32; 0]);
}

#[test]
fn a_finished_job_takes_its_daemons_along() {
    let instance = Instance::start(1);
    let script = DAEMON.replace("time.sleep(1000)", "");
    let id = instance.ok(&["submit", "--wait", "python3", "-c", &script, "77123403"]);
    assert_eq!(instance.ok(&["jobs", "-n", "-o", "{result}", &id]), "COMPLETED");
    assert_eq!(processes_with("77123403"), [] as [i32; 0]);
}

#[test]
fn signals_are_forwarded_to_every_task() {
    let instance = Instance::start(2);
    let id = instance.ok(&[
        "submit",
        "-N2",
        "-n2",
        "sh",
        "-c",
        // A shell runs its trap once the command before has ended; only `wait` lets itself be interrupted.
        "trap 'echo got; exit 9' USR1; sleep 1000 & echo up; wait",
    ]);
    eventually("both tasks", DEADLINE, || {
        (instance.ok(&["job", "info", &id, "guest.output"]).matches("up").count() == 2).then_some(())
    });
    instance.ok(&["job", "kill", "-s", "USR1", &id]);
    let ran = instance.run(&["job", "attach", &id]).code_is(9);
    assert_eq!(ran.stdout.matches("got").count(), 2);
}

#[test]
fn what_a_task_starts_when_it_is_told_to_end_is_spared_whatever_another_job_has_left() {
    let instance = Instance::start(1);
    let said = |id: &str, word: &str| {
        eventually(word, DEADLINE, || {
            instance.ok(&["job", "info", id, "guest.output"]).contains(word).then_some(())
        });
    };
    // Its shell ends by SIGTERM; what is left of it is deaf, and looked for as long as it lives.
    let deaf = "(trap '' TERM; exec setsid sleep 77123410) & echo up; sleep 1000 & wait";
    let other = instance.ok(&["submit", "-o", "kill-timeout=600", "sh", "-c", deaf]);
    said(&other, "up");
    eventually("the deaf one", DEADLINE, || (!processes_with("sleep\x0077123410").is_empty()).then_some(()));
    let script = "trap 'sleep 0.5; echo slept $?; exit 3' TERM; echo up; sleep 1000 & wait";
    let id = instance.ok(&["submit", "sh", "-c", script]);
    said(&id, "up");
    instance.ok(&["cancel", &other]);
    instance.ok(&["cancel", &id]);
    instance.ok(&["job", "wait-event", &id, "clean"]);
    said(&id, "slept 0");
    let left = processes_with("sleep\x0077123410");
    assert!(!left.is_empty(), "the other job was looked for all the while");
    left.into_iter().for_each(|pid| flurm_tests::kill(pid, 9));
    instance.ok(&["job", "wait-event", &other, "clean"]);
}
