//! Slurm's own `sbatch`, `salloc`, `scancel` and `scontrol` submit jobs, change them and end them.
//!
//! Without these programs the tests print so, and fail if `FLURM_REQUIRE_LAB` is set (as it is in CI).

use flurm_tests::slurm::Answering;
use flurm_tests::{DEADLINE, alive, eventually, processes_with, run, wait_child};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

fn start(name: &str) -> Option<Answering> {
    Answering::start(name, &["sbatch", "salloc", "scancel", "scontrol"])
}

const SCRIPT: &str = "#!/bin/bash
#SBATCH -J from-script -n 3 -c 1 -o out.%x.%4j
#SBATCH --comment='two words'
# \u{e9}\ttab
echo \"$# $2\"
echo \"$SLURM_JOB_ID $SLURM_JOBID $SLURM_JOB_NAME $SLURM_NTASKS $SLURM_CPUS_PER_TASK $SLURM_TASKS_PER_NODE\"
echo \"$SLURM_JOB_NODELIST $SLURM_NODELIST $SLURM_NNODES $SLURM_JOB_CPUS_PER_NODE $SLURM_PROCID $ENVIRONMENT\"
echo \"$SLURM_SUBMIT_DIR $SLURM_CLUSTER_NAME $SLURM_JOB_PARTITION ${SLURM_STEP_ID-none}\"
echo \"$(pwd) $(umask) $(ulimit -Sn) $GIVEN\"
read -r line || echo no input
echo error >&2
exit 7
";

#[test]
fn a_script_runs_as_it_was_written_and_submitted() {
    let Some(lab) = start("a script") else { return };
    let dir = lab.instance.dir.path().to_owned();
    std::fs::write(dir.join("job.sh"), SCRIPT).unwrap();
    let mut command =
        lab.command("bash", &["-c", "umask 027; ulimit -Sn 200; exec sbatch job.sh one 'two  three'"]);
    command.env("GIVEN", "a b");
    assert_eq!(run(command, b"").ok(), "Submitted batch job 1\n");
    let out = lab.file("out.from-script.0001", "error\n");
    let here = dir.display();
    let wanted = format!(
        "2 two  three\n1 1 from-script 3 1 3\nnode0 node0 1 3 0 BATCH\n{here} flurm batch none\n{here} 0027 200 a b\nno input\nerror\n"
    );
    assert_eq!(out, wanted);
    lab.until(1, "returncode", "7");
    run(lab.command("scontrol", &["write", "batch_script", "1", "copy.sh"]), b"").ok();
    assert_eq!(std::fs::read_to_string(dir.join("copy.sh")).unwrap(), SCRIPT);

    // Only what is named goes along, and the rest is as after a login.
    let mut command = lab.command(
        "sbatch",
        &["--export=ONE", "-o", "export", "--wrap", "echo ${ONE-no} ${TWO-no} $USER; echo end"],
    );
    command.env("ONE", "1").env("TWO", "2");
    run(command, b"").ok();
    let me = lab.file("export", "end\n");
    assert!(me.starts_with("1 no "), "{me}");
    // An own file for errors; one that is there is written on.
    for word in ["first", "second"] {
        lab.sbatch("-o o -e e.%j.%a --open-mode=append", &format!("echo {word}; echo bad >&2"));
        lab.file("o", &format!("{word}\n"));
    }
    assert_eq!(
        (lab.file("o", "second\n").as_str(), lab.file("e.3.4294967294", "bad\n").as_str()),
        ("first\nsecond\n", "bad\n")
    );
    lab.sbatch("-i job.sh -D /tmp -o %x", "pwd; head -1");
    // The file's name is from where it was submitted to, as Slurm has it.
    std::fs::remove_file("/tmp/wrap").ok();
}

