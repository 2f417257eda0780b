//! A real shell with real processes, and a broker that is only this test: what goes in, what comes out.
//!
//! The shell must own its process, since it reaps every child, and its main thread, to which orphans come. So this
//! program is its own test runner: started with `shell URI RANK` it is the shell.

mod barrier;

use barrier::{
    a_part_that_is_lost_is_sent_again_and_tasks_that_are_gone_are_not_waited_for, pmi_tasks_meet_across_ranks,
};
use flurm_types::{Environment, JobId, R, RNode, Rank};
use flurm_wire::exec::{Kill, Report, Reports, Start, StartJob, What};
use flurm_wire::job::{Done, Stdin};
use flurm_wire::rexec::{Run, RunOutput};
use flurm_wire::shell::{
    Fence, FenceLost, Flow, FlowHere, Hello, InitialExited, KillHere, Quit, StartHere, StartInitial,
    StdinHere, Welcome,
};
use flurm_wire::{Address, ClientId, Dest, ErrorCode, Kind, Message, Topic, WireError, frame};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

/// Plays the broker of one rank.
struct Broker {
    dir: tempfile::TempDir,
    listener: UnixListener,
    stream: UnixStream,
    shell: Child,
    rank: u32,
    tag: u64,
    /// What was reported and nobody has looked at.
    reports: Vec<Report>,
    acknowledge: bool,
}

impl Broker {
    fn start() -> Broker {
        Broker::of_rank(0)
    }

    fn of_rank(rank: u32) -> Broker {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("local");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let shell = Broker::spawn(dir.path(), rank);
        let (stream, _) = listener.accept().expect("the shell connects");
        let mut broker =
            Broker { dir, listener, stream, shell, rank, tag: 0, reports: Vec::new(), acknowledge: true };
        broker.welcome();
        broker
    }

    fn spawn(dir: &Path, rank: u32) -> Child {
        Command::new(std::env::current_exe().expect("a test has a path"))
            .arg("shell")
            .arg(format!("local://{}/local", dir.display()))
            .arg(rank.to_string())
            .stdin(Stdio::null())
            .spawn()
            .expect("the shell starts")
    }

    /// Takes the shell's hello; returns the jobs it knows.
    fn welcome(&mut self) -> Vec<(JobId, u32)> {
        self.stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let message = self.receive();
        assert_eq!(message.topic, Hello::NAME);
        let hello: Hello = message.body().expect("a hello");
        let uri = format!("local://{}", self.dir.path().join("local").display());
        let welcome = Welcome {
            rank: Rank(self.rank),
            size: 4,
            hostname: "c1".into(),
            uri,
            instance_id: "i".into(),
            instance_level: 0,
            orphan_ms_max: 2000,
            slurm_conf: None,
        };
        self.send(&message.respond(self.address(), &welcome, false));
        hello.jobs
    }

    fn address(&self) -> Address {
        Address { rank: Rank(0), client: ClientId(0) }
    }

    fn send(&mut self, message: &Message) {
        self.stream.write_all(&frame::encode_framed(message)).expect("the shell reads");
    }

    fn push<T: Topic>(&mut self, body: &T) -> u64 {
        self.tag += 1;
        let to = Dest::Client(Address { rank: Rank(self.rank), client: ClientId(1) });
        let message = Message::request(self.address(), to, self.tag, body);
        self.send(&message);
        self.tag
    }

