//! `flurm retry`: submits again what failed.

use crate::face::Face;
use crate::failure::Failure;
use crate::out::{self, Script};
use crate::submission::{Follow, Guest, Logs, Party};
use flurm_client::job::{self, NewJob};
use flurm_client::{Client, ClientError};
use flurm_types::{Entry, Environment, JobId, JobResult, JobState};
use flurm_wire::Dest;
use flurm_wire::job::{JobRecord, List, Lookup, SubmitFlags};
use serde_json::Value;
use serde_json::value::to_raw_value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

/// Submit jobs again that are over
///
/// Each is submitted as it was, with its environment, urgency and flags. Where one waits for another that is submitted again,
/// it waits for the new one. The new ids are printed in the order of the old ones.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// All that failed or ran into their time limit, and have not been submitted again since
    #[arg(long, conflicts_with = "ids")]
    failed: bool,
    /// Only print the ids of the jobs that would be submitted again
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Say less
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    follow: Follow,
    /// The jobs
    #[arg(value_name = "ID", required_unless_present = "failed")]
    ids: Vec<JobId>,
}

/// Questions on their way at the same time.
const ASKED_MAX: usize = 64;

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        self.follow.check()?;
        face.connected(async |client| {
            let mut ids = self.chosen(&client).await?;
            let mut jobs = Vec::new();
            if self.failed || !self.dry_run {
                jobs = looked_up(&client, &ids).await?;
            }
            if self.failed {
                // Nobody would be at its terminal, and it would wait for him for ever.
                let left: Vec<Old>;
                (left, jobs) = jobs.into_iter().partition(Old::is_interactive);
                let script = Script::of_locale();
                for job in &left {
                    let id = script.id(job.id);
                    crate::say!(
                        "note: {id} is left out: its program talks to a terminal; `{} retry {id}` takes it",
                        face.name
                    );
                }
                ids.retain(|id| left.iter().all(|job| job.id != *id));
            }
            if self.dry_run {
                let script = Script::of_locale();
                let mut out = out::stdout();
                ids.iter().try_for_each(|id| writeln!(out, "{}", script.id(*id)))?;
                return Ok(0);
            }
            if ids.is_empty() {
                crate::say!("note: no job has failed that was not submitted again");
            }
            let mut party = Party::new(&self.follow, Some(ids.len()), self.follow.logs(), self.quiet);
            let mut again: BTreeMap<JobId, JobId> = BTreeMap::new();
            while !jobs.is_empty() {
                // Those that wait for one of the rest wait here as well, until its new id is known.
                let rest: BTreeSet<JobId> = jobs.iter().map(|job| job.id).collect();
                let (now, later): (Vec<Old>, Vec<Old>) =
                    jobs.into_iter().partition(|job| job.targets().all(|id| !rest.contains(&id)));
                jobs = later;
                let ids: Vec<JobId> = now.iter().map(|job| job.id).collect();
                let mut ids = ids.into_iter();
                let guests = now.into_iter().map(|job| job.again(&again));
                let mut new = Vec::new();
                party.submit(&client, guests, |id| new.extend(ids.next().zip(id))).await?;
                again.extend(new);
            }
            if self.follow.verbose > 0 {
                let script = Script::of_locale();
                again
                    .iter()
                    .for_each(|(old, new)| crate::say!("{} again: {}", script.id(*old), script.id(*new)));
            }
            party.stay(&client, false).await
        })
    }

    /// The jobs that are meant, oldest first.
    async fn chosen(&self, client: &Client) -> Result<Vec<JobId>, Failure> {
        let list = List { ids: self.ids.clone(), ..List::default() };
        let mut jobs = job::list(client, &list).await?.jobs;
        jobs.sort_by_key(|job| job.id);
        jobs.dedup_by_key(|job| job.id);
        if self.failed {
            let done: BTreeSet<JobId> = jobs.iter().filter_map(|job| job.retry_of).collect();
            let failed = |job: &&JobRecord| {
                matches!(job.result, Some(JobResult::Failed | JobResult::Timeout)) && !done.contains(&job.id)
            };
            return Ok(jobs.iter().filter(failed).map(|job| job.id).collect());
        }
        match jobs.iter().find(|job| job.state != JobState::Inactive) {
            Some(job) => Err(Failure::new(format!("job {} is not over", Script::of_locale().id(job.id)))
                .hint("`flurm cancel ID` ends it, `flurm job wait-event ID clean` waits for its end")),
            None => Ok(jobs.iter().map(|job| job.id).collect()),
        }
    }
}

/// A job as it was submitted.
struct Old {
    id: JobId,
    jobspec: Value,
    environment: Arc<Environment>,
    urgency: u8,
    flags: SubmitFlags,
}

