//! Output archives, read: which jobs are in one, and what they have said.
//!
//! The index says where records lie. What it does not cover is looked through, so an index that is cut or not there at all
//! costs time and nothing else; what no reader can make sense of is skipped.

use crate::failure::Failure;
use flurm_types::{JobId, Timestamp};
use flurm_wire::archive::{
    ENTRY_LEN, Entry, FIRST_LINE_LEN_MAX, HEAD_LEN, Head, Instance, Record, find, host,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Looked through at once where no record is.
const LOOK_LEN: usize = 1 << 16;

/// An archive and what other hosts have written beside it.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    segments: Vec<File>,
    /// Segment and place of each job's records.
    records: BTreeMap<(Instance, JobId), Vec<(usize, Entry)>>,
}

impl Archive {
    pub fn open(path: &Path) -> Result<Archive, Failure> {
        let wrong = |e: io::Error| Failure::new(format!("cannot read the archive {}: {e}", path.display()));
        let first = segment(path).map_err(wrong)?;
        let (file, begin) =
            first.ok_or_else(|| Failure::new(format!("{} is no output archive", path.display())))?;
        let mut archive = Archive { path: path.to_owned(), segments: Vec::new(), records: BTreeMap::new() };
        archive.add(file, begin, path).map_err(wrong)?;
        for beside in beside(path).map_err(wrong)? {
            // An index, or somebody else's.
            if let Some((file, begin)) = segment(&beside).map_err(wrong)? {
                archive.add(file, begin, &beside).map_err(wrong)?;
            }
        }
        Ok(archive)
    }

    pub fn jobs(&self) -> impl Iterator<Item = (Instance, JobId)> {
        self.records.keys().copied()
    }

    /// The job with this id; of which instance must be said where several have one.
    pub fn find(&self, id: JobId, wanted: Option<Instance>) -> Result<(Instance, JobId), Failure> {
        let of_it = self.jobs().filter(|(of, job)| *job == id && wanted.is_none_or(|wanted| *of == wanted));
        match &of_it.collect::<Vec<_>>()[..] {
            [] => Err(Failure::new(format!("{} has no output of {}", self.path.display(), id.f58()))),
            [one] => Ok(*one),
            [(first, _), others @ ..] => {
                let what = format!("{} instances have a job {}", others.len() + 1, id.f58());
                let others: String = others.iter().map(|(other, _)| format!(", or {other}")).collect();
                Err(Failure::new(what).hint(format!("say which one: --instance={first}{others}")))
            }
        }
    }

    /// Calls back with each record of a job in the order of their times; false when there is none.
    pub fn each(
        &self,
        job: (Instance, JobId),
        mut then: impl FnMut(Record) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        let wrong =
            |e: io::Error| Failure::new(format!("cannot read the archive {}: {e}", self.path.display()));
        let mut found: Vec<(Timestamp, usize, Entry)> = Vec::new();
        for (segment, entry) in self.records.get(&job).into_iter().flatten() {
            let mut head = [0; HEAD_LEN];
            self.segments[*segment].read_exact_at(&mut head, entry.offset).map_err(wrong)?;
            found.extend(Head::read(&head).map(|head| (head.time, *segment, *entry)));
        }
        found.sort();
        for (_, segment, entry) in &found {
            let mut bytes = vec![0; entry.len as usize];
            self.segments[*segment].read_exact_at(&mut bytes, entry.offset).map_err(wrong)?;
            match Head::read(&bytes).and_then(|head| head.open(&bytes)) {
                Some(record) => then(record)?,
                None => crate::say!("{}: a damaged record is left out", self.path.display()),
            }
        }
        Ok(!found.is_empty())
    }

    fn add(&mut self, file: File, begin: u64, path: &Path) -> io::Result<()> {
        let end = file.metadata()?.len();
        let mut index = path.as_os_str().to_owned();
        index.push(".index");
        let index = match std::fs::read(index) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            index => index?,
        };
        let mut listed: Vec<Entry> =
            index.as_chunks::<ENTRY_LEN>().0.iter().filter_map(Entry::read).collect();
        listed.sort();
        let (mut found, mut at) = (Vec::new(), begin);
        for entry in listed {
            let to = entry.offset.saturating_add(u64::from(entry.len));
            if entry.offset < at || to > end || (entry.len as usize) < HEAD_LEN {
                continue;
            }
            look(&file, at, entry.offset, &mut found)?;
            found.push(entry);
            at = to;
        }
        look(&file, at, end, &mut found)?;
        for entry in found {
            self.records.entry((entry.instance, entry.id)).or_default().push((self.segments.len(), entry));
        }
        self.segments.push(file);
        Ok(())
    }
}

