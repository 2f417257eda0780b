//! Against a fake broker at the other end of a socket pair.

use super::*;
use crate::{job, kvs};
use flurm_types::JobId;
use flurm_wire::job::{Await, SubmitFlags, Submitted};
use flurm_wire::overlay::{Ping, Pong};
use flurm_wire::{ErrorCode, WireError};
use std::time::Duration;

struct Broker {
    stream: UnixStream,
}

impl Broker {
    fn pair() -> (Client, Broker) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Client::over(ours), Broker { stream: theirs })
    }

    async fn read(&mut self) -> Option<Message> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).await.ok()?;
        let mut body = vec![0; frame::decode_len(head).unwrap()];
        self.stream.read_exact(&mut body).await.ok()?;
        Some(frame::decode(&body).unwrap())
    }

    async fn write(&mut self, message: &Message) {
        self.stream.write_all(&frame::encode_framed(message)).await.unwrap();
    }
}

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("within ten seconds")
}

fn ping(seq: u64) -> Ping {
    Ping { seq, pad: String::new() }
}

fn pong(seq: u64) -> Pong {
    Pong { seq, rank: Rank(0), host: "h".into(), pad: String::new(), time: flurm_types::Timestamp::ZERO }
}

#[tokio::test]
async fn answers_find_their_questions_in_any_order() {
    let (client, mut broker) = Broker::pair();
    let broker = tokio::spawn(async move {
        let first = broker.read().await.unwrap();
        let second = broker.read().await.unwrap();
        for request in [second, first] {
            let seq = request.body::<Ping>().unwrap().seq;
            broker.write(&request.respond(nobody(), &pong(seq), false)).await;
        }
        broker
    });
    let (a, b) = (ping(1), ping(2));
    let (one, two) =
        soon(async { tokio::join!(client.call(Dest::Local, &a), client.call(Dest::Local, &b)) }).await;
    assert_eq!((one.unwrap().seq, two.unwrap().seq), (1, 2));
    drop(broker.await.unwrap());
}

#[tokio::test]
async fn a_refusal_keeps_code_and_hint() {
    let (client, mut broker) = Broker::pair();
    tokio::spawn(async move {
        let request = broker.read().await.unwrap();
        let error = WireError::new(ErrorCode::NotFound, "no key `a`").hint("see `flurm kvs dir`");
        broker.write(&request.refuse(nobody(), error)).await;
        broker
    });
    let error = soon(kvs::readlink(&client, "primary", "a")).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NotFound));
    assert_eq!(error.hint().as_deref(), Some("see `flurm kvs dir`"));
    assert_eq!(error.kind(), crate::Kind::User);
}

#[tokio::test]
async fn a_lost_connection_ends_what_waits_and_what_comes() {
    let (client, broker) = Broker::pair();
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.call(Dest::Local, &ping(1)).await })
    };
    tokio::task::yield_now().await;
    drop(broker);
    assert!(matches!(soon(waiting).await.unwrap(), Err(ClientError::Lost)));
    assert!(matches!(soon(client.call(Dest::Local, &ping(2))).await, Err(ClientError::Lost)));
    assert!(soon(client.next_push()).await.is_none());
    assert!(client.is_lost());
}

#[tokio::test]
async fn a_stranger_at_the_other_end_is_an_error() {
    let (client, mut broker) = Broker::pair();
    broker.stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").await.unwrap();
    assert!(matches!(soon(client.call(Dest::Local, &ping(1))).await, Err(ClientError::Frame(_))));
}

#[tokio::test]
async fn a_dropped_stream_is_cancelled() {
    let (client, mut broker) = Broker::pair();
    let await_all = Await { ids: vec![JobId(1)], event: None };
    let stream = soon(client.stream(Dest::Leader, &await_all)).await.unwrap();
    let request = soon(broker.read()).await.unwrap();
    assert!(request.more);
    drop(stream);
    let cancel = soon(broker.read()).await.unwrap();
    assert_eq!((cancel.kind, cancel.tag), (Kind::Cancel, request.tag));
}