    fn receive(&mut self) -> Message {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).expect("the shell says something in time");
        let mut body = vec![0; frame::decode_len(head).expect("a length")];
        self.stream.read_exact(&mut body).expect("a whole frame");
        frame::decode(&body).expect("a message")
    }

    /// Takes messages until one is no report.
    fn receive_other(&mut self) -> Message {
        loop {
            let message = self.receive();
            if message.topic != Reports::NAME {
                return message;
            }
            self.reported(&message);
        }
    }

    fn reported(&mut self, message: &Message) {
        let reports: Reports = message.body().expect("reports");
        self.reports.extend(reports.reports);
        if self.acknowledge {
            self.send(&message.respond(self.address(), &Done {}, false));
        }
    }

    /// Takes reports until the job has said enough.
    fn wait(&mut self, id: u64, enough: impl Fn(&[&Report]) -> bool) -> Vec<Report> {
        let end = Instant::now() + DEADLINE;
        loop {
            let of: Vec<&Report> = self.reports.iter().filter(|r| r.id == JobId(id)).collect();
            if enough(&of) {
                return of.into_iter().cloned().collect();
            }
            assert!(Instant::now() < end, "in time");
            let message = self.receive();
            assert_eq!(message.topic, Reports::NAME, "{message:?}");
            self.reported(&message);
        }
    }

    fn gone(&mut self, id: u64) -> Told {
        Told(self.wait(id, |reports| matches!(reports.last().map(|r| &r.what), Some(What::Gone { .. }))))
    }

    fn started(&mut self, id: u64) {
        self.wait(id, |reports| reports.iter().any(|r| matches!(r.what, What::Started { .. })));
    }

    fn submit(&mut self, id: u64, command: &[&str], ntasks: u32, options: Value) {
        let start = start(self.dir.path(), &[id], command, ntasks, options, &[self.rank]);
        self.push(&StartHere(start));
    }

    fn run(&mut self, id: u64, command: &[&str], ntasks: u32, options: Value) -> Told {
        self.submit(id, command, ntasks, options);
        self.gone(id)
    }

    fn end(&mut self, id: u64, grace_ms: u64) {
        let ranks = self.rank.into();
        self.push(&KillHere(Kill {
            id: JobId(id),
            attempt: 0,
            ranks,
            signum: 15,
            end: true,
            grace_ms,
            why: String::new(),
        }));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have gone by itself.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

fn start(cwd: &Path, ids: &[u64], command: &[&str], ntasks: u32, options: Value, ranks: &[u32]) -> Start {
    let nodes = ranks.iter().map(|rank| RNode {
        rank: *rank,
        host: format!("c{rank}"),
        cores: (0..ntasks.div_ceil(ranks.len() as u32)).collect(),
        gpus: "".parse().expect("an idset"),
    });
    let r = raw(&R::from_nodes(nodes));
    let jobspec = json!({
        "version": 1,
        "resources": [{"type": "slot", "count": ntasks, "label": "task", "with": [{"type": "core", "count": 1}]}],
        "tasks": [{"command": command, "slot": "task", "count": {"per_slot": 1}}],
        "attributes": {"system": {"duration": 0, "cwd": cwd, "shell": {"options": options}}},
    });
    let path = std::env::var("PATH").expect("a PATH");
    let environment: Environment =
        [("PATH".to_owned(), Some(path)), ("OMPI_COMM_WORLD_SIZE".to_owned(), Some("9".into()))].into();
    let job = |id: &u64| StartJob {
        id: JobId(*id),
        attempt: 0,
        environment: 0,
        jobspec: 0,
        copy: None,
        number: 1,
        array_number: 0,
        r: Arc::clone(&r),
    };
    Start {
        environments: vec![raw(&environment)],
        jobspecs: vec![raw(&jobspec)],
        jobs: ids.iter().map(job).collect(),
    }
}

fn raw(value: &impl serde::Serialize) -> Arc<serde_json::value::RawValue> {
    serde_json::value::to_raw_value(value).expect("JSON").into()
}

/// All that was reported about one job.
struct Told(Vec<Report>);

impl Told {
    fn status(&self) -> i32 {
        match self.0.last().map(|r| &r.what) {
            Some(What::Gone { status, .. }) => *status,
            other => panic!("the last report is no end: {other:?}"),
        }
    }

    fn failure(&self) -> Option<(&str, i32)> {
        self.0.iter().find_map(|r| match &r.what {
            What::Failed { note, status, .. } => Some((note.as_str(), *status)),
            _ => None,
        })
    }

    fn entries(&self) -> Vec<(String, Value)> {
        let of = |r: &Report| match &r.what {
            What::Output { entries } => entries.clone(),
            _ => Vec::new(),
        };
        self.0.iter().flat_map(of).map(|e| (e.name, e.context.unwrap_or_default())).collect()
    }

    /// All data of one stream of one task.
    fn output(&self, stream: &str, rank: &str) -> String {
        let wanted =
            |(name, c): &(String, Value)| name == "data" && c["stream"] == stream && c["rank"] == rank;
        self.entries()
            .iter()
            .filter(|e| wanted(e))
            .filter_map(|(_, c)| c["data"].as_str().map(str::to_owned))
            .collect()
    }

    fn stdout(&self) -> String {
        self.output("stdout", "0")
    }
}

/// Processes with this word in their command line.
fn processes_with(word: &str) -> usize {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter(|e| e.file_name().to_str().is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit())))
        .filter(|e| {
            std::fs::read(e.path().join("cmdline")).is_ok_and(|c| String::from_utf8_lossy(&c).contains(word))
        })
        .count()
}

