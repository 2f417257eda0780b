//! Values that are not plain numbers: texts that can be null, bytes, bitmaps, decimal fractions.

use crate::NO_VAL;
use crate::fault::{Error, Fault};
use crate::read::Reader;
use crate::write::Writer;
use std::borrow::Cow;
use std::fmt;

/// A text, or null, which is something else than empty. Any bytes; usually UTF-8.
///
/// It ends at its first NUL, as it does for Slurm. What lies behind that is kept and written back: 23.02 sends partitions
/// that it has cut up in place.
#[derive(Clone, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Text(Option<Box<[u8]>>);

impl Text {
    pub const NULL: Self = Self(None);

    pub fn new(bytes: &[u8]) -> Self {
        Self(Some(bytes.into()))
    }

    /// Up to the first NUL.
    pub fn get(&self) -> Option<&[u8]> {
        self.0.as_deref().and_then(|text| text.split(|byte| *byte == 0).next())
    }

    /// With what lies behind the first NUL.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        self.0.as_deref()
    }

    pub fn is_null(&self) -> bool {
        self.0.is_none()
    }

    /// If it is one, and UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.get()?).ok()
    }

    /// With a mark for what is not UTF-8; null is empty.
    pub fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.get().unwrap_or_default())
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        let length = r.u32()?;
        if length == 0 {
            return Ok(Self::NULL);
        }
        let before = r.error(Fault::Text);
        let Some((0, text)) = r.bytes(length)?.split_last() else { return Err(before) };
        r.charge(text.len())?;
        Ok(Self::new(text))
    }

    pub(crate) fn write(&self, w: &mut Writer) -> Result<(), Error> {
        let Some(text) = &self.0 else {
            w.u32(0);
            return Ok(());
        };
        w.length(text.len() + 1)?;
        w.bytes(text);
        w.u8(0);
        Ok(())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Some(text.into_bytes().into()))
    }
}

impl From<Vec<u8>> for Text {
    fn from(text: Vec<u8>) -> Self {
        Self(Some(text.into()))
    }
}

impl<T: Into<Self>> From<Option<T>> for Text {
    fn from(text: Option<T>) -> Self {
        text.map_or(Self::NULL, T::into)
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.get() == Some(other.as_bytes())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            None => f.write_str("null"),
            Some(_) => write!(f, "{:?}", self.lossy()),
        }
    }
}

/// Bytes without a meaning to us.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        let length = r.u32()?;
        let bytes = r.bytes(length)?;
        r.charge(bytes.len())?;
        Ok(Self(bytes.to_owned()))
    }

    pub(crate) fn write(&self, w: &mut Writer) -> Result<(), Error> {
        w.length(self.0.len())?;
        w.bytes(&self.0);
        Ok(())
    }
}

/// A number with six decimal places, which travels as a million times itself. The bits are kept as they came.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct Double(u64);

/// What a `Double` is multiplied by on the wire.
const SCALE: f64 = 1_000_000.0;

impl Double {
    pub fn new(value: f64) -> Self {
        Self((value * SCALE).to_bits())
    }

    pub fn get(self) -> f64 {
        f64::from_bits(self.0) / SCALE
    }

    pub(crate) fn from_wire(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) fn to_wire(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Double {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.get())
    }
}

/// A bitmap, or null.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Bits(Option<Map>);

#[derive(Clone, Eq, PartialEq)]
struct Map {
    length: u32,
    /// Bit 0 first; nothing is set from `length` on.
    words: Box<[u64]>,
}

impl Bits {
    pub const NULL: Self = Self(None);

    /// `length` bits, of which these are set; those beyond are dropped.
    pub fn new(length: u32, set: impl IntoIterator<Item = u32>) -> Self {
        let mut words = vec![0; length.div_ceil(64) as usize].into_boxed_slice();
        for bit in set.into_iter().filter(|bit| *bit < length) {
            words[bit as usize / 64] |= 1 << (bit % 64);
        }
        Self(Some(Map { length, words }))
    }

    pub fn is_null(&self) -> bool {
        self.0.is_none()
    }

    /// Set or not; 0 if null.
    pub fn length(&self) -> u32 {
        self.0.as_ref().map_or(0, |map| map.length)
    }

    /// Those that are set, in order.
    pub fn ones(&self) -> impl Iterator<Item = u32> + '_ {
        let words = self.0.as_ref().map_or(&[][..], |map| &map.words);
        (0_u32..).zip(words).flat_map(|(at, word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        })
    }

    /// As on the wire: `0x`, then the digits, highest first; one digit at least.
    fn digits(map: &Map) -> String {
        let count = map.length.div_ceil(4).max(1);
        let digit = |at: u32| {
            let word = map.words.get(at as usize / 16).copied().unwrap_or_default();
            char::from(b"0123456789ABCDEF"[(word >> (at % 16 * 4) & 15) as usize])
        };
        "0x".chars().chain((0..count).rev().map(digit)).collect()
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        let length = r.u32()?;
        if length == NO_VAL {
            return Ok(Self::NULL);
        }
        let wrong = r.error(Fault::Bitmap);
        let text = r.u32()?;
        let text = r.bytes(text)?;
        let Some(digits) = text.strip_suffix(b"\0").and_then(|text| text.strip_prefix(b"0x")) else {
            return Err(wrong);
        };
        // So many digits were read that so many words may be allocated.
        if digits.len() as u64 != u64::from(length.div_ceil(4).max(1)) {
            return Err(wrong);
        }
        r.charge(digits.len() / 2 + 8)?;
        let mut words = vec![0; length.div_ceil(64) as usize].into_boxed_slice();
        for (at, digit) in digits.iter().rev().enumerate() {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'A'..=b'F' => digit - b'A' + 10,
                _ => return Err(wrong),
            };
            let room = u64::from(length).saturating_sub(at as u64 * 4).min(4);
            if u64::from(value) >> room != 0 {
                return Err(wrong);
            }
            if value != 0 {
                words[at / 16] |= u64::from(value) << (at % 16 * 4);
            }
        }
        Ok(Self(Some(Map { length, words })))
    }

    pub(crate) fn write(&self, w: &mut Writer) -> Result<(), Error> {
        match &self.0 {
            None => {
                w.u32(NO_VAL);
                Ok(())
            }
            Some(map) => {
                w.u32(map.length);
                Text::from(Self::digits(map)).write(w)
            }
        }
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("null"),
            Some(map) => write!(f, "{}:{}", map.length, Self::digits(map)),
        }
    }
}

impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
