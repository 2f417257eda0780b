//! The report as one page for a browser: `page.html` with what it shows put in.

use super::tally::{Facts, Report, gaps};
use crate::out::Script;
use flurm_types::{JobState, Status, Timestamp};
use serde_json::{Value, json};

const TEMPLATE: &str = include_str!("page.html");
/// Where the data goes.
const PLACE: &str = "\"DATA\"";

/// The whole page.
pub fn page(facts: &Facts, report: &Report) -> String {
    let script = Script { ascii: false };
    let nodes = facts.all.nodes.iter().map(|node| json!([node.rank, node.host, node.cores.len()]));
    let nodes: Vec<Value> = nodes.collect();
    // In this order, as numbers and texts alone: there may be a hundred thousand of them.
    let jobs = facts.jobs.iter().filter(|job| job.t_run.is_some()).map(|job| {
        let from = job.t_run.unwrap_or(facts.begin).secs_since(facts.begin);
        let to = job.t_inactive.unwrap_or(facts.end).secs_since(facts.begin);
        let ranks: Vec<(u32, u32)> = job.ranks.ranges().collect();
        let status = Status::new(job.state, job.result).name();
        let ends = job.state == JobState::Inactive;
        json!([script.id(job.id), job.name, status, job.ncores, ranks, round(from), round(to), ends])
    });
    let jobs: Vec<Value> = jobs.collect();
    let since = |time: Timestamp| round(time.secs_since(facts.begin));
    let gaps: Vec<Value> =
        gaps(facts).into_iter().map(|(rank, from, to)| json!([rank, since(from), since(to)])).collect();
    let data = json!({
        "begin": facts.begin.as_secs_f64(), "span": facts.end.secs_since(facts.begin),
        "nodes": nodes, "jobs": jobs, "gaps": gaps, "report": report, "utilization": report.utilization(),
    });
    // A name that ends a script must not end ours.
    TEMPLATE.replacen(PLACE, &data.to_string().replace('<', "\\u003c"), 1)
}

fn round(secs: f64) -> f64 {
    (secs * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::R;

    #[test]
    fn a_page_needs_nothing_else_and_cannot_be_broken_by_names() {
        let record = json!({
            "id": 1, "userid": 1, "urgency": 16, "priority": 16, "t_submit": 1.0, "t_run": 1.0, "state": "RUN",
            "name": "</script><b>", "cwd": "/", "ntasks": 1, "ncores": 1, "nnodes": 1, "duration": 0.0, "ranks": "0",
        });
        let facts = Facts {
            jobs: vec![serde_json::from_value(record).unwrap()],
            all: R::default(),
            events: Vec::new(),
            begin: Timestamp(1_000_000),
            end: Timestamp(2_000_000),
        };
        let page = page(&facts, &Report::of(&facts));
        assert!(page.contains("\\u003c/script>") && !page.contains(PLACE), "{page}");
        assert_eq!(page.matches("</script>").count(), 1);
        for outside in ["http://", "https://", "src=", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
