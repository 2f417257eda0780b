//! Archives of files: what `flurm archive` keeps in the key-value store, and what `-o stage-in` unpacks.
//!
//! ```text
//! archive.NAME.index             Index: what is in it
//! archive.NAME.RUN.0, .1, .2 …   pieces
//! ```
//!
//! The contents of all files of one `create` are a *run*: one behind the other, in the order of the index. A run is cut
//! into pieces of [`PIECE_LEN`]; each is packed, and stands in the store as base64. So a hundred thousand small files
//! are few values, and some of the files are had without the rest.
//!
//! An archive comes from whoever can write to the store. [`Index::read`] lets nothing through that would lead out of the
//! directory where it is unpacked, or say more than its pieces can hold.

use crate::fact::{Holds, KvsOp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// The name when none is said, which is Flux's.
pub const MAIN: &str = "main";

/// Bytes of contents in a piece, before packing; the last one of a run may be shorter.
pub const PIECE_LEN: u64 = 1 << 20;
/// Files, directories and links of one archive.
pub const ENTRIES_MAX: usize = 100_000;
/// Contents of one archive. The leader has them in memory.
pub const BYTES_MAX: u64 = 1 << 30;
/// The index as text: below what one commit may hold, and what all shells of a job may be told at once.
pub const INDEX_LEN_MAX: usize = 12 << 20;
/// As the kernel has it.
pub const PATH_LEN_MAX: usize = 4096;
/// `create --append` so often.
pub const RUNS_MAX: usize = 1000;

const VERSION: u8 = 1;
const NAME_LEN_MAX: usize = 255;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    v: u8,
    pub runs: Vec<Run>,
    /// In the order of their contents.
    pub entries: Vec<Entry>,
}

/// The contents that one `create` has added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// One word of a key.
    pub id: String,
    pub len: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Below the directory where it is unpacked.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// Nanoseconds since 1970.
    pub mtime: i64,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "type")]
pub enum What {
    /// `at`: where in its run.
    File {
        run: usize,
        at: u64,
        size: u64,
    },
    Dir,
    Link {
        target: String,
    },
}

/// A piece: which run, and which of its pieces.
pub type Piece = (usize, u64);

/// A part of a piece, and where it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share<'a> {
    /// Index of the entry.
    pub entry: usize,
    /// Where in the file.
    pub at: u64,
    pub bytes: &'a [u8],
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadArchive {
    #[error("`{0}` is no name of an archive: letters, digits, `-` and `_`")]
    Name(String),
    #[error("`{0}` is no path below the directory of an archive")]
    Path(String),
    #[error("`{0}` is in it twice")]
    Twice(String),
    #[error("it is no index of this version: {0}")]
    Json(String),
    #[error("`{0}` lies where there are no contents")]
    Place(String),
    #[error("it has more than {ENTRIES_MAX} files, {RUNS_MAX} parts or {BYTES_MAX} bytes")]
    TooLarge,
    #[error("piece {1} of part {0} has {2} bytes, not {3}")]
    Piece(usize, u64, usize, u64),
}

/// # Errors
/// It would be more than one word of a key.
pub fn check_name(name: &str) -> Result<(), BadArchive> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || name.len() > NAME_LEN_MAX || !name.chars().all(fits) {
        return Err(BadArchive::Name(name.to_owned()));
    }
    Ok(())
}

/// A path that stays below where it begins, whatever is there.
///
/// # Errors
/// It does not.
pub fn check_path(path: &str) -> Result<(), BadArchive> {
    let bad = |part: &str| part.is_empty() || part == "." || part == "..";
    if path.len() > PATH_LEN_MAX || path.contains('\0') || path.split('/').any(bad) {
        return Err(BadArchive::Path(path.to_owned()));
    }
    Ok(())
}

/// Everything of an archive.
pub fn key(name: &str) -> String {
    format!("archive.{name}")
}

pub fn index_key(name: &str) -> String {
    format!("archive.{name}.index")
}

pub fn run_key(name: &str, run: &str) -> String {
    format!("archive.{name}.{run}")
}

pub fn piece_key(name: &str, run: &str, piece: u64) -> String {
    format!("archive.{name}.{run}.{piece}")
}

impl Default for Index {
    fn default() -> Index {
        Index { v: VERSION, runs: Vec::new(), entries: Vec::new() }
    }
}

impl Index {
    /// # Errors
    /// It is none, or one that must not be unpacked.
    pub fn read(value: &Value) -> Result<Index, BadArchive> {
        let index = Index::deserialize(value).map_err(|e| BadArchive::Json(e.to_string()))?;
        index.checked()
    }

