//! Is a job willing to share its sockets with others that are willing, with whom, and what does it stress?

use crate::error::{JobspecError, Place};
use crate::placement::Share;
use crate::read::{Object, noun, text};
use serde::Serialize;
use serde_json::Value;
use std::str::FromStr;

/// A job that is willing. Alone, it has half of each of its sockets, and the other half goes to one other willing job.
/// In a group, each member has an equal part of the sockets of the same nodes, and nobody else is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cosched {
    /// What it stresses, such as `compute`, `memory` or `io`: pairs that hinder each other least are put together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// With whom it starts: together or not at all.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
}

/// Jobs that start together on the same nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    #[serde(rename = "group")]
    pub name: String,
    /// How many jobs it takes, from [`Group::SIZES`].
    pub size: u32,
}

impl Group {
    /// Sizes that a group may have: one is no group, and with more than 16 little is left of a socket for each.
    pub const SIZES: std::ops::RangeInclusive<u32> = 2..=16;

    /// The size of a group that does not say.
    pub const SIZE: u32 = 2;
}

impl Cosched {
    /// The part of each socket that the job may have.
    #[must_use]
    pub fn share(&self) -> Share {
        self.group.as_ref().map_or(Share::HALF, |group| Share::one_of(group.size))
    }

    /// Could this be the name of a class?
    ///
    /// # Errors
    /// Why not.
    pub fn check_class(name: &str) -> Result<(), String> {
        check_name(name, "class")
    }
}

/// Longest name of a class or group in bytes: it is part of a property's name in R.
const NAME_LEN_MAX: usize = 64;

/// Letters, digits, `_` and `-`.
fn check_name(name: &str, noun: &str) -> Result<(), String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    if name.is_empty() || name.len() > NAME_LEN_MAX || !name.bytes().all(good) {
        return Err(format!("`{name}` is no {noun}: up to {NAME_LEN_MAX} letters, digits, `_` and `-`"));
    }
    Ok(())
}

fn check_size(size: u64) -> Result<u32, String> {
    let known = u32::try_from(size).ok().filter(|size| Group::SIZES.contains(size));
    let (least, most) = (Group::SIZES.start(), Group::SIZES.end());
    known.ok_or_else(|| format!("a group is of {least} to {most} jobs, not of {size}"))
}

impl FromStr for Group {
    type Err = String;

    /// `NAME` or `NAME:SIZE`, as it is typed.
    fn from_str(text: &str) -> Result<Group, String> {
        let (name, size) = match text.split_once(':') {
            None => (text, Group::SIZE),
            Some((name, digits)) => {
                let number = digits.parse().map_err(|_| format!("`{digits}` is not a number of jobs"))?;
                (name, check_size(number)?)
            }
        };
        check_name(name, "group")?;
        Ok(Group { name: name.to_owned(), size })
    }
}

/// Takes `cosched` (true, or an object with any of `class`, `group` and `size`) and `cosched-class` out of the attributes.
/// `willing` says that the placement was `cosched`.
pub(crate) fn read(system: &mut Object<'_>, willing: bool) -> Result<Option<Cosched>, JobspecError> {
    let said = system.read("cosched", |place, value| match value {
        Value::Bool(willing) => Ok(willing.then(Cosched::default)),
        Value::Object(_) => {
            let mut object = Object::open(place, value)?;
            let class = object.read("class", |place, value| name(place, value, "class"))?;
            let group = object.read("group", |place, value| name(place, value, "group"))?;
            let size = object.read("size", size)?;
            object.close()?;
            let group = match (group, size) {
                (Some(name), size) => Some(Group { name, size: size.unwrap_or(Group::SIZE) }),
                (None, Some(_)) => return place.key("size").fail("only a group has a size"),
                (None, None) => None,
            };
            Ok(Some(Cosched { class, group }))
        }
        other => place.fail(format!("expected true, false or an object, found {}", noun(&other))),
    })?;
    let class = system.read("cosched-class", |place, value| name(place, value, "class"))?;
    let said = said.flatten().or_else(|| (willing || class.is_some()).then(Cosched::default));
    Ok(said.map(|said| Cosched { class: class.or(said.class), ..said }))
}

fn name(place: &Place<'_>, value: Value, noun: &str) -> Result<String, JobspecError> {
    let name = text(place, value)?;
    check_name(&name, noun).map_err(|rule| place.error(rule))?;
    Ok(name)
}

fn size(place: &Place<'_>, value: Value) -> Result<u32, JobspecError> {
    match value.as_u64() {
        Some(size) => check_size(size).map_err(|rule| place.error(rule)),
        None => place.fail(format!("expected a number of jobs, found {}", noun(&value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_as_they_are_typed() {
        let group = |name: &str, size| Ok(Group { name: name.to_owned(), size });
        assert_eq!("g".parse(), group("g", 2));
        assert_eq!("run-7_b:16".parse(), group("run-7_b", 16));
        for text in ["", ":2", "a b", "g:", "g:1", "g:17", "g:x", "g:2:2", "ö"] {
            assert!(text.parse::<Group>().is_err(), "{text}");
        }
    }
}
