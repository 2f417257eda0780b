//! A shell as brokers see it: it takes starts and ends, reports, repeats what nobody has acknowledged, outlives its
//! broker for a while. Its tasks are numbers: how long they run and what they end with stands in their command.

use flurm_types::{Entry, Idset, JobId, R, Rank, Timestamp};
use flurm_wire::exec::{Report, Reports, Start, What};
use flurm_wire::shell::{Hello, KillHere, Quit, StartHere};
use flurm_wire::{Address, ClientId, Dest, Kind, Message, Topic};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};

/// An unanswered report is repeated after this long.
const REPEAT_MS: u64 = 5_000;
/// Reports in one message.
const REPORTS_MAX: usize = 50;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

type Key = (JobId, u32);

#[derive(Debug)]
pub struct Shell {
    pub rank: Rank,
    /// Processes are told apart by it.
    pub life: u64,
    pub conn: Option<u64>,
    /// Since when there has been no broker.
    pub alone_since: Option<u64>,
    welcomed: bool,
    next_tag: u64,
    jobs: BTreeMap<Key, Job>,
    unacked: VecDeque<Report>,
    flying: Option<(u64, usize)>,
    pub quitting: bool,
    /// Jobs that have run here, for the check that none does twice.
    pub begun: Vec<Key>,
}

#[derive(Debug)]
struct Job {
    seq: u64,
    /// Steps to come are valid only with the same number: an end overtakes what was planned.
    plan: u64,
    over: bool,
    /// Whose its cores are: its own, or those of the job that it is within.
    owner: JobId,
    /// Where its processes live.
    cores: Idset,
    /// How long they take to end once they are told.
    ending_ms: u64,
}

/// Something that a shell has planned for later.
#[derive(Copy, Clone, Debug)]
pub enum Step {
    Started(Key, u64),
    Output(Key, u64),
    Gone(Key, u64, i32),
    /// Report (again) what is not acknowledged.
    Repeat(u64),
}

/// What a shell does now.
#[derive(Debug)]
pub enum Act {
    Send(Message),
    Later { ms: u64, step: Step },
    Exit { ms: u64 },
}

impl Shell {
    pub fn new(rank: Rank, life: u64) -> Shell {
        Shell {
            rank,
            life,
            conn: None,
            alone_since: None,
            welcomed: false,
            next_tag: 1,
            jobs: BTreeMap::new(),
            unacked: VecDeque::new(),
            flying: None,
            quitting: false,
            begun: Vec::new(),
        }
    }

    fn request<T: Topic>(&mut self, dst: Dest, body: &T) -> (u64, Message) {
        let tag = self.next_tag;
        self.next_tag += 1;
        (tag, Message::request(Address { rank: Rank(0), client: ClientId(0) }, dst, tag, body))
    }

    pub fn connected(&mut self, conn: u64, acts: &mut Vec<Act>) {
        self.conn = Some(conn);
        self.alone_since = None;
        self.welcomed = false;
        self.flying = None;
        let hello =
            Hello { rank: self.rank, pid: self.life as i32, jobs: self.jobs.keys().copied().collect() };
        let (_, message) = self.request(Dest::Local, &hello);
        acts.push(Act::Send(message));
    }

    /// Jobs of which processes live, whose cores they are on, and which.
    pub fn alive(&self) -> impl Iterator<Item = (JobId, JobId, &Idset)> {
        self.jobs.iter().filter(|(_, job)| !job.over).map(|((id, _), job)| (*id, job.owner, &job.cores))
    }

    pub fn cut_off(&mut self, now_ms: u64) {
        self.conn = None;
        self.welcomed = false;
        self.flying = None;
        self.alone_since = Some(now_ms);
    }

    pub fn receive(&mut self, message: &Message, acts: &mut Vec<Act>) {
        match (message.kind, &*message.topic) {
            (Kind::Response, Hello::NAME) => {
                self.welcomed = message.error.is_none();
                self.report(acts);
            }
            (Kind::Response, Reports::NAME) => self.acknowledged(message, acts),
            (Kind::Request, StartHere::NAME) => {
                let StartHere(start) = message.body().expect("brokers send what the wire says");
                self.start(start, acts);
            }
            (Kind::Request, KillHere::NAME) => {
                let KillHere(kill) = message.body().expect("brokers send what the wire says");
                if kill.end || kill.signum == SIGKILL || kill.signum == SIGTERM {
                    self.end((kill.id, kill.attempt), kill.signum, acts);
                }
            }
            (Kind::Request, Quit::NAME) => {
                self.quitting = true;
                let all: Vec<Key> = self.jobs.keys().copied().collect();
                all.into_iter().for_each(|key| self.end(key, SIGTERM, acts));
                let last_ms = self.jobs.values().filter(|job| !job.over).map(|job| job.ending_ms).max();
                acts.push(Act::Exit { ms: last_ms.unwrap_or(0) + 100 });
            }
            _ => {}
        }
    }

