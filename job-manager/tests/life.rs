//! A job's life in front of the manager's door: requests in, events out, duties left.

use flurm_job_manager::{
    Asked, Batch, Duty, Event, Flags, Gate, Manager, Raised, Refusal, Request, Submit, Turn,
};
use flurm_jobspec::Jobspec;
use flurm_types::{Entry, Idset, JobId, JobResult, JobState, Now, R, RNode, Timestamp, Urgency};
use flurm_wire::fact::JobSpecText;
use flurm_wire::job::SubmitFlags;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the log keeps of one job and step.
#[derive(Clone)]
struct Fact {
    id: JobId,
    entries: Vec<Entry>,
    asked: Option<Asked>,
    r: Option<Arc<R>>,
}

#[derive(Default)]
struct World {
    manager: Manager,
    now: i64,
    log: Vec<Fact>,
}

/// `array:FIRST:MOST` among the dependencies makes the job one of an array; 0 is itself.
fn asked(name: &str, dependencies: &[String]) -> Asked {
    let array = dependencies.iter().find_map(|d| d.strip_prefix("array:")?.split_once(':'));
    let array = array.map(|(first, most)| {
        let number = |text: &str| text.parse::<u64>().expect("a number");
        match number(first) {
            0 => serde_json::json!({"index": 0, "throttle": number(most)}),
            first => serde_json::json!({"id": first, "index": 1, "throttle": number(most)}),
        }
    });
    let dependencies: Vec<serde_json::Value> = dependencies
        .iter()
        .filter(|d| !d.starts_with("array:"))
        .map(|d| {
            let (scheme, value) = d.split_once(':').unwrap_or((d, ""));
            serde_json::json!({"scheme": scheme, "value": value})
        })
        .collect();
    let mut document = serde_json::json!({
        "version": 1,
        "resources": [{"type": "slot", "count": 1, "label": "task", "with": [{"type": "core", "count": 1}]}],
        "tasks": [{"command": ["true"], "slot": "task", "count": {"per_slot": 1}}],
        "attributes": {"system": {"duration": 0, "job": {"name": name}, "dependencies": dependencies}},
    });
    if let Some(array) = array {
        document["attributes"]["system"]["array"] = array;
    }
    let text = document.to_string();
    let jobspec = Jobspec::parse(&text).expect("valid");
    Asked::new(JobSpecText { jobspec: text.into(), environment: Arc::default() }, Arc::new(jobspec))
}

/// One core on each of some ranks.
fn r(ranks: &[u32], core: u32, expiration: i64) -> Arc<R> {
    let node = |rank: &u32| RNode {
        rank: *rank,
        host: format!("node{rank}"),
        cores: core.into(),
        gpus: Idset::new(),
    };
    let r = R::from_nodes(ranks.iter().map(node));
    Arc::new(R { expiration: Timestamp(expiration * 1_000_000), ..r })
}

fn gate(turn: Turn) -> Request {
    Request::Queue(Gate { queue: None, turn })
}

impl World {
    fn now(&self) -> Now {
        Now { mono_ms: 0, wall: Timestamp((1000 + self.now) * 1_000_000) }
    }

    fn ask(&mut self, request: &Request) -> Result<Vec<(JobId, Event)>, Refusal> {
        let events = self.manager.decide(self.now(), request)?;
        assert_eq!(events, self.manager.decide(self.now(), request).expect("deciding changes nothing"));
        let mut facts: Vec<Fact> = Vec::new();
        for (id, event) in &events {
            self.manager.apply(*id, self.now().wall, event);
            let at = facts.iter().position(|f| f.id == *id).unwrap_or_else(|| {
                facts.push(Fact { id: *id, entries: Vec::new(), asked: None, r: None });
                facts.len() - 1
            });
            facts[at].entries.push(event.entry(self.now().wall));
            match event {
                Event::Submit(s) => facts[at].asked = Some(s.asked.clone()),
                Event::Alloc(a) => facts[at].r = Some(a.r.clone()),
                _ => {}
            }
        }
        self.log.extend(facts);
        Ok(events)
    }

