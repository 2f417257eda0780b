//! Input of jobs on its way to their tasks.

use crate::io::{self, Given, Input, STDIN_BYTES_MAX};
use crate::jobs::Phase;
use crate::options::Source;
use crate::options::pty::Size;
use crate::pty;
use crate::shell::Shell;
use flurm_types::Idset;
use flurm_wire::exec::What;
use flurm_wire::job::Stdin;
use flurm_wire::{ErrorCode, Message, WireError};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// Way of input to one task.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    pub send: Option<mpsc::UnboundedSender<Input>>,
    pub queued_bytes: Arc<AtomicUsize>,
    /// Whose size can be set; its input goes on after an end.
    pub terminal: Option<OwnedFd>,
}

impl Shell {
    pub(crate) fn stdin(&mut self, stdin: Stdin, message: Message) {
        // The leader names no attempt: only the last one reads.
        let Some((&key, job)) = self.jobs.range_mut((stdin.id, 0)..=(stdin.id, u32::MAX)).next_back() else {
            let text = format!("{} does not run here", stdin.id.f58());
            return self.refuse(message, WireError::new(ErrorCode::NotFound, text));
        };
        if let Phase::Launching { inputs, .. } = &mut job.phase {
            inputs.push((stdin, message));
            return;
        }
        let ranks = match &*stdin.ranks {
            "all" => None,
            set => match set.parse::<Idset>() {
                Ok(set) => Some(set),
                Err(e) => return self.refuse(message, WireError::new(ErrorCode::Invalid, e.to_string())),
            },
        };
        if job.plan.options.stdin != Source::Service {
            let error = WireError::new(ErrorCode::Invalid, "this job takes no input");
            return self.refuse(message, error.hint("its standard input is a file or /dev/null"));
        }
        let Some(bytes) = io::decode(stdin.data, stdin.base64) else {
            return self.refuse(message, WireError::new(ErrorCode::Invalid, "the data is not base64"));
        };
        let given = Arc::new(Given { bytes, message: Some(message), events: self.events.clone() });
        for (task, feed) in job.plan.tasks.iter().zip(&mut job.inputs) {
            if ranks.as_ref().is_some_and(|ranks| !ranks.contains(*task)) {
                continue;
            }
            if let (Some(terminal), Some(size)) = (&feed.terminal, stdin.window) {
                // One that is gone needs no size.
                let _ = pty::resize(terminal, Size { rows: size.rows, cols: size.cols });
            }
            if !feed.give(&given, stdin.eof) {
                let note =
                    format!("task {task} reads no input; {STDIN_BYTES_MAX} bytes wait, the rest is not kept");
                let what = What::Warning { kind: "input".into(), severity: 3, note };
                self.outbox.push(key, what, 0);
            }
        }
    }
}

impl Feed {
    /// False when the task has too much to read already; then its input ends here, unless it is typed at a terminal.
    fn give(&mut self, given: &Arc<Given>, eof: bool) -> bool {
        let Some(send) = &self.send else { return true };
        let len = given.bytes.len();
        let room = self.queued_bytes.fetch_add(len, Ordering::Relaxed) < STDIN_BYTES_MAX;
        // A task that has closed its end does not want it.
        if room {
            let _ = send.send(Some(Arc::clone(given)));
        } else {
            self.queued_bytes.fetch_sub(len, Ordering::Relaxed);
        }
        // What comes later at a terminal is wanted once the task has read what waits; a pipe would have a hole.
        let terminal = self.terminal.is_some();
        if eof || !room && !terminal {
            let _ = send.send(None);
            if !terminal {
                self.send = None;
            }
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_has_no_room_for_leaves_room_for_later() {
        let (events, _told) = mpsc::unbounded_channel();
        let given = |len| Arc::new(Given { bytes: vec![b'x'; len], message: None, events: events.clone() });
        for terminal in [true, false] {
            let (send, mut inputs) = mpsc::unbounded_channel();
            let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
            let mut feed = Feed { send: Some(send), terminal: terminal.then(null), ..Feed::default() };
            assert!(feed.give(&given(STDIN_BYTES_MAX), false));
            assert!(!feed.give(&given(9), false));
            assert_eq!(feed.queued_bytes.load(Ordering::Relaxed), STDIN_BYTES_MAX);
            assert!(inputs.try_recv().unwrap().is_some());
            let then = inputs.try_recv();
            if terminal {
                assert!(then.is_err(), "no end is typed");
                // The task has read.
                feed.queued_bytes.fetch_sub(STDIN_BYTES_MAX, Ordering::Relaxed);
                assert!(feed.give(&given(1), false));
                assert_eq!(inputs.try_recv().unwrap().unwrap().bytes, b"x");
            } else {
                assert!(then.unwrap().is_none() && feed.send.is_none());
            }
        }
    }
}
