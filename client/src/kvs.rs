//! The key-value store: reads that follow links, commits of several operations.

use crate::{Client, ClientError, Responses};
use flurm_wire::fact::KvsOp;
use flurm_wire::kvs::{Commit, Get, Got, Readlink, Version};
use flurm_wire::{Dest, ErrorCode, WireError};

/// What is at `key` now.
///
/// # Errors
/// No such key, or the connection is lost.
pub async fn get(client: &Client, namespace: &str, key: &str) -> Result<Got, ClientError> {
    let get = Get { namespace: namespace.to_owned(), key: key.to_owned(), waitcreate: false, watch: false };
    let mut answers = client.stream(Dest::Leader, &get).await?;
    answers.next().await?.ok_or_else(|| {
        WireError::new(ErrorCode::Internal, format!("the store ended without an answer for `{key}`")).into()
    })
}

/// What is at `key`, and again after each change.
///
/// # Errors
/// The connection is lost. A refusal arrives as the stream's item.
pub async fn watch(
    client: &Client,
    namespace: &str,
    key: &str,
    waitcreate: bool,
) -> Result<Responses<Get>, ClientError> {
    let get = Get { namespace: namespace.to_owned(), key: key.to_owned(), waitcreate, watch: true };
    client.stream(Dest::Leader, &get).await
}

/// All operations or none; returns when they are durable, with the new version.
///
/// # Errors
/// The store refuses (read-only key, too large), or the connection is lost.
pub async fn commit(client: &Client, namespace: &str, ops: Vec<KvsOp>) -> Result<u64, ClientError> {
    let commit = Commit { namespace: namespace.to_owned(), ops };
    Ok(client.call(Dest::Leader, &commit).await?.version)
}

/// # Errors
/// No such key, not a link, or the connection is lost.
pub async fn readlink(client: &Client, namespace: &str, key: &str) -> Result<String, ClientError> {
    let readlink = Readlink { namespace: namespace.to_owned(), key: key.to_owned() };
    Ok(client.call(Dest::Leader, &readlink).await?.target)
}

/// The namespace's version, once it is `at_least` so high.
///
/// # Errors
/// No such namespace, or the connection is lost.
pub async fn version(client: &Client, namespace: &str, at_least: u64) -> Result<u64, ClientError> {
    let version = Version { namespace: namespace.to_owned(), at_least };
    Ok(client.call(Dest::Leader, &version).await?.version)
}
