//! Where in nodes and sockets a job wants its cores, in one word.
//!
//! What the words come to is the resource graph's matter.

use crate::error::JobspecError;
use crate::read::{Object, text};
use std::fmt;
use std::str::FromStr;

/// A match policy by name: `--placement` of the command line, `attributes.system.placement` of a jobspec.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
pub enum Placement {
    /// The first node that holds everything, else nodes from the lowest up; cores as they come.
    First,
    /// The lowest nodes and cores, even if that scatters the job.
    Low,
    /// The highest.
    High,
    /// No slot divided between sockets, as long as that can be had; then the fewest nodes.
    Locality,
    /// The fewest nodes, on them the fewest sockets.
    #[default]
    Compact,
    /// Slots even over sockets, of each of which at most a share is taken.
    Spread(Share),
}

/// A part of a socket's cores: more than nothing, at most all.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Share {
    part: u32,
    of: u32,
}

/// Largest number in a share. What is finer makes no difference on a socket.
const SHARE_MAX: u32 = 1000;

/// The words, for the text that says which are known.
const KNOWN: &str = "first, low, high, locality, compact, spread, spread:SHARE, cosched";

impl Share {
    /// Half, which leaves the other half to somebody else.
    pub const HALF: Share = Share { part: 1, of: 2 };

    /// One of so many equal parts; of none, all.
    #[must_use]
    pub(crate) const fn one_of(parts: u32) -> Share {
        Share { part: 1, of: if parts == 0 { 1 } else { parts } }
    }

    /// The share of so many cores, rounded down.
    #[must_use]
    pub fn of(self, cores: u32) -> u32 {
        let share = u64::from(cores) * u64::from(self.part) / u64::from(self.of);
        u32::try_from(share).expect("a part of a u32 is one")
    }
}

impl Default for Share {
    fn default() -> Share {
        Share::HALF
    }
}

impl FromStr for Share {
    type Err = String;

    /// `1/3`, `0.25` or `40%`.
    fn from_str(text: &str) -> Result<Share, String> {
        let fail =
            || format!("`{text}` is not a share; it is like 1/2, 0.5 or 50%, more than 0 and at most 1");
        let number = |digits: &str| -> Result<u32, String> {
            let good = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            let number = if good { digits.parse().ok() } else { None };
            number.filter(|n| *n <= SHARE_MAX).ok_or_else(fail)
        };
        let (part, of) = if let Some((part, of)) = text.split_once('/') {
            (number(part)?, number(of)?)
        } else if let Some(percent) = text.strip_suffix('%') {
            (number(percent)?, 100)
        } else if let Some((whole, digits)) = text.split_once('.') {
            let scale = 10_u32.checked_pow(digits.len() as u32).filter(|scale| *scale <= SHARE_MAX);
            let scale = scale.ok_or_else(fail)?;
            (number(whole)? * scale + number(digits)?, scale)
        } else {
            (number(text)?, 1)
        };
        if part == 0 || part > of {
            return Err(fail());
        }
        let common = greatest_common_divisor(part, of);
        Ok(Share { part: part / common, of: of / common })
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.of)
    }
}

impl FromStr for Placement {
    type Err = String;

    fn from_str(text: &str) -> Result<Placement, String> {
        match (text, text.strip_prefix("spread:")) {
            ("first", _) => Ok(Placement::First),
            ("low", _) => Ok(Placement::Low),
            ("high", _) => Ok(Placement::High),
            ("locality", _) => Ok(Placement::Locality),
            ("compact", _) => Ok(Placement::Compact),
            ("spread", _) => Ok(Placement::Spread(Share::HALF)),
            (_, Some(share)) => share.parse().map(Placement::Spread),
            (COSCHED, None) => {
                Err("`cosched` is for jobs and for queues (cosched = true), not for all that say nothing"
                    .to_owned())
            }
            (_, None) => Err(format!("no placement is called `{text}` (known: {KNOWN})")),
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Placement::First => f.write_str("first"),
            Placement::Low => f.write_str("low"),
            Placement::High => f.write_str("high"),
            Placement::Locality => f.write_str("locality"),
            Placement::Compact => f.write_str("compact"),
            Placement::Spread(Share::HALF) => f.write_str("spread"),
            Placement::Spread(share) => write!(f, "spread:{share}"),
        }
    }
}

/// The other word that a placement may be: the job shares its sockets with another one (`cosched.rs`).
const COSCHED: &str = "cosched";

/// Takes `placement`, or its other name `alloc-type`, out of the attributes. The second value says whether it was
/// `cosched`, with which the first is none.
pub(crate) fn read(system: &mut Object<'_>) -> Result<(Option<Placement>, bool), JobspecError> {
    let mut found: Option<String> = None;
    for key in ["placement", "alloc-type"] {
        let word = system.read(key, |place, value| {
            let word = text(place, value)?;
            if word != COSCHED {
                word.parse::<Placement>().map_err(|rule| place.error(rule))?;
            }
            match &found {
                Some(other) if *other != word => {
                    place.fail(format!("`placement` says {other} and `alloc-type` {word}"))
                }
                _ => Ok(word),
            }
        })?;
        found = word.or(found);
    }
    let placement = found.as_ref().and_then(|word| word.parse().ok());
    Ok((placement, found.is_some_and(|word| word == COSCHED)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written() {
        for (text, written) in [
            ("first", "first"),
            ("low", "low"),
            ("high", "high"),
            ("locality", "locality"),
            ("compact", "compact"),
            ("spread", "spread"),
            ("spread:0.50", "spread"),
            ("spread:25%", "spread:1/4"),
            ("spread:2/6", "spread:1/3"),
            ("spread:1", "spread:1/1"),
        ] {
            let placement: Placement = text.parse().unwrap();
            assert_eq!(placement.to_string(), written);
            assert_eq!(written.parse(), Ok(placement));
        }
        for text in
            ["", "Compact", "spread:", "spread:0", "spread:1.5", "spread:1/0", "spread:-1", "spread:0.0001"]
        {
            assert!(text.parse::<Placement>().is_err(), "{text}");
        }
        assert!("cosched".parse::<Placement>().unwrap_err().contains("for jobs and for queues"));
    }

    #[test]
    fn a_share_is_rounded_down() {
        let share = |text: &str, cores| text.parse::<Share>().unwrap().of(cores);
        assert_eq!((share("1/2", 5), share("1/3", 3), share("0.5", 1), share("1", 7)), (2, 1, 0, 7));
        assert_eq!(share("1/1", u32::MAX), u32::MAX);
    }
}
