//! Each option of the commands that submit has its effect, read back from the job: jobspec, R, eventlog, environment.
//!
//! One instance serves a whole table, so that a case costs a submission and not a start.

use flurm_tests::terminal::Terminal;
use flurm_tests::{DEADLINE, Instance, Options, eventually};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

const CONFIG: &str = r#"
[fake-resources]
nnodes = 2
cores-per-node = 4
sockets-per-node = 2
gpus-per-node = 2
host-prefix = "node"

[policy.jobspec.defaults.system]
queue = "batch"

[queues.batch]
[queues.debug]
"#;

fn start() -> Instance {
    let instance = Instance::with(Options { size: 2, config: Some(CONFIG.to_owned()), ..Options::default() });
    for (name, text) in [
        ("in.txt", "given\n"),
        ("rules", "# rules\n-NOT_ME\nFROM_FILE=$HOME_OF\n"),
        ("attr.json", "{\"a\":[1]}"),
    ] {
        std::fs::write(instance.dir.path().join(name), text).expect("a file");
    }
    instance
}

/// Submits with these options, waits for the end and gives the id.
#[track_caller]
fn submit(instance: &Instance, options: &[&str]) -> String {
    instance.ok(&[&["submit", "--wait"], options, &["true"]].concat())
}

#[track_caller]
fn info(instance: &Instance, id: &str, key: &str) -> Value {
    instance.json(&["job", "info", id, key])
}

/// The first event of that name.
#[track_caller]
fn event(instance: &Instance, id: &str, name: &str) -> Value {
    let log = instance.ok(&["job", "info", id, "eventlog"]);
    let mut events = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    events.find(|event| event["name"] == name).unwrap_or_else(|| panic!("{id}: no {name} in {log}"))
}

