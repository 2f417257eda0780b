//! Named queues, from the configuration to what users see: limits, defaults, gates, listings, reasons.

use flurm_tests::{Instance, Options, fake_nodes};

const QUEUES: &str = r#"
[sched]
policy = "easy"

[policy.jobspec.defaults.system]
queue = "batch"

[policy.limits]
duration = "2h"

[queues.batch]
hosts = "node[0-2]"
policy.jobspec.defaults.system.duration = "10m"
policy.limits.job-size.max.nnodes = 2

[queues.debug]
hosts = "node3"
policy.limits.duration = "5m"
placement = "spread"
"#;

fn start() -> Instance {
    let config = format!("{}{QUEUES}", fake_nodes(4, 4));
    Instance::with(Options { size: 4, config: Some(config), ..Options::default() })
}

#[test]
fn a_job_runs_where_its_queue_is_and_shows_what_it_was_given() {
    let instance = start();
    for (args, queue, ranks) in [(&["-t1"][..], "batch", "012"), (&["-q", "debug", "-t1"], "debug", "3")] {
        let command = [&["submit", "--wait", "--cc=1-6"][..], args, &["true"]].concat();
        for id in instance.ok(&command).lines() {
            let ran = instance.ok(&["jobs", "-no", "{queue} {ranks}", id]);
            let (on, rank) = ran.split_once(' ').expect("two fields");
            assert!(on == queue && ranks.contains(rank), "{ran}");
        }
    }
    let id = instance.ok(&["submit", "true"]);
    let jobspec = instance.json(&["job", "info", &id, "jobspec"]);
    let system = &jobspec["attributes"]["system"];
    assert_eq!((&system["queue"], &system["duration"]), (&"batch".into(), &600.0.into()));
    assert_eq!(system["constraints"]["properties"][0], "+batch");
    let id = instance.ok(&["submit", "-qdebug", "-t1", "true"]);
    let jobspec = instance.json(&["job", "info", &id, "jobspec"]);
    assert_eq!(jobspec["attributes"]["system"]["placement"], "spread");
    assert_eq!(instance.ok(&["jobs", "-a", "-n", "-qdebug", "-o{queue}"]).lines().count(), 7);
    assert!(instance.run(&["jobs", "-qnone"]).code_is(1).stderr.contains("queue none not found"));
}

