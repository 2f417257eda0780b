//! A client of PMI-1 (`PMI_FD`), and the exchange of cards through it.
//!
//! hydra starts brokers this way, and so does flurm itself, for `--test-size` and for instances inside jobs.
//!
//! ```text
//! every rank:  put card      barrier   get table, cards on the way up   finalize
//! rank 0:      put card      barrier   get all cards, put table         …
//!                                      barrier (all)
//! ```

use super::card::{Answer, Card, ancestors};
use super::{Mistake, Vars};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flurm_pmi::one::{Line, Request};
use flurm_types::{Rank, TaskMap};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Longest line that is read, and longest text of several: who sends more is no launcher.
const LINE_MAX: usize = 16 << 20;

/// What `PMI_*` says.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Place {
    pub fd: RawFd,
    pub rank: u32,
    pub size: u32,
}

impl Place {
    /// None where no launcher has left a descriptor.
    pub fn find(vars: &Vars) -> Option<Place> {
        let number = |name: &str| vars.get(name)?.trim().parse::<u32>().ok();
        let (rank, size) = (number("PMI_RANK")?, number("PMI_SIZE")?);
        let fd = RawFd::try_from(number("PMI_FD")?).ok()?;
        (rank < size).then_some(Place { fd, rank, size })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PmiError {
    #[error("talk to the launcher on PMI_FD")]
    Io(#[from] io::Error),
    #[error("talk to the launcher on PMI_FD: it has closed the connection")]
    Closed,
    #[error("wait for the launcher on PMI_FD any longer")]
    TimedOut,
    #[error("understand the launcher on PMI_FD: `{line}`")]
    Protocol { line: String },
    #[error("leave `{key}` with the launcher on PMI_FD: {msg}")]
    Refused { key: String, msg: String },
    #[error("find `{key}` with the launcher on PMI_FD")]
    Missing { key: String },
}

/// A connection to the launcher.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    buffer: Vec<u8>,
    deadline: Instant,
    kvsname: String,
    value_max: usize,
}

impl Client {
    /// Takes the descriptor that the launcher left us, so that no child of ours has it.
    ///
    /// # Errors
    /// It is not open, is no socket, or nobody speaks PMI-1 at its other end.
    pub fn connect(place: Place, limit: Duration) -> Result<Client, PmiError> {
        // SAFETY: no memory is involved; a number that is no descriptor is an error.
        if unsafe { libc::fcntl(place.fd, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: it is open, as just seen, and by the rules of PMI this process's to use and close; nothing else
        // here knows of it.
        let fd = unsafe { OwnedFd::from_raw_fd(place.fd) };
        Client::new(UnixStream::from(fd), limit)
    }

    fn new(stream: UnixStream, limit: Duration) -> Result<Client, PmiError> {
        let deadline = Instant::now() + limit;
        let mut client =
            Client { stream, buffer: Vec::new(), deadline, kvsname: String::new(), value_max: 0 };
        let line = client.ask(&Request::Init { version: 1, subversion: 1 }, "response_to_init")?;
        client.good(line)?;
        let line = client.ask(&Request::Maxes, "maxes")?;
        let value_max: Option<usize> = number(&line, "vallen_max");
        // C counts the zero byte at the end.
        client.value_max =
            value_max.filter(|max| *max >= 16).ok_or(PmiError::Protocol { line: line.clone() })? - 1;
        let line = client.ask(&Request::MyKvsname, "my_kvsname")?;
        client.kvsname = word(&line, "kvsname").ok_or(PmiError::Protocol { line: line.clone() })?;
        Ok(client)
    }

    pub fn kvsname(&self) -> &str {
        &self.kvsname
    }

    /// One value, if it is there.
    ///
    /// # Errors
    /// The launcher does not answer.
    pub fn get(&mut self, key: &str) -> Result<Option<String>, PmiError> {
        let request = Request::Get { kvsname: self.kvsname.clone(), key: key.to_owned() };
        let line = self.ask(&request, "get_result")?;
        let found = number(&line, "rc") == Some(0);
        Ok(word(&line, "value").filter(|_| found))
    }

    /// The node of each rank, as the launcher has placed them.
    ///
    /// # Errors
    /// The launcher does not answer.
    pub fn mapping(&mut self) -> Result<TaskMap, PmiError> {
        let text = self.get("PMI_process_mapping")?.unwrap_or_default();
        Ok(text.parse().unwrap_or(TaskMap::unknown()))
    }

    fn put(&mut self, key: &str, value: &str) -> Result<(), PmiError> {
        let request = Request::Put { kvsname: self.kvsname.clone(), key: key.into(), value: value.into() };
        let line = self.ask(&request, "put_result")?;
        match number(&line, "rc") {
            Some(0) => Ok(()),
            _ => {
                let msg = word(&line, "msg").unwrap_or_default();
                Err(PmiError::Refused { key: key.to_owned(), msg })
            }
        }
    }

    /// A value of any content, in base64: launchers differ in what blanks they pass on. Short ones lie under their
    /// key, long ones in pieces under `KEY.0`, `KEY.1` …, with their number under `KEY.n`.
    fn put_object<T: Serialize>(&mut self, key: &str, object: &T) -> Result<(), PmiError> {
        let json = Zeroizing::new(serde_json::to_vec(object).expect("cards and tables serialize"));
        let text = Zeroizing::new(BASE64_STANDARD.encode(&*json));
        if text.len() <= self.value_max {
            return self.put(key, &text);
        }
        let count = text.len().div_ceil(self.value_max);
        for n in 0..count {
            let piece = &text[n * self.value_max..text.len().min((n + 1) * self.value_max)];
            self.put(&format!("{key}.{n}"), piece)?;
        }
        self.put(&format!("{key}.n"), &count.to_string())
    }

    fn get_object<T: DeserializeOwned>(&mut self, key: &str) -> Result<T, PmiError> {
        let missing = || PmiError::Missing { key: key.to_owned() };
        let text = Zeroizing::new(self.get_text(key)?.ok_or_else(missing)?);
        let json = Zeroizing::new(BASE64_STANDARD.decode(text.as_bytes()).map_err(|_| missing())?);
        serde_json::from_slice(&json).map_err(|_| missing())
    }

    /// A text, whole or in pieces.
    ///
    /// # Errors
    /// The launcher does not answer, or a piece is missing.
    pub fn get_text(&mut self, key: &str) -> Result<Option<String>, PmiError> {
        if let Some(whole) = self.get(key)? {
            return Ok(Some(whole));
        }
        let Some(count) = self.get(&format!("{key}.n"))? else { return Ok(None) };
        let missing = |n: &str| PmiError::Missing { key: format!("{key}.{n}") };
        let count: usize = count.trim().parse().map_err(|_| missing("n"))?;
        let mut text = String::new();
        for n in 0..count {
            text += &self.get(&format!("{key}.{n}"))?.ok_or_else(|| missing(&n.to_string()))?;
            if text.len() > LINE_MAX {
                return Err(missing("n"));
            }
        }
        Ok(Some(text))
    }

    fn barrier(&mut self) -> Result<(), PmiError> {
        let line = self.ask(&Request::Barrier, "barrier_out")?;
        self.good(line)
    }

    fn finalize(mut self) -> Result<(), PmiError> {
        let line = self.ask(&Request::Finalize, "finalize_ack")?;
        self.good(line)
    }

    /// `rc=0`, or no `rc` at all, which is how some launchers say the same.
    fn good(&self, line: String) -> Result<(), PmiError> {
        match number(&line, "rc") {
            None | Some(0) => Ok(()),
            Some(_) => Err(PmiError::Protocol { line }),
        }
    }

    /// The answering line, which must be the one that belongs to the request.
    fn ask(&mut self, request: &Request, cmd: &str) -> Result<String, PmiError> {
        self.stream.write_all(request.to_string().as_bytes()).map_err(ended)?;
        let line = self.read_line()?;
        let right = Line::parse(&line).is_ok_and(|line| line.cmd() == cmd);
        if right { Ok(line) } else { Err(PmiError::Protocol { line: line.chars().take(64).collect() }) }
    }

    fn read_line(&mut self) -> Result<String, PmiError> {
        let mut chunk = [0; 4096];
        let mut seen = 0;
        loop {
            if let Some(end) = self.buffer[seen..].iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=seen + end).collect();
                return String::from_utf8(line).map_err(|_| PmiError::Protocol { line: "not UTF-8".into() });
            }
            seen = self.buffer.len();
            if seen > LINE_MAX {
                return Err(PmiError::Protocol { line: "a line without end".into() });
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(PmiError::TimedOut);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut chunk).map_err(ended)? {
                0 => return Err(PmiError::Closed),
                len => self.buffer.extend_from_slice(&chunk[..len]),
            }
        }
    }
}

fn ended(error: io::Error) -> PmiError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => PmiError::TimedOut,
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => PmiError::Closed,
        _ => PmiError::Io(error),
    }
}

