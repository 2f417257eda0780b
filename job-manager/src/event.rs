//! Events of a job as types, and as entries of its eventlog (RFC 21's names and contexts).
//!
//! Nothing is lost on the way: an entry that cannot be read as its type is kept as it is ([`Event::Other`]).

use flurm_jobspec::{Array, Jobspec};
use flurm_types::{Entry, Idset, JobId, R, Timestamp, Urgency};
use flurm_wire::fact::JobSpecText;
use flurm_wire::job::{Exception, SubmitFlags};
use serde_json::{Value, json};
use std::sync::Arc;

/// Events with this id are the queue's, not a job's: its gates are in the log as everything else.
pub const QUEUE: JobId = JobId(0);

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Submit(Box<Submit>),
    Validate,
    DependencyAdd(Box<str>),
    DependencyRemove(Box<str>),
    Depend,
    Priority(i64),
    Urgency {
        urgency: Urgency,
        userid: u32,
    },
    Alloc(Box<Alloc>),
    Start,
    /// Wait status.
    Finish(i32),
    Release(Box<Release>),
    Free,
    Clean,
    Exception(Box<Raised>),
    /// Keys to set; null removes.
    Memo(Box<Value>),
    FluxRestart,
    /// Dotted keys of the jobspec, with their new values; null removes.
    JobspecUpdate(Box<Value>),
    /// A running job ends at another time; zero is never.
    ResourceUpdate(Timestamp),
    /// It is over, and nothing is to be known of it any more.
    Purge,
    /// Of [`QUEUE`] only.
    Queue(Box<Gate>),
    /// `debug.*`, and what a later version may have written.
    Other(Box<Other>),
}

/// The first event of a job. Text, environment and the parsed form are shared between equal jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct Submit {
    pub userid: u32,
    pub urgency: Urgency,
    pub flags: Flags,
    pub batch: Option<Batch>,
    /// Slurm's number of the job, dense and from 1; 0 in requests, and in logs of versions that gave none.
    pub number: u32,
    pub asked: Asked,
}

/// The message that brought the job, so that its repetition is recognized.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub id: Arc<str>,
    pub index: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub text: JobSpecText,
    pub jobspec: Arc<Jobspec>,
    pub brief: Arc<Brief>,
}

/// What is remembered of a jobspec when the job is over and the rest is text again.
#[derive(Clone, Debug, PartialEq)]
pub struct Brief {
    pub name: Arc<str>,
    pub cwd: Box<str>,
    pub queue: Box<str>,
    pub project: Box<str>,
    pub bank: Box<str>,
    pub ntasks: u32,
    /// As asked for; an allocation says for itself what was given.
    pub ncores: u32,
    pub nnodes: u32,
    /// Seconds; 0 is no limit.
    pub duration: f64,
    pub array: Option<Array>,
    pub retry_of: Option<JobId>,
    /// One of Slurm's commands has submitted it: its jobspec has a part of theirs.
    pub slurm: bool,
    pub within: Option<JobId>,
}

impl Asked {
    pub fn new(text: JobSpecText, jobspec: Arc<Jobspec>) -> Asked {
        let attributes = jobspec.attributes();
        let request = jobspec.request();
        let text_of = |value: &Option<String>| value.as_deref().unwrap_or_default().into();
        let brief = Arc::new(Brief {
            name: jobspec.name().into(),
            cwd: attributes.cwd.as_str().into(),
            queue: text_of(&attributes.queue),
            project: text_of(&attributes.project),
            bank: text_of(&attributes.bank),
            ntasks: u32::try_from(jobspec.tasks_min()).expect("fewer than TASKS_MAX"),
            ncores: request.as_ref().map_or(0, |r| r.slots.saturating_mul(r.cores_per_slot)),
            nnodes: request.as_ref().and_then(|r| r.nodes).unwrap_or(0),
            duration: attributes.duration,
            array: attributes.array,
            retry_of: attributes.retry_of,
            slurm: attributes.other_system.contains_key("slurm"),
            within: attributes.within.as_ref().map(|within| within.id),
        });
        Asked { text, jobspec, brief }
    }
}

/// Submission flags, with the bits that eventlogs have them in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flags(u8);

impl Flags {
    const DEBUG: u8 = 2;
    const WAITABLE: u8 = 4;
    const NOVALIDATE: u8 = 8;

    pub fn debug(self) -> bool {
        self.0 & Flags::DEBUG != 0
    }

