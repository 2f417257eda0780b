//! `flurm proxy`: a shell or a command that speaks to an instance on another machine, and `flurm relay`, its far end.
//!
//! ```text
//!  command ──► socket of ours ──► srun's standard input and output ──► relay ──► socket of the broker
//! ```
//!
//! No ssh and no open port: Slurm carries the bytes as those of a step of the job, and the sockets at both ends are
//! files that only their owner can open. All connections share the one stream; each has a number, and a credit: so
//! much of it may be on the way to whoever reads it. One that does not read fills its own credit and stops nobody else.

use super::uri::{self, Place, Scheme, Target};
use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use flurm_client::ClientError;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};

/// The first words of a relay, with its version behind them. What srun says before is not ours.
const HELLO: &[u8] = b"\nflurm-relay ";

/// Bytes before which a relay has said who it is.
const HELLO_BYTES_MAX: usize = 64 << 10;

/// Bytes that travel together. Slurm passes on what tasks write line by line, and in pieces of 1024 bytes.
const CHUNK_BYTES: usize = 1000;

/// Chunks of a connection, in one direction, that its reader has not got yet; who sends more waits.
const CREDIT: usize = 512;

/// In place of a length: so many chunks have been read.
const TAKEN: u32 = 1 << 31;

/// Between tries to connect again, the last of them until the end.
const PAUSES_S: [u64; 6] = [1, 2, 4, 8, 16, 30];

/// A quarter of an hour of them.
const TRIES_MAX: usize = 34;

/// A shell or a command that speaks to another instance, wherever it is
///
/// TARGET is as `flurm uri` takes it. From a login node, `flurm proxy slurm:JOBID flurm jobs` reaches the instance of a
/// Slurm job through `srun --overlap`.
#[derive(Debug, clap::Args)]
pub struct Proxy {
    /// Go on although the other side has another version
    #[arg(short, long)]
    force: bool,
    /// Let the command live on when the terminal goes
    #[arg(short, long)]
    nohup: bool,
    /// Connect again when the connection breaks
    #[arg(long)]
    reconnect: bool,
    target: String,
    /// A command and its arguments (default: your shell)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Carry connections from standard input to a broker here
#[derive(Debug, clap::Args)]
pub struct Relay {
    /// Only print where the broker listens
    #[arg(long = "where")]
    only_where: bool,
    /// The outermost instance of this Slurm job
    #[arg(long, value_name = "JOBID")]
    slurm: Option<String>,
    /// The broker's socket
    #[arg(required_unless_present = "slurm")]
    socket: Option<PathBuf>,
}

impl Proxy {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let target = Target::parse(&self.target)?;
        let far = match &target.scheme {
            Scheme::Slurm(id) => Far::Slurm { job: id.clone(), host: None, socket: None },
            Scheme::Jobs(_) | Scheme::Pid(_) | Scheme::Place(_) => {
                let Place { host, socket } = target.place(face)?;
                let place = Place { host, socket };
                if place.is_here() {
                    let status = self.command(&place.socket).status();
                    return Ok(code(status.map_err(|e| cannot_run(&self.command, &e))?));
                }
                let job = std::env::var("SLURM_JOB_ID").map_err(|_| {
                    Failure::new(format!(
                        "{} can be reached through Slurm only, and we are in no job of it",
                        place.host
                    ))
                    .hint("`flurm proxy slurm:JOBID COMMAND` names the Slurm job")
                })?;
                Far::Slurm { job, host: Some(place.host), socket: Some(place.socket) }
            }
        };
        let runtime = runtime()?;
        let code = runtime.block_on(self.there(&far));
        runtime.shutdown_background();
        code
    }

