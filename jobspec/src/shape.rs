//! Resources in one line: `node=4/slot=2/[core=10;gpu=1]` (RFC 46).
//!
//! A kind with its count, in braces what else is said of it, behind a slash what is inside; several side by side stand
//! in brackets. In braces: `x` for exclusive, `-x` for shared, the label of a slot, `unit:GiB`, `id:0-3`.

use crate::limits::RESOURCE_DEPTH_MAX;
use flurm_types::SyntaxError;
use serde_json::{Map, Value, json};

/// What a slot is called that has no label.
const LABEL: &str = "task";

/// The `resources` of a jobspec as this text describes them, and the labels of their slots. Whether they are good is for
/// the reader of jobspecs to say.
///
/// # Errors
/// The place where the text is not a shape.
pub fn resources(text: &str) -> Result<(Value, Vec<String>), SyntaxError> {
    let mut reader = Reader { text, at: 0, slots: Vec::new() };
    let resources = reader.side_by_side(0)?;
    match reader.text.len() {
        end if reader.at == end => Ok((resources, reader.slots)),
        _ => reader.fail("expected `/`, or the end"),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Labels of the slots, in their order.
    slots: Vec<String>,
}

impl<'a> Reader<'a> {
    fn fail<T>(&self, rule: impl Into<std::borrow::Cow<'static, str>>) -> Result<T, SyntaxError> {
        Err(SyntaxError::new("shape", self.text, self.at, rule))
    }

    /// Goes behind this sign, if it is next.
    fn takes(&mut self, sign: char) -> bool {
        let is_next = self.text[self.at..].starts_with(sign);
        if is_next {
            self.at += sign.len_utf8();
        }
        is_next
    }

    /// The text before the next of these signs.
    fn until(&mut self, signs: &[char]) -> &'a str {
        let rest = &self.text[self.at..];
        let word = &rest[..rest.find(signs).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn side_by_side(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        if depth > RESOURCE_DEPTH_MAX {
            return self.fail(format!("more than {RESOURCE_DEPTH_MAX} levels"));
        }
        if !self.takes('[') {
            return Ok(json!([self.vertex(depth)?]));
        }
        let mut vertices = Vec::new();
        loop {
            vertices.push(self.vertex(depth)?);
            if self.takes(']') {
                return Ok(Value::Array(vertices));
            }
            if !self.takes(';') {
                return self.fail("expected `;` or `]`");
            }
        }
    }

    fn vertex(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        let kind = self.until(&['=', '{', '/', '[', ']', ';', '}']);
        if kind.trim().is_empty() || kind.contains(char::is_whitespace) {
            self.at -= kind.len();
            return self.fail("expected the type of a resource, such as `node`");
        }
        let mut vertex = Map::from_iter([("type".to_owned(), json!(kind)), ("count".to_owned(), json!(1))]);
        if self.takes('=') {
            let count = self.until(&['{', '/', '[', ']', ';', '}']);
            if count.is_empty() {
                return self.fail("expected a count");
            }
            // What is more than a number is read where ranges are.
            vertex["count"] = count.parse::<u32>().map_or_else(|_| json!(count), |number| json!(number));
        }
        if self.takes('{') {
            self.said(kind, &mut vertex)?;
        }
        if kind == "slot" {
            let label = vertex.entry("label").or_insert_with(|| json!(LABEL));
            self.slots.push(label.as_str().unwrap_or(LABEL).to_owned());
        }
        if self.takes('/') {
            let inside = self.side_by_side(depth + 1)?;
            vertex.insert("with".to_owned(), inside);
        }
        Ok(Value::Object(vertex))
    }

    /// What stands in braces.
    fn said(&mut self, kind: &str, vertex: &mut Map<String, Value>) -> Result<(), SyntaxError> {
        loop {
            let from = self.at;
            let word = self.until(&[',', '}']);
            let (key, value) = match word.split_once(':') {
                Some((key @ ("label" | "unit" | "id"), value)) => (key, json!(value)),
                None if ["x", "+x", "exclusive", "+exclusive"].contains(&word) => ("exclusive", json!(true)),
                None if ["-x", "-exclusive"].contains(&word) => ("exclusive", json!(false)),
                None if kind == "slot" && !word.is_empty() && !word.starts_with(['+', '-']) => {
                    ("label", json!(word))
                }
                _ => {
                    self.at = from;
                    return self.fail("expected `x`, `-x`, a slot's label, `unit:…` or `id:…`");
                }
            };
            vertex.insert(key.to_owned(), value);
            if self.takes('}') {
                return Ok(());
            }
            if !self.takes(',') {
                return self.fail("`{` without `}`");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_become_resources() {
        for (text, expected) in [
            (
                "slot=64/core",
                r#"[{"type":"slot","count":64,"label":"task","with":[{"type":"core","count":1}]}]"#,
            ),
            (
                "node=4/slot=2{t}/[core=10;gpu]",
                r#"[{"type":"node","count":4,"with":[{"type":"slot","count":2,"label":"t","with":[
                    {"type":"core","count":10},{"type":"gpu","count":1}]}]}]"#,
            ),
            (
                "slot=2-8:2:*/node{x}",
                r#"[{"type":"slot","count":"2-8:2:*","label":"task","with":[
                    {"type":"node","count":1,"exclusive":true}]}]"#,
            ),
            (
                "[slot{a,-x}/core;slot{label:b}/memory=4{unit:GiB,id:0}]",
                r#"[{"type":"slot","count":1,"label":"a","exclusive":false,"with":[{"type":"core","count":1}]},
                    {"type":"slot","count":1,"label":"b","with":[
                        {"type":"memory","count":4,"unit":"GiB","id":"0"}]}]"#,
            ),
        ] {
            let expected: Value = serde_json::from_str(expected).unwrap();
            assert_eq!(resources(text).unwrap().0, expected, "{text}");
        }
        assert_eq!(resources("[slot{a}/core;slot{b}/core]").unwrap().1, ["a", "b"]);
    }

    #[test]
    fn what_is_no_shape_is_refused_with_its_place() {
        for (text, column, rule) in [
            ("", 1, "expected the type of a resource"),
            ("=3", 1, "expected the type"),
            ("node=", 6, "expected a count"),
            ("node/", 6, "expected the type"),
            ("node{", 6, "expected `x`"),
            ("node{x", 7, "`{` without `}`"),
            ("node{y}", 6, "expected `x`"),
            ("slot{+a}", 6, "expected `x`"),
            ("[core", 6, "expected `;` or `]`"),
            ("core]", 5, "expected `/`, or the end"),
            ("no de", 1, "expected the type"),
            ("[core;]", 7, "expected the type"),
        ] {
            let said = resources(text).unwrap_err().to_string();
            assert!(said.contains(rule) && said.contains(&format!("column {column}")), "{text}: {said}");
        }
        let deep = vec!["node"; 100].join("/");
        assert!(resources(&deep).unwrap_err().to_string().contains("more than 16 levels"));
    }
}
