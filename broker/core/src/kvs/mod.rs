//! The key-value store: namespaces, commits, reads that wait, watches (RFC 11, with JSON values).
//!
//! A commit is tried on the state at once, proposed as a fact when it can be, and answered when that is durable.
//! `job.*` and `resource.*` of the primary namespace are views of the log that others keep; here they are only read.

mod tree;

use crate::cx::{Cx, asker};
use flurm_wire::fact::{Fact, KvsFact, KvsOp};
use flurm_wire::kvs::{
    Commit, Committed, Get, Got, Link, NamespaceList, Namespaces, Node, NodeKind, PRIMARY, Readlink, Version,
};
use flurm_wire::{Address, ErrorCode, Message, Topic, WireError};
use std::collections::BTreeMap;
use tree::{Tree, TreeError};

/// Operations in one commit.
const OPS_MAX: usize = 1 << 16;
/// Bytes of one commit.
const COMMIT_BYTES_MAX: usize = 16 << 20;
const NAMESPACES_MAX: usize = 1024;
/// Reads that wait and watches.
const WAITING_MAX: usize = 1 << 16;

/// Views of what others keep, by key.
pub(crate) type Views<'a> = &'a dyn Fn(&str) -> Option<Node>;

#[derive(Debug)]
pub(crate) struct Kvs {
    namespaces: BTreeMap<String, Namespace>,
}

#[derive(Debug)]
struct Namespace {
    owner: u32,
    version: u64,
    tree: Tree,
    gets: Vec<Waiting>,
    /// Who waits for a version.
    versions: Vec<(u64, Message)>,
}

/// A read that is answered when its key is there, or each time it changes.
#[derive(Debug)]
struct Waiting {
    asker: Message,
    key: String,
    watch: bool,
    /// The last answer.
    last: Option<Node>,
}

impl Namespace {
    fn new(owner: u32) -> Namespace {
        Namespace { owner, version: 0, tree: Tree::default(), gets: Vec::new(), versions: Vec::new() }
    }
}

impl Kvs {
    pub fn new(owner: u32) -> Kvs {
        Kvs { namespaces: BTreeMap::from([(PRIMARY.to_owned(), Namespace::new(owner))]) }
    }

    /// A committed fact. It was possible when it was decided, and the same came before it, so it is possible now.
    pub fn apply(&mut self, fact: &KvsFact) {
        let applied = self.change(fact);
        debug_assert!(applied.is_ok(), "a committed fact can be applied");
    }

    fn change(&mut self, fact: &KvsFact) -> Result<u64, WireError> {
        match fact.ops.as_slice() {
            [KvsOp::CreateNamespace { owner }] => {
                if self.namespaces.contains_key(&fact.namespace) {
                    let text = format!("namespace {} is there already", fact.namespace);
                    return Err(WireError::new(ErrorCode::Exists, text));
                }
                if self.namespaces.len() >= NAMESPACES_MAX {
                    return Err(WireError::new(
                        ErrorCode::TooBig,
                        format!("{NAMESPACES_MAX} namespaces are there"),
                    ));
                }
                self.namespaces.insert(fact.namespace.clone(), Namespace::new(*owner));
                Ok(0)
            }
            [KvsOp::RemoveNamespace] => {
                if fact.namespace == PRIMARY {
                    return Err(WireError::new(ErrorCode::Denied, "the primary namespace cannot be removed"));
                }
                let removed = self.namespaces.remove(&fact.namespace);
                removed.map(|n| n.version).ok_or_else(|| no_namespace(&fact.namespace))
            }
            ops => {
                let namespace =
                    self.namespaces.get_mut(&fact.namespace).ok_or_else(|| no_namespace(&fact.namespace))?;
                namespace.tree.apply(ops).map_err(refusal)?;
                namespace.version += 1;
                Ok(namespace.version)
            }
        }
    }

    /// Keeps a value of our own in the primary namespace, unless something else is in its way there.
    pub fn keep(&mut self, cx: &mut Cx, key: &str, value: serde_json::Value) {
        self.keep_op(cx, KvsOp::Put { key: key.to_owned(), value });
    }

    /// Adds to a text of our own, likewise.
    pub fn keep_more(&mut self, cx: &mut Cx, key: &str, value: String) {
        self.keep_op(cx, KvsOp::Append { key: key.to_owned(), value });
    }

    fn keep_op(&mut self, cx: &mut Cx, op: KvsOp) {
        let fact = KvsFact { namespace: PRIMARY.to_owned(), ops: vec![op] };
        if self.change(&fact).is_ok() {
            self.tell_waiting(cx, PRIMARY);
            cx.propose(Fact::Kvs(fact));
        }
    }

