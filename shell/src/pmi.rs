//! The PMI-1 server of one job on one rank (RFC 13), as text in and text out. Sockets and other ranks are the shell's.

use flurm_types::R;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Limits that libraries are told; 64 and 1024 are what they have always been told.
const NAME_BYTES_MAX: usize = 64;
pub const VALUE_BYTES_MAX: usize = 1024;

/// No request is longer: the longest is a put.
pub const LINE_BYTES_MAX: usize = 2048;

/// Keys that one job may put, counted so that a loop in one program does not eat the shell.
const PUTS_MAX: usize = 1 << 20;

#[derive(Debug)]
pub struct Server {
    name: String,
    ntasks: u32,
    /// Tasks of this rank.
    local: usize,
    shared: BTreeMap<String, String>,
    /// Put since the last barrier.
    puts: BTreeMap<String, String>,
    waiting: BTreeSet<usize>,
    r: Arc<R>,
    offered_r: bool,
}

/// What is to be done about a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    Line(String),
    /// The task waits in the barrier.
    Wait,
    /// All tasks here have entered it.
    Fence(BTreeMap<String, String>),
    /// The last answer.
    Finalized(String),
    /// The task wants the job to end.
    Abort(String),
    /// Not PMI: close and end the job.
    Broken(String),
}

impl Server {
    /// `known` is there before any barrier.
    pub fn new(
        name: String,
        ntasks: u32,
        local: usize,
        known: BTreeMap<String, String>,
        r: Arc<R>,
    ) -> Server {
        Server {
            name,
            ntasks,
            local,
            shared: known,
            puts: BTreeMap::new(),
            waiting: BTreeSet::new(),
            r,
            offered_r: false,
        }
    }

    pub fn request(&mut self, task: usize, line: &str) -> Reply {
        let fields = fields(line);
        let get = |name: &str| fields.get(name).copied().unwrap_or("");
        let answer = |text: String| Reply::Line(text + "\n");
        match get("cmd") {
            "init" if get("pmi_version") == "1" => {
                answer("cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1".into())
            }
            "init" => answer("cmd=response_to_init rc=-1 pmi_version=1 pmi_subversion=1".into()),
            "get_maxes" => answer(format!(
                "cmd=maxes rc=0 kvsname_max={NAME_BYTES_MAX} keylen_max={NAME_BYTES_MAX} vallen_max={VALUE_BYTES_MAX}"
            )),
            "get_appnum" => answer("cmd=appnum rc=0 appnum=0".into()),
            "get_universe_size" => answer(format!("cmd=universe_size rc=0 size={}", self.ntasks)),
            "get_my_kvsname" => answer(format!("cmd=my_kvsname rc=0 kvsname={}", self.name)),
            "put" => answer(self.put(get("kvsname"), get("key"), get("value"))),
            "get" => answer(self.get(get("kvsname"), get("key"))),
            "barrier_in" => self.barrier(task),
            "finalize" => Reply::Finalized("cmd=finalize_ack rc=0\n".into()),
            "abort" => Reply::Abort(get("exitcode").to_owned()),
            refused @ ("publish_name" | "unpublish_name" | "lookup_name" | "spawn") => {
                let name = refused.split('_').next().unwrap_or(refused);
                answer(format!("cmd={name}_result rc=-1 msg=not_supported"))
            }
            _ => Reply::Broken(format!("`{}` is not a PMI request", line.trim_end().escape_default())),
        }
    }

    fn put(&mut self, name: &str, key: &str, value: &str) -> String {
        let problem = if name != self.name {
            "unknown_kvsname"
        } else if key.is_empty() || key.len() > NAME_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
            "too_long"
        } else if self.puts.len() >= PUTS_MAX {
            "too_many_keys"
        } else {
            self.puts.insert(key.to_owned(), value.to_owned());
            return "cmd=put_result rc=0".into();
        };
        format!("cmd=put_result rc=-1 msg={problem}")
    }

    fn get(&mut self, name: &str, key: &str) -> String {
        if name != self.name {
            return "cmd=get_result rc=-1 msg=unknown_kvsname".into();
        }
        // Only an instance asks for R, and writing it out costs something.
        if !self.offered_r && key.starts_with("flurm.R") {
            self.offered_r = true;
            let text = serde_json::to_string(&*self.r).expect("R has string keys");
            self.shared.extend(in_pieces("flurm.R", &text));
        }
        // A task may read what it has put itself; others see it after the barrier.
        match self.shared.get(key).or_else(|| self.puts.get(key)) {
            Some(value) => format!("cmd=get_result rc=0 value={value}"),
            None => "cmd=get_result rc=-1 msg=unknown_key".into(),
        }
    }

    fn barrier(&mut self, task: usize) -> Reply {
        self.waiting.insert(task);
        if self.waiting.len() < self.local {
            return Reply::Wait;
        }
        Reply::Fence(std::mem::take(&mut self.puts))
    }

    /// The barrier is through, or cannot be passed any more (`None`): who is answered what.
    pub fn fenced(&mut self, puts: Option<BTreeMap<String, String>>) -> (BTreeSet<usize>, &'static str) {
        let line = match puts {
            Some(puts) => {
                self.shared.extend(puts);
                "cmd=barrier_out rc=0\n"
            }
            None => "cmd=barrier_out rc=-1\n",
        };
        (std::mem::take(&mut self.waiting), line)
    }
}

