//! Jobs run through every floor: exit codes, order of events, thousands at once, cancel, queue gates.

use flurm_tests::{Instance, Options, fake_nodes};

#[test]
fn exit_codes_are_the_jobs() {
    let instance = Instance::start(2);
    instance.run(&["run", "true"]).code_is(0);
    instance.run(&["run", "sh", "-c", "exit 3"]).code_is(3);
    instance.run(&["run", "-n4", "sh", "-c", "exit $FLUX_TASK_RANK"]).code_is(3);
    instance.run(&["run", "sh", "-c", "kill -9 $$"]).code_is(137);
    let missing = instance.run(&["run", "./no-such-program"]).code_is(127);
    assert!(
        missing.stderr.contains("no-such-program") && missing.stderr.to_lowercase().contains("no such file"),
        "{}",
        missing.stderr
    );
    std::fs::write(instance.dir.path().join("plain"), "not a program\n").expect("file");
    instance.run(&["run", "./plain"]).code_is(126);
}

#[test]
fn what_can_never_fit_is_refused_with_the_largest_that_would() {
    let instance = Instance::start(2);
    let ran = instance.run(&["run", "-n1", "-c64", "true"]);
    assert_ne!(ran.code(), 0);
    assert!(ran.stderr.contains("no node here has 64 cores (largest: 4)"), "{}", ran.stderr);
    let ran = instance.run(&["run", "-N3", "-n3", "true"]);
    assert_ne!(ran.code(), 0);
    assert!(ran.stderr.contains("error:"), "{}", ran.stderr);
}

#[test]
fn constraints_pick_nodes() {
    let instance = Instance::start(4);
    for _ in 0..3 {
        let hosts = instance.ok(&[
            "run",
            "--requires=hosts:node[2-3]",
            "-N2",
            "-n4",
            "sh",
            "-c",
            "echo $SLURMD_NODENAME $FLUX_TASK_RANK",
        ]);
        assert_eq!(hosts.lines().count(), 4, "{hosts}");
    }
    let id = instance.ok(&["submit", "--wait", "--requires=rank:3", "true"]);
    let r: serde_json::Value =
        serde_json::from_str(&instance.ok(&["job", "info", &id, "R"])).expect("R is JSON");
    assert_eq!(r["execution"]["R_lite"][0]["rank"], "3");
    assert_eq!(r["execution"]["nodelist"][0], "node3");
}

#[test]
fn the_eventlog_is_in_order_and_readable_afterwards() {
    let instance = Instance::start(1);
    let id = instance.ok(&["submit", "--wait", "echo", "hi"]);
    assert!(id.starts_with('ƒ') || id.starts_with('f'), "{id}");
    let names: Vec<String> = instance
        .ok(&["job", "eventlog", "-f", "json", &id])
        .lines()
        .map(|l| {
            serde_json::from_str::<serde_json::Value>(l).expect("json")["name"]
                .as_str()
                .expect("name")
                .to_owned()
        })
        .collect();
    assert_eq!(
        names,
        ["submit", "validate", "depend", "priority", "alloc", "start", "finish", "release", "free", "clean"]
    );
    assert_eq!(instance.ok(&["job", "attach", &id]), "hi");
    assert_eq!(instance.ok(&["job", "last"]), id);
    let dec = instance.ok(&["job", "id", &id]);
    assert!(dec.parse::<u64>().is_ok());
    assert_eq!(instance.ok(&["job", "id", "--to=f58", &dec]), id);
    for encoding in ["hex", "dothex", "kvs", "dec"] {
        let other = instance.ok(&["job", "id", &format!("--to={encoding}"), &id]);
        assert!(instance.ok(&["job", "eventlog", &other]).contains("clean"), "{other}");
    }
    // The key-value store shows the same log.
    assert!(
        instance
            .ok(&["kvs", "get", &format!("{}.eventlog", instance.ok(&["job", "id", "--to=kvs", &id]))])
            .contains("submit")
    );
}

