//! PMI-1 and PMI-2 for the tasks of jobs: their sockets, and the barrier across ranks, which is a collective of the
//! job's shells. What requests mean is `flurm-pmi`'s.

use crate::collective::Collected;
use crate::shell::{Event, Key, Shell};
use flurm_pmi::{Effect, Piece, ProtocolError, Server, Splitter, VALUE_MAX};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tokio::io::AsyncReadExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::AbortHandle;

/// Of the collective.
pub(crate) const NAME: &str = "pmi";

/// No request is longer: the longest is a put.
const REQUEST_BYTES_MAX: usize = 4096;

/// R is there for whoever asks for it: an instance that runs as a job.
const R_KEY: &str = "flurm.R";

/// Our own `libpmi.so`, for programs that open a library instead of speaking over the socket.
const LIBRARY: &str = "libpmi.so";
/// By these names they look for it: Open MPI 4's `flux` component, others, Intel MPI.
pub(crate) const LIBRARY_VARIABLES: [&str; 3] = [OPENMPI_LIBRARY, "PMI_LIBRARY", "I_MPI_PMI_LIBRARY"];
pub(crate) const OPENMPI_LIBRARY: &str = "FLUX_PMI_LIBRARY_PATH";

/// Where it lies, if it does: `FLURM_LIB_DIR`, where `make install` puts it, or beside the binary of a developer.
pub fn library() -> Option<&'static str> {
    static FOUND: OnceLock<Option<String>> = OnceLock::new();
    let find = || {
        let named = std::env::var_os("FLURM_LIB_DIR").map(PathBuf::from);
        let exe = std::env::current_exe().ok();
        let beside = exe.as_deref().and_then(Path::parent);
        let near = beside.map(|dir| [dir.join("../lib/flurm"), dir.to_owned()]);
        let places = named.into_iter().chain(near.into_iter().flatten());
        let found = places.map(|dir| dir.join(LIBRARY)).find(|file| file.exists())?;
        found.canonicalize().ok()?.into_os_string().into_string().ok()
    };
    FOUND.get_or_init(find).as_deref()
}

/// A job's PMI on this rank.
#[derive(Debug)]
pub(crate) struct Pmi {
    server: Server,
    /// By local task; none once it has finalized or gone.
    tasks: Vec<Option<Line>>,
    /// Writing it out costs something.
    offered_r: bool,
}

/// To a task; who is cut off is not listened to any more.
#[derive(Debug)]
struct Line {
    write: OwnedWriteHalf,
    reader: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Shell {
    pub(crate) fn pmi_connect(&mut self, key: Key, sockets: Vec<UnixStream>) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let level = self.place.as_ref().map_or(0, |place| place.instance_level + 1).to_string();
        let uri = self.place.as_ref().map_or("", |place| &place.uri).to_owned();
        // Libraries have a buffer for it; without a map they ask each other.
        let mapping = Some(job.plan.map.pmi()).filter(|map| map.len() < VALUE_MAX).unwrap_or_default();
        let known =
            [("PMI_process_mapping", mapping), ("flurm.instance-level", level), ("flurm.parent-uri", uri)];
        let server = Server::new(flurm_pmi::Job {
            name: job.plan.id.f58_plain(),
            size: job.plan.ntasks,
            ranks: job.plan.tasks.clone(),
            known: known.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        });
        let mut tasks = Vec::new();
        for (local, socket) in sockets.into_iter().enumerate() {
            let Ok(socket) = tokio::net::UnixStream::from_std(socket) else {
                tasks.push(None);
                continue;
            };
            let (read, write) = socket.into_split();
            let reader = tokio::spawn(read_requests(read, key, local, self.events.clone())).abort_handle();
            tasks.push(Some(Line { write, reader }));
        }
        job.pmi = Some(Pmi { server, tasks, offered_r: false });
    }

