//! Slurm's return codes. Where releases gave a name another number, the plain name is the newest one's.

use crate::version::Version;

/// A return code in the versions that have it.
struct Code {
    number: u32,
    since: u8,
    until: u8,
    name: &'static str,
    meaning: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/errors.rs"));

/// Name and meaning of a return code; the meaning is empty where nobody has said it.
pub fn explain(number: u32, version: Version) -> Option<(&'static str, &'static str)> {
    let version = version.number();
    let start = CODES.partition_point(|code| code.number < number);
    let same = CODES[start..].iter().take_while(|code| code.number == number);
    let mut found = same.filter(|code| (code.since..=code.until).contains(&version));
    found.next().map(|code| (code.name, code.meaning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_explained_in_its_version() {
        assert_eq!(ESLURM_NODES_BUSY, 2016);
        let name = |number| explain(number, Version::FIRST).map(|(name, _)| name);
        assert_eq!(name(2016), Some("ESLURM_NODES_BUSY"));
        assert_eq!(name(2007), Some("ESLURM_ERROR_ON_DESC_TO_RECORD_COPY"));
        assert_eq!(explain(2007, Version::LAST).map(|(name, _)| name), Some("ESLURM_MAX_JOB_COUNT"));
        assert_eq!(name(1), None);
    }
}