    /// The events in short: `1:exception 1:clean`.
    fn tell(&mut self, request: Request) -> String {
        match self.ask(&request) {
            Ok(events) => events
                .iter()
                .map(|(id, event)| match event {
                    Event::Exception(raised) => format!("{}:exception({})", id.0, raised.exception.kind),
                    other => format!("{}:{}", id.0, other.name()),
                })
                .collect::<Vec<_>>()
                .join(" "),
            Err(refusal) => refusal.to_string(),
        }
    }

    fn submit_as(&mut self, id: u64, name: &str, dependencies: &[String], urgency: Urgency) -> String {
        let batch = Some(Batch { id: format!("batch{}", id / 2).into(), index: (id % 2) as u32 });
        let flags = Flags::from(SubmitFlags { waitable: id.is_multiple_of(2), ..SubmitFlags::default() });
        let submit = Submit { userid: 7, urgency, flags, batch, number: 0, asked: asked(name, dependencies) };
        self.tell(Request::Submit { id: JobId(id), submit: Box::new(submit) })
    }

    fn submit(&mut self, id: u64, dependencies: &[&str]) -> String {
        let dependencies: Vec<String> = dependencies.iter().map(|d| (*d).to_owned()).collect();
        self.submit_as(id, "true", &dependencies, Urgency::DEFAULT)
    }

    fn run(&mut self, id: u64, core: u32) -> String {
        let alloc = Request::Alloc { id: JobId(id), r: r(&[0, 1], core, 0), annotations: None };
        let alloc = self.tell(alloc);
        format!("{alloc} {}", self.tell(Request::Start { id: JobId(id) }))
    }

    fn end(&mut self, id: u64, status: i32) -> String {
        let finish = self.tell(Request::Finish { id: JobId(id), status });
        format!("{finish} {}", self.release(id))
    }

    fn release(&mut self, id: u64) -> String {
        let ranks = self.job(id).held().clone();
        self.tell(Request::Release { id: JobId(id), ranks })
    }

    fn cancel(&mut self, id: u64) -> String {
        self.tell(Request::Raise { id: JobId(id), raised: Raised::fatal("cancel", "") })
    }

    fn job(&self, id: u64) -> &flurm_job_manager::Job {
        self.manager.job(JobId(id)).expect("known")
    }

    fn result(&self, id: u64) -> Option<JobResult> {
        self.job(id).result()
    }
}

/// Applies a log to nothing.
fn replay(log: &[Fact]) -> Manager {
    let mut manager = Manager::default();
    for fact in log {
        for entry in &fact.entries {
            // Through the text, as the log has it.
            let entry = Entry::parse_line(&entry.to_line()).expect("our own line");
            let event = Event::read(&entry, fact.asked.as_ref(), fact.r.as_ref());
            manager.apply(fact.id, entry.timestamp, &event);
        }
    }
    manager
}

#[test]
fn a_plain_job_goes_through_all_states_and_owes_what_each_asks() {
    let mut w = World::default();
    assert_eq!(w.submit(1, &[]), "1:submit 1:validate 1:depend 1:priority");
    assert_eq!(w.manager.owed(JobId(1)), [Duty::Alloc]);
    let ranks: Idset = "0-1".parse().expect("idset");
    assert_eq!(w.tell(Request::Alloc { id: JobId(1), r: r(&[0, 1], 0, 0), annotations: None }), "1:alloc");
    assert_eq!(w.manager.owed(JobId(1)), [Duty::Start { ranks: ranks.clone() }]);
    assert_eq!(w.tell(Request::Start { id: JobId(1) }), "1:start");
    assert_eq!(w.manager.owed(JobId(1)), []);
    assert_eq!(w.tell(Request::Finish { id: JobId(1), status: 0 }), "1:finish");
    assert_eq!(w.manager.owed(JobId(1)), [Duty::End { ranks }]);
    assert_eq!(w.tell(Request::Release { id: JobId(1), ranks: 0.into() }), "1:release");
    assert_eq!(w.release(1), "1:release 1:free 1:clean");
    assert_eq!(w.manager.owed(JobId(1)), []);
    assert_eq!((w.result(1), w.manager.is_idle()), (Some(JobResult::Completed), true));
    assert_eq!(w.cancel(1), "job ƒ2 is inactive");
    let record = w.job(1).record();
    assert_eq!((record.nodelist.as_str(), record.ncores, record.nnodes), ("node[0-1]", 2, 2));
}

