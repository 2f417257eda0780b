//! The agreed messages, one example each: `wire/api.txt` is what these print.
//!
//! A changed line is a changed protocol: additions are fine, but what stands there must still decode, because
//! a client of yesterday may talk to a broker of today. `UPDATE_API=1 cargo test -p flurm-wire` rewrites the file.

use flurm_types::{Entry, Idset, JobId, JobResult, JobState, R, Rank, Timestamp};
use flurm_wire::fact::{Fact, GuestLog, Holds, JobFact, JobSpecText, KvsFact, KvsOp, ResourceFact, Spilled};
use flurm_wire::{
    Address, ClientId, Dest, ErrorCode, Message, Topic, WireError, attr, event, exec, follow, job, kvs,
    overlay, resource, rexec, sched, shell, state,
};
use serde_json::json;
use std::fmt::Write as _;
use std::sync::Arc;

const R_TEXT: &str = r#"{"version":1,"execution":{"R_lite":[{"rank":"1-2","children":{"core":"0-9","gpu":"0"}}],"nodelist":["node[1-2]"],"starttime":1790000000.0,"expiration":1790003600.0}}"#;

fn r() -> R {
    R::parse(R_TEXT).expect("a valid R")
}

fn entry(name: &str) -> Entry {
    Entry { timestamp: Timestamp(1_790_000_000_250_000), name: name.into(), context: Some(json!({"a": 1})) }
}

fn id() -> JobId {
    JobId::from_parts(1000, 3, 7)
}

fn set(text: &str) -> Idset {
    text.parse().expect("an idset")
}

/// Writes one line and proves that it decodes to what it was.
fn line<T: Topic>(out: &mut String, request: &T, response: &T::Response) {
    let q = serde_json::to_string(request).expect("request");
    let a = serde_json::to_string(response).expect("response");
    let again: T = serde_json::from_str(&q).expect("request decodes");
    assert_eq!(serde_json::to_string(&again).expect("request"), q);
    let again: T::Response = serde_json::from_str(&a).expect("response decodes");
    assert_eq!(serde_json::to_string(&again).expect("response"), a);
    let arrow = if T::STREAM { "=>*" } else { "=>" };
    writeln!(out, "{} {q} {arrow} {a}", T::NAME).expect("a string takes everything");
}

