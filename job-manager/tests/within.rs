//! Jobs within a job in front of the manager's door: what they may take, when they end, what is forgotten with them.

use flurm_job_manager::{Asked, Event, Flags, Manager, Raised, Request, Submit};
use flurm_jobspec::Jobspec;
use flurm_types::{Entry, Idset, JobId, JobResult, JobState, Now, R, RNode, Timestamp, Urgency};
use flurm_wire::fact::JobSpecText;
use serde_json::{Value, json};
use std::sync::Arc;

/// The job that others are within.
const OUTER: JobId = JobId(1);
/// Seconds, where the clock begins.
const BEGIN: i64 = 1000;

#[derive(Default)]
struct World {
    manager: Manager,
    secs: i64,
    /// The log, applied as a leader would that comes back.
    replayed: Manager,
}

fn r(ranks: &[u32], cores: &str, expiration: i64) -> R {
    let node = |rank: &u32| RNode {
        rank: *rank,
        host: format!("node{rank}"),
        cores: cores.parse().unwrap(),
        gpus: Idset::new(),
    };
    R { expiration: Timestamp(expiration * 1_000_000), ..R::from_nodes(ranks.iter().map(node)) }
}

fn asked(system: &Value) -> Asked {
    let document = json!({
        "version": 1,
        "resources": [{"type": "slot", "count": 1, "label": "task", "with": [{"type": "core", "count": 1}]}],
        "tasks": [{"command": ["true"], "slot": "task", "count": {"per_slot": 1}}],
        "attributes": {"system": system},
    });
    let jobspec = Arc::new(Jobspec::parse(&document.to_string()).unwrap());
    let text = jobspec.to_json_without_environment().into();
    Asked::new(JobSpecText { jobspec: text, environment: Arc::default() }, jobspec)
}

impl World {
    /// A job runs on cores 0-3 of ranks 0 and 1.
    fn new(expiration: i64) -> World {
        let mut w = World::default();
        let expiration = if expiration == 0 { 0 } else { BEGIN + expiration };
        w.submit(OUTER.0, &json!({}));
        w.tell(&Request::Alloc { id: OUTER, r: Arc::new(r(&[0, 1], "0-3", expiration)), annotations: None });
        w.tell(&Request::Start { id: OUTER });
        w
    }

    /// The events in short, or why not.
    fn tell(&mut self, request: &Request) -> String {
        let now = Now { mono_ms: 0, wall: Timestamp((BEGIN + self.secs) * 1_000_000) };
        let events = match self.manager.decide(now, request) {
            Ok(events) => events,
            Err(refusal) => return refusal.to_string(),
        };
        let mut said = Vec::new();
        for (id, event) in &events {
            self.manager.apply(*id, now.wall, event);
            let (asked, r) = match event {
                Event::Submit(submit) => (Some(&submit.asked), None),
                Event::Alloc(alloc) => (None, Some(&alloc.r)),
                _ => (None, None),
            };
            let entry = Entry::parse_line(&event.entry(now.wall).to_line()).unwrap();
            self.replayed.apply(*id, now.wall, &Event::read(&entry, asked, r));
            said.push(match event {
                Event::Exception(raised) => format!("{}:{}", id.0, raised.exception.kind),
                other => format!("{}:{}", id.0, other.name()),
            });
        }
        assert_eq!(self.manager, self.replayed);
        said.join(" ")
    }

    fn submit_as(&mut self, id: u64, system: &Value, userid: u32, urgency: Urgency) -> String {
        let submit =
            Submit { userid, urgency, flags: Flags::default(), batch: None, number: 0, asked: asked(system) };
        self.tell(&Request::Submit { id: JobId(id), submit: Box::new(submit) })
    }

    fn submit(&mut self, id: u64, system: &Value) -> String {
        self.submit_as(id, system, 7, Urgency::DEFAULT)
    }

    fn within(&mut self, id: u64, of: &R, more: &Value) -> String {
        let mut system = json!({"within": OUTER, "alloc-bypass": {"R": of}});
        system.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.submit(id, &system)
    }

    fn finish(&mut self, id: u64) -> String {
        self.tell(&Request::Finish { id: JobId(id), status: 0 })
    }

    fn release(&mut self, id: u64) -> String {
        let ranks = self.manager.job(JobId(id)).unwrap().held().clone();
        self.tell(&Request::Release { id: JobId(id), ranks })
    }

    fn result(&self, id: u64) -> Option<JobResult> {
        self.manager.job(JobId(id)).unwrap().result()
    }
}

#[test]
fn it_runs_at_once_on_what_the_other_holds_and_the_books_do_not_change() {
    let mut w = World::new(0);
    let (stats, part) = (*w.manager.stats(), r(&[1], "2-3", 0));
    assert_eq!(w.within(2, &part, &json!({})), "2:submit 2:validate 2:depend 2:priority 2:alloc");
    // Another one may have the same cores.
    assert!(w.within(3, &part, &json!({})).ends_with("3:alloc"));
    let record = w.manager.job(JobId(2)).unwrap().record();
    assert_eq!((record.within, record.nodelist.as_str(), record.ncores), (Some(OUTER), "node1", 2));
    assert_eq!(record.annotations.unwrap()["alloc"]["bypass"], true);
    assert_eq!(w.finish(2), "2:finish");
    assert_eq!(w.release(2), "2:release 2:free 2:clean");
    assert_eq!((w.result(2), *w.manager.stats()), (Some(JobResult::Completed), stats));
    assert_eq!(w.manager.over().len(), 0);
    // What is left is the other job's still.
    w.submit(9, &json!({}));
    let taken = Request::Alloc { id: JobId(9), r: Arc::new(part), annotations: None };
    assert!(w.tell(&taken).contains("that job ƒ2 holds"), "{}", w.tell(&taken));
}

