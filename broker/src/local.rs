//! The Unix socket for processes on this node: command line, shell, whoever uses the client crate.
//!
//! The kernel says who is there before anything is read; only the owner gets further. Each client has two tasks. The
//! reader hands over all messages that have come together, and waits when the loop is busy. The writer takes what is
//! queued; a client that does not read is closed when its queue is over the limit, for the loop waits for nobody.

use crate::event::{Event, Events};
use crate::unsent::{self, Unsent};
use flurm_wire::frame::FrameError;
use flurm_wire::{ClientId, Message, frame};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Clients at a time; a newcomer over it is dropped.
pub(crate) const CLIENTS_MAX: usize = 4096;

/// Bytes that wait for one client to read them. All output that the log keeps of a few jobs fits.
pub(crate) const CLIENT_QUEUE_BYTES_MAX: usize = 256 << 20;

/// Messages that one reader hands over together.
const MESSAGES_TOGETHER_MAX: usize = 256;

const READ_BUFFER: usize = 64 << 10;
/// One system call writes about this much.
const WRITE_TOGETHER: usize = 256 << 10;

/// After an error of accept (too many open files), before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) enum LocalEvent {
    Up(ClientId, Outbox),
    Messages(ClientId, Vec<Message>),
    Down(ClientId),
}

/// The sending end of a client's connection; it closes when this is dropped, after writing what is queued.
#[derive(Debug)]
pub(crate) struct Outbox {
    frames: mpsc::UnboundedSender<Vec<u8>>,
    queued: Arc<AtomicUsize>,
    reader: AbortHandle,
    writer: AbortHandle,
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// All clients of this broker.
#[derive(Debug)]
pub(crate) struct Clients {
    live: BTreeMap<ClientId, Outbox>,
    accepting: AbortHandle,
    /// Says that all writers have ended: each of them holds a sender.
    ended: mpsc::Receiver<()>,
}

impl Clients {
    /// Listens on `path` for clients of user `owner`; the first one gets the number `first`.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub(crate) fn listen(
        path: &Path,
        owner: u32,
        first: ClientId,
        events: Events,
    ) -> std::io::Result<Clients> {
        match std::fs::remove_file(path) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let listener = UnixListener::bind(path)?;
        // Between the two calls the directory's mode keeps others out.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let (alive, ended) = mpsc::channel(1);
        let accept = Accept { owner, next: first.0, events, alive };
        let accepting = tokio::spawn(accept.all(listener)).abort_handle();
        Ok(Clients { live: BTreeMap::new(), accepting, ended })
    }

    pub(crate) fn up(&mut self, id: ClientId, outbox: Outbox) {
        self.live.insert(id, outbox);
    }

    /// True if that client was still there.
    pub(crate) fn close(&mut self, id: ClientId) -> bool {
        self.live.remove(&id).is_some()
    }

    pub(crate) fn is_live(&self, id: ClientId) -> bool {
        self.live.contains_key(&id)
    }

    /// Sends, if that client is still there.
    ///
    /// # Errors
    /// The message is too long, or the client did not keep up and its connection has been closed.
    pub(crate) fn send(&mut self, id: ClientId, message: &Message) -> Result<(), Unsent> {
        let Some(outbox) = self.live.get(&id) else { return Ok(()) };
        let bytes = frame::encode_framed(message);
        unsent::check(bytes.len() - size_of::<u32>())?;
        if outbox.queued.load(Ordering::Relaxed) + bytes.len() > CLIENT_QUEUE_BYTES_MAX {
            tracing::warn!(client = id.0, limit = CLIENT_QUEUE_BYTES_MAX, "client does not read; closing it");
            outbox.writer.abort();
            self.live.remove(&id);
            return Err(Unsent::Behind);
        }
        outbox.queued.fetch_add(bytes.len(), Ordering::Relaxed);
        // A writer that has just ended: the reader reports that.
        let _ = outbox.frames.send(bytes);
        Ok(())
    }

