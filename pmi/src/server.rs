//! The PMI server of one node, without a socket: messages of tasks in, answers out.
//!
//! What tasks put is seen by all after the next barrier (PMI-1) or fence (PMI-2); on a job of several nodes others
//! carry it there: [`Effect::Fence`] says what to exchange, [`Server::fenced`] takes what all have put.

use crate::one::{self, Reply};
use crate::split::Piece;
use crate::two::{self, Frame};
use crate::{KEY_MAX, KVSNAME_MAX, ProtocolError, VALUE_MAX};
use std::collections::{BTreeMap, BTreeSet};

/// Keys that the tasks of a node may put, counted so that a loop in one program does not eat its server.
const PUTS_MAX: usize = 1 << 20;

/// What the keys and values of a job may take on a node, over all its barriers.
const BYTES_MAX: usize = 256 << 20;

/// Requests of one task that may wait for attributes of its node: one for each of its threads.
const WAITS_MAX: usize = 1024;

/// What a server is told of the job.
#[derive(Debug, Clone, Default)]
pub struct Job {
    /// Of its key-value space.
    pub name: String,
    pub size: u32,
    /// Ranks of the tasks here, in the order in which they are numbered here.
    pub ranks: Vec<u32>,
    /// What is known before anybody has put anything; values may be longer than a task may put.
    pub known: BTreeMap<String, String>,
}

/// What follows from a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this to the task.
    Reply { task: usize, bytes: Vec<u8> },
    /// The task has said goodbye; its answer comes as well.
    Finalized { task: usize },
    /// The task wants the whole job to end.
    Abort { task: usize, exitcode: i32, message: String },
    /// All tasks here are in the barrier, and there are others elsewhere: exchange what they have put.
    Fence(BTreeMap<String, String>),
}

#[derive(Debug)]
pub struct Server {
    job: Job,
    /// Seen by all.
    kvs: BTreeMap<String, String>,
    /// Put since the last barrier.
    puts: BTreeMap<String, String>,
    /// What tasks of this node tell each other.
    node: BTreeMap<String, String>,
    /// All keys and values of these three, those that were put over included.
    bytes: usize,
    /// Who waits in the barrier.
    entered: BTreeSet<usize>,
    /// Bytes put since the last barrier.
    counted: usize,
    tasks: Vec<Task>,
}

#[derive(Debug, Clone, Default)]
struct Task {
    /// In the middle of a spawn request of many lines.
    spawning: bool,
    /// Its thread that waits in a fence, as it calls it.
    fence: Option<Frame>,
    /// For which attributes of the node its threads wait.
    waits: Vec<(String, Frame)>,
}

impl Server {
    pub fn new(mut job: Job) -> Server {
        let kvs = std::mem::take(&mut job.known);
        let tasks = vec![Task::default(); job.ranks.len()];
        Server {
            job,
            kvs,
            puts: BTreeMap::new(),
            node: BTreeMap::new(),
            bytes: 0,
            entered: BTreeSet::new(),
            counted: 0,
            tasks,
        }
    }

    /// Adds to what is known.
    pub fn offer(&mut self, more: BTreeMap<String, String>) {
        self.kvs.extend(more);
    }

    /// Takes one message of a task.
    ///
    /// # Errors
    /// It is not PMI.
    pub fn request(
        &mut self,
        task: usize,
        piece: &Piece,
        out: &mut Vec<Effect>,
    ) -> Result<(), ProtocolError> {
        match piece {
            Piece::Line(line) => self.line(task, line, out),
            Piece::Frame(body) => self.frame(task, &Frame::parse(body)?, out),
        }
    }

