//! A scheduler of one's own in place of the built-in one: the example that users copy, and what happens when it fails.

use flurm_tests::{DEADLINE, Instance, Options, eventually, fake_nodes, wait_child};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates/examples/scheduler/reverse.py")
}

/// Ends with the test.
struct Scheduler(Child);

impl Drop for Scheduler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(cores: u32) -> Instance {
    let config = Some(fake_nodes(1, cores));
    Instance::with(Options { size: 1, config, ..Options::default() })
}

/// Runs the program and waits until it is the scheduler.
#[track_caller]
fn serve(instance: &Instance, program: &Path) -> Scheduler {
    let said = std::fs::File::create(instance.dir.path().join("scheduler")).expect("a file");
    let mut command = Command::new("python3");
    command.arg(program).env("FLURM_URI", &instance.uri).stdin(Stdio::null()).stderr(said);
    let scheduler = Scheduler(command.spawn().expect("python3 runs"));
    eventually("the external scheduler", DEADLINE, || {
        (who(instance) == "external, reverse.py").then_some(())
    });
    scheduler
}

fn who(instance: &Instance) -> String {
    let status = instance.ok(&["queue", "status", "-v"]);
    let line = status.lines().find_map(|line| line.strip_prefix("Scheduler: ")).expect("who schedules");
    line.to_owned()
}

fn pending(instance: &Instance) -> u64 {
    instance.json(&["queue", "status", "--json"])["pending"].as_u64().expect("a number")
}

#[test]
fn the_example_turns_the_order_around() {
    let instance = start(2);
    // Runs already when the scheduler comes, so one core is left for it.
    let long = instance.ok(&["submit", "--wait-event=start", "sleep", "1000"]);
    let _scheduler = serve(&instance, &example());
    instance.ok(&["queue", "stop"]);
    let ids: Vec<String> = (0..4).map(|_| instance.ok(&["submit", "true"])).collect();
    let why = instance.ok(&["job", "why", &ids[0]]);
    assert_eq!(why, "waits: the queue is stopped");
    instance.ok(&["queue", "start"]);
    for id in &ids {
        instance.ok(&["job", "status", id]);
    }
    let ran = instance.ok(&["jobs", "-a", "-n", "--name=true", "-o{id}", "--sort=t_run"]);
    let turned: Vec<&str> = ids.iter().rev().map(String::as_str).collect();
    assert_eq!(ran.lines().collect::<Vec<_>>(), turned);
    let large = instance.ok(&["submit", "-n2", "true"]);
    eventually("its reason", DEADLINE, || {
        let why = instance.ok(&["job", "why", &large]);
        (why == "the youngest job waits for cores").then_some(())
    });
    instance.ok(&["cancel", &long]);
    instance.ok(&["job", "status", &large]);
    instance.run(&["submit", "-n3", "true"]).code_is(1);
    instance.ok(&["queue", "drain"]);
}

#[test]
fn killed_under_ten_thousand_jobs_it_loses_none_of_them() {
    let instance = start(4);
    let mut scheduler = serve(&instance, &example());
    let busy = instance.ok(&["submit", "-n4", "--wait-event=start", "sleep", "1000"]);
    instance.ok(&["submit", "--quiet", "--cc=1-10000", "true"]);
    assert_eq!(pending(&instance), 10_000);
    // SIGKILL.
    scheduler.0.kill().expect("our child");
    let gone = "built-in, fcfs (the external scheduler reverse.py is gone: its connection has ended)";
    eventually("the built-in scheduler", DEADLINE, || (who(&instance) == gone).then_some(()));
    assert_eq!(pending(&instance), 10_000);
    let log = instance.ok(&["dmesg"]);
    assert!(log.contains("the external scheduler reverse.py is gone"), "{log}");
    instance.ok(&["cancel", &busy]);
    // Those that run now are the oldest again.
    let first = instance.ok(&["jobs", "-a", "-n", "-c0", "-o{id}", "--name=true", "--sort=id"]);
    let first: Vec<&str> = first.lines().take(8).collect();
    for id in &first {
        instance.ok(&["job", "status", id]);
    }
    instance.ok(&["cancel", "--all", "--quiet"]);
    instance.ok(&["queue", "drain"]);
    let stats = instance.json(&["jobs", "-a", "--stats-only", "--json"]);
    assert_eq!(stats["inactive"], 10_001, "{stats}");
    assert_eq!((&stats["failed"], &stats["timeout"]), (&0.into(), &0.into()), "{stats}");
    // And another one may try.
    serve(&instance, &example());
}

