//! A client schedules for one broker: what it is told, and what becomes of answers that come too late or cannot be.

mod rim;

use flurm_core::{Input, Peer};
use flurm_types::{Environment, JobId, JobState};
use flurm_wire::job::{self, SubmitFlags, SubmitJob};
use flurm_wire::sched::{Answer, AnswerKind, NewsKind, Serve, Served};
use flurm_wire::state::BrokerState;
use flurm_wire::{ClientId, ErrorCode, Message, resource};
use rim::{Rim, USER, config};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;

const SCHEDULER: ClientId = ClientId(3);
const SERVE: u64 = 50;

struct World {
    rim: Rim,
    tag: u64,
}

fn r(cores: &str) -> Value {
    json!({"version": 1, "execution": {"R_lite": [{"rank": "0", "children": {"core": cores}}]}})
}

impl World {
    fn new() -> World {
        let mut rim = Rim::up(config(), &[]);
        assert_eq!(rim.state(), BrokerState::Run);
        rim.step(Input::PeerUp(Peer::Client(SCHEDULER)));
        rim.sent(USER);
        let mut world = World { rim, tag: 100 };
        world.serve();
        world
    }

    fn serve(&mut self) {
        self.rim.ask(SCHEDULER, SERVE, &Serve { name: "test".into() });
        self.rim.commit();
    }

    fn call<T: flurm_wire::Topic>(&mut self, client: ClientId, body: &T) -> Message {
        self.tag += 1;
        self.rim.ask(client, self.tag, body);
        self.rim.commit();
        let tag = self.tag;
        let (mine, other) = self.rim.sent(client).into_iter().partition(|m: &Message| m.tag == tag);
        // What was not asked for stays to be read.
        self.rim.out.extend(
            Vec::into_iter(other)
                .map(|message| flurm_core::Output::Send { to: Peer::Client(client), message }),
        );
        let [answer] = <[Message; 1]>::try_from(mine).expect("one answer");
        answer
    }

    /// A job of so many cores.
    fn submit(&mut self, cores: u32) -> JobId {
        let slot =
            json!({"type": "slot", "count": 1, "label": "t", "with": [{"type": "core", "count": cores}]});
        let text = json!({
            "version": 1, "resources": [slot], "attributes": {"system": {"duration": 60}},
            "tasks": [{"command": ["true"], "slot": "t", "count": {"per_slot": 1}}],
        });
        let job = SubmitJob {
            jobspec: RawValue::from_string(text.to_string()).expect("JSON"),
            environment: Some(0),
            urgency: 16,
            flags: SubmitFlags::default(),
        };
        let environments = vec![Arc::new(Environment::new())];
        let submit = job::Submit { submit_id: format!("s{}", self.tag), environments, jobs: vec![job] };
        let answer = self.call(USER, &submit);
        answer.body::<job::Submitted>().expect("its type").jobs.remove(0).expect("taken")
    }

    fn answer(&mut self, id: JobId, kind: AnswerKind, r: Option<Value>) -> Option<ErrorCode> {
        let answer = Answer { id, kind, r, note: String::new(), annotations: None };
        self.call(SCHEDULER, &answer).error.map(|error| error.code)
    }

    /// What the scheduler was told since the last time: types with ids.
    fn news(&mut self) -> Vec<(NewsKind, Option<JobId>)> {
        let sent = self.rim.sent(SCHEDULER).into_iter().filter(|m| m.tag == SERVE && m.payload.is_some());
        let news = sent.flat_map(|m| m.body::<Served>().expect("its type").news);
        news.map(|news| (news.kind, news.id)).collect()
    }

    fn state(&mut self, id: JobId) -> JobState {
        let list = job::List { ids: vec![id], ..job::List::default() };
        self.call(USER, &list).body::<job::Listed>().expect("its type").jobs[0].state
    }

    fn scheduler(&mut self) -> String {
        let status = job::Queue::from(job::QueueAct::Status);
        self.call(USER, &status).body::<job::QueueStatus>().expect("its type").scheduler
    }

    /// So many milliseconds pass; a wake comes when it was asked for.
    fn later(&mut self, ms: u64) {
        self.rim.now_ms += ms;
        self.rim.step(Input::Wake);
        self.rim.commit();
    }

    fn cancel(&mut self, id: JobId) {
        self.call(
            USER,
            &job::Raise { ids: vec![id], kind: "cancel".into(), severity: 0, note: String::new() },
        );
    }
}