/// What is stored of the jobs. Equal environments of neighbours are kept once.
async fn looked_up(client: &Client, ids: &[JobId]) -> Result<Vec<Old>, Failure> {
    let mut jobs: Vec<Old> = Vec::with_capacity(ids.len());
    for ids in ids.chunks(ASKED_MAX) {
        let mut asked = Vec::with_capacity(ids.len());
        for id in ids {
            let keys = ["J", "eventlog"].map(str::to_owned).to_vec();
            asked.push(client.ask(Dest::Leader, &Lookup { id: *id, keys }).await?);
        }
        for (id, asked) in ids.iter().zip(asked) {
            let mut job = Old::read(*id, &asked.answer().await?.values)?;
            if let Some(before) = jobs.last().filter(|before| before.environment == job.environment) {
                job.environment = before.environment.clone();
            }
            jobs.push(job);
        }
    }
    Ok(jobs)
}

impl Old {
    fn read(id: JobId, values: &[String]) -> Result<Old, Failure> {
        let broken = || Failure::new(format!("what is stored of job {id} cannot be read"));
        let [jobspec, log] = values else { return Err(ClientError::Lost.into()) };
        let mut jobspec: Value = serde_json::from_str(jobspec).map_err(|_| broken())?;
        let system =
            jobspec.pointer_mut("/attributes/system").and_then(Value::as_object_mut).ok_or_else(broken)?;
        let environment = system.remove("environment").unwrap_or_default();
        let environment = if environment.is_null() {
            Environment::new()
        } else {
            serde_json::from_value(environment).map_err(|_| broken())?
        };
        let submit = log.lines().next().and_then(|line| Entry::parse_line(line).ok()).ok_or_else(broken)?;
        let number = |key: &str| submit.context.as_ref()?.get(key)?.as_u64();
        let urgency = number("urgency").and_then(|urgency| u8::try_from(urgency).ok()).ok_or_else(broken)?;
        // RFC 21's bits.
        let flags = number("flags").unwrap_or(0);
        let flags =
            SubmitFlags { debug: flags & 2 != 0, waitable: flags & 4 != 0, novalidate: flags & 8 != 0 };
        Ok(Old { id, jobspec, environment: Arc::new(environment), urgency, flags })
    }

    /// Does its program talk to somebody at a terminal?
    fn is_interactive(&self) -> bool {
        let options = self.jobspec.pointer("/attributes/system/shell/options");
        let is_set = |value: Option<&Value>| {
            value.is_some_and(|v| !matches!(v, Value::Bool(false) | Value::Null) && *v != 0)
        };
        options.is_some_and(|o| is_set(o.pointer("/pty/interactive")) || is_set(o.get("pty.interactive")))
    }

    /// Jobs that it waited for.
    fn targets(&self) -> impl Iterator<Item = JobId> + '_ {
        let dependencies = self.jobspec.pointer("/attributes/system/dependencies").and_then(Value::as_array);
        let array = self.jobspec.pointer("/attributes/system/array/id").and_then(id_of);
        dependencies.into_iter().flatten().filter_map(target).chain(array)
    }

    /// The same, to be submitted now that others have new ids.
    fn again(mut self, ids: &BTreeMap<JobId, JobId>) -> Result<Guest, Failure> {
        let dependencies = self.jobspec.pointer_mut("/attributes/system/dependencies");
        for dependency in dependencies.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(new) = target(dependency).and_then(|id| ids.get(&id)) {
                dependency["value"] = new.to_string().into();
            }
        }
        if let Some(array) = self.jobspec.pointer_mut("/attributes/system/array") {
            // A new array, if its first job is done again; else a late member of the old one.
            let first = array.get("id").and_then(id_of);
            if let Some(new) = first.and_then(|first| ids.get(&first)) {
                array["id"] = new.0.into();
            }
        }
        let system = &mut self.jobspec["attributes"]["system"];
        system["retry-of"] = self.id.0.into();
        let jobspec = to_raw_value(&self.jobspec).expect("a JSON value has string keys");
        let job = NewJob { jobspec, environment: self.environment, urgency: self.urgency, flags: self.flags };
        Ok((job, None::<Logs>))
    }
}

/// The job that a dependency is about.
fn target(dependency: &Value) -> Option<JobId> {
    let scheme = dependency["scheme"].as_str().filter(|scheme| scheme.starts_with("after"));
    scheme.and_then(|_| id_of(&dependency["value"]))
}

fn id_of(value: &Value) -> Option<JobId> {
    match value {
        Value::Number(number) => number.as_u64().map(JobId),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}
