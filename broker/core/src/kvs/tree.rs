//! One namespace as a tree, changed by all of a list of operations or by none.

use flurm_wire::fact::{Holds, KvsOp};
use flurm_wire::kvs::{Node as View, NodeKind};
use serde_json::Value;
use std::collections::BTreeMap;

/// Components of a key.
pub(crate) const KEY_DEPTH_MAX: usize = 64;
/// Bytes of a key.
pub(crate) const KEY_BYTES_MAX: usize = 4096;
/// Links that one lookup follows.
const LINKS_MAX: usize = 10;

type Dir = BTreeMap<String, Node>;

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Value(Value),
    Dir(Dir),
    Symlink(String),
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Tree {
    root: Dir,
}

/// Why an operation or a lookup cannot be; the texts complete "failed to …: ".
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TreeError {
    #[error(
        "`{0}` is no key: use names joined by dots, at most {KEY_DEPTH_MAX} of them in {KEY_BYTES_MAX} bytes"
    )]
    Key(String),
    #[error("key {0} is a directory")]
    IsDir(String),
    #[error("key {0} does not hold text, so nothing can be appended")]
    NotText(String),
    #[error("key {0} leads through more than {LINKS_MAX} symlinks")]
    Links(String),
    #[error("key {0} has changed meanwhile")]
    Differs(String),
    #[error("the namespace itself is made and removed alone")]
    Namespace,
}

/// What takes one change back.
enum Undo {
    Put { path: Vec<String>, before: Option<Node> },
    Shorten { path: Vec<String>, len: usize },
}

impl Tree {
    /// Applies all operations.
    ///
    /// # Errors
    /// The first operation that cannot be; then nothing has changed.
    pub fn apply(&mut self, ops: &[KvsOp]) -> Result<(), TreeError> {
        let mut undo = Vec::with_capacity(ops.len());
        for op in ops {
            if let Err(error) = self.apply_one(op, &mut undo) {
                undo.into_iter().rev().for_each(|step| self.take_back(step));
                return Err(error);
            }
        }
        Ok(())
    }

    fn apply_one(&mut self, op: &KvsOp, undo: &mut Vec<Undo>) -> Result<(), TreeError> {
        match op {
            KvsOp::Put { key, value } => {
                let path = self.resolve(key, true)?;
                undo.push(self.put(path, Some(Node::Value(value.clone()))));
            }
            KvsOp::Append { key, value } => {
                let path = self.resolve(key, true)?;
                match self.find_mut(&path) {
                    None => undo.push(self.put(path, Some(Node::Value(Value::String(value.clone()))))),
                    Some(Node::Value(Value::String(text))) => {
                        let len = text.len();
                        text.push_str(value);
                        undo.push(Undo::Shorten { path, len });
                    }
                    Some(Node::Dir(_)) => return Err(TreeError::IsDir(key.clone())),
                    Some(Node::Value(_) | Node::Symlink(_)) => return Err(TreeError::NotText(key.clone())),
                }
            }
            KvsOp::Mkdir { key } => {
                let path = self.resolve(key, true)?;
                if !matches!(self.find(&path), Some(Node::Dir(_))) {
                    undo.push(self.put(path, Some(Node::Dir(Dir::new()))));
                }
            }
            KvsOp::Symlink { key, target } => {
                split(target)?;
                let path = self.resolve(key, false)?;
                undo.push(self.put(path, Some(Node::Symlink(target.clone()))));
            }
            KvsOp::Unlink { key } => {
                let path = self.resolve(key, false)?;
                if self.find(&path).is_some() {
                    undo.push(self.put(path, None));
                }
            }
            KvsOp::Test { key, holds } => {
                let path = self.resolve(key, true)?;
                let so = match (self.find(&path), holds) {
                    (None, Holds::Nothing) | (Some(_), Holds::Something) => true,
                    (Some(Node::Value(there)), Holds::Value(value)) => there == value,
                    (Some(_), Holds::Nothing | Holds::Value(_))
                    | (None, Holds::Something | Holds::Value(_)) => false,
                };
                if !so {
                    return Err(TreeError::Differs(key.clone()));
                }
            }
            KvsOp::CreateNamespace { .. } | KvsOp::RemoveNamespace => return Err(TreeError::Namespace),
        }
        Ok(())
    }

