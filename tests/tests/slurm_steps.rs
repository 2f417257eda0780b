//! Debian's own `srun`, `scancel` and `sattach` run steps in jobs of an instance.
//!
//! Without these programs the tests print so, and fail if `FLURM_REQUIRE_LAB` is set (as it is in CI).

use flurm_tests::mpis::mpis;
use flurm_tests::slurm::Answering;
use flurm_tests::{DEADLINE, Instance, Ran, eventually, kill, processes_with, run};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

/// An instance of three nodes with four cores each, which answers Slurm's commands.
struct Cluster(Answering);

impl Cluster {
    fn start(name: &str) -> Option<Cluster> {
        Answering::start(name, &["srun", "salloc", "scancel", "sattach", "sbcast", "squeue"]).map(Cluster)
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        self.0.command(program, args)
    }

    /// A script in an allocation of this size.
    fn salloc(&self, size: &str, script: &str) -> Ran {
        let words = ["-Q"].into_iter().chain(size.split(' ')).chain(["bash", "-c", script]);
        run(self.command("salloc", &words.collect::<Vec<_>>()), b"")
    }
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn tasks_run_on_their_nodes_and_know_who_they_are() {
    let Some(cluster) = Cluster::start("steps: tasks") else { return };
    let says = "echo $SLURM_PROCID $SLURM_LOCALID $SLURM_NODEID $SLURM_GTIDS $SLURM_STEP_ID \
                ${SLURMD_NODENAME#node} $SLURM_NTASKS $SLURM_STEP_NUM_NODES $SLURM_JOB_ID";
    let out = cluster.salloc("-N3 -n6", &format!("srun -l sh -c '{says}'")).ok();
    let expected = [
        "0: 0 0 0 0,1 0 0 6 3 1",
        "1: 1 1 0 0,1 0 0 6 3 1",
        "2: 2 0 1 2,3 0 1 6 3 1",
        "3: 3 1 1 2,3 0 1 6 3 1",
        "4: 4 0 2 4,5 0 2 6 3 1",
        "5: 5 1 2 4,5 0 2 6 3 1",
    ];
    assert_eq!(sorted(&out), expected);
    let cyclic = cluster.salloc("-N2 -n4", "srun -m cyclic -l sh -c 'echo $SLURM_NODEID'").ok();
    assert_eq!(sorted(&cyclic), ["0: 0", "1: 1", "2: 0", "3: 1"]);
    let relative = cluster.salloc("-N3", "srun -N1 -n1 -r2 sh -c 'echo ${SLURMD_NODENAME#node}'").ok();
    assert_eq!(relative, "2\n");
    // The user's environment, directory and umask arrive as they are; that of the script's own job does not.
    let script = "cd /; umask 027; X='a {b} c' srun -n1 -N1 sh -c 'pwd; umask; echo $X $FLURM_OUTER_X'";
    assert_eq!(cluster.salloc("-N1", script).ok(), "/\n0027\na {b} c\n");
}

#[test]
fn the_code_of_srun_is_that_of_its_tasks() {
    let Some(cluster) = Cluster::start("steps: codes") else { return };
    let script = "for c in true 'exit 3' 'kill -9 $$' 'kill -TERM $$'; do srun -Q -n1 sh -c \"$c\"; echo $?; done; \
                  srun -Q -n1 /no/such/program; echo $?";
    let ran = cluster.salloc("-N1", script);
    assert_eq!(ran.stdout, "0\n3\n137\n143\n2\n", "{}", ran.stderr);
    assert!(ran.stderr.contains("/no/such/program: No such file"), "{}", ran.stderr);
}

#[test]
fn input_and_output_are_whole() {
    let Some(cluster) = Cluster::start("steps: streams") else { return };
    let script = "head -c 3000000 /dev/urandom > in; \
                  srun -Q -N1 -n1 cat < in | cmp - in && echo same; \
                  srun -N2 -n2 -l sh -c 'wc -c' < in; \
                  srun -N2 -n2 -l --input=1 sh -c 'wc -c' < in; \
                  srun -Q -N1 -n1 sh -c 'head -c 20000000 /dev/zero' | wc -c; \
                  srun -Q -N1 -n1 sh -c 'echo out; echo err >&2' 2>err; cat err; \
                  srun -Q -N1 -n1 -o 'file.%t' echo there; cat file.0";
    let ran = cluster.salloc("-N2 -n2", script);
    let lines = sorted(&ran.stdout);
    let expected =
        ["0: 0", "0: 3000000", "1: 3000000", "1: 3000000", "20000000", "err", "out", "same", "there"];
    assert_eq!(lines, expected, "{}", ran.stderr);
}

#[test]
fn steps_share_a_job_and_wait_for_room() {
    let Some(cluster) = Cluster::start("steps: packed") else { return };
    // Each task waits for the others: all four are there at a time.
    let script = "for i in 1 2 3 4; do srun -Q --exact -n1 -N1 -c1 sh -c \
                  \"touch at.$i; while [ ! -e at.1 -o ! -e at.2 -o ! -e at.3 -o ! -e at.4 ]; do sleep 0.05; done; echo $i\" & \
                  done; wait";
    assert_eq!(sorted(&cluster.salloc("-N1 -n4", script).ok()), ["1", "2", "3", "4"]);
    // A fifth waits until one has ended.
    let script = "srun -Q -n1 sh -c 'touch held; sleep 1; echo first' & \
                  while [ ! -e held ]; do sleep 0.05; done; srun -Q -n1 echo second; wait";
    assert_eq!(cluster.salloc("-N1 -n1", script).ok(), "first\nsecond\n");
    let script = "srun -Q -n1 sh -c 'touch open; while [ ! -e over ]; do sleep 0.05; done' & \
                  while [ ! -e open ]; do sleep 0.05; done; srun -Q --overlap -n1 touch over; wait; echo both";
    assert_eq!(cluster.salloc("-N1 -n1", script).ok(), "both\n");
    let ran = cluster.salloc("-N1 -n1", "srun -N2 -n2 true; echo $?");
    assert_eq!(ran.stdout, "1\n", "{}", ran.stderr);
}

#[test]
fn a_step_ends_when_it_is_cancelled_and_when_srun_is_killed() {
    let Some(cluster) = Cluster::start("steps: ends") else { return };
    let script = "srun -Q -n1 sh -c 'touch runs.a; exec sleep 987654.1' & \
                  while [ ! -e runs.a ]; do sleep 0.05; done; scancel $SLURM_JOB_ID.0; wait $!; echo cancelled";
    assert_eq!(cluster.salloc("-N1", script).ok(), "cancelled\n");
    assert_eq!(processes_with("987654.1"), Vec::<i32>::new());
    let script = "srun -Q -n1 sh -c 'touch runs.b; exec sleep 987654.2' & srun=$!; \
                  while [ ! -e runs.b ]; do sleep 0.05; done; kill -9 $srun; wait $srun; srun -Q -n1 echo next";
    assert_eq!(cluster.salloc("-N1", script).ok(), "next\n");
    assert_eq!(processes_with("987654.2"), Vec::<i32>::new());
    // A signal to srun is one to its tasks.
    let script = "srun -Q -n1 bash -c 'trap \"echo told; exit 5\" USR1; touch runs.c; while :; do sleep 0.05; done' & \
                  while [ ! -e runs.c ]; do sleep 0.05; done; kill -USR1 $!; wait $!; echo $?";
    assert_eq!(cluster.salloc("-N1", script).ok(), "told\n5\n");
}

#[test]
fn other_programs_for_other_tasks_and_a_terminal_for_one() {
    let Some(cluster) = Cluster::start("steps: kinds") else { return };
    let script = "printf '0 echo zero %%t\\n1-2 echo other %%t %%o\\n' > prog; srun -n3 -l --multi-prog prog";
    let out = cluster.salloc("-N1 -n3", script).ok();
    assert_eq!(sorted(&out), ["0: zero 0", "1: other 1 0", "2: other 2 1"]);
    // `script` is somebody's terminal.
    if Path::new("/usr/bin/script").exists() {
        let args = [
            "-qec",
            "stty rows 33 cols 101; salloc -Q -N1 srun -Q --pty sh -c 'tty; stty size'",
            "/dev/null",
        ];
        let mut command = cluster.command("script", &args);
        command.stdin(Stdio::null());
        let out = run(command, b"").stdout;
        assert!(out.contains("/dev/pts/") && out.contains("33 101"), "{out}");
        let args = [
            "-qec",
            "stty rows 33 cols 101; (while [ ! -e typed ]; do sleep 0.05; done; stty rows 44 cols 110 </dev/tty) & \
             salloc -Q -N1 srun -Q --pty sh -c 'touch typed; while [ \"$(stty size)\" != \"44 110\" ]; do sleep 0.05; done; echo grown'",
            "/dev/null",
        ];
        let mut command = cluster.command("script", &args);
        command.stdin(Stdio::null());
        let out = run(command, b"").stdout;
        assert!(out.contains("grown"), "{out}");
    }
}

#[test]
fn others_watch_a_step_and_files_reach_all_nodes() {
    let Some(cluster) = Cluster::start("steps: sattach, sbcast") else { return };
    let script = "srun -Q -N2 -n2 sh -c 'touch runs.$SLURM_PROCID; while [ ! -e go ]; do sleep 0.05; done; echo said' >/dev/null & \
                  while [ ! -e runs.0 -o ! -e runs.1 ]; do sleep 0.05; done; \
                  sattach --layout $SLURM_JOB_ID.0; squeue -s -h -o '%i %N'; \
                  (sleep 0.3; touch go) & sattach -Q -l $SLURM_JOB_ID.0; wait";
    let ran = cluster.salloc("-N2", script);
    for line in ["0: said", "1: said", "1.0 node[0-1]"] {
        assert!(ran.stdout.lines().any(|said| said == line), "{line}: {} {}", ran.stdout, ran.stderr);
    }
    let ran = cluster.salloc(
        "-N2",
        "head -c 100000 /dev/urandom > f; chmod 751 f; sbcast -f f $PWD/g && cmp f g; stat -c %a g",
    );
    assert_eq!(ran.stdout, "751\n", "{}", ran.stderr);
}

/// Where a process listens.
fn ports_of(pid: &str) -> Vec<u16> {
    let links =
        fs::read_dir(format!("/proc/{pid}/fd")).unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    let sockets: Vec<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let port = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let inode = format!("socket:[{}]", words.get(9)?);
        let listens = words[3] == "0A" && sockets.contains(&inode);
        listens.then(|| u16::from_str_radix(words[1].rsplit(':').next()?, 16).ok())?
    };
    tables.iter().flat_map(|table| table.lines()).filter_map(port).collect()
}

