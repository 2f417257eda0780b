//! One client at a time against the real socket.

use super::*;
use flurm_types::Rank;
use flurm_wire::overlay::Ping;
use flurm_wire::{Address, Dest};

const DEADLINE: Duration = Duration::from_secs(30);

struct Place {
    clients: Clients,
    events: mpsc::Receiver<Event>,
    dir: tempfile::TempDir,
}

impl Place {
    fn new(owner: u32) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let (tell, events) = mpsc::channel(crate::event::EVENTS_MAX);
        let clients = Clients::listen(&dir.path().join("local"), owner, ClientId(5), tell).unwrap();
        Place { clients, events, dir }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.dir.path().join("local")).await.unwrap()
    }

    async fn next(&mut self) -> LocalEvent {
        match tokio::time::timeout(DEADLINE, self.events.recv()).await.expect("an event in time") {
            Some(Event::Local(event)) => event,
            other => panic!("{other:?}"),
        }
    }

    async fn connected(&mut self) -> (UnixStream, ClientId) {
        let stream = self.connect().await;
        match self.next().await {
            LocalEvent::Up(id, outbox) => {
                self.clients.up(id, outbox);
                (stream, id)
            }
            other => panic!("{other:?}"),
        }
    }
}

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn ping(seq: u64, pad: &str) -> Message {
    let src = Address { rank: Rank(0), client: ClientId(0) };
    Message::request(src, Dest::Local, seq, &Ping { seq, pad: pad.to_owned() })
}

#[tokio::test]
async fn messages_pass_both_ways_and_the_end_is_noticed() {
    let mut place = Place::new(us());
    let mode = std::fs::metadata(place.dir.path().join("local")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (mut stream, id) = place.connected().await;
    assert_eq!(id, ClientId(5));

    let bytes: Vec<u8> = (0..600).flat_map(|seq| frame::encode_framed(&ping(seq, "x"))).collect();
    stream.write_all(&bytes).await.unwrap();
    let mut seen = 0;
    while seen < 600 {
        let LocalEvent::Messages(from, messages) = place.next().await else { panic!("no messages") };
        assert_eq!(from, id);
        for message in messages {
            assert_eq!(message.tag, seen);
            seen += 1;
        }
    }
    let answer = ping(1, &"y".repeat(100_000));
    place.clients.send(id, &answer).unwrap();
    let mut read = vec![0; frame::encode_framed(&answer).len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(read, frame::encode_framed(&answer));
    drop(stream);
    assert!(matches!(place.next().await, LocalEvent::Down(gone) if gone == id));
}

#[tokio::test]
async fn another_user_is_turned_away_before_he_is_read() {
    let place = Place::new(us() + 1);
    let mut stream = place.connect().await;
    let _ = stream.write_all(&frame::encode_framed(&ping(1, ""))).await;
    let mut read = Vec::new();
    // Closed, with or without a reset, since nobody read what we wrote.
    let _ = stream.read_to_end(&mut read).await;
    assert_eq!(read, b"");
    assert_eq!(place.events.len(), 0, "the loop has heard nothing");
}

#[tokio::test]
async fn a_frame_over_the_limit_or_unreadable_ends_the_connection() {
    let too_long = u32::try_from(frame::LEN_MAX + 1).unwrap().to_be_bytes().to_vec();
    let nonsense = [&3u32.to_be_bytes()[..], b"{{{"].concat();
    for bytes in [too_long, nonsense] {
        let mut place = Place::new(us());
        let (mut stream, id) = place.connected().await;
        stream.write_all(&bytes).await.unwrap();
        assert!(matches!(place.next().await, LocalEvent::Down(gone) if gone == id));
        assert!(place.clients.close(id));
        let mut read = Vec::new();
        let _ = stream.read_to_end(&mut read).await;
        assert_eq!(read, b"");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_at_the_limit() {
    let mut place = Place::new(us());
    let (stream, id) = place.connected().await;
    let big = ping(1, &"z".repeat(frame::LEN_MAX / 2));
    let sent = (0..100).take_while(|_| place.clients.send(id, &big).is_ok()).count();
    assert!((1..100).contains(&sent), "{sent}");
    assert!(!place.clients.is_live(id));
    assert!(place.clients.send(id, &big).is_ok(), "what is sent to a client that has gone is dropped");
    drop(stream);
}

#[tokio::test]
async fn a_message_that_nobody_would_read_is_not_sent_and_the_connection_stays() {
    let mut place = Place::new(us());
    let (mut stream, id) = place.connected().await;
    let long = ping(1, &"z".repeat(frame::LEN_MAX));
    assert!(matches!(place.clients.send(id, &long), Err(Unsent::TooLong { len }) if len > frame::LEN_MAX));
    let answer = frame::encode_framed(&ping(2, ""));
    place.clients.send(id, &ping(2, "")).unwrap();
    let mut read = vec![0; answer.len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(read, answer);
}
