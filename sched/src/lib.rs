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
mod group;
mod news;
mod policy;
mod queue;
pub mod simulate;
mod why;

pub use config::{Config, Limits, QueueConfig, Running};
pub use news::{ResourceChange, SchedInput, SchedOutput};
pub use policy::Policy;
pub use why::Why;

use flurm_jobspec::Jobspec;
use flurm_resource_graph::{Found, Graph, Mark, MatchOp, Unit};
use flurm_types::{JobId, Now, R, Timestamp};
use group::{Groups, Wants, group_of};
use queue::{Key, Order, Pending, Queue, Wish};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Vertices of the resource graph that one cycle may look at before it lets others have a turn: a few milliseconds.
pub const CYCLE_VISITS_MAX: usize = 1 << 18;

/// The scheduler of one instance.
#[derive(Debug)]
pub struct Sched {
    config: Config,
    queue: Queue,
    /// Jobs that start together.
    groups: Groups,
    graph: Graph,
    /// How often somebody has said what there is.
    inventories: u64,
    started: bool,
    /// Counts the changes after which a job that did not fit might.
    epoch: u64,
    /// Has anything happened since the last complete cycle?
    news: bool,
    /// The job of each lane that the others may not delay; under policies that know just one.
    heads: BTreeMap<usize, JobId>,
    /// What jobs will get later, under policies that promise.
    promises: BTreeMap<JobId, R>,
    /// Could a promise be moved forward?
    replan: bool,
    /// How far down the queue that was looked into by cycles that were cut short.
    replanned: Option<Key>,
    /// Has one moved meanwhile?
    moved: bool,
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
        Sched {
            queue: Queue::new(Order { age_us, shortest: config.policy == Policy::Sjf }),
            groups: Groups::default(),
            config,
            graph,
            inventories: 0,
            started: true,
            epoch: 1,
            news: false,
            heads: BTreeMap::new(),
            promises: BTreeMap::new(),
            replan: false,
            replanned: None,
            moved: false,
            cut_short: false,
        }
    }

    /// Takes in one piece of news and appends what follows from it.
    pub fn step(&mut self, now: Now, input: SchedInput, out: &mut Vec<SchedOutput>) {
        self.news |= !matches!(input, SchedInput::Cycle);
        match input {
            SchedInput::Hello { id, priority: _, t_submit: _, queue: _, r } => self.graph.take(id, &r),
            SchedInput::Resource(change) => self.change(change),
            SchedInput::Alloc { id, jobspec, priority, t_submit } => {
                let lane = self.lane_of(&jobspec);
                // A job may come again with another jobspec.
                self.leave(id);
                self.enter(Wish { id, jobspec, priority, t_submit, lane });
            }
            SchedInput::Cancel { id } => {
                if self.leave(id) {
                    out.push(SchedOutput::Canceled { id });
                }
            }
            SchedInput::Free { id, ranks } => {
                // Who leaves when he was expected to changes nothing of the promises.
                if self.graph.held_until(id).is_some_and(|until| until != now.wall) {
                    self.plan_again();
                }
                self.graph.give_back(id, &ranks);
                self.epoch += 1;
            }
            SchedInput::Prioritize { id, priority } => {
                if let Some(wish) = self.groups.wish(id).cloned() {
                    self.leave(id);
                    self.enter(Wish { priority, ..wish });
                } else if let Some((before, key)) = self.queue.prioritize(id, priority) {
                    self.forget(id);
                    self.forget_behind(key.min(before));
                }
            }
            SchedInput::Cycle => self.cycle(now, out),
            SchedInput::Start => self.started = true,
            SchedInput::Stop => self.started = false,
            SchedInput::Gate { queue, open } => {
                if let Some(config) = self.config.queues.get_mut(&queue) {
                    config.stopped = !open;
                }
            }
        }
    }

    /// Somebody wants resources, alone or with the others of his group.
    fn enter(&mut self, wish: Wish) {
        let wish = if group_of(&wish.jobspec).is_some() { self.groups.join(wish) } else { Some(wish) };
        if let Some(wish) = wish {
            let key = self.queue.insert(wish);
            self.forget_behind(key);
        }
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
            let key = self.queue.insert(wish);
            self.forget_behind(key);
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

    /// A job has no promise any more and is the head of nothing.
    fn forget(&mut self, id: JobId) {
        let was_promised = self.promises.remove(&id).is_some();
        let heads = self.heads.len();
        self.heads.retain(|_, head| *head != id);
        if was_promised || heads > self.heads.len() {
            self.plan_again();
            self.epoch += 1;
        }
    }

    /// All promises are to be looked at, from the first one on.
    fn plan_again(&mut self) {
        (self.replan, self.replanned) = (true, None);
    }

    /// Somebody has come in at this place: who is behind must not be in his way.
    fn forget_behind(&mut self, key: Key) {
        let behind = |id: &JobId| self.queue.get(*id).is_none_or(|job| job.key > key);
        let before = self.promises.len();
        let kept = std::mem::take(&mut self.promises).into_iter().filter(|(id, _)| !behind(id)).collect();
        self.promises = kept;
        if self.promises.len() < before {
            self.plan_again();
        }
    }

    fn change(&mut self, change: ResourceChange) {
        // A job that waits may fit now, and one that fitted may never do so any more: look again in any case.
        self.epoch += 1;
        self.plan_again();
        match change {
            ResourceChange::Define(r) => {
                self.graph.redefine(&r);
                self.inventories += 1;
            }
            ResourceChange::Up(ranks) => self.graph.mark(&ranks, Mark::Up),
            ResourceChange::Down(ranks) => self.graph.mark(&ranks, Mark::Down),
            ResourceChange::Drain(ranks) => self.graph.mark(&ranks, Mark::Drain),
            ResourceChange::Undrain(ranks) => self.graph.mark(&ranks, Mark::Undrain),
            ResourceChange::Expiration(at) => self.graph.set_expiration(at),
            ResourceChange::NodeExpiration(ranks, at) => self.graph.set_node_expiration(&ranks, at),
        }
    }

    fn cycle(&mut self, now: Now, out: &mut Vec<SchedOutput>) {
        let due = || self.wakes_at().is_some_and(|at| at <= now.wall);
        if !self.started || self.inventories == 0 || !self.news && !self.cut_short && !due() {
            self.cut_short = false;
            return;
        }
        (self.cut_short, self.news) = (false, false);
        self.groups.news(out);
        match self.config.policy {
            Policy::Fcfs => policy::fcfs::cycle(self, now, out),
            Policy::Sjf => policy::sjf::cycle(self, now, out),
            Policy::Easy => policy::easy::cycle(self, now, out),
            Policy::Conservative => policy::conservative::cycle(self, now, out),
            Policy::Hybrid { depth } => policy::hybrid::cycle(self, depth as usize, now, out),
        }
    }

    /// Lanes are the queues by name, in order, and behind them one for jobs without a queue.
    fn lanes(&self) -> usize {
        self.config.queues.len() + 1
    }

    fn lane_of(&self, jobspec: &Jobspec) -> usize {
        let queue = jobspec.attributes().queue.as_ref();
        let known = queue.and_then(|queue| self.config.queues.keys().position(|name| name == queue));
        known.unwrap_or(self.config.queues.len())
    }

    fn is_stopped(&self, lane: usize) -> bool {
        self.config.queues.values().nth(lane).is_some_and(|queue| queue.stopped)
    }

    /// Has a cycle done enough? Then another one goes on.
    fn spent(&mut self, visited: usize) -> bool {
        self.cut_short |= visited >= CYCLE_VISITS_MAX;
        self.cut_short
    }

    /// Could the job run here at all? If not, it is turned down.
    fn is_possible(&mut self, id: JobId, now: Now, out: &mut Vec<SchedOutput>) -> bool {
        let Some(job) = self.queue.get(id) else { return false };
        if job.possible == self.inventories {
            return true;
        }
        let wants = self.wants(job);
        let each = Unit::from(&wants).jobs().try_for_each(|job| self.satisfiable(job, now));
        let all = each.and_then(|()| match &wants {
            Wants::Job(_) => Ok(()),
            Wants::Group(_) => self.is_satisfiable(&wants, now),
        });
        match all {
            Ok(()) => {
                self.queue.set_possible(id, self.inventories);
                true
            }
            Err(note) => {
                self.deny(id, note, out);
                false
            }
        }
    }

    fn start(&mut self, id: JobId, r: R, out: &mut Vec<SchedOutput>) {
        let Some(job) = self.queue.get(id) else { return };
        let Some(parts) = self.graph.split(&self.wants(job), r) else {
            // The nodes are others than they were when this was promised.
            self.epoch += 1;
            return self.plan_again();
        };
        let told = job.told;
        self.queue.remove(id);
        self.heads.retain(|_, head| *head != id);
        let members = self.groups.remove(id);
        let annotations = match (told, &members) {
            (None, None) => Value::Null,
            (Some(None), None) => json!({ "sched": { "reason_pending": null } }),
            // Members have been told when they came.
            (Some(Some(_)), _) | (_, Some(_)) => {
                json!({ "sched": { "reason_pending": null, "t_estimate": null } })
            }
        };
        for (id, r) in members.unwrap_or_else(|| vec![id]).into_iter().zip(parts) {
            self.graph.take(id, &r);
            out.push(SchedOutput::Alloc { id, r, annotations: annotations.clone() });
        }
    }

    fn deny(&mut self, id: JobId, note: String, out: &mut Vec<SchedOutput>) {
        self.forget(id);
        self.queue.remove(id);
        for id in self.groups.remove(id).unwrap_or_else(|| vec![id]) {
            out.push(SchedOutput::Deny { id, note: note.clone() });
        }
    }

    /// A job was tried in vain; it starts at this time if all goes as planned.
    fn wait(&mut self, id: JobId, start: Option<Timestamp>, out: &mut Vec<SchedOutput>) {
        self.queue.set_tried(id, self.epoch);
        let Some(job) = self.queue.get(id) else { return };
        if job.told == Some(start) {
            return;
        }
        let mut said = json!({});
        if job.told.is_none() {
            said["reason_pending"] = self.graph.shortage(&self.wants(job)).into();
        }
        if let Some(start) = start {
            said["t_estimate"] = start.as_secs_f64().into();
        } else if job.told.is_some() {
            said["t_estimate"] = Value::Null;
        }
        self.queue.set_told(id, start);
        for id in self.members(id) {
            out.push(SchedOutput::Annotate { id, annotations: json!({ "sched": said.clone() }) });
        }
    }

    /// This job of a lane must not be delayed. If it was another one before, all others get another chance.
    fn head_is(&mut self, lane: usize, id: JobId) {
        if self.heads.insert(lane, id) != Some(id) {
            self.epoch += 1;
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
        self.promises.values().map(|r| r.starttime).min()
    }

    /// Number of jobs that wait for resources.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.queue.len() + self.groups.beside_queue()
    }

    /// Could such a job run here at all? Before the resources are known, everything within its queue's limits could.
    ///
    /// # Errors
    /// Why not, for its owner.
    pub fn satisfiable(&self, jobspec: &Jobspec, now: Now) -> Result<(), String> {
        if let Some(queue) = &jobspec.attributes().queue
            && let Some(config) = self.config.queues.get(queue)
        {
            config.limits.check(queue, jobspec)?;
        }
        self.groups.check(jobspec, self.lane_of(jobspec))?;
        if self.inventories == 0 {
            return Ok(());
        }
        self.is_satisfiable(jobspec, now)
    }

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
