//! The jobs of a leader in a world of two ranks whose shells are played by the test.

use super::*;
use crate::cx::Outbox;
use crate::door::Hold;
use crate::site::Site;
use flurm_types::{Entry, Environment, Idset, JobResult, Now, R, RNode, Rank};
use flurm_wire::exec::{Report, Reports, ShellReady, What};
use flurm_wire::fact::{decode_record, encode_record};
use flurm_wire::job::{Awaited, Log, SubmitFlags, SubmitJob, Submitted, Watched};
use flurm_wire::kvs::Node;
use flurm_wire::shell::{Flow, FlowHere, KillHere, StartHere, StdinHere};
use flurm_wire::{ClientId, Dest, Topic};
use serde_json::json;
use serde_json::value::RawValue;

const CORES: u32 = 4;

struct World {
    jobs: Jobs,
    config: CoreConfig,
    now_ms: u64,
    log: Vec<JobFact>,
    /// Said to clients.
    said: Vec<Message>,
    /// Said to shells, by rank.
    told: Vec<(u32, Message)>,
    tag: u64,
    seqs: BTreeMap<(JobId, u32), u64>,
}

fn config() -> CoreConfig {
    CoreConfig {
        rank: Rank(0),
        size: 2,
        hosts: vec!["node0".into(), "node1".into()],
        fanout: 2,
        instance_id: "test".into(),
        instance_level: 0,
        owner: 1000,
        uri: String::new(),
        epoch: 1,
        starttime: Timestamp(1_000_000),
        expiration: Timestamp::ZERO,
        attributes: BTreeMap::new(),
        initial_program: None,
        heartbeat_ms: 1000,
        lost_ms: 3000,
        orphan_ms_max: 5000,
        resources: None,
        site: Site::default(),
        hold: Hold::UntilCommit,
    }
}

fn inventory() -> R {
    R::from_nodes((0..2).map(|rank| RNode {
        rank,
        host: format!("node{rank}"),
        cores: Idset::from_range(0..=CORES - 1),
        gpus: Idset::new(),
    }))
}

/// A task on each of so many slots of one core, on as many nodes.
fn jobspec(nodes: u32, system: serde_json::Value) -> Box<RawValue> {
    jobspec_of(nodes, CORES, system)
}

fn jobspec_of(nodes: u32, cores: u32, system: serde_json::Value) -> Box<RawValue> {
    let slot = json!({"type": "slot", "count": 1, "label": "t", "with": [{"type": "core", "count": cores}]});
    let text = json!({
        "version": 1,
        "resources": [{"type": "node", "count": nodes, "with": [slot]}],
        "tasks": [{"command": ["true"], "slot": "t", "count": {"per_slot": 1}}],
        "attributes": {"system": system},
    });
    RawValue::from_string(text.to_string()).expect("JSON")
}

impl World {
    fn new() -> World {
        let mut world = World::resume(Vec::new());
        world.lead();
        world
    }

    /// With a log, and not yet the leader.
    fn resume(log: Vec<JobFact>) -> World {
        let config = config();
        let mut jobs = Jobs::new(&config, 1);
        log.iter().for_each(|fact| jobs.apply(fact));
        let (said, told, seqs) = Default::default();
        World { jobs, config, now_ms: 1000, log, said, told, tag: 0, seqs }
    }

    fn lead(&mut self) {
        self.step(|jobs, cx| {
            jobs.lead(cx);
            jobs.resources(cx, ResourceChange::Define(inventory()));
            jobs.resources(cx, ResourceChange::Up(Idset::from_range(0..=1)));
        });
    }

    /// A batch, and what came of it.
    fn step(&mut self, act: impl FnOnce(&mut Jobs, &mut Cx)) {
        self.now_ms += 1;
        let now = Now { mono_ms: self.now_ms, wall: Timestamp(self.now_ms as i64 * 1000) };
        let mut out = Outbox::default();
        let mut cx = Cx::new(now, &self.config, &mut out);
        act(&mut self.jobs, &mut cx);
        self.jobs.settle(&mut cx);
        for fact in decode_record(&encode_record(&out.facts)).expect("what we wrote") {
            match fact {
                Fact::Job(fact) => self.log.push(fact),
                Fact::Kvs(_) | Fact::Resource(_) => panic!("not ours"),
            }
        }
        assert!(out.lines.is_empty(), "{:?}", out.lines);
        for message in out.held {
            match message.dst {
                Dest::Rank(Rank(rank)) => self.told.push((rank, message)),
                Dest::Client(_) => self.said.push(message),
                Dest::Local | Dest::Leader => panic!("{message:?}"),
            }
        }
    }

