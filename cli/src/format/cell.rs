//! One cell of a listing: a value, and the spec that turns it into text of the right width.

use super::number::{KINDS, Number};
use crate::when;
use flurm_types::Timestamp;
use std::cmp::Ordering;

/// What a column knows about a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Not known, or not set.
    Empty,
    Text(String),
    Int(i64),
    /// Seconds, fractions, and points in time as seconds since 1970.
    Float(f64),
    Bool(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Int(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Value {
        Value::Int(number.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Float(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Value {
        Value::Bool(truth)
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Value {
        if time.is_zero() { Value::Empty } else { Value::Float(time.as_secs_f64()) }
    }
}

impl<V: Into<Value>> From<Option<V>> for Value {
    fn from(value: Option<V>) -> Value {
        value.map_or(Value::Empty, Into::into)
    }
}

impl Value {
    fn seconds(&self) -> Option<f64> {
        match self {
            Value::Int(n) => Some(*n as f64),
            Value::Float(n) => Some(*n),
            Value::Empty | Value::Text(_) | Value::Bool(_) => None,
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Value::Int(_) | Value::Float(_))
    }
}

/// Place of a value in a sorted listing: numbers before text, what is empty first.
#[derive(Debug, PartialEq)]
pub struct Order {
    value: Value,
    down: bool,
}

impl Order {
    pub fn new(value: Value, down: bool) -> Order {
        Order { value, down }
    }
}

impl Eq for Order {}

impl PartialOrd for Order {
    fn partial_cmp(&self, other: &Order) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Order {
    fn cmp(&self, other: &Order) -> Ordering {
        let class = |value: &Value| match value {
            Value::Empty => 0,
            Value::Bool(_) => 1,
            Value::Int(_) | Value::Float(_) => 2,
            Value::Text(_) => 3,
        };
        let order = match (&self.value, &other.value) {
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (a, b) => match (a.seconds(), b.seconds()) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                _ => class(a).cmp(&class(b)),
            },
        };
        if self.down { order.reverse() } else { order }
    }
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Align {
    Left,
    Right,
    Center,
    /// What fills comes between the sign and the digits.
    Sign,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Conversion {
    None,
    /// `!D`
    Iso,
    /// `!d`, with strftime's format
    Date(String),
    /// `!F`
    Duration,
    /// `!H`
    Clock,
    /// `!P`
    Percent,
    /// `!h`: as the type `h`.
    Dash,
}

/// Everything after the name of a field: conversion, width, precision, type, marks.
#[derive(Clone, Debug)]
pub struct Spec {
    conversion: Conversion,
    fill: char,
    align: Option<Align>,
    width: usize,
    number: Number,
    /// Show `-` for what is empty.
    dash: bool,
    /// End a cut value with `+`.
    mark: bool,
}

const ISO: &str = "%Y-%m-%dT%H:%M:%S";

/// No listing is that wide; more is a slip of the finger that would fill the disk.
const WIDTH_MAX: usize = 4096;

impl Spec {
    /// Reads `!CONVERSION:SPEC`, each part optional.
    pub fn parse(text: &str) -> Result<Spec, String> {
        let (conversion, text) = match text.strip_prefix('!') {
            None => (Conversion::None, text.strip_prefix(':').unwrap_or("")),
            Some(rest) => {
                let (name, spec) = rest.split_once(':').unwrap_or((rest, ""));
                match name {
                    "D" => (Conversion::Iso, spec),
                    "F" => (Conversion::Duration, spec),
                    "H" => (Conversion::Clock, spec),
                    "P" => (Conversion::Percent, spec),
                    "s" | "r" | "a" => (Conversion::None, spec),
                    "h" => (Conversion::Dash, spec),
                    // The format of the date comes first, then `::`, then the width.
                    "d" => {
                        let (date, spec) = spec.split_once("::").unwrap_or((spec, ""));
                        (Conversion::Date(if date.is_empty() { ISO.into() } else { date.into() }), spec)
                    }
                    _ => return Err(format!("no conversion `!{name}` (there are !D !d !F !H !P !h !s)")),
                }
            }
        };
        let mut spec = Spec::layout(text).ok_or_else(|| format!("no such width or type: `{text}`"))?;
        spec.dash |= conversion == Conversion::Dash;
        spec.conversion = conversion;
        Ok(spec)
    }

    /// `[[FILL]ALIGN][SIGN][#][0][WIDTH][GROUP][.PRECISION][TYPE][h][+]`
    fn layout(text: &str) -> Option<Spec> {
        let (mut text, mut dash, mut mark) = (text, false, false);
        loop {
            if let Some(rest) = text.strip_suffix('h') {
                (text, dash) = (rest, true);
            } else if text.len() > 1
                && let Some(rest) = text.strip_suffix('+')
            {
                (text, mark) = (rest, true);
            } else {
                break;
            }
        }
        let align = |c: char| match c {
            '<' => Some(Align::Left),
            '>' => Some(Align::Right),
            '=' => Some(Align::Sign),
            '^' => Some(Align::Center),
            _ => None,
        };
        let mut chars = text.chars().peekable();
        let (mut fill, mut aligned) = (' ', None);
        let mut ahead = text.chars();
        if let (Some(first), Some(second)) = (ahead.next(), ahead.next())
            && let Some(side) = align(second)
        {
            (fill, aligned) = (first, Some(side));
            chars.nth(1);
        } else if let Some(side) = chars.peek().copied().and_then(align) {
            aligned = Some(side);
            chars.next();
        }
        let plus = chars.next_if(|c| matches!(c, '+' | '-' | ' ')).filter(|c| *c != '-');
        let full = chars.next_if_eq(&'#').is_some();
        if chars.next_if_eq(&'0').is_some() && aligned.is_none() {
            (fill, aligned) = ('0', Some(Align::Sign));
        }
        let width = number(&mut chars)?.unwrap_or(0);
        let group = chars.next_if(|c| matches!(c, ',' | '_'));
        let precision = if chars.next_if_eq(&'.').is_some() { Some(number(&mut chars)??) } else { None };
        let kind = chars.next();
        if chars.next().is_some() || kind.is_some_and(|kind| !KINDS.contains(kind)) {
            return None;
        }
        let number = Number { plus, full, group, precision, kind };
        Some(Spec { conversion: Conversion::None, fill, align: aligned, width, number, dash, mark })
    }

    /// The value as a cell.
    pub fn show(&self, value: &Value) -> String {
        let converted = self.converted(value);
        let (sign, mut text) = self.text(&converted);
        // No time is none; a count or a code of 0 is one.
        if self.dash && sign.is_empty() && text != "0" && is_nothing(&text) {
            "-".clone_into(&mut text);
        }
        if !converted.is_number() {
            text = self.cut(text);
        }
        let side = if converted.is_number() { Align::Right } else { Align::Left };
        self.padded(&sign, &text, self.align.unwrap_or(side))
    }

    /// The header over the cells.
    pub fn header(&self, text: &str) -> String {
        let align = self.align.filter(|align| *align != Align::Sign).unwrap_or(Align::Left);
        let fill = if self.align == Some(Align::Sign) { ' ' } else { self.fill };
        Spec { fill, ..self.clone() }.padded("", text, align)
    }

    /// Would the cell say nothing?
    pub fn is_empty(&self, value: &Value) -> bool {
        let (_, text) = self.text(&self.converted(value));
        is_nothing(&text)
    }

    /// The same spec, wide enough for all values and never cutting one.
    pub fn widened(&self, values: &[Value], header: &str) -> Spec {
        // The precision of a text is where it is cut.
        let precision = self.number.precision.filter(|_| self.number.kind.is_some_and(|kind| kind != 's'));
        let wide = Spec { width: 0, number: Number { precision, ..self.number.clone() }, ..self.clone() };
        let longest = values.iter().map(|value| wide.show(value).chars().count()).max().unwrap_or(0);
        let width = self.width.max(longest).max(header.chars().count());
        Spec { width, ..wide }
    }

    fn converted(&self, value: &Value) -> Value {
        let time = |pattern: &str| {
            let secs = value.seconds().filter(|secs| *secs > 0.0)?;
            Some(when::zoned(Timestamp::from_secs_f64(secs)).strftime(pattern).to_string())
        };
        let seconds = |show: fn(f64) -> String| Value::from(value.seconds().map(show));
        match &self.conversion {
            Conversion::None | Conversion::Dash => value.clone(),
            // A word where a number might be, such as `inf`.
            _ if matches!(value, Value::Text(_)) => value.clone(),
            Conversion::Iso => time(ISO).into(),
            Conversion::Date(pattern) => time(pattern).into(),
            Conversion::Duration => seconds(short),
            Conversion::Clock => seconds(when::hms),
            Conversion::Percent => seconds(|share| format!("{:.3}%", share * 100.0)),
        }
    }

    /// The sign, if there is one, and the rest.
    fn text(&self, value: &Value) -> (String, String) {
        let plain = |text: &str| (String::new(), text.to_owned());
        match value {
            Value::Empty => plain(""),
            Value::Text(text) => plain(text),
            Value::Bool(truth) => plain(if *truth { "True" } else { "False" }),
            Value::Int(n) => self.number.int(*n),
            Value::Float(n) => self.number.float(*n),
        }
    }

    fn cut(&self, text: String) -> String {
        match self.number.precision {
            Some(max) if text.chars().count() > max => {
                let keep = if self.mark { max.saturating_sub(1) } else { max };
                let mut kept: String = text.chars().take(keep).collect();
                if self.mark {
                    kept.push('+');
                }
                kept
            }
            _ => text,
        }
    }

    fn padded(&self, sign: &str, text: &str, align: Align) -> String {
        let missing = self.width.saturating_sub(sign.chars().count() + text.chars().count());
        let (left, inside, right) = match align {
            Align::Left => (0, 0, missing),
            Align::Right => (missing, 0, 0),
            Align::Center => (missing / 2, 0, missing - missing / 2),
            Align::Sign => (0, missing, 0),
        };
        let fill = |n: usize| std::iter::repeat_n(self.fill, n);
        let chars = fill(left).chain(sign.chars()).chain(fill(inside)).chain(text.chars()).chain(fill(right));
        chars.collect()
    }
}

/// A duration with about four digits, as listings of Flux have it: exactness is for `{runtime}`.
fn short(secs: f64) -> String {
    let digits = |value: f64| format!("{value:.3e}").parse::<f64>().unwrap_or(value);
    match secs {
        _ if secs.is_infinite() => "infinity".to_owned(),
        ..0.001 => "0s".to_owned(),
        // A whole number of seconds was asked for, not measured.
        ..10.0 if secs.fract() != 0.0 => format!("{secs:.3}s"),
        ..60.0 => format!("{}s", digits(secs)),
        ..3600.0 => format!("{}m", digits(secs / 60.0)),
        ..86400.0 => format!("{}h", digits(secs / 3600.0)),
        _ => format!("{}d", digits(secs / 86400.0)),
    }
}

/// What a cell shows when there is nothing to show.
fn is_nothing(text: &str) -> bool {
    matches!(text, "" | "0" | "0s" | "0.0" | "0:00:00" | "-")
}

/// Digits, if there are any; the outer none when they are too many.
fn number(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Option<usize>> {
    let mut digits = String::new();
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    if digits.is_empty() {
        return Some(None);
    }
    digits.parse().ok().filter(|n| *n <= WIDTH_MAX).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_shown_as_asked() {
        let time = Value::from(Timestamp(1_790_000_000_000_000));
        let year = Spec::parse("!d:%Y::>8").unwrap().show(&time);
        assert_eq!(year, "    2026");
        assert!(Spec::parse("!D").unwrap().show(&time).starts_with("2026-09-2"));
        assert_eq!(Spec::parse("!D:h").unwrap().show(&Value::Empty), "-");
    }

    #[test]
    fn numbers_are_pythons() {
        let (i, f) = (Value::Int, Value::Float);
        for (spec, value, text) in [
            (":,", i(1_234_567), "1,234,567"),
            (":_", i(1_234_567), "1_234_567"),
            (":+", i(5), "+5"),
            (": ", i(5), " 5"),
            (":x", i(255), "ff"),
            (":#x", i(255), "0xff"),
            (":X", i(255), "FF"),
            (":b", i(5), "101"),
            (":o", i(8), "10"),
            (":c", i(65), "A"),
            (":=6", i(-5), "-    5"),
            (":06", i(-5), "-00005"),
            (":.2f", i(5), "5.00"),
            (":%", i(5), "500.000000%"),
            (":.2f", f(1.005), "1.00"),
            ("", f(2.0), "2.0"),
            ("", f(1e16), "1e+16"),
            ("", f(0.00001), "1e-05"),
            (":>8.1f", f(2.25), "     2.2"),
            (":08.2f", f(-0.5), "-0000.50"),
            (":,.2f", f(1_234_567.891), "1,234,567.89"),
            (":e", f(12.5), "1.250000e+01"),
            (":.1E", f(12.5), "1.2E+01"),
            (":g", f(3.0), "3"),
            (":g", f(1_234_567.0), "1.23457e+06"),
            (":.3g", f(0.0001), "0.0001"),
            (":#g", f(123_456.0), "123456."),
            (":.2", f(90.5), "9e+01"),
            (":.3", f(123.456), "1.23e+02"),
            (":.4", f(123.456), "123.5"),
            (":.3", f(0.0), "0.0"),
            (":.1%", f(0.256), "25.6%"),
            ("!P", f(0.5), "50.000%"),
            (":h", Value::Bool(false), "False"),
            ("!h:>3", i(0), "  0"),
            (":h", i(0), "0"),
            (":h", f(0.0), "-"),
            (":>3h", Value::Empty, "  -"),
            ("!F", f(0.047_011), "0.047s"),
            ("!F", f(9.5), "9.500s"),
            ("!F", f(90.0), "1.5m"),
            ("!F", f(0.0), "0s"),
        ] {
            assert_eq!(Spec::parse(spec).unwrap().show(&value), text, "{spec}");
        }
    }
}