#[test]
fn a_stranger_who_knows_the_number_of_a_step_says_nothing_in_its_name() {
    let Some(cluster) = Cluster::start("steps: strangers") else { return };
    let folder = cluster.0.instance.dir.path();
    let script = "srun -Q -n1 sh -c 'touch runs; while [ ! -e go ]; do sleep 0.05; done; echo true' > out & \
                  echo $! > pid.new; mv pid.new pid; wait $!";
    std::thread::scope(|scope| {
        let job = scope.spawn(|| cluster.salloc("-N1", script).ok());
        eventually("a step that runs", DEADLINE, || folder.join("runs").exists().then_some(()));
        let pid = eventually("srun", DEADLINE, || fs::read_to_string(folder.join("pid")).ok());
        let ports = ports_of(pid.trim());
        assert!(!ports.is_empty());
        for port in ports {
            let key = b"slurm.1.0";
            let mut init = vec![0x26, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9];
            init.extend_from_slice(key);
            let forged = b"\0\x01\0\0\0\0\0\0\0\x07FORGED\n";
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            stream.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
            stream.write_all(&[&[0, 0, 0, 27][..], &init, forged].concat()).unwrap();
            // Until srun has read it, whatever it thinks of it.
            let _ = stream.read(&mut [0; 64]);
        }
        fs::write(folder.join("go"), "").unwrap();
        job.join().unwrap();
    });
    assert_eq!(fs::read_to_string(folder.join("out")).unwrap(), "true\n");
}