    /// # Errors
    /// As [`Index::read`].
    pub fn checked(self) -> Result<Index, BadArchive> {
        if self.v != VERSION {
            return Err(BadArchive::Json(format!("version {}", self.v)));
        }
        let total = self.runs.iter().try_fold(0_u64, |sum, run| sum.checked_add(run.len));
        if self.entries.len() > ENTRIES_MAX
            || self.runs.len() > RUNS_MAX
            || total.is_none_or(|total| total > BYTES_MAX)
        {
            return Err(BadArchive::TooLarge);
        }
        self.runs.iter().try_for_each(|run| check_name(&run.id))?;
        let mut paths = BTreeSet::new();
        let mut end = (0, 0);
        for entry in &self.entries {
            check_path(&entry.path)?;
            if !paths.insert(&*entry.path) {
                return Err(BadArchive::Twice(entry.path.clone()));
            }
            match &entry.what {
                What::File { run, at, size } => {
                    let len = self.runs.get(*run).map_or(0, |run| run.len);
                    let last = at.checked_add(*size).filter(|last| *last <= len);
                    match last.filter(|_| (*run, *at) >= end) {
                        Some(last) => end = (*run, last),
                        None if *size == 0 => {}
                        None => return Err(BadArchive::Place(entry.path.clone())),
                    }
                }
                What::Link { target } if target.is_empty() || target.len() > PATH_LEN_MAX => {
                    return Err(BadArchive::Path(target.clone()));
                }
                What::Link { .. } | What::Dir => {}
            }
        }
        Ok(self)
    }

    /// Only what matches a pattern of a shell.
    #[must_use]
    pub fn select(mut self, pattern: Option<&str>) -> Index {
        if let Some(pattern) = pattern {
            self.entries.retain(|entry| flurm_types::matches(pattern, &entry.path));
        }
        self
    }

    /// The pieces that hold its files, in order.
    pub fn pieces(&self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for entry in &self.entries {
            let What::File { run, at, size: size @ 1.. } = entry.what else { continue };
            let all = at / PIECE_LEN..=(at + size - 1) / PIECE_LEN;
            let last = pieces.last().copied();
            pieces
                .extend(all.map(|piece| (run, piece)).filter(|piece| last.is_none_or(|last| *piece > last)));
        }
        pieces
    }

    /// Which files get what of a piece. `from`: an entry before which there is none.
    ///
    /// # Errors
    /// The piece has not the length that it should have.
    pub fn shares<'a>(
        &'a self,
        (run, piece): Piece,
        bytes: &'a [u8],
        from: usize,
    ) -> Result<impl Iterator<Item = Share<'a>>, BadArchive> {
        let begin = piece * PIECE_LEN;
        let len = self.runs.get(run).map_or(0, |run| run.len);
        let wanted = len.saturating_sub(begin).min(PIECE_LEN);
        if bytes.len() as u64 != wanted {
            return Err(BadArchive::Piece(run, piece, bytes.len(), wanted));
        }
        let end = begin + wanted;
        let after = move |entry: &Entry| match entry.what {
            What::File { run: of, at, size } => size > 0 && (of, at) >= (run, end),
            What::Dir | What::Link { .. } => false,
        };
        let entries = self.entries.iter().enumerate().skip(from).take_while(move |(_, entry)| !after(entry));
        Ok(entries.filter_map(move |(index, entry)| {
            let What::File { run: of, at, size } = entry.what else { return None };
            let (first, last) = (at.max(begin), (at + size).min(end));
            if of != run || first >= last {
                return None;
            }
            let here = |at: u64| usize::try_from(at - begin).expect("a piece is small");
            Some(Share { entry: index, at: first - at, bytes: &bytes[here(first)..here(last)] })
        }))
    }

    /// Adds what another one has behind it; of two of one path the new one stays. The runs without files that go with it.
    pub fn append(&mut self, run: Run, entries: Vec<Entry>) {
        let new: BTreeSet<&str> = entries.iter().map(|entry| &*entry.path).collect();
        self.entries.retain(|entry| !new.contains(&*entry.path));
        self.entries.extend(entries);
        self.runs.push(run);
    }
}

/// That the archive of that name is this one still; none: there is none.
pub fn test_index(name: &str, index: Option<&Index>) -> Result<KvsOp, BadArchive> {
    let value = index.map(serde_json::to_value).transpose().map_err(|e| BadArchive::Json(e.to_string()))?;
    Ok(KvsOp::Test { key: index_key(name), holds: value.map_or(Holds::Nothing, Holds::Value) })
}

