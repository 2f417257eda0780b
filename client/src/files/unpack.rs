//! Files on their way out of an archive, below one directory and nowhere else.
//!
//! Every directory of a path is opened by its name in the one before it, and never through a link: not through one that
//! was there, nor through one that the archive has brought. A file is made anew, with a name that nobody has; so what a
//! link or another name of it leads to is not written to.

use super::FilesError;
use flurm_wire::files::{Entry, Index, Piece, What};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, fchmod, futimens, mkdirat, openat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// Until the archive's own permissions are set, at the end.
const DIR_MODE: Mode = Mode::RWXU;

/// An archive that is being unpacked.
#[derive(Debug)]
pub struct Unpack {
    name: String,
    index: Index,
    place: Place,
    /// The file that is being written, and its entry.
    open: Option<(usize, File)>,
    /// Entries before this one have all they need.
    from: usize,
    /// Directories that we have made.
    made: Vec<usize>,
}

impl Unpack {
    /// Makes directories, links and empty files. `overwrite`: files and links that are there are replaced.
    ///
    /// # Errors
    /// Something is in the way.
    pub fn begin(dir: &Path, name: &str, index: Index, overwrite: bool) -> Result<Unpack, FilesError> {
        let said = dir.display().to_string();
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let root = openat(CWD, dir, flags, Mode::empty()).map_err(|e| FilesError::file(&said, e))?;
        let mut place = Place { root, said, overwrite, parent: None };
        let mut made = Vec::new();
        for (at, entry) in index.entries.iter().enumerate() {
            match &entry.what {
                What::Dir => {
                    if place.make_dir(&entry.path)? {
                        made.push(at);
                    }
                }
                What::Link { target } => place.link(entry, target)?,
                What::File { size: 0, .. } => {
                    let file = place.create(&entry.path)?;
                    place.finish(&file, entry)?;
                }
                What::File { .. } => {}
            }
        }
        Ok(Unpack { name: name.to_owned(), index, place, open: None, from: 0, made })
    }

    /// The pieces that it needs, in the order in which it needs them.
    pub fn pieces(&self) -> Vec<Piece> {
        self.index.pieces()
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The next piece.
    ///
    /// # Errors
    /// It is not the one, or cannot be written.
    pub fn take(&mut self, piece: Piece, bytes: &[u8]) -> Result<(), FilesError> {
        let Unpack { name, index, place, open, from, .. } = self;
        let shares = index.shares(piece, bytes, *from).map_err(|e| FilesError::bad(name, e))?;
        let mut last = *from;
        for share in shares {
            let entry = &index.entries[share.entry];
            let mut file = match open.take() {
                Some((at, file)) if at == share.entry => file,
                Some(_) | None => place.create(&entry.path)?,
            };
            file.write_all(share.bytes).map_err(|e| place.wrong(&entry.path, e))?;
            last = share.entry;
            match entry.what {
                What::File { size, .. } if share.at + share.bytes.len() as u64 == size => {
                    place.finish(&file, entry)?;
                }
                What::File { .. } | What::Dir | What::Link { .. } => *open = Some((share.entry, file)),
            }
        }
        *from = last;
        Ok(())
    }

    /// All pieces have been taken: permissions and times of directories, which would have been in the way before.
    ///
    /// # Errors
    /// They cannot be set.
    pub fn end(mut self) -> Result<(), FilesError> {
        for at in self.made.iter().rev() {
            let entry = &self.index.entries[*at];
            let (parent, last) = self.place.parent_of(&entry.path)?;
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
            let dir = openat(parent, last, flags, Mode::empty());
            let dir = dir.map_err(|e| self.place.wrong(&entry.path, e))?;
            self.place.finish(&dir, entry)?;
        }
        Ok(())
    }
}

/// The directory below which everything goes.
#[derive(Debug)]
struct Place {
    root: OwnedFd,
    said: String,
    overwrite: bool,
    /// The directory that was opened last: most files have the same as the one before.
    parent: Option<(String, OwnedFd)>,
}

impl Place {
    fn wrong(&self, path: &str, source: impl Into<std::io::Error>) -> FilesError {
        FilesError::file(&format!("{}/{path}", self.said), source)
    }

