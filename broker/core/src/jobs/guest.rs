//! Logs of a job's tasks: `guest.exec.eventlog`, `guest.output`, `guest.input` (RFC 16, 24, 50).
//!
//! They are kept as the text that readers get, so that following one is copying from a position on. The order
//! in which entries of all logs came, the eventlog's included, is kept beside them.

use flurm_types::{Entry, Timestamp};
use flurm_wire::fact::{GuestLog, JobFact};
use flurm_wire::job::Log;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Bytes of one log of a job. Output to files has no limit.
pub(super) const LOG_LEN_MAX: usize = 10 << 20;

#[derive(Debug, Default)]
pub(super) struct Guest {
    exec: String,
    output: String,
    input: String,
    /// Runs of entries in the order they came.
    pub order: Vec<(Log, u32)>,
    /// By rank, the last report that something here is from.
    pub reported: BTreeMap<u32, u64>,
    /// Output has been dropped, and that has been said.
    full: bool,
}

impl Guest {
    /// Of a job that has so many events before its first entry here.
    pub fn after(events: u32) -> Guest {
        Guest { order: vec![(Log::Eventlog, events)], ..Guest::default() }
    }

    /// One entry a line.
    pub fn text(&self, log: GuestLog) -> &str {
        match log {
            GuestLog::Exec => &self.exec,
            GuestLog::Output => &self.output,
            GuestLog::Input => &self.input,
        }
    }

    pub fn absorb(&mut self, fact: &JobFact) {
        // Output is reported before the end of its tasks, so it stands before the events that say so.
        let ends = |entry: &Entry| matches!(entry.name.as_str(), "finish" | "exception" | "release");
        let before = fact.events.iter().position(ends).unwrap_or(fact.events.len());
        self.came(Log::Eventlog, before);
        for (log, entry) in &fact.guest {
            self.push(*log, entry);
        }
        self.came(Log::Eventlog, fact.events.len() - before);
        self.reported.extend(&fact.reported);
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
        self.came(log.into(), count);
    }

    fn came(&mut self, log: Log, count: usize) {
        let count = u32::try_from(count).expect("a batch has few entries");
        if count == 0 {
            return;
        }
        match self.order.last_mut() {
            Some((last, n)) if *last == log => *n += count,
            _ => self.order.push((log, count)),
        }
    }

    /// Drops what is over the limit from entries to come; the first time, something is said instead.
    pub fn trim(&mut self, entries: &mut Vec<(GuestLog, Entry)>) {
        let mut len = [self.exec.len(), self.output.len(), self.input.len()];
        let mut kept = Vec::with_capacity(entries.len());
        for (log, entry) in entries.drain(..) {
            let len = &mut len[log as usize];
            *len += weight(&entry);
            if *len <= LOG_LEN_MAX || weight(&entry) == 0 {
                kept.push((log, entry));
            } else if log == GuestLog::Output && !std::mem::replace(&mut self.full, true) {
                let message = format!("output is kept up to {} MiB; the rest is not", LOG_LEN_MAX >> 20);
                let context = json!({"level": 4, "message": message, "component": "exec"});
                kept.push((log, Entry::new(entry.timestamp, "log").with_context(context)));
            }
        }
        *entries = kept;
    }

    /// The job is over: no room for more.
    pub fn pack(&mut self) {
        self.exec.shrink_to_fit();
        self.output.shrink_to_fit();
        self.input.shrink_to_fit();
        self.order.shrink_to_fit();
    }
}

/// What an entry counts as towards the limit: its data and about what is around them. Ends of streams are free.
fn weight(entry: &Entry) -> usize {
    let data = entry.context.as_ref().and_then(|c| c.get("data")).and_then(Value::as_str);
    data.map_or(0, |data| data.len() + 100)
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
