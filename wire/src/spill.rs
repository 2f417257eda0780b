//! Output of one job in a file of its own: where the log keeps what would be too much for its records and for memory.
//!
//! ```text
//! file  = frame, frame, …
//! frame = length u32, CRC-32 u32, packed lines     (little-endian; the length is that of the packed lines)
//! ```
//!
//! Each line is an entry of `guest.output`. A frame is read as a whole; so it is small, unless one line is large.

use crate::archive::crc32;
use crate::frame;
use crate::pack::{UnpackError, pack, unpack};

/// Of the lines in a frame, unless a single one is longer.
pub const LINES_LEN: usize = 256 << 10;
/// Before the lines of a frame.
const HEAD_LEN: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum Damaged {
    #[error("the sum of a frame is wrong")]
    Sum,
    #[error("unpack a frame")]
    Packed(#[from] UnpackError),
    #[error("a frame is not UTF-8")]
    Text,
}

/// The beginning of a file, or of what is left of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Begin {
    /// A frame with these lines, which ends here.
    Frame { lines: String, len: usize },
    /// So many bytes are needed to know more.
    Needs(usize),
}

/// Frames of these lines, each of which ends with a newline.
pub fn frames(mut lines: &str) -> Vec<u8> {
    let mut out = Vec::new();
    while !lines.is_empty() {
        let first = &lines.as_bytes()[..lines.len().min(LINES_LEN)];
        let end = match first.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None => lines.find('\n').map_or(lines.len(), |at| at + 1),
        };
        let (first, rest) = lines.split_at(end);
        let packed = pack(first.as_bytes(), 0);
        let len = u32::try_from(packed.len()).expect("a line has the limit of a message");
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&crc32(&packed).to_le_bytes());
        out.extend_from_slice(&packed);
        lines = rest;
    }
    out
}

/// Reads one frame.
///
/// # Errors
/// It is not as it was written.
pub fn begin(bytes: &[u8]) -> Result<Begin, Damaged> {
    let Some(head) = bytes.first_chunk::<HEAD_LEN>() else { return Ok(Begin::Needs(HEAD_LEN)) };
    let [a, b, c, d, sum @ ..] = *head;
    let len = HEAD_LEN + u32::from_le_bytes([a, b, c, d]) as usize;
    // Zeros are what a hole in a file reads as; and no frame is that long.
    if len == HEAD_LEN || len > 2 * frame::LEN_MAX {
        return Err(Damaged::Sum);
    }
    let Some(packed) = bytes.get(HEAD_LEN..len) else { return Ok(Begin::Needs(len)) };
    if crc32(packed) != u32::from_le_bytes(sum) {
        return Err(Damaged::Sum);
    }
    let lines = unpack(packed, 2 * frame::LEN_MAX)?.into_owned();
    Ok(Begin::Frame { lines: String::from_utf8(lines).map_err(|_| Damaged::Text)?, len })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(mut bytes: &[u8]) -> Result<Vec<String>, Damaged> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            match begin(bytes)? {
                Begin::Frame { lines, len } => {
                    all.push(lines);
                    bytes = &bytes[len..];
                }
                Begin::Needs(_) => return Err(Damaged::Sum),
            }
        }
        Ok(all)
    }

    #[test]
    fn lines_come_back_in_frames_that_are_small_unless_a_line_is_large() {
        let large = "é".repeat(LINES_LEN) + "\n";
        let lines: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
        for (lines, frames_wanted) in [
            (String::new(), 0),
            ("\n".into(), 1),
            (lines.clone(), lines.len().div_ceil(LINES_LEN)),
            (format!("a\n{large}b\n"), 3),
        ] {
            let bytes = frames(&lines);
            let read = read_all(&bytes).unwrap();
            assert_eq!(read.concat(), lines);
            assert_eq!(read.len(), frames_wanted);
        }
    }

    #[test]
    fn no_damage_goes_unseen() {
        let bytes = frames("one\ntwo\n");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(read_all(&damaged).is_err(), "byte {at}");
            assert!(matches!(begin(&bytes[..at]), Ok(Begin::Needs(len)) if len > at), "cut at {at}");
        }
        assert!(begin(&[0; 20]).is_err(), "a hole");
    }
}
