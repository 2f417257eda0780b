//! `flurm kvs`: the key-value store.

use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::out::{self, Out};
use clap::Subcommand;
use flurm_client::{Client, ClientError, kvs};
use flurm_wire::Dest;
use flurm_wire::fact::KvsOp;
use flurm_wire::kvs::{Namespaces, Node, NodeKind, PRIMARY};
use serde_json::Value;
use std::io::Write;

/// Read and write the key-value store
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Another namespace than the primary one
    #[arg(short = 'N', long, value_name = "NAME", default_value = PRIMARY, hide_default_value = true)]
    namespace: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print values
    Get(Get),
    /// Set values: JSON, or text where it is not JSON
    Put {
        /// Take values as text, whatever they look like
        #[arg(short, long)]
        raw: bool,
        /// Append to what is there
        #[arg(short = 'A', long)]
        append: bool,
        /// Print the version that has the values
        #[arg(short = 's', long)]
        sequence: bool,
        #[arg(required = true, value_name = "KEY=VALUE")]
        pairs: Vec<String>,
    },
    /// List keys and values below a key
    Dir {
        /// Also those of directories
        #[arg(short = 'R', long)]
        recursive: bool,
        /// Names only
        #[arg(short = 'd', long)]
        keys_only: bool,
        #[arg(default_value = ".", hide_default_value = true)]
        key: String,
    },
    /// List names below keys
    Ls {
        /// One name a line
        #[arg(short = '1')]
        one: bool,
        /// Also those of directories
        #[arg(short = 'R', long)]
        recursive: bool,
        /// The key itself, not what is below it
        #[arg(short = 'd', long)]
        directory: bool,
        /// Mark directories with `.` and links with `@`
        #[arg(short = 'F', long)]
        classify: bool,
        #[arg(default_value = ".", hide_default_value = true)]
        keys: Vec<String>,
    },
    /// Remove keys
    Unlink {
        /// Also directories with something in them
        #[arg(short = 'R', long)]
        recursive: bool,
        /// Do not mind what is not there
        #[arg(short, long)]
        force: bool,
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Print a value again after each change
    Watch {
        /// Stop after so many
        #[arg(short, long, value_name = "N")]
        count: Option<u64>,
        key: String,
    },
    /// Make directories
    Mkdir {
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Make LINK lead to TARGET
    Link { target: String, link: String },
    /// Print where links lead
    Readlink {
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Make, remove and list namespaces
    Namespace {
        #[command(subcommand)]
        command: Namespace,
    },
    /// Print the version: how many changes there were
    Version,
    /// Wait until the version is at least this
    Wait { version: u64 },
}

#[derive(Debug, clap::Args)]
struct Get {
    /// Wait until the key is there
    #[arg(short = 'W', long)]
    waitcreate: bool,
    /// Print it again after each change
    #[arg(short, long)]
    watch: bool,
    /// Stop after so many
    #[arg(short, long, value_name = "N", requires = "watch")]
    count: Option<u64>,
    /// Print no newline after text
    #[arg(short, long)]
    raw: bool,
    /// Print KEY=VALUE
    #[arg(short, long)]
    label: bool,
    #[arg(required = true)]
    keys: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Namespace {
    Create {
        #[arg(required = true)]
        names: Vec<String>,
    },
    Remove {
        #[arg(required = true)]
        names: Vec<String>,
    },
    List,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        face.connected(async |client| Store { client, namespace: self.namespace }.run(self.command).await)
    }
}

struct Store {
    client: Client,
    namespace: String,
}

impl Store {
    async fn run(&self, command: Command) -> Result<u8, Failure> {
        let mut out = out::stdout();
        match command {
            Command::Get(get) => self.get(&get, &mut out).await?,
            Command::Put { raw, append, sequence, pairs } => {
                let ops = pairs.iter().map(|pair| put(pair, raw, append)).collect::<Result<_, _>>()?;
                let version = self.commit(ops).await?;
                if sequence {
                    writeln!(out, "{version}")?;
                }
            }
            Command::Dir { recursive, keys_only, key } => {
                self.dir(&key, recursive, keys_only, &mut out).await?;
            }
            Command::Ls { one, recursive, directory, classify, keys } => {
                let style = Ls { one: one || !out::listed_on_terminal(), recursive, directory, classify };
                let mut code = 0;
                for key in &keys {
                    code = code.max(self.ls(key, &style, &mut out).await?);
                }
                out.flush()?;
                return Ok(code);
            }
            Command::Unlink { recursive, force, keys } => self.unlink(&keys, recursive, force).await?,
            Command::Watch { count, key } => self.watch(&key, false, count, None, &mut out).await?,
            Command::Mkdir { keys } => {
                self.commit(keys.into_iter().map(|key| KvsOp::Mkdir { key }).collect()).await?;
            }
            Command::Link { target, link } => {
                self.commit(vec![KvsOp::Symlink { key: link, target }]).await?;
            }
            Command::Readlink { keys } => {
                for key in &keys {
                    writeln!(out, "{}", kvs::readlink(&self.client, &self.namespace, key).await?)?;
                }
            }
            Command::Namespace { command } => self.namespaces(command, &mut out).await?,
            Command::Version => {
                writeln!(out, "{}", kvs::version(&self.client, &self.namespace, 0).await?)?;
            }
            Command::Wait { version } => {
                kvs::version(&self.client, &self.namespace, version).await?;
            }
        }
        out.flush()?;
        Ok(0)
    }

    async fn commit(&self, ops: Vec<KvsOp>) -> Result<u64, ClientError> {
        kvs::commit(&self.client, &self.namespace, ops).await
    }

    /// What is at a key, which must be there.
    async fn node(&self, key: &str) -> Result<Node, Failure> {
        let got = kvs::get(&self.client, &self.namespace, key).await?;
        got.node.ok_or_else(|| Failure::new(format!("there is no key `{key}`")))
    }

    async fn get(&self, get: &Get, out: &mut Out) -> Result<(), Failure> {
        for key in &get.keys {
            let label = get.label.then_some(key.as_str());
            if get.watch || get.waitcreate {
                let count = if get.watch { get.count } else { Some(1) };
                self.watch(key, get.waitcreate, count, label, out).await?;
                continue;
            }
            match self.node(key).await? {
                Node::Value(value) => print(out, label, &value, get.raw)?,
                Node::Dir(_) => {
                    return Err(Failure::new(format!("`{key}` is a directory"))
                        .hint(format!("`flurm kvs dir {key}` shows what is in it")));
                }
                Node::Symlink(_) => {
                    return Err(Failure::new(format!("`{key}` is a link that leads nowhere")));
                }
            }
        }
        Ok(())
    }

    async fn watch(
        &self,
        key: &str,
        waitcreate: bool,
        count: Option<u64>,
        label: Option<&str>,
        out: &mut Out,
    ) -> Result<(), Failure> {
        let mut changes = kvs::watch(&self.client, &self.namespace, key, waitcreate).await?;
        let mut seen = 0;
        while count.is_none_or(|count| seen < count) {
            let Some(got) = changes.next().await? else { break };
            match got.node {
                Some(Node::Value(value)) => print(out, label, &value, false)?,
                Some(Node::Dir(entries)) => {
                    let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
                    writeln!(out, "{}", names.join(" "))?;
                }
                Some(Node::Symlink(target)) => writeln!(out, "-> {target}")?,
                None => return Err(Failure::new(format!("`{key}` has been removed"))),
            }
            out.flush()?;
            seen += 1;
        }
        Ok(())
    }

    async fn dir(&self, key: &str, recursive: bool, keys_only: bool, out: &mut Out) -> Result<(), Failure> {
        let Node::Dir(entries) = self.node(key).await? else {
            return Err(Failure::new(format!("`{key}` is no directory")));
        };
        // A stack instead of recursion: entries come out in order when they go in backwards.
        let mut todo: Vec<(String, NodeKind)> = below(key, entries);
        while let Some((key, kind)) = todo.pop() {
            match kind {
                NodeKind::Dir if recursive => match kvs::get(&self.client, &self.namespace, &key).await {
                    Ok(got) => match got.node {
                        Some(Node::Dir(entries)) => todo.extend(below(&key, entries)),
                        // It has become something else between the two questions.
                        Some(Node::Value(_) | Node::Symlink(_)) | None => {}
                    },
                    // Views of the log (`job`) can be asked for one job, and not listed.
                    Err(e) if e.code() == Some(flurm_wire::ErrorCode::NotFound) => writeln!(out, "{key}.")?,
                    Err(e) => return Err(e.into()),
                },
                NodeKind::Dir => writeln!(out, "{key}.")?,
                NodeKind::Symlink => {
                    let target = kvs::readlink(&self.client, &self.namespace, &key).await?;
                    writeln!(out, "{key} -> {target}")?;
                }
                NodeKind::Value if keys_only => writeln!(out, "{key}")?,
                NodeKind::Value => match self.node(&key).await? {
                    Node::Value(value) => writeln!(out, "{key} = {value}")?,
                    // It has become something else between the two questions.
                    Node::Dir(_) | Node::Symlink(_) => writeln!(out, "{key}")?,
                },
            }
        }
        Ok(())
    }

    /// Goes on after a key that cannot be read; the exit code tells of it.
    async fn ls(&self, key: &str, style: &Ls, out: &mut Out) -> Result<u8, Failure> {
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
            if !names.is_empty() {
                writeln!(out, "{}", names.join(if style.one { "\n" } else { "  " }))?;
            }
        }
        Ok(code)
    }

    async fn unlink(&self, keys: &[String], recursive: bool, force: bool) -> Result<(), Failure> {
        let mut ops = Vec::new();
        for key in keys {
            match kvs::get(&self.client, &self.namespace, key).await {
                Ok(got) => match got.node {
                    Some(Node::Dir(entries)) if !entries.is_empty() && !recursive => {
                        return Err(Failure::new(format!("`{key}` is a directory with something in it"))
                            .hint("add -R to remove it with all that is in it"));
                    }
                    Some(_) => {}
                    None if force => continue,
                    None => return Err(Failure::new(format!("there is no key `{key}`"))),
                },
                Err(e) if force && e.code() == Some(flurm_wire::ErrorCode::NotFound) => continue,
                Err(e) => return Err(e.into()),
            }
            ops.push(KvsOp::Unlink { key: key.clone() });
        }
        if !ops.is_empty() {
            self.commit(ops).await?;
        }
        Ok(())
    }

    async fn namespaces(&self, command: Namespace, out: &mut Out) -> Result<(), Failure> {
        match command {
            Namespace::Create { names } => {
                for name in names {
                    let owner = rustix::process::getuid().as_raw();
                    kvs::commit(&self.client, &name, vec![KvsOp::CreateNamespace { owner }]).await?;
                }
            }
            Namespace::Remove { names } => {
                for name in names {
                    kvs::commit(&self.client, &name, vec![KvsOp::RemoveNamespace]).await?;
                }
            }
            Namespace::List => {
                writeln!(out, "{:<36} {:>10}", "NAMESPACE", "OWNER")?;
                for (name, owner) in self.client.call(Dest::Leader, &Namespaces {}).await?.namespaces {
                    writeln!(out, "{name:<36} {owner:>10}")?;
                }
            }
        }
        Ok(())
    }
}

/// How `ls` writes.
struct Ls {
    one: bool,
    recursive: bool,
    directory: bool,
    classify: bool,
}

/// `KEY=VALUE` as an operation.
fn put(pair: &str, raw: bool, append: bool) -> Result<KvsOp, Failure> {
    let Some((key, text)) = pair.split_once('=').filter(|(key, _)| !key.is_empty()) else {
        return Err(Failure::usage(format!("`{pair}` is not KEY=VALUE")).code(FAILED));
    };
    let (key, text) = (key.to_owned(), text.to_owned());
    if append {
        return Ok(KvsOp::Append { key, value: text });
    }
    let value = if raw { None } else { serde_json::from_str(&text).ok() };
    Ok(KvsOp::Put { key, value: value.unwrap_or(Value::String(text)) })
}

/// Text as it is, everything else as JSON.
fn print(out: &mut Out, label: Option<&str>, value: &Value, raw: bool) -> std::io::Result<()> {
    if let Some(key) = label {
        write!(out, "{key}=")?;
    }
    match value {
        // A log ends with its own newline.
        Value::String(text) if raw || text.ends_with('\n') => write!(out, "{text}"),
        Value::String(text) => writeln!(out, "{text}"),
        _ => writeln!(out, "{value}"),
    }
}

fn join(key: &str, name: &str) -> String {
    if key == "." { name.to_owned() } else { format!("{}.{name}", key.trim_end_matches('.')) }
}

/// Full keys of a directory's entries, the last one first.
fn below(key: &str, entries: Vec<(String, NodeKind)>) -> Vec<(String, NodeKind)> {
    entries.into_iter().rev().map(|(name, kind)| (join(key, &name), kind)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_json_where_they_can_be() {
        let value = |pair: &str| match put(pair, false, false) {
            Ok(KvsOp::Put { key, value }) => format!("{key} {value}"),
            other => format!("{other:?}"),
        };
        assert_eq!(value("a=1"), "a 1");
        assert_eq!(value("a=text"), "a \"text\"");
        assert_eq!(value("a.b={\"x\":[1]}"), "a.b {\"x\":[1]}");
        assert_eq!(value("a=b=c"), "a \"b=c\"");
        assert!(put("nokey", false, false).is_err() && put("=x", false, false).is_err());
    }

    #[test]
    fn keys_below_the_root_have_no_dot_in_front() {
        assert_eq!(join(".", "a"), "a");
        assert_eq!(join("a.", "b"), "a.b");
    }
}
