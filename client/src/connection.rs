//! One connection: frames out, frames in, answers back to who asked.
//!
//! Two tasks live as long as the connection. The writer takes whole frames from a queue, so a caller that is
//! dropped in the middle never tears a frame. The reader hands answers to the open request with their tag.
//! Pushes (requests addressed to us) queue up for [`Client::next_push`].

use crate::stream::Responses;
use crate::{ClientError, Uri};
use flurm_types::Rank;
use flurm_wire::{Address, ClientId, Dest, Kind, Message, Topic, WireError, frame};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};

/// Frames that wait to be written; a caller over this waits.
pub const REQUESTS_MAX: usize = 256;
/// Pushes that nobody took; over this the reader waits.
pub const PUSHES_MAX: usize = 4096;
/// Bytes of stream answers that nobody took; over this the reader waits. So a caller that holds an open
/// stream must not wait for something else without draining it.
pub const QUEUED_BYTES_MAX: usize = 64 << 20;

/// Most answers are far smaller than this; a large frame grows the buffer for its own length only.
const READ_BUFFER: usize = 64 << 10;

/// A connection to one broker. Cheap to clone; the connection closes with the last clone and stream.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    frames: mpsc::Sender<Vec<u8>>,
    open: Mutex<Open>,
    next_tag: AtomicU64,
    pushes: tokio::sync::Mutex<mpsc::Receiver<Message>>,
    queued: Arc<Queued>,
    lost: Arc<AtomicBool>,
    reader: tokio::task::AbortHandle,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("open", &self.open().requests.len()).finish_non_exhaustive()
    }
}

/// Open requests by tag. `ended` says why no new one will be answered.
#[derive(Default)]
struct Open {
    requests: BTreeMap<u64, Waiting>,
    ended: Option<Ended>,
}

#[derive(Clone, Debug)]
enum Ended {
    Lost,
    Frame(String),
}

impl From<Ended> for ClientError {
    fn from(ended: Ended) -> ClientError {
        match ended {
            Ended::Lost => ClientError::Lost,
            Ended::Frame(text) => ClientError::Frame(text),
        }
    }
}

enum Waiting {
    Once(oneshot::Sender<Result<Message, ClientError>>),
    Many(mpsc::UnboundedSender<Result<Message, ClientError>>),
}

/// Bytes of answers in stream queues, and who waits for them to shrink.
#[derive(Default)]
pub(crate) struct Queued {
    bytes: AtomicUsize,
    shrunk: Notify,
}

impl Queued {
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(crate) fn taken(&self, message: &Message) {
        self.gone(payload_len(message));
    }

    fn gone(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        if before > QUEUED_BYTES_MAX {
            self.shrunk.notify_one();
        }
    }

    async fn room(&self) {
        while self.bytes.load(Ordering::Acquire) > QUEUED_BYTES_MAX {
            self.shrunk.notified().await;
        }
    }
}

fn payload_len(message: &Message) -> usize {
    message.payload.as_ref().map_or(0, |raw| raw.get().len())
}

impl Client {
    /// # Errors
    /// Nobody listens there, or we may not connect.
    pub async fn connect(uri: &Uri) -> Result<Client, ClientError> {
        let stream = UnixStream::connect(uri.path())
            .await
            .map_err(|source| ClientError::Connect { uri: uri.to_string(), source })?;
        Ok(Client::over(stream))
    }

    /// Speak over a stream that is connected already.
    pub fn over(stream: UnixStream) -> Client {
        let (read, write) = stream.into_split();
        let (frames, to_write) = mpsc::channel(REQUESTS_MAX);
        let (pushed, pushes) = mpsc::channel(PUSHES_MAX);
        let queued = Arc::new(Queued::default());
        let lost = Arc::new(AtomicBool::new(false));
        // The reader must not keep `Shared` alive, or the last clone would never close the connection.
        let (send_shared, shared_later) = oneshot::channel::<std::sync::Weak<Shared>>();
        let reader = tokio::spawn({
            let (queued, lost) = (queued.clone(), lost.clone());
            async move {
                if let Ok(shared) = shared_later.await {
                    let ended = read_all(read, &shared, &pushed, &queued).await;
                    lost.store(true, Ordering::Release);
                    if let Some(shared) = shared.upgrade() {
                        shared.end(&ended);
                    }
                }
            }
        });
        tokio::spawn(write_all(write, to_write));
        let shared = Arc::new(Shared {
            frames,
            open: Mutex::default(),
            next_tag: AtomicU64::new(1),
            pushes: tokio::sync::Mutex::new(pushes),
            queued,
            lost,
            reader: reader.abort_handle(),
        });
        // The reader waits for exactly this; it is alive because nothing has aborted it yet.
        let _ = send_shared.send(Arc::downgrade(&shared));
        Client { shared }
    }

