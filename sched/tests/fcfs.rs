//! First come, first served, in front of the door.

use flurm_jobspec::{Jobspec, build::Builder};
use flurm_sched::{Policy, ResourceChange, Sched, SchedInput, SchedOutput};
use flurm_types::{Idset, JobId, Now, R, Timestamp};
use proptest::prelude::*;
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

/// A scheduler, and what it has said in words.
struct World {
    sched: Sched,
    said: Vec<String>,
}

fn set(text: &str) -> Idset {
    text.parse().unwrap()
}

fn r(ranks: &str, cores: &str) -> R {
    let hosts = set(ranks).iter().map(|rank| format!("\"n{rank}\"")).collect::<Vec<_>>().join(",");
    R::parse(&format!(
        r#"{{"version":1,"execution":{{"R_lite":[{{"rank":"{ranks}","children":{{"core":"{cores}"}}}}],
            "nodelist":[{hosts}],"starttime":0,"expiration":0}}}}"#
    ))
    .unwrap()
}

fn cores(n: u32) -> Arc<Jobspec> {
    Arc::new(Builder::new(vec!["true".to_owned()]).ntasks(n).build().unwrap())
}

impl World {
    /// Two nodes with two cores each, up.
    fn new() -> World {
        let mut world = World { sched: Sched::new(Policy::Fcfs), said: Vec::new() };
        world.resource(ResourceChange::Define(r("0-1", "0-1")));
        world.resource(ResourceChange::Up(set("0-1")));
        world
    }

    fn step(&mut self, input: SchedInput) {
        let mut out = Vec::new();
        self.sched.step(Now::default(), input, &mut out);
        self.said.extend(out.into_iter().map(|output| match output {
            SchedOutput::Alloc { id, r, annotations } => {
                let parts: Vec<_> =
                    r.nodes.iter().map(|node| format!("{}:{}", node.rank, node.cores)).collect();
                let note = if annotations.is_null() { String::new() } else { format!(" {annotations}") };
                format!("{} gets {}{note}", id.0, parts.join(" "))
            }
            SchedOutput::Deny { id, note } => format!("{} never: {note}", id.0),
            SchedOutput::Annotate { id, annotations } => format!("{} {annotations}", id.0),
            SchedOutput::Canceled { id } => format!("{} canceled", id.0),
            SchedOutput::Learnt { value } => format!("learnt {value}"),
        }));
    }

    fn resource(&mut self, change: ResourceChange) {
        self.step(SchedInput::Resource(change));
    }

    fn job(&mut self, id: u64, ncores: u32, priority: i64, t_submit: i64) {
        let t_submit = Timestamp(t_submit);
        self.step(SchedInput::Alloc { id: JobId(id), jobspec: cores(ncores), priority, t_submit });
    }

    fn free(&mut self, id: u64, ranks: &str) {
        self.step(SchedInput::Free { id: JobId(id), ranks: set(ranks) });
    }

    /// What was said since the last time, up to the end of another cycle.
    fn cycle(&mut self) -> Vec<String> {
        self.step(SchedInput::Cycle);
        std::mem::take(&mut self.said)
    }

    fn why(&self, id: u64) -> String {
        self.sched.why(JobId(id), Now::default()).map(|why| why.reason).unwrap_or_default()
    }
}

#[test]
fn higher_priority_goes_first_then_earlier_submission_then_lower_id() {
    let mut world = World::new();
    world.job(4, 1, 16, 20);
    world.job(3, 1, 16, 20);
    world.job(2, 1, 16, 10);
    world.job(1, 1, 8, 0);
    world.job(5, 1, 31, 30);
    assert_eq!(world.cycle()[..4], ["5 gets 0:0", "2 gets 0:1", "3 gets 1:0", "4 gets 1:1"]);
}