fn word(line: &str, key: &str) -> Option<String> {
    Line::parse(line).ok()?.get(key).map(str::to_owned)
}

fn number<T: std::str::FromStr>(line: &str, key: &str) -> Option<T> {
    word(line, key)?.trim().parse().ok()
}

const TABLE: &str = "flurm.table";

fn card_key(rank: Rank) -> String {
    format!("flurm.card.{rank}")
}

/// Shows our card, and returns what rank 0 answers. At rank 0, `judge` is given all cards and makes that answer.
///
/// # Errors
/// The launcher is lost, or not all came in time.
pub fn exchange(
    mut client: Client,
    size: u32,
    card: &Card,
    judge: impl FnOnce(&[Card]) -> Answer,
) -> Result<Answer, PmiError> {
    client.put_object(&card_key(card.rank), card)?;
    client.barrier()?;
    let answer = if card.rank == Rank(0) {
        let cards: Result<Vec<Card>, PmiError> =
            (0..size).map(|rank| client.get_object(&card_key(Rank(rank)))).collect();
        let answer = judge(&cards?);
        // Addresses are on the cards already.
        client.put_object(TABLE, &answer.without_addresses())?;
        client.barrier()?;
        answer
    } else {
        client.barrier()?;
        let mut answer: Answer = client.get_object(TABLE)?;
        if let Answer::Welcome(table) = &mut answer {
            for rank in ancestors(card.rank, table.fanout) {
                let above: Card = client.get_object(&card_key(rank))?;
                table.addresses.extend(above.address.map(|address| (rank, address)));
            }
        }
        answer
    };
    client.finalize()?;
    Ok(answer)
}

