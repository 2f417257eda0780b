//! `shell.follow`: a client on the node of a job's tasks has their output and gives their input.

use flurm_client::blocking::{Answers, Client};
use flurm_client::{Uri, job};
use flurm_tests::{Instance, eventually};
use flurm_types::JobId;
use flurm_wire::Dest;
use flurm_wire::follow::{Feed, Follow, Followed, Signal, WINDOW_BYTES};
use flurm_wire::rexec::Stream;
use std::time::{Duration, Instant};

struct Follower {
    client: Client,
    answers: Answers<Follow>,
    name: String,
}

impl Follower {
    fn new(instance: &Instance, rank: u32, name: &str) -> Follower {
        let client = Client::connect(&Uri::parse(&instance.uri_of(rank)).expect("a URI")).expect("connected");
        let mut answers = client.stream(Dest::Local, &Follow { name: name.to_owned() }).expect("sent");
        assert!(matches!(answers.next(), Some(Ok(Followed::Ready {}))));
        Follower { client, answers, name: name.to_owned() }
    }

    fn next(&mut self) -> Option<Followed> {
        self.answers.next().map(|answer| answer.expect("the stream is whole"))
    }

    fn took(&self, bytes: usize) {
        self.answers.took(bytes);
    }

    fn feed(&self, data: &str, eof: bool) {
        let (name, data) = (self.name.clone(), data.to_owned());
        let feed = Feed { name, tasks: None, data, base64: false, eof, window: None };
        self.client.call(Dest::Local, &feed).expect("taken");
    }

    /// All that comes until the end, acknowledged: what each stream has said, and the rest in short.
    fn rest(&mut self) -> (String, Vec<String>) {
        let (mut out, mut rest) = (String::new(), Vec::new());
        while let Some(what) = self.next() {
            match what {
                Followed::Output { stream: Stream::Stdout, data, .. } => {
                    self.took(data.len());
                    out.push_str(&data);
                }
                Followed::Ready {} => panic!("said already"),
                Followed::Started { tasks, pids, .. } => {
                    assert_eq!(tasks.len(), pids.len());
                    rest.push(format!("started {tasks:?}"));
                }
                Followed::Output { stream: Stream::Stderr, data, .. } => rest.push(format!("err {data:?}")),
                Followed::End { task, stream } => rest.push(format!("end {task} {stream:?}")),
                Followed::Exited { task, status } => rest.push(format!("exited {task} {status}")),
                Followed::Failed { note, status } => rest.push(format!("failed {status} {note}")),
                Followed::Gone { status } => rest.push(format!("gone {status}")),
            }
        }
        (out, rest)
    }
}

fn submit(instance: &Instance, name: &str, more: &[&str]) -> JobId {
    let option = format!("-ooutput.follow={name}");
    let args = [&["submit", &option, "-oinput.stdin.type=service"], more].concat();
    instance.ok(&args).trim().parse().expect("a job")
}

#[test]
fn output_in_order_input_and_exits_come_to_who_follows_on_each_node() {
    let instance = Instance::start(2);
    let mut first = Follower::new(&instance, 0, "a");
    let script = "read line; echo $FLUX_TASK_RANK $line; echo e >&2; exit $FLUX_TASK_RANK";
    let id = submit(&instance, "a", &["-N2", "-n2", "sh", "-c", script]);
    // This one comes later than the job.
    let mut second = Follower::new(&instance, 1, "a");
    first.feed("one\n", true);
    second.feed("two\n", true);
    for (follower, task, line) in [(&mut first, 0, "0 one\n"), (&mut second, 1, "1 two\n")] {
        let (out, rest) = follower.rest();
        assert_eq!(out, line);
        let status = task << 8;
        assert_eq!(
            (rest[0].as_str(), rest.last().unwrap().as_str()),
            (&*format!("started [{task}]"), &*format!("gone {status}"))
        );
        let mut middle = rest[1..rest.len() - 1].to_vec();
        middle.sort();
        let expected = [
            format!("end {task} Stderr"),
            format!("end {task} Stdout"),
            "err \"e\\n\"".into(),
            format!("exited {task} {status}"),
        ];
        assert_eq!(middle, expected);
    }
    assert_eq!(instance.run(&["job", "attach", &id.f58()]).stdout, "", "nothing is kept elsewhere");
}

