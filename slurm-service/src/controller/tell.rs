//! Messages of ours to `salloc` and `srun`, which listen on a port of theirs: requests, with a credential in every version.

use crate::context::Context;
use crate::translate::step::Record;
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

impl Listener {
    /// The `srun` that waits for the step.
    pub fn of_step(record: &Record) -> Option<Listener> {
        let address = SocketAddr::new(record.address?, record.port);
        Some(Listener { address, version: Version::from_wire(record.protocol)? })
    }
}

/// Tells it; whatever it answers is read and forgotten.
///
/// # Errors
/// It could not be told; [`is_gone`] says whether anybody is there.
pub async fn tell(ctx: &Context, to: Listener, body: Body) -> io::Result<()> {
    let gate = Arc::clone(ctx.door.gate());
    let sealed = tokio::task::spawn_blocking(move || {
        let message = Message::new(to.version, body);
        let frame = message.write_sealed(|number, bytes| gate.seal(number, bytes));
        frame.map_err(|error| io::Error::other(format!("{error:?}")))
    });
    let frame = sealed.await.map_err(io::Error::other)??;
    let bytes = framed(&frame).map_err(|error| io::Error::other(format!("{error:?}")))?;
    let stream = hand_over(to.address, &bytes, PATIENCE).await?;
    // It was there. Some messages have no answer, and some clients cut the connection as soon as they have read one.
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)).await;
    Ok(())
}

async fn hand_over(to: SocketAddr, bytes: &[u8], patience: Duration) -> io::Result<TcpStream> {
    let told = async {
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(bytes).await?;
        Ok(stream)
    };
    timeout(patience, told).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Whether nobody listens there any more. Who is stopped, swapped out or slow is there, however long it takes.
pub fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable | AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    #[tokio::test]
    async fn who_does_not_answer_is_there_and_who_refuses_is_not() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        // Room for one, and nobody accepts: like a client that was stopped.
        let listener: TcpListener = socket.listen(0).unwrap();
        let mut taken = Vec::new();
        let error = loop {
            match hand_over(address, b"ping", Duration::from_millis(100)).await {
                Ok(stream) => taken.push(stream),
                Err(error) => break error,
            }
        };
        assert!(!taken.is_empty() && error.kind() == io::ErrorKind::TimedOut && !is_gone(&error), "{error}");
        drop(listener);
        let error = hand_over(address, b"ping", Duration::from_secs(10)).await.unwrap_err();
        assert!(is_gone(&error), "{error}");
    }
}
