//! How tasks begin and end: what they are given, what is said when they cannot start, and that nothing outlives them.

use flurm_tests::{DEADLINE, Instance, Ran, eventually, processes_with, run};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[test]
fn a_program_that_cannot_start_is_told_why() {
    let instance = Instance::start(1);
    let file = |name: &str, bytes: &[u8], mode: u32| -> PathBuf {
        let path = instance.dir.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("ours");
        path
    };
    let mut elf = std::fs::read("/proc/self/exe").expect("ourselves");
    // A machine that has not been built for long.
    (elf[18], elf[19]) = (8, 0);
    file("foreign", &elf, 0o755);
    file("plain", b"echo hi\n", 0o644);
    file("script", b"#!/no/such/interpreter\n", 0o755);
    file("bare", b"echo bare $0 $1\n", 0o755);
    for (program, code, wanted) in [
        ("no-such-program", 127, "no-such-program: No such file or directory"),
        ("./none", 127, "./none: No such file or directory"),
        ("./script", 127, "its interpreter /no/such/interpreter is missing"),
        ("./plain", 126, "it is not executable (mode 0644)"),
        ("/tmp", 126, "it is a directory"),
        ("./foreign", 126, "it is built for mips"),
    ] {
        let ran = instance.run(&["run", program]).code_is(code);
        assert!(ran.stderr.contains(wanted), "{program}: {}", ran.stderr);
    }
    // A script without a first line that names a shell is the shell's.
    assert_eq!(instance.ok(&["run", "./bare", "x"]), "bare ./bare x");
}

#[test]
fn a_task_gets_limits_mask_directory_and_files_as_submitted() {
    let instance = Instance::start(1);
    assert_eq!(
        instance.ok(&["run", "--rlimit=nofile=64,core=0", "sh", "-c", "ulimit -Sn; ulimit -Sc"]),
        "64\n0"
    );
    let ran = instance.run(&["run", "-o", "verbose", "--rlimit=nofile=unlimited", "true"]);
    assert!(ran.stderr.contains("rlimit: nofile is "), "{}", ran.stderr);
    instance.run(&["run", "-o", "rlimit.much=1", "true"]).code_is(1);
    let masked = |mask: &str| {
        let mut command = std::process::Command::new("sh");
        let inner = format!("umask {mask}; exec {} run sh -c umask", flurm_tests::flurm_bin().display());
        command.args(["-c", &inner]).env("FLURM_URI", &instance.uri).current_dir(instance.dir.path());
        run(command, b"").ok().trim().to_owned()
    };
    assert_eq!((masked("027"), masked("077")), ("0027".to_owned(), "0077".to_owned()));
    assert_eq!(instance.ok(&["run", "--cwd=/usr", "pwd"]), "/usr");
    let ran = instance.run(&["run", "--cwd=/no/such", "pwd"]);
    assert!(ran.code() == 1 && ran.stderr.contains("working directory /no/such"), "{}", ran.stderr);
    let script = "cat $FLUX_JOB_TMPDIR/in; stat -c %a $FLUX_JOB_TMPDIR $FLUX_JOB_TMPDIR/in";
    assert_eq!(instance.ok(&["run", "--add-file=in:0640=hello\n", "sh", "-c", script]), "hello\n700\n640");
    let dirs = instance.ok(&["run", "-n2", "echo", "{{tmpdir}}"]);
    let dirs: Vec<&str> = dirs.lines().collect();
    assert!(dirs.len() == 2 && dirs[0] == dirs[1], "one for each job and node: {dirs:?}");
}

#[test]
fn the_kernel_would_rather_end_tasks_than_brokers() {
    let instance = Instance::start(1);
    let own: i32 =
        std::fs::read_to_string("/proc/self/oom_score_adj").expect("proc").trim().parse().expect("a number");
    let read = ["sh", "-c", "cat /proc/self/oom_score_adj"];
    let of = |options: &[&str]| instance.ok(&[&["run"], options, &read].concat());
    assert_eq!(of(&[]), (own + 500).min(1000).to_string());
    assert_eq!(of(&["-o", "oom.adjust=999"]), "999");
    let broker =
        std::fs::read_to_string(format!("/proc/{}/oom_score_adj", instance.broker_pid(0))).expect("proc");
    assert_eq!(broker.trim(), own.to_string());
}

