//! Wrong use: each case gives `error:`, mostly `hint:`, the right exit code, and leaves nothing half done.

use flurm_tests::{DEADLINE, Instance, eventually, flurm, kill, run};
use std::process::Command;

/// What is typed, its exit code, and words of the error and of the hint (empty: there needs to be none).
struct Case {
    line: &'static str,
    code: i32,
    error: &'static str,
    hint: &'static str,
}

const fn case(line: &'static str, code: i32, error: &'static str, hint: &'static str) -> Case {
    Case { line, code, error, hint }
}

const CASES: &[Case] = &[
    case("nosuchcommand", 2, "nosuchcommand", ""),
    case("run --no-such-option true", 2, "`flurm run` has no option --no-such-option", "--help"),
    case("run -n many true", 2, "`many` is no number", "--help"),
    case("run", 2, "", ""),
    case("run -t 1x true", 2, "1x", "duration"),
    case("submit --cc=3-1 true", 2, "3-1", ""),
    case("run -N3 -n2 true", 2, "nodes", ""),
    case("run -N2 --cores=4 -n2 true", 2, "", ""),
    case("submit --queue=none true", 1, "requested queue none not found", "leave the queue out"),
    case("submit -n1000 true", 1, "", "flurm resource list"),
    case("submit --dependency=afterok:ƒ12345 true", 1, "there is no job", ""),
    case("submit --dependency=sometime:1 true", 1, "sometime", "afterok"),
    case("submit --urgency=99 true", 2, "99", ""),
    case("submit --begin-time=whenever true", 2, "whenever", "tomorrow"),
    case("submit --env-file=/nonexistent/file true", 1, "/nonexistent/file", ""),
    case("jobs -o {nosuchfield}", 2, "no field `nosuchfield`", "`-o help` lists all fields"),
    case("jobs -o {return_code}", 2, "no field `return_code`", "did you mean `returncode`?"),
    case("jobs -f sleeping", 2, "sleeping", ""),
    case("cancel not=an=id", 2, "not=an=id", ""),
    case("cancel ƒ2345", 1, "there is no job ƒ2345", ""),
    case("job kill -s NOSUCH ƒ12345", 2, "no such signal", ""),
    case("update ƒ12345 duration", 2, "`duration` is not KEY=VALUE", "duration=+10m"),
    case("batch /nonexistent/script.sh", 1, "/nonexistent/script.sh", ""),
    case("alloc true", 2, "", ""),
    case("kvs get nokey", 1, "nokey", ""),
    case("kvs put novalue", 1, "`novalue` is not KEY=VALUE", ""),
    case("kvs put -t x={}", 2, "tree object", ""),
    case("resource drain 99 x", 1, "no rank 99", ""),
    case("resource status -s broken", 2, "broken", ""),
    case("queue stop nosuch", 1, "queue nosuch not found", ""),
    case("uri lsf:12", 2, "there are no targets `lsf:`", "slurm:"),
    case("proxy ssh://nowhere/tmp/x true", 1, "Slurm", "slurm:JOBID"),
    case("R decode", 2, "no set", "flurm resource R"),
    case("hostlist --nth=5 a,b", 2, "no place 5", ""),
    case("start --conf=nosuchkey=1 true", 2, "nosuchkey", ""),
    case("start -o,-x true", 2, "-x", "FLURM_LOG"),
];

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_begun() {
    let instance = Instance::start(4);
    let mut wrong = Vec::new();
    for Case { line, code, error, hint } in CASES {
        let ran = instance.run(&words(line));
        let said = |what: &str, words: &str| {
            ran.stderr.lines().any(|l| l.starts_with(what)) && ran.stderr.contains(words)
        };
        let right =
            ran.code() == *code && said("error: ", error) && (hint.is_empty() || said("hint: ", hint));
        if !right || !ran.stdout.is_empty() {
            wrong.push(format!(
                "flurm {line}\n  exit {} (not {code}): {}{}",
                ran.code(),
                ran.stdout,
                ran.stderr
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(instance.ok(&["jobs", "-a", "-n"]), "", "jobs that should not be");
    assert_eq!(instance.ok(&["kvs", "ls", "-1"]), "job\nresource");
    assert_eq!(instance.ok(&["resource", "drain", "-n"]), "");
}

#[test]
fn who_does_not_read_ends_it_quietly_and_a_full_disk_is_an_error() {
    let instance = Instance::start(1);
    let shell = |line: &str| {
        let mut command = Command::new("bash");
        command.args(["-c", line]).env("FLURM_URI", &instance.uri).env("F", flurm_tests::flurm_bin());
        command.current_dir(instance.dir.path());
        run(command, b"")
    };
    let ran = shell("$F lsattr -v 1>&- 2>err; echo $?; cat err");
    assert!(!ran.stdout.contains("panic"), "{}", ran.stdout);
    let ran = shell("exec 3> >(exec true); wait $!; $F lsattr -v >&3; echo $?");
    assert_eq!((ran.stdout.trim(), ran.stderr.as_str()), ("141", ""));
    let ran = shell("$F lsattr -v > /dev/full; echo $?");
    assert_eq!(ran.stdout.trim(), "1");
    assert!(ran.stderr.starts_with("error: cannot print: No space left"), "{}", ran.stderr);
    // The disk of the job's output is full: its task says so where it writes itself, and the job where that does it.
    let ran = instance.run(&["run", "--output=/dev/full", "--error=none", "echo", "hello"]);
    assert!(ran.stderr.contains("No space left"), "{}", ran.stderr);
    assert_ne!(ran.code(), 0, "{}", ran.stderr);
    let ran = instance.run(&["run", "--output=/dev/full", "--label-io", "echo", "hello"]).code_is(1);
    assert!(ran.stderr.contains("type=output") && ran.stderr.contains("No space left"), "{}", ran.stderr);
    let id = instance.ok(&["job", "last"]);
    assert_eq!(instance.ok(&["jobs", "-n", "-o", "{result} {returncode}", &id]), "FAILED 1");
    // A code of the tasks' own that says more stays.
    let fails = ["run", "--output=/dev/full", "-l", "sh", "-c", "echo x; exit 7"];
    instance.run(&fails).code_is(7);
}

#[test]
fn without_a_broker_both_lines_tell_what_to_do() {
    let ran = run(flurm(&["jobs"]), b"").code_is(1);
    assert!(ran.stderr.starts_with("error: cannot find an instance") && ran.stderr.contains("\nhint: "));
    let instance = Instance::start(1);
    let pid = instance.broker_pid(0);
    let mut waiting = instance.command(&["queue", "idle"]);
    instance.ok(&["submit", "--wait-event=start", "sleep", "1000"]);
    let mut waiting = waiting.stderr(std::process::Stdio::piped()).spawn().expect("flurm runs");
    kill(pid, libc::SIGKILL);
    let status = eventually("the end of who waited", DEADLINE, || waiting.try_wait().expect("our child"));
    assert_eq!(status.code(), Some(1));
    let text = std::io::read_to_string(waiting.stderr.take().expect("piped")).expect("text");
    assert!(text.starts_with("error: "), "{text}");
}
