//! How far a stream has read the file in which a job's output is kept ([`flurm_wire::spill`]).
//!
//! Frames are unpacked one at a time, however much has been read: a page is made of a few of them, and a frame may be
//! two hundred times as long as what lies in the file.

use flurm_wire::spill::{Begin, begin};

/// Read at once.
const READ_LEN: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Spill {
    /// Where in the file what is to be read next begins.
    offset: u64,
    /// Read, and not yet unpacked.
    raw: Vec<u8>,
    lines: String,
    at: usize,
    wants: usize,
    broken: Option<Broken>,
}

#[derive(Debug)]
enum Broken {
    Why(String),
    Said,
}

impl Spill {
    /// The next line; none when more must be read before. What is wrong is said once.
    pub fn next(&mut self) -> Result<Option<&str>, Option<String>> {
        if let Some(broken) = &mut self.broken {
            return Err(match std::mem::replace(broken, Broken::Said) {
                Broken::Why(why) => Some(why),
                Broken::Said => None,
            });
        }
        if self.at == self.lines.len() {
            match begin(&self.raw) {
                Ok(Begin::Frame { lines, len }) => {
                    self.raw.drain(..len);
                    (self.lines, self.at) = (lines, 0);
                }
                Ok(Begin::Needs(len)) => {
                    self.wants = len.saturating_sub(self.raw.len()).max(READ_LEN);
                    return Ok(None);
                }
                Err(damaged) => {
                    self.broken = Some(Broken::Said);
                    return Err(Some(damaged.to_string()));
                }
            }
        }
        let rest = &self.lines[self.at..];
        let end = rest.find('\n').unwrap_or(rest.len());
        self.at = (self.at + end + 1).min(self.lines.len());
        Ok(Some(&rest[..end]))
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes to read.
    pub fn wants(&self) -> usize {
        self.wants
    }

    pub fn take(&mut self, bytes: &Result<Vec<u8>, String>) {
        match bytes {
            Ok(bytes) if bytes.is_empty() => self.broken = Some(Broken::Why("it is too short".to_owned())),
            Ok(bytes) => {
                self.offset += bytes.len() as u64;
                self.raw.extend_from_slice(bytes);
            }
            Err(why) => self.broken = Some(Broken::Why(why.clone())),
        }
    }
}