#[test]
fn a_job_that_waits_moves_to_another_queue_and_to_other_nodes() {
    let instance = start();
    let held = |args: &[&str]| instance.ok(&[&["submit", "--urgency=hold"], args, &["sleep", "0"]].concat());
    let system = |id: &str| instance.json(&["job", "info", id, "jobspec"])["attributes"]["system"].clone();
    let ran_on = |id: &str| {
        instance.ok(&["job", "urgency", id, "default"]);
        instance.ok(&["job", "status", id]);
        instance.ok(&["jobs", "-no", "{queue} {nodelist}", id])
    };
    let id = held(&["-t1"]);
    instance.ok(&["update", "--dry-run", &id, "queue=debug"]);
    assert_eq!(system(&id)["queue"], "batch", "nothing is done");
    instance.ok(&["update", &id, "queue=debug"]);
    assert_eq!(
        (&system(&id)["queue"], &system(&id)["constraints"]["properties"][0]),
        (&"debug".into(), &"+debug".into())
    );
    assert_eq!(ran_on(&id), "debug node3");
    let refused = instance.run(&["update", &id, "queue=batch"]).code_is(1);
    assert!(refused.stderr.contains("is over"), "{}", refused.stderr);

    let id = held(&["-t10m"]);
    let before = system(&id);
    for (change, why) in [
        ("queue=debug", "requested duration 10m exceeds limit of queue debug of 5m"),
        ("queue=none", "requested queue none not found"),
        ("queue=", "expected a name"),
        ("duration=3h", "exceeds limit"),
        (r#"constraints={"hostlist":["node3"]}"#, "no node"),
        (r#"constraints={"oops":[]}"#, "oops"),
        ("priority=7", "attributes.system.priority of a job cannot be changed"),
    ] {
        let refused = instance.run(&["update", &id, change]).code_is(1);
        assert!(refused.stderr.contains(why), "{change}: {}", refused.stderr);
    }
    // One that is refused takes the others with it.
    instance.run(&["update", &id, "name=other", "queue=none"]).code_is(1);
    assert_eq!(system(&id), before);
    instance.ok(&["queue", "disable", "-m", "moved", "debug"]);
    let refused = instance.run(&["update", &id, "queue=debug", "duration=1m"]).code_is(1);
    assert!(refused.stderr.contains("disabled: moved"), "{}", refused.stderr);
    instance.ok(&["queue", "enable", "debug"]);
    instance.ok(&["update", &id, "queue=debug", "duration=1m"]);
    instance.ok(&["update", &id, "queue=batch", r#"constraints={"hostlist":["node1"]}"#]);
    assert_eq!(ran_on(&id), "batch node1");

    let id = instance.ok(&["submit", "--wait-event=start", "-t1", "sleep", "1000"]);
    for change in ["queue=debug", r#"constraints={"rank":["0"]}"#] {
        let refused = instance.run(&["update", &id, change]).code_is(1);
        assert!(refused.stderr.contains("has its resources"), "{}", refused.stderr);
    }
}

#[test]
fn a_queue_refuses_what_is_beyond_its_limits() {
    let instance = start();
    for (args, why) in [
        (&["-qnone"][..], "requested queue none not found"),
        (&["-qdebug"], "requested unlimited duration exceeds limit of queue debug of 5m"),
        (&["-qdebug", "-t10m"], "requested duration 10m exceeds limit of queue debug of 5m"),
        (&["-t3h"], "requested duration 3h exceeds limit of queue batch of 2h"),
        (&["-N3"], "requested nnodes 3 exceeds limit of queue batch of 2"),
        (&["-qdebug", "-t1m", "-N2", "-n2"], "has 1 node, the job asks for 2"),
    ] {
        let ran = instance.run(&[&["submit"][..], args, &["true"]].concat()).code_is(1);
        assert!(ran.stderr.contains(why) && ran.stderr.contains("hint: "), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn each_queue_has_gates_of_its_own() {
    let instance = start();
    instance.ok(&["queue", "disable", "-m", "full", "debug"]);
    let refused = instance.run(&["submit", "-qdebug", "-t1m", "true"]).code_is(1);
    assert!(refused.stderr.contains("job submission to queue debug is disabled: full"), "{}", refused.stderr);
    instance.ok(&["run", "true"]);
    instance.ok(&["queue", "stop", "-m", "later", "batch"]);
    let waits = instance.ok(&["submit", "true"]);
    instance.ok(&["queue", "enable", "debug"]);
    instance.ok(&["run", "-qdebug", "-t1m", "true"]);
    assert_eq!(instance.ok(&["job", "why", &waits]), "waits: queue batch is stopped: later");
    assert_eq!(
        instance.ok(&["queue", "status", "-v"]),
        "batch: Job submission is enabled\nbatch: Scheduling is stopped: later\nbatch: 1 pending job\n\
         batch: 0 running jobs\ndebug: Job submission is enabled\ndebug: Scheduling is started\n\
         debug: 0 pending jobs\ndebug: 0 running jobs\nScheduler: built-in, easy"
    );
    // One queue is empty while another one is not.
    instance.ok(&["queue", "drain", "debug"]);
    let busy = instance.run(&["queue", "drain", "--timeout=0.1s", "batch"]).code_is(1);
    assert!(busy.stderr.contains("there are still jobs"), "{}", busy.stderr);
    assert!(instance.run(&["queue", "start"]).code_is(1).stderr.contains("no queue named"));
    assert!(instance.run(&["queue", "start", "none"]).code_is(1).stderr.contains("queue none not found"));
    instance.ok(&["queue", "start", "--all"]);
    instance.ok(&["queue", "drain"]);
}

#[test]
fn queues_and_their_nodes_are_listed() {
    let instance = start();
    assert_eq!(
        instance.ok(&["queue", "list", "-n"]),
        "batch*    ✔  ✔      10m       2h        0-2      0-inf      0-inf\n\
         debug     ✔  ✔      inf       5m      0-inf      0-inf      0-inf"
    );
    assert_eq!(
        instance.ok(&[
            "queue",
            "list",
            "-n",
            "-qdebug",
            "-o{queue} {resources.all.ncores} {limits.max.nnodes}"
        ]),
        "debug 4 inf"
    );
    let listed = instance.ok(&["resource", "list", "-no{state} {queue} {nodelist}"]);
    assert_eq!(listed.lines().take(2).collect::<Vec<_>>(), ["free batch node[0-2]", "free debug node3"]);
    assert_eq!(instance.ok(&["resource", "info", "-qdebug"]), "1 Node, 4 Cores, 0 GPUs");
}

#[test]
fn gates_are_remembered_by_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let args = vec![format!("-Sstatedir={}", dir.path().display())];
    let again = || {
        let config = Some(format!("{}{QUEUES}", fake_nodes(4, 4)));
        Instance::with(Options { size: 4, config, args: args.clone(), ..Options::default() })
    };
    let first = again();
    first.ok(&["queue", "stop", "-m", "broken", "debug"]);
    first.end();
    let second = again();
    let status = second.ok(&["queue", "status", "debug"]);
    assert_eq!(status, "debug: Job submission is enabled\ndebug: Scheduling is stopped: broken");
    let waits = second.ok(&["submit", "-qdebug", "-t1m", "true"]);
    second.ok(&["run", "true"]);
    assert_eq!(second.ok(&["jobs", "-no{state}", &waits]), "SCHED");
}

#[test]
fn nodes_with_an_end_of_their_own_get_what_ends_before() {
    let config = format!("[sched]\npolicy = \"easy\"\n{}", fake_nodes(2, 4));
    let instance = Instance::with(Options { size: 2, config: Some(config), ..Options::default() });
    instance.ok(&["resource", "expire", "node0", "+1h"]);
    let listed = instance.ok(&["resource", "list", "-n", "-sfree", "-o{nodelist} {expiration!D}"]);
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("node0 ") && lines[1] == "node1", "{listed}");
    let long = instance.ok(&["submit", "--wait-event=start", "-n1", "-t2h", "sleep", "1000"]);
    assert_eq!(instance.ok(&["jobs", "-no{ranks}", &long]), "1");
    // There is room for it on the other one, but not the time.
    let next = instance.ok(&["submit", "-n4", "-t2h", "sleep", "1000"]);
    let why = instance.ok(&["job", "why", &next]);
    assert!(
        why.starts_with("waits for 4 cores (free: 3), not counting nodes that end before it would"),
        "{why}"
    );
    let short = instance.ok(&["submit", "--wait-event=start", "-n4", "-t30m", "sleep", "1000"]);
    assert_eq!(instance.ok(&["jobs", "-no{ranks}", &short]), "0");
    let none = instance.run(&["submit", "-N2", "-t2h", "true"]).code_is(1).stderr;
    assert!(none.contains("too few of the nodes that it could have last that long"), "{none}");
    let past = instance.run(&["resource", "expire", "0", "-1h"]).code_is(1).stderr;
    assert!(past.contains("node0 cannot end in the past"), "{past}");
    instance.ok(&["resource", "expire", "0", "never"]);
    instance.ok(&["cancel", &short]);
    instance.ok(&["job", "wait-event", &next, "start"]);
    instance.ok(&["cancel", "--all", "--quiet"]);
}

#[test]
fn every_waiting_job_is_listed_with_what_it_waits_for() {
    let config = Some(fake_nodes(1, 4));
    let instance = Instance::with(Options { size: 1, config, ..Options::default() });
    instance.ok(&["submit", "--wait-event=start", "-n4", "sleep", "1000"]);
    let first = instance.ok(&["submit", "-n4", "true"]);
    let second = instance.ok(&["submit", "-n4", "true"]);
    let info = |id: &str| instance.ok(&["jobs", "-no{contextual_info}", id]);
    assert_eq!(info(&first), "waits for 4 cores (free: 0)");
    assert_eq!(info(&second), format!("behind {first}"));
    instance.ok(&["queue", "stop"]);
    assert_eq!((info(&first).as_str(), info(&second).as_str()), ("queue is stopped", "queue is stopped"));
    let unknown = instance.run(&["job", "why", "0x7b"]).code_is(1).stderr;
    assert!(unknown.starts_with("error: there is no job 0x7b\n"), "{unknown}");
    instance.ok(&["cancel", "--all", "--quiet"]);
}