    /// What a key leads to. `None`: nothing is there.
    ///
    /// # Errors
    /// It is no key, or its links go in circles.
    pub fn get(&self, key: &str) -> Result<Option<View>, TreeError> {
        if key == "." {
            return Ok(Some(listing(&self.root)));
        }
        let path = self.resolve(key, true)?;
        Ok(self.find(&path).map(view))
    }

    /// Where the symlink at a key leads; `None`: there is none.
    ///
    /// # Errors
    /// It is no key, or its links go in circles.
    pub fn readlink(&self, key: &str) -> Result<Option<String>, TreeError> {
        let path = self.resolve(key, false)?;
        Ok(match self.find(&path) {
            Some(Node::Symlink(target)) => Some(target.clone()),
            Some(Node::Value(_) | Node::Dir(_)) | None => None,
        })
    }

    /// The path of a key with links followed; that of the last component only if `last`.
    pub fn resolve(&self, key: &str, last: bool) -> Result<Vec<String>, TreeError> {
        let mut todo: Vec<String> = split(key)?.into_iter().rev().map(str::to_owned).collect();
        let mut path: Vec<String> = Vec::with_capacity(todo.len());
        let mut links = 0;
        while let Some(name) = todo.pop() {
            path.push(name);
            let Some(Node::Symlink(target)) = self.find(&path).filter(|_| last || !todo.is_empty()) else {
                continue;
            };
            links += 1;
            if links > LINKS_MAX || todo.len() > KEY_DEPTH_MAX {
                return Err(TreeError::Links(key.to_owned()));
            }
            // Targets count from the root (RFC 11).
            todo.extend(split(target)?.into_iter().rev().map(str::to_owned));
            path.clear();
        }
        if path.len() > KEY_DEPTH_MAX {
            return Err(TreeError::Key(key.to_owned()));
        }
        Ok(path)
    }

    fn find(&self, path: &[String]) -> Option<&Node> {
        let (last, dirs) = path.split_last()?;
        let mut dir = &self.root;
        for name in dirs {
            let Node::Dir(next) = dir.get(name)? else { return None };
            dir = next;
        }
        dir.get(last)
    }

    fn find_mut(&mut self, path: &[String]) -> Option<&mut Node> {
        let (last, dirs) = path.split_last()?;
        let mut dir = &mut self.root;
        for name in dirs {
            let Node::Dir(next) = dir.get_mut(name)? else { return None };
            dir = next;
        }
        dir.get_mut(last)
    }

    /// Puts a node (or nothing) there, making directories on the way; a value on the way gives way to one.
    fn put(&mut self, path: Vec<String>, node: Option<Node>) -> Undo {
        let depth = self.existing_depth(&path);
        let last = path.len() - 1;
        let mut dir = &mut self.root;
        for name in &path[..depth.min(last)] {
            let Some(Node::Dir(next)) = dir.get_mut(name) else {
                unreachable!("existing_depth has seen these directories")
            };
            dir = next;
        }
        let top = depth.min(last);
        // Everything from the first missing directory on is new, and one step takes it back.
        let node = node.map(|node| {
            path[top + 1..]
                .iter()
                .rev()
                .fold(node, |inner, name| Node::Dir(Dir::from([(name.clone(), inner)])))
        });
        let before = match node {
            Some(node) => dir.insert(path[top].clone(), node),
            None => dir.remove(&path[top]),
        };
        let mut path = path;
        path.truncate(top + 1);
        Undo::Put { path, before }
    }

    /// How many leading components are directories.
    fn existing_depth(&self, path: &[String]) -> usize {
        let mut dir = &self.root;
        for (depth, name) in path.iter().enumerate() {
            let Some(Node::Dir(next)) = dir.get(name) else { return depth };
            dir = next;
        }
        path.len()
    }

    fn take_back(&mut self, step: Undo) {
        match step {
            Undo::Put { path, before } => {
                self.put(path, before);
            }
            Undo::Shorten { path, len } => {
                if let Some(Node::Value(Value::String(text))) = self.find_mut(&path) {
                    text.truncate(len);
                }
            }
        }
    }
}

fn split(key: &str) -> Result<Vec<&str>, TreeError> {
    let names: Vec<&str> = key.split('.').filter(|name| !name.is_empty()).collect();
    if names.is_empty() || names.len() > KEY_DEPTH_MAX || key.len() > KEY_BYTES_MAX {
        let shown: String = key.chars().take(64).collect();
        return Err(TreeError::Key(shown));
    }
    Ok(names)
}

