//! `flurm batch` and `flurm alloc`: jobs that are instances.

use flurm_tests::terminal::Terminal;
use flurm_tests::{DEADLINE, Instance, Options, alive, eventually, fake_nodes, kill, run, wait_child};
use std::process::Stdio;

fn instance(size: u32) -> Instance {
    Instance::with(Options { size, config: Some(fake_nodes(size, 4)), ..Options::default() })
}

/// Writes a script, queues it with these options, and waits for its end; its output.
#[track_caller]
fn batch(instance: &Instance, options: &[&str], script: &str, code: i32) -> String {
    let file = instance.dir.path().join("job.sh");
    std::fs::write(&file, script).unwrap();
    let args = [&["batch", "--output=job.out"], options, &["job.sh", "an argument"]].concat();
    let id = instance.ok(&args);
    // What becomes of the file afterwards is nothing to the job.
    std::fs::remove_file(&file).unwrap();
    instance.run(&["job", "status", &id]).code_is(code);
    let out = std::fs::read_to_string(instance.dir.path().join("job.out")).unwrap();
    std::fs::remove_file(instance.dir.path().join("job.out")).unwrap();
    out
}

#[test]
fn a_script_has_an_instance_over_what_its_job_was_given() {
    let instance = instance(3);
    let script = "#!/bin/sh\n\
                  flurm resource list -n -s all -o '{nnodes} {ncores} {nodelist}'\n\
                  flurm run -N2 -n6 sh -c 'echo task'\n\
                  flurm jobs -a -n -o '{name} {nnodes}'\n\
                  echo \"$1\" $FLURM_URI\n\
                  env | grep -c FLUX_JOB_ID\n\
                  flurm --parent jobs -n -o '{name} {nnodes}'\n\
                  exit 7\n";
    let said = batch(&instance, &["-N2", "-n4", "-c2", "--requires=hosts:node[1-2]"], script, 7);
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("2 8 node[1-2]"));
    assert_eq!(lines.by_ref().take(6).collect::<Vec<_>>(), ["task"; 6]);
    assert_eq!(lines.next(), Some("sh 2"));
    let argument = lines.next().unwrap();
    assert!(argument.starts_with("an argument local://") && !argument.contains(&instance.uri), "{argument}");
    assert_eq!(lines.next(), Some("0"), "the script is no task");
    assert_eq!(lines.next(), Some("job.sh 2"));
    // Above there is the one job, and its script is kept with it.
    assert_eq!(instance.ok(&["jobs", "-a", "-n", "-o", "{name} {ntasks}"]), "job.sh 2");
    let spec = instance.json(&["job", "info", &instance.ok(&["job", "last"]), "jobspec"]);
    assert_eq!(spec["attributes"]["system"]["files"]["script"]["data"], script);
}

/// A Slurm user's script starts programs with `-n $SLURM_NTASKS`, and names its files by the job.
#[test]
fn a_script_is_told_what_was_asked_for_and_which_job_it_is() {
    let instance = instance(2);
    let script = "#!/bin/sh\n#SBATCH -N2\n#SBATCH -n3\n#SBATCH --gres=gpu:0\n\
                  echo $SLURM_NTASKS $SLURM_NPROCS $SLURM_TASKS_PER_NODE $SLURM_JOB_CPUS_PER_NODE\n\
                  flurm run -n$SLURM_NTASKS echo task\n\
                  flurm getattr jobid\n\
                  echo $FLUX_ENCLOSING_ID $FLURM_ENCLOSING_ID\n\
                  flurm --parent job info $FLUX_ENCLOSING_ID jobspec >/dev/null && echo known\n";
    let said = batch(&instance, &[], script, 0);
    let id = instance.ok(&["job", "last"]);
    assert_eq!(said, format!("3 3 2,1 2(x2)\ntask\ntask\ntask\n{id}\n{id} {id}\nknown\n"));
    // An instance that is no job's has none.
    instance.run(&["getattr", "jobid"]).code_is(1);
}

