//! Facts: what the log keeps. A fact is decided once, committed, and applied everywhere.
//!
//! A record of the log is one group of facts. Environments and jobspecs are large and mostly equal, so a record keeps
//! one of those that are shared.

use flurm_types::{Entry, Environment, JobId, R};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    Job(JobFact),
    Kvs(KvsFact),
    Resource(ResourceFact),
}

/// Events that joined a job's eventlog together.
#[derive(Clone, Debug, PartialEq)]
pub struct JobFact {
    pub id: JobId,
    pub events: Vec<Entry>,
    /// With the `submit` event: what was asked for.
    pub spec: Option<JobSpecText>,
    /// With the `alloc` event: what was given.
    pub r: Option<Arc<R>>,
    /// Entries of other logs of this job (`guest.exec.eventlog`, `guest.output`, `guest.input`).
    pub guest: Vec<(GuestLog, Entry)>,
    /// Output that is kept in a file of the job's own.
    pub spilled: Option<Spilled>,
    /// By rank, the last report of its shell that `guest` has entries from: what is repeated is known by it.
    pub reported: BTreeMap<u32, u64>,
    /// Somebody who waited for its result has it; nobody else gets it.
    pub waited: bool,
}

impl JobFact {
    /// Is nothing to be known of the job from here on?
    pub fn purges(&self) -> bool {
        self.events.iter().any(|event| event.name == "purge")
    }
}

/// Entries of `guest.output` that lie in a file beside the log ([`crate::spill`]); the record says where. They are
/// written before the record is, so what a record speaks of is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spilled {
    /// Entries of `guest` that come before them.
    pub after: usize,
    /// Where in the file they begin.
    pub offset: u64,
    /// Bytes of the file.
    pub len: u64,
    pub entries: u32,
    /// Bytes that tasks have written.
    pub data: u64,
    /// What is written; no longer known when the record is read.
    #[serde(skip)]
    pub frames: Arc<[u8]>,
}

/// A jobspec as the log keeps it: canonical JSON without the environment, which is shared.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSpecText {
    pub jobspec: Arc<str>,
    pub environment: Arc<Environment>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestLog {
    Exec,
    Output,
    Input,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KvsFact {
    pub namespace: String,
    pub ops: Vec<KvsOp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "op")]
pub enum KvsOp {
    Put {
        key: String,
        value: serde_json::Value,
    },
    Append {
        key: String,
        value: String,
    },
    Mkdir {
        key: String,
    },
    Symlink {
        key: String,
        target: String,
    },
    Unlink {
        key: String,
    },
    /// Nothing of a commit is done unless this is so. It is not kept in the log.
    Test {
        key: String,
        holds: Holds,
    },
    CreateNamespace {
        owner: u32,
    },
    RemoveNamespace,
}

/// What is at a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    Nothing,
    Something,
    Value(serde_json::Value),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceFact {
    /// Another life of the instance begins on these hosts.
    Restart { r: R, instance: String },
    /// `drain`, `undrain` (RFC 44): an entry of resource.eventlog.
    Event(Entry),
}

/// How many jobspecs back an equal one is looked for. Those of a bulk submission are one, or take turns.
const JOBSPECS_BACK_MAX: usize = 8;

/// Facts as bytes of one log record.
pub fn encode_record(facts: &[Fact]) -> Vec<u8> {
    let mut environments: Vec<&Arc<Environment>> = Vec::new();
    let mut jobspecs: Vec<&Arc<str>> = Vec::new();
    let mut stored = Vec::with_capacity(facts.len());
    for fact in facts {
        stored.push(match fact {
            Fact::Kvs(f) => StoredRef::Kvs(f),
            Fact::Resource(f) => StoredRef::Resource(f),
            Fact::Job(f) => StoredRef::Job {
                id: f.id,
                events: &f.events,
                jobspec: f.spec.as_ref().map(|s| {
                    let first = jobspecs.len().saturating_sub(JOBSPECS_BACK_MAX);
                    let known = jobspecs[first..].iter().rposition(|j| Arc::ptr_eq(j, &s.jobspec));
                    known.map_or_else(
                        || {
                            jobspecs.push(&s.jobspec);
                            jobspecs.len() - 1
                        },
                        |at| first + at,
                    )
                }),
                environment: f.spec.as_ref().map(|s| {
                    // Bulk submissions share one Arc; pointers are compared first because that is nearly free.
                    let known = environments
                        .iter()
                        .rposition(|e| Arc::ptr_eq(e, &s.environment) || **e == s.environment);
                    known.unwrap_or_else(|| {
                        environments.push(&s.environment);
                        environments.len() - 1
                    })
                }),
                r: f.r.as_deref(),
                guest: &f.guest,
                spilled: f.spilled.as_ref(),
                reported: f.reported.iter().map(|(rank, seq)| (*rank, *seq)).collect(),
                waited: f.waited,
            },
        });
    }
    let jobspecs = jobspecs.into_iter().map(|jobspec| &**jobspec).collect();
    let record = RecordRef { v: crate::VERSION, environments, jobspecs, facts: stored };
    serde_json::to_vec(&record).expect("facts have string keys")
}

