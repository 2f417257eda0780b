//! Nothing that the scheduler keeps in mind from cycle to cycle changes what it does: under policies that promise nothing,
//! one that has just been started with the same jobs decides the same. Under all of them, nobody is forgotten.

use flurm_jobspec::{Jobspec, build::Builder};
use flurm_sched::{Config, Policy, QueueConfig, ResourceChange, Running, Sched, SchedInput, SchedOutput};
use flurm_types::{Constraint, Idset, JobId, Now, R, RNode, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const NODES: u32 = 4;

#[derive(Debug, Clone)]
enum Step {
    /// Tasks, GPUs of each, nodes if not 0, minutes if not 0, queue, priority, must it be a node with the property.
    Comes(u32, u32, u32, u32, usize, i64, bool),
    /// One of those that run leaves, all at once or a rank only.
    Leaves(usize, bool),
    /// The one whose time is over first leaves then.
    Ends,
    Cancels(usize),
    Reprioritized(usize, i64),
    Lost(u32),
    Back(u32),
    Gate(usize, bool),
    Later(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let comes = (1..9_u32, 0..2_u32, 0..3_u32, 0..8_u32, 0..3_usize, 0..3_i64, prop::bool::weighted(0.2));
    prop_oneof![
        8 => comes.prop_map(|(n, gpus, nodes, min, queue, priority, fast)|
            Step::Comes(n, gpus * u32::from(n < 3), nodes, min, queue, priority, fast)),
        3 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(n, part)| Step::Leaves(n, part)),
        4 => Just(Step::Ends),
        1 => any::<usize>().prop_map(Step::Cancels),
        1 => (any::<usize>(), 0..4_i64).prop_map(|(n, priority)| Step::Reprioritized(n, priority)),
        1 => (0..NODES).prop_map(Step::Lost),
        2 => (0..NODES).prop_map(Step::Back),
        1 => (0..2_usize, any::<bool>()).prop_map(|(queue, open)| Step::Gate(queue, open)),
        2 => (1..90_u32).prop_map(Step::Later),
    ]
}

struct World {
    config: Config,
    sched: Sched,
    now: Timestamp,
    down: Idset,
    waits: BTreeMap<JobId, (Arc<Jobspec>, i64, Timestamp)>,
    runs: BTreeMap<JobId, (Option<String>, R)>,
    next: u64,
}

fn inventory() -> R {
    let node = |rank| RNode {
        rank,
        host: format!("n{rank}"),
        cores: (0..4).collect(),
        gpus: if rank < 2 { (0..2).collect() } else { Idset::new() },
    };
    let mut r = R::from_nodes((0..NODES).map(node));
    r.properties.insert("fast".to_owned(), Idset::from_range(1..=2));
    r
}

fn names() -> [Option<String>; 3] {
    [Some("a".to_owned()), Some("b".to_owned()), None]
}

fn clock(wall: Timestamp) -> Now {
    Now { mono_ms: (wall.0 / 1000) as u64, wall }
}

impl World {
    fn new(policy: Policy) -> World {
        let running = Running { jobs_max: Some(3), cores_max: Some(9) };
        let queues = [
            ("a".to_owned(), QueueConfig { running, priority: 1, ..QueueConfig::default() }),
            ("b".to_owned(), QueueConfig::default()),
        ];
        let config = Config { policy, queues: queues.into(), ..Config::default() };
        let mut world = World {
            sched: Sched::with_config(config.clone()),
            config,
            now: Timestamp::from_secs_f64(1e6),
            down: Idset::new(),
            waits: BTreeMap::new(),
            runs: BTreeMap::new(),
            next: 1,
        };
        world.change(ResourceChange::Define(inventory()));
        world.change(ResourceChange::Up(inventory().ranks()));
        world
    }

    fn tell(&mut self, input: SchedInput) {
        self.sched.step(clock(self.now), input, &mut Vec::new());
    }

    fn change(&mut self, change: ResourceChange) {
        self.tell(SchedInput::Resource(change));
    }

    fn leaves(&mut self, id: JobId, ranks: Idset) {
        let Some((_, r)) = self.runs.get_mut(&id) else { return };
        r.nodes.retain(|node| !ranks.contains(node.rank));
        if r.nodes.is_empty() {
            self.runs.remove(&id);
        }
        self.tell(SchedInput::Free { id, ranks });
    }

    /// The job whose time is over first.
    fn first_end(&self) -> Option<(Timestamp, JobId)> {
        let ends = self.runs.iter().map(|(id, (_, r))| (r.expiration, *id));
        ends.filter(|(end, _)| !end.is_zero()).min()
    }

    fn take(&mut self, step: Step) {
        let nth = |map: usize, n: usize| n % map.max(1);
        match step {
            Step::Comes(tasks, gpus, nodes, minutes, queue, priority, fast) => {
                let mut job = Builder::new(vec!["x".to_owned()]).ntasks(tasks);
                job = if gpus > 0 { job.gpus_per_task(gpus) } else { job };
                job = if nodes > 0 && nodes <= tasks { job.nnodes(nodes) } else { job };
                job = if minutes > 0 { job.duration(60.0 * f64::from(minutes)) } else { job };
                job = if let Some(name) = &names()[queue] { job.queue(name.clone()) } else { job };
                job = if fast { job.constraint(Constraint::parse_query("fast").unwrap()) } else { job };
                let (id, jobspec) = (JobId(self.next), Arc::new(job.build().unwrap()));
                self.next += 1;
                self.waits.insert(id, (Arc::clone(&jobspec), priority, self.now));
                self.tell(SchedInput::Alloc { id, jobspec, priority, t_submit: self.now });
            }
            Step::Leaves(n, part) => {
                if let Some((id, (_, r))) = self.runs.iter().nth(nth(self.runs.len(), n)) {
                    let ranks = if part { r.ranks().take(1) } else { r.ranks() };
                    self.leaves(*id, ranks);
                }
            }
            Step::Ends => {
                if let Some((end, id)) = self.first_end() {
                    self.now = self.now.max(end);
                    self.leaves(id, inventory().ranks());
                }
            }
            Step::Cancels(n) => {
                if let Some(id) = self.waits.keys().nth(nth(self.waits.len(), n)).copied() {
                    self.waits.remove(&id);
                    self.tell(SchedInput::Cancel { id });
                }
            }
            Step::Reprioritized(n, priority) => {
                if let Some(id) = self.waits.keys().nth(nth(self.waits.len(), n)).copied() {
                    self.waits.get_mut(&id).unwrap().1 = priority;
                    self.tell(SchedInput::Prioritize { id, priority });
                }
            }
            Step::Lost(rank) => {
                self.down.insert(rank);
                self.change(ResourceChange::Down(rank.into()));
            }
            Step::Back(rank) => {
                self.down.remove(rank);
                self.change(ResourceChange::Up(rank.into()));
            }
            Step::Gate(queue, open) => {
                let name = names()[queue].clone().unwrap();
                self.config.queues.get_mut(&name).unwrap().stopped = !open;
                self.tell(SchedInput::Gate { queue: name, open });
            }
            Step::Later(secs) => self.now = self.now.checked_add_secs(secs.into()).unwrap(),
        }
    }

    /// Nobody is there whose time is over: when he will leave is guessed, and guessed again later.
    fn end_all_in_time(&mut self) {
        while let Some((_, id)) = self.first_end().filter(|(end, _)| *end <= self.now) {
            self.leaves(id, inventory().ranks());
        }
    }

    /// One that starts now with what waits and what runs.
    fn again(&self) -> Sched {
        let mut sched = Sched::with_config(self.config.clone());
        let mut tell = |input| sched.step(clock(self.now), input, &mut Vec::new());
        tell(SchedInput::Resource(ResourceChange::Define(inventory())));
        tell(SchedInput::Resource(ResourceChange::Up(inventory().ranks().difference(&self.down))));
        for (id, (queue, r)) in &self.runs {
            let (queue, r) = (queue.clone(), Arc::new(r.clone()));
            tell(SchedInput::Hello { id: *id, priority: 0, t_submit: Timestamp(1), queue, r });
        }
        for (id, (jobspec, priority, t_submit)) in &self.waits {
            let (jobspec, priority, t_submit) = (Arc::clone(jobspec), *priority, *t_submit);
            tell(SchedInput::Alloc { id: *id, jobspec, priority, t_submit });
        }
        sched
    }

    /// Who gets what, and who nothing ever.
    fn cycle(&mut self) -> Vec<(JobId, Option<R>)> {
        let given = cycle(&mut self.sched, self.now);
        for (id, r) in &given {
            let (jobspec, ..) = self.waits.remove(id).expect("who gets something waits for it");
            if let Some(r) = r {
                assert!(r.ranks().is_disjoint(&self.down), "{id} starts on a node that is lost");
                let others = self.runs.values().all(|(_, other)| other.is_disjoint(r));
                assert!(others, "{id} has what another one has");
                self.runs.insert(*id, (jobspec.attributes().queue.clone(), r.clone()));
            }
        }
        given
    }
}

fn cycle(sched: &mut Sched, now: Timestamp) -> Vec<(JobId, Option<R>)> {
    let (mut out, mut cycles) = (Vec::new(), 0);
    loop {
        sched.step(clock(now), SchedInput::Cycle, &mut out);
        cycles += 1;
        assert!(cycles < 1000, "cycles come to an end");
        if !sched.cut_short() {
            break;
        }
    }
    let given = out.into_iter().filter_map(|said| match said {
        SchedOutput::Alloc { id, r, .. } => Some((id, Some(r))),
        SchedOutput::Deny { id, .. } => Some((id, None)),
        _ => None,
    });
    given.collect()
}

/// Does what happened, and after each step both decide the same.
fn decide_the_same(policy: Policy, steps: Vec<Step>) {
    let mut world = World::new(policy);
    for step in steps {
        world.take(step);
        world.end_all_in_time();
        // Who can never run is turned down when it is looked at, which may be sooner in one of them.
        let starts = |given: Vec<(JobId, Option<R>)>| -> Vec<_> {
            given.into_iter().filter(|(_, r)| r.is_some()).collect()
        };
        let expected = starts(cycle(&mut world.again(), world.now));
        assert_eq!(starts(world.cycle()), expected);
    }
}

#[test]
fn a_head_that_its_queue_keeps_back_has_no_start_whether_there_is_room_or_not() {
    // The second is over what its queue may have, first with room for it and then without.
    let steps = [
        Step::Comes(3, 0, 0, 6, 0, 0, false),
        Step::Comes(7, 0, 0, 0, 0, 1, false),
        Step::Comes(1, 0, 0, 5, 0, 2, false),
        Step::Ends,
        Step::Comes(7, 0, 2, 2, 1, 0, false),
        Step::Comes(3, 0, 0, 2, 1, 0, false),
    ];
    decide_the_same(Policy::Easy, steps.into());
}

#[test]
fn one_who_asks_for_less_than_his_queue_has_left_is_not_kept_back_with_one_who_asks_for_more() {
    // Of nine cores four are in use and four are for the head: two are too many, one is not.
    let steps = [
        Step::Comes(4, 0, 0, 1, 0, 0, false),
        Step::Comes(4, 0, 4, 0, 0, 1, false),
        Step::Comes(2, 0, 0, 0, 0, 0, false),
        Step::Comes(1, 0, 0, 0, 0, 0, false),
    ];
    let mut world = World::new(Policy::Easy);
    for step in steps {
        world.take(step);
        world.cycle();
    }
    assert_eq!(world.runs.keys().map(|id| id.0).collect::<Vec<_>>(), [1, 4]);
    decide_the_same(
        Policy::Easy,
        [
            Step::Comes(2, 0, 2, 5, 0, 0, false),
            Step::Comes(1, 0, 0, 1, 0, 0, false),
            Step::Ends,
            Step::Comes(1, 0, 0, 0, 0, 0, false),
            Step::Leaves(1, false),
            Step::Comes(4, 0, 0, 1, 0, 0, false),
            Step::Comes(3, 0, 2, 0, 0, 1, true),
            Step::Leaves(0, false),
            Step::Comes(2, 0, 0, 0, 0, 0, false),
            Step::Comes(1, 0, 0, 0, 0, 0, false),
        ]
        .into(),
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn one_that_has_just_been_started_decides_the_same(
        steps in prop::collection::vec(step(), 1..60),
        policy in prop::sample::select(vec![Policy::Fcfs, Policy::Sjf, Policy::Easy]),
    ) {
        decide_the_same(policy, steps);
    }

    #[test]
    fn everybody_has_his_turn(
        steps in prop::collection::vec(step(), 1..60),
        policy in prop::sample::select(vec![
            Policy::Fcfs, Policy::Easy, Policy::Conservative,
            Policy::Hybrid { depth: 1 }, Policy::Hybrid { depth: 3 },
        ]),
    ) {
        let mut world = World::new(policy);
        for step in steps {
            // Some stay longer than they said.
            world.take(step);
            world.cycle();
            for id in world.waits.keys() {
                let why = world.sched.why(*id, clock(world.now)).expect("it waits");
                prop_assert!(!why.reason.is_empty() && why.earliest.is_none_or(|at| at >= world.now));
            }
        }
        for rank in 0..NODES {
            world.take(Step::Back(rank));
        }
        (0..2).for_each(|queue| world.take(Step::Gate(queue, true)));
        world.cycle();
        while let Some(id) = world.runs.keys().next().copied() {
            world.take(Step::Later(60));
            world.leaves(id, inventory().ranks());
            world.cycle();
        }
        prop_assert!(world.waits.is_empty(), "still waiting: {:?}", world.waits.keys());
    }
}
