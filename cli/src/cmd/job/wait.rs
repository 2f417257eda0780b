//! `flurm job wait`, `status`: the results of jobs.

use crate::face::Face;
use crate::failure::{FAILED, Failure, USAGE};
use crate::out::{self, Script};
use flurm_client::{Client, ClientError, job};
use flurm_types::{JobId, JobResult};
use flurm_wire::job::{AwaitedJob, WaitOne};
use flurm_wire::{Dest, ErrorCode};
use std::io::Write;

/// Wait for jobs that were submitted with --flags=waitable; each result is given once
#[derive(Debug, clap::Args)]
pub struct Wait {
    /// Wait for all of them
    #[arg(short, long, conflicts_with = "id")]
    all: bool,
    /// Say of each how it ended
    #[arg(short, long)]
    verbose: bool,
    /// This job; without one: any
    id: Option<JobId>,
}

impl Wait {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        face.connected(
            async |client| if self.all { self.all(&client).await } else { self.one(&client).await },
        )
    }

    async fn one(&self, client: &Client) -> Result<u8, Failure> {
        let script = Script::of_locale();
        let waited = match client.call(Dest::Leader, &WaitOne { id: self.id }).await {
            Err(e) if nothing_to_wait_for(&e) => return Err(Failure::from(e).code(USAGE)),
            answer => answer?,
        };
        if self.id.is_none() {
            writeln!(out::stdout(), "{}", script.id(waited.id))?;
        }
        if !waited.success {
            crate::say!("{}: {}", script.id(waited.id), waited.errstr);
            return Ok(FAILED);
        }
        Ok(0)
    }

    async fn all(&self, client: &Client) -> Result<u8, Failure> {
        let script = Script::of_locale();
        let mut code = 0;
        loop {
            let waited = match client.call(Dest::Leader, &WaitOne { id: None }).await {
                Err(e) if nothing_to_wait_for(&e) => return Ok(code),
                answer => answer?,
            };
            if !waited.success {
                crate::say!("{}: {}", script.id(waited.id), waited.errstr);
                code = FAILED;
            } else if self.verbose {
                crate::say!("{}: job completed successfully", script.id(waited.id));
            }
        }
    }
}

fn nothing_to_wait_for(error: &ClientError) -> bool {
    matches!(error.code(), Some(ErrorCode::NotFound | ErrorCode::Invalid))
}

/// Wait for jobs and end with the largest exit code
#[derive(Debug, clap::Args)]
pub struct Status {
    /// The code for jobs that an exception ended before they started
    #[arg(short, long, value_name = "N", default_value_t = FAILED)]
    exception_exit_code: u8,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
    /// Say of each how it ended
    #[arg(short, long)]
    verbose: bool,
    #[arg(required = true, value_name = "ID")]
    ids: Vec<JobId>,
}

impl Status {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        face.connected(async |client| {
            let mut ended = Vec::new();
            job::wait::<ClientError>(&client, &self.ids, None, |job| {
                ended.push(job.clone());
                Ok(())
            })
            .await?;
            // As they were asked for.
            ended.sort_by_key(|job| self.ids.iter().position(|id| *id == job.id));
            if self.json {
                out::json(&ended)?;
            }
            if self.verbose {
                let script = Script::of_locale();
                for job in &ended {
                    crate::say!("{}: {}", script.id(job.id), said(job));
                }
            }
            Ok(ended.iter().map(|job| code(job, self.exception_exit_code)).max().unwrap_or(0))
        })
    }
}

/// The exit code of a job that has ended; `never` when it never ran.
pub fn code(job: &AwaitedJob, never: u8) -> u8 {
    let good = job.result.is_none_or(|result| result == JobResult::Completed);
    match job.status.map(out::exit_code) {
        None if good => 0,
        None => never,
        // An exception made it fail, whatever its tasks did.
        Some(0) if !good => never,
        Some(code) => code,
    }
}

/// How a job ended, in a few words.
fn said(job: &AwaitedJob) -> String {
    match (&job.exception, job.status) {
        (Some(e), None) if e.note.is_empty() => format!("exception type={}", e.kind),
        (Some(e), None) => format!("exception type={} note={}", e.kind, e.note),
        (Some(e), Some(status)) => {
            format!("exited with exit code {}, after exception type={}", out::exit_code(status), e.kind)
        }
        (None, Some(status)) => format!("exited with exit code {}", out::exit_code(status)),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::JobState;
    use flurm_wire::job::Exception;

    #[test]
    fn what_is_said_of_an_end_has_no_empty_note() {
        let ended = |note: &str, status| {
            let exception = Some(Exception { kind: "cancel".into(), severity: 0, note: note.into() });
            said(&AwaitedJob {
                id: JobId(1),
                seen: true,
                state: JobState::Inactive,
                status,
                result: None,
                exception,
            })
        };
        assert_eq!(ended("", None), "exception type=cancel");
        assert_eq!(ended("too slow", None), "exception type=cancel note=too slow");
        assert_eq!(ended("", Some(15)), "exited with exit code 143, after exception type=cancel");
    }

    #[test]
    fn exit_codes_are_the_jobs() {
        for (status, result, expected) in [
            (Some(0), Some(JobResult::Completed), 0),
            (Some(3 << 8), Some(JobResult::Failed), 3),
            (Some(9), Some(JobResult::Failed), 137),
            (None, Some(JobResult::Canceled), 42),
            (Some(0), Some(JobResult::Timeout), 42),
            (Some(15), Some(JobResult::Canceled), 143),
        ] {
            let job = AwaitedJob {
                id: JobId(1),
                seen: true,
                state: JobState::Inactive,
                status,
                result,
                exception: None,
            };
            assert_eq!(code(&job, 42), expected, "{status:?} {result:?}");
        }
    }
}
