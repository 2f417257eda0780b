//! The tunnel below every link between brokers: Noise over TCP, with the instance's key.
//!
//! `Noise_NNpsk0`: who cannot prove the key in the first message is dropped, and nothing he sent has been parsed.
//! All handshake messages have a fixed length, so there is no frame to get wrong. The ranks travel inside.
//!
//! ```text
//! caller                              listener
//!   psk, e, (my rank, your rank) ──▶            56 bytes
//!          ◀── e, ee, (my rank)                 52 bytes
//!   first sealed frame, empty ──▶               proves that the first message was not a recording
//! ```
//!
//! After that come frames: two bytes of length, then that many sealed bytes, at most 65,535.

use crate::boot::Secret;
use flurm_types::Rank;
use rustix::process::getpid;
use snow::{Builder, HandshakeState, StatelessTransportState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};

/// A handshake is one round trip; a peer under load gets some more.
pub(crate) const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_SHA256";
const TAG_LEN: usize = 16;
const KEY_LEN: usize = 32;
const CALL_LEN: usize = KEY_LEN + 8 + TAG_LEN;
const ANSWER_LEN: usize = KEY_LEN + 4 + TAG_LEN;
/// Noise's own limit on a message.
const SEALED_MAX: usize = 65_535;
const PLAIN_MAX: usize = SEALED_MAX - TAG_LEN;

/// A peer that says nothing for this long is asked for a sign of life.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;
/// What we sent must be acknowledged by the peer's kernel in this time, or the connection is given up.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum NoiseError {
    #[error("reach the peer")]
    Io(#[from] io::Error),
    #[error("agree with the peer: it does not hold this instance's key, or was disturbed")]
    Key,
    #[error("agree with the peer: it is rank {found}, not {wanted}")]
    Rank { wanted: Rank, found: Rank },
    #[error("agree with the peer in time")]
    TimedOut,
}

/// Nothing of what snow says helps us, and some of it would help a stranger.
impl From<snow::Error> for NoiseError {
    fn from(_: snow::Error) -> NoiseError {
        NoiseError::Key
    }
}

/// Who we are on every link.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) rank: Rank,
    pub(crate) size: u32,
    pub(crate) instance_id: String,
    pub(crate) secret: Secret,
}

impl Identity {
    fn prologue(&self) -> Vec<u8> {
        format!("flurm overlay {} {}", flurm_wire::VERSION, self.instance_id).into_bytes()
    }

    fn build(&self, initiator: bool) -> Result<HandshakeState, NoiseError> {
        let params = PATTERN.parse().expect("the pattern is one that snow knows");
        let prologue = self.prologue();
        let builder = Builder::new(params).psk(0, self.secret.as_bytes())?.prologue(&prologue)?;
        Ok(if initiator { builder.build_initiator()? } else { builder.build_responder()? })
    }
}

/// An encrypted connection to the broker of `peer`.
pub(crate) struct Tunnel {
    pub(crate) peer: Rank,
    stream: TcpStream,
    seal: Sealer,
    open: Opener,
}

/// Calls the broker of `peer` over a fresh connection.
pub(crate) async fn call(
    stream: TcpStream,
    me: &Identity,
    peer: Rank,
    limit: Duration,
) -> Result<Tunnel, NoiseError> {
    tokio::time::timeout(limit, call_unhurried(stream, me, peer)).await.map_err(|_| NoiseError::TimedOut)?
}

async fn call_unhurried(mut stream: TcpStream, me: &Identity, peer: Rank) -> Result<Tunnel, NoiseError> {
    tune(&stream)?;
    let mut noise = me.build(true)?;
    let mut call = [0; CALL_LEN];
    let mut ranks = [0; 8];
    ranks[..4].copy_from_slice(&me.rank.0.to_be_bytes());
    ranks[4..].copy_from_slice(&peer.0.to_be_bytes());
    noise.write_message(&ranks, &mut call)?;
    stream.write_all(&call).await?;

    let mut answer = [0; ANSWER_LEN];
    stream.read_exact(&mut answer).await?;
    let mut rank = [0; ANSWER_LEN];
    let len = noise.read_message(&answer, &mut rank)?;
    let found = read_rank(&rank[..len])?;
    if found != peer {
        return Err(NoiseError::Rank { wanted: peer, found });
    }
    let mut tunnel = Tunnel::new(peer, stream, noise)?;
    let mut frame = Vec::new();
    tunnel.seal.frame(&[], &mut frame)?;
    tunnel.stream.write_all(&frame).await?;
    Ok(tunnel)
}