    fn line(&mut self, task: usize, line: &str, out: &mut Vec<Effect>) -> Result<(), ProtocolError> {
        if self.tasks[task].spawning && line.trim() != "endcmd" {
            return Ok(());
        }
        let reply = match one::Request::parse(line)? {
            one::Request::Init { version, .. } => {
                Reply::Init { rc: if matches!(version, 1 | 2) { 0 } else { -1 }, version }
            }
            one::Request::Maxes => Reply::Maxes { kvsname: KVSNAME_MAX, key: KEY_MAX, value: VALUE_MAX },
            one::Request::Appnum => Reply::Appnum(0),
            one::Request::UniverseSize => Reply::UniverseSize(self.job.size),
            one::Request::MyKvsname => Reply::MyKvsname(self.job.name.clone()),
            one::Request::Put { kvsname, .. } if kvsname != self.job.name => {
                Reply::Put { rc: -1, msg: "no_such_kvs" }
            }
            one::Request::Put { key, value, .. } => match self.put(key, value) {
                Ok(()) => Reply::Put { rc: 0, msg: "success" },
                Err(msg) => Reply::Put { rc: -1, msg },
            },
            one::Request::Get { kvsname, key } => {
                Reply::Get(self.get(&key).filter(|_| kvsname == self.job.name).cloned())
            }
            one::Request::Barrier => {
                self.enter(task, None, out);
                return Ok(());
            }
            one::Request::GroupBarrier => Reply::Barrier { rc: -1 },
            one::Request::Finalize => {
                out.push(Effect::Finalized { task });
                Reply::Finalize
            }
            one::Request::Abort { exitcode } => {
                out.push(Effect::Abort { task, exitcode, message: String::new() });
                return Ok(());
            }
            one::Request::Name { cmd } => Reply::Name { cmd },
            one::Request::Spawn => {
                self.tasks[task].spawning = true;
                return Ok(());
            }
            one::Request::EndSpawn => {
                self.tasks[task].spawning = false;
                Reply::Spawn
            }
        };
        out.push(Effect::Reply { task, bytes: reply.to_string().into_bytes() });
        Ok(())
    }

    fn frame(&mut self, task: usize, frame: &Frame, out: &mut Vec<Effect>) -> Result<(), ProtocolError> {
        let bad = |text: &str| answer(frame).with("rc", 1).with("errmsg", text);
        let found = |value: Option<&String>| match value {
            Some(value) => answer(frame).with("found", "TRUE").with("value", value).with("rc", 0),
            None => answer(frame).with("found", "FALSE").with("rc", 0),
        };
        let reply = match two::Request::of(frame)? {
            two::Request::FullInit => answer(frame)
                .with("pmi-version", 2)
                .with("pmi-subversion", 0)
                .with("rank", self.job.ranks[task])
                .with("size", self.job.size)
                .with("appnum", 0)
                .with("debugged", "FALSE")
                .with("pmiverbose", "FALSE")
                .with("rc", 0),
            two::Request::JobGetId => answer(frame).with("jobid", &self.job.name).with("rc", 0),
            two::Request::GetJobAttr { key } if key == "universeSize" => {
                found(Some(&self.job.size.to_string()))
            }
            two::Request::GetJobAttr { key } => found(self.get(&key)),
            two::Request::GetNodeAttr { key, wait } => match self.node.get(&key) {
                None if wait && self.tasks[task].waits.len() >= WAITS_MAX => bad("too many threads wait"),
                None if wait => {
                    self.tasks[task].waits.push((key, answer(frame)));
                    return Ok(());
                }
                value => found(value),
            },
            two::Request::PutNodeAttr { key, value } => match self.check(&key, &value, self.node.len()) {
                Ok(()) => {
                    self.put_node(key, value, out);
                    answer(frame).with("rc", 0)
                }
                Err(problem) => bad(problem),
            },
            two::Request::Put { key, value } => match self.put(key, value) {
                Ok(()) => answer(frame).with("rc", 0),
                Err(problem) => bad(problem),
            },
            two::Request::Get { key } => found(self.get(&key)),
            two::Request::Fence => {
                self.enter(task, Some(answer(frame)), out);
                return Ok(());
            }
            two::Request::NotGranted { .. } => bad("flurm does not offer this"),
            two::Request::Abort { exitcode, message } => {
                out.push(Effect::Abort { task, exitcode, message });
                return Ok(());
            }
            two::Request::Finalize => {
                out.push(Effect::Finalized { task });
                answer(frame).with("rc", 0)
            }
        };
        send(task, &reply, out);
        Ok(())
    }

