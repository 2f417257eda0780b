//! Elements of an array that wait are one job for Slurm's commands (`17_[3-9]`), as long as they wait.

use super::array::ARRAY_SIZE_MAX;
use flurm_slurm_protocol::NO_VAL;
use flurm_types::{Idset, JobId};
use flurm_wire::job::JobRecord;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A job to be shown.
#[derive(Debug)]
pub struct Shown<'a> {
    /// Of elements that wait: the first of them, under the array's number and without an index of its own.
    pub job: Cow<'a, JobRecord>,
    /// Where the Slurm part of the job is.
    pub id: JobId,
    /// Which elements.
    pub waiting: Option<Idset>,
}

/// What elements have in common that are shown as one.
type Alike<'a> = (bool, &'a [String]);

fn alike(job: &JobRecord) -> Alike<'_> {
    (job.urgency == 0, &job.dependencies)
}

/// In the order they came. Of an array whose elements wait for different things, the first kind becomes one.
pub fn gather<'a>(jobs: impl Iterator<Item = &'a JobRecord>) -> Vec<Shown<'a>> {
    let mut shown: Vec<Shown<'a>> = Vec::new();
    // By number of the array: where it is shown, and what its elements have in common.
    let mut arrays: BTreeMap<u32, (usize, Alike<'a>)> = BTreeMap::new();
    for job in jobs {
        // An index that no array of Slurm's has would make a bitmap without end: such a job is shown alone.
        let array = job.array.filter(|array| job.state.is_pending() && array.index < ARRAY_SIZE_MAX);
        let Some(array) = array else {
            shown.push(Shown { job: Cow::Borrowed(job), id: job.id, waiting: None });
            continue;
        };
        let (at, common) = *arrays.entry(array.number).or_insert((shown.len(), alike(job)));
        match shown.get_mut(at) {
            Some(Shown { waiting: Some(waiting), .. }) if common == alike(job) => {
                waiting.insert(array.index);
            }
            Some(_) => shown.push(Shown { job: Cow::Borrowed(job), id: job.id, waiting: None }),
            None => {
                let mut first = job.clone();
                first.number = array.number;
                if let Some(array) = &mut first.array {
                    array.index = NO_VAL;
                }
                let mut waiting = Idset::default();
                waiting.insert(array.index);
                shown.push(Shown { job: Cow::Owned(first), id: job.id, waiting: Some(waiting) });
            }
        }
    }
    shown
}

/// As `array_task_str`: a bitmap in hexadecimal, the highest index first.
pub fn bitmap(indexes: &Idset) -> String {
    let last = indexes.last().unwrap_or_default();
    let digit = |at: u32| {
        let bits = (0..4).filter(|bit| indexes.contains(at * 4 + bit)).map(|bit| 1 << bit).sum::<u32>();
        char::from_digit(bits, 16).unwrap_or('0').to_ascii_uppercase()
    };
    "0x".chars().chain((0..=last / 4).rev().map(digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn element(number: u32, index: u32, state: &str, urgency: u8) -> JobRecord {
        let id = u64::from(number) << 24;
        let array = json!({ "id": 5_u64 << 24, "number": 5, "index": index });
        let record = json!({
            "id": id, "number": number, "userid": 1, "urgency": urgency, "priority": 1, "t_submit": 1.0,
            "state": state, "name": "x", "cwd": "/", "ntasks": 1, "ncores": 1, "nnodes": 1, "duration": 0.0,
            "array": array,
        });
        serde_json::from_value(record).expect("a record")
    }

    #[test]
    fn elements_that_wait_for_the_same_are_one_under_the_arrays_number() {
        let jobs = [
            element(5, 0, "RUN", 16),
            element(6, 1, "SCHED", 16),
            element(7, 2, "SCHED", 16),
            element(8, 3, "SCHED", 0),
            element(9, 5, "SCHED", 16),
            element(10, NO_VAL - 4, "SCHED", 16),
        ];
        let shown = gather(jobs.iter());
        let of = |shown: &Shown<'_>| {
            let index = shown.job.array.map(|array| array.index);
            (shown.job.number, index, shown.waiting.as_ref().map(Idset::to_string), shown.id)
        };
        assert_eq!(
            shown.iter().map(of).collect::<Vec<_>>(),
            [
                (5, Some(0), None, jobs[0].id),
                (5, Some(NO_VAL), Some("1-2,5".to_owned()), jobs[1].id),
                (8, Some(3), None, jobs[3].id),
                (10, Some(NO_VAL - 4), None, jobs[5].id),
            ]
        );
    }

    #[test]
    fn indexes_are_a_bitmap_in_hexadecimal() {
        let bitmap = |text: &str| bitmap(&text.parse().expect("a set"));
        assert_eq!(
            (bitmap("1-4"), bitmap("0"), bitmap("3,10-11")),
            ("0x1E".into(), "0x1".into(), "0xC08".into())
        );
    }
}