#[test]
fn cancel_before_alloc_cleans_at_once_and_after_it_when_all_is_released() {
    let mut w = World::default();
    w.submit(1, &[]);
    assert_eq!(w.cancel(1), "1:exception(cancel) 1:clean");
    w.submit(2, &[]);
    w.run(2, 0);
    assert_eq!(w.cancel(2), "2:exception(cancel)");
    assert_eq!(w.end(2, 15), "2:finish 2:release 2:free 2:clean");
    assert_eq!([w.result(1), w.result(2)], [Some(JobResult::Canceled); 2]);
}

#[test]
fn cores_that_are_held_are_not_given_again() {
    let mut w = World::default();
    w.submit(1, &[]);
    w.submit(2, &[]);
    w.run(1, 0);
    let again = Request::Alloc { id: JobId(2), r: r(&[1], 0, 0), annotations: None };
    assert_eq!(w.tell(again.clone()), "rank 1 has resources for job ƒ3 that job ƒ2 holds");
    w.end(1, 256);
    assert_eq!(w.result(1), Some(JobResult::Failed));
    assert_eq!(w.tell(again.clone()), "2:alloc");
    assert_eq!(w.tell(again), "job ƒ3 does not wait for this");
}

#[test]
fn dependencies_are_met_or_end_those_who_wait_in_vain() {
    // How job 1 ends, and what becomes of those that wait for it.
    let cases = [
        (0, "after afterany afterok"),
        (256, "after afterany afternotok"),
        (-1, "after afterany afternotok afterexcept"),
    ];
    for (status, met) in cases {
        let mut w = World::default();
        w.submit(1, &[]);
        let schemes = ["after", "afterany", "afterok", "afternotok", "afterexcept"];
        for (id, scheme) in (2..).zip(schemes) {
            assert_eq!(
                w.submit(id, &[&format!("{scheme}:ƒ2")]),
                format!("{id}:submit {id}:validate {id}:dependency-add")
            );
        }
        // Another one waits for the one that may never run.
        w.submit(9, &["afterany:ƒ5"]);
        assert_eq!(w.run(1, 0), "1:alloc 1:start 2:dependency-remove 2:depend 2:priority");
        if status < 0 {
            w.cancel(1);
        }
        w.end(1, status.max(0));
        for (id, scheme) in (2..).zip(schemes) {
            let expected =
                if met.split(' ').any(|s| s == scheme) { JobState::Sched } else { JobState::Inactive };
            assert_eq!(w.job(id).state(), expected, "{scheme} after {status}");
        }
        let ninth = if status == 0 { JobState::Depend } else { JobState::Sched };
        assert_eq!(w.job(9).state(), ninth);
        // The same when the job is over already.
        let expected = if met.contains("afterok") {
            "20:submit 20:validate 20:dependency-add 20:dependency-remove 20:depend 20:priority"
        } else {
            "20:submit 20:validate 20:dependency-add 20:exception(dependency) 20:clean"
        };
        assert_eq!(w.submit(20, &["afterok:ƒ2"]), expected);
        assert_eq!(w.submit(21, &["afterok:ƒ99"]), "afterok: there is no job ƒ99");
    }
}

