//! The shell's side: a server for a job that needs one, before its tasks start and until they have ended.
//!
//! ```text
//! the launcher sees what program it is --> starting --Ready--> serving --tasks gone--> ended
//!                                             `--Failed, ended, late: the job fails, or its tasks start without
//! ```

use super::{COLLECTIVE, Node, Order, Setup, Word};
use crate::collective::Collected;
use crate::end::{Field, GRACE_MS};
use crate::env::Block;
use crate::io;
use crate::jobs::Phase;
use crate::launch::{Failure, Launched, PmixFirst, Work};
use crate::shell::{Event, For, Key, Owner, Shell, Timer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flurm_types::{Rank, exit_code};
use flurm_wire::exec::What;
use flurm_wire::rexec::Stream;
use flurm_wire::shell::{PmixGet, PmixGot};
use flurm_wire::{Dest, ErrorCode, Message, WireError};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

/// A library on a file system that hangs is not waited for any longer.
const READY_MAX: Duration = Duration::from_secs(60);

/// A job's server.
#[derive(Debug)]
pub(crate) struct Pmix {
    field: Field,
    /// Tasks that wait for it; none once they may start.
    first: Option<PmixFirst>,
    /// To its input, once it runs.
    orders: Option<mpsc::UnboundedSender<String>>,
    /// Fences by the name of their collective: the one that is under way, and what is given to the next ones.
    fences: BTreeMap<String, VecDeque<PmixFence>>,
    /// Other shells that wait for what a task of ours puts.
    asked: BTreeMap<u64, Message>,
    next: u64,
    warned: BTreeSet<String>,
}

#[derive(Debug)]
struct PmixFence {
    id: u64,
    members: Option<Vec<u32>>,
    data: Vec<u8>,
}

impl Pmix {
    fn order(&self, order: &Order) {
        let mut line = serde_json::to_string(order).expect("our own orders are JSON");
        line.push('\n');
        if let Some(orders) = &self.orders {
            // It may just have ended, which is heard of otherwise.
            let _ = orders.send(line);
        }
    }
}

impl Shell {
    /// A launcher has seen that the tasks want a server first.
    pub(crate) fn pmix_first(&mut self, key: Key, first: PmixFirst) {
        let Some(job) = self.jobs.get(&key) else { return };
        // It may have been told to end in the meantime.
        if !matches!(job.phase, Phase::Launching { .. }) {
            return;
        }
        let base = Arc::clone(&first.base);
        let Some((field, tag)) = self.families.found() else {
            return self.pmix_not(key, first, "too many programs run here".into());
        };
        let command = ["/proc/self/exe", "pmix-server"].map(str::to_owned).to_vec();
        self.order(For::Pmix(key, field), tag, Work::Program { command, cwd: "/".into(), base });
        if let Some(job) = self.jobs.get_mut(&key) {
            job.pmix = Some(Pmix {
                field,
                first: Some(first),
                orders: None,
                fences: BTreeMap::new(),
                asked: BTreeMap::new(),
                next: 0,
                warned: BTreeSet::new(),
            });
        }
        self.timers.insert((Instant::now() + READY_MAX, key, Timer::PmixLate));
    }

    pub(crate) fn pmix_launched(&mut self, key: Key, field: Field, launched: Launched) {
        let pids: Vec<i32> = launched.children.iter().map(|child| child.pid).collect();
        self.families.started(field, pids.iter().copied(), &launched.ended);
        let found =
            self.jobs.get_mut(&key).and_then(|job| Some((&job.plan, job.pmix.as_mut()?, &job.room, &job.r)));
        let Some((plan, pmix, room, hosts)) = found else {
            // The job is over already.
            return self.families.end(field, Instant::now(), Duration::from_millis(GRACE_MS));
        };
        self.owners.extend(pids.iter().map(|pid| (*pid, Owner::Pmix(key))));
        let child = match (launched.children.into_iter().next(), launched.failure) {
            (Some(child), None) => child,
            (_, failure) => {
                let note = failure.map_or(String::new(), |failure| failure.note);
                return self.pmix_cannot(key, format!("start its server: {note}"));
            }
        };
        let (send, lines) = mpsc::unbounded_channel();
        if let Some(stdin) = child.stdin {
            tokio::spawn(write_lines(stdin, lines));
        }
        for outlet in child.outputs {
            let events = self.events.clone();
            if outlet.stream == Stream::Stdout {
                tokio::spawn(read_words(outlet.pipe, move |word| {
                    // The shell may be leaving.
                    let _ = events.send(Event::Pmix { key, word });
                }));
            } else {
                // What the library has to say is for the user to read.
                let (task, room) = (plan.tasks.first().copied().unwrap_or(0), Arc::clone(room));
                let Ok(pipe) = io::reading(outlet.pipe) else { continue };
                tokio::spawn(async move {
                    io::read_output(pipe, true, &room.bytes, &room.call, |bytes| {
                        // As above.
                        let _ = events.send(Event::Output { key, stream: Stream::Stderr, task, bytes });
                    })
                    .await;
                });
            }
        }
        pmix.orders = Some(send);
        let libraries = pmix.first.as_ref().map(|first| first.libraries.clone()).unwrap_or_default();
        let (mut nodes, mut node) = (Vec::new(), 0);
        let tasks =
            if plan.nnodes == 1 { vec![plan.tasks.iter().copied().collect()] } else { plan.map.nodes() };
        for (index, tasks) in (0..).zip(tasks).filter(|(_, tasks)| !tasks.is_empty()) {
            if index == plan.node_index {
                node = nodes.len();
            }
            nodes.push(Node { host: hosts.nodes[index as usize].host.clone(), tasks });
        }
        pmix.order(&Order::Setup(Setup {
            library: libraries,
            nspace: format!("flurm.{}.{}", plan.id.f58_plain(), key.1),
            job: plan.id.f58_plain(),
            nodes,
            node,
            tmpdir: plan.tmpdir.clone(),
            mapping: plan.map.pmi(),
        }));
        self.pmix_answer_early(key);
    }

    pub(crate) fn pmix_word(&mut self, key: Key, word: Option<Box<Word>>) {
        let Some(word) = word else {
            return self.pmix_cannot(key, "its server has ended".into());
        };
        match *word {
            Word::Ready { version, environment } => {
                tracing::debug!(job = %key.0.f58(), version, "PMIx is ready");
                let mut block = Block::default();
                environment.iter().for_each(|(name, value)| block.push(name, value));
                if let Some(first) = self.pmix_waiting(key) {
                    self.pmix_go_on(key, first, block);
                }
            }
            Word::Failed { note } => self.pmix_cannot(key, note),
            Word::Connected { .. } => self.spoke(key),
            Word::Stranger { uid } => {
                let note = format!("user {uid} had connected to the PMIx server of this job and was cut off");
                self.pmix_warn(key, note);
            }
            Word::Finalized { task } => {
                if let Some(job) = self.jobs.get_mut(&key) {
                    job.goodbyes.insert(task);
                }
            }
            Word::Abort { task, status, text } => {
                // Open MPI 4 has nothing to say, and says so.
                let text = text.trim();
                let words =
                    if text.is_empty() || text == "N/A" { String::new() } else { format!(": {text}") };
                self.abort(key, format!("task {task} aborted through PMIx{words}"), status);
            }
            Word::Fence { id, tasks, data } => self.pmix_fence(key, id, tasks.as_deref(), &data),
            Word::Want { id, task } => self.pmix_want(key, id, task),
            Word::Has { id, data } => {
                let asked = self.jobs.get_mut(&key).and_then(|job| job.pmix.as_mut()?.asked.remove(&id));
                match (asked, data) {
                    (Some(message), Some(data)) => self.respond(message, PmixGot { data }),
                    (Some(message), None) => {
                        self.refuse(message, WireError::new(ErrorCode::NotFound, "the task has put nothing"));
                    }
                    (None, _) => {}
                }
            }
            Word::Refused { what } => self.pmix_warn(key, format!("{what} is not supported in this job")),
        }
    }

    /// The tasks that wait for the server, once.
    fn pmix_waiting(&mut self, key: Key) -> Option<PmixFirst> {
        let job = self.jobs.get_mut(&key)?;
        let first = job.pmix.as_mut()?.first.take()?;
        matches!(job.phase, Phase::Launching { .. }).then_some(first)
    }

    /// Starts the tasks, with what they need to find the server.
    fn pmix_go_on(&mut self, key: Key, first: PmixFirst, pmix: Block) {
        self.timers.retain(|(_, of, timer)| *of != key || *timer != Timer::PmixLate);
        let Some(job) = self.jobs.get(&key) else { return };
        let (plan, base, claim) = (Arc::clone(&job.plan), first.base, first.claim);
        let work = Work::Tasks { plan, base, claim, pmix: Some(Arc::new(pmix)) };
        let order = self.order(For::Job(key), first.tag, work);
        if let Some(Phase::Launching { ticket, .. }) = self.jobs.get_mut(&key).map(|job| &mut job.phase) {
            *ticket = Some(order);
        }
    }

    /// There will be no server, or none any more.
    fn pmix_cannot(&mut self, key: Key, note: String) {
        if let Some(first) = self.pmix_waiting(key) {
            self.pmix_not(key, first, note);
        }
    }

    fn pmix_not(&mut self, key: Key, first: PmixFirst, note: String) {
        if !first.must {
            tracing::debug!(job = %key.0.f58(), note, "tasks start without PMIx");
            return self.pmix_go_on(key, first, Block::default());
        }
        if !first.claim.take() {
            return;
        }
        let Some(job) = self.jobs.get(&key) else { return };
        let who = match job.plan.program.get().and_then(|program| program.library()) {
            Some(library) => format!("the program is linked with {library}, which needs PMIx"),
            None => "PMIx was asked for".to_owned(),
        };
        let hint = format!("{} names a libpmix; -o pmi=simple goes on without", super::LIBRARY_VARIABLE);
        let note = format!("{who}, and there is none: {note} ({hint})");
        let failure = Failure { note, status: 1 << 8, errno: libc::ENOENT };
        self.job_launched(key, Launched { failure: Some(failure), ..Launched::new(0) });
    }

    pub(crate) fn pmix_late(&mut self, key: Key) {
        self.pmix_cannot(key, format!("its server is not ready after {} s", READY_MAX.as_secs()));
    }

    pub(crate) fn pmix_exited(&mut self, key: Key, status: i32) {
        let how = if libc::WIFSIGNALED(status) {
            format!("signal {}", libc::WTERMSIG(status))
        } else {
            format!("exit code {}", exit_code(status))
        };
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let Some(pmix) = &job.pmix else { return };
        if pmix.first.is_some() {
            // What it has said last is still on its way; the end of its output comes after it.
            return;
        }
        // Tasks that need it would hang.
        if job.spoke && matches!(job.phase, Phase::Running) && !job.ending {
            self.fail(key, format!("the job's PMIx server has ended ({how})"), 1 << 8);
        }
    }

    /// All tasks of the job have ended here.
    pub(crate) fn pmix_over(&mut self, key: Key, now: Instant) {
        let pmix = self.jobs.get_mut(&key).and_then(|job| job.pmix.take());
        self.pmix_answer_early(key);
        let Some(pmix) = pmix else { return };
        self.timers.retain(|(_, of, timer)| *of != key || *timer != Timer::PmixLate);
        self.families.end(pmix.field, now, Duration::from_millis(GRACE_MS));
        for message in pmix.asked.into_values() {
            self.refuse(message, WireError::new(ErrorCode::NotFound, "the task has ended"));
        }
    }

    fn pmix_fence(&mut self, key: Key, id: u64, tasks: Option<&str>, data: &str) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let Some(pmix) = &mut job.pmix else { return };
        let name = format!("{COLLECTIVE}{}", tasks.unwrap_or("all"));
        let data = BASE64.decode(data).unwrap_or_default();
        let members = tasks.map(|tasks| {
            let members: BTreeSet<u32> = match tasks.parse::<flurm_types::Idset>() {
                Ok(tasks) => tasks.iter().filter_map(|task| job.plan.map.node_of(task)).collect(),
                Err(error) => {
                    tracing::warn!(%error, "a fence over no tasks");
                    BTreeSet::new()
                }
            };
            members.into_iter().collect()
        });
        let waiting = pmix.fences.entry(name.clone()).or_default();
        waiting.push_back(PmixFence { id, members, data });
        // Threads of a task may be in several over the same tasks: one after the other.
        if waiting.len() == 1 {
            self.pmix_next_fence(key, name);
        }
    }

    fn pmix_next_fence(&mut self, key: Key, name: String) {
        let pmix = self.jobs.get_mut(&key).and_then(|job| job.pmix.as_mut());
        let next = pmix.and_then(|pmix| pmix.fences.get_mut(&name)?.front_mut());
        let Some((members, data)) = next.map(|f| (f.members.take(), std::mem::take(&mut f.data))) else {
            return;
        };
        match members {
            Some(members) => self.collect_among(key, name, members, &data),
            None => self.collect(key, name, &data),
        }
    }

    pub(crate) fn pmix_fenced(&mut self, key: Key, name: &str, result: Collected) {
        let Some(pmix) = self.jobs.get_mut(&key).and_then(|job| job.pmix.as_mut()) else { return };
        let Some(waiting) = pmix.fences.get_mut(name) else { return };
        let Some(PmixFence { id, .. }) = waiting.pop_front() else { return };
        let more = !waiting.is_empty();
        if !more {
            pmix.fences.remove(name);
        }
        if let Err(why) = &result {
            tracing::warn!(job = %key.0.f58(), why, "a PMIx fence failed");
        }
        // Each server's part says itself how long it is.
        let all =
            |parts: Vec<(u32, Vec<u8>)>| parts.into_iter().flat_map(|(_, part)| part).collect::<Vec<u8>>();
        let data = result.ok().map(|parts| BASE64.encode(all(parts)));
        pmix.order(&Order::Fenced { id, data });
        if more {
            self.pmix_next_fence(key, name.to_owned());
        }
    }

    /// A task of ours wants what one elsewhere has put.
    fn pmix_want(&mut self, key: Key, id: u64, task: u32) {
        let Some(job) = self.jobs.get(&key) else { return };
        let at = job.plan.map.node_of(task).and_then(|index| job.r.nodes.get(index as usize));
        let rank = at.map(|node| Rank(node.rank)).filter(|rank| *rank != self.rank);
        let (Some(rank), Some(client), Some(pmix)) = (rank, self.client.clone(), &job.pmix) else {
            if let Some(pmix) = &job.pmix {
                pmix.order(&Order::Got { id, data: None });
            }
            return;
        };
        let Some(orders) = pmix.orders.clone() else { return };
        tokio::spawn(async move {
            let get = PmixGet { id: key.0, attempt: key.1, task };
            let answer = client.call(Dest::Rank(rank), &get).await;
            if let Err(error) = &answer {
                tracing::warn!(job = %key.0.f58(), task, %error, "what a task has put cannot be had");
            }
            let order = Order::Got { id, data: answer.ok().map(|got| got.data) };
            let mut line = serde_json::to_string(&order).expect("our own orders are JSON");
            line.push('\n');
            // The server may have ended.
            let _ = orders.send(line);
        });
    }

    /// A task elsewhere wants what one of ours has put.
    pub(crate) fn pmix_get(&mut self, message: Message, get: PmixGet) {
        let key = (get.id, get.attempt);
        let Some(job) = self.jobs.get_mut(&key) else { return self.pmix_get_early(message, get) };
        let Some(pmix) = job.pmix.as_mut().filter(|pmix| pmix.orders.is_some()) else {
            if matches!(job.phase, Phase::Launching { .. }) {
                return job.pmix_asked.push((message, get));
            }
            let text = format!("{} has no PMIx server on rank {}", get.id.f58(), self.rank);
            return self.refuse(message, WireError::new(ErrorCode::NotFound, text));
        };
        pmix.next += 1;
        let id = pmix.next;
        pmix.asked.insert(id, message);
        pmix.order(&Order::Get { id, task: get.task });
    }

    /// Questions that came before it was known whether there will be a server.
    pub(crate) fn pmix_answer_early(&mut self, key: Key) {
        let asked = self.jobs.get_mut(&key).map(|job| std::mem::take(&mut job.pmix_asked));
        for (message, get) in asked.unwrap_or_default() {
            self.pmix_get(message, get);
        }
    }

    /// Said once for each thing, to whoever reads the job's standard error.
    fn pmix_warn(&mut self, key: Key, note: String) {
        let Some(pmix) = self.jobs.get_mut(&key).and_then(|job| job.pmix.as_mut()) else { return };
        if pmix.warned.insert(note.clone()) {
            self.outbox.push(key, What::Warning { kind: "mpi".into(), severity: 3, note }, 0);
        }
    }
}

async fn write_lines(pipe: OwnedFd, mut lines: mpsc::UnboundedReceiver<String>) {
    let Ok(mut pipe) = pipe::Sender::from_owned_fd_unchecked(pipe) else { return };
    while let Some(line) = lines.recv().await {
        if pipe.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_words(pipe: OwnedFd, tell: impl Fn(Option<Box<Word>>)) {
    let Ok(pipe) = pipe::Receiver::from_owned_fd_unchecked(pipe) else { return tell(None) };
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(word) => tell(Some(Box::new(word))),
            Err(error) => tracing::warn!(%error, line, "a PMIx server says what nobody understands"),
        }
    }
    tell(None);
}