    /// Asks as a client and gives the tag.
    fn ask<T: Topic>(&mut self, body: &T) -> u64 {
        self.tag += 1;
        let client = Address { rank: Rank(1), client: ClientId(7) };
        let message = Message::request(client, Dest::Leader, self.tag, body);
        self.step(|jobs, cx| jobs.request(cx, &message));
        self.tag
    }

    fn answers<B: serde::de::DeserializeOwned>(&self, tag: u64) -> Vec<B> {
        let ours = self.said.iter().filter(|m| m.tag == tag && m.payload.is_some());
        ours.map(|m| m.body().expect("its type")).collect()
    }

    fn call<T: Topic>(&mut self, body: &T) -> Result<T::Response, WireError> {
        let tag = self.ask(body);
        match self.said.iter().rfind(|m| m.tag == tag).expect("an answer") {
            Message { error: Some(error), .. } => Err(error.clone()),
            message => Ok(message.body().expect("its type")),
        }
    }

    fn submit_as(&mut self, submit_id: &str, jobspecs: Vec<Box<RawValue>>) -> Vec<Result<JobId, WireError>> {
        let job = |jobspec| SubmitJob {
            jobspec,
            environment: Some(0),
            urgency: 16,
            flags: SubmitFlags { waitable: true, ..SubmitFlags::default() },
        };
        let environment = Environment::from([("A".to_owned(), Some("b".to_owned()))]);
        let submit = job::Submit {
            submit_id: submit_id.to_owned(),
            environments: vec![Arc::new(environment)],
            jobs: jobspecs.into_iter().map(job).collect(),
        };
        let Submitted { jobs } = self.call(&submit).expect("a message that is in order");
        jobs
    }

    fn submit(&mut self, nodes: u32) -> JobId {
        let submit_id = format!("s{}", self.tag);
        self.submit_as(&submit_id, vec![jobspec(nodes, json!({}))]).remove(0).expect("a job that fits")
    }

    fn report(&mut self, id: JobId, rank: u32, what: What) {
        let seq = *self.seqs.entry((id, rank)).and_modify(|seq| *seq += 1).or_insert(1);
        let report = Report { id, attempt: 0, rank: Rank(rank), seq, what };
        // Twice, as a shell does that has not heard of the first one's arrival.
        for _ in 0..2 {
            self.call(&Reports { reports: vec![report.clone()] }).expect("acknowledged");
        }
    }

    fn started(&mut self, id: JobId, rank: u32) {
        self.report(id, rank, What::Started { time: Timestamp(1), pids: vec![1] });
    }

    fn gone(&mut self, id: JobId, rank: u32, status: i32) {
        self.report(id, rank, What::Gone { time: Timestamp(1), status });
    }

    fn output(&mut self, id: JobId, rank: u32, data: &str) {
        let context = json!({"stream": "stdout", "rank": rank.to_string(), "data": data});
        let entries = vec![Entry::new(Timestamp(1), "data").with_context(context)];
        self.report(id, rank, What::Output { entries });
    }

    fn cancel(&mut self, id: JobId) {
        let raise = job::Raise { ids: vec![id], kind: "cancel".into(), severity: 0, note: String::new() };
        self.call(&raise).expect("an answer").results.remove(0).expect("cancelled");
    }