    /// The value that is kept there.
    pub fn kept(&self, key: &str) -> Option<serde_json::Value> {
        match self.namespaces.get(PRIMARY)?.tree.get(key) {
            Ok(Some(Node::Value(value))) => Some(value),
            Ok(Some(Node::Dir(_) | Node::Symlink(_)) | None) | Err(_) => None,
        }
    }

    pub fn request(&mut self, cx: &mut Cx, m: &Message, views: Views) {
        let answered = match &*m.topic {
            Commit::NAME => m.body().and_then(|commit| self.commit(cx, m, commit)),
            Get::NAME => m.body().and_then(|get| self.get(cx, m, get, views)),
            Readlink::NAME => m.body::<Readlink>().and_then(|wanted| {
                let tree = &self.namespace(&wanted.namespace)?.tree;
                let target = tree.readlink(&wanted.key).map_err(refusal)?;
                let target = target.ok_or_else(|| {
                    WireError::new(ErrorCode::NotFound, format!("key {} is no symlink", wanted.key))
                })?;
                cx.respond(m, &Link { target });
                Ok(())
            }),
            Version::NAME => m.body::<Version>().and_then(|wanted| {
                let namespace = self
                    .namespaces
                    .get_mut(&wanted.namespace)
                    .ok_or_else(|| no_namespace(&wanted.namespace))?;
                if namespace.version >= wanted.at_least {
                    cx.respond(m, &Committed { version: namespace.version });
                } else if namespace.versions.len() >= WAITING_MAX {
                    return Err(too_many_wait());
                } else {
                    namespace.versions.push((wanted.at_least, asker(m)));
                }
                Ok(())
            }),
            Namespaces::NAME => {
                let namespaces = self.namespaces.iter().map(|(name, n)| (name.clone(), n.owner)).collect();
                cx.respond(m, &NamespaceList { namespaces });
                Ok(())
            }
            topic => Err(WireError::new(ErrorCode::NoService, format!("no service for {topic}"))),
        };
        if let Err(error) = answered {
            cx.refuse(m, error);
        }
    }

    pub fn cancel(&mut self, src: Address, tag: u64) {
        for namespace in self.namespaces.values_mut() {
            namespace.gets.retain(|w| (w.asker.src, w.asker.tag) != (src, tag));
            namespace.versions.retain(|(_, m)| (m.src, m.tag) != (src, tag));
        }
    }

    fn namespace(&self, name: &str) -> Result<&Namespace, WireError> {
        self.namespaces.get(name).ok_or_else(|| no_namespace(name))
    }

    fn commit(&mut self, cx: &mut Cx, m: &Message, commit: Commit) -> Result<(), WireError> {
        let Commit { namespace, ops } = commit;
        let bytes = m.payload.as_ref().map_or(0, |p| p.get().len());
        if ops.len() > OPS_MAX || bytes > COMMIT_BYTES_MAX {
            let text = format!("a commit has at most {OPS_MAX} operations in {COMMIT_BYTES_MAX} bytes");
            return Err(WireError::new(ErrorCode::TooBig, text));
        }
        if namespace.is_empty() || namespace.len() > tree::KEY_BYTES_MAX {
            return Err(WireError::new(ErrorCode::Invalid, "a namespace has a name"));
        }
        if namespace == PRIMARY {
            ops.iter().try_for_each(|op| check_writable(&self.namespaces[PRIMARY].tree, op))?;
        }
        let gone = if matches!(ops.as_slice(), [KvsOp::RemoveNamespace]) {
            self.namespaces.get_mut(&namespace)
        } else {
            None
        };
        let waiting: Vec<Message> = gone.map_or_else(Vec::new, |n| {
            let gets = std::mem::take(&mut n.gets).into_iter().map(|w| w.asker);
            gets.chain(std::mem::take(&mut n.versions).into_iter().map(|(_, asker)| asker)).collect()
        });
        let mut fact = KvsFact { namespace, ops };
        let version = self.change(&fact)?;
        fact.ops.retain(|op| !matches!(op, KvsOp::Test { .. }));
        for asker in waiting {
            cx.refuse(&asker, no_namespace(&fact.namespace));
        }
        self.tell_waiting(cx, &fact.namespace);
        cx.propose(Fact::Kvs(fact));
        cx.respond(m, &Committed { version });
        Ok(())
    }