#[test]
fn jobs_are_offered_and_run_where_the_client_says() {
    let mut w = World::new();
    assert_eq!(w.news(), [(NewsKind::Resources, None)]);
    let (one, two) = (w.submit(1), w.submit(2));
    assert_eq!(w.news(), [(NewsKind::Alloc, Some(one)), (NewsKind::Alloc, Some(two))]);
    assert_eq!((w.state(one), w.state(two)), (JobState::Sched, JobState::Sched), "nobody else gives");
    assert_eq!(w.answer(two, AnswerKind::Alloc, Some(r("2-3"))), None);
    assert_eq!((w.state(one), w.state(two)), (JobState::Sched, JobState::Run));
    let lookup = job::Lookup { id: two, keys: vec!["R".into()] };
    let text = w.call(USER, &lookup).body::<job::LookedUp>().expect("its type").values.remove(0);
    let given = flurm_types::R::parse(&text).expect("an R");
    assert_eq!((given.nodes[0].cores.to_string(), given.nodes[0].host.as_str()), ("2-3".into(), "node0"));
    assert_eq!(given.expiration.secs_since(given.starttime), 60.0, "its time limit holds");
    w.call(USER, &job::SetUrgency { id: one, urgency: 20 });
    assert_eq!(w.news(), [(NewsKind::Prioritize, Some(one))]);
    assert_eq!(w.answer(one, AnswerKind::Deny, None), None);
    assert_eq!(w.state(one), JobState::Inactive);
    assert_eq!(w.scheduler(), "external, test");
}

#[test]
fn an_answer_that_comes_too_late_is_given_back() {
    let mut w = World::new();
    let (gone, here) = (w.submit(1), w.submit(1));
    w.news();
    w.cancel(gone);
    assert_eq!(w.answer(gone, AnswerKind::Alloc, Some(r("0"))), None);
    assert_eq!(w.news(), [(NewsKind::Cancel, Some(gone)), (NewsKind::Free, Some(gone))]);
    // The node is closed as it is given away: the job waits on.
    let drain = resource::Drain { targets: "0".into(), reason: String::new(), overwrite: false };
    w.call(USER, &drain);
    assert_eq!(w.answer(here, AnswerKind::Alloc, Some(r("0"))), None);
    assert_eq!(
        w.news(),
        [(NewsKind::Down, None), (NewsKind::Free, Some(here)), (NewsKind::Alloc, Some(here))]
    );
    w.call(USER, &resource::Undrain { targets: "0".into(), reason: String::new() });
    assert_eq!(w.news(), [(NewsKind::Up, None)]);
    assert_eq!(w.answer(here, AnswerKind::Alloc, Some(r("0"))), None);
    assert_eq!((w.state(here), w.scheduler().as_str()), (JobState::Run, "external, test"));
}

#[test]
fn what_cannot_be_ends_its_service_and_the_built_in_scheduler_goes_on() {
    let nobody = JobId(77);
    for (what, id, r) in [
        ("no such job", Some(nobody), Some(r("0"))),
        ("no R", None, None),
        ("no such core", None, Some(r("9"))),
        ("a core of another job", None, Some(r("3"))),
        ("nothing", None, Some(json!({"version": 1, "execution": {"R_lite": []}}))),
        ("no R at all", None, Some(json!(1))),
        (
            "a graph that nobody here knows",
            None,
            Some(json!({"scheduling": {"x": 1}, "execution": r("0")["execution"]})),
        ),
        (
            "over before it begins",
            None,
            Some(json!({"version": 1, "execution": {
            "R_lite": [{"rank": "0", "children": {"core": "0"}}], "starttime": 0, "expiration": 0.5}})),
        ),
    ] {
        let mut w = World::new();
        let other = w.submit(1);
        assert_eq!(w.answer(other, AnswerKind::Alloc, Some(crate::r("3"))), None);
        let (one, two) = (w.submit(1), w.submit(1));
        assert!(w.answer(id.unwrap_or(one), AnswerKind::Alloc, r).is_some(), "{what}");
        assert_eq!((w.state(one), w.state(two)), (JobState::Run, JobState::Run), "{what}");
        assert!(w.scheduler().starts_with("built-in, fcfs (the external scheduler test is gone"), "{what}");
        assert_eq!(w.answer(one, AnswerKind::Cancel, None), Some(ErrorCode::Denied), "{what}");
        w.serve();
        assert_eq!(w.scheduler(), "external, test", "{what}: another try");
    }
}