    /// Makes what is missing of the way to it.
    fn parent_of<'a>(&mut self, path: &'a str) -> Result<(&OwnedFd, &'a str), FilesError> {
        let Some((dirs, last)) = path.rsplit_once('/') else { return Ok((&self.root, path)) };
        if self.parent.as_ref().is_none_or(|(open, _)| open != dirs) {
            let opened = self.open_dirs(dirs)?;
            self.parent = Some((dirs.to_owned(), opened));
        }
        match &self.parent {
            Some((_, parent)) => Ok((parent, last)),
            None => Ok((&self.root, path)),
        }
    }

    fn open_dirs(&self, dirs: &str) -> Result<OwnedFd, FilesError> {
        let mut at: Option<OwnedFd> = None;
        for name in dirs.split('/') {
            let dir = at.as_ref().unwrap_or(&self.root).as_fd();
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
            let next = match openat(dir, name, flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    // Not one of the archive's own, so it has no permissions of its own.
                    mkdirat(dir, name, Mode::RWXU | Mode::RWXG | Mode::RWXO)
                        .map_err(|e| self.wrong(dirs, e))?;
                    openat(dir, name, flags, Mode::empty())
                }
                other => other,
            };
            at = Some(next.map_err(|error| match error {
                Errno::LOOP | Errno::NOTDIR => {
                    FilesError::ThroughLink { path: format!("{}/{dirs}", self.said) }
                }
                error => self.wrong(dirs, error),
            })?);
        }
        at.map_or_else(|| self.root.try_clone().map_err(|e| self.wrong(dirs, e)), Ok)
    }

    /// True when it was not there.
    fn make_dir(&mut self, path: &str) -> Result<bool, FilesError> {
        let (parent, last) = self.parent_of(path)?;
        match mkdirat(parent, last, DIR_MODE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => self.open_dirs(path).map(|_| false),
            Err(error) => Err(self.wrong(path, error)),
        }
    }

    /// Does it where nothing is, or nothing any more.
    fn anew<T>(
        &mut self,
        path: &str,
        make: impl Fn(&OwnedFd, &str) -> rustix::io::Result<T>,
    ) -> Result<T, FilesError> {
        let overwrite = self.overwrite;
        let (parent, last) = self.parent_of(path)?;
        let done = match make(parent, last) {
            Err(Errno::EXIST) if overwrite => {
                unlinkat(parent, last, AtFlags::empty()).and_then(|()| make(parent, last))
            }
            done => done,
        };
        done.map_err(|error| match error {
            Errno::EXIST => FilesError::Exists { path: format!("{}/{path}", self.said) },
            error => self.wrong(path, error),
        })
    }

    fn create(&mut self, path: &str) -> Result<File, FilesError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.anew(path, |parent, last| openat(parent, last, flags, Mode::RUSR | Mode::WUSR)).map(File::from)
    }

    fn link(&mut self, entry: &Entry, target: &str) -> Result<(), FilesError> {
        self.anew(&entry.path, |parent, last| {
            symlinkat(target, parent, last)?;
            utimensat(parent, last, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
        })
    }

    fn finish(&self, file: &impl std::os::fd::AsFd, entry: &Entry) -> Result<(), FilesError> {
        fchmod(file, Mode::from_raw_mode(entry.mode & 0o777))
            .and_then(|()| futimens(file, &times(entry)))
            .map_err(|e| self.wrong(&entry.path, e))
    }
}

