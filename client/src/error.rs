//! What can go wrong between a client and its instance, sorted by who can do something about it.

use flurm_wire::{ErrorCode, WireError};

/// Sets exit code and tone.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The request asks for what cannot be.
    User,
    /// Where to connect is not known, or is said wrongly.
    Config,
    /// Nobody answers.
    Unreachable,
    /// Ours to repair.
    Internal,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The service's own words.
    #[error("{0}")]
    Refused(#[from] WireError),
    #[error("find an instance: neither FLURM_URI nor FLUX_URI is set")]
    NoInstance,
    #[error("use `{uri}`: {rule}")]
    Uri { uri: String, rule: &'static str },
    #[error("connect to {uri}: {source}")]
    Connect { uri: String, source: std::io::Error },
    #[error("reach the broker: it closed the connection")]
    Lost,
    #[error("read from the broker: {0}")]
    Frame(String),
    #[error("send a message of {len} bytes: the limit is {max}")]
    TooLong { len: usize, max: usize },
    #[error("make a runtime: {0}")]
    Runtime(std::io::Error),
}

impl ClientError {
    pub fn kind(&self) -> Kind {
        match self {
            ClientError::Refused(e) => match e.code {
                ErrorCode::Invalid
                | ErrorCode::NotFound
                | ErrorCode::Exists
                | ErrorCode::Changed
                | ErrorCode::Denied
                | ErrorCode::TimedOut
                | ErrorCode::TooBig
                | ErrorCode::Unavailable => Kind::User,
                ErrorCode::Unreachable => Kind::Unreachable,
                ErrorCode::NoService | ErrorCode::Internal => Kind::Internal,
            },
            ClientError::NoInstance | ClientError::Uri { .. } => Kind::Config,
            ClientError::Connect { .. } | ClientError::Lost => Kind::Unreachable,
            ClientError::TooLong { .. } => Kind::User,
            ClientError::Frame(_) | ClientError::Runtime(_) => Kind::Internal,
        }
    }

    /// The way out, when we know one.
    pub fn hint(&self) -> Option<String> {
        match self {
            ClientError::Refused(e) => e.hint.clone(),
            ClientError::NoInstance => Some("start one with `flurm start`, or set FLURM_URI".into()),
            ClientError::Uri { .. } => Some("a URI looks like local:///tmp/flurm-1000-abc/0/local".into()),
            ClientError::Connect { source, .. } => Some(match source.kind() {
                std::io::ErrorKind::PermissionDenied => "only the owner of an instance may talk to it".into(),
                _ => "the instance has ended, or FLURM_URI is from another node".into(),
            }),
            ClientError::Lost => Some("the instance is ending, or its broker was killed".into()),
            ClientError::Frame(_) => Some("is FLURM_URI the address of another program?".into()),
            ClientError::TooLong { .. } | ClientError::Runtime(_) => None,
        }
    }

    /// The service's code, when a service answered.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Refused(e) => Some(e.code),
            _ => None,
        }
    }
}
