//! Programs of several real MPI libraries, started without a word about MPI.
//!
//! `scripts/mpis.sh` gets MPICH 5 and 4.3 and Open MPI 5 from PyPI and Open MPI 4.1 from Debian, and builds the examples of
//! `templates/examples/mpi` for each. As root (in CI) all of them have to be there; an ordinary user who has no Debian
//! packages is told that the tests are skipped. Several nodes on a real network are `slurm_lab.rs`'s.

use flurm_tests::mpis::{Mpi, mpis};
use flurm_tests::{Instance, Options, Ran, alive, eventually, fake_nodes, processes_with, run};
use std::collections::BTreeSet;
use std::time::Duration;

/// Two hundred jobs take 40 s on two quiet cores; others may be using them.
const MANY_JOBS_MAX: Duration = Duration::from_secs(600);

fn mpi<'a>(mpis: &'a [Mpi], start: &str) -> &'a Mpi {
    mpis.iter().find(|mpi| mpi.name.starts_with(start)).expect("scripts/mpis.sh names it")
}

/// Nodes with four cores each, on this host.
fn nodes(size: u32) -> Instance {
    Instance::with(Options { size, ..Options::default() })
}

/// `flurm run ARGS…`, in the environment of the instance's initial program.
fn go(instance: &Instance, args: &[&str]) -> Ran {
    let mut command = instance.command(&["run"]);
    command.args(args);
    run(command, b"")
}

/// The ranks that have said hello to a world of that size.
#[track_caller]
fn ranks(hello: &str, size: u32) -> BTreeSet<u32> {
    let of = |line: &str| {
        let field = |name: &str| {
            let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_else(|| panic!("no {name} in `{line}`")).parse::<u32>().expect("a number")
        };
        assert_eq!(field("size"), size, "{line}");
        field("rank")
    };
    hello.lines().filter(|line| line.starts_with("hello ")).map(of).collect()
}

#[test]
fn programs_of_every_mpi_run_on_one_node_and_on_three() {
    let Some(mpis) = mpis("every MPI") else { return };
    let instance = nodes(3);
    for mpi in mpis {
        for (shape, size) in [(["-N1", "-n4"], 4), (["-N3", "-n12"], 12)] {
            for language in ["c", "rust"] {
                let hello = mpi.program(&format!("{language}/hello"));
                let out = go(&instance, &[shape[0], shape[1], &hello, &size.to_string()]).ok();
                assert_eq!(ranks(&out, size), (0..size).collect(), "{}: {out}", mpi.name);
            }
            // One in C and one in Rust of these, each of them on one node and on three with some MPI.
            for program in if size == 4 { ["c/ring", "rust/allreduce"] } else { ["rust/ring", "c/allreduce"] }
            {
                let out = go(&instance, &[shape[0], shape[1], &mpi.program(program)]).ok();
                assert!(out.contains(&format!("size={size} ")), "{} {program}: {out}", mpi.name);
                assert!(!out.contains("WRONG"), "{} {program}: {out}", mpi.name);
            }
        }
        // One task is offered nothing, and is a world of its own.
        let out = go(&instance, &["-n1", &mpi.program("c/allreduce")]).ok();
        assert!(out.contains("size=1 sum=1 ok"), "{}: {out}", mpi.name);
        // An expectation that is not met is the job's exit code.
        go(&instance, &["-N1", "-n2", &mpi.program("c/hello"), "3"]).code_is(3);
    }
    assert!(instance.end().success());
}

#[test]
fn tasks_are_bound_to_cores_of_their_own() {
    let Some(mpis) = mpis("masks") else { return };
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    // What there is: CPUs that are made up cannot be bound to.
    let instance = Instance::with(Options { size: 1, config: Some(String::new()), ..Options::default() });
    for mpi in mpis {
        let n = format!("-n{cores}");
        let out = go(&instance, &[&n, &mpi.program("c/hello")]).ok();
        let masks: BTreeSet<&str> =
            out.lines().filter_map(|line| line.split_once("cpus=")).map(|m| m.1).collect();
        assert_eq!(masks.len(), cores, "{}: every task has a CPU that no other has: {out}", mpi.name);
    }
    assert!(instance.end().success());
}

