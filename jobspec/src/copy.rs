//! Copies: texts of jobspecs that differ in a number alone, the shell option `cc`.
//!
//! Whoever has read one of ten thousand has read them all. That the number is the option's and no other key's is certain only
//! where the text has one such key and the jobspec that was read from it has the same number.

use crate::Jobspec;

const KEY: &str = r#""cc":"#;

/// A text around the number of its copy.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Copy<'a> {
    head: &'a str,
    pub number: u32,
    tail: &'a str,
}

impl<'a> Copy<'a> {
    /// Takes a text apart that has exactly one such key, written without escapes.
    #[must_use]
    pub fn of(text: &'a str) -> Option<Copy<'a>> {
        let (before, after) = text.split_once(KEY)?;
        let head = &text[..before.len() + KEY.len()];
        let len = after.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, tail) = after.split_at(len);
        let plain = digits == "0" || !digits.starts_with('0');
        if !plain || !tail.starts_with([',', '}']) || tail.contains(KEY) || text.contains(r"\u") {
            return None;
        }
        Some(Copy { head, number: digits.parse().ok()?, tail })
    }

    /// Are these copies of one?
    #[must_use]
    pub fn is_like(&self, other: &Copy<'_>) -> bool {
        (self.head, self.tail) == (other.head, other.tail)
    }

    /// The text of another copy.
    #[must_use]
    pub fn with(&self, number: u32) -> String {
        format!("{}{number}{}", self.head, self.tail)
    }
}

impl Jobspec {
    /// Another copy of a job whose number is `from`; none when it is not.
    #[must_use]
    pub fn copy(&self, from: u32, to: u32) -> Option<Jobspec> {
        let mut copy = self.clone();
        let number = copy.attributes.shell_options.get_mut("cc")?;
        if number.as_u64() != Some(u64::from(from)) {
            return None;
        }
        *number = to.into();
        Some(copy)
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
        assert_eq!(read.copy(7, second.number).unwrap(), Jobspec::parse(&two).unwrap());
        assert_eq!(read.copy(8, 9), None);
        let other = text(r#"{"cc":7,"verbose":2}"#);
        assert!(!first.is_like(&Copy::of(&other).unwrap()));
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
        assert!(Copy::of(&strange).is_some());
        assert_eq!(Jobspec::parse(&strange).unwrap().copy(7, 8), None);
    }
}
