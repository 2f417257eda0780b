//! In a real Slurm cluster of three nodes on this machine, as an ordinary user.
//!
//! Needs root (namespaces) and Debian's Slurm packages: `make test` installs them. Where they cannot be had the
//! tests print why and what to do, and fail if `FLURM_REQUIRE_LAB` is set (as it is in CI).

use flurm_tests::lab::Lab;
use flurm_tests::{DEADLINE, Ran, eventually};
use std::path::PathBuf;

#[test]
fn the_template_completes_and_names_three_hosts() {
    let Some(lab) = Lab::up("template") else { return };
    let template = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../templates/flurm.sbatch");
    std::fs::copy(template, lab.home.join("flurm.sbatch")).expect("a copy");
    let id = lab.login("sbatch --parsable -W -o out.%j flurm.sbatch").ok();
    let id = id.trim();
    let out = std::fs::read_to_string(lab.home.join(format!("out.{id}"))).expect("output");
    for host in ["node1", "node2", "node3"] {
        assert!(out.contains(host), "{host} is missing in:\n{out}");
    }
    assert!(lab.login(&format!("scontrol show job {id}")).ok().contains("JobState=COMPLETED"), "{out}");
    lab.nothing_remains();

    // Twice at once: neither may meet the other's brokers.
    let ids = lab
        .login("for i in 1 2; do sbatch --parsable -o two.%j --oversubscribe -n3 -c5 flurm.sbatch; done")
        .ok();
    for id in ids.split_whitespace() {
        eventually("the job's end", DEADLINE, || {
            let job = lab.login(&format!("scontrol show job {id}")).ok();
            assert!(
                !job.contains("JobState=FAILED"),
                "{job}\n{}",
                std::fs::read_to_string(lab.home.join(format!("two.{id}"))).unwrap_or_default()
            );
            job.contains("JobState=COMPLETED").then_some(())
        });
        assert!(
            std::fs::read_to_string(lab.home.join(format!("two.{id}"))).expect("output").contains("node2")
        );
    }
    lab.nothing_remains();
}

#[test]
fn srun_starts_one_instance_with_any_mpi_plugin_and_gets_its_exit_code() {
    let Some(lab) = Lab::up("srun") else { return };
    for mpi in ["none", "pmi2", "pmix"] {
        let line = format!(
            "srun -N3 -n3 --mpi={mpi} flurm start flurm run --requires=hosts:node2,node3 -N2 -n4 hostname"
        );
        let out = lab.login(&line).ok();
        let mut hosts: Vec<&str> = out.lines().collect();
        hosts.sort_unstable();
        assert_eq!(hosts.len(), 4, "--mpi={mpi}: {out}");
        hosts.dedup();
        assert_eq!(hosts, ["node2", "node3"], "--mpi={mpi}");
    }
    lab.login("srun -N3 -n3 flurm start sh -c 'exit 42'").code_is(42);
    let ran = lab.login("srun -N1 -n8 flurm start true");
    assert_ne!(ran.code(), 0);
    assert!(
        ran.stderr.contains("error: 8 brokers on node node1") && ran.stderr.contains("hint:"),
        "{}",
        ran.stderr
    );
    let ran = lab.login("srun -N3 -n3 flurm start -Stbon.interface-hint=ib0 true");
    assert_ne!(ran.code(), 0);
    assert!(ran.stderr.contains("has no interface ib0 (has: lo"), "{}", ran.stderr);
    lab.nothing_remains();
}

#[test]
fn programs_of_every_mpi_span_the_nodes() {
    let Some(lab) = Lab::up("mpi") else { return };
    let Some(mpis) = flurm_tests::mpis::mpis("MPI across nodes") else { return };
    // Four tasks on each node, whatever the machine below has: they spin while they wait, and may starve a broker.
    let config = "[fake-resources]\nnnodes = 3\ncores-per-node = 4\n";
    std::fs::write(lab.home.join("fake.toml"), config).expect("the user's home is shared");
    for mpi in mpis {
        // There may be fewer processors than tasks, which Open MPI cannot know.
        let yields = "--env=OMPI_MCA_mpi_yield_when_idle=1";
        let run = |program: &str| format!("flurm run -N3 -n12 {yields} {} 12", mpi.program(program));
        let runs = format!("{} && {}", run("c/hello"), run("rust/allreduce"));
        let start = "flurm start -Stbon.lost-timeout=2m --config-path=fake.toml";
        let out = lab.login(&format!("srun -N3 -n3 {start} sh -c '{runs}'")).ok();
        for (node, rank) in [("node1", 0), ("node2", 4), ("node3", 11)] {
            assert!(out.contains(&format!("hello rank={rank} size=12 host={node} ")), "{}: {out}", mpi.name);
        }
        assert!(out.contains("allreduce size=12 ") && !out.contains("WRONG"), "{}: {out}", mpi.name);
    }
    lab.nothing_remains();
}

