//! Output archives: who writes to them, and how the output of a job gets there.
//!
//! One thread for each archive that jobs here use, so that a file system that hangs holds up nobody else. Every record is
//! one write at the end of the file, which the kernel of one host keeps whole among all writers. Hosts do not share a
//! file: an archive's first line names the host that writes to it, and others write beside it, to `FILE.HOST`.
//!
//! ```text
//! output of a task --> gathered (a record's worth, or one second) --> written --> room for more
//! ```

use crate::io::Pieces;
use crate::plan::Plan;
use crate::shell::{Event, Key, Shell, Timer, wall};
use flurm_types::{Rank, Timestamp};
use flurm_wire::archive::{Entry, FIRST_LINE_LEN_MAX, Instance, Piece, Record, first_line};
use flurm_wire::rexec::Stream;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// From here on what has been gathered becomes a record. A job that says less than this has one record.
const RECORD_BYTES: usize = 256 << 10;
/// What was said this long ago is written, so that a reader, or a crash, finds it.
const GATHERED_FOR: Duration = Duration::from_secs(1);
/// So long a job that is told to end waits for what it has said to be written: a file system may never answer.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);
/// The threads write, and pack what they write.
const STACK_BYTES: usize = 256 << 10;

/// Output of one job on its way to an archive.
#[derive(Debug)]
pub(crate) struct Gathered {
    path: Arc<Path>,
    /// Of files that are made for it.
    mode: u32,
    pieces: Pieces,
    since: Option<Timestamp>,
    /// Records that are being written.
    writing: usize,
    /// The last one has been handed on.
    closed: bool,
    /// The job is not to wait for it any longer than a limit.
    hurried: bool,
}

/// Writers by archive. One that hangs is kept, so that jobs which come later wait behind it and make no others.
#[derive(Debug, Default)]
pub(crate) struct Archives(BTreeMap<Arc<Path>, Writer>);

#[derive(Debug)]
struct Writer {
    records: mpsc::Sender<ToWrite>,
    /// That use it.
    jobs: usize,
    /// Records that it has and that are not written.
    unwritten: usize,
}

/// A record of that job, and the mode of the archive if it has to be made.
type ToWrite = (Key, u32, Record);

/// A file and its index, open for writing at their ends.
#[derive(Debug)]
struct Segment {
    file: File,
    index: File,
}

/// Whether a job can write to this archive, which is made if it is not there.
///
/// # Errors
/// It cannot be written to, or is something else.
pub(crate) fn check(path: &Path, mode: u32) -> io::Result<()> {
    Segment::open(path, &hostname(), mode).map(drop)
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl Segment {
    fn open(path: &Path, host: &str, mode: u32) -> io::Result<Segment> {
        match Segment::open_one(path, host, mode)? {
            Some(segment) => Ok(segment),
            None => Segment::open_one(&beside(path, host), host, mode)?
                .ok_or_else(|| io::Error::other("an archive of another host is in its place")),
        }
    }

    /// None: another host writes there.
    fn open_one(path: &Path, host: &str, mode: u32) -> io::Result<Option<Segment>> {
        let mut options = File::options();
        options.read(true).append(true).mode(mode);
        let file = match options.open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                create(path, host, mode)?;
                options.open(path)?
            }
            file => file?,
        };
        let mut begin = Vec::new();
        (&file).take(FIRST_LINE_LEN_MAX as u64).read_to_end(&mut begin)?;
        match flurm_wire::archive::host(&begin) {
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "it is there, and no output archive")),
            Some((of, _)) if of != host => Ok(None),
            Some(_) => {
                let index = options.create(true).open(beside(path, "index"))?;
                Ok(Some(Segment { file, index }))
            }
        }
    }

    fn append(&mut self, record: &Record) -> io::Result<()> {
        let bytes = record.encode();
        self.file.write_all(&bytes)?;
        // Where the write has ended, whoever else has written before.
        let end = self.file.stream_position()?;
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let entry = Entry { offset: end - u64::from(len), len, instance: record.instance, id: record.id };
        self.index.write_all(&entry.encode())
    }
}

/// Appears with its first line in it, or not at all.
fn create(path: &Path, host: &str, mode: u32) -> io::Result<()> {
    // Several jobs may make it at once: each its own file, of which the first becomes the archive.
    static MADE: AtomicU64 = AtomicU64::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let new = beside(path, &format!("{host}.{}.{number}.new", std::process::id()));
    let mut options = File::options();
    options.write(true).create_new(true).mode(mode);
    options.open(&new)?.write_all(first_line(host).as_bytes())?;
    let made = std::fs::hard_link(&new, path);
    std::fs::remove_file(&new)?;
    match made {
        // Somebody was faster.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // A file system without links.
        Err(_) => match options.open(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            file => file?.write_all(first_line(host).as_bytes()),
        },
        Ok(()) => Ok(()),
    }
}

fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    name.into()
}

