//! Tar archives of a key-value store: values, directories and links, one after the other.

use std::io::{self, ErrorKind, Read, Write};
use tar::{Builder, EntryType, Header};

/// What is in an archive.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    File(Vec<u8>),
    Dir,
    Link(String),
}

pub struct Writer<W: Write> {
    to: Builder<W>,
    /// Of all entries, in seconds since 1970.
    time: u64,
}

impl<W: Write> Writer<W> {
    pub fn new(to: W, time: u64) -> Writer<W> {
        Writer { to: Builder::new(to), time }
    }

    pub fn put(&mut self, path: &str, entry: &Entry) -> io::Result<()> {
        let (kind, mode, data) = match entry {
            Entry::File(data) => (EntryType::Regular, 0o644, &data[..]),
            Entry::Dir => (EntryType::Directory, 0o755, &[][..]),
            Entry::Link(_) => (EntryType::Symlink, 0o777, &[][..]),
        };
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(self.time);
        header.set_size(data.len() as u64);
        match entry {
            // A key is kept as it is where it fits, whatever it would be as a path.
            Entry::Link(target) if header.set_link_name_literal(target).is_err() => {
                self.to.append_link(&mut header, path, target)
            }
            Entry::Link(_) | Entry::File(_) | Entry::Dir => self.to.append_data(&mut header, path, data),
        }
    }

    pub fn end(self) -> io::Result<W> {
        self.to.into_inner()
    }
}

/// A path without a slash at the end, and what it is; none: too large.
pub type Named = (String, Option<Entry>);

/// One entry as an archive's iterator gives it; none: it tells nothing of a key.
pub fn read<R: Read>(entry: io::Result<tar::Entry<'_, R>>, size_max: u64) -> io::Result<Option<Named>> {
    let mut entry = entry.map_err(|error| {
        bad(&format!(
            "it is no tar archive, or it is damaged (compressed ones are to be unpacked first): {error}"
        ))
    })?;
    let path = text(&entry.path_bytes())?;
    let path = path.trim_end_matches('/').trim_start_matches("./").to_owned();
    let read = match entry.header().entry_type() {
        EntryType::XGlobalHeader => return Ok(None),
        EntryType::Directory => Some(Entry::Dir),
        EntryType::Symlink => Some(Entry::Link(text(&entry.link_name_bytes().unwrap_or_default())?)),
        EntryType::Regular | EntryType::Continuous if entry.size() > size_max => None,
        EntryType::Regular | EntryType::Continuous => {
            let mut data = Vec::new();
            if entry.read_to_end(&mut data)? as u64 != entry.size() {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "it ends too early"));
            }
            Some(Entry::File(data))
        }
        _ => return Err(bad(&format!("`{path}` is no file, directory or link"))),
    };
    Ok(Some((path, read)))
}

fn bad(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

fn text(bytes: &[u8]) -> io::Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| bad("a name is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::Archive;

    fn sample() -> Vec<(String, Entry)> {
        vec![
            ("a".into(), Entry::Dir),
            ("a/b".into(), Entry::File(b"1".to_vec())),
            ("empty".into(), Entry::File(Vec::new())),
            ("block".into(), Entry::File(vec![7; 512])),
            (format!("{}é", "long/".repeat(50)), Entry::File(vec![1; 3000])),
            ("link".into(), Entry::Link("x.".repeat(100))),
            ("short".into(), Entry::Link("a.b".into())),
            ("root".into(), Entry::Link(".".into())),
        ]
    }

    fn written() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), 1_790_000_000);
        sample().iter().for_each(|(path, entry)| writer.put(path, entry).unwrap());
        writer.end().unwrap()
    }

    fn all(bytes: &[u8], size_max: u64) -> io::Result<Vec<Named>> {
        let mut archive = Archive::new(bytes);
        let read = archive.entries()?.map(|entry| read(entry, size_max));
        read.filter_map(io::Result::transpose).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let wanted: Vec<Named> = sample().into_iter().map(|(path, entry)| (path, Some(entry))).collect();
        assert_eq!(all(&written(), 1 << 20).unwrap(), wanted);
        let small = all(&written(), 600).unwrap();
        assert_eq!(small.iter().filter(|(_, entry)| entry.is_none()).count(), 1);
    }

    #[test]
    fn no_damage_is_read_as_something_else() {
        let bytes = written();
        for cut in [1, 511, 513, 3 * 512 - 1] {
            assert!(all(&bytes[..cut], 1 << 20).is_err(), "cut at {cut}");
        }
        let whole = all(&bytes, 1 << 20).unwrap();
        for at in 0..512 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x11;
            let read = all(&damaged, 1 << 20);
            assert!(read.is_err() || read.unwrap() == whole, "byte {at}");
        }
        assert!(all(&[0x1f; 1024], 1).is_err());
        assert!(all(&[], 1).unwrap().is_empty());
    }

    #[test]
    fn the_systems_tar_reads_and_writes_the_same() {
        use std::process::{Command, Stdio};
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.tar"), written()).unwrap();
        let Ok(listed) = Command::new("tar").args(["-tf", "x.tar"]).current_dir(dir.path()).output() else {
            return;
        };
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(listed.lines().count(), sample().len(), "{listed}");
        std::fs::create_dir_all(dir.path().join(format!("in/{}", "long/".repeat(30)))).unwrap();
        std::fs::write(dir.path().join(format!("in/{}x", "long/".repeat(30))), "text").unwrap();
        let mut tar = Command::new("tar");
        let tar = tar.args(["-cf", "-", "-C", "in", "."]).current_dir(dir.path()).stderr(Stdio::null());
        let made = tar.output().unwrap().stdout;
        let wanted = (format!("{}x", "long/".repeat(30)), Some(Entry::File(b"text".to_vec())));
        assert!(all(&made, 1 << 20).unwrap().contains(&wanted));
    }
}
