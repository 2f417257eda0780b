//! What a node daemon says to `srun` without being asked: pids, and exits of tasks. Each on a connection of its own, and said
//! again when nobody has heard it.

use crate::door::Door;
use flurm_slurm_protocol::{Body, Message, Version, framed};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// `srun` on a busy node answers within this time.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Its queue of connections may be full for a moment.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);

/// True if it was heard.
pub async fn say(door: &Arc<Door>, to: SocketAddr, version: Version, body: Body) -> bool {
    let name = body.name();
    let gate = Arc::clone(door.gate());
    for attempt in 0..TRIES {
        // A credential counts once.
        let (gate, body) = (Arc::clone(&gate), body.clone());
        let sealed = tokio::task::spawn_blocking(move || {
            let frame = Message::new(version, body).write_sealed(|number, bytes| gate.seal(number, bytes));
            frame.ok().and_then(|frame| framed(&frame).ok())
        });
        let Some(bytes) = sealed.await.ok().flatten() else {
            tracing::error!(message = name, "a message to srun cannot be made");
            return false;
        };
        match timeout(ANSWER_MAX, once(to, &bytes)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => return false,
            Ok(Err(_)) | Err(_) => tokio::time::sleep(PAUSE * 2_u32.pow(attempt)).await,
        }
    }
    tracing::info!(message = name, %to, "nobody has heard it");
    false
}

/// Heard is what has been answered, whatever the answer.
async fn once(to: SocketAddr, bytes: &[u8]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    // One write, which goes at once.
    let _ = stream.set_nodelay(true);
    stream.write_all(bytes).await?;
    let mut word = [0; 4];
    stream.read_exact(&mut word).await?;
    Ok(())
}
