//! `flurm __complete`: what a line may go on with, for the shells' scripts of `flurm completion`. Commands, options and
//! words come from the one definition, jobs, queues and hosts from the instance.

use super::completion::Kind;
use crate::face::Face;
use crate::failure::Failure;
use crate::out::{self, Script};
use clap::{Arg, Command};
use flurm_client::uri::Level;
use flurm_client::{attr, job};
use flurm_types::{Encoding, Hostlist, JobState};
use flurm_wire::Dest;
use flurm_wire::job::{List, Queue, QueueAct};
use std::io::Write;

/// Say what a line may go on with
#[derive(Debug, clap::Args)]
pub struct Args {
    shell: Kind,
    /// The line up to the cursor
    line: String,
}

/// What the scripts take as: any file.
const FILES: &str = ":files";

/// Jobs and hosts that are offered; nobody reads more.
const OFFERED_MAX: usize = 1000;

/// Commands for jobs that are not over; for others all jobs are offered.
const ACTIVE_ONLY: &[&str] = &[
    "cancel",
    "update",
    "proxy",
    "uri",
    "job kill",
    "job memo",
    "job raise",
    "job timeleft",
    "job urgency",
    "job why",
];

/// Where bash begins a new word within ours; what is before it must not be said again.
const BASH_BREAKS: [char; 3] = ['=', ':', '@'];

/// A word that may come, and what is said of it.
type Offer = (String, String);

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let (words, current) = split(&self.line);
        let mut root = super::definition();
        root.build();
        let spot = Spot::find(&root, words.get(1..).unwrap_or_default(), &current);
        let face = Face { level: spot.level, ..*face };
        let mut out = out::stdout();
        let Some(offers) = spot.offers(&face) else {
            writeln!(out, "{FILES}")?;
            return Ok(0);
        };
        let said = match self.shell {
            Kind::Bash => current.rfind(BASH_BREAKS).map_or(0, |at| at + 1),
            Kind::Zsh | Kind::Fish => 0,
        };
        for (word, about) in offers {
            let word = format!("{}{word}", spot.stem);
            if word.starts_with(&current) {
                match self.shell {
                    Kind::Fish if !about.is_empty() => writeln!(out, "{word}\t{about}")?,
                    Kind::Bash | Kind::Zsh | Kind::Fish => writeln!(out, "{}", &word[said..])?,
                }
            }
        }
        Ok(0)
    }
}

/// The words before the cursor, and the one at it, as a shell would read them.
fn split(line: &str) -> (Vec<String>, String) {
    let (mut words, mut word, mut begun, mut quote) = (Vec::new(), String::new(), false, None);
    let mut signs = line.chars();
    while let Some(sign) = signs.next() {
        match (quote, sign) {
            (None, ' ' | '\t' | '\n') => {
                if std::mem::take(&mut begun) {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None, '\'' | '"') => quote = Some(sign),
            (Some(open), _) if open == sign => quote = None,
            (None | Some('"'), '\\') => word.extend(signs.next()),
            (_, _) => word.push(sign),
        }
        begun = true;
    }
    (words, word)
}

/// The place of the cursor.
struct Spot<'a> {
    command: &'a Command,
    path: Vec<&'a str>,
    level: Level,
    what: What<'a>,
    /// What of the word at the cursor stays, whatever follows.
    stem: String,
    /// What follows has begun so.
    part: String,
}

enum What<'a> {
    Options,
    /// Commands below this one.
    Commands,
    Value(&'a Arg),
    /// Words of another program.
    Others,
    Nothing,
}

fn by_long<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(name) || arg.get_all_aliases().unwrap_or_default().contains(&name))
}

fn by_short(command: &Command, name: char) -> Option<&Arg> {
    command.get_arguments().find(|arg| arg.get_short() == Some(name))
}

/// Does the option take the next word as its value?
fn takes_next(arg: &Arg) -> bool {
    arg.get_action().takes_values() && !arg.is_require_equals_set()
}

