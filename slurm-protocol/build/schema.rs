//! The tables as they lie in `schema/`, read and checked. Whatever is wrong with them ends the build, with its place.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

pub const FIRST: u8 = 38;
pub const LAST: u8 = 45;

/// How one value lies on the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Bool,
    U8,
    U16,
    U32,
    U64,
    Time,
    Double,
    Str,
    Mem,
    Bits,
    /// A count, then the items.
    Array(Box<Type>),
    /// The same with `NO_VAL` for null.
    List(Box<Type>),
    /// Items whose number another field gives.
    Counted(Box<Type>),
    Struct(String),
    /// The body of the message whose number that field holds.
    Body(String),
}

impl Type {
    fn parse(text: &str, item: Option<&str>) -> Self {
        let inner = |text: Option<&str>| Box::new(Self::parse(text.expect("a list has items"), None));
        match text {
            "bool" => Self::Bool,
            "u8" => Self::U8,
            "u16" => Self::U16,
            "u32" => Self::U32,
            "u64" => Self::U64,
            "time" => Self::Time,
            "double" => Self::Double,
            // A decimal number, kept as the text that came.
            "str" | "longdouble" => Self::Str,
            "mem" => Self::Mem,
            "bitstr" => Self::Bits,
            "list" => Self::List(inner(item)),
            "array" => Self::Counted(inner(item)),
            _ => match text.split_once(':') {
                Some(("array", item)) => Self::Array(inner(Some(item))),
                Some(("struct", name)) => Self::Struct(name.to_owned()),
                Some(("body_of" | "body_of_dbd", field)) => Self::Body(field.to_owned()),
                _ => panic!("unknown type {text}"),
            },
        }
    }

    /// Bits of an unsigned integer.
    pub fn width(&self) -> Option<u8> {
        match self {
            Self::Bool => Some(1),
            Self::U8 => Some(8),
            Self::U16 => Some(16),
            Self::U32 => Some(32),
            Self::U64 => Some(64),
            _ => None,
        }
    }
}

/// One line of a layout.
#[derive(Debug)]
pub struct Entry {
    pub name: String,
    pub kind: Type,
    pub when: Option<String>,
    pub count: Option<String>,
    pub count_name: Option<String>,
    pub since: u8,
    pub until: u8,
}

#[derive(Debug)]
pub struct Structure {
    pub name: String,
    pub since: u8,
    pub until: u8,
    pub note: Option<String>,
    pub entries: Vec<Entry>,
}

/// A message and one structure that it carries, in the versions in which it does.
#[derive(Debug)]
pub struct Carried {
    pub message: String,
    pub structure: Option<String>,
    pub until: u8,
    /// The structure of the newest version: it has the message's plain name.
    pub newest: bool,
    /// Number, and from which to which version.
    pub numbers: Vec<(u16, u8, u8)>,
}

#[derive(Debug)]
pub struct Constant {
    pub name: String,
    pub group: String,
    pub value: i128,
    pub since: u8,
    pub until: u8,
}

#[derive(Debug, Deserialize)]
pub struct ReturnCode {
    pub name: String,
    pub number: u32,
    pub defined: (u8, u8),
    #[serde(default)]
    pub meaning: String,
}

#[derive(Debug)]
pub struct Schema {
    pub structures: BTreeMap<String, Structure>,
    pub carried: Vec<Carried>,
    pub constants: Vec<Constant>,
    pub errors: Vec<ReturnCode>,
}

