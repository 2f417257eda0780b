//! PMI-1: one request is one line `key=value key=value` that begins with `cmd=` or `mcmd=`; so is the answer.
//!
//! Readers take keys in any order, extra blanks and extra keys.

use crate::ProtocolError;
use std::fmt;

/// The pairs of one line. `value=` and `msg=` run to the end of the line: they may hold blanks and `=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    whole: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Line<'a> {
    /// # Errors
    /// A word without `=`.
    pub fn parse(line: &'a str) -> Result<Line<'a>, ProtocolError> {
        let whole = line.trim_end_matches(['\n', '\r']);
        let mut rest = whole.trim_start_matches(' ');
        let mut pairs = Vec::new();
        while !rest.is_empty() {
            let Some((key, after)) = rest.split_once('=').filter(|(key, _)| !key.contains(' ')) else {
                return Err(ProtocolError::new(whole, "each word is key=value"));
            };
            let (value, next) = match key {
                "value" => (after, ""),
                // hydra puts its message before the value, others after it.
                "msg" => {
                    after.split_once(" value=").map_or((after, ""), |(msg, _)| (msg, &after[msg.len()..]))
                }
                _ => after.split_once(' ').unwrap_or((after, "")),
            };
            pairs.push((key, value));
            rest = next.trim_start_matches(' ');
        }
        Ok(Line { whole, pairs })
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    /// The command that the line is about, or `""`.
    pub fn cmd(&self) -> &'a str {
        self.get("cmd").unwrap_or("")
    }

    fn need(&self, key: &str, rule: &'static str) -> Result<&'a str, ProtocolError> {
        self.get(key).ok_or_else(|| ProtocolError::new(self.whole, rule))
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.get(key)?.trim().parse().ok()
    }
}

/// What a process asks its launcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Init {
        version: i64,
        subversion: i64,
    },
    Maxes,
    Appnum,
    UniverseSize,
    MyKvsname,
    Put {
        kvsname: String,
        key: String,
        value: String,
    },
    Get {
        kvsname: String,
        key: String,
    },
    Barrier,
    /// A barrier among some of them: never granted.
    GroupBarrier,
    Finalize,
    Abort {
        exitcode: i32,
    },
    /// `publish_name`, `unpublish_name`, `lookup_name`: part of the protocol, and never granted.
    Name {
        cmd: String,
    },
    /// The first of many lines, up to `endcmd`; never granted.
    Spawn,
    EndSpawn,
}

impl Request {
    /// # Errors
    /// The line is not PMI-1, or a key is missing.
    pub fn parse(line: &str) -> Result<Request, ProtocolError> {
        if line.trim() == "endcmd" {
            return Ok(Request::EndSpawn);
        }
        let line = Line::parse(line)?;
        if line.get("mcmd") == Some("spawn") {
            return Ok(Request::Spawn);
        }
        Ok(match line.cmd() {
            "init" => Request::Init {
                version: line.number("pmi_version").unwrap_or(1),
                subversion: line.number("pmi_subversion").unwrap_or(1),
            },
            "get_maxes" => Request::Maxes,
            "get_appnum" => Request::Appnum,
            "get_universe_size" => Request::UniverseSize,
            "get_my_kvsname" => Request::MyKvsname,
            "put" => Request::Put {
                kvsname: line.need("kvsname", "put needs kvsname")?.to_owned(),
                key: line.need("key", "put needs key")?.to_owned(),
                value: line.need("value", "put needs value")?.to_owned(),
            },
            "get" => Request::Get {
                kvsname: line.need("kvsname", "get needs kvsname")?.to_owned(),
                key: line.need("key", "get needs key")?.to_owned(),
            },
            "barrier_in" => match line.get("group") {
                None | Some("WORLD") => Request::Barrier,
                Some(_) => Request::GroupBarrier,
            },
            "finalize" => Request::Finalize,
            "abort" => {
                let code = line.number("exitcode").and_then(|code| i32::try_from(code).ok());
                Request::Abort { exitcode: code.unwrap_or(1) }
            }
            cmd @ ("publish_name" | "unpublish_name" | "lookup_name") => {
                Request::Name { cmd: cmd.to_owned() }
            }
            _ => return Err(ProtocolError::new(line.whole, "unknown command")),
        })
    }
}

