//! A place in bytes that are being read, and how much may become of them.

use crate::fault::{Error, Fault};
use crate::version::Version;

/// What one message may cost, whatever the lengths inside it say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Of a frame, without its length word.
    pub frame_bytes_max: usize,
    /// Of all that is allocated for what is decoded.
    pub memory_bytes_max: usize,
    pub depth_max: usize,
}

impl Limits {
    /// Structures inside structures; a message of Slurm has seven or so.
    pub const DEPTH_MAX: usize = 16;
}

impl Default for Limits {
    /// Enough for any request that Slurm's commands make: scripts have at most 4 MiB there, blocks of files 8 MiB.
    fn default() -> Self {
        Self { frame_bytes_max: 64 << 20, memory_bytes_max: 128 << 20, depth_max: Self::DEPTH_MAX }
    }
}

/// Reads from the front.
#[derive(Debug)]
pub struct Reader<'a> {
    all: &'a [u8],
    at: usize,
    /// Where `all` begins in what the caller has.
    base: usize,
    version: Version,
    limits: Limits,
    spent: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8], version: Version, limits: &Limits) -> Self {
        Self::at(bytes, 0, version, limits)
    }

    /// Offsets in errors count from `base` bytes before.
    pub(crate) fn at(bytes: &'a [u8], base: usize, version: Version, limits: &Limits) -> Self {
        Self { all: bytes, at: 0, base, version, limits: *limits, spent: 0, depth: 0 }
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        &self.all[self.at..]
    }

    pub fn offset(&self) -> usize {
        self.base + self.at
    }

    pub fn error(&self, fault: Fault) -> Error {
        Error::new(fault, self.offset())
    }

    /// Everything must have been read.
    pub fn finish(&self) -> Result<(), Error> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(self.error(Fault::Trailing(left))),
        }
    }

    /// Before allocating: may this much more be held?
    pub fn charge(&mut self, bytes: usize) -> Result<(), Error> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent > self.limits.memory_bytes_max {
            return Err(self.error(Fault::Memory(self.limits.memory_bytes_max)));
        }
        Ok(())
    }

    /// Before reading `count` items: each of them takes a byte at least.
    pub(crate) fn expect_items(&self, count: u64) -> Result<usize, Error> {
        let left = self.rest().len();
        let count_here = usize::try_from(count).ok().filter(|count| *count <= left);
        count_here.ok_or_else(|| self.error(Fault::Short { wanted: count, left }))
    }

    pub(crate) fn enter(&mut self) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > self.limits.depth_max {
            return Err(self.error(Fault::Depth(self.limits.depth_max)));
        }
        Ok(())
    }

    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    pub fn bytes(&mut self, length: u32) -> Result<&'a [u8], Error> {
        let (wanted, left) = (u64::from(length), self.rest().len());
        let length = usize::try_from(length).ok().filter(|length| *length <= left);
        let length = length.ok_or_else(|| self.error(Fault::Short { wanted, left }))?;
        let found = &self.rest()[..length];
        self.at += length;
        Ok(found)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let Some((found, _)) = self.rest().split_first_chunk() else {
            return Err(self.error(Fault::Short { wanted: N as u64, left: self.rest().len() }));
        };
        self.at += N;
        Ok(*found)
    }

    pub fn u8(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next word, which stays.
    pub(crate) fn peek_u32(&self) -> Option<u32> {
        self.rest().first_chunk().map(|word| u32::from_be_bytes(*word))
    }
}
