//! Why a job is where it is, in a sentence for its owner (`flurm job why`).

use super::{Jobs, no_such_job};
use crate::cx::Cx;
use flurm_job_manager::Job;
use flurm_types::{JobState, Timestamp};
use flurm_wire::job::{Reason, Why};
use flurm_wire::{Message, WireError};

impl Jobs {
    pub(super) fn why(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let Why { id } = m.body()?;
        let job = self.manager.job(id).ok_or_else(|| no_such_job(id))?;
        let reason = match job.state() {
            JobState::New | JobState::Priority => said("is being looked at"),
            JobState::Depend => waits(job),
            JobState::Sched if job.priority() == 0 => {
                said("is held: its urgency is 0 (release it with `flurm job urgency`)")
            }
            JobState::Sched => self.waits_for_resources(cx, job),
            JobState::Run => said(format!("runs on {}", nodes(job))),
            JobState::Cleanup => said(match job.exception() {
                Some(exception) => format!("is being ended: {}", exception.kind),
                None => "is being ended".to_owned(),
            }),
            JobState::Inactive => {
                let result = job.result().map_or("", |result| result.name());
                let why = job.exception().filter(|exception| !exception.note.is_empty());
                let why = why.map_or(String::new(), |exception| format!(" ({})", exception.note));
                said(format!("is over: {result}{why}"))
            }
        };
        cx.respond(m, &reason);
        Ok(())
    }

    fn waits_for_resources(&self, cx: &Cx, job: &Job) -> Reason {
        let queue = &*job.brief().queue;
        if let Some(reason) = self.manager.gates().of(queue).stopped {
            let name = if queue.is_empty() { "the queue".to_owned() } else { format!("queue {queue}") };
            let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            return said(format!("waits: {name} is stopped{because}"));
        }
        if let Some(waits) = self.seat.waits() {
            let told = self.annotations.get(&job.id());
            let text = |key: &str| told.and_then(|told| told.pointer(key)).cloned();
            let reason = text("/sched/reason_pending").and_then(|reason| reason.as_str().map(str::to_owned));
            let start = text("/sched/t_estimate").and_then(|start| start.as_f64());
            let earliest = start.and_then(|secs| Timestamp::ZERO.checked_add_secs(secs));
            return Reason { earliest, ..said(reason.unwrap_or(waits)) };
        }
        match self.sched.why(job.id(), cx.now) {
            Some(why) => Reason { text: why.reason, blocked_by: why.blocked_by, earliest: why.earliest },
            None => said("waits for the scheduler"),
        }
    }
}

fn said(text: impl Into<String>) -> Reason {
    Reason { text: text.into(), blocked_by: None, earliest: None }
}

fn nodes(job: &Job) -> String {
    job.r().map_or_else(String::new, |r| r.hostlist().to_string())
}

/// Dependencies as their events describe them: `scheme=value`.
fn waits(job: &Job) -> Reason {
    let mut reason = said("");
    let mut parts = Vec::new();
    for description in job.dependencies() {
        let (scheme, value) = description.split_once('=').unwrap_or((&description, ""));
        parts.push(match scheme {
            "after" => format!("until {value} has started"),
            "afterany" => format!("until {value} is over"),
            "afterok" => format!("until {value} has completed"),
            "afternotok" => format!("until {value} has failed"),
            "afterexcept" => format!("until {value} is ended by an exception"),
            "singleton" => format!("until it is the oldest job named {}", job.brief().name),
            "array" => {
                let (array, most) = value.split_once('%').unwrap_or((value, ""));
                format!("until fewer than {most} jobs of array {array} are scheduled or run")
            }
            "begin-time" => {
                let time = value.parse().ok().and_then(|secs| Timestamp::ZERO.checked_add_secs(secs));
                reason.earliest = reason.earliest.max(time);
                "until its begin time".to_owned()
            }
            _ => format!("for {description}"),
        });
        if reason.blocked_by.is_none() {
            reason.blocked_by = value.parse().ok().filter(|_| scheme.starts_with("after"));
        }
    }
    reason.text = format!("waits {}", parts.join(" and "));
    reason
}
