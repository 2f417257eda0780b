//! Standard streams of tasks: pipes to the job's log or to files, input from the instance to pipes.
//!
//! A reader asks for room before it takes bytes out of a pipe. Room comes back when the leader has committed what was
//! sent, so a leader that is slow makes the task wait in its write, and nothing piles up here.
//!
//! No reader is ended by others. When nobody can add to a job's output any more but its pipes have no end, because
//! somebody outside the job holds them open, readers are called: they take what is there, and end.

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
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::unix::pipe;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, mpsc};

/// Bytes of output of one job that the leader has not acknowledged. Each job has its own, for one whose reader has
/// stopped must not hold the others.
pub const UNACKNOWLEDGED_BYTES_MAX: usize = 2 << 20;

/// Taken out of a pipe at once, and the longest piece that waits for the end of its line. A pipe holds as much.
pub const PIECE_BYTES_MAX: usize = 64 << 10;

/// Input of one task that it has not read. A task that never reads must not fill our memory.
pub const STDIN_BYTES_MAX: usize = 64 << 20;

/// Taken out of a pipe after the last call: the most that a pipe of an ordinary user can hold. Who holds it open may
/// write for ever.
const LAST_BYTES_MAX: usize = 1 << 20;

thread_local! {
    /// All readers share it; between a read and its use nobody waits.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE_BYTES_MAX]);
}

/// What the readers of one job share.
#[derive(Debug)]
pub struct Room {
    /// For output that has not been acknowledged.
    pub bytes: Semaphore,
    pub call: Call,
}

impl Room {
    pub fn new(bytes: usize) -> Room {
        Room { bytes: Semaphore::new(bytes), call: Call::default() }
    }
}

/// How readers are told to come to an end.
#[derive(Debug, Default)]
pub struct Call {
    last: AtomicU8,
    told: Notify,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Last {
    /// What is in the pipe is the rest.
    Rest = 1,
    /// Nor is anybody waited for to whom it goes.
    Now = 2,
}

impl Call {
    pub fn tell(&self, last: Last) {
        self.last.store(last as u8, Ordering::Relaxed);
        self.told.notify_waiters();
    }

    pub fn is(&self, last: Last) -> bool {
        self.last.load(Ordering::Relaxed) >= last as u8
    }

    /// Other pipes have just begun.
    pub fn take_back(&self) {
        self.last.store(0, Ordering::Relaxed);
    }

    pub async fn heard(&self, last: Last) {
        loop {
            // Made first, it misses nothing that is told after the look.
            let told = self.told.notified();
            if self.is(last) {
                return;
            }
            told.await;
        }
    }
}

/// Our end of a pipe that a task writes to.
///
/// # Errors
/// The kernel watches no more descriptors for us.
pub fn reading(pipe: OwnedFd) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd_unchecked(pipe)
}

/// Our end of a pipe that a task reads from.
///
/// # Errors
/// As above.
pub fn writing(pipe: OwnedFd) -> io::Result<pipe::Sender> {
    pipe::Sender::from_owned_fd_unchecked(pipe)
}

/// Reads one stream of a task until its end or the last call, and tells the shell piece by piece. False when something
/// had to be left behind.
pub async fn read_output(
    pipe: pipe::Receiver,
    lines: bool,
    room: &Semaphore,
    call: &Call,
    mut tell: impl FnMut(Vec<u8>),
) -> bool {
    // Less than a piece: the beginning of a line.
    let mut held: Vec<u8> = Vec::new();
    // How much more is taken, once it is known that there is an end to it.
    let mut rest: Option<usize> = None;
    while rest != Some(0) {
        if rest.is_none() {
            tokio::select! {
                biased;
                () = call.heard(Last::Rest) => rest = Some(LAST_BYTES_MAX),
                ready = pipe.readable() => if ready.is_err() {
                    break;
                },
            }
        }
        let Some(mut permit) = wait_for(room, PIECE_BYTES_MAX, call).await else {
            let left = rustix::io::ioctl_fionread(&pipe).is_ok_and(|left| left > 0);
            return held.is_empty() && !left;
        };
        let read = BUFFER.with_borrow_mut(|buffer| {
            let buffer = &mut buffer[held.len()..];
            let n = match rest {
                None => pipe.try_read(buffer)?,
                // Whether the runtime has heard that there is something plays no part any more.
                Some(_) => rustix::io::read(&pipe, &mut *buffer)?,
            };
            held.extend_from_slice(&buffer[..n]);
            Ok::<usize, io::Error>(n)
        });
        let n = match read {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && rest.is_none() => continue,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => break,
            Ok(n) => n,
        };
        rest = rest.map(|rest| rest.saturating_sub(n));
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
    if held.is_empty() {
        return true;
    }
    let Some(used) = wait_for(room, held.len(), call).await else { return false };
    used.forget();
    tell(held);
    true
}

/// None: nobody is waited for any more.
async fn wait_for<'a>(room: &'a Semaphore, bytes: usize, call: &Call) -> Option<SemaphorePermit<'a>> {
    let bytes = u32::try_from(bytes).expect("a piece at most");
    tokio::select! {
        biased;
        permit = room.acquire_many(bytes) => Some(permit.expect("it is never closed")),
        () = call.heard(Last::Now) => None,
    }
}