fn examples() -> String {
    let mut o = String::new();
    let out = &mut o;
    let done = job::Done {};
    let raw = |v: serde_json::Value| serde_json::value::to_raw_value(&v).expect("json");
    let environment = Arc::new([("PATH".to_owned(), Some("/bin".to_owned())), ("X".to_owned(), None)].into());
    let per_job =
        job::PerJob { results: vec![Ok(()), Err(WireError::new(ErrorCode::NotFound, "no job ƒ1"))] };
    let start = exec::Start {
        environments: vec![raw(json!({"PATH": "/bin", "X": null})).into()],
        jobspecs: vec![raw(json!({"version": 1})).into()],
        jobs: vec![exec::StartJob {
            id: id(),
            attempt: 0,
            environment: 0,
            jobspec: 0,
            copy: Some(7),
            number: 12,
            array_number: 11,
            r: raw(r().to_value()).into(),
        }],
    };
    let kill = exec::Kill {
        id: id(),
        attempt: 0,
        ranks: set("1-2"),
        signum: 15,
        end: true,
        grace_ms: 5000,
        why: "type=timeout".into(),
    };
    let stdin = job::Stdin {
        id: id(),
        ranks: "all".into(),
        data: "hi\n".into(),
        base64: false,
        eof: true,
        typed: false,
        window: None,
    };
    let info = state::Info {
        rank: Rank(0),
        state: state::BrokerState::Run,
        size: 4,
        online: 4,
        owner: 1000,
        starttime: Timestamp(1),
        now: Timestamp(2),
        expiration: Timestamp::ZERO,
        instance_level: 0,
        drained: 0,
        submission_enabled: true,
        scheduling_started: true,
        version: "0.1.0".into(),
    };

    line(
        out,
        &job::Submit {
            submit_id: "u".into(),
            environments: vec![environment],
            jobs: vec![job::SubmitJob {
                jobspec: raw(json!({"version": 1})),
                environment: Some(0),
                urgency: 16,
                flags: job::SubmitFlags { waitable: true, ..Default::default() },
            }],
        },
        &job::Submitted {
            jobs: vec![Ok(id()), Err(WireError::new(ErrorCode::Invalid, "no").hint("way out"))],
        },
    );
    line(
        out,
        &job::Raise { ids: vec![id()], kind: "cancel".into(), severity: 0, note: String::new() },
        &per_job,
    );
    line(out, &job::Kill { ids: vec![id()], signum: 9 }, &per_job);
    line(out, &job::SetUrgency { id: id(), urgency: 31 }, &done);
    let memo = [("uri".to_owned(), "local:///run/x".into())].into_iter().collect();
    line(out, &job::Memo { id: id(), memo }, &done);
    let updates = [("attributes.system.duration".to_owned(), json!("+10m"))].into_iter().collect();
    let updated = [("attributes.system.duration".to_owned(), json!(4200.0))].into_iter().collect();
    let purge = job::Purge {
        ids: vec![id()],
        age_limit: Some(60.0),
        num_limit: Some(9),
        batch: 1000,
        dry_run: false,
    };
    line(out, &purge, &job::Purged { jobs: 1, left: 9 });
    line(out, &job::Update { id: id(), updates, dry_run: false }, &job::Updated { updates: updated });
    line(out, &job::WaitOne { id: None }, &job::Waited { id: id(), success: true, errstr: String::new() });
    line(
        out,
        &job::Await { ids: vec![id()], event: Some("start".into()) },
        &job::Awaited {
            jobs: vec![job::AwaitedJob {
                id: id(),
                seen: true,
                state: JobState::Inactive,
                status: Some(256),
                result: Some(JobResult::Failed),
                exception: Some(job::Exception { kind: "exec".into(), severity: 0, note: "n".into() }),
            }],
        },
    );
    line(
        out,
        &job::Watch { id: id(), logs: vec![job::Log::Eventlog, job::Log::Output], follow: true, paced: true },
        &job::Watched { entries: vec![(job::Log::Eventlog, entry("submit"))] },
    );
    line(
        out,
        &job::Lookup { id: id(), keys: vec!["R".into()] },
        &job::LookedUp { values: vec!["{}".into()] },
    );
    line(out, &job::Pids { id: id() }, &job::PidsOf { ranks: vec![(0, vec![4711, 4712])] });
    line(
        out,
        &job::List { states: vec![JobState::Run], max_entries: 1000, ..Default::default() },
        &job::Listed { jobs: vec![], more: false, stats: job::JobStats::default() },
    );
    line(
        out,
        &job::Why { id: id() },
        &job::Reason {
            text: "waits for 4 cores".into(),
            blocked_by: Some(id()),
            earliest: Some(Timestamp(1_790_000_000_000_000)),
        },
    );
    line(out, &stdin, &done);
    let queue = job::QueueStatus {
        enabled: false,
        disable_reason: Some("later".into()),
        started: true,
        stop_reason: None,
        pending: 1,
        running: 2,
        queues: vec![job::QueueInfo {
            name: "batch".into(),
            disable_reason: Some("later".into()),
            started: true,
            duration_max: Some(3600.0),
            max: job::QueueSize { nnodes: Some(4), ..Default::default() },
            ranks: set("0-3"),
            ..Default::default()
        }],
        scheduler: "built-in, fcfs".into(),
    };
    let disable = job::QueueAct::Disable { reason: "later".into() };
    line(out, &job::Queue { act: disable, queues: vec!["batch".into()], all: false }, &queue);
    let news = sched::News {
        id: Some(id()),
        priority: Some(16),
        t_submit: Some(Timestamp(1_790_000_000_000_000)),
        jobspec: Some(raw(json!({"version": 1}))),
        ..sched::News::new(sched::NewsKind::Alloc)
    };
    let resources =
        sched::News { r: Some(r()), ranks: Some(set("1-2")), ..sched::News::new(sched::NewsKind::Resources) };
    line(out, &sched::Serve { name: "mine".into() }, &sched::Served { news: vec![resources, news] });
    let answer = sched::Answer {
        id: id(),
        kind: sched::AnswerKind::Alloc,
        r: Some(json!({"version": 1, "execution": {"R_lite": [{"rank": "1", "children": {"core": "0"}}]}})),
        note: String::new(),
        annotations: None,
    };
    line(out, &answer, &done);
    line(
        out,
        &job::Journal { from: 0 },
        &job::JournalBatch {
            events: vec![job::JournalEvent {
                index: 1,
                id: id(),
                entry: entry("alloc"),
                jobspec: None,
                r: None,
            }],
            caught_up: true,
        },
    );
    let what = [
        exec::What::Started { time: Timestamp(5), pids: vec![17] },
        exec::What::Output { entries: vec![entry("data")] },
        exec::What::Exec { entries: vec![] },
        exec::What::Failed { kind: "exec".into(), note: "x: no such file".into(), status: 127 << 8 },
        exec::What::Warning { kind: "oom".into(), severity: 3, note: "n".into() },
        exec::What::Gone { time: Timestamp(6), status: 0 },
    ];
    let reports = what
        .into_iter()
        .zip(1..)
        .map(|(what, seq)| exec::Report { id: id(), attempt: 0, rank: Rank(1), seq, what })
        .collect();
    line(out, &exec::Reports { reports }, &done);
    line(out, &exec::ShellReady { rank: Rank(1), jobs: vec![(id(), 0)] }, &done);
    line(
        out,
        &shell::Hello { rank: Rank(1), pid: 99, jobs: vec![(id(), 0)] },
        &shell::Welcome {
            rank: Rank(1),
            size: 4,
            hostname: "c1".into(),
            uri: "local:///tmp/x/local".into(),
            instance_id: "i".into(),
            instance_level: 0,
            orphan_ms_max: 5000,
            slurm_conf: Some("/tmp/x/slurm/slurm.conf".into()),
        },
    );
    line(out, &shell::StartHere(start), &done);
    line(out, &shell::KillHere(kill), &done);
    line(out, &shell::StdinHere(stdin), &done);
    let expiration = Timestamp::from_secs_f64(1_790_003_600.0);
    line(out, &shell::ExpireHere { id: id(), attempt: 0, expiration }, &done);
    line(out, &shell::FlowHere { id: id(), attempt: 0, flow: shell::Flow::Wait }, &done);
    line(out, &job::Taken { tag: 7 }, &done);
    line(
        out,
        &shell::StartInitial { command: vec!["sh".into()], cwd: "/".into(), environment: Default::default() },
        &done,
    );
    line(out, &shell::KillInitial { signum: 1, end: true }, &done);
    line(out, &shell::InitialExited { status: 0 }, &done);
    line(out, &flurm_wire::slurm::Ready {}, &done);
    line(out, &shell::Quit {}, &done);
    let parts = vec![shell::Part(1, "Y2FyZA==".into())];
    line(
        out,
        &shell::Fence { id: id(), attempt: 0, name: "pmi".into(), seq: 0, from: 1, parts: parts.clone() },
        &shell::Fenced { parts },
    );
    line(out, &shell::PmixGet { id: id(), attempt: 0, task: 5 }, &shell::PmixGot { data: "AAE=".into() });
    line(
        out,
        &shell::FenceLost { id: id(), attempt: 0, from: 1, name: Some("pmi".into()), why: "gone".into() },
        &done,
    );
    line(
        out,
        &rexec::Run { command: vec!["hostname".into()], cwd: None, environment: Default::default() },
        &rexec::RunOutput::Output {
            rank: Rank(1),
            stream: rexec::Stream::Stdout,
            data: "c1\n".into(),
            base64: false,
        },
    );
    line(out, &rexec::Control { tag: 4, signum: Some(2), stdin: None, base64: false, eof: false }, &done);
    line(
        out,
        &kvs::Commit {
            namespace: kvs::PRIMARY.into(),
            ops: vec![
                KvsOp::Put { key: "a.b".into(), value: json!(1) },
                KvsOp::Append { key: "a.c".into(), value: "x".into() },
                KvsOp::Mkdir { key: "d".into() },
                KvsOp::Symlink { key: "l".into(), target: "a".into() },
                KvsOp::Unlink { key: "a".into() },
                KvsOp::Test { key: "a".into(), holds: Holds::Value(json!(1)) },
                KvsOp::CreateNamespace { owner: 0 },
                KvsOp::RemoveNamespace,
            ],
        },
        &kvs::Committed { version: 1 },
    );
    line(
        out,
        &kvs::Get { namespace: kvs::PRIMARY.into(), key: "a".into(), waitcreate: false, watch: true },
        &kvs::Got { node: Some(kvs::Node::Dir(vec![("b".into(), kvs::NodeKind::Value)])), version: 1 },
    );
    line(
        out,
        &kvs::Readlink { namespace: kvs::PRIMARY.into(), key: "l".into() },
        &kvs::Link { target: "a".into() },
    );
    line(out, &kvs::Version { namespace: kvs::PRIMARY.into(), at_least: 3 }, &kvs::Committed { version: 3 });
    line(out, &kvs::Namespaces {}, &kvs::NamespaceList { namespaces: vec![("primary".into(), 0)] });
    line(out, &resource::Inventory { r: r() }, &done);
    line(
        out,
        &resource::Status {},
        &resource::StatusInfo {
            all: r(),
            allocated: r(),
            up: set("1-2"),
            online: set("1"),
            drained: vec![resource::Drained { ranks: set("2"), reason: "fan".into(), since: Timestamp(7) }],
            expiration: Timestamp::ZERO,
            expiring: vec![resource::Expiring { ranks: set("1"), expiration: Timestamp(9) }],
        },
    );
    line(out, &resource::Expire { targets: "c1".into(), expiration: Timestamp(9) }, &done);
    line(out, &resource::Lease { expiration: Timestamp(9) }, &done);
    line(out, &resource::Drain { targets: "c1".into(), reason: "fan".into(), overwrite: false }, &done);
    line(out, &resource::Undrain { targets: "1".into(), reason: String::new() }, &done);
    line(
        out,
        &resource::Eventlog { follow: false },
        &resource::EventlogBatch { entries: vec![entry("drain")] },
    );
    line(
        out,
        &overlay::Hello { rank: Rank(3), epoch: 9, subtree: set("3,7"), lost: set("8") },
        &overlay::Welcome { rank: Rank(1), epoch: 8, leader: Rank(0) },
    );
    line(out, &overlay::Heartbeat {}, &done);
    line(out, &overlay::Goodbye { code: 143 }, &done);
    line(
        out,
        &overlay::Status {},
        &overlay::TreeStatus {
            rank: Rank(0),
            host: "c0".into(),
            status: overlay::Health::Degraded,
            for_secs: 1.5,
            children: vec![],
        },
    );
    line(
        out,
        &overlay::Ping { seq: 1, pad: String::new() },
        &overlay::Pong { seq: 1, rank: Rank(2), host: "c2".into(), pad: String::new(), time: Timestamp(8) },
    );
    line(out, &attr::Get { name: "rank".into() }, &attr::Value { value: "0".into() });
    line(out, &attr::Set { name: "a".into(), value: "b".into(), force: false }, &done);
    line(out, &attr::List {}, &attr::All { attributes: [("rank".to_owned(), "0".to_owned())].into() });
    line(out, &state::Get {}, &info);
    line(out, &state::Wait { state: state::BrokerState::Run }, &info);
    line(out, &state::Shutdown {}, &done);
    line(
        out,
        &state::Dmesg { follow: true, clear: false },
        &state::DmesgLines {
            lines: vec![state::LogLine {
                time: Timestamp(1),
                level: 6,
                rank: Rank(0),
                component: "overlay".into(),
                text: "up".into(),
            }],
        },
    );
    line(out, &state::Log { level: 5, component: "logger".into(), text: "t".into() }, &done);
    line(
        out,
        &state::Modules {},
        &state::ServiceList {
            services: vec![state::Service {
                name: "kvs".into(),
                leaders: true,
                requests: 3,
                idle_secs: Some(0.5),
            }],
        },
    );
    line(
        out,
        &event::Publish { topic: "app.done".into(), payload: Some(json!({"n": 1})) },
        &event::Published { seq: 1, listeners: 2 },
    );
    line(
        out,
        &follow::Follow { name: "7.0".into() },
        &follow::Followed::Output {
            task: 3,
            stream: rexec::Stream::Stdout,
            data: "hi\n".into(),
            base64: false,
        },
    );
    line(out, &follow::Took { tag: 5, bytes: 3 }, &done);
    let window = Some(job::Window { rows: 24, cols: 80 });
    line(
        out,
        &follow::Feed {
            name: "7.0".into(),
            tasks: Some(set("0")),
            data: "hi\n".into(),
            base64: false,
            eof: true,
            window,
        },
        &done,
    );
    line(out, &follow::Signal { name: "7.0".into(), signum: 10 }, &done);
    line(
        out,
        &event::Subscribe { topics: vec!["app".into()] },
        &event::Events {
            events: vec![event::Event { seq: 1, topic: "app.done".into(), payload: Some(json!(1)) }],
        },
    );
    o
}

