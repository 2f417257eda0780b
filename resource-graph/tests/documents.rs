//! A document is read the same whatever the pieces are in which it comes.

use flurm_resource_graph::describe::{Description, DescriptionError, Document, Shape};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Choices that look random, from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

fn space(dice: &mut Dice) -> &'static str {
    dice.one(&["", "", "", " ", "\n", "\t \r\n  "])
}

/// A text with some of its characters as escapes.
fn text(text: &str, dice: &mut Dice) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' || dice.below(4) == 0 => {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out += &format!("\\u{unit:04x}"));
            }
            c => out.push(c),
        }
    }
    out + "\""
}

/// The value with any space between, keys in any order.
fn print(value: &Value, dice: &mut Dice, out: &mut String) {
    *out += space(dice);
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            for n in (1..keys.len()).rev() {
                keys.swap(n, dice.below(n + 1));
            }
            out.push('{');
            for (n, key) in keys.into_iter().enumerate() {
                *out += if n > 0 { "," } else { "" };
                *out += space(dice);
                *out += &text(key, dice);
                *out += space(dice);
                out.push(':');
                print(&map[key], dice, out);
            }
            *out += space(dice);
            out.push('}');
        }
        Value::Array(list) => {
            out.push('[');
            for (n, item) in list.iter().enumerate() {
                *out += if n > 0 { "," } else { "" };
                print(item, dice, out);
            }
            *out += space(dice);
            out.push(']');
        }
        Value::String(said) => *out += &text(said, dice),
        other => *out += &other.to_string(),
    }
    *out += space(dice);
}

/// A graph with odd names, some vertices of which break a rule; alone, in an object or in an R.
fn document(dice: &mut Dice) -> Value {
    let shape = Shape {
        hosts: format!("n[0-{}]", dice.below(3)).parse().unwrap(),
        sockets: 1 + dice.below(2) as u32,
        cores: 1 + dice.below(3) as u32,
        memory_gib: (dice.below(2) == 0).then_some(64),
        ..Shape::default()
    };
    let mut graph: Value = serde_json::from_str(&shape.describe().to_jgf()).unwrap();
    let nodes = graph["graph"]["nodes"].as_array_mut().unwrap();
    for _ in 0..dice.below(4) {
        let at = dice.below(nodes.len());
        let metadata = &mut nodes[at]["metadata"];
        match dice.below(6) {
            0 => metadata["properties"] = json!({ "a \"ß\" \\ 😀": "\u{1}{[,]}" }),
            1 => metadata["other"] = json!({ "nodes": [{ "deep": [[], {}, "]}"] }], "number": -12.5e3 }),
            2 => metadata["paths"] = json!({}),
            3 => metadata["name"] = json!("ü😀"),
            4 => metadata["size"] = json!(-12_345),
            _ => metadata["type"] = json!(123_456_789),
        }
    }
    let mut inner = graph["graph"].take();
    if dice.below(8) == 0 {
        inner["edges"][0]["target"] = json!(99);
    }
    let mut top = match dice.below(3) {
        0 => inner,
        1 => json!({ "graph": inner }),
        _ => {
            let mut r: Value = serde_json::from_str(&shape.to_r().to_json()).unwrap();
            r["scheduling"] = json!({ "graph": inner, "writer": "fluxion:jgf" });
            r
        }
    };
    if dice.below(2) == 0 {
        top["more"] = json!([null, true, 17, "x{", { "graph": { "nodes": 3 } }]);
    }
    top
}

type Read = Result<(Option<Description>, String), DescriptionError>;

fn read(text: &str, chunk: usize) -> Read {
    Document::read_by(text.as_bytes(), chunk).map(|document| (document.graph, document.rest))
}

/// The document without its graph.
fn without(mut document: Value) -> Value {
    let take = |value: &mut Value| {
        if let Some(map) = value.as_object_mut() {
            map.retain(|key, _| !["graph", "nodes", "edges"].contains(&&**key));
        }
    };
    take(&mut document);
    take(&mut document["scheduling"]);
    if document["scheduling"].is_null() {
        document.as_object_mut().unwrap().remove("scheduling");
    }
    document
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn chunks_make_no_difference(seed: u64, sizes in prop::collection::vec(1_usize..300, 3)) {
        let dice = &mut Dice(seed);
        let document = document(dice);
        let mut printed = String::new();
        print(&document, dice, &mut printed);
        let whole = read(&printed, printed.len() + 1);
        let graph = document.pointer("/scheduling").unwrap_or(&document);
        let by_value = Description::from_jgf_value(graph);
        match (&whole, &by_value) {
            (Ok((Some(one), rest)), Ok(other)) => {
                // The order of keys decides which of two lists comes first, and nothing else.
                prop_assert_eq!(one, other);
                prop_assert_eq!(serde_json::from_str::<Value>(rest).unwrap(), without(document));
            }
            (one, other) => prop_assert!(one.is_err() && other.is_err(), "{one:?}\n{other:?}\n{printed}"),
        }
        // The same with something broken.
        let mut broken = printed.clone().into_bytes();
        let at = dice.below(broken.len());
        match dice.below(3) {
            0 => broken.truncate(at),
            1 => broken[at] = b"{}[],:\"\\0a "[dice.below(11)],
            _ => drop(broken.remove(at)),
        }
        for text in [printed, String::from_utf8_lossy(&broken).into_owned()] {
            let whole = read(&text, text.len() + 1);
            for chunk in sizes.iter().copied().chain([1 + dice.below(20)]) {
                prop_assert_eq!(&read(&text, chunk), &whole, "chunks of {} of {}", chunk, text);
            }
        }
    }
}
