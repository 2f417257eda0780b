//! The listener under fire: strangers, forgeries, senders that are slow or never say anything, all at once.
//!
//! Credentials are real ones, of a munged with its own key: `scripts/deps.sh test` installs it.

use flurm_slurm_auth::{Gate, Munge, Munged};
use flurm_slurm_protocol::{Body, Limits, Message, Version, errors, framed};
use flurm_slurm_service::door::{Door, Reply, WAITING_MAX};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// For what comes at once on a machine that does nothing else.
const DEADLINE: Duration = Duration::from_secs(30);
/// A frame's time where a test waits for its end.
const IMPATIENT: Duration = Duration::from_millis(200);

struct World {
    munged: Munged,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

impl World {
    /// Answers pings of that user with 7.
    async fn of(owner: u32, patience: Duration) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let munged = Munged::start(&folder.path().join("munge")).expect("munged is installed");
        let munge = Munge::open(Some(munged.socket())).expect("libmunge comes with munged");
        let door = Door::with_patience(Arc::new(Gate::new(munge, owner)), patience);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            door.serve(listener, |request| async move {
                match request.body {
                    Body::RequestPing => Reply::Code(7),
                    _ => Reply::Nothing,
                }
            })
            .await;
        });
        Self { munged, address, _folder: folder }
    }

    fn gate(&self) -> Gate {
        Gate::new(Munge::open(Some(self.munged.socket())).expect("it was opened before"), me())
    }

    /// A ping with a credential of ours, length first.
    fn ping(&self, version: Version) -> Vec<u8> {
        let gate = self.gate();
        let message = Message::new(version, Body::RequestPing);
        let frame = message.write_sealed(|number, body| gate.seal(number, body)).expect("munged answers");
        framed(&frame).expect("short")
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("somebody listens")
    }

    /// What is answered to these bytes: a return code, or nothing.
    async fn asked(&self, bytes: &[u8]) -> Option<u32> {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.expect("it is read");
        answer(stream).await
    }
}

async fn answer(mut stream: TcpStream) -> Option<u32> {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await;
    // A connection that was reset was closed as well.
    let _ = read.expect("answered or closed in time");
    let message = Message::read(bytes.get(4..)?, &Limits::default()).expect("an answer is a message");
    match message.body {
        Body::ResponseSlurmRc(code) => Some(code.return_code),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_owner_is_answered_in_every_version() {
    let world = World::of(me(), DEADLINE).await;
    for version in Version::all() {
        assert_eq!(world.asked(&world.ping(version)).await, Some(7), "{version}");
    }
}

#[tokio::test]
async fn a_stranger_a_flipped_byte_and_a_second_use_are_refused() {
    let world = World::of(me(), DEADLINE).await;
    let frame = world.ping(Version::LAST);
    assert_eq!(world.asked(&frame).await, Some(7));
    assert_eq!(world.asked(&frame).await, Some(errors::SLURM_PROTOCOL_AUTHENTICATION_ERROR), "used");
    // Another type of message below the same credential.
    let gate = world.gate();
    let message = Message::new(Version::LAST, Body::RequestReconfigure);
    let forged = message.write_sealed(|_, body| gate.seal(1008, body)).expect("munged answers");
    let forged = framed(&forged).expect("short");
    assert_eq!(world.asked(&forged).await, Some(errors::SLURM_PROTOCOL_AUTHENTICATION_ERROR), "forged");
    let bare = Message::new(Version::LAST, Body::RequestPing).write().expect("it fits");
    let bare = framed(&bare).expect("short");
    assert_eq!(world.asked(&bare).await, Some(errors::SLURM_PROTOCOL_AUTHENTICATION_ERROR), "none");
    // To somebody else's instance we are the stranger.
    let others = World::of(me() + 1, DEADLINE).await;
    assert_eq!(others.asked(&others.ping(Version::FIRST)).await, Some(errors::ESLURM_ACCESS_DENIED));
}

#[tokio::test]
async fn versions_that_we_do_not_speak_are_told_so_if_they_can_read_it() {
    let world = World::of(me(), DEADLINE).await;
    let mut frame = world.ping(Version::LAST);
    frame[4..6].copy_from_slice(&0x2e00_u16.to_be_bytes());
    assert_eq!(world.asked(&frame).await, Some(errors::SLURM_PROTOCOL_VERSION_ERROR));
    frame[4..6].copy_from_slice(&0x2500_u16.to_be_bytes());
    assert_eq!(world.asked(&frame).await, None);
}

#[tokio::test]
async fn garbage_is_dropped_or_answered_with_a_number() {
    let world = World::of(me(), IMPATIENT).await;
    assert_eq!(world.asked(&[0xff; 64]).await, None, "a length beyond all limits");
    assert_eq!(world.asked(&[0, 0, 0, 4, 1, 2, 3, 4]).await, None, "no version");
    let mut cut = world.ping(Version::LAST);
    cut.truncate(30);
    let length = u32::try_from(cut.len() - 4).expect("short");
    cut[..4].copy_from_slice(&length.to_be_bytes());
    assert_eq!(world.asked(&cut).await, Some(errors::SLURM_COMMUNICATIONS_RECEIVE_ERROR));
}

#[tokio::test]
async fn whoever_is_slow_is_not_waited_for() {
    let world = World::of(me(), IMPATIENT).await;
    let frame = world.ping(Version::LAST);
    for sent in [0, 2, frame.len() / 2] {
        let mut stream = world.connect().await;
        stream.write_all(&frame[..sent]).await.expect("it is read");
        // The connection stays open on this side: it is the other one that ends it.
        assert_eq!(answer(stream).await, None, "{sent} bytes");
    }
}

#[tokio::test]
async fn so_many_silent_connections_keep_nobody_out() {
    let world = World::of(me(), DEADLINE).await;
    let mut first = world.connect().await;
    let mut silent = Vec::new();
    for _ in 0..WAITING_MAX + 8 {
        silent.push(world.connect().await);
    }
    assert_eq!(world.asked(&world.ping(Version::LAST)).await, Some(7));
    // The oldest had to go.
    let mut byte = [0];
    let read = tokio::time::timeout(DEADLINE, first.read(&mut byte)).await.expect("in time");
    assert!(!matches!(read, Ok(1)), "{read:?}");
}
