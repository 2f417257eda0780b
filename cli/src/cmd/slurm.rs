//! `flurm slurm`: what leads Slurm's own commands into an instance, and what is in a captured frame of theirs.

use super::outer::{OUTER, is_slurms};
use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::out;
use clap::Subcommand;
use flurm_client::attr;
use flurm_slurm_protocol::{Body, Error, Fault, Limits, Message, Version, View, errors, persist};
use flurm_wire::slurm::CONF;
use serde::Serialize;
use std::io::{Read, Write};
use std::path::PathBuf;

/// Slurm's own commands inside an instance, and what they say
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Env(Env),
    Dump(Dump),
}

/// Print what leads Slurm's commands into the instance, for `eval`
#[derive(Debug, clap::Args)]
struct Env {}

/// Print a frame of Slurm's protocol as JSON
#[derive(Debug, clap::Args)]
struct Dump {
    /// Frames of a connection that stays (slurmdbd) name no version: this one, as 25.05 or 43
    #[arg(long, value_name = "VERSION")]
    version: Option<Version>,
    /// Write what was read again, and fail if the bytes are not the same
    #[arg(long)]
    verify: bool,
    /// A frame each, with or without its length in front; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// The attribute that says whether somebody answers.
const SERVICE: &str = "slurm.service";
/// Where these are set the outer values have been put aside already.
const OUTER_CONF: &str = "FLURM_OUTER_SLURM_CONF";
const OUTER_JOB: &str = "FLURM_OUTER_SLURM_JOB_ID";

/// A file is no request of a stranger.
const LIMITS: Limits =
    Limits { frame_bytes_max: 1 << 30, memory_bytes_max: 4 << 30, depth_max: Limits::DEPTH_MAX };

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        match self.command {
            Command::Env(args) => args.run(face),
            Command::Dump(args) => args.run(),
        }
    }
}

impl Env {
    fn run(&self, face: &Face) -> Result<u8, Failure> {
        let (service, rundir) = face.connect()?.run(async |client| {
            let service = attr::get(&client, SERVICE).await?;
            Ok::<_, flurm_client::ClientError>((service, attr::get(&client, "rundir").await?))
        })?;
        if service != "on" {
            return Err(Failure::new("Slurm's commands are not answered in this instance")
                .hint("start it with `flurm start --slurm`"));
        }
        let conf = format!("{rundir}/{CONF}");
        let quoted = |text: &str| {
            shlex::try_quote(text)
                .map(std::borrow::Cow::into_owned)
                .map_err(|_| Failure::new(format!("{text} cannot be written for a shell")))
        };
        let mut out = out::stdout();
        let inside = std::env::vars_os().any(|(name, _)| name == OUTER_CONF || name == OUTER_JOB);
        let vars = std::env::vars_os().filter(|(name, value)| is_slurms(name) && **value != *conf);
        for (name, value) in vars {
            let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
            if !inside {
                writeln!(out, "export {OUTER}{name}={}", quoted(value)?)?;
            }
            writeln!(out, "unset {name}")?;
        }
        writeln!(out, "export SLURM_CONF={}", quoted(&conf)?)?;
        Ok(0)
    }
}

impl Dump {
    fn run(&self) -> Result<u8, Failure> {
        let mut code = 0;
        for file in &self.files {
            let place = file.display().to_string();
            let bytes = read(file).map_err(|error| Failure::new(error.to_string()).within(&place))?;
            let frame = unframed(&bytes);
            let opened = Opened::read(frame, self.version).map_err(|error| {
                let failure = Failure::new(format!("cannot read this frame: {error}")).within(&place);
                match error.fault {
                    Fault::Version(_) => failure.hint("frames of a connection to slurmdbd need `--version`"),
                    _ => failure,
                }
            })?;
            let mut out = out::stdout();
            serde_json::to_writer_pretty(&mut out, &opened.shown()).map_err(std::io::Error::from)?;
            out.write_all(b"\n")?;
            out.flush()?;
            if self.verify {
                let written =
                    opened.written().map_err(|error| Failure::new(error.to_string()).within(&place))?;
                if let Some(at) = difference(frame, &written) {
                    crate::say!("error: {place}: what was read is written as other bytes, from byte {at} on");
                    code = FAILED;
                }
            }
        }
        Ok(code)
    }
}

