//! Copies: texts of jobspecs that differ in a number alone: the shell option `cc`, and the job's index if it is of an array.
//!
//! Whoever has read one of ten thousand has read them all. That the number is the option's and no other key's is certain only
//! where the text has one such key and the jobspec that was read from it has the same number.

use crate::Jobspec;

const KEY: &str = r#""cc":"#;
const INDEX: &str = r#""index":"#;

/// A text around the number of its copy.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Copy<'a> {
    head: &'a str,
    /// Between the two places of the number, of a job of an array.
    middle: Option<&'a str>,
    tail: &'a str,
    pub number: u32,
}

impl<'a> Copy<'a> {
    /// Takes a text apart that has exactly one such key, written without escapes.
    #[must_use]
    pub fn of(text: &'a str) -> Option<Copy<'a>> {
        let (from, to, number) = the_only(text, KEY)?;
        if text.contains(r"\u") {
            return None;
        }
        match the_only(text, INDEX).filter(|index| index.2 == number) {
            None => Some(Copy { head: &text[..from], middle: None, tail: &text[to..], number }),
            Some((other_from, other_to, _)) => {
                let (first, last) = (from.min(other_from), to.max(other_to));
                let middle = &text[to.min(other_to)..from.max(other_from)];
                Some(Copy { head: &text[..first], middle: Some(middle), tail: &text[last..], number })
            }
        }
    }

    /// Are these copies of one?
    #[must_use]
    pub fn is_like(&self, other: &Copy<'_>) -> bool {
        (self.head, self.middle, self.tail) == (other.head, other.middle, other.tail)
    }

    /// Do both say the same number as often?
    #[must_use]
    pub fn says_as(&self, other: &Copy<'_>) -> bool {
        (self.number, self.middle.is_some()) == (other.number, other.middle.is_some())
    }

    /// The text of another copy.
    #[must_use]
    pub fn with(&self, number: u32) -> String {
        match self.middle {
            None => format!("{}{number}{}", self.head, self.tail),
            Some(middle) => format!("{}{number}{middle}{number}{}", self.head, self.tail),
        }
    }
}

/// A text around the number of its copy, kept: another copy is known by it without being taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mould {
    head: Box<str>,
    middle: Option<Box<str>>,
    tail: Box<str>,
}

impl Mould {
    /// Of a text that is a copy.
    #[must_use]
    pub fn of(text: &str) -> Option<Mould> {
        let Copy { head, middle, tail, .. } = Copy::of(text)?;
        Some(Mould { head: head.into(), middle: middle.map(Into::into), tail: tail.into() })
    }

    /// The number of a text that differs in nothing else.
    #[must_use]
    pub fn number_of(&self, text: &str) -> Option<u32> {
        let inside = text.strip_prefix(&*self.head)?.strip_suffix(&*self.tail)?;
        let Some(middle) = &self.middle else { return number(inside) };
        let len = inside.bytes().take_while(u8::is_ascii_digit).count();
        let (first, rest) = inside.split_at(len);
        (rest.strip_prefix(&**middle)? == first).then(|| number(first)).flatten()
    }

    /// The text of another copy.
    #[must_use]
    pub fn with(&self, number: u32) -> String {
        let Mould { head, middle, tail } = self;
        Copy { head, middle: middle.as_deref(), tail, number }.with(number)
    }
}

/// As JSON has it.
fn number(digits: &str) -> Option<u32> {
    let plain = digits == "0" || !digits.starts_with('0');
    if plain && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// Where the number is that stands behind this key, and the number; none: the key is not there, or twice, or with something else.
fn the_only(text: &str, key: &str) -> Option<(usize, usize, u32)> {
    let (before, after) = text.split_once(key)?;
    let from = before.len() + key.len();
    let len = after.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, tail) = after.split_at(len);
    if !tail.starts_with([',', '}']) || tail.contains(key) {
        return None;
    }
    Some((from, from + len, number(digits)?))
}

impl Jobspec {
    /// Is the number of this text, which the job was read from, the number of its copy?
    #[must_use]
    pub fn is_copy(&self, of: &Copy<'_>) -> bool {
        let number = self.attributes.shell_options.get("cc").and_then(serde_json::Value::as_u64);
        let same = match (&self.attributes.array, of.middle) {
            (None, None) => true,
            (Some(array), Some(_)) => array.index == of.number,
            (None, Some(_)) | (Some(_), None) => false,
        };
        same && number == Some(u64::from(of.number))
    }

    /// Another copy of a job that was read from this text; none when it is not.
    #[must_use]
    pub fn copy(&self, of: &Copy<'_>, to: u32) -> Option<Jobspec> {
        self.is_copy(of).then(|| self.copied(to))
    }

