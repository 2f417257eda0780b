//! Where our own lines go: standard output and error, or the files of `--log` and `--log-stderr`. A bar on the terminal goes
//! out of the way of what is printed, and stands below it again.

use crate::attach::Stream;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::submission::Logs;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Files that are open at once; each job may have its own.
const OPEN_MAX: usize = 64;

/// All places for lines. Several jobs that name one file share it.
#[derive(Debug, Default)]
pub struct Sinks {
    files: Mutex<Files>,
    bar: Mutex<Option<Progress>>,
}

#[derive(Debug, Default)]
struct Files {
    open: BTreeMap<Arc<str>, File>,
    /// Begun already: what comes later is appended.
    begun: BTreeSet<Arc<str>>,
}

impl Sinks {
    pub fn with_bar(bar: Option<Progress>) -> Sinks {
        Sinks { files: Mutex::default(), bar: Mutex::new(bar) }
    }

    /// Tells the bar of something, if there is one.
    pub fn bar(&self, tell: impl FnOnce(&mut Progress)) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            tell(bar);
        }
    }

    pub fn has_bar(&self) -> bool {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Draws the bar for the last time.
    pub fn end_bar(&self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish();
        }
    }

    /// Writes what belongs to a stream to where it goes.
    pub fn write(&self, stream: Stream, logs: &Logs, bytes: &[u8]) -> Result<(), Failure> {
        let name = match stream {
            Stream::Stdout => &logs.out,
            Stream::Stderr if logs.err.is_some() => &logs.err,
            Stream::Stderr => &logs.out,
        };
        if let Some(name) = name {
            let mut files = self.files.lock().expect("nothing panics while it holds the files");
            return files.write(name, bytes).map_err(|e| Failure::new(format!("cannot write {name}: {e}")));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.bar(Progress::clear);
        match stream {
            Stream::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()?;
            }
            Stream::Stderr => io::stderr().write_all(bytes)?,
        }
        self.bar(|bar| bar.below(bytes));
        Ok(())
    }
}

impl Files {
    fn write(&mut self, name: &Arc<str>, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = self.open.get_mut(name) {
            return file.write_all(bytes);
        }
        if self.open.len() == OPEN_MAX {
            self.open.clear();
        }
        let fresh = self.begun.insert(name.clone());
        let mut options = File::options();
        let options = if fresh { options.write(true).truncate(true) } else { options.append(true) };
        let mut file = options.create(true).open(&**name)?;
        file.write_all(bytes)?;
        self.open.insert(name.clone(), file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_files_than_may_be_open_are_all_written() {
        let dir = tempfile::tempdir().unwrap();
        let sinks = Sinks::default();
        let logs = |i: usize| Logs {
            out: Some(dir.path().join(format!("l{i}")).display().to_string().into()),
            err: None,
        };
        for round in 0..2 {
            for i in 0..OPEN_MAX + 3 {
                let stream = if round == 0 { Stream::Stdout } else { Stream::Stderr };
                sinks.write(stream, &logs(i), format!("{round}\n").as_bytes()).unwrap();
            }
        }
        for i in 0..OPEN_MAX + 3 {
            assert_eq!(std::fs::read_to_string(dir.path().join(format!("l{i}"))).unwrap(), "0\n1\n");
        }
        let nowhere = Logs { out: Some("/no/such/dir/x".into()), err: None };
        assert!(sinks.write(Stream::Stdout, &nowhere, b"x").is_err());
    }
}
