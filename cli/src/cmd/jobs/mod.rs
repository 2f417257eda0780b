//! `flurm jobs`: what became of the jobs.

mod fields;
pub mod inside;

pub use fields::{COLUMNS, Row, View};

use crate::cmd::resource;
use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::format::{self, Format};
use crate::out::{self, Color, Script};
use crate::when;
use flurm_client::{blocking, job};
use flurm_types::{Idset, JobId, JobResult, JobState, Status};
use flurm_wire::job::{JobRecord, JobStats, List, Listed};
use inside::Inside;
use serde_json::{Value, json};
use std::io::Write;
use std::rc::Rc;

const NAMED: format::Named = &[
    (
        "default",
        "{id.f58:>12} ?:{queue:<8.8} {username:<8.8} {name:<10.10+} {status_abbrev:>2.2} {ntasks:>6} {nnodes:>6h} \
         {contextual_time!F:>8h} {contextual_info}",
    ),
    (
        "cute",
        "{id.f58:>12} ?:{queue:<8.8} {username:<8.8} {name:<10.10+} {status_emoji:>2.2} {ntasks:>6} {nnodes:>6h} \
         {contextual_time!F:>8h} {contextual_info}",
    ),
    (
        "long",
        "{id.f58:>12} ?:{queue:<8.8} {username:<8.8} {name:<10.10+} {status:>9.9} {ntasks:>6} {nnodes:>6h} \
         {t_submit!d:%b%d %R::>12} {t_remaining!F:>12h} {contextual_time!F:>8h} {contextual_info}",
    ),
    (
        "deps",
        "{id.f58:>12} ?:{queue:<8.8} {name:<10.10+} {urgency:<3} {priority:<12} {state:<8.8} {dependencies}",
    ),
    (
        "endreason",
        "{id.f58:>12} ?:{queue:<8.8} {username:<8.8} {name:<10.10+} {status_abbrev:>2.2} \
         {t_inactive!d:%b%d %R::>12h} {inactive_reason}",
    ),
];

/// As many jobs as a person reads; more are asked for with `-c`.
pub const COUNT_DEFAULT: usize = 1000;

/// Says that a listing is not whole: those who count its lines would get a wrong number. Who has given the number knows.
pub fn say_cut(face: &Face, tool: &str, asked: Option<usize>, listed: &Listed) {
    if asked.is_none() && listed.more {
        let shown = listed.jobs.len();
        crate::say!("{}: output truncated at {shown} jobs; -c 0 shows all", face.prefix(tool));
    }
}

/// Cut lines where nobody says how wide they may be, and no terminal does either.
const WIDTH_DEFAULT: usize = 80;

/// List jobs
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Just these
    #[arg(value_name = "ID")]
    ids: Vec<JobId>,
    /// Jobs in any state, those that are over as well
    #[arg(short = 'a')]
    all: bool,
    #[command(flatten)]
    selection: Selection,
    /// At most so many (1000); 0 for all
    #[arg(short, long, value_name = "N")]
    count: Option<usize>,
    /// Only jobs of this name
    #[arg(long)]
    name: Option<String>,
    /// Only jobs that have, or had, one of these nodes: ranks or hosts
    #[arg(short, long, value_name = "TARGETS")]
    include: Option<String>,
    /// Only jobs that were active since then: `-2h`, `yesterday`, `2026-11-21 13:30`
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    since: Option<String>,
    /// Go into jobs that are instances, and list theirs
    #[arg(short = 'R', long)]
    recursive: bool,
    /// The same for instances of all users (there is one)
    #[arg(long)]
    recurse_all: bool,
    /// With -R: at most so many levels below
    #[arg(short = 'L', long, value_name = "N")]
    level: Option<usize>,
    /// Instances are asked one after the other, whatever this says
    #[arg(long, value_name = "N", hide = true)]
    threads: Option<usize>,
    #[command(flatten)]
    format: format::Options,
    /// Cut lines after so many characters (alone: at the edge of the terminal)
    #[arg(short, long, value_name = "N", num_args = 0..=1)]
    width: Option<Option<usize>>,
    /// Order by these fields, those with `-` from the largest down
    #[arg(long, value_name = "[-]FIELD,…", allow_hyphen_values = true)]
    sort: Option<String>,
    /// Print JSON (as `-o json` does)
    #[arg(long)]
    json: bool,
    /// Say first how many there are of each kind
    #[arg(long)]
    stats: bool,
    /// Say only that; exit 1 when no job is active (with -a: never)
    #[arg(long)]
    stats_only: bool,
    /// Colour lines by what became of the job
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    color: Color,
}

/// Which jobs, for all commands that pick some.
#[derive(Debug, Default, clap::Args)]
pub struct Selection {
    /// Jobs of all users (an instance has one)
    #[arg(short = 'A')]
    all_users: bool,
    /// Jobs of this user: a name, a number or `all`
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Only jobs in these states or with these results
    #[arg(short, long, value_name = "STATE|RESULT,…", value_delimiter = ',')]
    filter: Vec<String>,
    /// Only jobs of these queues
    #[arg(short, long, value_name = "QUEUE,…", value_delimiter = ',')]
    queue: Vec<String>,
}