#[test]
fn a_stopped_queue_takes_its_jobs_back_and_the_end_of_the_stream_starts_them() {
    let mut w = World::new();
    let id = w.submit(1);
    w.news();
    w.call(USER, &job::Queue::from(job::QueueAct::Stop { reason: String::new() }));
    assert_eq!(w.news(), [(NewsKind::Cancel, Some(id))]);
    w.call(USER, &job::Queue::from(job::QueueAct::Start));
    assert_eq!(w.news(), [(NewsKind::Alloc, Some(id))]);
    assert_eq!(w.state(id), JobState::Sched);
    w.rim.step(Input::PeerGone(Peer::Client(SCHEDULER)));
    w.rim.commit();
    assert_eq!(w.state(id), JobState::Run);
    assert!(w.scheduler().contains("its connection has ended"));
}

#[test]
fn it_gives_a_job_what_it_asks_for() {
    let mut w = World::new();
    let two = w.submit(2);
    assert_eq!(w.answer(two, AnswerKind::Alloc, Some(r("0"))), Some(ErrorCode::Invalid));
    let why = "R of job";
    assert!(w.scheduler().contains(why) && w.scheduler().contains("no room for 1 times 2 cores"));
    assert_eq!(w.state(two), JobState::Run, "the built-in scheduler has given both");
}

#[test]
fn what_it_says_about_a_job_is_short() {
    for (kind, len, fits) in [
        (AnswerKind::Deny, 1000, true),
        (AnswerKind::Deny, 2000, false),
        (AnswerKind::Annotate, 10_000, true),
        (AnswerKind::Annotate, 20_000, false),
    ] {
        let mut w = World::new();
        let id = w.submit(1);
        let text = "x".repeat(len);
        let (note, annotations) = match kind {
            AnswerKind::Deny => (text, None),
            _ => (String::new(), Some(json!({"sched": {"reason_pending": text}}))),
        };
        let answer = Answer { id, kind, r: None, note, annotations };
        assert_eq!(w.call(SCHEDULER, &answer).error.is_none(), fits, "{kind:?} {len}");
        assert_eq!(w.scheduler() == "external, test", fits, "{kind:?} {len}");
    }
}

#[test]
fn one_that_is_silent_while_jobs_wait_is_timed_out() {
    let mut w = World::new();
    // Nothing waits, so nothing is to be said.
    w.later(3_600_000);
    assert_eq!(w.scheduler(), "external, test");
    let (one, two) = (w.submit(4), w.submit(1));
    w.later(29_000);
    // Any answer shows that it is alive, until there is something else to answer to.
    assert_eq!(w.answer(one, AnswerKind::Annotate, None), None);
    w.later(3_600_000);
    assert_eq!((w.state(one), w.scheduler().as_str()), (JobState::Sched, "external, test"));
    w.call(USER, &job::SetUrgency { id: one, urgency: 20 });
    w.later(29_000);
    assert_eq!(w.scheduler(), "external, test");
    w.later(1000);
    let gone = "built-in, fcfs (the external scheduler test is gone: jobs wait, and it has answered nothing for 30 s)";
    assert_eq!(w.scheduler(), gone);
    assert_eq!((w.state(one), w.state(two)), (JobState::Run, JobState::Sched));
    let told: Vec<Message> = w.rim.sent(SCHEDULER).into_iter().filter(|m| m.error.is_some()).collect();
    assert_eq!(told.iter().map(|m| m.tag).collect::<Vec<_>>(), [SERVE], "it is told");
}

#[test]
fn a_job_that_gets_more_time_frees_nothing() {
    let mut w = World::new();
    let (runs, waits) = (w.submit(4), w.submit(1));
    assert_eq!(w.answer(runs, AnswerKind::Alloc, Some(r("0-3"))), None);
    w.news();
    let updates = [("attributes.system.duration".to_owned(), json!("+10m"))];
    w.call(USER, &job::Update { id: runs, updates: updates.into(), dry_run: false });
    assert_eq!(w.news(), []);
    assert_eq!((w.state(waits), w.scheduler().as_str()), (JobState::Sched, "external, test"));
    // The books have the new end: whoever schedules next knows it.
    w.rim.step(Input::PeerGone(Peer::Client(SCHEDULER)));
    w.rim.commit();
    assert_eq!(w.state(waits), JobState::Sched);
}