    fn put(&mut self, key: String, value: String) -> Result<(), &'static str> {
        self.check(&key, &value, self.puts.len())?;
        self.counted += key.len() + value.len();
        self.puts.insert(key, value);
        Ok(())
    }

    /// Counts what is about to be put where there are so many already.
    fn check(&mut self, key: &str, value: &str, have: usize) -> Result<(), &'static str> {
        let bytes = self.bytes + key.len() + value.len();
        match () {
            () if key.is_empty() || key.len() >= KEY_MAX => return Err("invalid_key_length"),
            () if value.len() >= VALUE_MAX => return Err("invalid_value_length"),
            () if have >= PUTS_MAX => return Err("too_many_keys"),
            () if bytes > BYTES_MAX => return Err("too_many_bytes"),
            () => {}
        }
        self.bytes = bytes;
        Ok(())
    }

    /// A task may read what it has put itself; others see it after the barrier.
    fn get(&self, key: &str) -> Option<&String> {
        self.puts.get(key).or_else(|| self.kvs.get(key))
    }

    fn put_node(&mut self, key: String, value: String, out: &mut Vec<Effect>) {
        for (task, waiter) in self.tasks.iter_mut().enumerate() {
            for (_, reply) in waiter.waits.extract_if(.., |(wanted, _)| *wanted == key) {
                send(task, &reply.with("found", "TRUE").with("value", &value).with("rc", 0), out);
            }
        }
        self.node.insert(key, value);
    }

    fn enter(&mut self, task: usize, reply: Option<Frame>, out: &mut Vec<Effect>) {
        self.tasks[task].fence = reply;
        self.entered.insert(task);
        if self.entered.len() < self.tasks.len() {
            return;
        }
        let puts = std::mem::take(&mut self.puts);
        // They come back with those of all.
        self.bytes -= std::mem::take(&mut self.counted);
        if self.tasks.len() == self.job.size as usize {
            self.fenced(Ok(puts), out);
        } else {
            out.push(Effect::Fence(puts));
        }
    }

    /// What all tasks of the job have put, or why that cannot be known: those in the barrier are answered.
    pub fn fenced(&mut self, puts: Result<BTreeMap<String, String>, String>, out: &mut Vec<Effect>) {
        let puts = puts.and_then(|puts| {
            let bytes = self.bytes + puts.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
            if bytes > BYTES_MAX {
                return Err(format!("the job has put more than {} MiB", BYTES_MAX >> 20));
            }
            self.bytes = bytes;
            Ok(puts)
        });
        let problem = puts.map(|puts| self.kvs.extend(puts)).err();
        for task in std::mem::take(&mut self.entered) {
            match (self.tasks[task].fence.take(), &problem) {
                (Some(reply), None) => send(task, &reply.with("rc", 0), out),
                (Some(reply), Some(text)) => send(task, &reply.with("rc", 1).with("errmsg", text), out),
                (None, problem) => {
                    let reply = Reply::Barrier { rc: if problem.is_some() { -1 } else { 0 } };
                    out.push(Effect::Reply { task, bytes: reply.to_string().into_bytes() });
                }
            }
        }
    }
}

/// The beginning of an answer: threads of a task are told apart by what they call themselves.
fn answer(frame: &Frame) -> Frame {
    let reply = Frame::new(&format!("{}-response", frame.cmd()));
    match frame.get("thrid") {
        Some(thread) => reply.with("thrid", thread),
        None => reply,
    }
}

