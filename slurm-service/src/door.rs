//! The listener: frames in, admitted requests to whoever answers them, answers out.
//!
//! ```text
//!   accepted ─► waiting ── whole frame, opened (munged asked, body decoded) ──► answered ─► closed
//!                  └── no frame within 10 s, or pushed out by a newer one ──► closed
//! ```
//!
//! Anybody on the network may connect, so nothing here trusts what it reads before a munged has vouched for it: a
//! connection gets so much time, all of them together so many bytes and so many places. When there is no place left, the
//! one that has waited longest for its frame goes. What is answered to a stranger is a number, and never waits for the
//! broker.

use flurm_slurm_auth::{Caller, Gate, MungeError, Refusal};
use flurm_slurm_protocol::structures::{AuthCred, Header, ReturnCode};
use flurm_slurm_protocol::{
    Body, Envelope, Error, Fault, Limits, Message, SealError, Version, errors, frame_length, framed,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

/// Connections of which nobody knows yet whose they are.
pub const WAITING_MAX: usize = 1024;
/// A frame comes within this time; clients wait ten seconds for their answer.
pub const READ_MAX: Duration = Duration::from_secs(10);
/// An answer is taken within this time.
pub const WRITE_MAX: Duration = Duration::from_secs(30);
/// Of all frames that are being read, beyond the first 16 KiB of each.
pub const BYTES_MAX: usize = 256 << 20;
/// Of each frame; nearly all requests are smaller.
const FREE_BYTES: usize = 16 << 10;
/// What a permit of the budget stands for, and what is read at a time.
const CHUNK: usize = 64 << 10;
/// When the process has no file descriptors left.
const PAUSE: Duration = Duration::from_millis(50);

/// A message that was let in.
#[derive(Debug)]
pub struct Request {
    pub version: Version,
    pub caller: Caller,
    pub header: Header,
    pub body: Body,
    pub peer: SocketAddr,
}

/// What a request is answered.
#[derive(Debug)]
pub enum Reply {
    Body(Body),
    /// A return code; 0 is *done*.
    Code(u32),
    /// The connection is closed without a word.
    Nothing,
}

/// Why there is no request.
#[derive(Debug)]
pub enum Unopened {
    /// Not a message, or not one that we speak; with the version to answer in, if there is one.
    Garbled(Error, Option<Version>),
    Refused(Refusal, Version),
    /// Let in, and then it could not be decoded.
    Strange(Error, Version),
}

impl Unopened {
    /// In which version the sender is told which number.
    pub fn answer(&self) -> Option<(Version, u32)> {
        match self {
            Self::Garbled(error, version) => {
                let number = match error.fault {
                    Fault::Version(_) => errors::SLURM_PROTOCOL_VERSION_ERROR,
                    _ => errors::SLURM_COMMUNICATIONS_RECEIVE_ERROR,
                };
                version.map(|version| (version, number))
            }
            Self::Refused(Refusal::Stranger(_), version) => Some((*version, errors::ESLURM_ACCESS_DENIED)),
            Self::Refused(_, version) => Some((*version, errors::SLURM_PROTOCOL_AUTHENTICATION_ERROR)),
            Self::Strange(error, version) => match error.fault {
                Fault::Message(_) => Some((*version, errors::ESLURM_NOT_SUPPORTED)),
                _ => Some((*version, errors::SLURM_COMMUNICATIONS_RECEIVE_ERROR)),
            },
        }
    }
}

/// Why a connection ended without a request.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    #[error("the sender was too slow")]
    Slow,
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("a frame of that length is not read: {0:?}")]
    Length(Error),
}

/// For whose eyes an answer is.
type Seal = fn(&Gate, u16, &[u8]) -> Result<AuthCred, MungeError>;

/// A whole frame, with its share of the budget.
#[derive(Debug)]
pub struct Frame {
    pub bytes: Vec<u8>,
    _share: Vec<OwnedSemaphorePermit>,
}

/// Who lets messages in and seals answers, for every listener of this process.
#[derive(Debug)]
pub struct Door {
    gate: Arc<Gate>,
    limits: Limits,
    budget: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    read_max: Duration,
}

/// Connections that have not said who they are, oldest first.
#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    seats: BTreeMap<u64, AbortHandle>,
}

