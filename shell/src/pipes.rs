//! Pipes of tasks: what comes out of them, and what goes in.
//!
//! A reader costs a task of ours, two calls to epoll and a wake-up for each pipe, about a third of what a short job costs
//! us. Most short jobs say nothing, or little, which the pipe holds until they are over. So pipes get readers only after
//! a while; those of a job that is over by then are emptied at once, before its end is reported.

use crate::feed::Feed;
use crate::io::{self, Lines, PIECE_BYTES_MAX};
use crate::jobs::Job;
use crate::launch::{Child, Outlet};
use crate::shell::{Event, Key, Shell, Timer};
use flurm_wire::rexec::Stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Nobody at a terminal notices, and a task that writes more than a pipe holds waits no longer.
const UNREAD_MAX: Duration = Duration::from_millis(20);

/// Our end of a stream of a task that goes to the job's log.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) task: u32,
    pub(crate) stream: Stream,
    pub(crate) pipe: OwnedFd,
}

impl Shell {
    /// Attaches readers and writers to the pipes of new tasks; why that cannot be done.
    pub(crate) fn connect(&mut self, key: Key, children: Vec<Child>) -> Option<String> {
        let job = self.jobs.get_mut(&key)?;
        let mut sockets = Vec::new();
        let mut problem = None;
        for (local, child) in children.into_iter().enumerate() {
            let task = job.plan.tasks[local];
            for outlet in child.outputs {
                let Outlet { stream, pipe, file } = outlet;
                let events = self.events.clone();
                let read = match file {
                    Some(to) => job.copy(key, (task, stream), pipe, to, events),
                    None if child.terminal.is_none() && job.plan.options.follow.is_none() => {
                        job.unread.push(Unread { task, stream, pipe });
                        continue;
                    }
                    None => job.read(key, task, stream, pipe, events),
                };
                problem = read.err().or(problem);
            }
            let mut feed = Feed { terminal: child.terminal, ..Feed::default() };
            match child.stdin.map(io::writing) {
                None => {}
                Some(Ok(pipe)) => {
                    let (send, inputs) = mpsc::unbounded_channel();
                    let queued_bytes = Arc::clone(&feed.queued_bytes);
                    tokio::spawn(io::write_input(pipe, inputs, queued_bytes, feed.terminal.is_some()));
                    feed.send = Some(send);
                }
                Some(Err(e)) => problem = Some(format!("pass input to task {task}: {e}")),
            }
            job.inputs.push(feed);
            sockets.extend(child.pmi);
        }
        if !sockets.is_empty() {
            self.pmi_connect(key, sockets);
        }
        problem
    }

    /// The job's tasks have just been started: its pipes are read soon, unless it is over before.
    pub(crate) fn read_soon(&mut self, key: Key, now: Instant) {
        if self.jobs.get(&key).is_some_and(|job| !job.unread.is_empty()) {
            self.timers.insert((now + UNREAD_MAX, key, Timer::Read));
        }
    }

    /// It is not over: whatever it says is read as it comes.
    pub(crate) fn read_from_now_on(&mut self, key: Key) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let mut problem = None;
        for Unread { task, stream, pipe } in std::mem::take(&mut job.unread) {
            problem = job.read(key, task, stream, pipe, self.events.clone()).err().or(problem);
        }
        if let Some(note) = problem {
            self.fail(key, note, 1 << 8);
        }
    }

    /// All its processes are gone. What they have said is taken, as far as nobody else can add to it.
    pub(crate) fn read_rest(&mut self, key: Key) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let unread = std::mem::take(&mut job.unread);
        let mut states: Vec<PollFd<'_>> =
            unread.iter().map(|unread| PollFd::new(&unread.pipe, PollFlags::IN)).collect();
        // Where that fails no pipe is at its end, and all are read as they come.
        let _ = poll(&mut states, Some(&Timespec::default()));
        let states: Vec<PollFlags> = states.iter().map(PollFd::revents).collect();
        for (unread, state) in unread.into_iter().zip(states) {
            let Some(job) = self.jobs.get_mut(&key) else { return };
            match job.rest(&unread, state) {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => self.output(key, unread.stream, unread.task, bytes),
                None => {
                    let Unread { task, stream, pipe } = unread;
                    if let Err(note) = job.read(key, task, stream, pipe, self.events.clone()) {
                        self.output_lost(key, note);
                    }
                }
            }
        }
    }
}

impl Job {
    /// What comes out of that pipe is output of this task.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn read(
        &mut self,
        key: Key,
        task: u32,
        stream: Stream,
        pipe: OwnedFd,
        events: mpsc::UnboundedSender<Event>,
    ) -> Result<(), String> {
        let pipe = io::reading(pipe).map_err(|e| unread(task, &e))?;
        let options = &self.plan.options;
        // Who types does not wait for the end of a line.
        let typed = options.pty.as_ref().is_some_and(|pty| pty.interactive);
        let lines =
            options.lines[usize::from(stream == Stream::Stderr)] && !typed && options.follow.is_none();
        let followed = options.follow.is_some();
        let room = Arc::clone(&self.room);
        self.streams += 1;
        tokio::spawn(async move {
            let whole = io::read_output(pipe, lines, &room.bytes, &room.call, |bytes| {
                // The shell may be leaving.
                let _ = events.send(Event::Output { key, stream, task, bytes });
            })
            .await;
            if followed {
                // No bytes are the end. As above.
                let _ = events.send(Event::Output { key, stream, task, bytes: Vec::new() });
            }
            let problem = (!whole).then(|| {
                format!("some output of task {task} is lost: the job was told to end, and nobody took it")
            });
            // As above.
            let _ = events.send(Event::StreamEnd { key, problem });
        });
        Ok(())
    }

    /// The same for what goes to a file.
    fn copy(
        &mut self,
        key: Key,
        who: (u32, Stream),
        pipe: OwnedFd,
        to: (Arc<Lines>, String),
        events: mpsc::UnboundedSender<Event>,
    ) -> Result<(), String> {
        let pipe = io::reading(pipe).map_err(|e| unread(who.0, &e))?;
        let room = Arc::clone(&self.room);
        self.streams += 1;
        tokio::spawn(async move {
            let copied = io::copy_to_file(pipe, to, who, &room.call).await;
            let problem = copied.err().map(|e| format!("write output of task {}: {e}", who.0));
            // The shell may be leaving.
            let _ = events.send(Event::StreamEnd { key, problem });
        });
        Ok(())
    }

    /// All that is in a pipe which nobody writes to any more; none: it takes a reader.
    fn rest(&self, Unread { pipe, .. }: &Unread, state: PollFlags) -> Option<Vec<u8>> {
        if !state.contains(PollFlags::HUP) {
            return None;
        }
        if !state.contains(PollFlags::IN) {
            return Some(Vec::new());
        }
        let len = usize::try_from(rustix::io::ioctl_fionread(pipe).ok()?).ok()?;
        // A pipe can be made larger than a piece.
        if len > PIECE_BYTES_MAX {
            return None;
        }
        // The room comes back when these bytes are acknowledged.
        let room = self.room.bytes.try_acquire_many(u32::try_from(len).ok()?).ok()?;
        let mut bytes = vec![0; len];
        let read = rustix::io::read(pipe, &mut bytes[..]).ok()?;
        room.forget();
        bytes.truncate(read);
        Some(bytes)
    }
}

fn unread(task: u32, error: &std::io::Error) -> String {
    format!("read output of task {task}: {error}")
}
