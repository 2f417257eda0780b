//! RFC 11's tree objects: a part of the store as one JSON value, which needs nothing else to be read.
//!
//! There is no store of content by hash behind it, so a directory holds its entries and nothing is a reference.

use crate::failure::Failure;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flurm_client::{Client, kvs};
use flurm_wire::fact::KvsOp;
use flurm_wire::kvs::{Node, NodeKind};
use serde_json::{Map, Value, json};

/// Directories within directories; what the store itself takes is less.
const DEPTH_MAX: usize = 64;

/// The object of a key, with all that is below it.
pub async fn read(client: &Client, namespace: &str, key: &str) -> Result<Value, Failure> {
    let mut root = Value::Null;
    // Path of names in the object, key in the store, and whether it is a link.
    let mut todo: Vec<(Vec<String>, String, NodeKind)> = vec![(Vec::new(), key.to_owned(), NodeKind::Value)];
    while let Some((path, key, kind)) = todo.pop() {
        let object = match kind {
            NodeKind::Symlink => symlink(&kvs::readlink(client, namespace, &key).await?),
            NodeKind::Value | NodeKind::Dir => {
                match kvs::get(client, namespace, &key).await {
                    Ok(got) => match got.node {
                        Some(Node::Value(value)) => val(&value),
                        Some(Node::Symlink(target)) => symlink(&target),
                        Some(Node::Dir(entries)) => {
                            for (name, kind) in entries {
                                // The log's views are no part of the store.
                                if path.is_empty()
                                    && key == "."
                                    && matches!(name.as_str(), "job" | "resource")
                                {
                                    continue;
                                }
                                let below = super::join(&key, &name);
                                todo.push(([path.as_slice(), &[name]].concat(), below, kind));
                            }
                            dir()
                        }
                        None => continue,
                    },
                    // It has gone between the two questions.
                    Err(e) if !path.is_empty() && e.code() == Some(flurm_wire::ErrorCode::NotFound) => {
                        continue;
                    }
                    Err(e) => return Err(e.into()),
                }
            }
        };
        let mut at = &mut root;
        for name in &path {
            at = &mut at["data"][name];
        }
        *at = object;
    }
    Ok(root)
}

fn val(value: &Value) -> Value {
    json!({ "ver": 1, "type": "val", "data": BASE64_STANDARD.encode(super::text(value)) })
}

pub fn symlink(target: &str) -> Value {
    json!({ "ver": 1, "type": "symlink", "data": { "target": target } })
}

fn dir() -> Value {
    json!({ "ver": 1, "type": "dir", "data": {} })
}

/// What an object is, with its references refused.
enum Kind<'a> {
    Val(Value),
    Dir(&'a Map<String, Value>),
    Symlink(&'a str),
}

fn kind(object: &Value) -> Result<Kind<'_>, Failure> {
    let bad = |rule: &str| Failure::usage(format!("cannot read tree object: {rule}"));
    if object["ver"] != 1 {
        return Err(bad("it has no `ver` of 1"));
    }
    let data = &object["data"];
    match object["type"].as_str() {
        Some("val") => {
            let text = data.as_str().ok_or_else(|| bad("the data of a `val` is base64"))?;
            let bytes =
                BASE64_STANDARD.decode(text).map_err(|e| bad(&format!("a `val` is no base64: {e}")))?;
            let text = String::from_utf8(bytes).map_err(|_| bad("values here are text or JSON"))?;
            Ok(Kind::Val(super::value(text)))
        }
        Some("dir") => data.as_object().map(Kind::Dir).ok_or_else(|| bad("the data of a `dir` is an object")),
        Some("symlink") => {
            let target = data["target"].as_str().or(data.as_str());
            target.map(Kind::Symlink).ok_or_else(|| bad("a `symlink` has a target"))
        }
        Some(kind @ ("valref" | "dirref")) => Err(bad(&format!(
            "a `{kind}` is a reference to content by its hash, and values are not stored so here"
        ))),
        Some(_) | None => Err(bad("its type is `val`, `dir` or `symlink`")),
    }
}

/// Operations that put an object at a key.
pub fn put(key: &str, object: &Value, ops: &mut Vec<KvsOp>) -> Result<(), Failure> {
    put_below(key, object, ops, 0)
}