fn times(entry: &Entry) -> Timestamps {
    const SECOND: i64 = 1_000_000_000;
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: entry.mtime.div_euclid(SECOND),
            tv_nsec: entry.mtime.rem_euclid(SECOND),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_wire::files::Run;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    fn entry(path: &str, what: What) -> Entry {
        Entry { path: path.into(), mode: 0o640, mtime: 1_000_000_000_000_000_007, what }
    }

    fn archive(entries: Vec<Entry>, len: u64) -> Index {
        let mut index = Index::default();
        index.append(Run { id: "r".into(), len }, entries);
        index.checked().unwrap()
    }

    fn unpack(dir: &Path, index: Index, bytes: &[u8], overwrite: bool) -> Result<(), String> {
        let all = || {
            let mut unpack = Unpack::begin(dir, "x", index, overwrite)?;
            for piece in unpack.pieces() {
                unpack.take(piece, bytes)?;
            }
            unpack.end()
        };
        all().map_err(|e| e.to_string())
    }

    const FIRST: What = What::File { run: 0, at: 0, size: 3 };

    #[test]
    fn files_come_back_with_their_modes_and_times() {
        let dir = tempfile::tempdir().unwrap();
        let index = || {
            archive(
                vec![
                    Entry { mode: 0o500, ..entry("d", What::Dir) },
                    entry("d/one", FIRST),
                    entry("d/empty", What::File { run: 0, at: 3, size: 0 }),
                    entry("deep/er/two", What::File { run: 0, at: 3, size: 2 }),
                    entry("link", What::Link { target: "../elsewhere".into() }),
                ],
                5,
            )
        };
        unpack(dir.path(), index(), b"abcde", false).unwrap();
        let at = |name: &str| dir.path().join(name);
        assert_eq!(std::fs::read(at("d/one")).unwrap(), b"abc");
        assert_eq!(std::fs::read(at("d/empty")).unwrap(), b"");
        assert_eq!(std::fs::read(at("deep/er/two")).unwrap(), b"de");
        assert_eq!(std::fs::read_link(at("link")).unwrap(), Path::new("../elsewhere"));
        let meta = at("d/one").metadata().unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec()), (0o640, 1_000_000_000, 7));
        let meta = at("d").metadata().unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o500, 1_000_000_000));
        std::fs::set_permissions(at("d"), std::fs::Permissions::from_mode(0o700)).unwrap();

        let refused = unpack(dir.path(), index(), b"abcde", false).unwrap_err();
        assert!(refused.ends_with("it is there already"), "{refused}");
        std::fs::write(at("d/one"), "other").unwrap();
        unpack(dir.path(), index(), b"abcde", true).unwrap();
        assert_eq!(std::fs::read(at("d/one")).unwrap(), b"abc");
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let victim = outside.path().join("victim");
        std::fs::write(&victim, "as it was").unwrap();
        let target = outside.path().display().to_string();
        // One that the archive brings.
        let bad = archive(vec![entry("l", What::Link { target }), entry("l/victim", FIRST)], 3);
        let refused = unpack(dir.path(), bad, b"abc", true).unwrap_err();
        assert!(refused.contains("symbolic link"), "{refused}");
        // Ones that were there: on the way, instead of a directory, and instead of the file.
        symlink(outside.path(), dir.path().join("there")).unwrap();
        for entries in
            [vec![entry("there/victim", FIRST)], vec![entry("there", What::Dir), entry("x", FIRST)]]
        {
            let refused = unpack(dir.path(), archive(entries, 3), b"abc", true).unwrap_err();
            assert!(refused.contains("symbolic link"), "{refused}");
        }
        symlink(&victim, dir.path().join("file")).unwrap();
        std::fs::hard_link(&victim, dir.path().join("twin")).unwrap();
        unpack(dir.path(), archive(vec![entry("file", FIRST)], 3), b"abc", true).unwrap();
        unpack(dir.path(), archive(vec![entry("twin", FIRST)], 3), b"abc", true).unwrap();
        assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"abc");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "as it was");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    }
}
