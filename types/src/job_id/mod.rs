//! Job ids: 64 bits that order by time, and the many ways to write them (FLUID, RFC 19).

mod emoji;
mod words;

use crate::SyntaxError;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};

/// A job id (FLUID, RFC 19): 40 bits of milliseconds, 14 bits of generator, 10 bits of sequence.
///
/// Shown in F58, as `ƒSZYdiv`. In JSON it is an integer, as the services of Flux have it; any encoding is read.
#[derive(Debug, Copy, Clone, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct JobId(pub u64);

/// The ways to write a job id.
#[derive(Debug, Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Encoding {
    /// `16777219079`
    Dec,
    /// `ƒSZYdiv`
    F58,
    /// `fSZYdiv`, for terminals and files without UTF-8
    F58Plain,
    /// `0x3e8000c07`
    Hex,
    /// `0000.0003.e800.0c07`
    Dothex,
    /// `job.0000.0003.e800.0c07`, the job's directory in the KVS
    Kvs,
    /// `reform-remote-galileo--heart-package-academy`, to say over the telephone
    Words,
    /// `🚹💂🙌😳💱🏃`
    Emoji,
}

const SEQUENCE_BITS: u32 = 10;
const GENERATOR_BITS: u32 = 14;
const MS_MAX: u64 = (1 << 40) - 1;
const GENERATOR_MAX: u16 = (1 << GENERATOR_BITS) - 1;
const SEQUENCE_MAX: u16 = (1 << SEQUENCE_BITS) - 1;

/// Base 58 leaves out the signs that are easily taken for another: `0 O I l`.
const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

impl JobId {
    /// Puts an id together; parts too large for their bits lose their upper bits.
    #[must_use]
    pub const fn from_parts(ms: u64, generator: u16, seq: u16) -> JobId {
        JobId(
            (ms & MS_MAX) << (GENERATOR_BITS + SEQUENCE_BITS)
                | ((generator & GENERATOR_MAX) as u64) << SEQUENCE_BITS
                | (seq & SEQUENCE_MAX) as u64,
        )
    }

    /// Milliseconds between the start of the generator and this id.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0 >> (GENERATOR_BITS + SEQUENCE_BITS)
    }

    /// Who made this id.
    #[must_use]
    pub const fn generator(self) -> u16 {
        (self.0 >> SEQUENCE_BITS) as u16 & GENERATOR_MAX
    }

    /// Which one of its millisecond.
    #[must_use]
    pub const fn seq(self) -> u16 {
        self.0 as u16 & SEQUENCE_MAX
    }

    /// `ƒSZYdiv`
    #[must_use]
    pub fn f58(self) -> String {
        self.encode(Encoding::F58)
    }

    /// `fSZYdiv`
    #[must_use]
    pub fn f58_plain(self) -> String {
        self.encode(Encoding::F58Plain)
    }

    /// The id in one of its encodings.
    #[must_use]
    pub fn encode(self, encoding: Encoding) -> String {
        match encoding {
            Encoding::Dec => self.0.to_string(),
            Encoding::F58 => format!("ƒ{}", Base58(self.0)),
            Encoding::F58Plain => format!("f{}", Base58(self.0)),
            Encoding::Hex => format!("{:#x}", self.0),
            Encoding::Dothex => self.dothex(""),
            Encoding::Kvs => self.dothex("job."),
            Encoding::Words => words::encode(self.0),
            Encoding::Emoji => emoji::encode(self.0),
        }
    }

    fn dothex(self, prefix: &str) -> String {
        let group = |shift: u32| self.0 >> shift & 0xffff;
        format!("{prefix}{:04x}.{:04x}.{:04x}.{:04x}", group(48), group(32), group(16), group(0))
    }
}

/// The digits of a number in base 58, without a prefix.
struct Base58(u64);

impl fmt::Display for Base58 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The largest u64 has eleven digits.
        let mut digits = [0_u8; 11];
        let mut at = digits.len();
        let mut rest = self.0;
        loop {
            at -= 1;
            digits[at] = BASE58[(rest % 58) as usize];
            rest /= 58;
            if rest == 0 {
                break;
            }
        }
        f.write_str(std::str::from_utf8(&digits[at..]).expect("the alphabet is ASCII"))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.f58())
    }
}

impl FromStr for JobId {
    type Err = SyntaxError;

