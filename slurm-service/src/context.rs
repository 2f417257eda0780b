//! What every handler gets.

use crate::conf::Conf;
use crate::controller::Steps;
use crate::door::Door;
use crate::world::World;
use flurm_client::Client;
use std::sync::Arc;

/// One per process, shared by all handlers.
#[derive(Debug)]
pub struct Context {
    pub client: Client,
    /// Credentials for messages of ours: `door.gate()`.
    pub door: Arc<Door>,
    pub world: World,
    pub conf: Arc<Conf>,
    pub steps: Steps,
    /// When this service began to answer, in seconds since 1970.
    pub started: i64,
}