#[test]
fn tasks_do_not_outlive_the_first_by_long() {
    let instance = Instance::start(2);
    // On one node, and on two: there no shell sees both.
    for shape in [["-N1", "-n2"], ["-N2", "-n2"]] {
        let begun = Instant::now();
        let script = "test $FLUX_TASK_RANK = 0 || exec sleep 77123501";
        let ran = instance.run(&["run", shape[0], shape[1], "-o", "exit-timeout=0.5s", "sh", "-c", script]);
        assert!(ran.code() != 0 && ran.stderr.contains("(exit-timeout)"), "{shape:?}: {}", ran.stderr);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        assert_eq!(processes_with("77123501"), [] as [i32; 0]);
    }
    // A node without any task has nothing to end with.
    let map = ["--taskmap=manual:[[0,1,2,1]]", "-o", "exit-timeout=0.2s"];
    let ran = instance.run(&[&["run", "-N2", "-n2"], &map[..], &["sleep", "1"]].concat());
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    let script = "test $FLUX_TASK_RANK = 0 || sleep 1";
    for timeout in ["none", "30s"] {
        let timeout = format!("exit-timeout={timeout}");
        instance.run(&["run", "-N2", "-n2", "-o", &timeout, "sh", "-c", script]).code_is(0);
    }
    let script = "test $FLUX_TASK_RANK = 0 && exit 3; exec sleep 77123502";
    let ran = instance.run(&["run", "-N2", "-n2", "-o", "exit-on-error", "sh", "-c", script]);
    assert!(ran.stderr.contains("task 0 ended with 3 (exit-on-error)"), "{}", ran.stderr);
    assert_eq!(processes_with("77123502"), [] as [i32; 0]);
}

/// The one process with this word on its command line, and its state.
fn state_of(marker: &str) -> Option<char> {
    let pid = *processes_with(marker).first()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

#[test]
fn a_job_is_stopped_continued_and_ended_while_it_stands_still() {
    let instance = Instance::start(1);
    let id = instance.ok(&["submit", "--wait-event=start", "sleep", "77123503"]);
    let becomes = |state: char| {
        eventually("its state", DEADLINE, || (state_of("77123503") == Some(state)).then_some(()));
    };
    becomes('S');
    instance.ok(&["job", "kill", "-s", "STOP", &id]);
    becomes('T');
    instance.ok(&["job", "kill", "-s", "CONT", &id]);
    becomes('S');
    instance.ok(&["job", "kill", "-s", "STOP", &id]);
    becomes('T');
    instance.ok(&["cancel", &id]);
    instance.ok(&["job", "wait-event", &id, "clean"]);
    assert_eq!(processes_with("77123503"), [] as [i32; 0]);
}

/// Hides in every way at once: two forks, a session of its own, no environment, no descriptors, deaf to TERM, HUP and INT.
const STUBBORN: &str = r#"
import os, signal, sys, time
for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(s, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3): os.close(fd)
        os.execve("/bin/sleep", ["sleep", sys.argv[1]], {})
    os._exit(0)
os.wait()
time.sleep(1000)
"#;

#[test]
fn who_hides_and_ignores_every_signal_is_gone_five_seconds_after_cancel() {
    let instance = Instance::start(1);
    let id = instance.ok(&["submit", "python3", "-c", STUBBORN, "77123504"]);
    eventually("both of them", DEADLINE, || (processes_with("77123504").len() >= 2).then_some(()));
    instance.ok(&["cancel", &id]);
    // They end by KILL alone, and nobody but the shell sends one; a command that waits has its deadline.
    instance.ok(&["job", "wait-event", &id, "clean"]);
    assert_eq!(processes_with("77123504"), [] as [i32; 0]);
}

#[test]
fn how_long_a_job_may_take_to_end_is_said_by_it() {
    let instance = Instance::start(1);
    let script = "trap 'sleep 2; touch tidied; exit' TERM; touch begun; while :; do sleep 0.1; done";
    let tidied = |options: &[&str]| {
        let id = instance.ok(&[&["submit"], options, &["sh", "-c", script]].concat());
        let file = |name: &str| instance.dir.path().join(name);
        eventually("the task", DEADLINE, || file("begun").exists().then_some(()));
        std::fs::remove_file(file("begun")).expect("made by the task");
        instance.ok(&["cancel", &id]);
        instance.ok(&["job", "wait-event", &id, "clean"]);
        std::fs::remove_file(file("tidied")).is_ok()
    };
    assert!(!tidied(&["-o", "kill-timeout=0"]));
    assert!(tidied(&["-o", "kill-timeout=50s"]));
}

#[test]
fn the_file_of_its_errors_says_why_a_job_was_ended() {
    let instance = Instance::start(1);
    let id =
        instance.ok(&["submit", "--output=said", "-n2", "-t", "1s", "sh", "-c", "echo here; sleep 1000"]);
    instance.ok(&["job", "wait-event", &id, "clean"]);
    let said = std::fs::read_to_string(instance.dir.path().join("said")).expect("its file");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[2].starts_with("flurm-shell: job.exception: type=timeout severity=0 "), "{said}");
}

