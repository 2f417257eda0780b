//! Who is next: the pending jobs in order, and when one of them gets resources.
//!
//! A [`Sched`] takes one input at a time and appends what is to be done about it. It holds nothing that cannot be
//! given back after a restart: what jobs still hold comes with [`SchedInput::Hello`], what waits comes again with
//! [`SchedInput::Alloc`] (RFC 27, as values instead of messages). Where a job goes is the resource graph's matter;
//! the order in which jobs are tried is in `policy/`.
//!
//! Only [`SchedInput::Cycle`] gives resources away, so a caller can take in a burst of submissions first and then
//! ask once.
//!
//! ```
//! use flurm_sched::{Policy, ResourceChange, Sched, SchedInput, SchedOutput};
//! use flurm_types::{Idset, JobId, Now, R, Timestamp};
//! use std::sync::Arc;
//!
//! let inventory = R::parse(
//!     r#"{"version":1,"execution":{"R_lite":[{"rank":"0-1","children":{"core":"0-3"}}],
//!         "nodelist":["n[0-1]"],"starttime":0,"expiration":0}}"#,
//! ).unwrap();
//! let jobspec = flurm_jobspec::build::Builder::new(vec!["true".to_owned()]).ntasks(2).build().unwrap();
//!
//! let mut sched = Sched::new(Policy::Fcfs);
//! let mut out = Vec::new();
//! let (id, t_submit) = (JobId(1), Timestamp::ZERO);
//! for input in [
//!     SchedInput::Resource(ResourceChange::Define(inventory)),
//!     SchedInput::Resource(ResourceChange::Up(Idset::from_range(0..=1))),
//!     SchedInput::Alloc { id, jobspec: Arc::new(jobspec), priority: 16, t_submit },
//!     SchedInput::Cycle,
//! ] {
//!     sched.step(Now::default(), input, &mut out);
//! }
//! let [SchedOutput::Alloc { r, .. }] = out.as_slice() else { panic!("{out:?}") };
//! assert_eq!((r.nnodes(), r.ncores()), (1, 2));
//! ```

mod config;
mod floors;
mod group;
mod heads;
mod learn;
mod news;
mod policy;
mod promises;
mod queue;
mod running;
mod shapes;
pub mod simulate;
mod turn;
mod why;

pub use config::{Config, QueueConfig, Running};
pub use flurm_resource_graph::{SlowDowns, span};
pub use news::{ResourceChange, SchedInput, SchedOutput};
pub use policy::Policy;
pub use why::Why;

use flurm_jobspec::Jobspec;
use flurm_resource_graph::{Found, Graph, Mark, MatchOp, Unit};
use flurm_types::{JobId, Now, R, Timestamp};
use group::{Groups, Wants, group_of};
use heads::Heads;
use learn::Learner;
use promises::Promises;
use queue::{Order, Pending, Queue, Wish};
use running::Loads;
use std::sync::Arc;

/// Vertices of the resource graph that one cycle may look at before it lets others have a turn: a few milliseconds.
pub const CYCLE_VISITS_MAX: usize = 1 << 15;

/// The scheduler of one instance.
#[derive(Debug)]
pub struct Sched {
    config: Config,
    queue: Queue,
    /// Jobs that start together.
    groups: Groups,
    learner: Learner,
    graph: Graph,
    /// What runs, by lane.
    loads: Loads,
    /// How often somebody has said what there is.
    inventories: u64,
    started: bool,
    /// Counts the changes after which a job that did not fit might.
    epoch: u64,
    /// Has anything happened since the last complete cycle?
    news: bool,
    /// Under policies that serve lanes from their heads.
    heads: Heads,
    /// Under policies that promise.
    promises: Promises,
    /// Did the last cycle end because it had used up its budget?
    cut_short: bool,
}

impl Sched {
    /// Nothing pending and no resources.
    #[must_use]
    pub fn new(policy: Policy) -> Sched {
        Sched::with_config(Config { policy, ..Config::default() })
    }

    /// The same, as a site wants it.
    #[must_use]
    pub fn with_config(config: Config) -> Sched {
        let age_us = config.age_s_per_priority.map(|s| i64::from(s.max(1)) * 1_000_000);
        let mut graph = Graph::from_r(&R::default());
        graph.set_placement(config.placement);
        graph.set_slowdowns(config.slowdowns.clone());
        Sched {
            queue: Queue::new(Order { age_us, shortest: config.policy == Policy::Sjf }, config.lanes()),
            groups: Groups::default(),
            learner: Learner::default(),
            config,
            graph,
            loads: Loads::default(),
            inventories: 0,
            started: true,
            epoch: 1,
            news: false,
            heads: Heads::default(),
            promises: Promises::default(),
            cut_short: false,
        }
    }

