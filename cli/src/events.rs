//! Entries of eventlogs as text.

use crate::failure::Failure;
use crate::out::Color;
use crate::when;
use clap::ValueEnum;
use flurm_types::{Entry, Timestamp};
use flurm_wire::job::Log;
use serde_json::Value;

/// How the time of an entry is written.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Time {
    /// Seconds since 1970
    #[default]
    Raw,
    /// Date and time
    Iso,
    /// Seconds since the first entry
    Offset,
    /// Clock time, with the date in the first entry
    Human,
}

/// How an entry is written.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Style {
    #[default]
    Text,
    Json,
}

/// How entries are printed.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Text, or JSON lines as they are stored
    #[arg(short, long, value_enum, default_value_t)]
    pub format: Style,
    /// How times are written
    #[arg(short = 'T', long, value_enum, default_value_t)]
    pub time_format: Time,
    /// Clock times, as --time-format=human
    #[arg(short = 'H', long)]
    pub human: bool,
    /// Colour names of events
    #[arg(short = 'L', long, value_enum, value_name = "WHEN", default_value_t, num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    pub color: Color,
}

impl Options {
    pub fn writer(&self) -> Writer {
        Writer {
            style: self.format,
            time: if self.human { Time::Human } else { self.time_format },
            first: None,
            color: self.color.wanted(),
        }
    }
}

/// Writes entries of one log, in order.
#[derive(Debug)]
pub struct Writer {
    style: Style,
    time: Time,
    /// Time of the first entry seen.
    first: Option<Timestamp>,
    color: bool,
}

impl Writer {
    pub fn line(&mut self, entry: &Entry) -> String {
        if self.style == Style::Json {
            return entry.to_line();
        }
        let begins = self.first.is_none();
        let first = *self.first.get_or_insert(entry.timestamp);
        let time = match self.time {
            Time::Raw => entry.timestamp.to_string(),
            Time::Iso => when::zoned(entry.timestamp).strftime("%Y-%m-%dT%H:%M:%S.%6f%:z").to_string(),
            Time::Offset => format!("{:.6}", entry.timestamp.secs_since(first)),
            Time::Human if begins => format!("[{}]", when::zoned(entry.timestamp).strftime("%b%d %H:%M")),
            Time::Human => format!("[{:+13.6}]", entry.timestamp.secs_since(first)),
        };
        let (on, off) = if self.color { ("\x1b[33m", "\x1b[0m") } else { ("", "") };
        format!("{time} {on}{}{off}{}", entry.name, context(entry))
    }
}

/// ` key=value …` of an entry's context.
pub fn context(entry: &Entry) -> String {
    match &entry.context {
        Some(Value::Object(fields)) => fields.iter().map(|(key, value)| format!(" {key}={value}")).collect(),
        Some(other) => format!(" {other}"),
        None => String::new(),
    }
}

/// A text in an entry's context.
pub fn text<'a>(entry: &'a Entry, key: &str) -> Option<&'a str> {
    entry.context.as_ref()?.get(key)?.as_str()
}

/// A number in an entry's context.
pub fn number(entry: &Entry, key: &str) -> Option<i64> {
    entry.context.as_ref()?.get(key)?.as_i64()
}

/// The log that a path names, as `flux job eventlog -p` has it.
pub fn log(path: &str) -> Result<Log, String> {
    match path {
        "eventlog" | "job" => Ok(Log::Eventlog),
        "exec" | "guest.exec.eventlog" => Ok(Log::Exec),
        "output" | "guest.output" => Ok(Log::Output),
        "input" | "guest.input" => Ok(Log::Input),
        _ => Err("logs of a job are eventlog, exec, output and input".to_owned()),
    }
}

/// An event's name with its log in front, as `exec.shell.start`; without one it is the main log's.
pub fn event(name: &str) -> (Log, &str) {
    match name.split_once('.') {
        Some(("exec", rest)) => (Log::Exec, rest),
        Some(("job", rest)) => (Log::Eventlog, rest),
        _ => (Log::Eventlog, name),
    }
}

/// The event of the job's own log with which this one comes. None: it is told in another log alone.
pub fn of_job(name: &str) -> Option<&str> {
    match event(name) {
        (Log::Eventlog, name) => Some(name),
        // Most of what was done to run a job follows from its own events.
        (Log::Exec, "init" | "starting") => Some("alloc"),
        (Log::Exec, "shell.init" | "shell.start") => Some("start"),
        (Log::Exec, "complete") => Some("finish"),
        (Log::Exec, "done") => Some("free"),
        (Log::Exec | Log::Output | Log::Input, _) => None,
    }
}

/// `KEY=VALUE` that an event's context must have.
#[derive(Clone, Debug)]
pub struct Match {
    key: String,
    value: Value,
}

impl Match {
    pub fn parse(text: &str) -> Result<Match, Failure> {
        let (key, value) =
            text.split_once('=').ok_or_else(|| Failure::usage(format!("`{text}` is not KEY=VALUE")))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        Ok(Match { key: key.to_owned(), value })
    }

    pub fn holds(&self, entry: &Entry) -> bool {
        entry.context.as_ref().and_then(|context| context.get(&self.key)) == Some(&self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_entry_is_a_line_of_words() {
        let entry = |at: i64, name: &str| Entry::new(Timestamp(at), name);
        let finish = entry(1_500_000, "finish").with_context(json!({ "status": 0, "note": "a b" }));
        let options =
            |time_format| Options { format: Style::Text, time_format, human: false, color: Color::Never };
        let mut raw = options(Time::Raw).writer();
        assert_eq!(raw.line(&entry(1_000_000, "start")), "1.000000 start");
        assert_eq!(raw.line(&finish), "1.500000 finish note=\"a b\" status=0");
        let mut offset = options(Time::Offset).writer();
        assert_eq!(offset.line(&entry(1_000_000, "start")), "0.000000 start");
        assert!(offset.line(&finish).starts_with("0.500000 finish"));
    }

    #[test]
    fn an_event_of_the_execution_is_told_in_its_own_log() {
        assert_eq!(event("exec.shell.init"), (Log::Exec, "shell.init"));
        for (name, event) in [
            ("clean", Some("clean")),
            ("job.start", Some("start")),
            ("exec.init", Some("alloc")),
            ("exec.shell.init", Some("start")),
            ("exec.done", Some("free")),
            ("exec.shell-exit", None),
        ] {
            assert_eq!(of_job(name), event, "{name}");
        }
    }

    #[test]
    fn a_match_compares_json_values() {
        let finish = Entry::new(Timestamp(1), "finish").with_context(json!({ "status": 0, "note": "x" }));
        for (text, holds) in [("status=0", true), ("status=1", false), ("note=x", true), ("other=1", false)] {
            assert_eq!(Match::parse(text).unwrap().holds(&finish), holds, "{text}");
        }
        assert!(Match::parse("status").is_err());
    }
}
