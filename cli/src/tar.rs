//! Tar archives, as far as a key-value store needs them: files, directories and links, one after the other (POSIX pax, and
//! GNU's long names when read).

use std::io::{self, Read, Write};

const BLOCK: usize = 512;
/// Of the fields of a header.
const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const SUM: std::ops::Range<usize> = 148..156;
const LINK: std::ops::Range<usize> = 157..257;
const PREFIX: std::ops::Range<usize> = 345..500;
/// A name that is longer is none of ours.
const EXTENSION_LEN_MAX: u64 = 1 << 20;

/// What is in an archive.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    File(Vec<u8>),
    Dir,
    Link(String),
}

pub struct Writer<W> {
    to: W,
    /// Of all entries, in seconds since 1970.
    time: u64,
}

impl<W: Write> Writer<W> {
    pub fn new(to: W, time: u64) -> Writer<W> {
        Writer { to, time }
    }

    pub fn put(&mut self, path: &str, entry: &Entry) -> io::Result<()> {
        let (kind, mode, data, link) = match entry {
            Entry::File(data) => (b'0', 0o644, &data[..], ""),
            Entry::Dir => (b'5', 0o755, &[][..], ""),
            Entry::Link(target) => (b'2', 0o777, &[][..], target.as_str()),
        };
        let mut extended = Vec::new();
        for (key, value, field) in [("path", path, NAME), ("linkpath", link, LINK)] {
            if value.len() > field.len() {
                extended.extend(record(key, value));
            }
        }
        if !extended.is_empty() {
            self.one("pax", "", b'x', 0o644, &extended)?;
        }
        self.one(path, link, kind, mode, data)
    }

    fn one(&mut self, path: &str, link: &str, kind: u8, mode: u32, data: &[u8]) -> io::Result<()> {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(NAME.start, &path.as_bytes()[..path.len().min(NAME.len())]);
        put(100, format!("{mode:07o}\0{:07o}\0{:07o}\0", 0, 0).as_bytes());
        put(SIZE.start, format!("{:011o}\0{:011o}\0", data.len(), self.time).as_bytes());
        put(SUM.start, b"        ");
        put(156, &[kind]);
        put(LINK.start, &link.as_bytes()[..link.len().min(LINK.len())]);
        put(257, b"ustar\x0000");
        let sum = sum(&header);
        header[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.to.write_all(&header)?;
        self.to.write_all(data)?;
        self.to.write_all(&[0; BLOCK][..padding(data.len() as u64)])
    }

    /// Two blocks of zeros.
    pub fn end(mut self) -> io::Result<W> {
        self.to.write_all(&[0; 2 * BLOCK])?;
        self.to.flush()?;
        Ok(self.to)
    }
}

/// One of pax's own: its length, which counts itself, a key and a value.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut len = rest.len();
    while len != rest.len() + len.to_string().len() {
        len = rest.len() + len.to_string().len();
    }
    format!("{len}{rest}").into_bytes()
}

fn sum(header: &[u8; BLOCK]) -> u32 {
    let blank = header.iter().enumerate().map(|(at, byte)| if SUM.contains(&at) { b' ' } else { *byte });
    blank.map(u32::from).sum()
}

fn padding(len: u64) -> usize {
    let over = usize::try_from(len % BLOCK as u64).expect("less than a block");
    (BLOCK - over) % BLOCK
}

/// Entries with their paths, without a slash at the end. Contents beyond the limit are left out.
pub struct Reader<R> {
    from: R,
    size_max: u64,
    over: bool,
}

/// A path, and what it is; none: too large.
pub type Named = (String, Option<Entry>);

impl<R: Read> Reader<R> {
    pub fn new(from: R, size_max: u64) -> Reader<R> {
        Reader { from, size_max, over: false }
    }

    fn read(&mut self) -> io::Result<Option<Named>> {
        let (mut path, mut link) = (None, None);
        loop {
            let mut header = [0; BLOCK];
            if !self.block(&mut header)? || header == [0; BLOCK] {
                return Ok(None);
            }
            if number(&header[SUM]) != Some(u64::from(sum(&header))) {
                return Err(bad(
                    "it is no tar archive, or it is damaged (compressed ones are to be unpacked first)",
                ));
            }
            let size = number(&header[SIZE]).ok_or_else(|| bad("an entry has no size"))?;
            match header[156] {
                b'x' | b'L' | b'K' => {
                    let data =
                        self.data(size, EXTENSION_LEN_MAX)?.ok_or_else(|| bad("a name is too long"))?;
                    match header[156] {
                        b'L' => path = Some(text(&data)?),
                        b'K' => link = Some(text(&data)?),
                        _ => {
                            for (key, value) in records(&data)? {
                                match key.as_str() {
                                    "path" => path = Some(value),
                                    "linkpath" => link = Some(value),
                                    _ => {}
                                }
                            }
                        }
                    }
                }
                // Of the whole archive; nothing that is of use here.
                b'g' => drop(self.data(size, 0)?),
                kind => {
                    let short = || -> io::Result<String> {
                        let (name, prefix) = (text(&header[NAME])?, text(&header[PREFIX])?);
                        let posix = header[257..263] == *b"ustar\0" && !prefix.is_empty();
                        Ok(if posix { format!("{prefix}/{name}") } else { name })
                    };
                    let path = path.map_or_else(short, Ok)?;
                    let path = path.trim_end_matches('/').trim_start_matches("./").to_owned();
                    let entry = match kind {
                        b'0' | 0 => self.data(size, self.size_max)?.map(Entry::File),
                        b'5' => Some(Entry::Dir),
                        b'2' => Some(Entry::Link(link.map_or_else(|| text(&header[LINK]), Ok)?)),
                        _ => return Err(bad(&format!("`{path}` is no file, directory or link"))),
                    };
                    return Ok(Some((path, entry)));
                }
            }
        }
    }

