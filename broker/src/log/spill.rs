//! Files beside the log, one for each job that says much: `output/ID`. What lies in one, and where, the log's records say;
//! so a piece is written where its record will say that it is, before that is committed, and what is behind the last one
//! that a record speaks of does not count. The file of a job that is purged goes after the record that says so.

use flurm_types::JobId;
use flurm_wire::fact::{Fact, Spilled};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) struct Spill {
    dir: PathBuf,
}

impl Spill {
    pub(super) fn beside(log: &Path) -> Spill {
        Spill { dir: log.join("output") }
    }

    fn path(&self, id: JobId) -> PathBuf {
        self.dir.join(id.0.to_string())
    }

    /// Writes what these facts have for files, to the disk; gives the jobs for which that has failed.
    pub(super) fn write<'a>(&self, facts: impl Iterator<Item = &'a Fact>) -> Vec<(JobId, io::Error)> {
        let mut jobs: BTreeMap<JobId, Vec<&Spilled>> = BTreeMap::new();
        for fact in facts {
            if let Fact::Job(fact) = fact
                && let Some(spilled) = &fact.spilled
            {
                jobs.entry(fact.id).or_default().push(spilled);
            }
        }
        let written = jobs.into_iter().map(|(id, pieces)| (id, self.write_one(id, &pieces)));
        written.filter_map(|(id, written)| Some((id, written.err()?))).collect()
    }

    fn write_one(&self, id: JobId, pieces: &[&Spilled]) -> io::Result<()> {
        let file = match self.open(id) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
                self.open(id)?
            }
            file => file?,
        };
        for piece in pieces {
            file.write_all_at(&piece.frames, piece.offset)?;
        }
        file.sync_data()
    }

    /// Removes the files of jobs that these facts forget; what cannot be removed is tried again when the log is read.
    pub(super) fn remove<'a>(&self, facts: impl Iterator<Item = &'a Fact>) {
        for fact in facts {
            if let Fact::Job(fact) = fact
                && fact.purges()
            {
                let _ = std::fs::remove_file(self.path(fact.id));
            }
        }
    }

    fn open(&self, id: JobId) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.path(id))
    }

    /// So many bytes, or those that there are.
    pub(super) fn read(&self, id: JobId, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.path(id))?;
        let (mut bytes, mut filled) = (vec![0; len], 0);
        while filled < len {
            match file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}