fn options_change_what_tasks_see_and_when_they_end() {
    let mut broker = Broker::start();
    let dir = broker.dir.path().to_owned();
    std::fs::write(dir.join("in"), "from a file\n").expect("a file");
    let options = json!({"input": {"stdin": {"type": "file", "path": "in"}}, "rlimit": {"core": 0}});
    let told = broker.run(1, &["sh", "-c", "cat; ulimit -c; echo {{task.id}} {{unknown}}"], 1, options);
    assert_eq!(told.stdout(), "from a file\n0\n0 {{unknown}}\n");
    let told = broker.run(2, &["sh", "-c", "exit $FLUX_TASK_RANK"], 2, json!({"exit-on-error": 1}));
    assert!(told.failure().is_some_and(|(note, _)| note.contains("task 1")), "{:?}", told.failure());
    let script = "test $FLUX_TASK_RANK = 0 || sleep 1000";
    let told = broker.run(3, &["sh", "-c", script], 2, json!({"exit-timeout": "100ms"}));
    assert!(told.failure().is_some_and(|(note, _)| note.contains("exit-timeout")), "{:?}", told.failure());
    // What a job leaves in its directory is not there for the next one.
    let script = "ls -A $FLUX_JOB_TMPDIR; touch $FLUX_JOB_TMPDIR/x; umask; env | grep -c ^OMPI";
    for id in [4, 5] {
        assert_eq!(broker.run(id, &["sh", "-c", script], 1, json!({})).stdout(), "0022\n0\n");
    }
    let told = broker.run(6, &["cat", "/proc/self/status"], 1, json!({}));
    assert!(told.stdout().contains("SigBlk:\t0000000000000000\n"), "no signal is blocked");
    let ignored =
        told.stdout().lines().find_map(|l| l.strip_prefix("SigIgn:\t").map(str::to_owned)).expect("a line");
    let ignored = u64::from_str_radix(&ignored, 16).expect("a set of signals");
    // The C library keeps 32 and 33 for itself, and its own posix_spawn ignores them.
    assert_eq!(ignored & !(0b11 << 31), 0, "and none ignored");
}

fn a_file_that_does_not_open_holds_up_nobody_else_and_can_be_given_up() {
    let mut broker = Broker::start();
    let late = broker.dir.path().join("late");
    let mut mkfifo = Command::new("mkfifo");
    mkfifo.current_dir(broker.dir.path()).args(["unread", "unwritten", "late"]);
    assert!(mkfifo.status().expect("mkfifo runs").success());
    let input = |path| json!({"input": {"stdin": {"type": "file", "path": path}}});
    for id in 1..=6 {
        broker.submit(id, &["cat"], 1, input("unwritten"));
    }
    broker.submit(7, &["cat"], 1, input("late"));
    broker.submit(8, &["echo"], 1, json!({"output": {"stdout": {"type": "file", "path": "unread"}}}));
    assert_eq!(broker.run(9, &["echo", "free"], 1, json!({})).stdout(), "free\n");
    broker.end(1, 60_000);
    assert_eq!(broker.gone(1).status(), 15, "nothing of it was started");
    std::fs::write(late, "late\n").expect("a reader is there");
    assert_eq!(broker.gone(7).stdout(), "late\n");
    broker.push(&Quit {});
    for id in [2, 3, 4, 5, 6, 8] {
        assert_eq!(broker.gone(id).status(), 15);
    }
    assert_eq!(broker.shell.wait().expect("our child").code(), Some(0));
}

