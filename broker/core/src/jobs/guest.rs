//! Logs of a job's tasks: `guest.exec.eventlog`, `guest.output`, `guest.input` (RFC 16, 24, 50).
//!
//! They are kept as the text that readers get, so that following one is copying from a position on. The order
//! in which entries of all logs came, the eventlog's included, is kept beside them.
//!
//! Output beyond what is kept passes: it stays, in its place, until everybody has it who follows now.

use flurm_types::{Entry, Timestamp};
use flurm_wire::fact::{GuestLog, JobFact};
use flurm_wire::job::Log;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};

/// Bytes of input of a job that are kept.
pub(super) const INPUT_LEN_MAX: u64 = 10 << 20;

/// Entries in the order they came, from one log.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Came {
    Kept(Log),
    /// The entry of the output that says that what follows is not kept.
    Cut,
    /// Output that is not kept.
    Passing,
}

#[derive(Debug, Default)]
pub(super) struct Guest {
    exec: String,
    output: String,
    input: String,
    /// Runs of entries in the order they came.
    pub order: Vec<(Came, u32)>,
    /// By rank, the last report that something here is from.
    pub reported: BTreeMap<u32, u64>,
    /// Bytes of data in the output and in the input, as tasks see them.
    data: [u64; 2],
    /// The output has its share, and that has been said.
    full: bool,
    /// Output that is not kept and that somebody follows: lines, and how many there were before them.
    passing: VecDeque<Box<str>>,
    passed: u64,
    passing_bytes: usize,
}

impl Guest {
    /// Of a job that has so many events before its first entry here.
    pub fn after(events: u32) -> Guest {
        Guest { order: vec![(Came::Kept(Log::Eventlog), events)], ..Guest::default() }
    }

    /// One entry a line.
    pub fn text(&self, log: GuestLog) -> &str {
        match log {
            GuestLog::Exec => &self.exec,
            GuestLog::Output => &self.output,
            GuestLog::Input => &self.input,
        }
    }

    /// Takes in a fact, and the output that came with it and is not kept: each after so many that are.
    pub fn absorb(&mut self, fact: &JobFact, surplus: Vec<Surplus>) {
        // Output is reported before the end of its tasks, so it stands before the events that say so.
        let ends = |entry: &Entry| matches!(entry.name.as_str(), "finish" | "exception" | "release");
        let before = fact.events.iter().position(ends).unwrap_or(fact.events.len());
        self.came(Came::Kept(Log::Eventlog), before);
        let mut surplus = surplus.into_iter().peekable();
        for (at, (log, entry)) in fact.guest.iter().enumerate() {
            while let Some(surplus) = surplus.next_if(|surplus| surplus.after <= at) {
                self.pass(surplus.line);
            }
            self.push(*log, entry);
        }
        surplus.for_each(|surplus| self.pass(surplus.line));
        self.came(Came::Kept(Log::Eventlog), fact.events.len() - before);
        self.reported.extend(&fact.reported);
    }

    fn pass(&mut self, line: Option<Box<str>>) {
        self.came(Came::Passing, 1);
        match line {
            Some(line) => {
                self.passing_bytes += line.len();
                self.passing.push_back(line);
            }
            // Nobody follows, so nothing is here that came before.
            None => self.passed += 1,
        }
    }

    fn push(&mut self, log: GuestLog, entry: &Entry) {
        let is_header = entry.name == "header";
        let text = match log {
            GuestLog::Exec => &mut self.exec,
            GuestLog::Output => &mut self.output,
            GuestLog::Input => &mut self.input,
        };
        // Every shell of a job has a header to offer, or none has; a log begins with exactly one.
        let mut count = 1;
        if log != GuestLog::Exec {
            match (text.is_empty(), is_header) {
                (true, false) => {
                    push_line(text, &header(entry.timestamp, log));
                    count = 2;
                }
                (false, true) => return,
                (true, true) | (false, false) => {}
            }
        }
        push_line(text, entry);
        match log {
            GuestLog::Exec => {}
            GuestLog::Output => self.data[0] += weight(entry),
            GuestLog::Input => self.data[1] += weight(entry),
        }
        if log == GuestLog::Output && entry.name == CUT {
            self.full = true;
            self.came(Came::Cut, count);
        } else {
            self.came(Came::Kept(log.into()), count);
        }
    }

