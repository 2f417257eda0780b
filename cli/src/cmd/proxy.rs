//! `flurm proxy`: a shell or a command that speaks to an instance on another machine, and `flurm relay`, its far end.
//!
//! ```text
//!  command ──► socket of ours ──► srun's standard input and output ──► relay ──► socket of the broker
//! ```
//!
//! No ssh and no open port: Slurm carries the bytes as those of a step of the job, and the sockets at both ends are
//! files that only their owner can open. All connections share the one stream; each has a number.

use super::uri::{self, Place, Scheme, Target};
use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use flurm_client::ClientError;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// The first words of a relay, with its version behind them. What srun says before is not ours.
const HELLO: &[u8] = b"\nflurm-relay ";

/// Bytes before which a relay has said who it is.
const HELLO_BYTES_MAX: usize = 64 << 10;

/// Bytes that travel together.
const CHUNK_BYTES: usize = 32 << 10;

/// Chunks that wait for one end; who sends more waits.
const CHUNKS_MAX: usize = 64;

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
                () = carry(&listener, &mut tunnel) => {
                    crate::say!("flurm-proxy: the connection is lost");
                    if !self.reconnect {
                        // What the command does without it is its own affair, as is its exit code.
                        return ended(program.await);
                    }
                    tunnel = Tunnel::open(far, self.force).await?;
                    crate::say!("flurm-proxy: connected again");
                }
            }
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
            let (to_mux, frames) = mpsc::channel(CHUNKS_MAX);
            let (from, to) = standard_streams()?.into_split();
            tokio::spawn(write_frames(to, frames));
            let connect = async |_id| UnixStream::connect(&socket).await.ok();
            read_frames(from, &mut BTreeMap::new(), &to_mux, connect).await;
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

/// A piece of a connection; an empty one ends it.
type Frame = (u32, Vec<u8>);

/// Takes connections and carries them, until the tunnel breaks.
async fn carry(listener: &UnixListener, tunnel: &mut Tunnel) {
    let (to_mux, frames) = mpsc::channel(CHUNKS_MAX);
    let mut ends: BTreeMap<u32, mpsc::Sender<Vec<u8>>> = BTreeMap::new();
    let mut last = 0u32;
    let mut arrived = Reader::default();
    let write = write_frames(&mut tunnel.to, frames);
    tokio::pin!(write);
    loop {
        tokio::select! {
            taken = listener.accept() => {
                let Ok((stream, _)) = taken else { continue };
                last += 1;
                ends.insert(last, attach(last, stream, to_mux.clone()));
            }
            frame = arrived.next(&mut tunnel.from) => {
                let Some((id, bytes)) = frame else { return };
                deliver(&mut ends, id, bytes).await;
            }
            () = &mut write => return,
        }
    }
}

/// Takes frames and makes connections for numbers that are new, until the other side ends.
async fn read_frames(
    mut from: impl AsyncRead + Unpin,
    ends: &mut BTreeMap<u32, mpsc::Sender<Vec<u8>>>,
    to_mux: &mpsc::Sender<Frame>,
    connect: impl AsyncFn(u32) -> Option<UnixStream>,
) {
    let mut arrived = Reader::default();
    let mut newest = 0;
    while let Some((id, bytes)) = arrived.next(&mut from).await {
        // Numbers rise; one that is not there any more has been closed at this end.
        if id > newest {
            newest = id;
            match connect(id).await {
                Some(stream) => drop(ends.insert(id, attach(id, stream, to_mux.clone()))),
                None => drop(to_mux.send((id, Vec::new())).await),
            }
        }
        deliver(ends, id, bytes).await;
    }
}

async fn deliver(ends: &mut BTreeMap<u32, mpsc::Sender<Vec<u8>>>, id: u32, bytes: Vec<u8>) {
    if bytes.is_empty() {
        ends.remove(&id);
    } else if let Some(end) = ends.get(&id)
        && end.send(bytes).await.is_err()
    {
        ends.remove(&id);
    }
}

/// Two tasks for one connection: what is read goes into the tunnel, what comes out of it is written.
fn attach(id: u32, stream: UnixStream, to_mux: mpsc::Sender<Frame>) -> mpsc::Sender<Vec<u8>> {
    let (sender, mut chunks) = mpsc::channel::<Vec<u8>>(CHUNKS_MAX);
    let (mut from, mut to) = stream.into_split();
    tokio::spawn(async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            if to_mux.send((id, buffer[..n].to_vec())).await.is_err() {
                return;
            }
        }
        // That the tunnel is gone is seen by whoever carries.
        let _ = to_mux.send((id, Vec::new())).await;
    });
    tokio::spawn(async move {
        while let Some(bytes) = chunks.recv().await {
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    sender
}

/// Writes frames until the tunnel breaks, or nobody has more.
async fn write_frames(mut to: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Frame>) {
    while let Some((id, bytes)) = frames.recv().await {
        let len = u32::try_from(bytes.len()).expect("a chunk is short");
        let head = [id.to_be_bytes(), len.to_be_bytes()].concat();
        let written = async {
            to.write_all(&head).await?;
            to.write_all(&bytes).await?;
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
                let (id, len) = (number(0), usize::try_from(number(4)).ok()?);
                if len > CHUNK_BYTES {
                    return None;
                }
                if rest.len() >= len {
                    let bytes = rest[..len].to_vec();
                    self.bytes.drain(..8 + len);
                    return Some((id, bytes));
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
        let (sender, frames) = mpsc::channel(4);
        tokio::spawn(write_frames(near, frames));
        let sent = [(1, b"hello".to_vec()), (2, vec![7; 300]), (1, Vec::new())];
        let all = sent.clone();
        tokio::spawn(async move {
            for frame in all {
                sender.send(frame).await.expect("the reader is there");
            }
        });
        let mut reader = Reader::default();
        for frame in sent {
            assert_eq!(reader.next(&mut far).await, Some(frame));
        }
        assert_eq!(reader.next(&mut far).await, None);
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