    pub fn waitable(self) -> bool {
        self.0 & Flags::WAITABLE != 0
    }

    pub fn novalidate(self) -> bool {
        self.0 & Flags::NOVALIDATE != 0
    }
}

impl From<SubmitFlags> for Flags {
    fn from(flags: SubmitFlags) -> Flags {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        Flags(
            bit(flags.debug, Flags::DEBUG)
                | bit(flags.waitable, Flags::WAITABLE)
                | bit(flags.novalidate, Flags::NOVALIDATE),
        )
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Alloc {
    pub r: Arc<R>,
    pub annotations: Option<Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    pub ranks: Idset,
    pub last: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Raised {
    pub exception: Exception,
    pub userid: Option<u32>,
}

impl Raised {
    /// By the instance itself.
    pub fn fatal(kind: &str, note: impl Into<String>) -> Raised {
        Raised {
            exception: Exception { kind: kind.to_owned(), severity: 0, note: note.into() },
            userid: None,
        }
    }

    pub fn is_fatal(&self) -> bool {
        self.exception.severity == 0
    }
}

/// A gate is turned, for one queue or for all.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    pub queue: Option<Box<str>>,
    pub turn: Turn,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Turn {
    Enable,
    Disable { reason: String },
    Start,
    Stop { reason: String },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Other {
    pub name: String,
    pub context: Option<Value>,
}

impl Event {
    pub fn name(&self) -> &str {
        match self {
            Event::Submit(_) => "submit",
            Event::Validate => "validate",
            Event::DependencyAdd(_) => "dependency-add",
            Event::DependencyRemove(_) => "dependency-remove",
            Event::Depend => "depend",
            Event::Priority(_) => "priority",
            Event::Urgency { .. } => "urgency",
            Event::Alloc(_) => "alloc",
            Event::Start => "start",
            Event::Finish(_) => "finish",
            Event::Release(_) => "release",
            Event::Free => "free",
            Event::Clean => "clean",
            Event::Exception(_) => "exception",
            Event::Memo(_) => "memo",
            Event::FluxRestart => "flux-restart",
            Event::JobspecUpdate(_) => "jobspec-update",
            Event::ResourceUpdate(_) => "resource-update",
            Event::Purge => "purge",
            Event::Queue(gate) => match gate.turn {
                Turn::Enable => "queue-enable",
                Turn::Disable { .. } => "queue-disable",
                Turn::Start => "queue-start",
                Turn::Stop { .. } => "queue-stop",
            },
            Event::Other(other) => &other.name,
        }
    }

    pub fn entry(&self, time: Timestamp) -> Entry {
        Entry { timestamp: time, name: self.name().to_owned(), context: self.context() }
    }

    fn context(&self) -> Option<Value> {
        match self {
            Event::Submit(s) => {
                Some(submit_context(s.userid, s.urgency, s.flags, s.number, s.batch.as_ref()))
            }
            Event::Validate
            | Event::Depend
            | Event::Start
            | Event::Free
            | Event::Clean
            | Event::Purge
            | Event::FluxRestart => None,
            Event::DependencyAdd(description) | Event::DependencyRemove(description) => {
                Some(json!({ "description": description }))
            }
            Event::Priority(priority) => Some(json!({ "priority": priority })),
            Event::Urgency { urgency, userid } => Some(json!({ "urgency": urgency.get(), "userid": userid })),
            Event::Alloc(alloc) => alloc_context(alloc.annotations.as_ref()),
            Event::Finish(status) => Some(json!({ "status": status })),
            Event::Release(release) => {
                Some(json!({ "ranks": release.ranks.to_string(), "final": release.last }))
            }
            Event::Exception(raised) => {
                let Exception { kind, severity, note } = &raised.exception;
                let mut context = json!({ "type": kind, "severity": severity, "note": note });
                if let Some(userid) = raised.userid {
                    context["userid"] = userid.into();
                }
                Some(context)
            }
            Event::Memo(keys) | Event::JobspecUpdate(keys) => Some((**keys).clone()),
            Event::ResourceUpdate(expiration) => Some(json!({ "expiration": expiration.as_secs_f64() })),
            Event::Queue(gate) => gate_context(gate),
            Event::Other(other) => other.context.clone(),
        }
    }

    /// The event of an entry, with what a fact carries beside it.
    pub fn read(entry: &Entry, asked: Option<&Asked>, r: Option<&Arc<R>>) -> Event {
        Event::read_known(entry, asked, r).unwrap_or_else(|| {
            Event::Other(Box::new(Other { name: entry.name.clone(), context: entry.context.clone() }))
        })
    }

    fn read_known(entry: &Entry, asked: Option<&Asked>, r: Option<&Arc<R>>) -> Option<Event> {
        let context = Context(entry.context.as_ref());
        Some(match entry.name.as_str() {
            "submit" => Event::Submit(Box::new(Submit {
                userid: context.number("userid")?,
                urgency: Urgency::new(context.number("urgency")?)?,
                flags: Flags(context.number("flags")?),
                batch: context
                    .text("submit_id")
                    .and_then(|id| Some(Batch { id: id.into(), index: context.number("submit_index")? })),
                number: context.number("number").unwrap_or(0),
                asked: asked?.clone(),
            })),
            "validate" => Event::Validate,
            "dependency-add" => Event::DependencyAdd(context.text("description")?.into()),
            "dependency-remove" => Event::DependencyRemove(context.text("description")?.into()),
            "depend" => Event::Depend,
            "priority" => Event::Priority(context.get("priority")?.as_i64()?),
            "urgency" => Event::Urgency {
                urgency: Urgency::new(context.number("urgency")?)?,
                userid: context.number("userid")?,
            },
            "alloc" => Event::Alloc(Box::new(Alloc {
                r: r?.clone(),
                annotations: context.get("annotations").cloned(),
            })),
            "start" => Event::Start,
            "finish" => Event::Finish(i32::try_from(context.get("status")?.as_i64()?).ok()?),
            "release" => Event::Release(Box::new(Release {
                ranks: context.text("ranks")?.parse().ok()?,
                last: context.get("final")?.as_bool()?,
            })),
            "free" => Event::Free,
            "clean" => Event::Clean,
            "exception" => Event::Exception(Box::new(Raised {
                exception: Exception {
                    kind: context.text("type")?.to_owned(),
                    severity: context.number("severity")?,
                    note: context.text("note").unwrap_or_default().to_owned(),
                },
                userid: context.number("userid"),
            })),
            "memo" => Event::Memo(Box::new(entry.context.clone()?)),
            "flux-restart" => Event::FluxRestart,
            "jobspec-update" => Event::JobspecUpdate(Box::new(entry.context.clone()?)),
            "resource-update" => {
                Event::ResourceUpdate(Timestamp::from_secs_f64(context.get("expiration")?.as_f64()?))
            }
            "purge" => Event::Purge,
            "queue-enable" => context.gate(Turn::Enable),
            "queue-start" => context.gate(Turn::Start),
            "queue-disable" => context.gate(Turn::Disable { reason: context.text("reason")?.to_owned() }),
            "queue-stop" => context.gate(Turn::Stop { reason: context.text("reason")?.to_owned() }),
            _ => return None,
        })
    }
}

pub(crate) fn submit_context(
    userid: u32,
    urgency: Urgency,
    flags: Flags,
    number: u32,
    batch: Option<&Batch>,
) -> Value {
    let mut context = json!({ "userid": userid, "urgency": urgency.get(), "flags": flags.0, "version": 1 });
    if number != 0 {
        context["number"] = number.into();
    }
    if let Some(batch) = batch {
        context["submit_id"] = Value::from(&*batch.id);
        context["submit_index"] = batch.index.into();
    }
    context
}

pub(crate) fn alloc_context(annotations: Option<&Value>) -> Option<Value> {
    annotations.map(|annotations| json!({ "annotations": annotations }))
}

fn gate_context(gate: &Gate) -> Option<Value> {
    let mut context = serde_json::Map::new();
    if let Turn::Disable { reason } | Turn::Stop { reason } = &gate.turn {
        context.insert("reason".to_owned(), reason.as_str().into());
    }
    if let Some(queue) = &gate.queue {
        context.insert("queue".to_owned(), (**queue).into());
    }
    (!context.is_empty()).then_some(Value::Object(context))
}

struct Context<'a>(Option<&'a Value>);

impl<'a> Context<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.0?.get(key)
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    fn gate(&self, turn: Turn) -> Event {
        let queue = self.text("queue").map(Into::into);
        Event::Queue(Box::new(Gate { queue, turn }))
    }

    fn number<N: TryFrom<u64>>(&self, key: &str) -> Option<N> {
        N::try_from(self.get(key)?.as_u64()?).ok()
    }
}