#[test]
fn an_array_is_so_many_jobs_of_one_number() {
    let Some(lab) = start("an array") else { return };
    let number = lab.sbatch(
        "--array=1-5:2%1 -o %A.%a.%3a",
        "echo $SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_COUNT $SLURM_JOB_ID",
    );
    assert_eq!(number, 1);
    for (index, own) in [(1, 1), (3, 2), (5, 3)] {
        assert_eq!(lab.file(&format!("1.{index}.00{index}"), "\n"), format!("1 {index} 3 {own}\n"));
    }
    // Each job of the second waits for the one with the same index, one of which fails.
    let first = lab.sbatch("--array=0-1 -H", "exit $SLURM_ARRAY_TASK_ID");
    let second = lab.sbatch(&format!("--array=0-1 -d aftercorr:{first} -o second.%a"), "echo ran");
    lab.run("scontrol", &format!("release {first}")).ok();
    assert_eq!(lab.file("second.0", "\n"), "ran\n");
    lab.until(second + 1, "result", "FAILED");
    assert!(!lab.instance.dir.path().join("second.1").exists());
    // Some of them are cancelled, and the others are not.
    let number = lab.sbatch("--array=0-9 -H", "true");
    lab.run("scancel", &format!("{number}_[2-4,7]")).ok();
    let canceled = |wanted: usize| {
        let all = lab.instance.ok(&["jobs", "-a", "-n", "-c", "0", "-o", "{number} {result}"]);
        let of_it = all.lines().filter(|line| {
            let mut words = line.split_whitespace();
            let own: u32 = words.next().unwrap().parse().unwrap();
            own >= number && words.next() == Some("CANCELED")
        });
        assert_eq!(of_it.count(), wanted, "{all}");
    };
    lab.until(number + 7, "result", "CANCELED");
    canceled(4);
    lab.run("scancel", &number.to_string()).ok();
    lab.until(number + 9, "result", "CANCELED");
    canceled(10);
    // Filters are the client's: it names the elements that wait as it was shown them, the throttle with them.
    for filter in ["-n many", "-t PENDING", "-p batch", "-u"] {
        let number = lab.sbatch("--array=1,3-5,9-19:2%1 -J many -H", "true");
        let filter = if filter == "-u" { format!("-u {}", me()) } else { filter.to_owned() };
        lab.run("scancel", &filter).ok();
        lab.until(number + 9, "result", "CANCELED");
        assert_eq!(lab.instance.ok(&["jobs", "-n"]), "", "{filter}");
    }
}

fn me() -> String {
    let mut command = std::process::Command::new("id");
    command.arg("-un");
    run(command, b"").ok().trim().to_owned()
}

/// Index and state of each of its jobs, as `flurm jobs` has them.
fn elements(lab: &Answering, number: u32) -> Vec<(u32, String)> {
    let format = "{array.number} {array.index} {result}";
    let all = lab.instance.ok(&["jobs", "-a", "-n", "-c", "0", "-o", format]);
    let one = |line: &str| {
        let mut words = line.split_whitespace();
        let of: u32 = words.next()?.parse().ok()?;
        let index = words.next()?.parse().ok()?;
        (of == number).then(|| (index, words.next().unwrap_or_default().to_owned()))
    };
    all.lines().filter_map(one).collect()
}

#[test]
fn a_large_array_has_its_number_at_once_and_is_whole_whatever_happens() {
    let Some(lab) = start("a large array") else { return };
    // Larger than what is submitted before the answer, and then there is no service any more.
    let number = lab.sbatch("--array=0-2999 -H", "true");
    lab.crash();
    let whole: Vec<u32> = (0..3000).collect();
    eventually("each of its jobs, once", DEADLINE, || {
        let mut found: Vec<u32> = elements(&lab, number).into_iter().map(|(index, _)| index).collect();
        found.sort_unstable();
        assert!(found.windows(2).all(|two| two[0] != two[1]), "there twice");
        (found == whole).then_some(())
    });
    eventually("no mark", DEADLINE, || {
        lab.instance.run(&["kvs", "ls", "slurm.array"]).stdout.trim().is_empty().then_some(())
    });
    // Cancelled while it grows, no more of it comes.
    let number = lab.sbatch("--array=0-99999 -H", "true");
    lab.run("scancel", &number.to_string()).ok();
    let there = elements(&lab, number);
    assert!(!there.is_empty() && there.len() < 100_000, "{}", there.len());
    eventually("the end of all", DEADLINE, || {
        let now = elements(&lab, number);
        assert_eq!(now.len(), there.len());
        now.iter().all(|(_, result)| result == "CANCELED").then_some(())
    });
}

