//! Logs of a job's tasks: `guest.exec.eventlog`, `guest.output`, `guest.input` (RFC 16, 24, 50).
//!
//! They are kept as the text that readers get, so that following one is copying from a position on. The order
//! in which entries of all logs came, the eventlog's included, is kept beside them.
//!
//! ```text
//! output ─► here, and in the log ── a share ──► in a file, of which is known how long it is ── output.limit ──► passes
//! ```
//!
//! Output that passes stays, in its place, until everybody has it who follows now.

use flurm_types::{Entry, Timestamp};
use flurm_wire::fact::{GuestLog, JobFact, Spilled};
use flurm_wire::job::Log;
use flurm_wire::{pack, spill};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

/// Bytes of input of a job that are kept.
pub(super) const INPUT_LEN_MAX: u64 = 10 << 20;

/// Bytes of output of a job that are kept here and in the log; what comes after them is kept in a file. Most jobs say
/// less, and a hundred thousand that say as much fit into memory.
pub(super) const OUTPUT_LEN_MAX: u64 = 256 << 10;

/// Logs of jobs that are over are packed from this length on.
const PACKED_LEN_MIN: usize = 4 << 10;

/// Entries in the order they came, from one log.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Came {
    Kept(Log),
    /// Output that is kept in a file.
    Spilled,
    /// The entry of the output that says that what follows is not kept.
    Cut,
    /// Output that is not kept.
    Passing,
}

#[derive(Debug, Default)]
pub(super) struct Guest {
    exec: Text,
    output: Text,
    input: Text,
    /// Runs of entries in the order they came.
    pub order: Vec<(Came, u32)>,
    /// By rank, the last report that something here is from.
    pub reported: BTreeMap<u32, u64>,
    /// Bytes of data in the output and in the input, as tasks see them.
    data: [u64; 2],
    /// Where the file of the output ends.
    spilled_len: u64,
    /// No more output is kept, and that has been said.
    full: bool,
    /// Output that is not kept and that somebody follows: lines, and how many there were before them.
    passing: VecDeque<Box<str>>,
    passed: u64,
    passing_bytes: usize,
}

/// Lines, packed once no more are expected.
#[derive(Debug)]
enum Text {
    Plain(String),
    Packed(Box<[u8]>),
}

impl Default for Text {
    fn default() -> Text {
        Text::Plain(String::new())
    }
}

impl Text {
    fn get(&self) -> Cow<'_, str> {
        match self {
            Text::Plain(text) => Cow::Borrowed(text),
            Text::Packed(packed) => {
                let bytes = pack::unpack(packed, usize::MAX).expect("we have packed it");
                Cow::Owned(String::from_utf8(bytes.into_owned()).expect("it was text"))
            }
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Text::Plain(text) if text.is_empty())
    }

    fn push_line(&mut self, entry: &Entry) {
        if let Text::Packed(_) = self {
            *self = Text::Plain(self.get().into_owned());
        }
        if let Text::Plain(text) = self {
            text.push_str(&entry.to_line());
            text.push('\n');
        }
    }

    fn pack(&mut self) {
        match self {
            Text::Plain(text) if text.len() >= PACKED_LEN_MIN => {
                *self = Text::Packed(pack::pack(text.as_bytes(), 0).into_boxed_slice());
            }
            Text::Plain(text) => text.shrink_to_fit(),
            Text::Packed(_) => {}
        }
    }
}

impl Guest {
    /// Of a job that has so many events before its first entry here.
    pub fn after(events: u32) -> Guest {
        Guest { order: vec![(Came::Kept(Log::Eventlog), events)], ..Guest::default() }
    }

