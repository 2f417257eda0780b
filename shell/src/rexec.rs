//! Programs outside any job (`flurm exec`): run for a client that streams their input and output.

use crate::end::{Field, GRACE_MS};
use crate::env;
use crate::io::{self, Given, Input, Last, PIECE_BYTES_MAX, Room};
use crate::launch::{Launched, Work};
use crate::shell::{Event, For, Owner, Shell};
use flurm_client::Client;
use flurm_types::Rank;
use flurm_wire::job::Done;
use flurm_wire::rexec::{Control, Run, RunOutput, Stream};
use flurm_wire::{Address, ErrorCode, Message, WireError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// After the program has ended, what holds its pipes open is not waited for any longer than this.
const LINGER: Duration = Duration::from_secs(1);

/// Pieces of output that the client has not been sent.
const PIECES_MAX: usize = 16;

#[derive(Debug)]
pub(crate) struct Exec {
    field: Field,
    asker: (Address, u64),
    /// The request, until the program has started.
    message: Option<Message>,
    cancelled: bool,
    input: Option<mpsc::UnboundedSender<Input>>,
    /// What comes for its input, until the program has started and takes it.
    inputs: Option<mpsc::UnboundedReceiver<Input>>,
    exit: Option<oneshot::Sender<i32>>,
}

impl Shell {
    pub(crate) fn exec_run(&mut self, message: Message, run: Run) {
        let unavailable = |text: &str| WireError::new(ErrorCode::Unavailable, text);
        if self.is_leaving() {
            return self.refuse(message, unavailable("the shell is leaving"));
        }
        let Some(place) = self.place.clone() else {
            return self.refuse(message, unavailable("the shell has not been welcomed yet"));
        };
        let Some((field, tag)) = self.families.found() else {
            return self.refuse(message, unavailable("too many programs run here"));
        };
        self.next_exec += 1;
        let (input, inputs) = mpsc::unbounded_channel();
        let exec = Exec {
            field,
            asker: (message.src, message.tag),
            message: Some(message),
            cancelled: false,
            input: Some(input),
            inputs: Some(inputs),
            exit: None,
        };
        self.execs.insert(self.next_exec, exec);
        let cwd = run.cwd.unwrap_or_else(|| "/".to_owned());
        let base = Arc::new(env::plain(&run.environment, &place.uri, place.slurm_conf.as_deref()));
        self.order(For::Exec(self.next_exec), tag, Work::Program { command: run.command, cwd, base });
    }

    pub(crate) fn exec_launched(&mut self, id: u64, launched: Launched) {
        let rank = self.rank;
        let Some(exec) = self.execs.get_mut(&id) else { return };
        let field = exec.field;
        self.families.started(field, launched.children.iter().map(|child| child.pid), &launched.ended);
        let Some(message) = exec.message.take() else { return };
        let child = match (launched.children.into_iter().next(), launched.failure) {
            (Some(child), None) => child,
            (_, failure) => {
                let (errno, text) = failure.map_or((libc::EIO, String::new()), |f| (f.errno, f.note));
                self.execs.remove(&id);
                return self.respond(message, RunOutput::Failed { rank, errno, text });
            }
        };
        self.owners.insert(child.pid, Owner::Exec(id));
        let outputs = child.outputs.into_iter().map(|outlet| Ok((outlet.stream, io::reading(outlet.pipe)?)));
        let pipes = outputs.collect::<std::io::Result<Vec<_>>>();
        let pipes = pipes.and_then(|outputs| Ok((outputs, child.stdin.map(io::writing).transpose()?)));
        let (outputs, stdin) = match pipes {
            Ok(pipes) => pipes,
            Err(e) => {
                self.families.end(field, Instant::now(), Duration::from_millis(GRACE_MS));
                self.execs.remove(&id);
                let errno = e.raw_os_error().unwrap_or(libc::EIO);
                return self
                    .respond(message, RunOutput::Failed { rank, errno, text: format!("its pipes: {e}") });
            }
        };
        let (ended, exit) = oneshot::channel();
        exec.exit = Some(ended);
        if let (Some(pipe), Some(inputs)) = (stdin, exec.inputs.take()) {
            tokio::spawn(io::write_input(pipe, inputs, Arc::default(), false));
        }
        if exec.cancelled {
            self.families.end(field, Instant::now(), Duration::from_millis(GRACE_MS));
        }
        let Some(client) = self.client.clone() else { return };
        let events = self.events.clone();
        let (pieces, output) = mpsc::unbounded_channel();
        let room = Arc::new(Room::new(PIECES_MAX * PIECE_BYTES_MAX));
        for (stream, pipe) in outputs {
            let (pieces, room) = (pieces.clone(), Arc::clone(&room));
            tokio::spawn(async move {
                io::read_output(pipe, false, &room.bytes, &room.call, move |bytes| {
                    // The client may have gone.
                    let _ = pieces.send((stream, bytes));
                })
                .await;
            });
        }
        drop(pieces);
        tokio::spawn(async move {
            let started = RunOutput::Started { rank, pid: child.pid };
            if client.respond(&message, &started, true).await.is_ok() {
                // A lost connection ends the stream; the program goes on until somebody ends it.
                let _ = stream_out(&client, &message, rank, output, &room, exit).await;
            }
            // The shell may be leaving.
            let _ = events.send(Event::ExecOver(id));
        });
    }

    pub(crate) fn exec_exited(&mut self, id: u64, status: i32) {
        if let Some(exit) = self.execs.get_mut(&id).and_then(|exec| exec.exit.take()) {
            // The client may have gone.
            let _ = exit.send(status);
        }
    }

    pub(crate) fn exec_control(&mut self, message: Message, control: Control) {
        let asker = (message.src, control.tag);
        let Some(exec) = self.execs.values_mut().find(|exec| exec.asker == asker) else {
            return self.refuse(message, WireError::new(ErrorCode::NotFound, "no such program runs here"));
        };
        if let Some(signum) = control.signum {
            self.families.signal(exec.field, signum);
        }
        if let Some(data) = control.stdin {
            let Some(bytes) = io::decode(data, control.base64) else {
                return self.refuse(message, WireError::new(ErrorCode::Invalid, "the data is not base64"));
            };
            // Answered when the program has taken it.
            let given = Given { bytes, message: Some(message), events: self.events.clone() };
            if let Some(input) = &exec.input {
                // A program that has closed its input does not want it.
                let _ = input.send(Some(Arc::new(given)));
            }
        } else {
            let client = self.client.clone();
            tokio::spawn(async move {
                if let Some(client) = client {
                    // A lost connection loses its questions too.
                    let _ = client.respond(&message, &Done {}, false).await;
                }
            });
        }
        if control.eof {
            exec.input = None;
        }
    }

    /// The client no longer waits for its program.
    pub(crate) fn exec_cancelled(&mut self, cancel: &Message) {
        let asker = (cancel.src, cancel.tag);
        if let Some(exec) = self.execs.values_mut().find(|exec| exec.asker == asker) {
            exec.cancelled = true;
            exec.input = None;
            self.families.end(exec.field, Instant::now(), Duration::from_millis(GRACE_MS));
        }
    }
}

type Piece = (Stream, Vec<u8>);

async fn stream_out(
    client: &Client,
    message: &Message,
    rank: Rank,
    mut output: mpsc::UnboundedReceiver<Piece>,
    room: &Room,
    mut exit: oneshot::Receiver<i32>,
) -> Result<(), flurm_client::ClientError> {
    let mut status = None;
    let mut deadline = None;
    loop {
        let late = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            piece = output.recv() => match piece {
                Some((stream, bytes)) => {
                    let len = bytes.len();
                    let (data, base64) = io::encode(bytes);
                    client.respond(message, &RunOutput::Output { rank, stream, data, base64 }, true).await?;
                    room.bytes.add_permits(len);
                }
                None => break,
            },
            ended = &mut exit, if status.is_none() => {
                status = Some(ended.unwrap_or(1 << 8));
                deadline = Some(tokio::time::Instant::now() + LINGER);
            }
            () = late => {
                // Their end is the end of the output.
                room.call.tell(Last::Rest);
                deadline = None;
            }
        }
    }
    let status = match status {
        Some(status) => status,
        None => exit.await.unwrap_or(1 << 8),
    };
    client.respond(message, &RunOutput::Exited { rank, status }, false).await
}
