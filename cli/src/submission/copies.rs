//! Many jobs of one command line: `--cc` and `--bcc`.
//!
//! Copies differ in what `{cc}` stands for and in `FLUX_JOB_CC`. Where they differ in nothing else, their jobspec is
//! made once and only the number changes.

use super::{Options, Stdin};
use crate::failure::Failure;
use flurm_client::job::NewJob;
use flurm_jobspec::Jobspec;
use flurm_types::{Environment, Idset};
use serde_json::value::RawValue;
use std::sync::Arc;

/// The variable that tells a job which copy it is.
const VARIABLE: &str = "FLUX_JOB_CC";
const PLACEHOLDER: &str = "{cc}";

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
        let first = self.numbers().next().flatten();
        let template = self.ready(&self.jobspec(first)?)?;
        let ids: Vec<Option<u32>> = self.numbers().collect();
        Ok(ids.into_iter().map(move |number| {
            let mut job = if differ { self.ready(&self.jobspec(number)?)? } else { template.clone() };
            if let Some(number) = number.filter(|_| self.variable) {
                job.environment = Arc::new(told(&job.environment, number));
            }
            Ok(job)
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

    fn ready(&self, jobspec: &Jobspec) -> Result<NewJob, Failure> {
        let text = jobspec.to_json_without_environment();
        let jobspec_text =
            RawValue::from_string(text).map_err(|e| Failure::new(format!("cannot write a jobspec: {e}")))?;
        Ok(NewJob {
            jobspec: jobspec_text,
            environment: jobspec.attributes().environment.clone(),
            urgency: self.options.what.urgency.get(),
            flags: self.options.flags(),
        })
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

    fn jobs(words: &[&str], ids: &str, variable: bool) -> Vec<(String, Option<String>)> {
        let line = Line::parse_from([&["x"], words].concat());
        let stdin = Stdin::Nothing;
        let copies = Copies::many(&line.options, &stdin, ids, variable).unwrap();
        let jobs = copies.jobs().unwrap();
        jobs.map(|job| {
            let job = job.unwrap();
            let cc = job.environment.get(VARIABLE).cloned().flatten();
            (job.jobspec.get().to_owned(), cc)
        })
        .collect()
    }

    #[test]
    fn each_copy_is_told_its_number() {
        let all = jobs(&["true"], "1-2,5", true);
        let ccs: Vec<&str> = all.iter().map(|(_, cc)| cc.as_deref().unwrap()).collect();
        assert_eq!(ccs, ["1", "2", "5"]);
        assert!(all.iter().all(|(text, _)| *text == all[0].0), "they share their jobspec");
        assert_eq!(jobs(&["true"], "1", false)[0].1, None);
    }

    #[test]
    fn the_number_is_put_in_everywhere() {
        let all = jobs(
            &["--job-name=n{cc}", "--output=o.{cc}.{{id}}", "--env=A=x{cc}", "p{cc}", "{cc}"],
            "7",
            false,
        );
        let text = &all[0].0;
        for part in ["\"n7\"", "\"o.7.{{id}}\"", "\"p7\",\"7\""] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