    /// Takes in one piece of news and appends what follows from it.
    pub fn step(&mut self, now: Now, input: SchedInput, out: &mut Vec<SchedOutput>) {
        self.news |= !matches!(input, SchedInput::Cycle);
        match input {
            SchedInput::Hello { id, priority: _, t_submit: _, queue, r } => {
                self.graph.take(id, &r);
                self.learner.begins(id, None, &r, now);
                self.loads.set(id, self.config.lane_of(queue.as_deref()), r.ncores());
                self.promises.follow(&self.graph, id, now);
                self.epoch += 1;
            }
            SchedInput::Resource(change) => self.change(change),
            SchedInput::Alloc { id, jobspec, priority, t_submit } => {
                // A job may come again with another jobspec.
                self.leave(id);
                let lane = self.config.lane_of(jobspec.attributes().queue.as_deref());
                let priority = priority.saturating_add(self.config.priority_of(lane));
                self.enter(Wish { id, jobspec, priority, t_submit, lane });
            }
            SchedInput::Cancel { id } => {
                if self.leave(id) {
                    out.push(SchedOutput::Canceled { id });
                }
            }
            SchedInput::Free { id, ranks } => {
                self.graph.give_back(id, &ranks);
                if self.learner.leaves(id, &ranks, now) {
                    self.teach();
                }
                self.loads.shrink(id, self.graph.held_cores(id));
                self.promises.follow(&self.graph, id, now);
                self.epoch += 1;
            }
            SchedInput::Prioritize { id, priority } => {
                let priority_in =
                    |sched: &Sched, lane| priority.saturating_add(sched.config.priority_of(lane));
                if let Some(wish) = self.groups.wish(id).cloned() {
                    self.leave(id);
                    self.enter(Wish { priority: priority_in(self, wish.lane), ..wish });
                } else if let Some(lane) = self.queue.get(id).map(|job| job.lane) {
                    self.forget(id);
                    if let Some(key) = self.queue.prioritize(id, priority_in(self, lane)) {
                        self.came(key, lane);
                    }
                }
            }
            SchedInput::Learnt { value } => {
                self.learner.restore(value);
                self.teach();
            }
            SchedInput::Cycle => self.cycle(now, out),
            SchedInput::Start => self.started = true,
            SchedInput::Stop => self.started = false,
            SchedInput::Gate { queue, open } => {
                if let Some(config) = self.config.queues.get_mut(&queue) {
                    config.stopped = !open;
                    let lane = self.config.lane_of(Some(&queue));
                    if open {
                        self.promises.look_again(lane)
                    } else {
                        self.promises.close(lane)
                    }
                    self.epoch += 1;
                }
            }
        }
    }

    /// What was learnt counts from now on.
    fn teach(&mut self) {
        self.learner.teach(self.graph.slowdowns());
    }

    /// Somebody wants resources, alone or with the others of his group.
    fn enter(&mut self, wish: Wish) {
        let wish = if group_of(&wish.jobspec).is_some() { self.groups.join(wish) } else { Some(wish) };
        if let Some(wish) = wish {
            self.line_up(wish);
        }
    }

    /// Somebody is in the queue from now on, maybe for all of his group.
    fn line_up(&mut self, wish: Wish) {
        let (id, lane) = (wish.id, wish.lane);
        let wants = self.groups.wants(id).map_or_else(|| Wants::Job(Arc::clone(&wish.jobspec)), Wants::Group);
        let cores = self.graph.cores_at_least(&wants);
        let key = self.queue.insert(wish, Unit::from(&wants).duration(), cores);
        self.came(key, lane);
    }

    /// Somebody wants nothing any more. Was he here?
    fn leave(&mut self, id: JobId) -> bool {
        if !self.groups.has(id) {
            self.forget(id);
            return self.queue.remove(id).is_some();
        }
        let left = self.groups.leave(id);
        if let Some(first) = left.out {
            self.forget(first);
            self.queue.remove(first);
        }
        if let Some(wish) = left.into {
            self.line_up(wish);
        }
        true
    }

    /// What an entry of the queue wants.
    fn wants(&self, job: &Pending) -> Wants {
        self.groups.wants(job.id).map_or_else(|| Wants::Job(Arc::clone(&job.jobspec)), Wants::Group)
    }

    /// The jobs that an entry of the queue stands for.
    fn members(&self, id: JobId) -> Vec<JobId> {
        self.groups.members(id).unwrap_or_else(|| vec![id])
    }

    /// Somebody has come in at this place: who is behind must not be in his way.
    fn came(&mut self, key: queue::Key, lane: usize) {
        let ahead = self.heads.is_ahead(lane, key);
        if self.promises.came(key, lane) || ahead {
            self.epoch += 1;
        }
    }

