//! Durations as people write them: `1.5h`, `30s`, `inf` (RFC 23).
//!
//! Slurm's clock forms (`1-12:00`) belong to the command line and are read there.

use crate::SyntaxError;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{cmp::Ordering, fmt, str::FromStr};

/// Flux Standard Duration (RFC 23), held in seconds: never negative, never not-a-number, may be infinite.
#[derive(Debug, Copy, Clone, Default, PartialEq, PartialOrd)]
pub struct Fsd(f64);

/// Units from the largest down, with their length in seconds.
const UNITS: [(&str, f64); 5] = [("d", 86400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001)];

impl Fsd {
    /// No time at all; in many places it means "not set".
    pub const ZERO: Fsd = Fsd(0.0);
    /// For ever.
    pub const INFINITY: Fsd = Fsd(f64::INFINITY);

    /// A duration of so many seconds, if that is a duration at all.
    #[must_use]
    pub fn from_secs(secs: f64) -> Option<Fsd> {
        // `+ 0.0` turns minus zero into zero, so that equal durations print alike.
        (secs >= 0.0).then_some(Fsd(secs + 0.0))
    }

    /// Seconds; `f64::INFINITY` for ever.
    #[must_use]
    pub const fn as_secs(self) -> f64 {
        self.0
    }

    /// Is this for ever?
    #[must_use]
    pub fn is_infinite(self) -> bool {
        self.0.is_infinite()
    }
}

impl Eq for Fsd {}

#[expect(clippy::derive_ord_xor_partial_ord, reason = "no NaN inside, so both orders are the same one")]
impl Ord for Fsd {
    fn cmp(&self, other: &Fsd) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl FromStr for Fsd {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Fsd, SyntaxError> {
        let fail = |at: usize, rule: &'static str| SyntaxError::new("duration", text, at, rule);
        if text.is_empty() {
            return Err(fail(0, "a duration is a number with one of the units ms, s, m, h, d"));
        }
        if text.starts_with('-') {
            return Err(fail(0, "a duration cannot be negative"));
        }
        if text.eq_ignore_ascii_case("inf") || text.eq_ignore_ascii_case("infinity") {
            return Ok(Fsd::INFINITY);
        }
        let (value, used) = leading_number(text).ok_or_else(|| fail(0, "a duration starts with a number"))?;
        let unit = match &text[used..] {
            "" => 1.0,
            suffix => UNITS
                .iter()
                .find(|(name, _)| *name == suffix)
                .map(|(_, secs)| *secs)
                .ok_or_else(|| fail(used, "the unit is one of ms, s, m, h, d"))?,
        };
        let secs = if unit < 1.0 { value / 1000.0 } else { value * unit };
        if !secs.is_finite() {
            return Err(fail(0, "the number is too large; write `inf` for no limit"));
        }
        Fsd::from_secs(secs).ok_or_else(|| fail(0, "a duration cannot be negative"))
    }
}

/// The decimal or hexadecimal number that C's `strtod` would take from the front, and how long it is.
fn leading_number(text: &str) -> Option<(f64, usize)> {
    let bytes = text.as_bytes();
    let start = usize::from(bytes.first() == Some(&b'+'));
    if bytes[start..].starts_with(b"0x") || bytes[start..].starts_with(b"0X") {
        return leading_hex(bytes, start + 2);
    }
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(start);
    let mut end = start + whole;
    let mut fraction = 0;
    if bytes.get(end) == Some(&b'.') {
        fraction = digits(end + 1);
        if whole + fraction > 0 {
            end += 1 + fraction;
        }
    }
    if whole + fraction == 0 {
        return None;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits((end + 1 + sign).min(bytes.len()));
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    text[start..end].parse().ok().map(|value| (value, end))
}

/// `strtod`'s hexadecimal form, `0x1.8p3`, from just after the `0x`.
fn leading_hex(bytes: &[u8], start: usize) -> Option<(f64, usize)> {
    let hex = |b: u8| char::from(b).to_digit(16).map(f64::from);
    let (mut at, mut value, mut scale, mut any) = (start, 0.0_f64, 1.0_f64, false);
    while let Some(digit) = bytes.get(at).copied().and_then(hex) {
        (value, any, at) = (value * 16.0 + digit, true, at + 1);
    }
    if bytes.get(at) == Some(&b'.') {
        let mut inner = at + 1;
        while let Some(digit) = bytes.get(inner).copied().and_then(hex) {
            scale /= 16.0;
            (value, any, inner) = (value + digit * scale, true, inner + 1);
        }
        at = inner;
    }
    if !any {
        // As `strtod` does: just the zero before the `x`.
        return Some((0.0, start - 1));
    }
    if matches!(bytes.get(at), Some(b'p' | b'P')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let from = (at + 1 + sign).min(bytes.len());
        let count = bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        if count > 0 {
            let digits = std::str::from_utf8(&bytes[from..from + count]).expect("ASCII digits are UTF-8");
            // Past four digits every exponent is out of a double's range anyway.
            let size: i32 = digits.parse().unwrap_or(9999).min(9999);
            value *= 2.0_f64.powi(if bytes[at + 1] == b'-' { -size } else { size });
            at = from + count;
        }
    }
    Some((value, at))
}

impl fmt::Display for Fsd {
    /// The largest unit that is not below 1, with as few digits as keep the exact value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_infinite() {
            return f.write_str("infinity");
        }
        for (name, secs) in UNITS {
            if self.0 < secs {
                continue;
            }
            // Only a unit whose number is short and reads back as the same seconds: `1.25m`, not `0.0208333h`.
            let text = format!("{}{name}", round4(if secs < 1.0 { self.0 * 1000.0 } else { self.0 / secs }));
            if text.parse() == Ok(*self) {
                return f.write_str(&text);
            }
        }
        write!(f, "{}s", self.0)
    }
}

/// Rounded to four significant digits.
fn round4(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

impl Serialize for Fsd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fsd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fsd, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