    /// False at the end.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> io::Result<bool> {
        let mut len = 0;
        while len < BLOCK {
            match self.from.read(&mut block[len..])? {
                0 if len == 0 => return Ok(false),
                0 => return Err(bad("it ends too early")),
                more => len += more,
            }
        }
        Ok(true)
    }

    fn data(&mut self, size: u64, max: u64) -> io::Result<Option<Vec<u8>>> {
        let all = size + padding(size) as u64;
        if size > max {
            let skipped = io::copy(&mut (&mut self.from).take(all), &mut io::sink())?;
            return if skipped == all { Ok(None) } else { Err(bad("it ends too early")) };
        }
        let mut data = Vec::new();
        if (&mut self.from).take(all).read_to_end(&mut data)? as u64 != all {
            return Err(bad("it ends too early"));
        }
        data.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        Ok(Some(data))
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = io::Result<Named>;

    fn next(&mut self) -> Option<io::Result<Named>> {
        if self.over {
            return None;
        }
        let read = self.read().transpose();
        self.over = !matches!(read, Some(Ok(_)));
        read
    }
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Octal digits, with blanks or zeros around them.
fn number(field: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

fn text(field: &[u8]) -> io::Result<String> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8(field[..end].to_vec()).map_err(|_| bad("a name is not UTF-8"))
}

fn records(mut data: &[u8]) -> io::Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    while !data.is_empty() {
        let wrong = || bad("an extended header is damaged");
        let blank = data.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let len = std::str::from_utf8(&data[..blank]).ok().and_then(|len| len.parse::<usize>().ok());
        let len = len.filter(|len| (blank + 2..=data.len()).contains(len)).ok_or_else(wrong)?;
        let text = std::str::from_utf8(&data[blank + 1..len - 1]).map_err(|_| bad("a name is not UTF-8"))?;
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        all.push((key.to_owned(), value.to_owned()));
        data = &data[len..];
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<(String, Entry)> {
        vec![
            ("a".into(), Entry::Dir),
            ("a/b".into(), Entry::File(b"1".to_vec())),
            ("empty".into(), Entry::File(Vec::new())),
            ("block".into(), Entry::File(vec![7; BLOCK])),
            (format!("{}é", "long/".repeat(50)), Entry::File(vec![1; 3000])),
            ("link".into(), Entry::Link("x.".repeat(100))),
            ("short".into(), Entry::Link("a.b".into())),
        ]
    }

    fn written() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), 1_790_000_000);
        sample().iter().for_each(|(path, entry)| writer.put(path, entry).unwrap());
        writer.end().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let read: Vec<_> = Reader::new(&written()[..], 1 << 20).map(Result::unwrap).collect();
        assert_eq!(read, sample().into_iter().map(|(path, entry)| (path, Some(entry))).collect::<Vec<_>>());
        let small: Vec<_> = Reader::new(&written()[..], 600).map(Result::unwrap).collect();
        assert_eq!(small.iter().filter(|(_, entry)| entry.is_none()).count(), 1);
    }

    #[test]
    fn no_damage_is_read_as_something_else() {
        let bytes = written();
        for cut in [1, BLOCK - 1, BLOCK + 1, 3 * BLOCK - 1] {
            let last = Reader::new(&bytes[..cut], 1 << 20).last().unwrap();
            assert!(last.is_err(), "cut at {cut}");
        }
        for at in 0..BLOCK {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x11;
            assert!(Reader::new(&damaged[..], 1 << 20).any(|entry| entry.is_err()), "byte {at}");
        }
        assert!(Reader::new(&[0x1f; 1024][..], 1).next().unwrap().is_err());
        assert!(Reader::new(&[][..], 1).next().is_none());
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
        let read: Vec<_> = Reader::new(&made[..], 1 << 20).map(Result::unwrap).collect();
        let wanted = (format!("{}x", "long/".repeat(30)), Some(Entry::File(b"text".to_vec())));
        assert!(read.contains(&wanted), "{read:?}");
    }
}
