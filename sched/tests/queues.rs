//! Several queues, limits, ages and ends of time, and what those are told who wait.

use flurm_jobspec::{Jobspec, build::Builder};
use flurm_sched::{
    Config, Policy, QueueConfig, ResourceChange, Running, Sched, SchedInput, SchedOutput, Why,
};
use flurm_types::{Idset, JobId, Now, R, RNode, Timestamp};
use std::sync::Arc;

const ALL: [Policy; 5] =
    [Policy::Fcfs, Policy::Sjf, Policy::Easy, Policy::Conservative, Policy::Hybrid { depth: 2 }];

struct World {
    sched: Sched,
    now: Now,
    out: Vec<SchedOutput>,
}

fn at(secs: f64) -> Now {
    Now { mono_ms: (secs * 1000.0) as u64, wall: Timestamp::from_secs_f64(secs) }
}

fn set(text: &str) -> Idset {
    text.parse().unwrap()
}

/// A job of so many cores for so many seconds in a queue.
fn job(cores: u32, duration: f64, queue: &str) -> Builder {
    let builder = Builder::new(vec!["true".to_owned()]).ntasks(cores).duration(duration);
    if queue.is_empty() { builder } else { builder.queue(queue.to_owned()) }
}

impl World {
    /// Nodes of four cores, all up, at second 1000.
    fn new(config: Config, nodes: u32) -> World {
        let mut world = World { sched: Sched::with_config(config), now: at(1000.0), out: Vec::new() };
        let node = |rank| RNode { rank, host: format!("n{rank}"), cores: set("0-3"), gpus: Idset::new() };
        world.change(ResourceChange::Define(R::from_nodes((0..nodes).map(node))));
        world.change(ResourceChange::Up(Idset::from_range(0..=nodes - 1)));
        world
    }

    fn step(&mut self, input: SchedInput) {
        self.sched.step(self.now, input, &mut self.out);
    }

    fn change(&mut self, change: ResourceChange) {
        self.step(SchedInput::Resource(change));
    }

    fn alloc(&mut self, id: u64, priority: i64, t_submit: f64, job: Builder) {
        let jobspec: Arc<Jobspec> = Arc::new(job.build().unwrap());
        let t_submit = at(t_submit).wall;
        self.step(SchedInput::Alloc { id: JobId(id), jobspec, priority, t_submit });
    }

    fn free(&mut self, id: u64) {
        self.step(SchedInput::Free { id: JobId(id), ranks: set("0-99") });
    }

    /// Who starts in the cycles of this time, and who is turned down with what text.
    fn cycle(&mut self) -> (Vec<u64>, Vec<String>) {
        loop {
            self.step(SchedInput::Cycle);
            if !self.sched.cut_short() {
                break;
            }
        }
        let (mut started, mut denied) = (Vec::new(), Vec::new());
        for said in self.out.drain(..) {
            match said {
                SchedOutput::Alloc { id, .. } => started.push(id.0),
                SchedOutput::Deny { id, note } => denied.push(format!("{}: {note}", id.0)),
                _ => {}
            }
        }
        (started, denied)
    }

    fn started(&mut self) -> Vec<u64> {
        self.cycle().0
    }

    fn why(&self, id: u64) -> Why {
        self.sched.why(JobId(id), self.now).expect("it waits")
    }
}

fn config(policy: Policy, queues: &[(&str, QueueConfig)]) -> Config {
    let queues = queues.iter().map(|(name, queue)| ((*name).to_owned(), queue.clone())).collect();
    Config { policy, queues, ..Config::default() }
}

#[test]
fn waiting_counts_as_priority_where_the_site_wants_that() {
    for policy in ALL {
        let with = |age_s_per_priority| Config { policy, age_s_per_priority, ..Config::default() };
        for (age, order) in [(None, [2, 1]), (Some(60), [1, 2])] {
            let mut world = World::new(with(age), 1);
            // Two steps of priority, and three minutes later.
            world.alloc(1, 16, 100.0, job(4, 60.0, ""));
            world.alloc(2, 18, 280.0, job(4, 60.0, ""));
            assert_eq!(world.started(), order[..1], "{policy}");
            world.now = at(1060.0);
            world.free(order[0]);
            assert_eq!(world.started(), order[1..], "{policy}");
        }
    }
}

