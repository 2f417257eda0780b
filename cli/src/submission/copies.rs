//! Many jobs of one command line: `--cc`, `--bcc` and `--array`.
//!
//! Copies differ in what `{cc}` stands for and in `FLUX_JOB_CC`. Where they differ in nothing else, their jobspec is
//! made once and only the number in it changes: ten thousand copies share one environment, in which the job's shell
//! fills in the number.

use super::array::{self, Indices};
use super::{Options, Stdin};
use crate::failure::Failure;
use flurm_client::job::NewJob;
use flurm_jobspec::Jobspec;
use flurm_types::{Environment, Idset};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;

/// The variable that tells a job which copy it is.
const VARIABLE: &str = "FLUX_JOB_CC";
const PLACEHOLDER: &str = "{cc}";
/// What the shell puts the number in for: a tag as any other, which stays as it is.
const TAG: &str = "{{cc}}";

/// Which copies of a job there are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Which {
    /// The one.
    One,
    /// One for each id; `told` says whether the job finds it in its environment.
    Ids { ids: Idset, told: bool },
    /// The jobs of an array.
    Array(Indices),
}

impl Which {
    /// Of `--cc` and `--bcc`.
    pub fn of(cc: Option<&str>, bcc: Option<&str>) -> Result<Which, Failure> {
        let Some(ids) = cc.or(bcc) else { return Ok(Which::One) };
        let ids = Idset::parse_relaxed(ids)?;
        if ids.is_empty() {
            return Err(Failure::usage("there are no copies in an empty set"));
        }
        Ok(Which::Ids { ids, told: cc.is_some() })
    }

    pub fn len(&self) -> usize {
        match self {
            Which::One => 1,
            Which::Ids { ids, .. } | Which::Array(Indices { ids, .. }) => ids.len(),
        }
    }

    fn numbers(&self) -> Vec<Option<u32>> {
        match self {
            Which::One => vec![None],
            Which::Ids { ids, .. } | Which::Array(Indices { ids, .. }) => ids.iter().map(Some).collect(),
        }
    }

    fn is_array(&self) -> bool {
        matches!(self, Which::Array(_))
    }

    fn told(&self) -> bool {
        matches!(self, Which::Ids { told: true, .. } | Which::Array(_))
    }
}

/// The copies of one job.
#[derive(Debug)]
pub struct Copies {
    options: Options,
    stdin: Stdin,
    which: Which,
}

impl Copies {
    pub fn new(options: Options, stdin: Stdin, which: Which) -> Copies {
        Copies { options, stdin, which }
    }

    /// The job of these options, ready to be submitted.
    pub fn one(options: &Options, stdin: &Stdin) -> Result<NewJob, Failure> {
        let copies = Copies::new(options.clone(), stdin.clone(), Which::One);
        Ok(Template::new(&copies, None)?.job)
    }

    /// The jobspecs, each whole.
    pub fn jobspecs(self) -> impl Iterator<Item = Result<Jobspec, Failure>> {
        let numbers = self.which.numbers();
        numbers.into_iter().map(move |number| {
            let jobspec = self.jobspec(number)?;
            match number.filter(|_| self.which.told()) {
                None => Ok(jobspec),
                Some(number) => {
                    let environment = Arc::new(told(&jobspec.attributes().environment, number));
                    jobspec.with_environment(environment).map_err(|e| super::build::failure(&e))
                }
            }
        })
    }

    /// The jobs, ready to be submitted, with their numbers.
    pub fn jobs(mut self) -> Result<Jobs, Failure> {
        let differ = self.which != Which::One && self.options.texts().any(|text| put_in(text, "").is_some());
        self.options.share_environment()?;
        if self.which.told()
            && let Some(shared) = &mut self.options.shared
        {
            tell(shared, self.which.is_array());
        }
        let numbers = self.which.numbers();
        let template = Template::new(&self, numbers.first().copied().flatten())?;
        Ok(Jobs { numbers: numbers.into_iter(), copies: self, differ, template })
    }

    fn jobspec(&self, number: Option<u32>) -> Result<Jobspec, Failure> {
        match number {
            None => self.options.jobspec(&self.stdin),
            Some(number) => {
                let mut options = self.options.clone();
                let number = number.to_string();
                for text in options.texts() {
                    if let Some(filled) = put_in(text, &number) {
                        *text = filled;
                    }
                }
                if let Which::Array(indices) = &self.which {
                    let index = number.parse().expect("it was a number");
                    // First, so that the user has the last word.
                    options.what.setattr.insert(0, format!("system.array={}", indices.attribute(index)));
                }
                options.jobspec(&self.stdin)
            }
        }
    }
}

/// The text with the number where it has a place for it.
fn put_in(text: &str, number: &str) -> Option<String> {
    let (mut out, mut rest, mut found) = (String::new(), text, false);
    while let Some(at) = rest.find(PLACEHOLDER) {
        let end = at + PLACEHOLDER.len();
        let is_tag = rest[..at].ends_with('{') && rest[end..].starts_with('}');
        out.push_str(&rest[..at]);
        out.push_str(if is_tag { PLACEHOLDER } else { number });
        (rest, found) = (&rest[end..], found || !is_tag);
    }
    out.push_str(rest);
    found.then_some(out)
}

/// Copies, one after the other.
#[derive(Debug)]
pub struct Jobs {
    copies: Copies,
    numbers: std::vec::IntoIter<Option<u32>>,
    /// Not only in their number.
    differ: bool,
    template: Template,
}

