//! Jobs as shells are told of them: three texts each, of which equal jobs share two.
//!
//! The text of a jobspec or of an environment is made once for all jobs that have it, and is in a message once. It is known
//! by its address: bulk submissions share both. Copies share the text of one of them, and each has its number beside it.

use super::exec::ATTEMPT;
use flurm_job_manager::Job;
use flurm_jobspec::Mould;
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
    /// Of the last jobspec that is a copy, how others of it are known.
    mould: Option<(Mould, Arc<RawValue>)>,
}

/// A job in a message.
pub(super) struct Part {
    jobspec: Arc<RawValue>,
    copy: Option<u32>,
    number: u32,
    array_number: u32,
    environment: Arc<RawValue>,
    r: Arc<RawValue>,
}

impl Said {
    /// None: it has no R.
    pub fn part(&mut self, job: &Job, array_number: Option<u32>) -> Option<Part> {
        let text = job.text();
        let r = raw(&**job.r()?);
        let (jobspec, copy) = self.jobspec(&text.jobspec);
        let environment = known(&mut self.environments, &text.environment, raw);
        let (number, array_number) = (job.number(), array_number.unwrap_or(0));
        Some(Part { jobspec, copy, number, array_number, environment, r })
    }

    /// The text that goes out, and which copy of it is meant if it is another one's.
    fn jobspec(&mut self, jobspec: &Arc<str>) -> (Arc<RawValue>, Option<u32>) {
        if let Some((mould, text)) = &self.mould
            && let Some(number) = mould.number_of(jobspec)
        {
            return (Arc::clone(text), Some(number));
        }
        let text = known(&mut self.jobspecs, jobspec, |jobspec| {
            RawValue::from_string(jobspec.to_string()).expect("a canonical jobspec is JSON").into()
        });
        if let Some(mould) = Mould::of(jobspec) {
            self.mould = Some((mould, Arc::clone(&text)));
        }
        (text, None)
    }

    /// The batch is over.
    pub fn forget_long(&mut self) {
        self.environments.retain(|(_, text)| text.get().len() <= KEPT_LEN_MAX);
        self.jobspecs.retain(|(_, text)| text.get().len() <= KEPT_LEN_MAX);
        self.mould.take_if(|(_, text)| text.get().len() > KEPT_LEN_MAX);
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
        let Part { copy, number, array_number, .. } = *self;
        let r = Arc::clone(&self.r);
        start.jobs.push(StartJob {
            id,
            attempt: ATTEMPT,
            environment,
            jobspec,
            copy,
            number,
            array_number,
            r,
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_the_text_of_the_first_and_each_has_its_number() {
        let mut said = Said::default();
        let mut say = |text: &str| {
            let (text, copy) = said.jobspec(&text.into());
            (text.get().to_owned(), copy)
        };
        let first = r#"{"a":1,"cc":3}"#.to_owned();
        assert_eq!(say(&first), (first.clone(), None));
        assert_eq!(say(r#"{"a":1,"cc":14}"#), (first.clone(), Some(14)));
        let other = r#"{"a":2,"cc":14}"#.to_owned();
        assert_eq!(say(&other), (other.clone(), None));
        assert_eq!(say(&first), (first.clone(), None));
        assert_eq!(say(r#"{"a":1,"b":3}"#).1, None);
    }
}
