//! Co-scheduling groups in front of the door: all of a group start at once on the same nodes, or none does.

use flurm_jobspec::{Cosched, Jobspec, build::Builder};
use flurm_sched::{Config, Policy, ResourceChange, Sched, SchedInput, SchedOutput};
use flurm_types::{Idset, JobId, Now, R, RNode, Socket, Timestamp, Topology};
use std::collections::BTreeMap;
use std::sync::Arc;

const POLICIES: [Policy; 5] =
    [Policy::Fcfs, Policy::Sjf, Policy::Easy, Policy::Conservative, Policy::Hybrid { depth: 2 }];

/// Nodes with two sockets of ten cores.
fn inventory(nodes: u32) -> R {
    let node = |rank| RNode { rank, host: format!("n{rank}"), cores: (0..20).collect(), gpus: Idset::new() };
    let mut r = R::from_nodes((0..nodes).map(node));
    let socket = |cores: std::ops::Range<u32>| Socket { cores: cores.collect(), ..Socket::default() };
    for rank in 0..nodes {
        r.topology.insert(rank, Topology { sockets: [socket(0..10), socket(10..20)].into() });
    }
    r
}

/// A scheduler, what it has given away, and the other things that it has said.
struct World {
    sched: Sched,
    now_s: i64,
    runs: BTreeMap<u64, R>,
    said: Vec<String>,
}

impl World {
    fn new(policy: Policy, nodes: u32) -> World {
        let sched = Sched::with_config(Config { policy, ..Config::default() });
        let mut world = World { sched, now_s: 1, runs: BTreeMap::new(), said: Vec::new() };
        world.step(SchedInput::Resource(ResourceChange::Define(inventory(nodes))));
        world.step(SchedInput::Resource(ResourceChange::Up(Idset::from_range(0..=nodes - 1))));
        world
    }

    fn now(&self) -> Now {
        Now { wall: Timestamp(self.now_s * 1_000_000), mono_ms: self.now_s as u64 * 1000 }
    }

    fn step(&mut self, input: SchedInput) {
        let mut out = Vec::new();
        self.sched.step(self.now(), input, &mut out);
        for output in out {
            match output {
                SchedOutput::Alloc { id, r, .. } => {
                    assert!(self.runs.values().all(|other| r.is_disjoint(other)));
                    self.runs.insert(id.0, r);
                }
                SchedOutput::Deny { id, note } => self.said.push(format!("{} never: {note}", id.0)),
                SchedOutput::Annotate { .. } | SchedOutput::Canceled { .. } | SchedOutput::Learnt { .. } => {}
            }
        }
    }

    /// `group` is a name and a size, or nothing.
    fn job(&mut self, id: u64, ntasks: u32, secs: f64, group: &str) {
        let builder = Builder::new(vec!["x".to_owned()]).ntasks(ntasks).duration(secs);
        let willing = |group: &str| Cosched { class: None, group: Some(group.parse().unwrap()) };
        let builder = if group.is_empty() { builder } else { builder.cosched(&willing(group)) };
        self.submit(id, builder.build().unwrap(), 16);
    }

    fn submit(&mut self, id: u64, jobspec: Jobspec, priority: i64) {
        let t_submit = Timestamp(id as i64);
        let jobspec = Arc::new(jobspec);
        self.step(SchedInput::Alloc { id: JobId(id), jobspec, priority, t_submit });
    }

    fn free(&mut self, id: u64) {
        let ranks = self.runs.remove(&id).expect("it runs").ranks();
        self.step(SchedInput::Free { id: JobId(id), ranks });
    }

    /// Who runs after another cycle, or several if one is not enough.
    fn cycle(&mut self) -> Vec<u64> {
        self.step(SchedInput::Cycle);
        while self.sched.cut_short() {
            self.step(SchedInput::Cycle);
        }
        self.runs.keys().copied().collect()
    }

    fn why(&self, id: u64) -> String {
        self.sched.why(JobId(id), self.now()).expect("it waits").reason
    }

    /// Cores of a job by rank.
    fn cores(&self, id: u64) -> Vec<String> {
        self.runs[&id].nodes.iter().map(|node| format!("{}:{}", node.rank, node.cores)).collect()
    }
}