    async fn there(&self, far: &Far) -> Result<u8, Failure> {
        let (dir, listener) = listen()?;
        let socket = dir.0.join("local");
        let mut tunnel = Tunnel::open(far, self.force).await?;
        let mut program = self.command(&socket).spawn().map_err(|e| cannot_run(&self.command, &e))?;
        let mut program = tokio::task::spawn_blocking(move || program.wait());
        let ended = |joined: Result<std::io::Result<ExitStatus>, _>| {
            Ok(code(joined.expect("waiting does not panic")?))
        };
        loop {
            tokio::select! {
                status = &mut program => return ended(status),
                () = carry(&listener, &mut tunnel.from, &mut tunnel.to) => {}
            }
            crate::say!("flurm-proxy: the connection is lost");
            drop(tunnel);
            let again = async {
                match self.reconnect {
                    true => again(far, self.force).await,
                    false => None,
                }
            };
            let opened = tokio::select! {
                status = &mut program => return ended(status),
                opened = again => opened,
            };
            let Some(opened) = opened else {
                // What the command does without it is its own affair, as is its exit code; nobody is kept waiting.
                drop(listener);
                return ended(program.await);
            };
            tunnel = opened;
            crate::say!("flurm-proxy: connected again");
        }
    }

    fn command(&self, socket: &Path) -> Command {
        let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
        let words = if self.command.is_empty() { vec![shell] } else { self.command.clone() };
        let mut command = Command::new(&words[0]);
        let uri = flurm_client::Uri::from_path(socket).to_string();
        command.args(&words[1..]).env("FLURM_URI", &uri).env("FLUX_URI", &uri);
        command.env("FLUX_PROXY_REMOTE", &self.target);
        if self.nohup {
            // SAFETY: between fork and exec, signal(2) is allowed; it keeps HUP from ending the program.
            unsafe {
                command.pre_exec(|| {
                    libc::signal(libc::SIGHUP, libc::SIG_IGN);
                    Ok(())
                });
            }
        }
        command
    }
}

/// Connects again, for as long as that makes sense.
async fn again(far: &Far, force: bool) -> Option<Tunnel> {
    let [.., last] = PAUSES_S;
    for pause in PAUSES_S.into_iter().chain(std::iter::repeat(last)).take(TRIES_MAX) {
        match Tunnel::open(far, force).await {
            Ok(tunnel) => return Some(tunnel),
            Err(failure) => crate::say!("flurm-proxy: {}; another try in {pause} s", failure.said().0),
        }
        tokio::time::sleep(Duration::from_secs(pause)).await;
    }
    crate::say!("flurm-proxy: there is no connecting again");
    None
}

fn cannot_run(words: &[String], error: &std::io::Error) -> Failure {
    let name = words.first().map_or("your shell", String::as_str);
    let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
    Failure::new(format!("cannot run {name}: {error}")).code(code)
}

fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    out::exit_code(status.into_raw())
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
    made.map_err(|error| ClientError::Runtime(error).into())
}

/// A directory of ours that goes when it is dropped.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        // It is in the way of nobody if it stays.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn listen() -> Result<(Dir, UnixListener), Failure> {
    let name = format!("flurm-proxy-{}-{}", rustix::process::getuid().as_raw(), std::process::id());
    let path = std::env::temp_dir().join(name);
    let cannot = |e: std::io::Error| Failure::new(format!("cannot listen in {}: {e}", path.display()));
    // Ours alone: making it fails if somebody has made it before.
    std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(cannot)?;
    let dir = Dir(path.clone());
    let socket = path.join("local");
    let listener = UnixListener::bind(&socket).map_err(cannot)?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600)).map_err(cannot)?;
    Ok((dir, listener))
}

/// How the other machine is reached.
enum Far {
    Slurm { job: String, host: Option<String>, socket: Option<PathBuf> },
}

/// A relay on the other machine.
struct Tunnel {
    to: OwnedWriteHalf,
    from: OwnedReadHalf,
    srun: Child,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // It has ended, or is of no use.
        let _ = self.srun.kill();
        let _ = self.srun.wait();
    }
}

