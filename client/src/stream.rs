//! Answers to one request, as they come.

use crate::{Client, ClientError};
use flurm_wire::{Dest, Message, Topic};
use std::marker::PhantomData;
use tokio::sync::mpsc;

/// Dropping it tells the service that nobody listens any more.
#[derive(Debug)]
pub struct Responses<T: Topic> {
    client: Client,
    tag: u64,
    dest: Dest,
    answers: mpsc::UnboundedReceiver<Result<Message, ClientError>>,
    ended: bool,
    topic: PhantomData<fn() -> T>,
}

impl<T: Topic> Responses<T> {
    pub(crate) fn new(
        client: Client,
        tag: u64,
        dest: Dest,
        answers: mpsc::UnboundedReceiver<Result<Message, ClientError>>,
    ) -> Responses<T> {
        Responses { client, tag, dest, answers, ended: false, topic: PhantomData }
    }

    /// Names this request towards its service (`rexec.control`).
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// The next answer; none after the last one. Safe to use in `select!`.
    ///
    /// # Errors
    /// The service refuses, or the connection is lost; nothing follows.
    pub async fn next(&mut self) -> Result<Option<T::Response>, ClientError> {
        if self.ended {
            return Ok(None);
        }
        let Some(answer) = self.answers.recv().await else {
            self.ended = true;
            return Ok(None);
        };
        match answer {
            Ok(message) => {
                self.client.queued().taken(&message);
                self.ended = !message.more;
                // A stream may end with an answer that carries nothing.
                if self.ended && message.payload.is_none() {
                    return Ok(None);
                }
                Ok(Some(message.body()?))
            }
            Err(error) => {
                self.ended = true;
                Err(error)
            }
        }
    }
}

impl<T: Topic> Drop for Responses<T> {
    fn drop(&mut self) {
        self.answers.close();
        while let Ok(answer) = self.answers.try_recv() {
            if let Ok(message) = answer {
                self.client.queued().taken(&message);
            }
        }
        self.client.cancel(self.tag, T::NAME, self.dest);
    }
}