    fn came(&mut self, log: Came, count: usize) {
        let count = u32::try_from(count).expect("a batch has few entries");
        if count == 0 {
            return;
        }
        match self.order.last_mut() {
            Some((last, n)) if *last == log => *n += count,
            _ => self.order.push((log, count)),
        }
    }

    /// Takes what is over the limit out of entries to come; the first time, something is said instead. `followed`: it
    /// is not lost.
    pub fn trim(
        &mut self,
        entries: &mut Vec<(GuestLog, Entry)>,
        output_bytes_max: u64,
        followed: bool,
    ) -> Vec<Surplus> {
        let [mut output, mut input] = self.data;
        let mut full = self.full;
        let (mut kept, mut surplus) = (Vec::with_capacity(entries.len()), Vec::new());
        for (log, entry) in entries.drain(..) {
            let weight = weight(&entry);
            match log {
                GuestLog::Output if weight > 0 => {
                    let mut over = full.then(|| entry.clone());
                    if !full && output + weight > output_bytes_max {
                        full = true;
                        let (first, rest) = split(&entry, output_bytes_max.saturating_sub(output));
                        kept.extend(first.map(|first| (log, first)));
                        kept.push((log, cut(entry.timestamp, output_bytes_max)));
                        over = Some(rest);
                    }
                    if let Some(over) = over {
                        let line = followed.then(|| over.to_line().into_boxed_str());
                        surplus.push(Surplus { after: kept.len(), line });
                        continue;
                    }
                    output += weight;
                }
                GuestLog::Input if weight > 0 => {
                    input += weight;
                    if input > INPUT_LEN_MAX {
                        continue;
                    }
                }
                GuestLog::Exec | GuestLog::Output | GuestLog::Input => {}
            }
            kept.push((log, entry));
        }
        *entries = kept;
        surplus
    }

    /// Bytes of input that are kept.
    pub fn input_bytes(&self) -> u64 {
        self.data[1]
    }

    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Bytes of output that are not kept and that somebody has still to get.
    pub fn passing_bytes(&self) -> usize {
        self.passing_bytes
    }

    /// How many entries have passed and are not here any more.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Has somebody been there for what is not kept?
    pub fn is_passing(&self) -> bool {
        !self.passing.is_empty()
    }

    /// One that is not kept, while it is here.
    pub fn passing(&self, number: u64) -> Option<&str> {
        let at = usize::try_from(number.checked_sub(self.passed)?).ok()?;
        self.passing.get(at).map(|line| &**line)
    }

    /// Everybody who follows has so many entries that are not kept; none: nobody follows.
    pub fn forget_passing(&mut self, have: Option<u64>) {
        while have.is_none_or(|have| self.passed < have)
            && let Some(line) = self.passing.pop_front()
        {
            self.passed += 1;
            self.passing_bytes -= line.len();
        }
    }

    /// The job is over: no room for more.
    pub fn pack(&mut self) {
        self.exec.shrink_to_fit();
        self.output.shrink_to_fit();
        self.input.shrink_to_fit();
        self.order.shrink_to_fit();
    }
}

/// Output that is not kept.
#[derive(Debug)]
pub(super) struct Surplus {
    /// Entries of its fact that come before it.
    after: usize,
    /// None when nobody wants it.
    line: Option<Box<str>>,
}

/// Name of the entry that ends what is kept (RFC 24).
const CUT: &str = "log";