#[test]
fn the_log_of_its_execution_says_what_was_done() {
    let instance = Instance::start(2);
    let id = instance.ok(&["submit", "--wait", "-N2", "-n2", "true"]);
    let log = instance.ok(&["job", "info", &id, "guest.exec.eventlog"]);
    let names: Vec<String> = log
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON")["name"]
                .as_str()
                .expect("a name")
                .to_owned()
        })
        .filter(|name| name != "shell-exit")
        .collect();
    assert_eq!(names, ["init", "starting", "shell.init", "shell.start", "complete", "done"]);
    // It says so of a job that is over as well.
    assert!(log.contains(r#"{"leader-rank":0,"service":"shell","size":2}"#), "{log}");
    let told = instance.ok(&["job", "eventlog", "-p", "exec", &id]);
    assert!(told.contains(r#"leader-rank=0 service="shell" size=2"#), "{told}");
    let followed = instance.ok(&["job", "wait-event", "-p", "exec", &id, "shell.start"]);
    assert!(followed.contains("shell.start"), "{followed}");
    assert_eq!(instance.ok(&["job", "wait-event", &id, "exec.shell.start"]), followed);
    let listed = instance.ok(&["job", "eventlog", "-p", "exec", &id]);
    assert!(listed.contains(" shell.init ") && listed.contains(" done"), "{listed}");
    let ran = instance.run(&["run", "--wait-event=exec.shell.init", "-vvv", "sleep", "600"]).code_is(0);
    assert!(ran.stderr.contains("shell.init"), "{}", ran.stderr);
}

#[test]
fn what_a_job_has_used_is_said_at_its_end() {
    let instance = Instance::start(1);
    let program = "x = bytearray(64 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1";
    let ran: Ran = instance.run(&["run", "-o", "sysmon.period=0.1s", "python3", "-c", program]);
    let line = ran.stderr.lines().find(|line| line.contains("sysmon: "));
    let line = line.unwrap_or_else(|| panic!("no line: {}", ran.stderr));
    let mib = line.split("peak memory ").nth(1).and_then(|rest| rest.split(' ').next()).expect("an amount");
    let mib: f64 = mib.parse().expect("a number");
    assert!((64.0..500.0).contains(&mib), "{line}");
    assert!(line.contains(", load "), "{line}");
}

#[test]
fn each_task_runs_the_program_of_its_line() {
    let instance = Instance::start(1);
    let file = instance.dir.path().join("programs");
    std::fs::write(&file, "0 sh -c 'exit 4'\n1-2 echo %t %o\n3 no-such-program\n").expect("a file");
    let me = flurm_tests::flurm_bin().display().to_string();
    let ran = instance.run(&["run", "-n4", "--label-io", &me, "multi-prog", "programs"]).code_is(127);
    let mut lines: Vec<&str> = ran.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["1: 1 0", "2: 2 1"]);
    assert!(ran.stderr.contains("task 3: no-such-program: "), "{}", ran.stderr);
    let dry = instance.ok(&["multi-prog", "-n", "0-2", "programs"]);
    assert_eq!(dry, "0: sh -c exit 4\n1: echo 1 0\n2: echo 2 1");
    std::fs::write(&file, "1 echo\n").expect("a file");
    let ran = instance.run(&["run", "-n2", &me, "multi-prog", "programs"]).code_is(1);
    assert!(ran.stderr.contains("no line is for task 0"), "{}", ran.stderr);
}

#[test]
fn options_that_cannot_work_are_refused_with_a_way_out() {
    let instance = Instance::start(1);
    for (option, wanted) in [
        ("nosetpgrp", "process group of its own"),
        ("stop-tasks-in-exec", "debugger"),
        ("initrc=x", "Lua"),
        ("no-such-option", "is not known here"),
    ] {
        let ran = instance.run(&["run", "-o", option, "true"]);
        assert!(ran.code() != 0 && ran.stderr.contains(wanted), "{option}: {}", ran.stderr);
    }
}
