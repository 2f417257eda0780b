//! Dependencies as Slurm writes them, `afterok:5:7_2,singleton`: jobs by number to jobs by id.

use super::refusal::Refusal;
use super::site::{Find, Target};
use flurm_jobspec::Dependency;
use flurm_slurm_protocol::errors::ESLURM_DEPENDENCY;
use flurm_types::JobId;

/// What a job has to wait for, and what one of an array has to wait for besides.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Waits {
    pub all: Vec<Dependency>,
    /// Jobs of other arrays by index: the job with the same one waits for it.
    pub same_index: Vec<(u32, JobId)>,
}

impl Waits {
    /// Of the job with this index.
    pub fn of(&self, index: Option<u32>) -> Vec<Dependency> {
        let same = self.same_index.iter().filter(|(other, _)| Some(*other) == index);
        self.all.iter().cloned().chain(same.map(|(_, id)| one("afterok", *id))).collect()
    }
}

/// Reads the list.
pub fn read(text: &str, find: Find<'_>) -> Result<Waits, Refusal> {
    let bad = |why: &str| Refusal::new(ESLURM_DEPENDENCY, format!("--dependency={text}: {why}"));
    if text.contains('?') {
        return Err(bad("that one of several is enough is not known here; all of them are waited for"));
    }
    let mut waits = Waits::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let mut words = part.split(':');
        let kind = words.next().unwrap_or_default();
        let scheme = match kind {
            "singleton" => {
                waits.all.push(Dependency::new("singleton", ""));
                continue;
            }
            "after" | "afterany" | "afterok" | "afternotok" | "aftercorr" => kind,
            "expand" => return Err(bad("a job does not grow")),
            "afterburstbuffer" => return Err(bad("there are no burst buffers")),
            // `-d 5` is an old form of `afterany:5`.
            digits if digits.parse::<u32>().is_ok() => {
                words = part.split(':');
                "afterany"
            }
            _ => return Err(bad("this kind of dependency is not known")),
        };
        let mut named = 0;
        for word in words.map(|word| word.split('(').next().unwrap_or(word)) {
            let (word, delay) =
                word.split_once('+').map_or((word, None), |(word, delay)| (word, Some(delay)));
            if delay.is_some_and(|delay| delay != "0") {
                return Err(bad("minutes after the start of a job cannot be counted"));
            }
            let found = targets(word, find).ok_or_else(|| bad(&format!("`{word}` is no job here")))?;
            named += 1;
            let scheme = if scheme == "aftercorr" { "afterok" } else { scheme };
            match found {
                Found::Array(jobs) if kind == "aftercorr" => {
                    waits.same_index.extend(jobs.iter().filter_map(|job| Some((job.index?, job.id))));
                }
                // An array's first job stands for all of them.
                Found::Array(jobs) => {
                    let first = jobs.iter().map(|job| job.id).min();
                    waits.all.extend(first.map(|id| Dependency::new(scheme, id.to_string())));
                }
                Found::Jobs(jobs) => waits.all.extend(jobs.iter().map(|job| match job.index {
                    Some(_) => one(scheme, job.id),
                    None => Dependency::new(scheme, job.id.to_string()),
                })),
            }
        }
        if named == 0 {
            return Err(bad("no job is named"));
        }
    }
    Ok(waits)
}

/// Of an array that job alone.
fn one(scheme: &str, id: JobId) -> Dependency {
    Dependency::new(format!("{scheme}-one"), id.to_string())
}

enum Found {
    Jobs(Vec<Target>),
    /// All of it.
    Array(Vec<Target>),
}

/// `5`, `5_2` or `5_*`.
fn targets(word: &str, find: Find<'_>) -> Option<Found> {
    let (number, index) = word.split_once('_').map_or((word, None), |(number, index)| (number, Some(index)));
    let mut found = find(number.parse().ok()?);
    if let Some(index) = index.filter(|index| *index != "*") {
        let index: u32 = index.parse().ok()?;
        found.retain(|target| target.index == Some(index));
        return (!found.is_empty()).then_some(Found::Jobs(found));
    }
    match found.as_slice() {
        [] => None,
        [_] => Some(Found::Jobs(found)),
        [..] => Some(Found::Array(found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(number: u32) -> Vec<Target> {
        match number {
            5 => vec![Target { id: JobId(50), index: None }],
            7 => (1..=2).map(|n| Target { id: JobId(70 + u64::from(n)), index: Some(n) }).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn jobs_are_named_by_number_and_waited_for_by_id() {
        let (f50, f71, f72) = (JobId(50).to_string(), JobId(71).to_string(), JobId(72).to_string());
        for (text, index, wanted) in [
            ("afterok:5", None, vec![("afterok", f50.as_str())]),
            ("5", None, vec![("afterany", &f50)]),
            ("afterany:7", None, vec![("afterany", &f71)]),
            ("afternotok:7_2,singleton", None, vec![("afternotok-one", &f72), ("singleton", "")]),
            ("aftercorr:7", Some(1), vec![("afterok-one", &f71)]),
            ("aftercorr:5", Some(1), vec![("afterok", &f50)]),
            ("after:5+0", None, vec![("after", &f50)]),
            ("afterok:5(unfulfilled)", None, vec![("afterok", &f50)]),
        ] {
            let found = read(text, &find).unwrap().of(index);
            let found: Vec<(&str, &str)> =
                found.iter().map(|d| (d.scheme.as_str(), d.value.as_str())).collect();
            assert_eq!(found, wanted, "{text}");
        }
        for text in
            ["afterok:6", "afterok:7_3", "afterok", "after:5+1", "afterok:5?afterok:7", "expand:5", "when:5"]
        {
            assert_eq!(read(text, &find).unwrap_err().code, ESLURM_DEPENDENCY, "{text}");
        }
    }
}
