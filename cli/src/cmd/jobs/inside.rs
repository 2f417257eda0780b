//! Jobs that are instances themselves: how to reach them, and what goes on inside.

use crate::cmd::resource::Share;
use crate::failure::Failure;
use crate::format::Value;
use crate::when;
use flurm_client::{Uri, blocking};
use flurm_types::{JobState, R};
use flurm_wire::Dest;
use flurm_wire::job::{JobRecord, JobStats, List};
use flurm_wire::resource::{Status, StatusInfo};

/// Where a running job that is an instance says it can be reached.
pub fn uri(job: &JobRecord) -> Option<&str> {
    let said = job.annotations.as_ref().filter(|_| job.state == JobState::Run)?;
    said.pointer("/user/uri")?.as_str()
}

/// A connection to the instance that a job is; none if it is none.
pub fn connect(job: &JobRecord) -> Option<Result<blocking::Client, Failure>> {
    let uri = uri(job)?;
    let host = job.annotations.as_ref().and_then(|said| said.pointer("/user/host")?.as_str());
    let elsewhere = |failure: Failure| match host {
        Some(host) => failure.or_hint(&format!("it is reached from its own node, {host}")),
        None => failure,
    };
    Some(Uri::parse(uri).and_then(|uri| blocking::Client::connect(&uri)).map_err(|e| elsewhere(e.into())))
}

/// Numbers of an instance.
#[derive(Debug)]
pub struct Inside {
    pub stats: JobStats,
    all: R,
    share: Share,
}

impl Inside {
    pub fn ask(client: &blocking::Client) -> Result<Inside, Failure> {
        let status = client.call(Dest::Leader, &Status {})?;
        let stats = client.call(Dest::Leader, &List { max_entries: 1, ..List::default() })?.stats;
        Ok(Inside::of(&status, stats))
    }

    pub fn of(status: &StatusInfo, stats: JobStats) -> Inside {
        Inside { stats, share: Share::of(status, when::now()), all: status.all.clone() }
    }

    /// Jobs by what became of them.
    pub fn counts(&self) -> String {
        let stats = &self.stats;
        let (pending, running) = (stats.pending(), stats.running());
        format!("PD:{pending} R:{running} CD:{} F:{}", stats.completed, stats.unsuccessful())
    }

    pub fn total(&self) -> u64 {
        self.stats.pending() + self.stats.running() + self.stats.inactive
    }

    /// Of its jobs, those that are over.
    pub fn progress(&self) -> Value {
        share(self.stats.inactive as f64, self.total() as f64)
    }

    /// Of its cores, those that jobs have.
    pub fn utilization(&self) -> Value {
        share(self.share.allocated.ncores() as f64, self.all.ncores() as f64)
    }

    pub fn gpu_utilization(&self) -> Value {
        share(self.share.allocated.ngpus() as f64, self.all.ngpus() as f64)
    }

    pub fn all(&self) -> &R {
        &self.all
    }

    pub fn free(&self) -> &R {
        &self.share.free
    }

    pub fn allocated(&self) -> &R {
        &self.share.allocated
    }

    pub fn down(&self) -> &R {
        &self.share.down
    }

    pub fn up(&self) -> R {
        self.all.difference(&self.share.down)
    }
}

fn share(part: f64, whole: f64) -> Value {
    if whole > 0.0 { Value::Float(part / whole) } else { Value::Empty }
}