fn a_new_shell_ends_what_a_killed_one_has_left() {
    let mut broker = Broker::start();
    broker.submit(1, &["sh", "-c", "setsid sleep 66123406 & wait"], 1, json!({}));
    broker.started(1);
    let end = Instant::now() + DEADLINE;
    while processes_with("66123406") < 2 {
        assert!(Instant::now() < end, "both run in time");
    }
    broker.shell.kill().expect("our child");
    broker.shell.wait().expect("our child");
    broker.shell = Broker::spawn(broker.dir.path(), 0);
    broker.stream = broker.listener.accept().expect("the next shell connects").0;
    assert_eq!(broker.welcome(), []);
    assert_eq!(broker.run(2, &["echo", "again"], 1, json!({})).stdout(), "again\n");
    while processes_with("66123406") > 0 {
        assert!(Instant::now() < end, "they are gone in time");
    }
}

/// Every test, by the sentence that it proves.
const TESTS: &[(&str, fn())] = &[
    (
        "a_file_that_does_not_open_holds_up_nobody_else_and_can_be_given_up",
        a_file_that_does_not_open_holds_up_nobody_else_and_can_be_given_up,
    ),
    ("exit_codes_signals_and_missing_programs_are_told", exit_codes_signals_and_missing_programs_are_told),
    (
        "output_is_entries_in_order_with_a_header_first_and_ends_last",
        output_is_entries_in_order_with_a_header_first_and_ends_last,
    ),
    ("all_output_is_reported_until_nobody_wants_it", all_output_is_reported_until_nobody_wants_it),
    (
        "an_unacknowledged_report_is_repeated_to_the_next_broker",
        an_unacknowledged_report_is_repeated_to_the_next_broker,
    ),
    (
        "a_daemon_ends_with_its_job_and_a_task_that_ignores_term_after_the_grace_time",
        a_daemon_ends_with_its_job_and_a_task_that_ignores_term_after_the_grace_time,
    ),
    (
        "input_reaches_the_tasks_it_is_meant_for_until_its_end",
        input_reaches_the_tasks_it_is_meant_for_until_its_end,
    ),
    ("files_take_templates_and_whole_lines", files_take_templates_and_whole_lines),
    (
        "thousands_of_small_jobs_take_about_as_long_as_their_processes",
        thousands_of_small_jobs_take_about_as_long_as_their_processes,
    ),
    ("pmi_tasks_meet_across_ranks", pmi_tasks_meet_across_ranks),
    (
        "a_part_that_is_lost_is_sent_again_and_tasks_that_are_gone_are_not_waited_for",
        a_part_that_is_lost_is_sent_again_and_tasks_that_are_gone_are_not_waited_for,
    ),
    ("programs_outside_jobs_stream_back", programs_outside_jobs_stream_back),
    (
        "the_initial_program_is_told_of_and_quit_leaves_nothing",
        the_initial_program_is_told_of_and_quit_leaves_nothing,
    ),
    (
        "a_shell_without_a_broker_ends_everything_and_clears_up",
        a_shell_without_a_broker_ends_everything_and_clears_up,
    ),
    ("options_change_what_tasks_see_and_when_they_end", options_change_what_tasks_see_and_when_they_end),
    ("a_new_shell_ends_what_a_killed_one_has_left", a_new_shell_ends_what_a_killed_one_has_left),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [role, uri, rank] = args.as_slice()
        && role == "shell"
    {
        let rank = rank.parse().expect("a rank");
        std::process::exit(flurm_shell::run(flurm_shell::ShellArgs { uri: uri.clone(), rank }));
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted.iter().all(|w| name.contains(*w))) {
        // What failed has said why on standard error.
        let passed = std::thread::spawn(test).join().is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += u8::from(!passed);
    }
    failed.into()
}