impl Tunnel {
    async fn open(far: &Far, force: bool) -> Result<Tunnel, Failure> {
        let Far::Slurm { job, host, socket } = far;
        let mut command = uri::srun(job, host.as_deref());
        command.arg(uri::own_program()?).arg("relay");
        match socket {
            Some(socket) => command.arg(socket),
            None => command.arg("--slurm").arg(job),
        };
        let (near, theirs) = std::os::unix::net::UnixStream::pair()?;
        near.set_nonblocking(true)?;
        command.stdin(OwnedFd::from(theirs.try_clone()?)).stdout(OwnedFd::from(theirs));
        let srun = command.spawn().map_err(|error| {
            Failure::new(format!("cannot run srun: {error}"))
                .hint("instances elsewhere are reached through Slurm")
        })?;
        // It holds our copies of the other end.
        drop(command);
        let (from, to) = UnixStream::from_std(near)?.into_split();
        let mut tunnel = Tunnel { to, from, srun };
        let version = hello(&mut tunnel.from).await.map_err(|_| {
            Failure::new(format!("no instance of Slurm job {job} answers"))
                .hint("srun has said above why, or the job has no instance")
        })?;
        let own = env!("CARGO_PKG_VERSION");
        if version != own && !force {
            return Err(Failure::new(format!("the other side has version {version}, and this is {own}"))
                .hint("--force goes on all the same"));
        }
        Ok(tunnel)
    }
}

/// Reads up to the end of a relay's greeting; its version.
async fn hello(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    let (mut seen, mut begun) = (Vec::new(), None);
    while seen.len() < HELLO_BYTES_MAX {
        seen.push(from.read_u8().await?);
        match begun {
            // Only what is new can be its end.
            None => begun = seen.ends_with(HELLO).then_some(seen.len()),
            Some(at) if seen.ends_with(b"\n") && at < seen.len() - 1 => {
                return Ok(String::from_utf8_lossy(&seen[at..seen.len() - 1]).into_owned());
            }
            Some(_) => {}
        }
    }
    Err(std::io::ErrorKind::InvalidData.into())
}

impl Relay {
    pub fn run(self, _face: &Face) -> Result<u8, Failure> {
        let socket = match (&self.slurm, self.socket) {
            (Some(job), _) => uri::in_slurm_job(job)?.socket,
            (None, socket) => socket.expect("one of the two is required"),
        };
        let mut out = std::io::stdout();
        if self.only_where {
            writeln!(out, "ssh://{}{}", uri::this_host(), socket.display())?;
            return Ok(0);
        }
        out.write_all(HELLO)?;
        writeln!(out, "{}", env!("CARGO_PKG_VERSION"))?;
        out.flush()?;
        runtime()?.block_on(async {
            let (from, to) = standard_streams()?.into_split();
            serve(from, to, async || UnixStream::connect(&socket).await.ok()).await;
            Ok::<(), Failure>(())
        })?;
        // A thread may still wait for standard input.
        std::process::exit(0);
    }
}

/// Standard input and output as one stream, whatever kind of file they are: two threads copy.
fn standard_streams() -> std::io::Result<UnixStream> {
    let (near, inner) = std::os::unix::net::UnixStream::pair()?;
    near.set_nonblocking(true)?;
    let mut read = inner.try_clone()?;
    std::thread::spawn(move || {
        // The end of either side is the end of the relay.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut &inner);
        let _ = inner.shutdown(std::net::Shutdown::Write);
    });
    std::thread::spawn(move || {
        let mut out = std::io::stdout();
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(n @ 1..) = std::io::Read::read(&mut read, &mut buffer) {
            if out.write_all(&buffer[..n]).and_then(|()| out.flush()).is_err() {
                std::process::exit(0);
            }
        }
    });
    UnixStream::from_std(near)
}

/// What travels in the tunnel, with the number of its connection.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Frame {
    /// An empty one ends it.
    Chunk(u32, Vec<u8>),
    /// One more of its chunks has been read.
    Taken(u32),
}

