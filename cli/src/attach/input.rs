//! Our standard input, for the tasks of a job.

use super::terminal::{Keys, window};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flurm_client::{Client, job};
use flurm_types::{Idset, JobId};
use flurm_wire::Dest;
use flurm_wire::job::{List, Stdin, Window};
use std::collections::VecDeque;
use std::io::{self, IsTerminal, Read};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};

/// Bytes of input in one message.
const CHUNK: usize = 64 << 10;
/// Chunks that were read and not yet sent.
const CHUNKS_MAX: usize = 4;
/// Chunks that were sent and that the tasks have not all taken. A task that does not read makes us wait; one that does
/// need not wait for us.
const SENT_MAX: usize = 16;
/// The task whose terminal is for who attaches.
const TYPED_TO: &str = "0";

/// Whether there is anything on our standard input for a job.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Wish {
    /// A file, a pipe, or a terminal on which we are in the foreground.
    Feed,
    /// `/dev/null`, closed, or a terminal that belongs to somebody else.
    Nothing,
}

/// What our standard input is good for.
pub fn wish() -> Wish {
    let stdin = io::stdin();
    let Ok(stat) = rustix::fs::fstat(&stdin) else { return Wish::Nothing };
    let device = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::CharacterDevice;
    // The null device has had this number on Linux since there is Linux.
    if device && (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) == (1, 3) {
        return Wish::Nothing;
    }
    if stdin.is_terminal() {
        let foreground = rustix::termios::tcgetpgrp(&stdin).ok();
        let ours = rustix::process::getpgrp();
        return if foreground == Some(ours) { Wish::Feed } else { Wish::Nothing };
    }
    Wish::Feed
}

/// Sends all of our standard input to the tasks `ranks`, then its end; to the other tasks just an end.
pub async fn feed(client: Client, id: JobId, ranks: String) {
    if let Ok(fed) = ranks.parse::<Idset>() {
        let list = List { ids: vec![id], ..List::default() };
        // Refused: the job is over and wants nothing.
        let Ok(listed) = job::list(&client, &list).await else { return };
        let ntasks = listed.jobs.first().map_or(0, |job| job.ntasks);
        let others = Idset::from_range(0..=ntasks.saturating_sub(1)).difference(&fed);
        if !others.is_empty() {
            let message = stdin(id, &others.to_string(), Vec::new(), true);
            if client.call(Dest::Leader, &message).await.is_err() {
                return;
            }
        }
    }
    let mut chunks = read_stdin();
    let mut sent = VecDeque::new();
    let mut eof = false;
    while !eof {
        let chunk = chunks.recv().await;
        eof = chunk.is_none();
        let message = stdin(id, &ranks, chunk.unwrap_or_default(), eof);
        let Ok(asked) = client.ask(Dest::Leader, &message).await else { return };
        sent.push_back(asked);
        if sent.len() > SENT_MAX
            && let Some(oldest) = sent.pop_front()
            && oldest.answer().await.is_err()
        {
            // Refused: the job is over and wants no more.
            return;
        }
    }
}

/// Sends what is typed at our terminal to the job's, until that is over or somebody types that it is to be left.
pub async fn type_in(client: Client, id: JobId, left: Arc<Notify>) {
    if let Some(window) = window() {
        resize(&client, id, window).await;
    }
    let (mut chunks, mut keys) = (read_stdin(), Keys::default());
    loop {
        // At its end the terminal has hung up, and somebody will say so.
        let Some(typed) = chunks.recv().await else { return };
        let (typed, leaves) = keys.take(&typed);
        if !typed.is_empty() {
            let message = Stdin { typed: true, ..stdin(id, TYPED_TO, typed, false) };
            // Not waited for: a task that does not read must still get its Ctrl-C.
            if client.ask(Dest::Leader, &message).await.is_err() {
                return;
            }
        }
        if leaves {
            left.notify_one();
            return;
        }
    }
}

/// Tells the job's terminal how large ours is.
pub async fn resize(client: &Client, id: JobId, window: Window) {
    let message = Stdin { typed: true, window: Some(window), ..stdin(id, TYPED_TO, Vec::new(), false) };
    // Not waited for, as keys are not: the answer comes when the task has read what was typed before. A job that is
    // over has no terminal.
    let _ = client.ask(Dest::Leader, &message).await;
}

fn stdin(id: JobId, ranks: &str, bytes: Vec<u8>, eof: bool) -> Stdin {
    // JSON makes six bytes of most control characters.
    let control = |b: &u8| b.is_ascii_control() && !matches!(b, b'\n' | b'\r' | b'\t');
    let many = bytes.iter().filter(|b| control(b)).count() > bytes.len() / 16;
    let (data, base64) = match String::from_utf8(bytes) {
        Ok(text) if !many => (text, false),
        Ok(text) => (BASE64_STANDARD.encode(text), true),
        Err(e) => (BASE64_STANDARD.encode(e.as_bytes()), true),
    };
    Stdin { id, ranks: ranks.to_owned(), data, base64, eof, typed: false, window: None }
}

/// Pieces of standard input, read by a thread: a terminal or a file cannot be waited for otherwise.
pub fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (to, from) = mpsc::channel(CHUNKS_MAX);
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        let mut stdin = io::stdin().lock();
        while let Ok(len @ 1..) = stdin.read(&mut buffer) {
            if to.blocking_send(buffer[..len].to_vec()).is_err() {
                return;
            }
        }
    });
    from
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_travel_as_base64() {
        let message = stdin(JobId(1), "all", vec![0xff, 0], false);
        assert_eq!((message.data.as_str(), message.base64), ("/wA=", true));
        let message = stdin(JobId(1), "all", vec![0; 3], false);
        assert_eq!((message.data.as_str(), message.base64), ("AAAA", true));
        let message = stdin(JobId(1), "0", b"text\n".to_vec(), true);
        assert_eq!((message.data.as_str(), message.base64, message.eof), ("text\n", false, true));
    }
}
