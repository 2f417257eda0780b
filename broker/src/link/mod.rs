//! Links to the brokers above and below: who is connected, whom we call, what is sent.
//!
//! `noise.rs` keeps strangers out, `zmq.rs` carries messages. Here a peer has at most one link; when the same rank
//! comes again, the newcomer wins, for the old link belongs to a broker that died or a connection that hangs.

pub(crate) mod half_open;
pub(crate) mod noise;
mod zmq;

pub(crate) use noise::Identity;

use crate::event::{Event, Events};
use crate::unsent::Unsent;
use flurm_types::Rank;
use flurm_wire::Message;
use half_open::HalfOpen;
use noise::HANDSHAKE_MAX;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use zmq::{Outbox, Side};

/// After an error of accept (too many open files), before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Waits between calls: doubled from the first to the last.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A link that lived this long was a good one; the next call comes soon.
const GOOD_LINK_MIN: Duration = Duration::from_secs(5);

/// Numbers links, so that the end of an old link is not taken for the end of its successor.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct LinkId(u64);

#[derive(Debug)]
pub(crate) enum LinkEvent {
    Up { peer: Rank, id: LinkId, side: Side, outbox: Outbox },
    Message { peer: Rank, id: LinkId, message: Message },
    Down { peer: Rank, id: LinkId },
}

/// What a link event means for the mind.
#[derive(Debug)]
pub(crate) enum Change {
    Up { again: bool },
    Message(Message),
    Gone,
}

/// All links of this broker.
#[derive(Debug)]
pub(crate) struct Links {
    shared: Arc<Shared>,
    addresses: BTreeMap<Rank, SocketAddr>,
    live: BTreeMap<Rank, (LinkId, Outbox)>,
    /// A dropped sender tells the caller to stop.
    calls: BTreeMap<Rank, oneshot::Sender<()>>,
    accepting: Option<AbortHandle>,
    /// Says that all tasks have ended: each of them holds a sender.
    ended: mpsc::Receiver<()>,
}

/// What every task needs.
#[derive(Debug)]
struct Shared {
    me: Identity,
    rundir: PathBuf,
    next: AtomicU64,
    events: Events,
    _alive: mpsc::Sender<()>,
}

impl Shared {
    fn next_id(&self) -> LinkId {
        LinkId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Carries a link over an accepted or called tunnel until it ends.
    async fn carry(&self, tunnel: noise::Tunnel, side: Side) {
        let (peer, id) = (tunnel.peer, self.next_id());
        let end = zmq::carry(tunnel, side, self.me.rank, id, &self.rundir, &self.events).await;
        match end {
            Ok(()) => tracing::debug!(%peer, "link closed"),
            Err(error) => tracing::info!(%peer, %error, cause = cause(&error), "link ended"),
        }
        // Nobody hears it only when the process is about to end.
        let _ = self.events.send(Event::Link(LinkEvent::Down { peer, id })).await;
    }
}

fn cause(error: &dyn std::error::Error) -> Option<String> {
    error.source().map(ToString::to_string)
}

impl Links {
    pub(crate) fn new(
        me: Identity,
        addresses: BTreeMap<Rank, SocketAddr>,
        rundir: PathBuf,
        events: Events,
    ) -> Links {
        let (alive, ended) = mpsc::channel(1);
        let shared = Shared { me, rundir, next: AtomicU64::new(1), events, _alive: alive };
        Links {
            shared: Arc::new(shared),
            addresses,
            live: BTreeMap::new(),
            calls: BTreeMap::new(),
            accepting: None,
            ended,
        }
    }

    /// Takes calls of so many children on a listener that is bound to one address.
    ///
    /// # Errors
    /// The listener cannot be watched.
    pub(crate) fn accept(&mut self, listener: std::net::TcpListener, children: u32) -> std::io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let task = tokio::spawn(accept_all(listener, HalfOpen::room_for(children), self.shared.clone()));
        self.accepting = Some(task.abort_handle());
        Ok(())
    }

    /// Calls that broker until told to close.
    pub(crate) fn dial(&mut self, peer: Rank) {
        if self.calls.contains_key(&peer) {
            return;
        }
        let Some(address) = self.addresses.get(&peer).copied() else {
            tracing::error!(%peer, "no address of that broker is known");
            return;
        };
        let (stop, stopped) = oneshot::channel();
        self.calls.insert(peer, stop);
        tokio::spawn(call_again(self.shared.clone(), peer, address, stopped));
    }

