//! Files on their way into an archive: found below a directory, read once, put into the store a piece at a time.
//!
//! The index comes last, so that nobody sees an archive that is not whole. Links are kept as they are, never followed.

use super::FilesError;
use crate::{Client, kvs};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flurm_wire::ErrorCode;
use flurm_wire::fact::{Holds, KvsOp};
use flurm_wire::files::{self, BYTES_MAX, BadArchive, ENTRIES_MAX, Entry, Index, PIECE_LEN, Run, What};
use flurm_wire::pack;
use rustix::fs::OFlags;
use serde_json::Value;
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// Smaller ones stay as they are.
const PACKED_LEN_MIN: usize = 256;

/// Something that goes into an archive.
#[derive(Debug)]
pub struct Found {
    pub path: String,
    file: PathBuf,
    meta: Metadata,
}

/// These, and what is below those that are directories, in the order of their names. `left_out` hears of what is no file,
/// directory or link.
///
/// # Errors
/// A path that is not below `dir`, or that cannot be looked at.
pub fn find(dir: &Path, paths: &[PathBuf], mut left_out: impl FnMut(&str)) -> Result<Vec<Found>, FilesError> {
    let mut found = Vec::new();
    for path in paths {
        let typed = path.display().to_string();
        let mut name = PathBuf::new();
        for part in path.components() {
            match part {
                Component::CurDir => {}
                Component::Normal(part) => name.push(part),
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(FilesError::bad(&typed, BadArchive::Path(typed.clone())));
                }
            }
        }
        look(&mut found, dir, &name, &mut left_out)?;
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|found| seen.insert(found.path.clone()));
    Ok(found)
}

/// Adds what is there under this name, unless it is the directory itself, and all below it.
fn look(
    found: &mut Vec<Found>,
    dir: &Path,
    name: &Path,
    left_out: &mut impl FnMut(&str),
) -> Result<(), FilesError> {
    let file = dir.join(name);
    let said = file.display().to_string();
    let wrong = |source: io::Error| FilesError::file(&said, source);
    let path = name.to_str().ok_or_else(|| wrong(io::Error::other("its name is not UTF-8")))?.to_owned();
    let meta = std::fs::symlink_metadata(&file).map_err(wrong)?;
    let kind = meta.file_type();
    if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
        left_out(&said);
        return Ok(());
    }
    if !path.is_empty() {
        if found.len() >= ENTRIES_MAX {
            return Err(FilesError::bad(&said, BadArchive::TooLarge));
        }
        found.push(Found { path, file: file.clone(), meta });
    }
    if kind.is_dir() {
        let mut below = std::fs::read_dir(&file)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>())
            .map_err(wrong)?;
        below.sort_unstable();
        for entry in below {
            look(found, dir, &name.join(entry), left_out)?;
        }
    }
    Ok(())
}

/// What becomes of an archive of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// There must be none.
    New,
    /// It keeps what it has.
    Append,
    Replace,
}

/// How often others may change an archive while it is changed.
const TRIES_MAX: usize = 100;

