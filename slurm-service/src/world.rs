//! Jobs, resources and queues as last heard of.

mod parts;

pub use parts::{Kept, Parts};

use flurm_client::{Client, ClientError};
use flurm_wire::Dest;
use flurm_wire::job::{Queue, QueueAct, QueueStatus};
use flurm_wire::resource::{Status, StatusInfo};

/// What the controller knows. Resources and queues are asked for each time: one short question to the leader beside us.
#[derive(Debug, Default)]
pub struct World {
    pub parts: Parts,
}

impl World {
    /// # Errors
    /// The broker is gone.
    pub async fn resources(&self, client: &Client) -> Result<StatusInfo, ClientError> {
        client.call(Dest::Leader, &Status {}).await
    }

    /// # Errors
    /// The broker is gone.
    pub async fn queues(&self, client: &Client) -> Result<QueueStatus, ClientError> {
        client.call(Dest::Leader, &Queue::from(QueueAct::Status)).await
    }
}