/// Frames on their way into the tunnel. Their number is limited by the credit of the connections.
type Mux = mpsc::UnboundedSender<Frame>;

/// Takes connections and carries them, until the tunnel breaks.
async fn carry(
    listener: &UnixListener,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) {
    let (mux, frames) = mpsc::unbounded_channel();
    let mut ends = Ends::default();
    let mut last = 0u32;
    let mut arrived = Reader::default();
    let write = write_frames(to, frames);
    tokio::pin!(write);
    loop {
        tokio::select! {
            taken = listener.accept() => {
                let Ok((stream, _)) = taken else { continue };
                last += 1;
                ends.attach(last, stream, &mux);
            }
            frame = arrived.next(from) => {
                let Some(frame) = frame else { return };
                ends.deliver(frame, &mux);
            }
            () = &mut write => return,
        }
    }
}

/// Takes frames and makes connections for numbers that are new, until the other side ends.
async fn serve(
    mut from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin + Send + 'static,
    connect: impl AsyncFn() -> Option<UnixStream>,
) {
    let (mux, frames) = mpsc::unbounded_channel();
    tokio::spawn(write_frames(to, frames));
    let mut ends = Ends::default();
    let mut arrived = Reader::default();
    let mut over = Over::default();
    while let Some(frame) = arrived.next(&mut from).await {
        let of = if let Frame::Chunk(id, _) = frame { Some(id) } else { None };
        if let Some(id) = of.filter(|id| !over.has(*id) && !ends.0.contains_key(id)) {
            match connect().await {
                Some(stream) => ends.attach(id, stream, &mux),
                // That the tunnel is gone is seen by whoever reads it.
                None => drop(mux.send(Frame::Chunk(id, Vec::new()))),
            }
        }
        ends.deliver(frame, &mux);
        if let Some(id) = of.filter(|id| !ends.0.contains_key(id)) {
            over.add(id);
        }
    }
}

/// Numbers of connections that have ended. They rise, but the first words of two that begin together come in any order.
#[derive(Debug, Default)]
struct Over {
    /// All up to this one.
    below: u32,
    above: BTreeSet<u32>,
}

impl Over {
    fn has(&self, id: u32) -> bool {
        id <= self.below || self.above.contains(&id)
    }

    fn add(&mut self, id: u32) {
        if self.has(id) {
            return;
        }
        self.above.insert(id);
        while self.above.remove(&(self.below + 1)) {
            self.below += 1;
        }
    }
}

/// Connections at this end of the tunnel, by number.
#[derive(Default)]
struct Ends(BTreeMap<u32, End>);

struct End {
    /// To whoever writes them.
    chunks: mpsc::Sender<Vec<u8>>,
    /// Of whoever reads here.
    credit: Arc<Semaphore>,
}

impl Drop for End {
    fn drop(&mut self) {
        // Nobody is left to give more.
        self.credit.close();
    }
}

impl Ends {
    /// Two tasks for one connection: what is read goes into the tunnel, what comes out of it is written.
    fn attach(&mut self, id: u32, stream: UnixStream, mux: &Mux) {
        let (sender, mut chunks) = mpsc::channel::<Vec<u8>>(CREDIT);
        let credit = Arc::new(Semaphore::new(CREDIT));
        let (mut from, mut to) = stream.into_split();
        let (out, own) = (mux.clone(), credit.clone());
        tokio::spawn(async move {
            let mut buffer = vec![0; CHUNK_BYTES];
            while let Ok(permit) = own.acquire().await
                && let Ok(n @ 1..) = from.read(&mut buffer).await
            {
                permit.forget();
                if out.send(Frame::Chunk(id, buffer[..n].to_vec())).is_err() {
                    return;
                }
            }
            drop(out.send(Frame::Chunk(id, Vec::new())));
        });
        let out = mux.clone();
        tokio::spawn(async move {
            let mut written = Ok(());
            while let Some(bytes) = chunks.recv().await {
                // Whom nobody listens to any more goes on until it has heard that.
                if written.is_ok() {
                    written = to.write_all(&bytes).await;
                }
                drop(out.send(Frame::Taken(id)));
            }
        });
        self.0.insert(id, End { chunks: sender, credit });
    }

