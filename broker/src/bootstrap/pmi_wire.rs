//! The PMI-1 wire protocol (RFC 13) as values: lines, requests, replies, and a server without a socket.
//!
//! One request is one line `key=value key=value\n` that begins with `cmd=` or `mcmd=`; the answer is one line as
//! well. Readers take keys in any order, extra blanks and extra keys. [`Server`] is what a launcher on one host
//! needs; who owns the sockets feeds it lines and writes what it answers. A launcher on many hosts uses
//! [`Request`] and [`Reply`] and gathers the barrier itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Longest name of a key-value space, with the zero byte that C counts.
pub const KVSNAME_MAX: usize = 64;
/// Longest key.
pub const KEY_MAX: usize = 64;
/// Longest value. Slurm and hydra stop at the same length, and clients have buffers of it.
pub const VALUE_MAX: usize = 1024;
/// Longest line that is read: a peer that sends more without a newline is no PMI client.
pub const LINE_MAX: usize = 16 << 20;

/// A line that is no PMI-1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read PMI-1 `{line}`: {rule}")]
pub struct WireError {
    line: String,
    rule: &'static str,
}

impl WireError {
    fn new(line: &str, rule: &'static str) -> WireError {
        WireError { line: line.chars().take(64).collect(), rule }
    }
}

