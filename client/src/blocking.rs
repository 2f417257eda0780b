//! The same client for callers without a runtime: each call blocks its thread.

use crate::uri::Level;
use crate::{ClientError, Responses, Uri, connection, uri};
use flurm_wire::{Dest, Topic};
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// A connection with a runtime of its own on the calling thread.
#[derive(Clone, Debug)]
pub struct Client {
    runtime: Arc<Runtime>,
    inner: connection::Client,
}

impl Client {
    /// # Errors
    /// Nobody listens there, or we may not connect.
    pub fn connect(uri: &Uri) -> Result<Client, ClientError> {
        let runtime = runtime()?;
        let inner = runtime.block_on(connection::Client::connect(uri))?;
        Ok(Client { runtime: runtime.into(), inner })
    }

    /// # Errors
    /// As [`uri::connect`].
    pub fn connect_level(from: &Uri, level: Level) -> Result<Client, ClientError> {
        let runtime = runtime()?;
        let inner = runtime.block_on(uri::connect(from, level))?;
        Ok(Client { runtime: runtime.into(), inner })
    }

    /// # Errors
    /// The service refuses, or the connection is lost.
    pub fn call<T: Topic>(&self, dest: Dest, body: &T) -> Result<T::Response, ClientError> {
        self.runtime.block_on(self.inner.call(dest, body))
    }

    /// # Errors
    /// The connection is lost.
    pub fn stream<T: Topic>(&self, dest: Dest, body: &T) -> Result<Answers<T>, ClientError> {
        let responses = self.runtime.block_on(self.inner.stream(dest, body))?;
        Ok(Answers { runtime: self.runtime.clone(), responses })
    }

    /// Run any of this crate's async functions over this connection.
    pub fn run<F: Future>(&self, work: impl FnOnce(connection::Client) -> F) -> F::Output {
        self.runtime.block_on(work(self.inner.clone()))
    }
}

fn runtime() -> Result<Runtime, ClientError> {
    Builder::new_current_thread().enable_all().build().map_err(ClientError::Runtime)
}

/// Answers of a stream, one after the other.
#[derive(Debug)]
pub struct Answers<T: Topic> {
    runtime: Arc<Runtime>,
    responses: Responses<T>,
}

impl<T: Topic> Iterator for Answers<T> {
    type Item = Result<T::Response, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.block_on(self.responses.next()).transpose()
    }
}

impl Answers<flurm_wire::follow::Follow> {
    /// As [`Responses::took`].
    pub fn took(&self, bytes: usize) {
        let _entered = self.runtime.enter();
        self.responses.took(bytes);
    }
}