    /// One entry a line; of the output what is not in its file.
    pub fn text(&self, log: GuestLog) -> Cow<'_, str> {
        match log {
            GuestLog::Exec => self.exec.get(),
            GuestLog::Output => self.output.get(),
            GuestLog::Input => self.input.get(),
        }
    }

    /// Takes in a fact, and the output that came with it and is not kept: each after so many that are.
    pub fn absorb(&mut self, fact: &JobFact, surplus: Vec<Surplus>) {
        // Output is reported before the end of its tasks, so it stands before the events that say so.
        let ends = |entry: &Entry| matches!(entry.name.as_str(), "finish" | "exception" | "release");
        let before = fact.events.iter().position(ends).unwrap_or(fact.events.len());
        self.came(Came::Kept(Log::Eventlog), before);
        let mut surplus = surplus.into_iter().peekable();
        let mut spilled = fact.spilled.as_ref();
        for (at, (log, entry)) in fact.guest.iter().enumerate() {
            if let Some(spilled) = spilled.take_if(|spilled| spilled.after <= at) {
                self.spill(fact, spilled);
            }
            while let Some(surplus) = surplus.next_if(|surplus| surplus.after <= at) {
                self.pass(surplus.line);
            }
            self.push(*log, entry);
        }
        spilled.into_iter().for_each(|spilled| self.spill(fact, spilled));
        surplus.for_each(|surplus| self.pass(surplus.line));
        self.came(Came::Kept(Log::Eventlog), fact.events.len() - before);
        self.reported.extend(&fact.reported);
    }

    fn spill(&mut self, fact: &JobFact, spilled: &Spilled) {
        if self.output.is_empty() {
            // What no shell has begun begins here.
            let time = fact.guest.first().map_or(Timestamp(0), |(_, entry)| entry.timestamp);
            self.output.push_line(&header(time, GuestLog::Output));
            self.came(Came::Kept(Log::Output), 1);
        }
        self.spilled_len = spilled.offset + spilled.len;
        self.data[0] += spilled.data;
        self.came(Came::Spilled, spilled.entries as usize);
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
                    text.push_line(&header(entry.timestamp, log));
                    count = 2;
                }
                (false, true) => return,
                (true, true) | (false, false) => {}
            }
        }
        text.push_line(entry);
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

    /// Takes out of entries to come what is for the file, and what is over the limit; the first time, something is said
    /// instead. `followed`: it is not lost.
    pub fn trim(
        &mut self,
        entries: &mut Vec<(GuestLog, Entry)>,
        output_bytes_max: u64,
        followed: bool,
    ) -> (Option<Spilled>, Vec<Surplus>) {
        let [mut output, mut input] = self.data;
        let mut full = self.full;
        let mut spills = self.spilled_len > 0;
        let (mut kept, mut surplus) = (Vec::with_capacity(entries.len()), Vec::new());
        let mut file = Lines::default();
        for (log, entry) in entries.drain(..) {
            let bytes = weight(&entry);
            match log {
                GuestLog::Output if entry.name == CUT => full = true,
                GuestLog::Output if full && bytes > 0 => {
                    let line = followed.then(|| entry.to_line().into_boxed_str());
                    surplus.push(Surplus { after: kept.len(), line });
                    continue;
                }
                GuestLog::Output if full => {}
                GuestLog::Output => {
                    full = output + bytes > output_bytes_max;
                    let (first, rest) = match full {
                        false => (Some(entry), None),
                        true => split(&entry, output_bytes_max.saturating_sub(output)),
                    };
                    if let Some(first) = first {
                        output += weight(&first);
                        spills |= output > OUTPUT_LEN_MAX;
                        match spills {
                            true => file.push(kept.len(), &first),
                            false => kept.push((log, first)),
                        }
                    }
                    if let Some(rest) = rest {
                        kept.push((log, cut(rest.timestamp, output_bytes_max)));
                        let line = followed.then(|| rest.to_line().into_boxed_str());
                        surplus.push(Surplus { after: kept.len(), line });
                    }
                    continue;
                }
                GuestLog::Input if bytes > 0 => {
                    input += bytes;
                    if input > INPUT_LEN_MAX {
                        continue;
                    }
                }
                GuestLog::Exec | GuestLog::Input => {}
            }
            kept.push((log, entry));
        }
        *entries = kept;
        (file.into_spilled(self.spilled_len), surplus)
    }

    /// Bytes of input that are kept.
    pub fn input_bytes(&self) -> u64 {
        self.data[1]
    }

    /// Is some of the output in a file?
    pub fn is_spilled(&self) -> bool {
        self.spilled_len > 0
    }

    /// Where what records say of the file ends.
    pub fn spilled_len(&self) -> u64 {
        self.spilled_len
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

    /// All that are not kept, those that are gone included.
    pub fn all_passing(&self) -> u64 {
        self.passed + self.passing.len() as u64
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
        for text in [&mut self.exec, &mut self.output, &mut self.input] {
            text.pack();
        }
        self.order.shrink_to_fit();
    }
}

/// Entries on their way to the file.
#[derive(Debug, Default)]
struct Lines {
    after: usize,
    lines: String,
    entries: u32,
    data: u64,
}

impl Lines {
    fn push(&mut self, after: usize, entry: &Entry) {
        if self.lines.is_empty() {
            self.after = after;
        }
        self.lines.push_str(&entry.to_line());
        self.lines.push('\n');
        self.entries += 1;
        self.data += weight(entry);
    }

    fn into_spilled(self, offset: u64) -> Option<Spilled> {
        let Lines { after, lines, entries, data } = self;
        let frames = (entries > 0).then(|| spill::frames(&lines))?;
        Some(Spilled { after, offset, len: frames.len() as u64, entries, data, frames: frames.into() })
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
    said(time, &message)
}

/// An entry that says something about the output; no more is kept after it.
pub(super) fn said(time: Timestamp, message: &str) -> Entry {
    Entry::new(time, CUT).with_context(json!({"level": 4, "message": message, "component": "exec"}))
}

/// The same about output that whoever reads this should have had.
pub(super) fn lost(time: Timestamp, message: &str) -> Entry {
    let context = json!({"level": 3, "message": message, "component": "exec", "lost": true});
    Entry::new(time, CUT).with_context(context)
}

/// What an entry counts as towards the limit: the bytes that a task has written. Ends of streams are free.
fn weight(entry: &Entry) -> u64 {
    let Some(context) = &entry.context else { return 0 };
    let len = context.get("data").and_then(Value::as_str).map_or(0, str::len) as u64;
    if context.get("encoding").is_some() { len / 4 * 3 } else { len }
}

/// An entry with the first bytes of another's data, if any, and one with the rest. No character is cut.
fn split(entry: &Entry, bytes: u64) -> (Option<Entry>, Option<Entry>) {
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
    ((at > 0).then(|| with(&data[..at])), Some(with(&data[at..])))
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
            let (_, surplus) = Guest::default().trim(&mut entries, limit, true);
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
