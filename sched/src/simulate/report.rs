//! Figures of a run: how long it took, how long jobs waited, how much of the machine was used.

use super::Run;
use serde::Serialize;

/// Run times below this count as this when slow-downs are computed; else a job of a second that waits a minute
/// would outweigh all others.
pub const BOUND_S: f64 = 10.0;

/// The figures of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Jobs that ran.
    pub jobs: usize,
    /// Jobs that could never run.
    pub refused: usize,
    /// From the first submission to the last end.
    pub makespan_s: f64,
    pub wait_mean_s: f64,
    /// 95 of 100 jobs waited no longer.
    pub wait_p95_s: f64,
    pub wait_max_s: f64,
    /// Mean of (wait + run time) / run time, where run times below 10 s count as 10 s, and 1 is the least.
    pub bounded_slowdown_mean: f64,
    /// Core seconds that were held, of those that there were in the makespan.
    pub utilisation: f64,
}

impl Run {
    /// The figures.
    #[must_use]
    pub fn report(&self) -> Report {
        let ran: Vec<_> =
            self.outcomes.iter().filter_map(|job| Some((job.submit, job.ran.as_ref()?))).collect();
        let refused = self.outcomes.len() - ran.len();
        if ran.is_empty() {
            return Report { refused, ..Report::default() };
        }
        let count = ran.len() as f64;
        let first = ran.iter().map(|(submit, _)| *submit).min().unwrap_or_default();
        let last = ran.iter().map(|(_, ran)| ran.end).max().unwrap_or_default();
        let makespan_s = last.secs_since(first);
        let mut waits: Vec<f64> = ran.iter().map(|(submit, ran)| ran.start.secs_since(*submit)).collect();
        let slowdown = |wait: f64, length: f64| ((wait + length) / length.max(BOUND_S)).max(1.0);
        let slowdowns =
            ran.iter().zip(&waits).map(|((_, ran), wait)| slowdown(*wait, ran.end.secs_since(ran.start)));
        let bounded_slowdown_mean = slowdowns.sum::<f64>() / count;
        let held =
            ran.iter().map(|(_, ran)| ran.r.ncores() as f64 * ran.end.secs_since(ran.start)).sum::<f64>();
        let there = self.inventory.ncores() as f64 * makespan_s;
        waits.sort_by(f64::total_cmp);
        Report {
            jobs: ran.len(),
            refused,
            makespan_s,
            wait_mean_s: waits.iter().sum::<f64>() / count,
            wait_p95_s: waits[((count * 0.95).ceil() as usize).clamp(1, waits.len()) - 1],
            wait_max_s: waits[waits.len() - 1],
            bounded_slowdown_mean,
            utilisation: if there > 0.0 { held / there } else { 0.0 },
        }
    }
}
