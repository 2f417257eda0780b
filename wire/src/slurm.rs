//! Between a broker and the service that answers Slurm's commands on its rank.

use crate::Topic;
use crate::job::Done;
use serde::{Deserialize, Serialize};

/// Below a rank's run directory: what Slurm's commands are to read.
pub const CONF: &str = "slurm/slurm.conf";

/// Service → its broker: Slurm's commands are answered from now on, and `slurm.conf` is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ready {}

impl Topic for Ready {
    const NAME: &'static str = "slurm.ready";
    type Response = Done;
}
