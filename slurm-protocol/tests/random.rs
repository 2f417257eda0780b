//! Random values of every structure in every version, laid out by a second reader of the tables that shares nothing with
//! the generated code: what it lays out is read to the last byte, and written back as the same bytes.

use flurm_slurm_protocol::structures::STRUCTURES;
use flurm_slurm_protocol::{Limits, Reader, Version, View, Writer, record};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;
use toml::{Table, Value};

struct Tables {
    structures: BTreeMap<String, Table>,
    messages: Vec<Table>,
    constants: BTreeMap<String, u64>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    let read =
        |path: &Path| -> Table { std::fs::read_to_string(path).expect("a table").parse().expect("of TOML") };
    let mut structures = BTreeMap::new();
    for file in std::fs::read_dir(folder.join("structs")).expect("the structures") {
        let table = read(&file.expect("it can be listed").path());
        for structure in table["struct"].as_array().expect("a list") {
            let structure = structure.as_table().expect("a table");
            structures.insert(text(structure, "name").to_owned(), structure.clone());
        }
    }
    let messages = read(&folder.join("messages.toml"));
    let messages = messages["message"].as_array().expect("a list").iter();
    // Some constants of 64 bits are more than a TOML integer; expressions need only small ones.
    let mut constants = BTreeMap::from([("NO_VAL".to_owned(), NO_VAL)]);
    for line in std::fs::read_to_string(folder.join("enums.toml")).expect("the constants").lines() {
        if let Some((name, value)) = line.split_once(" = ") {
            let value = value.rsplit("value = ").next().unwrap_or_default();
            let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
            if let Ok(value) = value[..digits].parse() {
                constants.insert(name.to_owned(), value);
            }
        }
    }
    Tables {
        structures,
        messages: messages.map(|message| message.as_table().expect("a table").clone()).collect(),
        constants,
    }
});

const NO_VAL: u64 = 0xffff_fffe;
/// Deeper lists are empty.
const DEPTH_MAX: usize = 4;

fn text<'a>(table: &'a Table, key: &str) -> &'a str {
    table.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(table: &Table, key: &str) -> Option<u64> {
    table.get(key)?.as_integer()?.try_into().ok()
}

fn covers(table: &Table, version: u64) -> bool {
    number(table, "since").is_none_or(|since| since <= version)
        && number(table, "until").is_none_or(|until| version <= until)
}

/// A small generator, so that a seed tells everything.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 ^ self.0 >> 29
    }
    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 7) % n
    }
}

/// Lays one structure out.
struct Layout<'a> {
    version: u64,
    random: &'a mut Random,
    out: Vec<u8>,
}

