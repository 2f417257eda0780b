//! Private directories of jobs (`FLUX_JOB_TMPDIR`).
//!
//! Making and removing a directory costs a file system with a journal more than starting a process costs the kernel, and
//! most jobs never look at theirs. So a directory that was left empty goes to the next job.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Empty directories that are kept for later.
const FREE_MAX: usize = 1024;

/// Only the owner may look inside.
pub const MODE: u32 = 0o700;

#[derive(Debug)]
pub struct Scratch {
    base: PathBuf,
    made: u64,
    free: Vec<String>,
}

impl Scratch {
    /// Directories are made in `base`, which belongs to us alone.
    pub fn new(base: &Path) -> Scratch {
        Scratch { base: base.to_owned(), made: 0, free: Vec::new() }
    }

    /// What a shell before us has left here: true when there was one. Jobs of ours get other numbers.
    pub fn inherit(&mut self) -> bool {
        let entries = std::fs::read_dir(&self.base).into_iter().flatten().flatten();
        let numbers =
            entries.filter_map(|e| e.file_name().to_str()?.strip_prefix("job-")?.parse::<u64>().ok());
        self.made = numbers.max().unwrap_or(0);
        self.made > 0
    }

    /// A directory that no living job has; it may have to be made.
    pub fn take(&mut self) -> String {
        self.free.pop().unwrap_or_else(|| {
            self.made += 1;
            self.base.join(format!("job-{}", self.made)).to_string_lossy().into_owned()
        })
    }

    /// The job is over. Returned when it has to be removed with all that is in it.
    pub fn give_back(&mut self, dir: String) -> Option<String> {
        if self.free.len() < FREE_MAX && is_as_made(Path::new(&dir)) {
            self.free.push(dir);
            return None;
        }
        Some(dir)
    }

    /// Removes what is kept.
    pub fn clear(&mut self) {
        for dir in self.free.drain(..) {
            // Whoever removes the run directory finds it.
            let _ = std::fs::remove_dir(dir);
        }
    }
}

fn is_as_made(dir: &Path) -> bool {
    std::fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir() && meta.mode() & 0o7777 == MODE)
        && std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_untouched_directory_is_used_again() {
        let base = tempfile::tempdir().unwrap();
        let mut scratch = Scratch::new(base.path());
        let make = |dir: &str| {
            use std::os::unix::fs::DirBuilderExt;
            std::fs::DirBuilder::new().mode(MODE).create(dir).unwrap();
        };
        let (one, two) = (scratch.take(), scratch.take());
        assert_ne!(one, two);
        make(&one);
        make(&two);
        let mut next = Scratch::new(base.path());
        assert!(next.inherit() && !Scratch::new(Path::new("/no/such")).inherit());
        assert!(next.take().ends_with("job-3"));
        std::fs::write(Path::new(&one).join("file"), "").unwrap();
        assert_eq!(scratch.give_back(one.clone()), Some(one));
        assert_eq!(scratch.give_back(two.clone()), None);
        assert_eq!(scratch.take(), two);
    }
}