fn exit_codes_signals_and_missing_programs_are_told() {
    let mut broker = Broker::start();
    let plain = broker.dir.path().join("plain");
    std::fs::write(&plain, "no program\n").expect("a file");
    for (id, command, status) in [
        (1, &["true"][..], 0),
        (2, &["sh", "-c", "exit 3"], 3 << 8),
        (3, &["sh", "-c", "kill -9 $$"], 9),
        (4, &["./no-such-program"], 127 << 8),
        (5, &["no-such-program-in-path"], 127 << 8),
        (6, &["./plain"], 126 << 8),
    ] {
        let told = broker.run(id, command, 1, json!({}));
        assert_eq!(told.status(), status, "{command:?}");
        assert_eq!(told.failure().is_some(), status >= 126 << 8, "{command:?}");
        assert_eq!(
            told.0.iter().map(|r| r.seq).collect::<Vec<_>>(),
            (1..=told.0.len() as u64).collect::<Vec<_>>()
        );
        assert!(told.entries().is_empty(), "no output, no entries");
    }
    let told = broker.run(7, &["./no-such-program"], 1, json!({}));
    assert_eq!(told.failure(), Some(("./no-such-program: No such file or directory", 127 << 8)));
    let told = broker.run(8, &["sh", "-c", "exit $FLUX_TASK_RANK"], 4, json!({}));
    assert_eq!(told.status(), 3 << 8);
}

fn output_is_entries_in_order_with_a_header_first_and_ends_last() {
    let mut broker = Broker::start();
    let told = broker.run(1, &["sh", "-c", "echo a; echo b; printf c; echo e >&2"], 1, json!({}));
    assert_eq!((told.stdout().as_str(), told.output("stderr", "0").as_str()), ("a\nb\nc", "e\n"));
    let entries = told.entries();
    assert_eq!(entries[0].0, "header");
    let ends: Vec<&Value> = entries.iter().rev().take(2).map(|(_, c)| &c["eof"]).collect();
    assert_eq!(ends, [true, true]);
    let told = broker.run(2, &["printf", "\\377\\000x"], 1, json!({}));
    let data = &told.entries()[1].1;
    assert_eq!((&data["encoding"], &data["data"]), (&json!("base64"), &json!("/wB4")));
    let told = broker.run(3, &["sh", "-c", "echo task $SLURM_PROCID of $FLUX_JOB_SIZE"], 3, json!({}));
    for rank in ["0", "1", "2"] {
        assert_eq!(told.output("stdout", rank), format!("task {rank} of 3\n"));
    }
}

fn all_output_is_reported_until_nobody_wants_it() {
    let mut broker = Broker::start();
    let much = "yes | head -c 30000000; exit 4";
    let told = broker.run(1, &["sh", "-c", much], 1, json!({}));
    assert_eq!((told.stdout().len(), told.status()), (30_000_000, 4 << 8));

    broker.submit(2, &["sh", "-c", much], 1, json!({}));
    broker.wait(2, |r| r.iter().any(|r| matches!(&r.what, What::Output { .. })));
    broker.push(&FlowHere { id: JobId(2), attempt: 0, flow: Flow::Drop });
    let told = broker.gone(2);
    assert!(told.stdout().len() < 30_000_000, "{} bytes", told.stdout().len());
    assert_eq!(told.status(), 4 << 8, "its task never waits");
}

fn an_unacknowledged_report_is_repeated_to_the_next_broker() {
    let mut broker = Broker::start();
    broker.acknowledge = false;
    broker.submit(1, &["echo", "kept"], 1, json!({}));
    broker.started(1);
    // The broker goes, another one comes.
    let (stream, _) = {
        broker.stream.shutdown(std::net::Shutdown::Both).expect("open");
        broker.listener.accept().expect("the shell comes back")
    };
    broker.stream = stream;
    assert_eq!(broker.welcome(), [(JobId(1), 0)]);
    broker.reports.clear();
    broker.acknowledge = true;
    let told = broker.gone(1);
    assert_eq!((told.0[0].seq, told.stdout().as_str()), (1, "kept\n"));
}