/// A connection's place among those that wait; given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    door: Arc<Door>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.door.waiting().seats.remove(&self.number);
    }
}

impl Door {
    pub fn new(gate: Arc<Gate>) -> Arc<Self> {
        Self::with_patience(gate, READ_MAX)
    }

    /// With another time for a frame to come.
    pub fn with_patience(gate: Arc<Gate>, read_max: Duration) -> Arc<Self> {
        Arc::new(Self {
            gate,
            limits: Limits::default(),
            budget: Arc::new(Semaphore::new(BYTES_MAX / CHUNK)),
            waiting: Mutex::default(),
            read_max,
        })
    }

    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics while it holds the seats")
    }

    /// Answers one message per connection, as Slurm's commands ask, for as long as the process lives.
    pub async fn serve<A, F>(self: &Arc<Self>, listener: TcpListener, answer: A)
    where
        A: Fn(Request) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        self.listen(listener, move |door, stream, peer, seat| {
            let answer = answer.clone();
            async move {
                let mut stream = stream;
                if let Err(lost) = door.one(&mut stream, peer, seat, answer).await {
                    tracing::debug!(%peer, %lost, "connection");
                }
            }
        })
        .await;
    }

    /// Hands on connections; `handle` drops the seat once it knows whose it is.
    pub async fn listen<H, F>(self: &Arc<Self>, listener: TcpListener, handle: H)
    where
        H: Fn(Arc<Self>, TcpStream, SocketAddr, Seat) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    // No file descriptor is left, as a rule: whoever has said nothing for longest gives one back.
                    if let Some((_, oldest)) = self.waiting().seats.pop_first() {
                        oldest.abort();
                    }
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            // An answer is one write, and goes at once.
            let _ = stream.set_nodelay(true);
            // A task that is over before its seat is noted would leave it taken for ever.
            let mut waiting = self.waiting();
            if waiting.seats.len() >= WAITING_MAX
                && let Some((_, oldest)) = waiting.seats.pop_first()
            {
                oldest.abort();
            }
            let number = waiting.next;
            waiting.next += 1;
            let seat = Seat { door: Arc::clone(self), number };
            let task = tokio::spawn(handle(Arc::clone(self), stream, peer, seat));
            waiting.seats.insert(number, task.abort_handle());
        }
    }

    async fn one<A, F>(
        self: &Arc<Self>,
        stream: &mut TcpStream,
        peer: SocketAddr,
        seat: Seat,
        answer: A,
    ) -> Result<(), Lost>
    where
        A: Fn(Request) -> F,
        F: Future<Output = Reply>,
    {
        let frame = self.frame(stream).await?;
        let request = match self.open(frame, peer).await {
            Ok(request) => request,
            Err(unopened) => {
                note(&unopened, peer);
                let Some((version, number)) = unopened.answer() else { return Ok(()) };
                return self.put(stream, version, code(number), Gate::seal_for_all).await;
            }
        };
        drop(seat);
        let version = request.version;
        let body = match answer(request).await {
            Reply::Body(body) => body,
            Reply::Code(number) => code(number),
            Reply::Nothing => return Ok(()),
        };
        self.send(stream, version, body).await
    }

    /// The next frame of a connection.
    ///
    /// # Errors
    /// It does not come in time, or is too long.
    pub async fn frame(&self, stream: &mut TcpStream) -> Result<Frame, Lost> {
        timeout(self.read_max, self.frame_at_leisure(stream)).await.map_err(|_| Lost::Slow)?
    }

    /// The next frame, however long it takes to begin: of a connection that was let in and stays.
    ///
    /// # Errors
    /// The connection ends, or the frame is too long.
    pub async fn frame_at_leisure(&self, stream: &mut TcpStream) -> Result<Frame, Lost> {
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        let length = frame_length(word, &self.limits).map_err(Lost::Length)?;
        let mut frame = Frame { bytes: Vec::new(), _share: Vec::new() };
        // Memory is held for what has come, whatever length was announced.
        while frame.bytes.len() < length {
            if frame.bytes.len() >= FREE_BYTES {
                let share = Arc::clone(&self.budget).acquire_owned().await;
                frame._share.push(share.expect("the budget is never closed"));
            }
            let more =
                (length - frame.bytes.len()).min(if frame.bytes.is_empty() { FREE_BYTES } else { CHUNK });
            let from = frame.bytes.len();
            frame.bytes.resize(from + more, 0);
            stream.read_exact(&mut frame.bytes[from..]).await?;
        }
        Ok(frame)
    }

    /// Asks munged who sent it, then decodes it.
    ///
    /// # Errors
    /// It is not let in, or is no message.
    pub async fn open(&self, frame: Frame, peer: SocketAddr) -> Result<Request, Box<Unopened>> {
        let (gate, limits) = (Arc::clone(&self.gate), self.limits);
        // Whoever is pushed out takes its frame out of munged's queue.
        let mut opening = JoinSet::new();
        opening.spawn_blocking(move || open(&gate, &limits, &frame.bytes, peer));
        opening.join_next().await.expect("there is one").expect("decoding does not panic")
    }

    /// Sends a message, with a credential where that version wants one in answers.
    ///
    /// # Errors
    /// The other side does not take it.
    pub async fn send(&self, stream: &mut TcpStream, version: Version, body: Body) -> Result<(), Lost> {
        self.put(stream, version, body, Gate::seal).await
    }

    async fn put(
        &self,
        stream: &mut TcpStream,
        version: Version,
        body: Body,
        seal: Seal,
    ) -> Result<(), Lost> {
        let gate = Arc::clone(&self.gate);
        let packed = tokio::task::spawn_blocking(move || pack(&gate, version, body, seal));
        let Some(bytes) = packed.await.expect("encoding does not panic") else { return Ok(()) };
        let sent = async {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        };
        Ok(timeout(WRITE_MAX, sent).await.map_err(|_| Lost::Slow)??)
    }
}

