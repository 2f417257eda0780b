//! What the instance around this one says: asked once, before there is a loop, by a broker whose launcher has not said it.

use flurm_types::{JobId, R, Rank};
use flurm_wire::frame::{self, FrameError};
use flurm_wire::{Address, ClientId, Dest, Kind, Message, Topic, WireError, attr, job};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// It is on this node and may be busy, but not for long.
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Its level, not ours.
    pub level: u32,
    /// What our job was given.
    pub r: Option<R>,
}

#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    #[error("an address looks like local:///PATH")]
    Uri,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Refused(#[from] WireError),
    #[error("its {what} cannot be read")]
    Text { what: &'static str },
}

/// Asks the instance at `uri` for its level, and for what it has given to `job`.
///
/// # Errors
/// It cannot be reached, or does not know.
pub fn ask(uri: &str, job: Option<JobId>) -> Result<Told, ParentError> {
    let mut stream = connect(uri)?;
    let level = attr::Get { name: "instance-level".into() };
    let level = call(&mut stream, Dest::Local, 1, &level)?.value;
    let level = level.parse().map_err(|_| ParentError::Text { what: "level" })?;
    let r = match job {
        Some(id) => {
            let lookup = job::Lookup { id, keys: vec!["R".into()] };
            let text = call(&mut stream, Dest::Leader, 2, &lookup)?.values.pop().unwrap_or_default();
            Some(R::parse(&text).map_err(|_| ParentError::Text { what: "R" })?)
        }
        None => None,
    };
    Ok(Told { level, r })
}

/// A connection for [`call`], which waits for an answer as long as `ANSWER_MAX`.
pub(super) fn connect(uri: &str) -> Result<UnixStream, ParentError> {
    let path = uri.strip_prefix("local://").filter(|path| path.starts_with('/'));
    let stream = UnixStream::connect(path.ok_or(ParentError::Uri)?)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    Ok(stream)
}

pub(super) fn call<T: Topic>(
    stream: &mut UnixStream,
    dest: Dest,
    tag: u64,
    body: &T,
) -> Result<T::Response, ParentError> {
    send(stream, dest, tag, body)?;
    Ok(receive::<T>(stream, tag)?.0)
}

pub(super) fn send<T: Topic>(
    stream: &mut UnixStream,
    dest: Dest,
    tag: u64,
    body: &T,
) -> Result<(), ParentError> {
    // Who we are is known by the connection.
    let nobody = Address { rank: Rank(0), client: ClientId(0) };
    stream.write_all(&frame::encode_framed(&Message::request(nobody, dest, tag, body)))?;
    Ok(())
}

/// The next answer to the request with this tag, and whether others follow.
pub(super) fn receive<T: Topic>(
    stream: &mut UnixStream,
    tag: u64,
) -> Result<(T::Response, bool), ParentError> {
    loop {
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        let mut bytes = vec![0; frame::decode_len(head)?];
        stream.read_exact(&mut bytes)?;
        let answer = frame::decode(&bytes)?;
        if answer.kind == Kind::Response && answer.tag == tag {
            return Ok(match answer.error {
                Some(error) => return Err(error.into()),
                None => (answer.body()?, answer.more),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::{Idset, RNode};
    use flurm_wire::ErrorCode;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    /// An instance that answers one connection, request by request.
    fn instance(path: &Path, answers: Vec<Result<serde_json::Value, WireError>>) -> String {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                let mut head = [0; 4];
                stream.read_exact(&mut head).unwrap();
                let mut bytes = vec![0; frame::decode_len(head).unwrap()];
                stream.read_exact(&mut bytes).unwrap();
                let asked = frame::decode(&bytes).unwrap();
                let said = match answer {
                    Ok(body) => asked.respond(asked.src, &body, false),
                    Err(error) => asked.refuse(asked.src, error),
                };
                stream.write_all(&frame::encode_framed(&said)).unwrap();
            }
        });
        format!("local://{}", path.display())
    }

    #[test]
    fn the_parent_says_its_level_and_what_our_job_has() {
        let dir = tempfile::tempdir().unwrap();
        let level = || Ok(serde_json::json!({"value": "2"}));
        let node = RNode { rank: 3, host: "c3".into(), cores: "0-1".parse().unwrap(), gpus: Idset::new() };
        let r = R::from_nodes([node]);
        let values = serde_json::json!({"values": [r.to_json()]});
        let uri = instance(&dir.path().join("a"), vec![level(), Ok(values)]);
        let told = ask(&uri, Some(JobId(7))).unwrap();
        assert_eq!((told.level, told.r), (2, Some(r)));
        let uri = instance(&dir.path().join("b"), vec![level()]);
        assert_eq!(ask(&uri, None).unwrap(), Told { level: 2, r: None });
        let no = WireError::new(ErrorCode::NotFound, "no job ƒ8");
        let uri = instance(&dir.path().join("c"), vec![level(), Err(no)]);
        assert!(matches!(ask(&uri, Some(JobId(7))), Err(ParentError::Refused(_))));
        let uri = instance(&dir.path().join("d"), vec![]);
        assert!(matches!(ask(&uri, None), Err(ParentError::Io(_))), "one that hangs up");
        for nowhere in ["", "ssh://x/y", "local://x", "local:///no/such"] {
            assert!(ask(nowhere, None).is_err(), "{nowhere}");
        }
    }
}