#[test]
fn a_step_whose_service_is_killed_ends_and_the_script_goes_on() {
    let Some(cluster) = Cluster::start("steps: a crash") else { return };
    let script = "srun -Q -n1 -N1 sh -c 'touch runs; exec sleep 987655.1'; echo $? > code; \
                  srun -Q -n1 -N1 sh -c 'echo next is $SLURM_STEP_ID' > next 2>&1; touch over";
    cluster.0.sbatch("-N1", script);
    let folder = cluster.0.instance.dir.path();
    eventually("a step that runs", DEADLINE, || folder.join("runs").exists().then_some(()));
    cluster.0.crash();
    eventually("the end of the script", DEADLINE, || folder.join("over").exists().then_some(()));
    assert_eq!(fs::read_to_string(folder.join("code")).unwrap(), "137\n");
    // Its cores are free, and its number is not another's.
    assert_eq!(fs::read_to_string(folder.join("next")).unwrap(), "next is 1\n");
    assert_eq!(processes_with("987655.1"), Vec::<i32>::new());
}

#[test]
fn srun_ends_when_a_node_of_its_step_is_lost() {
    let Some(cluster) = Cluster::start("steps: a lost node") else { return };
    let script = "srun -Q -N3 -n3 sh -c 'touch runs.$SLURM_PROCID; exec sleep 987655.2'; touch over";
    cluster.0.sbatch("-N3", script);
    let instance = &cluster.0.instance;
    for task in 0..3 {
        let file = instance.dir.path().join(format!("runs.{task}"));
        eventually("a step that runs", DEADLINE, || file.exists().then_some(()));
    }
    let mut lost = processes_with(&instance.uri_of(2));
    lost.push(instance.broker_pid(2));
    lost.into_iter().for_each(|pid| kill(pid, 9));
    let is_srun =
        |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "srun\n");
    eventually("the end of srun", DEADLINE, || {
        (!processes_with("987655.2").iter().any(is_srun)).then_some(())
    });
    processes_with("987655.2").into_iter().for_each(|pid| kill(pid, 9));
}

