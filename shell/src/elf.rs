//! What a program is linked with: the few fields of an ELF file that say so.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// More than any linker has written; a file that says otherwise is not believed.
const HEADERS_MAX: u64 = 256;
const TABLE_BYTES_MAX: u64 = 8 << 20;

/// Opens a file to look into it; none: there is something else under this name, which might never open or never end.
///
/// # Errors
/// It cannot be opened.
pub fn open_regular(path: &Path) -> io::Result<Option<File>> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

/// How a file hangs together with its libraries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Linked {
    pub needed: Vec<String>,
    /// Asked before `LD_LIBRARY_PATH` (RPATH).
    before: Vec<PathBuf>,
    /// Asked after it (RUNPATH).
    after: Vec<PathBuf>,
    /// Neither an interpreter nor a library: everything is in it.
    pub is_static: bool,
}

impl Linked {
    /// None: this is no program of this machine, a script or a FIFO perhaps.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> io::Result<Option<Linked>> {
        let Some(file) = open_regular(path)? else { return Ok(None) };
        let mut head = [0; 64];
        match file.read_exact_at(&mut head, 0) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        // 64 bits, little-endian: what all our machines are.
        if head[..6] != *b"\x7fELF\x02\x01" {
            return Ok(None);
        }
        let sections = Sections { file: &file, loads: Vec::new() };
        Ok(sections.linked(&head, path.parent().unwrap_or(Path::new("/"))))
    }

    /// Where the loader would find a library for this file, apart from the system's own places.
    pub fn find(&self, name: &str, ld_library_path: Option<&str>) -> Option<PathBuf> {
        let given = ld_library_path.unwrap_or("").split(':').filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let dirs = self.before.iter().cloned().chain(given).chain(self.after.iter().cloned());
        dirs.map(|dir| dir.join(name)).find(|path| path.is_file())
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]).into())
}

fn u32_at(bytes: &[u8], at: usize) -> u64 {
    u16_at(bytes, at) | u16_at(bytes, at + 2) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u32_at(bytes, at) | u32_at(bytes, at + 4) << 32
}

struct Sections<'a> {
    file: &'a File,
    /// Address, size in the file, place in the file.
    loads: Vec<(u64, u64, u64)>,
}

impl Sections<'_> {
    fn bytes(&self, at: u64, len: u64) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(len.min(TABLE_BYTES_MAX)).ok()?];
        self.file.read_exact_at(&mut bytes, at).ok()?;
        Some(bytes)
    }

    fn linked(mut self, head: &[u8; 64], origin: &Path) -> Option<Linked> {
        let (at, size, n) = (u64_at(head, 32), u16_at(head, 54), u16_at(head, 56).min(HEADERS_MAX));
        let headers = self.bytes(at, size * n)?;
        let (mut dynamic, mut interpreted) = (None, false);
        for header in headers.chunks_exact(usize::try_from(size).ok().filter(|size| *size >= 56)?) {
            let (place, address, len) = (u64_at(header, 8), u64_at(header, 16), u64_at(header, 32));
            match u32_at(header, 0) {
                1 => self.loads.push((address, len, place)),
                2 => dynamic = Some((place, len)),
                3 => interpreted = true,
                _ => {}
            }
        }
        let mut linked = Linked { is_static: dynamic.is_none() && !interpreted, ..Linked::default() };
        let Some((place, len)) = dynamic else { return Some(linked) };
        let table = self.bytes(place, len)?;
        let entries: Vec<(u64, u64)> =
            table.chunks_exact(16).map(|entry| (u64_at(entry, 0), u64_at(entry, 8))).collect();
        let value = |tag: u64| entries.iter().find(|entry| entry.0 == tag).map(|entry| entry.1);
        let (address, len) = (value(5)?, value(10)?);
        let load = self.loads.iter().find(|(from, len, _)| (*from..from + len).contains(&address))?;
        let texts = self.bytes(load.2 + (address - load.0), len)?;
        let text = |at: u64| {
            let rest = texts.get(usize::try_from(at).ok()?..)?;
            let end = rest.iter().position(|b| *b == 0)?;
            Some(String::from_utf8_lossy(&rest[..end]).into_owned())
        };
        let origin = origin.to_string_lossy();
        let path = |text: String| {
            let text = text.replace("$ORIGIN", &origin).replace("${ORIGIN}", &origin);
            text.split(':').filter(|dir| !dir.is_empty()).map(PathBuf::from).collect::<Vec<_>>()
        };
        for (tag, at) in entries.iter().take_while(|(tag, _)| *tag != 0) {
            match tag {
                1 => linked.needed.extend(text(*at)),
                15 => linked.before = text(*at).map(path).unwrap_or_default(),
                29 => linked.after = text(*at).map(path).unwrap_or_default(),
                _ => {}
            }
        }
        if !linked.after.is_empty() {
            linked.before.clear();
        }
        Some(linked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_very_test_is_linked_with_is_read() {
        let linked = Linked::read(Path::new("/proc/self/exe")).unwrap().expect("an ELF file");
        assert!(linked.needed.iter().any(|name| name.starts_with("libc.so")), "{linked:?}");
        assert!(!linked.is_static);
    }

    #[test]
    fn what_is_no_program_is_said_to_be_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut torn = b"\x7fELF\x02\x01".to_vec();
        torn.resize(100, 0xff);
        for bytes in [b"#!/bin/sh\necho\n".to_vec(), Vec::new(), vec![b'x'; 100]] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Linked::read(&path).unwrap(), None);
        }
        std::fs::write(&path, torn).unwrap();
        // Whatever it is taken for, nothing is read that is not there.
        assert!(Linked::read(&path).unwrap().is_none_or(|linked| linked.needed.is_empty()));
        assert!(Linked::read(&dir.path().join("none")).is_err());
    }

    #[test]
    fn a_fifo_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        assert_eq!(Linked::read(&path).unwrap(), None);
    }
}
