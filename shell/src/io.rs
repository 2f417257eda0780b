//! Standard streams of tasks: pipes to the job's log or to files, input from the instance to pipes.
//!
//! A reader asks for room before it takes bytes out of a pipe. Room comes back when the leader has committed what was
//! sent, so a leader that is slow makes the task wait in its write, and nothing piles up here.

use crate::pty;
use crate::shell::Event;
use base64::Engine as _;
use flurm_types::{Entry, Idset, Timestamp};
use flurm_wire::rexec::Stream;
use serde_json::json;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::unix::pipe;
use tokio::sync::{Semaphore, mpsc};

/// Bytes of output of one job that the leader has not acknowledged. Each job has its own, for one whose reader has
/// stopped must not hold the others.
pub const UNACKNOWLEDGED_BYTES_MAX: usize = 2 << 20;

/// Taken out of a pipe at once, and the longest piece that waits for the end of its line. A pipe holds as much.
pub const PIECE_BYTES_MAX: usize = 64 << 10;

/// Input of one task that it has not read. A task that never reads must not fill our memory.
pub const STDIN_BYTES_MAX: usize = 64 << 20;

thread_local! {
    /// All readers share it; between a read and its use nobody waits.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE_BYTES_MAX]);
}

/// Reads one stream of a task until its end, and tells the shell piece by piece.
pub async fn read_output(pipe: OwnedFd, lines: bool, room: Arc<Semaphore>, mut tell: impl FnMut(Vec<u8>)) {
    let Ok(pipe) = pipe::Receiver::from_owned_fd_unchecked(pipe) else { return };
    // Less than a piece: the beginning of a line.
    let mut held: Vec<u8> = Vec::new();
    loop {
        if pipe.readable().await.is_err() {
            break;
        }
        // The semaphore is never closed.
        let Ok(mut permit) = room.acquire_many(PIECE_BYTES_MAX as u32).await else { break };
        let read = BUFFER.with_borrow_mut(|buffer| {
            let n = pipe.try_read(&mut buffer[held.len()..])?;
            held.extend_from_slice(&buffer[held.len()..held.len() + n]);
            Ok::<usize, io::Error>(n)
        });
        match read {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let end = match held.iter().rposition(|b| *b == b'\n') {
            _ if !lines => held.len(),
            Some(at) => at + 1,
            None if held.len() == PIECE_BYTES_MAX => held.len(),
            None => 0,
        };
        if end > 0 {
            let rest = held.split_off(end);
            // The room comes back when these bytes are acknowledged.
            if let Some(used) = permit.split(end) {
                used.forget();
            }
            tell(std::mem::replace(&mut held, rest));
        }
    }
    // What is left has no end of line.
    if !held.is_empty()
        && let Ok(used) = room.acquire_many(held.len() as u32).await
    {
        used.forget();
        tell(held);
    }
}

/// Copies one stream of a task to a file that others write to as well: whole lines, each with its label.
pub async fn copy_to_file(pipe: OwnedFd, file: Arc<File>, label: String) -> io::Result<()> {
    let (send, mut pieces) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(2 * PIECE_BYTES_MAX));
    let writer = tokio::spawn({
        let room = Arc::clone(&room);
        async move {
            while let Some(piece) = pieces.recv().await {
                let (file, label): (Arc<File>, String) = (Arc::clone(&file), label.clone());
                let len = Vec::len(&piece);
                // A file system may take its time; the shell must not wait for it.
                let write = move || (&*file).write_all(&labelled(piece, &label));
                tokio::task::spawn_blocking(write).await.map_err(io::Error::other)??;
                room.add_permits(len);
            }
            Ok(())
        }
    });
    read_output(pipe, true, room, move |piece| {
        // A writer that has failed has closed its end; the task's output then goes nowhere, and the failure is
        // what we return.
        let _ = send.send(piece);
    })
    .await;
    writer.await.map_err(io::Error::other)?
}

fn labelled(piece: Vec<u8>, label: &str) -> Vec<u8> {
    if label.is_empty() {
        return piece;
    }
    let mut out = Vec::with_capacity(piece.len() + label.len());
    for line in piece.split_inclusive(|b| *b == b'\n') {
        out.extend_from_slice(label.as_bytes());
        out.extend_from_slice(line);
    }
    out
}

/// Input for a task's pipe; `None` is its end.
pub type Input = Option<Arc<Given>>;

/// Input of one message, for several tasks. Who gave it is told when the last one has taken it.
#[derive(Debug)]
pub struct Given {
    pub bytes: Vec<u8>,
    pub message: Option<flurm_wire::Message>,
    pub events: mpsc::UnboundedSender<Event>,
}

impl Drop for Given {
    fn drop(&mut self) {
        if let Some(message) = self.message.take() {
            // The shell may be leaving.
            let _ = self.events.send(Event::InputTaken(Box::new(message)));
        }
    }
}

