//! Slurm's own commands, as Debian packages them, inside an instance: what they see, where they are led, and what becomes of
//! jobs when nobody answers for a while.
//!
//! Without these programs the tests print so, and fail if `FLURM_REQUIRE_LAB` is set (as it is in CI).

use flurm_tests::{DEADLINE, Instance, Options, eventually, kill, processes_with, run};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// An instance that answers Slurm's commands; none (said on stderr) where they are not installed.
fn start(name: &str, env: &[(&str, &str)]) -> Option<Instance> {
    let missing: Vec<&str> = ["/usr/bin/sinfo", "/usr/bin/squeue", "/usr/bin/scontrol", "/usr/sbin/munged"]
        .into_iter()
        .filter(|program| !Path::new(program).exists())
        .collect();
    if !missing.is_empty() {
        assert!(std::env::var_os("FLURM_REQUIRE_LAB").is_none(), "missing: {missing:?}");
        eprintln!("SKIPPED {name}: missing: {missing:?}; as root, `make test` installs them");
        return None;
    }
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Some(Instance::with(Options { size: 3, args: vec!["--slurm".to_owned()], env, ..Options::default() }))
}

/// A command of Slurm's, led by `SLURM_CONF` alone.
#[track_caller]
fn slurm(instance: &Instance, line: &[&str]) -> String {
    let (program, arguments) = line.split_first().expect("a program");
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("TZ", "UTC").env("PATH", "/usr/bin:/bin");
    command.env("SLURM_CONF", instance.rundir(0).join("slurm/slurm.conf"));
    run(command, b"").ok()
}

/// The service of the leader's rank.
fn service(instance: &Instance) -> i32 {
    let found = processes_with(&format!("slurm-service\0--uri\0{}\0", instance.uri));
    *found.first().expect("it runs")
}

#[test]
fn sinfo_knows_nodes_and_what_is_the_matter_with_them() {
    let Some(instance) = start("sinfo", &[]) else { return };
    let nodes = || slurm(&instance, &["sinfo", "-N", "-h", "-o", "%T %C"]);
    assert_eq!(nodes(), "idle 0/4/0/4\n".repeat(3));
    assert_eq!(slurm(&instance, &["sinfo", "-h", "-o", "%P %a %l %D"]), "batch* up infinite 3\n");
    instance.ok(&["submit", "--requires=rank:0", "-n1", "sleep", "1000"]);
    instance.ok(&["submit", "--requires=rank:1", "-n4", "sleep", "1000"]);
    instance.ok(&["resource", "drain", "2", "fan", "is", "loud"]);
    let seen = "mixed 1/3/0/4\nallocated 4/0/0/4\ndrained 0/0/4/4\n";
    eventually("both jobs", DEADLINE, || (nodes() == seen).then_some(()));
    assert_eq!(slurm(&instance, &["sinfo", "-R", "-h", "-o", "%E %D"]), "fan is loud 1\n");
    assert!(slurm(&instance, &["scontrol", "ping"]).contains("is UP"));
    assert!(slurm(&instance, &["scontrol", "show", "config"]).contains("ClusterName             = flurm\n"));
}

#[test]
fn squeue_shows_each_job_by_its_number_with_its_state_and_reason() {
    let Some(instance) = start("squeue", &[]) else { return };
    let submit = |line: &[&str]| instance.ok(&[&["submit"], line].concat()).trim().to_owned();
    let runs = submit(&["-N3", "-n12", "-t5m", "--job-name=wide", "sleep", "1000"]);
    submit(&["-N3", "-n12", "sleep", "1000"]);
    submit(&["-n1", "true"]);
    submit(&["--urgency=0", "true"]);
    submit(&["--begin-time=+1h", "true"]);
    submit(&[&format!("--dependency=afterok:{runs}"), "true"]);
    instance.ok(&["job", "wait-event", &runs, "start"]);
    let queue = || slurm(&instance, &["squeue", "-h", "--sort=i", "-o", "%i %j %T %r %D %C %l"]);
    assert_eq!(
        queue(),
        "1 wide RUNNING None 3 12 5:00\n\
         2 sleep PENDING Resources 3 12 UNLIMITED\n\
         3 true PENDING Priority 1 1 UNLIMITED\n\
         4 true PENDING JobHeldUser 1 1 UNLIMITED\n\
         5 true PENDING BeginTime 1 1 UNLIMITED\n\
         6 true PENDING Dependency 1 1 UNLIMITED\n"
    );
    assert_eq!(slurm(&instance, &["squeue", "-h", "-j6", "-o", "%E"]), "afterok:1(unfulfilled)\n");
    let record = slurm(&instance, &["scontrol", "show", "job", "1"]);
    assert!(record.contains("JobState=RUNNING") && record.contains("NumNodes=3 NumCPUs=12"), "{record}");
    // Jobs that are over stay for a while.
    instance.ok(&["cancel", &runs]);
    instance.run(&["job", "status", &runs]);
    let over = || slurm(&instance, &["squeue", "-h", "-tall", "-j1", "-o", "%T"]);
    eventually("its end", DEADLINE, || (over() == "CANCELLED\n").then_some(()));
    assert!(slurm(&instance, &["sdiag"]).contains("Jobs canceled:  1"));
    // What is no job is said to be none.
    let mut command = Command::new("scontrol");
    command.args(["show", "job", "4711"]).env("SLURM_CONF", instance.rundir(0).join("slurm/slurm.conf"));
    let ran = run(command, b"");
    assert!(ran.stderr.contains("Invalid job id specified"), "{}", ran.stderr);
}

