//! Connect to a broker, call, follow streams, take pushes. The only way in for everybody who is not a broker.
//!
//! [`Client`] is one connection on a tokio runtime of the caller; [`blocking::Client`] brings its own. What to
//! ask lives in `wire`; modules named after services ([`job`], [`kvs`], [`attr`]) hold the questions that need
//! more than one message, and [`files`] what is kept in the store as archives. Reconnecting is the caller's matter: only it knows what may be asked twice.

pub mod attr;
pub mod blocking;
mod connection;
mod error;
pub mod files;
pub mod job;
pub mod kvs;
mod stream;
pub mod uri;

pub use connection::{Asked, Client, PUSHES_MAX, QUEUED_BYTES_MAX, REQUESTS_MAX};
pub use error::{ClientError, Kind};
pub use stream::Responses;
pub use uri::Uri;
