//! Figures of a run: how long it took, how long jobs waited, how much of the machine was used.

use super::{Ran, Run, Trace};
use flurm_types::Timestamp;
use serde::Serialize;

/// Run times below this count as this when slow-downs are computed; else a job of a second that waits a minute
/// would outweigh all others.
pub const BOUND_S: f64 = 10.0;

/// The figures of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Jobs that ran.
    pub jobs: usize,
    /// Jobs that never ran.
    pub refused: usize,
    /// From the first submission to the last end.
    pub makespan_s: f64,
    pub wait_mean_s: f64,
    /// 95 of 100 jobs waited no longer.
    pub wait_p95_s: f64,
    pub wait_max_s: f64,
    /// Mean of (wait + run time) / run time alone, where the latter counts as 10 s at least, and 1 is the least.
    pub bounded_slowdown_mean: f64,
    /// Mean of run time / run time alone, of jobs whose work was done.
    pub stretch_mean: f64,
    /// Jobs whose time was over before their work was done.
    pub cut_off: usize,
    /// Core seconds that were held, of those that there were in the makespan.
    pub utilisation: f64,
}

/// What the figures need to know of a job that ran.
struct Past {
    submit: Timestamp,
    start: Timestamp,
    end: Timestamp,
    cores: f64,
    /// Its run time alone, or less if it had less time.
    alone_s: f64,
    cut_off: bool,
}

impl Run {
    /// The figures.
    #[must_use]
    pub fn report(&self) -> Report {
        let past = self.outcomes.iter().filter_map(|job| {
            let Ran { start, end, cut_off, r } = job.ran.as_ref()?;
            let (start, end, cut_off) = (*start, *end, *cut_off);
            let alone_s = job.runtime_s.min(end.secs_since(start));
            Some(Past { submit: job.submit, start, end, cores: r.ncores() as f64, alone_s, cut_off })
        });
        figures(past.collect(), self.outcomes.len(), self.inventory.ncores())
    }
}

impl Trace {
    /// The figures of what has happened, on so many cores, if the trace knows how long each job waited. A job counts
    /// with the cores that it asked for.
    #[must_use]
    pub fn report(&self, cores: usize) -> Option<Report> {
        let past = self.jobs.iter().map(|job| {
            let start = job.submit.checked_add_secs(job.waited_s?)?;
            let end = start.checked_add_secs(job.runtime_s)?;
            let request = job.jobspec.request();
            let cores = request.map_or(0.0, |r| f64::from(r.slots) * f64::from(r.cores_per_slot));
            Some(Past { submit: job.submit, start, end, cores, alone_s: job.runtime_s, cut_off: false })
        });
        Some(figures(past.collect::<Option<Vec<_>>>()?, self.jobs.len(), cores))
    }
}

/// The figures of these jobs, out of so many, on so many cores.
fn figures(past: Vec<Past>, jobs: usize, cores: usize) -> Report {
    let refused = jobs - past.len();
    if past.is_empty() {
        return Report { refused, ..Report::default() };
    }
    let count = past.len() as f64;
    let first = past.iter().map(|job| job.submit).min().unwrap_or_default();
    let last = past.iter().map(|job| job.end).max().unwrap_or_default();
    let makespan_s = last.secs_since(first);
    let mut waits: Vec<f64> = past.iter().map(|job| job.start.secs_since(job.submit)).collect();
    let slowdown = |job: &Past| (job.end.secs_since(job.submit) / job.alone_s.max(BOUND_S)).max(1.0);
    // Who was cut off did not show how long it would have taken.
    let whole: Vec<&Past> = past.iter().filter(|job| !job.cut_off && job.alone_s > 0.0).collect();
    let stretches = whole.iter().map(|job| job.end.secs_since(job.start) / job.alone_s).sum::<f64>();
    let held = past.iter().map(|job| job.cores * job.end.secs_since(job.start)).sum::<f64>();
    let there = cores as f64 * makespan_s;
    waits.sort_by(f64::total_cmp);
    Report {
        jobs: past.len(),
        refused,
        makespan_s,
        wait_mean_s: waits.iter().sum::<f64>() / count,
        wait_p95_s: waits[((count * 0.95).ceil() as usize).clamp(1, waits.len()) - 1],
        wait_max_s: waits[waits.len() - 1],
        bounded_slowdown_mean: past.iter().map(slowdown).sum::<f64>() / count,
        stretch_mean: if whole.is_empty() { 1.0 } else { stretches / whole.len() as f64 },
        cut_off: past.iter().filter(|job| job.cut_off).count(),
        utilisation: if there > 0.0 { held / there } else { 0.0 },
    }
}