/// An archive's file and where its records begin, if it is one.
fn segment(path: &Path) -> io::Result<Option<(File, u64)>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut begin = [0; FIRST_LINE_LEN_MAX];
    let len = file.read_at(&mut begin, 0)?;
    Ok(host(&begin[..len]).map(|(_, len)| len as u64).map(|begin| (file, begin)))
}

/// Files that may hold what other hosts have written.
fn beside(path: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(name) = path.file_name() else { return Ok(Vec::new()) };
    let mut prefix = name.to_owned();
    prefix.push(".");
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let of_it = entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes());
        if of_it && entry.path().extension().is_none_or(|ext| ext != "index" && ext != "new") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Adds the whole records between two places.
fn look(file: &File, mut at: u64, end: u64, found: &mut Vec<Entry>) -> io::Result<()> {
    while end.saturating_sub(at) >= HEAD_LEN as u64 {
        let left = usize::try_from(end - at).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(LOOK_LEN)];
        file.read_exact_at(&mut bytes, at)?;
        if let Some(head) = Head::read(&bytes).filter(|head| head.len() <= left) {
            if head.len() > bytes.len() {
                bytes.resize(head.len(), 0);
                file.read_exact_at(&mut bytes, at)?;
            }
            if head.open(&bytes).is_some() {
                let len = u32::try_from(head.len()).map_err(io::Error::other)?;
                found.push(Entry { offset: at, len, instance: head.instance, id: head.id });
                at += u64::from(len);
                continue;
            }
        }
        // The last bytes may be the beginning of one.
        let step = find(&bytes[1..]).map_or(bytes.len() - (bytes.len() - 1).min(3), |next| next + 1);
        at += step as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::Rank;
    use flurm_wire::archive::{Piece, first_line};
    use flurm_wire::rexec::Stream;

    fn record(id: u64, time: i64, text: &str) -> Record {
        let piece = Piece { task: 0, stream: Stream::Stdout, bytes: text.as_bytes().to_vec() };
        let instance = Instance::of("here");
        Record {
            instance,
            id: JobId(id),
            rank: Rank(0),
            time: Timestamp(time),
            last: true,
            pieces: vec![piece],
        }
    }

    fn said(archive: &Archive, id: u64) -> String {
        let mut all = String::new();
        let one = |record: Record| {
            record.pieces.iter().for_each(|piece| all.push_str(&String::from_utf8_lossy(&piece.bytes)));
            Ok(())
        };
        archive.each((Instance::of("here"), JobId(id)), one).unwrap();
        all
    }

    #[test]
    fn what_is_cut_hides_nothing_else_and_the_index_may_be_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("all");
        let mut bytes = first_line("a").into_bytes();
        let mut index = Vec::new();
        let long = "x".repeat(200_000);
        for (n, text) in ["one", "two", &long, "four"].iter().enumerate() {
            let written = record(n as u64, n as i64, text).encode();
            // A crash has cut the second, and somebody has gone on behind it.
            let written = if n == 1 { &written[..written.len() - 2] } else { &written[..] };
            let (offset, len) = (bytes.len() as u64, written.len() as u32);
            let entry = Entry { offset, len, instance: Instance::of("here"), id: JobId(n as u64) };
            if n != 1 {
                index.extend(entry.encode());
            }
            bytes.extend(written);
        }
        let here = Instance::of("here");
        let tail = record(9, 0, "tail").encode();
        bytes.extend(&tail[..tail.len() / 2]);
        std::fs::write(&path, &bytes).unwrap();
        let mut other = first_line("b").into_bytes();
        other.extend(record(0, -1, "zero ").encode());
        let there = Instance::of("there");
        other.extend(Record { instance: there, ..record(0, 5, "another's") }.encode());
        std::fs::write(dir.path().join("all.b"), other).unwrap();
        for index in [&index[..], &index[..ENTRY_LEN + 5], b""] {
            std::fs::write(dir.path().join("all.index"), index).unwrap();
            let archive = Archive::open(&path).unwrap();
            assert_eq!(
                archive.jobs().map(|(_, id)| id.0).collect::<Vec<_>>(),
                if here < there { [0, 2, 3, 0] } else { [0, 0, 2, 3] }
            );
            let failure = archive.find(JobId(0), None).unwrap_err();
            assert!(failure.lines().1.is_some_and(|hint| hint.contains(&there.to_string())), "{failure:?}");
            assert_eq!(archive.find(JobId(0), Some(there)).unwrap(), (there, JobId(0)));
            assert_eq!(archive.find(JobId(2), None).unwrap(), (here, JobId(2)));
            assert!(archive.find(JobId(2), Some(there)).is_err());
            assert_eq!(said(&archive, 0), "zero one", "by time, from both hosts");
            assert!(said(&archive, 2) == long);
            assert_eq!(said(&archive, 3), "four");
        }
        assert!(Archive::open(&dir.path().join("all.index")).is_err());
    }
}