/// Puts files into the archive `name`. Others may do so at the same time: what one of them has put there is lost only to
/// who replaces it.
///
/// # Errors
/// A file cannot be read, the store refuses, or the connection is lost. Then the archive is as it was.
pub async fn put(
    client: &Client,
    namespace: &str,
    name: &str,
    how: Put,
    found: &[Found],
) -> Result<(), FilesError> {
    let before = super::index(client, namespace, name).await?;
    if before.is_some() && how == Put::New {
        return Err(FilesError::There(name.to_owned()));
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let id = format!("{:x}-{:x}", since.as_micros(), std::process::id());
    if before.is_none() && how != Put::Append {
        // What a `create` has left that did not come to its end. One that still goes on finds it gone and fails.
        super::remove(client, namespace, name).await?;
    }
    let kept = before.iter().filter(|_| how == Put::Append).flat_map(|index| &index.runs);
    let kept = kept.map(|run| run.len).sum();
    let mut run = Pieces { client, namespace, name, id: &id, buffer: Vec::new(), piece: 0, len: 0, kept };
    let put = match run.take_all(found).await {
        Ok(entries) => finish(&run, how, before, &entries).await,
        Err(error) => Err(error),
    };
    if put.is_err() {
        // If that fails as well, the next `create` or `remove` does it.
        let _ = kvs::commit(client, namespace, vec![KvsOp::Unlink { key: files::run_key(name, &id) }]).await;
    }
    put
}

/// Makes the run a part of the archive, which must be as it was when it was looked at.
async fn finish(
    run: &Pieces<'_>,
    how: Put,
    mut before: Option<Index>,
    entries: &[Entry],
) -> Result<(), FilesError> {
    let Pieces { client, namespace, name, id, .. } = *run;
    let wrong = |e| FilesError::bad(name, e);
    let mut tries = 0;
    loop {
        let mut index = before.clone().filter(|_| how == Put::Append).unwrap_or_default();
        let entries = entries.iter().cloned().map(|mut entry| {
            if let What::File { run, .. } = &mut entry.what {
                *run = index.runs.len();
            }
            entry
        });
        let entries = entries.collect();
        index.append(Run { id: id.to_owned(), len: run.len }, entries);
        let index = index.checked().map_err(wrong)?;
        let replaced = before.as_ref().filter(|_| how != Put::Append).map_or(&[][..], |index| &index.runs);
        let mut ops = vec![files::test_index(name, before.as_ref()).map_err(wrong)?];
        if run.piece > 0 {
            ops.push(KvsOp::Test { key: files::run_key(name, id), holds: Holds::Something });
        }
        ops.extend(files::put_index(name, &index, replaced).map_err(wrong)?);
        match kvs::commit(client, namespace, ops).await {
            Err(error) if error.code() == Some(ErrorCode::Changed) && tries < TRIES_MAX => tries += 1,
            committed => return committed.map(drop).map_err(FilesError::from),
        }
        before = super::index(client, namespace, name).await?;
        if before.is_some() && how == Put::New {
            return Err(FilesError::There(name.to_owned()));
        }
    }
}

/// The run that is being written.
struct Pieces<'a> {
    client: &'a Client,
    namespace: &'a str,
    name: &'a str,
    id: &'a str,
    buffer: Vec<u8>,
    piece: u64,
    len: u64,
    /// Contents that the archive has already.
    kept: u64,
}

impl Pieces<'_> {
    async fn take_all(&mut self, found: &[Found]) -> Result<Vec<Entry>, FilesError> {
        let mut entries = Vec::with_capacity(found.len());
        for Found { path, file, meta } in found {
            let said = file.display().to_string();
            let what = if meta.is_dir() {
                What::Dir
            } else if meta.is_symlink() {
                let target = std::fs::read_link(file).map_err(|e| FilesError::file(&said, e))?;
                let target = target.into_os_string().into_string();
                let not_text = |_| FilesError::file(&said, io::Error::other("it leads to what is not UTF-8"));
                What::Link { target: target.map_err(not_text)? }
            } else {
                let at = self.len;
                self.take(file, &said, meta).await?;
                What::File { run: 0, at, size: self.len - at }
            };
            let mtime = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
            entries.push(Entry { path: path.clone(), mode: meta.mode() & 0o777, mtime, what });
        }
        self.commit().await?;
        Ok(entries)
    }

    /// Reads as much as the file had when it was found.
    async fn take(&mut self, file: &Path, said: &str, meta: &Metadata) -> Result<(), FilesError> {
        if self.kept + self.len + meta.len() > BYTES_MAX {
            return Err(FilesError::bad(self.name, BadArchive::TooLarge));
        }
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let open = OpenOptions::new().read(true).custom_flags(flags).open(file);
        let mut open = open.map_err(|e| FilesError::file(said, e))?;
        let now = open.metadata().map_err(|e| FilesError::file(said, e))?;
        if (now.dev(), now.ino()) != (meta.dev(), meta.ino()) {
            return Err(FilesError::Changed { path: said.to_owned() });
        }
        let mut left = meta.len();
        while left > 0 {
            let room = (PIECE_LEN - self.buffer.len() as u64).min(left);
            let read = (&mut open).take(room).read_to_end(&mut self.buffer);
            let read = read.map_err(|e| FilesError::file(said, e))? as u64;
            if read == 0 {
                return Err(FilesError::Changed { path: said.to_owned() });
            }
            self.len += read;
            left -= read;
            if self.buffer.len() as u64 == PIECE_LEN {
                self.commit().await?;
            }
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), FilesError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let key = files::piece_key(self.name, self.id, self.piece);
        let value = Value::String(BASE64.encode(pack::pack(&self.buffer, PACKED_LEN_MIN)));
        kvs::commit(self.client, self.namespace, vec![KvsOp::Put { key, value }]).await?;
        self.buffer.clear();
        self.piece += 1;
        Ok(())
    }
}