    /// Closes all connections and waits for what was sent before to be read by those who read.
    pub(crate) async fn finish(mut self) {
        self.accepting.abort();
        self.live.clear();
        let _ = self.ended.recv().await;
    }
}

struct Accept {
    owner: u32,
    next: u64,
    events: Events,
    /// Each client's writer holds another one.
    alive: mpsc::Sender<()>,
}

impl Accept {
    async fn all(mut self, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.one(stream).await,
                Err(error) => {
                    tracing::warn!(%error, "cannot take a client");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn one(&mut self, stream: UnixStream) {
        match stream.peer_cred() {
            Ok(cred) if cred.uid() == self.owner => {}
            Ok(cred) => return tracing::info!(uid = cred.uid(), "another user turned away"),
            Err(error) => return tracing::info!(%error, "client without credentials turned away"),
        }
        if self.alive.strong_count() > CLIENTS_MAX {
            return tracing::warn!(limit = CLIENTS_MAX, "too many clients; one turned away");
        }
        let id = ClientId(self.next);
        self.next += 1;
        let (read, write) = stream.into_split();
        let (frames, to_write) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let writer = tokio::spawn({
            let (queued, alive) = (queued.clone(), self.alive.clone());
            async move {
                write_all(write, to_write, &queued).await;
                drop(alive);
            }
        });
        // The reader waits until the loop knows the client, so that no message is of an unknown one.
        let (known, may_read) = tokio::sync::oneshot::channel();
        let reader = tokio::spawn({
            let events = self.events.clone();
            async move {
                if may_read.await.is_ok() {
                    if let Err(error) = read_all(read, id, &events).await {
                        tracing::info!(client = id.0, %error, "client dropped");
                    }
                    let _ = events.send(Event::Local(LocalEvent::Down(id))).await;
                }
            }
        });
        let (reader, writer) = (reader.abort_handle(), writer.abort_handle());
        let outbox = Outbox { frames, queued, reader, writer };
        if self.events.send(Event::Local(LocalEvent::Up(id, outbox))).await.is_ok() {
            // The reader waits for exactly this.
            let _ = known.send(());
        }
    }
}

async fn read_all(mut read: OwnedReadHalf, id: ClientId, events: &Events) -> Result<(), FrameError> {
    let mut buffer = Vec::with_capacity(READ_BUFFER);
    loop {
        match read.read_buf(&mut buffer).await {
            // Whatever the reason, the client has gone.
            Ok(0) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
        let mut taken = 0;
        loop {
            let (messages, len) = parse(&buffer[taken..])?;
            if messages.is_empty() {
                break;
            }
            taken += len;
            if events.send(Event::Local(LocalEvent::Messages(id, messages))).await.is_err() {
                return Ok(());
            }
        }
        buffer.drain(..taken);
        if buffer.is_empty() && buffer.capacity() > READ_BUFFER {
            // A large frame does not stay in memory.
            buffer = Vec::with_capacity(READ_BUFFER);
        }
    }
}

/// The whole messages at the start of `bytes`, not more than go together, and how many bytes they took.
fn parse(bytes: &[u8]) -> Result<(Vec<Message>, usize), FrameError> {
    let mut messages = Vec::new();
    let mut taken = 0;
    while let Some((head, rest)) = bytes[taken..].split_first_chunk::<4>()
        && messages.len() < MESSAGES_TOGETHER_MAX
    {
        let len = frame::decode_len(*head)?;
        let Some(body) = rest.get(..len) else { break };
        messages.push(frame::decode(body)?);
        taken += 4 + len;
    }
    Ok((messages, taken))
}

async fn write_all(
    mut write: OwnedWriteHalf,
    mut frames: mpsc::UnboundedReceiver<Vec<u8>>,
    queued: &AtomicUsize,
) {
    while let Some(mut bytes) = frames.recv().await {
        while bytes.len() < WRITE_TOGETHER
            && let Ok(more) = frames.try_recv()
        {
            bytes.extend_from_slice(&more);
        }
        if write.write_all(&bytes).await.is_err() {
            // The reader sees the same loss and tells it.
            return;
        }
        queued.fetch_sub(bytes.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
