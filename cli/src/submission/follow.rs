//! Many jobs: submitted in few messages, and stayed with as long as the options say.

use super::array;
use super::crowd::{Crowd, Logs, Made};
use crate::attach::Stream;
use crate::cmd::job::exit_code;
use crate::failure::{FAILED, Failure};
use crate::logs::Sinks;
use crate::out::{self, Script};
use crate::progress::Progress;
use crate::{events, watch};
use flurm_client::job::{self, Batch, NewJob};
use flurm_client::{Client, ClientError};
use flurm_types::JobId;
use flurm_wire::WireError;
use flurm_wire::job::AwaitedJob;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// How often the bar is drawn anew while nothing happens.
const TICK: Duration = Duration::from_millis(500);

/// How long to stay, and what to say meanwhile.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Follow {
    /// Wait until all jobs are over and end with the largest exit code
    #[arg(long)]
    pub wait: bool,
    /// Wait until all jobs have this event
    #[arg(long, value_name = "EVENT", conflicts_with = "wait")]
    pub wait_event: Option<String>,
    /// Print all output of the jobs, and wait for them
    #[arg(long)]
    pub watch: bool,
    /// Show on the terminal how far the jobs are
    #[arg(long)]
    pub progress: bool,
    /// Show jobs per second as well
    #[arg(long)]
    pub jps: bool,
    /// Say how each job ended
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Ids, messages and output of jobs go to this file
    #[arg(long, value_name = "FILE")]
    pub log: Option<String>,
    /// Messages and standard error go to this file instead
    #[arg(long, value_name = "FILE")]
    pub log_stderr: Option<String>,
}

/// Jobs that were submitted, and what is said of each.
#[derive(Debug, Default)]
pub struct Followed {
    pub ids: Vec<JobId>,
    /// For all whose logs are no others.
    pub logs: Logs,
    pub own: BTreeMap<JobId, Logs>,
}

impl Followed {
    pub fn logs_of(&self, id: JobId) -> &Logs {
        self.own.get(&id).unwrap_or(&self.logs)
    }
}

impl Follow {
    /// Refuses what cannot be waited for.
    pub fn check(&self) -> Result<(), Failure> {
        match self.wait_event.as_deref().filter(|event| events::of_job(event).is_none()) {
            None => Ok(()),
            Some(event) => Err(Failure::usage(format!("cannot wait for `{event}` of many jobs"))
                .hint("`flurm job wait-event ID EVENT` waits for events of the execution")),
        }
    }

    fn waits(&self) -> bool {
        self.wait || self.wait_event.is_some() || self.watch
    }

    pub fn logs(&self) -> Logs {
        Logs { out: self.log.as_deref().map(Into::into), err: self.log_stderr.as_deref().map(Into::into) }
    }

    /// Submits all of a crowd and stays with them.
    pub async fn submit(
        &self,
        client: &Client,
        crowd: Crowd,
        quiet: bool,
        label: bool,
    ) -> Result<u8, Failure> {
        let mut party = Party::new(self, crowd.len(), crowd.logs().clone(), quiet);
        let own_logs = crowd.has_many_logs();
        let is_array = crowd.is_array();
        let mut jobs =
            crowd.jobs()?.map(|made| made.map(|Made { job, logs }| (job, own_logs.then_some(logs))));
        if !is_array {
            party.submit(client, jobs, |_| {}).await?;
            return party.stay(client, label).await;
        }
        // The others are told of the first one, by whose id the array is known.
        let mut first = None;
        party.submit(client, jobs.by_ref().take(1), |id| first = id).await?;
        if let Some(first) = first {
            let rest = jobs.map(|guest| guest.map(|(job, logs)| (array::join(job, first), logs)));
            party.submit(client, rest, |_| {}).await?;
        }
        party.stay(client, label).await
    }
}

/// A job to submit, and its own logs if others have other ones.
pub type Guest = (NewJob, Option<Logs>);

/// Jobs of one command, from their submission to where it leaves them.
#[derive(Debug)]
pub struct Party<'a> {
    follow: &'a Follow,
    quiet: bool,
    /// With the bar.
    sinks: Arc<Sinks>,
    jobs: Followed,
    /// The largest so far.
    code: u8,
}