impl Iterator for Jobs {
    type Item = Result<(Option<u32>, NewJob), Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.numbers.next()?;
        if self.differ {
            // The environment stays the first one's where it is equal, so that it is sent once a message.
            match Template::new(&self.copies, number) {
                Ok(next) => self.template = next.sharing(&self.template),
                Err(failure) => return Some(Err(failure)),
            }
        }
        Some(Ok((number, self.template.job(number.filter(|_| self.copies.which.told())))))
    }
}

/// A jobspec in which only the number of the copy changes.
#[derive(Debug)]
struct Template {
    /// As a value, once a number has been put in.
    jobspec: Option<Value>,
    job: NewJob,
}

impl Template {
    fn new(copies: &Copies, number: Option<u32>) -> Result<Template, Failure> {
        let jobspec = copies.jobspec(number)?;
        let mut environment = jobspec.attributes().environment.clone();
        if copies.which.told() {
            tell(&mut environment, copies.which.is_array());
        }
        let text = RawValue::from_string(jobspec.to_json_without_environment());
        let job = NewJob {
            jobspec: text.expect("canonical JSON"),
            environment,
            urgency: copies.options.urgency()?.get(),
            flags: copies.options.flags(),
        };
        Ok(Template { jobspec: None, job })
    }

    /// With the environment of the other one, where both are equal.
    fn sharing(mut self, other: &Template) -> Template {
        if self.job.environment == other.job.environment {
            self.job.environment = other.job.environment.clone();
        }
        self
    }

    fn job(&mut self, number: Option<u32>) -> NewJob {
        let mut job = self.job.clone();
        if let Some(number) = number {
            let read = || serde_json::from_str(self.job.jobspec.get()).expect("canonical JSON");
            let jobspec: &mut Value = self.jobspec.get_or_insert_with(read);
            // Indexing makes the objects on the way where there are none.
            let system = &mut jobspec["attributes"]["system"];
            system["shell"]["options"]["cc"] = number.into();
            if let Some(array) = system.get_mut("array").and_then(Value::as_object_mut) {
                array.insert("index".to_owned(), number.into());
            }
            job.jobspec = to_raw_value(jobspec).expect("a JSON value has string keys");
        }
        job
    }
}

/// Makes room for the number, which the shell fills in, so that all copies share their environment.
pub(super) fn tell(environment: &mut Arc<Environment>, in_array: bool) {
    if in_array {
        array::alone(environment);
    }
    if environment.get(VARIABLE).is_none_or(|value| value.as_deref() != Some(TAG)) {
        Arc::make_mut(environment).insert(VARIABLE.to_owned(), Some(TAG.to_owned()));
    }
}

fn told(environment: &Environment, number: u32) -> Environment {
    let mut environment = environment.clone();
    environment.insert(VARIABLE.to_owned(), Some(number.to_string()));
    environment
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn each_copy_is_told_its_number_and_shares_its_environment() {
        let line = Line::parse_from(["x", "true"]);
        let copies = |ids: &str, told| {
            let which = if told { Which::of(Some(ids), None) } else { Which::of(None, Some(ids)) };
            Copies::new(line.options.clone(), Stdin::Nothing, which.unwrap())
        };
        let jobs: Vec<NewJob> = copies("1-2,5", true).jobs().unwrap().map(|job| job.unwrap().1).collect();
        assert!(jobs.iter().all(|job| Arc::ptr_eq(&job.environment, &jobs[0].environment)));
        assert_eq!(jobs[0].environment[VARIABLE].as_deref(), Some("{{cc}}"));
        let number = |job: &NewJob| {
            let jobspec = Jobspec::parse(job.jobspec.get()).unwrap();
            jobspec.attributes().shell_options["cc"].as_u64().unwrap()
        };
        assert_eq!(jobs.iter().map(number).collect::<Vec<_>>(), [1, 2, 5]);
        // What is printed is what another instance would understand.
        let shown = copies("1-2,5", true).jobspecs().nth(2).unwrap().unwrap();
        assert_eq!(shown.attributes().environment[VARIABLE].as_deref(), Some("5"));
        let silent = copies("1-2", false).jobs().unwrap();
        assert!(silent.map(|job| job.unwrap().1).all(|job| !job.environment.contains_key(VARIABLE)));
    }

    #[test]
    fn tags_are_left_to_the_shell() {
        for (text, filled) in [
            ("{cc}", Some("7")),
            ("a{cc}b{cc}", Some("a7b7")),
            ("{{cc}}.{cc}", Some("{{cc}}.7")),
            ("{{{cc}", Some("{{7")),
            ("{{cc}}", None),
            ("{{id}} {c}", None),
        ] {
            assert_eq!(put_in(text, "7").as_deref(), filled, "{text}");
        }
    }

    #[test]
    fn the_number_is_put_in_everywhere() {
        let line = Line::parse_from([
            "x",
            "--job-name=n{cc}",
            "--output=o.{cc}.{{id}}",
            "--env=A=x{cc}",
            "p{cc}",
            "{cc}",
        ]);
        let which = Which::of(Some("7-8"), None).unwrap();
        let copies = Copies::new(line.options, Stdin::Nothing, which);
        let jobs: Vec<NewJob> = copies.jobs().unwrap().map(|job| job.unwrap().1).collect();
        for part in ["\"n8\"", "\"o.8.{{id}}\"", "\"p8\",\"8\""] {
            let text = jobs[1].jobspec.get();
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(jobs[1].environment["A"].as_deref(), Some("x8"));
    }
}