/// Whoever waits at a busy machine is told so: once where nobody sees a line drawn anew.
#[test]
fn a_job_that_waits_says_so_to_who_asks() {
    let instance = instance(1);
    let busy = instance.ok(&["submit", "-N1", "sleep", "300"]);
    instance.ok(&["job", "wait-event", &busy, "start"]);
    let id = instance.ok(&["submit", "-n1", "echo", "done"]);
    let said = instance.dir.path().join("said");
    let mut attach = instance.command(&["job", "attach", "--show-status", &id]);
    let mut attach =
        attach.stderr(std::fs::File::create(&said).unwrap()).stdout(Stdio::null()).spawn().unwrap();
    eventually("the waiting job says so", DEADLINE, || {
        std::fs::read_to_string(&said).unwrap().contains("waiting for resources\n").then_some(())
    });
    instance.ok(&["cancel", &busy]);
    assert!(wait_child(&mut attach, DEADLINE).unwrap().success());
    assert_eq!(std::fs::read_to_string(&said).unwrap(), format!("flurm-job: {id} waiting for resources\n"));
}

#[test]
fn options_stand_in_the_script_and_the_command_line_wins() {
    let instance = instance(2);
    let script = "#!/bin/sh\n# flux: -N2 -t 5m\n# flux: --job-name='of the script' --setattr=user.a=1\n\
                  flurm resource list -n -s all -o '{nnodes} {ncores}'\n";
    assert_eq!(batch(&instance, &[], script, 0), "2 8\n");
    assert_eq!(batch(&instance, &["-N1", "-S", "user.b=2"], script, 0), "1 4\n");
    let spec = instance.json(&["job", "info", &instance.ok(&["job", "last"]), "jobspec"]);
    assert_eq!(spec["attributes"]["system"]["job"]["name"], "of the script");
    assert_eq!(spec["attributes"]["system"]["duration"], 300.0);
    assert_eq!(spec["attributes"]["user"], serde_json::json!({"a": 1, "b": 2}));
    for (script, said) in [
        ("#!/bin/sh\n# flux: -N2\n# flux: -Z\n", "bad.sh: unexpected argument '-Z'"),
        ("#!/bin/sh\n# flux: -N2\ntrue\n# flux: -n2\n", "bad.sh:4: "),
        ("#!/bin/sh\n# flux: -n2 other.sh\n", "`other.sh` in a `# flux:` line is no option"),
        ("echo\n", "does not begin with #!"),
        ("#!/bin/sh\r\ntrue\r\n", "bad.sh has the line ends of Windows"),
        ("#!/bin/sh\n", "the number of slots is missing"),
    ] {
        std::fs::write(instance.dir.path().join("bad.sh"), script).unwrap();
        let ran = instance.run(&["batch", "bad.sh"]).code_is(2);
        assert!(ran.stderr.contains(said), "{script}: {}", ran.stderr);
    }
    std::fs::write(instance.dir.path().join("slurm.sh"), "#!/bin/sh\n#SBATCH -N2\n").unwrap();
    let ran = instance.run(&["batch", "-N1", "--dry-run", "slurm.sh"]);
    assert_eq!(ran.stderr, "note: slurm.sh: taken over from #SBATCH: -N2\n");
    assert!(ran.ok().contains(r#""resources":[{"count":1,"#));
    std::fs::write(instance.dir.path().join("near.sh"), "#!/bin/sh\n#FLUX -N1\n").unwrap();
    let ran = instance.run(&["batch", "-n1", "--dry-run", "near.sh"]);
    assert!(ran.stderr.starts_with("warning: near.sh:2: `#FLUX -N1` is no directive"), "{}", ran.stderr);
    let ran = instance.run_with_input(&["batch", "-n1"], b"true\n").code_is(2);
    assert!(ran.stderr.contains("standard input is no script"), "{}", ran.stderr);
}

#[test]
fn a_script_comes_from_words_or_from_standard_input() {
    let instance = instance(1);
    let id = instance.ok(&["batch", "-n1", "--wrap", "flurm", "run", "echo", "in", "here"]);
    instance.run(&["job", "status", &id]).code_is(0);
    let out =
        |id: &str| std::fs::read_to_string(instance.dir.path().join(format!("flurm-{id}.out"))).unwrap();
    assert_eq!(out(&id), "in here\n");
    let id = instance.run_with_input(&["batch", "-n1"], b"#!/bin/sh\necho piped; exit 3\n").ok();
    instance.run(&["job", "status", id.trim()]).code_is(3);
    assert_eq!(out(id.trim()), "piped\n");
}

#[test]
fn brokers_of_a_batch_job_are_configured_by_it() {
    let instance = instance(1);
    let conf = [
        "-n1",
        "--conf=tbon.fanout=5",
        "--conf={\"sched\": {\"policy\": \"fcfs\"}}",
        "--broker-opts=-Smy.own=9",
    ];
    let script = "#!/bin/sh\nflurm getattr tbon.fanout\nflurm getattr my.own\n";
    assert_eq!(batch(&instance, &conf, script, 0), "5\n9\n");
    for (option, said) in [
        ("--conf=tbon.fan=2", "fan"),
        ("--conf=none-of-this-name", "no such file"),
        ("--broker-opts=-x", "brokers have no option"),
        ("--dump", "not there yet"),
    ] {
        let ran = instance.run(&["batch", "-n1", option, "--wrap", "true"]).code_is(2);
        assert!(ran.stderr.contains(said), "{option}: {}", ran.stderr);
    }
}

#[test]
fn the_end_of_a_batch_job_is_the_end_of_all_in_it() {
    let instance = instance(2);
    let mark = format!("mark-of-{}", std::process::id());
    let script = format!(
        "flurm submit -N2 -n2 --env=MARK={mark} --wait-event=start sleep 1000; \
         flurm batch -n1 --output=none --wrap 'flurm submit --env=MARK={mark} --wait-event=start sleep 1000; sleep 1000'; \
         sleep 1000"
    );
    let id = instance.ok(&["batch", "-N2", "--output=none", "--wrap", &script]);
    let sleeps = || flurm_tests::processes_with(&format!("MARK={mark}"));
    eventually("the tasks of both levels", DEADLINE, || (sleeps().len() >= 3).then_some(()));
    instance.ok(&["cancel", &id]);
    // TERM ends the broker, which hangs up the script: whichever is seen first.
    let code = instance.run(&["job", "status", &id]).code();
    assert!([128 + libc::SIGHUP, 128 + libc::SIGTERM].contains(&code), "{code}");
    assert_eq!(sleeps(), [] as [i32; 0]);
    assert_eq!(instance.ok(&["jobs", "-n"]), "");
    assert_eq!(instance.ok(&["resource", "list", "-n", "-s", "free", "-o", "{ncores}"]), "8");
}

#[test]
fn a_batch_job_hands_its_time_limit_down() {
    let instance = instance(1);
    let script = "#!/bin/sh\nflurm run sh -c 'flurm job timeleft $FLUX_JOB_ID; flurm job timeleft' | sort -u\n\
                  flurm submit -t 1h true 2>&1\n";
    let said = batch(&instance, &["-n1", "-t", "10m"], script, 1);
    let mut lines = said.lines();
    let left: f64 = lines.next().unwrap().parse().unwrap();
    assert!(left > 500.0 && left <= 600.0, "{said}");
    assert!(said.lines().nth(1).is_some_and(|why| why.contains("this instance ends in")), "{said}");
}

#[test]
fn three_levels_of_batch_jobs_work() {
    let instance = instance(2);
    let inner = "flurm getattr instance-level; flurm run -N2 -n2 echo deep";
    let middle = format!(
        "id=$(flurm batch -N2 --output=inner.out --wrap '{inner}'); flurm job status $id; cat inner.out"
    );
    let said = batch(&instance, &["-N2"], &format!("#!/bin/sh\n{middle}\n"), 0);
    assert_eq!(said, "2\ndeep\ndeep\n");
}

#[test]
fn alloc_stays_with_its_program_and_ends_with_its_code() {
    let instance = instance(2);
    let ran =
        instance.run_with_input(&["alloc", "-N2", "sh", "-c", "flurm uptime | wc -l; cat; exit 9"], b"fed\n");
    let ran = ran.code_is(9);
    assert!(ran.stdout.ends_with("fed\n"), "{}", ran.stdout);
    assert_eq!(
        instance.ok(&["alloc", "-n3", "flurm", "resource", "list", "-n", "-s", "all", "-o", "{ncores}"]),
        "3"
    );
    let spec = instance.json(&["alloc", "-n3", "--dry-run", "true"]);
    let shell = &spec["attributes"]["system"]["shell"]["options"];
    assert_eq!(shell["per-resource"], serde_json::json!({"type": "node", "count": 1}));
    assert_eq!(shell["exit-timeout"], "none");
}

#[test]
fn an_instance_in_the_background_is_ready_when_its_id_is_there() {
    let instance = instance(2);
    let ran = instance.run(&["alloc", "--bg", "-N1"]);
    let said = ran.stderr.clone();
    let id = ran.ok().trim().to_owned();
    let uri = said.trim().rsplit_once("FLURM_URI=").expect("it says where it is").1.to_owned();
    let inside = |args: &[&str]| {
        let mut command = instance.command(args);
        command.env("FLURM_URI", &uri);
        run(command, b"")
    };
    assert_eq!(inside(&["run", "-n2", "echo", "x"]).ok(), "x\nx\n");
    inside(&["shutdown"]).ok();
    instance.run(&["job", "status", &id]).code_is(0);
    let ran = instance.run(&["alloc", "--bg", "-n1", "--broker-opts=-Srank=3"]).code_is(1);
    assert!(ran.stderr.contains("has ended before it was ready"), "{}", ran.stderr);
}

#[test]
fn an_interrupt_cancels_what_has_not_begun() {
    let instance = instance(1);
    let full = instance.ok(&["submit", "--wait-event=start", "-N1", "sleep", "1000"]);
    let mut waiting = instance.command(&["alloc", "-n1", "true"]);
    let mut child = waiting.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the job", DEADLINE, || {
        (instance.ok(&["jobs", "-n", "-f", "pending", "-o", "{name}"]) == "true").then_some(())
    });
    kill(child.id().cast_signed(), libc::SIGINT);
    let status = wait_child(&mut child, DEADLINE).expect("it ends");
    assert_eq!(status.code(), Some(1));
    assert_eq!(instance.ok(&["jobs", "-n", "-a", "-f", "canceled", "-o", "{name}"]), "true");
    instance.ok(&["cancel", &full]);
}

