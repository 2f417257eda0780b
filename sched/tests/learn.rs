//! What the scheduler learns from runs, seen by where it puts jobs afterwards.

use flurm_jobspec::{Cosched, build::Builder};
use flurm_sched::{Config, ResourceChange, Sched, SchedInput, SchedOutput};
use flurm_types::{Idset, JobId, Now, R, RNode, Socket, Timestamp, Topology};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Two nodes with two sockets of ten cores.
fn inventory() -> R {
    let node = |rank| RNode { rank, host: format!("n{rank}"), cores: (0..20).collect(), gpus: Idset::new() };
    let mut r = R::from_nodes((0..2).map(node));
    let socket = |cores: std::ops::Range<u32>| Socket { cores: cores.collect(), ..Socket::default() };
    for rank in 0..2 {
        r.topology.insert(rank, Topology { sockets: [socket(0..10), socket(10..20)].into() });
    }
    r
}

struct World {
    sched: Sched,
    now_s: f64,
    runs: BTreeMap<u64, R>,
    learnt: Vec<Value>,
    last: u64,
}

impl World {
    fn new() -> World {
        let sched = Sched::with_config(Config::default());
        let mut world = World { sched, now_s: 1.0, runs: BTreeMap::new(), learnt: Vec::new(), last: 0 };
        world.step(SchedInput::Resource(ResourceChange::Define(inventory())));
        world.step(SchedInput::Resource(ResourceChange::Up(Idset::from_range(0..=1))));
        world
    }

    fn step(&mut self, input: SchedInput) {
        let now = Now { wall: Timestamp::from_secs_f64(self.now_s), mono_ms: (self.now_s * 1e3) as u64 };
        let mut out = Vec::new();
        self.sched.step(now, input, &mut out);
        for output in out {
            match output {
                SchedOutput::Alloc { id, r, .. } => {
                    self.runs.insert(id.0, r);
                }
                SchedOutput::Learnt { value } => self.learnt.push(value),
                SchedOutput::Deny { .. } | SchedOutput::Annotate { .. } | SchedOutput::Canceled { .. } => {}
            }
        }
    }

    /// Starts a job of ten tasks at once; returns its number.
    fn start(&mut self, name: &str, class: &str, limit_s: f64) -> u64 {
        self.last += 1;
        let cosched = Cosched { class: Some(class.to_owned()), group: None };
        let builder = Builder::new(vec!["x".into()]).name(name).ntasks(10).duration(limit_s);
        let jobspec = Arc::new(builder.cosched(&cosched).build().unwrap());
        let (id, t_submit) = (JobId(self.last), Timestamp(self.last as i64));
        self.step(SchedInput::Alloc { id, jobspec, priority: 16, t_submit });
        self.step(SchedInput::Cycle);
        assert!(self.runs.contains_key(&self.last), "there is room");
        self.last
    }

    fn stop(&mut self, id: u64) {
        let ranks = self.runs.remove(&id).unwrap().ranks();
        self.step(SchedInput::Free { id: JobId(id), ranks });
        self.step(SchedInput::Cycle);
    }

    fn alone(&mut self, name: &str, class: &str, secs: f64) {
        let job = self.start(name, class, 0.0);
        self.now_s += secs;
        self.stop(job);
    }

    /// Two jobs begin and end together.
    fn together(&mut self, one: (&str, &str), other: (&str, &str), secs: f64) {
        let (one, other) = (self.start(one.0, one.1, 0.0), self.start(other.0, other.1, 0.0));
        assert_eq!(self.runs[&one].ranks(), self.runs[&other].ranks());
        self.now_s += secs;
        self.stop(one);
        self.stop(other);
    }

    /// Are two jobs of this class put on the same node?
    fn are_put_together(&mut self, class: &str) -> bool {
        let (one, other) = (self.start("p", class, 0.0), self.start("q", class, 0.0));
        let together = self.runs[&one].ranks() == self.runs[&other].ranks();
        self.now_s += 1.0;
        self.stop(one);
        self.stop(other);
        together
    }