#[test]
fn singletons_of_a_name_run_one_after_the_other() {
    let mut w = World::default();
    assert!(w.submit(1, &["singleton"]).ends_with("1:dependency-remove 1:depend 1:priority"));
    w.submit(2, &["singleton"]);
    w.submit(3, &["singleton"]);
    assert_eq!(w.cancel(2), "2:exception(cancel) 2:clean");
    assert!(w.cancel(1).ends_with("1:clean 3:dependency-remove 3:depend 3:priority"));
}

#[test]
fn of_an_array_only_so_many_have_a_place_at_a_time() {
    let mut w = World::default();
    assert_eq!(w.submit(1, &["array:0:2"]), "1:submit 1:validate 1:depend 1:priority");
    assert!(w.submit(2, &["array:1:2"]).ends_with("2:depend 2:priority"));
    for id in 3..=6 {
        assert!(w.submit(id, &["array:1:2"]).ends_with(&format!("{id}:dependency-add")));
    }
    assert_eq!(w.job(3).dependencies(), [format!("array={}%2", JobId(1))]);
    // One that waits and goes leaves no place behind; one that has a place does.
    assert_eq!(w.cancel(3), "3:exception(cancel) 3:clean");
    assert!(w.cancel(1).ends_with("1:clean 4:dependency-remove 4:depend 4:priority"));
    w.run(2, 0);
    assert!(w.end(2, 0).ends_with("2:clean 5:dependency-remove 5:depend 5:priority"));
    // A place that comes free is for who waits, not for who comes.
    assert!(w.submit(7, &["array:1:2"]).ends_with("7:dependency-add"));
    assert!(w.cancel(4).contains("6:depend"));
    assert_eq!(w.submit(8, &["array:99:2"]), format!("array: there is no job {}", JobId(99)));
    assert_eq!(replay(&w.log), w.manager);
    // The last one takes the array with it: it begins anew.
    for id in 5..=7 {
        w.cancel(id);
    }
    assert!(w.submit(9, &["array:1:1"]).ends_with("9:depend 9:priority"));
    // It keeps its place while it waits for another.
    assert!(w.submit(10, &["array:0:1", "afterok:9"]).ends_with("10:dependency-add"));
    assert!(w.submit(11, &["array:10:1"]).ends_with("11:dependency-add"));
    let said = w.cancel(9);
    assert!(
        said.contains("10:exception(dependency) 10:clean") && said.ends_with("11:depend 11:priority"),
        "{said}"
    );
}

#[test]
fn who_waits_for_the_first_of_an_array_alone_does_not_wait_for_the_others() {
    let mut w = World::default();
    for id in 1..=2 {
        w.submit(id, &[&format!("array:{}:9", id.min(2) - 1)]);
    }
    w.submit(10, &["afterok:1"]);
    w.submit(11, &["afterok-one:1"]);
    w.submit(12, &["afternotok-one:1"]);
    w.run(1, 0);
    w.end(1, 0);
    w.manager = replay(&w.log);
    let states = [10, 11, 12].map(|id| w.job(id).state());
    assert_eq!(states, [JobState::Depend, JobState::Sched, JobState::Inactive]);
    // The same when it is over already.
    w.submit(13, &["afterok-one:1"]);
    assert_eq!(w.job(13).state(), JobState::Sched);
}