impl Selection {
    pub fn of_states(filter: Vec<String>) -> Selection {
        Selection { filter, ..Selection::default() }
    }

    /// What to ask for; active jobs, if neither `everything` is wanted nor a state named.
    pub fn list(&self, everything: bool) -> Result<List, Failure> {
        let userid = owner(self.user.as_deref())?;
        let (mut states, results) = filter(&self.filter)?;
        if self.filter.is_empty() && !everything {
            states = JobState::ALL.into_iter().filter(|state| state.is_active()).collect();
        }
        Ok(List { states, results, userid, queues: self.queue.clone(), ..List::default() })
    }
}

/// The user whose jobs are wanted, if not those of all.
pub fn owner(user: Option<&str>) -> Result<Option<u32>, Failure> {
    let Some(user) = user.filter(|user| *user != "all") else { return Ok(None) };
    let known = out::user_id(user);
    known.map(Some).ok_or_else(|| Failure::new(format!("there is no user {user} here")))
}

/// Refuses users who have no jobs here, where jobs are to be changed.
pub fn of_owner(user: Option<&str>) -> Result<(), Failure> {
    let uid = rustix::process::getuid().as_raw();
    if let (Some(user), Some(other)) = (user, owner(user)?)
        && other != uid
    {
        return Err(Failure::new(format!("no jobs of user {user} here"))
            .hint("an instance runs jobs of its owner only"));
    }
    Ok(())
}

impl Args {
    pub fn run(mut self, face: &Face) -> Result<u8, Failure> {
        self.json |= self.format.take_json();
        let format = self.format.read("FLUX_JOBS_FORMAT_DEFAULT", NAMED, COLUMNS)?;
        let Some(mut format) = format else { return Ok(0) };
        if let Some(keys) = &self.sort {
            format.sort_by(keys, COLUMNS)?;
        }
        if let Some(width) = self.width {
            format.cut_at(width.or_else(out::columns).unwrap_or(WIDTH_DEFAULT));
        }
        let mut list = self.selection.list(self.all || !self.ids.is_empty() || self.since.is_some())?;
        list.name.clone_from(&self.name);
        list.since = self.since.as_ref().map(|text| when::instant(text, when::now())).transpose()?;
        list.max_entries = self.count.unwrap_or(COUNT_DEFAULT);
        let client = face.connect()?;
        if self.stats_only {
            return self.stats_only(&client, list);
        }
        let view = Rc::new(View::new(when::now(), Script::of_locale()));
        let listing = Listing { face, args: &self, format, list, view };
        // Ids and nodes are those of this instance; the ones below have others.
        let here = List {
            ids: self.ids.clone(),
            known: true,
            ranks: self.include.as_ref().map(|word| ranks(&client, word)).transpose()?,
            max_entries: if self.ids.is_empty() { listing.list.max_entries } else { 0 },
            ..listing.list.clone()
        };
        if self.json {
            let mut jobs = listing.json(&client, &here, 0)?;
            match (jobs.pop(), self.ids.len()) {
                (Some(job), 1) if jobs.is_empty() => out::json(&job)?,
                (last, _) => {
                    jobs.extend(last);
                    out::json(&json!({ "jobs": jobs }))?;
                }
            }
            return Ok(0);
        }
        listing.show(&client, &here, "", 0)?;
        Ok(0)
    }

    /// Does the listing go into instances so far below?
    fn descends(&self, level: usize) -> bool {
        (self.recursive || self.recurse_all) && self.level.is_none_or(|max| level < max)
    }

    fn stats_only(&self, client: &blocking::Client, list: List) -> Result<u8, Failure> {
        let list = List { max_entries: 1, queues: list.queues, ..List::default() };
        let stats = client.run(async |client| job::list(&client, &list).await)?.stats;
        if self.json {
            out::json(&stats)?;
        } else {
            writeln!(out::stdout(), "{}", stats_line(&stats))?;
        }
        let active = stats.pending() + stats.running();
        // So that `while flurm jobs --stats-only; do …` ends.
        Ok(if active == 0 && !self.all { FAILED } else { 0 })
    }
}

/// A listing of an instance, and of those below it.
struct Listing<'a> {
    face: &'a Face,
    args: &'a Args,
    format: Format<Row>,
    /// What is asked of each instance.
    list: List,
    view: Rc<View>,
}