fn put_below(key: &str, object: &Value, ops: &mut Vec<KvsOp>, depth: usize) -> Result<(), Failure> {
    if depth > DEPTH_MAX {
        return Err(Failure::usage("cannot read tree object: it is too deep"));
    }
    match kind(object)? {
        Kind::Val(value) => ops.push(KvsOp::Put { key: key.to_owned(), value }),
        Kind::Symlink(target) => ops.push(KvsOp::Symlink { key: key.to_owned(), target: target.to_owned() }),
        Kind::Dir(entries) => {
            if key != "." {
                ops.push(KvsOp::Mkdir { key: key.to_owned() });
            }
            for (name, object) in entries {
                put_below(&super::join(key, name), object, ops, depth + 1)?;
            }
        }
    }
    Ok(())
}

/// What is at a key of an object, links followed; none if nothing is.
pub fn lookup(root: &Value, key: &str) -> Result<Option<Node>, Failure> {
    let mut todo: Vec<String> = split(key);
    let (mut at, mut links) = (root, 0);
    loop {
        match (kind(at)?, todo.pop()) {
            (Kind::Symlink(target), name) => {
                links += 1;
                if links > DEPTH_MAX {
                    return Err(Failure::new(format!("links of `{key}` go in circles")));
                }
                todo.extend(name);
                todo.extend(split(target));
                at = root;
            }
            (Kind::Val(value), None) => return Ok(Some(Node::Value(value))),
            (Kind::Dir(entries), None) => {
                let listed = entries.iter().map(|(name, object)| {
                    let kind = match object["type"].as_str() {
                        Some("dir") => NodeKind::Dir,
                        Some("symlink") => NodeKind::Symlink,
                        Some(_) | None => NodeKind::Value,
                    };
                    (name.clone(), kind)
                });
                return Ok(Some(Node::Dir(listed.collect())));
            }
            (Kind::Val(_), Some(_)) => return Ok(None),
            (Kind::Dir(entries), Some(name)) => match entries.get(&name) {
                Some(object) => at = object,
                None => return Ok(None),
            },
        }
    }
}

/// The object at a key, the last link not followed.
pub fn find<'a>(root: &'a Value, key: &str) -> Option<&'a Value> {
    split(key).iter().rev().try_fold(root, |at, name| at["data"].get(name))
}

/// Names of a key, the last one first.
fn split(key: &str) -> Vec<String> {
    key.split('.').rev().filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_holds_all_that_is_needed_to_read_it() {
        let mut root = dir();
        root["data"]["a"] = dir();
        root["data"]["a"]["data"]["n"] = val(&json!({"x": [1]}));
        root["data"]["a"]["data"]["t"] = val(&json!("text"));
        root["data"]["l"] = symlink("a.n");
        let value = |key: &str| match lookup(&root, key) {
            Ok(Some(Node::Value(value))) => value.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(value("a.n"), r#"{"x":[1]}"#);
        assert_eq!(value("a.t"), "\"text\"");
        assert_eq!(value("l"), r#"{"x":[1]}"#);
        assert_eq!(lookup(&root, "a.none").unwrap(), None);
        assert_eq!(
            lookup(&root, "a").unwrap(),
            Some(Node::Dir(vec![("n".into(), NodeKind::Value), ("t".into(), NodeKind::Value)]))
        );
        let mut ops = Vec::new();
        put("b", find(&root, "a").unwrap(), &mut ops).unwrap();
        assert_eq!(ops.len(), 3, "{ops:?}");
        assert_eq!(ops[1], KvsOp::Put { key: "b.n".into(), value: json!({"x": [1]}) });
    }

    #[test]
    fn references_and_nonsense_are_refused() {
        for (object, said) in [
            (json!({"ver": 1, "type": "dirref", "data": ["sha1-00"]}), "a `dirref` is a reference"),
            (json!({"ver": 2, "type": "val", "data": ""}), "no `ver` of 1"),
            (json!({"ver": 1, "type": "val", "data": "?"}), "no base64"),
            (json!("x"), "no `ver` of 1"),
        ] {
            let failure = put("k", &object, &mut Vec::new()).unwrap_err();
            assert!(failure.lines().0.contains(said), "{object}: {failure:?}");
        }
        let circle = json!({"ver": 1, "type": "dir", "data": {"s": symlink("s")}});
        assert!(lookup(&circle, "s").unwrap_err().lines().0.contains("circles"));
    }
}