impl<'a> Spot<'a> {
    fn find(root: &'a Command, words: &[String], current: &str) -> Spot<'a> {
        let (mut command, mut path, mut level) = (root, Vec::new(), Level::Own);
        // Which option waits for its value, how many words stood for themselves, and whether `--` was there.
        let (mut open, mut alone, mut ended) = (None, 0, false);
        for word in words {
            if open.take().is_some() {
                continue;
            }
            if ended || !word.starts_with('-') || word == "-" {
                match command.find_subcommand(word).filter(|_| alone == 0 && !ended) {
                    Some(below) => {
                        path.push(below.get_name());
                        command = below;
                    }
                    None => alone += 1,
                }
            } else if word == "--" {
                ended = true;
            } else if alone > 0 && rest_is_other(command, alone) {
                alone += 1;
            } else if let Some(name) = word.strip_prefix("--") {
                open = by_long(command, name).filter(|arg| takes_next(arg));
                level = raised(level, name);
            } else {
                let mut letters = word[1..].chars();
                while let Some(letter) = letters.next() {
                    let arg = by_short(command, letter);
                    if path.is_empty() {
                        level = raised(level, arg.and_then(Arg::get_long).unwrap_or_default());
                    }
                    if arg.is_some_and(|arg| arg.get_action().takes_values()) {
                        open = arg.filter(|arg| letters.as_str().is_empty() && takes_next(arg));
                        break;
                    }
                }
            }
        }
        let mut spot =
            Spot { command, path, level, what: What::Nothing, stem: String::new(), part: current.to_owned() };
        spot.what = if let Some(arg) = open {
            What::Value(arg)
        } else if rest_is_other(command, alone) {
            What::Others
        } else if !ended
            && let Some((name, value)) = current.strip_prefix("--").and_then(|long| long.split_once('='))
        {
            spot.stem = format!("--{name}=");
            spot.part = value.to_owned();
            by_long(command, name).map_or(What::Nothing, What::Value)
        } else if !ended && current.starts_with('-') {
            What::Options
        } else if command.has_subcommands() && alone == 0 {
            What::Commands
        } else {
            positional(command, alone).map_or(What::Nothing, What::Value)
        };
        if let What::Value(arg) = spot.what {
            spot.cut(arg);
        }
        spot
    }

    /// Of a list, only the last item is looked for; of `SCHEME:ID`, the part that the cursor is in.
    fn cut(&mut self, arg: &Arg) {
        let name = value_name(arg);
        let sign = if name.ends_with(",…") {
            ','
        } else if name == "SCHEME:ID" {
            ':'
        } else {
            return;
        };
        if let Some(at) = self.part.rfind(sign) {
            let rest = self.part.split_off(at + 1);
            self.stem.push_str(&std::mem::replace(&mut self.part, rest));
        }
    }

    /// None: files.
    fn offers(&self, face: &Face) -> Option<Vec<Offer>> {
        match self.what {
            What::Nothing => Some(Vec::new()),
            What::Others => None,
            What::Options => Some(options(self.command)),
            What::Commands => {
                let below = self.command.get_subcommands().filter(|below| !below.is_hide_set());
                Some(below.map(|below| (below.get_name().to_owned(), about(below.get_about()))).collect())
            }
            What::Value(arg) => self.values(arg, face),
        }
    }

    fn values(&self, arg: &Arg, face: &Face) -> Option<Vec<Offer>> {
        let words = arg.get_possible_values();
        if !words.is_empty() {
            let shown = words.iter().filter(|word| !word.is_hide_set());
            return Some(shown.map(|word| (word.get_name().to_owned(), about(word.get_help()))).collect());
        }
        let path = self.path.join(" ");
        let words =
            |words: &[&str]| Some(words.iter().map(|word| ((*word).to_owned(), String::new())).collect());
        let live = match value_name(arg).as_str() {
            "FILE"
            | "PATH"
            | "DIR"
            | "SCRIPT"
            | "COMMAND"
            | "CONFIG"
            | "JOBSPEC"
            | "TRACE"
            | "FILE|RANKS"
            | "[NAME[:MODE]=]FILE|TEXT" => return None,
            "STATE,…" | "STATE|RESULT,…" if !path.starts_with("resource") => return words(STATES),
            "FORMAT" => formats(&self.path),
            "ID" | "IDS" | "JOBID" | "ID|MAP" | "TARGET" => {
                jobs(face, &self.part, ACTIVE_ONLY.contains(&&*path))
            }
            "SCHEME:ID" if self.stem.ends_with(':') => jobs(face, &self.part, false),
            "SCHEME:ID" => return words(SCHEMES),
            "QUEUE" | "QUEUE,…" => queues(face),
            "NAME" if arg.get_long() == Some("queue") => queues(face),
            "NAME" if path == "getattr" || path == "setattr" => attributes(face),
            "HOST" | "HOSTS" | "TARGETS" => hosts(face),
            _ => return words(&[]),
        };
        // Without an instance there is nothing to offer.
        Some(live.unwrap_or_default())
    }
}

fn raised(level: Level, option: &str) -> Level {
    match (option, level) {
        ("root", _) => Level::Root,
        ("parent", Level::Parent(n)) => Level::Parent(n + 1),
        ("parent", _) => Level::Parent(1),
        (_, level) => level,
    }
}

/// Do words behind so many belong to another program?
fn rest_is_other(command: &Command, alone: usize) -> bool {
    let mut positionals = command.get_positionals();
    alone > 0
        && positionals
            .any(|arg| arg.is_trailing_var_arg_set() && arg.get_index().is_none_or(|at| at <= alone))
}

/// The one that stands there; the last one may take several.
fn positional(command: &Command, alone: usize) -> Option<&Arg> {
    let mut all = command.get_positionals();
    let several = |arg: &&Arg| arg.get_num_args().is_some_and(|n| n.max_values() > 1);
    all.nth(alone).or_else(|| command.get_positionals().last().filter(several))
}

fn value_name(arg: &Arg) -> String {
    let named = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    named.unwrap_or_else(|| arg.get_id().as_str().to_uppercase())
}

/// The first line.
fn about(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(|text| text.to_string().lines().next().unwrap_or_default().to_owned()).unwrap_or_default()
}

fn options(command: &Command) -> Vec<Offer> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let mut offers = Vec::new();
    for arg in shown {
        let needs_value =
            arg.get_action().takes_values() && arg.get_num_args().is_none_or(|n| n.min_values() > 0);
        let sign = if needs_value { "=" } else { "" };
        match (arg.get_long(), arg.get_short()) {
            (Some(long), _) => offers.push((format!("--{long}{sign}"), about(arg.get_help()))),
            (None, Some(short)) => offers.push((format!("-{short}"), about(arg.get_help()))),
            (None, None) => {}
        }
    }
    offers
}