#[test]
fn one_rank_that_aborts_ends_all_with_its_code() {
    let Some(mpis) = mpis("abort") else { return };
    let instance = nodes(3);
    for mpi in mpis {
        let ran = go(&instance, &["-N3", "-n6", &mpi.program("c/abort"), "4", "7"]).code_is(7);
        assert!(ran.stderr.contains("task 4 aborted"), "{}: {}", mpi.name, ran.stderr);
        let id = instance.ok(&["job", "last"]);
        let log = instance.ok(&["job", "eventlog", "-f", "json", &id]);
        let time = |name: &str| {
            let mut events =
                log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
            let found = events.find(|event| event["name"] == name);
            found.unwrap_or_else(|| panic!("no {name} in {log}"))["timestamp"].as_f64().expect("a time")
        };
        let took = time("finish") - time("exception");
        assert!(took < 2.0, "{}: all were gone {took} s after the abort", mpi.name);
    }
    assert!(instance.end().success());
}

#[test]
fn an_mpi_that_is_kept_from_its_pmi_is_told_of_and_nobody_else_is() {
    let Some(mpis) = mpis("singletons") else { return };
    let instance = nodes(1);
    let singletons = "these look like 2 singletons";
    for (name, option) in [("openmpi-5", "pmi=simple"), ("mpich-4.3", "pmi=pmix"), ("mpich-5", "pmi=off")] {
        let program = mpi(mpis, name).program("c/hello");
        let ran = go(&instance, &["-n2", "-o", option, &program]);
        assert!(ran.stderr.contains(singletons), "{name} {option}: {}{}", ran.stdout, ran.stderr);
        // MPICH 4.3 rather gives up.
        let alone = ran.stdout.matches("rank=0 size=1").count();
        assert_eq!(alone, if name == "mpich-4.3" { 0 } else { 2 }, "{name}: {}", ran.stdout);
        assert_eq!(ran.stderr.matches(singletons).count(), 1, "said once: {}", ran.stderr);
        let id = instance.ok(&["job", "last"]);
        assert!(instance.ok(&["job", "eventlog", &id]).contains(singletons));
    }
    let script = "exec sleep 0";
    for (what, args) in [
        ("a script", &["-n2", "sh", "-c", script][..]),
        ("a program without MPI", &["-n2", "true"]),
        ("one task", &["-n1", &mpi(mpis, "mpich-5").program("c/hello")]),
        ("what works", &["-n2", &mpi(mpis, "mpich-5").program("c/hello")]),
    ] {
        let ran = go(&instance, args);
        assert!(!ran.stderr.contains("singletons"), "{what}: {}", ran.stderr);
        ran.ok();
    }
    assert!(instance.end().success());
}

#[test]
fn scripts_find_their_mpi_too() {
    let Some(mpis) = mpis("scripts") else { return };
    let instance = nodes(1);
    for mpi in mpis {
        let line = format!("exec {} 4", mpi.program("c/hello"));
        let out = go(&instance, &["-n4", "sh", "-c", &line]).ok();
        assert_eq!(ranks(&out, 4), (0..4).collect(), "{}: {out}", mpi.name);
    }
    assert!(instance.end().success());
}