/// The pairs of one line. `value=` and `msg=` run to the end of the line: they may hold blanks and `=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    whole: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Line<'a> {
    /// # Errors
    /// A word without `=`.
    pub fn parse(line: &'a str) -> Result<Line<'a>, WireError> {
        let whole = line.trim_end_matches(['\n', '\r']);
        let mut rest = whole.trim_start_matches(' ');
        let mut pairs = Vec::new();
        while !rest.is_empty() {
            let Some((key, after)) = rest.split_once('=').filter(|(key, _)| !key.contains(' ')) else {
                return Err(WireError::new(whole, "each word is key=value"));
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

    fn need(&self, key: &str, rule: &'static str) -> Result<&'a str, WireError> {
        self.get(key).ok_or_else(|| WireError::new(self.whole, rule))
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
    pub fn parse(line: &str) -> Result<Request, WireError> {
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
            "barrier_in" => Request::Barrier,
            "finalize" => Request::Finalize,
            "abort" => {
                let code = line.number("exitcode").and_then(|code| i32::try_from(code).ok());
                Request::Abort { exitcode: code.unwrap_or(1) }
            }
            cmd @ ("publish_name" | "unpublish_name" | "lookup_name") => {
                Request::Name { cmd: cmd.to_owned() }
            }
            _ => return Err(WireError::new(line.whole, "unknown command")),
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
    Barrier,
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
            Reply::Init { rc } => {
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
            Reply::Barrier => writeln!(f, "cmd=barrier_out rc=0"),
            Reply::Finalize => writeln!(f, "cmd=finalize_ack rc=0"),
            Reply::Name { cmd } => {
                let cmd = cmd.trim_end_matches("_name");
                writeln!(f, "cmd={cmd}_result rc=-1 info=not_supported")
            }
            Reply::Spawn => writeln!(f, "cmd=spawn_result rc=-1 errmsg=not_supported"),
        }
    }
}

/// What follows from a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Reply {
        rank: u32,
        reply: Reply,
    },
    /// The process says goodbye; it gets its [`Effect::Reply`] as well.
    Finalized {
        rank: u32,
    },
    /// The process wants all of them ended.
    Abort {
        rank: u32,
        exitcode: i32,
    },
}

/// The key-value space and the barrier of processes that share one launcher.
#[derive(Debug, Clone)]
pub struct Server {
    size: u32,
    kvsname: String,
    kvs: BTreeMap<String, String>,
    /// Who waits in the barrier.
    entered: BTreeSet<u32>,
    /// Who is in the middle of a spawn request.
    spawning: BTreeSet<u32>,
}

impl Server {
    /// A space with some keys already in it; their values may be longer than what a client may put.
    pub fn new(size: u32, kvsname: impl Into<String>, kvs: BTreeMap<String, String>) -> Server {
        Server { size, kvsname: kvsname.into(), kvs, entered: BTreeSet::new(), spawning: BTreeSet::new() }
    }

    /// Takes one line of `rank`.
    ///
    /// # Errors
    /// The line is not PMI-1: whoever sent it is lost to the protocol and should be hung up on.
    pub fn line(&mut self, rank: u32, line: &str, out: &mut Vec<Effect>) -> Result<(), WireError> {
        if self.spawning.contains(&rank) && line.trim() != "endcmd" {
            return Ok(());
        }
        let reply = match Request::parse(line)? {
            Request::Init { version, .. } => Reply::Init { rc: if version == 1 { 0 } else { -1 } },
            Request::Maxes => Reply::Maxes { kvsname: KVSNAME_MAX, key: KEY_MAX, value: VALUE_MAX },
            Request::Appnum => Reply::Appnum(0),
            Request::UniverseSize => Reply::UniverseSize(self.size),
            Request::MyKvsname => Reply::MyKvsname(self.kvsname.clone()),
            Request::Put { kvsname, key, value } => self.put(&kvsname, key, value),
            Request::Get { kvsname, key } => {
                Reply::Get(if kvsname == self.kvsname { self.kvs.get(&key).cloned() } else { None })
            }
            Request::Barrier => {
                self.entered.insert(rank);
                if self.entered.len() == self.size as usize {
                    let all = std::mem::take(&mut self.entered);
                    out.extend(all.into_iter().map(|rank| Effect::Reply { rank, reply: Reply::Barrier }));
                }
                return Ok(());
            }
            Request::Finalize => {
                out.push(Effect::Finalized { rank });
                Reply::Finalize
            }
            Request::Abort { exitcode } => {
                out.push(Effect::Abort { rank, exitcode });
                return Ok(());
            }
            Request::Name { cmd } => Reply::Name { cmd },
            Request::Spawn => {
                self.spawning.insert(rank);
                return Ok(());
            }
            Request::EndSpawn => {
                self.spawning.remove(&rank);
                Reply::Spawn
            }
        };
        out.push(Effect::Reply { rank, reply });
        Ok(())
    }

    fn put(&mut self, kvsname: &str, key: String, value: String) -> Reply {
        if kvsname != self.kvsname {
            return Reply::Put { rc: -1, msg: "no_such_kvs" };
        }
        if key.is_empty() || key.len() >= KEY_MAX {
            return Reply::Put { rc: -1, msg: "invalid_key_length" };
        }
        if value.len() >= VALUE_MAX {
            return Reply::Put { rc: -1, msg: "invalid_value_length" };
        }
        self.kvs.insert(key, value);
        Reply::Put { rc: 0, msg: "success" }
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

    fn server() -> Server {
        Server::new(2, "kvs", BTreeMap::from([("PMI_process_mapping".into(), "(vector,(0,1,2))".into())]))
    }

    fn say(server: &mut Server, rank: u32, line: &str) -> Vec<String> {
        let mut out = Vec::new();
        server.line(rank, line, &mut out).unwrap();
        let text = |effect| match effect {
            Effect::Reply { rank, reply } => format!("{rank}: {}", reply.to_string().trim_end()),
            Effect::Finalized { rank } => format!("{rank} done"),
            Effect::Abort { rank, exitcode } => format!("{rank} abort {exitcode}"),
        };
        out.into_iter().map(text).collect()
    }

    #[test]
    fn two_processes_exchange_through_put_barrier_get() {
        let mut server = server();
        assert_eq!(
            say(&mut server, 0, "cmd=init pmi_version=1 pmi_subversion=1\n"),
            ["0: cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1"]
        );
        assert_eq!(
            say(&mut server, 0, "cmd=put kvsname=kvs key=card.0 value=10.0.0.1:99 x"),
            ["0: cmd=put_result rc=0 msg=success"]
        );
        assert_eq!(say(&mut server, 0, "cmd=barrier_in"), [] as [&str; 0]);
        assert_eq!(
            say(&mut server, 1, "cmd=barrier_in"),
            ["0: cmd=barrier_out rc=0", "1: cmd=barrier_out rc=0"]
        );
        assert_eq!(
            say(&mut server, 1, "cmd=get kvsname=kvs key=card.0"),
            ["1: cmd=get_result rc=0 msg=success value=10.0.0.1:99 x"]
        );
        assert_eq!(say(&mut server, 1, "cmd=finalize"), ["1 done", "1: cmd=finalize_ack rc=0"]);
        assert_eq!(say(&mut server, 0, "cmd=abort exitcode=9"), ["0 abort 9"]);
    }

    #[test]
    fn what_is_not_granted_is_refused_in_protocol() {
        let mut server = server();
        assert!(say(&mut server, 0, "cmd=get kvsname=kvs key=none")[0].contains("rc=-1"));
        assert!(say(&mut server, 0, "cmd=get kvsname=other key=PMI_process_mapping")[0].contains("rc=-1"));
        let long = format!("cmd=put kvsname=kvs key=k value={}", "x".repeat(VALUE_MAX));
        assert!(say(&mut server, 0, &long)[0].contains("invalid_value_length"));
        assert!(say(&mut server, 0, "cmd=init pmi_version=2 pmi_subversion=0")[0].contains("rc=-1"));
        assert!(say(&mut server, 0, "cmd=publish_name service=s port=p")[0].contains("publish_result rc=-1"));
        for line in ["mcmd=spawn", "nprocs=2", "execname=x", "whatever"] {
            assert_eq!(say(&mut server, 0, line), [] as [&str; 0]);
        }
        assert!(say(&mut server, 0, "endcmd")[0].contains("spawn_result rc=-1"));
        assert!(server.line(0, "GET / HTTP/1.1", &mut Vec::new()).is_err());
    }
}