    /// Ask once, take one answer.
    ///
    /// # Errors
    /// The service refuses, or the connection is lost.
    pub async fn call<T: Topic>(&self, dest: Dest, body: &T) -> Result<T::Response, ClientError> {
        self.ask(dest, body).await?.answer().await
    }

    /// Ask once; the answer is taken later, so several questions can be on their way. They arrive in order.
    ///
    /// # Errors
    /// The connection is lost, or the question is too long.
    pub async fn ask<T: Topic>(&self, dest: Dest, body: &T) -> Result<Asked<T>, ClientError> {
        let tag = self.shared.tag();
        let (answer, answered) = oneshot::channel();
        self.shared.register(tag, Waiting::Once(answer))?;
        let asked = Asked { shared: Arc::clone(&self.shared), tag, answered, topic: PhantomData };
        let mut message = Message::request(nobody(), dest, tag, body);
        message.more = false;
        self.shared.send(&message).await?;
        Ok(asked)
    }

    /// Ask and take all answers; dropping the result cancels the request.
    ///
    /// # Errors
    /// The connection is lost. A refusal arrives as the stream's item.
    pub async fn stream<T: Topic>(&self, dest: Dest, body: &T) -> Result<Responses<T>, ClientError> {
        let tag = self.shared.tag();
        let (answer, answers) = mpsc::unbounded_channel();
        self.shared.register(tag, Waiting::Many(answer))?;
        let responses = Responses::new(self.clone(), tag, dest, answers);
        let mut message = Message::request(nobody(), dest, tag, body);
        message.more = true;
        self.shared.send(&message).await?;
        Ok(responses)
    }

    /// The next request addressed to us, or the cancellation of one; none once the connection is lost.
    pub async fn next_push(&self) -> Option<Message> {
        self.shared.pushes.lock().await.recv().await
    }

    /// Answer a request that was pushed to us; `more` says that another answer follows.
    ///
    /// # Errors
    /// The connection is lost, or the answer is too long.
    pub async fn respond<B: serde::Serialize>(
        &self,
        push: &Message,
        body: &B,
        more: bool,
    ) -> Result<(), ClientError> {
        self.shared.send(&push.respond(nobody(), body, more)).await
    }

    /// Turn down a request that was pushed to us.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn refuse(&self, push: &Message, error: WireError) -> Result<(), ClientError> {
        self.shared.send(&push.refuse(nobody(), error)).await
    }

    /// Whether the broker has gone.
    pub fn is_lost(&self) -> bool {
        self.shared.lost.load(Ordering::Acquire)
    }

    pub(crate) fn queued(&self) -> &Queued {
        &self.shared.queued
    }

    /// The asker no longer wants answers to `tag`.
    pub(crate) fn cancel(&self, tag: u64, topic: &'static str, dest: Dest) {
        if self.shared.forget(tag).is_none() {
            return;
        }
        let message = Message {
            v: flurm_wire::VERSION,
            kind: Kind::Cancel,
            topic: topic.into(),
            src: nobody(),
            dst: dest,
            tag,
            more: false,
            error: None,
            payload: None,
        };
        self.post(&message);
    }

    /// Says something that is not answered, and waits for nothing.
    pub(crate) fn tell<T: Topic>(&self, dest: Dest, body: &T) {
        self.post(&Message::request(nobody(), dest, 0, body));
    }

    fn post(&self, message: &Message) {
        let bytes = frame::encode_framed(message);
        // A full queue means that many requests are on their way; then a task waits for its turn.
        if let Err(mpsc::error::TrySendError::Full(bytes)) = self.shared.frames.try_send(bytes)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let frames = self.shared.frames.clone();
            runtime.spawn(async move {
                // Nobody is there to hear it.
                let _ = frames.send(bytes).await;
            });
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The writer ends by itself once `frames` is dropped and all frames are out.
        self.reader.abort();
    }
}

impl Shared {
    fn tag(&self) -> u64 {
        self.next_tag.fetch_add(1, Ordering::Relaxed)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("nothing panics while it holds the open requests")
    }

    fn register(&self, tag: u64, waiting: Waiting) -> Result<(), ClientError> {
        let mut open = self.open();
        match &open.ended {
            Some(ended) => Err(ended.clone().into()),
            None => {
                open.requests.insert(tag, waiting);
                Ok(())
            }
        }
    }

