//! Jobs as shells are told of them: three texts each, of which equal jobs share two.
//!
//! The text of a jobspec or of an environment is made once for all jobs that have it, and is in a message once. It is known
//! by its address: bulk submissions share both.

use super::exec::ATTEMPT;
use flurm_job_manager::Job;
use flurm_types::{Environment, JobId};
use flurm_wire::exec::{Start, StartJob};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::VecDeque;
use std::sync::Arc;

/// Texts that are kept, of either kind: those of the last jobs.
const TEXTS_MAX: usize = 8;
/// Longer ones are forgotten when the batch is over.
const KEPT_LEN_MAX: usize = 64 << 10;

/// Texts made lately, with what they were made of.
#[derive(Debug, Default)]
pub(super) struct Said {
    environments: VecDeque<(Arc<Environment>, Arc<RawValue>)>,
    jobspecs: VecDeque<(Arc<str>, Arc<RawValue>)>,
}

/// A job in a message.
pub(super) struct Part {
    jobspec: Arc<RawValue>,
    environment: Arc<RawValue>,
    r: Arc<RawValue>,
}

impl Said {
    /// None: it has no R.
    pub fn part(&mut self, job: &Job) -> Option<Part> {
        let text = job.text();
        Some(Part {
            r: raw(&**job.r()?),
            jobspec: known(&mut self.jobspecs, &text.jobspec, |jobspec| {
                RawValue::from_string(jobspec.to_string()).expect("a canonical jobspec is JSON").into()
            }),
            environment: known(&mut self.environments, &text.environment, raw),
        })
    }

    /// The batch is over.
    pub fn forget_long(&mut self) {
        self.environments.retain(|(_, text)| text.get().len() <= KEPT_LEN_MAX);
        self.jobspecs.retain(|(_, text)| text.get().len() <= KEPT_LEN_MAX);
    }
}

fn known<T: ?Sized>(
    texts: &mut VecDeque<(Arc<T>, Arc<RawValue>)>,
    of: &Arc<T>,
    make: impl FnOnce(&T) -> Arc<RawValue>,
) -> Arc<RawValue> {
    if let Some((_, text)) = texts.iter().find(|(known, _)| Arc::ptr_eq(known, of)) {
        return Arc::clone(text);
    }
    let text = make(of);
    texts.truncate(TEXTS_MAX - 1);
    texts.push_front((Arc::clone(of), Arc::clone(&text)));
    text
}

fn raw(value: &impl Serialize) -> Arc<RawValue> {
    to_raw_value(value).expect("idsets, names and finite numbers always serialize").into()
}

impl Part {
    /// How much longer a message becomes by it.
    pub fn len(&self, start: &Start) -> usize {
        let new =
            |texts: &[Arc<RawValue>], text| if place(texts, text).is_some() { 0 } else { text.get().len() };
        self.r.get().len() + new(&start.jobspecs, &self.jobspec) + new(&start.environments, &self.environment)
    }

    pub fn add_to(&self, start: &mut Start, id: JobId) {
        let environment = put(&mut start.environments, &self.environment);
        let jobspec = put(&mut start.jobspecs, &self.jobspec);
        start.jobs.push(StartJob { id, attempt: ATTEMPT, environment, jobspec, r: Arc::clone(&self.r) });
    }
}

/// Where it is already.
fn place(texts: &[Arc<RawValue>], text: &Arc<RawValue>) -> Option<usize> {
    texts.iter().rposition(|there| Arc::ptr_eq(there, text))
}

fn put(texts: &mut Vec<Arc<RawValue>>, text: &Arc<RawValue>) -> usize {
    place(texts, text).unwrap_or_else(|| {
        texts.push(Arc::clone(text));
        texts.len() - 1
    })
}
