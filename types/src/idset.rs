//! Sets of non-negative integers, held and written as ranges (RFC 22).

use crate::SyntaxError;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use smallvec::{SmallVec, smallvec};
use std::{fmt, ops::RangeInclusive, str::FromStr};

/// Most ids that a text may stand for: `0-4294967295` is twelve bytes, what is done with it is not.
pub const MAX_LEN: usize = 1 << 20;

/// A set of ids (RFC 22), such as `0-3,7`.
///
/// Work is done range by range, so a set of a million neighbours costs as much as a set of one.
#[derive(Debug, Clone, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Idset {
    /// Ascending, both ends included, with at least one missing id between two ranges.
    ranges: Ranges,
}

/// Most sets are one or two ranges, for which nothing is allocated.
type Ranges = SmallVec<[(u32, u32); 2]>;

impl Idset {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Idset {
        Idset { ranges: SmallVec::new_const() }
    }

    /// All ids of a range; empty when the range is.
    #[must_use]
    pub fn from_range(range: RangeInclusive<u32>) -> Idset {
        let (lo, hi) = range.into_inner();
        Idset { ranges: (lo <= hi).then_some((lo, hi)).into_iter().collect() }
    }

    /// Reads a set as people type it: in any order, repeated or overlapping, with blanks around.
    ///
    /// # Errors
    /// When it is more than the order of ids that is wrong.
    pub fn parse_relaxed(text: &str) -> Result<Idset, SyntaxError> {
        parse(text.trim(), false)
    }

    /// Adds an id; true if it was not there.
    pub fn insert(&mut self, id: u32) -> bool {
        let at = self.ranges.partition_point(|(_, hi)| *hi < id);
        if self.ranges.get(at).is_some_and(|(lo, _)| *lo <= id) {
            return false;
        }
        let joins_left = at > 0 && self.ranges[at - 1].1 + 1 == id;
        let joins_right = self.ranges.get(at).is_some_and(|(lo, _)| id + 1 == *lo);
        match (joins_left, joins_right) {
            (true, true) => {
                self.ranges[at - 1].1 = self.ranges[at].1;
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at - 1].1 = id,
            (false, true) => self.ranges[at].0 = id,
            (false, false) => self.ranges.insert(at, (id, id)),
        }
        true
    }

    /// Removes an id; true if it was there.
    pub fn remove(&mut self, id: u32) -> bool {
        let at = self.ranges.partition_point(|(_, hi)| *hi < id);
        let Some(&(lo, hi)) = self.ranges.get(at).filter(|(lo, _)| *lo <= id) else { return false };
        match (lo == id, hi == id) {
            (true, true) => {
                self.ranges.remove(at);
            }
            (true, false) => self.ranges[at].0 = id + 1,
            (false, true) => self.ranges[at].1 = id - 1,
            (false, false) => {
                self.ranges[at].1 = id - 1;
                self.ranges.insert(at + 1, (id + 1, hi));
            }
        }
        true
    }

    /// Is this id in the set?
    #[must_use]
    pub fn contains(&self, id: u32) -> bool {
        let at = self.ranges.partition_point(|(_, hi)| *hi < id);
        self.ranges.get(at).is_some_and(|(lo, _)| *lo <= id)
    }

