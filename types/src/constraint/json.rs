//! Constraints as JSON: `{"and":[{"properties":["thin"]},{"ranks":["0-3"]}]}` (RFC 31).

use super::{Constraint, MAX_DEPTH, MAX_TERMS, Property};
use crate::{Hostlist, Idset};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

/// A JSON constraint that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read constraint at `{path}`: {rule}")]
pub struct ConstraintError {
    /// Where: operators and indices from the top, as in `.and[1].ranks`; `.` is the top itself.
    pub path: String,
    /// The rule that was broken.
    pub rule: String,
}

impl Constraint {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// For an unknown operator, values of a wrong type or form, and constraints beyond the limits.
    pub fn from_json(value: &Value) -> Result<Constraint, ConstraintError> {
        read(value, &mut Place { path: String::new(), depth: 0, terms: 0 })
    }

    /// The JSON form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let list = |inner: &[Constraint]| inner.iter().map(Constraint::to_json).collect::<Vec<_>>();
        match self {
            Constraint::True => json!({}),
            Constraint::Properties(names) => {
                let name = |p: &Property| format!("{}{}", if p.negated { "^" } else { "" }, p.name);
                json!({ "properties": names.iter().map(name).collect::<Vec<_>>() })
            }
            Constraint::Hostlist(hosts) if hosts.is_empty() => json!({ "hostlist": [] }),
            Constraint::Hostlist(hosts) => json!({ "hostlist": [hosts.to_string()] }),
            Constraint::Ranks(ranks) if ranks.is_empty() => json!({ "ranks": [] }),
            Constraint::Ranks(ranks) => json!({ "ranks": [ranks.to_string()] }),
            Constraint::And(inner) => json!({ "and": list(inner) }),
            Constraint::Or(inner) => json!({ "or": list(inner) }),
            Constraint::Not(inner) => json!({ "not": list(inner) }),
        }
    }
}

/// Where reading is, and how much has been read.
struct Place {
    path: String,
    depth: usize,
    terms: usize,
}

impl Place {
    fn fail<T>(&self, rule: impl Into<String>) -> Result<T, ConstraintError> {
        let path = if self.path.is_empty() { ".".to_owned() } else { self.path.clone() };
        Err(ConstraintError { path, rule: rule.into() })
    }

    fn count(&mut self) -> Result<(), ConstraintError> {
        self.terms += 1;
        if self.terms > MAX_TERMS { self.fail(format!("more than {MAX_TERMS} terms")) } else { Ok(()) }
    }
}

fn read(value: &Value, place: &mut Place) -> Result<Constraint, ConstraintError> {
    place.count()?;
    if place.depth >= MAX_DEPTH {
        return place.fail(format!("nested deeper than {MAX_DEPTH}"));
    }
    let Value::Object(object) = value else { return place.fail("expected an object") };
    let mut entries = object.iter();
    let Some((operator, values)) = entries.next() else { return Ok(Constraint::True) };
    if entries.next().is_some() {
        return place.fail("expected one operator; join several with `and`");
    }
    let kept = place.path.len();
    place.path.push('.');
    place.path.push_str(operator);
    let Value::Array(values) = values else { return place.fail("expected a list of values") };
    let constraint = match operator.as_str() {
        "properties" => Constraint::Properties(texts(values, place, Property::read)?),
        "hostlist" => {
            let lists: Vec<Hostlist> = texts(values, place, |text| text.parse().map_err(said))?;
            Constraint::Hostlist(lists.into_iter().flatten().collect())
        }
        "ranks" => {
            let sets: Vec<Idset> = texts(values, place, |text| text.parse().map_err(said))?;
            Constraint::Ranks(sets.iter().fold(Idset::new(), |all, set| all.union(set)))
        }
        "and" => Constraint::And(nested(values, place)?),
        "or" => Constraint::Or(nested(values, place)?),
        "not" => Constraint::Not(nested(values, place)?),
        _ => {
            return place.fail("unknown operator (known: properties, hostlist, ranks, and, or, not)");
        }
    };
    place.path.truncate(kept);
    Ok(constraint)
}

fn said(error: crate::SyntaxError) -> String {
    error.to_string()
}

fn texts<T>(
    values: &[Value],
    place: &mut Place,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, ConstraintError> {
    let mut out = Vec::new();
    for (n, value) in values.iter().enumerate() {
        place.count()?;
        let item = value.as_str().ok_or_else(|| "expected a string".to_owned()).and_then(&read);
        match item {
            Ok(item) => out.push(item),
            Err(rule) => {
                place.path.push_str(&format!("[{n}]"));
                return place.fail(rule);
            }
        }
    }
    Ok(out)
}

fn nested(values: &[Value], place: &mut Place) -> Result<Vec<Constraint>, ConstraintError> {
    let kept = place.path.len();
    place.depth += 1;
    let mut out = Vec::new();
    for (n, value) in values.iter().enumerate() {
        place.path.push_str(&format!("[{n}]"));
        out.push(read(value, place)?);
        place.path.truncate(kept);
    }
    place.depth -= 1;
    Ok(out)
}

impl Serialize for Constraint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Constraint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Constraint, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Constraint::from_json(&value).map_err(serde::de::Error::custom)
    }
}
