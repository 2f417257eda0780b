//! An instance inside a job of another sees what that job was given, to any depth.

use flurm_tests::{DEADLINE, Instance, eventually, flurm, flurm_bin, run};

#[test]
fn a_nested_instance_has_just_what_its_job_was_given() {
    let instance = Instance::start(4);
    let bin = flurm_bin().display().to_string();
    let list = instance.ok(&[
        "run",
        "-N2",
        "-n2",
        "-c3",
        &bin,
        "start",
        &bin,
        "resource",
        "list",
        "-n",
        "-s",
        "all",
        "-o",
        "{nnodes} {ncores}",
    ]);
    assert_eq!(list.trim(), "2 6");
    assert_eq!(
        instance.ok(&["run", "-n1", "-c2", &bin, "start", &bin, "resource", "info"]).split(',').count(),
        3
    );
}

#[test]
fn three_levels_deep_works() {
    let instance = Instance::start(2);
    let bin = flurm_bin().display().to_string();
    let script = format!("{bin} run -N2 -n2 -c2 {bin} start {bin} run -N2 -n4 sh -c 'echo $FLUX_TASK_RANK'");
    let out = instance.ok(&["run", "-N2", "-n2", "-c4", &bin, "start", "sh", "-c", &script]);
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["0", "1", "2", "3"]);
    let level = instance.ok(&["run", "-n1", &bin, "start", &bin, "getattr", "instance-level"]);
    assert_eq!(level, "1");
}

/// One task gets PMI only when it is `flurm` itself; anything around it has to do without.
#[test]
fn an_instance_started_by_a_script_has_what_its_job_was_given_too() {
    let instance = Instance::start(2);
    let bin = flurm_bin().display().to_string();
    let inner =
        "flurm resource list -n -s all -o '{nnodes} {ncores} {nodelist}'; flurm getattr instance-level";
    let script = |inner: &str| format!("{bin} start sh -c \"{inner}\"");
    let said = instance.ok(&["run", "--requires=rank:1", "-n1", "-c3", "sh", "-c", &script(inner)]);
    assert_eq!(said, "1 3 node1\n1");
    // Again in the initial program of one in a job: two levels down, whatever the environment says.
    let deeper = format!("{bin} start flurm getattr instance-level; flurm getattr parent-uri");
    let said = instance.ok(&["run", "-n1", "sh", "-c", &script(&deeper)]);
    assert_eq!(said.lines().next(), Some("2"));
    assert_eq!(said.lines().nth(1), Some(&*instance.uri));

    let several = instance.run(&["run", "-n2", "-opmi=off", "sh", "-c", &format!("{bin} start true")]);
    assert_ne!(several.code(), 0);
    let errors = several.stderr.matches("2 tasks of job").count();
    assert!(errors == 1 && several.stderr.contains("hint: flurm run -n2 flurm start"), "{}", several.stderr);
}

#[test]
fn an_instance_hears_when_the_time_limit_of_its_job_changes() {
    let instance = Instance::start(1);
    let id = instance.ok(&["alloc", "--bg", "-n2", "-t", "1h"]);
    let uri = instance.ok(&["uri", "--local", &id]);
    let inside = |args: &[&str]| {
        let mut command = instance.command(args);
        command.env("FLURM_URI", &uri);
        run(command, b"").ok().trim().to_owned()
    };
    let free = inside(&["submit", "--wait-event=start", "sleep", "1000"]);
    let short = inside(&["submit", "--wait-event=start", "-t", "10m", "sleep", "1000"]);
    let left =
        |args: &[&str]| -> u32 { inside(&[&["job", "timeleft"], args].concat()).parse().expect("seconds") };
    assert!(left(&[]) <= 3600 && left(&[&free]) <= 3600);
    for (change, range) in [("duration=2h", 3601..=7200), ("duration=-90m", 601..=1800)] {
        instance.ok(&["update", &id, change]);
        eventually(change, DEADLINE, || range.contains(&left(&[])).then_some(()));
        // What runs until the end of the instance goes with it, what has a limit of its own does not.
        assert!(range.contains(&left(&[&free])) && left(&[&short]) <= 600, "{change}");
    }
    let log = inside(&["resource", "eventlog", "-f", "json"]);
    assert_eq!(log.matches("resource-update").count(), 2, "{log}");
    instance.ok(&["cancel", &id]);
}

#[test]
fn a_parent_that_is_gone_is_said_and_done_without() {
    let mut start = flurm(&["start", "sh", "-c", "flurm getattr instance-level; flurm getattr parent-uri"]);
    start.env("FLURM_URI", "local:///no/such/instance").env("FLURM_JOB_ID", "f3");
    let ran = run(start, b"");
    assert_eq!(ran.stdout, "0\n");
    assert!(
        ran.stderr.contains("warning: failed to ask the instance at local:///no/such/instance: ")
            && ran.stderr.contains("hint:"),
        "{}",
        ran.stderr
    );
}

#[test]
fn nothing_of_the_outer_launcher_leaks_into_tasks() {
    let instance = flurm_tests::Instance::with(flurm_tests::Options {
        size: 1,
        env: [
            "SLURM_STEP_ID",
            "SLURM_MPI_TYPE",
            "PMIX_RANK",
            "OMPI_COMM_WORLD_SIZE",
            "I_MPI_PMI_LIBRARY",
            "PALS_RANKID",
        ]
        .map(|name| (name.to_owned(), "leak".to_owned()))
        .into(),
        ..Default::default()
    });
    let env = instance.ok(&["run", "env"]);
    let leaks: Vec<&str> =
        env.lines().filter(|l| l.ends_with("=leak") && !l.starts_with("FLURM_OUTER_")).collect();
    assert_eq!(leaks, [] as [&str; 0]);
    for name in [
        "FLURM_URI=",
        "FLUX_URI=",
        "FLUX_JOB_ID=",
        "FLURM_JOB_ID=",
        "FLUX_TASK_RANK=0",
        "SLURM_PROCID=0",
        "SLURM_NTASKS=1",
    ] {
        assert!(env.lines().any(|l| l.starts_with(name)), "{name} is missing in\n{env}");
    }
}