#[test]
fn options_of_a_job_are_in_its_jobspec() {
    let instance = start();
    let system = "/attributes/system";
    let shell = "/attributes/system/shell/options";
    for (options, base, pointer, value) in [
        (&["-N2"] as &[&str], "", "/resources/0/count", json!(2)),
        (&["-N2"], "", "/resources/0/exclusive", json!(true)),
        (&["-N1", "-n2", "-x"], "", "/resources/0/exclusive", json!(true)),
        (&["--nodes=2", "--ntasks=4"], "", "/resources/0/with/0/count", json!(2)),
        (&["-n3"], "", "/resources/0/count", json!(3)),
        (&["-vn3"], "", "/resources/0/count", json!(3)),
        (&["-c2"], "", "/resources/0/with/0/count", json!(2)),
        (&["--cores-per-task=2"], "", "/resources/0/with/0/count", json!(2)),
        (&["-g1"], "", "/resources/0/with/1", json!({"type": "gpu", "count": 1})),
        (&["--gpus-per-task=2"], "", "/resources/0/with/1/count", json!(2)),
        (&["--cores=4"], "", "/resources/0/count", json!(4)),
        (&["-N2", "--tasks-per-node=3"], shell, "/per-resource", json!({"type": "node", "count": 3})),
        (&["--cores=2", "--tasks-per-core=2"], shell, "/per-resource", json!({"type": "core", "count": 2})),
        (&["-N1", "--gpus-per-node=2"], "", "/resources/0/with/0/with/1/count", json!(2)),
        (&["--shape=slot=2/core=2"], "", "/resources/0/with/0/count", json!(2)),
        (&["-q", "debug"], system, "/queue", json!("debug")),
        (&["--queue=debug"], system, "/queue", json!("debug")),
        (&["-B", "acc"], system, "/bank", json!("acc")),
        (&["--bank=acc"], system, "/bank", json!("acc")),
        (&["-t", "2"], system, "/duration", json!(120.0)),
        (&["-t", "1:00:00"], system, "/duration", json!(3600.0)),
        (&["--time-limit=1.5h"], system, "/duration", json!(5400.0)),
        (&["--job-name=me"], system, "/job/name", json!("me")),
        (&["--requires=rank:1"], system, "/constraints/ranks/0", json!("1")),
        (&["--require=host:node1"], system, "/constraints/hostlist/0", json!("node1")),
        (&["--cwd=/tmp"], system, "/cwd", json!("/tmp")),
        (&["--setattr=cwd=/tmp"], system, "/cwd", json!("/tmp")),
        (&["-S", "user.x.y=7"], "/attributes/user", "/x/y", json!(7)),
        (&["--setattr=new=[1,2]"], system, "/new", json!([1, 2])),
        (&["--setattr=.system.flag"], system, "/flag", json!(1)),
        (&["--setattr=^user.f=attr.json"], "/attributes/user", "/f/a/0", json!(1)),
        (&["-o", "verbose=2"], shell, "/verbose", json!(2)),
        (&["--setopt=exit-on-error"], shell, "/exit-on-error", json!(1)),
        (&["-o", "exit-timeout=5s,verbose"], shell, "/exit-timeout", json!("5s")),
        (&["--signal=USR1@90s", "-t2"], shell, "/signal/timeleft", json!(90.0)),
        (&["--signal=TERM", "-t2"], shell, "/signal", json!({"signum": 15, "timeleft": 60.0})),
        (&["--signal=@2m", "-t3"], shell, "/signal/signum", json!(10)),
        (&["-n2", "--taskmap=cyclic"], shell, "/taskmap/scheme", json!("cyclic")),
        (&["--input=in.txt"], shell, "/input/stdin/path", json!("in.txt")),
        (&["--output=o.{{id}}"], shell, "/output/stdout/path", json!("o.{{id}}")),
        (&["--error=e.{{id}}"], shell, "/output/stderr/path", json!("e.{{id}}")),
        (&["--output=o.{{id}}", "-l"], shell, "/output/stdout/label", json!(true)),
        (&["-u"], shell, "/output/stdout/buffer/type", json!("none")),
        (&["--unbuffered"], shell, "/output/stderr/buffer/type", json!("none")),
        (&["--rlimit=core=0"], shell, "/rlimit/core", json!(0)),
        (&["--rlimit=-*", "--rlimit=stack=unlimited"], shell, "/rlimit", json!({"stack": -1})),
        (&["--add-file=in.txt"], system, "/files/in.txt/data", json!("given\n")),
        (&["--add-file=x:0640=one\ntwo\n"], system, "/files/x/mode", json!(0o100640)),
        (&["--begin-time=1"], system, "/dependencies/0/scheme", json!("begin-time")),
        (&["--placement=compact"], system, "/placement", json!("compact")),
        (&["--alloc-type=locality"], system, "/placement", json!("locality")),
        (&["--cosched", "--cosched-class=io"], system, "/cosched/class", json!("io")),
        (&["--env=-*", "--env=A=1"], "", "/attributes/system/environment", json!({"A": "1"})),
    ] {
        let id = submit(&instance, options);
        let key = if pointer.ends_with("/environment") { "J" } else { "jobspec" };
        let jobspec = info(&instance, &id, key);
        let found = jobspec.pointer(&format!("{base}{pointer}"));
        assert_eq!(found, Some(&value), "{options:?}: {jobspec}");
    }
}

#[test]
fn options_of_a_job_are_in_its_r_and_its_eventlog() {
    let instance = start();
    for (options, what) in [
        (&["-N2"] as &[&str], "node[0-1] 8"),
        (&["-N1", "-n1"], "node0 1"),
        (&["-N1", "-n1", "-x"], "node0 4"),
        (&["-n3", "--requires=rank:1"], "node1 3"),
        (&["-n2", "-c2", "--requires=hosts:node1"], "node1 4"),
        (&["--cores=8"], "node[0-1] 8"),
        (&["-N2", "--tasks-per-node=1"], "node[0-1] 8"),
        (&["--shape=node=2/slot/core=2"], "node[0-1] 4"),
    ] {
        let id = submit(&instance, options);
        assert_eq!(instance.ok(&["jobs", "-a", "-n", "-o", "{nodelist} {ncores}", &id]), what, "{options:?}");
    }
    let gpus = info(&instance, &submit(&instance, &["-n1", "-g2"]), "R");
    assert_eq!(gpus["execution"]["R_lite"][0]["children"]["gpu"], "0-1");
    let limited = info(&instance, &submit(&instance, &["-t1"]), "R");
    let seconds = |key: &str| limited["execution"][key].as_f64().expect("a number");
    assert!((seconds("expiration") - seconds("starttime") - 60.0).abs() < 1.5, "{limited}");
    for (options, name, pointer, value) in [
        (&["--urgency=20"] as &[&str], "submit", "/urgency", json!(20)),
        (&["--urgency=expedite"], "submit", "/urgency", json!(31)),
        (&["--urgency=default"], "submit", "/urgency", json!(16)),
        (&["--flags=waitable"], "submit", "/flags", json!(4)),
        (&["--flags=debug,novalidate"], "submit", "/flags", json!(10)),
        (&["--debug"], "submit", "/flags", json!(2)),
        (&["--begin-time=1"], "dependency-add", "/description", json!("begin-time=1.000000")),
    ] {
        let id = submit(&instance, options);
        let event = event(&instance, &id, name);
        assert_eq!(event["context"].pointer(pointer), Some(&value), "{options:?}: {event}");
    }
    let held = instance.ok(&["submit", "--urgency=hold", "true"]);
    assert_eq!(event(&instance, &held, "submit")["context"]["urgency"], 0);
    instance.ok(&["cancel", &held]);
}