#[tokio::test]
async fn a_finished_stream_is_not_cancelled() {
    let (client, mut broker) = Broker::pair();
    let await_all = Await { ids: vec![JobId(1)], event: None };
    let mut stream = soon(client.stream(Dest::Leader, &await_all)).await.unwrap();
    let request = soon(broker.read()).await.unwrap();
    for more in [true, false] {
        broker.write(&request.respond(nobody(), &flurm_wire::job::Awaited { jobs: vec![] }, more)).await;
    }
    assert!(soon(stream.next()).await.unwrap().is_some());
    assert!(soon(stream.next()).await.unwrap().is_some());
    assert!(soon(stream.next()).await.unwrap().is_none());
    drop(stream);
    drop(client);
    assert!(soon(broker.read()).await.is_none());
}

#[tokio::test]
async fn pushes_come_in_order() {
    let (client, mut broker) = Broker::pair();
    for tag in 0..3 {
        broker
            .write(&Message::request(nobody(), Dest::Client(nobody()), tag, &flurm_wire::shell::Quit {}))
            .await;
    }
    for tag in 0..3 {
        let push = soon(client.next_push()).await.unwrap();
        assert_eq!((push.tag, &*push.topic), (tag, "shell.quit"));
    }
}

#[tokio::test]
async fn many_jobs_travel_in_few_messages_and_share_environments() {
    let (client, mut broker) = Broker::pair();
    let answering = tokio::spawn(async move {
        let mut sizes = Vec::new();
        let mut next = 1;
        while let Some(request) = broker.read().await {
            let submit = request.body::<flurm_wire::job::Submit>().unwrap();
            assert_eq!(submit.environments.len(), 1);
            assert!(submit.jobs.iter().all(|j| j.environment == Some(0)));
            sizes.push(submit.jobs.len());
            let jobs = (next..).take(submit.jobs.len()).map(|n| Ok(JobId(n))).collect();
            next += submit.jobs.len() as u64;
            broker.write(&request.respond(nobody(), &Submitted { jobs }, false)).await;
        }
        sizes
    });
    let environment = Arc::new([("A".to_owned(), Some("b".to_owned()))].into());
    let jobs = (0..600).map(|_| job::NewJob {
        jobspec: serde_json::value::RawValue::from_string("{}".into()).unwrap(),
        environment: Arc::clone(&environment),
        urgency: 16,
        flags: SubmitFlags::default(),
    });
    let mut firsts = Vec::new();
    let ids = soon(job::submit_many(&client, jobs, |batch| {
        firsts.push(batch.first);
        Ok::<(), ClientError>(())
    }))
    .await
    .unwrap();
    drop(client);
    assert_eq!(firsts, [0, 256, 512]);
    assert_eq!(soon(answering).await.unwrap(), [256, 256, 88]);
    assert_eq!(ids.len(), 600);
    assert!(ids.iter().enumerate().all(|(i, id)| *id == Ok(JobId(i as u64 + 1))));
}

#[tokio::test]
async fn a_message_stays_below_its_bytes() {
    let (client, mut broker) = Broker::pair();
    let answering = tokio::spawn(async move {
        let mut sizes = Vec::new();
        while let Some(request) = broker.read().await {
            let submit = request.body::<flurm_wire::job::Submit>().unwrap();
            sizes.push(submit.jobs.len());
            let jobs = submit.jobs.iter().map(|_| Ok(JobId(1))).collect();
            broker.write(&request.respond(nobody(), &Submitted { jobs }, false)).await;
        }
        sizes
    });
    let large = format!("\"{}\"", "x".repeat(job::BATCH_BYTES_MAX / 2));
    let jobs = (0..3).map(|_| job::NewJob {
        jobspec: serde_json::value::RawValue::from_string(large.clone()).unwrap(),
        environment: Arc::default(),
        urgency: 16,
        flags: SubmitFlags::default(),
    });
    soon(job::submit_many(&client, jobs, |_| Ok::<(), ClientError>(()))).await.unwrap();
    drop(client);
    assert_eq!(soon(answering).await.unwrap(), [1, 1, 1]);
}

#[test]
fn submit_ids_differ() {
    let ids: std::collections::BTreeSet<_> = (0..100).map(|_| job::submit_id()).collect();
    assert_eq!(ids.len(), 100);
}
