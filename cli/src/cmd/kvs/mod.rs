//! `flurm kvs`: the key-value store. Tree objects are in `treeobj.rs`, eventlogs in `eventlog.rs`.

mod eventlog;
mod list;
mod treeobj;

use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::out::{self, Out};
use clap::Subcommand;
use flurm_client::{Client, ClientError, kvs};
use flurm_wire::Dest;
use flurm_wire::fact::KvsOp;
use flurm_wire::kvs::{Namespaces, Node, PRIMARY};
use list::{Dir, LINE, Ls};
use serde_json::Value;
use std::io::Write;

/// Read and write the key-value store
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Another namespace than the primary one
    #[arg(short = 'N', long, value_name = "NAME", global = true)]
    namespace: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print values
    Get(Get),
    /// Set values: JSON, or text where it is not JSON
    Put(Put),
    /// List keys and values below a key
    Dir {
        /// Also those of directories
        #[arg(short = 'R', long)]
        recursive: bool,
        /// Names only
        #[arg(short = 'd', long)]
        keys_only: bool,
        /// Cut lines after so many characters
        #[arg(short, long, value_name = "N")]
        width: Option<usize>,
        #[command(flatten)]
        at: At,
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
        /// Lines of so many characters
        #[arg(short, long, value_name = "N")]
        width: Option<usize>,
        #[command(flatten)]
        at: At,
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
        #[command(flatten)]
        at: At,
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Copy a key with all that is below it
    Copy(Copy),
    /// Give a key another name
    Move(Copy),
    /// Print the whole store as a tree object, or what is said of it
    Getroot {
        /// Only its version
        #[arg(short, long, conflicts_with = "owner")]
        sequence: bool,
        /// Only the user id of its owner
        #[arg(short, long)]
        owner: bool,
    },
    /// Wait until all that was put before can be read (it can as soon as `put` returns)
    Sync,
    /// Eventlogs that are values
    Eventlog {
        #[command(subcommand)]
        command: eventlog::Eventlog,
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
    /// Only changes to another value (others are no changes here anyway)
    #[arg(short, long, requires = "watch")]
    uniq: bool,
    /// Print only what has been appended
    #[arg(short = 'A', long, requires = "watch")]
    append: bool,
    /// Also changes of directories above the key (they are always seen here)
    #[arg(short, long, requires = "watch")]
    full: bool,
    /// Long values in pieces (it makes no difference here)
    #[arg(short = 'S', long)]
    stream: bool,
    /// Print values as they were put, with no newline after them
    #[arg(short, long)]
    raw: bool,
    /// Print tree objects (RFC 11): a directory with all that is in it
    #[arg(short, long, conflicts_with_all = ["raw", "watch"])]
    treeobj: bool,
    /// Print KEY=VALUE
    #[arg(short, long)]
    label: bool,
    #[command(flatten)]
    at: At,
    #[arg(required = true)]
    keys: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Put {
    /// Take values as text, whatever they look like; `-` is standard input
    #[arg(short, long)]
    raw: bool,
    /// Values are tree objects (RFC 11), as `get --treeobj` prints them
    #[arg(short, long, conflicts_with_all = ["raw", "append"])]
    treeobj: bool,
    /// Append to what is there
    #[arg(short = 'A', long)]
    append: bool,
    /// A commit of its own (each is one here)
    #[arg(short, long)]
    no_merge: bool,
    /// Return when it cannot be lost any more (it cannot as soon as `put` returns)
    #[arg(short = 'S', long)]
    sync: bool,
    /// Print the version that has the values
    #[arg(short = 's', long)]
    sequence: bool,
    /// Print the store with the values, as a tree object
    #[arg(short = 'O', long, conflicts_with = "sequence")]
    treeobj_root: bool,
    #[arg(required = true, value_name = "KEY=VALUE")]
    pairs: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Copy {
    /// Where SOURCE is
    #[arg(short = 'S', long, value_name = "NAME")]
    src_namespace: Option<String>,
    /// Where TARGET will be
    #[arg(short = 'D', long, value_name = "NAME")]
    dst_namespace: Option<String>,
    source: String,
    target: String,
}

/// Not the store as it is, but what a tree object says.
#[derive(Debug, clap::Args)]
struct At {
    /// Read in this tree object, as `getroot` or `get --treeobj` printed it
    #[arg(short, long, value_name = "TREEOBJ", value_parser = object)]
    at: Option<Value>,
}

fn object(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|e| format!("it is no tree object: {e}"))
}

#[derive(Debug, Subcommand)]
enum Namespace {
    Create {
        /// The user it belongs to (here all is its owner's)
        #[arg(short, long, value_name = "UID")]
        owner: Option<u32>,
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
        let namespace = self.namespace.or_else(|| of_environment(face)).unwrap_or_else(|| PRIMARY.to_owned());
        face.connected(async |client| Store { client, namespace, at: None }.run(self.command).await)
    }
}

/// The namespace that the environment asks for.
pub fn of_environment(face: &Face) -> Option<String> {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    face.variables("KVS_NAMESPACE").into_iter().find_map(set)
}

struct Store {
    client: Client,
    namespace: String,
    /// What is read instead of the store.
    at: Option<Value>,
}

impl Store {
    async fn run(mut self, command: Command) -> Result<u8, Failure> {
        let mut out = out::stdout();
        match command {
            Command::Get(get) => {
                self.at = get.at.at.clone();
                self.get(&get, &mut out).await?;
            }
            Command::Put(put) => self.put(put, &mut out).await?,
            Command::Dir { recursive, keys_only, width, at, key } => {
                self.at = at.at;
                let style = Dir { recursive, keys_only, width };
                self.dir(&key, &style, &mut out).await?;
            }
            Command::Ls { one, recursive, directory, classify, width, at, keys } => {
                self.at = at.at;
                let one = one || width == Some(0) || (width.is_none() && !out::listed_on_terminal());
                let style = Ls { one, recursive, directory, classify, width: width.unwrap_or(LINE) };
                let mut code = 0;
                for key in &keys {
                    code = code.max(self.ls(key, &style, &mut out).await?);
                }
                out.flush()?;
                return Ok(code);
            }
            Command::Unlink { recursive, force, keys } => self.unlink(&keys, recursive, force).await?,
            Command::Watch { count, key } => {
                self.watch(&key, &Watch { count, ..Watch::default() }, &mut out).await?;
            }
            Command::Mkdir { keys } => {
                self.commit(keys.into_iter().map(|key| KvsOp::Mkdir { key }).collect()).await?;
            }
            Command::Link { target, link } => {
                self.commit(vec![KvsOp::Symlink { key: link, target }]).await?;
            }
            Command::Readlink { at, keys } => {
                self.at = at.at;
                for key in &keys {
                    writeln!(out, "{}", self.readlink(key).await?)?;
                }
            }
            Command::Copy(copy) => self.copy(copy, false).await?,
            Command::Move(copy) => self.copy(copy, true).await?,
            Command::Getroot { sequence, owner } => self.getroot(sequence, owner, &mut out).await?,
            Command::Sync => {
                kvs::version(&self.client, &self.namespace, 0).await?;
            }
            Command::Eventlog { command } => self.eventlog(command, &mut out).await?,
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
        let node = match &self.at {
            Some(object) => treeobj::lookup(object, key)?,
            None => kvs::get(&self.client, &self.namespace, key).await?.node,
        };
        node.ok_or_else(|| Failure::new(format!("there is no key `{key}`")))
    }

    async fn readlink(&self, key: &str) -> Result<String, Failure> {
        let Some(object) = &self.at else {
            return Ok(kvs::readlink(&self.client, &self.namespace, key).await?);
        };
        let target = treeobj::find(object, key).and_then(|found| found["data"]["target"].as_str());
        target.map(str::to_owned).ok_or_else(|| Failure::new(format!("key {key} is no symlink")))
    }

    async fn get(&self, get: &Get, out: &mut Out) -> Result<(), Failure> {
        for key in &get.keys {
            let label = get.label.then_some(key.as_str());
            if get.watch || get.waitcreate {
                let count = if get.watch { get.count } else { Some(1) };
                let Get { waitcreate, append, raw, .. } = *get;
                let values_only = true;
                self.watch(key, &Watch { waitcreate, count, label, append, raw, values_only }, out).await?;
                continue;
            }
            if get.treeobj {
                let object = match &self.at {
                    Some(object) => treeobj::find(object, key)
                        .cloned()
                        .ok_or_else(|| Failure::new(format!("there is no key `{key}`")))?,
                    None => treeobj::read(&self.client, &self.namespace, key).await?,
                };
                label.map_or(Ok(()), |key| write!(out, "{key}="))?;
                writeln!(out, "{object}")?;
                continue;
            }
            match self.node(key).await? {
                Node::Value(value) => print(out, label, &value, get.raw)?,
                Node::Dir(_) => return Err(is_directory(key)),
                Node::Symlink(_) => {
                    return Err(Failure::new(format!("`{key}` is a link that leads nowhere")));
                }
            }
        }
        Ok(())
    }

    async fn watch(&self, key: &str, how: &Watch<'_>, out: &mut Out) -> Result<(), Failure> {
        let mut changes = kvs::watch(&self.client, &self.namespace, key, how.waitcreate).await?;
        let (mut seen, mut before) = (0, 0);
        while how.count.is_none_or(|count| seen < count) {
            let Some(got) = changes.next().await? else { break };
            match got.node {
                Some(Node::Value(Value::String(text))) if how.append => {
                    let Some(fresh) = text.get(before..) else {
                        return Err(Failure::new(format!("`{key}` has become shorter")));
                    };
                    print(out, how.label, &Value::String(fresh.to_owned()), true)?;
                    before = text.len();
                }
                Some(Node::Value(value)) => print(out, how.label, &value, how.raw)?,
                Some(Node::Dir(_)) if how.values_only => return Err(is_directory(key)),
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

    async fn put(&self, put: Put, out: &mut Out) -> Result<(), Failure> {
        let mut ops = Vec::new();
        for pair in &put.pairs {
            let (key, text) = key_and_text(pair)?;
            let text = if put.raw && text == "-" {
                let read = std::io::read_to_string(std::io::stdin());
                read.map_err(|e| Failure::new(format!("cannot read standard input as text: {e}")))?
            } else {
                text.to_owned()
            };
            if put.treeobj {
                treeobj::put(key, &object(&text).map_err(Failure::usage)?, &mut ops)?;
            } else {
                ops.push(operation(key, text, put.raw, put.append));
            }
        }
        let version = self.commit(ops).await?;
        if put.sequence {
            writeln!(out, "{version}")?;
        }
        if put.treeobj_root {
            writeln!(out, "{}", treeobj::read(&self.client, &self.namespace, ".").await?)?;
        }
        Ok(())
    }

    /// Within one namespace all of it happens at once.
    async fn copy(&self, copy: Copy, then_remove: bool) -> Result<(), Failure> {
        let from = copy.src_namespace.unwrap_or_else(|| self.namespace.clone());
        let to = copy.dst_namespace.unwrap_or_else(|| self.namespace.clone());
        // The link itself, where it is one.
        let object = match kvs::readlink(&self.client, &from, &copy.source).await {
            Ok(target) => treeobj::symlink(&target),
            Err(_) => treeobj::read(&self.client, &from, &copy.source).await?,
        };
        let mut ops = vec![KvsOp::Unlink { key: copy.target.clone() }];
        treeobj::put(&copy.target, &object, &mut ops)?;
        let remove = vec![KvsOp::Unlink { key: copy.source }];
        if then_remove && from == to {
            kvs::commit(&self.client, &to, [remove, ops].concat()).await?;
            return Ok(());
        }
        kvs::commit(&self.client, &to, ops).await?;
        if then_remove {
            kvs::commit(&self.client, &from, remove).await?;
        }
        Ok(())
    }

    async fn getroot(&self, sequence: bool, owner: bool, out: &mut Out) -> Result<(), Failure> {
        if sequence {
            writeln!(out, "{}", kvs::version(&self.client, &self.namespace, 0).await?)?;
        } else if owner {
            let all = self.client.call(Dest::Leader, &Namespaces {}).await?.namespaces;
            let found = all.into_iter().find(|(name, _)| *name == self.namespace);
            let (_, owner) =
                found.ok_or_else(|| Failure::new(format!("there is no namespace {}", self.namespace)))?;
            writeln!(out, "{owner}")?;
        } else {
            writeln!(out, "{}", treeobj::read(&self.client, &self.namespace, ".").await?)?;
        }
        Ok(())
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
            Namespace::Create { owner, names } => {
                for name in names {
                    let owner = owner.unwrap_or_else(|| rustix::process::getuid().as_raw());
                    kvs::commit(&self.client, &name, vec![KvsOp::CreateNamespace { owner }]).await?;
                }
            }
            Namespace::Remove { names } => {
                for name in names {
                    kvs::commit(&self.client, &name, vec![KvsOp::RemoveNamespace]).await?;
                }
            }
            Namespace::List => {
                writeln!(out, "{:<36} {:>10} {:>10}", "NAMESPACE", "OWNER", "FLAGS")?;
                for (name, owner) in self.client.call(Dest::Leader, &Namespaces {}).await?.namespaces {
                    // Flux has flags of namespaces, and none of them here.
                    writeln!(out, "{name:<36} {owner:>10} 0x{:08X}", 0)?;
                }
            }
        }
        Ok(())
    }
}

/// How a key is watched.
#[derive(Default)]
struct Watch<'a> {
    waitcreate: bool,
    count: Option<u64>,
    label: Option<&'a str>,
    append: bool,
    raw: bool,
    /// A directory is a mistake.
    values_only: bool,
}

fn is_directory(key: &str) -> Failure {
    Failure::new(format!("`{key}` is a directory"))
        .hint(format!("`flurm kvs dir {key}` shows what is in it, `flurm kvs watch {key}` each change of it"))
}

fn key_and_text(pair: &str) -> Result<(&str, &str), Failure> {
    pair.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(|| Failure::usage(format!("`{pair}` is not KEY=VALUE")).code(FAILED))
}

fn operation(key: &str, text: String, raw: bool, append: bool) -> KvsOp {
    let key = key.to_owned();
    if append {
        KvsOp::Append { key, value: text }
    } else if raw {
        KvsOp::Put { key, value: Value::String(text) }
    } else {
        KvsOp::Put { key, value: value(text) }
    }
}

/// JSON where it is, text where it is not.
fn value(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

/// Text as it is, everything else as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        _ => value.to_string(),
    }
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
        _ if raw => write!(out, "{value}"),
        _ => writeln!(out, "{value}"),
    }
}

fn join(key: &str, name: &str) -> String {
    if key == "." { name.to_owned() } else { format!("{}.{name}", key.trim_end_matches('.')) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_json_where_they_can_be() {
        let put =
            |pair: &str| key_and_text(pair).map(|(key, text)| operation(key, text.to_owned(), false, false));
        let value = |pair: &str| match put(pair) {
            Ok(KvsOp::Put { key, value }) => format!("{key} {value}"),
            other => format!("{other:?}"),
        };
        assert_eq!(value("a=1"), "a 1");
        assert_eq!(value("a=text"), "a \"text\"");
        assert_eq!(value("a.b={\"x\":[1]}"), "a.b {\"x\":[1]}");
        assert_eq!(value("a=b=c"), "a \"b=c\"");
        assert!(put("nokey").is_err() && put("=x").is_err());
    }

    #[test]
    fn keys_below_the_root_have_no_dot_in_front() {
        assert_eq!(join(".", "a"), "a");
        assert_eq!(join("a.", "b"), "a.b");
    }
}