    /// Never waits: of each connection no more comes than there is room for.
    fn deliver(&mut self, frame: Frame, mux: &Mux) {
        match frame {
            Frame::Taken(id) => {
                if let Some(end) = self.0.get(&id).filter(|end| end.credit.available_permits() < CREDIT) {
                    end.credit.add_permits(1);
                }
            }
            Frame::Chunk(id, bytes) => match self.0.entry(id) {
                Entry::Occupied(end) if bytes.is_empty() => drop(end.remove()),
                Entry::Occupied(end) => {
                    // Who sends more than its credit does not speak our language.
                    if end.get().chunks.try_send(bytes).is_err() {
                        end.remove();
                        drop(mux.send(Frame::Chunk(id, Vec::new())));
                    }
                }
                // Closed here; that is on its way to the other side.
                Entry::Vacant(_) => {}
            },
        }
    }
}

/// Behind each frame, so that it is a line and nobody waits for its end.
const LINE_END: u8 = b'\n';

/// Writes frames until the tunnel breaks, or nobody has more.
async fn write_frames(mut to: impl AsyncWrite + Unpin, mut frames: mpsc::UnboundedReceiver<Frame>) {
    while let Some(frame) = frames.recv().await {
        let (id, len, bytes) = match frame {
            Frame::Chunk(id, bytes) => (id, u32::try_from(bytes.len()).expect("a chunk is short"), bytes),
            Frame::Taken(id) => (id, TAKEN, Vec::new()),
        };
        let head = [id.to_be_bytes(), len.to_be_bytes()].concat();
        let written = async {
            to.write_all(&head).await?;
            to.write_all(&bytes).await?;
            to.write_all(&[LINE_END]).await?;
            to.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
}

/// Bytes of the tunnel that make no whole frame yet. What was read is kept when a wait is given up.
#[derive(Default)]
struct Reader {
    bytes: Vec<u8>,
}

impl Reader {
    async fn next(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
        loop {
            if let Some((head, rest)) = self.bytes.split_at_checked(8) {
                let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes"));
                let (id, taken) = (number(0), number(4) == TAKEN);
                let len = if taken { 0 } else { usize::try_from(number(4)).ok()? };
                if len > CHUNK_BYTES {
                    return None;
                }
                if let Some(end) = rest.get(len) {
                    if *end != LINE_END {
                        return None;
                    }
                    let bytes = rest[..len].to_vec();
                    self.bytes.drain(..=8 + len);
                    return Some(if taken { Frame::Taken(id) } else { Frame::Chunk(id, bytes) });
                }
            }
            // Cancelling this read loses nothing.
            if from.read_buf(&mut self.bytes).await.ok()? == 0 {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_out_as_they_went_in() {
        let (near, mut far) = tokio::io::duplex(16);
        let (sender, frames) = mpsc::unbounded_channel();
        tokio::spawn(write_frames(near, frames));
        let chunk = |id, bytes: &[u8]| Frame::Chunk(id, bytes.to_vec());
        let sent = [chunk(1, b"hello"), Frame::Taken(7), chunk(2, &[7; 300]), chunk(1, b"")];
        for frame in &sent {
            sender.send(frame.clone()).expect("the reader is there");
        }
        drop(sender);
        let mut reader = Reader::default();
        for frame in sent {
            assert_eq!(reader.next(&mut far).await, Some(frame));
        }
        assert_eq!(reader.next(&mut far).await, None);
    }

    /// Both ends of a proxy; at the far one a server that sends as much as is asked for, in decimal digits and a newline.
    async fn proxied(dir: &Path) -> PathBuf {
        let socket = dir.join("near");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (near, far) = tokio::io::duplex(1 << 16);
        let (mut from, mut to) = tokio::io::split(near);
        tokio::spawn(async move { carry(&listener, &mut from, &mut to).await });
        let (from, to) = tokio::io::split(far);
        tokio::spawn(serve(from, to, async || {
            let (ours, theirs) = UnixStream::pair().ok()?;
            tokio::spawn(async move {
                let (mut asked, mut answers) = ours.into_split();
                let mut text = String::new();
                while let Ok(byte) = asked.read_u8().await {
                    text.push(char::from(byte));
                    if let Some(number) = text.strip_suffix('\n') {
                        let bytes = vec![7; number.parse().expect("a number")];
                        text.clear();
                        if answers.write_all(&bytes).await.is_err() {
                            return;
                        }
                    }
                }
            });
            Some(theirs)
        }));
        socket
    }

    #[tokio::test]
    async fn one_that_does_not_read_stops_nobody_else_and_has_all_when_it_does() {
        const MUCH: usize = 20 << 20;
        let dir = tempfile::tempdir().expect("a directory");
        let socket = proxied(dir.path()).await;
        let all = async {
            let mut lazy = UnixStream::connect(&socket).await.expect("it listens");
            lazy.write_all(format!("{MUCH}\n").as_bytes()).await.expect("room");
            // It has something, so its answer is on the way, and more than fits anywhere.
            lazy.read_u8().await.expect("the first byte");
            let mut other = UnixStream::connect(&socket).await.expect("it listens");
            for len in [1_usize, 100_000, 3 << 20] {
                other.write_all(format!("{len}\n").as_bytes()).await.expect("room");
                let mut got = vec![0; len];
                other.read_exact(&mut got).await.expect("an answer");
            }
            // One that asks and goes away leaves its credit behind, and the numbers go on.
            let mut gone = UnixStream::connect(&socket).await.expect("it listens");
            gone.write_all(format!("{MUCH}\n").as_bytes()).await.expect("room");
            gone.read_u8().await.expect("the first byte");
            drop(gone);
            let mut rest = vec![0; MUCH - 1];
            lazy.read_exact(&mut rest).await.expect("all the rest");
        };
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("nobody waits for another");
    }

    #[tokio::test]
    async fn connections_that_begin_together_are_both_made_and_none_begins_again() {
        let (sender, frames) = mpsc::unbounded_channel();
        let (near, far) = tokio::io::duplex(1 << 12);
        tokio::spawn(write_frames(near, frames));
        for (id, text) in [(2, "b"), (1, "a"), (2, ""), (1, ""), (2, "late"), (3, "c")] {
            assert!(sender.send(Frame::Chunk(id, text.into())).is_ok());
        }
        drop(sender);
        let made = std::cell::Cell::new(0);
        let (to, _kept) = tokio::io::duplex(1 << 12);
        let connect = async || {
            made.set(made.get() + 1);
            UnixStream::pair().ok().map(|(near, _far)| near)
        };
        serve(far, to, connect).await;
        assert_eq!(made.get(), 3);
    }

    #[tokio::test]
    async fn what_is_said_before_the_greeting_is_not_ours() {
        let mut said: &[u8] = b"srun: step created\nwelcome\n\nflurm-relay 1.2.3\nrest";
        assert_eq!(hello(&mut said).await.expect("a greeting"), "1.2.3");
        assert_eq!(said, b"rest");
        assert!(hello(&mut &b"nothing"[..]).await.is_err());
    }

    #[tokio::test]
    async fn a_long_message_of_the_day_takes_no_longer_than_its_bytes() {
        // Where each byte looks at all before it, this takes minutes.
        let begun = std::time::Instant::now();
        for _ in 0..4 {
            let mut said = vec![b'f'; HELLO_BYTES_MAX - 100];
            said.extend_from_slice(HELLO);
            said.extend_from_slice(b"9\n");
            assert_eq!(hello(&mut &said[..]).await.expect("a greeting"), "9");
        }
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }
}
