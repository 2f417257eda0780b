//! Standard input, output and error: to the client, to files, kept for later.

use flurm_tests::{Instance, Options, eventually, kill};
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

#[test]
fn input_reaches_the_tasks_and_output_comes_back() {
    let instance = Instance::start(2);
    assert_eq!(instance.run_with_input(&["run", "cat"], b"one\ntwo\n").ok(), "one\ntwo\n");
    assert_eq!(instance.run_with_input(&["run", "-n2", "-l", "cat"], b"x\n").ok().lines().count(), 2);
    let both = instance.run(&["run", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));
    let bytes: Vec<u8> = (0..200_000_u32).flat_map(|i| format!("line {i}\n").into_bytes()).collect();
    let through = instance.run_with_input(&["run", "cat"], &bytes);
    assert_eq!(through.stdout.len(), bytes.len());
    assert!(through.stdout.as_bytes() == bytes, "every byte in order");
}

#[test]
fn labels_name_the_task() {
    let instance = Instance::start(2);
    let out = instance.ok(&["run", "-N2", "-n4", "-l", "sh", "-c", "echo task $FLUX_TASK_RANK"]);
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["0: task 0", "1: task 1", "2: task 2", "3: task 3"]);
}

#[test]
fn files_take_templates() {
    let instance = Instance::start(2);
    let id = instance.ok(&[
        "submit",
        "--wait",
        "-n2",
        "--output=out.{{id.dec}}.{{task.id}}",
        "--error=err.{{name}}",
        "sh",
        "-c",
        "echo $FLUX_TASK_RANK; echo e >&2",
    ]);
    let dec = instance.ok(&["job", "id", &id]);
    let read = |name: String| {
        std::fs::read_to_string(instance.dir.path().join(&name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    assert_eq!(read(format!("out.{dec}.0")), "0\n");
    assert_eq!(read(format!("out.{dec}.1")), "1\n");
    assert_eq!(read("err.sh".into()), "e\ne\n");
}

/// A file that takes nothing before somebody reads, as a file system does that hesitates.
fn slow_file(instance: &Instance) -> std::path::PathBuf {
    let path = instance.dir.path().join("slow");
    let name = std::ffi::CString::new(path.to_str().expect("text")).expect("no NUL");
    // SAFETY: a valid path.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    path
}

/// More than a FIFO and we ourselves hold; the rest stays in the task's pipe when the task is over.
const SLOW: [&str; 6] =
    ["-n2", "-l", "--output=slow", "sh", "-c", "[ $FLURM_TASK_RANK = 1 ] || seq 10000 40000"];

#[test]
fn a_file_system_that_takes_its_time_loses_nothing() {
    let instance = Instance::start(1);
    let path = slow_file(&instance);
    let mut job = instance.command(&["run"]).args(SLOW).spawn().expect("a job");
    let mut file = std::fs::File::open(path).expect("its other end");
    // Its tasks are over at once. Readers of pipes that others hold open end a second later.
    assert!(
        flurm_tests::wait_child(&mut job, Duration::from_secs(4)).is_none(),
        "something is not written yet"
    );
    let mut text = String::new();
    file.read_to_string(&mut text).expect("text");
    let wanted: String = (10_000..=40_000).map(|n| format!("0: {n}\n")).collect();
    assert!(text == wanted, "{} of {} bytes", text.len(), wanted.len());
    assert!(job.wait().expect("our child").success());
}

#[test]
fn what_a_file_did_not_take_before_the_job_was_ended_is_said() {
    let instance = Instance::start(1);
    let path = slow_file(&instance);
    let id = instance.ok(&[&["submit"][..], &SLOW].concat());
    let _file = std::fs::File::open(path).expect("its other end");
    instance.ok(&["job", "wait-event", &id, "start"]);
    instance.ok(&["cancel", &id]);
    instance.ok(&["job", "wait-event", &id, "clean"]);
    let log = instance.ok(&["job", "eventlog", &id]);
    let said = |line: &&str| line.contains("type=\"output\"") && line.contains("task 0");
    assert!(log.lines().any(|line| said(&line)), "{log}");
}

#[test]
fn long_lines_have_one_label() {
    let instance = Instance::start(1);
    let line = "head -c 200000 /dev/zero | tr '\\0' x; echo";
    instance.ok(&["run", "-l", "--output=long", "sh", "-c", line]);
    let text = std::fs::read_to_string(instance.dir.path().join("long")).expect("a file");
    assert!(
        text == format!("0: {}\n", "x".repeat(200_000)),
        "{} bytes, {} labels",
        text.len(),
        text.matches(':').count()
    );
}

#[test]
fn files_of_output_are_closed_to_those_whom_the_submitter_keeps_out() {
    use std::os::unix::fs::MetadataExt as _;
    let instance = Instance::start(1);
    for (umask, mode) in [("077", 0o600), ("027", 0o640), ("022", 0o644)] {
        let run = |what: &str| {
            let mut command = std::process::Command::new("sh");
            let with = instance.command(&[]);
            command.current_dir(instance.dir.path()).envs(with.get_envs().filter_map(|(k, v)| Some((k, v?))));
            let script = format!("umask {umask} && exec \"$0\" run {what} echo hi");
            flurm_tests::run(
                {
                    command.args(["-c", &script]).arg(with.get_program());
                    command
                },
                b"",
            )
            .ok();
        };
        run(&format!("--output={umask}.one"));
        run(&format!("-n2 -l --output={umask}.shared"));
        run(&format!("-o output.archive={umask}.all"));
        for file in ["one", "shared", "all", "all.index"] {
            let path = instance.dir.path().join(format!("{umask}.{file}"));
            let about = path.metadata().unwrap_or_else(|e| panic!("{path:?}: {e}"));
            assert_eq!(about.mode() & 0o777, mode, "{path:?}");
        }
    }
}

#[test]
fn nodes_that_share_a_file_lose_nothing_of_it() {
    let instance = Instance::start(2);
    let path = instance.dir.path().join("shared");
    for label in [false, true] {
        for run in 0..30 {
            // What an earlier job has left there goes.
            std::fs::write(&path, "old\n").expect("a file");
            let mut args = vec!["run", "-N2", "-n4", "--output=shared"];
            args.extend(label.then_some("-l"));
            args.extend(["sh", "-c", "echo line $FLUX_TASK_RANK"]);
            instance.ok(&args);
            let text = std::fs::read_to_string(&path).expect("a file");
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            let line = |task| if label { format!("{task}: line {task}") } else { format!("line {task}") };
            assert_eq!(lines, (0..4).map(line).collect::<Vec<_>>(), "run {run}");
        }
    }
    // One task on each node writes there itself.
    for run in 0..30 {
        instance.ok(&["run", "-N2", "-n2", "--output=shared", "echo", "line"]);
        let text = std::fs::read_to_string(&path).expect("a file");
        assert_eq!(text, "line\nline\n", "run {run}");
    }
    // Nobody waits for a node that cannot open it.
    let ran = instance.run(&["run", "-N2", "-n2", "--output=/no/such/dir/file", "true"]).code_is(1);
    assert!(ran.stderr.contains("/no/such/dir/file"), "{}", ran.stderr);
}

#[test]
fn output_is_kept_for_attach_and_follows_while_running() {
    let instance = Instance::start(1);
    let submitted = instance.run(&["submit", "--wait", "sh", "-c", "printf 'a\\nb'; exit 5"]).code_is(5);
    let id = submitted.stdout.trim_end();
    let ran = instance.run(&["job", "attach", id]).code_is(5);
    assert_eq!(ran.stdout, "a\nb");
    let bad = instance.run(&["job", "attach", "ƒ1"]).code_is(1);
    assert!(bad.stderr.contains("error:"), "{}", bad.stderr);
}

#[test]
fn bytes_that_are_not_text_arrive_unharmed() {
    let instance = Instance::start(1);
    let out = std::process::Command::new(flurm_tests::flurm_bin())
        .env("FLURM_URI", &instance.uri)
        .args(["run", "printf", "\\377\\000\\001x"])
        .output()
        .expect("flurm runs");
    assert_eq!(out.stdout, b"\xff\x00\x01x");
}

#[test]
fn much_input_arrives_whole() {
    let instance = Instance::start(2);
    let bytes: Vec<u8> =
        (0..20_000_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let counted = instance.run_with_input(&["run", "-N2", "--label-io", "wc", "-c"], &bytes).ok();
    let mut lines: Vec<&str> = counted.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["0: 20000000", "1: 20000000"]);
}

#[test]
fn who_follows_gets_every_byte_and_as_much_as_was_asked_for_is_kept() {
    let instance = Instance::start(2);
    let all = "seq 1 500000";
    let expected: String = (1..=500_000).map(|n| format!("{n}\n")).collect();
    let through = instance.run(&["run", "-o", "output.limit=1M", "sh", "-c", all]);
    assert!(through.stdout == expected, "{} of {} bytes", through.stdout.len(), expected.len());
    assert_eq!(through.stderr, "");

    let id = instance.ok(&["submit", "--wait", "sh", "-c", all]);
    let kept = instance.run(&["job", "attach", &id]);
    assert!(expected == kept.stdout, "{} bytes", kept.stdout.len());
    assert_eq!(kept.stderr, "");
    let id = instance.ok(&["submit", "--wait", "-o", "output.limit=1M", "sh", "-c", all]);
    let kept = instance.run(&["job", "attach", &id]);
    assert!(expected.starts_with(&kept.stdout) && kept.stdout.len() == 1 << 20, "{}", kept.stdout.len());
    assert!(kept.stderr.contains("1 MiB"), "{}", kept.stderr);
    let id = instance.ok(&["submit", "--wait", "-o", "output.limit=200", "seq", "1000"]);
    let kept = instance.run(&["job", "attach", &id]);
    assert!(expected.starts_with(&kept.stdout) && kept.stdout.len() == 200, "{}", kept.stdout.len());
    assert!(kept.stderr.contains("the first 200 bytes"), "{}", kept.stderr);
    let refused = instance.run(&["run", "-o", "output.limit=much", "true"]);
    assert!(refused.stderr.contains("not a size"), "{}", refused.stderr);
}

/// Memory of a broker in bytes: what it has now, or `VmHWM`, the most it has ever had.
fn memory(instance: &Instance, what: &str) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", instance.broker_pid(0))).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(what)).expect("Linux says it");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("a number") << 10
}

#[test]
fn a_reader_that_stops_makes_its_job_wait_and_nobody_else() {
    let instance = Instance::start(1);
    let mut stopped = instance.command(&["run", "--job-name=stopped", "-o", "output.limit=1M", "yes"]);
    let mut stopped = stopped.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("flurm starts");
    let mut out = stopped.stdout.take().expect("piped");
    let mut some = vec![0; 1 << 20];
    out.read_exact(&mut some).expect("it speaks");
    // What it has written stays the same once all that is on the way is full.
    let yes = eventually("the task", Duration::from_secs(10), || {
        let pids = flurm_tests::processes_with(&format!("FLURM_URI={}", instance.uri));
        let is_yes =
            |pid: &&i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c == "yes\n");
        pids.iter().find(is_yes).copied()
    });
    let written = || {
        let io = std::fs::read_to_string(format!("/proc/{yes}/io")).expect("it runs");
        io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse::<u64>().ok()).expect("Linux counts")
    };
    let mut before = 0;
    eventually("the task to wait", Duration::from_secs(30), || {
        instance.ok(&["run", "true"]);
        let now = written();
        (std::mem::replace(&mut before, now) == now).then_some(())
    });
    let memory_before = memory(&instance, "VmRSS");
    for _ in 0..20 {
        assert_eq!(instance.ok(&["run", "echo", "still here"]), "still here");
    }
    assert_eq!(written(), before, "it waits in its write");
    let grown = memory(&instance, "VmRSS").saturating_sub(memory_before);
    assert!(grown < 16 << 20, "{grown} bytes");
    // Who reads again gets what has waited, and more.
    let mut more = vec![0; 16 << 20];
    out.read_exact(&mut more).expect("it goes on");
    assert!(more.chunks(2).all(|line| line == b"y\n"));
    drop(out);
    eventually("the end", Duration::from_secs(30), || stopped.try_wait().expect("our child"));
}

