//! Changes of what a job has asked for: its time, its queue, its name, where it may run.

use super::exec::ATTEMPT;
use super::ingest::parse;
use super::{Jobs, no_such_job, wire_error};
use crate::cx::Cx;
use flurm_job_manager::{Job, Request, set};
use flurm_sched::SchedInput;
use flurm_types::{Constraint, Fsd, JobId, JobState, Rank, Timestamp};
use flurm_wire::job::{Update, Updated};
use flurm_wire::shell::ExpireHere;
use flurm_wire::{Dest, ErrorCode, Message, WireError};
use serde_json::{Map, Value};
use std::sync::Arc;

const DURATION: &str = "attributes.system.duration";
const QUEUE: &str = "attributes.system.queue";
const NAME: &str = "attributes.system.job.name";
const CONSTRAINTS: &str = "attributes.system.constraints";

fn invalid(text: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::Invalid, text.into())
}

impl Jobs {
    pub(super) fn update(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let Update { id, updates, dry_run } = m.body()?;
        let job = self.manager.job(id).ok_or_else(|| no_such_job(id))?;
        if job.state() >= JobState::Cleanup {
            return Err(invalid(format!("job {id} is over: nothing of it can be changed")));
        }
        if updates.is_empty() {
            return Err(invalid("nothing is to be changed"));
        }
        let runs = job.state() == JobState::Run;
        let mut keys = Map::new();
        for (key, value) in &updates {
            match key.as_str() {
                DURATION => drop(keys.insert(key.clone(), duration(job, value)?.into())),
                NAME | QUEUE if value.as_str().is_none_or(str::is_empty) => {
                    return Err(invalid(format!("{key}: expected a name")));
                }
                NAME => drop(keys.insert(key.clone(), value.clone())),
                QUEUE | CONSTRAINTS if runs => {
                    let what = if key == QUEUE { "queue" } else { "constraints" };
                    return Err(invalid(format!(
                        "job {id} has its resources: its {what} cannot be changed any more"
                    ))
                    .hint("of a job that runs, the duration and the name can be changed"));
                }
                QUEUE | CONSTRAINTS => drop(keys.insert(key.clone(), value.clone())),
                _ => {
                    return Err(invalid(format!("{key} of a job cannot be changed"))
                        .hint("the duration, the queue, the name and the constraints can"));
                }
            }
        }
        self.admitted(cx, job, &mut keys)?;
        let expiration = match keys.get(DURATION).and_then(Value::as_f64) {
            Some(duration) if runs => Some(self.end(cx, job, duration)?),
            Some(_) | None => None,
        };
        let updates = keys.clone().into_iter().collect();
        if !dry_run {
            let request = Request::Update { id, keys: keys.into(), expiration };
            self.decide(cx, &request).map_err(|r| wire_error(&r))?;
        }
        cx.respond(m, &Updated { updates });
        Ok(())
    }

    /// Is the job, with these keys, one that would be taken? What its queue adds to it becomes a key as well.
    fn admitted(&self, cx: &Cx, job: &Job, keys: &mut Map<String, Value>) -> Result<(), WireError> {
        let site = &cx.config.site;
        let text = job.text();
        let mut spec: Value = serde_json::from_str(&text.jobspec)
            .map_err(|e| WireError::new(ErrorCode::Internal, format!("the jobspec in the log: {e}")))?;
        let moves = keys.contains_key(QUEUE);
        if let Some(old) = job.jobspec().filter(|_| moves && !keys.contains_key(CONSTRAINTS)) {
            let own = site.own_constraint(old);
            let own = if own == Constraint::True { Value::Null } else { own.to_json() };
            set(&mut spec, CONSTRAINTS, &own);
        }
        for (key, value) in keys.iter() {
            set(&mut spec, key, value);
        }
        let jobspec =
            parse(&spec.to_string(), Some(&text.environment)).map_err(|e| invalid(e.to_string()))?;
        let jobspec = match job.within() {
            Some(_) => jobspec,
            None => site.admit(jobspec).map_err(|rejected| invalid(rejected.why).hint(rejected.hint))?,
        };
        if job.state() != JobState::Run {
            if moves
                && let Some(reason) =
                    self.manager.gates().of(&jobspec.attributes().queue.clone().unwrap_or_default()).disabled
            {
                let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                return Err(invalid(format!("job submission to that queue is disabled{why}")));
            }
            if !site.unchecked {
                self.sched.satisfiable(&jobspec, cx.now).map_err(invalid)?;
            }
        }
        if moves || keys.contains_key(CONSTRAINTS) {
            let now = &jobspec.attributes().constraints;
            let now = if *now == Constraint::True { Value::Null } else { now.to_json() };
            keys.insert(CONSTRAINTS.to_owned(), now);
        }
        Ok(())
    }