fn write(path: &Arc<Path>, records: mpsc::Receiver<ToWrite>, tell: impl Fn(Event)) {
    let mut open = None;
    for (key, mode, record) in records {
        let segment = match open.take() {
            Some(segment) => Ok(segment),
            None => Segment::open(path, &hostname(), mode),
        };
        // What went wrong may be right again for the next one.
        let written = segment.and_then(|mut segment| {
            segment.append(&record)?;
            open = Some(segment);
            Ok(())
        });
        let bytes = record.pieces.iter().map(|piece| piece.bytes.len()).sum();
        let problem = written.err().map(|e| format!("write output to {}: {e}", path.display()));
        tell(Event::Archived { key, path: Arc::clone(path), bytes, problem });
    }
}

impl Shell {
    /// Before a job begins: none, if it uses no archive.
    pub(crate) fn use_archive(&mut self, plan: &Plan) -> Result<Option<Gathered>, String> {
        let Some(path) = plan.archive()? else { return Ok(None) };
        let path: Arc<Path> = path.into();
        if let Some(writer) = self.archives.0.get_mut(&path) {
            writer.jobs += 1;
        } else {
            let (send, records) = mpsc::channel();
            let (to, events) = (Arc::clone(&path), self.events.clone());
            let thread = thread::Builder::new().name("archive".to_owned()).stack_size(STACK_BYTES);
            // The shell may be leaving.
            let tell = move |event| drop(events.send(event));
            thread.spawn(move || write(&to, records, tell)).map_err(|e| format!("thread for output: {e}"))?;
            self.archives.0.insert(Arc::clone(&path), Writer { records: send, jobs: 1, unwritten: 0 });
        }
        Ok(Some(Gathered {
            path,
            mode: plan.options.file_mode(),
            pieces: Pieces::default(),
            since: None,
            writing: 0,
            closed: false,
            hurried: false,
        }))
    }

    /// A job that was to use an archive has gone.
    pub(crate) fn forget_archive(&mut self, gathered: Gathered) {
        if let Some(writer) = self.archives.0.get_mut(&gathered.path) {
            writer.jobs -= 1;
        }
        self.forget_writer(&gathered.path);
    }

    /// Lets a thread end that has nothing to do.
    fn forget_writer(&mut self, path: &Path) {
        if self.archives.0.get(path).is_some_and(|writer| writer.jobs == 0 && writer.unwritten == 0) {
            self.archives.0.remove(path);
        }
    }

    pub(crate) fn gather(&mut self, key: Key, stream: Stream, task: u32, bytes: Vec<u8>) {
        let Some(gathered) = self.jobs.get_mut(&key).and_then(|job| job.gathered.as_mut()) else { return };
        gathered.pieces.push(stream, task, bytes, wall());
        if gathered.since.is_none() {
            gathered.since = Some(wall());
            self.timers.insert((Instant::now() + GATHERED_FOR, key, Timer::Archive));
        }
        if gathered.pieces.bytes() >= RECORD_BYTES {
            self.write_gathered(key, false);
        }
    }

    /// Hands on what has been gathered; `last`: no more will come, which is written even if nothing ever came.
    pub(crate) fn write_gathered(&mut self, key: Key, last: bool) {
        let Some(gathered) = self.jobs.get_mut(&key).and_then(|job| job.gathered.as_mut()) else { return };
        if gathered.closed || (gathered.since.is_none() && !last) {
            return;
        }
        let time = gathered.since.take().unwrap_or_else(wall);
        let instance = self.place.as_ref().expect("jobs start once there is one").instance;
        let record = record(instance, key, self.rank, time, last, gathered.pieces.take());
        gathered.closed = last;
        gathered.writing += 1;
        let writer = self.archives.0.get_mut(&gathered.path).expect("there as long as a job uses it");
        writer.unwritten += 1;
        writer
            .records
            .send((key, gathered.mode, record))
            .expect("the thread lives as long as somebody can send to it");
    }

    /// At the end of a job: does nothing of it wait to be written?
    pub(crate) fn is_archived(&mut self, key: Key) -> bool {
        let Some(job) = self.jobs.get_mut(&key) else { return true };
        let Some(gathered) = &mut job.gathered else { return true };
        if !(gathered.closed && gathered.writing == 0) {
            if job.ending && !std::mem::replace(&mut gathered.hurried, true) {
                self.timers.insert((Instant::now() + WRITTEN_WITHIN, key, Timer::ArchiveLate));
            }
            self.write_gathered(key, true);
            return false;
        }
        job.gathered.take().into_iter().for_each(|gathered| self.forget_archive(gathered));
        true
    }

    /// The job ends without knowing whether all of it has been written.
    pub(crate) fn archive_late(&mut self, key: Key) {
        let Some(gathered) = self.jobs.get_mut(&key).and_then(|job| job.gathered.take()) else { return };
        let path = gathered.path.display();
        let note =
            format!("write output to {path}: no answer for {} s, some may be lost", WRITTEN_WITHIN.as_secs());
        self.output_lost(key, note);
        self.forget_archive(gathered);
        self.finish(key);
    }

