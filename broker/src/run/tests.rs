//! Whole brokers, each with its own loop on its own thread, and real clients. There is no shell here: the program that
//! would be it is the test binary, which does not know the word.

use super::*;
use crate::boot::tests::boot;
use flurm_client::{Client, Uri};
use flurm_types::{Idset, RNode};
use flurm_wire::Dest;
use flurm_wire::fact::KvsOp;
use flurm_wire::kvs;
use flurm_wire::state::Shutdown;
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
            std::thread::spawn(move || broker(boot, Some(listener), None))
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
