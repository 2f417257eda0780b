//! `flurm submit`: queue one job or many, and wait for them if asked to.

use super::job::exit_code;
use crate::events;
use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::out::{self, Script};
use crate::progress::Progress;
use crate::submission::{self, Copies, Options, Stdin};
use crate::watch;
use flurm_client::job::{self, Batch};
use flurm_client::{Client, ClientError};
use flurm_types::JobId;
use flurm_wire::WireError;
use flurm_wire::job::{AwaitedJob, Log};
use std::cell::RefCell;
use std::io::Write;

/// Queue a program and print the job's id
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A copy for each id; FLUX_JOB_CC tells a job which one it is, and {cc} is filled in everywhere
    #[arg(long, value_name = "IDS")]
    cc: Option<String>,
    /// As --cc, without FLUX_JOB_CC
    #[arg(long, value_name = "IDS", conflicts_with = "cc")]
    bcc: Option<String>,
    /// Wait until all jobs are over and end with the largest exit code
    #[arg(long)]
    wait: bool,
    /// Wait until all jobs have this event
    #[arg(long, value_name = "EVENT", conflicts_with = "wait")]
    wait_event: Option<String>,
    /// Print all output of the jobs, and wait for them
    #[arg(long)]
    watch: bool,
    /// Show on the terminal how far the jobs are
    #[arg(long)]
    progress: bool,
    /// Show jobs per second as well
    #[arg(long)]
    jps: bool,
    /// Say how each job ended
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(flatten)]
    options: Options,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        if let Some(event) = self.wait_event.as_deref().filter(|e| events::event(e).0 != Log::Eventlog) {
            return Err(Failure::usage(format!("cannot wait for `{event}` of many jobs"))
                .hint("`flurm job wait-event ID EVENT` waits for events of the execution"));
        }
        let stdin = Stdin::Nothing;
        let copies = match (&self.cc, &self.bcc) {
            (Some(ids), _) => Copies::many(&self.options, &stdin, ids, true)?,
            (None, Some(ids)) => Copies::many(&self.options, &stdin, ids, false)?,
            (None, None) => Copies::one(&self.options, &stdin),
        };
        if self.options.input_ranks().is_some() {
            return Err(Failure::usage("--input=RANKS needs somebody who gives input")
                .hint("use `run`, or --input=FILE"));
        }
        if self.options.dry_run {
            let mut out = out::stdout();
            for jobspec in copies.jobspecs() {
                writeln!(out, "{}", jobspec?.to_json())?;
            }
            return Ok(0);
        }
        face.connected(async |client| self.submit(&client, &copies).await)
    }

    async fn submit(&self, client: &Client, copies: &Copies<'_>) -> Result<u8, Failure> {
        let shown = (self.progress || self.jps) && out::on_terminal();
        let progress = RefCell::new(shown.then(|| Progress::new(copies.len(), self.jps)));
        // An error in the middle of many copies ends the row; what was submitted before is told first.
        let bad: RefCell<Option<Failure>> = RefCell::new(None);
        let mut jobs = copies.jobs()?;
        let jobs = std::iter::from_fn(|| match jobs.next()? {
            Ok(job) => Some(job),
            Err(failure) => {
                *bad.borrow_mut() = Some(failure);
                None
            }
        });
        let script = Script::of_locale();
        let mut refused = Refused::default();
        let results = job::submit_many(client, jobs, |batch: &Batch| -> Result<(), Failure> {
            let mut out = out::stdout();
            for result in &batch.jobs {
                match result {
                    Ok(_) if self.options.quiet => {}
                    Ok(id) => writeln!(out, "{}", script.id(*id))?,
                    Err(error) => refused.take(error),
                }
            }
            out.flush()?;
            if let Some(progress) = progress.borrow_mut().as_mut() {
                progress.submitted(batch.jobs.iter().filter(|job| job.is_ok()).count());
            }
            Ok(())
        })
        .await?;
        let ids: Vec<JobId> = results.into_iter().flatten().collect();
        let mut code = refused.say();
        if let Some(failure) = bad.take() {
            code = code.max(failure.say());
        }
        let waits = self.wait || self.wait_event.is_some() || self.watch || shown;
        if waits && !ids.is_empty() {
            code = code.max(self.wait(client, &ids, &progress).await?);
        }
        Ok(code)
    }

    async fn wait(
        &self,
        client: &Client,
        ids: &[JobId],
        progress: &RefCell<Option<Progress>>,
    ) -> Result<u8, Failure> {
        let watching = self.watch.then(|| watch::outputs(client, ids, self.options.io.label_io));
        let started = async {
            // Only the bar tells running from waiting.
            if progress.borrow().is_some() {
                job::wait::<ClientError>(client, ids, Some("start"), |job| {
                    if let Some(progress) = progress.borrow_mut().as_mut() {
                        progress.started(job.seen);
                    }
                    Ok(())
                })
                .await
            } else {
                Ok(())
            }
        };
        let mut code = 0;
        let ended = job::wait(client, ids, self.wait_event.as_deref(), |job| -> Result<(), Failure> {
            code = code.max(self.one_ended(job));
            if let Some(progress) = progress.borrow_mut().as_mut() {
                progress.ended(exit_code(job, FAILED) == 0);
            }
            Ok(())
        });
        let (started, ended) = tokio::join!(started, ended);
        ended?;
        started?;
        if let Some(watching) = watching {
            watching.await?;
        }
        if let Some(progress) = progress.borrow_mut().take() {
            progress.finish();
        }
        Ok(code)
    }

    /// Says what is to be said of a job that has ended, or has its event.
    fn one_ended(&self, job: &AwaitedJob) -> u8 {
        let id = Script::of_locale().id(job.id);
        if let Some(exception) = job.exception.as_ref().filter(|_| !self.options.quiet) {
            let note = format!("{id}: exception: type={} {}", exception.kind, exception.note);
            crate::say!("{}", note.trim_end());
        }
        if let Some(event) = &self.wait_event {
            if !job.seen {
                crate::say!("{id}: event `{event}` never came");
                return FAILED;
            }
            return 0;
        }
        let code = exit_code(job, FAILED);
        if self.verbose > 0 {
            crate::say!("{id}: ended with code {code}");
        }
        code
    }
}

/// Jobs that were refused: copies of one job mostly are for one reason, which is said once.
#[derive(Debug, Default)]
struct Refused {
    first: Option<WireError>,
    more: usize,
}

impl Refused {
    fn take(&mut self, error: &WireError) {
        match self.first {
            None => self.first = Some(error.clone()),
            Some(_) => self.more += 1,
        }
    }

    fn say(self) -> u8 {
        let Some(first) = self.first else { return 0 };
        let mut first = first;
        if self.more > 0 {
            first.text.push_str(&format!(" (and {} more jobs were refused)", self.more));
        }
        submission::refused(first).say()
    }
}