#[test]
fn a_queue_adds_to_the_priority_of_its_jobs() {
    for policy in ALL {
        let first = QueueConfig { priority: 10, ..QueueConfig::default() };
        let mut world = World::new(config(policy, &[("express", first)]), 1);
        world.alloc(1, 20, 1.0, job(4, 60.0, ""));
        world.alloc(2, 16, 2.0, job(4, 60.0, "express"));
        assert_eq!(world.started(), [2], "{policy}");
        world.step(SchedInput::Prioritize { id: JobId(1), priority: 31 });
        world.alloc(3, 16, 3.0, job(4, 60.0, "express"));
        world.now = at(1060.0);
        world.free(2);
        assert_eq!(world.started(), [1], "{policy}: with a greater urgency it is ahead again");
    }
}

#[test]
fn the_gate_of_a_queue_holds_up_nobody_else() {
    for policy in ALL {
        let stopped = QueueConfig { stopped: true, ..QueueConfig::default() };
        let mut world = World::new(config(policy, &[("debug", stopped)]), 2);
        world.alloc(1, 31, 1.0, job(8, 60.0, "debug"));
        world.alloc(2, 16, 2.0, job(4, 60.0, ""));
        assert_eq!(world.started(), [2], "{policy}");
        assert_eq!(world.why(1).reason, "queue debug is stopped");
        let gate = |open| SchedInput::Gate { queue: "debug".to_owned(), open };
        world.step(gate(true));
        assert!(world.started().is_empty());
        // While it waits, it is in the way of a long job where starts are kept; behind its gate, it is not.
        world.alloc(3, 16, 3.0, job(4, 600.0, ""));
        let keeps = !matches!(policy, Policy::Fcfs | Policy::Sjf);
        let mut started = world.started();
        assert_eq!(started.is_empty(), keeps, "{policy}");
        world.step(gate(false));
        started.extend(world.started());
        assert_eq!(started, [3], "{policy}");
        world.step(gate(true));
        world.free(2);
        world.free(3);
        assert_eq!(world.started(), [1], "{policy}");
    }
}

#[test]
fn a_queue_runs_so_many_jobs_and_cores_at_once() {
    for policy in ALL {
        let limited = |jobs_max, cores_max| QueueConfig {
            running: Running { jobs_max, cores_max },
            ..QueueConfig::default()
        };
        let queues = [("few", limited(Some(2), None)), ("small", limited(None, Some(5)))];
        let mut world = World::new(config(policy, &queues), 8);
        for id in 1..=4 {
            world.alloc(id, 16, id as f64, job(1, 60.0 * id as f64, "few"));
            world.alloc(id + 10, 16, id as f64, job(2, 60.0 * id as f64, "small"));
        }
        let mut started = world.started();
        started.sort_unstable();
        assert_eq!(started, [1, 2, 11, 12], "{policy}");
        if policy == Policy::Easy {
            assert_eq!(world.why(3).reason, "queue few has at most 2 running jobs at once");
            assert_eq!(world.why(13).reason, "queue small has at most 5 cores at once");
        }
        world.free(2);
        assert_eq!(world.started(), [3], "{policy}");
        world.free(12);
        assert_eq!(world.started(), [13], "{policy}");
        // After a restart they count as well.
        let mut again = World::new(config(policy, &queues), 8);
        let r = Arc::new(R::from_nodes([RNode {
            rank: 0,
            host: "n0".to_owned(),
            cores: set("0-3"),
            gpus: Idset::new(),
        }]));
        let (queue, t_submit) = (Some("small".to_owned()), Timestamp(1));
        again.step(SchedInput::Hello { id: JobId(1), priority: 16, t_submit, queue, r });
        again.alloc(2, 16, 1.0, job(2, 60.0, "small"));
        assert!(again.started().is_empty());
        again.free(1);
        assert_eq!(again.started(), [2]);
    }
}