/// The broker inside is killed: nothing of it is left behind.
#[test]
fn a_broker_that_is_killed_fails_its_job() {
    let instance = instance(1);
    let script = "flurm getattr broker.pid >pid.new; flurm getattr rundir >dir; mv pid.new pid; sleep 1000";
    let id = instance.ok(&["batch", "-n1", "--output=killed.out", "--wrap", script]);
    let file = instance.dir.path().join("pid");
    let pid = eventually("the broker's number", DEADLINE, || {
        std::fs::read_to_string(&file).ok()?.trim().parse().ok()
    });
    assert!(alive(pid));
    kill(pid, libc::SIGKILL);
    instance.run(&["job", "status", &id]).code_is(137);
    let out = std::fs::read_to_string(instance.dir.path().join("killed.out")).unwrap();
    assert!(out.contains("was killed by signal 9"), "{out}");
    let dir = std::fs::read_to_string(instance.dir.path().join("dir")).unwrap();
    assert!(!std::path::Path::new(dir.trim()).exists());
}

#[test]
fn a_shell_in_an_instance_of_its_own_has_our_terminal() {
    let instance = instance(1);
    let mut command = instance.command(&["alloc", "-n2", "bash", "--norc", "--noprofile"]);
    command.env("PS1", "ready> ").env_remove("PROMPT_COMMAND").env("INPUTRC", "/dev/null");
    let mut terminal = Terminal::start(command, 33, 101);
    terminal.expect("ready> ");
    terminal.type_in("stty size; flurm resource list -n -s all -o '{ncores} co''res'\r");
    terminal.expect("\n33 101\r\n");
    terminal.expect("2 cores\r\n");
    terminal.expect("ready> ");
    // Job control works: a program in the foreground gets the keys, and the shell comes back.
    terminal.type_in("sh -c 'echo u\"\"p; exec sleep 1000'\r");
    terminal.expect("up\r\n");
    terminal.type_in("\x03");
    terminal.expect("ready> ");
    terminal.type_in("echo co''de $?\r");
    terminal.expect("code 130");
    terminal.expect("ready> ");
    // Twice is no more than twice: the job is not ours to cancel.
    terminal.type_in("sh -c 'trap : INT; echo u\"\"p; sleep 1000; sleep 1000; echo bo\"\"th'\r");
    terminal.expect("up\r\n");
    terminal.type_in("\x03");
    terminal.expect("^C");
    terminal.type_in("\x03");
    terminal.expect("both\r\n");
    terminal.expect("ready> ");
    terminal.type_in("exit 6\r");
    assert_eq!(terminal.wait().code(), Some(6));
}
