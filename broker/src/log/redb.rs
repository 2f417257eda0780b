//! The log's file: one redb database, `log.redb`, with a table of records and one that says what the file is.

use super::{LogError, Record, read_record};
use ::redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
};
use flurm_wire::pack::{pack, unpack};
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Version of the file: tables and packing. The records carry `flurm_wire::VERSION`.
pub(super) const FORMAT: u64 = 1;

const FILE: &str = "log.redb";
/// Index, from 1, to a packed record.
const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("records");
/// `format`, `term`.
const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("about");

/// The log is written at its end and read once, at the start: a cache has little to do.
const CACHE_BYTES: usize = 1 << 20;
/// Most records are larger, and their JSON compresses to a fifth.
const COMPRESS_LEN_MIN: usize = 256;
/// A record is one batch of the mind; far below this.
const RECORD_LEN_MAX: usize = 1 << 30;

#[derive(Debug)]
pub(super) struct Store {
    path: String,
    db: Database,
    next: u64,
    term: u64,
}

impl Store {
    /// Opens or makes the file in `dir`, for another life. No two processes can have it open.
    pub(super) fn open(dir: &Path) -> Result<Store, LogError> {
        let file = dir.join(FILE);
        let path = file.display().to_string();
        let io_error = |source| LogError::Open { path: path.clone(), source };
        // A path that is wrong further up is a typing error, and not a wish.
        if !dir.is_dir() {
            DirBuilder::new().mode(0o700).create(dir).map_err(io_error)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(file)
            .map_err(io_error)?;
        // A file whose insides contradict each other can make redb panic; for us it is damaged all the same.
        let opened =
            std::panic::catch_unwind(|| Builder::new().set_cache_size(CACHE_BYTES).create_file(file));
        let db = match opened {
            Ok(Ok(db)) => db,
            Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => return Err(LogError::Locked { path }),
            Ok(Err(DatabaseError::Storage(StorageError::Io(source))))
                if source.kind() != io::ErrorKind::InvalidData =>
            {
                return Err(LogError::Open { path, source });
            }
            Ok(Err(error)) => return Err(LogError::Damaged { path, reason: error.to_string() }),
            Err(_) => return Err(LogError::Damaged { path, reason: "redb cannot read it".into() }),
        };
        let mut store = Store { path, db, next: 1, term: 0 };
        store.begin()?;
        Ok(store)
    }

    /// Number of this life.
    pub(super) fn term(&self) -> u64 {
        self.term
    }

    fn damaged(&self, error: impl std::fmt::Display) -> LogError {
        LogError::Damaged { path: self.path.clone(), reason: error.to_string() }
    }

    /// Makes the tables in a new file; in an old one, says whether we can read it. One transaction, for each waits for
    /// the disk.
    fn begin(&mut self) -> Result<(), LogError> {
        let write = self.db.begin_write().map_err(write_error)?;
        {
            let mut about = write.open_table(ABOUT).map_err(|e| self.damaged(e))?;
            let found = about.get("format").map_err(|e| self.damaged(e))?.map(|v| v.value());
            match found {
                None => {
                    about.insert("format", FORMAT).map_err(write_error)?;
                }
                Some(FORMAT) => {}
                Some(found) => return Err(LogError::Version { path: self.path.clone(), found }),
            }
            let term = about.get("term").map_err(|e| self.damaged(e))?.map_or(0, |v| v.value());
            self.term = term + 1;
            about.insert("term", self.term).map_err(write_error)?;
            let records = write.open_table(RECORDS).map_err(|e| self.damaged(e))?;
            let last = records.last().map_err(|e| self.damaged(e))?;
            self.next = last.map_or(1, |(index, _)| index.value() + 1);
        }
        write.commit().map_err(write_error)
    }

    /// Hands over all records in order, `together` at a time, as long as `take` says that it wants more.
    pub(super) fn replay(
        &self,
        together: usize,
        mut take: impl FnMut(Vec<Record>) -> bool,
    ) -> Result<(), LogError> {
        let read = self.db.begin_read().map_err(|e| self.damaged(e))?;
        let table = read.open_table(RECORDS).map_err(|e| self.damaged(e))?;
        let mut records = Vec::new();
        for (expected, entry) in (1..).zip(table.iter().map_err(|e| self.damaged(e))?) {
            let (index, packed) = entry.map_err(|e| self.damaged(e))?;
            let index: u64 = index.value();
            if index != expected {
                return Err(self.damaged(format!("record {expected} is missing")));
            }
            let bytes = unpack(packed.value(), RECORD_LEN_MAX)
                .map_err(|e| self.damaged(format!("record {index}: {e}")))?;
            records.push(read_record(&self.path, index, &bytes)?);
            if records.len() == together && !take(std::mem::take(&mut records)) {
                return Ok(());
            }
        }
        if !records.is_empty() {
            take(records);
        }
        Ok(())
    }

    /// Appends records in one transaction, on disk when this returns. The index of the first.
    pub(super) fn append<'a>(&mut self, records: impl Iterator<Item = &'a [u8]>) -> Result<u64, LogError> {
        let first = self.next;
        let write = self.db.begin_write().map_err(write_error)?;
        {
            let mut table = write.open_table(RECORDS).map_err(write_error)?;
            for bytes in records {
                let packed = pack(bytes, COMPRESS_LEN_MIN);
                table.insert(self.next, packed.as_slice()).map_err(write_error)?;
                self.next += 1;
            }
        }
        // Durability is immediate unless somebody says otherwise: fsync is part of this.
        write.commit().map_err(write_error)?;
        Ok(first)
    }
}

fn write_error(error: impl std::error::Error + Send + Sync + 'static) -> LogError {
    LogError::Write(Box::new(error))
}
