//! Job arrays as Slurm's users write them: `--array=0-99:2%5`.

use super::copies::Which;
use crate::failure::Failure;
use flurm_client::job::NewJob;
use flurm_types::{Environment, Idset, JobId};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use std::sync::Arc;

/// Jobs of one array; Slurm's own default is a thousand.
const JOBS_MAX: u32 = 1_000_000;

const HINT: &str =
    "indices as 0-99, 0-98:2 or 1,5,7, and behind `%` how many may run at a time: --array=0-99%5";

/// The jobs of an array.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Indices {
    pub ids: Idset,
    /// Between two of a single range.
    step: u32,
    /// So many may run at a time.
    throttle: Option<u32>,
}

/// Reads `INDICES[%AT_A_TIME]`.
pub fn parse(text: &str) -> Result<Which, Failure> {
    let bad = |rule: String| Failure::usage(format!("cannot read --array={text}: {rule}")).hint(HINT);
    let number = |digits: &str| digits.parse::<u32>().map_err(|_| bad(format!("`{digits}` is no number")));
    let (list, throttle) = match text.split_once('%') {
        None => (text, None),
        Some((list, most)) => (list, Some(number(most)?)),
    };
    if throttle == Some(0) {
        return Err(bad("nothing of it would ever run".to_owned()));
    }
    let mut ids = Idset::new();
    let mut step = 1;
    for part in list.split(',') {
        let (range, every) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last, every) = (number(first)?, number(last)?, number(every)?);
        if first > last || every == 0 {
            return Err(bad(format!("`{part}` is no range")));
        }
        if (last - first) / every >= JOBS_MAX || ids.len() >= JOBS_MAX as usize {
            return Err(bad(format!("more than {JOBS_MAX} jobs")));
        }
        step = if list == part { every } else { 1 };
        ids.extend((first..=last).step_by(every as usize));
    }
    Ok(Which::Array(Indices { ids, step, throttle }))
}

impl Indices {
    /// The attribute of the job with this index. It names no other job, so it is that of the first.
    pub fn attribute(&self, index: u32) -> Value {
        let (min, max) = (self.ids.first().unwrap_or(0), self.ids.last().unwrap_or(0));
        let mut array =
            json!({ "index": index, "count": self.ids.len(), "min": min, "max": max, "step": self.step });
        if let Some(throttle) = self.throttle {
            array["throttle"] = throttle.into();
        }
        array
    }
}

/// Takes out of an environment what another array has left there.
pub fn alone(environment: &mut Arc<Environment>) {
    let of_array = |name: &String| name.starts_with("SLURM_ARRAY_");
    if environment.keys().any(of_array) {
        Arc::make_mut(environment).retain(|name, _| !of_array(name));
    }
}

/// Makes the job one of the array that this first job has begun.
pub fn join(job: NewJob, first: JobId) -> NewJob {
    let mut jobspec: Value = serde_json::from_str(job.jobspec.get()).expect("we wrote it as JSON");
    jobspec["attributes"]["system"]["array"]["id"] = first.0.into();
    NewJob { jobspec: to_raw_value(&jobspec).expect("a JSON value has string keys"), ..job }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_read_as_slurm_has_them() {
        for (text, ids, step, throttle) in [
            ("0-3", "0-3", 1, None),
            ("0-98:49%5", "0,49,98", 49, Some(5)),
            ("7", "7", 1, None),
            ("1,5,8-12:2%1", "1,5,8,10,12", 1, Some(1)),
        ] {
            let ids = ids.parse().unwrap();
            assert_eq!(parse(text), Ok(Which::Array(Indices { ids, step, throttle })), "{text}");
        }
        for text in ["", "a", "3-1", "0-9:0", "0-9%0", "0-9%", "0-4000000", "-1", "1;2"] {
            let failure = parse(text).unwrap_err();
            assert!(failure.lines().0.starts_with("cannot read --array="), "{text}");
        }
    }
}
