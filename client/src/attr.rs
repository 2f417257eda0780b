//! Attributes of the broker we are connected to.

use crate::{Client, ClientError};
use flurm_wire::{Dest, attr};
use std::collections::BTreeMap;

/// # Errors
/// No such attribute, or the connection is lost.
pub async fn get(client: &Client, name: &str) -> Result<String, ClientError> {
    Ok(client.call(Dest::Local, &attr::Get { name: name.to_owned() }).await?.value)
}

/// # Errors
/// The attribute cannot be set, or the connection is lost.
pub async fn set(client: &Client, name: &str, value: &str, force: bool) -> Result<(), ClientError> {
    let set = attr::Set { name: name.to_owned(), value: value.to_owned(), force };
    client.call(Dest::Local, &set).await?;
    Ok(())
}

/// # Errors
/// The connection is lost.
pub async fn list(client: &Client) -> Result<BTreeMap<String, String>, ClientError> {
    Ok(client.call(Dest::Local, &attr::List {}).await?.attributes)
}