#[test]
fn scancel_and_a_killed_root_leave_nothing_on_the_nodes() {
    let Some(lab) = Lab::up("ends") else { return };
    let start = |name: &str| {
        let wrap = "srun --mpi=none --overlap --no-kill flurm start flurm run -N3 -n3 sleep 77123499";
        let id = lab
            .login(&format!(
                "sbatch --parsable -N3 --ntasks-per-node=1 --no-requeue -o {name}.out --wrap '{wrap}'"
            ))
            .ok();
        eventually("its tasks", DEADLINE, || {
            let ps = lab.script(&["exec", "node3", "ps", "-eo", "args"]).ok();
            ps.lines().any(|l| l.starts_with("sleep 77123499")).then_some(())
        });
        id.trim().to_owned()
    };
    let id = start("cancelled");
    lab.login(&format!("scancel {id}")).ok();
    lab.nothing_remains();

    let _id = start("killed");
    // The broker of rank 0, on the batch host; its guard is the task that slurmstepd watches.
    let kill = "kill -9 $(for guard in $(pgrep -x flurm-guard); do pgrep -P $guard -x flurm; done)";
    lab.script(&["exec", "node1", "sh", "-c", kill]).ok();
    lab.nothing_remains();
}

/// An instance on all nodes that a test of cut cables talks to from node1.
struct Inside<'a> {
    lab: &'a Lab,
    uri: String,
}

