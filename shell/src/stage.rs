//! Archives of the key-value store that are unpacked before the tasks of a job start (`-o stage-in`).
//!
//! One shell of the job, the first, asks the store: for what is in the archives, then for piece after piece. Each goes to
//! the others through the job's all-gathers, to which they give nothing, and so down the tree of its shells. However many nodes a
//! job has, the leader is asked once.
//!
//! ```text
//! prolog --> [first: asks] --> all have it --> unpacked --.--> all are through --> tasks
//!                 ^-------- as long as there are pieces --'
//!    `--whatever fails, on any node: exception `stage-in`
//! ```

use crate::collective::{self, Collected};
use crate::jobs::Phase;
use crate::launch::Claim;
use crate::options::StageIn;
use crate::plan::Plan;
use crate::scratch;
use crate::shell::{Event, Key, Shell};
use flurm_client::Client;
use flurm_client::files::{self, FilesError, Unpack};
use flurm_wire::exec::What;
use flurm_wire::files::Index;
use flurm_wire::kvs::PRIMARY;
use flurm_wire::pack;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Name of the collective, and of the exception.
pub(crate) const NAME: &str = flurm_wire::exec::STAGE_IN;

/// What is in all archives of a job, when it is unpacked: some times what one may have.
const INDEX_LEN_MAX: usize = 64 << 20;

/// How far a job is with it.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    over: bool,
    /// Who waits for what all have given.
    answer: Option<oneshot::Sender<Collected>>,
}

/// What is said by who unpacks.
#[derive(Debug)]
pub enum Staged {
    /// Gives something to all shells of the job, and wants what they have given.
    Exchange(Vec<u8>, oneshot::Sender<Collected>),
    Over(Result<(), String>),
}

impl Shell {
    /// Begins to unpack what the job's tasks want to find; false when there is nothing, or nothing any more.
    pub(crate) fn stage(&mut self, key: Key) -> bool {
        let Some(job) = self.jobs.get(&key) else { return false };
        let Phase::Launching { claim, .. } = &job.phase else { return false };
        let (plan, claim) = (Arc::clone(&job.plan), claim.clone());
        let Some(wanted) = plan.options.stage_in.clone() else { return false };
        if job.staging.over || plan.tasks.is_empty() {
            return false;
        }
        let (client, events) = (self.client.clone(), self.events.clone());
        tokio::spawn(async move {
            let host = plan.node.host.clone();
            let work =
                Work { key, wanted, plan: Arc::clone(&plan), claim: claim.clone(), events: events.clone() };
            let result = work.run(client).await.map_err(|why| format!("{why} (on {host})"));
            if claim.is_taken() {
                // The job has ended meanwhile, and its directory was removed before all of this was there.
                scratch::remove(plan.tmpdir.clone());
            }
            // The shell may be leaving.
            let _ = events.send(Event::Staged { key, said: Staged::Over(result) });
        });
        true
    }

    pub(crate) fn staged(&mut self, key: Key, said: Staged) {
        // It may have been told to end.
        if !self.waits_to_launch(key) {
            return;
        }
        match said {
            Staged::Exchange(bytes, answer) => {
                if let Some(job) = self.jobs.get_mut(&key) {
                    job.staging.answer = Some(answer);
                }
                self.collect(key, NAME.to_owned(), &bytes);
            }
            Staged::Over(Ok(())) => {
                if let Some(job) = self.jobs.get_mut(&key) {
                    job.staging.over = true;
                }
                self.launch(key);
            }
            Staged::Over(Err(note)) => {
                let status = 1 << 8;
                self.outbox.push(key, What::Failed { kind: NAME.into(), note, status }, 0);
                self.abandon(key, status);
            }
        }
    }

    pub(crate) fn all_staged(&mut self, key: Key, result: Collected) {
        if let Some(answer) = self.jobs.get_mut(&key).and_then(|job| job.staging.answer.take()) {
            // Whoever does not wait any more has said why.
            let _ = answer.send(result);
        }
    }
}

/// The unpacking of one job on this node.
struct Work {
    key: Key,
    wanted: StageIn,
    plan: Arc<Plan>,
    claim: Claim,
    events: mpsc::UnboundedSender<Event>,
}