#[test]
fn options_of_a_job_are_in_the_environment_of_its_tasks() {
    let instance = start();
    let show = |options: &[&str], script: &str| {
        let mut command = instance.command(&[&["run"], options, &["sh", "-c", script]].concat());
        command.env("NOT_ME", "1").env("HOME_OF", "flowers").env("KEPT_A", "a").env("KEPT_B", "b");
        flurm_tests::run(command, b"typed\n").ok()
    };
    for (options, script, said) in [
        (&["--env=A=1"] as &[&str], "echo $A", "1\n"),
        (&["--env=A=${HOME_OF}s"], "echo $A", "flowerss\n"),
        (&["--env=-*", "--env=PATH", "--env=KEPT_*"], "echo $KEPT_A$KEPT_B$HOME_OF", "ab\n"),
        (&["--env-remove=KEPT_?"], "echo $KEPT_A$HOME_OF", "flowers\n"),
        (&["--env-remove=/^KEPT_[A]$/"], "echo $KEPT_A$KEPT_B", "b\n"),
        (&["--env-file=rules"], "echo $NOT_ME$FROM_FILE", "flowers\n"),
        (&["--env=A={{number}}"], "test $A = $SLURM_JOB_ID && echo same", "same\n"),
        (&["--rlimit=nofile=100"], "ulimit -n", "100\n"),
        (&["--input=in.txt"], "cat", "given\n"),
        (&["--add-file=x=a\nb\n"], "cat $FLUX_JOB_TMPDIR/x", "a\nb\n"),
        (&["-l", "-n2", "--input=1"], "cat", "1: typed\n"),
        (&["--cwd=/"], "pwd", "/\n"),
        (&["--job-name=me"], "echo $SLURM_JOB_NAME", "me\n"),
        (&["-n2", "-c2"], "echo $FLUX_JOB_SIZE $SLURM_CPUS_PER_TASK", "2 2\n2 2\n"),
        (&["-g1"], "echo $CUDA_VISIBLE_DEVICES", "0\n"),
    ] {
        assert_eq!(show(options, script), said, "{options:?}");
    }
}

