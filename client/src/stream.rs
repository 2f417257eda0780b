//! Answers to one request, as they come.

use crate::{Client, ClientError};
use flurm_wire::follow::{Follow, Took};
use flurm_wire::job::Taken;
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
    /// Each answer is acknowledged when the next one is asked for.
    paced: bool,
    /// One has been handed out and not been acknowledged.
    owes: bool,
    topic: PhantomData<fn() -> T>,
}

impl<T: Topic> Responses<T> {
    pub(crate) fn new(
        client: Client,
        tag: u64,
        dest: Dest,
        answers: mpsc::UnboundedReceiver<Result<Message, ClientError>>,
    ) -> Responses<T> {
        Responses { client, tag, dest, answers, ended: false, paced: false, owes: false, topic: PhantomData }
    }

    /// The service has been told that answers will be acknowledged.
    pub(crate) fn paced(mut self) -> Responses<T> {
        self.paced = true;
        self
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
        if std::mem::take(&mut self.owes) {
            self.client.tell(self.dest, &Taken { tag: self.tag });
        }
        let Some(answer) = self.answers.recv().await else {
            self.ended = true;
            return Ok(None);
        };
        match answer {
            Ok(message) => {
                self.client.queued().taken(&message);
                self.ended = !message.more;
                self.owes = self.paced && message.more;
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

impl Responses<Follow> {
    /// So many bytes of the output that came are used: there may be more.
    pub fn took(&self, bytes: usize) {
        self.client.tell(self.dest, &Took { tag: self.tag, bytes });
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