impl Work {
    async fn run(&self, client: Option<Client>) -> Result<(), String> {
        let first = collective::first(&self.plan) == Some(self.plan.node_index);
        let alone = self.plan.nnodes == 1 || self.wanted.shared;
        let asks = if first { Some(client.ok_or("no broker is here to ask")?) } else { None };
        if first || !alone {
            let mut archives = Vec::new();
            if let Some(client) = &asks {
                archives = self.archives(client).await?;
            }
            if !alone {
                archives = self.told(&archives, first).await?;
            }
            let dir = self.directory().await?;
            for (name, index) in archives {
                self.unpack(asks.as_ref(), alone, &dir, name, index).await?;
            }
        }
        if self.plan.nnodes > 1 {
            self.exchange(Vec::new()).await?;
        }
        Ok(())
    }

    /// What is in the archives, as far as it is wanted.
    async fn archives(&self, client: &Client) -> Result<Vec<(String, Index)>, String> {
        let mut archives = Vec::new();
        for name in &self.wanted.names {
            let index = files::index(client, PRIMARY, name).await.map_err(|e| e.to_string())?;
            let index = index.ok_or_else(|| FilesError::None(name.clone()).to_string())?;
            let index = index.select(self.wanted.pattern.as_deref());
            if let (true, Some(pattern)) = (index.entries.is_empty(), &self.wanted.pattern) {
                return Err(format!("nothing in archive `{name}` matches `{pattern}`"));
            }
            archives.push((name.clone(), index));
        }
        Ok(archives)
    }

    /// The same on all nodes.
    async fn told(&self, archives: &[(String, Index)], first: bool) -> Result<Vec<(String, Index)>, String> {
        let text = if first { serde_json::to_vec(archives).map_err(|e| e.to_string())? } else { Vec::new() };
        let packed = if first { pack::pack(&text, 0) } else { Vec::new() };
        let packed = self.exchange(packed).await?;
        let text = pack::unpack(&packed, INDEX_LEN_MAX).map_err(|e| e.to_string())?;
        let archives: Vec<(String, Index)> = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        let checked = archives.into_iter().map(|(name, index)| Ok((name, index.checked()?)));
        checked.collect::<Result<_, files::BadArchive>>().map_err(|e| e.to_string())
    }

    /// Where to; it is made if need be.
    async fn directory(&self) -> Result<PathBuf, String> {
        let dir = self.plan.with_tags(None, |tags| tags.render(&self.wanted.destination));
        let dir = Path::new(&self.plan.cwd).join(dir.map_err(|unknown| unknown.to_string())?);
        let tmpdir = self.plan.tmpdir.clone();
        blocking(move || {
            let made = std::fs::DirBuilder::new().mode(scratch::MODE).create(&tmpdir);
            if let Err(error) = made
                && error.kind() != std::io::ErrorKind::AlreadyExists
            {
                return Err(format!("{tmpdir}: {error}"));
            }
            std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            Ok(dir)
        })
        .await
    }

    async fn unpack(
        &self,
        asks: Option<&Client>,
        alone: bool,
        dir: &Path,
        name: String,
        index: Index,
    ) -> Result<(), String> {
        let said = |e: FilesError| e.to_string();
        let (to, of) = (dir.to_owned(), name.clone());
        let mut unpack = blocking(move || Unpack::begin(&to, &of, index, true).map_err(said)).await?;
        for piece in unpack.pieces() {
            if self.claim.is_taken() {
                return Err("the job has ended".to_owned());
            }
            let mut packed = match asks {
                Some(client) => {
                    files::piece(client, PRIMARY, &name, unpack.index(), piece).await.map_err(said)?
                }
                None => Vec::new(),
            };
            if !alone {
                packed = self.exchange(packed).await?;
            }
            let name = name.clone();
            unpack = blocking(move || {
                unpack.take(piece, &files::plain(&name, &packed).map_err(said)?).map_err(said)?;
                Ok(unpack)
            })
            .await?;
        }
        blocking(move || unpack.end().map_err(said)).await
    }

    /// Gives this to all shells of the job; what the first one has given, when all have.
    async fn exchange(&self, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
        let (answer, answered) = oneshot::channel();
        let said = Staged::Exchange(bytes, answer);
        // The shell may be leaving; then nobody answers.
        let _ = self.events.send(Event::Staged { key: self.key, said });
        let parts = answered.await.map_err(|_| "the job has ended".to_owned())?;
        let parts = parts.map_err(|why| format!("not all nodes have been heard of: {why}"))?;
        let first = collective::first(&self.plan);
        let part = parts.into_iter().find(|(from, _)| Some(*from) == first);
        part.map(|(_, bytes)| bytes).ok_or_else(|| "the first node has given nothing".to_owned())
    }
}

/// A file system may take its time.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())?
}