    fn acknowledged(&mut self, message: &Message, acts: &mut Vec<Act>) {
        let Some((_, count)) = self.flying.filter(|(tag, _)| *tag == message.tag) else { return };
        self.flying = None;
        if message.error.is_some() {
            acts.push(Act::Later { ms: 200, step: Step::Repeat(0) });
            return;
        }
        for report in self.unacked.drain(..count) {
            if matches!(report.what, What::Gone { .. }) {
                self.jobs.remove(&(report.id, report.attempt));
            }
        }
        self.report(acts);
    }

    fn start(&mut self, start: Start, acts: &mut Vec<Act>) {
        for job in start.jobs {
            let key = (job.id, job.attempt);
            if self.jobs.contains_key(&key) {
                continue;
            }
            self.begun.push(key);
            let spec = start.jobspecs[job.jobspec].get();
            let spec: serde_json::Value = serde_json::from_str(spec).expect("a jobspec is JSON");
            let command = &spec["tasks"][0]["command"];
            let word = |n: usize| command[n].as_str().unwrap_or_default();
            let status: i32 = word(2).parse().unwrap_or(0);
            let ending_ms = word(3).parse().unwrap_or(0);
            let within = &spec["attributes"]["system"]["within"];
            let owner = serde_json::from_value(within.clone()).unwrap_or(job.id);
            let r = R::parse(job.r.get()).expect("brokers send what the wire says");
            let cores = r.node(self.rank.0).map(|node| node.cores.clone()).unwrap_or_default();
            self.jobs.insert(key, Job { seq: 0, plan: 0, over: false, owner, cores, ending_ms });
            acts.push(Act::Later { ms: 3, step: Step::Started(key, 0) });
            // `sim`; `forever`, or milliseconds; a status; how long it takes to end when it is told to.
            if let Ok(ms) = word(1).parse::<u64>() {
                acts.push(Act::Later { ms: 4 + ms / 2, step: Step::Output(key, 0) });
                acts.push(Act::Later { ms: 5 + ms, step: Step::Gone(key, 0, status) });
            }
        }
    }

    fn end(&mut self, key: Key, signum: i32, acts: &mut Vec<Act>) {
        if let Some(job) = self.jobs.get_mut(&key).filter(|job| !job.over) {
            job.plan += 1;
            acts.push(Act::Later { ms: job.ending_ms, step: Step::Gone(key, job.plan, signum) });
        }
    }

    pub fn step(&mut self, step: Step, time: Timestamp, acts: &mut Vec<Act>) {
        let (key, plan, what) = match step {
            Step::Repeat(tag) => {
                if tag == 0 || self.flying.is_some_and(|(flying, _)| flying == tag) {
                    self.flying = None;
                    self.report(acts);
                }
                return;
            }
            Step::Started(key, plan) => (key, plan, What::Started { time, pids: vec![key.0.0 as i32] }),
            Step::Output(key, plan) => {
                let entry = Entry::new(time, "data")
                    .with_context(json!({"stream": "stdout", "rank": self.rank.to_string(), "data": "x\n"}));
                (key, plan, What::Output { entries: vec![entry] })
            }
            Step::Gone(key, plan, status) => (key, plan, What::Gone { time, status }),
        };
        let Some(job) = self.jobs.get_mut(&key).filter(|job| job.plan == plan && !job.over) else { return };
        job.over = matches!(what, What::Gone { .. });
        job.seq += 1;
        self.unacked.push_back(Report { id: key.0, attempt: key.1, rank: self.rank, seq: job.seq, what });
        self.report(acts);
    }

    fn report(&mut self, acts: &mut Vec<Act>) {
        if !self.welcomed || self.flying.is_some() || self.unacked.is_empty() {
            return;
        }
        let reports: Vec<Report> = self.unacked.iter().take(REPORTS_MAX).cloned().collect();
        let count = reports.len();
        let (tag, message) = self.request(Dest::Leader, &Reports { reports });
        self.flying = Some((tag, count));
        acts.push(Act::Send(message));
        acts.push(Act::Later { ms: REPEAT_MS, step: Step::Repeat(tag) });
    }
}