    /// Ends the link and stops calling. What was sent before still goes out. True if there was a link.
    pub(crate) fn close(&mut self, peer: Rank) -> bool {
        self.calls.remove(&peer);
        self.live.remove(&peer).is_some()
    }

    /// Sends, if there is a link.
    ///
    /// # Errors
    /// The message is too long, or the peer did not keep up and its link has been closed.
    pub(crate) fn send(&mut self, peer: Rank, message: &Message) -> Result<(), Unsent> {
        let Some((_, outbox)) = self.live.get_mut(&peer) else { return Ok(()) };
        let sent = outbox.send(message);
        if sent == Err(Unsent::Behind) {
            let limit = zmq::LINK_QUEUE_BYTES_MAX;
            tracing::warn!(%peer, limit, "peer does not keep up; closing its link");
            self.live.remove(&peer);
        }
        sent
    }

    /// Follows what the tasks report. None: it was about a link that has been replaced or closed.
    pub(crate) fn note(&mut self, event: LinkEvent) -> Option<(Rank, Change)> {
        match event {
            LinkEvent::Up { peer, side: Side::Child, .. } if !self.calls.contains_key(&peer) => None,
            LinkEvent::Up { peer, id, outbox, .. } => {
                let again = self.live.insert(peer, (id, outbox)).is_some();
                Some((peer, Change::Up { again }))
            }
            LinkEvent::Message { peer, id, message } => {
                self.is_current(peer, id).then_some((peer, Change::Message(message)))
            }
            LinkEvent::Down { peer, id } => {
                if !self.is_current(peer, id) {
                    return None;
                }
                self.live.remove(&peer);
                Some((peer, Change::Gone))
            }
        }
    }

    fn is_current(&self, peer: Rank, id: LinkId) -> bool {
        self.live.get(&peer).is_some_and(|(current, _)| *current == id)
    }

    /// Closes all links and waits for what was sent before to be out.
    pub(crate) async fn finish(self) {
        let Links { shared, live, calls, accepting, mut ended, .. } = self;
        if let Some(accepting) = accepting {
            accepting.abort();
        }
        drop((live, calls, shared));
        // Nothing is ever sent; none means that the last task has gone.
        let _ = ended.recv().await;
    }
}

async fn accept_all(listener: TcpListener, mut half_open: HalfOpen, shared: Arc<Shared>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot take a call");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let shared = shared.clone();
        let handshake = tokio::spawn(async move {
            match noise::answer(stream, &shared.me, HANDSHAKE_MAX).await {
                // In a task of its own: from here on it is no longer half open.
                Ok(tunnel) => {
                    tokio::spawn(async move { shared.carry(tunnel, Side::Parent).await });
                }
                Err(error) => tracing::info!(%error, "caller dropped"),
            }
        });
        half_open.admit(handshake.abort_handle());
    }
}

async fn call_again(
    shared: Arc<Shared>,
    peer: Rank,
    address: SocketAddr,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut pause = BACKOFF_MIN;
    loop {
        let called = tokio::select! {
            biased;
            _ = &mut stopped => return,
            called = call(&shared, peer, address) => called,
        };
        match called {
            Ok(tunnel) => {
                let since = Instant::now();
                shared.carry(tunnel, Side::Child).await;
                if since.elapsed() > GOOD_LINK_MIN {
                    pause = BACKOFF_MIN;
                }
            }
            Err(error) => tracing::debug!(%peer, %error, cause = cause(&error), "call failed"),
        }
        tokio::select! {
            biased;
            _ = &mut stopped => return,
            () = tokio::time::sleep(spread(pause, shared.me.rank)) => {}
        }
        pause = (pause * 2).min(BACKOFF_MAX);
    }
}

/// Brokers that have lost the same parent do not all call at the same moment: up to half is added, by rank.
fn spread(pause: Duration, rank: Rank) -> Duration {
    // Multiples of 2^32 divided by the golden ratio lie far apart, whichever ranks are next to each other.
    let share = rank.0.wrapping_mul(0x9e37_79b9) >> 24;
    pause + pause * share / 512
}

async fn call(shared: &Shared, peer: Rank, address: SocketAddr) -> Result<noise::Tunnel, noise::NoiseError> {
    let stream = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address))
        .await
        .map_err(|_| noise::NoiseError::TimedOut)??;
    noise::call(stream, &shared.me, peer, HANDSHAKE_MAX).await
}

#[cfg(test)]
mod tests;
