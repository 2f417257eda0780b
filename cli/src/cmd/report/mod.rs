//! `flurm report`: what an instance did with its time, as text, as JSON, or as a page with its timeline.

mod page;
mod tally;

use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::out::{self, Script};
use crate::when;
use flurm_client::{Client, ClientError, blocking, job};
use flurm_types::JobId;
use flurm_wire::job::List;
use flurm_wire::{Dest, resource, state};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use tally::{Facts, Report};

/// Say what the instance did with its time: how much of its cores was used, why the rest was idle, what failed
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write a page with the timeline of all jobs, for a browser; it needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Only from then on: `-2h`, `yesterday`, `2026-11-21 13:30`
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    since: Option<String>,
    /// Run a program, and report when it has ended (`flurm start --report`)
    #[arg(long, hide = true)]
    after: bool,
    #[arg(last = true, hide = true)]
    command: Vec<String>,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        if !self.after {
            self.report(&face.connect()?, false)?;
            return Ok(0);
        }
        let code = program(&self.command)?;
        // The program's end is what counts, whatever becomes of the report.
        let reported = face.connect().and_then(|client| self.report(&client, true));
        if let Err(failure) = reported {
            failure.within("no report").say();
        }
        Ok(code)
    }

    /// After a program the words go where its own output does not.
    fn report(&self, client: &blocking::Client, after: bool) -> Result<(), Failure> {
        let since = self.since.as_ref().map(|text| when::instant(text, when::now())).transpose()?;
        let mut facts = client.run(facts)?;
        if let Some(since) = since {
            facts.begin = facts.begin.max(since);
            facts.jobs.retain(|job| job.t_inactive.is_none_or(|end| end >= since));
        }
        let report = Report::of(&facts);
        if let Some(file) = &self.html {
            write(file, &page::page(&facts, &report))?;
        }
        match (self.json, after) {
            (true, _) => out::json(&report)?,
            // A page was asked for; the words are in it.
            (false, _) if self.html.is_some() => {}
            (false, true) => crate::say!("{}", text(&report).trim_end()),
            (false, false) => out::stdout().write_all(text(&report).as_bytes())?,
        }
        Ok(())
    }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|e| Failure::new(format!("cannot write {}: {e}", file.display())))
}

async fn facts(client: Client) -> Result<Facts, ClientError> {
    let info = client.call(Dest::Leader, &state::Get {}).await?;
    let status = client.call(Dest::Leader, &resource::Status {}).await?;
    let mut events = Vec::new();
    let mut log = client.stream(Dest::Leader, &resource::Eventlog { follow: false }).await?;
    while let Some(batch) = log.next().await? {
        events.extend(batch.entries);
    }
    let mut jobs = job::list(&client, &List::default()).await?.jobs;
    jobs.sort_by_key(|job| job.id);
    Ok(Facts { jobs, all: status.all, events, begin: info.starttime, end: info.now })
}

/// Runs the instance's program in our place; its code.
fn program(command: &[String]) -> Result<u8, Failure> {
    let shell = std::env::var("SHELL").ok().filter(|shell| !shell.is_empty());
    let alone = [shell.unwrap_or_else(|| "/bin/sh".to_owned())];
    let words = if command.is_empty() { &alone[..] } else { command };
    let mut program = std::process::Command::new(&words[0]);
    let status = program.args(&words[1..]).status().map_err(|e| {
        let code = if e.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
        Failure::new(format!("cannot run {}: {e}", words[0])).code(code)
    })?;
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED))
}

/// The report as a person reads it.
fn text(report: &Report) -> String {
    let script = Script::of_locale();
    let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let mut lines = vec![format!(
        "{}, {}, {}, {} from {} on",
        plural(report.nnodes, "node"),
        plural(report.ncores, "core"),
        plural(report.jobs, "job"),
        when::rough(report.end.secs_since(report.begin)),
        when::zoned(report.begin).strftime("%Y-%m-%d %H:%M:%S"),
    )];
    let results = report.results.iter().map(|(word, n)| format!("{n} {}", word.to_lowercase()));
    let results: Vec<String> = results.collect();
    if !results.is_empty() {
        lines.push(format!("jobs: {}", results.join(", ")));
    }
    lines.push(format!("utilization: {:.1}% of the cores in service", report.utilization() * 100.0));
    lines.push(String::new());
    let uses = &report.core_seconds;
    let total = uses.total();
    lines.push(format!("{:<34} {:>12} {:>6}", "core-hours", hours(total), "share"));
    for (what, secs) in [
        ("used by jobs", uses.used),
        ("idle, jobs waited for resources", uses.idle_waiting),
        ("idle, jobs waited for other jobs", uses.idle_dependent),
        ("idle, no job waited", uses.idle_empty),
        ("drained or not there", uses.down),
    ] {
        let share = if total > 0.0 { secs / total * 100.0 } else { 0.0 };
        lines.push(format!("  {what:<32} {:>12} {share:>5.1}%", hours(secs)));
    }
    let names = |ids: &[JobId]| ids.iter().map(|id| script.id(*id)).collect::<Vec<_>>().join(" ");
    if !report.failures.is_empty() {
        lines.extend([String::new(), format!("{:<20} {:>6} {:>12}", "failures", "jobs", "core-hours")]);
        for of in &report.failures {
            let dots = if of.jobs > of.ids.len() { " …" } else { "" };
            let dots = if script.ascii { dots.replace('…', "...") } else { dots.to_owned() };
            let cost = hours(of.core_seconds);
            lines.push(format!("  {:<18} {:>6} {cost:>12}  {}{dots}", of.kind, of.jobs, names(&of.ids)));
        }
    }
    if !report.slowest_starts.is_empty() {
        lines.extend([String::new(), format!("{:<20} {:>6} {:>12}", "slowest starts", "cores", "waited")]);
        for start in &report.slowest_starts {
            let waited = when::rough(start.waited);
            lines.push(format!(
                "  {:<18} {:>6} {waited:>12}  {}",
                script.id(start.id),
                start.ncores,
                start.name
            ));
        }
    }
    lines.join("\n") + "\n"
}

fn hours(secs: f64) -> String {
    format!("{:.3}", secs / 3600.0)
}