/// What makes this the archive of that name, in place of all that was there.
pub fn put_index(name: &str, index: &Index, gone: &[Run]) -> Result<Vec<KvsOp>, BadArchive> {
    let value = serde_json::to_value(index).map_err(|e| BadArchive::Json(e.to_string()))?;
    if value.to_string().len() > INDEX_LEN_MAX {
        return Err(BadArchive::TooLarge);
    }
    let unlink =
        gone.iter().filter(|run| run.len > 0).map(|run| KvsOp::Unlink { key: run_key(name, &run.id) });
    Ok(unlink.chain([KvsOp::Put { key: index_key(name), value }]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file(path: &str, run: usize, at: u64, size: u64) -> Entry {
        Entry { path: path.into(), mode: 0o644, mtime: 7, what: What::File { run, at, size } }
    }

    fn index(entries: Vec<Entry>) -> Index {
        let run = |id: &str, len| Run { id: id.into(), len };
        Index { v: VERSION, runs: vec![run("a", 2 * PIECE_LEN + 5), run("b", 10)], entries }
    }

    #[test]
    fn no_path_leads_out_of_the_directory() {
        for path in ["a", "a/b", "..a", "a..", ".a/b", "é"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        for path in ["", "/", "/etc/passwd", "..", "a/../../b", "./a", "a/.", "a//b", "a/", "a\0b"] {
            assert_eq!(check_path(path), Err(BadArchive::Path(path.into())), "{path}");
        }
        assert!(check_path(&"a".repeat(PATH_LEN_MAX + 1)).is_err());
        for name in ["", "a.b", "a b", "a/b", "ä"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn an_index_that_promises_what_is_not_there_is_refused() {
        let good = index(vec![file("x", 0, 0, 9), file("y", 0, 9, 2 * PIECE_LEN - 4), file("z", 1, 3, 7)]);
        let text = serde_json::to_value(&good).unwrap();
        assert_eq!(Index::read(&text), Ok(good));
        for (entries, wanted) in [
            (vec![file("../x", 0, 0, 1)], BadArchive::Path("../x".into())),
            (vec![file("x", 0, 0, 1), file("x", 0, 1, 1)], BadArchive::Twice("x".into())),
            (vec![file("x", 0, 0, 2 * PIECE_LEN + 6)], BadArchive::Place("x".into())),
            (vec![file("x", 0, u64::MAX, 2)], BadArchive::Place("x".into())),
            (vec![file("x", 2, 0, 1)], BadArchive::Place("x".into())),
            (vec![file("x", 0, 5, 5), file("y", 0, 9, 1)], BadArchive::Place("y".into())),
            (
                vec![Entry { what: What::Link { target: String::new() }, ..file("l", 0, 0, 0) }],
                BadArchive::Path(String::new()),
            ),
        ] {
            assert_eq!(index(entries).checked(), Err(wanted));
        }
        let mut large = index(vec![]);
        large.runs[1].len = BYTES_MAX;
        assert_eq!(large.checked(), Err(BadArchive::TooLarge));
        assert!(matches!(Index::read(&json!({"v": 2, "runs": [], "entries": []})), Err(BadArchive::Json(_))));
        assert!(matches!(Index::read(&json!("x")), Err(BadArchive::Json(_))));
    }

    #[test]
    fn pieces_come_apart_into_the_files_that_they_hold() {
        let all = index(vec![
            file("empty", 0, 0, 0),
            file("small", 0, 0, 9),
            file("large", 0, 9, 2 * PIECE_LEN - 9),
            Entry { what: What::Dir, ..file("dir", 0, 0, 0) },
            file("dir/last", 0, 2 * PIECE_LEN, 5),
            file("other", 1, 2, 8),
        ]);
        assert_eq!(all.pieces(), [(0, 0), (0, 1), (0, 2), (1, 0)]);
        let piece = vec![1_u8; PIECE_LEN as usize];
        let said = |index: &Index, which: Piece, bytes: &[u8]| -> Vec<(String, u64, usize)> {
            let shares = index.shares(which, bytes, 0).unwrap();
            shares.map(|s| (index.entries[s.entry].path.clone(), s.at, s.bytes.len())).collect()
        };
        let rest = piece.len() - 9;
        assert_eq!(said(&all, (0, 0), &piece), [("small".into(), 0, 9), ("large".into(), 0, rest)]);
        assert_eq!(said(&all, (0, 1), &piece), [("large".into(), rest as u64, piece.len())]);
        assert_eq!(said(&all, (0, 2), &piece[..5]), [("dir/last".into(), 0, 5)]);
        assert_eq!(said(&all, (1, 0), &piece[..10]), [("other".into(), 0, 8)]);
        assert_eq!(all.shares((1, 0), &piece, 0).err(), Some(BadArchive::Piece(1, 0, piece.len(), 10)));

        let some = all.clone().select(Some("dir/*"));
        assert_eq!(some.pieces(), [(0, 2)]);
        assert_eq!(said(&some, (0, 2), &piece[..5]), [("dir/last".into(), 0, 5)]);

        let mut more = all;
        more.append(Run { id: "c".into(), len: 3 }, vec![file("small", 2, 0, 3)]);
        assert_eq!(more.pieces(), [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)]);
        let more = more.checked().unwrap();
        assert_eq!(said(&more, (0, 0), &piece), [("large".into(), 0, rest)]);
        assert_eq!(said(&more, (2, 0), &piece[..3]), [("small".into(), 0, 3)]);
    }
}
