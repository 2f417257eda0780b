//! Rust text out of the tables.

use crate::expr;
use crate::schema::{Constant, Entry, FIRST, LAST, Schema, Structure, Type};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A field of a Rust structure: one datum, wherever the versions put it.
struct Slot {
    name: String,
    rust: String,
    /// Some version or condition leaves it out, or null is something else than empty.
    optional: bool,
    /// Holds a list whose null is a value.
    list: bool,
}

/// A Rust structure in the making: its fields, and for each line of the layout the field that it fills.
struct Layout<'a> {
    structure: &'a Structure,
    slots: Vec<Slot>,
    lines: Vec<(&'a Entry, usize)>,
}

pub fn structures(schema: &Schema) -> String {
    let mut out = String::new();
    let mut all = String::new();
    for structure in schema.structures.values() {
        let layout = Layout::new(structure);
        layout.emit_type(&mut out, &carriers(schema, &structure.name));
        layout.emit_shape(schema, &mut out);
        let _ = writeln!(
            all,
            "    Known {{ shape: &{}, empty: || Box::new({}::default()) }},",
            shape(&structure.name),
            camel(&structure.name)
        );
    }
    let _ = writeln!(out, "/// All of them, by name.\npub static STRUCTURES: &[Known] = &[\n{all}];");
    out
}

fn carriers(schema: &Schema, name: &str) -> Vec<String> {
    let mut found: Vec<String> = schema
        .carried
        .iter()
        .filter(|carried| carried.structure.as_deref() == Some(name))
        .map(|carried| carried.message.clone())
        .collect();
    found.dedup();
    found
}

impl<'a> Layout<'a> {
    fn new(structure: &'a Structure) -> Self {
        let mut by_name: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for entry in &structure.entries {
            by_name.entry(&entry.name).or_default().push(entry);
        }
        let mut layout = Self { structure, slots: Vec::new(), lines: Vec::new() };
        for entry in &structure.entries {
            let name = layout.place(entry, &by_name[entry.name.as_str()]);
            layout.lines.push((entry, name));
        }
        layout
    }

    /// The field for this line: made if it is the first of that datum.
    fn place(&mut self, entry: &Entry, same_name: &[&Entry]) -> usize {
        let newest = same_name.iter().max_by_key(|other| other.until).expect("it is one of them");
        let all_integers = same_name.iter().all(|other| other.kind.width().is_some());
        // Integers of several widths are kept in the widest. Other types that took turns are fields of their own.
        let (kind, name, mine): (&Type, String, Vec<&&Entry>) = if all_integers {
            let widest = same_name.iter().max_by_key(|other| other.kind.width()).expect("it is one of them");
            (&widest.kind, entry.name.clone(), same_name.iter().collect())
        } else if entry.kind == newest.kind {
            let mine = same_name.iter().filter(|other| other.kind == entry.kind).collect();
            (&entry.kind, entry.name.clone(), mine)
        } else {
            let mine: Vec<_> = same_name.iter().filter(|other| other.kind == entry.kind).collect();
            let until = mine.iter().map(|other| other.until).max().expect("it is one of them");
            (&entry.kind, format!("{}_until_{until}", entry.name), mine)
        };
        if let Some(at) = self.slots.iter().position(|slot| slot.name == name) {
            return at;
        }
        let always = (self.structure.since..=self.structure.until).all(|version| {
            mine.iter().any(|other| other.when.is_none() && other.since <= version && version <= other.until)
        });
        let list = matches!(kind, Type::List(_));
        // A text, a bitmap and a body can be null by themselves.
        let nullable = matches!(kind, Type::Str | Type::Bits | Type::Body(_));
        let slot = Slot { name, rust: rust(kind), optional: (!always && !nullable) || list, list };
        self.slots.push(slot);
        self.slots.len() - 1
    }

