//! Submission: limits, syntax, what can never run, ids.
//!
//! Bulk submissions hold thousands of equal jobspecs in equal environments: each is read and kept once.

use super::{Jobs, wire_error};
use crate::cx::Cx;
use crate::site::Site;
use flurm_job_manager::{Asked, Batch, Request, Submit};
use flurm_jobspec::{Copy, Jobspec, JobspecError, Mould};
use flurm_sched::Sched;
use flurm_types::{Environment, JobId, Now, Urgency};
use flurm_wire::fact::JobSpecText;
use flurm_wire::job::{SubmitJob, Submitted};
use flurm_wire::{ErrorCode, Message, WireError};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Jobs in one message; clients send fewer, so that nobody waits long behind them.
const MESSAGE_JOBS_MAX: usize = 4096;
/// Bytes of one jobspec. Files that travel in it are part of it.
const JOBSPEC_LEN_MAX: usize = 4 << 20;
/// Bytes of one environment: Linux gives no program more than 6 MiB of arguments and environment.
const ENVIRONMENT_LEN_MAX: usize = 6 << 20;
const SUBMIT_ID_LEN_MAX: usize = 128;
/// Jobs that an instance knows, active or not: some gigabytes.
const JOBS_MAX: usize = 4_000_000;
/// Environments kept to be shared.
const ENVIRONMENTS_MAX: usize = 256;
/// Jobspecs kept to be shared: the ones of the last submissions.
const TEXTS_MAX: usize = 8;

/// What was read lately.
#[derive(Debug, Default)]
pub(super) struct Texts {
    environments: BTreeSet<Arc<Environment>>,
    texts: VecDeque<Text>,
}

#[derive(Debug)]
struct Text {
    /// As it came; the one in `asked` is in canonical form.
    raw: Box<str>,
    asked: Asked,
    /// Of a copy, how others of it are known: as they come, and as they are kept.
    moulds: Option<[Mould; 2]>,
    /// It came from a client and has been given what its queue adds to it.
    admitted: bool,
    /// Whether such a job fits these resources at all, once it has been looked at.
    fits: Option<Result<(), String>>,
}

impl Texts {
    /// The same environment, shared with whoever else has it.
    fn environment(&mut self, environment: &Arc<Environment>) -> Arc<Environment> {
        if let Some(known) = self.environments.get(environment) {
            return known.clone();
        }
        if self.environments.len() >= ENVIRONMENTS_MAX {
            self.environments.retain(|e| Arc::strong_count(e) > 1);
            if self.environments.len() >= ENVIRONMENTS_MAX {
                self.environments.clear();
            }
        }
        self.environments.insert(environment.clone());
        environment.clone()
    }

    /// What a client has sent, as it is taken; and the text that it is, or is a copy of.
    fn admit(
        &mut self,
        raw: &str,
        environment: Option<&Arc<Environment>>,
        site: &Site,
    ) -> Result<(Asked, &mut Text), WireError> {
        let invalid = |text: String| WireError::new(ErrorCode::Invalid, text);
        if let Some(at) = self.find(raw, environment, true) {
            let text = &mut self.texts[at];
            return Ok((text.asked.clone(), text));
        }
        if let Some((at, asked)) = self.copy(raw, environment, true) {
            return Ok((asked, &mut self.texts[at]));
        }
        let jobspec = parse(raw, environment).map_err(|e| invalid(format!("jobspec: {e}")))?;
        // What a queue adds and demands was the business of the job that it is within.
        let jobspec = match jobspec.attributes().within {
            Some(_) => jobspec,
            None => site.admit(jobspec).map_err(|rejected| invalid(rejected.why).hint(rejected.hint))?,
        };
        let text = self.keep(raw, jobspec, true);
        Ok((text.asked.clone(), text))
    }

    fn find(&self, raw: &str, environment: Option<&Arc<Environment>>, admitted: bool) -> Option<usize> {
        self.texts.iter().position(|t| *t.raw == *raw && t.is_for(environment, admitted))
    }

    /// Another copy of one of them. Neither what a site adds nor whether it fits depends on the copy.
    fn copy(
        &self,
        raw: &str,
        environment: Option<&Arc<Environment>>,
        admitted: bool,
    ) -> Option<(usize, Asked)> {
        self.texts.iter().enumerate().filter(|(_, t)| t.is_for(environment, admitted)).find_map(|(at, t)| {
            let [given, canonical] = t.moulds.as_ref()?;
            let number = given.number_of(raw)?;
            let jobspec = Arc::new(t.asked.jobspec.copied(number));
            let mut brief = t.asked.brief.clone();
            if brief.array.is_some() {
                Arc::make_mut(&mut brief).array = jobspec.attributes().array;
            }
            let environment = t.asked.text.environment.clone();
            let text = JobSpecText { jobspec: canonical.with(number).into(), environment };
            Some((at, Asked { text, jobspec, brief }))
        })
    }

    fn keep(&mut self, raw: &str, jobspec: Jobspec, admitted: bool) -> &mut Text {
        let environment = jobspec.attributes().environment.clone();
        let text = JobSpecText { jobspec: jobspec.to_json_without_environment().into(), environment };
        let copy = Copy::of(raw).filter(|copy| jobspec.is_copy(copy));
        let canonical = Copy::of(&text.jobspec).zip(copy).filter(|(canonical, of)| canonical.says_as(of));
        let moulds = canonical.and_then(|_| Some([Mould::of(raw)?, Mould::of(&text.jobspec)?]));
        let asked = Asked::new(text, Arc::new(jobspec));
        self.texts.truncate(TEXTS_MAX - 1);
        self.texts.push_front(Text { raw: raw.into(), asked, moulds, admitted, fits: None });
        &mut self.texts[0]
    }