#[test]
fn the_protocol_is_what_api_txt_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/api.txt");
    let now = examples();
    if std::env::var_os("UPDATE_API").is_some() {
        std::fs::write(path, &now).expect("api.txt can be written");
    }
    let kept = std::fs::read_to_string(path).expect("api.txt is there");
    for (kept, now) in kept.lines().zip(now.lines()) {
        assert_eq!(kept, now, "the protocol changed: additions go to the end of a struct, with a default");
    }
    assert_eq!(kept.lines().count(), now.lines().count(), "run with UPDATE_API=1 to add the new topic");
}

#[test]
fn an_envelope_survives_bytes_and_refuses_what_is_none() {
    let src = Address { rank: Rank(2), client: ClientId(5) };
    let request = Message::request(src, Dest::Leader, 7, &overlay::Ping { seq: 1, pad: "x".into() });
    let bytes = flurm_wire::frame::encode(&request);
    let back = flurm_wire::frame::decode(&bytes).expect("decodes");
    assert_eq!((back.src, back.dst, back.tag, &*back.topic), (src, Dest::Leader, 7, "broker.ping"));
    let answer = back.refuse(src, WireError::new(ErrorCode::NotFound, "nothing"));
    assert_eq!(answer.dst, Dest::Client(src));
    assert_eq!(answer.body::<overlay::Pong>().expect_err("no payload").code, ErrorCode::Invalid);

    for bad in ["", "{}", "[]", "\u{0}", "{\"v\":1}"] {
        assert!(flurm_wire::frame::decode(bad.as_bytes()).is_err(), "{bad:?}");
    }
    let text = String::from_utf8(bytes).expect("json").replacen("\"v\":1", "\"v\":9", 1);
    assert!(matches!(
        flurm_wire::frame::decode(text.as_bytes()),
        Err(flurm_wire::frame::FrameError::Version(9))
    ));
    assert!(
        flurm_wire::frame::decode_len([0xff; 4]).is_err(),
        "a length over the limit is refused before allocating"
    );
}

