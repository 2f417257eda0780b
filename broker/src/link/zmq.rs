//! Messages over a tunnel, by ZeroMQ: a ROUTER on the parent's side, a DEALER on the child's.
//!
//! Each link has a socket of its own, so that what arrives on it comes from the rank that the tunnel has proved, and a
//! full link fills nobody else's queue. zmq.rs takes no connected stream; so the socket connects to a Unix socket in
//! our private directory, and behind that the tunnel carries the bytes.

use super::noise::{End, HANDSHAKE_MAX, Tunnel, is_ourselves};
use super::{LinkEvent, LinkId};
use crate::event::{Event, Events};
use crate::unsent::{self, Unsent};
use bytes::Bytes;
use flurm_types::Rank;
use flurm_wire::pack::{pack, unpack};
use flurm_wire::{Message, frame};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use zeromq::util::PeerIdentity;
use zeromq::{
    DealerSocket, RouterSocket, Socket, SocketEvent, SocketOptions, SocketRecv, SocketSend, ZmqMessage,
};

/// Bytes on their way to one peer, in our queue, ZeroMQ's and the Unix socket. A peer that lets them grow over this
/// does not keep up; its link is closed.
pub(crate) const LINK_QUEUE_BYTES_MAX: u64 = 64 << 20;

/// From this size on compressing costs less than sending. Most messages are smaller.
const COMPRESS_LEN_MIN: usize = 4 << 10;

/// How long a link may take after its end to send or deliver what was queued before, and to see the peer close.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// Our end of the link in the tree.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    /// We were called: ROUTER.
    Parent,
    /// We have called: DEALER.
    Child,
}

/// The sending end of a link. The link closes when it is dropped, after sending what is queued.
#[derive(Debug)]
pub(crate) struct Outbox {
    frames: mpsc::UnboundedSender<Bytes>,
    /// Bytes put in here, with ZeroMQ's frame headers.
    sent: u64,
    /// Bytes that have left for the peer.
    passed: Arc<AtomicU64>,
}

impl Outbox {
    pub(crate) fn send(&mut self, message: &Message) -> Result<(), Unsent> {
        let frame = frame::encode(message);
        unsent::check(frame.len())?;
        let bytes = pack(&frame, COMPRESS_LEN_MIN);
        if self.sent.saturating_sub(self.passed.load(Ordering::Relaxed)) > LINK_QUEUE_BYTES_MAX {
            return Err(Unsent::Behind);
        }
        // ZMTP 3.0: flags and length take 2 bytes for short frames, 9 for others.
        self.sent += bytes.len() as u64 + if bytes.len() < 256 { 2 } else { 9 };
        // A link that has just ended reports that itself.
        let _ = self.frames.send(bytes.into());
        Ok(())
    }
}

