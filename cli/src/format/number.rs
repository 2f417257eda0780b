//! Numbers as Python's format specs write them: sign, base, groups of digits, precision.

/// The part of a spec that is about numbers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Number {
    /// Before a number that is not negative: `+` or a blank.
    pub plus: Option<char>,
    /// `#`: bases are named, and `g` keeps its zeros.
    pub full: bool,
    /// Between groups of digits: `,` or `_`.
    pub group: Option<char>,
    pub precision: Option<usize>,
    pub kind: Option<char>,
}

/// Letters that a spec may end in.
pub const KINDS: &str = "sdnbcoxXeEfFgG%";

/// Digits of `f`, `e`, `g` and `%` when nothing is said.
const DIGITS: usize = 6;

impl Number {
    /// The sign, and the rest.
    pub fn int(&self, n: i64) -> (String, String) {
        let of = n.unsigned_abs();
        let (prefix, digits) = match self.kind {
            Some('b') => ("0b", format!("{of:b}")),
            Some('o') => ("0o", format!("{of:o}")),
            Some('x') => ("0x", format!("{of:x}")),
            Some('X') => ("0X", format!("{of:X}")),
            Some('c') => {
                let sign = u32::try_from(n).ok().and_then(char::from_u32);
                return (String::new(), sign.map_or_else(|| n.to_string(), String::from));
            }
            Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') => return self.float(n as f64),
            _ => ("", self.grouped(&of.to_string())),
        };
        (self.sign(n < 0), format!("{}{digits}", if self.full { prefix } else { "" }))
    }

    /// The sign, and the rest.
    pub fn float(&self, n: f64) -> (String, String) {
        let of = n.abs();
        let digits = self.precision.unwrap_or(DIGITS);
        let text = match (self.kind, self.precision) {
            _ if of.is_infinite() => "inf".to_owned(),
            _ if of.is_nan() => "nan".to_owned(),
            // What is counted is no fraction.
            (Some('d' | 'n' | 'b' | 'o' | 'x' | 'X' | 'c'), _) => return self.int(n.round() as i64),
            (Some('f' | 'F'), _) => self.grouped(&format!("{of:.digits$}")),
            (Some('%'), _) => self.grouped(&format!("{:.digits$}", of * 100.0)) + "%",
            (Some('e'), _) => scientific(of, digits),
            (Some('E'), _) => scientific(of, digits).to_uppercase(),
            (Some('g'), _) => self.general(of, digits.max(1), false),
            (Some('G'), _) => self.general(of, digits.max(1), false).to_uppercase(),
            (_, Some(digits)) => self.general(of, digits.max(1), true),
            (_, None) => self.grouped(&shortest(of)),
        };
        (self.sign(n < 0.0), text)
    }

    fn sign(&self, negative: bool) -> String {
        if negative { "-".to_owned() } else { self.plus.map_or_else(String::new, String::from) }
    }

    /// `g`, and what a float is without a letter: that one has a digit behind its point.
    fn general(&self, of: f64, digits: usize, point: bool) -> String {
        let written = scientific(of, digits - 1);
        let exponent = written.split_once('e').and_then(|(_, e)| e.parse::<i64>().ok()).unwrap_or(0);
        let len = i64::try_from(digits).unwrap_or(i64::MAX);
        if (-4..if point { len - 1 } else { len }).contains(&exponent) || of == 0.0 {
            let decimals = usize::try_from(len - 1 - exponent).unwrap_or(0);
            let text = self.trimmed(&format!("{of:.decimals$}"));
            let text = if point && !text.contains('.') { text + ".0" } else { text };
            return self.grouped(&text);
        }
        let (mantissa, exponent) = written.split_once('e').unwrap_or((&written, "+00"));
        format!("{}e{exponent}", self.trimmed(mantissa))
    }

    /// Without zeros at the end of a fraction.
    fn trimmed(&self, text: &str) -> String {
        match text.contains('.') && !self.full {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false if self.full && !text.contains('.') => format!("{text}."),
            false => text.to_owned(),
        }
    }

    fn grouped(&self, text: &str) -> String {
        let Some(sign) = self.group else { return text.to_owned() };
        let (whole, rest) = text.split_at(text.find(['.', 'e']).unwrap_or(text.len()));
        let mut out = String::new();
        for (at, digit) in whole.chars().enumerate() {
            if at > 0 && (whole.len() - at).is_multiple_of(3) {
                out.push(sign);
            }
            out.push(digit);
        }
        out + rest
    }
}

/// With an exponent of two digits at least, which has a sign.
fn scientific(of: f64, digits: usize) -> String {
    let text = format!("{of:.digits$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// The shortest text that is read back as the same number.
fn shortest(of: f64) -> String {
    if of != 0.0 && !(1e-4..1e16).contains(&of) {
        let text = format!("{of:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        return format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    format!("{of:?}")
}