    /// Number of ids.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.iter().map(|(lo, hi)| (hi - lo) as usize + 1).sum()
    }

    /// Is there no id in it?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ids, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges.iter().flat_map(|(lo, hi)| *lo..=*hi)
    }

    /// The ranges, ascending, both ends included; no two touch.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = (u32, u32)> + '_ {
        self.ranges.iter().copied()
    }

    /// The smallest id.
    #[must_use]
    pub fn first(&self) -> Option<u32> {
        self.ranges.first().map(|(lo, _)| *lo)
    }

    /// The largest id.
    #[must_use]
    pub fn last(&self) -> Option<u32> {
        self.ranges.last().map(|(_, hi)| *hi)
    }

    /// The first `n` ids, or all if there are fewer.
    #[must_use]
    pub fn take(&self, n: usize) -> Idset {
        let mut left = n;
        let mut ranges = Ranges::new();
        for (lo, hi) in self.ranges() {
            if left == 0 {
                break;
            }
            let size = (hi - lo) as usize + 1;
            let used = size.min(left);
            ranges.push((lo, lo + (used - 1) as u32));
            left -= used;
        }
        Idset { ranges }
    }

    /// The id at this place in ascending order.
    #[must_use]
    pub fn nth(&self, index: usize) -> Option<u32> {
        let mut left = index;
        for (lo, hi) in self.ranges() {
            let size = (hi - lo) as usize + 1;
            if left < size {
                return Some(lo + left as u32);
            }
            left -= size;
        }
        None
    }

    /// How many ids of the set are below this one: the place it has, or would have.
    #[must_use]
    pub fn position(&self, id: u32) -> usize {
        let at = self.ranges.partition_point(|(_, hi)| *hi < id);
        let before: usize = self.ranges[..at].iter().map(|(lo, hi)| (hi - lo) as usize + 1).sum();
        before + self.ranges.get(at).map_or(0, |(lo, _)| id.saturating_sub(*lo) as usize)
    }

    /// Ids that are in either.
    #[must_use]
    pub fn union(&self, other: &Idset) -> Idset {
        if other.is_empty() {
            return self.clone();
        }
        if self.is_empty() {
            return other.clone();
        }
        let mut out = Joining::default();
        let (mut left, mut right) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        loop {
            let next = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) if a.0 <= b.0 => left.next(),
                (Some(_), None) => left.next(),
                (_, Some(_)) => right.next(),
                (None, None) => return Idset { ranges: out.ranges },
            };
            let (lo, hi) = next.expect("the side was just peeked");
            out.push(*lo, *hi);
        }
    }

    /// Ids that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Idset) -> Idset {
        let mut ranges = Ranges::new();
        let (mut i, mut j) = (0, 0);
        while let (Some(a), Some(b)) = (self.ranges.get(i), other.ranges.get(j)) {
            let (lo, hi) = (a.0.max(b.0), a.1.min(b.1));
            if lo <= hi {
                ranges.push((lo, hi));
            }
            if a.1 < b.1 {
                i += 1 + skip(&self.ranges[i + 1..], b.0)
            } else {
                j += 1 + skip(&other.ranges[j + 1..], a.0)
            }
        }
        Idset { ranges }
    }

    /// Ids that are here and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Idset) -> Idset {
        let mut ranges = Ranges::new();
        let mut j = 0;
        for &(lo, hi) in &self.ranges {
            let mut from = Some(lo);
            while let Some(&(cut_lo, cut_hi)) = other.ranges.get(j) {
                let Some(start) = from.filter(|start| *start <= hi) else { break };
                if cut_hi < start {
                    j += 1;
                    continue;
                }
                if cut_lo > hi {
                    break;
                }
                if cut_lo > start {
                    ranges.push((start, cut_lo - 1));
                }
                from = cut_hi.checked_add(1);
                if cut_hi > hi {
                    // This cut may reach into the next range too.
                    break;
                }
                j += 1;
            }
            if let Some(start) = from.filter(|start| *start <= hi) {
                ranges.push((start, hi));
            }
        }
        Idset { ranges }
    }

    /// Is every id also in the other?
    #[must_use]
    pub fn is_subset(&self, other: &Idset) -> bool {
        let mut j = 0;
        self.ranges.iter().all(|&(lo, hi)| {
            while other.ranges.get(j).is_some_and(|range| range.1 < lo) {
                j += 1;
            }
            other.ranges.get(j).is_some_and(|range| range.0 <= lo && hi <= range.1)
        })
    }

    /// Do the two share no id?
    #[must_use]
    pub fn is_disjoint(&self, other: &Idset) -> bool {
        let (mut i, mut j) = (0, 0);
        while let (Some(a), Some(b)) = (self.ranges.get(i), other.ranges.get(j)) {
            if a.0.max(b.0) <= a.1.min(b.1) {
                return false;
            }
            if a.1 < b.1 { i += 1 } else { j += 1 }
        }
        true
    }

    /// Adds all ids of another set.
    pub fn union_with(&mut self, other: &Idset) {
        // Appending at the end is what nearly every caller does; it needs no new list.
        match (self.ranges.last(), other.ranges.first()) {
            (_, None) => {}
            (Some(last), Some(first)) if last.1 >= first.0 => *self = self.union(other),
            (_, Some(_)) => {
                let mut out = Joining { ranges: std::mem::take(&mut self.ranges) };
                other.ranges.iter().for_each(|(lo, hi)| out.push(*lo, *hi));
                self.ranges = out.ranges;
            }
        }
    }
}

/// How many ranges end before this id: by steps that double, so that a small set and a large one take as long as the
/// small one is.
fn skip(ranges: &[(u32, u32)], id: u32) -> usize {
    let mut step = 1;
    while ranges.get(step - 1).is_some_and(|(_, hi)| *hi < id) {
        step *= 2;
    }
    let (known, end) = (step / 2, step.min(ranges.len()));
    known + ranges[known..end].partition_point(|(_, hi)| *hi < id)
}

