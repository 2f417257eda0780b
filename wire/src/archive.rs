//! Output archives: one file for the output of many jobs, written by several shells at once.
//!
//! ```text
//! archive = first line, record, record, …        index = entry, entry, …
//! record  = head (44 bytes), pieces, maybe as LZ4 block
//! piece   = task u32, stream u8 (1 stdout, 2 stderr), length u32, bytes
//! ```
//!
//! Numbers are little-endian. A record says of itself where it begins, how long it is and whether it is whole, so what a
//! crash has cut is skipped and the rest is found. The index is a file of its own and only saves looking: a record that
//! is not in it is found by its head.

use crate::rexec::Stream;
use flurm_types::{JobId, Rank, Timestamp};
use std::fmt;
use std::str::FromStr;

/// Pieces of one record, unpacked. A reader makes no more room for one.
pub const RECORD_BYTES_MAX: usize = 4 << 20;
/// Of a record, before its pieces.
pub const HEAD_LEN: usize = 44;
/// Of an entry of the index.
pub const ENTRY_LEN: usize = 32;
/// Of the first line: a host has at most 255 bytes.
pub const FIRST_LINE_LEN_MAX: usize = 320;

const MAGIC: [u8; 4] = [1, b'r', b'e', b'c'];
const ENTRY_MAGIC: [u8; 4] = [1, b'i', b'd', b'x'];
const FIRST_WORDS: &str = "flurm output archive 2 ";
const LZ4: u8 = 1;
const LAST: u8 = 2;
const PIECE_HEAD_LEN: usize = 9;

/// The first line of an archive names the one host that writes to it.
pub fn first_line(host: &str) -> String {
    format!("{FIRST_WORDS}{host}\n")
}

/// The host of an archive that begins so, and the length of its first line.
pub fn host(begin: &[u8]) -> Option<(&str, usize)> {
    let end = begin.iter().take(FIRST_LINE_LEN_MAX).position(|b| *b == b'\n')?;
    let line = std::str::from_utf8(&begin[..end]).ok()?;
    Some((line.strip_prefix(FIRST_WORDS)?, end + 1))
}

/// Which instance a job was of: ids of jobs count from the start of theirs, so two instances may have the same ones.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance(u32);

impl Instance {
    /// From the attribute `instance-id`.
    pub fn of(id: &str) -> Instance {
        Instance(crc32(id.as_bytes()))
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for Instance {
    type Err = String;

    fn from_str(text: &str) -> Result<Instance, String> {
        u32::from_str_radix(text, 16)
            .map(Instance)
            .map_err(|_| "an instance is eight digits, as 0a1b2c3d".to_owned())
    }
}

/// Some output of the tasks of one job on one rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub instance: Instance,
    pub id: JobId,
    pub rank: Rank,
    /// When the first of it came.
    pub time: Timestamp,
    /// No more will come from there.
    pub last: bool,
    pub pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub task: u32,
    pub stream: Stream,
    pub bytes: Vec<u8>,
}

/// What a record says of itself first.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Head {
    pub instance: Instance,
    pub id: JobId,
    pub rank: Rank,
    pub time: Timestamp,
    pub last: bool,
    packed: bool,
    stored_len: usize,
    plain_len: usize,
    sum: u32,
}

impl Record {
    /// # Panics
    /// The pieces are longer than [`RECORD_BYTES_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        let plain_len = self.pieces.iter().map(|piece| PIECE_HEAD_LEN + piece.bytes.len()).sum::<usize>();
        assert!(plain_len <= RECORD_BYTES_MAX, "a record has a limit");
        let mut plain = Vec::with_capacity(plain_len);
        for Piece { task, stream, bytes } in &self.pieces {
            plain.extend_from_slice(&task.to_le_bytes());
            plain.push(match stream {
                Stream::Stdout => 1,
                Stream::Stderr => 2,
            });
            plain.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            plain.extend_from_slice(bytes);
        }
        let packed = lz4_flex::block::compress(&plain);
        let (stored, packed) = if packed.len() < plain.len() { (&packed, LZ4) } else { (&plain, 0) };
        let mut out = Vec::with_capacity(HEAD_LEN + stored.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(stored.len() as u32).to_le_bytes());
        out.extend_from_slice(&(plain_len as u32).to_le_bytes());
        out.extend_from_slice(&[packed | if self.last { LAST } else { 0 }, 0, 0, 0]);
        out.extend_from_slice(&self.rank.0.to_le_bytes());
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&self.time.0.to_le_bytes());
        out.extend_from_slice(&self.instance.0.to_le_bytes());
        out.extend_from_slice(stored);
        let sum = crc32(&out[8..]);
        out[4..8].copy_from_slice(&sum.to_le_bytes());
        out
    }
}

impl Head {
    /// None where no record begins.
    pub fn read(bytes: &[u8]) -> Option<Head> {
        let head = bytes.first_chunk::<HEAD_LEN>()?;
        let flags = head[16];
        let head = Head {
            instance: Instance(u32_at(head, 40)),
            id: JobId(u64_at(head, 24)),
            rank: Rank(u32_at(head, 20)),
            time: Timestamp(u64_at(head, 32).cast_signed()),
            last: flags & LAST != 0,
            packed: flags & LZ4 != 0,
            stored_len: u32_at(head, 8) as usize,
            plain_len: u32_at(head, 12) as usize,
            sum: (head[..4] == MAGIC && flags & !(LZ4 | LAST) == 0).then(|| u32_at(head, 4))?,
        };
        let fits = head.stored_len <= head.plain_len && head.plain_len <= RECORD_BYTES_MAX;
        fits.then_some(head)
    }