    /// The factors that were said last: class, beside, factor, runs.
    fn pairs(&self) -> Vec<(String, String, f64, u64)> {
        let pairs = self.learnt.last().map(|value| value["pairs"].as_array().unwrap().clone());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let pair = |p: Value| {
            let (factor, runs) = (p["factor"].as_f64().unwrap(), p["runs"].as_u64().unwrap());
            (text(&p["class"]), text(&p["beside"]), factor, runs)
        };
        pairs.unwrap_or_default().into_iter().map(pair).collect()
    }
}

const SOLVER: (&str, &str) = ("solver", "hot");
const OTHER: (&str, &str) = ("other", "hot");

#[test]
fn who_turns_out_to_hinder_each_other_is_put_together_no_more_even_after_a_restart() {
    let mut world = World::new();
    (0..3).for_each(|_| world.alone("solver", "hot", 100.0));
    for run in 0..3 {
        assert!(world.are_put_together("hot"), "after {run} runs it is too early to say");
        world.together(SOLVER, OTHER, 250.0);
    }
    assert_eq!(world.pairs(), [("hot".to_owned(), "hot".to_owned(), 2.5, 3)]);
    assert!(!world.are_put_together("hot"));
    assert!(world.are_put_together("cold"), "nothing was learnt of others");
    let kept = world.learnt.pop().unwrap();
    let mut again = World::new();
    assert!(again.are_put_together("hot"));
    // What is kept is text; what cannot be understood changes nothing.
    again.step(SchedInput::Learnt { value: serde_json::from_str(&kept.to_string()).unwrap() });
    again.step(SchedInput::Learnt { value: Value::Null });
    assert!(!again.are_put_together("hot"));
    // And it goes on from there.
    again.alone("solver", "hot", 101.0);
    assert_eq!(again.pairs()[0].3, 3);
}

#[test]
fn runs_that_cannot_be_compared_teach_nothing() {
    let mut world = World::new();
    // Too different among themselves.
    for secs in [100.0, 200.0, 300.0] {
        world.alone("solver", "hot", secs);
        world.together(SOLVER, OTHER, 500.0);
    }
    // Other names.
    (0..3).for_each(|n| world.alone(&format!("run{n}"), "hot", 100.0));
    // Beside somebody for half of the time only.
    for _ in 0..3 {
        world.alone("half", "hot", 100.0);
        let job = world.start("half", "hot", 0.0);
        world.now_s += 50.0;
        let other = world.start("other", "hot", 0.0);
        world.now_s += 150.0;
        world.stop(job);
        world.stop(other);
    }
    // Ended by its limit.
    for _ in 0..3 {
        world.alone("cut", "hot", 100.0);
        let (job, other) = (world.start("cut", "hot", 300.0), world.start("other", "hot", 0.0));
        world.now_s += 300.0;
        world.stop(job);
        world.stop(other);
    }
    assert_eq!(world.pairs(), []);
    assert!(world.are_put_together("hot"));
}

#[test]
fn what_was_learnt_is_said_at_once_where_it_is_short_and_once_a_minute_where_it_is_long() {
    let mut world = World::new();
    (0..24).for_each(|_| world.alone("short", "hot", 15.0));
    assert_eq!(world.learnt.len(), 24, "a leader that is lost takes nothing with it");
    // Only the last runs are kept.
    let runs = &world.learnt.last().unwrap()["runs"][0][1]["alone"];
    assert_eq!(runs.as_array().unwrap().len(), 8);
    (0..250).for_each(|n| world.alone(&format!("kind{n}"), "hot", 15.0));
    let before = world.learnt.len();
    (0..24).for_each(|_| world.alone("short", "hot", 15.0));
    let minutes = 24 * 15 / 60;
    let said = world.learnt.len() - before;
    assert!((minutes - 1..=minutes + 1).contains(&said), "{said}");
    // What was left is due by itself.
    for _ in 0..2 {
        world.alone("short", "hot", 15.0);
    }
    assert!(world.sched.wakes_at().is_some_and(|at| at <= Timestamp::from_secs_f64(world.now_s + 63.0)));
}
