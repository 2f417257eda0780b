//! Jobs, resources and queues as last heard of.

mod arrays;
mod numbers;
mod parts;
mod records;

pub use arrays::{Arrays, Growth};
pub use numbers::Numbers;
pub use parts::{Kept, Parts};
pub use records::{Records, Seen};

use crate::start::now;
use flurm_client::{Client, ClientError};
use flurm_wire::Dest;
use flurm_wire::job::{JournalBatch, Queue, QueueAct, QueueStatus};
use flurm_wire::resource::{Status, StatusInfo};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What the controller knows. Jobs are followed; resources and queues are asked for each time: one short question to the
/// leader beside us.
#[derive(Debug, Default)]
pub struct World {
    pub parts: Parts,
    pub numbers: Numbers,
    records: Records,
    pub arrays: Arrays,
    seen: Mutex<BTreeMap<Table, (u64, i64)>>,
}

/// What is small enough to be compared with what it was.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Table {
    Nodes,
    Partitions,
}

/// A job that is over is shown for so long, as Slurm's `MinJobAge`.
pub const JOB_AGE_MIN: Duration = Duration::from_secs(300);

impl World {
    /// # Errors
    /// The broker is gone.
    pub async fn resources(&self, client: &Client) -> Result<StatusInfo, ClientError> {
        client.call(Dest::Leader, &Status {}).await
    }

    /// Active jobs and those that ended lately, oldest first; not those within others, which are steps.
    ///
    /// # Errors
    /// The broker is gone.
    pub async fn jobs(&self, client: &Client) -> Result<Seen, ClientError> {
        self.records.all(client).await
    }

    /// Takes in what happens to jobs.
    pub fn note(&self, batch: &JournalBatch) {
        batch.events.iter().for_each(|event| self.numbers.submitted(event));
        self.records.note(batch);
    }

    /// When a table last was another one than this, which `values` tell apart, in seconds since 1970.
    pub fn changed(&self, table: Table, values: &impl std::fmt::Debug) -> i64 {
        let mut digest = Digest(DefaultHasher::new());
        // Writing into a hash does not fail.
        let _ = write!(digest, "{values:?}");
        let digest = digest.0.finish();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get(&table) {
            Some((last, time)) if *last == digest => *time,
            _ => {
                let time = now();
                seen.insert(table, (digest, time));
                time
            }
        }
    }

    /// # Errors
    /// The broker is gone.
    pub async fn queues(&self, client: &Client) -> Result<QueueStatus, ClientError> {
        client.call(Dest::Leader, &Queue::from(QueueAct::Status)).await
    }
}

/// What was written, in short.
struct Digest(DefaultHasher);

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_stays_as_it_is_keeps_its_time() {
        let world = World::default();
        let first = world.changed(Table::Partitions, &[1, 2]);
        assert!(first > 0);
        world.seen.lock().unwrap().get_mut(&Table::Partitions).unwrap().1 = 7;
        assert_eq!(world.changed(Table::Partitions, &[1, 2]), 7);
        assert!(world.changed(Table::Partitions, &[1, 3]) >= first);
        assert_ne!(world.changed(Table::Nodes, &[1, 3]), 7);
    }
}