    fn emit_type(&self, out: &mut String, carriers: &[String]) {
        let Structure { name, since, until, note, .. } = self.structure;
        let camel = camel(name);
        let _ = write!(out, "/// `{name}`");
        if !carriers.is_empty() {
            let _ = write!(out, ", body of {}", carriers.join(", "));
        }
        if (*since, *until) != (FIRST, LAST) {
            let _ = write!(out, "; versions {since} to {until}");
        }
        if let Some(note) = note {
            let _ = write!(out, "; {note}");
        }
        let _ = writeln!(out, ".\n#[derive(Clone, Default, PartialEq)]\npub struct {camel} {{");
        for (at, slot) in self.slots.iter().enumerate() {
            let lines: Vec<&Entry> =
                self.lines.iter().filter(|(_, slot)| *slot == at).map(|(entry, _)| *entry).collect();
            if let Some(words) = self.presence(&lines) {
                let _ = writeln!(out, "    /// {words}");
            }
            let rust = match (slot.optional, &slot.rust) {
                (false, rust) => rust.clone(),
                (true, rust) if is_struct(&lines[0].kind) => format!("Option<Box<{rust}>>"),
                (true, rust) => format!("Option<{rust}>"),
            };
            let _ = writeln!(out, "    pub {}: {rust},", field(&slot.name));
        }
        let _ = writeln!(out, "}}\nimpl Record for {camel} {{");
        let _ = writeln!(out, "    fn shape(&self) -> &'static Shape {{\n        &{}\n    }}", shape(name));
        for (function, reference) in [("field(&self", "&"), ("field_mut(&mut self", "&mut ")] {
            let arm = |(at, slot): (usize, &Slot)| {
                format!("            {at} => {reference}self.{},\n", field(&slot.name))
            };
            let arms: String = self.slots.iter().enumerate().map(arm).collect();
            let lost = "unreachable!(\"slots come from the shape\")";
            let choice = match arms.as_str() {
                "" => format!("        {lost}\n"),
                arms => format!("        match slot {{\n{arms}            _ => {lost},\n        }}\n"),
            };
            let slot = if arms.is_empty() { "_" } else { "slot" };
            let _ =
                writeln!(out, "    fn {function}, {slot}: u16) -> {reference}dyn Field {{\n{choice}    }}");
        }
        let _ = writeln!(out, "}}\nplumbing!({camel});");
    }

    /// When it is there, in words; nothing if always.
    fn presence(&self, lines: &[&Entry]) -> Option<String> {
        let mut parts: Vec<String> = Vec::new();
        for entry in lines {
            let mut words = match (entry.since > self.structure.since, entry.until < self.structure.until) {
                (true, true) => format!("{} to {}", entry.since, entry.until),
                (true, false) => format!("since {}", entry.since),
                (false, true) => format!("until {}", entry.until),
                (false, false) => String::new(),
            };
            if let Some(when) = &entry.when {
                words = format!("{words} if `{when}`").trim_start().to_owned();
            }
            if let Some(count) = &entry.count {
                words = format!("{words} as many as `{count}`").trim_start().to_owned();
            }
            if !words.is_empty() && !parts.contains(&words) {
                parts.push(words);
            }
        }
        (!parts.is_empty()).then(|| format!("Wire: {}.", parts.join("; ")))
    }

    fn emit_shape(&self, schema: &Schema, out: &mut String) {
        let Structure { name, since, until, .. } = self.structure;
        let _ = writeln!(
            out,
            "static {}: Shape = Shape {{ name: \"{name}\", since: {since}, until: {until}, fields: &[",
            shape(name)
        );
        for (entry, slot) in &self.lines {
            let resolve = |name: &str| self.resolve(schema, entry, name);
            let program =
                |text: Option<&String>| text.map_or("&[]".to_owned(), |text| expr::compile(text, &resolve));
            let argument = match &entry.kind {
                Type::Body(field) => Some(field),
                _ => entry.count.as_ref(),
            };
            let _ = writeln!(
                out,
                "    Spec {{ name: \"{}\", slot: {slot}, since: {}, until: {}, wire: {}, when: {}, argument: {} }},",
                entry.name,
                entry.since,
                entry.until,
                wire(&entry.kind),
                program(entry.when.as_ref()),
                program(argument)
            );
        }
        let _ = writeln!(out, "] }};");
    }