/// The standard output of a command, checked byte by byte against a line that is repeated.
fn assert_repeated(mut command: std::process::Command, line: &str, bytes: usize) {
    let mut run = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("flurm starts");
    let (mut out, mut len, mut buffer) = (run.stdout.take().expect("piped"), 0, vec![0; 1 << 20]);
    // So that a piece of it can be compared wherever in a line it begins.
    let lines = format!("{line}\n").repeat((1 << 20) / line.len() + 2).into_bytes();
    loop {
        let read = out.read(&mut buffer).expect("it is read");
        if read == 0 {
            break;
        }
        let at = len % (line.len() + 1);
        assert!(buffer[..read] == lines[at..at + read], "within {read} bytes from {len}");
        len += read;
    }
    assert_eq!(len, bytes);
    assert!(run.wait().expect("our child").success());
}

const LINE: &str = "a line of output as it may be in a log of some simulation, time step after time step";
const MUCH: usize = 100 << 20;

#[test]
fn much_output_comes_whole_is_kept_whole_and_leaves_the_broker_small() {
    let instance = Instance::start(1);
    instance.ok(&["run", "true"]);
    let before = memory(&instance, "VmHWM");
    let script = format!("yes '{LINE}' | head -c {MUCH}");
    assert_repeated(instance.command(&["run", "sh", "-c", &script]), LINE, MUCH);
    let id = instance.ok(&["job", "last"]);
    assert_repeated(instance.command(&["job", "attach", &id]), LINE, MUCH);
    let grown = memory(&instance, "VmHWM").saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes");
    // The part that is in the log, and a word on where the rest is.
    let log = instance.ok(&["job", "info", &id, "guest.output"]);
    assert!(log.len() < 1 << 20 && log.contains("flurm job output"), "{} bytes", log.len());
}

#[test]
fn kept_output_is_there_after_a_restart_of_the_broker() {
    const SOME: usize = 20 << 20;
    let state = tempfile::tempdir().expect("statedir");
    let options = || Options {
        size: 1,
        args: vec![format!("-Sstatedir={}", state.path().display())],
        ..Options::default()
    };
    let mut instance = Instance::with(options());
    let script = format!("yes '{LINE}' | head -c {SOME}");
    let id = instance.ok(&["submit", "--wait", "sh", "-c", &script]);
    kill(instance.broker_pid(0), libc::SIGKILL);
    instance.wait();
    let instance = Instance::with(options());
    assert_repeated(instance.command(&["job", "attach", &id]), LINE, SOME);
    assert_repeated(instance.command(&["job", "output", &id]), LINE, SOME);
}