#[test]
fn who_gives_what_is_not_free_schedules_no_longer() {
    let instance = start(4);
    let text = std::fs::read_to_string(example()).expect("the example");
    for (what, right, wrong, why) in [
        ("a core twice", "taken.update(chosen[:count * size])", "pass", "has resources for job"),
        (
            "a core that is not there",
            "str(n) for _, n in part",
            "str(n + 9) for _, n in part",
            "not in the inventory",
        ),
        ("a job that is not there", "id=id, type=\"alloc\"", "id=7, type=\"alloc\"", "there is no job"),
    ] {
        assert!(text.contains(right), "{what}");
        let program = instance.dir.path().join("wrong.py");
        std::fs::write(&program, text.replace(right, wrong)).expect("the program is written");
        let mut scheduler = serve(&instance, &program);
        // Both are there when it is its turn.
        instance.ok(&["queue", "stop"]);
        let ids: Vec<String> = (0..2).map(|_| instance.ok(&["submit", "-n4", "true"])).collect();
        instance.ok(&["queue", "start"]);
        for id in &ids {
            instance.ok(&["job", "status", id]);
        }
        let now = who(&instance);
        assert!(now.starts_with("built-in, fcfs (") && now.contains(why), "{what}: {now}");
        let status = wait_child(&mut scheduler.0, DEADLINE).expect("it is told and ends");
        assert!(!status.success(), "{what}");
    }
}

#[test]
fn only_one_schedules_and_only_that_one_answers() {
    let instance = start(4);
    let _scheduler = serve(&instance, &example());
    let second = Command::new("python3").arg(example()).env("FLURM_URI", &instance.uri).output();
    let second = second.expect("python3 runs");
    assert_eq!(String::from_utf8_lossy(&second.stderr), "reverse.py schedules already\n");
    assert_eq!(who(&instance), "external, reverse.py");
    instance.ok(&["run", "true"]);
}

#[test]
fn one_that_hangs_is_timed_out_and_a_group_still_starts_as_one() {
    let config = format!("[sched]\nexternal-timeout = \"1s\"\n{}", fake_nodes(1, 4));
    let instance = Instance::with(Options { size: 1, config: Some(config), ..Options::default() });
    let text = std::fs::read_to_string(example()).expect("the example");
    let right = "    schedule()\n";
    assert!(text.contains(right));
    let program = instance.dir.path().join("hangs.py");
    std::fs::write(&program, text.replace(right, "    pass\n")).expect("the program is written");
    let mut scheduler = serve(&instance, &program);
    let one = instance.ok(&["submit", "--cosched=pair:2", "-n2", "sleep", "1000"]);
    let two = instance.ok(&["submit", "--cosched=pair:2", "-n2", "sleep", "1000"]);
    for id in [&one, &two] {
        instance.ok(&["job", "wait-event", id, "start"]);
    }
    assert_eq!(
        who(&instance),
        "built-in, fcfs (the external scheduler reverse.py is gone: jobs wait, and it has answered nothing for 1 s)"
    );
    let log = instance.ok(&["dmesg"]);
    assert!(log.contains("it has answered nothing for 1 s; the built-in one goes on"), "{log}");
    let status = wait_child(&mut scheduler.0, DEADLINE).expect("it is told and ends");
    assert!(!status.success());
    let starts = instance.ok(&["jobs", "-n", "-o{t_run}", &one, &two]);
    let mut starts = starts.lines();
    assert_eq!(starts.next(), starts.next(), "they start together");
    instance.ok(&["cancel", "--all", "--quiet"]);
}