    fn forget(&self, tag: u64) -> Option<Waiting> {
        self.open().requests.remove(&tag)
    }

    async fn send(&self, message: &Message) -> Result<(), ClientError> {
        let bytes = frame::encode_framed(message);
        if bytes.len() - 4 > frame::LEN_MAX {
            return Err(ClientError::TooLong { len: bytes.len() - 4, max: frame::LEN_MAX });
        }
        self.frames.send(bytes).await.map_err(|_| ClientError::Lost)
    }

    fn answered(&self, message: Message) {
        let mut open = self.open();
        let Some(waiting) = open.requests.get(&message.tag) else { return };
        let last = !message.more;
        match waiting {
            Waiting::Once(_) => {
                if let Some(Waiting::Once(answer)) = open.requests.remove(&message.tag) {
                    // The caller may have gone a moment ago.
                    let _ = answer.send(result(message));
                }
            }
            Waiting::Many(answers) => {
                // A refusal carries nothing to count.
                let bytes = if message.error.is_some() { 0 } else { payload_len(&message) };
                let tag = message.tag;
                // Counted first: another thread may take it before we look again.
                self.queued.add(bytes);
                if answers.send(result(message)).is_err() {
                    self.queued.gone(bytes);
                }
                if last {
                    open.requests.remove(&tag);
                }
            }
        }
    }

    fn end(&self, ended: &Ended) {
        let mut open = self.open();
        open.ended = Some(ended.clone());
        for waiting in std::mem::take(&mut open.requests).into_values() {
            // Who dropped the receiver does not want to know.
            match waiting {
                Waiting::Once(answer) => drop(answer.send(Err(ended.clone().into()))),
                Waiting::Many(answers) => drop(answers.send(Err(ended.clone().into()))),
            }
        }
    }
}

fn result(mut message: Message) -> Result<Message, ClientError> {
    match message.error.take() {
        Some(error) => Err(error.into()),
        None => Ok(message),
    }
}

/// A question on its way. Dropping it leaves the answer to nobody.
#[derive(Debug)]
pub struct Asked<T: Topic> {
    shared: Arc<Shared>,
    tag: u64,
    answered: oneshot::Receiver<Result<Message, ClientError>>,
    topic: PhantomData<fn() -> T>,
}

impl<T: Topic> Asked<T> {
    /// # Errors
    /// The service refuses, or the connection is lost.
    pub async fn answer(mut self) -> Result<T::Response, ClientError> {
        let message = (&mut self.answered).await.map_err(|_| ClientError::Lost)??;
        Ok(message.body()?)
    }
}

impl<T: Topic> Drop for Asked<T> {
    fn drop(&mut self) {
        self.shared.forget(self.tag);
    }
}

/// What a client says about itself is ignored; the broker fills in who it is.
fn nobody() -> Address {
    Address { rank: Rank(0), client: ClientId(0) }
}

async fn write_all(mut write: OwnedWriteHalf, mut frames: mpsc::Receiver<Vec<u8>>) {
    while let Some(mut bytes) = frames.recv().await {
        // One system call for all that is ready.
        while let Ok(more) = frames.try_recv() {
            bytes.extend_from_slice(&more);
            if bytes.len() > READ_BUFFER {
                break;
            }
        }
        if write.write_all(&bytes).await.is_err() {
            // The reader sees the same loss and tells everybody.
            return;
        }
    }
}

async fn read_all(
    read: OwnedReadHalf,
    shared: &std::sync::Weak<Shared>,
    pushed: &mpsc::Sender<Message>,
    queued: &Queued,
) -> Ended {
    let mut read = BufReader::with_capacity(READ_BUFFER, read);
    let mut body = Vec::new();
    loop {
        queued.room().await;
        let mut head = [0; 4];
        if read.read_exact(&mut head).await.is_err() {
            return Ended::Lost;
        }
        let len = match frame::decode_len(head) {
            Ok(len) => len,
            Err(e) => return Ended::Frame(e.to_string()),
        };
        body.resize(len, 0);
        if read.read_exact(&mut body).await.is_err() {
            return Ended::Lost;
        }
        let message = match frame::decode(&body) {
            Ok(message) => message,
            Err(e) => return Ended::Frame(e.to_string()),
        };
        if body.capacity() > READ_BUFFER {
            body = Vec::new();
        }
        match message.kind {
            Kind::Response => match shared.upgrade() {
                Some(shared) => shared.answered(message),
                None => return Ended::Lost,
            },
            Kind::Request | Kind::Cancel => {
                if pushed.send(message).await.is_err() {
                    return Ended::Lost;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