#[test]
fn a_group_of_three_starts_as_one_when_its_last_job_is_there() {
    for policy in POLICIES {
        let mut world = World::new(policy, 3);
        world.job(1, 12, 60.0, "g:3");
        world.job(2, 12, 60.0, "g:3");
        assert_eq!(world.cycle(), [0; 0], "{policy}");
        assert_eq!(world.why(1), "waits for 1 more job of co-scheduling group g (2 of 3 are here)");
        // Who comes later is not held up.
        world.job(3, 20, 60.0, "");
        assert_eq!(world.cycle(), [3], "{policy}");
        world.job(4, 4, 60.0, "g:3");
        assert_eq!(world.cycle(), [1, 2, 3, 4], "{policy}");
        assert_eq!(world.cores(1), ["1:0-2,10-12", "2:0-2,10-12"]);
        assert_eq!(world.cores(2), ["1:3-5,13-15", "2:3-5,13-15"]);
        assert_eq!(world.cores(4), ["1:6,16", "2:6,16"]);
        assert_eq!(world.sched.pending(), 0);
        // Nobody else comes to them, willing or not, as long as one of them is there.
        world.job(5, 1, 60.0, "");
        world.submit(6, Builder::new(vec!["x".into()]).cosched(&Cosched::default()).build().unwrap(), 16);
        world.free(1);
        world.free(4);
        assert_eq!(world.cycle(), [2, 3]);
        world.free(2);
        assert_eq!(world.cycle(), [3, 5, 6]);
    }
}

#[test]
fn a_group_that_must_wait_starts_as_one_and_is_not_delayed() {
    for policy in POLICIES {
        let mut world = World::new(policy, 2);
        world.job(1, 20, 100.0, "");
        world.cycle();
        world.job(2, 20, 50.0, "g");
        world.job(3, 20, 40.0, "g");
        // Fits beside, but would be there longer than the first one.
        world.job(4, 2, 200.0, "");
        // Is gone before.
        world.job(5, 2, 20.0, "");
        let running = world.cycle();
        match policy {
            Policy::Fcfs => assert_eq!(running, [1]),
            Policy::Sjf => assert_eq!(running, [1, 5]),
            Policy::Easy | Policy::Conservative | Policy::Hybrid { .. } => {
                assert_eq!(running, [1, 5], "{policy}");
                let start = world.sched.why(JobId(3), world.now()).and_then(|why| why.earliest);
                assert_eq!(start, Some(Timestamp(101_000_000)), "{policy}: all members are told");
            }
        }
        if policy == Policy::Fcfs {
            let reason = "the 2 jobs of co-scheduling group g wait for 2 idle nodes (now: 1)";
            assert_eq!((world.why(2).as_str(), world.why(3).as_str()), (reason, reason));
        }
        if running.contains(&5) {
            world.now_s = 21;
            world.free(5);
            world.cycle();
        }
        world.now_s = 101;
        world.free(1);
        let running = world.cycle();
        assert!(running.contains(&2) && running.contains(&3) && !running.contains(&4), "{policy}");
        assert_eq!(world.cores(2), ["0:0-4,10-14", "1:0-4,10-14"]);
        assert_eq!(world.cores(3), ["0:5-9,15-19", "1:5-9,15-19"]);
        // Each has its own time.
        assert_eq!(world.runs[&2].expiration, Timestamp(151_000_000));
        assert_eq!(world.runs[&3].expiration, Timestamp(141_000_000));
    }
}

#[test]
fn a_member_that_is_canceled_leaves_the_others_waiting_for_another() {
    for policy in POLICIES {
        let mut world = World::new(policy, 2);
        world.job(1, 40, 10.0, "");
        world.cycle();
        (2..=4).for_each(|id| world.job(id, 6, 10.0, "g:3"));
        world.job(5, 20, 10.0, "");
        world.cycle();
        world.step(SchedInput::Cancel { id: JobId(2) });
        assert_eq!(world.sched.pending(), 3);
        assert_eq!(world.why(4), "waits for 1 more job of co-scheduling group g (2 of 3 are here)");
        world.free(1);
        assert_eq!(world.cycle(), [5], "{policy}: nobody waits for a group that is not complete");
        world.job(6, 6, 10.0, "g:3");
        assert_eq!(world.cycle(), [3, 4, 5, 6], "{policy}");
        // The next ones of the same name are another group.
        (7..=9).for_each(|id| world.job(id, 60, 10.0, "g:3"));
        (10..=12).for_each(|id| world.job(id, 6, 10.0, "g:3"));
        [3, 4, 5, 6].into_iter().for_each(|id| world.free(id));
        let denied =
            "the 3 jobs of co-scheduling group g do not fit on the same nodes, each with at most 1/3";
        let running = world.cycle();
        // Each alone asks for too much already.
        assert!(world.said.len() == 3 && !world.said[0].contains(denied), "{:?}", world.said);
        assert_eq!(running, [10, 11, 12], "{policy}");
    }
}

