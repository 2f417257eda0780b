//! A message as bytes: a 32-bit big-endian length, then the envelope as JSON.
//!
//! Broker links carry the JSON as one ZeroMQ frame and need no length; the local socket needs it.

use crate::Message;

/// Nothing larger is read or written; a reader refuses the length before it allocates.
pub const LEN_MAX: usize = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("read a frame of {len} bytes: the limit is {LEN_MAX}")]
    TooLong { len: usize },
    #[error("read a message")]
    Json(#[from] serde_json::Error),
    #[error("read a message of version {0}: this is version {ours}", ours = crate::VERSION)]
    Version(u8),
}

/// The envelope as JSON, without a length.
pub fn encode(message: &Message) -> Vec<u8> {
    serde_json::to_vec(message).expect("an envelope has string keys and raw payloads")
}

/// The envelope from JSON.
///
/// # Errors
/// Too long, not an envelope, or another version.
pub fn decode(bytes: &[u8]) -> Result<Message, FrameError> {
    if bytes.len() > LEN_MAX {
        return Err(FrameError::TooLong { len: bytes.len() });
    }
    let message: Message = serde_json::from_slice(bytes)?;
    if message.v != crate::VERSION {
        return Err(FrameError::Version(message.v));
    }
    Ok(message)
}

/// Length and envelope in one buffer, ready for a stream socket.
pub fn encode_framed(message: &Message) -> Vec<u8> {
    let mut out = vec![0; 4];
    serde_json::to_writer(&mut out, message).expect("an envelope has string keys and raw payloads");
    let len = u32::try_from(out.len() - 4).expect("LEN_MAX is far below 4 GiB");
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}

/// The length in a frame's first four bytes.
///
/// # Errors
/// When it is over [`LEN_MAX`].
pub fn decode_len(head: [u8; 4]) -> Result<usize, FrameError> {
    let len = u32::from_be_bytes(head) as usize;
    if len > LEN_MAX { Err(FrameError::TooLong { len }) } else { Ok(len) }
}