fn send(task: usize, reply: &Frame, out: &mut Vec<Effect>) {
    let bytes = reply.to_bytes().or_else(|| {
        let short = Frame { fields: reply.fields[..1].to_vec() };
        short.with("rc", 1).with("errmsg", "the answer is too long").to_bytes()
    });
    out.push(Effect::Reply { task, bytes: bytes.expect("a short frame") });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(size: u32, ranks: &[u32]) -> Server {
        Server::new(Job {
            name: "kvs".into(),
            size,
            ranks: ranks.to_vec(),
            known: BTreeMap::from([("PMI_process_mapping".into(), "(vector,(0,1,2))".into())]),
        })
    }

    fn effects(server: &mut Server, task: usize, piece: Piece) -> Vec<Effect> {
        let mut out = Vec::new();
        server.request(task, &piece, &mut out).unwrap();
        out
    }

    /// What is answered to whom, as `TASK: TEXT`.
    fn say(server: &mut Server, task: usize, line: &str) -> Vec<String> {
        texts(effects(server, task, Piece::Line(line.into())))
    }

    fn frame(server: &mut Server, task: usize, body: &str) -> Vec<String> {
        texts(effects(server, task, Piece::Frame(body.into())))
    }

    fn texts(effects: Vec<Effect>) -> Vec<String> {
        let text = |effect| match effect {
            Effect::Reply { task, bytes } => {
                let text = String::from_utf8(bytes).unwrap();
                format!(
                    "{task}: {}",
                    text.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).trim_end()
                )
            }
            Effect::Finalized { task } => format!("{task} done"),
            Effect::Abort { task, exitcode, message } => format!("{task} abort {exitcode} {message}"),
            Effect::Fence(puts) => format!("fence {puts:?}"),
        };
        effects.into_iter().map(text).collect()
    }

    #[test]
    fn two_processes_exchange_through_put_barrier_get() {
        let mut server = server(2, &[0, 1]);
        assert_eq!(
            say(&mut server, 0, "cmd=init pmi_version=1 pmi_subversion=1\n"),
            ["0: cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1"]
        );
        assert_eq!(
            say(&mut server, 0, "cmd=put kvsname=kvs key=card.0 value=10.0.0.1:99 x"),
            ["0: cmd=put_result rc=0 msg=success"]
        );
        assert_eq!(say(&mut server, 0, "cmd=barrier_in"), [] as [&str; 0]);
        assert_eq!(
            say(&mut server, 1, "cmd=barrier_in"),
            ["0: cmd=barrier_out rc=0", "1: cmd=barrier_out rc=0"]
        );
        assert_eq!(
            say(&mut server, 1, "cmd=get kvsname=kvs key=card.0"),
            ["1: cmd=get_result rc=0 msg=success value=10.0.0.1:99 x"]
        );
        assert_eq!(say(&mut server, 0, "cmd=finalize"), ["0 done", "0: cmd=finalize_ack rc=0"]);
        assert_eq!(say(&mut server, 1, "cmd=abort exitcode=9"), ["1 abort 9 "]);
    }

    #[test]
    fn tasks_of_several_nodes_wait_for_what_others_have_put() {
        let mut here = server(3, &[1, 2]);
        say(&mut here, 0, "cmd=put kvsname=kvs key=a value=1");
        assert_eq!(say(&mut here, 1, "cmd=barrier_in"), [] as [&str; 0]);
        assert_eq!(say(&mut here, 0, "cmd=barrier_in"), [r#"fence {"a": "1"}"#]);
        let mut out = Vec::new();
        here.fenced(Ok(BTreeMap::from([("b".to_owned(), "2".to_owned())])), &mut out);
        assert_eq!(texts(out), ["0: cmd=barrier_out rc=0", "1: cmd=barrier_out rc=0"]);
        assert!(say(&mut here, 0, "cmd=get kvsname=kvs key=b")[0].contains("value=2"));
        say(&mut here, 0, "cmd=barrier_in");
        say(&mut here, 1, "cmd=barrier_in");
        let mut out = Vec::new();
        here.fenced(Err("gone".into()), &mut out);
        assert_eq!(texts(out), ["0: cmd=barrier_out rc=-1", "1: cmd=barrier_out rc=-1"]);
    }

    #[test]
    fn what_is_not_granted_is_refused_in_protocol() {
        let mut server = server(2, &[0, 1]);
        assert!(say(&mut server, 0, "cmd=get kvsname=kvs key=none")[0].contains("rc=-1"));
        assert!(say(&mut server, 0, "cmd=get kvsname=other key=PMI_process_mapping")[0].contains("rc=-1"));
        assert!(say(&mut server, 0, "cmd=put kvsname=other key=a value=b")[0].contains("rc=-1"));
        let long = format!("cmd=put kvsname=kvs key=k value={}", "x".repeat(VALUE_MAX));
        assert!(say(&mut server, 0, &long)[0].contains("invalid_value_length"));
        assert!(say(&mut server, 0, "cmd=init pmi_version=3 pmi_subversion=0")[0].contains("rc=-1"));
        assert!(say(&mut server, 0, "cmd=barrier_in group=NODE")[0].contains("rc=-1"));
        assert!(say(&mut server, 0, "cmd=publish_name service=s port=p")[0].contains("publish_result rc=-1"));
        for line in ["mcmd=spawn", "nprocs=2", "execname=x", "whatever"] {
            assert_eq!(say(&mut server, 0, line), [] as [&str; 0]);
        }
        assert!(say(&mut server, 0, "endcmd")[0].contains("spawn_result rc=-1"));
        for bad in ["GET / HTTP/1.1", "", "=", "cmd=", "cmd=fly high=1"] {
            assert!(server.request(0, &Piece::Line(bad.into()), &mut Vec::new()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn frames_are_answered_in_the_words_of_pmi_2() {
        let mut server = server(2, &[4, 7]);
        assert_eq!(
            say(&mut server, 0, "cmd=init pmi_version=2 pmi_subversion=0"),
            ["0: cmd=response_to_init rc=0 pmi_version=2 pmi_subversion=0"]
        );
        let hello = frame(&mut server, 1, "cmd=fullinit;pmirank=7;threaded=FALSE;");
        assert!(hello[0].contains("rank=7;size=2;appnum=0;"), "{hello:?}");
        assert_eq!(frame(&mut server, 0, "cmd=job-getid;"), ["0: cmd=job-getid-response;jobid=kvs;rc=0;"]);
        let put = "cmd=kvs-put;key=card;value=a;;b;thrid=3;";
        assert_eq!(frame(&mut server, 0, put), ["0: cmd=kvs-put-response;thrid=3;rc=0;"]);
        assert_eq!(frame(&mut server, 0, "cmd=kvs-fence;"), [] as [&str; 0]);
        assert_eq!(
            frame(&mut server, 1, "cmd=kvs-fence;thrid=1;"),
            ["0: cmd=kvs-fence-response;rc=0;", "1: cmd=kvs-fence-response;thrid=1;rc=0;"]
        );
        assert_eq!(
            frame(&mut server, 1, "cmd=kvs-get;jobid=kvs;srcid=-1;key=card;"),
            ["1: cmd=kvs-get-response;found=TRUE;value=a;;b;rc=0;"]
        );
        assert!(frame(&mut server, 1, "cmd=kvs-get;key=none;")[0].contains("found=FALSE"));
        for (key, value) in
            [("universeSize", "value=2;"), ("PMI_process_mapping", "(vector"), ("no", "FALSE")]
        {
            let told = frame(&mut server, 0, &format!("cmd=info-getjobattr;key={key};"));
            assert!(told[0].contains(value), "{told:?}");
        }
        for cmd in ["name-publish", "name-lookup", "name-unpublish", "spawn", "job-connect"] {
            let told = frame(&mut server, 0, &format!("cmd={cmd};name=x;"));
            assert!(told[0].starts_with(&format!("0: cmd={cmd}-response;rc=1;errmsg=")), "{told:?}");
        }
        assert_eq!(frame(&mut server, 0, "cmd=abort;isworld=TRUE;msg=oh;"), ["0 abort 1 oh"]);
        assert_eq!(frame(&mut server, 0, "cmd=finalize;"), ["0 done", "0: cmd=finalize-response;rc=0;"]);
        assert!(server.request(0, &Piece::Frame("cmd=dance;".into()), &mut Vec::new()).is_err());
    }

    #[test]
    fn what_a_job_puts_over_all_barriers_and_who_waits_has_its_limit() {
        let mut here = server(2, &[0]);
        let wait = "cmd=info-getnodeattr;key=shm;wait=TRUE;";
        for _ in 0..WAITS_MAX {
            assert_eq!(frame(&mut here, 0, wait), [] as [&str; 0]);
        }
        assert!(frame(&mut here, 0, wait)[0].contains("rc=1;errmsg=too many threads"));
        here.bytes = BYTES_MAX - 12;
        assert!(say(&mut here, 0, "cmd=put kvsname=kvs key=a value=12345")[0].contains("rc=0"));
        assert!(say(&mut here, 0, "cmd=put kvsname=kvs key=b value=1234567")[0].contains("too_many_bytes"));
        for (value, rc) in [("12345", "rc=0"), ("1234567890", "rc=-1")] {
            say(&mut here, 0, "cmd=barrier_in");
            let mut out = Vec::new();
            here.fenced(Ok(BTreeMap::from([("c".to_owned(), value.to_owned())])), &mut out);
            assert!(texts(out)[0].contains(rc));
        }
    }

    #[test]
    fn an_attribute_of_the_node_is_waited_for() {
        let mut server = server(2, &[0, 1]);
        let get = |wait| format!("cmd=info-getnodeattr;key=shm;wait={wait};thrid=2;");
        assert!(frame(&mut server, 0, &get("FALSE"))[0].contains("found=FALSE"));
        assert_eq!(frame(&mut server, 0, &get("TRUE")), [] as [&str; 0]);
        assert_eq!(
            frame(&mut server, 1, "cmd=info-putnodeattr;key=shm;value=/x;"),
            [
                "0: cmd=info-getnodeattr-response;thrid=2;found=TRUE;value=/x;rc=0;",
                "1: cmd=info-putnodeattr-response;rc=0;"
            ]
        );
        assert!(frame(&mut server, 0, &get("TRUE"))[0].contains("value=/x"));
    }
}