    /// Of the whole record.
    #[expect(clippy::len_without_is_empty, reason = "no record is empty, it has a head")]
    pub fn len(&self) -> usize {
        HEAD_LEN + self.stored_len
    }

    /// The whole record, of which `bytes` begin with this head; none when it is not as it was written.
    pub fn open(&self, bytes: &[u8]) -> Option<Record> {
        let bytes = bytes.get(..self.len())?;
        if crc32(&bytes[8..]) != self.sum {
            return None;
        }
        let stored = &bytes[HEAD_LEN..];
        let unpacked = if self.packed {
            lz4_flex::block::decompress(stored, self.plain_len).ok()?
        } else {
            stored.to_vec()
        };
        let mut rest = (unpacked.len() == self.plain_len).then_some(&unpacked[..])?;
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (head, behind) = rest.split_first_chunk::<PIECE_HEAD_LEN>()?;
            let (bytes, behind) = behind.split_at_checked(u32_at(head, 5) as usize)?;
            let stream = match head[4] {
                1 => Stream::Stdout,
                2 => Stream::Stderr,
                _ => return None,
            };
            pieces.push(Piece { task: u32_at(head, 0), stream, bytes: bytes.to_vec() });
            rest = behind;
        }
        let Head { instance, id, rank, time, last, .. } = *self;
        Some(Record { instance, id, rank, time, last, pieces })
    }
}

/// Where the next record may begin.
pub fn find(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MAGIC.len()).position(|window| window == MAGIC)
}

/// Where a record of a job lies.
#[derive(Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub offset: u64,
    pub len: u32,
    pub instance: Instance,
    pub id: JobId,
}

impl Entry {
    pub fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut out = [0; ENTRY_LEN];
        out[..4].copy_from_slice(&ENTRY_MAGIC);
        out[8..16].copy_from_slice(&self.offset.to_le_bytes());
        out[16..20].copy_from_slice(&self.len.to_le_bytes());
        out[20..24].copy_from_slice(&self.instance.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.id.0.to_le_bytes());
        let sum = crc32(&out[8..]);
        out[4..8].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// None for one that is not as it was written.
    pub fn read(bytes: &[u8; ENTRY_LEN]) -> Option<Entry> {
        let whole = bytes[..4] == ENTRY_MAGIC && u32_at(bytes, 4) == crc32(&bytes[8..]);
        whole.then(|| Entry {
            offset: u64_at(bytes, 8),
            len: u32_at(bytes, 16),
            instance: Instance(u32_at(bytes, 20)),
            id: JobId(u64_at(bytes, 24)),
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// CRC-32 as of IEEE 802.3, in slices of eight bytes.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    const TABLES: [[u32; 256]; 8] = tables();
    let mut sum = !0_u32;
    let mut eights = bytes.chunks_exact(8);
    for eight in &mut eights {
        let low = (sum ^ u32_at(eight, 0)).to_le_bytes();
        sum = 0;
        for (at, byte) in low.iter().chain(&eight[4..]).enumerate() {
            sum ^= TABLES[7 - at][usize::from(*byte)];
        }
    }
    for byte in eights.remainder() {
        sum = sum >> 8 ^ TABLES[0][usize::from(sum as u8 ^ byte)];
    }
    !sum
}

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut slice = 1;
    while slice < 8 {
        byte = 0;
        while byte < 256 {
            let before = tables[slice - 1][byte];
            tables[slice][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        slice += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: &[u8]) -> Record {
        let piece = |task, stream, bytes: &[u8]| Piece { task, stream, bytes: bytes.to_vec() };
        Record {
            instance: Instance::of("here"),
            id: JobId(7),
            rank: Rank(3),
            time: Timestamp(-5),
            last: true,
            pieces: vec![piece(0, Stream::Stdout, bytes), piece(9, Stream::Stderr, b"")],
        }
    }

    #[test]
    fn the_sum_is_the_one_that_everybody_has() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b"The quick brown fox jumps over the lazy dog"), 0x414f_a339);
    }

    #[test]
    fn records_come_back_and_no_damage_goes_unseen() {
        for bytes in [&b""[..], b"hello", &[7; 10_000]] {
            let record = record(bytes);
            let written = record.encode();
            let head = Head::read(&written).unwrap();
            assert_eq!((head.len(), head.id), (written.len(), record.id));
            assert_eq!(head.open(&written), Some(record));
            for at in 0..written.len() {
                let mut damaged = written.clone();
                damaged[at] ^= 1;
                let read = Head::read(&damaged).and_then(|head| head.open(&damaged));
                assert_eq!(read, None, "byte {at}");
                assert!(head.open(&written[..at]).is_none(), "cut at {at}");
            }
        }
        let entry = Entry { offset: 1 << 40, len: 99, instance: Instance::of("here"), id: JobId(7) };
        let mut bytes = entry.encode();
        assert_eq!(Entry::read(&bytes), Some(entry));
        bytes[20] ^= 1;
        assert_eq!(Entry::read(&bytes), None);
        assert_eq!(host(first_line("n7").as_bytes()), Some(("n7", 26)));
        assert_eq!(host(b"flurm output archive 1 x\n"), None);
        assert_eq!(Instance::of("here").to_string().parse(), Ok(Instance::of("here")));
    }
}