fn open(gate: &Gate, limits: &Limits, frame: &[u8], peer: SocketAddr) -> Result<Request, Box<Unopened>> {
    let envelope = Envelope::read(frame, limits).map_err(|error| {
        let version = spoken(&error, frame);
        Box::new(Unopened::Garbled(error, version))
    })?;
    let version = envelope.version;
    let caller = gate.admit(&envelope).map_err(|refusal| Box::new(Unopened::Refused(refusal, version)))?;
    let body = envelope.body(limits).map_err(|error| Box::new(Unopened::Strange(error, version)))?;
    Ok(Request { version, caller, header: envelope.header, body, peer })
}

/// The version to answer garbage in: the sender's if it says one that we know, else the newest, which newer ones read.
fn spoken(error: &Error, frame: &[u8]) -> Option<Version> {
    let word = u16::from_be_bytes([*frame.first()?, *frame.get(1)?]);
    match error.fault {
        Fault::Version(word) => (word > Version::LAST.to_wire()).then_some(Version::LAST),
        _ => Version::from_wire(word),
    }
}

/// The bytes of an answer, length first. None if there is no way to make them.
fn pack(gate: &Gate, version: Version, body: Body, seal: Seal) -> Option<Vec<u8>> {
    let name = body.name();
    let message = Message::new(version, body);
    let frame = if version.answers_need_credential() {
        message.write_sealed(|number, bytes| seal(gate, number, bytes))
    } else {
        message.write().map_err(SealError::<MungeError>::Encode)
    };
    match frame {
        Ok(frame) => framed(&frame).ok(),
        Err(error) => {
            tracing::error!(message = name, %version, ?error, "an answer cannot be made");
            None
        }
    }
}

fn note(unopened: &Unopened, peer: SocketAddr) {
    match unopened {
        Unopened::Refused(refusal @ Refusal::Stranger(_), _) => tracing::warn!(%peer, %refusal, "refused"),
        Unopened::Refused(refusal, _) => tracing::info!(%peer, %refusal, "refused"),
        Unopened::Garbled(error, _) => tracing::info!(%peer, ?error, "not a message"),
        Unopened::Strange(error, _) => tracing::info!(%peer, ?error, "not understood"),
    }
}

/// A return code as a message.
pub fn code(number: u32) -> Body {
    Body::ResponseSlurmRc(Box::new(ReturnCode { return_code: number }))
}