#[derive(Deserialize)]
struct StructFile {
    #[serde(rename = "struct")]
    structures: Vec<RawStruct>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStruct {
    name: String,
    versions: (u8, u8),
    note: Option<String>,
    #[serde(default, rename = "carried_by")]
    _carried_by: Vec<String>,
    #[serde(default)]
    field: Vec<RawField>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawField {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    item: Option<String>,
    when: Option<String>,
    count: Option<String>,
    count_name: Option<String>,
    since: Option<u8>,
    until: Option<u8>,
    #[serde(rename = "note")]
    _note: Option<String>,
}

#[derive(Deserialize)]
struct MessageFile {
    message: Vec<RawMessage>,
}

#[derive(Deserialize)]
struct RawMessage {
    name: String,
    number: Option<u16>,
    #[serde(default)]
    number_by_version: BTreeMap<String, u16>,
    body: Vec<RawBody>,
}

#[derive(Deserialize)]
struct RawBody {
    #[serde(rename = "struct")]
    structure: String,
    since: u8,
    until: u8,
}

#[derive(Deserialize)]
struct ErrorFile {
    error: Vec<ReturnCode>,
}

type Groups = BTreeMap<String, BTreeMap<String, RawConstant>>;

#[derive(Deserialize)]
struct EnumFile {
    #[serde(rename = "enum")]
    enums: Groups,
    define: Groups,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawConstant {
    Plain(Number),
    Ranged(Ranged),
    Many(Vec<Ranged>),
}

/// Some constants are larger than TOML's integers must be able to hold.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(i64),
    Large(u64),
}

impl From<Number> for i128 {
    fn from(number: Number) -> Self {
        match number {
            Number::Plain(value) => value.into(),
            Number::Large(value) => value.into(),
        }
    }
}

#[derive(Deserialize)]
struct Ranged {
    value: Number,
    since: Option<u8>,
    until: Option<u8>,
}

fn parse<T: for<'a> Deserialize<'a>>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Schema {
    pub fn read(folder: &Path) -> Self {
        let mut structures = BTreeMap::new();
        for file in fs::read_dir(folder.join("structs")).expect("the folder of structures is there") {
            let path = file.expect("the folder can be listed").path();
            for raw in parse::<StructFile>(&path).structures {
                let structure = structure(raw);
                let twice = structures.insert(structure.name.clone(), structure);
                assert!(twice.is_none(), "{}: twice", path.display());
            }
        }
        let schema = Self {
            carried: carried(parse(&folder.join("messages.toml"))),
            constants: constants(parse(&folder.join("enums.toml"))),
            errors: parse::<ErrorFile>(&folder.join("errors.toml")).error,
            structures,
        };
        schema.check();
        schema
    }

    /// Structures that are named exist.
    fn check(&self) {
        let known = |name: &str, by: &str| {
            assert!(self.structures.contains_key(name), "{by} names {name}, which is no structure");
        };
        for structure in self.structures.values() {
            for entry in &structure.entries {
                let mut kind = &entry.kind;
                while let Type::Array(item) | Type::List(item) | Type::Counted(item) = kind {
                    kind = item;
                }
                if let Type::Struct(name) = kind {
                    known(name, &structure.name);
                }
            }
        }
        for carried in &self.carried {
            if let Some(name) = &carried.structure {
                known(name, &carried.message);
            }
        }
    }

    /// The value of a constant that an expression names: the newest one.
    pub fn constant(&self, name: &str) -> Option<i128> {
        self.constants
            .iter()
            .filter(|constant| constant.name == name)
            .max_by_key(|constant| constant.until)
            .map(|constant| constant.value)
    }
}

fn structure(raw: RawStruct) -> Structure {
    let (first, last) = raw.versions;
    let entries = raw.field.into_iter().map(|field| Entry {
        kind: Type::parse(&field.kind, field.item.as_deref()),
        name: field.name,
        when: field.when,
        count: field.count,
        count_name: field.count_name,
        since: field.since.unwrap_or(first).max(first),
        until: field.until.unwrap_or(last).min(last),
    });
    Structure { name: raw.name, since: first, until: last, note: raw.note, entries: entries.collect() }
}

fn carried(file: MessageFile) -> Vec<Carried> {
    let mut all = Vec::new();
    let mut names = BTreeSet::new();
    for message in file.message {
        if message.body.is_empty() {
            // Retired, or never seen on a connection: there is no layout.
            continue;
        }
        assert!(names.insert(message.name.clone()), "{}: twice", message.name);
        let newest = message.body.iter().max_by_key(|body| body.until).map(|body| body.structure.clone());
        for body in &message.body {
            let number = |version: u8| {
                let by_version = message.number_by_version.get(&version.to_string()).copied();
                by_version.or(message.number).expect("every message has a number")
            };
            let mut numbers: Vec<(u16, u8, u8)> = Vec::new();
            for version in body.since..=body.until {
                match numbers.last_mut() {
                    Some(last) if last.0 == number(version) => last.2 = version,
                    _ => numbers.push((number(version), version, version)),
                }
            }
            all.push(Carried {
                message: message.name.clone(),
                structure: Some(body.structure.clone()).filter(|name| !name.is_empty()),
                until: body.until,
                newest: newest.as_ref() == Some(&body.structure),
                numbers,
            });
        }
    }
    all
}

fn constants(file: EnumFile) -> Vec<Constant> {
    let mut all = Vec::new();
    for (group, members) in file.enums.into_iter().chain(file.define) {
        for (name, raw) in members {
            let ranges = match raw {
                RawConstant::Plain(number) => vec![Ranged { value: number, since: None, until: None }],
                RawConstant::Ranged(one) => vec![one],
                RawConstant::Many(many) => many,
            };
            all.extend(ranges.into_iter().map(|range| Constant {
                name: name.clone(),
                group: group.clone(),
                value: range.value.into(),
                since: range.since.unwrap_or(FIRST),
                until: range.until.unwrap_or(LAST),
            }));
        }
    }
    all
}