/// Ranges that arrive by ascending start and are joined where they touch.
#[derive(Default)]
struct Joining {
    ranges: Ranges,
}

impl Joining {
    fn push(&mut self, lo: u32, hi: u32) {
        match self.ranges.last_mut() {
            Some(last) if lo <= last.1.saturating_add(1) => last.1 = last.1.max(hi),
            _ => self.ranges.push((lo, hi)),
        }
    }
}

impl fmt::Display for Idset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (lo, hi)) in self.ranges.iter().enumerate() {
            if n > 0 {
                f.write_str(",")?;
            }
            if lo == hi { write!(f, "{lo}")? } else { write!(f, "{lo}-{hi}")? }
        }
        Ok(())
    }
}

impl FromStr for Idset {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Idset, SyntaxError> {
        parse(text, true)
    }
}

fn parse(text: &str, strict: bool) -> Result<Idset, SyntaxError> {
    let fail = |at: usize, rule: &'static str| SyntaxError::new("idset", text, at, rule);
    let too_many = |at| SyntaxError::new("idset", text, at, format!("more than {MAX_LEN} ids"));
    let bytes = text.as_bytes();
    let (mut at, end) = match (bytes.first(), bytes.last()) {
        (Some(b'['), Some(b']')) => (1, bytes.len() - 1),
        (Some(b'['), _) => return Err(fail(bytes.len(), "`[` without `]`")),
        _ => (0, bytes.len()),
    };
    if at == end {
        return Ok(Idset::new());
    }
    let mut ranges = Ranges::new();
    let mut len = 0;
    loop {
        let start = at;
        let lo = number(text, &mut at, end)?;
        let mut hi = lo;
        if at < end && bytes[at] == b'-' {
            at += 1;
            hi = number(text, &mut at, end)?;
            if hi < lo {
                return Err(fail(start, "a range goes from a smaller to a larger id"));
            }
        }
        if strict && ranges.last().is_some_and(|last| lo <= last.1) {
            return Err(fail(start, "ids must ascend and not repeat"));
        }
        len += (hi - lo) as usize + 1;
        if len > MAX_LEN {
            return Err(too_many(start));
        }
        ranges.push((lo, hi));
        match bytes.get(at) {
            _ if at == end => break,
            Some(b',') => at += 1,
            _ => return Err(fail(at, "only digits, `,` and `-` are allowed, in one pair of `[ ]` at most")),
        }
    }
    if !strict {
        ranges.sort_unstable();
    }
    let mut out = Joining { ranges: Ranges::with_capacity(ranges.len()) };
    ranges.into_iter().for_each(|(lo, hi)| out.push(lo, hi));
    Ok(Idset { ranges: out.ranges })
}

/// A decimal without leading zeros; moves `at` behind it.
fn number(text: &str, at: &mut usize, end: usize) -> Result<u32, SyntaxError> {
    let fail = |at: usize, rule: &'static str| SyntaxError::new("idset", text, at, rule);
    let bytes = text.as_bytes();
    let start = *at;
    let mut value: u32 = 0;
    while *at < end && bytes[*at].is_ascii_digit() {
        value = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(u32::from(bytes[*at] - b'0')))
            // The largest u32 is left out so that an id has always a successor.
            .filter(|v| *v < u32::MAX)
            .ok_or_else(|| fail(start, "the id is too large"))?;
        *at += 1;
    }
    match *at - start {
        0 => Err(fail(start, "expected an id")),
        digits if digits > 1 && bytes[start] == b'0' => Err(fail(start, "an id has no leading zeros")),
        _ => Ok(value),
    }
}

impl Extend<u32> for Idset {
    fn extend<I: IntoIterator<Item = u32>>(&mut self, ids: I) {
        for id in ids {
            match self.ranges.last_mut() {
                // Ascending input is the common case and needs no search.
                Some(last) if last.1.checked_add(1) == Some(id) => last.1 = id,
                Some(last) if last.1 < id => self.ranges.push((id, id)),
                None => self.ranges.push((id, id)),
                Some(_) => {
                    self.insert(id);
                }
            }
        }
    }
}

impl FromIterator<u32> for Idset {
    fn from_iter<I: IntoIterator<Item = u32>>(ids: I) -> Idset {
        let mut set = Idset::new();
        set.extend(ids);
        set
    }
}

impl From<u32> for Idset {
    fn from(id: u32) -> Idset {
        Idset { ranges: smallvec![(id, id)] }
    }
}

impl Serialize for Idset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Idset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Idset, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
