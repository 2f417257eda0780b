//! One connection: who calls in which version, then questions and answers until one side has had enough.

use super::answers::{self, Answer};
use crate::context::Context;
use crate::door::{Door, Lost, Seat, WRITE_MAX};
use flurm_slurm_auth::{Gate, Refusal};
use flurm_slurm_protocol::structures::{PersistInitReqMsg, PersistRcMsg};
use flurm_slurm_protocol::{Body, Error, Fault, Limits, Version, errors, framed, persist};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Between two questions. A `sacctmgr` at somebody's prompt opens a new connection when this one is gone.
const IDLE_MAX: Duration = Duration::from_secs(900);

/// Why nobody is let in.
#[derive(Debug, thiserror::Error)]
enum Unwelcome {
    #[error("not the beginning of a connection")]
    Stranger,
    #[error("not a message: {0}")]
    Garbled(#[from] Error),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("too many connections")]
    Crowd,
}

impl Unwelcome {
    fn number(&self) -> u32 {
        match self {
            Self::Stranger => errors::SLURM_COMMUNICATIONS_RECEIVE_ERROR,
            Self::Garbled(error) => match error.fault {
                Fault::Version(_) => errors::SLURM_PROTOCOL_VERSION_ERROR,
                _ => errors::SLURM_COMMUNICATIONS_RECEIVE_ERROR,
            },
            Self::Refused(Refusal::Stranger(_)) => errors::ESLURM_ACCESS_DENIED,
            Self::Refused(_) => errors::SLURM_PROTOCOL_AUTHENTICATION_ERROR,
            Self::Crowd => errors::ESLURM_DB_CONNECTION,
        }
    }
}

/// Until it ends.
pub(super) async fn keep(
    context: &Arc<Context>,
    door: &Arc<Door>,
    places: &Semaphore,
    mut stream: TcpStream,
    seat: Seat,
) -> Result<(), Lost> {
    let frame = door.frame(&mut stream).await?;
    let (gate, limits) = (Arc::clone(door.gate()), *door.limits());
    // munged is asked, which takes its time.
    let opened = tokio::task::spawn_blocking(move || open(&gate, &limits, &frame.bytes));
    let opened = opened.await.expect("decoding does not panic");
    let place = places.try_acquire();
    let version = match (opened, &place) {
        (Ok(version), Ok(_)) => version,
        (Ok(_), Err(_)) => return turn_away(&mut stream, &Unwelcome::Crowd).await,
        (Err(unwelcome), _) => return turn_away(&mut stream, &unwelcome).await,
    };
    drop(seat);
    // What both sides speak from now on.
    let welcome = rc(0, "", version.to_wire());
    send(&mut stream, welcome, version).await?;
    loop {
        let frame = timeout(IDLE_MAX, door.frame_at_leisure(&mut stream)).await.map_err(|_| Lost::Slow)??;
        let asked = frame.bytes.first_chunk().map_or(0, |number| u16::from_be_bytes(*number));
        let question = persist::read(&frame.bytes, version, door.limits());
        drop(frame);
        let answer = match question {
            Ok(question) => answers::answer(context, version, question).await,
            Err(error) => {
                tracing::info!(number = asked, %version, %error, "a question about accounting that is not understood");
                Answer::Code(errors::ESLURM_NOT_SUPPORTED, "flurm does not know this request".to_owned())
            }
        };
        match answer {
            Answer::Body(body) => send(&mut stream, *body, version).await?,
            Answer::Code(number, why) => send(&mut stream, rc(number, &why, asked), version).await?,
            Answer::Goodbye => return send(&mut stream, rc(0, "", asked), version).await,
        }
    }
}

/// The version of a client that is let in.
fn open(gate: &Gate, limits: &Limits, frame: &[u8]) -> Result<Version, Unwelcome> {
    let envelope = persist::read_init(frame, limits).ok_or(Unwelcome::Stranger)??;
    gate.admit(&envelope)?;
    match envelope.body(limits)? {
        Body::RequestPersistInit(asked) => {
            let PersistInitReqMsg { version, .. } = *asked;
            // A newer one than ours never came so far: its header was not read.
            Ok(Version::from_wire(version).map_or(envelope.version, |asked| asked.min(envelope.version)))
        }
        _ => Err(Unwelcome::Stranger),
    }
}

/// Says why, in the newest version: this answer looks the same in all of them.
async fn turn_away(stream: &mut TcpStream, unwelcome: &Unwelcome) -> Result<(), Lost> {
    tracing::info!(%unwelcome, "no connection to accounting");
    send(stream, rc(unwelcome.number(), &unwelcome.to_string(), persist::INIT), Version::LAST).await
}

/// An answer that is a number; `about` is what it answers.
fn rc(number: u32, why: &str, about: u16) -> Body {
    let comment = Some(why).filter(|why| !why.is_empty());
    Body::PersistRc(Box::new(PersistRcMsg { comment: comment.into(), flags: 0, rc: number, ret_info: about }))
}

async fn send(stream: &mut TcpStream, body: Body, version: Version) -> Result<(), Lost> {
    let name = body.name();
    // Thousands of jobs take a while.
    let packed =
        tokio::task::spawn_blocking(move || persist::write(&body, version).and_then(|frame| framed(&frame)));
    let packed = packed.await.expect("encoding does not panic");
    let bytes = packed.map_err(|error| {
        tracing::error!(message = name, %version, %error, "an answer cannot be made");
        std::io::Error::other("no answer")
    })?;
    Ok(timeout(WRITE_MAX, stream.write_all(&bytes)).await.map_err(|_| Lost::Slow)??)
}