/// Answers whoever has connected.
pub(crate) async fn answer(stream: TcpStream, me: &Identity, limit: Duration) -> Result<Tunnel, NoiseError> {
    tokio::time::timeout(limit, answer_unhurried(stream, me)).await.map_err(|_| NoiseError::TimedOut)?
}

async fn answer_unhurried(mut stream: TcpStream, me: &Identity) -> Result<Tunnel, NoiseError> {
    tune(&stream)?;
    let mut noise = me.build(false)?;
    let mut call = [0; CALL_LEN];
    stream.read_exact(&mut call).await?;
    let mut ranks = [0; CALL_LEN];
    let len = noise.read_message(&call, &mut ranks)?;
    let (caller, called) = ranks[..len].split_at_checked(4).ok_or(NoiseError::Key)?;
    let (caller, called) = (read_rank(caller)?, read_rank(called)?);
    if called != me.rank {
        return Err(NoiseError::Rank { wanted: called, found: me.rank });
    }
    if caller == me.rank || caller.0 >= me.size {
        return Err(NoiseError::Key);
    }
    let mut reply = [0; ANSWER_LEN];
    noise.write_message(&me.rank.0.to_be_bytes(), &mut reply)?;
    stream.write_all(&reply).await?;

    let mut tunnel = Tunnel::new(caller, stream, noise)?;
    let mut plain = Vec::new();
    tunnel.open.read(&mut tunnel.stream, &mut plain).await?;
    Ok(tunnel)
}

fn read_rank(bytes: &[u8]) -> Result<Rank, NoiseError> {
    let bytes: [u8; 4] = bytes.try_into().map_err(|_| NoiseError::Key)?;
    Ok(Rank(u32::from_be_bytes(bytes)))
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &socket2::TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES),
    )?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))
}

/// Why a tunnel has ended.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// Our side has closed first, and the peer has taken all that was written before.
    Ours,
    /// The peer has closed first, or cannot be reached.
    Theirs,
    /// The peer, or somebody on the way, sent what was not sealed with our key.
    Forged,
}

impl Tunnel {
    fn new(peer: Rank, stream: TcpStream, noise: HandshakeState) -> Result<Tunnel, NoiseError> {
        let cipher = Arc::new(noise.into_stateless_transport_mode()?);
        let seal = Sealer { cipher: cipher.clone(), nonce: 0 };
        let open = Opener { cipher, nonce: 0, sealed: Vec::new() };
        Ok(Tunnel { peer, stream, seal, open })
    }

    /// Says one thing of any length: full frames, and a last one that is not full.
    pub(crate) async fn say(&mut self, bytes: &[u8]) -> Result<(), NoiseError> {
        let mut frames = Vec::new();
        for piece in bytes.chunks(PLAIN_MAX) {
            self.seal.frame(piece, &mut frames)?;
        }
        if bytes.len().is_multiple_of(PLAIN_MAX) {
            self.seal.frame(&[], &mut frames)?;
        }
        Ok(self.stream.write_all(&frames).await?)
    }

    /// Hears one thing of at most `max` bytes, give or take a frame.
    pub(crate) async fn hear(&mut self, max: usize) -> Result<Vec<u8>, NoiseError> {
        let (mut bytes, mut piece) = (Vec::new(), Vec::new());
        loop {
            self.open.read(&mut self.stream, &mut piece).await?;
            bytes.extend_from_slice(&piece);
            if piece.len() < PLAIN_MAX {
                return Ok(bytes);
            }
            if bytes.len() > max {
                return Err(NoiseError::Key);
            }
        }
    }