    /// What shells were told since the last time.
    fn heard(&mut self) -> Vec<String> {
        let told = std::mem::take(&mut self.told);
        let words = told.into_iter().map(|(rank, m)| match &*m.topic {
            StartHere::NAME => {
                let StartHere(start) = m.body().expect("start");
                let ids: Vec<String> = start.jobs.iter().map(|j| j.id.to_string()).collect();
                assert_eq!(start.environments.len(), 1);
                format!("{rank}: start {}", ids.join(" "))
            }
            KillHere::NAME => {
                let KillHere(kill) = m.body().expect("kill");
                format!("{rank}: {} {}", if kill.end { "end" } else { "signal" }, kill.id)
            }
            StdinHere::NAME => {
                let StdinHere(stdin) = m.body().expect("stdin");
                format!("{rank}: stdin {:?}", stdin.data)
            }
            other => panic!("{other}"),
        });
        words.collect()
    }

    fn events(&self, id: JobId) -> String {
        let job = self.jobs.manager.job(id).expect("known");
        job.entries(0).map(|e| e.name).collect::<Vec<_>>().join(" ")
    }

    /// Its last events, and how it ended.
    fn end_of(&self, id: JobId, events: &str) -> Option<JobResult> {
        assert!(self.events(id).ends_with(events), "{}", self.events(id));
        self.jobs.manager.job(id).expect("known").result()
    }
}

/// Same events, same logs.
fn assert_same(a: &Jobs, b: &Jobs) {
    assert_eq!(a.manager, b.manager);
    assert_eq!(a.journal, b.journal);
    let logs = |jobs: &Jobs| {
        let texts = jobs.guests.iter().map(|(id, guest)| {
            let text = |log| guest.text(log).to_owned();
            let texts = [GuestLog::Exec, GuestLog::Output, GuestLog::Input].map(text);
            // What is not kept is not in the log either.
            let mut order: Vec<(guest::Came, u32)> = Vec::new();
            for (came, count) in guest.order.iter().filter(|(came, _)| *came != guest::Came::Passing) {
                match order.last_mut() {
                    Some((last, n)) if last == came => *n += count,
                    _ => order.push((*came, *count)),
                }
            }
            (*id, texts, order)
        });
        texts.collect::<Vec<_>>()
    };
    assert_eq!(logs(a), logs(b));
}

#[test]
fn a_job_is_submitted_started_on_its_ranks_and_finished() {
    let mut w = World::new();
    let id = w.submit(2);
    let awaited = w.ask(&job::Await { ids: vec![id], event: None });
    let logs = vec![Log::Eventlog, Log::Output];
    let watched = w.ask(&job::Watch { id, logs, follow: true, paced: false });
    let waited = w.ask(&job::WaitOne { id: None });
    assert_eq!(w.heard(), [format!("0: start {id}"), format!("1: start {id}")]);
    w.started(id, 0);
    assert_eq!(w.events(id), "submit validate depend priority alloc");
    w.started(id, 1);
    w.output(id, 0, "one\n");
    w.gone(id, 0, 0);
    assert!(w.events(id).ends_with("alloc start"));
    w.gone(id, 1, 3 << 8);
    assert_eq!(w.end_of(id, "alloc start finish release free clean"), Some(JobResult::Failed));
    assert!(w.heard().is_empty() && w.jobs.idle());

    let answers: Vec<Awaited> = w.answers(awaited);
    assert_eq!((answers.len(), answers[0].jobs[0].status), (1, Some(3 << 8)));
    let seen: Vec<String> = w
        .answers::<Watched>(watched)
        .into_iter()
        .flat_map(|page| page.entries)
        .map(|(log, entry)| if log == Log::Output { entry.name.to_uppercase() } else { entry.name })
        .collect();
    assert_eq!(
        seen.join(" "),
        "submit validate depend priority alloc start HEADER DATA finish release free clean"
    );
    assert!(w.said.iter().rfind(|m| m.tag == watched).is_some_and(|m| !m.more));
    assert_eq!(w.answers::<job::Waited>(waited)[0].errstr, "exited with code 3");
    assert!(w.call(&job::WaitOne { id: Some(id) }).is_err(), "a result is handed out once");
    assert!(w.jobs.lookup_kvs(&format!("{}.guest.output", id.encode(flurm_types::Encoding::Kvs))).is_some());
    assert_same(&w.jobs, &World::resume(w.log.clone()).jobs);
}

