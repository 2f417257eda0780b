//! What is wrong with bytes, or with a value that is to become bytes, and where.

use std::fmt;

/// A fault with its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Error {
    /// The innermost structure, as the tables call it; empty outside of any.
    pub structure: &'static str,
    pub field: &'static str,
    /// From the first byte of what was being read or written.
    pub offset: usize,
    pub fault: Fault,
}

#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    #[error("{wanted} bytes wanted, {left} left")]
    Short { wanted: u64, left: usize },
    #[error("{0} bytes left over")]
    Trailing(usize),
    #[error("a frame of {length} bytes (at most {most})")]
    Frame { length: u64, most: usize },
    #[error("more memory than the {0} bytes allowed for one message")]
    Memory(usize),
    #[error("nested deeper than {0}")]
    Depth(usize),
    #[error("a text that does not end in a NUL")]
    Text,
    #[error("a truth value of {0}")]
    Truth(u8),
    #[error("a bitmap whose digits do not fit its length")]
    Bitmap,
    #[error("{0} does not fit its field")]
    Range(u64),
    #[error("{held} items where another field says {stated}")]
    Count { held: usize, stated: u64 },
    #[error("a version word of {0:#06x}, which we do not speak")]
    Version(u16),
    #[error("message type {0}, of which no layout is known in this version")]
    Message(u64),
    #[error("{0} does not exist in this version")]
    Absent(&'static str),
    #[error("the header says {stated} bytes of body, there are {found}")]
    BodyLength { stated: u32, found: usize },
    #[error("a packet of kind {0}")]
    Packet(u16),
}

impl Error {
    pub(crate) fn new(fault: Fault, offset: usize) -> Self {
        Self { structure: "", field: "", offset, fault }
    }

    /// In a field, unless a deeper one is named already.
    pub(crate) fn within(mut self, structure: &'static str, field: &'static str) -> Self {
        if self.structure.is_empty() {
            (self.structure, self.field) = (structure, field);
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.structure.is_empty() {
            write!(f, "{}.{} ", self.structure, self.field)?;
        }
        write!(f, "at byte {}: {}", self.offset, self.fault)
    }
}

impl std::error::Error for Error {}
