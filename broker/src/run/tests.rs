//! Whole brokers, each with its own loop on its own thread, and real clients. There is no shell here: the program that
//! would be it is the test binary, which does not know the word.

use super::*;
use crate::boot::tests::boot;
use flurm_client::{Client, Uri};
use flurm_types::{Idset, RNode};
use flurm_wire::Dest;
use flurm_wire::fact::KvsOp;
use flurm_wire::kvs;
use flurm_wire::overlay::Ping;
use flurm_wire::state::{BrokerState, Shutdown, Wait};
use std::path::Path;
use std::time::Instant;

const DEADLINE: Duration = Duration::from_secs(60);

fn resources(size: u32) -> R {
    let node = |rank| RNode {
        rank,
        host: format!("node{rank}"),
        cores: (0..4).collect::<Idset>(),
        gpus: Idset::default(),
    };
    R::from_nodes((0..size).map(node))
}

/// Brokers of one instance below `dir`; their threads give the exit codes.
fn start(dir: &Path, size: u32) -> Vec<std::thread::JoinHandle<i32>> {
    let mut listeners: Vec<TcpListener> =
        (0..size).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: BTreeMap<Rank, _> =
        (0..).map(Rank).zip(listeners.iter().map(|l| l.local_addr().unwrap())).collect();
    (0..size)
        .map(|rank| {
            let rundir = dir.join(rank.to_string());
            std::fs::create_dir_all(&rundir).unwrap();
            let mut boot = boot(&rundir, rank, size);
            boot.peers = addresses.clone();
            boot.resources = Some(resources(size));
            boot.statedir = Some(dir.join("state"));
            let listener = listeners.remove(0);
            std::thread::spawn(move || broker(boot, Some(listener), None, None))
        })
        .collect()
}

async fn client(dir: &Path, rank: u32) -> Client {
    let uri = Uri::from_path(dir.join(rank.to_string()).join("local"));
    let end = Instant::now() + DEADLINE;
    loop {
        match Client::connect(&uri).await {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

async fn stop(client: &Client) {
    client.call(Dest::Leader, &Shutdown {}).await.unwrap();
}

async fn put(client: &Client, key: &str) -> u64 {
    let op = KvsOp::Put { key: key.into(), value: key.into() };
    let commit = kvs::Commit { namespace: "primary".into(), ops: vec![op] };
    client.call(Dest::Leader, &commit).await.unwrap().version
}

async fn get(client: &Client, key: &str) -> Option<String> {
    let get = kvs::Get { namespace: "primary".into(), key: key.into(), waitcreate: false, watch: false };
    match client.call(Dest::Leader, &get).await {
        Ok(got) => match got.node {
            Some(kvs::Node::Value(value)) => value.as_str().map(str::to_owned),
            other => panic!("{other:?}"),
        },
        Err(error) => {
            eprintln!("{error}");
            None
        }
    }
}

#[tokio::test]
async fn what_was_answered_is_there_in_the_next_life() {
    let dir = tempfile::tempdir().unwrap();
    for life in 0..2 {
        let brokers = start(dir.path(), 1);
        let client = client(dir.path(), 0).await;
        if life == 0 {
            put(&client, "a.b").await;
        }
        assert_eq!(get(&client, "a.b").await.as_deref(), Some("a.b"));
        stop(&client).await;
        for broker in brokers {
            assert_eq!(broker.join().unwrap(), 0);
        }
        assert!(!dir.path().join("0").exists(), "the run directory is gone");
    }
}

#[tokio::test]
async fn brokers_find_each_other_and_leave_together() {
    let dir = tempfile::tempdir().unwrap();
    let brokers = start(dir.path(), 4);
    let wait = Wait { state: BrokerState::Run };
    let root = client(dir.path(), 0).await;
    tokio::time::timeout(DEADLINE, root.call(Dest::Leader, &wait)).await.unwrap().unwrap();
    let leaf = client(dir.path(), 3).await;
    // Up to the root and down to another leaf.
    for seq in 0..100 {
        let pong = leaf.call(Dest::Rank(Rank(2)), &Ping { seq, pad: "x".repeat(100) }).await.unwrap();
        assert_eq!((pong.seq, pong.rank), (seq, Rank(2)));
    }
    put(&leaf, "from.leaf").await;
    stop(&client(dir.path(), 1).await).await;
    for broker in brokers {
        assert_eq!(broker.join().unwrap(), 0);
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["state"], "nothing but the log is left");
}

#[tokio::test]
async fn many_requests_need_few_commits() {
    let dir = tempfile::tempdir().unwrap();
    let brokers = start(dir.path(), 1);
    let client = client(dir.path(), 0).await;
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..2_000 {
        let client = client.clone();
        asked.spawn(async move { put(&client, &format!("key.{n}")).await });
    }
    let versions = asked.join_all().await;
    let different = versions.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(different, 2_000, "each commit has its own version");
    stop(&client).await;
    brokers.into_iter().for_each(|broker| assert_eq!(broker.join().unwrap(), 0));

    let mut log = Log::open(&dir.path().join("state")).unwrap();
    let mut records = 0;
    while let LogEvent::Replayed(some) = log.next().await {
        records += some.len();
    }
    assert!(records < 500, "{records} records for 2,000 requests");
}

#[test]
fn a_second_leader_on_the_same_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _held = Log::open(&dir.path().join("state")).unwrap();
    for broker in start(dir.path(), 1) {
        assert_eq!(broker.join().unwrap(), 1);
    }
    assert!(!dir.path().join("0").exists(), "it leaves nothing behind");
}

#[tokio::test]
async fn a_second_broker_in_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let brokers = start(dir.path(), 1);
    let client = client(dir.path(), 0).await;
    put(&client, "first").await;
    for second in start(dir.path(), 1) {
        assert_eq!(second.join().unwrap(), 1);
    }
    put(&client, "still.there").await;
    stop(&client).await;
    brokers.into_iter().for_each(|broker| assert_eq!(broker.join().unwrap(), 0));
}
