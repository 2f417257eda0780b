//! Brokers die; what was acknowledged stays, the rest goes on.

use flurm_tests::{DEADLINE, Instance, Options, alive, eventually, fake_nodes, flurm, kill, run};
use std::time::Duration;

#[test]
fn a_lost_leaf_fails_its_job_and_nothing_else() {
    let instance = Instance::start(4);
    let doomed = instance.ok(&["submit", "--requires=rank:3", "sleep", "1000"]);
    let other = instance.ok(&["submit", "--requires=rank:2", "sleep", "1000"]);
    instance.ok(&["job", "wait-event", &doomed, "start"]);
    instance.ok(&["job", "wait-event", &other, "start"]);
    kill(instance.broker_pid(3), libc::SIGKILL);

    let log = eventually("the exception", DEADLINE, || {
        let log = instance.ok(&["job", "eventlog", &doomed]);
        log.contains("exception").then_some(log)
    });
    assert!(log.contains("node-failure") && log.contains("node3"), "{log}");
    assert_eq!(instance.ok(&["jobs", "-n", "-o", "{state}", &other]), "RUN");
    let info = instance.ok(&["resource", "list", "-n", "-s", "down", "-o", "{nodelist}"]);
    assert_eq!(info.trim(), "node3");
    // New jobs avoid the node: more of them than the rest has room for at once.
    for id in instance.ok(&["submit", "--wait", "--cc=1-16", "true"]).lines() {
        let r = instance.ok(&["job", "info", id, "R"]);
        assert!(!r.contains("node3"), "{r}");
    }
    let status = instance.json(&["overlay", "status", "--json"]);
    assert_eq!(status["status"], "degraded");
    instance.ok(&["cancel", &other]);
}

#[test]
fn a_broker_restarted_on_its_node_finds_its_shell() {
    let instance = Instance::with(Options {
        size: 2,
        args: vec!["-Sbroker.orphan-timeout=30s".into()],
        ..Options::default()
    });
    let id = instance.ok(&["submit", "--requires=rank:1", "sleep", "1000"]);
    instance.ok(&["job", "wait-event", &id, "start"]);
    let rundir = instance.rundir(1);
    kill(instance.broker_pid(1), libc::SIGKILL);
    eventually("rank 1 to be missed", DEADLINE, || {
        (instance.json(&["overlay", "status", "--json"])["status"] == "degraded").then_some(())
    });
    let mut again = flurm(&["broker", "--rejoin"])
        .arg(&rundir)
        .stdin(std::process::Stdio::null())
        .spawn()
        .expect("a broker starts");
    eventually("rank 1 to be back", DEADLINE, || {
        (instance.json(&["overlay", "status", "--json"])["status"] == "full").then_some(())
    });
    // The job was failed when its node was lost; its tasks were still there and have been ended by the shell.
    instance.ok(&["job", "wait-event", &id, "clean"]);
    let next = instance.ok(&["run", "--requires=rank:1", "echo", "back"]);
    assert_eq!(next, "back");
    instance.end();
    assert!(
        flurm_tests::wait_child(&mut again, DEADLINE).is_some(),
        "the restarted broker leaves with the rest"
    );
}

#[test]
fn a_killed_leader_loses_no_acknowledged_job() {
    let state = tempfile::tempdir().expect("statedir");
    let options = || Options {
        size: 2,
        args: vec![format!("-Sstatedir={}", state.path().display())],
        config: Some(fake_nodes(2, 2)),
        ..Options::default()
    };
    let mut instance = Instance::with(options());
    let done = instance.ok(&["submit", "--wait", "echo", "kept"]);
    let result = instance.ok(&["submit", "--flags=waitable", "true"]);
    instance.ok(&["job", "wait", &result]);
    let running = instance.ok(&["submit", "-n4", "sleep", "1000"]);
    instance.ok(&["job", "wait-event", &running, "start"]);
    let waiting: Vec<String> =
        instance.ok(&["submit", "--cc=1-50", "true"]).lines().map(str::to_owned).collect();
    instance.ok(&["kvs", "put", "a.b=42"]);
    kill(instance.broker_pid(0), libc::SIGKILL);
    instance.wait();

    let instance = Instance::with(options());
    assert_eq!(instance.ok(&["job", "attach", &done]), "kept");
    assert_eq!(instance.ok(&["kvs", "get", "a.b"]), "42");
    instance.run(&["job", "wait", &result]).code_is(2);
    for id in &waiting {
        instance.ok(&["job", "wait-event", id, "clean"]);
        assert_eq!(instance.ok(&["jobs", "-n", "-o", "{result}", id]), "COMPLETED");
    }
    // Its tasks died with the first instance: said, not forgotten.
    instance.ok(&["job", "wait-event", &running, "clean"]);
    assert_eq!(instance.ok(&["jobs", "-n", "-o", "{result}", &running]), "FAILED");
    let more = instance.ok(&["submit", "true"]);
    assert!(!waiting.contains(&more));
}

