//! The envelope: addressing, matching of responses to requests, errors.
//!
//! Routing is by rank, not by a recorded path: a response finds its way back through whatever tree there is
//! at that moment, so children may re-parent while a request is out.

use flurm_types::Rank;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A client connection of one broker. 0 is the broker's own mind; numbers are never reused by a broker.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub u64);

/// Who asked. The broker that takes a message from a client fills this in; what a client says is ignored.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
pub struct Address {
    pub rank: Rank,
    pub client: ClientId,
}

/// Where a message wants to go.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dest {
    /// The broker the client is connected to.
    Local,
    /// Whoever leads now.
    Leader,
    /// That broker (a service registered there answers).
    Rank(Rank),
    /// That very client of that broker: responses and pushes to a shell.
    Client(Address),
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Request,
    Response,
    /// The asker no longer wants responses to its request `tag`.
    Cancel,
}

/// Kinds of failure a service answers with; `as_exit`-style mapping is the CLI's matter.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The request is malformed or asks for what cannot be.
    Invalid,
    /// No such job, key, rank, queue, attribute.
    NotFound,
    Exists,
    /// What the request was to change is not as it was said to be any more.
    Changed,
    /// Not the owner.
    Denied,
    /// Nobody serves this topic.
    NoService,
    /// The addressed broker is not reachable now.
    Unreachable,
    /// Not now: not the leader, shutting down, queue disabled, a limit reached.
    Unavailable,
    TimedOut,
    /// A limit on size or count.
    TooBig,
    Internal,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct WireError {
    pub code: ErrorCode,
    /// A lowercase fragment, without `error:`.
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl WireError {
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        WireError { code, text: text.into(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for WireError {}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    pub v: u8,
    pub kind: Kind,
    pub topic: Cow<'static, str>,
    pub src: Address,
    pub dst: Dest,
    /// Chosen by the asker, unique among its open requests; a response repeats it.
    pub tag: u64,
    /// On a response: another one follows. On a request: the asker takes several responses.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<WireError>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
}

/// A topic with its types: `T::NAME` is answered by zero or more `T::Response`, the last one not `more`.
pub trait Topic: Serialize + DeserializeOwned {
    const NAME: &'static str;
    /// More than one response may come.
    const STREAM: bool = false;
    type Response: Serialize + DeserializeOwned;
}

impl Message {
    /// A request of `body`'s topic.
    pub fn request<T: Topic>(src: Address, dst: Dest, tag: u64, body: &T) -> Message {
        Message {
            v: crate::VERSION,
            kind: Kind::Request,
            topic: Cow::Borrowed(T::NAME),
            src,
            dst,
            tag,
            more: T::STREAM,
            error: None,
            payload: Some(raw(body)),
        }
    }

    /// An answer to `self`; `more` says that another will follow.
    pub fn respond<B: Serialize>(&self, me: Address, body: &B, more: bool) -> Message {
        Message { more, payload: Some(raw(body)), ..self.response_to(me) }
    }

    /// A refusal of `self`; always the last answer.
    pub fn refuse(&self, me: Address, error: WireError) -> Message {
        Message { error: Some(error), ..self.response_to(me) }
    }

    fn response_to(&self, me: Address) -> Message {
        Message {
            v: crate::VERSION,
            kind: Kind::Response,
            topic: self.topic.clone(),
            src: me,
            dst: Dest::Client(self.src),
            tag: self.tag,
            more: false,
            error: None,
            payload: None,
        }
    }

    /// The payload as its type.
    ///
    /// # Errors
    /// `Invalid` with the JSON reader's reason, or when there is no payload.
    pub fn body<B: DeserializeOwned>(&self) -> Result<B, WireError> {
        let text = self.payload.as_ref().map_or("null", |raw| raw.get());
        serde_json::from_str(text)
            .map_err(|e| WireError::new(ErrorCode::Invalid, format!("read payload of {}: {e}", self.topic)))
    }
}

fn raw<B: Serialize>(body: &B) -> Box<RawValue> {
    serde_json::value::to_raw_value(body).expect("payload types have string keys and no failing serializers")
}
