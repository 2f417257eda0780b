//! Arrays as Slurm writes them: `0-99:2%5`.

use super::refusal::Refusal;
use flurm_slurm_protocol::errors::ESLURM_INVALID_ARRAY;
use flurm_types::Idset;

/// Most indices of an array, and the first index that is too large: `MaxArraySize` of our `slurm.conf`.
pub const ARRAY_SIZE_MAX: u32 = 100_001;

/// The jobs of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indices {
    pub ids: Idset,
    /// Between two of a single range.
    pub step: u32,
    /// So many may run at a time.
    pub throttle: Option<u32>,
}

/// Reads what follows `--array=`, and what follows `_` in `scancel 5_[1-3]`.
pub fn parse(text: &str) -> Result<Indices, Refusal> {
    let bad = || Refusal::new(ESLURM_INVALID_ARRAY, format!("--array={text}: this is no array"));
    let number = |digits: &str| digits.parse::<u32>().ok().filter(|n| *n < ARRAY_SIZE_MAX).ok_or_else(bad);
    let (list, throttle) = match text.split_once('%') {
        None => (text, None),
        Some((list, most)) => (list, Some(most.parse::<u32>().map_err(|_| bad())?)),
    };
    let list = list.trim_start_matches('[').trim_end_matches(']');
    let (mut ids, mut step) = (Idset::new(), 1);
    for part in list.split(',') {
        let (range, every) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last, every) = (number(first)?, number(last)?, number(every)?);
        if first > last || every == 0 {
            return Err(bad());
        }
        step = if list == part { every } else { 1 };
        ids.extend((first..=last).step_by(every as usize));
    }
    // 0 at a time is what Slurm's clients write for no limit.
    Ok(Indices { ids, step, throttle: throttle.filter(|most| *most > 0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_read_as_slurm_has_them() {
        for (text, ids, step, throttle) in [
            ("0-3", "0-3", 1, None),
            ("0-98:49%5", "0,49,98", 49, Some(5)),
            ("1,5,8-12:2%1", "1,5,8,10,12", 1, Some(1)),
            ("[1-3]", "1-3", 1, None),
            ("7%0", "7", 1, None),
        ] {
            let ids = ids.parse().unwrap();
            assert_eq!(parse(text), Ok(Indices { ids, step, throttle }), "{text}");
        }
        for text in ["", "a", "3-1", "0-9:0", "0-9%", "0-4000000", "-1", "1;2"] {
            assert_eq!(parse(text).unwrap_err().code, ESLURM_INVALID_ARRAY, "{text}");
        }
    }
}
