//! Messages of ours to `salloc` and `srun`, which listen on a port of theirs: requests, with a credential in every version.

use crate::context::Context;
use flurm_slurm_protocol::{Body, Message, Version, framed};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A client that does not take a message within this time does not listen.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest answer that is looked at: a return code with its credential.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Where a client listens, and what it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    pub version: Version,
}

/// Tells it; whatever it answers is read and forgotten.
///
/// # Errors
/// Nobody listens there.
pub async fn tell(ctx: &Context, to: Listener, body: Body) -> io::Result<()> {
    let gate = Arc::clone(ctx.door.gate());
    let sealed = tokio::task::spawn_blocking(move || {
        let message = Message::new(to.version, body);
        let frame = message.write_sealed(|number, bytes| gate.seal(number, bytes));
        frame.map_err(|error| io::Error::other(format!("{error:?}")))
    });
    let frame = sealed.await.map_err(io::Error::other)??;
    let bytes = framed(&frame).map_err(|error| io::Error::other(format!("{error:?}")))?;
    let told = async {
        let mut stream = TcpStream::connect(to.address).await?;
        stream.write_all(&bytes).await?;
        io::Result::Ok(stream)
    };
    let told: io::Result<TcpStream> =
        timeout(PATIENCE, told).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let stream = told?;
    // It was there. Some messages have no answer, and some clients cut the connection as soon as they have read one.
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)).await;
    Ok(())
}