#[test]
fn jobs_wait_for_others_for_a_time_and_for_a_word() {
    let Some(lab) = start("dependencies") else { return };
    let held = lab.sbatch("-H -J same", "echo 1 >> order; exit 3");
    lab.sbatch(&format!("-d afterok:{held}"), "echo never >> order");
    lab.sbatch(&format!("-d afternotok:{held}"), "echo 2 >> order");
    let any = lab.sbatch(&format!("-d afterany:{held},afterany:{}", held + 2), "echo 3 >> order");
    lab.sbatch(&format!("-d {any} -J same -d singleton,afterany:{any}"), "echo 4 >> order");
    lab.run("scontrol", &format!("release {held}")).ok();
    assert_eq!(lab.file("order", "4\n"), "1\n2\n3\n4\n");
    lab.until(held + 1, "result", "FAILED");
    let late = lab.sbatch("--begin=now+3600", "true");
    lab.until(late, "state", "DEPEND");
    let ran = lab.run("sbatch", "-d afterok:4711 --wrap true").code_is(1);
    assert!(ran.stderr.contains("Job dependency problem"), "{}", ran.stderr);
}

#[test]
fn sizes_become_what_a_job_is_given() {
    let Some(lab) = start("sizes") else { return };
    let tells = "echo $SLURM_NNODES $SLURM_TASKS_PER_NODE $SLURM_JOB_CPUS_PER_NODE";
    for (line, wanted) in [
        ("", "1 1 1"),
        ("-n3", "1 3 3"),
        ("-n5", "2 4,1 4,1"),
        ("-N2", "2 1(x2) 1(x2)"),
        ("-N2 -n4 -c2", "2 2(x2) 4(x2)"),
        ("-n4 --ntasks-per-node=2", "2 2(x2) 2(x2)"),
        ("-N2 --exclusive", "2 1(x2) 4(x2)"),
        ("-n2 -c3", "2 1(x2) 3(x2)"),
        ("-n9 -O", "1 9 1"),
        ("-N1-3 -n5", "2 3,2 3(x2)"),
        ("--mincpus=3", "1 1 3"),
        ("-n2 --spread-job", "2 1(x2) 1(x2)"),
        ("-n4 --ntasks-per-socket=1", "2 2(x2) 2(x2)"),
        ("-w node2 -n1", "1 1 1"),
        ("--mem=1", "1 1 1"),
    ] {
        let number = lab.sbatch(&format!("{line} -o size.%j"), tells);
        assert_eq!(lab.file(&format!("size.{number}"), "\n").trim(), wanted, "{line}");
    }
    for (line, code) in [
        ("-p nope", "Invalid partition name specified"),
        ("-N4", "Requested node configuration is not available"),
        ("-c5", "Requested node configuration is not available"),
        ("-w node9", "Invalid node name specified"),
        ("-C nope", "Invalid feature specification"),
        ("--gres=gpu:1", "Invalid generic resource (gres) specification"),
        ("--gres=lic:1", "Invalid generic resource (gres) specification"),
        ("-L a", "Invalid license specification"),
        ("--reservation=a", "Requested reservation is invalid"),
        ("--mail-type=END", "Requested operation not supported on this system"),
        ("--array=5-1", "Invalid job array specification"),
    ] {
        let ran = lab.run("sbatch", &format!("{line} --wrap true")).code_is(1);
        assert!(ran.stderr.contains(code), "{line}: {}", ran.stderr);
    }
    let could = |line: &str| {
        let ran = lab.run("sbatch", &format!("{line} --test-only --wrap true"));
        assert_eq!((ran.code(), ran.stdout.as_str()), (0, ""), "{line}: {}", ran.stderr);
        ran.stderr
    };
    for (line, nodes) in [("-N1 -w node2", "node2"), ("-N3", "node[0-2]"), ("-x node0", "node1")] {
        let said = could(line);
        assert!(said.contains(&format!("nodes {nodes} ")), "{line}: {said}");
    }
    // When a job that is held starts nobody knows.
    assert!(could("-H").contains("to start at Unknown"));
}

