//! What was answered is kept, in order, whatever happens to the process or the file's end.

use super::*;
use flurm_wire::fact::{KvsFact, KvsOp};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

fn facts(n: u64) -> Vec<Fact> {
    let op = KvsOp::Put { key: format!("key.{n}"), value: "x".repeat(300).into() };
    vec![Fact::Kvs(KvsFact { namespace: "primary".into(), ops: vec![op] })]
}

async fn opened(log: &mut Log) -> (Vec<Record>, u64) {
    let mut old = Vec::new();
    loop {
        match log.next().await {
            LogEvent::Replayed(records) => old.extend(records),
            LogEvent::Opened { term } => return (old, term),
            other => panic!("{other:?}"),
        }
    }
}

async fn committed(log: &mut Log, count: usize) -> Vec<Record> {
    let mut all = Vec::new();
    while all.len() < count {
        match log.next().await {
            LogEvent::Committed(records) => all.extend(records),
            other => panic!("{other:?}"),
        }
    }
    all
}

fn assert_numbered(records: &[Record], count: u64) {
    assert_eq!(records.len() as u64, count);
    for (record, n) in records.iter().zip(1..) {
        assert_eq!((record.index, &record.facts), (n, &facts(n)));
    }
}

fn file(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("log.redb")
}

#[tokio::test]
async fn records_come_back_in_the_order_of_proposing_and_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path()).unwrap();
    assert_eq!(opened(&mut log).await.1, 1);
    assert_eq!(std::fs::metadata(file(&dir)).unwrap().permissions().mode() & 0o777, 0o600);
    for n in 1..=1000 {
        log.propose(facts(n));
    }
    assert!(log.is_behind());
    assert_numbered(&committed(&mut log, 1000).await, 1000);
    assert!(!log.is_behind());
    drop(log);

    let mut log = Log::open(dir.path()).unwrap();
    let (old, term) = opened(&mut log).await;
    assert_numbered(&old, 1000);
    assert_eq!(term, 2);
    log.propose(facts(1001));
    assert_eq!(committed(&mut log, 1).await[0].index, 1001);
}

#[tokio::test]
async fn what_was_proposed_is_written_even_if_nobody_waits_for_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path()).unwrap();
    opened(&mut log).await;
    for n in 1..=100 {
        log.propose(facts(n));
    }
    drop(log);
    let mut log = Log::open(dir.path()).unwrap();
    assert_numbered(&opened(&mut log).await.0, 100);
}

#[tokio::test]
async fn what_a_killed_process_leaves_has_all_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path()).unwrap();
    opened(&mut log).await;
    for n in 1..=50 {
        log.propose(facts(n));
    }
    committed(&mut log, 50).await;
    // The file as it is while it is open: never closed, and perhaps with half a transaction more.
    log.propose(facts(51));
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(file(&dir), file(&copy)).unwrap();
    let mut log = Log::open(copy.path()).unwrap();
    let (old, _) = opened(&mut log).await;
    assert_numbered(&old, old.len() as u64);
    assert!(old.len() >= 50, "{}", old.len());
}

#[tokio::test]
async fn what_cannot_be_used_is_named() {
    let failed = |dir: PathBuf| async move {
        let mut log = Log::open(&dir).unwrap();
        match log.next().await {
            LogEvent::Failed(error) => error,
            other => panic!("{other:?}"),
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path()).unwrap();
    opened(&mut log).await;
    let error = failed(dir.path().to_owned()).await;
    assert!(matches!(error, LogError::Locked { .. }), "{error}");
    log.propose(facts(1));
    committed(&mut log, 1).await;
    drop(log);

    // Not a log at all.
    let other = tempfile::tempdir().unwrap();
    std::fs::write(file(&other), "this is a shopping list, and a rather long one at that".repeat(100))
        .unwrap();
    let error = failed(other.path().to_owned()).await;
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");

    // Cut in the middle.
    let len = std::fs::metadata(file(&dir)).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(file(&dir)).unwrap().set_len(len / 2).unwrap();
    let error = failed(dir.path().to_owned()).await;
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");

    let error = failed("/proc/no/such/place".into()).await;
    assert!(matches!(error, LogError::Open { .. }), "{error}");
}