#[test]
fn who_waits_for_an_array_waits_for_all_of_it() {
    // How the last one ends, whether another is cancelled before it starts, and what is met then.
    let cases = [(0, false, "after afterany afterok"), (256, false, "after afterany afternotok")];
    for (status, cancelled, met) in cases.into_iter().chain([(0, true, "afterany afternotok afterexcept")]) {
        let mut w = World::default();
        for id in 1..=3 {
            w.submit(id, &[&format!("array:{}:9", id.min(2) - 1)]);
        }
        let schemes = ["after", "afterany", "afterok", "afternotok", "afterexcept"];
        for (id, scheme) in (10..).zip(schemes) {
            assert!(w.submit(id, &[&format!("{scheme}:1")]).ends_with("dependency-add"));
        }
        w.submit(20, &["afterok:2"]);
        // For one of the same array it is the job itself.
        assert!(w.submit(4, &["array:1:9", "after:1"]).ends_with("4:dependency-add"));
        assert_eq!(w.run(1, 0), "1:alloc 1:start 4:dependency-remove 4:depend 4:priority");
        w.end(1, 0);
        if cancelled {
            w.cancel(4);
        } else {
            w.run(4, 0);
            w.end(4, 0);
        }
        w.run(2, 0);
        assert!(w.end(2, 0).ends_with("2:clean 20:dependency-remove 20:depend 20:priority"));
        w.manager = replay(&w.log);
        w.run(3, 0);
        w.end(3, status);
        for (id, scheme) in (10..).zip(schemes) {
            let is_met = met.split(' ').any(|s| s == scheme);
            let expected = if is_met { JobState::Sched } else { JobState::Inactive };
            assert_eq!(w.job(id).state(), expected, "{scheme} after {status}");
            // The same when it is over already.
            w.submit(id + 20, &[&format!("{scheme}:1")]);
            assert_eq!(w.job(id + 20).state(), expected, "{scheme} after {status}");
        }
    }
}

#[test]
fn time_starts_jobs_and_ends_them() {
    let mut w = World::default();
    w.submit(1, &["begin-time:1010"]);
    assert_eq!(w.manager.next_tick(), Some(Timestamp(1_010_000_000)));
    assert_eq!(w.tell(Request::Tick), "");
    w.now = 10;
    assert_eq!(w.tell(Request::Tick), "1:dependency-remove 1:depend 1:priority");
    assert_eq!(w.manager.next_tick(), None);
    w.tell(Request::Alloc { id: JobId(1), r: r(&[0], 0, 1020), annotations: None });
    assert_eq!(w.manager.next_tick(), Some(Timestamp(1_020_000_000)));
    w.now = 20;
    assert_eq!(w.tell(Request::Tick), "1:exception(timeout)");
    assert_eq!((w.tell(Request::Tick), w.manager.next_tick()), (String::new(), None));
    w.end(1, 15);
    assert_eq!(w.result(1), Some(JobResult::Timeout));
}

#[test]
fn urgency_holds_and_expedites() {
    let mut w = World::default();
    w.submit_as(1, "held", &[], Urgency::HOLD);
    assert_eq!((w.job(1).state(), w.manager.owed(JobId(1))), (JobState::Sched, vec![]));
    let to = |urgency| Request::Urgency { id: JobId(1), urgency, userid: 7 };
    assert_eq!(w.tell(to(Urgency::EXPEDITE)), "1:urgency 1:priority");
    assert_eq!((w.job(1).priority(), w.manager.owed(JobId(1))), (4_294_967_295, vec![Duty::Alloc]));
    w.run(1, 0);
    assert_eq!(w.tell(to(Urgency::HOLD)), "job ƒ2 has its resources already");
}