#[test]
fn a_signal_before_the_end_is_for_the_script_alone_or_for_the_steps() {
    let Some(lab) = start("a signal before the end") else { return };
    // Children of the script would end by it; 52 seconds before the end of a minute.
    let script = "trap 'echo got' USR1; sleep 12; echo child $?; echo end";
    lab.sbatch("-t 1 -n1 --signal=B:USR1@52 -o script", script);
    let task = "trap 'echo got; exit 5' USR2; i=0; while [ $i -lt 200 ]; do sleep 0.1; i=$((i+1)); done";
    lab.sbatch(
        "-t 1 -n1 --signal=USR2@52 -o steps",
        &format!("srun sh -c \"{}\"; echo end", task.replace('$', "\\$")),
    );
    assert!(lab.run("squeue", "-M flurm -n none").ok().contains("CLUSTER: flurm\n"));
    // A node that is none of the job's is no node of a step either.
    let host = lab.run("srun", "-x node0 -n1 printenv SLURMD_NODENAME").ok();
    assert_ne!(host, "node0\n");
    // As `flurm jobs` counts, also where memory is asked for.
    let number = lab.sbatch("--mem=10M", "true");
    lab.until(number, "ntasks", "1");
    assert_eq!(lab.file("script", "end\n"), "got\nchild 0\nend\n");
    let said = lab.file("steps", "end\n");
    assert!(said.contains("got\n"), "{said}");
}

#[test]
fn scancel_leaves_nothing_behind_and_signals_whom_it_should() {
    let Some(lab) = start("scancel") else { return };
    let marker = format!("marker{}", std::process::id());
    let script = format!("export MARK={marker}; sleep 1000 & setsid sleep 1000 & echo up; wait");
    let number = lab.sbatch("-o tree", &script);
    lab.file("tree", "up\n");
    eventually("the processes", DEADLINE, || (!processes_with(&marker).is_empty()).then_some(()));
    lab.run("scancel", &number.to_string()).ok();
    lab.until(number, "result", "CANCELED");
    assert_eq!(processes_with(&marker), [] as [i32; 0]);
    let ran = lab.run("scancel", &format!("-v {number}"));
    assert!(ran.stderr.contains("already completing or completed"), "{}", ran.stderr);
    let waiting = lab.sbatch("-H", "true");
    lab.run("scancel", &waiting.to_string()).ok();
    lab.until(waiting, "result", "CANCELED");
}

#[test]
fn scontrol_changes_what_can_be_changed_and_says_what_cannot() {
    let Some(lab) = start("scontrol") else { return };
    let number = lab.sbatch("-t 5 -J old -o out -n1", "echo ran");
    lab.file("out", "ran\n");
    lab.until(number, "state", "INACTIVE");
    let ran = lab.run("scontrol", &format!("hold {number}")).code_is(1);
    assert!(ran.stderr.contains("already completing or completed"), "{}", ran.stderr);
    let held = lab.sbatch("-H -J old -t 5", "echo $SLURM_JOB_NAME > new; sleep 1000");
    lab.run("scontrol", &format!("update job {held} TimeLimit=90 ExcNodeList=node0 Comment=c")).ok();
    let ran = lab.run("scontrol", &format!("update job {held} NumNodes=2")).code_is(1);
    assert!(ran.stderr.contains("not supported"), "{}", ran.stderr);
    lab.run("scontrol", &format!("release {held}")).ok();
    assert_eq!(lab.file("new", "\n"), "old\n");
    lab.until(held, "duration", "5400.0");
    lab.until(held, "nodelist", "node1");
    // A stopped job's processes are stopped.
    let stopped = || {
        let found = processes_with(&lab.instance.rundir(1).display().to_string());
        let state = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        found.iter().filter(|pid| state(pid).contains("(slurm_script) T ")).count()
    };
    lab.run("scontrol", &format!("suspend {held}")).ok();
    eventually("it stops", DEADLINE, || (stopped() == 1).then_some(()));
    assert!(lab.run("scontrol", &format!("suspend {held}")).code_is(1).stderr.contains("disabled"));
    lab.run("scontrol", &format!("resume {held}")).ok();
    eventually("it goes on", DEADLINE, || (stopped() == 0).then_some(()));
    let ran = lab.run("scontrol", &format!("requeue {held}")).code_is(1);
    assert!(ran.stderr.contains("presently disabled"), "{}", ran.stderr);
    lab.run("scancel", &held.to_string()).ok();

    lab.run("scontrol", "update NodeName=node1 State=DRAIN Reason=why").ok();
    assert!(lab.instance.ok(&["resource", "drain"]).contains("why"));
    lab.run("scontrol", "update NodeName=node1 State=RESUME").ok();
    assert!(!lab.instance.ok(&["resource", "drain"]).contains("why"));
    let ran = lab.run("scontrol", "update NodeName=node9 State=RESUME").code_is(1);
    assert!(ran.stderr.contains("Invalid node name"), "{}", ran.stderr);
}