    /// When a job that runs ends, with this duration.
    fn end(&self, cx: &Cx, job: &Job, duration: f64) -> Result<Timestamp, WireError> {
        let r = job.r().ok_or_else(|| invalid(format!("job {} has no resources", job.id())))?;
        let last = self.sched.graph().inventory().expiration;
        let end = if duration == 0.0 {
            last
        } else {
            r.starttime.checked_add_secs(duration).ok_or_else(|| invalid("the duration is too long"))?
        };
        if !end.is_zero() && end <= cx.now.wall {
            return Err(invalid(format!("with that duration job {} would have ended already", job.id()))
                .hint("`flurm cancel` ends it"));
        }
        // Nothing lasts longer than the instance.
        Ok(if last.is_zero() || (!end.is_zero() && end < last) { end } else { last })
    }

    /// The instance ends at another time than before; jobs that would have run until its end, or beyond it, do as well.
    pub fn instance_ends_at(&mut self, cx: &mut Cx, before: Timestamp, end: Timestamp) {
        let new_end = |job: &Job| {
            // Those within others follow these.
            let r = job.r().filter(|_| job.state() == JobState::Run && job.within().is_none())?;
            let ends_with_it = r.expiration == before;
            let too_late = !end.is_zero() && r.expiration > end;
            let own = Some(job.brief().duration).filter(|secs| *secs > 0.0);
            let own = own.and_then(|secs| r.starttime.checked_add_secs(secs));
            let new = own.filter(|own| end.is_zero() || *own < end).unwrap_or(end);
            (ends_with_it || too_late).then(|| (job.id(), new))
        };
        let moved: Vec<(JobId, Timestamp)> = self.manager.active().filter_map(new_end).collect();
        for (id, end) in moved {
            self.expect(cx, &Request::Update { id, keys: Value::Null, expiration: Some(end) });
        }
    }

    /// The job that is to run next needs to be looked at anew.
    pub(super) fn asks_for_other_things(&mut self, cx: &mut Cx, id: JobId) {
        if self.asked.contains(&id) {
            self.ask_sched(cx, id, false);
        }
    }

    /// A job that runs has another end: the scheduler plans with it, and shells warn before it.
    pub(super) fn ends_at(&mut self, cx: &mut Cx, id: JobId, expiration: Timestamp) {
        let Some(job) = self.manager.job(id) else { return };
        let Some(r) = job.r().cloned() else { return };
        let (priority, t_submit, held) = (job.priority(), job.t_submit(), job.held().clone());
        let queue = job.jobspec().and_then(|jobspec| jobspec.attributes().queue.clone());
        for rank in self.runs.reachable(id).iter() {
            cx.tell(Dest::Rank(Rank(rank)), &ExpireHere { id, attempt: ATTEMPT, expiration });
        }
        if job.within().is_some() {
            return;
        }
        let r = if held == r.ranks() { r } else { Arc::new(r.restrict_with_graph(&held)) };
        // For its books alone: to an external scheduler nothing is free.
        let hello = SchedInput::Hello { id, priority, t_submit, queue, r };
        for input in [SchedInput::Free { id, ranks: held }, hello] {
            self.sched.step(cx.now, input, &mut Vec::new());
        }
        self.cycle = true;
    }
}

/// Seconds; a text with a sign changes what there is.
fn duration(job: &Job, value: &Value) -> Result<f64, WireError> {
    let now = job.brief().duration;
    let secs = match (value.as_f64(), value.as_str()) {
        (Some(secs), _) => secs,
        (None, Some(text)) => {
            let (sign, rest) = match text.as_bytes().first() {
                Some(b'+') => (Some(1.0), &text[1..]),
                Some(b'-') => (Some(-1.0), &text[1..]),
                Some(_) | None => (None, text),
            };
            let by: Fsd = rest.parse().map_err(|_| invalid(format!("cannot read duration `{text}`")))?;
            match sign {
                Some(_) if by.is_infinite() => return Err(invalid(format!("cannot read duration `{text}`"))),
                Some(_) if now == 0.0 => {
                    return Err(invalid(format!("job {} has no time limit to add to", job.id()))
                        .hint("give the whole duration"));
                }
                Some(sign) => {
                    let secs = now + sign * by.as_secs();
                    if secs <= 0.0 {
                        return Err(invalid(format!(
                            "a duration of {now} s cannot become shorter by {rest}"
                        )));
                    }
                    secs
                }
                None if by.is_infinite() => 0.0,
                None => by.as_secs(),
            }
        }
        (None, None) => return Err(invalid("a duration is a number of seconds, or text such as 2h or +10m")),
    };
    if secs.is_finite() && secs >= 0.0 { Ok(secs) } else { Err(invalid("a duration is a number above zero")) }
}