#[test]
fn every_directory_of_the_jobs_in_the_kvs_can_be_read() {
    let mut w = World::new();
    let mut jobs = [w.submit(1), w.submit(1)].map(|id| id.encode(flurm_types::Encoding::Kvs));
    let (mut found, mut todo) = (Vec::new(), vec!["job".to_owned()]);
    while let Some(key) = todo.pop() {
        let Some(Node::Dir(names)) = w.jobs.lookup_kvs(&key) else { panic!("{key} cannot be read") };
        if key.split('.').count() == 5 {
            found.push(key);
        } else {
            todo.extend(names.iter().map(|(name, _)| format!("{key}.{name}")));
        }
    }
    found.sort();
    jobs.sort();
    assert_eq!(found, jobs);
    assert_eq!(w.jobs.lookup_kvs("job.ffff"), None);
}

#[test]
fn jobs_are_cancelled_while_they_wait_and_while_they_run() {
    let mut w = World::new();
    let (running, waiting) = (w.submit(2), w.submit(2));
    w.started(running, 0);
    w.heard();
    assert!(w.call(&job::Why { id: waiting }).is_ok());
    w.cancel(waiting);
    assert_eq!(w.end_of(waiting, "priority exception clean"), Some(JobResult::Canceled));
    assert_eq!(w.heard(), [] as [&str; 0]);
    w.cancel(running);
    assert_eq!(w.heard(), [format!("0: end {running}"), format!("1: end {running}")]);
    w.gone(running, 1, 15);
    let next = w.submit(1);
    assert_eq!(w.heard(), [format!("1: start {next}")], "what one rank released is used at once");
    w.gone(running, 0, 15);
    let end = "alloc exception release finish release free clean";
    assert_eq!(w.end_of(running, end), Some(JobResult::Canceled));
}

#[test]
fn a_lost_rank_fails_its_jobs_and_what_comes_back_with_it_is_ended() {
    let mut w = World::new();
    let id = w.submit(2);
    w.started(id, 0);
    w.started(id, 1);
    w.heard();
    w.step(|jobs, cx| {
        jobs.resources(cx, ResourceChange::Down(1.into()));
        jobs.rank_lost(cx, Rank(1));
    });
    assert_eq!(w.heard(), [format!("0: end {id}")]);
    let exception = w.jobs.manager.job(id).and_then(|job| job.exception()).expect("raised");
    assert_eq!(exception.note, "lost contact with node1 (rank 1)");
    w.gone(id, 0, 15);
    assert_eq!(w.end_of(id, "start exception release finish release free clean"), Some(JobResult::Failed));
    w.call(&ShellReady { rank: Rank(1), jobs: vec![(id, 0)] }).expect("answered");
    assert_eq!(w.heard(), [format!("1: end {id}")]);
}

#[test]
fn a_rank_that_comes_back_gets_no_job_before_its_old_ones_have_ended() {
    let mut w = World::new();
    let old = w.submit(2);
    w.started(old, 0);
    w.started(old, 1);
    let up = |jobs: &mut Jobs, cx: &mut Cx| jobs.resources(cx, ResourceChange::Up(1.into()));
    let lose = |jobs: &mut Jobs, cx: &mut Cx| {
        jobs.resources(cx, ResourceChange::Down(1.into()));
        jobs.rank_lost(cx, Rank(1));
    };
    w.step(lose);
    w.gone(old, 0, 15);
    let next = w.submit(2);
    w.step(up);
    w.heard();
    w.call(&ShellReady { rank: Rank(1), jobs: vec![(old, 0)] }).expect("answered");
    assert_eq!(w.heard(), [format!("1: end {old}")]);
    // It goes once more, and what it said is asked for again.
    w.step(lose);
    w.step(up);
    w.gone(old, 1, 15);
    assert_eq!(w.heard(), [] as [&str; 0]);
    w.call(&ShellReady { rank: Rank(1), jobs: vec![(old, 0)] }).expect("answered");
    w.heard();
    w.gone(old, 1, 15);
    assert_eq!(w.heard(), [format!("0: start {next}"), format!("1: start {next}")]);

    // A leader that comes back does not know who was given up.
    let mut w = World { seqs: w.seqs.clone(), ..World::resume(w.log.clone()) };
    w.jobs.expect_shells(&Idset::from_range(0..=1));
    w.lead();
    w.call(&ShellReady { rank: Rank(0), jobs: vec![(next, 0)] }).expect("answered");
    w.gone(next, 0, 0);
    w.gone(next, 1, 0);
    let last = w.submit(2);
    assert_eq!(w.heard(), [] as [&str; 0]);
    w.call(&ShellReady { rank: Rank(1), jobs: vec![] }).expect("answered");
    assert_eq!(w.heard(), [format!("0: start {last}"), format!("1: start {last}")]);
}

