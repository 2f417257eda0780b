//! Words that mean nothing here, most of them from Flux or Slurm: what to type instead.
//!
//! clap's own advice is to pass such a word as a value, which hardly anybody meant.

use crate::compat;
use crate::failure::Failure;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;

/// Commands that nobody has, and of Flux's extensions: what they stand below, what they are called, and the way out. Those
/// of Flux itself are in the table of `compat.rs`.
const COMMANDS: &[(&str, &str, &str)] = &[
    ("", "list", "`flurm jobs`"),
    ("", "ps", "`flurm jobs`, or `flurm pstree`"),
    ("", "ion-resource", "`flurm resource query` asks the matcher, without an instance"),
    ("", "ion-R", "`flurm resource jgf --from=FILE -o R+jgf` writes an R with its graph"),
    ("queue", "limits", "`flurm queue list`"),
];

/// Options of `sbatch` and `srun` that are other ones here.
const OF_SUBMISSION: &[(&str, &str)] = &[
    ("-w", "--requires=hosts:HOSTS"),
    ("-J", "--job-name=NAME"),
    ("-p", "-q NAME or --queue=NAME"),
    ("-A", "-B NAME or --bank=NAME"),
    ("-D", "--cwd=DIR"),
    ("-e", "--error=FILE"),
    ("-i", "--input=FILE"),
    ("-d", "--dependency=afterok:ID"),
    ("-m", "--taskmap=SCHEME"),
    ("-a", "`flurm submit --array=INDICES` or `flurm batch --array=INDICES`"),
    ("--array", "`flurm submit --array=INDICES` or `flurm batch --array=INDICES`"),
    ("-G", "-g N for GPUs of each task, or --gpus-per-node=N with -N"),
    ("-C", "--requires=PROPERTY"),
    ("-b", "--begin-time=WHEN"),
    ("-H", "--urgency=hold"),
    ("-K", "-o exit-on-error"),
    ("-W", "-o exit-timeout=DURATION"),
    ("-Q", "--quiet"),
    ("--wrap", "`sh -c 'COMMANDS'` as the program"),
    ("--comment", "--setattr=user.comment=TEXT"),
    ("--parsable", "nothing: `submit` prints the id alone"),
    ("--distribution", "--taskmap=SCHEME"),
    ("--kill-on-bad-exit", "-o exit-on-error"),
    ("--label", "-l or --label-io"),
    ("--begin", "--begin-time=WHEN"),
];

/// Sizes of `submit` that `batch` and `alloc` have in slots.
const OF_SLOTS: &[(&str, &str)] = &[
    ("--ntasks", "-n N or --nslots=N; tasks are started inside, with `flurm run`"),
    ("--cores-per-task", "-c N or --cores-per-slot=N"),
    ("--cpus-per-task", "-c N or --cores-per-slot=N"),
    ("--gpus-per-task", "-g N or --gpus-per-slot=N"),
    ("--tasks-per-node", "-N and -n; tasks are started inside, with `flurm run`"),
    ("--ntasks-per-node", "-N and -n; tasks are started inside, with `flurm run`"),
    ("--cores", "-n N, with one core in each slot"),
    ("--gpus-per-node", "-N and -g N for GPUs of each slot"),
];

/// Options that `submit` has and `run` has not.
const OF_SUBMIT: &[&str] =
    &["--array", "--cc", "--bcc", "--wait", "--watch", "--progress", "--jps", "--log", "--log-stderr"];

/// Options of `squeue`.
const OF_JOBS: &[(&str, &str)] = &[
    ("-t", "-f STATE or --filter=STATE"),
    ("-j", "the ids alone"),
    ("-p", "-q NAME or --queue=NAME"),
    ("-S", "--sort=FIELD"),
    ("-h", "-n or --no-header"),
    ("-l", "-o long"),
    ("--me", "nothing: all jobs here are yours"),
    ("--start", "`flurm job why ID`"),
];

/// A word that clap has refused, in our two lines; none: clap says it well enough.
pub fn explain(error: &clap::Error, words: &[OsString]) -> Option<Failure> {
    let words: Vec<&str> = words.iter().skip(1).map(|word| word.to_str().unwrap_or("")).collect();
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = text(ContextKind::InvalidSubcommand)?;
            let at = words.iter().position(|w| *w == word)?;
            let above = words[..at].last().copied().filter(|w| !w.starts_with('-')).unwrap_or("");
            let name = [above, word].join(" ");
            let name = name.trim_start();
            let known = COMMANDS.iter().find(|(a, w, _)| (*a, *w) == (above, word)).map(|(.., hint)| *hint);
            let hint = known.or_else(|| compat::refused_command(name))?;
            Some(Failure::usage(format!("there is no `flurm {name}`")).hint(hint))
        }
        ErrorKind::UnknownArgument => {
            let word = text(ContextKind::InvalidArg)?;
            Some(unknown(&command_of(&words), word, text(ContextKind::SuggestedArg)))
        }
        ErrorKind::ValueValidation => {
            let (option, value) = (text(ContextKind::InvalidArg)?, text(ContextKind::InvalidValue)?);
            let rule = std::error::Error::source(error)?.to_string();
            let called = format!("flurm {}", command_of(&words));
            let failure = if NOT_A_NUMBER.iter().any(|words| rule.contains(words)) {
                Failure::usage(format!("{option}: `{value}` is no number that it takes"))
            } else if rule.starts_with("read ") {
                Failure::usage(format!("{option}: cannot {rule}"))
            } else {
                Failure::usage(format!("{option}: {rule}"))
            };
            let ends = value.split_once(['-', '+']).filter(|_| option.starts_with("--nodes"));
            Some(match ends {
                Some((least, _)) => failure.hint(format!("a job has one size here: -N{least}")),
                None => failure.hint(format!("`{called} --help` shows what it takes")),
            })
        }
        _ => None,
    }
}

