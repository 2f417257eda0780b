//! `flurm simulate`: traces of jobs in virtual time, through the scheduler that instances use.

use crate::face::Face;
use crate::failure::Failure;
use crate::inventory::{Inventory, Sizes, read, write};
use crate::out;
use crate::progress::Bar;
use flurm_jobspec::Placement;
use flurm_sched::simulate::{Report, Run, Trace, run};
use flurm_sched::{Config, Policy};
use flurm_types::{R, Timestamp};
use serde::Serialize;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Play traces of jobs through the scheduler, in virtual time
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Traces: SWF or JSON lines; `-` is standard input
    #[arg(required = true, value_name = "TRACE")]
    traces: Vec<PathBuf>,
    /// The resources: an R, a JSON graph or hwloc's XML (see `flurm resource jgf`), instead of sizes
    #[arg(long, value_name = "FILE")]
    graph: Option<PathBuf>,
    #[command(flatten)]
    sizes: Sizes,
    /// Queue policies to compare: fcfs, sjf, easy, conservative, hybrid, hybrid:N
    #[arg(long, value_name = "POLICY,…", value_delimiter = ',', default_value = "fcfs,easy", help_heading = HEADING)]
    policy: Vec<Policy>,
    /// Placements to compare, of jobs that do not say: first, low, high, locality, compact, spread[:SHARE]
    #[arg(long, value_name = "PLACEMENT,…", value_delimiter = ',', default_value = "compact", help_heading = HEADING)]
    placement: Vec<Placement>,
    /// Only the first jobs of each trace
    #[arg(long, value_name = "N", help_heading = HEADING)]
    jobs: Option<usize>,
    /// Let jobs come so many times as fast
    #[arg(long, value_name = "FACTOR", value_parser = factor, help_heading = HEADING)]
    scale_load: Option<f64>,
    /// Write a line for each job; with several runs a file for each, with the run's name in its own
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw who ran where and when; with several runs a file for each
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const HEADING: &str = "What is compared";

/// What really happened, if a trace says so, stands among the policies under this name.
const RECORDED: &str = "recorded";

/// What one run is called and what it came to.
#[derive(Debug, Serialize)]
struct Line {
    trace: String,
    policy: String,
    placement: String,
    report: Report,
}

impl Args {
    pub fn run(self, _face: &Face) -> Result<u8, Failure> {
        let inventory = self.inventory()?;
        let names: BTreeSet<String> = self.traces.iter().map(|path| stem(path)).collect();
        if names.len() < self.traces.len() {
            return Err(Failure::usage("two traces have the same name")
                .hint("runs are told apart by the names of their files"));
        }
        let several = self.traces.len() * self.policy.len() * self.placement.len() > 1;
        let mut lines = Vec::new();
        for path in &self.traces {
            let trace = self.trace(path)?;
            let of = stem(path);
            if let Some(report) =
                self.scale_load.is_none().then(|| trace.report(inventory.ncores())).flatten()
            {
                lines.push(Line {
                    trace: of.clone(),
                    policy: RECORDED.to_owned(),
                    placement: String::new(),
                    report,
                });
            }
            for policy in &self.policy {
                for placement in &self.placement {
                    let config = Config { policy: *policy, placement: *placement, ..Config::default() };
                    let line = Line {
                        trace: of.clone(),
                        policy: policy.to_string(),
                        placement: placement.to_string(),
                        report: Report::default(),
                    };
                    let name = self.name(&line);
                    let ran = played(&trace, &inventory, &config, &name);
                    let title = format!(
                        "{of}, {policy}, {placement}: {} jobs on {} cores",
                        trace.jobs.len(),
                        inventory.ncores()
                    );
                    self.files(&ran, &trace, &title, several.then_some(&name))?;
                    lines.push(Line { report: ran.report(), ..line });
                }
            }
        }
        if self.json {
            out::json(&lines)?;
        } else {
            let rows: Vec<(String, Report)> =
                lines.into_iter().map(|line| (self.name(&line), line.report)).collect();
            out::stdout().write_all(Report::table(&rows).as_bytes())?;
        }
        Ok(0)
    }