    pub(crate) fn archived(&mut self, key: Key, path: &Path, bytes: usize, problem: Option<String>) {
        if let Some(writer) = self.archives.0.get_mut(path) {
            writer.unwritten -= 1;
        }
        self.forget_writer(path);
        // After the last report nothing is reported.
        let waits = self.jobs.get(&key).is_some_and(|job| job.gathered.is_some());
        if let Some(note) = problem.filter(|_| waits) {
            self.output_lost(key, note);
        }
        self.make_room(key, bytes);
        if let Some(gathered) = self.jobs.get_mut(&key).and_then(|job| job.gathered.as_mut()) {
            gathered.writing -= 1;
        }
        self.finish(key);
    }
}

fn record(
    instance: Instance,
    key: Key,
    rank: Rank,
    time: Timestamp,
    last: bool,
    pieces: Vec<(Stream, u32, Vec<u8>)>,
) -> Record {
    let pieces = pieces.into_iter().map(|(stream, task, bytes)| Piece { task, stream, bytes }).collect();
    Record { instance, id: key.0, rank, time, last, pieces }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::JobId;
    use flurm_wire::archive::{ENTRY_LEN, Head, host};

    fn here() -> Instance {
        Instance::of("here")
    }

    #[test]
    fn who_makes_it_at_the_same_time_empties_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let path = dir.path().join(round.to_string());
            thread::scope(|scope| {
                for n in 0..8 {
                    let path = &path;
                    scope.spawn(move || {
                        let record = record(here(), (JobId(n), 0), Rank(0), Timestamp(0), true, Vec::new());
                        Segment::open(path, "a", 0o666).unwrap().append(&record).unwrap();
                    });
                }
            });
            let len = record(here(), (JobId(0), 0), Rank(0), Timestamp(0), true, Vec::new()).encode().len();
            let wanted = first_line("a").len() + 8 * len;
            assert_eq!(std::fs::metadata(&path).unwrap().len(), wanted as u64);
        }
    }

    #[test]
    fn many_writers_of_one_host_make_whole_records_and_another_host_writes_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("all.out");
        let write = |host: &'static str, rank: u32| {
            let mut segment = Segment::open(&path, host, 0o666).unwrap();
            move || {
                for n in 0..200_u64 {
                    let bytes = vec![rank as u8; 3000 * (n as usize % 7)];
                    let pieces = vec![(Stream::Stdout, rank, bytes)];
                    let record = record(here(), (JobId(n), 0), Rank(rank), Timestamp(0), true, pieces);
                    segment.append(&record).unwrap();
                }
            }
        };
        let mut writers: Vec<_> = (0..4).map(|rank| write("a", rank)).collect();
        writers.push(write("b", 9));
        thread::scope(|scope| writers.into_iter().for_each(|writer| drop(scope.spawn(writer))));
        for (file, host_wanted, writers) in [("all.out", "a", 4), ("all.out.b", "b", 1)] {
            let bytes = std::fs::read(dir.path().join(file)).unwrap();
            let (named, mut at) = host(&bytes).unwrap();
            assert_eq!(named, host_wanted);
            let mut found = Vec::new();
            while at < bytes.len() {
                let head = Head::read(&bytes[at..]).expect("one after the other");
                assert!(head.open(&bytes[at..]).is_some(), "whole");
                found.push(Entry {
                    offset: at as u64,
                    len: head.len() as u32,
                    instance: here(),
                    id: head.id,
                });
                at += head.len();
            }
            assert_eq!(found.len(), writers * 200);
            let index = std::fs::read(dir.path().join(format!("{file}.index"))).unwrap();
            let entries = index.as_chunks::<ENTRY_LEN>().0.iter().map(|entry| Entry::read(entry).unwrap());
            let mut entries: Vec<Entry> = entries.collect();
            entries.sort();
            assert_eq!(entries, found);
        }
        std::fs::write(dir.path().join("other"), "text\n").unwrap();
        assert!(check(&dir.path().join("other"), 0o666).is_err());
    }

    #[test]
    fn a_file_that_could_not_be_opened_is_tried_again_for_the_next_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later/all.out");
        let (send, records) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let to: Arc<Path> = path.clone().into();
        let thread = thread::spawn(move || {
            write(&to, records, |event| {
                let Event::Archived { problem, .. } = event else { panic!("what else?") };
                tell.send(problem).unwrap();
            });
        });
        let one = || {
            let record = record(here(), (JobId(1), 0), Rank(0), Timestamp(0), true, Vec::new());
            send.send(((JobId(1), 0), 0o666, record)).unwrap();
            told.recv().unwrap()
        };
        assert!(one().is_some_and(|problem| problem.contains("later/all.out")));
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        assert_eq!((one(), one()), (None, None));
        drop(send);
        thread.join().unwrap();
    }
}