impl fmt::Display for Request {
    /// The line, newline included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Init { version, subversion } => {
                writeln!(f, "cmd=init pmi_version={version} pmi_subversion={subversion}")
            }
            Request::Maxes => writeln!(f, "cmd=get_maxes"),
            Request::Appnum => writeln!(f, "cmd=get_appnum"),
            Request::UniverseSize => writeln!(f, "cmd=get_universe_size"),
            Request::MyKvsname => writeln!(f, "cmd=get_my_kvsname"),
            Request::Put { kvsname, key, value } => {
                writeln!(f, "cmd=put kvsname={kvsname} key={key} value={value}")
            }
            Request::Get { kvsname, key } => writeln!(f, "cmd=get kvsname={kvsname} key={key}"),
            Request::Barrier => writeln!(f, "cmd=barrier_in"),
            Request::GroupBarrier => writeln!(f, "cmd=barrier_in group=NODE"),
            Request::Finalize => writeln!(f, "cmd=finalize"),
            Request::Abort { exitcode } => writeln!(f, "cmd=abort exitcode={exitcode}"),
            Request::Name { cmd } => writeln!(f, "cmd={cmd}"),
            Request::Spawn => writeln!(f, "mcmd=spawn"),
            Request::EndSpawn => writeln!(f, "endcmd"),
        }
    }
}

/// What the launcher answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `rc` is not zero when the version is not ours.
    Init {
        rc: i32,
        version: i64,
    },
    Maxes {
        kvsname: usize,
        key: usize,
        value: usize,
    },
    Appnum(i64),
    UniverseSize(u32),
    MyKvsname(String),
    Put {
        rc: i32,
        msg: &'static str,
    },
    /// None: there is no such key.
    Get(Option<String>),
    Barrier {
        rc: i32,
    },
    Finalize,
    Name {
        cmd: String,
    },
    Spawn,
}

impl fmt::Display for Reply {
    /// The line, newline included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Init { rc, version: 2 } => {
                writeln!(f, "cmd=response_to_init rc={rc} pmi_version=2 pmi_subversion=0")
            }
            Reply::Init { rc, .. } => {
                writeln!(f, "cmd=response_to_init rc={rc} pmi_version=1 pmi_subversion=1")
            }
            Reply::Maxes { kvsname, key, value } => {
                writeln!(f, "cmd=maxes rc=0 kvsname_max={kvsname} keylen_max={key} vallen_max={value}")
            }
            Reply::Appnum(appnum) => writeln!(f, "cmd=appnum rc=0 appnum={appnum}"),
            Reply::UniverseSize(size) => writeln!(f, "cmd=universe_size rc=0 size={size}"),
            Reply::MyKvsname(name) => writeln!(f, "cmd=my_kvsname rc=0 kvsname={name}"),
            Reply::Put { rc, msg } => writeln!(f, "cmd=put_result rc={rc} msg={msg}"),
            Reply::Get(Some(value)) => writeln!(f, "cmd=get_result rc=0 msg=success value={value}"),
            Reply::Get(None) => writeln!(f, "cmd=get_result rc=-1 msg=key_not_found value=unknown"),
            Reply::Barrier { rc } => writeln!(f, "cmd=barrier_out rc={rc}"),
            Reply::Finalize => writeln!(f, "cmd=finalize_ack rc=0"),
            Reply::Name { cmd } => {
                let cmd = cmd.trim_end_matches("_name");
                writeln!(f, "cmd={cmd}_result rc=-1 info=not_supported")
            }
            Reply::Spawn => writeln!(f, "cmd=spawn_result rc=-1 errmsg=not_supported"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_in_any_order_with_extra_blanks_and_keys() {
        let line = Line::parse("  rc=0   cmd=maxes vendor=x  vallen_max=1024\n").unwrap();
        assert_eq!((line.cmd(), line.get("vallen_max"), line.get("none")), ("maxes", Some("1024"), None));
        assert_eq!(
            Line::parse("cmd=get_result rc=0 value=a b=c  d\n").unwrap().get("value"),
            Some("a b=c  d")
        );
        let hydra = Line::parse("cmd=get_result rc=0 msg=all is well value=x y").unwrap();
        assert_eq!((hydra.get("msg"), hydra.get("value")), (Some("all is well"), Some("x y")));
        assert!(Line::parse("cmd=get nonsense").is_err());
        assert_eq!(Line::parse("").unwrap().cmd(), "");
    }

    #[test]
    fn every_request_reads_back_from_its_line() {
        let name = || "kvs_1".to_owned();
        let all = [
            Request::Init { version: 1, subversion: 1 },
            Request::Maxes,
            Request::Appnum,
            Request::UniverseSize,
            Request::MyKvsname,
            Request::Put { kvsname: name(), key: "a.b".into(), value: "x=1 y=2".into() },
            Request::Get { kvsname: name(), key: "a.b".into() },
            Request::Barrier,
            Request::GroupBarrier,
            Request::Finalize,
            Request::Abort { exitcode: 3 },
            Request::Name { cmd: "lookup_name".into() },
            Request::Spawn,
            Request::EndSpawn,
        ];
        for request in all {
            assert_eq!(Request::parse(&request.to_string()), Ok(request));
        }
        assert!(Request::parse("cmd=put kvsname=k key=x\n").is_err());
        assert!(Request::parse("cmd=dance\n").is_err());
    }
}