#[test]
fn copies_and_inputs_are_jobs_of_their_own() {
    let instance = start();
    let sorted = |text: String| {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join(" ")
    };
    for (args, input, said) in [
        (&["submit", "--cc=2-3", "sh", "-c", "echo {cc}=$FLUX_JOB_CC"] as &[&str], "", "2=2 3=3"),
        (&["submit", "--bcc=2-3", "sh", "-c", "echo {cc}=$FLUX_JOB_CC"], "", "2= 3="),
        (&["submit", "--cc=1-2", "-n{cc}", "echo", "x"], "", "x x x"),
        (&["submit", "--from-file=-"], "echo a\n#\necho 'b c'\n", "a b c"),
        (&["bulksubmit", "echo", "{}", ":::", "a", "b"], "", "a b"),
        (&["bulksubmit", "echo", "{0}{1}", ":::", "a", "b", ":::", "1", "2"], "", "a1 a2 b1 b2"),
        (&["bulksubmit", "echo", "{0}{1}", ":::", "a", "b", "c", ":::+", "1", "2"], "", "a1 b2 c1"),
        (&["bulksubmit", "echo", "{0}{1}", "::::", "in.txt", "::::+", "in.txt"], "", "givengiven"),
        (&["bulksubmit", "echo", "{}"], "x\ny\n", "x y"),
        (&["bulksubmit", "--sep=none", "echo", "{}", "::::", "-"], "x y\nz\n", "x y z"),
        (&["bulksubmit", "--sep=,", "echo", "{}"], "x,y", "x y"),
        (&["bulksubmit", "--shuffle", "echo", "{}", ":::", "1", "2", "3"], "", "1 2 3"),
        (&["bulksubmit", "echo", "{seq}{seq1}", ":::", "a", "b"], "", "01 12"),
        (&["bulksubmit", "echo", "{.%}|{./}|{./%}|{.//}|{0./}", ":::", "d/f.c"], "", "d/f|f.c|f|d|f.c"),
        (&["bulksubmit", "--cc={}", "echo", "{}:{cc}", ":::", "0-1", "5"], "", "0-1:0 0-1:1 5:5"),
        (&["bulksubmit", "-n{}", "--env=A={}", "sh", "-c", "echo $A", ":::", "1", "2"], "", "1 2 2"),
        (&["bulksubmit", ":::", "echo one", "sh -c 'echo two'"], "", "one two"),
    ] {
        let args = [&args[..1], &["--watch", "--quiet"], &args[1..]].concat();
        let ran = instance.run_with_input(&args, input.as_bytes());
        assert_eq!(sorted(ran.ok()), said, "{args:?}");
    }
    let lines = instance.ok(&[
        "bulksubmit",
        "--dry-run",
        "-n{}",
        "--cc=1-2",
        "--job-name=j{seq}",
        "a",
        "{cc}",
        ":::",
        "3",
    ]);
    assert_eq!(lines, "bulksubmit: submit -n3 --job-name=j0 --cc=1-2 a {cc}");
    for (args, said) in [
        (&["bulksubmit", "--define=up=x.upper()", "a", ":::", "b"] as &[&str], "no Python"),
        (&["bulksubmit", "a", "{1}", ":::", "b"], "no such list of inputs"),
        (&["bulksubmit", "-n{}", "a", ":::", "x"], "--ntasks: `x`"),
        (&["submit", "--from-file=in.txt", "true"], "cannot be used with"),
        (&["submit", "--from-file=/no/such"], "cannot read /no/such"),
    ] {
        let ran = instance.run(args);
        assert!(ran.code() != 0 && ran.stderr.contains(said), "{args:?}: {}", ran.stderr);
    }
    let old = instance.run(&["mini", "run", "echo", "x"]).code_is(0);
    assert!(old.stdout == "x\n" && old.stderr.contains("hint: `mini` is left out"), "{}", old.stderr);
}

