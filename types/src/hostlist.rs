//! Ordered lists of host names, written short: `node[001-003]` (RFC 29).
//!
//! Slurm's form with several brackets (`r[0-1]n[0-3]`) is read as well, right-most bracket fastest; what is
//! written has one bracket only, so that every reader of RFC 29 understands it.

use crate::SyntaxError;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// Most hosts a text may stand for.
pub const MAX_HOSTS: usize = 1 << 18;
/// Longest host name; Linux stops at 64 and DNS at 253. Together with [`MAX_HOSTS`] it bounds memory.
const HOST_LEN_MAX: usize = 255;
/// Digits in a number of a bracket: all numbers of so many digits fit a `u64`.
const DIGITS_MAX: usize = 18;
/// Brackets in one expression; Slurm itself stops at a handful of dimensions.
const DIMENSIONS_MAX: usize = 8;

/// An ordered list of host names; duplicates count (RFC 29).
#[derive(Debug, Clone, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Hostlist(Vec<String>);

impl Hostlist {
    /// The empty list.
    #[must_use]
    pub const fn new() -> Hostlist {
        Hostlist(Vec::new())
    }

    /// Adds one host at the end.
    pub fn push(&mut self, host: impl Into<String>) {
        self.0.push(host.into());
    }

    /// Number of hosts, duplicates included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is there no host in it?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hosts in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, String> {
        self.0.iter()
    }

    /// The host at this place.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&str> {
        self.0.get(index).map(String::as_str)
    }

    /// The host at this place; another name for [`Hostlist::get`].
    #[must_use]
    pub fn nth(&self, index: usize) -> Option<&str> {
        self.get(index)
    }

    /// The first place of this host.
    #[must_use]
    pub fn find(&self, host: &str) -> Option<usize> {
        self.0.iter().position(|h| h == host)
    }

    /// Each host once, where it came first.
    #[must_use]
    pub fn unique(&self) -> Hostlist {
        let mut seen = BTreeSet::new();
        self.0.iter().filter(|host| seen.insert(host.as_str())).cloned().collect()
    }

    /// Is this host in the list?
    #[must_use]
    pub fn contains(&self, host: &str) -> bool {
        self.find(host).is_some()
    }
}

impl FromStr for Hostlist {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Hostlist, SyntaxError> {
        let mut hosts = Vec::new();
        let mut rest = 0;
        while rest < text.len() {
            let end = expression_end(text, rest)?;
            if end > rest {
                expand(text, rest, end, &mut hosts)?;
            }
            rest = end + 1;
        }
        Ok(Hostlist(hosts))
    }
}

fn fail(text: &str, at: usize, rule: impl Into<std::borrow::Cow<'static, str>>) -> SyntaxError {
    SyntaxError::new("hostlist", text, at, rule)
}

/// Where the expression that starts here ends: at a comma outside brackets, or at the end of the text.
fn expression_end(text: &str, start: usize) -> Result<usize, SyntaxError> {
    let mut open = None;
    for (at, byte) in text.bytes().enumerate().skip(start) {
        match byte {
            b'[' if open.is_some() => return Err(fail(text, at, "`[` inside `[ ]`")),
            b'[' => open = Some(at),
            b']' if open.is_none() => return Err(fail(text, at, "`]` without `[`")),
            b']' => open = None,
            b',' if open.is_none() => return Ok(at),
            b'!'..=b'~' => {}
            _ => return Err(fail(text, at, "only printable ASCII without blanks is allowed")),
        }
    }
    open.map_or(Ok(text.len()), |at| Err(fail(text, at, "`[` without `]`")))
}

/// A piece of an expression: plain text, or the ranges of a bracket.
enum Piece<'a> {
    Text(&'a str),
    Numbers(Vec<Span>),
}

/// Numbers `lo` to `hi`, written with at least `width` digits.
struct Span {
    lo: u64,
    hi: u64,
    width: usize,
}

