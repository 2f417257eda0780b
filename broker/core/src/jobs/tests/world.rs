//! The world that a test acts in: the log, the clock, and what was heard.

use super::super::*;
use crate::cx::Outbox;
use crate::door::{Hold, Output};
use crate::site::Site;
use flurm_types::{Entry, Environment, Idset, JobResult, Now, R, RNode, Rank};
use flurm_wire::exec::{Report, Reports, What};
use flurm_wire::fact::{decode_record, encode_record};
use flurm_wire::job::{SubmitFlags, SubmitJob, Submitted};
use flurm_wire::shell::{KillHere, StartHere, StdinHere};
use flurm_wire::{ClientId, Dest, Topic};
use serde_json::json;
use serde_json::value::RawValue;

pub(super) const CORES: u32 = 4;

/// What is done in a batch.
type Act = Box<dyn FnOnce(&mut Jobs, &mut Cx)>;

pub(super) struct World {
    pub(super) jobs: Jobs,
    pub(super) config: CoreConfig,
    pub(super) now_ms: u64,
    pub(super) log: Vec<JobFact>,
    /// Files of jobs.
    pub(super) files: BTreeMap<JobId, Vec<u8>>,
    /// Said to clients.
    pub(super) said: Vec<Message>,
    /// Said to shells, by rank.
    pub(super) told: Vec<(u32, Message)>,
    /// Times at which the jobs want to be looked at.
    pub(super) wakes: BTreeSet<u64>,
    pub(super) tag: u64,
    pub(super) seqs: BTreeMap<(JobId, u32), u64>,
}