/// A file that we write to for several streams.
#[derive(Debug)]
pub struct Lines {
    pub file: File,
    /// Whose line has no end yet.
    open: Mutex<Option<(u32, Stream)>>,
}

impl Lines {
    pub fn new(file: File) -> Lines {
        Lines { file, open: Mutex::default() }
    }

    /// Every line that is written has its label. One that is longer than a piece and has others between its pieces becomes
    /// several.
    fn write(&self, who: (u32, Stream), label: &str, piece: &[u8]) -> io::Result<()> {
        if label.is_empty() {
            return (&self.file).write_all(piece);
        }
        let mut open = self.open.lock().expect("nothing panics while it is held");
        let mut goes_on = *open == Some(who);
        let mut out = Vec::with_capacity(piece.len() + label.len() + 1);
        if open.is_some() && !goes_on {
            out.push(b'\n');
        }
        for line in piece.split_inclusive(|b| *b == b'\n') {
            if !std::mem::take(&mut goes_on) {
                out.extend_from_slice(label.as_bytes());
            }
            out.extend_from_slice(line);
        }
        *open = (!piece.ends_with(b"\n")).then_some(who);
        (&self.file).write_all(&out)
    }
}

/// Copies one stream of a task to a file that others write to as well: whole lines, each with its label.
///
/// # Errors
/// Not all of it is there.
pub async fn copy_to_file(
    pipe: pipe::Receiver,
    (file, label): (Arc<Lines>, String),
    who: (u32, Stream),
    call: &Call,
) -> io::Result<()> {
    let (send, mut pieces) = mpsc::unbounded_channel::<Vec<u8>>();
    let room = Arc::new(Semaphore::new(2 * PIECE_BYTES_MAX));
    let mut writer = tokio::spawn({
        let room = Arc::clone(&room);
        async move {
            let mut written = Ok(());
            while let Some(piece) = pieces.recv().await {
                let len = piece.len();
                // After a failure it goes nowhere, and nobody waits for that.
                if written.is_ok() {
                    let (file, label): (Arc<Lines>, String) = (Arc::clone(&file), label.clone());
                    // A file system may take its time; the shell must not wait for it.
                    let write = tokio::task::spawn_blocking(move || file.write(who, &label, &piece));
                    written = write.await.map_err(io::Error::other).flatten();
                }
                room.add_permits(len);
            }
            written
        }
    });
    let whole = read_output(pipe, true, &room, call, move |piece| {
        // The writer lives as long as we can send to it.
        let _ = send.send(piece);
    })
    .await;
    let late = || Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time, some may be lost"));
    tokio::select! {
        biased;
        written = &mut writer => {
            let written = written.map_err(io::Error::other).flatten();
            if whole { written } else { written.and_then(|()| late()) }
        }
        () = call.heard(Last::Now) => {
            writer.abort();
            late()
        }
    }
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
    pipe: pipe::Sender,
    mut inputs: mpsc::UnboundedReceiver<Input>,
    queued_bytes: Arc<AtomicUsize>,
    terminal: bool,
) {
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

/// How many bytes [`encode`] was given.
pub fn length(data: &str, base64: bool) -> usize {
    if !base64 {
        return data.len();
    }
    let padding = data.bytes().rev().take_while(|b| *b == b'=').count();
    data.len() / 4 * 3 - padding
}

/// The bytes of a message, none when it says base64 and is not.
pub fn decode(data: String, base64: bool) -> Option<Vec<u8>> {
    if base64 { base64::engine::general_purpose::STANDARD.decode(data).ok() } else { Some(data.into_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Poll;

    fn pipe() -> (OwnedFd, File) {
        let (ours, theirs) = crate::files::pipe(true).unwrap();
        (ours, theirs.into())
    }

    /// All that is read, and whether that is everything.
    async fn read(pipe: OwnedFd, room: &Room) -> (Vec<u8>, bool) {
        let mut all = Vec::new();
        let pipe = reading(pipe).unwrap();
        let whole = read_output(pipe, true, &room.bytes, &room.call, |piece| {
            // As if it were acknowledged at once.
            room.bytes.add_permits(piece.len());
            all.extend(piece);
        });
        let whole = whole.await;
        (all, whole)
    }

    #[tokio::test]
    async fn a_reader_that_is_called_before_it_has_looked_takes_what_is_there() {
        let room = Room::new(PIECE_BYTES_MAX);
        let (ours, mut theirs) = pipe();
        rustix::pipe::fcntl_setpipe_size(&theirs, LAST_BYTES_MAX).unwrap();
        let said: Vec<u8> = (0..50_000_u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        theirs.write_all(&said).unwrap();
        theirs.write_all(b"no end").unwrap();
        room.call.tell(Last::Rest);
        // Whoever holds the other end keeps it open.
        let (all, whole) = read(ours, &room).await;
        assert!(all == [&said[..], b"no end"].concat() && whole, "{} bytes", all.len());
        room.call.take_back();
        let (ours, theirs) = pipe();
        let mut reader = std::pin::pin!(read(ours, &room));
        assert!(poll_fn(|cx| Poll::Ready(reader.as_mut().poll(cx).is_pending())).await);
        (&theirs).write_all(b"more").unwrap();
        drop(theirs);
        assert_eq!(reader.await, (b"more".to_vec(), true));
    }

    #[tokio::test]
    async fn one_that_waits_for_room_says_that_it_leaves_something_behind() {
        let room = Room::new(0);
        let (ours, mut theirs) = pipe();
        theirs.write_all(b"line\n").unwrap();
        {
            let mut reader = std::pin::pin!(read(ours, &room));
            room.call.tell(Last::Rest);
            assert!(poll_fn(|cx| Poll::Ready(reader.as_mut().poll(cx).is_pending())).await);
            room.call.tell(Last::Now);
            assert_eq!(reader.await, (Vec::new(), false));
        }
        let (ours, _theirs) = pipe();
        assert_eq!(read(ours, &room).await, (Vec::new(), true), "an empty pipe loses nothing");
    }

    #[tokio::test]
    async fn a_descriptor_that_cannot_be_watched_is_an_error() {
        let null = || OwnedFd::from(File::options().read(true).write(true).open("/dev/null").unwrap());
        assert!(reading(null()).is_err() && writing(null()).is_err());
    }

    #[tokio::test]
    async fn a_file_that_takes_nothing_does_not_hold_up_the_task() {
        let full = Arc::new(Lines::new(File::options().append(true).open("/dev/full").unwrap()));
        let (ours, mut theirs) = pipe();
        let task = std::thread::spawn(move || {
            // Far more than we keep.
            (0..1000).for_each(|_| theirs.write_all(&[b'\n'; 4096]).unwrap());
        });
        let call = Call::default();
        let copied = copy_to_file(reading(ours).unwrap(), (full, String::new()), (0, Stream::Stdout), &call);
        assert_eq!(copied.await.unwrap_err().kind(), io::ErrorKind::StorageFull);
        task.join().unwrap();
    }

    #[test]
    fn every_line_of_a_file_has_one_label_at_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        let lines = Lines::new(File::create(&path).unwrap());
        let write = |task: u32, piece: &str| {
            lines.write((task, Stream::Stdout), &format!("{task}: "), piece.as_bytes()).unwrap();
        };
        write(0, "a\nlong ");
        write(0, "line ");
        write(0, "goes on\n");
        write(1, "b\n");
        write(0, "long ");
        write(1, "c\nd");
        write(0, "is cut\n");
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text, "0: a\n0: long line goes on\n1: b\n0: long \n1: c\n1: d\n0: is cut\n");
    }
}