fn expand(text: &str, start: usize, end: usize, hosts: &mut Vec<String>) -> Result<(), SyntaxError> {
    let (mut pieces, mut at, mut dimensions, mut total) = (Vec::new(), start, 0, 1_u64);
    while at < end {
        if text.as_bytes()[at] == b'[' {
            let close = at + text[at..end].find(']').expect("expression_end paired the brackets");
            let spans = bracket(text, at + 1, close)?;
            let size = spans.iter().fold(0_u64, |sum, s| sum.saturating_add((s.hi - s.lo).saturating_add(1)));
            total = total.saturating_mul(size);
            dimensions += 1;
            if dimensions > DIMENSIONS_MAX {
                return Err(fail(text, at, format!("more than {DIMENSIONS_MAX} brackets")));
            }
            pieces.push(Piece::Numbers(spans));
            at = close + 1;
        } else {
            let stop = text[at..end].find('[').map_or(end, |n| at + n);
            pieces.push(Piece::Text(&text[at..stop]));
            at = stop;
        }
    }
    if total > (MAX_HOSTS - hosts.len()) as u64 {
        return Err(fail(text, start, format!("more than {MAX_HOSTS} hosts")));
    }
    hosts.reserve(total as usize);
    let mut name = String::new();
    product(&pieces, &mut name, hosts);
    match hosts.iter().rev().take(total as usize).find(|host| host.len() > HOST_LEN_MAX) {
        Some(_) => Err(fail(text, start, format!("a host name of more than {HOST_LEN_MAX} characters"))),
        None => Ok(()),
    }
}

/// Every combination of the pieces, the last one changing fastest.
fn product(pieces: &[Piece<'_>], name: &mut String, hosts: &mut Vec<String>) {
    use fmt::Write as _;
    let Some((piece, rest)) = pieces.split_first() else {
        hosts.push(name.clone());
        return;
    };
    let kept = name.len();
    match piece {
        Piece::Text(text) => {
            name.push_str(text);
            product(rest, name, hosts);
            name.truncate(kept);
        }
        Piece::Numbers(spans) => {
            for span in spans {
                for number in span.lo..=span.hi {
                    write!(name, "{number:0width$}", width = span.width).expect("a String takes every write");
                    product(rest, name, hosts);
                    name.truncate(kept);
                }
            }
        }
    }
}

/// Reads what stands between brackets. Numbers may come in any order; the padding of the first holds for all.
fn bracket(text: &str, start: usize, end: usize) -> Result<Vec<Span>, SyntaxError> {
    let mut spans = Vec::new();
    let (mut at, mut first_width) = (start, None);
    loop {
        let from = at;
        let (lo, own_width) = number(text, &mut at, end)?;
        let mut hi = lo;
        if at < end && text.as_bytes()[at] == b'-' {
            at += 1;
            hi = number(text, &mut at, end)?.0;
            if hi < lo {
                return Err(fail(text, from, "a range goes from a smaller to a larger number"));
            }
        }
        let width = match *first_width.get_or_insert(own_width) {
            0 => own_width,
            padded => padded,
        };
        spans.push(Span { lo, hi, width });
        match text.as_bytes()[at] {
            b',' if at < end => at += 1,
            _ if at == end => return Ok(spans),
            _ => return Err(fail(text, at, "only numbers, `,` and `-` are allowed between `[` and `]`")),
        }
    }
}

/// A number and the width it asks for: 0 if it has no leading zero.
fn number(text: &str, at: &mut usize, end: usize) -> Result<(u64, usize), SyntaxError> {
    let digits = text.as_bytes()[*at..end].iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 {
        return Err(fail(text, *at, "expected a number"));
    }
    if digits > DIGITS_MAX {
        return Err(fail(text, *at, format!("a number of more than {DIGITS_MAX} digits")));
    }
    let number = &text[*at..*at + digits];
    *at += digits;
    let width = if digits > 1 && number.starts_with('0') { digits } else { 0 };
    Ok((number.parse().expect("at most eighteen digits fit a u64"), width))
}

impl fmt::Display for Hostlist {
    /// Neighbours that differ in one number share a bracket.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut group: Option<Group<'_>> = None;
        let mut first = true;
        for host in &self.0 {
            if group.as_mut().is_some_and(|group| group.takes(host)) {
                continue;
            }
            if let Some(done) = group.replace(Group::new(host)) {
                done.write(f, &mut first)?;
            }
        }
        group.map_or(Ok(()), |last| last.write(f, &mut first))
    }
}

/// Hosts that are written as one expression.
struct Group<'a> {
    host: &'a str,
    /// Where the number is that differs, once a second host has joined: prefix length and suffix length.
    place: Option<(usize, usize)>,
    /// Ranges of numbers in order; the first number's width.
    ranges: Vec<(u64, u64)>,
    width: usize,
}