    /// Carries bytes between the peer and `local` until both have closed. `passed` counts the bytes of `local` that
    /// wait here no longer.
    ///
    /// The two directions end one by one. Who closes waits for the other to close as well, so that what was said last
    /// is not lost to a reset; and words for a peer that has gone are dropped here, so that our side can go on
    /// reading what it said before it went.
    pub(crate) async fn pump(self, local: UnixStream, passed: &AtomicU64) -> End {
        let Tunnel { mut stream, seal, open, .. } = self;
        let (from_peer, to_peer) = stream.split();
        let (from_local, to_local) = local.into_split();
        let mut out = std::pin::pin!(send_all(from_local, to_peer, seal, passed));
        let mut inward = std::pin::pin!(receive_all(from_peer, to_local, open));
        tokio::select! {
            () = &mut out => match inward.await {
                End::Ours | End::Theirs => End::Ours,
                End::Forged => End::Forged,
            },
            end = &mut inward => {
                out.await;
                end
            }
        }
    }
}

/// Until `local` closes.
async fn send_all(
    mut local: impl AsyncRead + Unpin,
    mut peer: impl AsyncWrite + Unpin,
    mut seal: Sealer,
    passed: &AtomicU64,
) {
    let mut plain = vec![0; PLAIN_MAX];
    let mut frame = Vec::new();
    let mut heard = true;
    // An error on a Unix socket: the other half of our own process has gone.
    while let Ok(len @ 1..) = local.read(&mut plain).await {
        if heard {
            frame.clear();
            heard = seal.frame(&plain[..len], &mut frame).is_ok() && peer.write_all(&frame).await.is_ok();
        }
        passed.fetch_add(len as u64, Ordering::Relaxed);
    }
    // The peer sees the end of the stream; if it has gone already, it needs none.
    let _ = peer.shutdown().await;
}

/// Until the peer closes, or sends what is not its own; then `local` sees the end.
async fn receive_all(
    peer: impl AsyncRead + Unpin,
    mut local: impl AsyncWrite + Unpin,
    mut open: Opener,
) -> End {
    let mut peer = BufReader::with_capacity(SEALED_MAX + 2, peer);
    let mut plain = Vec::new();
    let mut heard = true;
    loop {
        match open.read(&mut peer, &mut plain).await {
            Ok(()) => heard = heard && local.write_all(&plain).await.is_ok(),
            Err(NoiseError::Io(_)) => return End::Theirs,
            Err(_) => return End::Forged,
        }
    }
}

/// Turns bytes into frames.
struct Sealer {
    cipher: Arc<StatelessTransportState>,
    nonce: u64,
}

impl Sealer {
    /// Appends one frame that holds `plain`, at most [`PLAIN_MAX`] bytes.
    fn frame(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        let start = out.len();
        let prefix = u16::try_from(plain.len() + TAG_LEN).map_err(|_| NoiseError::Key)?;
        out.extend_from_slice(&prefix.to_be_bytes());
        out.resize(start + 2 + plain.len() + TAG_LEN, 0);
        self.cipher.write_message(self.nonce, plain, &mut out[start + 2..])?;
        self.nonce += 1;
        Ok(())
    }
}

/// Turns frames into bytes.
struct Opener {
    cipher: Arc<StatelessTransportState>,
    nonce: u64,
    sealed: Vec<u8>,
}

impl Opener {
    /// Reads one frame; `plain` then holds what was in it.
    async fn read(
        &mut self,
        peer: &mut (impl AsyncRead + Unpin),
        plain: &mut Vec<u8>,
    ) -> Result<(), NoiseError> {
        let mut prefix = [0; 2];
        peer.read_exact(&mut prefix).await?;
        let len = usize::from(u16::from_be_bytes(prefix));
        if len < TAG_LEN {
            return Err(NoiseError::Key);
        }
        self.sealed.resize(len, 0);
        peer.read_exact(&mut self.sealed).await?;
        plain.resize(len, 0);
        let len = self.cipher.read_message(self.nonce, &self.sealed, plain)?;
        plain.truncate(len);
        self.nonce += 1;
        Ok(())
    }
}

/// Whether the other end of a Unix socket is this very process.
pub(crate) fn is_ourselves(stream: &UnixStream) -> bool {
    let pid = getpid().as_raw_nonzero().get();
    stream.peer_cred().is_ok_and(|cred| cred.pid() == Some(pid))
}

#[cfg(test)]
#[path = "noise_tests.rs"]
mod tests;