    /// What the log has kept.
    pub fn read_again(&mut self, text: &JobSpecText) -> Result<Asked, JobspecError> {
        let environment = self.environment(&text.environment);
        if let Some(at) = self.find(&text.jobspec, Some(&environment), false) {
            return Ok(self.texts[at].asked.clone());
        }
        if let Some((_, asked)) = self.copy(&text.jobspec, Some(&environment), false) {
            return Ok(asked);
        }
        let jobspec = parse(&text.jobspec, Some(&environment))?;
        Ok(self.keep(&text.jobspec, jobspec, false).asked.clone())
    }

    /// Resources have changed.
    pub fn forget_verdicts(&mut self) {
        for text in &mut self.texts {
            text.fits = None;
        }
    }
}

/// Bytes of an environment in a message, before JSON has escaped anything.
fn environment_len(environment: &Environment) -> usize {
    environment.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len) + 8).sum()
}

pub(super) fn parse(raw: &str, environment: Option<&Arc<Environment>>) -> Result<Jobspec, JobspecError> {
    match environment {
        Some(environment) => Jobspec::parse_with_environment(raw, environment.clone()),
        None => Jobspec::parse(raw),
    }
}

impl Text {
    fn is_for(&self, environment: Option<&Arc<Environment>>, admitted: bool) -> bool {
        let environment_is = |e| Arc::ptr_eq(e, &self.asked.text.environment);
        self.admitted == admitted && environment.is_none_or(environment_is)
    }

    fn fits(&mut self, sched: &Sched, now: Now) -> Result<(), String> {
        // Members of groups come and go with no change of the resources: that is never an old answer.
        sched.joinable(&self.asked.jobspec)?;
        self.fits.get_or_insert_with(|| sched.satisfiable(&self.asked.jobspec, now)).clone()
    }
}

impl Jobs {
    pub(super) fn submit(&mut self, cx: &mut Cx, m: &Message) -> Result<(), WireError> {
        let body: flurm_wire::job::Submit = m.body()?;
        if self.stopping {
            return Err(WireError::new(ErrorCode::Unavailable, "the instance is ending"));
        }
        if body.jobs.len() > MESSAGE_JOBS_MAX {
            let text = format!("{} jobs in one message: the limit is {MESSAGE_JOBS_MAX}", body.jobs.len());
            return Err(WireError::new(ErrorCode::TooBig, text));
        }
        if body.submit_id.is_empty() || body.submit_id.len() > SUBMIT_ID_LEN_MAX {
            let text = format!("a submit_id has 1 to {SUBMIT_ID_LEN_MAX} bytes");
            return Err(WireError::new(ErrorCode::Invalid, text));
        }
        if let Some(len) =
            body.environments.iter().map(|e| environment_len(e)).find(|l| *l > ENVIRONMENT_LEN_MAX)
        {
            let text = format!("an environment of {len} bytes: the limit is {ENVIRONMENT_LEN_MAX}");
            return Err(WireError::new(ErrorCode::TooBig, text));
        }
        let batch: Arc<str> = body.submit_id.into();
        let environments: Vec<Arc<Environment>> =
            body.environments.iter().map(|e| self.texts.environment(e)).collect();
        let mut jobs = Vec::with_capacity(body.jobs.len());
        for (index, job) in (0..).zip(&body.jobs) {
            // A client that has heard nothing repeats its message: what became a job stays that job.
            jobs.push(match self.manager.submitted(&batch, index) {
                Some(id) => Ok(id),
                None => self.submit_one(cx, job, &environments, Batch { id: batch.clone(), index }),
            });
        }
        cx.respond(m, &Submitted { jobs });
        Ok(())
    }

    fn submit_one(
        &mut self,
        cx: &mut Cx,
        job: &SubmitJob,
        environments: &[Arc<Environment>],
        batch: Batch,
    ) -> Result<JobId, WireError> {
        let invalid = |text: String| WireError::new(ErrorCode::Invalid, text);
        let raw = job.jobspec.get();
        if raw.len() > JOBSPEC_LEN_MAX {
            let text = format!("a jobspec of {} bytes: the limit is {JOBSPEC_LEN_MAX}", raw.len());
            return Err(WireError::new(ErrorCode::TooBig, text));
        }
        let known = self.manager.known();
        if known >= JOBS_MAX {
            let text = format!("this instance has {known} jobs already, which is the limit");
            return Err(WireError::new(ErrorCode::Unavailable, text));
        }
        let urgency = Urgency::new(job.urgency)
            .ok_or_else(|| invalid(format!("urgency {}: expected 0 to 31", job.urgency)))?;
        let environment = match job.environment {
            None => None,
            Some(index) => Some(
                environments
                    .get(index)
                    .ok_or_else(|| invalid(format!("the message has no environment {index}")))?,
            ),
        };
        let (asked, text) = self.texts.admit(raw, environment, &cx.config.site)?;
        let within = asked.jobspec.attributes().within.is_some();
        if !within && !job.flags.novalidate && !cx.config.site.unchecked {
            text.fits(&self.sched, cx.now)
                .map_err(|rule| invalid(rule).hint("`flurm resource list` shows what there is"))?;
        }
        let (userid, flags) = (cx.config.owner, job.flags.into());
        // Who decides gives it its number.
        let submit = Submit { userid, urgency, flags, batch: Some(batch), number: 0, asked };
        let micros = cx.now.wall.0.saturating_sub(cx.config.starttime.0);
        // From 1: the id 0 is not a job's.
        let id = self.ids.next(u64::try_from(micros / 1000).unwrap_or(0).max(1));
        self.decide(cx, &Request::Submit { id, submit: Box::new(submit) }).map_err(|r| wire_error(&r))?;
        Ok(id)
    }
}