impl Layout<'_> {
    fn number(&mut self, bits: u32, value: u64) -> u64 {
        let value = value & (u64::MAX >> (64 - bits));
        self.out.extend(&value.to_be_bytes()[8 - bits as usize / 8..]);
        value
    }

    /// Small ones, those that mean something, any.
    fn some(&mut self, bits: u32) -> u64 {
        let value = match self.random.below(8) {
            0..4 => self.random.below(4),
            4 => self.random.below(25),
            5 => u64::MAX - 1,
            _ => self.random.next(),
        };
        self.number(bits, value)
    }

    fn texts(&mut self) {
        match self.random.below(4) {
            0 => {
                self.number(32, 0);
            }
            _ => {
                let length = self.random.below(9);
                self.number(32, length + 1);
                (0..length).for_each(|_| {
                    let byte = self.random.below(256);
                    self.number(8, byte);
                });
                self.number(8, 0);
            }
        }
    }

    fn bits(&mut self) {
        let length = self.random.below(80);
        if self.random.below(4) == 0 {
            self.number(32, NO_VAL);
            return;
        }
        self.number(32, length);
        let digits = length.div_ceil(4).max(1);
        self.number(32, digits + 3);
        self.out.extend(b"0x");
        for at in (0..digits).rev() {
            let room = length.saturating_sub(at * 4).min(4);
            let digit = self.random.below(1 << room);
            self.out.extend(format!("{digit:X}").bytes());
        }
        self.number(8, 0);
    }

    /// A value that is no structure, and what expressions see of it.
    fn value(&mut self, kind: &str, depth: usize) -> u64 {
        match kind {
            "bool" => {
                let truth = self.random.below(2);
                self.number(8, truth)
            }
            "u8" => self.some(8),
            "u16" => self.some(16),
            "u32" => self.some(32),
            "u64" | "time" | "double" => self.some(64),
            "str" | "longdouble" => {
                self.texts();
                0
            }
            "mem" => {
                let length = self.random.below(9);
                self.number(32, length);
                (0..length).for_each(|at| self.out.push(at as u8));
                0
            }
            "bitstr" => {
                self.bits();
                0
            }
            _ => match kind.split_once(':') {
                Some(("array", item)) => {
                    let count = self.random.below(4);
                    self.number(32, count);
                    self.items(item, count, depth);
                    count
                }
                Some(("struct", name)) => {
                    self.structure(name, depth + 1);
                    0
                }
                _ => panic!("{kind}"),
            },
        }
    }

    fn items(&mut self, item: &str, count: u64, depth: usize) {
        for _ in 0..count {
            self.value(item, depth);
        }
    }

    /// What expressions may name of it.
    fn structure(&mut self, name: &str, depth: usize) -> BTreeMap<String, u64> {
        let structure = &TABLES.structures[name];
        let fields = structure.get("field").and_then(Value::as_array).into_iter().flatten();
        let fields: Vec<&Table> =
            fields.filter_map(Value::as_table).filter(|f| covers(f, self.version)).collect();
        let mut known: BTreeMap<String, u64> = BTreeMap::new();
        for field in &fields {
            let (name, kind) = (text(field, "name"), text(field, "type"));
            if !text(field, "when").is_empty() && evaluate(text(field, "when"), &known) == 0 {
                continue;
            }
            let counts = fields.iter().any(|other| text(other, "count") == name);
            let end = format!(":{name}");
            let of_body = |other: &&Table| {
                text(other, "type").strip_prefix("body_of").is_some_and(|of| of.ends_with(&end))
            };
            let names_body = fields.iter().any(of_body);
            let seen = match kind {
                "u16" | "u32" if names_body => {
                    let bodies: Vec<u64> =
                        TABLES.messages.iter().filter_map(|m| body(m, self.version)).map(|b| b.0).collect();
                    let chosen = bodies[self.random.below(bodies.len() as u64) as usize];
                    self.number(if kind == "u16" { 16 } else { 32 }, chosen)
                }
                "u16" | "u32" if counts => {
                    let count = if depth > DEPTH_MAX { 0 } else { self.random.below(4) };
                    self.number(if kind == "u16" { 16 } else { 32 }, count)
                }
                "list" => {
                    let count = if depth > DEPTH_MAX { 4 } else { self.random.below(5) };
                    let count = if count == 4 { NO_VAL } else { count };
                    self.number(32, count);
                    self.items(text(field, "item"), if count == NO_VAL { 0 } else { count }, depth);
                    known.insert(text(field, "count_name").to_owned(), count);
                    count
                }
                "array" => {
                    let count = evaluate(text(field, "count"), &known);
                    self.items(text(field, "item"), count, depth);
                    count
                }
                _ if kind.starts_with("body_of") => {
                    let (_, of) = kind.split_once(':').expect("it names a field");
                    let mut bodies = TABLES.messages.iter().filter_map(|m| body(m, self.version));
                    let (_, carried) = bodies.find(|b| b.0 == known[of]).expect("it was chosen among them");
                    if !carried.is_empty() {
                        self.structure(carried, depth + 1);
                    }
                    0
                }
                _ => match kind.strip_prefix("struct:") {
                    Some(inner) => {
                        let inner = self.structure(inner, depth + 1);
                        known.extend(inner.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
                        0
                    }
                    None => self.value(kind, depth),
                },
            };
            known.insert(name.to_owned(), seen);
        }
        known
    }
}

/// Number and structure of a message in a version.
fn body(message: &Table, version: u64) -> Option<(u64, &str)> {
    let mut bodies = message["body"].as_array().expect("a list").iter().filter_map(Value::as_table);
    let body = bodies.find(|body| covers(body, version))?;
    let by_version = message.get("number_by_version").and_then(Value::as_table);
    let number =
        by_version.map_or_else(|| number(message, "number"), |table| number(table, &version.to_string()));
    Some((number.expect("it has one"), text(body, "struct")))
}