/// Why a link has ended; for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the peer has gone")]
    Gone,
    #[error("the peer sent what was not sealed with the instance's key")]
    Forged,
    #[error("the peer calls itself {0:?} in ZeroMQ")]
    Name(Vec<u8>),
    #[error("speak ZeroMQ with the peer")]
    Zmq(#[from] zeromq::ZmqError),
    #[error("speak ZeroMQ with the peer within {HANDSHAKE_MAX:?}")]
    TimedOut,
    #[error("read a message of the peer")]
    Unpack(#[from] flurm_wire::pack::UnpackError),
    #[error("read a message of the peer")]
    Frame(#[from] frame::FrameError),
    #[error("set up a private socket")]
    Io(#[from] std::io::Error),
}

/// Speaks ZeroMQ over `tunnel` until one side ends the link. Says when it is up; not when it is down.
pub(crate) async fn carry(
    tunnel: Tunnel,
    side: Side,
    me: Rank,
    id: LinkId,
    dir: &Path,
    events: &Events,
) -> Result<(), LinkError> {
    let peer = tunnel.peer;
    let path = dir.join(format!("link-{}", id.0));
    let listener = UnixListener::bind(&path)?;
    let passed = Arc::new(AtomicU64::new(0));
    let mut pump = std::pin::pin!(async {
        let (stream, _) = listener.accept().await?;
        // The name is used once.
        std::fs::remove_file(&path)?;
        if !is_ourselves(&stream) {
            return Err(LinkError::Io(std::io::ErrorKind::PermissionDenied.into()));
        }
        match tunnel.pump(stream, &passed).await {
            End::Ours => Ok(()),
            End::Theirs => Err(LinkError::Gone),
            End::Forged => Err(LinkError::Forged),
        }
    });
    let url = format!("ipc://{}", path.display());
    let mut talk = std::pin::pin!(async {
        let (frames, outgoing) = mpsc::unbounded_channel();
        let outbox = Outbox { frames, sent: 0, passed: passed.clone() };
        let deliver = Deliver { peer, id, events };
        match side {
            Side::Child => {
                let mut options = SocketOptions::default();
                options.peer_identity(name(me)?);
                let mut socket = DealerSocket::with_options(options);
                let mut monitor = socket.monitor();
                within_limit(socket.connect(&url)).await?;
                // The connection itself was an event.
                let _ = monitor.try_recv();
                let (send, recv) = socket.split();
                deliver.up(side, outbox).await;
                tokio::select! {
                    end = send_all(send, None, outgoing) => end,
                    end = receive_all(recv, || is_end(monitor.try_recv().ok()), false, &deliver) => end,
                }
            }
            Side::Parent => {
                let mut socket = RouterSocket::new();
                let mut monitor = socket.monitor();
                within_limit(socket.connect(&url)).await?;
                let name = name(peer)?;
                match monitor.try_recv() {
                    Ok(SocketEvent::Connected(_, found)) if found == name => {}
                    Ok(SocketEvent::Connected(_, found)) => return Err(LinkError::Name(found.to_vec())),
                    _ => return Err(LinkError::Name(Vec::new())),
                }
                let (send, recv) = socket.split();
                deliver.up(side, outbox).await;
                tokio::select! {
                    end = send_all(send, Some(name.into()), outgoing) => end,
                    end = receive_all(recv, || is_end(monitor.try_recv().ok()), true, &deliver) => end,
                }
            }
        }
    });
    tokio::select! {
        end = &mut pump => {
            // What the peer said before it went may still be in the Unix socket.
            let _ = tokio::time::timeout(FLUSH_MAX, talk).await;
            end
        }
        end = &mut talk => {
            end?;
            // The socket has been dropped; what it still held goes out, and the peer closes when it has it.
            tokio::time::timeout(FLUSH_MAX, pump).await.unwrap_or(Ok(()))
        }
    }
}

async fn within_limit(connected: impl Future<Output = zeromq::ZmqResult<()>>) -> Result<(), LinkError> {
    Ok(tokio::time::timeout(HANDSHAKE_MAX, connected).await.map_err(|_| LinkError::TimedOut)??)
}

fn is_end(event: Option<SocketEvent>) -> bool {
    matches!(event, Some(SocketEvent::Disconnected(_)))
}

/// What a child calls itself; the tunnel has proved the rank, and this must say the same.
fn name(rank: Rank) -> Result<PeerIdentity, LinkError> {
    Ok(format!("rank-{rank}").parse()?)
}

/// Sends until nobody can put anything in any more.
async fn send_all(
    mut socket: impl SocketSend,
    peer: Option<Bytes>,
    mut outgoing: mpsc::UnboundedReceiver<Bytes>,
) -> Result<(), LinkError> {
    while let Some(bytes) = outgoing.recv().await {
        let mut message = ZmqMessage::from(bytes);
        if let Some(peer) = &peer {
            message.push_front(peer.clone());
        }
        socket.send(message).await?;
    }
    Ok(())
}

/// Delivers until the peer or the loop is gone, or something unreadable comes.
async fn receive_all(
    mut socket: impl SocketRecv,
    mut hung_up: impl FnMut() -> bool,
    named: bool,
    deliver: &Deliver<'_>,
) -> Result<(), LinkError> {
    loop {
        let mut receiving = socket.recv();
        // zmq.rs waits for ever on a connection that has ended. It sees the end while it is polled, and tells its
        // monitor only.
        let received = std::future::poll_fn(|cx| match receiving.as_mut().poll(cx) {
            Poll::Pending if hung_up() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
            Poll::Ready(received) => Poll::Ready(Some(received)),
        });
        let Some(message) = received.await.transpose()? else { return Ok(()) };
        // A ROUTER puts the sender's name in front; there is one sender, and his name was checked.
        let frames = message.len() - usize::from(named);
        let Some(last) = message.get(message.len() - 1).filter(|_| frames == 1) else {
            return Err(LinkError::Zmq(zeromq::ZmqError::Other("a message is one frame")));
        };
        let message = frame::decode(&unpack(last, frame::LEN_MAX)?)?;
        if !deliver.message(message).await {
            return Ok(());
        }
    }
}

struct Deliver<'a> {
    peer: Rank,
    id: LinkId,
    events: &'a Events,
}

impl Deliver<'_> {
    async fn up(&self, side: Side, outbox: Outbox) {
        let event = LinkEvent::Up { peer: self.peer, id: self.id, side, outbox };
        // The loop is gone only when the process is about to be.
        let _ = self.events.send(Event::Link(event)).await;
    }

    async fn message(&self, message: Message) -> bool {
        let event = LinkEvent::Message { peer: self.peer, id: self.id, message };
        self.events.send(Event::Link(event)).await.is_ok()
    }
}