/// What went wrong, for the user; none where rank 0 is the one to say it.
pub fn mistake(error: &PmiError, place: Place, limit: Duration) -> Option<Mistake> {
    let limit = flurm_types::Fsd::from_secs(limit.as_secs_f64()).unwrap_or_default();
    let here = format!("broker {} of {}", place.rank, place.size);
    match error {
        PmiError::TimedOut | PmiError::Closed if place.rank > 0 => None,
        PmiError::TimedOut => Some(Mistake::new(
            format!("not all of {} brokers came within {limit}", place.size),
            "see what the launcher says of the others, or wait longer with -Sbroker.join-timeout=2m",
        )),
        PmiError::Io(error) => Some(Mistake::new(
            format!("{here} cannot use PMI_FD={}: {error}", place.fd),
            "if no launcher started this process, unset PMI_FD, PMI_RANK and PMI_SIZE",
        )),
        PmiError::Closed
        | PmiError::Protocol { .. }
        | PmiError::Refused { .. }
        | PmiError::Missing { .. } => Some(Mistake::new(
            format!("{here} failed to {error}"),
            "inside a Slurm step, srun --mpi=none needs no PMI; else use a launcher that speaks PMI-1",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::card::Table;
    use super::*;
    use crate::boot::Secret;
    use flurm_pmi::{Effect, Job, Piece, Server};
    use std::collections::BTreeMap;
    use std::io::{BufRead, BufReader};
    use std::sync::{Arc, Mutex};

    /// Serves `size` clients in threads of their own.
    fn launch(size: u32) -> Vec<UnixStream> {
        let known = BTreeMap::from([("PMI_process_mapping".to_owned(), format!("(vector,(0,1,{size}))"))]);
        let server = Server::new(Job { name: "kvs".into(), size, ranks: (0..size).collect(), known });
        let (ours, theirs): (Vec<_>, Vec<_>) = (0..size).map(|_| UnixStream::pair().unwrap()).unzip();
        let out: Vec<_> = ours.iter().map(|stream: &UnixStream| stream.try_clone().unwrap()).collect();
        let shared = Arc::new(Mutex::new((server, out)));
        for (task, stream) in ours.into_iter().enumerate() {
            let shared = shared.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let mut shared = shared.lock().unwrap();
                    let mut effects = Vec::new();
                    shared.0.request(task, &Piece::Line(line), &mut effects).unwrap();
                    for effect in effects {
                        if let Effect::Reply { task, bytes } = effect {
                            shared.1[task].write_all(&bytes).unwrap();
                        }
                    }
                }
            });
        }
        theirs
    }

    fn card(rank: u32, size: u32) -> Card {
        let warning = Mistake::new("x".repeat(3000), "longer than one value");
        Card {
            rank: Rank(rank),
            host: format!("c{rank}"),
            address: Some(format!("10.0.0.{rank}:{size}").parse().unwrap()),
            warnings: vec![warning],
            mistake: None,
        }
    }

    fn judge(cards: &[Card]) -> Answer {
        Answer::Welcome(Table::of(cards, "id".into(), Secret::from_bytes([9; 32]), 2))
    }

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn all_brokers_learn_the_table_and_the_addresses_on_their_way_up() {
        let size = 7;
        let threads: Vec<_> = (0..)
            .zip(launch(size))
            .map(|(rank, stream)| {
                std::thread::spawn(move || {
                    let client = Client::new(stream, LIMIT).unwrap();
                    match exchange(client, size, &card(rank, size), judge).unwrap() {
                        Answer::Welcome(table) => table,
                        Answer::Refused => panic!("refused"),
                    }
                })
            })
            .collect();
        let tables: Vec<Table> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        for table in &tables {
            assert_eq!(table.hosts.to_string(), "c[0-6]");
            assert_eq!(table.secret.as_bytes(), &[9; 32]);
        }
        assert_eq!(tables[0].addresses.len(), 7);
        assert_eq!(tables[6].addresses.keys().map(|r| r.0).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn keys_are_found_or_not_and_the_mapping_is_read() {
        let mut client = Client::new(launch(1).remove(0), LIMIT).unwrap();
        assert_eq!(client.kvsname(), "kvs");
        assert_eq!(client.get("none").unwrap(), None);
        assert_eq!(client.mapping().unwrap().nnodes(), 1);
    }

    #[test]
    fn a_silent_or_foreign_launcher_is_an_error_in_time() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let error = Client::new(theirs, Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, PmiError::TimedOut), "{error}");
        drop(ours);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(b"HTTP/1.1 200 OK\n").unwrap();
        let error = Client::new(theirs, LIMIT).unwrap_err();
        assert!(matches!(error, PmiError::Protocol { .. }), "{error}");
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        assert!(matches!(Client::new(theirs, LIMIT).unwrap_err(), PmiError::Closed));
    }

    #[test]
    fn the_environment_names_a_place_or_none() {
        let vars = |pairs: &[(&str, &str)]| -> Vars {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let all = [("PMI_FD", "7"), ("PMI_RANK", "1"), ("PMI_SIZE", "2")];
        assert_eq!(Place::find(&vars(&all)), Some(Place { fd: 7, rank: 1, size: 2 }));
        assert_eq!(Place::find(&vars(&all[1..])), None);
        assert_eq!(Place::find(&vars(&[all[0], ("PMI_RANK", "2"), all[2]])), None);
    }
}
