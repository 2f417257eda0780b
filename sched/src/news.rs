//! What the scheduler is told, and what it wants done (RFC 27, as values instead of messages).

use flurm_jobspec::Jobspec;
use flurm_types::{Idset, JobId, R, Timestamp};
use serde_json::Value;
use std::sync::Arc;

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
        /// The queue that it is in, if that has a name.
        queue: Option<String>,
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
    /// After a restart: what [`SchedOutput::Learnt`] said last. What cannot be understood is passed over.
    Learnt {
        /// As it was said.
        value: Value,
    },
    /// Give away what can be given.
    Cycle,
    /// Cycles give resources away; so it is from the beginning.
    Start,
    /// Cycles do nothing.
    Stop,
    /// Jobs of a queue get resources, or none.
    Gate {
        /// The queue's name; one that is not known is passed over.
        queue: String,
        /// Do they?
        open: bool,
    },
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
    /// When these nodes end, if before the instance; zero takes it back.
    NodeExpiration(Idset, Timestamp),
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
    /// What was learnt from runs about how jobs slow each other down, all of it; to be kept for the next start.
    Learnt {
        /// `pairs` are for people, `runs` is what they follow from.
        value: Value,
    },
    /// The job was pending and is no more.
    Canceled {
        /// The job.
        id: JobId,
    },
}