/// What the standard library says of numbers, and clap of their ranges.
const NOT_A_NUMBER: &[&str] = &[
    "invalid digit",
    "cannot parse integer",
    "number too",
    "invalid float",
    "cannot parse float",
    "is not in ",
];

/// The commands among the words: `resource list`.
fn command_of(words: &[&str]) -> String {
    let mut command = <super::Cli as clap::CommandFactory>::command();
    command.build();
    let mut path = Vec::new();
    for word in words.iter().filter(|word| !word.starts_with('-')) {
        let Some(below) = command.find_subcommand(word).cloned() else { break };
        path.push(*word);
        command = below;
    }
    path.join(" ")
}

fn unknown(command: &str, word: &str, near: Option<&str>) -> Failure {
    let called = format!("flurm {command}");
    let called = called.trim_end();
    if word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
        return Failure::usage(format!("`{word}` is no option of `{called}`, and no number that it takes"))
            .hint("numbers have no sign here");
    }
    if !word.starts_with('-') {
        return Failure::usage(format!("`{called}` does not know what to do with `{word}`"))
            .hint(format!("`{called} --help` shows what it takes"));
    }
    let habits: Vec<_> = match command {
        "run" | "submit" => OF_SUBMISSION.to_vec(),
        "batch" | "alloc" => [OF_SLOTS, OF_SUBMISSION].concat(),
        "jobs" => OF_JOBS.to_vec(),
        _ => Vec::new(),
    };
    let hint =
        if let Some(way) = compat::refused_option(if command.is_empty() { "flux" } else { command }, word) {
            way.to_owned()
        } else if command == "run" && OF_SUBMIT.contains(&word) {
            format!("use `flurm submit {word}`")
        } else if let Some((_, ours)) = habits.iter().find(|(theirs, _)| *theirs == word) {
            format!("use {ours}")
        } else if let Some(near) = near {
            format!("there is {near}")
        } else {
            format!("`{called} --help` lists them")
        };
    Failure::usage(format!("`{called}` has no option {word}")).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_answered_with_what_is() {
        for (line, text, hint) in [
            ("batch --ntasks=2 x.sh", "`flurm batch` has no option --ntasks", "--nslots"),
            ("alloc -w node1", "`flurm alloc` has no option -w", "--requires=hosts:"),
            ("job namespace", "there is no `flurm job namespace`", "--to=kvs"),
            ("run -w node1 x", "`flurm run` has no option -w", "--requires=hosts:"),
            ("submit -Jx y", "`flurm submit` has no option -J", "--job-name"),
            ("run --cc=1-3 x", "`flurm run` has no option --cc", "use `flurm submit --cc`"),
            ("run -n -1 x", "`-1` is no option of `flurm run`", "no sign"),
            ("run -n 1x y", "--ntasks <N>: `1x` is no number that it takes", "flurm run --help"),
            ("run -N1-2 y", "--nodes <N>: `1-2` is no number that it takes", "-N1"),
            (
                "run -n5000000000 y",
                "--ntasks <N>: `5000000000` is no number that it takes",
                "flurm run --help",
            ),
            ("job why =", "<ID>: cannot read job id `=`", "flurm job why --help"),
            (
                "resource list --zzz",
                "`flurm resource list` has no option --zzz",
                "flurm resource list --help",
            ),
            ("ps -a", "there is no `flurm ps`", "flurm jobs"),
            ("lptest", "there is no `flurm lptest`", "seq"),
            ("kvs dropcache", "there is no `flurm kvs dropcache`", "cached"),
            ("kvs unlink -s a", "`flurm kvs unlink` has no option -s", "flurm kvs version"),
            ("jobs --from-stdin", "`flurm jobs` has no option --from-stdin", "xargs"),
            ("queue limits", "there is no `flurm queue limits`", "flurm queue list"),
            ("jobs -t RUNNING", "`flurm jobs` has no option -t", "--filter"),
            ("jobs --no-head", "`flurm jobs` has no option --no-head", "--no-header"),
            ("uptime --zzz", "`flurm uptime` has no option --zzz", "flurm uptime --help"),
        ] {
            let words: Vec<OsString> =
                std::iter::once("flurm").chain(line.split(' ')).map(Into::into).collect();
            let error = super::super::parse("flurm", &words).expect_err(line);
            let failure = explain(&error, &words).unwrap_or_else(|| panic!("{line}: {error}"));
            let (said, hinted) = failure.lines();
            assert!(said.starts_with(text), "{line}: {said}");
            assert!(hinted.is_some_and(|h| h.contains(hint)), "{line}: {hinted:?}");
        }
    }
}