/// An expression of the tables: signs from the loosest on, cut at the last one outside of parentheses.
fn evaluate(expression: &str, known: &BTreeMap<String, u64>) -> u64 {
    let text = expression.trim();
    for signs in [&["||"][..], &["&&"], &["&"], &["==", "!="], &["<=", ">=", "<", ">"]] {
        let mut depth = 0;
        let mut found = None;
        for at in 0..text.len() {
            depth += i32::from(text[at..].starts_with('(')) - i32::from(text[at..].starts_with(')'));
            let sign = signs.iter().find(|sign| text[at..].starts_with(**sign));
            let doubled =
                |sign: &&&str| **sign == "&" && (text[at..].starts_with("&&") || text[..at].ends_with('&'));
            let behind = |sign: &&&str| sign.len() == 1 && text[..at].ends_with(['<', '>', '!', '=']);
            if depth == 0
                && let Some(sign) = sign.filter(|sign| !doubled(sign) && !behind(sign))
            {
                found = Some((at, *sign));
            }
        }
        if let Some((at, sign)) = found {
            let (a, b) = (evaluate(&text[..at], known), evaluate(&text[at + sign.len()..], known));
            return match sign {
                "||" => u64::from(a != 0 || b != 0),
                "&&" => u64::from(a != 0 && b != 0),
                "&" => a & b,
                "==" => u64::from(a == b),
                "!=" => u64::from(a != b),
                "<=" => u64::from(a <= b),
                ">=" => u64::from(a >= b),
                "<" => u64::from(a < b),
                _ => u64::from(a > b),
            };
        }
    }
    if let Some(inner) = text.strip_prefix('!') {
        return u64::from(evaluate(inner, known) == 0);
    }
    if let Some(inner) = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
        return evaluate(inner, known);
    }
    let constant = || TABLES.constants.get(text).copied();
    let field = known.get(text).copied();
    // A field that was left out counts as zero.
    field.or_else(constant).or_else(|| text.parse().ok()).unwrap_or_default()
}

/// All structures in all versions that have them, with random values.
fn all_through(seed: u64) {
    let mut random = Random(seed);
    for known in STRUCTURES {
        for version in Version::all() {
            if !(known.shape.since..=known.shape.until).contains(&version.number()) {
                continue;
            }
            let name = known.shape.name;
            let mut layout =
                Layout { version: version.number().into(), random: &mut random, out: Vec::new() };
            layout.structure(name, 0);
            let bytes = layout.out;
            let what = || format!("{name} in {version}: {bytes:02x?}");
            let mut record = (known.empty)();
            let mut reader = Reader::new(&bytes, version, &Limits::default());
            let read = record::read(&mut *record, &mut reader).and_then(|()| reader.finish());
            read.unwrap_or_else(|error| panic!("{error}: {}", what()));
            let mut writer = Writer::new(version);
            record::write(&*record, &mut writer).unwrap_or_else(|error| panic!("{error}: {}", what()));
            assert_eq!(writer.into_bytes(), bytes, "{}", what());
            serde_json::to_string(&View::record(&*record, version)).expect("JSON takes everything");
            if let Some(cut) = bytes.len().checked_sub(1) {
                let cut = random.below(cut as u64 + 1) as usize;
                let mut reader = Reader::new(&bytes[..cut], version, &Limits::default());
                let error = record::read(&mut *(known.empty)(), &mut reader).expect_err("it was cut");
                assert!(!error.structure.is_empty() && error.offset <= cut, "{error}: {}", what());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn random_values_of_every_structure_and_version_come_back(seed in any::<u64>()) {
        all_through(seed);
    }
}

#[test]
fn the_second_reader_of_expressions_knows_precedence() {
    let known = BTreeMap::from([("a".to_owned(), 6), ("b".to_owned(), 0)]);
    let cases = [
        ("a & 2", 2),
        ("!b && a == 6", 1),
        ("b || a < 6", 0),
        ("(a <= 6) && (b != NO_VAL)", 1),
        ("a == 1 || a == 6", 1),
        ("a > 0 && a & 1", 0),
        ("c", 0),
    ];
    for (expression, value) in cases {
        assert_eq!(evaluate(expression, &known), value, "{expression}");
    }
}