/// The facts of one log record.
///
/// # Errors
/// When the bytes are no record of this version.
pub fn decode_record(bytes: &[u8]) -> Result<Vec<Fact>, serde_json::Error> {
    let record: Record = serde_json::from_slice(bytes)?;
    if record.v != crate::VERSION {
        return Err(serde::de::Error::custom(format!("log record of version {}", record.v)));
    }
    let Record { environments, jobspecs, facts, .. } = record;
    facts.into_iter().map(|stored| stored.into_fact(&environments, &jobspecs)).collect()
}

#[derive(Serialize)]
struct RecordRef<'a> {
    v: u8,
    environments: Vec<&'a Arc<Environment>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    jobspecs: Vec<&'a str>,
    facts: Vec<StoredRef<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase", tag = "fact")]
enum StoredRef<'a> {
    Kvs(&'a KvsFact),
    Resource(&'a ResourceFact),
    Job {
        id: JobId,
        events: &'a [Entry],
        #[serde(skip_serializing_if = "Option::is_none")]
        jobspec: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        environment: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        r: Option<&'a R>,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        guest: &'a [(GuestLog, Entry)],
        #[serde(skip_serializing_if = "Option::is_none")]
        spilled: Option<&'a Spilled>,
        /// Pairs, for the keys of JSON's objects are text.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        reported: Vec<(u32, u64)>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        waited: bool,
    },
}

#[derive(Deserialize)]
struct Record {
    v: u8,
    environments: Vec<Arc<Environment>>,
    #[serde(default)]
    jobspecs: Vec<Arc<str>>,
    facts: Vec<Stored>,
}

/// Logs of before have the text itself.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Shared(usize),
    Own(Arc<str>),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", tag = "fact")]
enum Stored {
    Kvs(KvsFact),
    Resource(ResourceFact),
    Job {
        id: JobId,
        events: Vec<Entry>,
        #[serde(default)]
        jobspec: Option<Text>,
        #[serde(default)]
        environment: Option<usize>,
        #[serde(default)]
        r: Option<R>,
        #[serde(default)]
        guest: Vec<(GuestLog, Entry)>,
        #[serde(default)]
        spilled: Option<Spilled>,
        #[serde(default)]
        reported: Vec<(u32, u64)>,
        #[serde(default)]
        waited: bool,
    },
}

impl Stored {
    fn into_fact(
        self,
        environments: &[Arc<Environment>],
        jobspecs: &[Arc<str>],
    ) -> Result<Fact, serde_json::Error> {
        let missing = |what: &str, index: usize| {
            <serde_json::Error as serde::de::Error>::custom(format!("no {what} {index} in record"))
        };
        Ok(match self {
            Stored::Kvs(f) => Fact::Kvs(f),
            Stored::Resource(f) => Fact::Resource(f),
            Stored::Job { id, events, jobspec, environment, r, guest, spilled, reported, waited } => {
                let environment = match environment {
                    None => Arc::default(),
                    Some(index) => {
                        environments.get(index).cloned().ok_or_else(|| missing("environment", index))?
                    }
                };
                let jobspec = match jobspec {
                    None => None,
                    Some(Text::Own(text)) => Some(text),
                    Some(Text::Shared(index)) => {
                        Some(jobspecs.get(index).cloned().ok_or_else(|| missing("jobspec", index))?)
                    }
                };
                let spec = jobspec.map(|jobspec| JobSpecText { jobspec, environment });
                let (r, reported) = (r.map(Arc::new), reported.into_iter().collect());
                Fact::Job(JobFact { id, events, spec, r, guest, spilled, reported, waited })
            }
        })
    }
}
