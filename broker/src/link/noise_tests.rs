//! Strangers, thieves and noise on the line.

use super::*;
use proptest::prelude::*;
use tokio::net::TcpListener;

fn identity(rank: u32) -> Identity {
    Identity {
        rank: Rank(rank),
        size: 4,
        instance_id: "here".into(),
        secret: Secret::from_bytes([7; Secret::LEN]),
    }
}

async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (caller, listener.accept().await.unwrap().0)
}

async fn tunnels() -> (Tunnel, Tunnel) {
    let (caller, listener) = connected().await;
    let (child, parent) = (identity(1), identity(0));
    let (a, b) =
        tokio::join!(call(caller, &child, Rank(0), HANDSHAKE_MAX), answer(listener, &parent, HANDSHAKE_MAX));
    (a.unwrap(), b.unwrap())
}

#[tokio::test]
async fn two_brokers_of_an_instance_agree_and_know_each_others_rank() {
    let (child, parent) = tunnels().await;
    assert_eq!((child.peer, parent.peer), (Rank(0), Rank(1)));

    let ((mut a, a_inner), (mut b, b_inner)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let counted = Arc::new(AtomicU64::new(0));
    let passed = counted.clone();
    let child = tokio::spawn(async move { child.pump(a_inner, &passed).await });
    let parent = tokio::spawn(async move { parent.pump(b_inner, &AtomicU64::new(0)).await });
    // More than a frame holds.
    let long: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    let there = async {
        a.write_all(&long).await.unwrap();
        a.shutdown().await.unwrap();
    };
    let mut read = Vec::new();
    let (_, got) = tokio::join!(there, b.read_to_end(&mut read));
    got.unwrap();
    assert_eq!(read, long);
    // The child's side waits for ours to close, and then both are over.
    drop(b);
    assert_eq!(child.await.unwrap(), End::Ours, "it said all it had to say");
    assert_eq!(parent.await.unwrap(), End::Theirs);
    assert_eq!(counted.load(Ordering::Relaxed), long.len() as u64);
}

#[tokio::test]
async fn last_words_are_heard_by_who_talks_to_a_peer_that_has_gone() {
    let (child, parent) = tunnels().await;
    let ((mut a, a_inner), (mut b, b_inner)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    a.write_all(b"goodbye").await.unwrap();
    drop(a);
    // It does not even wait for us to close.
    let _ = tokio::time::timeout(Duration::from_millis(50), child.pump(a_inner, &AtomicU64::new(0))).await;
    let parent = tokio::spawn(async move { parent.pump(b_inner, &AtomicU64::new(0)).await });
    for _ in 0..100 {
        b.write_all(b"are you there?").await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut heard = Vec::new();
    b.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"goodbye");
    b.write_all(b"nobody hears that").await.unwrap();
    drop(b);
    assert_eq!(parent.await.unwrap(), End::Theirs);
}

#[tokio::test]
async fn who_is_not_of_the_instance_is_dropped() {
    let thief = Identity { secret: Secret::from_bytes([8; Secret::LEN]), ..identity(1) };
    let neighbour = Identity { instance_id: "there".into(), ..identity(1) };
    let too_large = Identity { size: 9, ..identity(8) };
    for stranger in [thief, neighbour, too_large, identity(0)] {
        let (caller, listener) = connected().await;
        let me = identity(0);
        let (called, answered) = tokio::join!(
            call(caller, &stranger, Rank(0), HANDSHAKE_MAX),
            answer(listener, &me, HANDSHAKE_MAX)
        );
        assert!(matches!(answered, Err(NoiseError::Key)), "{stranger:?}");
        assert!(called.is_err());
    }
}

#[tokio::test]
async fn a_call_for_another_rank_is_not_answered() {
    let (caller, listener) = connected().await;
    let (child, parent) = (identity(1), identity(0));
    let (called, answered) =
        tokio::join!(call(caller, &child, Rank(2), HANDSHAKE_MAX), answer(listener, &parent, HANDSHAKE_MAX));
    assert!(matches!(answered, Err(NoiseError::Rank { .. })));
    assert!(called.is_err());
}

#[tokio::test]
async fn a_recorded_call_does_not_open_a_tunnel() {
    // Record what a broker says first.
    let (caller, mut listener) = connected().await;
    let child = identity(1);
    let mut recorded = [0; CALL_LEN];
    let (called, read) = tokio::join!(call(caller, &child, Rank(0), HANDSHAKE_MAX), async {
        let read = listener.read_exact(&mut recorded).await;
        drop(listener);
        read
    });
    read.unwrap();
    assert!(called.is_err());

    let (mut thief, listener) = connected().await;
    let me = identity(0);
    let replay = async {
        thief.write_all(&recorded).await.unwrap();
        let mut reply = [0; ANSWER_LEN];
        thief.read_exact(&mut reply).await.unwrap();
        // He cannot seal the empty frame; so he sends something of its length.
        thief.write_all(&[&[0, 16][..], &[0; 16]].concat()).await.unwrap();
    };
    let ((), answered) = tokio::join!(replay, answer(listener, &me, HANDSHAKE_MAX));
    assert!(matches!(answered, Err(NoiseError::Key)));
}

#[tokio::test]
async fn strangers_bytes_get_no_answer() {
    let greeting = [&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0][..], b"NULL", &[0; 48]].concat();
    for bytes in [greeting, vec![0xff; 5000], b"GET / HTTP/1.0\r\n\r\n".to_vec(), Vec::new()] {
        let (mut stranger, listener) = connected().await;
        let me = identity(0);
        let says = async {
            // We may close while it still writes.
            let _ = stranger.write_all(&bytes).await;
            let _ = stranger.shutdown().await;
            let mut reply = Vec::new();
            let _ = stranger.read_to_end(&mut reply).await;
            reply
        };
        let (reply, answered) = tokio::join!(says, answer(listener, &me, HANDSHAKE_MAX));
        assert!(answered.is_err());
        assert_eq!(reply, b"");
    }
}

#[tokio::test]
async fn who_says_nothing_is_dropped_after_a_while() {
    let (_silent, listener) = connected().await;
    let answered = answer(listener, &identity(0), Duration::from_millis(1)).await;
    assert!(matches!(answered, Err(NoiseError::TimedOut)));
}

fn ciphers() -> (Sealer, Opener) {
    let (mut a, mut b) = (identity(1).build(true).unwrap(), identity(0).build(false).unwrap());
    let (mut wire, mut plain) = ([0; 256], [0; 256]);
    let len = a.write_message(&[], &mut wire).unwrap();
    b.read_message(&wire[..len], &mut plain).unwrap();
    let len = b.write_message(&[], &mut wire).unwrap();
    a.read_message(&wire[..len], &mut plain).unwrap();
    let seal = Sealer { cipher: Arc::new(a.into_stateless_transport_mode().unwrap()), nonce: 0 };
    let cipher = Arc::new(b.into_stateless_transport_mode().unwrap());
    (seal, Opener { cipher, nonce: 0, sealed: Vec::new() })
}

fn read_all_frames(open: &mut Opener, mut wire: &[u8]) -> (Vec<u8>, NoiseError) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut all, mut plain) = (Vec::new(), Vec::new());
        loop {
            match open.read(&mut wire, &mut plain).await {
                Ok(()) => all.extend_from_slice(&plain),
                Err(error) => return (all, error),
            }
        }
    })
}

proptest! {
    #[test]
    fn frames_come_back_and_a_changed_bit_ends_the_stream(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..6),
        flip in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let (mut seal, mut open) = ciphers();
        let mut wire = Vec::new();
        for part in &parts {
            seal.frame(part, &mut wire).unwrap();
        }
        let sent = parts.concat();
        let (read, end) = read_all_frames(&mut open, &wire);
        prop_assert_eq!(&read, &sent);
        prop_assert!(matches!(end, NoiseError::Io(_)), "the end of the stream");

        let at = flip.index(wire.len());
        wire[at] ^= 1 << bit;
        open.nonce = 0;
        let (read, _) = read_all_frames(&mut open, &wire);
        prop_assert!(sent.starts_with(&read) && read.len() <= at, "nothing after the change is taken");
    }

    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let (_, mut open) = ciphers();
        let (read, _) = read_all_frames(&mut open, &bytes);
        prop_assert_eq!(read, b"");
    }
}