impl<'a> Party<'a> {
    /// `total` is how many jobs there will be, where that is known.
    pub fn new(follow: &'a Follow, total: Option<usize>, logs: Logs, quiet: bool) -> Party<'a> {
        let shown = (follow.progress || follow.jps) && out::on_terminal();
        let progress = shown.then(|| Progress::new(total, follow.jps, follow.waits()));
        Party {
            follow,
            quiet,
            sinks: Arc::new(Sinks::with_bar(progress)),
            jobs: Followed { logs, ..Followed::default() },
            code: 0,
        }
    }

    /// Submits these and prints their ids; `each` is told of them in their order, none for one that was refused. An error
    /// in the middle ends the row, and what was submitted before stays.
    pub async fn submit(
        &mut self,
        client: &Client,
        mut jobs: impl Iterator<Item = Result<Guest, Failure>>,
        mut each: impl FnMut(Option<JobId>),
    ) -> Result<(), Failure> {
        let bad: RefCell<Option<Failure>> = RefCell::new(None);
        // Logs of those that are on their way.
        let flying: RefCell<VecDeque<Logs>> = RefCell::default();
        let jobs = std::iter::from_fn(|| match jobs.next()? {
            Ok((job, logs)) => {
                flying.borrow_mut().extend(logs);
                Some(job)
            }
            Err(failure) => {
                *bad.borrow_mut() = Some(failure);
                None
            }
        });
        let mut refused = Refused::default();
        job::submit_each(client, jobs, |batch: &Batch| {
            let mut lines = String::new();
            for result in &batch.jobs {
                let logs = flying.borrow_mut().pop_front();
                each(result.as_ref().ok().copied());
                match result {
                    Ok(id) => self.submitted(*id, logs, &mut lines)?,
                    Err(error) => refused.take(error),
                }
            }
            self.print(Stream::Stdout, &self.jobs.logs, &lines)?;
            self.sinks.bar(|bar| bar.submitted(batch.jobs.iter().filter(|job| job.is_ok()).count()));
            Ok::<(), Failure>(())
        })
        .await?;
        self.code = self.code.max(refused.say());
        if let Some(failure) = bad.take() {
            self.code = self.code.max(failure.say());
        }
        Ok(())
    }

    /// Takes in jobs that others have submitted.
    pub fn join(&mut self, ids: Vec<JobId>) {
        self.sinks.bar(|bar| bar.submitted(ids.len()));
        self.jobs.ids.extend(ids);
    }

    /// Notes a job; its id is added to `lines`, or printed where it has a log of its own.
    fn submitted(&mut self, id: JobId, logs: Option<Logs>, lines: &mut String) -> Result<(), Failure> {
        let line = if self.quiet { String::new() } else { format!("{}\n", Script::of_locale().id(id)) };
        match &logs {
            Some(logs) => self.print(Stream::Stdout, logs, &line)?,
            None => lines.push_str(&line),
        }
        if self.follow.waits() {
            self.jobs.ids.push(id);
            self.jobs.own.extend(logs.map(|logs| (id, logs)));
        }
        Ok(())
    }

    /// Stays with all of them as long as the options say, and gives the exit code.
    pub async fn stay(mut self, client: &Client, label: bool) -> Result<u8, Failure> {
        self.sinks.bar(Progress::all_submitted);
        if !self.jobs.ids.is_empty() {
            let watching = async {
                match self.follow.watch {
                    true => watch::outputs(client, &self.jobs, label, &self.sinks).await,
                    false => Ok(()),
                }
            };
            let both = async { tokio::join!(self.ended(client), watching) };
            let (code, watched) = tokio::select! {
                both = both => both,
                never = self.ticks() => match never {},
            };
            watched?;
            self.code = self.code.max(code?);
        }
        self.sinks.end_bar();
        Ok(self.code)
    }

    /// Keeps the bar's numbers and clock as they are, as long as somebody asks for it.
    async fn ticks(&self) -> Infallible {
        let mut clock = tokio::time::interval(TICK);
        loop {
            clock.tick().await;
            self.sinks.bar(Progress::tick);
        }
    }

    async fn ended(&self, client: &Client) -> Result<u8, Failure> {
        let jobs = &self.jobs;
        let started = async {
            // Only the bar tells running from waiting.
            if self.sinks.has_bar() {
                job::wait::<ClientError>(client, &jobs.ids, Some("start"), |job| {
                    self.sinks.bar(|bar| bar.started(job.seen));
                    Ok(())
                })
                .await
            } else {
                Ok(())
            }
        };
        let mut code = 0;
        let event = self.follow.wait_event.as_deref().and_then(events::of_job);
        let ended = job::wait(client, &jobs.ids, event, |job| -> Result<(), Failure> {
            code = code.max(self.one_ended(job, jobs.logs_of(job.id))?);
            self.sinks.bar(|bar| bar.ended(exit_code(job, FAILED) == 0));
            Ok(())
        });
        let (started, ended) = tokio::join!(started, ended);
        ended?;
        started?;
        Ok(code)
    }

    /// Says what is to be said of a job that has ended, or has its event.
    fn one_ended(&self, job: &AwaitedJob, logs: &Logs) -> Result<u8, Failure> {
        let id = Script::of_locale().id(job.id);
        if let Some(exception) = job.exception.as_ref().filter(|_| !self.quiet) {
            let note = format!("{id}: exception: type={} {}", exception.kind, exception.note);
            self.say(logs, note.trim_end())?;
        }
        if let Some(event) = &self.follow.wait_event {
            if !job.seen {
                self.say(logs, &never(job.id, event))?;
                return Ok(FAILED);
            }
            return Ok(0);
        }
        let code = exit_code(job, FAILED);
        if self.follow.verbose > 0 {
            self.say(logs, &format!("{id}: ended with code {code}"))?;
        }
        Ok(code)
    }

    fn say(&self, logs: &Logs, line: &str) -> Result<(), Failure> {
        self.print(Stream::Stderr, logs, &format!("{line}\n"))
    }

    fn print(&self, stream: Stream, logs: &Logs, lines: &str) -> Result<(), Failure> {
        self.sinks.write(stream, logs, lines.as_bytes())
    }
}

fn never(id: JobId, event: &str) -> String {
    format!("{}: event `{event}` never came", Script::of_locale().id(id))
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
        super::refused(first).say()
    }
}