impl Listing<'_> {
    fn rows(&self, client: &blocking::Client, list: &List) -> Result<(Vec<Row>, JobStats), Failure> {
        let listed = client.run(async |client| job::list(&client, list).await)?;
        self.say_unknown(list, &listed.jobs)?;
        say_cut(self.face, "jobs", self.args.count, &listed);
        let Listed { jobs, stats, .. } = listed;
        let inside = self.format.needs(|column| column.starts_with("instance."));
        let row = |job: JobRecord| {
            let below = if inside { inside::connect(&job) } else { None };
            // An instance that cannot be reached is a job like others.
            let inside = below.and_then(|client| Inside::ask(&client.ok()?).ok());
            Row { job, view: self.view.clone(), inside }
        };
        Ok((jobs.into_iter().map(row).collect(), stats))
    }

    /// Ids of jobs that are not there, purged perhaps; it is a mistake only if there are no others.
    fn say_unknown(&self, list: &List, found: &[JobRecord]) -> Result<(), Failure> {
        let is_found = |id: &JobId| found.iter().any(|job| job.id == *id);
        let unknown: Vec<JobId> = list.ids.iter().copied().filter(|id| !is_found(id)).collect();
        match unknown[..] {
            [] => return Ok(()),
            [id] if list.ids.len() == 1 => return Err(Failure::new(format!("there is no job {id}"))),
            _ => {}
        }
        for id in &unknown {
            crate::say!("{}: JobID {} unknown", self.face.prefix("jobs"), self.view.script.id(*id));
        }
        if unknown.len() == list.ids.len() { Err(Failure::silent(FAILED)) } else { Ok(()) }
    }

    fn show(&self, client: &blocking::Client, list: &List, path: &str, level: usize) -> Result<(), Failure> {
        let (mut rows, stats) = self.rows(client, list)?;
        let mut out = out::stdout();
        if self.args.stats {
            writeln!(out, "{}", stats_line(&stats))?;
        }
        let colour = self.args.color.wanted();
        let paint = |row: &Row| if colour { colour_of(row.status()) } else { None };
        self.format.print(&mut out, &mut rows, !self.args.format.no_header, paint)?;
        out.flush()?;
        drop(out);
        if !self.args.descends(level) {
            return Ok(());
        }
        for row in &rows {
            let Some(below) = inside::connect(&row.job) else { continue };
            let id = self.view.script.id(row.job.id);
            let path = if path.is_empty() { id } else { format!("{path}/{id}") };
            let shown = below.and_then(|below| {
                writeln!(out::stdout(), "\n{path}:")?;
                self.show(&below, &self.list, &path, level + 1)
            });
            if let Err(failure) = shown {
                failure.within(&path).say();
            }
        }
        Ok(())
    }

    fn json(&self, client: &blocking::Client, list: &List, level: usize) -> Result<Vec<Value>, Failure> {
        let (rows, _) = self.rows(client, list)?;
        let one = |row: &Row| {
            let mut value = row.json();
            let below = if self.args.descends(level) { inside::connect(&row.job) } else { None };
            match below.map(|below| self.json(&below?, &self.list, level + 1)) {
                Some(Ok(jobs)) => value["jobs"] = jobs.into(),
                Some(Err(failure)) => drop(failure.within(&self.view.script.id(row.job.id)).say()),
                None => {}
            }
            value
        };
        Ok(rows.iter().map(one).collect())
    }
}

/// Ranks of the nodes that a word names.
fn ranks(client: &blocking::Client, word: &str) -> Result<Idset, Failure> {
    resource::targets(word, &resource::ask(client)?.all)
}

/// States and results that the words stand for.
pub fn filter(words: &[String]) -> Result<(Vec<JobState>, Vec<JobResult>), Failure> {
    let (mut states, mut results) = (0, 0);
    for word in words {
        let (of_state, of_result) = Status::filter(word).map_err(|e| {
            Failure::from(e).hint(
                "states: depend priority sched run cleanup inactive pending running active; \
                 results: completed failed canceled timeout",
            )
        })?;
        states |= of_state;
        results |= of_result;
    }
    // A result is a question about jobs that are over.
    if results != 0 && states != 0 {
        states |= JobState::Inactive.bits();
    } else if results != 0 {
        states = JobState::Inactive.bits();
    }
    Ok((
        JobState::ALL.into_iter().filter(|state| states & state.bits() != 0).collect(),
        JobResult::ALL.into_iter().filter(|result| results & result.bits() != 0).collect(),
    ))
}

pub fn stats_line(stats: &JobStats) -> String {
    let (running, pending) = (stats.running(), stats.pending());
    format!(
        "{running} running, {} completed, {} failed, {pending} pending",
        stats.completed,
        stats.unsuccessful()
    )
}

pub fn colour_of(status: Status) -> Option<&'static str> {
    match status {
        Status::Result(JobResult::Failed | JobResult::Timeout) => Some("\x1b[31m"),
        Status::Result(JobResult::Canceled) => Some("\x1b[2m"),
        Status::State(JobState::Run | JobState::Cleanup) => Some("\x1b[32m"),
        Status::Result(JobResult::Completed) | Status::State(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_words_are_states_and_results() {
        let words = |words: &[&str]| {
            filter(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
                .map(|(s, r)| (s.len(), r.len()))
        };
        assert_eq!(words(&["pending"]), Ok((3, 0)));
        assert_eq!(words(&["failed", "timeout"]), Ok((1, 2)));
        assert_eq!(words(&["run", "failed"]), Ok((2, 1)));
        assert!(words(&["bogus"]).is_err());
    }

    #[test]
    fn the_named_formats_can_be_read() {
        for (name, text) in NAMED {
            assert!(format::Format::parse(text, COLUMNS).is_ok(), "{name}");
        }
    }
}