/// `key=value key=value`; `value=` takes the rest of the line, blanks and all.
fn fields(line: &str) -> BTreeMap<&str, &str> {
    let mut fields = BTreeMap::new();
    let mut rest = line.trim_end_matches(['\n', '\r']).trim_start();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) =
            if key == "value" { (after, "") } else { after.split_once(' ').unwrap_or((after, "")) };
        // A multi-line request names itself with `mcmd`.
        fields.insert(if key == "mcmd" { "cmd" } else { key }, value);
        rest = next.trim_start();
    }
    fields
}

/// A long text under `NAME.0`, `NAME.1`, … with their number under `NAME.n`; a short one under its name.
pub fn in_pieces(name: &str, text: &str) -> BTreeMap<String, String> {
    if text.len() <= VALUE_BYTES_MAX {
        return BTreeMap::from([(name.to_owned(), text.to_owned())]);
    }
    let mut pieces = BTreeMap::new();
    let mut rest = text;
    let mut n = 0;
    while !rest.is_empty() {
        let mut end = rest.len().min(VALUE_BYTES_MAX);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        pieces.insert(format!("{name}.{n}"), rest[..end].to_owned());
        rest = &rest[end..];
        n += 1;
    }
    pieces.insert(format!("{name}.n"), n.to_string());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(local: usize) -> Server {
        Server::new("kvs".into(), 4, local, BTreeMap::new(), Arc::default())
    }

    fn line(reply: Reply) -> String {
        match reply {
            Reply::Line(line) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_one_task_puts_all_get_after_the_barrier() {
        let mut server = server(2);
        assert!(line(server.request(0, "cmd=init pmi_version=1 pmi_subversion=1\n")).contains("rc=0"));
        let put = "cmd=put  kvsname=kvs key=card-0 value=tcp://a b=c \n";
        assert_eq!(line(server.request(0, put)), "cmd=put_result rc=0\n");
        assert!(line(server.request(1, "cmd=put kvsname=other key=a value=b")).contains("rc=-1"));
        assert_eq!(server.request(1, "cmd=barrier_in\n"), Reply::Wait);
        let Reply::Fence(puts) = server.request(0, "cmd=barrier_in\n") else { panic!("no fence") };
        assert_eq!(puts["card-0"], "tcp://a b=c ");
        let (tasks, out) = server.fenced(Some(puts));
        assert_eq!((tasks.len(), out), (2, "cmd=barrier_out rc=0\n"));
        assert_eq!(
            line(server.request(1, "cmd=get kvsname=kvs key=card-0")),
            "cmd=get_result rc=0 value=tcp://a b=c \n"
        );
        assert!(line(server.request(1, "cmd=get kvsname=kvs key=nothing")).contains("rc=-1"));
    }

    #[test]
    fn what_is_not_pmi_closes() {
        for bad in ["", "hello\n", "cmd=", "=\n", "cmd=fly high=1"] {
            assert!(matches!(server(1).request(0, bad), Reply::Broken(_)), "{bad:?}");
        }
        assert!(line(server(1).request(0, "mcmd=spawn\n")).contains("spawn_result rc=-1"));
    }

    #[test]
    fn long_texts_travel_in_pieces() {
        let text = "ƒ".repeat(1000);
        let pieces = in_pieces("flurm.R", &text);
        assert_eq!(pieces["flurm.R.n"], "2");
        assert!(pieces.values().all(|piece| piece.len() <= VALUE_BYTES_MAX));
        assert_eq!(pieces["flurm.R.0"].clone() + &pieces["flurm.R.1"], text);
        assert_eq!(in_pieces("k", "short").len(), 1);
    }
}