#[test]
fn an_allocation_is_given_at_once_or_later_and_comes_back() {
    let Some(lab) = start("salloc") else { return };
    let ran = run(
        lab.command(
            "salloc",
            &["-N2", "-n4", "sh", "-c", "echo $SLURM_JOB_NODELIST $SLURM_TASKS_PER_NODE; exit 3"],
        ),
        b"",
    );
    let ran = ran.code_is(3);
    assert_eq!(ran.stdout, "node[0-1] 2(x2)\n");
    assert!(ran.stderr.contains("Granted job allocation 1"), "{}", ran.stderr);
    lab.until(1, "returncode", "3");

    // All is taken, so the next one waits, over a crash of the service, until the first gives back.
    let mut first = lab.command("salloc", &["-N3", "--exclusive", "sh", "-c", "echo up; read line"]);
    let mut first = first.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(first.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    let mut second = lab.command("salloc", &["-n2", "sh", "-c", "echo $SLURM_JOB_ID"]);
    let mut second =
        second.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(second.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("queued and waiting") {
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "{line}");
    }
    lab.crash();
    // Both live on: the clients' ports are in the jobs.
    lab.until(2, "state", "RUN");
    drop(first.stdin.take());
    let _ = wait_child(&mut first, DEADLINE);
    lab.run("scancel", "2").stderr.clear();
    let output = second.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "3\n");

    // A client that is killed gives back what it had.
    let mut gone = lab.command("salloc", &["-N3", "--exclusive", "sh", "-c", "echo up; read line"]);
    let mut gone = gone.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(gone.stdout.take().unwrap()).read_line(&mut line).unwrap();
    gone.kill().unwrap();
    gone.wait().unwrap();
    lab.until(4, "result", "CANCELED");
}

#[test]
fn a_crash_of_the_service_never_leaves_a_number_without_a_job() {
    let Some(lab) = start("a crash") else { return };
    let script = "for i in $(seq 40); do sbatch --parsable --wrap true 2>/dev/null; done";
    let mut loops = lab.command("bash", &["-c", script]);
    loops.env("SLURM_CONF", &lab.conf);
    let child = loops.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    lab.sbatch("", "true");
    lab.crash();
    lab.crash();
    let output = child.wait_with_output().unwrap();
    assert!(!alive(pid));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers: Vec<u32> = said.lines().map(|line| line.parse().unwrap()).collect();
    assert!(!numbers.is_empty());
    let all = lab.instance.ok(&["jobs", "-a", "-n", "-c", "0", "-o", "{number}"]);
    let jobs: Vec<u32> = all.lines().map(|line| line.trim().parse().unwrap()).collect();
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count, "no number twice: {said}");
    assert!(numbers.iter().all(|number| jobs.contains(number)), "{numbers:?} of {jobs:?}");
}
