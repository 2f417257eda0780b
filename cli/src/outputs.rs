//! What jobs have said, wherever it is: in the job's log, in files that its streams went to, in an archive.

use crate::archive::Archive;
use crate::attach::{Decoder, Stream};
use crate::events;
use crate::failure::Failure;
use flurm_client::{Client, ClientError, attr, job};
use flurm_jobspec::Jobspec;
use flurm_types::{Entry, JobId};
use flurm_wire::archive::{Instance, Record};
use flurm_wire::job::{Log, Watch};
use flurm_wire::rexec;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Takes output: stream, ranks of the tasks, bytes.
pub trait Take: FnMut(Stream, &str, &[u8]) -> Result<(), Failure> {}

impl<F: FnMut(Stream, &str, &[u8]) -> Result<(), Failure>> Take for F {}

/// Of a file at once.
const READ_LEN: usize = 1 << 16;

/// Archives that have been opened.
#[derive(Debug, Default)]
pub struct Archives(BTreeMap<PathBuf, Archive>);

impl Archives {
    fn get(&mut self, path: &Path) -> Result<&Archive, Failure> {
        if !self.0.contains_key(path) {
            self.0.insert(path.to_owned(), Archive::open(path)?);
        }
        Ok(&self.0[path])
    }
}

/// All that an archive has of a job.
pub fn of_archive(archive: &Archive, job: (Instance, JobId), take: &mut impl Take) -> Result<bool, Failure> {
    archive.each(job, |Record { pieces, .. }| {
        pieces.iter().try_for_each(|piece| {
            let stream = match piece.stream {
                rexec::Stream::Stdout => Stream::Stdout,
                rexec::Stream::Stderr => Stream::Stderr,
            };
            take(stream, &piece.task.to_string(), &piece.bytes)
        })
    })
}

/// Where the log says that output has gone.
#[derive(Debug, PartialEq, Eq)]
struct Elsewhere {
    path: PathBuf,
    archive: bool,
    stream: Stream,
    ranks: String,
}

/// All that the instance knows of a job's output so far, and what lies in files that its log names. What could not be had
/// comes back: with many jobs, one's file that is gone says nothing of the others.
///
/// # Errors
/// It cannot be taken, or the instance is gone.
pub async fn of_instance(
    client: &Client,
    archives: &mut Archives,
    id: JobId,
    take: &mut impl Take,
) -> Result<Vec<Failure>, Failure> {
    let watch = Watch { id, logs: vec![Log::Output], follow: false, paced: true };
    let mut pages = match job::watch(client, &watch).await {
        // It may have been purged a moment ago.
        Err(error @ ClientError::Refused(_)) => return Ok(vec![error.into()]),
        pages => pages?,
    };
    let (mut decoder, mut elsewhere, mut cwd, mut missing) =
        (Decoder::default(), Vec::new(), None, Vec::new());
    loop {
        let page = match pages.next().await {
            // As above.
            Err(error @ ClientError::Refused(_)) => return Ok(vec![error.into()]),
            Ok(None) => break,
            page => page?.expect("none was seen to"),
        };
        for (_, entry) in &page.entries {
            if let Some(data) = decoder.take(entry)? {
                take(data.stream, &data.ranks, &data.bytes)?;
            } else if entry.name == "redirect" {
                if cwd.is_none() {
                    cwd = Some(cwd_of(client, id).await?);
                }
                elsewhere.extend(redirect(entry, cwd.as_deref().unwrap_or(Path::new("/"))));
            } else if entry.name == "log" {
                crate::say!("{}: {}", id.f58(), events::text(entry, "message").unwrap_or_default());
            }
        }
    }
    let mut seen: Vec<PathBuf> = Vec::new();
    for Elsewhere { path, archive, stream, ranks } in elsewhere {
        // Both streams may have gone there.
        if seen.contains(&path) {
            continue;
        }
        if archive {
            let instance = Instance::of(&attr::get(client, "instance-id").await?);
            match archives.get(&path) {
                // It may be that nothing has been written to it yet.
                Ok(archive) => drop(of_archive(archive, (instance, id), take)?),
                Err(failure) => missing.push(failure),
            }
        } else {
            missing.extend(of_file(&path, stream, &ranks, take)?);
        }
        seen.push(path);
    }
    Ok(missing)
}

async fn cwd_of(client: &Client, id: JobId) -> Result<PathBuf, Failure> {
    let found = job::lookup(client, id, &["jobspec"]).await?;
    let jobspec = found.first().and_then(|text| Jobspec::parse(text).ok());
    Ok(jobspec.map(|jobspec| jobspec.attributes().cwd.clone()).unwrap_or_default().into())
}

fn redirect(entry: &Entry, cwd: &Path) -> Option<Elsewhere> {
    let context = entry.context.as_ref()?;
    Some(Elsewhere {
        path: cwd.join(events::text(entry, "path")?),
        archive: context.get("archive").and_then(serde_json::Value::as_bool) == Some(true),
        stream: if events::text(entry, "stream") == Some("stderr") { Stream::Stderr } else { Stream::Stdout },
        ranks: events::text(entry, "rank")?.to_owned(),
    })
}

/// A file of several tasks has labels of its own if it was to have some; here it is the first one's. Why it cannot be read
/// comes back.
fn of_file(
    path: &Path,
    stream: Stream,
    ranks: &str,
    take: &mut impl Take,
) -> Result<Option<Failure>, Failure> {
    let wrong = |e: io::Error| {
        Failure::new(format!("cannot read {}, where the output went: {e}", path.display()))
            .hint("it may be on another node")
    };
    let rank = ranks.split([',', '-']).next().unwrap_or("0");
    let mut file = match open(path) {
        Ok(Some(file)) => file,
        Ok(None) => {
            let text =
                format!("the output went to {}, which is no file that could be read again", path.display());
            return Ok(Some(Failure::new(text)));
        }
        Err(e) => return Ok(Some(wrong(e))),
    };
    let mut buffer = vec![0; READ_LEN];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(len) => take(stream, rank, &buffer[..len])?,
            Err(e) => return Ok(Some(wrong(e))),
        }
    }
}

/// None: a FIFO, whose other end may never open, or a device.
fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    Ok(file.metadata()?.is_file().then_some(file))
}
