//! `flurm simulate`: traces of jobs in virtual time, through the scheduler that instances use.

use crate::face::Face;
use crate::failure::Failure;
use crate::inventory::{Inventory, Sizes, read, slowdowns, write};
use crate::out;
use crate::progress::Bar;
use flurm_broker::bootstrap::Mistake;
use flurm_jobspec::{Jobspec, Placement};
use flurm_sched::simulate::{Report, Run, Trace, run};
use flurm_sched::{Config, Policy};
use flurm_types::{R, Timestamp, counted};
use serde::Serialize;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// Play traces of jobs through the scheduler, in virtual time
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Traces: SWF or JSON lines; `-` is standard input
    #[arg(required = true, value_name = "TRACE")]
    traces: Vec<PathBuf>,
    /// The resources: an R, a JSON graph or hwloc's XML (see `flurm resource jgf`), instead of sizes
    #[arg(long, value_name = "FILE")]
    graph: Option<PathBuf>,
    /// Queue policies to compare: fcfs, sjf, easy, conservative, hybrid, hybrid:N (default: fcfs,easy)
    #[arg(long, value_name = "POLICY,…", value_delimiter = ',', help_heading = HEADING)]
    policy: Vec<Policy>,
    /// Placements to compare, of jobs that do not say: first, low, high, locality, compact (the default), `spread[:SHARE]`,
    /// cosched
    #[arg(long, value_name = "PLACEMENT,…", value_delimiter = ',', help_heading = HEADING)]
    placement: Vec<Place>,
    /// How much jobs with a class slow each other down (TOML), instead of guesses
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    slowdowns: Option<PathBuf>,
    /// Queues, limits, policy and placement from the configuration of an instance (TOML)
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    config: Option<PathBuf>,
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
    // Last, since its heading is for all that comes after.
    #[command(flatten)]
    sizes: Sizes,
}

const HEADING: &str = "What is compared";

/// What really happened, if a trace says so, stands among the policies under this name.
const RECORDED: &str = "recorded";

/// Where jobs go that do not say.
#[derive(Copy, Clone, Debug, PartialEq)]
enum Place {
    Of(Placement),
    /// They share their sockets with each other.
    Cosched,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(word: &str) -> Result<Place, String> {
        if word == "cosched" { Ok(Place::Cosched) } else { word.parse().map(Place::Of) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Of(placement) => placement.fmt(f),
            Place::Cosched => f.write_str("cosched"),
        }
    }
}

/// What one run is called and what it came to.
#[derive(Debug, Serialize)]
struct Line {
    trace: String,
    policy: String,
    placement: String,
    report: Report,
}

