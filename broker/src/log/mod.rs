//! The log of one voter: facts in, and the same facts back once they are on disk.
//!
//! A thread of its own owns the file, since writing waits for the disk. It takes all proposals that have come while
//! it was writing into one transaction (group commit), so the busier the instance is, the fewer commits it needs per
//! fact. Order is the order of proposing.
//!
//! ```text
//! open ──▶ Replayed … Replayed ──▶ Opened{term} ──▶ Committed … Committed
//!   └──────────────────────────────────┴───────────────────┴──▶ Failed (the last event)
//! ```

mod redb;

use flurm_wire::fact::{Fact, decode_record, encode_record};
use redb::Store;
use std::path::Path;
use std::sync::mpsc as blocking;
use tokio::sync::mpsc;

/// Records that are proposed and not yet committed; at this the loop takes no further input.
pub(crate) const UNCOMMITTED_MAX: usize = 256;

/// A transaction takes waiting records until it holds this much.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// Old records that are handed over together.
const REPLAY_TOGETHER_MAX: usize = 256;
/// Events on their way to the loop; over it the thread waits.
const EVENTS_MAX: usize = 4;

#[derive(Debug)]
pub(crate) enum LogEvent {
    /// Records of earlier lives, in order.
    Replayed(Vec<Record>),
    /// All have been handed over. Terms count the lives.
    Opened { term: u64 },
    /// Own proposals, in order.
    Committed(Vec<Record>),
    /// Nothing can be kept any more.
    Failed(LogError),
}

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) index: u64,
    pub(crate) facts: Vec<Fact>,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("open the log {path}")]
    Open { path: String, source: std::io::Error },
    #[error("open the log {path}: another broker has it open")]
    Locked { path: String },
    #[error("open the log {path}: it is of version {found}; this is version {ours}", ours = redb::FORMAT)]
    Version { path: String, found: u64 },
    #[error("read the log {path}: it is damaged: {reason}")]
    Damaged { path: String, reason: String },
    #[error("write the log")]
    Write(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The open log.
#[derive(Debug)]
pub(crate) struct Log {
    proposals: Option<blocking::Sender<Vec<Fact>>>,
    uncommitted: usize,
    events: mpsc::Receiver<LogEvent>,
    thread: Option<std::thread::JoinHandle<Option<Store>>>,
}

impl Log {
    /// Opens the log in `dir`, which is made if need be.
    ///
    /// # Errors
    /// No thread can be started. What is wrong with the file comes as an event.
    pub(crate) fn open(dir: &Path) -> std::io::Result<Log> {
        let (proposals, proposed) = blocking::channel();
        let (tell, events) = mpsc::channel(EVENTS_MAX);
        let dir = dir.to_owned();
        let thread = std::thread::Builder::new().name("log".into()).spawn(move || {
            let kept = keep(&dir, &proposed, &tell);
            kept.map_err(|error| {
                // The loop is gone only when the process is about to be.
                let _ = tell.blocking_send(LogEvent::Failed(error));
            })
            .ok()
        })?;
        Ok(Log { proposals: Some(proposals), uncommitted: 0, events, thread: Some(thread) })
    }

    /// Appends one record; answered by its `Committed`.
    pub(crate) fn propose(&mut self, facts: Vec<Fact>) {
        self.uncommitted += 1;
        if let Some(proposals) = &self.proposals {
            // A thread that has ended has said why.
            let _ = proposals.send(facts);
        }
    }

    /// Whether the loop should wait for commits before it takes more input.
    pub(crate) fn is_behind(&self) -> bool {
        self.uncommitted >= UNCOMMITTED_MAX
    }

    /// The next event; waits for ever after the last one.
    pub(crate) async fn next(&mut self) -> LogEvent {
        match self.events.recv().await {
            Some(event) => self.count(event),
            None => std::future::pending().await,
        }
    }

    /// The next event, if it is there.
    pub(crate) fn try_next(&mut self) -> Option<LogEvent> {
        let event = self.events.try_recv().ok()?;
        Some(self.count(event))
    }

    /// Ends a log whose file is removed next: what redb writes when it closes would be waited for in vain.
    pub(crate) fn forsake(mut self) {
        std::mem::forget(self.end());
    }

    /// Waits until all that was proposed is on disk.
    fn end(&mut self) -> Option<Store> {
        self.proposals = None;
        self.events.close();
        // A panic there has been printed, and nothing depends on the thread any more.
        self.thread.take()?.join().ok().flatten()
    }

    fn count(&mut self, event: LogEvent) -> LogEvent {
        match &event {
            LogEvent::Committed(records) => self.uncommitted -= records.len(),
            LogEvent::Replayed(_) | LogEvent::Opened { .. } | LogEvent::Failed(_) => {}
        }
        event
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread's whole life. What is told is lost only when the loop has gone; then the rest is still written.
fn keep(
    dir: &Path,
    proposed: &blocking::Receiver<Vec<Fact>>,
    tell: &mpsc::Sender<LogEvent>,
) -> Result<Store, LogError> {
    let mut store = Store::open(dir)?;
    store.replay(REPLAY_TOGETHER_MAX, |records| tell.blocking_send(LogEvent::Replayed(records)).is_ok())?;
    let _ = tell.blocking_send(LogEvent::Opened { term: store.term() });
    while let Ok(first) = proposed.recv() {
        let group = gather(first, proposed);
        let first_index = store.append(group.iter().map(|(_, bytes)| bytes.as_slice()))?;
        let records = (first_index..).zip(group).map(|(index, (facts, _))| Record { index, facts }).collect();
        let _ = tell.blocking_send(LogEvent::Committed(records));
    }
    Ok(store)
}

/// All that waits, as far as it goes into one transaction.
fn gather(first: Vec<Fact>, proposed: &blocking::Receiver<Vec<Fact>>) -> Vec<(Vec<Fact>, Vec<u8>)> {
    let mut group = Vec::new();
    let mut group_len = 0;
    let mut next = Some(first);
    while let Some(facts) = next {
        let bytes = encode_record(&facts);
        group_len += bytes.len();
        group.push((facts, bytes));
        next = if group_len < GROUP_BYTES_MAX { proposed.try_recv().ok() } else { None };
    }
    group
}

fn read_record(path: &str, index: u64, bytes: &[u8]) -> Result<Record, LogError> {
    let facts = decode_record(bytes)
        .map_err(|e| LogError::Damaged { path: path.to_owned(), reason: format!("record {index}: {e}") })?;
    Ok(Record { index, facts })
}

#[cfg(test)]
mod tests;