const STATES: &[&str] = &[
    "depend",
    "priority",
    "sched",
    "run",
    "cleanup",
    "inactive",
    "pending",
    "running",
    "active",
    "completed",
    "failed",
    "canceled",
    "timeout",
];

const SCHEMES: &[&str] =
    &["afterok:", "afterany:", "afternotok:", "afterstart:", "afterexcept:", "singleton"];

/// In the encoding in which the word has begun.
fn jobs(face: &Face, part: &str, active: bool) -> Result<Vec<Offer>, Failure> {
    let states = JobState::ALL.into_iter().filter(|state| !active || state.is_active()).collect();
    let list = List { states, max_entries: OFFERED_MAX, ..List::default() };
    let jobs = face.connect()?.run(async |client| job::list(&client, &list).await)?.jobs;
    let script = Script::of_locale();
    let id = |id: flurm_types::JobId| match part.chars().next() {
        Some('f') => id.encode(Encoding::F58Plain),
        Some('ƒ') => id.encode(Encoding::F58),
        Some('0'..='9') => id.0.to_string(),
        Some(_) | None => script.id(id),
    };
    Ok(jobs.iter().map(|job| (id(job.id), format!("{} {}", job.name, job.state))).collect())
}

fn queues(face: &Face) -> Result<Vec<Offer>, Failure> {
    let status = face.connect()?.call(Dest::Leader, &Queue::from(QueueAct::Status))?;
    let named = status.queues.into_iter().map(|queue| queue.name).filter(|name| !name.is_empty());
    Ok(named.map(|name| (name, String::new())).collect())
}