#[test]
fn a_shell_that_comes_back_is_made_to_agree() {
    let mut w = World::new();
    let id = w.submit(1);
    // The start went nowhere: nobody was there yet.
    w.heard();
    w.call(&ShellReady { rank: Rank(0), jobs: vec![] }).expect("answered");
    assert_eq!(w.heard(), [format!("0: start {id}")]);
    w.started(id, 0);
    w.call(&ShellReady { rank: Rank(0), jobs: vec![(id, 0)] }).expect("answered");
    assert_eq!(w.heard(), [] as [&str; 0]);
    // Another shell has taken its place.
    w.call(&ShellReady { rank: Rank(0), jobs: vec![] }).expect("answered");
    assert_eq!(w.end_of(id, "start exception finish release free clean"), Some(JobResult::Failed));
    let exception = w.jobs.manager.job(id).and_then(|job| job.exception()).expect("raised");
    assert_eq!((&*exception.kind, &*exception.note), ("exec", "shell on node0 died"));
    // A kill that may have been lost is repeated.
    let id = w.submit(1);
    w.cancel(id);
    assert_eq!(w.heard().len(), 2);
    w.call(&ShellReady { rank: Rank(0), jobs: vec![(id, 0)] }).expect("answered");
    assert_eq!(w.heard(), [format!("0: end {id}")]);
}

#[test]
fn a_program_that_is_not_there_is_said_with_its_exit_code() {
    let mut w = World::new();
    let id = w.submit(2);
    for rank in 0..2 {
        let note = "nope: No such file or directory".to_owned();
        w.report(id, rank, What::Failed { kind: "exec".into(), note, status: 127 << 8 });
        w.gone(id, rank, 127 << 8);
    }
    assert_eq!(w.end_of(id, "alloc exception release finish release free clean"), Some(JobResult::Failed));
    assert_eq!(w.jobs.manager.job(id).and_then(|job| job.status()), Some(127 << 8));
}

#[test]
fn a_message_that_is_repeated_submits_nothing_twice() {
    let mut w = World::new();
    let jobspecs = || vec![jobspec(1, json!({})), jobspec(5, json!({})), jobspec(2, json!({}))];
    let first = w.submit_as("same", jobspecs());
    assert_eq!(
        first[1].as_ref().expect_err("too many nodes").text,
        "this instance has 2 nodes, the job asks for 5"
    );
    assert_eq!(w.submit_as("same", jobspecs()), first);
    let mut after = World::resume(w.log.clone());
    after.lead();
    assert_eq!(after.submit_as("same", jobspecs()), first);
    let new = after.submit(1);
    assert!(first.iter().flatten().all(|id| *id < new));
}

#[test]
fn another_leader_goes_on_where_the_log_ends() {
    let mut w = World::new();
    let (id, waiting) = (w.submit(2), w.submit(1));
    w.started(id, 0);
    w.started(id, 1);
    w.output(id, 1, "kept");
    w.gone(id, 1, 7 << 8);
    let mut w = World { seqs: w.seqs.clone(), ..World::resume(w.log.clone()) };
    w.lead();
    assert_eq!(w.heard(), [] as [&str; 0]);
    w.call(&ShellReady { rank: Rank(1), jobs: vec![] }).expect("answered");
    assert!(w.events(id).ends_with("alloc start"), "rank 1 was done before");
    w.gone(id, 0, 0);
    assert_eq!(w.end_of(id, "start finish release free clean"), Some(JobResult::Failed));
    assert_eq!(w.heard(), [format!("0: start {waiting}")]);
    assert_same(&w.jobs, &World::resume(w.log.clone()).jobs);
}

