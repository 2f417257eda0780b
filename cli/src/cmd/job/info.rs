//! `flurm job info`, `why`, `timeleft`: what the instance knows of a job.

use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::{out, when};
use flurm_client::job;
use flurm_types::{JobId, JobState};
use flurm_wire::job::{List, Why as Ask};
use flurm_wire::{Dest, state};
use std::io::Write;

/// Print what is stored of a job: jobspec, R, eventlog, guest.output, …
#[derive(Debug, clap::Args)]
pub struct Info {
    id: JobId,
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
}

impl Info {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        let values = face.connect()?.run(async |client| job::lookup(&client, self.id, &keys).await)?;
        let mut out = out::stdout();
        for value in values {
            // Logs end with a newline of their own.
            out.write_all(value.as_bytes())?;
            if !value.is_empty() && !value.ends_with('\n') {
                out.write_all(b"\n")?;
            }
        }
        Ok(0)
    }
}

/// Say why a job waits
#[derive(Debug, clap::Args)]
pub struct Why {
    /// Print JSON: the sentence, the job that it waits for, the earliest start
    #[arg(long)]
    json: bool,
    id: JobId,
}

impl Why {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let reason = face.connect()?.call(Dest::Leader, &Ask { id: self.id })?;
        if self.json {
            out::json(&reason)?;
            return Ok(0);
        }
        let mut out = out::stdout();
        writeln!(out, "{}", reason.text)?;
        if let Some(start) = reason.earliest {
            let left = when::rough(start.secs_since(when::now()).max(0.0));
            let clock = when::zoned(start).strftime("%Y-%m-%d %H:%M:%S");
            writeln!(out, "earliest start: {clock}, in {left}")?;
        }
        Ok(0)
    }
}

/// Print how many seconds a job has left (default: the one around this command, else the instance)
#[derive(Debug, clap::Args)]
pub struct Timeleft {
    /// As a duration
    #[arg(short = 'H', long)]
    human: bool,
    id: Option<JobId>,
}

/// What `flux job timeleft` prints where there is no limit.
const NO_LIMIT: u32 = u32::MAX;

impl Timeleft {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let client = face.connect()?;
        let info = client.call(Dest::Leader, &state::Get {})?;
        let job = match self.id.or(face.job()) {
            None => None,
            Some(id) => {
                let list = List { ids: vec![id], ..List::default() };
                let listed = client.run(async |client| job::list(&client, &list).await)?;
                let job = listed.jobs.into_iter().next();
                if job.is_none() && self.id.is_some() {
                    return Err(Failure::new(format!("there is no job {id}")));
                }
                // The job around us may be one of another instance.
                job.map(|job| (id, job))
            }
        };
        let expiration = match job {
            None => info.expiration,
            Some((id, job)) => match job.state {
                JobState::Run => job.expiration,
                JobState::New | JobState::Depend | JobState::Priority | JobState::Sched => {
                    return Err(Failure::new(format!("job {id} has not started")).code(FAILED));
                }
                JobState::Cleanup | JobState::Inactive => info.now,
            },
        };
        let mut out = out::stdout();
        if expiration.is_zero() {
            if self.human {
                writeln!(out, "infinity")?;
            } else {
                writeln!(out, "{NO_LIMIT}")?;
            }
            return Ok(0);
        }
        let secs = expiration.secs_since(info.now).max(0.0);
        if self.human {
            writeln!(out, "{}", when::rough(secs))?;
        } else {
            writeln!(out, "{}", secs as u64)?;
        }
        Ok(0)
    }
}
