//! Mistakes at the start get a message, a hint and a non-zero exit (where they are errors), quickly.

use flurm_tests::{flurm, run};
use std::time::{Duration, Instant};

fn start(env: &[(&str, &str)], args: &[&str]) -> flurm_tests::Ran {
    let home = tempfile::tempdir().expect("a home");
    let mut command = flurm(args);
    command.env("HOME", home.path()).envs(env.iter().copied());
    let begun = Instant::now();
    let ran = run(command, b"");
    assert!(begun.elapsed() < Duration::from_secs(10), "took {:?}", begun.elapsed());
    ran
}

/// What a task of a Slurm step sees of itself.
fn step(
    ntasks: &'static str,
    nnodes: &'static str,
    per_node: &'static str,
    nodelist: &'static str,
) -> Vec<(&'static str, &'static str)> {
    vec![
        ("SLURM_JOB_ID", "123"),
        ("SLURM_STEP_ID", "0"),
        ("SLURM_JOB_NUM_NODES", nnodes),
        ("SLURM_JOB_NODELIST", nodelist),
        ("SLURM_STEP_NODELIST", nodelist),
        ("SLURM_STEP_NUM_NODES", nnodes),
        ("SLURM_STEP_NUM_TASKS", ntasks),
        ("SLURM_STEP_TASKS_PER_NODE", per_node),
        ("SLURM_NTASKS", ntasks),
        ("SLURM_PROCID", "0"),
        ("SLURM_NODEID", "0"),
        ("SLURM_LOCALID", "0"),
        ("SLURM_SRUN_COMM_HOST", "127.0.0.1"),
        ("SLURM_SRUN_COMM_PORT", "40001"),
    ]
}

#[test]
fn start_without_srun_in_a_larger_allocation_warns_and_goes_on() {
    let env = [
        ("SLURM_JOB_ID", "123"),
        ("SLURM_JOB_NUM_NODES", "4"),
        ("SLURM_JOB_NODELIST", "c[1-4]"),
        ("SLURM_PROCID", "0"),
        ("SLURM_NTASKS", "4"),
    ];
    let ran = start(&env, &["start", "sh", "-c", "exit 5"]);
    assert!(
        ran.stderr.contains("warning: this instance has 1 broker but Slurm job 123 has 4 nodes"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("hint: srun -N4 -n4"), "{}", ran.stderr);
    assert_eq!(ran.code(), 5, "a warning does not change the result");
}

#[test]
fn more_than_one_broker_on_a_node_is_an_error() {
    let ran = start(&step("80", "4", "20(x4)", "c[1-4]"), &["start", "true"]);
    assert_ne!(ran.code(), 0);
    assert!(ran.stderr.contains("error: 20 brokers on node c1"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: use --ntasks-per-node=1 -c 20"), "{}", ran.stderr);
}

#[test]
fn nodes_that_do_not_come_are_named() {
    let ran = start(&step("4", "4", "1(x4)", "c[1-4]"), &["start", "-Sbroker.join-timeout=3s", "true"]);
    assert_ne!(ran.code(), 0);
    assert!(
        ran.stderr.contains("waiting for 3 of 4 brokers: c[2-4]")
            || ran.stderr.contains("waiting for 3 of 4 brokers: c2 c3 c4"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("error:") && ran.stderr.contains("hint:"), "{}", ran.stderr);
}

#[test]
fn a_missing_interface_is_named_with_those_there_are() {
    let ran = start(&[], &["start", "--test-size=2", "-Stbon.interface-hint=ib0", "true"]);
    assert_ne!(ran.code(), 0);
    assert!(ran.stderr.contains("has no interface ib0 (has: lo"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint:"), "{}", ran.stderr);
}

#[test]
fn disagreeing_sources_are_an_error_not_n_instances_of_one() {
    let mut env = step("4", "4", "1(x4)", "c[1-4]");
    env.extend([("PMI_FD", "0"), ("PMI_RANK", "0"), ("PMI_SIZE", "2")]);
    let ran = start(&env, &["start", "true"]);
    assert_ne!(ran.code(), 0);
    assert!(
        ran.stderr.contains("error:") && ran.stderr.contains('4') && ran.stderr.contains('2'),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("hint:"), "{}", ran.stderr);
}

#[test]
fn too_few_visible_cores_are_a_warning() {
    let mut env = step("1", "1", "1", "c1");
    env.push(("SLURM_JOB_CPUS_PER_NODE", "20"));
    env.push(("SLURM_STEP_TASKS_PER_NODE", "1"));
    let mut command = std::process::Command::new("taskset");
    command.args(["-c", "0"]).arg(flurm_tests::flurm_bin()).args(["start", "true"]);
    let home = tempfile::tempdir().expect("a home");
    command.env("HOME", home.path()).envs(env);
    let ran = run(command, b"");
    assert!(ran.stderr.contains("only 1 of 20 cores visible"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: srun --cpu-bind=none -c20"), "{}", ran.stderr);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
}

#[test]
fn doctor_runs_the_checks_alone() {
    let ok = start(&[], &["doctor"]);
    assert_eq!(ok.code(), 0, "{}{}", ok.stdout, ok.stderr);
    let env = [
        ("SLURM_JOB_ID", "123"),
        ("SLURM_JOB_NUM_NODES", "4"),
        ("SLURM_JOB_NODELIST", "c[1-4]"),
        ("SLURM_NTASKS", "4"),
    ];
    let bad = start(&env, &["doctor"]);
    assert_eq!(bad.code(), 1, "{}{}", bad.stdout, bad.stderr);
    assert!((bad.stdout + &bad.stderr).contains("4 nodes"));
}

#[test]
fn outside_an_instance_commands_say_how_to_start_one() {
    let ran = start(&[], &["submit", "true"]);
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr.contains("error:") && ran.stderr.contains("flurm start"), "{}", ran.stderr);
    let help = start(&[], &[]);
    assert!(help.stdout.contains("flurm start"), "{}", help.stdout);
}
