//! The accounting daemon: what `sacct` and `sacctmgr` ask, over connections that stay.
//!
//! ```text
//!   accepted ─► waiting ── first frame, credential ──► let in ─► asked ⇄ answered ── goodbye, or idle too long ──► closed
//!                  └── 10 s, a stranger, or no place left ──► told why, closed
//! ```
//!
//! Nothing is stored here: what is answered is made of the jobs that the instance still knows. Whatever would change the
//! tables is refused, since there is nothing behind them that could change.

mod answers;
mod connection;

use crate::context::Context;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at a time. A `sacct` needs one, for as long as it runs.
const CONNECTIONS_MAX: usize = 256;

/// For as long as the process lives.
pub async fn serve(context: Arc<Context>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let door = Arc::clone(&context.door);
    door.listen(listener, move |door, stream, peer, seat| {
        let (context, places) = (Arc::clone(&context), Arc::clone(&places));
        async move {
            if let Err(lost) = connection::keep(&context, &door, &places, stream, seat).await {
                tracing::debug!(%peer, %lost, "connection to accounting");
            }
        }
    })
    .await;
}