#[test]
fn flurm_runs_a_job_within_a_job() {
    let instance = Instance::start(2);
    let id = instance.ok(&["submit", "-N2", "sleep", "987653.1"]);
    let id = id.trim();
    instance.ok(&["job", "wait-event", id, "start"]);
    let within = format!("--within={id}");
    assert_eq!(instance.ok(&["run", &within, "echo", "here"]).trim(), "here");
    let out = instance.ok(&["run", &within, "-N2", "-n4", "-l", "sh", "-c", "echo $SLURM_CPUS_ON_NODE"]);
    assert_eq!(sorted(&out), ["0: 2", "1: 2", "2: 2", "3: 2"]);
    let listed = instance.ok(&["jobs", "-a", "-n", "-o", "{id}"]);
    assert_eq!(listed.trim(), id, "those within others are not listed");
    let ran = instance.run(&["run", &within, "-N3", "true"]);
    assert!(ran.stderr.contains("does not have so much") && ran.stderr.contains("2 nodes"), "{}", ran.stderr);
    let inner = instance.ok(&["submit", &within, "sleep", "987653.2"]);
    instance.ok(&["job", "wait-event", inner.trim(), "start"]);
    instance.ok(&["cancel", id]);
    let ended = instance.run(&["job", "attach", inner.trim()]);
    assert!(ended.stderr.contains("within which it ran"), "{}", ended.stderr);
    instance.ok(&["job", "wait-event", id, "clean"]);
    assert_eq!(processes_with("987653"), Vec::<i32>::new());
}

#[test]
fn mpi_programs_find_each_other_across_nodes() {
    let Some(mpis) = mpis("steps: MPI") else { return };
    let Some(cluster) = Cluster::start("steps: MPI") else { return };
    for mpi in mpis {
        let kind = if mpi.name.starts_with("mpich") { "pmi2" } else { "pmix" };
        let ran = cluster.salloc("-N3 -n6", &format!("srun -Q --mpi={kind} {}", mpi.program("c/hello")));
        let found = ran.stdout.lines().filter(|line| line.contains("size=6")).count();
        assert_eq!(found, 6, "{} with {kind}: {} {}", mpi.name, ran.stdout, ran.stderr);
    }
}