#[test]
fn another_leader_hears_from_shells_what_was_started() {
    let mut w = World::new();
    let id = w.submit(2);
    let stdin = job::Stdin {
        id,
        ranks: "all".into(),
        data: "a".into(),
        base64: false,
        eof: true,
        typed: false,
        window: None,
    };
    w.ask(&stdin);
    w.started(id, 0);
    // Rank 1 has not heard of it when the leader changes.
    let mut w = World { seqs: w.seqs.clone(), ..World::resume(w.log.clone()) };
    w.lead();
    w.call(&ShellReady { rank: Rank(0), jobs: vec![(id, 0)] }).expect("answered");
    assert_eq!(w.heard(), [] as [&str; 0]);
    w.call(&ShellReady { rank: Rank(1), jobs: vec![] }).expect("answered");
    assert_eq!(w.heard(), [format!("1: start {id}"), "1: stdin \"a\"".into()]);
    w.started(id, 1);
    assert!(w.events(id).ends_with("alloc start"));
}

#[test]
fn another_leader_knows_output_that_is_repeated() {
    let mut w = World::new();
    let id = w.submit(2);
    w.started(id, 0);
    w.started(id, 1);
    w.output(id, 0, "once");
    let mut again = World::resume(w.log.clone());
    again.lead();
    // Nobody has told the shells that their reports have come: they repeat them from the first on.
    for rank in 0..2 {
        again.call(&ShellReady { rank: Rank(rank), jobs: vec![(id, 0)] }).expect("answered");
        again.started(id, rank);
    }
    again.output(id, 0, "once");
    again.output(id, 0, "more");
    again.output(id, 1, "else");
    for rank in 0..2 {
        again.gone(id, rank, 0);
    }
    let output = again.jobs.guests[&id].text(GuestLog::Output);
    for data in ["once", "more", "else"] {
        assert_eq!(output.matches(data).count(), 1, "{output}");
    }
    assert_eq!(again.end_of(id, "start finish release free clean"), Some(JobResult::Completed));
}

#[test]
fn another_leader_does_not_start_again_what_has_spoken() {
    let mut w = World::new();
    let id = w.submit(2);
    w.started(id, 0);
    w.output(id, 0, "once");
    let mut again = World::resume(w.log.clone());
    again.lead();
    again.call(&ShellReady { rank: Rank(0), jobs: vec![] }).expect("answered");
    assert_eq!(again.heard(), [format!("1: end {id}")]);
    let exception = again.jobs.manager.job(id).and_then(|job| job.exception()).expect("raised");
    assert_eq!((&*exception.kind, &*exception.note), ("exec", "shell on node0 died"));
}

#[test]
fn a_restarted_instance_fails_what_ran_and_keeps_what_waited() {
    let mut w = World::new();
    let (running, waiting) = (w.submit(2), w.submit(2));
    let queue = job::Queue::from(job::QueueAct::Disable { reason: "maintenance".into() });
    assert!(!w.call(&queue).expect("closed").enabled);
    let mut w = World::resume(w.log.clone());
    w.step(|jobs, cx| jobs.restart(cx));
    w.lead();
    assert_eq!(w.end_of(running, "alloc exception release free clean"), Some(JobResult::Failed));
    assert_eq!(w.events(waiting), "submit validate depend priority flux-restart priority alloc");
    assert_eq!(w.jobs.gates(&w.config.site), (false, true));
    assert_same(&w.jobs, &World::resume(w.log.clone()).jobs);
    w.step(|jobs, cx| jobs.stop(cx));
    assert_eq!(w.heard().len(), 4, "two starts, two ends");
    w.gone(waiting, 0, 15);
    w.gone(waiting, 1, 15);
    assert!(w.jobs.idle());
}

