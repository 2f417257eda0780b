//! PMI between tasks: their sockets, and the barrier across ranks, which is a collective of the job's shells.

use crate::collective::Collected;
use crate::pmi::{LINE_BYTES_MAX, Reply, Server};
use crate::shell::{Event, Key, Shell};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Of the collective.
pub(crate) const NAME: &str = "pmi";

/// A job's PMI on this rank.
#[derive(Debug)]
pub(crate) struct Pmi {
    server: Server,
    /// By local task; none once it has finalized or gone.
    tasks: Vec<Option<OwnedWriteHalf>>,
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
        job.pmi = Some(Pmi { server, tasks });
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
            Reply::Fence(puts) if plan.nnodes == 1 => pmi.release(Some(puts)),
            Reply::Fence(puts) => {
                let data = serde_json::to_vec(&puts).expect("text is JSON");
                self.collect(key, NAME.into(), &data);
            }
            Reply::Abort(code) => {
                self.abort(key, format!("task {task} aborted through PMI"), code.parse().unwrap_or(1));
            }
            Reply::Broken(why) => {
                pmi.tasks[local] = None;
                self.fail(key, format!("task {task}: {why}"), 1 << 8);
            }
        }
    }

    /// The barrier is through, or cannot be passed any more.
    pub(crate) fn pmi_fenced(&mut self, key: Key, result: Collected) {
        let Some(pmi) = self.jobs.get_mut(&key).and_then(|job| job.pmi.as_mut()) else { return };
        let puts = result.and_then(|parts| {
            let mut puts = BTreeMap::new();
            for (from, data) in parts {
                let part: BTreeMap<String, String> = serde_json::from_slice(&data)
                    .map_err(|error| format!("read what rank {from} of the job has put: {error}"))?;
                puts.extend(part);
            }
            Ok(puts)
        });
        if let Err(why) = &puts {
            tracing::warn!(job = %key.0.f58(), why, "a PMI barrier failed");
        }
        pmi.release(puts.ok());
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
