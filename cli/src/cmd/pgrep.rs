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
    search: Search,
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
        let jobs = self.search.find(face, self.all, &self.expression, |_| true)?.1;
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
    search: Search,
    /// Return when they are over
    #[arg(short, long)]
    wait: bool,
    /// A regular expression that is somewhere in the name (`name:EXPR` if it looks like ids), or ids as `ID..ID`
    #[arg(value_name = "EXPR")]
    expression: String,
}

impl Pkill {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        // Who cancels the others goes on.
        let own = face.job();
        let others = |job: &JobRecord| job.state != JobState::Inactive && Some(job.id) != own;
        let (client, jobs) = self.search.find(face, false, &self.expression, others)?;
        let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
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

/// Where to look, and for how many.
#[derive(Debug, clap::Args)]
struct Search {
    #[command(flatten)]
    selection: Selection,
    /// At most so many
    #[arg(short, long, value_name = "N")]
    count: Option<usize>,
    /// Look at so many jobs at most, the newest first; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_entries: usize,
}

impl Search {
    /// The jobs that the expression means, newest first.
    fn find(
        &self,
        face: &Face,
        everything: bool,
        expression: &str,
        counts: impl Fn(&JobRecord) -> bool,
    ) -> Result<(blocking::Client, Vec<JobRecord>), Failure> {
        let wanted = Wanted::parse(expression)?;
        let before = match wanted {
            Wanted::Ids(_, to) => Some(JobId(to.0.saturating_add(1))),
            Wanted::Name(_) => None,
        };
        let list = List { max_entries: self.max_entries, before, ..self.selection.list(everything)? };
        let client = face.connect()?;
        let mut jobs = client.run(async |client| job::list(&client, &list).await)?.jobs;
        jobs.retain(|job| wanted.holds(job) && counts(job));
        jobs.truncate(self.count.unwrap_or(usize::MAX));
        Ok((client, jobs))
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
