//! PMI-2: frames of `cmd=NAME;key=value;…` behind their length in six characters. A `;` in a value stands twice.
//!
//! MPICH's client and hydra wrote down by their code what this is; the names of fields are theirs.

use crate::ProtocolError;
use std::fmt::Write as _;

/// Characters that say how long a frame is.
pub const HEAD_LEN: usize = 6;

/// The fields of one frame, `cmd` being the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub fields: Vec<(String, String)>,
}

impl Frame {
    pub fn new(cmd: &str) -> Frame {
        Frame { fields: vec![("cmd".into(), cmd.into())] }
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Frame {
        self.fields.push((key.into(), value.to_string()));
        self
    }

    /// # Errors
    /// A field without `=`, or no command in front.
    pub fn parse(body: &str) -> Result<Frame, ProtocolError> {
        let mut fields: Vec<(String, String)> = Vec::new();
        let mut rest = body.trim_end_matches('\n');
        while !rest.is_empty() {
            let Some((key, after)) = rest.split_once('=').filter(|(key, _)| !key.contains(';')) else {
                return Err(ProtocolError::new(body, "each field is key=value;"));
            };
            let mut value = String::new();
            let mut chars = after.char_indices().peekable();
            let mut end = after.len();
            while let Some((at, c)) = chars.next() {
                if c == ';' && chars.next_if(|(_, next)| *next == ';').is_none() {
                    end = at + 1;
                    break;
                }
                value.push(c);
            }
            fields.push((key.to_owned(), value));
            rest = &after[end..];
        }
        match fields.first() {
            Some((key, _)) if key == "cmd" => Ok(Frame { fields }),
            _ => Err(ProtocolError::new(body, "a frame begins with cmd=")),
        }
    }

    pub fn cmd(&self) -> &str {
        self.get("cmd").unwrap_or("")
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Does it say that all is well? A frame that does not mention it does.
    pub fn rc(&self) -> i32 {
        self.get("rc").map_or(0, |rc| rc.trim().parse().unwrap_or(-1))
    }

    /// Length and body. None: it is longer than six digits can say.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut text = " ".repeat(HEAD_LEN);
        for (key, value) in &self.fields {
            write!(text, "{key}={};", value.replace(';', ";;")).expect("a string takes everything");
        }
        let len = text.len() - HEAD_LEN;
        if len >= 10usize.pow(HEAD_LEN as u32) {
            return None;
        }
        text.replace_range(..HEAD_LEN, &format!("{len:>HEAD_LEN$}"));
        Some(text.into_bytes())
    }
}

/// What a process asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    FullInit,
    JobGetId,
    GetJobAttr {
        key: String,
    },
    GetNodeAttr {
        key: String,
        wait: bool,
    },
    PutNodeAttr {
        key: String,
        value: String,
    },
    Put {
        key: String,
        value: String,
    },
    Get {
        key: String,
    },
    Fence,
    /// Part of the protocol, and never granted: name service, spawning, other jobs.
    NotGranted {
        cmd: String,
    },
    Abort {
        exitcode: i32,
        message: String,
    },
    Finalize,
}

impl Request {
    /// # Errors
    /// No command of PMI-2, or a field is missing.
    pub fn of(frame: &Frame) -> Result<Request, ProtocolError> {
        let need = |key: &str, rule| {
            frame.get(key).map(str::to_owned).ok_or_else(|| ProtocolError::new(frame.cmd(), rule))
        };
        Ok(match frame.cmd() {
            "fullinit" => Request::FullInit,
            "job-getid" => Request::JobGetId,
            "info-getjobattr" => Request::GetJobAttr { key: need("key", "it needs a key")? },
            "info-getnodeattr" => Request::GetNodeAttr {
                key: need("key", "it needs a key")?,
                wait: frame.get("wait").is_some_and(|wait| wait.eq_ignore_ascii_case("true")),
            },
            "info-putnodeattr" => Request::PutNodeAttr {
                key: need("key", "it needs a key")?,
                value: need("value", "it needs a value")?,
            },
            "kvs-put" => Request::Put {
                key: need("key", "it needs a key")?,
                value: need("value", "it needs a value")?,
            },
            "kvs-get" => Request::Get { key: need("key", "it needs a key")? },
            "kvs-fence" => Request::Fence,
            cmd @ ("name-publish" | "name-unpublish" | "name-lookup" | "spawn" | "job-connect"
            | "job-disconnect") => Request::NotGranted { cmd: cmd.to_owned() },
            "abort" => Request::Abort {
                exitcode: frame.get("exitcode").and_then(|code| code.trim().parse().ok()).unwrap_or(1),
                message: frame.get("msg").unwrap_or("").to_owned(),
            },
            "finalize" => Request::Finalize,
            cmd => return Err(ProtocolError::new(cmd, "it is no command of PMI-2")),
        })
    }

    /// The same as a frame.
    pub fn frame(&self) -> Frame {
        let truth = |so: bool| if so { "TRUE" } else { "FALSE" };
        match self {
            Request::FullInit => Frame::new("fullinit"),
            Request::JobGetId => Frame::new("job-getid"),
            Request::GetJobAttr { key } => Frame::new("info-getjobattr").with("key", key),
            Request::GetNodeAttr { key, wait } => {
                Frame::new("info-getnodeattr").with("key", key).with("wait", truth(*wait))
            }
            Request::PutNodeAttr { key, value } => {
                Frame::new("info-putnodeattr").with("key", key).with("value", value)
            }
            Request::Put { key, value } => Frame::new("kvs-put").with("key", key).with("value", value),
            Request::Get { key } => Frame::new("kvs-get").with("key", key),
            Request::Fence => Frame::new("kvs-fence"),
            Request::NotGranted { cmd } => Frame::new(cmd),
            Request::Abort { exitcode, message } => Frame::new("abort")
                .with("isworld", truth(true))
                .with("exitcode", exitcode)
                .with("msg", message),
            Request::Finalize => Frame::new("finalize"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_hold_semicolons_and_equal_signs() {
        let frame = Frame::new("kvs-put").with("key", "a").with("value", "x;y=;;z");
        let bytes = frame.to_bytes().unwrap();
        assert_eq!(bytes, b"    35cmd=kvs-put;key=a;value=x;;y=;;;;z;");
        assert_eq!(Frame::parse(std::str::from_utf8(&bytes[HEAD_LEN..]).unwrap()), Ok(frame));
        assert_eq!(Frame::parse("cmd=x;a=;b=1").unwrap().get("b"), Some("1"));
        for bad in ["", ";", "cmd", "key=1;", "cmd=a;b;"] {
            assert!(Frame::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Frame::new("x").with("value", "y".repeat(1_000_000)).to_bytes(), None);
    }

    #[test]
    fn every_request_reads_back_from_its_frame() {
        let key = || "a.b".to_owned();
        for request in [
            Request::FullInit,
            Request::JobGetId,
            Request::GetJobAttr { key: key() },
            Request::GetNodeAttr { key: key(), wait: true },
            Request::PutNodeAttr { key: key(), value: "x;y".into() },
            Request::Put { key: key(), value: "x;y=z".into() },
            Request::Get { key: key() },
            Request::Fence,
            Request::NotGranted { cmd: "name-publish".into() },
            Request::Abort { exitcode: 3, message: "no; more".into() },
            Request::Finalize,
        ] {
            assert_eq!(Request::of(&request.frame()), Ok(request));
        }
        assert!(Request::of(&Frame::new("dance")).is_err());
        assert!(Request::of(&Frame::new("kvs-get")).is_err());
    }
}
