//! Runs as text: a table of policies side by side, and CSV of all jobs.

use super::{Outcome, Report, Run};
use flurm_types::Timestamp;
use std::fmt::Write as _;

impl Report {
    /// Reports side by side, each with its name. What jobs did to each other is shown if they did.
    #[must_use]
    pub fn table(reports: &[(String, Report)]) -> String {
        let width = reports.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(12);
        let crowded = reports.iter().any(|(_, r)| r.stretch_mean > 1.0 + 1e-6 || r.cut_off > 0);
        let mut out = format!(
            "{:width$} {:>8} {:>8} {:>12} {:>12} {:>12} {:>12} {:>10} {:>8}",
            "policy",
            "jobs",
            "refused",
            "makespan s",
            "mean wait s",
            "p95 wait s",
            "max wait s",
            "slow-down",
            "used"
        );
        out.push_str(if crowded { "  stretch  cut off\n" } else { "\n" });
        for (name, r) in reports {
            write!(
                out,
                "{name:width$} {:>8} {:>8} {:>12.0} {:>12.1} {:>12.1} {:>12.1} {:>10.2} {:>7.2}%",
                r.jobs,
                r.refused,
                r.makespan_s,
                r.wait_mean_s,
                r.wait_p95_s,
                r.wait_max_s,
                r.bounded_slowdown_mean,
                r.utilisation * 100.0
            )
            .expect("a String takes every text");
            if crowded {
                write!(out, " {:>8.2} {:>8}", r.stretch_mean, r.cut_off).expect("a String takes every text");
            }
            out.push('\n');
        }
        out
    }
}

impl Run {
    /// A line for each job; times from the beginning of the trace.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut out = "job,submit_s,start_s,end_s,wait_s,cores,nodes,ranks,alone_s,cut_off\n".to_owned();
        let begin = self.begin();
        for Outcome { number, submit, runtime_s, ran, .. } in &self.outcomes {
            let since = |at: Timestamp| at.secs_since(begin);
            let line = match ran {
                Some(ran) => format!(
                    "{number},{},{},{},{},{},{},\"{}\",{runtime_s},{}",
                    since(*submit),
                    since(ran.start),
                    since(ran.end),
                    ran.start.secs_since(*submit),
                    ran.r.ncores(),
                    ran.r.nnodes(),
                    ran.r.ranks(),
                    ran.cut_off
                ),
                None => format!("{number},{},,,,,,,{runtime_s},", since(*submit)),
            };
            out.push_str(&line);
            out.push('\n');
        }
        out
    }
}