#[test]
fn jobs_that_cannot_be_a_group_are_denied_with_the_reason() {
    let mut world = World::new(Policy::Easy, 2);
    let on = |nodes: u32, group: &str| {
        let cosched = Cosched { class: None, group: Some(group.parse().unwrap()) };
        Builder::new(vec!["x".into()]).ntasks(nodes).nnodes(nodes).cosched(&cosched).build().unwrap()
    };
    world.submit(1, on(2, "g"), 16);
    world.submit(2, on(1, "g"), 16);
    world.job(3, 1, 0.0, "g:3");
    world.cycle();
    assert_eq!(
        world.said,
        [
            "2 never: co-scheduling group g is on nodes of its own: 2 are asked for, this job asks for 1",
            "3 never: co-scheduling group g is of 2 jobs, this one says 3",
        ]
    );
    let refused = world.sched.satisfiable(&on(1, "g"), world.now());
    assert!(refused.is_err_and(|why| why.contains("2 are asked for")), "at submission already");
    world.job(4, 3, 0.0, "g");
    assert_eq!(world.cycle(), [1, 4]);
}

#[test]
fn who_begins_the_next_group_of_a_name_is_no_matter_of_the_one_before() {
    let on = |nodes: u32| {
        let cosched = Cosched { class: None, group: Some("g".parse().unwrap()) };
        Builder::new(vec!["x".into()]).ntasks(nodes).nnodes(nodes).cosched(&cosched).build().unwrap()
    };
    for policy in POLICIES {
        let mut world = World::new(policy, 2);
        world.submit(1, on(1), 16);
        world.submit(2, on(1), 16);
        world.submit(3, on(2), 16);
        assert_eq!(world.cycle(), [1, 2], "{policy}");
        assert_eq!(world.said, [""; 0], "{policy}");
        assert_eq!(world.why(3), "waits for 1 more job of co-scheduling group g (1 of 2 is here)");
    }
}

#[test]
fn the_most_urgent_member_has_the_place_of_all() {
    for policy in POLICIES {
        let mut world = World::new(policy, 1);
        world.job(1, 20, 10.0, "");
        world.cycle();
        world.job(2, 20, 10.0, "");
        world.job(3, 2, 10.0, "g");
        world.job(4, 2, 10.0, "g");
        world.cycle();
        world.step(SchedInput::Prioritize { id: JobId(4), priority: 31 });
        world.now_s = 11;
        world.free(1);
        assert_eq!(world.cycle(), [3, 4], "{policy}");
    }
}

#[test]
fn after_a_restart_members_that_run_keep_their_nodes_to_themselves() {
    let mut before = World::new(Policy::Fcfs, 2);
    before.job(1, 2, 0.0, "g");
    before.job(2, 2, 0.0, "g");
    before.cycle();
    let mut world = World::new(Policy::Fcfs, 2);
    for (id, r) in before.runs {
        // What is stored is text.
        let r = Arc::new(R::parse(&r.to_json()).unwrap());
        let (priority, t_submit, queue) = (16, Timestamp(1), None);
        world.step(SchedInput::Hello { id: JobId(id), priority, t_submit, queue, r });
    }
    world.submit(3, Builder::new(vec!["x".into()]).cosched(&Cosched::default()).build().unwrap(), 16);
    world.job(4, 1, 0.0, "");
    assert_eq!(world.cycle(), [3]);
    assert_eq!(world.cores(3), ["1:0"]);
    assert_eq!(world.why(4), "waits for 1 core (free: 0), not counting nodes that co-scheduled jobs share");
}

#[test]
fn a_group_starts_where_all_of_it_can_end_in_time() {
    for policy in POLICIES {
        let mut world = World::new(policy, 3);
        let end = Timestamp(1000 * 1_000_000);
        world.step(SchedInput::Resource(ResourceChange::NodeExpiration("0-1".parse().unwrap(), end)));
        // One of them takes longer than the first two nodes are there.
        world.job(1, 4, 600.0, "g:2");
        world.job(2, 4, 1800.0, "g:2");
        assert_eq!(world.cycle(), [1, 2], "{policy}");
        assert_eq!(
            (world.cores(1), world.cores(2)),
            (vec!["2:0-1,10-11".into()], vec!["2:2-3,12-13".into()])
        );
        world.job(3, 4, 1800.0, "h:2");
        world.job(4, 4, 0.0, "h:2");
        world.job(5, 4, 600.0, "");
        world.job(6, 11, 1800.0, "i:2");
        world.job(7, 11, 1800.0, "i:2");
        if policy == Policy::Fcfs || policy == Policy::Sjf {
            assert_eq!(world.cycle(), if policy == Policy::Fcfs { vec![1, 2] } else { vec![1, 2, 5] });
            continue;
        }
        assert_eq!(world.cycle(), [1, 2, 5], "{policy}: there is time for it");
        let never =
            "6 never: the job needs 30 min, and too few of the nodes that it could have last that long";
        assert!(world.said.contains(&never.to_owned()), "{policy}: {:?}", world.said);
        let why = "the 2 jobs of co-scheduling group h wait for 1 idle node (now: 0)";
        assert_eq!(world.why(3), why, "{policy}: those that end sooner do not count");
    }
}
