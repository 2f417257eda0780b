//! `flurm dump` and `flurm restore`: the key-value store as a tar archive, and back.
//!
//! A directory of the store is one of the archive, a value is a file with its JSON, a link is a link. So anything that reads
//! tar reads what an instance has known, its jobs included, when it is gone.

use crate::face::Face;
use crate::failure::Failure;
use crate::tar::{self, Entry, Writer};
use crate::{out, when};
use flurm_client::{Client, ClientError, kvs};
use flurm_wire::ErrorCode;
use flurm_wire::fact::KvsOp;
use flurm_wire::kvs::{Node, NodeKind, PRIMARY};
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};

/// Bytes and operations of one commit.
const COMMIT_LEN: usize = 1 << 20;
const OPS_LEN: usize = 1000;
/// Values of any size that the store would take.
const SIZE_MAX: u64 = 64 << 20;
/// Views of the log, which an instance makes for itself.
const VIEWS: [&str; 2] = ["job", "resource"];

/// Write the key-value store to a tar archive
#[derive(Debug, clap::Args)]
pub struct Dump {
    /// Print keys as they are written
    #[arg(short, long)]
    verbose: bool,
    /// Do not say how many there were
    #[arg(short, long)]
    quiet: bool,
    /// A new file; `-` is standard output
    file: String,
}

/// Put the values of a tar archive into the key-value store
#[derive(Debug, clap::Args)]
pub struct Restore {
    /// Print keys as they are read
    #[arg(short, long)]
    verbose: bool,
    /// Do not say how many there were
    #[arg(short, long)]
    quiet: bool,
    /// All of it below this key, which it replaces (default: where it was, but for jobs and resources)
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Leave out values of more bytes
    #[arg(long, value_name = "BYTES", default_value_t = SIZE_MAX, hide_default_value = true)]
    size_limit: u64,
    /// The file; `-` is standard input
    file: String,
}

impl Dump {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let wrong = |error: io::Error| Failure::new(format!("cannot write {}: {error}", self.file));
        if let Some(ending) =
            [".tgz", ".gz", ".bz2", ".xz", ".zst", ".zip"].iter().find(|e| self.file.ends_with(**e))
        {
            return Err(Failure::usage(format!("{}: only plain tar archives are written", self.file))
                .hint(format!("`flurm dump - | gzip > FILE`, or a name that does not end with {ending}")));
        }
        face.connected(async |client| {
            let to: Box<dyn Write> = match self.file.as_str() {
                "-" => Box::new(out::stdout()),
                path => Box::new(File::create(path).map_err(wrong)?),
            };
            let time = u64::try_from(when::now().0 / 1_000_000).unwrap_or(0);
            let mut tar = Writer::new(BufWriter::new(to), time);
            let mut count = 0;
            let mut open = vec![(String::new(), NodeKind::Dir)];
            while let Some((key, kind)) = open.pop() {
                let Some(found) = look(&client, &key, kind).await? else { continue };
                let entry = match found {
                    Node::Value(value) => Entry::File(value.to_string().into_bytes()),
                    Node::Symlink(target) => Entry::Link(target),
                    Node::Dir(names) => {
                        let below = |(name, kind): (String, NodeKind)| (join(&key, &name), kind);
                        open.extend(names.into_iter().rev().map(below));
                        Entry::Dir
                    }
                };
                if key.is_empty() {
                    continue;
                }
                if self.verbose {
                    crate::say!("{key}");
                }
                count += usize::from(entry != Entry::Dir);
                tar.put(&path_of(&key), &entry).map_err(wrong)?;
            }
            tar.end().map_err(wrong)?.flush().map_err(wrong)?;
            if !self.quiet {
                crate::say!("{} written to {}", counted(count), self.file);
            }
            Ok(0)
        })
    }
}

/// What is there; none: it was removed meanwhile.
async fn look(client: &Client, key: &str, kind: NodeKind) -> Result<Option<Node>, ClientError> {
    let got = match kind {
        NodeKind::Symlink => {
            kvs::readlink(client, PRIMARY, key).await.map(|target| Some(Node::Symlink(target)))
        }
        NodeKind::Value | NodeKind::Dir => {
            let key = if key.is_empty() { "." } else { key };
            kvs::get(client, PRIMARY, key).await.map(|got| got.node)
        }
    };
    match got {
        Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
        got => got,
    }
}

