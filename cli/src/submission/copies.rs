//! Many jobs of one command line: `--cc` and `--bcc`.
//!
//! Copies differ in what `{cc}` stands for and in `FLUX_JOB_CC`. Where they differ in nothing else, their jobspec is
//! made once and only the number in it changes: ten thousand copies share one environment, in which the job's shell
//! fills in the number.

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
/// What the shell puts the number in for.
const TAG: &str = "{{cc}}";

/// The jobs of one command line.
#[derive(Debug)]
pub struct Copies<'a> {
    options: &'a Options,
    stdin: &'a Stdin,
    /// None: one job, no copies.
    ids: Option<Idset>,
    variable: bool,
}

impl<'a> Copies<'a> {
    /// One job.
    pub fn one(options: &'a Options, stdin: &'a Stdin) -> Copies<'a> {
        Copies { options, stdin, ids: None, variable: false }
    }

    /// A job for each id; `variable` says whether the job is told its id.
    pub fn many(
        options: &'a Options,
        stdin: &'a Stdin,
        ids: &str,
        variable: bool,
    ) -> Result<Copies<'a>, Failure> {
        let ids = Idset::parse_relaxed(ids)?;
        if ids.is_empty() {
            return Err(Failure::usage("there are no copies in an empty set"));
        }
        Ok(Copies { options, stdin, ids: Some(ids), variable })
    }

    pub fn len(&self) -> usize {
        self.ids.as_ref().map_or(1, Idset::len)
    }

    /// The jobspecs, each whole.
    pub fn jobspecs(&self) -> impl Iterator<Item = Result<Jobspec, Failure>> {
        let ids: Vec<Option<u32>> = self.numbers().collect();
        ids.into_iter().map(|number| {
            let jobspec = self.jobspec(number)?;
            match number.filter(|_| self.variable) {
                None => Ok(jobspec),
                Some(number) => {
                    let environment = Arc::new(told(&jobspec.attributes().environment, number));
                    jobspec.with_environment(environment).map_err(|e| super::build::failure(&e))
                }
            }
        })
    }

    /// The jobs, ready to be submitted.
    pub fn jobs(&self) -> Result<impl Iterator<Item = Result<NewJob, Failure>>, Failure> {
        let mut texts = self.options.clone();
        let differ = self.ids.is_some() && texts.texts().any(|text| text.contains(PLACEHOLDER));
        let mut numbers = self.numbers().collect::<Vec<_>>().into_iter().peekable();
        let mut template = Template::new(self, numbers.peek().copied().flatten())?;
        Ok(std::iter::from_fn(move || {
            let number = numbers.next()?;
            if differ {
                // The environment stays the first one's where it is equal, so that it is sent once a message.
                match Template::new(self, number) {
                    Ok(next) => template = next.sharing(&template),
                    Err(failure) => return Some(Err(failure)),
                }
            }
            Some(Ok(template.job(number.filter(|_| self.variable))))
        }))
    }

    fn numbers(&self) -> impl Iterator<Item = Option<u32>> {
        let many = self.ids.iter().flat_map(Idset::iter).map(Some);
        self.ids.is_none().then_some(None).into_iter().chain(many)
    }

    fn jobspec(&self, number: Option<u32>) -> Result<Jobspec, Failure> {
        match number {
            None => self.options.jobspec(self.stdin),
            Some(number) => {
                let mut options = self.options.clone();
                let number = number.to_string();
                for text in options.texts() {
                    if text.contains(PLACEHOLDER) {
                        *text = text.replace(PLACEHOLDER, &number);
                    }
                }
                options.jobspec(self.stdin)
            }
        }
    }
}

/// A jobspec in which only the number of the copy changes.
struct Template {
    jobspec: Value,
    job: NewJob,
}

impl Template {
    fn new(copies: &Copies<'_>, number: Option<u32>) -> Result<Template, Failure> {
        let jobspec = copies.jobspec(number)?;
        let mut environment = jobspec.attributes().environment.clone();
        if copies.variable {
            // The shell fills in the number, so that all copies share their environment.
            Arc::make_mut(&mut environment).insert(VARIABLE.to_owned(), Some(TAG.to_owned()));
        }
        let text = jobspec.to_json_without_environment();
        let unreadable = |e| Failure::new(format!("cannot read our own jobspec: {e}"));
        let job = NewJob {
            jobspec: RawValue::from_string(text.clone()).map_err(unreadable)?,
            environment,
            urgency: copies.options.what.urgency.get(),
            flags: copies.options.flags(),
        };
        Ok(Template { jobspec: serde_json::from_str(&text).map_err(unreadable)?, job })
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
            // Indexing makes the objects on the way where there are none.
            self.jobspec["attributes"]["system"]["shell"]["options"]["cc"] = number.into();
            job.jobspec = to_raw_value(&self.jobspec).expect("a JSON value has string keys");
        }
        job
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
        let stdin = Stdin::Nothing;
        let copies = Copies::many(&line.options, &stdin, "1-2,5", true).unwrap();
        let jobs: Vec<NewJob> = copies.jobs().unwrap().map(Result::unwrap).collect();
        assert!(jobs.iter().all(|job| Arc::ptr_eq(&job.environment, &jobs[0].environment)));
        assert_eq!(jobs[0].environment[VARIABLE].as_deref(), Some("{{cc}}"));
        let number = |job: &NewJob| {
            let jobspec = Jobspec::parse(job.jobspec.get()).unwrap();
            jobspec.attributes().shell_options["cc"].as_u64().unwrap()
        };
        assert_eq!(jobs.iter().map(number).collect::<Vec<_>>(), [1, 2, 5]);
        // What is printed is what another instance would understand.
        let shown = copies.jobspecs().nth(2).unwrap().unwrap();
        assert_eq!(shown.attributes().environment[VARIABLE].as_deref(), Some("5"));
        let copies = Copies::many(&line.options, &stdin, "1-2", false).unwrap();
        assert!(copies.jobs().unwrap().all(|job| !job.unwrap().environment.contains_key(VARIABLE)));
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
        let stdin = Stdin::Nothing;
        let copies = Copies::many(&line.options, &stdin, "7-8", true).unwrap();
        let jobs: Vec<NewJob> = copies.jobs().unwrap().map(Result::unwrap).collect();
        for part in ["\"n8\"", "\"o.8.{{id}}\"", "\"p8\",\"8\""] {
            let text = jobs[1].jobspec.get();
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(jobs[1].environment["A"].as_deref(), Some("x8"));
    }
}
