//! The log applied to nothing gives the running state: a mind that reads it lists the same jobs.

use super::ask;
use super::{Broken, broken};
use flurm_core::{Core, CoreConfig, Input, Role};
use flurm_types::Now;
use flurm_wire::fact::Fact;
use flurm_wire::job::{JobRecord, List};

/// Jobs as a mind lists them that is asked now.
pub fn list(core: &mut Core, now: Now) -> Vec<JobRecord> {
    let all = List { steps: true, ..List::default() };
    let mut jobs = ask(core, now, &all).map(|listed| listed.jobs).unwrap_or_default();
    for job in &mut jobs {
        // What the scheduler says of it is not in the log.
        job.annotations = None;
    }
    jobs
}

pub fn check(
    running: &[JobRecord],
    config: CoreConfig,
    log: impl Iterator<Item = (u64, Vec<Fact>)>,
    now: Now,
) -> Result<(), Broken> {
    let mut core = Core::new(config, 0);
    let mut out = Vec::new();
    for (index, facts) in log {
        core.step(now, Input::Committed { index, facts }, &mut out);
    }
    core.step(now, Input::Role(Role::Leader { term: 1 }), &mut out);
    let read = list(&mut core, now);
    if read == running {
        return Ok(());
    }
    let differs = running.iter().zip(&read).find(|(a, b)| a != b);
    broken(
        "replay",
        format!("{} jobs run, {} are read; first that differs: {differs:?}", running.len(), read.len()),
    )
}