#[test]
fn the_head_blocks_all_behind_it_until_it_fits() {
    let mut world = World::new();
    (1..=4).for_each(|id| world.job(id, if id == 2 { 3 } else { 2 }, 16, id as i64));
    assert_eq!(
        world.cycle(),
        ["1 gets 0:0-1", r#"2 {"sched":{"reason_pending":"waits for 3 cores (free: 2)"}}"#]
    );
    assert_eq!(world.why(2), "waits for 3 cores (free: 2)");
    assert_eq!(world.why(3), format!("blocked by {} ahead in the queue", JobId(2)));
    assert_eq!(world.why(4), format!("blocked by {} and 1 more ahead in the queue", JobId(2)));
    assert!(world.cycle().is_empty());
    world.free(1, "0");
    assert_eq!(world.why(2), "is the next to get resources");
    let said = world.cycle();
    assert_eq!(said[0], r#"2 gets 0:0-1 1:0 {"sched":{"reason_pending":null}}"#);
    assert_eq!(said.len(), 2, "the next head is told why it waits: {said:?}");
}

#[test]
fn a_new_head_is_tried_although_the_old_one_waits() {
    let mut world = World::new();
    world.job(1, 3, 16, 1);
    world.job(2, 2, 16, 2);
    world.job(3, 1, 8, 3);
    assert_eq!(world.cycle().len(), 2);
    world.step(SchedInput::Prioritize { id: JobId(3), priority: 31 });
    assert_eq!(world.cycle(), ["3 gets 1:1"]);
    world.step(SchedInput::Cancel { id: JobId(2) });
    world.step(SchedInput::Cancel { id: JobId(2) });
    assert_eq!(world.cycle(), ["2 canceled"]);
}

#[test]
fn what_never_fits_is_denied_and_holds_up_nobody() {
    let mut world = World::new();
    world.job(1, 5, 16, 1);
    world.job(2, 1, 16, 2);
    assert_eq!(world.cycle(), ["1 never: this instance has 4 cores, the job asks for 5", "2 gets 0:0"]);
    assert_eq!(
        world.sched.satisfiable(&cores(5), Now::default()),
        Err("this instance has 4 cores, the job asks for 5".to_owned())
    );
    assert_eq!(world.sched.satisfiable(&cores(4), Now::default()), Ok(()));
}

#[test]
fn after_a_restart_held_resources_are_held_until_they_are_freed() {
    let mut world = World { sched: Sched::new(Policy::Fcfs), said: Vec::new() };
    // The order in which things come back does not matter.
    let hello = |id, r| SchedInput::Hello {
        id: JobId(id),
        priority: 16,
        t_submit: Timestamp(1),
        queue: None,
        r: Arc::new(r),
    };
    world.step(hello(1, r("0-1", "0")));
    world.resource(ResourceChange::Up(set("0-1")));
    world.resource(ResourceChange::Define(r("0-1", "0-1")));
    world.job(2, 3, 16, 2);
    assert_eq!(world.cycle().len(), 1);
    world.free(1, "1");
    assert_eq!(world.cycle().len(), 1);
    world.job(3, 1, 16, 3);
    world.free(1, "0");
    assert_eq!(world.cycle(), ["3 gets 0:0"]);
}

#[test]
fn a_lost_rank_gets_no_jobs_and_its_resources_stay_with_their_job() {
    let mut world = World::new();
    world.job(1, 4, 16, 1);
    assert_eq!(world.cycle().len(), 1);
    world.resource(ResourceChange::Down(set("1")));
    world.free(1, "0");
    world.job(2, 3, 16, 2);
    assert_eq!(world.cycle().len(), 1);
    world.resource(ResourceChange::Up(set("1")));
    assert_eq!(world.why(2), "waits for 3 cores (free: 2)");
    assert_eq!(world.cycle().len(), 0);
    world.free(1, "1");
    world.resource(ResourceChange::Drain(set("0")));
    assert_eq!(world.cycle().len(), 0);
    world.resource(ResourceChange::Undrain(set("0")));
    assert_eq!(world.cycle().len(), 1);
}

#[test]
fn nothing_happens_while_stopped_or_before_resources_are_known() {
    let mut world = World { sched: Sched::new(Policy::Fcfs), said: Vec::new() };
    world.job(1, 64, 16, 1);
    assert!(world.cycle().is_empty());
    assert_eq!(world.why(1), "waits for the resources of this instance to become known");
    assert_eq!(world.sched.satisfiable(&cores(64), Now::default()), Ok(()));
    world.resource(ResourceChange::Define(r("0", "0-63")));
    world.resource(ResourceChange::Up(set("0")));
    world.step(SchedInput::Stop);
    assert!(world.cycle().is_empty());
    assert!(world.why(1).starts_with("scheduling is stopped: "));
    world.step(SchedInput::Start);
    assert_eq!(world.cycle(), ["1 gets 0:0-63"]);
    assert_eq!(world.sched.why(JobId(1), Now::default()), None);
}

#[test]
fn a_job_that_comes_again_wanting_less_is_tried_again() {
    let mut world = World::new();
    world.job(1, 3, 16, 1);
    world.job(2, 3, 16, 2);
    assert_eq!(world.cycle().len(), 2);
    world.step(SchedInput::Cancel { id: JobId(2) });
    world.job(2, 1, 16, 2);
    assert_eq!(world.cycle(), ["2 canceled", "2 gets 1:1"]);
}

#[test]
fn a_long_queue_is_served_in_turns() {
    let mut world = World { sched: Sched::new(Policy::Fcfs), said: Vec::new() };
    let inventory = r("0-16383", "0");
    world.resource(ResourceChange::Up(inventory.ranks()));
    world.resource(ResourceChange::Define(inventory));
    (0..16384).for_each(|id| world.job(id, 1, 16, 0));
    let mut started = world.cycle().len();
    assert!(world.sched.cut_short());
    while world.sched.cut_short() {
        started += world.cycle().len();
    }
    assert_eq!(started, 16384);
}

#[derive(Debug, Clone)]
enum Step {
    Alloc(u32, i64),
    Cancel(usize),
    Prioritize(usize, i64),
    Free(usize),
    Cycle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..6_u32, 0..3_i64).prop_map(|(cores, priority)| Step::Alloc(cores, priority)),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => (any::<usize>(), 0..3_i64).prop_map(|(n, priority)| Step::Prioritize(n, priority)),
        2 => any::<usize>().prop_map(Step::Free),
        3 => Just(Step::Cycle),
    ]
}