#[test]
fn nothing_remains_after_the_end_nor_after_a_killed_root() {
    for kill_root in [false, true] {
        let mut instance = Instance::start(4);
        let id = instance.ok(&["submit", "-N4", "-n4", "sleep", "77123404"]);
        instance.ok(&["job", "wait-event", &id, "start"]);
        let pids: Vec<i32> = (0..4).map(|r| instance.broker_pid(r)).collect();
        let rundir = instance.rundir(0).parent().expect("instance directory").to_owned();
        assert!(rundir.exists());
        if kill_root {
            kill(pids[0], libc::SIGKILL);
            instance.wait();
        } else {
            instance.ok(&["shutdown"]);
            instance.wait();
        }
        eventually("everything to be gone", Duration::from_secs(10), || {
            let tasks = flurm_tests::processes_with("77123404");
            let ours = flurm_tests::processes_with(rundir.to_str().expect("UTF-8"));
            (tasks.is_empty() && ours.is_empty() && !pids.iter().any(|p| alive(*p)) && !rundir.exists())
                .then_some(())
        });
    }
}

#[test]
fn a_killed_shell_fails_its_jobs_with_a_reason_and_comes_back() {
    let instance = Instance::start(2);
    let id = instance.ok(&["submit", "--requires=rank:1", "sleep", "77123405"]);
    instance.ok(&["job", "wait-event", &id, "start"]);
    let shell = flurm_tests::processes_with(instance.rundir(1).to_str().expect("UTF-8"))
        .into_iter()
        .find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.contains("\0shell\0"))
        })
        .expect("a shell of rank 1");
    kill(shell, libc::SIGKILL);
    instance.ok(&["job", "wait-event", &id, "clean"]);
    assert_eq!(instance.ok(&["jobs", "-n", "-o", "{result}", &id]), "FAILED");
    assert_eq!(flurm_tests::processes_with("77123405"), [] as [i32; 0], "its tasks went with it");
    assert_eq!(instance.ok(&["run", "--requires=rank:1", "echo", "again"]), "again");
}

/// The node is cut off, not gone: its broker is silent, its tasks go on.
#[test]
fn cores_of_a_node_that_is_cut_off_wait_until_it_has_cleaned_up() {
    let instance = Instance::with(Options {
        size: 2,
        // Its shell has to wait for its broker longer than this takes.
        args: vec!["-Sbroker.orphan-timeout=5m".into()],
        ..Options::default()
    });
    let file = instance.dir.path().join("there");
    let task = format!("trap 'rm {0}; exit' TERM; echo >{0}; sleep 77123407 & wait", file.display());
    let lost = instance.ok(&["submit", "-n4", "--requires=rank:1", "sh", "-c", &task]);
    eventually("its tasks", DEADLINE, || file.exists().then_some(()));
    let broker = instance.broker_pid(1);
    kill(broker, libc::SIGSTOP);
    let log = eventually("the exception", DEADLINE, || {
        let log = instance.ok(&["job", "eventlog", &lost]);
        log.contains("node-failure").then_some(log)
    });
    assert!(log.contains("node1"), "{log}");
    let test = format!("test ! -e {}", file.display());
    instance.ok(&["run", "-N1", "true"]);
    let next = instance.ok(&["submit", "-n1", "--requires=rank:1", "sh", "-c", &test]);
    assert!(file.exists(), "its tasks are still there");
    assert_eq!(
        instance.ok(&["jobs", "-n", "-o", "{state}", &next]),
        "SCHED",
        "so its cores are not given away"
    );
    kill(broker, libc::SIGCONT);
    assert_eq!(instance.run(&["job", "status", &next]).code(), 0, "the old tasks were gone before");
    assert_eq!(flurm_tests::processes_with("77123407"), [] as [i32; 0]);
}

#[test]
fn a_stopped_client_does_not_hold_the_instance() {
    let instance = Instance::start(1);
    // A client that asks for much and never reads.
    let mut deaf = instance
        .command(&["run", "sh", "-c", "yes | head -c 100000000"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("flurm runs");
    kill(deaf.id() as i32, libc::SIGSTOP);
    assert_eq!(run(instance.command(&["run", "echo", "fine"]), b"").ok(), "fine\n");
    deaf.kill().expect("our child");
    deaf.wait().expect("our child");
}