#[test]
fn who_could_not_be_over_in_time_does_not_start() {
    for policy in ALL {
        let mut world = World::new(config(policy, &[]), 2);
        world.change(ResourceChange::Expiration(at(1000.0 + 5400.0).wall));
        let long = job(1, 7200.0, "").build().unwrap();
        let said = "the job needs 2 h, but this instance ends in 1 h 30 min";
        assert_eq!(world.sched.satisfiable(&long, world.now), Err(said.to_owned()));
        world.alloc(1, 16, 1.0, job(8, 3600.0, ""));
        world.alloc(2, 16, 2.0, job(8, 3600.0, ""));
        world.alloc(3, 16, 3.0, job(8, 0.0, ""));
        assert_eq!(world.cycle(), (vec![1], vec![]), "{policy}");
        // The second one's chance is over half an hour from now, though nothing happens then.
        let wakes = world.sched.wakes_at().expect("somebody may be too late");
        assert_eq!(wakes, Timestamp(at(1000.0 + 1800.0).wall.0 + 1), "{policy}");
        world.now = Now { mono_ms: 2_800_001, wall: wakes };
        let denied = vec!["2: the job needs 1 h, but this instance ends in 1 h".to_owned()];
        assert_eq!(world.cycle(), (vec![], denied), "{policy}");
        world.now = at(4600.0);
        world.free(1);
        assert_eq!(world.started(), [3], "{policy}: it takes what time there is");
        assert_eq!(world.sched.graph().held_by(JobId(3)).map(|(r, _)| r.expiration), Some(at(6400.0).wall));
    }
}

#[test]
fn nodes_may_end_before_the_instance() {
    for policy in ALL {
        let mut world = World::new(config(policy, &[]), 2);
        world.change(ResourceChange::NodeExpiration(set("0"), at(1600.0).wall));
        world.alloc(1, 16, 1.0, job(4, 900.0, ""));
        world.alloc(2, 16, 2.0, job(4, 900.0, ""));
        world.alloc(3, 16, 3.0, job(2, 600.0, ""));
        // On the node that ends sooner there is time for the third one only.
        let started = world.started();
        assert_eq!(started.len(), if policy == Policy::Fcfs { 1 } else { 2 }, "{policy}: {started:?}");
        assert_eq!(
            world.sched.satisfiable(&job(8, 900.0, "").build().unwrap(), world.now),
            Err("the job needs 15 min, and too few of the nodes that it could have last that long".to_owned())
        );
        // With more time it is as any other node.
        world.change(ResourceChange::NodeExpiration(set("0"), Timestamp::ZERO));
        world.started();
        assert_eq!(world.sched.pending(), 1, "{policy}");
    }
}

#[test]
fn promises_that_the_end_of_time_breaks_are_taken_back() {
    for policy in [Policy::Easy, Policy::Conservative, Policy::Hybrid { depth: 2 }] {
        let mut world = World::new(config(policy, &[]), 1);
        world.alloc(1, 16, 1.0, job(4, 600.0, ""));
        world.alloc(2, 16, 2.0, job(4, 600.0, ""));
        world.alloc(3, 16, 3.0, job(4, 300.0, ""));
        assert_eq!(world.started(), [1], "{policy}");
        assert_eq!(world.sched.promised(JobId(2)), Some(at(1600.0).wall), "{policy}");
        // There is time for the third one, but not for the second.
        world.change(ResourceChange::Expiration(at(2000.0).wall));
        world.started();
        assert_eq!(world.why(3).earliest, Some(at(1600.0).wall), "{policy}");
        world.now = at(1600.0);
        world.free(1);
        let denied = vec!["2: the job needs 10 min, but this instance ends in 6 min 40 s".to_owned()];
        assert_eq!(world.cycle(), (vec![3], denied), "{policy}");
    }
}

#[test]
fn everybody_who_waits_is_told_why_and_when() {
    for policy in ALL {
        let mut world = World::new(config(policy, &[]), 1);
        for id in 1..=6 {
            world.alloc(id, 16, id as f64, job(if id == 3 { 2 } else { 3 }, 60.0, ""));
        }
        assert_eq!(world.started(), [1], "{policy}");
        let starts: Vec<f64> = (2..=6)
            .map(|id| world.why(id).earliest.expect("all ends are known").secs_since(world.now.wall))
            .collect();
        assert_eq!(starts, [60.0, 120.0, 180.0, 240.0, 300.0], "{policy}");
        assert_eq!(world.why(2).reason, "waits for 3 cores (free: 1)", "{policy}");
        world.alloc(7, 16, 7.0, job(1, 600.0, ""));
        let Why { reason, blocked_by, .. } = world.why(7);
        match policy {
            Policy::Fcfs | Policy::Sjf => {
                assert_eq!(reason, format!("blocked by {} and 4 more ahead in the queue", JobId(2)));
                assert_eq!((blocked_by, world.why(2).blocked_by), (Some(JobId(2)), None));
            }
            // Beside jobs of three cores one is always free.
            Policy::Easy | Policy::Conservative | Policy::Hybrid { .. } => {
                assert_eq!(world.started(), [7], "{policy}");
                world.alloc(8, 16, 8.0, job(3, 600.0, ""));
                assert_eq!(world.why(8).blocked_by, None);
            }
        }
    }
    // Room that somebody else is to have.
    for policy in [Policy::Easy, Policy::Conservative, Policy::Hybrid { depth: 1 }] {
        let mut world = World::new(config(policy, &[]), 1);
        world.alloc(1, 16, 1.0, job(3, 60.0, ""));
        world.alloc(2, 16, 2.0, job(4, 60.0, ""));
        world.alloc(3, 16, 3.0, job(1, 120.0, ""));
        assert_eq!(world.started(), [1]);
        let said = format!("running now would delay {}, which is to start in 1 min", JobId(2));
        let why = world.why(3);
        assert_eq!((why.reason, why.blocked_by), (said, Some(JobId(2))), "{policy}");
        assert_eq!(why.earliest, Some(at(1120.0).wall), "{policy}");
    }
}

