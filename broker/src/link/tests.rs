//! Two brokers' links over real sockets.

use super::*;
use crate::boot::Secret;
use flurm_wire::overlay::Ping;
use flurm_wire::{Address, ClientId, Dest};

const DEADLINE: Duration = Duration::from_secs(30);

struct End {
    links: Links,
    events: mpsc::Receiver<Event>,
    dir: tempfile::TempDir,
}

impl End {
    fn new(rank: u32, addresses: &[(u32, SocketAddr)]) -> End {
        let dir = tempfile::tempdir().unwrap();
        let (tell, events) = mpsc::channel(crate::event::EVENTS_MAX);
        let me = Identity {
            rank: Rank(rank),
            size: 4,
            instance_id: "here".into(),
            secret: Secret::from_bytes([7; Secret::LEN]),
        };
        let addresses = addresses.iter().map(|(rank, address)| (Rank(*rank), *address)).collect();
        End { links: Links::new(me, addresses, dir.path().to_owned(), tell), events, dir }
    }

    async fn next(&mut self) -> (Rank, Change) {
        loop {
            let event = tokio::time::timeout(DEADLINE, self.events.recv()).await.expect("an event in time");
            let Some(Event::Link(event)) = event else { panic!("{event:?}") };
            if let Some(change) = self.links.note(event) {
                return change;
            }
        }
    }