    fn get(&mut self, cx: &mut Cx, m: &Message, get: Get, views: Views) -> Result<(), WireError> {
        let Get { namespace, key, waitcreate, watch } = get;
        let names: Vec<&str> = key.split('.').filter(|n| !n.is_empty()).collect();
        let is_view = namespace == PRIMARY && matches!(names.first(), Some(&("job" | "resource")));
        if is_view {
            if waitcreate || watch {
                let text = format!("key {key} is a view of the log and cannot be waited for");
                return Err(WireError::new(ErrorCode::Invalid, text).hint("watch the job's eventlog instead"));
            }
            let node = views(&names.join(".")).ok_or_else(|| no_key(&key))?;
            let version = self.namespace(&namespace)?.version;
            cx.respond(m, &Got { node: Some(node), version });
            return Ok(());
        }
        let primary = namespace == PRIMARY;
        let namespace = self.namespaces.get_mut(&namespace).ok_or_else(|| no_namespace(&namespace))?;
        let mut node = namespace.tree.get(&key).map_err(refusal)?;
        if let (true, ".", Some(Node::Dir(names))) = (primary, key.as_str(), &mut node) {
            names.extend(["job", "resource"].map(|view| (view.to_owned(), NodeKind::Dir)));
            names.sort_by(|a, b| a.0.cmp(&b.0));
        }
        let waits = watch || (waitcreate && node.is_none());
        if waits && namespace.gets.len() >= WAITING_MAX {
            return Err(too_many_wait());
        }
        let got = Got { node: node.clone(), version: namespace.version };
        match (&node, waits) {
            (None, false) => return Err(no_key(&key)),
            (None, true) if !waitcreate => return Err(no_key(&key)),
            (None, true) => {}
            (Some(_), true) => cx.respond_more(m, &got),
            (Some(_), false) => cx.respond(m, &got),
        }
        if waits {
            namespace.gets.push(Waiting { asker: asker(m), key, watch, last: node });
        }
        Ok(())
    }

    /// After a commit: answers whoever watched or waited for what is different now.
    fn tell_waiting(&mut self, cx: &mut Cx, name: &str) {
        let Some(namespace) = self.namespaces.get_mut(name) else { return };
        let Namespace { version, tree, gets, versions, .. } = namespace;
        let version = *version;
        gets.retain_mut(|waiting| {
            let node = match tree.get(&waiting.key) {
                Ok(node) => node,
                Err(error) => {
                    cx.refuse(&waiting.asker, refusal(error));
                    return false;
                }
            };
            if node == waiting.last {
                return true;
            }
            waiting.last.clone_from(&node);
            let got = Got { node, version };
            if waiting.watch {
                cx.respond_more(&waiting.asker, &got);
            } else {
                cx.respond(&waiting.asker, &got);
            }
            waiting.watch
        });
        versions.retain(|(at_least, asker)| {
            let waits = version < *at_least;
            if !waits {
                cx.respond(asker, &Committed { version });
            }
            waits
        });
    }
}

fn check_writable(tree: &Tree, op: &KvsOp) -> Result<(), WireError> {
    let (key, last) = match op {
        KvsOp::Put { key, .. } | KvsOp::Append { key, .. } | KvsOp::Mkdir { key } => (key, true),
        KvsOp::Symlink { key, .. } | KvsOp::Unlink { key } => (key, false),
        KvsOp::Test { .. } | KvsOp::CreateNamespace { .. } | KvsOp::RemoveNamespace => return Ok(()),
    };
    let path = tree.resolve(key, last).map_err(refusal)?;
    if matches!(path[0].as_str(), "job" | "resource") {
        return Err(WireError::new(ErrorCode::Denied, format!("key {key} is a view of the log: read-only")));
    }
    Ok(())
}

fn refusal(error: TreeError) -> WireError {
    let code = match error {
        TreeError::Differs(_) => ErrorCode::Changed,
        TreeError::Key(_)
        | TreeError::IsDir(_)
        | TreeError::NotText(_)
        | TreeError::Links(_)
        | TreeError::Namespace => ErrorCode::Invalid,
    };
    WireError::new(code, error.to_string())
}

fn no_key(key: &str) -> WireError {
    WireError::new(ErrorCode::NotFound, format!("no key {key}"))
}

fn no_namespace(name: &str) -> WireError {
    WireError::new(ErrorCode::NotFound, format!("no namespace {name}"))
}

fn too_many_wait() -> WireError {
    WireError::new(ErrorCode::Unavailable, format!("{WAITING_MAX} readers wait in this namespace"))
}