    /// A job has no promise any more and is the head of nothing.
    fn forget(&mut self, id: JobId) {
        let Some((key, lane)) = self.queue.get(id).map(|job| (job.key, job.lane)) else { return };
        if self.promises.forget(key, lane) || self.heads.has(id) {
            self.epoch += 1;
        }
    }

    fn change(&mut self, change: ResourceChange) {
        // A job that waits may fit now, and one that fitted may never do so any more: look again in any case.
        self.epoch += 1;
        self.promises.forget_plan();
        match change {
            ResourceChange::Define(r) => {
                self.graph.redefine(&r);
                self.inventories += 1;
                // What was promised may have other numbers now.
                self.promises = Promises::default();
            }
            ResourceChange::Up(ranks) => self.graph.mark(&ranks, Mark::Up),
            ResourceChange::Down(ranks) => self.graph.mark(&ranks, Mark::Down),
            ResourceChange::Drain(ranks) => self.graph.mark(&ranks, Mark::Drain),
            ResourceChange::Undrain(ranks) => self.graph.mark(&ranks, Mark::Undrain),
            ResourceChange::Expiration(at) => {
                self.graph.set_expiration(at);
                self.inventories += 1;
            }
            ResourceChange::NodeExpiration(ranks, at) => {
                self.graph.set_node_expiration(&ranks, at);
                self.inventories += 1;
            }
        }
    }

    fn cycle(&mut self, now: Now, out: &mut Vec<SchedOutput>) {
        let due = || self.wakes_at().is_some_and(|at| at <= now.wall);
        if !self.started || self.inventories == 0 || !self.news && !self.cut_short && !due() {
            self.cut_short = false;
            return;
        }
        (self.cut_short, self.news) = (false, false);
        out.extend(self.learner.news(now).map(|value| SchedOutput::Learnt { value }));
        self.groups.news(out);
        if !self.deny_too_long(now, out) {
            self.cut_short = true;
            return;
        }
        match self.config.policy {
            Policy::Fcfs => policy::fcfs::cycle(self, now, out),
            Policy::Sjf => policy::sjf::cycle(self, now, out),
            Policy::Easy => policy::easy::cycle(self, now, out),
            Policy::Conservative => policy::conservative::cycle(self, now, out),
            Policy::Hybrid { depth } => policy::hybrid::cycle(self, depth as usize, now, out),
        }
    }

    /// Did the last cycle stop with work left, so that another should follow without waiting for news?
    #[must_use]
    pub fn cut_short(&self) -> bool {
        self.cut_short
    }

    /// When a cycle has something to do even if nothing happens until then.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Timestamp> {
        let too_late = self.graph.last_end().zip(self.queue.longest()).map(|(last, (length, _))| {
            // A microsecond after the last time at which the longest job could start.
            Timestamp(last.0.saturating_sub_unsigned(length).saturating_add(1))
        });
        self.promises.first_start().into_iter().chain(too_late).chain(self.learner.has_news_at()).min()
    }

    /// Number of jobs that wait for resources.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.queue.len() + self.groups.beside_queue()
    }

    /// For listings: why a pending job has not been tried, where that can be said without a look at resources.
    #[must_use]
    pub fn not_tried(&self, id: JobId) -> Option<String> {
        if let Some(reason) = self.groups.why(id) {
            return Some(reason);
        }
        let id = self.groups.first(id).unwrap_or(id);
        let job = self.queue.get(id)?;
        if self.inventories == 0 {
            return Some("waits for the resources of this instance to become known".to_owned());
        }
        let first = self.queue.after_in(job.lane, None).filter(|first| first.id != id)?;
        Some(format!("behind {}", first.id))
    }

    /// Could such a job join the group that it names? The answer changes as members come and go.
    ///
    /// # Errors
    /// Why not, for its owner.
    pub fn joinable(&self, jobspec: &Jobspec) -> Result<(), String> {
        let lane = self.config.lane_of(jobspec.attributes().queue.as_deref());
        self.groups.check(jobspec, lane)
    }

    /// Could such a job run here at all, and join its group? Before the resources are known, everything could run.
    ///
    /// # Errors
    /// Why not, for its owner.
    pub fn satisfiable(&self, jobspec: &Jobspec, now: Now) -> Result<(), String> {
        self.joinable(jobspec)?;
        self.is_within(self.config.lane_of(jobspec.attributes().queue.as_deref()), jobspec)?;
        if self.inventories == 0 {
            return Ok(());
        }
        self.is_satisfiable(jobspec, now)
    }

    /// The same, whatever its queue and its group say.
    fn is_satisfiable<'a>(&self, unit: impl Into<Unit<'a>>, now: Now) -> Result<(), String> {
        match self.graph.find(unit, MatchOp::Satisfiability, now.wall) {
            Found::Now(_) | Found::NotNow => Ok(()),
            Found::Never(why) => Err(why),
        }
    }

    /// The resources, and who holds them.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }
}
