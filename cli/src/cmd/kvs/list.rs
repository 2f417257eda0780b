//! `flurm kvs dir` and `ls`: what is in directories.

use super::{Store, join, treeobj};
use crate::failure::Failure;
use crate::out::Out;
use flurm_client::kvs;
use flurm_wire::kvs::{Node, NodeKind};
use std::io::Write;

/// A line of `ls` where nobody says how long it may be.
pub const LINE: usize = 80;

/// How `dir` writes.
pub struct Dir {
    pub recursive: bool,
    pub keys_only: bool,
    pub width: Option<usize>,
}

/// How `ls` writes.
pub struct Ls {
    pub one: bool,
    pub recursive: bool,
    pub directory: bool,
    pub classify: bool,
    pub width: usize,
}

impl Ls {
    /// One name a line, or as many as fit.
    fn print(&self, names: &[String], out: &mut Out) -> std::io::Result<()> {
        let mut line = String::new();
        for name in names {
            let fits = !self.one && line.chars().count() + 2 + name.chars().count() <= self.width;
            if !line.is_empty() && fits {
                line.push_str("  ");
            } else if !line.is_empty() {
                writeln!(out, "{line}")?;
                line.clear();
            }
            line.push_str(name);
        }
        if line.is_empty() { Ok(()) } else { writeln!(out, "{line}") }
    }
}

impl Store {
    pub async fn dir(&self, key: &str, style: &Dir, out: &mut Out) -> Result<(), Failure> {
        let Node::Dir(entries) = self.node(key).await? else {
            return Err(Failure::new(format!("`{key}` is no directory")));
        };
        let mut print = |line: String| match style.width {
            Some(width) if width > 0 => writeln!(out, "{}", line.chars().take(width).collect::<String>()),
            Some(_) | None => writeln!(out, "{line}"),
        };
        // A stack instead of recursion: entries come out in order when they go in backwards.
        let mut todo: Vec<(String, NodeKind)> = below(key, entries);
        while let Some((key, kind)) = todo.pop() {
            match kind {
                NodeKind::Dir if style.recursive => match self.entries(&key).await? {
                    Some(entries) => todo.extend(below(&key, entries)),
                    // Views of the log (`job`) can be asked for one job, and not listed.
                    None => print(format!("{key}."))?,
                },
                NodeKind::Dir => print(format!("{key}."))?,
                NodeKind::Symlink => {
                    let target = self.readlink(&key).await?;
                    print(format!("{key} -> {target}"))?;
                }
                NodeKind::Value if style.keys_only => print(key)?,
                NodeKind::Value => match self.node(&key).await? {
                    Node::Value(value) => print(format!("{key} = {value}"))?,
                    // It has become something else between the two questions.
                    Node::Dir(_) | Node::Symlink(_) => print(key)?,
                },
            }
        }
        Ok(())
    }

    /// What is in a directory; none if it can be asked for single keys only.
    async fn entries(&self, key: &str) -> Result<Option<Vec<(String, NodeKind)>>, Failure> {
        let node = match &self.at {
            Some(object) => treeobj::lookup(object, key)?,
            None => match kvs::get(&self.client, &self.namespace, key).await {
                Ok(got) => got.node,
                Err(e) if e.code() == Some(flurm_wire::ErrorCode::NotFound) => return Ok(None),
                Err(e) => return Err(e.into()),
            },
        };
        match node {
            Some(Node::Dir(entries)) => Ok(Some(entries)),
            // It has become something else between the two questions.
            Some(Node::Value(_) | Node::Symlink(_)) | None => Ok(Some(Vec::new())),
        }
    }

    /// Goes on after a key that cannot be read; the exit code tells of it.
    pub async fn ls(&self, key: &str, style: &Ls, out: &mut Out) -> Result<u8, Failure> {
        let mut todo = vec![key.to_owned()];
        let (mut first, mut code) = (true, 0);
        while let Some(key) = todo.pop() {
            let entries = match self.node(&key).await {
                Err(failure) => {
                    out.flush()?;
                    code = failure.say();
                    continue;
                }
                Ok(Node::Dir(entries)) if !style.directory => entries,
                Ok(Node::Dir(_) | Node::Value(_) | Node::Symlink(_)) => {
                    writeln!(out, "{key}")?;
                    continue;
                }
            };
            if style.recursive {
                writeln!(out, "{}{key}:", if first { "" } else { "\n" })?;
                first = false;
                let dirs = entries.iter().rev().filter(|(_, kind)| *kind == NodeKind::Dir);
                todo.extend(dirs.map(|(name, _)| join(&key, name)));
            }
            let names: Vec<String> = entries
                .iter()
                .map(|(name, kind)| match (style.classify, kind) {
                    (true, NodeKind::Dir) => format!("{name}."),
                    (true, NodeKind::Symlink) => format!("{name}@"),
                    (true, NodeKind::Value) | (false, _) => name.clone(),
                })
                .collect();
            style.print(&names, out)?;
        }
        Ok(code)
    }
}

/// Full keys of a directory's entries, the last one first.
fn below(key: &str, entries: Vec<(String, NodeKind)>) -> Vec<(String, NodeKind)> {
    entries.into_iter().rev().map(|(name, kind)| (join(key, &name), kind)).collect()
}