impl Restore {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let wrong = |error: io::Error| Failure::new(format!("cannot read {}: {error}", self.file));
        face.connected(async |client| {
            let from: Box<dyn Read> = match self.file.as_str() {
                "-" => Box::new(io::stdin().lock()),
                path => Box::new(File::open(path).map_err(wrong)?),
            };
            let (mut ops, mut len, mut count, mut too_large) = (Vec::new(), 0, 0, 0);
            ops.extend(self.key.iter().map(|key| KvsOp::Unlink { key: key.clone() }));
            let mut archive = ::tar::Archive::new(BufReader::new(from));
            for entry in archive.entries().map_err(wrong)? {
                let Some((path, entry)) = tar::read(entry, self.size_limit.min(SIZE_MAX)).map_err(wrong)?
                else {
                    continue;
                };
                if path.is_empty() || path == "." {
                    continue;
                }
                let key = key_of(&path)
                    .ok_or_else(|| Failure::new(format!("{}: `{path}` is no key of a store", self.file)))?;
                let top = key.split('.').next().unwrap_or_default();
                if self.key.is_none() && VIEWS.contains(&top) {
                    continue;
                }
                let key = self.key.as_ref().map_or_else(|| key.clone(), |above| join(above, &key));
                if self.verbose {
                    crate::say!("{key}");
                }
                let op = match entry {
                    None => {
                        too_large += 1;
                        continue;
                    }
                    Some(Entry::Dir) => KvsOp::Mkdir { key },
                    Some(Entry::Link(target)) => KvsOp::Symlink { key, target },
                    Some(Entry::File(data)) => {
                        len += data.len();
                        KvsOp::Put { key, value: value_of(&data) }
                    }
                };
                count += usize::from(!matches!(op, KvsOp::Mkdir { .. }));
                ops.push(op);
                if len >= COMMIT_LEN || ops.len() >= OPS_LEN {
                    kvs::commit(&client, PRIMARY, std::mem::take(&mut ops)).await?;
                    len = 0;
                }
            }
            if !ops.is_empty() {
                kvs::commit(&client, PRIMARY, ops).await?;
            }
            if too_large > 0 {
                crate::say!("warning: {} left out: too large", counted(too_large));
            }
            if !self.quiet {
                crate::say!("{} read from {}", counted(count), self.file);
            }
            Ok(0)
        })
    }
}

fn counted(keys: usize) -> String {
    flurm_types::counted(keys as u64, "key")
}

fn join(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") }
}

/// Words of a key become names of directories; a slash in one is written as `%2F`.
fn path_of(key: &str) -> String {
    let word = |word: &str| word.replace('%', "%25").replace('/', "%2F");
    key.split('.').map(word).collect::<Vec<_>>().join("/")
}

/// None: something in it is no word of a key.
fn key_of(path: &str) -> Option<String> {
    let word = |word: &str| {
        let fits = !word.is_empty() && !word.contains('.');
        fits.then(|| word.replace("%2F", "/").replace("%25", "%"))
    };
    path.split('/').map(word).collect::<Option<Vec<_>>>().map(|words| words.join("."))
}

/// JSON, or text where it is none: what a Flux instance has written is kept as it is.
fn value_of(data: &[u8]) -> Value {
    serde_json::from_slice(data).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(data).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_paths_and_back() {
        for (key, path) in [("a", "a"), ("a.b.c", "a/b/c"), ("a/b.c%2F", "a%2Fb/c%252F")] {
            assert_eq!(path_of(key), path);
            assert_eq!(key_of(path).as_deref(), Some(key));
        }
        for path in ["a//b", "/a", "a.b", "../a", "a/."] {
            assert_eq!(key_of(path), None, "{path}");
        }
        assert_eq!(value_of(b"[1]"), serde_json::json!([1]));
        assert_eq!(value_of(b"no json"), Value::String("no json".into()));
    }
}