    async fn next_ping(&mut self) -> Ping {
        match self.next().await {
            (_, Change::Message(message)) => message.body().unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

fn ping(seq: u64, pad: &str) -> Message {
    let src = Address { rank: Rank(0), client: ClientId(0) };
    Message::request(src, Dest::Rank(Rank(1)), seq, &Ping { seq, pad: pad.to_owned() })
}

fn listener() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A parent that listens, a child that has called it.
async fn pair() -> (End, End) {
    let (listener, address) = listener();
    let (mut parent, mut child) = (End::new(0, &[]), End::new(1, &[(0, address)]));
    parent.links.accept(listener, 2).unwrap();
    child.links.dial(Rank(0));
    assert!(matches!(child.next().await, (Rank(0), Change::Up { again: false })));
    assert!(matches!(parent.next().await, (Rank(1), Change::Up { again: false })));
    (parent, child)
}

#[tokio::test]
async fn messages_of_all_sizes_pass_in_order_both_ways() {
    let (mut parent, mut child) = pair().await;
    let pads = [0, 10, 5_000, 3_000_000].map(|len| "abcd".repeat(len / 4));
    for (seq, pad) in (1..).zip(&pads) {
        parent.links.send(Rank(1), &ping(seq, pad)).unwrap();
        child.links.send(Rank(0), &ping(seq, pad)).unwrap();
    }
    for (seq, pad) in (1..).zip(&pads) {
        for end in [&mut parent, &mut child] {
            let got = end.next_ping().await;
            assert_eq!((got.seq, &got.pad), (seq, pad));
        }
    }
    for end in [&parent, &child] {
        assert_eq!(
            std::fs::read_dir(end.dir.path()).unwrap().count(),
            0,
            "no socket is left in the directory"
        );
    }
}

#[tokio::test]
async fn a_lost_parent_is_called_until_it_is_back() {
    let (listener, address) = listener();
    let mut child = End::new(1, &[(0, address)]);
    let again = listener.try_clone().unwrap();
    let mut parent = End::new(0, &[]);
    parent.links.accept(listener, 2).unwrap();
    child.links.dial(Rank(0));
    assert!(matches!(child.next().await.1, Change::Up { .. }));
    parent.next().await;

    // What was said before the end still arrives.
    parent.links.send(Rank(1), &ping(1, "last words")).unwrap();
    parent.links.finish().await;
    assert_eq!(child.next_ping().await.pad, "last words");
    assert!(matches!(child.next().await, (Rank(0), Change::Gone)));

    let mut parent = End::new(0, &[]);
    parent.links.accept(again, 2).unwrap();
    assert!(matches!(child.next().await.1, Change::Up { again: false }));
    assert!(matches!(parent.next().await, (Rank(1), Change::Up { .. })));
    child.links.send(Rank(0), &ping(2, "")).unwrap();
    assert_eq!(parent.next_ping().await.seq, 2);
}

#[tokio::test]
async fn a_rank_that_comes_twice_has_the_newer_link() {
    let (listener, address) = listener();
    let mut parent = End::new(0, &[]);
    parent.links.accept(listener, 2).unwrap();
    let (mut first, mut second) = (End::new(1, &[(0, address)]), End::new(1, &[(0, address)]));
    first.links.dial(Rank(0));
    assert!(matches!(parent.next().await, (Rank(1), Change::Up { again: false })));
    first.next().await;
    second.links.dial(Rank(0));
    assert!(matches!(parent.next().await, (Rank(1), Change::Up { again: true })));
    second.next().await;
    parent.links.send(Rank(1), &ping(1, "")).unwrap();
    assert_eq!(second.next_ping().await.seq, 1);
    first.links.close(Rank(0));
}

#[tokio::test]
async fn a_closed_link_stays_closed_and_is_told_to_the_peer_only() {
    let (mut parent, mut child) = pair().await;
    child.links.send(Rank(0), &ping(1, "goodbye")).unwrap();
    child.links.close(Rank(0));
    assert_eq!(parent.next_ping().await.pad, "goodbye");
    assert!(matches!(parent.next().await, (Rank(1), Change::Gone)));
    child.links.finish().await;
    assert!(!matches!(child.events.try_recv(), Ok(Event::Link(LinkEvent::Up { .. }))));
}

#[tokio::test]
async fn a_goodbye_arrives_however_much_is_said_at_that_moment() {
    for _ in 0..20 {
        let (mut parent, mut child) = pair().await;
        child.links.send(Rank(0), &ping(1, "goodbye")).unwrap();
        let leaving = tokio::spawn(child.links.finish());
        let mut heard = Vec::new();
        loop {
            parent.links.send(Rank(1), &ping(2, "stay")).unwrap();
            match parent.next().await {
                (_, Change::Message(message)) => heard.push(message.body::<Ping>().unwrap().pad),
                (_, Change::Gone) => break,
                (_, Change::Up { .. }) => panic!("it does not come back"),
            }
        }
        assert_eq!(heard, ["goodbye"]);
        leaving.await.unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_loses_its_link_and_not_our_memory() {
    let (mut parent, child) = pair().await;
    // Its loop takes no event, so its reader waits, then the sockets fill, then our queue.
    // Nothing that LZ4 could make smaller.
    let mut state = 1u64;
    let noise: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'#' + ((state >> 33) % 57) as u8)
    })
    .take(1_000_000)
    .collect();
    let sent = (0..200).take_while(|seq| parent.links.send(Rank(1), &ping(*seq, &noise)).is_ok()).count();
    assert!((1..200).contains(&sent), "{sent}");
    drop(child);
}

#[tokio::test]
async fn a_crowd_of_silent_strangers_does_not_keep_a_broker_out() {
    let (listener, address) = listener();
    let mut parent = End::new(0, &[]);
    parent.links.accept(listener, 2).unwrap();
    let mut crowd = Vec::new();
    for _ in 0..2 * half_open::HALF_OPEN_MIN {
        crowd.push(TcpStream::connect(address).await.unwrap());
    }
    let mut child = End::new(1, &[(0, address)]);
    child.links.dial(Rank(0));
    assert!(matches!(child.next().await.1, Change::Up { .. }));
    assert!(matches!(parent.next().await, (Rank(1), Change::Up { .. })));
}

#[test]
fn children_of_one_parent_call_at_different_times() {
    let pauses: std::collections::BTreeSet<_> =
        (0..100).map(|rank| spread(BACKOFF_MAX, Rank(rank)).as_millis() / 10).collect();
    assert!(pauses.len() > 45, "hundredths of a second: {pauses:?}");
    assert!(pauses.iter().all(|pause| (100..150).contains(pause)));
}

/// Prints a figure; proves nothing about time.
#[tokio::test]
async fn a_ping_comes_back() {
    const ROUNDS: u64 = 2_000;
    let (mut parent, mut child) = pair().await;
    let echo = tokio::spawn(async move {
        for _ in 0..ROUNDS {
            let (rank, Change::Message(message)) = child.next().await else { panic!("no message") };
            child.links.send(rank, &message).unwrap();
        }
        child
    });
    let mut times = Vec::new();
    for seq in 0..ROUNDS {
        let start = Instant::now();
        parent.links.send(Rank(1), &ping(seq, "")).unwrap();
        assert_eq!(parent.next_ping().await.seq, seq);
        times.push(start.elapsed());
    }
    times.sort();
    println!("there and back: median {:?}, p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
    echo.await.unwrap();
}