#[test]
fn who_submits_can_stay_as_long_as_asked() {
    let instance = start();
    let fails = "exit $((FLUX_JOB_CC * 3))";
    for (options, code) in [
        (&["--wait"] as &[&str], 9),
        (&["--watch"], 9),
        (&["--wait-event=start"], 0),
        (&["--wait-event=exec.shell.init"], 0),
        (&["--wait-event=exec.done"], 0),
        (&["--wait-event=clean"], 0),
        (&["--wait-event=no-such"], 1),
        (&["--wait", "--progress", "--jps"], 9),
        (&["--progress"], 0),
        (&[], 0),
    ] {
        let ran =
            instance.run(&[&["submit", "--cc=1-3"], options, &["sh", "-c", fails]].concat()).code_is(code);
        assert_eq!(ran.stdout.lines().count(), 3, "{options:?}");
        assert!(!ran.stderr.contains('\r'), "there is no bar on a pipe: {}", ran.stderr);
    }
    // On a terminal there is one. It alone does not wait: the job that is held never ends.
    let at_terminal = |options: &[&str]| {
        Terminal::start(instance.command(&[&["submit", "--quiet"], options, &["true"]].concat()), 24, 100)
    };
    let mut waits = at_terminal(&["--cc=1-4", "--wait", "--progress", "--jps"]);
    let bar = waits.expect("100%");
    assert!(bar.contains("PD:0 R:0 CD:4 F:0 |####"), "{bar}");
    waits.expect("job/s");
    assert!(waits.wait().success());
    let mut leaves = at_terminal(&["--urgency=hold", "--progress"]);
    leaves.expect("PD:1 R:0 CD:0 F:0 |####################| 100%");
    assert!(leaves.wait().success());
    // Those that run already are no longer pending, and what they print stands above the bar.
    let path = |name: &str| instance.dir.path().join(name);
    let runs = "echo said; while ! test -e seen; do sleep 0.1; done";
    let ids = instance.ok(&["submit", "--cc=1-3", "--wait-event=start", "sh", "-c", runs]);
    let args: Vec<&str> = ["watch", "--progress"].into_iter().chain(ids.lines()).collect();
    let mut watch = Terminal::start(instance.command(&args), 24, 100);
    watch.expect("PD:0 R:3 CD:0 F:0 |");
    watch.expect("0:00:01");
    std::fs::write(path("seen"), "").expect("a file");
    watch.expect("PD:0 R:0 CD:3 F:0 |");
    assert!(watch.wait().success());
    let shown = watch.shown();
    assert!(shown.contains("\r\x1b[Ksaid\r\n") && !shown.contains("0:00:00said"), "{shown:?}");
    let read = |name: &str| std::fs::read_to_string(path(name)).expect("a log");
    let args = [
        "bulksubmit",
        "--watch",
        "--log=l.{}",
        "--log-stderr=e.{seq}",
        "sh",
        "-c",
        "echo {}; echo bad >&2",
        ":::",
        "a",
        "b",
    ];
    assert_eq!(instance.ok(&args), "");
    let log = read("l.b");
    assert!(log.ends_with("\nb\n") && log.lines().count() == 2, "{log}");
    assert_eq!((&*read("e.0"), &*read("e.1")), ("bad\n", "bad\n"));
    instance.ok(&["submit", "--watch", "--quiet", "--log=all", "--cc=1-2", "sh", "-c", "echo x; echo y >&2"]);
    assert_eq!(read("all").lines().count(), 4);
}

#[test]
fn what_failed_is_submitted_again_once() {
    let instance = start();
    let submit =
        |args: &[&str]| instance.run(&[&["submit", "--wait"], args].concat()).stdout.trim().to_owned();
    let script = "test -e repaired && echo $MARK";
    let first = submit(&["--job-name=one", "--env=MARK=kept", "--urgency=20", "sh", "-c", script]);
    let waits = submit(&["--job-name=two", &format!("--dependency=afterok:{first}"), "true"]);
    submit(&["--job-name=good", "true"]);
    assert_eq!(instance.ok(&["retry", "--failed", "--dry-run"]), format!("{first}\n{waits}"));
    std::fs::write(instance.dir.path().join("repaired"), "").expect("a file");
    let new = instance.ok(&["retry", "--failed", "--wait"]);
    let [again, then] = new.lines().collect::<Vec<_>>()[..] else { panic!("{new}") };
    assert_eq!(instance.ok(&["job", "attach", again]), "kept");
    assert_eq!(event(&instance, again, "submit")["context"]["urgency"], 20);
    let spec = info(&instance, then, "jobspec");
    assert_eq!(spec["attributes"]["system"]["dependencies"][0]["value"], again);
    // All of it is done: nothing is left to do again.
    assert_eq!(instance.ok(&["retry", "--failed"]), "");
    // But for a shell that somebody has left with a code: nobody would be there to leave it again.
    let command = instance.command(&["run", "-o", "pty.interactive", "sh", "-c", "exit 7"]);
    assert_eq!(Terminal::start(command, 24, 80).wait().code(), Some(7));
    let shell = instance.ok(&["job", "last"]);
    let ran = instance.run(&["retry", "--failed", "--dry-run"]).code_is(0);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.starts_with(&format!("note: {shell} is left out")), "{}", ran.stderr);
    let third = instance.ok(&["retry", again]);
    assert_ne!(third, again);
    let held = instance.ok(&["submit", "--urgency=hold", "true"]);
    let ran = instance.run(&["retry", &held]).code_is(1);
    assert!(ran.stderr.contains("is not over"), "{}", ran.stderr);
}