impl<'a> Group<'a> {
    fn new(host: &'a str) -> Group<'a> {
        Group { host, place: None, ranges: Vec::new(), width: 0 }
    }

    /// Takes the host in if it differs from the others in the one number only.
    fn takes(&mut self, host: &str) -> bool {
        match self.place {
            None => {
                let Some((prefix, suffix)) = differing_number(self.host, host) else { return false };
                let mine = &self.host[prefix..self.host.len() - suffix];
                let theirs = &host[prefix..host.len() - suffix];
                let (Some(first), width) = (value(mine), mine.len()) else { return false };
                let Some(second) = value_of_width(theirs, mine) else { return false };
                (self.place, self.width) = (Some((prefix, suffix)), width);
                self.ranges.push((first, first));
                self.add(second);
                true
            }
            Some((prefix, suffix)) => {
                let fits = host.len() > prefix + suffix
                    && host.as_bytes()[..prefix] == self.host.as_bytes()[..prefix]
                    && host.as_bytes()[host.len() - suffix..]
                        == self.host.as_bytes()[self.host.len() - suffix..];
                if !fits {
                    return false;
                }
                let first = &self.host[prefix..self.host.len() - suffix];
                let Some(number) = value_of_width(&host[prefix..host.len() - suffix], first) else {
                    return false;
                };
                self.add(number);
                true
            }
        }
    }

    fn add(&mut self, number: u64) {
        match self.ranges.last_mut() {
            Some(last) if last.1 + 1 == number => last.1 = number,
            _ => self.ranges.push((number, number)),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, first: &mut bool) -> fmt::Result {
        if !std::mem::take(first) {
            f.write_str(",")?;
        }
        let Some((prefix, suffix)) = self.place else { return f.write_str(self.host) };
        write!(f, "{}[", &self.host[..prefix])?;
        let width = self.width;
        for (n, (lo, hi)) in self.ranges.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            if lo == hi {
                write!(f, "{comma}{lo:0width$}")?
            } else {
                write!(f, "{comma}{lo:0width$}-{hi:0width$}")?
            }
        }
        write!(f, "]{}", &self.host[self.host.len() - suffix..])
    }
}

/// Lengths of the common prefix and suffix around the one number in which two hosts differ. For equal hosts,
/// around their last number.
fn differing_number(a: &str, b: &str) -> Option<(usize, usize)> {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let shorter = a.len().min(b.len());
    let mut prefix = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    if a == b {
        let last_digit = a.iter().rposition(u8::is_ascii_digit)?;
        prefix = last_digit;
    }
    // The number may have begun before the difference: `node19` and `node20`, `n1` and `n10`.
    while prefix > 0 && a[prefix - 1].is_ascii_digit() {
        prefix -= 1;
    }
    let most = shorter - prefix.min(shorter);
    let mut suffix = a.iter().rev().zip(b.iter().rev()).take(most).take_while(|(x, y)| x == y).count();
    // Nor may the suffix begin with the end of the number.
    while suffix > 0 && a[a.len() - suffix].is_ascii_digit() {
        suffix -= 1;
    }
    Some((prefix, suffix))
}

fn value(digits: &str) -> Option<u64> {
    let good = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if good { digits.parse().ok() } else { None }
}

/// The number, if every reader would write it so in a bracket that begins with `first`.
fn value_of_width(digits: &str, first: &str) -> Option<u64> {
    let padded = digits.len() > 1 && digits.starts_with('0');
    // A number shorter than the first would be padded by some readers; a longer one must not be padded itself.
    let fits = digits.len() == first.len() || (digits.len() > first.len() && !padded);
    // `n[1,02]` reads back as n1,n02 here and as n1,n2 elsewhere.
    let same_style = !padded || (first.len() > 1 && first.starts_with('0'));
    if fits && same_style { value(digits) } else { None }
}

impl FromIterator<String> for Hostlist {
    fn from_iter<I: IntoIterator<Item = String>>(hosts: I) -> Hostlist {
        Hostlist(hosts.into_iter().collect())
    }
}

impl Extend<String> for Hostlist {
    fn extend<I: IntoIterator<Item = String>>(&mut self, hosts: I) {
        self.0.extend(hosts);
    }
}

impl IntoIterator for Hostlist {
    type Item = String;
    type IntoIter = std::vec::IntoIter<String>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Hostlist {
    type Item = &'a String;
    type IntoIter = std::slice::Iter<'a, String>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl Serialize for Hostlist {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hostlist {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hostlist, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