impl<'a> Inside<'a> {
    fn start(lab: &'a Lab, options: &str) -> Inside<'a> {
        let config = "[fake-resources]\nnnodes = 3\ncores-per-node = 4\n";
        std::fs::write(lab.home.join("fake.toml"), config).expect("the user's home is shared");
        let uri = lab.home.join("uri");
        let _ = std::fs::remove_file(&uri);
        let start = format!(
            "srun --mpi=none --overlap --no-kill flurm start -Stbon.lost-timeout=3s {options} \
             --config-path=fake.toml sh -c \"echo \\$FLURM_URI >uri.new; mv uri.new uri; exec sleep 1000\""
        );
        let batch =
            format!("sbatch -N3 --ntasks-per-node=1 --no-kill --no-requeue -o cut.out --wrap '{start}'");
        lab.login(&batch).ok();
        let uri = eventually("the instance", DEADLINE, || std::fs::read_to_string(&uri).ok());
        Inside { lab, uri: uri.trim().to_owned() }
    }

    #[track_caller]
    fn run(&self, args: &str) -> Ran {
        let line = format!("cd; FLURM_URI={} bin/flurm {args}", self.uri);
        self.lab.script(&["exec", "node1", "-u", "flurmer", "bash", "-c", &line])
    }

    #[track_caller]
    fn ok(&self, args: &str) -> String {
        self.run(args).ok().trim().to_owned()
    }

    /// A job of node3's that is known lost, once node3 is cut off; the other nodes work.
    #[track_caller]
    fn lose(&self) -> String {
        let id = self.ok("submit -n4 --requires=hosts:node3 sleep 77123498");
        self.ok(&format!("job wait-event {id} start"));
        self.lab.script(&["cut", "node3"]).ok();
        let log = eventually("its loss", DEADLINE, || {
            let log = self.ok(&format!("job eventlog {id}"));
            log.contains("node-failure").then_some(log)
        });
        assert!(log.contains("lost contact with node3 (rank 2)"), "{log}");
        let mut hosts: Vec<String> = self.ok("run -N2 -n2 hostname").lines().map(str::to_owned).collect();
        hosts.sort_unstable();
        assert_eq!(hosts, ["node1", "node2"]);
        id
    }
}

#[test]
fn a_node_that_is_cut_off_is_used_again_when_it_is_back_and_has_cleaned_up() {
    let Some(lab) = Lab::up("cut") else { return };
    let inside = Inside::start(&lab, "-Sbroker.orphan-timeout=5m");
    inside.lose();
    let here = "ps -eo args | grep -c \"[s]leep 77123498\"; hostname";
    let next = inside.ok(&format!("submit -n1 --requires=hosts:node3 sh -c '{here}'"));
    let ps = lab.script(&["exec", "node3", "ps", "-eo", "args"]).ok();
    assert_eq!(ps.matches("\nsleep 77123498").count(), 4, "its tasks live on: {ps}");
    assert_eq!(inside.ok(&format!("jobs -n -o {{state}} {next}")), "SCHED", "so its cores are nobody's");
    lab.script(&["heal", "node3"]).ok();
    assert_eq!(inside.ok(&format!("job attach {next}")), "0\nnode3");
    assert_eq!(inside.ok("resource list -n -s down -o {nnodes}"), "0");
    inside.ok("shutdown");
    lab.nothing_remains();
}

#[test]
fn a_node_that_is_cut_off_for_too_long_ends_its_tasks_by_itself() {
    let Some(lab) = Lab::up("orphan") else { return };
    let inside = Inside::start(&lab, "-Sbroker.orphan-timeout=4s");
    inside.lose();
    eventually("the end of all on node3", DEADLINE, || (lab.flurms("node3") == 0).then_some(()));
    lab.script(&["heal", "node3"]).ok();
    // Nobody starts a broker there again: the rest goes on without it.
    assert_eq!(inside.ok("resource list -n -s down -o {nodelist}"), "node3");
    assert_eq!(inside.ok("run -N2 -n8 true"), "");
    inside.ok("shutdown");
    lab.nothing_remains();
}

/// Slurm's own `scancel` reaches the children of slurmstepd only. What ends a job here needs nothing of its cgroups.
#[test]
fn what_hides_from_a_cancellation_is_found_in_the_cgroups_of_slurm() {
    let Some(lab) = Lab::up("hide") else { return };
    let inside = Inside::start(&lab, "-Sbroker.orphan-timeout=5m");
    let hide = "trap \"\" TERM; (setsid env -i sh -c \"trap : TERM; sleep 77123498; sleep 77123498\" &) ; sleep 77123498";
    let id = inside.ok(&format!("submit --requires=hosts:node2 sh -c '{hide}'"));
    let there =
        || lab.script(&["exec", "node2", "ps", "-eo", "args"]).ok().matches("\nsleep 77123498").count();
    eventually("both", DEADLINE, || (there() == 2).then_some(()));
    inside.ok(&format!("cancel {id}"));
    inside.ok(&format!("job wait-event {id} clean"));
    assert_eq!(there(), 0);
    inside.ok("shutdown");
    lab.nothing_remains();
}

/// From the login node, through a step that `srun --overlap` starts beside those of the job.
#[test]
fn a_login_node_reaches_the_instance_of_a_job_through_srun() {
    let Some(lab) = Lab::up("proxy") else { return };
    let inside = Inside::start(&lab, "-Sslurm.poll-interval=1s");
    let id = lab.login("squeue --noheader --format=%i").ok().trim().to_owned();
    let path = inside.uri.strip_prefix("local://").expect("an address here");
    assert_eq!(lab.login(&format!("flurm uri slurm:{id}")).ok().trim(), format!("ssh://node1{path}"));
    assert_eq!(lab.login(&format!("flurm uri --local slurm:{id}")).ok().trim(), inside.uri);
    let proxy = |line: &str| lab.login(&line.replace("PROXY", &format!("flurm proxy slurm:{id}")));
    assert_eq!(proxy("PROXY flurm getattr size").ok(), "3\n");
    // Input and output of a job, and its code.
    let out = proxy("echo words | PROXY flurm run -N3 -n3 --label-io cat | sort").ok();
    assert_eq!(out, "0: words\n1: words\n2: words\n");
    proxy("PROXY flurm run sh -c 'exit 7'").code_is(7);
    // Several at a time, and more than a pipe holds.
    let all =
        "for i in 1 2 3 4; do flurm run sh -c \"head -c 1000000 /dev/zero | tr -c x x\" | wc -c & done; wait";
    assert_eq!(
        proxy(&format!("PROXY sh -c '{all}'")).ok().trim().lines().collect::<Vec<_>>(),
        ["1000000"; 4]
    );
    // One that was started through it is there for those inside.
    let job = proxy("PROXY flurm submit sleep 77123498").ok();
    assert_eq!(inside.ok("jobs -n -o {name}"), "sleep", "{job}");
    // When Slurm has another time limit, the instance and what runs in it have it too.
    for minutes in [30, 20] {
        let limit = format!("timelimit={minutes}");
        lab.script(&["exec", "node1", "scontrol", "update", &format!("jobid={id}"), &limit]).ok();
        let range = minutes * 60 - 300..=minutes * 60;
        eventually("the new end", DEADLINE, || {
            let left =
                |args: &str| inside.ok(&format!("job timeleft {args}")).parse::<u64>().expect("seconds");
            (range.contains(&left("")) && range.contains(&left(job.trim()))).then_some(())
        });
    }
    let refused = lab.login("flurm proxy slurm:4711 true").code_is(1);
    assert!(refused.stderr.contains("no instance of Slurm job 4711 answers"), "{}", refused.stderr);
    inside.ok("cancel --all");
    inside.ok("shutdown");
    lab.nothing_remains();
    assert_eq!(lab.login("ls -d /tmp/flurm-proxy-* 2>/dev/null; true").ok(), "");
}