#[test]
fn dependencies_let_jobs_start_or_end_them() {
    let instance = start();
    let good = instance.ok(&["submit", "--wait", "true"]);
    let bad = instance.run(&["submit", "--wait", "false"]).stdout.trim().to_owned();
    let ended = instance.ok(&["submit", "--urgency=hold", "true"]);
    instance.ok(&["cancel", &ended]);
    for (scheme, of, starts) in [
        ("afterok", &good, true),
        ("afterok", &bad, false),
        ("afternotok", &bad, true),
        ("afternotok", &good, false),
        ("afterany", &bad, true),
        ("afterany", &ended, true),
        ("afterstart", &good, true),
        ("after", &good, true),
        ("afterstart", &ended, false),
        ("afterexcept", &ended, true),
        ("afterexcept", &good, false),
    ] {
        let dependency = format!("--dependency={scheme}:{of}");
        let ran = instance.run(&["submit", "--wait", &dependency, "true"]);
        assert_eq!(ran.code(), if starts { 0 } else { 1 }, "{dependency}: {}", ran.stderr);
        assert_eq!(
            ran.stderr.contains("exception: type=dependency"),
            !starts,
            "{dependency}: {}",
            ran.stderr
        );
    }
    for (dependency, why) in [
        ("afterok:ƒzzzz", "there is no job ƒzzzz"),
        ("coffee:1", "dependency scheme `coffee` is not supported"),
        ("singleton", "known by its name"),
        ("afterok", "is no dependency"),
    ] {
        let ran = instance.run(&["submit", &format!("--dependency={dependency}"), "true"]);
        assert!(ran.code() != 0 && ran.stderr.contains(why), "{dependency}: {}", ran.stderr);
    }
    // Waiting ones, until what they wait for comes.
    let first = instance.ok(&["submit", "--urgency=hold", "--job-name=s", "--dependency=singleton", "true"]);
    let second = instance.ok(&["submit", "--job-name=s", "--dependency=singleton", "true"]);
    let begun = instance.ok(&["submit", &format!("--dependency=afterstart:{first}"), "true"]);
    let failed = instance.ok(&["submit", &format!("--dependency=afternotok:{first}"), "true"]);
    let state = |id: &str| instance.ok(&["jobs", "-a", "-n", "-o", "{state}", id]);
    assert_eq!([&second, &begun, &failed].map(|id| state(id)), ["DEPEND", "DEPEND", "DEPEND"]);
    instance.ok(&["job", "urgency", &first, "default"]);
    instance.run(&["job", "status", &second, &begun]).code_is(0);
    instance.run(&["job", "status", &failed]).code_is(1);
    let later = instance.ok(&["submit", "--begin-time=+1h", "true"]);
    assert_eq!(state(&later), "DEPEND");
    instance.ok(&["cancel", &later]);
}

