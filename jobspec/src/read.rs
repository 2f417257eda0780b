//! From text to a JSON document, and from its values to Rust's, with the place in every complaint.

use crate::error::{JobspecError, Place};
use crate::limits::{DEPTH_MAX, TEXT_LEN_MAX, YAML_LEN_MAX};
use serde_json::{Map, Value};

type Result<T> = std::result::Result<T, JobspecError>;

/// The document in a text: JSON when it opens with `{`, YAML otherwise.
pub(crate) fn document(text: &str) -> Result<Value> {
    if text.len() > TEXT_LEN_MAX {
        return Place::Top.fail(format!("longer than {TEXT_LEN_MAX} bytes"));
    }
    let value = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| Place::Top.error(error.to_string()))?
    } else {
        yaml(text)?
    };
    check_depth(&value)?;
    Ok(value)
}

fn yaml(text: &str) -> Result<Value> {
    if text.len() > YAML_LEN_MAX {
        return Place::Top.fail(format!("YAML longer than {YAML_LEN_MAX} bytes; write it as JSON"));
    }
    // A snippet in the error would make it many lines; and `no` is a word, not a truth value.
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_documents: 1,
            max_nodes: 100_000,
            max_total_scalar_bytes: YAML_LEN_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: DEPTH_MAX,
        },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let first = error.to_string();
        Place::Top.error(first.lines().next().unwrap_or("not YAML"))
    })
}

/// Refuses a document that nests too deep to be written and read again.
pub(crate) fn check_depth(value: &Value) -> Result<()> {
    fn within(value: &Value, left: usize) -> bool {
        match value {
            Value::Array(items) => left > 0 && items.iter().all(|item| within(item, left - 1)),
            Value::Object(map) => left > 0 && map.values().all(|item| within(item, left - 1)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        }
    }
    if within(value, DEPTH_MAX) { Ok(()) } else { Place::Top.fail(format!("nested deeper than {DEPTH_MAX}")) }
}

/// An object whose keys are taken one by one; what is left at the end is unknown.
pub(crate) struct Object<'a> {
    place: &'a Place<'a>,
    map: Map<String, Value>,
}

impl<'a> Object<'a> {
    pub(crate) fn open(place: &'a Place<'a>, value: Value) -> Result<Object<'a>> {
        Ok(Object { place, map: object(place, value)? })
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key)
    }

    pub(crate) fn need(&mut self, key: &str) -> Result<Value> {
        self.take(key).ok_or_else(|| self.place.error(format!("`{key}` is missing")))
    }

    /// The value at `key`, if there is one, as `read` understands it.
    pub(crate) fn read<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&Place<'_>, Value) -> Result<T>,
    ) -> Result<Option<T>> {
        self.take(key).map(|value| read(&self.place.key(key), value)).transpose()
    }

    /// Something is wrong with what was at `key`.
    pub(crate) fn fail<T>(&self, key: &str, rule: impl Into<String>) -> Result<T> {
        self.place.key(key).fail(rule)
    }

    /// The end of an object that may have known keys only.
    pub(crate) fn close(self) -> Result<()> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(key) => self.place.fail(format!("unknown key `{key}`")),
        }
    }

    /// What has not been taken, for an object that may have keys of others.
    pub(crate) fn rest(self) -> Map<String, Value> {
        self.map
    }
}

pub(crate) fn object(place: &Place<'_>, value: Value) -> Result<Map<String, Value>> {
    match value {
        Value::Object(map) => Ok(map),
        other => place.fail(format!("expected an object, found {}", noun(&other))),
    }
}

pub(crate) fn list(place: &Place<'_>, value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(items) => Ok(items),
        other => place.fail(format!("expected a list, found {}", noun(&other))),
    }
}

/// A list that is not empty and not longer than `len_max`, each item read by `read`.
pub(crate) fn items<T>(
    place: &Place<'_>,
    value: Value,
    len_max: usize,
    mut read: impl FnMut(&Place<'_>, Value) -> Result<T>,
) -> Result<Vec<T>> {
    let items = list(place, value)?;
    if items.is_empty() {
        return place.fail("expected at least one item");
    }
    if items.len() > len_max {
        return place.fail(format!("more than {len_max} items"));
    }
    items.into_iter().enumerate().map(|(index, item)| read(&place.item(index), item)).collect()
}

pub(crate) fn text(place: &Place<'_>, value: Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text),
        other => place.fail(format!("expected a string, found {}", noun(&other))),
    }
}

/// A text that the kernel will be given, which ends such texts with a zero byte.
pub(crate) fn kernel_text(place: &Place<'_>, value: Value) -> Result<String> {
    let text = text(place, value)?;
    if text.contains('\0') { place.fail("a zero byte cannot be passed to a program") } else { Ok(text) }
}

pub(crate) fn boolean(place: &Place<'_>, value: Value) -> Result<bool> {
    value.as_bool().ok_or_else(|| place.error(format!("expected true or false, found {}", noun(&value))))
}

/// A whole number of at least one.
pub(crate) fn positive(place: &Place<'_>, value: &Value) -> Result<u32> {
    let Some(number) = value.as_u64() else {
        return place.fail(match value {
            Value::Number(number) => format!("expected a whole number of at least 1, found {number}"),
            other => format!("expected a whole number, found {}", noun(other)),
        });
    };
    match u32::try_from(number) {
        Ok(0) => place.fail("expected at least 1, found 0"),
        Ok(number) => Ok(number),
        Err(_) => place.fail(format!("at most {}, found {number}", u32::MAX)),
    }
}

/// What a value is, for "expected this, found that".
pub(crate) fn noun(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