fn a_daemon_ends_with_its_job_and_a_task_that_ignores_term_after_the_grace_time() {
    let daemon = "import os,sys\nif os.fork()==0:\n os.setsid()\n if os.fork()==0:\n  for fd in range(3): os.close(fd)\n  \
                  os.execve('/bin/sleep',['sleep',sys.argv[1]],{})\n os._exit(0)\nos.wait()\nprint('up',flush=True)\n";
    let mut broker = Broker::start();
    let told = broker.run(1, &["python3", "-c", daemon, "66123401"], 1, json!({}));
    assert_eq!((told.status(), processes_with("66123401")), (0, 0));

    // Another job's daemon is left alone meanwhile.
    let stays = format!("{daemon}import time\ntime.sleep(1000)\n");
    broker.submit(2, &["python3", "-c", &stays, "66123402"], 1, json!({}));
    broker.wait(2, |r| r.iter().any(|r| matches!(&r.what, What::Output { .. })));
    let stubborn = "trap '' TERM; echo up; while :; do read x < /dev/zero; done";
    broker.submit(3, &["sh", "-c", stubborn, "66123403"], 1, json!({}));
    broker.wait(3, |r| r.iter().any(|r| matches!(&r.what, What::Output { .. })));
    assert_eq!(broker.run(4, &["true"], 1, json!({})).status(), 0);
    let before = Instant::now();
    broker.end(3, 300);
    assert_eq!((broker.gone(3).status(), processes_with("66123403")), (9, 0));
    assert!(before.elapsed() >= Duration::from_millis(300), "the grace time was given");
    assert!(processes_with("66123402") >= 2, "the task and its daemon");
    broker.end(2, 5000);
    assert_eq!((broker.gone(2).status(), processes_with("66123402")), (15, 0));
}

fn input_reaches_the_tasks_it_is_meant_for_until_its_end() {
    let mut broker = Broker::start();
    broker.submit(1, &["cat"], 2, json!({"input": {"stdin": {"type": "service"}}}));
    let stdin = |ranks: &str, data: &str, eof| {
        StdinHere(Stdin {
            id: JobId(1),
            ranks: ranks.into(),
            data: data.into(),
            base64: false,
            eof,
            typed: false,
            window: None,
        })
    };
    broker.push(&stdin("all", "both\n", false));
    broker.push(&stdin("1", "one\n", true));
    broker.push(&stdin("0", "", true));
    let end = Instant::now() + DEADLINE;
    let mut answered = 0;
    while answered < 3 || !broker.reports.iter().any(|r| matches!(r.what, What::Gone { .. })) {
        assert!(Instant::now() < end);
        let message = broker.receive();
        match message.kind {
            Kind::Response => answered += 1,
            _ => broker.reported(&message),
        }
    }
    let told = broker.gone(1);
    assert_eq!(
        (told.output("stdout", "0").as_str(), told.output("stdout", "1").as_str()),
        ("both\n", "both\none\n")
    );
}

fn files_take_templates_and_whole_lines() {
    let mut broker = Broker::start();
    let options = json!({"output": {"stdout": {"type": "file", "path": "out.{{task.id}}"},
        "stderr": {"type": "file", "path": "err.{{name}}", "label": true}}});
    let script = "echo $FLUX_TASK_RANK; printf 'x' >&2; echo y >&2";
    assert_eq!(broker.run(1, &["sh", "-c", script], 2, options.clone()).status(), 0);
    let read = |name: &str| std::fs::read_to_string(broker.dir.path().join(name)).expect(name);
    assert_eq!((read("out.0").as_str(), read("out.1").as_str()), ("0\n", "1\n"));
    let err = read("err.sh");
    let mut lines: Vec<&str> = err.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["0: xy", "1: xy"]);
    let options = json!({"output": {"stdout": {"type": "file", "path": "out.{{nobody}}"}}});
    let told = broker.run(2, &["true"], 1, options);
    assert!(told.failure().is_some_and(|(note, _)| note.contains("nobody")));
    let told = broker.run(3, &["true"], 1, json!({"outptu": 1}));
    assert!(told.failure().is_some_and(|(note, _)| note.contains("outptu")));
}