#[test]
fn what_may_not_be_is_refused() {
    let mut w = World::new(0);
    let part = r(&[0], "0", 0);
    w.within(2, &part, &json!({}));
    w.submit(8, &json!({}));
    let system = |within: u64| json!({"within": within, "alloc-bypass": {"R": part}});
    for (said, expected) in [
        (w.within(3, &r(&[2], "0", 0), &json!({})), "R has what job ƒ2 does not have"),
        (w.within(3, &r(&[0, 1], "3-4", 0), &json!({})), "R has what job ƒ2 does not have"),
        (w.submit(3, &system(2)), "is within job ƒ2: none can be within it"),
        (w.submit(3, &system(8)), "job ƒ9 is not running"),
        (w.submit(3, &system(77)), "there is no job"),
        (w.submit_as(3, &system(1), 8, Urgency::DEFAULT), "another user's"),
        (w.submit_as(3, &system(1), 7, Urgency::HOLD), "cannot be held"),
        (w.within(2, &part, &json!({})), "there is a job ƒ3 already"),
    ] {
        assert!(said.contains(expected), "{said}: {expected}");
    }
    w.finish(1);
    assert!(w.within(3, &part, &json!({})).contains("job ƒ2 is not running"));
}

#[test]
fn the_end_of_the_other_ends_it_first() {
    for kind in ["", "cancel", "timeout", "node-failure"] {
        let mut w = World::new(0);
        w.within(2, &r(&[0, 1], "0", 0), &json!({}));
        w.within(3, &r(&[1], "0", 0), &json!({}));
        // One that ends already needs no second reason.
        w.finish(3);
        if kind.is_empty() {
            assert_eq!(w.finish(1), "1:finish 2:cancel");
        } else {
            let raised = Raised::fatal(kind, "");
            assert_eq!(w.tell(&Request::Raise { id: OUTER, raised }), format!("1:{kind} 2:{kind}"));
            w.finish(1);
        }
        assert!(w.release(1).contains("cannot let go"));
        w.release(2);
        let first = Request::Release { id: OUTER, ranks: 0.into() };
        assert_eq!(w.tell(&first), "1:release", "rank 0 is free of them");
        assert!(w.release(1).contains("cannot let go"));
        w.release(3);
        assert_eq!(w.release(1), "1:release 1:free 1:clean");
        let expected = match kind {
            "" | "cancel" => JobResult::Canceled,
            "timeout" => JobResult::Timeout,
            _ => JobResult::Failed,
        };
        assert_eq!((w.result(2), w.result(3)), (Some(expected), Some(JobResult::Completed)));
    }
}

#[test]
fn its_time_is_the_others_or_shorter() {
    let mut w = World::new(100);
    let part = r(&[0], "0", 0);
    for (id, duration) in [(2, 0), (3, 50), (4, 5000)] {
        w.within(id, &part, &json!({ "duration": duration }));
    }
    let ends = |w: &World| {
        [2, 3, 4]
            .map(|id| w.manager.job(JobId(id)).unwrap().r().unwrap().expiration.as_secs_f64() - BEGIN as f64)
    };
    assert_eq!(ends(&w), [100.0, 50.0, 100.0]);
    let later = Some(Timestamp((BEGIN + 200) * 1_000_000));
    let update = Request::Update { id: OUTER, keys: Value::Null, expiration: later };
    assert_eq!(w.tell(&update), "1:resource-update 2:resource-update 4:resource-update");
    assert_eq!(ends(&w), [200.0, 50.0, 200.0]);
    w.secs = 60;
    assert_eq!(w.tell(&Request::Tick), "3:timeout");
    w.secs = 300;
    assert!(w.within(5, &part, &json!({})).contains("the time of job ƒ2 is over"));
    assert_eq!(w.tell(&Request::Tick), "1:timeout 2:timeout 4:timeout", "each once");
}

#[test]
fn a_new_life_of_the_instance_ends_both_in_order_and_both_are_forgotten_together() {
    let mut w = World::new(0);
    w.within(2, &r(&[0], "0", 0), &json!({}));
    w.within(3, &r(&[0], "0", 0), &json!({}));
    w.finish(3);
    w.release(3);
    let said = w.tell(&Request::Restart { id: OUTER });
    assert_eq!(said, "2:node-failure 2:release 2:free 2:clean 1:node-failure 1:release 1:free 1:clean");
    assert!(w.manager.jobs().all(|job| job.state() == JobState::Inactive));
    assert_eq!(w.tell(&Request::Purge { id: OUTER }), "2:purge 3:purge 1:purge");
    assert_eq!(w.manager.known(), 0);
    assert_eq!(*w.manager.stats(), Default::default());
}