#[test]
fn input_waits_for_its_job_and_output_has_a_limit() {
    let mut w = World::new();
    let (first, id) = (w.submit(2), w.submit(1));
    let stdin = |data: &str| job::Stdin {
        id,
        ranks: "all".into(),
        data: data.into(),
        base64: false,
        eof: data.is_empty(),
        typed: false,
        window: None,
    };
    w.call(&stdin("a")).expect("kept");
    w.heard();
    w.cancel(first);
    w.gone(first, 0, 15);
    w.gone(first, 1, 15);
    // Answered when the shell has.
    w.ask(&stdin(""));
    let heard = w.heard();
    assert_eq!(heard[2..], [format!("0: start {id}"), "0: stdin \"a\"".into(), "0: stdin \"\"".into()]);

    let watched = w.ask(&job::Watch { id, logs: vec![Log::Output], follow: true, paced: false });
    let piece = "x".repeat(1 << 20);
    for _ in 0..12 {
        w.output(id, 0, &piece);
    }
    w.gone(id, 0, 0);
    while w.said.iter().rfind(|m| m.tag == watched).is_some_and(|m| m.more) {
        w.step(|_, _| {});
    }
    let entries: Vec<Entry> =
        w.answers::<Watched>(watched).into_iter().flat_map(|p| p.entries).map(|(_, e)| e).collect();
    let named = |name: &str| entries.iter().filter(|e| e.name == name).count();
    assert_eq!((named("header"), named("data"), named("log")), (1, 10, 1));
    let longest = w.said.iter().filter_map(|m| m.payload.as_ref()).map(|p| p.get().len()).max();
    assert!(longest.expect("some") < 2 << 20, "pages, not heaps");
    assert_same(&w.jobs, &World::resume(w.log.clone()).jobs);
}

#[test]
fn who_follows_gets_what_is_not_kept_and_sets_the_pace() {
    let mut w = World::new();
    let id = w.submit(1);
    w.started(id, 0);
    let watch = job::Watch { id, logs: vec![Log::Output], follow: true, paced: true };
    let watched = w.ask(&watch);
    let data = |w: &World, tag| {
        let entries = w.answers::<Watched>(tag).into_iter().flat_map(|page| page.entries);
        entries.filter(|(_, entry)| entry.name == "data").count()
    };
    let flows = |w: &mut World| {
        let told = std::mem::take(&mut w.told);
        told.iter()
            .filter(|(_, m)| m.topic == FlowHere::NAME)
            .map(|(_, m)| m.body::<FlowHere>().expect("ours").flow)
            .collect::<Vec<_>>()
    };
    let take = |w: &mut World, tag| {
        let before = w.tag;
        w.ask(&job::Taken { tag });
        w.tag = before + 1;
    };
    let piece = "x".repeat(1 << 20);
    for _ in 0..13 {
        w.output(id, 0, &piece);
    }
    // One page is one piece here; four of them are out.
    assert_eq!(data(&w, watched), 4);
    assert_eq!(flows(&mut w), [Flow::Wait]);
    for _ in 0..9 {
        take(&mut w, watched);
        w.step(|_, _| {});
    }
    assert_eq!(data(&w, watched), 13);
    assert_eq!(flows(&mut w), [Flow::Pass]);
    let named = |w: &World, tag, name: &str| {
        let entries = w.answers::<Watched>(tag).into_iter().flat_map(|page| page.entries);
        entries.filter(|(_, entry)| entry.name == name).count()
    };
    assert_eq!(named(&w, watched, "log"), 0, "it has all");
    // The next one comes too late for what has passed; without anybody it is dropped.
    w.step(|jobs, _| jobs.cancel(Address { rank: Rank(1), client: ClientId(7) }, watched));
    assert_eq!(flows(&mut w), [Flow::Drop]);
    let late = w.ask(&watch);
    for _ in 0..12 {
        take(&mut w, late);
        w.step(|_, _| {});
    }
    assert_eq!((data(&w, late), named(&w, late, "log")), (10, 1));
    assert_eq!(flows(&mut w), [Flow::Pass]);
    assert_same(&w.jobs, &World::resume(w.log.clone()).jobs);
}