#[test]
fn a_log_record_keeps_one_copy_of_what_jobs_share() {
    let environment: Arc<flurm_types::Environment> =
        Arc::new([("A".to_owned(), Some("x".repeat(4000)))].into());
    let text = format!(r#"{{"version":1,"x":"{}"}}"#, "x".repeat(1000));
    let spec = JobSpecText { jobspec: text.into(), environment };
    let job = |seq| {
        Fact::Job(JobFact {
            id: JobId::from_parts(1, 0, seq),
            events: vec![entry("submit")],
            spec: Some(spec.clone()),
            r: Some(Arc::new(r())),
            guest: vec![(GuestLog::Output, entry("data"))],
            spilled: Some(Spilled {
                after: 1,
                offset: 7,
                len: 9,
                entries: 2,
                data: 100,
                frames: Arc::default(),
            }),
            reported: [(7, 3)].into(),
            waited: true,
        })
    };
    let mut facts: Vec<Fact> = (0..100).map(job).collect();
    facts.push(Fact::Kvs(KvsFact {
        namespace: "primary".into(),
        ops: vec![KvsOp::Mkdir { key: "d".into() }],
    }));
    facts.push(Fact::Resource(ResourceFact::Restart { r: r(), instance: "i".into() }));
    let bytes = flurm_wire::fact::encode_record(&facts);
    assert!(bytes.len() < 100 * 600, "{} bytes for 100 jobs", bytes.len());
    assert_eq!(flurm_wire::fact::decode_record(&bytes).expect("decodes"), facts);
    assert!(flurm_wire::fact::decode_record(&bytes[..bytes.len() - 1]).is_err());
    // As it was written when each job had a text of its own.
    let old = br#"{"v":1,"environments":[],"facts":[{"fact":"job","id":7,"events":[],"jobspec":"{}"}]}"#;
    let read = flurm_wire::fact::decode_record(old).expect("decodes");
    assert!(matches!(&read[..], [Fact::Job(JobFact { spec: Some(spec), .. })] if &*spec.jobspec == "{}"));
}
