//! A scheduler outside of the brokers (RFC 27): it is told what jobs want and what there is, and answers who gets what.
//!
//! A client that sends [`Serve`] is the scheduler for as long as its stream lasts. What it decides it sends as
//! [`Answer`]s, one a message. Everything is plain JSON, with few levels, for small programs in any language.

use crate::Topic;
use crate::job::Done;
use flurm_types::{Idset, JobId, R, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// From now on this client schedules; there can be one at a time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Serve {
    /// What it is called in `flurm queue status`.
    #[serde(default)]
    pub name: String,
}

/// What has happened, in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Served {
    pub news: Vec<News>,
}

impl Topic for Serve {
    const NAME: &'static str = "sched.serve";
    const STREAM: bool = true;
    type Response = Served;
}

#[derive(Debug, Copy, Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NewsKind {
    /// A job holds R already; such come first.
    Hello,
    /// What there is (`R`) and which ranks may be used (`ranks`). Comes before the first job, and again if it changes.
    Resources,
    /// These ranks may be used again.
    Up,
    /// No new jobs on these ranks.
    Down,
    /// The instance ends then, or these ranks; not before the instance if the time is zero.
    Expiration,
    /// A job waits.
    Alloc,
    /// A job that waited wants nothing any more, or may not have it now.
    Cancel,
    /// A job has given back R. The whole of it if it is that of an answer which came too late.
    Free,
    /// A job that waits has another priority.
    Prioritize,
}

/// One thing that has happened; keys that do not belong to its type are left out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct News {
    #[serde(rename = "type")]
    pub kind: NewsKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<JobId>,
    /// Higher goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t_submit: Option<Timestamp>,
    /// Without the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobspec: Option<Box<RawValue>>,
    #[serde(default, rename = "R", skip_serializing_if = "Option::is_none")]
    pub r: Option<R>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<Idset>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Timestamp>,
}

impl News {
    pub fn new(kind: NewsKind) -> News {
        let (id, priority, t_submit, jobspec, r, ranks, expiration) = Default::default();
        News { kind, id, priority, t_submit, jobspec, r, ranks, expiration }
    }
}

#[derive(Debug, Copy, Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerKind {
    /// The job gets R.
    Alloc,
    /// It can never run; `note` says why.
    Deny,
    /// `annotations` are shown with the job while it waits.
    Annotate,
    /// A `cancel` was heard.
    Cancel,
}

/// About a job that waits. Who answers what cannot be, with a job that is not there or R that is not free, is the
/// scheduler no longer. An answer about a job that has just gone is too late and does no harm.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    pub id: JobId,
    #[serde(rename = "type")]
    pub kind: AnswerKind,
    /// Ranks, cores and GPUs as an R (RFC 20), in which hosts and times may be left to the leader.
    #[serde(default, rename = "R", skip_serializing_if = "Option::is_none")]
    pub r: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<serde_json::Value>,
}

impl Topic for Answer {
    const NAME: &'static str = "sched.answer";
    type Response = Done;
}