    /// A name in an expression of `user`: a field before it, the count of a list, a field inside a structure, a constant.
    fn resolve(&self, schema: &Schema, user: &Entry, name: &str) -> String {
        let here = |wanted: &str| {
            let overlaps = |entry: &Entry| entry.since <= user.until && user.since <= entry.until;
            let mut slots: Vec<usize> = self
                .lines
                .iter()
                .filter(|(entry, _)| entry.name == wanted && overlaps(entry))
                .map(|(_, slot)| *slot)
                .collect();
            slots.dedup();
            assert!(slots.len() < 2, "{}: `{wanted}` could be several fields", self.structure.name);
            slots.first().copied()
        };
        if let Some(slot) = here(name) {
            return format!("Op::Slot({slot})");
        }
        let counted = |(entry, _): &&(&Entry, usize)| entry.count_name.as_deref() == Some(name);
        if let Some((_, slot)) = self.lines.iter().find(counted) {
            assert!(self.slots[*slot].list, "{}: {name} counts no list", self.structure.name);
            return format!("Op::Count({slot})");
        }
        if let Some((outer, inner)) = name.split_once('.') {
            let slot = here(outer).unwrap_or_else(|| panic!("{}: no {outer}", self.structure.name));
            let entry = self.lines.iter().find(|(_, at)| *at == slot).expect("it was just found").0;
            let Type::Struct(structure) = &entry.kind else { panic!("{name}: {outer} is no structure") };
            let inside = Layout::new(&schema.structures[structure]);
            let at = inside.slots.iter().position(|slot| slot.name == inner);
            return format!("Op::Inner({slot}, {})", at.unwrap_or_else(|| panic!("no {name}")));
        }
        let value = schema.constant(name);
        format!(
            "Op::Const({})",
            value.unwrap_or_else(|| panic!("{}: what is `{name}`?", self.structure.name))
        )
    }
}

fn is_struct(kind: &Type) -> bool {
    matches!(kind, Type::Struct(_))
}

fn rust(kind: &Type) -> String {
    match kind {
        Type::Bool => "bool".to_owned(),
        Type::U8 => "u8".to_owned(),
        Type::U16 => "u16".to_owned(),
        Type::U32 => "u32".to_owned(),
        Type::U64 => "u64".to_owned(),
        Type::Time => "i64".to_owned(),
        Type::Double => "Double".to_owned(),
        Type::Str => "Text".to_owned(),
        Type::Mem => "Bytes".to_owned(),
        Type::Bits => "Bits".to_owned(),
        Type::Array(item) | Type::List(item) | Type::Counted(item) => format!("Vec<{}>", rust(item)),
        Type::Struct(name) => camel(name),
        Type::Body(_) => "Nested".to_owned(),
    }
}

fn wire(kind: &Type) -> String {
    match kind {
        Type::Bool => "Wire::Bool".to_owned(),
        Type::U8 => "Wire::U8".to_owned(),
        Type::U16 => "Wire::U16".to_owned(),
        Type::U32 => "Wire::U32".to_owned(),
        Type::U64 => "Wire::U64".to_owned(),
        Type::Array(item) => format!("Wire::Array(&{})", wire(item)),
        Type::List(item) => format!("Wire::List(&{})", wire(item)),
        Type::Counted(item) => format!("Wire::Counted(&{})", wire(item)),
        Type::Time | Type::Double | Type::Str | Type::Mem | Type::Bits | Type::Struct(_) | Type::Body(_) => {
            "Wire::Own".to_owned()
        }
    }
}

fn camel(name: &str) -> String {
    let words = name.split('_').filter(|word| !word.is_empty());
    words.map(|word| word[..1].to_uppercase() + &word[1..].to_lowercase()).collect()
}

fn shape(name: &str) -> String {
    format!("{}_SHAPE", name.to_uppercase())
}

/// A name that may be a word of Rust.
fn field(name: &str) -> String {
    if ["type", "ref", "match", "mod", "move", "use", "where", "final"].contains(&name) {
        format!("r#{name}")
    } else {
        name.to_owned()
    }
}