fn attributes(face: &Face) -> Result<Vec<Offer>, Failure> {
    Ok(face.connect()?.run(async |client| attr::list(&client).await)?.into_iter().collect())
}

fn hosts(face: &Face) -> Result<Vec<Offer>, Failure> {
    let text = face.connect()?.run(async |client| attr::get(&client, "hostlist").await)?;
    let hosts: Hostlist = text.parse()?;
    Ok(hosts.iter().take(OFFERED_MAX).map(|host| (host.to_owned(), String::new())).collect())
}

/// As the command itself lists them, those of the user among them.
fn formats(path: &[&str]) -> Result<Vec<Offer>, Failure> {
    let mut command = std::process::Command::new(super::uri::own_program()?);
    let said =
        command.args(path).arg("--format=help").args(path.ends_with(&["pgrep"]).then_some("x")).output()?;
    let said = String::from_utf8_lossy(&said.stdout);
    // Fields are indented.
    let named = said.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_once(' '));
    Ok(named.map(|(name, text)| (name.to_owned(), text.trim().to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What there is, without an instance; `:files`, or words.
    fn offered(line: &str) -> String {
        let (words, current) = split(line);
        let mut root = super::super::definition();
        root.build();
        let spot = Spot::find(&root, &words[1..], &current);
        let Some(offers) = spot.offers(&Face { name: "flurm", level: Level::Own }) else {
            return FILES.to_owned();
        };
        let words = offers.into_iter().map(|(word, _)| format!("{}{word}", spot.stem));
        words.filter(|word| word.starts_with(&current)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_line_goes_on_with_what_can_stand_there() {
        for (line, expected) in [
            ("flurm canc", "cancel"),
            ("flurm --par", "--parent"),
            ("flurm job ur", "urgency"),
            ("flurm resource lis", "list"),
            ("flurm submit --job-n", "--job-name="),
            ("flurm jobs --no-h", "--no-header"),
            ("flurm jobs --colo", "--color"),
            ("flurm jobs --color=al", "--color=always"),
            ("flurm jobs -f completed,fa", "completed,failed"),
            ("flurm jobs --filter=pend", "--filter=pending"),
            ("flurm submit --dependency=aftero", "--dependency=afterok:"),
            ("flurm job id --to ", "dec f58 f58plain hex dothex kvs words emoji"),
            ("flurm completion z", "zsh"),
            ("flurm submit ", FILES),
            ("flurm submit -n4 ./a.out --ti", FILES),
            ("flurm submit --output=", FILES),
            ("flurm run -o x -- --t", FILES),
            ("flurm 'job' 'wait-", "wait-event"),
            ("flurm event sub --co", "--count="),
            ("flurm event sub --count 1 --ra", "--raw"),
            ("flurm nothing ", ""),
        ] {
            assert_eq!(offered(line), expected, "{line}");
        }
        assert!(offered("flurm ").split(' ').count() > 40 && !offered("flurm ").contains("__complete"));
    }

    #[test]
    fn lines_are_read_as_shells_do() {
        let read = |line: &str| {
            let (words, current) = split(line);
            format!("{}|{current}", words.join("|"))
        };
        assert_eq!(read("a 'b c' d\\ e \"f\\\"g\" h"), "a|b c|d e|f\"g|h");
        assert_eq!(read("a b "), "a|b|");
        assert_eq!(read("a 'b c"), "a|b c");
    }
}