fn view(node: &Node) -> View {
    match node {
        Node::Value(value) => View::Value(value.clone()),
        Node::Dir(dir) => listing(dir),
        Node::Symlink(target) => View::Symlink(target.clone()),
    }
}

fn listing(dir: &Dir) -> View {
    let kind = |node: &Node| match node {
        Node::Value(_) => NodeKind::Value,
        Node::Dir(_) => NodeKind::Dir,
        Node::Symlink(_) => NodeKind::Symlink,
    };
    View::Dir(dir.iter().map(|(name, node)| (name.clone(), kind(node))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn put(key: &str, value: Value) -> KvsOp {
        KvsOp::Put { key: key.into(), value }
    }

    #[test]
    fn keys_links_and_directories_are_followed() {
        let mut tree = Tree::default();
        let ops = [
            put("a.b.c", json!(1)),
            KvsOp::Symlink { key: "l".into(), target: "a.b".into() },
            put("l.d", json!("x")),
            KvsOp::Append { key: "a.b.d".into(), value: "y".into() },
            KvsOp::Mkdir { key: "e".into() },
        ];
        tree.apply(&ops).expect("all can be");
        assert_eq!(tree.get("l.c"), Ok(Some(View::Value(json!(1)))));
        assert_eq!(tree.get("a.b.d"), Ok(Some(View::Value(json!("xy")))));
        assert_eq!(tree.get("e"), Ok(Some(View::Dir(vec![]))));
        assert_eq!(tree.readlink("l"), Ok(Some("a.b".into())));
        assert_eq!(tree.get("a..b.c."), Ok(Some(View::Value(json!(1)))));
        tree.apply(&[KvsOp::Unlink { key: "l".into() }]).expect("the link, not its target");
        assert_eq!(tree.get("a.b.c"), Ok(Some(View::Value(json!(1)))));
        assert_eq!(tree.get("a.x"), Ok(None));
        // A value on the way gives way to a directory.
        tree.apply(&[put("a.b.c.z", json!(2))]).expect("can be");
        assert_eq!(tree.get("a.b.c.z"), Ok(Some(View::Value(json!(2)))));
        tree.apply(&[KvsOp::Symlink { key: "s".into(), target: "s".into() }]).expect("a circle may be made");
        assert_eq!(tree.get("s"), Err(TreeError::Links("s".into())));
    }

    #[test]
    fn a_commit_may_say_what_must_be_there() {
        let mut tree = Tree::default();
        let test = |key: &str, holds: Holds| KvsOp::Test { key: key.into(), holds };
        tree.apply(&[test("a", Holds::Nothing), put("a.b", json!(1))]).expect("there is none");
        let good = [test("a", Holds::Something), test("a.b", Holds::Value(json!(1))), put("a.b", json!(2))];
        tree.apply(&good).expect("it is so");
        for wrong in [
            test("a.b", Holds::Value(json!(1))),
            test("a", Holds::Value(json!(1))),
            test("a", Holds::Nothing),
            test("c", Holds::Something),
            test("c", Holds::Value(json!(1))),
        ] {
            let KvsOp::Test { key, .. } = &wrong else { unreachable!() };
            let error = Err(TreeError::Differs(key.clone()));
            assert_eq!(tree.apply(&[put("a.b", json!(3)), wrong]), error);
            assert_eq!(tree.get("a.b"), Ok(Some(View::Value(json!(2)))));
        }
    }

    #[test]
    fn a_commit_that_fails_changes_nothing() {
        let mut tree = Tree::default();
        tree.apply(&[put("a.b", json!("t")), put("n", json!(3))]).expect("can be");
        let before = format!("{tree:?}");
        let ops = [
            put("a.b.c.d", json!(1)),
            KvsOp::Unlink { key: "n".into() },
            put("x.y.z", json!(1)),
            put("x.y.w", json!(1)),
            put("n", json!({})),
            KvsOp::Append { key: "n".into(), value: "z".into() },
        ];
        assert_eq!(tree.apply(&ops), Err(TreeError::NotText("n".into())));
        assert_eq!(format!("{tree:?}"), before);
        let mut ops = ops.to_vec();
        ops[5] = KvsOp::Put { key: "..".into(), value: json!(1) };
        assert!(tree.apply(&ops).is_err());
        assert_eq!(format!("{tree:?}"), before);
    }
}