    /// Another copy of a job that is one.
    #[must_use]
    pub fn copied(&self, to: u32) -> Jobspec {
        let mut copy = self.clone();
        copy.attributes.shell_options.insert("cc".to_owned(), to.into());
        if let Some(array) = &mut copy.attributes.array {
            array.index = to;
        }
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(options: &str) -> String {
        format!(
            r#"{{"version":1,"resources":[{{"type":"slot","count":1,"label":"task","with":[{{"type":"core","count":1}}]}}],"tasks":[{{"command":["true"],"slot":"task","count":{{"per_slot":1}}}}],"attributes":{{"system":{{"duration":0,"cwd":"/","shell":{{"options":{options}}}}}}}}}"#
        )
    }

    #[test]
    fn a_copy_is_what_would_have_been_read() {
        let (one, two) = (text(r#"{"cc":7,"verbose":1}"#), text(r#"{"cc":4294967295,"verbose":1}"#));
        let (first, second) = (Copy::of(&one).unwrap(), Copy::of(&two).unwrap());
        assert!(first.is_like(&second) && first.with(second.number) == two);
        let read = Jobspec::parse(&one).unwrap();
        assert_eq!(read.copy(&first, second.number).unwrap(), Jobspec::parse(&two).unwrap());
        assert_eq!(read.copy(&second, 9), None);
        let other = text(r#"{"cc":7,"verbose":2}"#);
        assert!(!first.is_like(&Copy::of(&other).unwrap()));
        let mould = Mould::of(&one).unwrap();
        assert_eq!((mould.number_of(&two), mould.with(u32::MAX)), (Some(u32::MAX), two));
        let odd =
            [r#"{"cc":07,"verbose":1}"#, r#"{"cc":4294967296,"verbose":1}"#, r#"{"cc":"7","verbose":1}"#];
        let odd = odd.map(text).into_iter().chain([other, text(r#"{"cc":,"verbose":1}"#)]);
        odd.for_each(|odd| assert_eq!(mould.number_of(&odd), None, "{odd}"));
    }

    #[test]
    fn a_job_of_an_array_says_its_number_twice() {
        let of_array = |index: u32, number: u32| {
            let array = format!(r#""system":{{"array":{{"count":9,"id":5,"index":{index}}},"duration""#);
            text(&format!(r#"{{"cc":{number}}}"#)).replace(r#""system":{"duration""#, &array)
        };
        let (one, two) = (of_array(7, 7), of_array(12, 12));
        let (first, second) = (Copy::of(&one).unwrap(), Copy::of(&two).unwrap());
        assert!(first.is_like(&second) && first.with(12) == two && !first.says_as(&second));
        let (read, other) = (Jobspec::parse(&one).unwrap(), Jobspec::parse(&two).unwrap());
        assert_eq!(read.copy(&first, 12).unwrap(), other);
        let mould = Mould::of(&one).unwrap();
        assert_eq!((mould.number_of(&two), mould.with(12)), (Some(12), two.clone()));
        assert_eq!(mould.number_of(&of_array(7, 12)), None);
        // Its canonical text is one as well.
        let canonical = read.to_json_without_environment();
        assert!(Copy::of(&canonical).unwrap().says_as(&first));
        assert_eq!(Copy::of(&canonical).unwrap().with(12), other.to_json_without_environment());
        // Two numbers that differ are no copy's, and an index of something else is not the array's.
        let odd = of_array(3, 7);
        assert_eq!(Jobspec::parse(&odd).unwrap().copy(&Copy::of(&odd).unwrap(), 8), None);
        let other = text(r#"{"cc":7,"x":{"index":7}}"#);
        assert_eq!(Jobspec::parse(&other).unwrap().copy(&Copy::of(&other).unwrap(), 8), None);
    }

    #[test]
    fn what_might_be_another_number_is_no_copy() {
        for options in [
            r#"{"verbose":1}"#,
            r#"{"cc":"7"}"#,
            r#"{"cc":07}"#,
            r#"{"cc":7.5}"#,
            r#"{"cc":4294967296}"#,
            r#"{"cc":7,"x":{"cc":7}}"#,
            r#"{"\u0063c":7,"x":{"cc":7}}"#,
        ] {
            assert_eq!(Copy::of(&text(options)), None, "{options}");
        }
        // The key is not the option's.
        let strange = text(r#"{"x":{"cc":7}}"#);
        assert_eq!(Jobspec::parse(&strange).unwrap().copy(&Copy::of(&strange).unwrap(), 8), None);
    }
}