fn thousands_of_small_jobs_take_about_as_long_as_their_processes() {
    let mut broker = Broker::start();
    let ids: Vec<u64> = (1..=2000).collect();
    let before = Instant::now();
    broker.push(&StartHere(start(Path::new("/"), &ids, &["true"], 1, json!({}), &[0])));
    let mut gone = 0;
    while gone < ids.len() {
        let message = broker.receive();
        broker.reported(&message);
        gone = broker.reports.iter().filter(|r| matches!(r.what, What::Gone { status: 0, .. })).count();
    }
    println!("{} jobs in {:?}", ids.len(), before.elapsed());
    let of_shell = |file: &str| {
        std::fs::read_to_string(format!("/proc/{}/{file}", broker.shell.id())).expect("the shell lives")
    };
    println!("{}", of_shell("status").lines().find(|l| l.starts_with("VmRSS")).expect("VmRSS"));
    let stat = of_shell("stat");
    let ticks: Vec<&str> = stat.split(' ').skip(13).take(4).collect();
    println!(
        "ticks: shell {} user, {} system; its children {} and {}",
        ticks[0], ticks[1], ticks[2], ticks[3]
    );
}

fn programs_outside_jobs_stream_back() {
    let mut broker = Broker::start();
    let path = std::env::var("PATH").expect("a PATH");
    let run = |command: &[&str]| Run {
        command: command.iter().map(|w| (*w).to_owned()).collect(),
        cwd: None,
        environment: BTreeMap::from([("PATH".to_owned(), Some(path.clone()))]),
    };
    let tag = broker.push(&run(&["sh", "-c", "echo hi; exit 7"]));
    let mut text = String::new();
    loop {
        let message = broker.receive();
        assert_eq!(message.tag, tag);
        match message.body().expect("output of a program") {
            RunOutput::Started { .. } => {}
            RunOutput::Output { data, .. } => text += &data,
            RunOutput::Exited { status, .. } => {
                break assert_eq!((text.as_str(), status, message.more), ("hi\n", 7 << 8, false));
            }
            RunOutput::Failed { text, .. } => panic!("{text}"),
        }
    }
    broker.push(&run(&["no-such-program"]));
    assert!(matches!(broker.receive().body(), Ok(RunOutput::Failed { errno: libc::ENOENT, .. })));
}

fn the_initial_program_is_told_of_and_quit_leaves_nothing() {
    let mut broker = Broker::start();
    let path = std::env::var("PATH").expect("a PATH");
    broker.push(&StartInitial {
        command: ["sh", "-c", "test -n \"$FLURM_URI\" && exit 5"].map(str::to_owned).into(),
        cwd: "/".into(),
        environment: BTreeMap::from([("PATH".to_owned(), Some(path))]),
    });
    let message = broker.receive_other();
    assert_eq!(message.body::<InitialExited>().expect("an exit").status, 5 << 8);
    broker.send(&message.respond(broker.address(), &Done {}, false));
    broker.submit(1, &["sh", "-c", "setsid sleep 66123404 & sleep 66123404"], 1, json!({}));
    broker.started(1);
    broker.push(&Quit {});
    assert_eq!(broker.gone(1).status(), 15);
    assert_eq!(broker.shell.wait().expect("our child").code(), Some(0));
    assert_eq!(processes_with("66123404"), 0);
}

fn a_shell_without_a_broker_ends_everything_and_clears_up() {
    let mut broker = Broker::start();
    broker.submit(1, &["sleep", "66123405"], 1, json!({}));
    broker.started(1);
    broker.stream.shutdown(std::net::Shutdown::Both).expect("open");
    // It finds a listener, but nobody behind it.
    let socket = broker.dir.path().join("local");
    std::fs::remove_file(&socket).expect("our socket");
    assert_eq!(broker.shell.wait().expect("our child").code(), Some(1));
    assert_eq!(processes_with("66123405"), 0);
    assert!(!broker.dir.path().exists(), "the run directory is gone");
}
