//! Private directories of jobs (`FLUX_JOB_TMPDIR`).
//!
//! Making and removing a directory costs a file system with a journal more than starting a process costs the kernel, and
//! most jobs never look at theirs. So a directory that was left empty goes to the next job.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Empty directories that are kept for later.
const FREE_MAX: usize = 1024;

/// A change that is older than this at the time a directory is lent has another time than any change after. The kernel's
/// clock for files moves every 10 ms at least.
const SETTLED: Duration = Duration::from_millis(100);

/// Only the owner may look inside.
pub const MODE: u32 = 0o700;

#[derive(Debug)]
pub struct Scratch {
    base: PathBuf,
    made: u64,
    /// With the times of their last changes (`ctime`, which nobody can set).
    free: Vec<(String, Changed)>,
    /// Those of directories that jobs have, where an equal time means that nothing has been done to them.
    lent: BTreeMap<String, Changed>,
}

/// Seconds and nanoseconds.
type Changed = (i64, i64);

impl Scratch {
    /// Directories are made in `base`, which belongs to us alone.
    pub fn new(base: &Path) -> Scratch {
        Scratch { base: base.to_owned(), made: 0, free: Vec::new(), lent: BTreeMap::new() }
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
    pub fn take(&mut self, now: SystemTime) -> String {
        if let Some((dir, changed)) = self.free.pop() {
            if is_settled(changed, now) {
                self.lent.insert(dir.clone(), changed);
            }
            return dir;
        }
        self.made += 1;
        self.base.join(format!("job-{}", self.made)).to_string_lossy().into_owned()
    }

    /// The job is over. Returned when it has to be removed with all that is in it.
    pub fn give_back(&mut self, dir: String) -> Option<String> {
        let before = self.lent.remove(&dir);
        match unused(Path::new(&dir), before) {
            Some(changed) if self.free.len() < FREE_MAX => self.free.push((dir, changed)),
            Some(_) | None => return Some(dir),
        }
        None
    }

    /// The job is over, and somebody may still write there.
    pub fn lose(&mut self, dir: String) -> String {
        self.lent.remove(&dir);
        dir
    }

    /// Removes what is kept.
    pub fn clear(&mut self) {
        for (dir, _) in self.free.drain(..) {
            // Whoever removes the run directory finds it.
            let _ = std::fs::remove_dir(dir);
        }
    }
}

/// A job may have filled its directory with anything.
pub fn remove(dir: String) {
    tokio::task::spawn_blocking(move || {
        if let Err(error) = std::fs::remove_dir_all(&dir) {
            tracing::debug!(%error, dir, "remove a job's directory");
        }
    });
}

fn is_settled((seconds, nanoseconds): Changed, now: SystemTime) -> bool {
    let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else {
        return false;
    };
    let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    now.duration_since(changed).is_ok_and(|age| age > SETTLED)
}

/// When a directory that is as it was made was changed last; none when it is not.
fn unused(dir: &Path, before: Option<Changed>) -> Option<Changed> {
    let meta = std::fs::symlink_metadata(dir).ok().filter(|meta| meta.is_dir())?;
    let changed = (meta.ctime(), meta.ctime_nsec());
    let is_empty = || std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
    (before == Some(changed) || (meta.mode() & 0o7777 == MODE && is_empty())).then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(dir: &str) {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().mode(MODE).create(dir).unwrap();
    }

    #[test]
    fn only_an_untouched_directory_is_used_again() {
        let base = tempfile::tempdir().unwrap();
        let mut scratch = Scratch::new(base.path());
        let now = SystemTime::now();
        let (one, two) = (scratch.take(now), scratch.take(now));
        assert_ne!(one, two);
        make(&one);
        make(&two);
        let mut next = Scratch::new(base.path());
        assert!(next.inherit() && !Scratch::new(Path::new("/no/such")).inherit());
        assert!(next.take(now).ends_with("job-3"));
        std::fs::write(Path::new(&one).join("file"), "").unwrap();
        assert_eq!(scratch.give_back(one.clone()), Some(one));
        assert_eq!(scratch.give_back(two.clone()), None);
        assert_eq!(scratch.take(now), two);
    }

    #[test]
    fn a_directory_that_was_used_before_is_known_by_its_time() {
        let base = tempfile::tempdir().unwrap();
        let mut scratch = Scratch::new(base.path());
        let dir = scratch.take(SystemTime::now());
        make(&dir);
        for age in [Duration::ZERO, Duration::from_secs(60)] {
            assert_eq!(scratch.give_back(dir.clone()), None);
            assert_eq!(scratch.take(SystemTime::now() + age), dir);
            assert_eq!(scratch.lent.contains_key(&dir), !age.is_zero());
        }
        // Nothing is there, but it was looked at.
        std::fs::create_dir(Path::new(&dir).join("inner")).unwrap();
        std::fs::remove_dir(Path::new(&dir).join("inner")).unwrap();
        assert_eq!(scratch.give_back(dir.clone()), None);
        assert_eq!(scratch.take(SystemTime::now() + Duration::from_secs(60)), dir);
        // The kernel's clock for files moves in steps.
        let before = scratch.lent[&dir];
        while std::fs::metadata(&dir).map(|meta| (meta.ctime(), meta.ctime_nsec())).unwrap() == before {
            std::fs::write(Path::new(&dir).join("file"), "").unwrap();
            std::fs::remove_file(Path::new(&dir).join("file")).unwrap();
        }
        std::fs::write(Path::new(&dir).join("file"), "").unwrap();
        assert_eq!(scratch.give_back(dir.clone()), Some(dir));
    }
}
