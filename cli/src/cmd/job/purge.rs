//! `flurm job purge`: forgetting jobs that are over.

use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use flurm_types::{Fsd, JobId};
use flurm_wire::Dest;
use flurm_wire::job::{self, Purged};
use std::io::Write;

/// Forget jobs that are over, with all that they have said; without -f only say how many there are
#[derive(Debug, clap::Args)]
pub struct Purge {
    /// Do it
    #[arg(short, long)]
    force: bool,
    /// Those that ended longer ago
    #[arg(long, value_name = "DURATION", conflicts_with = "ids")]
    age_limit: Option<Fsd>,
    /// The oldest, until so many are left
    #[arg(long, value_name = "COUNT", conflicts_with = "ids")]
    num_limit: Option<usize>,
    /// At most so many with one request
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    batch: std::num::NonZeroUsize,
    /// Those jobs
    #[arg(value_name = "ID")]
    ids: Vec<JobId>,
}

impl Purge {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let client = face.connect()?;
        let age_limit = self.age_limit.filter(|limit| !limit.is_infinite()).map(Fsd::as_secs);
        let request = |ids: &[JobId], batch, dry_run| job::Purge {
            ids: ids.to_vec(),
            age_limit,
            num_limit: self.num_limit,
            batch,
            dry_run,
        };
        // Before anything is gone, all that are named are looked at.
        let all = client.call(Dest::Leader, &request(&self.ids, usize::MAX, true))?;
        let mut out = out::stdout();
        let jobs = |count| if count == 1 { "job" } else { "jobs" };
        if !self.force {
            writeln!(
                out,
                "Would purge {} of {} inactive {}; -f does it",
                all.jobs,
                all.left,
                jobs(all.left)
            )?;
            return Ok(0);
        }
        let (batch, mut done, mut left) = (self.batch.get(), 0, all.left);
        let mut named = self.ids.chunks(batch);
        loop {
            let ids = named.next().unwrap_or_default();
            if ids.is_empty() && !self.ids.is_empty() {
                break;
            }
            let Purged { jobs, left: now } = client.call(Dest::Leader, &request(ids, batch, false))?;
            (done, left) = (done + jobs, now);
            if self.ids.is_empty() && jobs < batch {
                break;
            }
        }
        writeln!(out, "Purged {done} inactive {}, {left} left", jobs(done as u64))?;
        Ok(0)
    }
}