    pub(crate) fn pmi_request(
        &mut self,
        key: Key,
        local: usize,
        request: Result<Option<Piece>, ProtocolError>,
    ) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let Some(pmi) = &mut job.pmi else { return };
        // Cut off, with requests still on their way.
        if pmi.tasks[local].is_none() {
            return;
        }
        if !pmi.offered_r && matches!(&request, Ok(Some(Piece::Line(line))) if line.contains(R_KEY)) {
            pmi.offered_r = true;
            let text = serde_json::to_string(&*job.r).expect("R has string keys");
            pmi.server.offer(in_pieces(R_KEY, &text));
        }
        let mut effects = Vec::new();
        let understood = match request {
            Ok(Some(piece)) => pmi.server.request(local, &piece, &mut effects),
            Ok(None) => {
                pmi.tasks[local] = None;
                Ok(())
            }
            Err(error) => Err(error),
        };
        let task = job.plan.tasks[local];
        let problem = understood.err().map(|error| {
            pmi.tasks[local] = None;
            format!("task {task}: {error}")
        });
        let (fence, abort) = pmi.carry_out(effects, |local| {
            job.goodbyes.insert(job.plan.tasks[local]);
        });
        let abort = abort.map(|(local, code, message)| {
            let task = job.plan.tasks[local];
            let text = if message.is_empty() { String::new() } else { format!(": {message}") };
            (format!("task {task} aborted through PMI{text}"), code)
        });
        if let Some((note, code)) = abort {
            self.abort(key, note, code);
        } else if let Some(note) = problem {
            self.fail(key, note, 1 << 8);
        }
        if let Some(puts) = fence {
            let data = serde_json::to_vec(&puts).expect("text is JSON");
            self.collect(key, NAME.into(), &data);
        }
    }

    /// The barrier is through, or cannot be passed any more.
    pub(crate) fn pmi_fenced(&mut self, key: Key, result: Collected) {
        let Some(pmi) = self.jobs.get_mut(&key).and_then(|job| job.pmi.as_mut()) else { return };
        let puts = result.and_then(|parts| {
            let mut puts = BTreeMap::new();
            for (from, data) in parts {
                let part: BTreeMap<String, String> = serde_json::from_slice(&data)
                    .map_err(|error| format!("read what node {from} of the job has put: {error}"))?;
                puts.extend(part);
            }
            Ok(puts)
        });
        if let Err(why) = &puts {
            tracing::warn!(job = %key.0.f58(), why, "a PMI barrier failed");
        }
        let mut effects = Vec::new();
        pmi.server.fenced(puts, &mut effects);
        pmi.carry_out(effects, |_| {});
    }
}

type Abort = (usize, i32, String);

impl Pmi {
    /// Answers; what is more than an answer is handed back.
    fn carry_out(
        &mut self,
        effects: Vec<Effect>,
        mut goodbye: impl FnMut(usize),
    ) -> (Option<BTreeMap<String, String>>, Option<Abort>) {
        let (mut fence, mut abort) = (None, None);
        let mut finalized = Vec::new();
        for effect in effects {
            match effect {
                Effect::Reply { task, bytes } => self.answer(task, &bytes),
                Effect::Finalized { task } => finalized.push(task),
                Effect::Abort { task, exitcode, message } => abort = Some((task, exitcode, message)),
                Effect::Fence(puts) => fence = Some(puts),
            }
        }
        for task in finalized {
            self.tasks[task] = None;
            goodbye(task);
        }
        (fence, abort)
    }

    fn answer(&mut self, local: usize, bytes: &[u8]) {
        // Requests and answers alternate, so the socket's buffer is empty; who does otherwise is cut off.
        if let Some(task) = &self.tasks[local]
            && !matches!(task.write.try_write(bytes), Ok(n) if n == bytes.len())
        {
            self.tasks[local] = None;
        }
    }
}

async fn read_requests(
    mut read: OwnedReadHalf,
    key: Key,
    local: usize,
    events: tokio::sync::mpsc::UnboundedSender<Event>,
) {
    let mut splitter = Splitter::new(REQUEST_BYTES_MAX);
    let mut buffer = [0; REQUEST_BYTES_MAX];
    loop {
        let mut request = splitter.piece();
        if let Ok(None) = request {
            match read.read(&mut buffer).await {
                Ok(n) if n > 0 => {
                    splitter.feed(&buffer[..n]);
                    continue;
                }
                _ => request = Ok(None),
            }
        }
        let over = !matches!(request, Ok(Some(_)));
        // The shell may be leaving.
        if events.send(Event::Pmi { key, local, request }).is_err() || over {
            return;
        }
    }
}

/// A long text under `NAME.0`, `NAME.1`, … with their number under `NAME.n`; a short one under its name.
fn in_pieces(name: &str, text: &str) -> BTreeMap<String, String> {
    if text.len() < VALUE_MAX {
        return BTreeMap::from([(name.to_owned(), text.to_owned())]);
    }
    let mut pieces = BTreeMap::new();
    let mut rest = text;
    let mut n = 0;
    while !rest.is_empty() {
        let mut end = rest.len().min(VALUE_MAX - 1);
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

    #[test]
    fn long_texts_travel_in_pieces() {
        let text = "ƒ".repeat(1000);
        let pieces = in_pieces("flurm.R", &text);
        assert_eq!(pieces["flurm.R.n"], "2");
        assert!(pieces.values().all(|piece| piece.len() < VALUE_MAX));
        assert_eq!(pieces["flurm.R.0"].clone() + &pieces["flurm.R.1"], text);
        assert_eq!(in_pieces("k", "short").len(), 1);
    }
}
