//! The I/O stream of one node to `srun`: packets of the tasks' output, packets of their input.

use flurm_client::Client;
use flurm_slurm_protocol::Version;
use flurm_slurm_protocol::io::{ALL_TASKS, Head, Init, Kind};
use flurm_types::Idset;
use flurm_wire::Dest;
use flurm_wire::follow::Feed;
use flurm_wire::job::Window;
use flurm_wire::rexec::Stream;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// What `srun` reads into: a longer packet would be the end of it.
const PACKET_BYTES_MAX: usize = 1024;
/// Input that is passed on at once.
const FEED_BYTES_MAX: usize = 64 << 10;

/// `srun` on a busy node takes a connection within this time.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Its queue of connections may be full for a moment.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// Tried again, but not for ever.
///
/// # Errors
/// `srun` is not there.
pub async fn connect(
    to: SocketAddr,
    version: Version,
    node: u32,
    objects: (u32, u32),
    key: Vec<u8>,
) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    let mut attempt = 0;
    loop {
        let tried = timeout(CONNECT_MAX, connect_once(to, version, node, objects, key.clone())).await;
        attempt += 1;
        match tried.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(halves) => return Ok(halves),
            Err(error) if attempt == TRIES => return Err(error),
            Err(_) => tokio::time::sleep(PAUSE * 2_u32.pow(attempt)).await,
        }
    }
}

async fn connect_once(
    to: SocketAddr,
    version: Version,
    node: u32,
    objects: (u32, u32),
    key: Vec<u8>,
) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let init = Init { version, node, stdout_objects: objects.0, stderr_objects: objects.1, key };
    let init = init.write().map_err(|_| io::ErrorKind::InvalidInput)?;
    let length = u32::try_from(init.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes()[..], &init].concat()).await?;
    Ok(stream.into_split())
}

/// Packets of what a task has said; nothing is the end of the stream.
pub fn packets(stream: Stream, task: u32, local: u32, bytes: &[u8]) -> Vec<u8> {
    let kind = match stream {
        Stream::Stdout => Kind::Stdout,
        Stream::Stderr => Kind::Stderr,
    };
    let head =
        |length: usize| Head { kind, task: task as u16, local_task: local as u16, length: length as u32 };
    if bytes.is_empty() {
        return head(0).write().to_vec();
    }
    let count = bytes.len().div_ceil(PACKET_BYTES_MAX);
    let mut out = Vec::with_capacity(bytes.len() + count * Head::LEN);
    for piece in bytes.chunks(PACKET_BYTES_MAX) {
        out.extend_from_slice(&head(piece.len()).write());
        out.extend_from_slice(piece);
    }
    out
}

/// # Errors
/// `srun` has gone.
pub async fn write(half: &mut OwnedWriteHalf, bytes: &[u8]) -> io::Result<()> {
    half.write_all(bytes).await
}

/// Passes input on until `srun` hangs up. The next packet is read when the tasks have taken the one before.
pub async fn feed(mut half: OwnedReadHalf, client: Client, name: String) {
    let mut held: Vec<u8> = Vec::new();
    let mut buffer = vec![0; FEED_BYTES_MAX];
    loop {
        let read = half.read(&mut buffer).await;
        let Ok(n @ 1..) = read else { return };
        held.extend_from_slice(&buffer[..n]);
        let mut rest = &held[..];
        // Packets for the same tasks in a row are one.
        let mut open: Option<(Option<u32>, Vec<u8>)> = None;
        while let Some((head, data)) = next(&mut rest) {
            let Some(head) = head else { return };
            let whom = match head.kind {
                Kind::Stdin if head.task != ALL_TASKS => Some(u32::from(head.task)),
                Kind::Stdin | Kind::AllStdin => None,
                Kind::Stdout | Kind::Stderr | Kind::ConnectionTest => continue,
            };
            let (to, mut bytes) = match open.take() {
                Some((to, bytes)) if to != whom => {
                    pass(&client, &name, to, bytes, false).await;
                    (whom, Vec::new())
                }
                Some(same) => same,
                None => (whom, Vec::new()),
            };
            bytes.extend_from_slice(data);
            if data.is_empty() {
                pass(&client, &name, to, bytes, true).await;
            } else {
                open = Some((to, bytes));
            }
        }
        if let Some((to, bytes)) = open {
            pass(&client, &name, to, bytes, false).await;
        }
        let left = rest.len();
        let from = held.len() - left;
        held.drain(..from);
    }
}

/// The next whole packet; none inside when it is no packet.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(Option<Head>, &'a [u8])> {
    let (head, data) = rest.split_first_chunk::<{ Head::LEN }>()?;
    let Ok(head) = Head::read(head, FEED_BYTES_MAX as u32) else { return Some((None, &[])) };
    let (data, after) = data.split_at_checked(head.length as usize)?;
    *rest = after;
    Some((Some(head), data))
}

/// These tasks have no input.
pub async fn no_input(client: Client, name: String, tasks: Idset) {
    let feed = Feed { name, tasks: Some(tasks), data: String::new(), base64: false, eof: true, window: None };
    // A step may end before it begins.
    let _ = client.call(Dest::Local, &feed).await;
}

async fn pass(client: &Client, name: &str, to: Option<u32>, bytes: Vec<u8>, eof: bool) {
    use base64::Engine as _;
    let (data, base64) = match String::from_utf8(bytes) {
        Ok(text) => (text, false),
        Err(e) => (base64::engine::general_purpose::STANDARD.encode(e.as_bytes()), true),
    };
    let tasks = to.map(Idset::from);
    let feed = Feed { name: name.to_owned(), tasks, data, base64, eof, window: None };
    // A task that reads no input does not want it.
    let _ = client.call(Dest::Local, &feed).await;
}

/// Passes on the sizes of the terminal in front of `srun`, as it tells them: columns and rows.
pub async fn sizes(srun: IpAddr, port: u16, client: Client, name: String) {
    let Ok(mut stream) = TcpStream::connect(SocketAddr::new(srun, port)).await else { return };
    let mut size = [0; 4];
    while stream.read_exact(&mut size).await.is_ok() {
        let [c0, c1, r0, r1] = size;
        let window = Window { rows: u16::from_be_bytes([r0, r1]), cols: u16::from_be_bytes([c0, c1]) };
        let (name, tasks) = (name.clone(), Some(Idset::from(0)));
        let feed = Feed { name, tasks, data: String::new(), base64: false, eof: false, window: Some(window) };
        // The task may be gone.
        let _ = client.call(Dest::Local, &feed).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_into_packets_that_srun_can_read() {
        let out = packets(Stream::Stderr, 7, 1, &[b'x'; 2500]);
        let mut rest = &out[..];
        let mut lengths = Vec::new();
        while let Some((Some(head), data)) = next(&mut rest) {
            assert_eq!((head.kind, head.task, head.local_task), (Kind::Stderr, 7, 1));
            lengths.push(data.len());
        }
        assert_eq!((lengths, rest.len()), (vec![1024, 1024, 452], 0));
        assert_eq!(packets(Stream::Stdout, 7, 1, b"").len(), Head::LEN);
    }

    #[test]
    fn half_a_packet_waits_and_garbage_ends_the_stream() {
        let whole = packets(Stream::Stdout, 0, 0, b"abc");
        for len in 0..whole.len() {
            assert!(next(&mut &whole[..len]).is_none());
        }
        assert!(matches!(next(&mut &[9; 20][..]), Some((None, _))));
    }
}
