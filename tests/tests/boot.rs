//! An instance comes up, says what it is, and goes away with its initial program's exit code.

use flurm_tests::{Instance, Options, flurm, run};

#[test]
fn the_exit_code_is_the_initial_programs() {
    for size in ["1", "3"] {
        let ran = run(flurm(&["start", &format!("--test-size={size}"), "sh", "-c", "exit 7"]), b"");
        ran.code_is(7);
    }
}

#[test]
fn without_any_launcher_it_is_an_instance_of_one() {
    let bin = flurm_tests::flurm_bin();
    let script = format!("{0} getattr size && {0} run echo hello", bin.display());
    assert_eq!(run(flurm(&["start", "sh", "-c", &script]), b"").ok(), "1\nhello\n");
}

#[test]
fn hydra_starts_the_brokers_of_one_instance() {
    if std::process::Command::new("mpiexec.hydra").arg("-info").output().is_err() {
        assert!(std::env::var_os("FLURM_REQUIRE_LAB").is_none(), "no mpiexec.hydra here");
        eprintln!("SKIPPED: no mpiexec.hydra here; it comes with Debian's package mpich");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("flurm.toml");
    // Made-up nodes: several brokers on this machine are meant.
    std::fs::write(&config, flurm_tests::fake_nodes(4, 4)).expect("config is written");
    let bin = flurm_tests::flurm_bin();
    let script = format!("{0} getattr size; {0} run -N4 -n4 echo here; exit 5", bin.display());
    let mut command = std::process::Command::new("mpiexec.hydra");
    command.args(["-n", "4"]).arg(&bin).arg("start").arg("--config-path").arg(&config);
    command.args(["sh", "-c", &script]);
    let ran = run(command, b"").code_is(5);
    assert_eq!(ran.stdout, "4\nhere\nhere\nhere\nhere\n", "{}", ran.stderr);
}

#[test]
fn sixty_four_brokers_form_a_full_tree_of_depth_two() {
    let instance = Instance::with(Options {
        size: 64,
        args: vec!["-Stbon.fanout=8".into()],
        config: Some(flurm_tests::fake_nodes(64, 4)),
        ..Options::default()
    });
    let status = instance.json(&["overlay", "status", "--json"]);
    assert_eq!(status["status"], "full");
    fn depth(node: &serde_json::Value) -> usize {
        node["children"].as_array().map_or(0, |c| c.iter().map(|n| 1 + depth(n)).max().unwrap_or(0))
    }
    assert!(depth(&status) <= 3, "depth {}", depth(&status));
    assert!(instance.ok(&["overlay", "status"]).contains("full"));

    let answers = instance.ok(&["exec", "-r", "all", "sh", "-c", "echo alive"]);
    assert_eq!(answers.lines().filter(|l| *l == "alive").count(), 64);
    let ping = instance.ok(&["ping", "--count=5", "63"]);
    assert!(ping.contains("median"), "{ping}");
    assert!(instance.end().success());
}

#[test]
fn attributes_uptime_and_states_can_be_read() {
    let instance = Instance::start(2);
    assert_eq!(instance.ok(&["getattr", "size"]), "2");
    assert_eq!(instance.ok(&["getattr", "rank"]), "0");
    assert_eq!(instance.ok(&["getattr", "hostlist"]), "node[0-1]");
    assert!(instance.ok(&["uptime"]).contains("size 2"));
    assert_eq!(instance.json(&["uptime", "--json"])["state"], "run");
    instance.ok(&["setattr", "my.note", "hello"]);
    assert_eq!(instance.ok(&["getattr", "my.note"]), "hello");
    let missing = instance.run(&["getattr", "no.such"]).code_is(1);
    assert!(missing.stderr.contains("no.such"), "{}", missing.stderr);
    let error = instance.run(&["exec", "-r", "9", "true"]).code_is(68);
    assert!(error.stderr.contains("error:") && error.stderr.contains('9'), "{}", error.stderr);
    assert!(instance.ok(&["dmesg"]).lines().count() > 0);
    assert!(instance.ok(&["version"]).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn shutdown_ends_the_initial_program_with_hup() {
    let mut instance = Instance::start(2);
    instance.ok(&["shutdown"]);
    use std::os::unix::process::ExitStatusExt;
    let status = instance.wait();
    assert_eq!(status.code().unwrap_or(128 + status.signal().unwrap_or(0)), 129);
}