#[test]
fn a_long_queue_is_answered_for_without_a_start() {
    let mut world = World::new(config(Policy::Easy, &[]), 1);
    (1..=5000).for_each(|id| world.alloc(id, 16, id as f64, job(3, 60.0, "")));
    assert_eq!(world.started(), [1]);
    assert_eq!(world.why(100).earliest, Some(at(1000.0 + 60.0 * 99.0).wall));
    let why = world.why(5000);
    assert_eq!(
        (why.reason.as_str(), why.earliest),
        ("waits for 3 cores (free: 1), behind 4998 others", None)
    );
}

fn at_once(cores: u32) -> QueueConfig {
    let running = Running { cores_max: Some(cores), ..Running::default() };
    QueueConfig { running, ..QueueConfig::default() }
}

#[test]
fn who_alone_is_more_than_his_queue_may_have_at_once_is_turned_down() {
    for policy in ALL {
        let mut world = World::new(config(policy, &[("q", at_once(2))]), 1);
        world.alloc(1, 16, 1.0, job(3, 60.0, "q"));
        world.alloc(2, 16, 2.0, job(1, 60.0, "q"));
        let denied = vec!["1: queue q has at most 2 cores at once, the job asks for 3".to_owned()];
        assert_eq!(world.cycle(), (vec![2], denied.clone()), "{policy}");
        let refused = world.sched.satisfiable(&job(3, 60.0, "q").build().unwrap(), world.now).unwrap_err();
        assert_eq!(format!("1: {refused}"), denied[0]);
    }
}

#[test]
fn nobody_waits_for_one_who_has_been_canceled() {
    for policy in ALL {
        // For one who waits for somebody without an end, for one who is more than his queue may have now.
        for (queues, first, second) in [
            (vec![], job(4, 0.0, ""), job(8, 60.0, "")),
            (vec![("q", at_once(2))], job(1, 60.0, "q"), job(2, 60.0, "q")),
        ] {
            let third = if queues.is_empty() { job(4, 60.0, "") } else { job(1, 60.0, "q") };
            for leaves in
                [SchedInput::Cancel { id: JobId(2) }, SchedInput::Prioritize { id: JobId(2), priority: 1 }]
            {
                let mut world = World::new(config(policy, &queues), 2);
                world.alloc(1, 16, 1.0, first.clone());
                assert_eq!(world.started(), [1]);
                world.alloc(2, 16, 2.0, second.clone());
                world.started();
                world.alloc(3, 16, 3.0, third.clone());
                world.started();
                world.step(leaves);
                let started = world.started();
                // Where the shortest goes first or others may pass, he may have begun before.
                let runs = started == [3] || world.sched.why(JobId(3), world.now).is_none();
                assert!(runs, "{policy}: {started:?}");
            }
        }
    }
}

#[test]
fn one_who_left_the_queue_and_comes_back_to_his_place_is_looked_at() {
    for policy in ALL {
        let mut world = World::new(config(policy, &[]), 1);
        world.alloc(1, 16, 1.0, job(4, 60.0, ""));
        assert_eq!(world.started(), [1]);
        world.alloc(2, 16, 2.0, job(4, 60.0, ""));
        assert!(world.started().is_empty());
        // Held, and released.
        world.step(SchedInput::Cancel { id: JobId(2) });
        world.out.clear();
        world.started();
        world.alloc(2, 16, 2.0, job(4, 60.0, ""));
        world.started();
        world.now = at(1060.0);
        world.free(1);
        assert_eq!(world.started(), [2], "{policy}");
    }
}