fn cut(time: Timestamp, bytes: u64) -> Entry {
    let bytes =
        if bytes.is_multiple_of(1 << 20) { format!("{} MiB", bytes >> 20) } else { format!("{bytes} bytes") };
    let message =
        format!("only the first {bytes} of output are kept; the rest is for those who follow the job");
    Entry::new(time, CUT).with_context(json!({"level": 4, "message": message, "component": "exec"}))
}

/// What an entry counts as towards the limit: the bytes that a task has written. Ends of streams are free.
fn weight(entry: &Entry) -> u64 {
    let Some(context) = &entry.context else { return 0 };
    let len = context.get("data").and_then(Value::as_str).map_or(0, str::len) as u64;
    if context.get("encoding").is_some() { len / 4 * 3 } else { len }
}

/// An entry with the first bytes of another's data, if any, and one with the rest. No character is cut.
fn split(entry: &Entry, bytes: u64) -> (Option<Entry>, Entry) {
    let context = entry.context.clone().unwrap_or_default();
    let data = context.get("data").and_then(Value::as_str).unwrap_or_default();
    let mut at = usize::try_from(bytes).unwrap_or(usize::MAX).min(data.len());
    if context.get("encoding").is_some() {
        // Four letters for three bytes.
        at = (at / 3 * 4).min(data.len());
    }
    while !data.is_char_boundary(at) {
        at -= 1;
    }
    let with = |data: &str| {
        let mut entry = entry.clone();
        if let Some(context) = &mut entry.context {
            context["data"] = data.into();
        }
        entry
    };
    ((at > 0).then(|| with(&data[..at])), with(&data[at..]))
}

fn push_line(text: &mut String, entry: &Entry) {
    text.push_str(&entry.to_line());
    text.push('\n');
}

fn header(time: Timestamp, log: GuestLog) -> Entry {
    let encoding = match log {
        GuestLog::Input => json!({"stdin": "UTF-8"}),
        GuestLog::Output | GuestLog::Exec => json!({"stdout": "UTF-8", "stderr": "UTF-8"}),
    };
    let context = json!({"version": 1, "encoding": encoding, "count": {}, "options": {}});
    Entry::new(time, "header").with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(context: Value) -> (GuestLog, Entry) {
        (GuestLog::Output, Entry::new(Timestamp(1), "data").with_context(context))
    }

    #[test]
    fn as_much_output_is_kept_as_was_asked_for_and_the_rest_passes() {
        let long = "x".repeat(100);
        for (limit, given, kept_wanted) in [
            (10, vec![json!({"stream": "stdout", "rank": "0", "data": long})], "x".repeat(10)),
            (
                4,
                vec![json!({"data": "abc"}), json!({"data": "defg"}), json!({"data": "h"})],
                "abcd".to_owned(),
            ),
            (3, vec![json!({"data": "abc"}), json!({"data": "d"})], "abc".to_owned()),
            // Neither a character nor a group of base64 is cut.
            (2, vec![json!({"data": "aé"})], "a".to_owned()),
            (4, vec![json!({"data": "AAECAwQF", "encoding": "base64"})], "AAEC".to_owned()),
            (0, vec![json!({"data": "abc"})], String::new()),
        ] {
            let all: String = given.iter().map(|context| context["data"].as_str().unwrap()).collect();
            let mut entries: Vec<_> = given.into_iter().map(data).collect();
            let surplus = Guest::default().trim(&mut entries, limit, true);
            let (cuts, kept): (Vec<_>, Vec<_>) =
                entries.into_iter().partition(|(_, entry)| entry.name == CUT);
            let text = |line: &Value| line["context"]["data"].as_str().unwrap().to_owned();
            let kept: String = kept
                .iter()
                .map(|(_, entry)| text(&serde_json::from_str(&entry.to_line()).unwrap()))
                .collect();
            let passed: String = surplus
                .iter()
                .map(|surplus| text(&serde_json::from_str(surplus.line.as_ref().unwrap()).unwrap()))
                .collect();
            assert_eq!((cuts.len(), &kept), (1, &kept_wanted));
            assert_eq!(kept + &passed, all);
        }
    }
}