#[test]
fn without_libpmix_a_program_that_needs_it_is_an_error_and_others_run() {
    let Some(mpis) = mpis("no libpmix") else { return };
    let instance = nodes(1);
    let without = |args: &[&str]| {
        let mut command = instance.command(&["run", "-n2", "--env=FLURM_PMIX_LIBRARY=/no/such/libpmix.so"]);
        command.args(args);
        run(command, b"")
    };
    let ran = without(&[&mpi(mpis, "openmpi-5").program("c/hello")]).code_is(1);
    for part in ["linked with libmpi.so.40, which needs PMIx", "/no/such/libpmix.so", "FLURM_PMIX_LIBRARY"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert_eq!(ran.stdout, "", "nothing has run");
    without(&["sh", "-c", "true"]).ok();
    without(&[&mpi(mpis, "mpich-5").program("c/hello"), "2"]).ok();
    assert!(instance.end().success());
}

#[test]
fn jobs_twenty_at_a_time_leave_nobody_behind() {
    let Some(mpis) = mpis("many jobs") else { return };
    // Twenty jobs of four fit.
    let instance = Instance::with(Options { size: 1, config: Some(fake_nodes(1, 80)), ..Options::default() });
    for (mpi, copies) in [(mpi(mpis, "mpich-5"), 200), (mpi(mpis, "openmpi-debian"), 40)] {
        let hello = mpi.program("c/hello");
        let cc = format!("--cc=1-{copies}");
        let ids = instance.ok(&["submit", &cc, "-n4", "--quiet", "--output=none", &hello, "4"]);
        assert_eq!(ids, "");
    }
    eventually("all jobs' end", MANY_JOBS_MAX, || {
        instance.ok(&["jobs", "--no-header", "-o", "{id}"]).is_empty().then_some(())
    });
    let results = instance.ok(&["jobs", "-a", "--count=0", "--no-header", "-o", "{result}"]);
    assert_eq!(results.lines().count(), 240);
    let bad: Vec<&str> = results.lines().filter(|result| *result != "COMPLETED").collect();
    assert!(bad.is_empty(), "{bad:?}");
    let dir = instance.rundir(0).to_string_lossy().into_owned();
    eventually("all servers' end", Duration::from_secs(10), || {
        let servers =
            processes_with("pmix-server").into_iter().filter(|pid| alive(*pid) && child_of(*pid, &dir));
        (servers.count() == 0).then_some(())
    });
    assert!(instance.end().success());
}

/// Has this process been started below that run directory?
fn child_of(pid: i32, dir: &str) -> bool {
    let parent = |pid: i32| -> Option<i32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let Some(parent) = parent(pid) else { return false };
    std::fs::read_to_string(format!("/proc/{parent}/cmdline")).is_ok_and(|line| line.contains(dir))
}

#[test]
fn two_hundred_jobs_one_after_the_other_all_complete() {
    let Some(mpis) = mpis("one after the other") else { return };
    let instance = Instance::with(Options { size: 1, config: Some(fake_nodes(1, 4)), ..Options::default() });
    // There is room for one at a time.
    let hello = mpi(mpis, "mpich-5").program("c/hello");
    instance.ok(&["submit", "--cc=1-200", "-n4", "--quiet", "--output=none", &hello, "4"]);
    eventually("all jobs' end", MANY_JOBS_MAX, || {
        instance.ok(&["jobs", "--no-header", "-o", "{id}"]).is_empty().then_some(())
    });
    let results = instance.ok(&["jobs", "-a", "--count=0", "--no-header", "-o", "{result}"]);
    assert_eq!(results.lines().filter(|result| *result == "COMPLETED").count(), 200, "{results}");
    assert!(instance.end().success());
}

#[test]
fn what_another_launcher_has_left_does_not_reach_tasks_and_is_named() {
    let instance = nodes(1);
    let outer = [
        ("PMI_FD", "77"),
        ("PMIX_NAMESPACE", "slurm.pmix.1.0"),
        ("PALS_RANKID", "3"),
        ("OMPI_COMM_WORLD_SIZE", "64"),
        ("I_MPI_PMI_LIBRARY", "/usr/lib/libpmi.so"),
        ("SLURM_STEP_ID", "0"),
        ("OMPI_MCA_coll", "^han"),
    ];
    let mut command = instance.command(&["run", "-vv", "env"]);
    command.envs(outer);
    let ran = run(command, b"");
    let told: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("environment: removed")).collect();
    for (name, value) in outer {
        let inherited = ran.stdout.lines().any(|line| line == format!("{name}={value}"));
        let named = told.iter().any(|line| line.split(' ').any(|word| word == name));
        assert_eq!(
            (inherited, named),
            if name == "OMPI_MCA_coll" { (true, false) } else { (false, true) },
            "{name}"
        );
    }
    assert!(ran.stdout.contains("FLURM_OUTER_SLURM_STEP_ID=0"));
    let mut command = instance.command(&["run", "env"]);
    command.envs(outer);
    assert!(!run(command, b"").stderr.contains("environment: removed"), "only who asks is told");
    assert!(instance.end().success());
}