proptest! {
    #[test]
    fn jobs_run_in_order_as_far_as_there_is_room(steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        // A plain model: a sorted list of what waits, and the number of cores that are free.
        let mut waiting: BTreeMap<(Reverse<i64>, u64), u32> = BTreeMap::new();
        let mut running: Vec<(u64, u32)> = Vec::new();
        let nth = |list: &BTreeMap<(Reverse<i64>, u64), u32>, n: usize| {
            list.keys().nth(n % list.len().max(1)).copied()
        };
        for (id, step) in (1..).zip(steps) {
            match step {
                Step::Alloc(ncores, priority) => {
                    world.job(id, ncores, priority, 0);
                    waiting.insert((Reverse(priority), id), ncores);
                }
                Step::Cancel(n) => if let Some(key) = nth(&waiting, n) {
                    waiting.remove(&key);
                    world.step(SchedInput::Cancel { id: JobId(key.1) });
                }
                Step::Prioritize(n, priority) => if let Some(key) = nth(&waiting, n) {
                    let ncores = waiting.remove(&key).unwrap();
                    waiting.insert((Reverse(priority), key.1), ncores);
                    world.step(SchedInput::Prioritize { id: JobId(key.1), priority });
                }
                Step::Free(n) => if !running.is_empty() {
                    let (id, _) = running.remove(n % running.len());
                    world.free(id, "0-1");
                }
                Step::Cycle => {
                    let mut expected = Vec::new();
                    while let Some((key, ncores)) = waiting.first_key_value().map(|(key, n)| (*key, *n)) {
                        let free = 4 - running.iter().map(|(_, n)| n).sum::<u32>();
                        if ncores > 4 {
                            expected.push(format!("{} never", key.1));
                        } else if ncores <= free {
                            expected.push(format!("{} gets", key.1));
                            running.push((key.1, ncores));
                        } else {
                            break;
                        }
                        waiting.remove(&key);
                    }
                    let said: Vec<String> = world.cycle().into_iter()
                        .filter(|line| line.contains(" gets ") || line.contains(" never: "))
                        .map(|line| line.split([' ', ':']).take(2).collect::<Vec<_>>().join(" "))
                        .collect();
                    prop_assert_eq!(said, expected);
                }
            }
            let held: u32 = running.iter().map(|(_, n)| n).sum();
            prop_assert_eq!(world.sched.graph().allocated().ncores() as u32, held);
        }
    }
}
