//! The log of one voter: facts in, and the same facts back once they are on disk.
//!
//! A thread of its own owns the file, since writing waits for the disk. It takes all proposals that have come while
//! it was writing into one transaction (group commit), so the busier the instance is, the fewer commits it needs per
//! fact. Order is the order of proposing. Output of jobs that is too much for records lies in files beside it; that
//! thread writes and reads those as well, so a reader finds what was proposed before.
//!
//! ```text
//! open ──▶ Replayed … Replayed ──▶ Opened{term} ──▶ Committed … Committed
//!   └──────────────────────────────────┴───────────────────┴──▶ Failed (the last event)
//! ```

mod redb;
mod spill;

use flurm_types::JobId;
use flurm_wire::fact::{Fact, decode_record, encode_record};
use redb::Store;
use spill::Spill;
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
    /// A piece of a job's output, or why it cannot be read.
    Read { id: JobId, offset: u64, bytes: Result<Vec<u8>, String> },
    /// Output of a job that could not be written; the fact that speaks of it is committed all the same.
    Unwritten { id: JobId, why: String },
    /// Nothing can be kept any more.
    Failed(LogError),
}

#[derive(Debug)]
enum Order {
    Propose(Vec<Fact>),
    Read { id: JobId, offset: u64, len: usize },
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
    orders: Option<blocking::Sender<Order>>,
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
        let (orders, ordered) = blocking::channel();
        let (tell, events) = mpsc::channel(EVENTS_MAX);
        let dir = dir.to_owned();
        let thread = std::thread::Builder::new().name("log".into()).spawn(move || {
            let kept = keep(&dir, &ordered, &tell);
            kept.map_err(|error| {
                // The loop is gone only when the process is about to be.
                let _ = tell.blocking_send(LogEvent::Failed(error));
            })
            .ok()
        })?;
        Ok(Log { orders: Some(orders), uncommitted: 0, events, thread: Some(thread) })
    }

    /// Appends one record; answered by its `Committed`.
    pub(crate) fn propose(&mut self, facts: Vec<Fact>) {
        self.uncommitted += 1;
        self.order(Order::Propose(facts));
    }

    /// Reads a piece of a job's output; answered by its `Read`.
    pub(crate) fn read(&self, id: JobId, offset: u64, len: usize) {
        self.order(Order::Read { id, offset, len });
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // A thread that has ended has said why.
            let _ = orders.send(order);
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
        self.orders = None;
        self.events.close();
        // A panic there has been printed, and nothing depends on the thread any more.
        self.thread.take()?.join().ok().flatten()
    }

    fn count(&mut self, event: LogEvent) -> LogEvent {
        match &event {
            LogEvent::Committed(records) => self.uncommitted -= records.len(),
            LogEvent::Replayed(_)
            | LogEvent::Opened { .. }
            | LogEvent::Read { .. }
            | LogEvent::Unwritten { .. }
            | LogEvent::Failed(_) => {}
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
    ordered: &blocking::Receiver<Order>,
    tell: &mpsc::Sender<LogEvent>,
) -> Result<Store, LogError> {
    let mut store = Store::open(dir)?;
    let spill = Spill::beside(dir);
    store.replay(REPLAY_TOGETHER_MAX, |records| {
        spill.remove(records.iter().flat_map(|record| &record.facts));
        tell.blocking_send(LogEvent::Replayed(records)).is_ok()
    })?;
    let _ = tell.blocking_send(LogEvent::Opened { term: store.term() });
    let mut next = None;
    while let Some(order) = next.take().or_else(|| ordered.recv().ok()) {
        match order {
            Order::Propose(first) => {
                let group;
                (group, next) = gather(first, ordered);
                for (id, error) in spill.write(group.iter().flat_map(|(facts, _)| facts)) {
                    let _ = tell.blocking_send(LogEvent::Unwritten { id, why: error.to_string() });
                }
                let first_index = store.append(group.iter().map(|(_, bytes)| bytes.as_slice()))?;
                spill.remove(group.iter().flat_map(|(facts, _)| facts));
                let records =
                    (first_index..).zip(group).map(|(index, (facts, _))| Record { index, facts }).collect();
                let _ = tell.blocking_send(LogEvent::Committed(records));
            }
            Order::Read { id, offset, len } => {
                let bytes = spill.read(id, offset, len).map_err(|error| error.to_string());
                let _ = tell.blocking_send(LogEvent::Read { id, offset, bytes });
            }
        }
    }
    Ok(store)
}

/// Facts of a proposal, and the record that they make.
type Encoded = (Vec<Fact>, Vec<u8>);

/// All proposals that wait, as far as they go into one transaction, and the order that comes after them.
fn gather(first: Vec<Fact>, ordered: &blocking::Receiver<Order>) -> (Vec<Encoded>, Option<Order>) {
    let mut group = Vec::new();
    let mut group_len = 0;
    let mut next = Some(Order::Propose(first));
    while let Some(Order::Propose(facts)) = next {
        let bytes = encode_record(&facts);
        group_len += bytes.len() + facts.iter().map(spilled_len).sum::<usize>();
        group.push((facts, bytes));
        next = if group_len < GROUP_BYTES_MAX { ordered.try_recv().ok() } else { None };
    }
    (group, next)
}

fn spilled_len(fact: &Fact) -> usize {
    match fact {
        Fact::Job(fact) => fact.spilled.as_ref().map_or(0, |spilled| spilled.frames.len()),
        Fact::Kvs(_) | Fact::Resource(_) => 0,
    }
}

fn read_record(path: &str, index: u64, bytes: &[u8]) -> Result<Record, LogError> {
    let facts = decode_record(bytes)
        .map_err(|e| LogError::Damaged { path: path.to_owned(), reason: format!("record {index}: {e}") })?;
    Ok(Record { index, facts })
}

#[cfg(test)]
mod tests;