#[test]
fn jobs_and_all_ranks_are_led_inside_and_flurm_outer_leads_out() {
    let outer =
        [("SLURM_JOB_ID", "4711"), ("SLURM_CONF", "/nowhere"), ("SLURM_WORKING_CLUSTER", "site:h:1:2:3")];
    let Some(instance) = start("outer", &outer) else { return };
    let nodes = instance.ok(&["run", "-N3", "sinfo", "-h", "-o", "%D"]);
    assert_eq!(nodes, "3\n3\n3");
    let script = "echo $SLURM_JOB_ID ${SLURM_WORKING_CLUSTER-none}; \
                  flurm=$0; $flurm outer sh -c 'echo $SLURM_JOB_ID $SLURM_CONF $SLURM_WORKING_CLUSTER'";
    let mut command = instance.command(&["run", "-n1", "sh", "-c", script]);
    command.arg(flurm_tests::flurm_bin()).envs(outer);
    assert_eq!(run(command, b"").ok(), "2 none\n4711 /nowhere site:h:1:2:3\n");
    let mut command = instance.command(&["slurm", "env"]);
    command.envs(outer);
    let said = run(command, b"").ok();
    let conf = instance.rundir(0).join("slurm/slurm.conf");
    assert!(said.ends_with(&format!("export SLURM_CONF={}\n", conf.display())), "{said}");
    assert!(said.contains("export FLURM_OUTER_SLURM_JOB_ID=4711\nunset SLURM_JOB_ID\n"), "{said}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&conf.metadata().expect("it is there").permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_service_that_is_killed_is_back_at_its_ports_and_jobs_have_not_noticed() {
    let Some(instance) = start("kill", &[]) else { return };
    let id = instance.ok(&["submit", "-n1", "sleep", "1000"]).trim().to_owned();
    instance.ok(&["job", "wait-event", &id, "start"]);
    let conf = || std::fs::read_to_string(instance.rundir(0).join("slurm/slurm.conf")).expect("it is there");
    let (before, killed) = (conf(), service(&instance));
    kill(killed, 9);
    eventually("another one", DEADLINE, || {
        processes_with(&format!("slurm-service\0--uri\0{}\0", instance.uri))
            .into_iter()
            .find(|pid| *pid != killed)
    });
    // Clients try again by themselves for ten seconds.
    assert_eq!(slurm(&instance, &["squeue", "-h", "-o", "%i %T"]), "1 RUNNING\n");
    assert_eq!(conf(), before);
    assert_eq!(instance.ok(&["jobs", "-n", "-o", "{state}", &id]), "RUN");
}

#[test]
fn the_key_of_private_mungeds_is_one_and_lies_in_no_store() {
    let Some(instance) = start("munge", &[]) else { return };
    // A store may hold who vouches, never by what.
    let said = instance.ok(&["kvs", "get", "slurm.munge"]);
    assert!(!said.contains('['), "{said}");
    if said.contains("site") {
        return;
    }
    assert!(said.contains("private"), "{said}");
    let key = |rank: u32| {
        let path = instance.rundir(rank).join("slurm/munge/key");
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::read(path).expect("ours to read")
    };
    eventually("all ranks", DEADLINE, || instance.rundir(2).join("slurm/munge/key").exists().then_some(()));
    assert_eq!((key(0).len(), key(0)), (64, key(2)));
    // What is dumped has none of it, as bytes or as numbers.
    let numbers = key(0).iter().map(u8::to_string).collect::<Vec<_>>().join(",");
    let dumped = instance.run(&["dump", "-q", "-"]).code_is(0).stdout;
    assert!(dumped.contains("private") && !dumped.contains(&numbers));
}

#[test]
fn nothing_is_left_of_it_and_without_the_option_there_is_nothing() {
    let Some(instance) = start("end", &[]) else { return };
    let munge = instance.rundir(0).join("slurm/munge").display().to_string();
    let uri = instance.uri.clone();
    assert!(!processes_with(&munge).is_empty());
    instance.end();
    assert_eq!(processes_with(&munge), [0; 0]);
    assert_eq!(processes_with(&uri), [0; 0]);
    let plain = Instance::start(1);
    assert!(!plain.rundir(0).join("slurm").exists());
    let refused = plain.run(&["slurm", "env"]).code_is(1);
    assert!(refused.stderr.contains("flurm start --slurm"), "{}", refused.stderr);
}