/// The enum of all bodies, and who has which number when.
pub fn body(schema: &Schema) -> String {
    let mut variants = String::new();
    let [mut table, mut index, mut make, mut record] = [const { String::new() }; 4];
    let mut numbers: Vec<(u16, u8, u8, usize)> = Vec::new();
    for (at, carried) in schema.carried.iter().enumerate() {
        let variant = if carried.newest {
            camel(&carried.message)
        } else {
            format!("{}Until{}", camel(&carried.message), carried.until)
        };
        let message = &carried.message;
        let _ = writeln!(variants, "    /// {message}");
        let _ = writeln!(table, "    Entry {{ name: \"{message}\", numbers: &{:?} }},", carried.numbers);
        match &carried.structure {
            Some(structure) => {
                let camel = camel(structure);
                let _ = writeln!(variants, "    {variant}(Box<{camel}>),");
                let _ = writeln!(index, "            Self::{variant}(_) => {at},");
                let _ = writeln!(make, "            {at} => Self::{variant}(Box::default()),");
                let _ = writeln!(record, "            Self::{variant}(body) => Some(&mut **body),");
            }
            None => {
                let _ = writeln!(variants, "    {variant},");
                let _ = writeln!(index, "            Self::{variant} => {at},");
                let _ = writeln!(make, "            {at} => Self::{variant},");
                let _ = writeln!(record, "            Self::{variant} => None,");
            }
        }
        numbers.extend(carried.numbers.iter().map(|(number, since, until)| (*number, *since, *until, at)));
    }
    numbers.sort_unstable();
    for pair in numbers.windows(2) {
        let [(number, _, until, _), (next, since, _, _)] = pair else { continue };
        assert!(number != next || until < since, "two messages have the number {number}");
    }
    let shared = record.replace("&mut **body", "&**body");
    format!(
        "/// What a message says, by its type.\n#[derive(Clone, PartialEq)]\npub enum Body {{\n{variants}}}\n\n\
         static MESSAGES: &[Entry] = &[\n{table}];\n\n\
         /// Number, first and last version, place in `MESSAGES`; sorted.\n\
         static NUMBERS: &[(u16, u8, u8, u16)] = &{numbers:?};\n\n\
         impl Body {{\n    fn index(&self) -> u16 {{\n        match self {{\n{index}        }}\n    }}\n\n    \
         fn make(index: u16) -> Self {{\n        match index {{\n{make}            _ => unreachable!(\"places come from the table\"),\n        }}\n    }}\n\n    \
         /// Its structure, if it has one.\n    pub fn record(&self) -> Option<&dyn Record> {{\n        match self {{\n{shared}        }}\n    }}\n\n    \
         fn record_mut(&mut self) -> Option<&mut dyn Record> {{\n        match self {{\n{record}        }}\n    }}\n}}\n"
    )
}

pub fn constants(schema: &Schema) -> String {
    let mut by_name: BTreeMap<&str, Vec<&Constant>> = BTreeMap::new();
    for constant in &schema.constants {
        by_name.entry(&constant.name).or_default().push(constant);
    }
    let mut out = String::new();
    for (name, mut same) in by_name {
        same.sort_by_key(|constant| constant.until);
        let newest = same.last().expect("no name without a constant").value;
        // Moving from one group to another changes nothing.
        same.dedup_by(|next, before| next.value == before.value);
        for constant in &same {
            let name = if constant.value == newest {
                name.to_owned()
            } else {
                format!("{name}_UNTIL_{}", constant.until)
            };
            let value = constant.value;
            let rust = match value {
                ..0 => "i32",
                0..=0xffff_ffff => "u32",
                _ => "u64",
            };
            let _ = write!(out, "/// `{}`", constant.group);
            if same.len() == 1 && (constant.since, constant.until) != (FIRST, LAST) {
                let _ = write!(out, ", versions {} to {}", constant.since, constant.until);
            }
            let _ = writeln!(out, ".\npub const {name}: {rust} = {value};");
        }
    }
    out
}

pub fn errors(schema: &Schema) -> String {
    let mut out = String::new();
    let mut table: Vec<String> = Vec::new();
    let mut sorted: Vec<_> = schema.errors.iter().collect();
    sorted.sort_by_key(|error| (error.number, error.defined));
    for error in &sorted {
        let same: Vec<_> = sorted.iter().filter(|other| other.name == error.name).collect();
        let newest = same.iter().map(|other| other.defined.1).max();
        let name = if newest == Some(error.defined.1) {
            error.name.clone()
        } else {
            format!("{}_UNTIL_{}", error.name, error.defined.1)
        };
        let meaning = if error.meaning.is_empty() { &error.name } else { &error.meaning };
        let _ = writeln!(out, "/// {}\npub const {name}: u32 = {};", capital(meaning), error.number);
        let (since, until) = error.defined;
        table.push(format!(
            "    Code {{ number: {}, since: {since}, until: {until}, name: {:?}, meaning: {:?} }},",
            error.number, error.name, error.meaning
        ));
    }
    let _ = writeln!(out, "static CODES: &[Code] = &[\n{}\n];", table.join("\n"));
    out
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str()).replace('<', "\\<").replace('[', "\\[")
}
