//! `flurm pgrep`, `pkill`: jobs by a pattern, or from one id to another.

use super::jobs::{COLUMNS, Row, Selection, View};
use crate::face::Face;
use crate::failure::{FAILED, Failure, USAGE};
use crate::format;
use crate::out::{self, Script};
use crate::when;
use flurm_client::{ClientError, blocking, job};
use flurm_types::{JobId, JobState};
use flurm_wire::job::{JobRecord, List};
use regex_lite::Regex;
use std::io::Write;
use std::rc::Rc;

const NAMED: format::Named = &[("default", "{id.f58}"), ("long", "{id.f58:>12} {status_abbrev:>2.2} {name}")];

/// Find jobs by name: print ids of those that match
///
/// Ends with 1 if none does.
#[derive(Debug, clap::Args)]
pub struct Pgrep {
    /// Jobs in any state, those that are over as well
    #[arg(short = 'a')]
    all: bool,
    #[command(flatten)]
    selection: Selection,
    /// At most so many
    #[arg(short, long, value_name = "N")]
    count: Option<usize>,
    /// Look at so many jobs at most, the newest first; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_entries: usize,
    #[command(flatten)]
    format: format::Options,
    /// A regular expression that is somewhere in the name (`name:EXPR` if it looks like ids), or ids as `ID..ID`
    #[arg(value_name = "EXPR")]
    expression: String,
}

impl Pgrep {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let format = self.format.read("FLUX_PGREP_FORMAT_DEFAULT", NAMED, COLUMNS)?;
        let Some(format) = format else { return Ok(0) };
        let wanted = Wanted::parse(&self.expression)?;
        let list = List { max_entries: self.max_entries, ..self.selection.list(self.all)? };
        let mut jobs = find(&face.connect()?, &wanted, &list)?;
        jobs.truncate(self.count.unwrap_or(usize::MAX));
        let view = Rc::new(View::new(when::now(), Script::of_locale()));
        let found = !jobs.is_empty();
        let mut rows: Vec<Row> =
            jobs.into_iter().map(|job| Row { job, view: view.clone(), inside: None }).collect();
        // Ids alone are for other programs.
        let header = self.format.is_asked() && !self.format.no_header;
        let mut out = out::stdout();
        format.print(&mut out, &mut rows, header, |_| None)?;
        out.flush()?;
        Ok(if found { 0 } else { FAILED })
    }
}

/// Cancel jobs by name
///
/// Ends with 1 if none matches.
#[derive(Debug, clap::Args)]
pub struct Pkill {
    #[command(flatten)]
    selection: Selection,
    /// At most so many
    #[arg(short, long, value_name = "N")]
    count: Option<usize>,
    /// Look at so many jobs at most, the newest first; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_entries: usize,
    /// Return when they are over
    #[arg(short, long)]
    wait: bool,
    /// A regular expression that is somewhere in the name (`name:EXPR` if it looks like ids), or ids as `ID..ID`
    #[arg(value_name = "EXPR")]
    expression: String,
}

impl Pkill {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let wanted = Wanted::parse(&self.expression)?;
        let list = List { max_entries: self.max_entries, ..self.selection.list(false)? };
        let client = face.connect()?;
        let jobs = find(&client, &wanted, &list)?.into_iter().filter(|job| job.state != JobState::Inactive);
        // Who cancels the others goes on.
        let own = std::env::var("FLUX_JOB_ID").ok().and_then(|id| id.parse::<JobId>().ok());
        let ids = jobs.map(|job| job.id).filter(|id| Some(*id) != own).take(self.count.unwrap_or(usize::MAX));
        let ids: Vec<JobId> = ids.collect();
        if ids.is_empty() {
            return Ok(FAILED);
        }
        // A job may have ended while we asked for it: that is what was wanted.
        client.run(async |client| job::raise(&client, &ids, "cancel", 0, "").await)?;
        if self.wait {
            client.run(async |client| job::wait::<ClientError>(&client, &ids, None, |_| Ok(())).await)?;
        }
        Ok(0)
    }
}

/// Which jobs.
#[derive(Debug)]
enum Wanted {
    Name(Regex),
    /// From one to the other, whichever is older.
    Ids(JobId, JobId),
}

impl Wanted {
    fn parse(text: &str) -> Result<Wanted, Failure> {
        let ids = text.split_once("..").and_then(|(from, to)| {
            let (from, to) = (from.parse::<JobId>().ok()?, to.parse::<JobId>().ok()?);
            Some(Wanted::Ids(from.min(to), from.max(to)))
        });
        if let Some(ids) = ids {
            return Ok(ids);
        }
        let pattern = text.strip_prefix("name:").unwrap_or(text);
        Regex::new(pattern).map(Wanted::Name).map_err(|e| {
            Failure::usage(format!("cannot read pattern `{pattern}`: {e}"))
                .hint("it is a regular expression; put `\\` before signs that mean themselves")
                .code(USAGE)
        })
    }

    fn holds(&self, job: &JobRecord) -> bool {
        match self {
            Wanted::Name(pattern) => pattern.is_match(&job.name),
            Wanted::Ids(from, to) => (*from..=*to).contains(&job.id),
        }
    }
}

/// Newest first.
fn find(client: &blocking::Client, wanted: &Wanted, list: &List) -> Result<Vec<JobRecord>, Failure> {
    let before = match wanted {
        Wanted::Ids(_, to) => Some(JobId(to.0.saturating_add(1))),
        Wanted::Name(_) => None,
    };
    let list = List { before, ..list.clone() };
    let mut jobs = client.run(async |client| job::list(&client, &list).await)?.jobs;
    jobs.retain(|job| wanted.holds(job));
    Ok(jobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_a_pattern_unless_it_is_ids() {
        let is_name = |text: &str| match Wanted::parse(text) {
            Ok(wanted) => matches!(wanted, Wanted::Name(_)),
            Err(failure) => panic!("{text}: {failure:?}"),
        };
        for (text, name) in
            [("a..b-c", true), ("ƒ1..ƒ3", false), ("name:ƒ1..ƒ3", true), ("^x$", true), ("1..9", false)]
        {
            assert_eq!(is_name(text), name, "{text}");
        }
        assert!(Wanted::parse("(").is_err());
    }
}
