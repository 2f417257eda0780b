//! Versions of the protocol: one per release of Slurm.

use std::fmt;
use std::str::FromStr;

/// A version that we speak, as the number that Slurm gives its releases: 38 is 22.05, 45 is 26.05.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Version(u8);

/// Numbers 38 and up.
const RELEASES: [&str; 8] = ["22.05", "23.02", "23.11", "24.05", "24.11", "25.05", "25.11", "26.05"];

impl Version {
    pub const FIRST: Self = Self(38);
    pub const LAST: Self = Self(45);

    /// All of them, oldest first.
    pub fn all() -> impl Iterator<Item = Self> {
        (Self::FIRST.0..=Self::LAST.0).map(Self)
    }

    /// By its number.
    pub fn new(number: u8) -> Option<Self> {
        (Self::FIRST.0..=Self::LAST.0).contains(&number).then_some(Self(number))
    }

    /// The word that opens every header. Its low byte was never used.
    pub fn from_wire(word: u16) -> Option<Self> {
        let [number, low] = word.to_be_bytes();
        Self::new(number).filter(|_| low == 0)
    }

    pub fn to_wire(self) -> u16 {
        u16::from_be_bytes([self.0, 0])
    }

    pub fn number(self) -> u8 {
        self.0
    }

    /// Year and month of the release.
    pub fn release(self) -> &'static str {
        RELEASES[usize::from(self.0 - Self::FIRST.0)]
    }

    /// Answers carry a credential before 23.02; from then on the flag for *none* is understood.
    pub fn answers_need_credential(self) -> bool {
        self == Self::FIRST
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.release())
    }
}

/// Neither a number nor a release that we know.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no version of Slurm's protocol that we know: {0} (22.05 to 26.05, or 38 to 45)")]
pub struct UnknownVersion(pub String);

impl FromStr for Version {
    type Err = UnknownVersion;

    /// A number, a release, or a release with its patch level.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let release = text.split('.').take(2).collect::<Vec<_>>().join(".");
        let by_release = (Self::FIRST.0..).zip(RELEASES).find(|(_, name)| *name == release);
        let by_number = || text.parse().ok().and_then(Self::new);
        by_release
            .map(|(number, _)| Self(number))
            .or_else(by_number)
            .ok_or_else(|| UnknownVersion(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_a_word_a_number_and_a_release() {
        let version = Version::from_wire(0x2b00).expect("25.05");
        assert_eq!((version.number(), version.release(), version.to_wire()), (43, "25.05", 0x2b00));
        assert_eq!(Version::from_wire(0x2b01), None);
        assert_eq!(Version::from_wire(0x2500), None);
        for text in ["43", "25.05", "25.05.8"] {
            assert_eq!(text.parse(), Ok(version));
        }
        for text in ["", "37", "46", "25.06", "x"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
