//! Dependencies (RFC 26): what a job in DEPEND waits for.

use crate::job::Job;
use flurm_types::{JobId, JobResult, Timestamp};
use std::fmt;

#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) enum Need {
    After(After, JobId),
    /// The same, but of an array's first job that job alone is meant, and not all of them.
    One(After, JobId),
    /// To be the oldest active job of its name.
    Singleton,
    BeginTime(Timestamp),
    /// To be one of so many of the array with this first job. No user asks for it: it follows from the job's array.
    Place {
        array: JobId,
        most: u32,
    },
}

/// What a scheme about a job ends in when it means no array.
const ONE: &str = "-one";

#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) enum After {
    Start,
    Any,
    Ok,
    NotOk,
    /// Ended by a fatal exception, as opposed to its own exit code.
    Except,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Open,
    Met,
    Never(&'static str),
}

/// What is known of a job that others wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    pub id: JobId,
    pub started: bool,
    pub result: Option<JobResult>,
    pub excepted: bool,
}

impl From<&Job> for Course {
    fn from(job: &Job) -> Course {
        Course {
            id: job.id(),
            started: job.started(),
            result: job.result(),
            excepted: job.exception().is_some(),
        }
    }
}

impl Need {
    /// Of a jobspec, or of an event's description, which is `scheme=value`.
    pub fn read(scheme: &str, value: &str) -> Result<Need, String> {
        let (plain, alone) = scheme.strip_suffix(ONE).map_or((scheme, false), |plain| (plain, true));
        let after = match plain {
            "after" | "afterstart" => After::Start,
            "afterany" => After::Any,
            "afterok" => After::Ok,
            "afternotok" => After::NotOk,
            "afterexcept" => After::Except,
            "singleton" if !alone => return Ok(Need::Singleton),
            "begin-time" if !alone => {
                let secs: f64 = value
                    .parse()
                    .map_err(|_| format!("begin-time: `{value}` is not a number of seconds since 1970"))?;
                return Timestamp::ZERO
                    .checked_add_secs(secs)
                    .map(Need::BeginTime)
                    .ok_or_else(|| format!("begin-time: `{value}` is out of range"));
            }
            _ => {
                return Err(format!(
                    "dependency scheme `{scheme}` is not supported: those of plug-ins of Flux's job manager are not here"
                ));
            }
        };
        let id = value.parse().map_err(|_| format!("{scheme}: `{value}` is not a job id"))?;
        Ok(if alone { Need::One(after, id) } else { Need::After(after, id) })
    }

    pub fn of_description(description: &str) -> Option<Need> {
        let (scheme, value) = description.split_once('=').unwrap_or((description, ""));
        if scheme == "array" {
            let (array, most) = value.split_once('%')?;
            return Some(Need::Place { array: array.parse().ok()?, most: most.parse().ok()? });
        }
        Need::read(scheme, value).ok()
    }

    /// The job that this is about.
    pub fn target(self) -> Option<JobId> {
        match self {
            Need::After(_, id) | Need::One(_, id) => Some(id),
            Need::Singleton | Need::BeginTime(_) | Need::Place { .. } => None,
        }
    }

    /// For a need about a job, what its course so far means.
    pub fn verdict(self, course: Course) -> Verdict {
        let (Need::After(after, id) | Need::One(after, id)) = self else { return Verdict::Open };
        if id != course.id {
            return Verdict::Open;
        }
        let met_if = |met: bool, otherwise| if met { Verdict::Met } else { Verdict::Never(otherwise) };
        match (after, course.result) {
            (After::Start, _) if course.started => Verdict::Met,
            (_, None) => Verdict::Open,
            (After::Start, Some(_)) => Verdict::Never("ended before it started"),
            (After::Any, Some(_)) => Verdict::Met,
            (After::Ok, Some(result)) => met_if(result == JobResult::Completed, "did not complete"),
            (After::NotOk, Some(result)) => met_if(result != JobResult::Completed, "completed"),
            (After::Except, Some(_)) => met_if(course.excepted, "ended without an exception"),
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::After(after, id) | Need::One(after, id) => {
                let scheme = match after {
                    After::Start => "after",
                    After::Any => "afterany",
                    After::Ok => "afterok",
                    After::NotOk => "afternotok",
                    After::Except => "afterexcept",
                };
                let one = if matches!(self, Need::One(..)) { ONE } else { "" };
                write!(f, "{scheme}{one}={id}")
            }
            Need::Singleton => f.write_str("singleton"),
            Need::BeginTime(time) => write!(f, "begin-time={time}"),
            Need::Place { array, most } => write!(f, "array={array}%{most}"),
        }
    }
}
