//! PMI between tasks: their sockets, and the barrier across ranks.
//!
//! Shells of a job on several ranks send what their tasks have put to the shell of the lowest rank. It answers all of
//! them when the last one has come.

use crate::pmi::{LINE_BYTES_MAX, Reply, Server};
use crate::shell::{Event, Key, Shell};
use flurm_types::Rank;
use flurm_wire::shell::{PmiFence, PmiFenced};
use flurm_wire::{Dest, ErrorCode, Message, WireError};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// How long a barrier of another rank waits for its job to start here.
const EARLY: Duration = Duration::from_secs(60);

/// A job's PMI on this rank.
#[derive(Debug)]
pub(crate) struct Pmi {
    server: Server,
    /// By local task; none once it has finalized or gone.
    tasks: Vec<Option<OwnedWriteHalf>>,
    /// At the lowest rank: who waits, and for which barrier.
    waiting: Vec<(Message, PmiFence)>,
    /// Our own part of that barrier.
    own: Option<(u64, BTreeMap<String, String>)>,
}

impl Shell {
    pub(crate) fn pmi_connect(&mut self, key: Key, sockets: Vec<UnixStream>) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let level = self.place.as_ref().map_or(0, |place| place.instance_level + 1).to_string();
        let uri = self.place.as_ref().map_or("", |place| &place.uri).to_owned();
        let known = [
            ("PMI_process_mapping", job.plan.map.pmi()),
            ("flurm.instance-level", level),
            ("flurm.parent-uri", uri),
        ];
        let known = known.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let name = job.plan.id.f58_plain();
        let server = Server::new(name, job.plan.ntasks, job.plan.tasks.len(), known, job.r.clone());
        let mut tasks = Vec::new();
        for (local, socket) in sockets.into_iter().enumerate() {
            let Ok(socket) = tokio::net::UnixStream::from_std(socket) else {
                tasks.push(None);
                continue;
            };
            let (read, write) = socket.into_split();
            tasks.push(Some(write));
            tokio::spawn(read_lines(read, key, local, self.events.clone()));
        }
        job.pmi = Some(Pmi { server, tasks, waiting: Vec::new(), own: None });
        let early = std::mem::take(&mut self.early_fences);
        for (at, message, fence) in early {
            if (fence.id, fence.attempt) == key {
                self.pmi_fence(message, fence);
            } else {
                self.early_fences.push((at, message, fence));
            }
        }
    }

    pub(crate) fn pmi_request(&mut self, key: Key, local: usize, line: Option<String>) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let plan = job.plan.clone();
        let Some(pmi) = &mut job.pmi else { return };
        let Some(line) = line else {
            pmi.tasks[local] = None;
            return;
        };
        let task = plan.tasks[local];
        match pmi.server.request(local, &line) {
            Reply::Line(answer) => pmi.answer(local, &answer),
            Reply::Wait => {}
            Reply::Finalized(answer) => {
                pmi.answer(local, &answer);
                pmi.tasks[local] = None;
            }
            Reply::Fence { fence, puts } => self.pmi_fence_here(key, fence, puts),
            Reply::Abort(code) => {
                let status = code.parse::<i32>().unwrap_or(1).clamp(1, 255) << 8;
                self.fail(key, format!("task {task} aborted through PMI"), status);
            }
            Reply::Broken(why) => {
                pmi.tasks[local] = None;
                self.fail(key, format!("task {task}: {why}"), 1 << 8);
            }
        }
    }

    /// All tasks of this rank are in the barrier.
    fn pmi_fence_here(&mut self, key: Key, fence: u64, puts: BTreeMap<String, String>) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let Some(pmi) = &mut job.pmi else { return };
        if job.plan.nnodes == 1 {
            pmi.release(Some(puts));
            return;
        }
        if job.plan.lowest_rank == self.rank.0 {
            pmi.own = Some((fence, puts));
            self.pmi_complete(key);
            return;
        }
        let Some(client) = self.client.clone() else {
            pmi.release(None);
            return;
        };
        let lowest = Dest::Rank(Rank(job.plan.lowest_rank));
        let request = PmiFence { id: key.0, attempt: key.1, rank: self.rank, fence, puts };
        let events = self.events.clone();
        tokio::spawn(async move {
            let answer = client.call(lowest, &request).await;
            if let Err(error) = &answer {
                tracing::warn!(job = %key.0.f58(), %error, "a PMI barrier failed");
            }
            // The shell may be leaving.
            let _ = events.send(Event::Fenced { key, puts: answer.ok().map(|fenced| fenced.puts) });
        });
    }

    pub(crate) fn pmi_fenced(&mut self, key: Key, puts: Option<BTreeMap<String, String>>) {
        if let Some(pmi) = self.jobs.get_mut(&key).and_then(|job| job.pmi.as_mut()) {
            pmi.release(puts);
        }
    }

    /// Another rank's part of a barrier; we are the lowest.
    pub(crate) fn pmi_fence(&mut self, message: Message, fence: PmiFence) {
        let key = (fence.id, fence.attempt);
        match self.jobs.get_mut(&key) {
            Some(job) if job.pmi.is_some() => {
                if let Some(pmi) = &mut job.pmi {
                    pmi.waiting.push((message, fence));
                }
                self.pmi_complete(key);
            }
            Some(job) if job.is_over() => {
                let error = WireError::new(ErrorCode::NotFound, "the job has ended on its lowest rank");
                self.refuse(message, error);
            }
            _ => self.early_fences.push((Instant::now() + EARLY, message, fence)),
        }
    }

    pub(crate) fn early_fences_expire(&mut self, now: Instant) {
        while self.early_fences.first().is_some_and(|(at, ..)| *at <= now) {
            let (_, message, fence) = self.early_fences.remove(0);
            let text = format!("{} has not started on its lowest rank", fence.id.f58());
            self.refuse(message, WireError::new(ErrorCode::TimedOut, text));
        }
    }

    /// At the lowest rank: answers all when all ranks have come.
    fn pmi_complete(&mut self, key: Key) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        // A node without tasks never comes.
        let with_tasks = job.plan.map.nodes().iter().filter(|tasks| !tasks.is_empty()).count();
        let Some(pmi) = &mut job.pmi else { return };
        let Some((fence, _)) = &pmi.own else { return };
        let fence = *fence;
        if pmi.waiting.iter().filter(|(_, other)| other.fence == fence).count() + 1 < with_tasks {
            return;
        }
        let Some((_, mut puts)) = pmi.own.take() else { return };
        let (here, later) = std::mem::take(&mut pmi.waiting).into_iter().partition(|(_, f)| f.fence == fence);
        pmi.waiting = later;
        let mut answers: Vec<Message> = Vec::new();
        for (message, other) in here {
            puts.extend(other.puts);
            answers.push(message);
        }
        pmi.release(Some(puts.clone()));
        for message in answers {
            self.respond(message, PmiFenced { puts: puts.clone() });
        }
    }
}

impl Pmi {
    fn answer(&mut self, local: usize, text: &str) {
        // Requests and answers alternate, so the socket's buffer is empty; who does otherwise is cut off.
        if let Some(task) = &self.tasks[local]
            && !matches!(task.try_write(text.as_bytes()), Ok(n) if n == text.len())
        {
            self.tasks[local] = None;
        }
    }

    fn release(&mut self, puts: Option<BTreeMap<String, String>>) {
        let (tasks, line) = self.server.fenced(puts);
        for local in tasks {
            self.answer(local, line);
        }
    }
}

async fn read_lines(
    read: OwnedReadHalf,
    key: Key,
    local: usize,
    events: tokio::sync::mpsc::UnboundedSender<Event>,
) {
    let mut read = BufReader::with_capacity(LINE_BYTES_MAX, read);
    loop {
        let mut line = Vec::new();
        let n = (&mut read).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).await.unwrap_or(0);
        let line = (n > 0).then(|| String::from_utf8_lossy(&line).into_owned());
        let over = line.is_none();
        // The shell may be leaving.
        if events.send(Event::Pmi { key, local, line }).is_err() || over {
            return;
        }
    }
}