fn read(file: &PathBuf) -> std::io::Result<Vec<u8>> {
    if file.as_os_str() != "-" {
        return std::fs::read(file);
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Without the word in front, if it says how much follows.
fn unframed(bytes: &[u8]) -> &[u8] {
    match bytes.split_first_chunk() {
        Some((word, frame)) if u32::from_be_bytes(*word) as usize == frame.len() => frame,
        _ => bytes,
    }
}

/// What is in a frame.
enum Opened {
    Message(Box<Message>),
    /// The first one to slurmdbd.
    Init(Box<Message>),
    Persist(Version, Body),
}

/// The same for people.
#[derive(Serialize)]
struct Shown<'a> {
    version: &'static str,
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<View<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<View<'a>>,
    body: View<'a>,
    /// The commonest answer is a number only.
    #[serde(skip_serializing_if = "Option::is_none")]
    return_code: Option<ReturnCode>,
}

#[derive(Serialize)]
struct ReturnCode {
    name: &'static str,
    meaning: &'static str,
}

impl Opened {
    fn read(frame: &[u8], version: Option<Version>) -> Result<Self, Error> {
        if let Some(version) = version {
            return persist::read(frame, version, &LIMITS).map(|body| Self::Persist(version, body));
        }
        match persist::read_init(frame, &LIMITS) {
            Some(envelope) => Ok(Self::Init(envelope?.message(&LIMITS)?.into())),
            None => Ok(Self::Message(Message::read(frame, &LIMITS)?.into())),
        }
    }

    fn written(&self) -> Result<Vec<u8>, Error> {
        match self {
            Self::Message(message) => message.write(),
            Self::Init(message) => message.write().map(|frame| persist::write_init(&frame)),
            Self::Persist(version, body) => persist::write(body, *version),
        }
    }

    fn shown(&self) -> Shown<'_> {
        let (version, body) = match self {
            Self::Message(message) | Self::Init(message) => (message.version, &message.body),
            Self::Persist(version, body) => (*version, body),
        };
        let message = match self {
            Self::Message(message) | Self::Init(message) => Some(message),
            Self::Persist(..) => None,
        };
        let auth = message.and_then(|message| message.auth.as_ref());
        let code = match body {
            Body::ResponseSlurmRc(code) => errors::explain(code.return_code, version),
            _ => None,
        };
        Shown {
            version: version.release(),
            message: body.name(),
            header: message.map(|message| View::record(&message.header, version)),
            credential: auth.map(|auth| View::record(auth, version)),
            body: View::body(body, version),
            return_code: code.map(|(name, meaning)| ReturnCode { name, meaning }),
        }
    }
}

fn difference(a: &[u8], b: &[u8]) -> Option<usize> {
    let common = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    (a.len() != common || b.len() != common).then_some(common)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_slurm_protocol::structures::ReturnCode;
    use serde_json::{Value, json};

    fn answer() -> Vec<u8> {
        let code = ReturnCode { return_code: errors::ESLURM_NODES_BUSY };
        let message = Message::new(Version::LAST, Body::ResponseSlurmRc(Box::new(code)));
        message.write().expect("it fits")
    }

    fn shown(opened: &Opened) -> Value {
        serde_json::to_value(opened.shown()).expect("JSON takes it")
    }

    #[test]
    fn a_frame_is_shown_with_and_without_its_length() {
        let frame = answer();
        let framed = flurm_slurm_protocol::framed(&frame).expect("short");
        assert_eq!(unframed(&framed), frame);
        assert_eq!(unframed(&frame), frame);
        let opened = Opened::read(&frame, None).expect("it was written here");
        let json = shown(&opened);
        assert_eq!(json["message"], "RESPONSE_SLURM_RC");
        assert_eq!(json["header"]["msg_type"], 8001);
        assert_eq!(json["body"], json!({ "return_code": 2016 }));
        assert_eq!(json["return_code"]["name"], "ESLURM_NODES_BUSY");
        assert_eq!(opened.written(), Ok(frame));
    }

    #[test]
    fn a_frame_of_a_connection_that_stays_needs_its_version() {
        let frame = persist::write(&Body::DbdFini(Box::default()), Version::LAST).expect("it fits");
        assert!(Opened::read(&frame, None).is_err());
        let opened = Opened::read(&frame, Some(Version::LAST)).expect("it was written here");
        let json = shown(&opened);
        assert_eq!((&json["message"], &json["version"]), (&json!("DBD_FINI"), &json!("26.05")));
        assert_eq!(opened.written(), Ok(frame));
    }

    #[test]
    fn the_first_byte_that_differs_is_named() {
        assert_eq!(difference(b"abc", b"abc"), None);
        assert_eq!(difference(b"abc", b"abd"), Some(2));
        assert_eq!(difference(b"abc", b"abcd"), Some(3));
    }
}