pub(super) fn config() -> CoreConfig {
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

pub(super) fn inventory() -> R {
    R::from_nodes((0..2).map(|rank| RNode {
        rank,
        host: format!("node{rank}"),
        cores: Idset::from_range(0..=CORES - 1),
        gpus: Idset::new(),
    }))
}

/// A task on each of so many slots of one core, on as many nodes.
pub(super) fn jobspec(nodes: u32, system: serde_json::Value) -> Box<RawValue> {
    jobspec_of(nodes, CORES, system)
}

pub(super) fn jobspec_of(nodes: u32, cores: u32, system: serde_json::Value) -> Box<RawValue> {
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
    pub(super) fn new() -> World {
        let mut world = World::resume(Vec::new());
        world.lead();
        world
    }

    /// With a log, and not yet the leader.
    pub(super) fn resume(log: Vec<JobFact>) -> World {
        let config = config();
        let mut jobs = Jobs::new(&config, 1);
        log.iter().for_each(|fact| jobs.apply(fact));
        let (said, told, wakes, seqs) = Default::default();
        World { jobs, config, now_ms: 1000, log, files: BTreeMap::new(), said, told, wakes, tag: 0, seqs }
    }

    pub(super) fn lead(&mut self) {
        self.step(|jobs, cx| {
            jobs.lead(cx);
            jobs.resources(cx, ResourceChange::Define(inventory()));
            jobs.resources(cx, ResourceChange::Up(Idset::from_range(0..=1)));
        });
    }

    /// A batch, and what came of it.
    pub(super) fn step(&mut self, act: impl FnOnce(&mut Jobs, &mut Cx)) {
        self.now_ms += 1;
        let now = Now { mono_ms: self.now_ms, wall: Timestamp(self.now_ms as i64 * 1000) };
        let mut out = Outbox::default();
        let mut cx = Cx::new(now, &self.config, &mut out);
        act(&mut self.jobs, &mut cx);
        self.jobs.settle(&mut cx);
        for fact in &out.facts {
            if let Fact::Job(JobFact { id, spilled: Some(spilled), .. }) = fact {
                let file = self.files.entry(*id).or_default();
                assert_eq!(spilled.frames.len() as u64, spilled.len);
                let (begin, end) = (spilled.offset as usize, (spilled.offset + spilled.len) as usize);
                assert!(begin <= file.len(), "no holes");
                file.resize(file.len().max(end), 0);
                file[begin..end].copy_from_slice(&spilled.frames);
            }
        }
        for fact in decode_record(&encode_record(&out.facts)).expect("what we wrote") {
            match fact {
                Fact::Job(fact) => self.log.push(fact),
                Fact::Kvs(_) | Fact::Resource(_) => panic!("not ours"),
            }
        }
        assert!(out.lines.is_empty(), "{:?}", out.lines);
        self.wakes.extend(&out.wakes);
        for message in out.held {
            match message.dst {
                Dest::Rank(Rank(rank)) => self.told.push((rank, message)),
                Dest::Client(_) => self.said.push(message),
                Dest::Local | Dest::Leader => panic!("{message:?}"),
            }
        }
        for act in out.acts {
            let Output::ReadSpill { id, offset, len } = act else { panic!("{act:?}") };
            let bytes = self.files.get(&id).ok_or("no such file".to_owned());
            let bytes = bytes.map(|file| {
                let rest = &file[file.len().min(offset as usize)..];
                rest[..rest.len().min(len)].to_vec()
            });
            let read: Act = Box::new(move |jobs, _| jobs.spill_read(id, offset, &bytes));
            self.step(read);
        }
    }

    /// Asks as a client and gives the tag.
    pub(super) fn ask<T: Topic>(&mut self, body: &T) -> u64 {
        self.tag += 1;
        let client = Address { rank: Rank(1), client: ClientId(7) };
        let message = Message::request(client, Dest::Leader, self.tag, body);
        self.step(|jobs, cx| jobs.request(cx, &message));
        self.tag
    }

    pub(super) fn answers<B: serde::de::DeserializeOwned>(&self, tag: u64) -> Vec<B> {
        let ours = self.said.iter().filter(|m| m.tag == tag && m.payload.is_some());
        ours.map(|m| m.body().expect("its type")).collect()
    }

    pub(super) fn call<T: Topic>(&mut self, body: &T) -> Result<T::Response, WireError> {
        let tag = self.ask(body);
        match self.said.iter().rfind(|m| m.tag == tag).expect("an answer") {
            Message { error: Some(error), .. } => Err(error.clone()),
            message => Ok(message.body().expect("its type")),
        }
    }

    pub(super) fn submit_as(
        &mut self,
        submit_id: &str,
        jobspecs: Vec<Box<RawValue>>,
    ) -> Vec<Result<JobId, WireError>> {
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

    pub(super) fn submit(&mut self, nodes: u32) -> JobId {
        self.submit_with(nodes, json!({}))
    }

    /// With these attributes.
    pub(super) fn submit_with(&mut self, nodes: u32, system: serde_json::Value) -> JobId {
        let submit_id = format!("s{}", self.tag);
        self.submit_as(&submit_id, vec![jobspec(nodes, system)]).remove(0).expect("a job that fits")
    }

    pub(super) fn report(&mut self, id: JobId, rank: u32, what: What) {
        let seq = *self.seqs.entry((id, rank)).and_modify(|seq| *seq += 1).or_insert(1);
        let report = Report { id, attempt: 0, rank: Rank(rank), seq, what };
        // Twice, as a shell does that has not heard of the first one's arrival.
        for _ in 0..2 {
            self.call(&Reports { reports: vec![report.clone()] }).expect("acknowledged");
        }
    }

    pub(super) fn started(&mut self, id: JobId, rank: u32) {
        self.report(id, rank, What::Started { time: Timestamp(1), pids: vec![1] });
    }

    pub(super) fn gone(&mut self, id: JobId, rank: u32, status: i32) {
        self.report(id, rank, What::Gone { time: Timestamp(1), status });
    }

    pub(super) fn output(&mut self, id: JobId, rank: u32, data: &str) {
        let context = json!({"stream": "stdout", "rank": rank.to_string(), "data": data});
        let entries = vec![Entry::new(Timestamp(1), "data").with_context(context)];
        self.report(id, rank, What::Output { entries });
    }

    pub(super) fn cancel(&mut self, id: JobId) {
        let raise = job::Raise { ids: vec![id], kind: "cancel".into(), severity: 0, note: String::new() };
        self.call(&raise).expect("an answer").results.remove(0).expect("cancelled");
    }

    /// What shells were told since the last time.
    pub(super) fn heard(&mut self) -> Vec<String> {
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

    pub(super) fn events(&self, id: JobId) -> String {
        let job = self.jobs.manager.job(id).expect("known");
        job.entries(0).map(|e| e.name).collect::<Vec<_>>().join(" ")
    }

    /// Its last events, and how it ended.
    pub(super) fn end_of(&self, id: JobId, events: &str) -> Option<JobResult> {
        assert!(self.events(id).ends_with(events), "{}", self.events(id));
        self.jobs.manager.job(id).expect("known").result()
    }
}

/// Same events, same logs.
pub(super) fn assert_same(a: &Jobs, b: &Jobs) {
    assert_eq!(a.manager, b.manager);
    assert_eq!(a.journal, b.journal);
    let logs = |jobs: &Jobs| {
        let texts = jobs.guests.iter().map(|(id, guest)| {
            let text = |log| guest.text(log).into_owned();
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