    /// Reads any encoding; which one it is follows from the text (RFC 19).
    fn from_str(text: &str) -> Result<JobId, SyntaxError> {
        let fail = |at: usize, rule: &'static str| SyntaxError::new("job id", text, at, rule);
        let id = text.trim();
        let skipped = text.len() - text.trim_start().len();
        if id.is_empty() {
            return Err(fail(0, "a job id is not empty"));
        }
        if id.contains('.') {
            let digits = id.strip_prefix("job.").unwrap_or(id);
            return decode_dothex(digits).ok_or_else(|| {
                fail(skipped, "expected four groups of four hexadecimal digits joined by `.`")
            });
        }
        if id.contains('-') {
            let id = words::decode(id).map(JobId);
            return id
                .ok_or_else(|| fail(skipped, "expected six words of the mnemonicode list joined by `-`"));
        }
        if let Some(digits) = id.strip_prefix('ƒ').or_else(|| id.strip_prefix('f')) {
            let start = skipped + id.len() - digits.len();
            return decode_f58(digits).map_err(|(at, rule)| fail(start + at, rule));
        }
        if id.as_bytes().starts_with(&[0xf0, 0x9f]) {
            let id = emoji::decode(id).map(JobId);
            return id
                .ok_or_else(|| fail(skipped, "expected the emoji that are digits, of a number below 2^64"));
        }
        let plain = |digits: &str, radix: u32| {
            // `from_str_radix` takes a sign; a job id has none.
            if digits.starts_with('+') { None } else { u64::from_str_radix(digits, radix).ok().map(JobId) }
        };
        if let Some(digits) = id.strip_prefix("0x") {
            return plain(digits, 16)
                .ok_or_else(|| fail(skipped + 2, "expected at most 16 hexadecimal digits"));
        }
        plain(id, 10).ok_or_else(|| fail(skipped, "expected a number below 2^64, or another encoding of it"))
    }
}

fn decode_dothex(digits: &str) -> Option<JobId> {
    let mut value = 0_u64;
    let mut groups = 0;
    for group in digits.split('.') {
        if group.len() != 4 || !group.bytes().all(|b| b.is_ascii_hexdigit()) || groups == 4 {
            return None;
        }
        value = value << 16 | u64::from_str_radix(group, 16).ok()?;
        groups += 1;
    }
    (groups == 4).then_some(JobId(value))
}

fn decode_f58(digits: &str) -> Result<JobId, (usize, &'static str)> {
    if digits.is_empty() {
        return Err((0, "expected base 58 digits"));
    }
    let mut value = 0_u64;
    for (at, byte) in digits.bytes().enumerate() {
        let digit = BASE58
            .iter()
            .position(|b| *b == byte)
            .ok_or((at, "not a base 58 digit (there is no 0, O, I or l)"))?;
        value = value
            .checked_mul(58)
            .and_then(|v| v.checked_add(digit as u64))
            .ok_or((at, "the number is too large for a job id"))?;
    }
    Ok(JobId(value))
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<JobId, D::Error> {
        struct AnyForm;
        impl de::Visitor<'_> for AnyForm {
            type Value = JobId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a job id")
            }
            fn visit_u64<E: de::Error>(self, id: u64) -> Result<JobId, E> {
                Ok(JobId(id))
            }
            fn visit_i64<E: de::Error>(self, id: i64) -> Result<JobId, E> {
                u64::try_from(id).map(JobId).map_err(|_| E::custom("a job id is not negative"))
            }
            fn visit_str<E: de::Error>(self, id: &str) -> Result<JobId, E> {
                id.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(AnyForm)
    }
}

/// Makes job ids that never repeat and always rise, whatever the clock does.
#[derive(Debug, Clone)]
pub struct FluidGenerator {
    generator: u16,
    /// Time and sequence of the next id, if the clock has not moved on.
    ms: u64,
    seq: u16,
}

impl FluidGenerator {
    /// A generator with its own number, normally the rank of the broker.
    #[must_use]
    pub const fn new(generator: u16) -> FluidGenerator {
        FluidGenerator { generator, ms: 0, seq: 0 }
    }

    /// A new id. When the clock stands still, or goes back, or more than 1024 ids are asked for in one
    /// millisecond, the generator runs ahead of the clock rather than repeat itself.
    pub fn next(&mut self, ms_since_epoch: u64) -> JobId {
        if ms_since_epoch > self.ms {
            (self.ms, self.seq) = (ms_since_epoch, 0);
        }
        let id = JobId::from_parts(self.ms, self.generator, self.seq);
        if self.seq == SEQUENCE_MAX {
            (self.ms, self.seq) = (self.ms + 1, 0);
        } else {
            self.seq += 1;
        }
        id
    }

    /// Makes sure that later ids are above this one, for a generator that takes over from another.
    pub fn advance_past(&mut self, id: JobId) {
        if id.ms() >= self.ms {
            (self.ms, self.seq) = (id.ms() + 1, 0);
        }
    }
}