#[test]
fn an_array_runs_so_many_at_a_time() {
    let instance = start();
    let out = instance.ok(&[
        "submit", "--array=1-5:2", "--watch", "--quiet", "sh", "-c",
        "echo $SLURM_ARRAY_TASK_ID {cc} $FLUX_JOB_CC $SLURM_ARRAY_TASK_COUNT $SLURM_ARRAY_TASK_MIN-$SLURM_ARRAY_TASK_MAX:$SLURM_ARRAY_TASK_STEP $SLURM_ARRAY_JOB_ID",
    ]);
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    let first = instance.ok(&["jobs", "-a", "-n", "-o", "{number}", "-c", "3"]);
    let first = first.lines().last().expect("three jobs").to_owned();
    let line = |i: u32| format!("{i} {i} {i} 3 1-5:2 {first}");
    assert_eq!(lines, [line(1), line(3), line(5)]);

    // Two places of eight cores: the others wait, until one of the two ends.
    let ids = instance.ok(&["submit", "--array=0-4%2", "sleep", "1000"]);
    let ids: Vec<&str> = ids.lines().collect();
    let states =
        || instance.ok(&[&["jobs", "-a", "-n", "-o", "{state}"], &ids[..]].concat()).replace('\n', " ");
    eventually("two to run", DEADLINE, || (states() == "RUN RUN DEPEND DEPEND DEPEND").then_some(()));
    let why = instance.ok(&["job", "why", ids[4]]);
    assert!(why.contains(&format!("until fewer than 2 jobs of array {}", ids[0])), "{why}");
    instance.ok(&["cancel", ids[0]]);
    eventually("the next one to run", DEADLINE, || states().ends_with("RUN RUN DEPEND DEPEND").then_some(()));
    let spec = info(&instance, ids[3], "jobspec");
    assert_eq!(spec["attributes"]["system"]["array"]["throttle"], 2);
    assert_eq!(instance.ok(&["jobs", "-n", "-o", "{array.index}", ids[3]]), "3");
    let other = instance.ok(&["submit", "sleep", "1000"]);
    instance.ok(&["cancel", "--array", ids[1]]);
    eventually("the array to be over", DEADLINE, || {
        (instance.ok(&["jobs", "-n", "-o", "{id}"]) == other).then_some(())
    });
    instance.ok(&["cancel", "--all"]);
    for (args, why) in [
        (&["submit", "--array=3-1", "true"] as &[&str], "`3-1` is no range"),
        (&["submit", "--array=1", "--cc=1", "true"], "cannot be used with"),
        (&["run", "--array=1", "true"], "use `flurm submit --array`"),
    ] {
        let ran = instance.run(args).code_is(2);
        assert!(ran.stderr.contains(why), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_script_of_slurm_is_taken_over_as_far_as_it_goes() {
    let instance = start();
    let script = "#!/bin/bash\n#SBATCH -N 2 --ntasks-per-node=2\n#SBATCH -J slurms -t 5 --mem=4G\n#SBATCH -o s.%j.%a\n\
                  #SBATCH --array=3-4%1 --export=ALL,A=b\n\n\
                  flurm run -n4 sh -c 'echo $A $SLURM_ARRAY_TASK_ID'\n#SBATCH -N9\n";
    std::fs::write(instance.dir.path().join("s.sh"), script).expect("a script");
    let ran = instance.run(&["batch", "s.sh"]).code_is(0);
    assert!(ran.stderr.contains("from #SBATCH: -N2 -n4 --job-name=slurms"), "{}", ran.stderr);
    assert!(ran.stderr.contains("not taken over: --mem=4G"), "{}", ran.stderr);
    let ids: Vec<&str> = ran.stdout.lines().collect();
    instance.run(&[&["job", "status"], &ids[..]].concat()).code_is(0);
    for (id, index) in ids.iter().zip(["3", "4"]) {
        let number = instance.ok(&["jobs", "-a", "-n", "-o", "{number}", id]);
        let out = std::fs::read_to_string(instance.dir.path().join(format!("s.{number}.{index}")))
            .expect("its output");
        assert_eq!(out, format!("b {index}\n").repeat(4));
        assert_eq!(
            instance.ok(&["jobs", "-a", "-n", "-o", "{name} {nnodes} {duration}", id]),
            "slurms 2 300.0"
        );
    }
    // What is typed wins; lines of Flux are instead of Slurm's.
    let script = "#!/bin/bash\n#SBATCH -N 2 -J slurms\n# flux: -n1 --job-name=fluxs\ntrue\n";
    std::fs::write(instance.dir.path().join("b.sh"), script).expect("a script");
    let spec = instance.json(&["batch", "--dry-run", "-t", "9", "b.sh"]);
    assert_eq!(spec["attributes"]["system"]["job"]["name"], "fluxs");
    assert_eq!(spec["attributes"]["system"]["duration"], 540.0);
    assert_eq!(spec["resources"][0]["type"], "slot");
}

#[test]
fn options_of_batch_and_alloc_are_in_the_jobspec() {
    let instance = start();
    let instance_of = |words: &[&str]| instance.json(&[&words[..1], &["--dry-run"], &words[1..]].concat());
    for (words, pointer, value) in [
        (&["batch", "-n2", "--wrap", "true"] as &[&str], "/resources/0/count", json!(2)),
        (&["batch", "--nslots=2", "--wrap", "true"], "/resources/0/count", json!(2)),
        (&["batch", "-n1", "-c3", "--wrap", "true"], "/resources/0/with/0/count", json!(3)),
        (&["batch", "-n1", "--cores-per-slot=3", "--wrap", "true"], "/resources/0/with/0/count", json!(3)),
        (&["batch", "-n1", "-g2", "--wrap", "true"], "/resources/0/with/1/count", json!(2)),
        (&["batch", "-N2", "--wrap", "true"], "/resources/0/exclusive", json!(true)),
        (&["batch", "-N1", "-n2", "-x", "--wrap", "true"], "/resources/0/exclusive", json!(true)),
        (
            &["batch", "-n1", "--wrap", "true"],
            "/attributes/system/shell/options/output/stdout/path",
            json!("flurm-{{id}}.out"),
        ),
        (&["batch", "-n1", "--wrap", "true"], "/attributes/system/shell/options/exit-timeout", json!("none")),
        (
            &["batch", "-n1", "--conf=sched.policy=easy", "--wrap", "true"],
            "/attributes/system/files/conf.json/data",
            json!("{\"sched\":{\"policy\":\"easy\"}}"),
        ),
        (&["alloc", "-n1", "--broker-opts=-Sx=y", "true"], "/tasks/0/command/2", json!("-Sx=y")),
        (&["alloc", "-n1", "--broker-opt=-Sx=y", "true"], "/tasks/0/command/2", json!("-Sx=y")),
        (&["alloc", "-N1", "--bg"], "/tasks/0/command/2", json!("-Sbroker.rc2_none=1")),
        (&["alloc", "-n1", "-q", "debug", "true"], "/attributes/system/queue", json!("debug")),
    ] {
        let spec = instance_of(words);
        assert_eq!(spec.pointer(pointer), Some(&value), "{words:?}: {spec}");
    }
}

#[test]
fn plugins_add_options_and_change_jobspecs() {
    let instance = start();
    let folder = instance.dir.path().join("plugins");
    std::fs::create_dir(&folder).expect("a folder");
    let python = "import json, sys\n\
        if sys.argv[1] == 'describe':\n    \
            print(json.dumps({'help': 'marks jobs', 'options': [{'name': 'mark', 'value': 'TEXT', 'help': 'a mark'}, {'name': 'refuse'}]}))\n\
        else:\n    \
            asked = json.load(sys.stdin)\n    \
            if 'refuse' in asked['options']:\n        \
                print(json.dumps({'error': 'not today', 'hint': 'tomorrow'}))\n    \
            else:\n        \
                asked['jobspec']['attributes'].setdefault('user', {})['mark'] = asked['options']['mark']\n        \
                print(json.dumps({'jobspec': asked['jobspec']}))\n";
    std::fs::write(folder.join("marker.py"), python).expect("a plug-in");
    let with = |args: &[&str]| {
        let mut command = instance.command(args);
        command.env("FLUX_CLI_PLUGINPATH", &folder);
        flurm_tests::run(command, b"")
    };
    let id = with(&["submit", "--wait", "--mark=red", "true"]).ok();
    assert_eq!(info(&instance, id.trim(), "jobspec")["attributes"]["user"]["mark"], "red");
    let ids = with(&["bulksubmit", "--wait", "--mark={}", "true", ":::", "a", "b"]).ok();
    let marks: Vec<Value> =
        ids.lines().map(|id| info(&instance, id, "jobspec")["attributes"]["user"]["mark"].clone()).collect();
    assert_eq!(marks, ["a", "b"]);
    let refused = with(&["submit", "--refuse", "true"]).code_is(2);
    assert_eq!(refused.stderr, "error: plug-in marker: not today\nhint: tomorrow\n");
    std::fs::write(instance.dir.path().join("m.sh"), "#!/bin/sh\n# flux: -n1 --mark=of-script\n")
        .expect("a script");
    let spec: Value = serde_json::from_str(&with(&["batch", "--dry-run", "m.sh"]).ok()).expect("JSON");
    assert_eq!(spec["attributes"]["user"]["mark"], "of-script");
    let list = with(&["submit", "--list-plugins"]).ok();
    assert!(
        list.contains("--mark, --refuse") && list.contains("alloc_type") && list.contains("built in"),
        "{list}"
    );
    let broken = folder.join("broken");
    std::fs::write(&broken, "#!/bin/sh\nexit 7\n").expect("a plug-in");
    std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o755)).expect("our file");
    let ran = with(&["submit", "true"]).code_is(1);
    assert!(ran.stderr.starts_with("error: plug-in broken: `describe` ended with"), "{}", ran.stderr);
    assert_eq!(instance.ok(&["submit", "--wait", "--quiet", "true"]), "");
}