    fn inventory(&self) -> Result<R, Failure> {
        match (&self.graph, self.sizes.are_given()) {
            (Some(_), true) => Err(Failure::usage("sizes and --graph exclude each other")),
            (Some(path), false) => Ok(Inventory::load(path, None, "node0")?.r),
            (None, true) => Ok(self.sizes.shape()?.to_r()),
            (None, false) => Err(Failure::usage("on which nodes?")
                .hint("--nodes=N --sockets=N --cores=N, or a file: --graph=FILE")),
        }
    }

    fn trace(&self, path: &Path) -> Result<Trace, Failure> {
        let named = |error| Failure::new(format!("{}: cannot {error}", path.display()));
        let mut trace = Trace::parse(&read(path)?).map_err(named)?;
        if let Some(jobs) = self.jobs {
            trace.jobs.truncate(jobs);
        }
        if trace.jobs.is_empty() {
            return Err(Failure::new(format!("{}: no job in it", path.display())));
        }
        if let Some(factor) = self.scale_load {
            let first = trace.jobs.iter().map(|job| job.submit).min().unwrap_or_default();
            for job in &mut trace.jobs {
                let since = job.submit.secs_since(first) / factor;
                job.submit = first.checked_add_secs(since).unwrap_or(Timestamp(i64::MAX));
            }
        }
        Ok(trace)
    }

    /// What tells a run apart from the others.
    fn name(&self, line: &Line) -> String {
        let mut name = Vec::new();
        if self.traces.len() > 1 {
            name.push(line.trace.as_str());
        }
        if self.policy.len() > 1 || self.placement.len() == 1 || line.policy == RECORDED {
            name.push(&line.policy);
        }
        if self.placement.len() > 1 && line.policy != RECORDED {
            name.push(&line.placement);
        }
        name.join(" ")
    }

    fn files(&self, run: &Run, trace: &Trace, title: &str, name: Option<&String>) -> Result<(), Failure> {
        if let Some(path) = &self.csv {
            write(&own(path, name), &run.to_csv())?;
        }
        if let Some(path) = &self.svg {
            write(&own(path, name), &run.to_svg(trace, title))?;
        }
        Ok(())
    }
}

/// A run with a bar that shows how far it is.
fn played(trace: &Trace, inventory: &R, config: &Config, name: &str) -> Run {
    let mut bar = out::on_terminal().then(|| Bar::new(name, trace.jobs.len()));
    run(trace, inventory, config, |over| {
        if let Some(bar) = &mut bar {
            bar.at(over);
        }
    })
}

/// The file's name, with the run's name before its ending.
fn own(path: &Path, name: Option<&String>) -> PathBuf {
    let Some(name) = name else { return path.to_owned() };
    let mut file = path.file_stem().unwrap_or_default().to_owned();
    file.push(format!("-{}", name.replace([' ', '/', ':'], "-")));
    if let Some(ending) = path.extension() {
        file.push(".");
        file.push(ending);
    }
    path.with_file_name(file)
}

fn stem(path: &Path) -> String {
    if path == Path::new("-") {
        return "stdin".to_owned();
    }
    path.file_stem().map(OsString::from).unwrap_or_default().to_string_lossy().into_owned()
}

fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse::<f64>().ok().filter(|factor| factor.is_finite() && *factor > 0.0);
    factor.ok_or_else(|| "a number above 0, such as 2 or 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_runs_have_a_file_each() {
        let name = "easy spread:1/4".to_owned();
        assert_eq!(own(Path::new("out/x.svg"), Some(&name)), Path::new("out/x-easy-spread-1-4.svg"));
        assert_eq!(own(Path::new("x"), Some(&name)), Path::new("x-easy-spread-1-4"));
        assert_eq!(own(Path::new("x.svg"), None), Path::new("x.svg"));
    }
}
