//! Reports on their way to the leader: kept until it has committed them, repeated until then.
//!
//! One message is out at a time, with everything that had come together when it left. So order holds, a lost message
//! is simply sent again, and the busier the instance is the more reports share one commit. The leader drops what it
//! has seen.

use crate::shell::Key;
use flurm_types::Rank;
use flurm_wire::exec::{Report, Reports, What};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Of one message. Output may be as large as a frame is allowed to be, other reports are small.
const REPORTS_MAX: usize = 2048;
const BYTES_MAX: usize = 4 << 20;

/// A message, and the bytes of output in it by job.
type Sent = (Arc<Reports>, Vec<(Key, usize)>);

#[derive(Debug)]
pub struct Outbox {
    rank: Rank,
    queue: VecDeque<(Report, usize)>,
    /// The message that is out.
    out: Option<Sent>,
    waiting: bool,
    /// Last number of each job that still has something to say.
    seqs: BTreeMap<Key, u64>,
}

/// What an acknowledgement frees.
#[derive(Debug, Default)]
pub struct Acknowledged {
    /// Of output, by job.
    pub bytes: Vec<(Key, usize)>,
    /// Jobs whose last report is known.
    pub gone: Vec<Key>,
}

impl Outbox {
    pub fn new(rank: Rank) -> Outbox {
        Outbox { rank, queue: VecDeque::new(), out: None, waiting: false, seqs: BTreeMap::new() }
    }

    /// `bytes` are those of output, for which a reader waits.
    pub fn push(&mut self, key: Key, what: What, bytes: usize) {
        let seq = self.seqs.entry(key).or_insert(0);
        *seq += 1;
        let report = Report { id: key.0, attempt: key.1, rank: self.rank, seq: *seq, what };
        self.queue.push_back((report, bytes));
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.out.is_none()
    }

    /// Is a message out?
    pub fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// The next message, unless one is out: the one that failed, or a new one.
    pub fn send(&mut self) -> Option<Arc<Reports>> {
        if self.waiting {
            return None;
        }
        if self.out.is_none() {
            let (mut reports, mut bytes, mut outputs) = (Vec::new(), 0, Vec::new());
            while reports.len() < REPORTS_MAX && bytes < BYTES_MAX {
                let Some((report, more)) = self.queue.pop_front() else { break };
                bytes += more;
                if more > 0 {
                    outputs.push(((report.id, report.attempt), more));
                }
                reports.push(report);
            }
            if reports.is_empty() {
                return None;
            }
            self.out = Some((Arc::new(Reports { reports }), outputs));
        }
        self.waiting = true;
        self.out.as_ref().map(|(reports, _)| Arc::clone(reports))
    }

    /// Nobody knows whether it arrived; it is sent again.
    pub fn failed(&mut self) {
        self.waiting = false;
    }

    pub fn acknowledged(&mut self) -> Acknowledged {
        self.waiting = false;
        let Some((message, bytes)) = self.out.take() else { return Acknowledged::default() };
        let ends = message.reports.iter().filter(|report| matches!(report.what, What::Gone { .. }));
        let gone: Vec<Key> = ends.map(|report| (report.id, report.attempt)).collect();
        for key in &gone {
            self.seqs.remove(key);
        }
        Acknowledged { bytes, gone }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::{JobId, Timestamp};

    #[test]
    fn one_message_is_out_at_a_time_and_repeated_until_acknowledged() {
        let mut outbox = Outbox::new(Rank(3));
        let key = (JobId(7), 0);
        outbox.push(key, What::Started { time: Timestamp(1), pids: vec![] }, 0);
        let first = outbox.send().unwrap();
        outbox.push(key, What::Output { entries: vec![] }, 10);
        outbox.push(key, What::Gone { time: Timestamp(2), status: 0 }, 0);
        assert!(outbox.send().is_none());
        outbox.failed();
        assert_eq!(outbox.send().unwrap().reports, first.reports);
        assert!(outbox.acknowledged().gone.is_empty());
        let second = outbox.send().unwrap();
        assert_eq!(second.reports.iter().map(|r| r.seq).collect::<Vec<_>>(), [2, 3]);
        let freed = outbox.acknowledged();
        assert_eq!((freed.bytes, freed.gone), (vec![(key, 10)], vec![key]));
        assert!(outbox.is_empty());
    }
}