#[test]
fn ten_thousand_jobs_all_complete_with_events_in_order() {
    let instance = Instance::with(Options { size: 4, config: Some(fake_nodes(4, 8)), ..Options::default() });
    let ids = instance.ok(&["submit", "--cc=1-10000", "--wait", "true"]);
    assert_eq!(ids.lines().count(), 10_000);
    let stats = instance.json(&["jobs", "-a", "--stats-only", "--json"]);
    assert_eq!(stats["completed"].as_u64().or(stats["stats"]["completed"].as_u64()), Some(10_000), "{stats}");
    let listed = instance.ok(&["jobs", "-a", "-n", "-c", "0", "-o", "{id} {state} {result}"]);
    assert_eq!(listed.lines().filter(|l| l.ends_with(" INACTIVE COMPLETED")).count(), 10_000);
    for id in ids.lines().step_by(997) {
        let log = instance.ok(&["job", "eventlog", "-f", "json", id]);
        let times: Vec<f64> = log
            .lines()
            .map(|l| {
                serde_json::from_str::<serde_json::Value>(l).expect("json")["timestamp"]
                    .as_f64()
                    .expect("time")
            })
            .collect();
        assert!(times.is_sorted(), "{log}");
        assert!(log.lines().next().expect("lines").contains("\"submit\"") && log.trim_end().ends_with('}'));
        assert!(log.lines().last().expect("lines").contains("\"clean\""));
    }
    let pid = instance.broker_pid(0);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the leader lives");
    let rss = status.lines().find(|l| l.starts_with("VmRSS")).expect("VmRSS");
    println!("leader after 10,000 jobs: {rss}");
    assert!(instance.end().success());
}

#[test]
fn a_waiting_job_says_why_and_a_cancelled_one_is_canceled() {
    let instance = Instance::start(1);
    let long = instance.ok(&["submit", "-n4", "sleep", "1000"]);
    let waiting = instance.ok(&["submit", "-n4", "true"]);
    instance.ok(&["job", "wait-event", &long, "start"]);
    let why = instance.ok(&["job", "why", &waiting]);
    assert!(!why.is_empty());
    instance.ok(&["cancel", &waiting]);
    instance.run(&["job", "attach", &waiting]).code_is(1);
    instance.ok(&["cancel", &long]);
    instance.ok(&["job", "wait-event", &long, "clean"]);
    assert_eq!(instance.ok(&["jobs", "-n", "-o", "{result}", &long]), "CANCELED");
    assert_eq!(instance.ok(&["jobs", "-n", "-o", "{result}", &waiting]), "CANCELED");
    let fine = instance.ok(&["submit", "--wait", "true"]);
    assert_eq!(instance.ok(&["jobs", "-n", "-o", "{status_abbrev}", &fine]), "CD");
}

#[test]
fn queue_gates_close_and_open() {
    let instance = Instance::start(1);
    assert!(instance.ok(&["queue", "status"]).contains("enabled"));
    instance.ok(&["queue", "disable", "-m", "maintenance"]);
    let refused = instance.run(&["submit", "true"]).code_is(1);
    assert!(refused.stderr.contains("maintenance"), "{}", refused.stderr);
    instance.ok(&["queue", "enable"]);
    instance.ok(&["queue", "stop"]);
    let id = instance.ok(&["submit", "true"]);
    assert_eq!(instance.ok(&["jobs", "-n", "-o", "{state}", &id]), "SCHED");
    instance.ok(&["queue", "start"]);
    instance.ok(&["job", "wait-event", &id, "clean"]);
    instance.ok(&["queue", "drain"]);
}

#[test]
fn a_time_limit_ends_the_job() {
    let instance = Instance::start(1);
    let ran = instance.run(&["run", "-t", "1s", "sleep", "1000"]);
    assert_ne!(ran.code(), 0);
    assert!(ran.stderr.contains("timeout"), "{}", ran.stderr);
    let id = instance.ok(&["job", "last"]);
    assert_eq!(instance.ok(&["jobs", "-n", "-o", "{result}", &id]), "TIMEOUT");
}

#[test]
fn dependencies_hold_jobs_back() {
    let instance = Instance::start(1);
    let first = instance.ok(&["submit", "--urgency=hold", "false"]);
    let after = instance.ok(&["submit", &format!("--dependency=afterany:{first}"), "true"]);
    let never = instance.ok(&["submit", &format!("--dependency=afterok:{first}"), "true"]);
    assert_eq!(instance.ok(&["jobs", "-n", "-o", "{state}", &after]), "DEPEND");
    instance.ok(&["job", "urgency", &first, "default"]);
    instance.ok(&["job", "wait-event", &after, "clean"]);
    instance.ok(&["job", "wait-event", &never, "clean"]);
    assert_eq!(instance.ok(&["jobs", "-n", "-o", "{result}", &after]), "COMPLETED");
    assert_eq!(instance.ok(&["jobs", "-n", "-o", "{result}", &never]), "FAILED");
}
