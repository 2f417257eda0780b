//! How many: a number, a range with steps (RFC 14, RFC 45), or a set of numbers that will do.

use crate::error::{JobspecError, Place};
use crate::read::{Object, positive, text};
use flurm_types::Idset;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;
use std::iter::successors;

/// Count of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Count {
    /// Just so many.
    Fixed(u32),
    /// Any step of a range.
    Range(Range),
    /// Any of these, which are not one run.
    OneOf(Idset),
}

/// Counts from `min` up to `max` by repeated steps: `2-16:2:*` is 2, 4, 8, 16 (RFC 45).
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Range {
    pub min: u32,
    /// No end if absent.
    pub max: Option<u32>,
    pub operator: Operator,
    pub operand: u32,
}

/// How the next count of a range comes from the one before.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Operator {
    Add,
    Multiply,
    Power,
}

impl Count {
    /// The least count that will do.
    #[must_use]
    pub fn min(&self) -> u32 {
        match self {
            Count::Fixed(count) => *count,
            Count::Range(range) => range.min,
            Count::OneOf(counts) => counts.first().expect("a set of counts has two at least"),
        }
    }

    /// Will exactly so many do?
    #[must_use]
    pub fn allows(&self, count: u32) -> bool {
        self.largest_up_to(count) == Some(count)
    }

    /// The largest count that will do and is not above `limit`.
    #[must_use]
    pub fn largest_up_to(&self, limit: u32) -> Option<u32> {
        match self {
            Count::Fixed(count) => (*count <= limit).then_some(*count),
            Count::Range(range) => range.largest_up_to(limit),
            Count::OneOf(counts) => {
                counts.ranges().filter(|(low, _)| *low <= limit).map(|(_, high)| high.min(limit)).max()
            }
        }
    }

    /// The number, when only one will do.
    #[must_use]
    pub fn fixed(&self) -> Option<u32> {
        match self {
            Count::Fixed(count) => Some(*count),
            Count::Range(_) | Count::OneOf(_) => None,
        }
    }

    pub(crate) fn read(place: &Place<'_>, value: Value) -> Result<Count, JobspecError> {
        match value {
            Value::String(words) => Count::parse(&words).map_err(|rule| place.error(rule)),
            Value::Object(_) => Range::read(place, value)?.count().map_err(|rule| place.error(rule)),
            number => positive(place, &number).map(Count::Fixed),
        }
    }

    /// An idset of counts, or a range.
    fn parse(words: &str) -> Result<Count, String> {
        let inner = words.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(words);
        if inner.contains(['-', '+', ':']) && !inner.contains(',') {
            return Range::parse(inner)?.count();
        }
        let counts: Idset = inner.parse().map_err(|error: flurm_types::SyntaxError| error.to_string())?;
        match counts.first() {
            None => Err("expected at least one count".to_owned()),
            Some(0) => Err("a count is at least 1".to_owned()),
            // One run of counts is a range, so that equal counts are equal values.
            Some(min) if counts.ranges().len() == 1 => {
                Range { min, max: counts.last(), operator: Operator::Add, operand: 1 }.count()
            }
            Some(_) => Ok(Count::OneOf(counts)),
        }
    }
}

impl Range {
    fn largest_up_to(self, limit: u32) -> Option<u32> {
        let limit = limit.min(self.max.unwrap_or(u32::MAX));
        let room = limit.checked_sub(self.min)?;
        match self.operator {
            Operator::Add => Some(limit - room % self.operand),
            // Each step doubles at least, so 32 of them reach the end.
            Operator::Multiply => {
                successors(Some(self.min), |n| n.checked_mul(self.operand)).take_while(|n| *n <= limit).last()
            }
            Operator::Power => {
                successors(Some(self.min), |n| n.checked_pow(self.operand)).take_while(|n| *n <= limit).last()
            }
        }
    }

    fn read(place: &Place<'_>, value: Value) -> Result<Range, JobspecError> {
        let mut object = Object::open(place, value)?;
        let min = object.need("min")?;
        let min = positive(&place.key("min"), &min)?;
        let max = object.read("max", |place, value| positive(place, &value))?;
        let operand = object.read("operand", |place, value| positive(place, &value))?;
        let operator = object.read("operator", |place, value| {
            let word = text(place, value)?;
            Operator::parse(&word).ok_or_else(|| place.error("expected one of + * ^"))
        })?;
        object.close()?;
        let (operator, operand) = match (operator, operand) {
            (Some(operator), Some(operand)) => (operator, operand),
            (None, None) => (Operator::Add, 1),
            _ => return place.fail("`operator` and `operand` come together"),
        };
        Ok(Range { min, max, operator, operand })
    }

    /// `min-max` or `min+`, then `:operand`, then `:operator`.
    fn parse(words: &str) -> Result<Range, String> {
        let number = |digits: &str| -> Result<u32, String> {
            let good = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
            let number = if good { digits.parse().ok() } else { None };
            number.ok_or_else(|| format!("`{digits}` is not a count; a range is like 2-16:2:*"))
        };
        let mut parts = words.splitn(3, ':');
        let span = parts.next().unwrap_or_default();
        let (min, max) = match (span.strip_suffix('+'), span.split_once('-')) {
            (Some(min), _) => (number(min)?, None),
            (None, Some((min, max))) => (number(min)?, Some(number(max)?)),
            (None, None) => (number(span)?, Some(number(span)?)),
        };
        let operand = parts.next().map(number).transpose()?.unwrap_or(1);
        let operator = match parts.next() {
            None => Operator::Add,
            Some(word) => Operator::parse(word).ok_or("the operator of a range is one of + * ^")?,
        };
        Ok(Range { min, max, operator, operand })
    }

    /// The count this range stands for, if its parts go together.
    fn count(self) -> Result<Count, String> {
        if self.max.is_some_and(|max| max < self.min) {
            return Err("the end of a range is not before its start".to_owned());
        }
        match self.operator {
            Operator::Add => {}
            Operator::Multiply | Operator::Power if self.operand < 2 => {
                return Err("the operand of * and ^ is at least 2".to_owned());
            }
            Operator::Power if self.min < 2 => {
                return Err("a range with ^ starts at 2 or more".to_owned());
            }
            Operator::Multiply | Operator::Power => {}
        }
        Ok(if self.max == Some(self.min) { Count::Fixed(self.min) } else { Count::Range(self) })
    }
}

impl Operator {
    fn parse(word: &str) -> Option<Operator> {
        match word {
            "+" => Some(Operator::Add),
            "*" => Some(Operator::Multiply),
            "^" => Some(Operator::Power),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Operator::Add => "+",
            Operator::Multiply => "*",
            Operator::Power => "^",
        }
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Count::Fixed(count) => serializer.serialize_u32(*count),
            Count::OneOf(counts) => serializer.collect_str(counts),
            Count::Range(range) => {
                let mut map = serializer.serialize_map(None)?;
                if let Some(max) = range.max {
                    map.serialize_entry("max", &max)?;
                }
                map.serialize_entry("min", &range.min)?;
                map.serialize_entry("operand", &range.operand)?;
                map.serialize_entry("operator", range.operator.as_str())?;
                map.end()
            }
        }
    }
}