impl Args {
    pub fn run(mut self, _face: &Face) -> Result<u8, Failure> {
        let stdin = Path::new("-");
        let read = self.traces.iter().chain(&self.graph).chain(&self.slowdowns);
        if read.filter(|path| *path == stdin).count() > 1 {
            return Err(Failure::usage("standard input can be read only once"));
        }
        let inventory = self.inventory()?;
        let names: BTreeSet<String> = self.traces.iter().map(|path| stem(path)).collect();
        if names.len() < self.traces.len() {
            return Err(Failure::usage("two traces have the same name")
                .hint("runs are told apart by the names of their files"));
        }
        let mut traces = Vec::new();
        for path in &self.traces {
            traces.push((stem(path), self.trace(path)?, 0));
        }
        let jobs = traces.iter().flat_map(|(_, trace, _)| &trace.jobs);
        let mut inventory = inventory.for_jobs(jobs.map(|job| &*job.jobspec));
        let base = self.configure(&mut inventory, &mut traces)?;
        let several = traces.len() * self.policy.len() * self.placement.len() > 1;
        let (mut lines, mut told) = (Vec::new(), BTreeSet::new());
        for (of, trace, refused) in &traces {
            // Another load is not what was recorded.
            let recorded = self.scale_load.is_none().then(|| trace.report(inventory.ncores())).flatten();
            lines.extend(recorded.map(|report| Line {
                trace: of.clone(),
                policy: RECORDED.to_owned(),
                placement: String::new(),
                report,
            }));
            for place in &self.placement {
                let (placement, shared) = match place {
                    Place::Of(placement) => (*placement, None),
                    Place::Cosched => (base.placement, Some(trace.willing())),
                };
                let trace = shared.as_ref().unwrap_or(trace);
                for policy in &self.policy {
                    let config = Config { policy: *policy, placement, ..base.clone() };
                    let line = Line {
                        trace: of.clone(),
                        policy: policy.to_string(),
                        placement: place.to_string(),
                        report: Report::default(),
                    };
                    let name = self.name(&line);
                    let ran = played(trace, &inventory, &config, &name);
                    let why = ran.outcomes.iter().filter_map(|job| Some((job.number, job.refused.as_ref()?)));
                    let turned_down = why.clone().count();
                    if let Some((job, why)) = why.min_by_key(|(job, _)| *job) {
                        let count = counted(turned_down as u64, "job");
                        // Under another policy it is mostly the same.
                        let text = format!("{of}, {place}: {count} refused; job {job}: {why}");
                        if told.insert(text.clone()) {
                            crate::say!("{text}");
                        }
                    }
                    let (jobs, cores) = (trace.jobs.len(), inventory.ncores());
                    let title = format!("{of}, {policy}, {place}: {jobs} jobs on {cores} cores");
                    self.files(&ran, trace, &title, several.then_some(&name))?;
                    let report = ran.report();
                    lines.push(Line {
                        report: Report { refused: report.refused + refused, ..report },
                        ..line
                    });
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

    /// What all runs have in common. A configuration says what is not said here, adds to jobs what their queues say, and
    /// refuses those that it would not take; they are left out and counted.
    fn configure(
        &mut self,
        inventory: &mut R,
        traces: &mut [(String, Trace, usize)],
    ) -> Result<Config, Failure> {
        let mut base = Config::default();
        if let Some(path) = &self.config {
            let hosts: Vec<String> = inventory.nodes.iter().map(|node| node.host.clone()).collect();
            let mistake = |mistake: Mistake| Failure::new(mistake.what).hint(mistake.hint);
            let site = flurm_broker::config::Config::load(path)
                .and_then(|config| config.site(&hosts))
                .map_err(mistake)?;
            site.mark(inventory);
            base = site.scheduling();
            if let Some(text) = &site.slowdowns {
                base.slowdowns = slowdowns(text, "sched.slowdowns")?;
            }
            for (of, trace, refused) in traces {
                let mut first = None;
                trace.jobs.retain_mut(|job| match site.admit(Jobspec::clone(&job.jobspec)) {
                    Ok(jobspec) => {
                        job.jobspec = Arc::new(jobspec);
                        true
                    }
                    Err(rejected) => {
                        *refused += 1;
                        first.get_or_insert((job.number, rejected.why));
                        false
                    }
                });
                if let Some((job, why)) = first {
                    crate::say!("{of}: {refused} of the jobs are refused; job {job}: {why}");
                }
            }
            if self.policy.is_empty() {
                self.policy.push(base.policy);
            }
            if self.placement.is_empty() {
                self.placement.push(Place::Of(base.placement));
            }
        }
        if self.policy.is_empty() {
            self.policy.extend([Policy::Fcfs, Policy::Easy]);
        }
        if self.placement.is_empty() {
            self.placement.push(Place::Of(Placement::default()));
        }
        if let Some(path) = &self.slowdowns {
            base.slowdowns = slowdowns(&read(path)?, &path.display().to_string())?;
        }
        Ok(base)
    }

    fn inventory(&self) -> Result<Inventory, Failure> {
        match (&self.graph, self.sizes.are_given()) {
            (Some(_), true) => Err(Failure::usage("sizes and --graph exclude each other")),
            (Some(path), false) => Inventory::load(path, None, "node0"),
            (None, true) => Ok(Inventory::from_shape(self.sizes.shape()?)),
            (None, false) => Err(Failure::usage("on which nodes?")
                .hint("--nodes=N --sockets=N --cores=N, or a file: --graph=FILE")),
        }
    }

    fn trace(&self, path: &Path) -> Result<Trace, Failure> {
        let named = |error| Failure::new(format!("{}: cannot {error}", path.display()));
        let mut trace = Trace::parse(&read(path)?).map_err(named)?;
        if trace.never_ran > 0 {
            let lines = counted(trace.never_ran as u64, "job");
            crate::say!("{}: {lines} without run time or processors left out", stem(path));
        }
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
