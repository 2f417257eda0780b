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

mod policy;
mod queue;

use flurm_jobspec::Jobspec;
use flurm_resource_graph::{Found, Graph, Mark, MatchOp};
use flurm_types::{Idset, JobId, Now, R, Timestamp};
use queue::{Pending, Queue};
use serde_json::Value;
use std::sync::Arc;

/// Vertices of the resource graph that one cycle may look at before it lets others have a turn: a few milliseconds.
pub const CYCLE_VISITS_MAX: usize = 1 << 18;

/// The order in which pending jobs are tried.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
pub enum Policy {
    /// First come, first served, by priority; a job that must wait holds up all behind it.
    #[default]
    Fcfs,
}

/// News for the scheduler.
#[derive(Debug, Clone, PartialEq)]
pub enum SchedInput {
    /// After a restart: this job holds these resources.
    Hello {
        /// The job.
        id: JobId,
        /// Its priority.
        priority: i64,
        /// When it was submitted.
        t_submit: Timestamp,
        /// What it holds still.
        r: Arc<R>,
    },
    /// Resources have changed.
    Resource(ResourceChange),
    /// A job wants resources.
    Alloc {
        /// The job.
        id: JobId,
        /// What it wants.
        jobspec: Arc<Jobspec>,
        /// Higher goes first.
        priority: i64,
        /// Among equal priorities, earlier goes first.
        t_submit: Timestamp,
    },
    /// A pending job wants nothing any more.
    Cancel {
        /// The job.
        id: JobId,
    },
    /// A job has left these ranks.
    Free {
        /// The job.
        id: JobId,
        /// The ranks it leaves.
        ranks: Idset,
    },
    /// A pending job has another priority.
    Prioritize {
        /// The job.
        id: JobId,
        /// The new priority.
        priority: i64,
    },
    /// Give away what can be given.
    Cycle,
    /// Cycles give resources away; so it is from the beginning.
    Start,
    /// Cycles do nothing.
    Stop,
}

/// What has become of the resources.
#[derive(Debug, Clone, PartialEq)]
pub enum ResourceChange {
    /// This is what there is. The first one makes matching begin; until then jobs wait.
    Define(R),
    /// Brokers came online.
    Up(Idset),
    /// Brokers were lost.
    Down(Idset),
    /// No new jobs there.
    Drain(Idset),
    /// New jobs there again.
    Undrain(Idset),
    /// When the instance ends; zero if nobody knows.
    Expiration(Timestamp),
}

/// What the scheduler wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum SchedOutput {
    /// The job has these resources; in the graph they are taken already.
    Alloc {
        /// The job.
        id: JobId,
        /// What it gets.
        r: R,
        /// For the `alloc` event; null if there are none.
        annotations: Value,
    },
    /// The job can never run here.
    Deny {
        /// The job.
        id: JobId,
        /// Why, for its owner.
        note: String,
    },
    /// Something to show with a pending job. A null inside takes back what was said before.
    Annotate {
        /// The job.
        id: JobId,
        /// As in the `annotations` of RFC 27.
        annotations: Value,
    },
    /// The job was pending and is no more.
    Canceled {
        /// The job.
        id: JobId,
    },
}

/// The scheduler of one instance.
#[derive(Debug)]
pub struct Sched {
    policy: Policy,
    queue: Queue,
    graph: Graph,
    /// Has anybody said what there is?
    defined: bool,
    started: bool,
    /// The head of the queue that did not fit, as long as nothing has changed that might help it.
    waiting: Option<JobId>,
    /// Did the last cycle end because it had used up its budget?
    cut_short: bool,
}

impl Sched {
    /// Nothing pending and no resources.
    #[must_use]
    pub fn new(policy: Policy) -> Sched {
        Sched {
            policy,
            queue: Queue::default(),
            graph: Graph::from_r(&R::default()),
            defined: false,
            started: true,
            waiting: None,
            cut_short: false,
        }
    }

    /// Takes in one piece of news and appends what follows from it.
    pub fn step(&mut self, now: Now, input: SchedInput, out: &mut Vec<SchedOutput>) {
        match input {
            SchedInput::Hello { id, priority: _, t_submit: _, r } => self.graph.take(id, &r),
            SchedInput::Resource(change) => self.change(change),
            SchedInput::Alloc { id, jobspec, priority, t_submit } => {
                // A job may come again with another jobspec.
                self.waiting = self.waiting.filter(|waiting| *waiting != id);
                self.queue.insert(Pending { id, jobspec, priority, t_submit, annotated: false });
            }
            SchedInput::Cancel { id } => {
                if self.queue.remove(id).is_some() {
                    out.push(SchedOutput::Canceled { id });
                }
            }
            SchedInput::Free { id, ranks } => {
                self.graph.give_back(id, &ranks);
                self.waiting = None;
            }
            SchedInput::Prioritize { id, priority } => self.queue.prioritize(id, priority),
            SchedInput::Cycle => self.cycle(now, out),
            SchedInput::Start => self.started = true,
            SchedInput::Stop => self.started = false,
        }
    }

    fn change(&mut self, change: ResourceChange) {
        // A job that waits may fit now, and one that fitted may never do so any more: look again in any case.
        self.waiting = None;
        match change {
            ResourceChange::Define(r) => {
                self.graph.redefine(&r);
                self.defined = true;
            }
            ResourceChange::Up(ranks) => self.graph.mark(&ranks, Mark::Up),
            ResourceChange::Down(ranks) => self.graph.mark(&ranks, Mark::Down),
            ResourceChange::Drain(ranks) => self.graph.mark(&ranks, Mark::Drain),
            ResourceChange::Undrain(ranks) => self.graph.mark(&ranks, Mark::Undrain),
            ResourceChange::Expiration(at) => self.graph.set_expiration(at),
        }
    }

    fn cycle(&mut self, now: Now, out: &mut Vec<SchedOutput>) {
        self.cut_short = false;
        if !self.started || !self.defined {
            return;
        }
        match self.policy {
            Policy::Fcfs => policy::fcfs::cycle(self, now, out),
        }
    }

    /// Did the last cycle stop with work left, so that another should follow without waiting for news?
    #[must_use]
    pub fn cut_short(&self) -> bool {
        self.cut_short
    }

    /// Why a pending job does not run yet; `None` if it is not pending.
    #[must_use]
    pub fn why(&self, id: JobId) -> Option<String> {
        let job = self.queue.get(id)?;
        Some(if !self.started {
            "scheduling is stopped: no job gets resources until it is started again".to_owned()
        } else if !self.defined {
            "waits for the resources of this instance to become known".to_owned()
        } else {
            match (self.policy, self.queue.ahead(id)) {
                (_, 0) => match self.graph.find(&job.jobspec, MatchOp::Allocate, Timestamp::ZERO) {
                    Found::Now(_) => "is the next to get resources".to_owned(),
                    Found::NotNow => self.graph.shortage(&job.jobspec),
                    Found::Never(why) => why,
                },
                (Policy::Fcfs, 1) => "blocked by 1 job ahead in the queue".to_owned(),
                (Policy::Fcfs, n) => format!("blocked by {n} jobs ahead in the queue"),
            }
        })
    }

    /// Could such a job run here at all? Before the resources are known, everything could.
    ///
    /// # Errors
    /// Why not, for its owner.
    pub fn satisfiable(&self, jobspec: &Jobspec) -> Result<(), String> {
        if !self.defined {
            return Ok(());
        }
        match self.graph.find(jobspec, MatchOp::Satisfiability, Timestamp::ZERO) {
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