#[test]
fn tasks_wait_while_a_follower_has_enough_and_output_for_nobody_waits_for_somebody() {
    let instance = Instance::start(1);
    let bytes = 20 * WINDOW_BYTES;
    submit(&instance, "b", &["sh", "-c", &format!("head -c {bytes} /dev/zero | tr '\\0' x; touch all.said")]);
    let said = || instance.dir.path().join("all.said").exists();
    let mut slow = Follower::new(&instance, 0, "b");
    let mut got = 0;
    while got < WINDOW_BYTES - (64 << 10) {
        if let Some(Followed::Output { data, .. }) = slow.next() {
            got += data.len();
        }
    }
    assert!(!said());
    // Its output is lost with it; what nobody has heard is for the next.
    drop(slow);
    let begin = Instant::now();
    let (out, rest) = Follower::new(&instance, 0, "b").rest();
    assert!(out.len() <= bytes - got && out.len() > bytes - 3 * WINDOW_BYTES, "{} of {bytes}", out.len());
    assert!(rest.last().is_some_and(|last| last == "gone 0") && said());
    println!("{:.0} MB/s", out.len() as f64 / 1e6 / begin.elapsed().as_secs_f64());
}

#[test]
fn one_byte_is_there_at_once_and_a_signal_reaches_this_node_alone() {
    let instance = Instance::start(2);
    let mut follower = Follower::new(&instance, 0, "c");
    let script = "trap 'echo got it; exit 7' USR1; echo ready; while :; do read x && echo $x; done";
    let id = submit(&instance, "c", &["-N2", "-n2", "bash", "-c", script]);
    let line = |wanted: &str, follower: &mut Follower| loop {
        match follower.next().expect("it runs") {
            Followed::Output { data, .. } if data == wanted => return,
            Followed::Started { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    line("ready\n", &mut follower);
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let begin = Instant::now();
        follower.feed("x\n", false);
        line("x\n", &mut follower);
        best = best.min(begin.elapsed());
    }
    println!("there and back: {best:?}");
    let signal = Signal { name: "c".into(), signum: 10 };
    follower.client.call(Dest::Local, &signal).expect("signalled");
    let (out, rest) = follower.rest();
    assert!(out == "got it\n" && rest.last().is_some_and(|last| last == "gone 1792"), "{out} {rest:?}");
    // The other one is there, and ends with the job.
    let mut other = Follower::new(&instance, 1, "c");
    line("ready\n", &mut other);
    follower
        .client
        .run(|client| async move { job::raise(&client, &[id], "cancel", 0, "").await })
        .expect("asked");
    let (out, rest) = other.rest();
    assert!(out.is_empty() && rest.last().is_some_and(|last| last.starts_with("gone")), "{out} {rest:?}");
}

#[test]
fn who_cannot_start_is_heard_of_and_whom_nobody_knows_is_refused() {
    let instance = Instance::start(1);
    let mut follower = Follower::new(&instance, 0, "d");
    submit(&instance, "d", &["/no/such/program"]);
    let (_, rest) = follower.rest();
    assert!(rest[0].starts_with(&format!("failed {}", 127 << 8)) && rest[1].starts_with("gone"), "{rest:?}");
    let late = eventually("it is over", Duration::from_secs(10), || {
        let signal = Signal { name: "d".into(), signum: 10 };
        follower.client.call(Dest::Local, &signal).err()
    });
    assert!(late.to_string().contains("nobody follows"), "{late}");
}