#[test]
fn gates_are_for_one_queue_or_for_all() {
    let mut manager = Manager::default();
    let mut log = |name: &str, context: serde_json::Value| {
        let entry = Entry::new(Timestamp(1), name).with_context(context);
        let event = Event::read(&entry, None, None);
        assert_eq!(event.entry(entry.timestamp), entry, "nothing is lost");
        manager.apply(flurm_job_manager::QUEUE, entry.timestamp, &event);
        let of = |queue: &str| {
            let closed = manager.gates().of(queue);
            (closed.disabled.unwrap_or_default(), closed.stopped.unwrap_or_default())
        };
        (of("a"), of("b"))
    };
    let none = || (String::new(), String::new());
    let disabled = |why: &str| (why.to_owned(), String::new());
    let json = |text: &str| serde_json::from_str(text).unwrap();
    let one = log("queue-disable", json(r#"{"reason":"x","queue":"a"}"#));
    assert_eq!(one, (disabled("x"), none()));
    // As written before queues had names.
    let all = log("queue-disable", json(r#"{"reason":"y"}"#));
    assert_eq!(all, (disabled("y"), disabled("y")));
    assert_eq!(log("queue-stop", json(r#"{"reason":"z","queue":"b"}"#)).1, ("y".into(), "z".into()));
    assert_eq!(log("queue-enable", json(r#"{"queue":"a"}"#)).0, disabled("y"));
}

#[test]
fn gates_and_restarts_are_in_the_log() {
    let mut w = World::default();
    w.submit(1, &[]);
    w.run(1, 0);
    w.submit(2, &[]);
    w.submit(3, &["afterok:ƒ2"]);
    w.tell(gate(Turn::Disable { reason: String::new() }));
    assert_eq!(w.submit(4, &[]), "job submission is disabled");
    w.tell(gate(Turn::Disable { reason: "maintenance".into() }));
    assert_eq!(w.submit(4, &[]), "job submission is disabled: maintenance");
    assert_eq!(w.manager.submitted("batch0", 1), Some(JobId(1)));
    w.manager = replay(&w.log);
    assert_eq!(w.submit(4, &[]), "job submission is disabled: maintenance");
    assert_eq!(w.manager.submitted("batch0", 1), Some(JobId(1)));
    assert_eq!(
        w.tell(Request::Restart { id: JobId(1) }),
        "1:exception(node-failure) 1:release 1:free 1:clean 3:exception(dependency) 3:clean"
    );
    assert_eq!(w.tell(Request::Restart { id: JobId(2) }), "2:flux-restart 2:priority");
    assert_eq!(w.manager.owed(JobId(2)), [Duty::Alloc]);
}

#[derive(Clone, Debug)]
enum Step {
    Submit { dependency: Option<(usize, u64)>, urgency: u8 },
    Raise(u64, u8),
    Urgency(u64, u8),
    Alloc(u64, u32, bool),
    Start(u64),
    Finish(u64, i32),
    Release(u64, u32),
    Memo(u64),
    Update(u64, u8),
    Restart(u64),
    Wait(i64),
    Gate(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = 1..12_u64;
    let step = prop_oneof![
        4 => (proptest::option::of((0..8_usize, id.clone())), 0..32_u8)
            .prop_map(|(dependency, urgency)| Step::Submit { dependency, urgency }),
        1 => (id.clone(), 0..2_u8).prop_map(|(id, severity)| Step::Raise(id, severity)),
        1 => (id.clone(), 0..32_u8).prop_map(|(id, urgency)| Step::Urgency(id, urgency)),
        4 => (id.clone(), 0..3_u32, any::<bool>()).prop_map(|(id, core, limit)| Step::Alloc(id, core, limit)),
        2 => id.clone().prop_map(Step::Start),
        3 => (id.clone(), 0..2).prop_map(|(id, status)| Step::Finish(id, status)),
        3 => (id.clone(), 0..3_u32).prop_map(|(id, rank)| Step::Release(id, rank)),
        1 => id.clone().prop_map(Step::Memo),
        2 => (id.clone(), 0..4_u8).prop_map(|(id, what)| Step::Update(id, what)),
        1 => id.prop_map(Step::Restart),
        1 => (1..8_i64).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Gate),
    ];
    proptest::collection::vec(step, 1..60)
}

fn take(w: &mut World, step: Step, next: &mut u64) {
    let schemes =
        ["after", "afterany", "afterok", "afternotok", "afterexcept", "singleton", "begin-time", "array"];
    let request = match step {
        Step::Submit { dependency, urgency } => {
            *next += 1;
            let dependency = dependency.map(|(scheme, id)| match schemes[scheme] {
                "begin-time" => format!("begin-time:{}", 1000 + 3 * id),
                "array" => format!("array:{}:{}", id % 3, 1 + id % 2),
                scheme => format!("{scheme}:{id}"),
            });
            let urgency = Urgency::new(urgency).expect("below 32");
            w.submit_as(*next, ["a", "b"][urgency.get() as usize % 2], dependency.as_slice(), urgency);
            return;
        }
        Step::Raise(id, severity) => {
            let mut raised = Raised::fatal("cancel", "why not");
            raised.exception.severity = severity;
            Request::Raise { id: JobId(id), raised }
        }
        Step::Urgency(id, urgency) => {
            Request::Urgency { id: JobId(id), urgency: Urgency::new(urgency).expect("below 32"), userid: 7 }
        }
        Step::Alloc(id, core, limit) => Request::Alloc {
            id: JobId(id),
            r: r(&[0, 1], core, if limit { 1000 + w.now + 5 } else { 0 }),
            annotations: Some(serde_json::json!({"sched": {"resource_summary": core}})),
        },
        Step::Start(id) => Request::Start { id: JobId(id) },
        Step::Finish(id, status) => Request::Finish { id: JobId(id), status },
        Step::Release(id, 2) => {
            let ranks = w.manager.job(JobId(id)).map(|j| j.held().clone()).unwrap_or_default();
            Request::Release { id: JobId(id), ranks }
        }
        Step::Release(id, rank) => Request::Release { id: JobId(id), ranks: rank.into() },
        Step::Memo(id) => Request::Memo { id: JobId(id), keys: serde_json::json!({"k": id}) },
        Step::Update(id, what) => {
            let (keys, expiration) = match what {
                0 => (serde_json::json!({"attributes.system.job.name": "b"}), None),
                1 => (serde_json::json!({"attributes.system.queue": "q"}), None),
                2 => (serde_json::json!({"attributes.system.duration": 60.0}), Some(1000 + w.now + 2)),
                _ => (serde_json::json!({"attributes.system.duration": 0.0}), Some(0)),
            };
            let expiration = expiration.map(|secs| Timestamp(secs * 1_000_000));
            Request::Update { id: JobId(id), keys, expiration }
        }
        Step::Restart(id) => Request::Restart { id: JobId(id) },
        Step::Wait(seconds) => {
            w.now += seconds;
            Request::Tick
        }
        Step::Gate(true) => gate(Turn::Enable),
        Step::Gate(false) => gate(Turn::Disable { reason: "closed".into() }),
    };
    w.tell(request);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_applied_to_nothing_gives_the_running_state(steps in steps()) {
        let mut w = World::default();
        let mut next = 0;
        for step in steps {
            take(&mut w, step, &mut next);
        }
        prop_assert_eq!(&replay(&w.log), &w.manager);
        // Nobody holds what another one has.
        let mut held: BTreeMap<(u32, u32), JobId> = BTreeMap::new();
        for job in w.manager.active() {
            for node in job.r().into_iter().flat_map(|r| &r.nodes).filter(|n| job.held().contains(n.rank)) {
                for core in node.cores.iter() {
                    prop_assert_eq!(held.insert((node.rank, core), job.id()), None);
                }
            }
        }
        // Every job gets to INACTIVE when it is told to.
        for id in 1..=next {
            w.cancel(id);
            if w.manager.job(JobId(id)).is_some_and(|job| !job.held().is_empty()) {
                w.release(id);
            }
        }
        prop_assert!(w.manager.is_idle());
        prop_assert_eq!(w.manager.next_tick(), None);
        prop_assert_eq!(&replay(&w.log), &w.manager);
        for job in w.manager.jobs() {
            prop_assert!(job.result().is_some());
            let entries: Vec<Entry> = w.log.iter().filter(|f| f.id == job.id()).flat_map(|f| f.entries.clone()).collect();
            prop_assert_eq!(job.entries(0).collect::<Vec<_>>(), entries);
        }
    }
}