#[test]
fn a_journal_tells_everything_once_and_then_goes_on() {
    let mut w = World::new();
    let first = w.submit(1);
    let journal = w.ask(&job::Journal { from: 0 });
    let second = w.submit(1);
    w.cancel(second);
    let batches: Vec<job::JournalBatch> = w.answers(journal);
    assert!(batches[0].caught_up && batches[1..].iter().all(|b| !b.caught_up));
    let events: Vec<_> = batches.into_iter().flat_map(|b| b.events).collect();
    assert!(events.is_sorted_by_key(|e| e.index));
    let names =
        |id| events.iter().filter(|e| e.id == id).map(|e| &*e.entry.name).collect::<Vec<_>>().join(" ");
    assert_eq!(names(first), w.events(first));
    assert_eq!(names(second), w.events(second));
    assert!(events[0].jobspec.is_some() && events.iter().any(|e| e.r.is_some()));
}

#[test]
fn starts_of_large_jobs_travel_in_messages_that_fit_into_a_frame() {
    let mut w = World::new();
    // They wait, so that all of them are started by one batch.
    w.call(&job::Queue::from(job::QueueAct::Stop { reason: String::new() })).expect("stopped");
    let file = "x".repeat(3 << 20);
    let large = |n| jobspec_of(1, 1, json!({"shell": {"options": {"x": file, "n": n}}}));
    let submitted = w.submit_as("large", (0..2 * CORES).map(large).collect());
    assert!(submitted.iter().all(Result::is_ok), "{submitted:?}");
    w.told.clear();
    w.call(&job::Queue::from(job::QueueAct::Start)).expect("started");
    let mut jobs = Vec::new();
    for (_, message) in &w.told {
        assert!(flurm_wire::frame::encode(message).len() < 9 << 20);
        let StartHere(start) = message.body().expect("a start");
        assert_eq!(start.environments.len(), 1);
        jobs.push(start.jobs.len());
    }
    assert_eq!(jobs, [2, 2, 2, 2]);

    let environments = vec![Arc::new(Environment::from([("A".to_owned(), Some("x".repeat(7 << 20)))]))];
    let submit = job::Submit { submit_id: "env".into(), environments, jobs: Vec::new() };
    let refused = w.call(&submit).expect_err("no program can have it");
    assert_eq!(refused.code, ErrorCode::TooBig);
}

#[test]
fn a_time_limit_raises_timeout() {
    let mut w = World::new();
    let id = w.submit_as("t", vec![jobspec(1, json!({"duration": 2.0}))]).remove(0).expect("fits");
    w.started(id, 0);
    w.heard();
    w.now_ms += 2000;
    w.step(|_, _| {});
    assert_eq!(w.heard(), [format!("0: end {id}")]);
    w.gone(id, 0, 15);
    assert_eq!(w.end_of(id, "exception finish release free clean"), Some(JobResult::Timeout));
    let list = job::List { results: vec![JobResult::Timeout], ..job::List::default() };
    assert_eq!(w.call(&list).expect("listed").jobs.len(), 1);
}

#[test]
fn a_group_that_is_gone_refuses_nobody() {
    let mut w = World::new();
    let of = |size: u32| vec![jobspec_of(1, 1, json!({"cosched": {"group": "g", "size": size}}))];
    let first = w.submit_as("a", of(2)).remove(0).expect("waits for another");
    assert!(w.submit_as("b", of(3)).remove(0).is_err());
    w.cancel(first);
    assert!(w.submit_as("c", of(3)).remove(0).is_ok());
}

#[test]
fn what_the_scheduler_learns_is_there_to_be_kept() {
    let mut w = World::new();
    let willing = json!({"cosched": {"class": "memory"}});
    let [Ok(id)] = w.submit_as("l", vec![jobspec_of(1, 2, willing)])[..] else { panic!("a job") };
    w.started(id, 0);
    w.now_ms += 20_000;
    assert_eq!(w.jobs.learnt(), None);
    w.gone(id, 0, 0);
    let learnt = w.jobs.learnt().expect("a run is over");
    let alone = learnt["runs"][0][1]["alone"][0].as_f64().expect("its length");
    assert!((20.0..21.0).contains(&alone), "{learnt}");
    w.step(|jobs, cx| jobs.remember(cx, learnt));
}