/// Writes a task's input until its end, or until the task no longer reads. A terminal has no end: there, the end of
/// input is typed.
pub async fn write_input(
    pipe: OwnedFd,
    mut inputs: mpsc::UnboundedReceiver<Input>,
    queued_bytes: Arc<AtomicUsize>,
    terminal: bool,
) {
    let Ok(pipe) = pipe::Sender::from_owned_fd_unchecked(pipe) else { return };
    let mut last = b'\n';
    while let Some(input) = inputs.recv().await {
        match input {
            Some(given) => {
                // Nobody reads any more?
                if write_all(&pipe, &given.bytes).await.is_err() {
                    return;
                }
                last = given.bytes.last().copied().unwrap_or(last);
                queued_bytes.fetch_sub(given.bytes.len(), Ordering::Relaxed);
            }
            None if terminal => {
                // The first only ends the line, where there is one.
                let end = [pty::END_OF_INPUT; 2];
                let end = if last == b'\n' { &end[..1] } else { &end };
                if write_all(&pipe, end).await.is_err() {
                    return;
                }
            }
            None => return,
        }
    }
}

async fn write_all(pipe: &pipe::Sender, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        pipe.writable().await?;
        match pipe.try_write(rest) {
            Ok(n) => rest = &rest[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Output of a job on this rank that has not been reported: pieces of one stream in a row become one entry.
#[derive(Debug, Default)]
pub struct Output {
    pieces: Pieces,
    header: bool,
}

/// Output in the order it came.
#[derive(Debug, Default)]
pub struct Pieces {
    pieces: VecDeque<Piece>,
    bytes: usize,
}

#[derive(Debug)]
struct Piece {
    stream: Stream,
    task: u32,
    time: Timestamp,
    bytes: Vec<u8>,
}

impl Pieces {
    pub fn push(&mut self, stream: Stream, task: u32, bytes: Vec<u8>, time: Timestamp) {
        self.bytes += bytes.len();
        match self.pieces.back_mut() {
            _ if bytes.is_empty() => {}
            Some(last)
                if (last.stream, last.task) == (stream, task)
                    && last.bytes.len() + bytes.len() <= PIECE_BYTES_MAX =>
            {
                last.bytes.extend_from_slice(&bytes);
            }
            _ => self.pieces.push_back(Piece { stream, task, time, bytes }),
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn take(&mut self) -> Vec<(Stream, u32, Vec<u8>)> {
        self.bytes = 0;
        std::mem::take(&mut self.pieces)
            .into_iter()
            .map(|piece| (piece.stream, piece.task, piece.bytes))
            .collect()
    }
}

impl Output {
    pub fn push(&mut self, stream: Stream, task: u32, bytes: Vec<u8>, time: Timestamp) {
        self.pieces.push(stream, task, bytes, time);
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.pieces.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.pieces.bytes()
    }

    /// Entries (RFC 24) of what waits, and its bytes.
    pub fn take(&mut self) -> (Vec<Entry>, usize) {
        let Pieces { pieces, bytes } = std::mem::take(&mut self.pieces);
        let mut entries = Vec::with_capacity(pieces.len() + 1);
        if let Some(first) = pieces.front() {
            self.begin(first.time, &mut entries);
        }
        entries.extend(pieces.into_iter().map(Piece::into_entry));
        (entries, bytes)
    }

    fn begin(&mut self, time: Timestamp, entries: &mut Vec<Entry>) {
        if !self.header {
            self.header = true;
            entries.push(header(time));
        }
    }

    /// The ends of both streams of all tasks here; nothing for a job that has said nothing.
    pub fn end(&self, tasks: &[u32], time: Timestamp) -> Vec<Entry> {
        if !self.header {
            return Vec::new();
        }
        let ranks: Idset = tasks.iter().copied().collect();
        let end = |stream: &str| {
            Entry::new(time, "data")
                .with_context(json!({"stream": stream, "rank": ranks.to_string(), "eof": true}))
        };
        vec![end("stdout"), end("stderr")]
    }

    /// A stream that goes to a file instead.
    pub fn redirect(
        &mut self,
        stream: Stream,
        tasks: &[u32],
        path: &str,
        archive: bool,
        time: Timestamp,
    ) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.begin(time, &mut entries);
        let ranks: Idset = tasks.iter().copied().collect();
        let mut context = json!({"stream": name(stream), "rank": ranks.to_string(), "path": path});
        if archive {
            context["archive"] = true.into();
        }
        entries.push(Entry::new(time, "redirect").with_context(context));
        entries
    }
}

fn name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}

fn header(time: Timestamp) -> Entry {
    Entry::new(time, "header").with_context(json!({
        "version": 1,
        "encoding": {"stdout": "UTF-8", "stderr": "UTF-8"},
        "count": {"stdout": 1, "stderr": 1},
        "options": {},
    }))
}

impl Piece {
    fn into_entry(self) -> Entry {
        let (data, base64) = encode(self.bytes);
        let mut context = json!({"stream": name(self.stream), "rank": self.task.to_string(), "data": data});
        if base64 {
            context["encoding"] = json!("base64");
        }
        Entry::new(self.time, "data").with_context(context)
    }
}

/// Bytes as JSON can carry them; true when that is base64.
pub fn encode(bytes: Vec<u8>) -> (String, bool) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, false),
        Err(e) => (base64::engine::general_purpose::STANDARD.encode(e.as_bytes()), true),
    }
}

/// The bytes of a message, none when it says base64 and is not.
pub fn decode(data: String, base64: bool) -> Option<Vec<u8>> {
    if base64 { base64::engine::general_purpose::STANDARD.decode(data).ok() } else { Some(data.into_bytes()) }
}
