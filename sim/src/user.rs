//! A user's program: submits, cancels, waits, keeps keys. It asks again what was refused or cut off, and never gives
//! up waiting for an answer: a request that nobody answers is a bug that the liveness phase shows.

use crate::rng::Rng;
use flurm_jobspec::build::Builder;
use flurm_types::{JobId, R, Rank};
use flurm_wire::fact::KvsOp;
use flurm_wire::job::{Await, Awaited, LookedUp, Lookup, Raise, SetUrgency, Submit};
use flurm_wire::job::{SubmitFlags, SubmitJob, Submitted};
use flurm_wire::kvs::{self, Commit, Got};
use flurm_wire::{Address, ClientId, Dest, ErrorCode, Message, Topic};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

const RETRY_MS: u64 = 300;

#[derive(Debug)]
pub struct User {
    pub number: u64,
    pub conn: Option<u64>,
    next_tag: u64,
    todo: Vec<Todo>,
    flying: BTreeMap<u64, Todo>,
    /// Everything that was acknowledged.
    pub jobs: Vec<JobId>,
    pub puts: Vec<(String, u64)>,
}

/// One thing a user wants; it is done when an answer says so.
#[derive(Clone, Debug)]
enum Todo {
    Submit {
        submit_id: String,
        jobs: Vec<(String, bool)>,
    },
    /// Learn what that job has, for a job within it.
    Look(JobId),
    /// It may have ended meanwhile.
    Within {
        submit_id: String,
        jobspec: String,
    },
    /// Follow these jobs to their end.
    Await(Vec<JobId>),
    Cancel(JobId),
    Urgency(JobId, u8),
    Put {
        key: String,
        value: u64,
    },
    Read {
        key: String,
        value: u64,
    },
}

#[derive(Debug)]
pub enum Act {
    Send(Message),
    /// Call [`User::go_on`] then.
    Later(u64),
}

impl User {
    pub fn new(number: u64, nodes: u32, rng: &mut Rng) -> User {
        let mut todo = Vec::new();
        for batch in 0..rng.range(2, 5) {
            let jobs = (0..rng.range(1, 4)).map(|_| spec(nodes, rng)).collect();
            todo.push(Todo::Submit { submit_id: format!("user{number}-{batch}"), jobs });
        }
        for value in 1..rng.range(2, 5) {
            todo.push(Todo::Put { key: format!("u{number}.k"), value });
        }
        todo.reverse();
        User {
            number,
            conn: None,
            next_tag: 1,
            todo,
            flying: BTreeMap::new(),
            jobs: Vec::new(),
            puts: Vec::new(),
        }
    }

    pub fn done(&self) -> bool {
        self.todo.is_empty() && self.flying.is_empty()
    }

    /// What it still waits for, for a failure's report.
    pub fn waits(&self) -> String {
        format!("user {}: to do {:?}, open {:?}", self.number, self.todo, self.flying)
    }

    pub fn connected(&mut self, conn: u64, acts: &mut Vec<Act>) {
        self.conn = Some(conn);
        acts.push(Act::Later(1));
    }

    pub fn cut_off(&mut self) {
        self.conn = None;
        let open = std::mem::take(&mut self.flying);
        self.todo.extend(open.into_values());
    }

    /// Asks for the next thing on its list.
    pub fn go_on(&mut self, rng: &mut Rng, acts: &mut Vec<Act>) {
        if self.conn.is_none() {
            return;
        }
        // Puts of one key keep their order: one at a time.
        let putting = self.flying.values().any(|t| matches!(t, Todo::Put { .. } | Todo::Read { .. }));
        let next =
            self.todo.iter().rposition(|t| !putting || !matches!(t, Todo::Put { .. } | Todo::Read { .. }));
        let Some(at) = next else { return };
        let todo = self.todo.remove(at);
        let tag = self.next_tag;
        self.next_tag += 1;
        acts.push(Act::Send(request(&todo, tag)));
        self.flying.insert(tag, todo);
        if !self.todo.is_empty() {
            acts.push(Act::Later(rng.range(1, 1500)));
        }
    }

    pub fn receive(&mut self, message: &Message, rng: &mut Rng, acts: &mut Vec<Act>) -> Result<(), String> {
        let Some(todo) = self.flying.remove(&message.tag) else { return Ok(()) };
        if let Some(error) = &message.error {
            let again = matches!(error.code, ErrorCode::Unreachable | ErrorCode::Unavailable);
            // A job may end before its cancellation comes, and a put is read only after it was acknowledged.
            let fine = matches!(
                (&todo, error.code),
                (Todo::Cancel(_) | Todo::Urgency(..), ErrorCode::Invalid)
                    | (Todo::Look(_), ErrorCode::NotFound)
            );
            if again {
                self.todo.push(todo);
                acts.push(Act::Later(RETRY_MS));
            } else if !fine {
                return Err(format!("{todo:?} was refused: {error}"));
            }
            return Ok(());
        }
        match todo {
            Todo::Submit { jobs, .. } => {
                let Submitted { jobs: results } = message.body().map_err(|e| e.text)?;
                let mut ids = Vec::new();
                for ((_, forever), result) in jobs.into_iter().zip(results) {
                    let id = result.map_err(|e| format!("a job was refused: {e}"))?;
                    ids.push(id);
                    if forever || rng.percent(15) {
                        self.todo.insert(0, Todo::Cancel(id));
                    }
                    if rng.percent(10) {
                        self.todo.push(Todo::Urgency(id, *rng.pick(&[0, 1, 20, 31])));
                    }
                }
                if rng.percent(50) {
                    self.todo.extend(ids.first().map(|id| Todo::Look(*id)));
                }
                self.jobs.extend(&ids);
                self.todo.push(Todo::Await(ids));
            }
            Todo::Await(ids) => {
                let left: Vec<JobId> = match message.payload {
                    None => Vec::new(),
                    Some(_) => {
                        let Awaited { jobs } = message.body().map_err(|e| e.text)?;
                        ids.into_iter().filter(|id| !jobs.iter().any(|j| j.id == *id)).collect()
                    }
                };
                if message.more {
                    self.flying.insert(message.tag, Todo::Await(left));
                } else if !left.is_empty() {
                    return Err(format!("the stream ended before {left:?} did"));
                }
            }
            Todo::Look(id) => {
                let LookedUp { values } = message.body().map_err(|e| e.text)?;
                let all = R::parse(&values[0]).map_err(|e| e.to_string())?;
                let first = all.ranks().iter().take(1).collect();
                let r = if rng.percent(50) { all } else { all.restrict(&first) };
                let submit_id = format!("user{}-within-{}-{}", self.number, id.0, rng.range(0, 1_000_000));
                self.todo.push(Todo::Within { submit_id, jobspec: within(id, &r, rng) });
            }
            Todo::Within { .. } => {
                let Submitted { jobs } = message.body().map_err(|e| e.text)?;
                match &jobs[0] {
                    Ok(id) => {
                        self.jobs.push(*id);
                        if rng.percent(20) {
                            self.todo.insert(0, Todo::Cancel(*id));
                        }
                        self.todo.push(Todo::Await(vec![*id]));
                    }
                    Err(error) if error.code == ErrorCode::Invalid => {}
                    Err(error) => return Err(format!("a job within another was refused: {error}")),
                }
            }
            Todo::Put { key, value } => {
                self.puts.push((key.clone(), value));
                self.todo.push(Todo::Read { key, value });
            }
            Todo::Read { key, value } => {
                let got: Got = message.body().map_err(|e| e.text)?;
                // Nobody else writes it, and the next value is put only after this one was read.
                if got.node != Some(kvs::Node::Value(value.into())) {
                    return Err(format!("{key} was put as {value} and read as {:?}", got.node));
                }
            }
            // A held job is let go again.
            Todo::Urgency(id, 0) => self.todo.insert(0, Todo::Urgency(id, 16)),
            Todo::Cancel(_) | Todo::Urgency(..) => {}
        }
        acts.push(Act::Later(rng.range(1, 500)));
        Ok(())
    }
}

fn request(todo: &Todo, tag: u64) -> Message {
    fn ask<T: Topic>(tag: u64, body: &T) -> Message {
        Message::request(Address { rank: Rank(0), client: ClientId(0) }, Dest::Leader, tag, body)
    }
    match todo {
        Todo::Submit { submit_id, jobs } => {
            let jobs = jobs.iter().map(|(text, _)| submission(text)).collect();
            ask(tag, &Submit { submit_id: submit_id.clone(), environments: Vec::new(), jobs })
        }
        Todo::Within { submit_id, jobspec } => {
            let jobs = vec![submission(jobspec)];
            ask(tag, &Submit { submit_id: submit_id.clone(), environments: Vec::new(), jobs })
        }
        Todo::Look(id) => ask(tag, &Lookup { id: *id, keys: vec!["R".to_owned()] }),
        Todo::Await(ids) => ask(tag, &Await { ids: ids.clone(), event: None }),
        Todo::Cancel(id) => {
            let (kind, note) = ("cancel".to_owned(), String::new());
            ask(tag, &Raise { ids: vec![*id], kind, severity: 0, note })
        }
        Todo::Urgency(id, urgency) => ask(tag, &SetUrgency { id: *id, urgency: *urgency }),
        Todo::Put { key, value } => {
            let op = KvsOp::Put { key: key.clone(), value: (*value).into() };
            ask(tag, &Commit { namespace: kvs::PRIMARY.to_owned(), ops: vec![op] })
        }
        Todo::Read { key, .. } => {
            let namespace = kvs::PRIMARY.to_owned();
            ask(tag, &kvs::Get { namespace, key: key.clone(), waitcreate: false, watch: false })
        }
    }
}

fn submission(jobspec: &str) -> SubmitJob {
    SubmitJob {
        jobspec: RawValue::from_string(jobspec.to_owned()).expect("the builder writes JSON"),
        environment: None,
        urgency: 16,
        flags: SubmitFlags::default(),
    }
}

/// A job on this part of what another one has.
fn within(outer: JobId, r: &R, rng: &mut Rng) -> String {
    let ms = if rng.percent(30) { "forever".to_owned() } else { rng.range(0, 3000).to_string() };
    let ending_ms = if rng.percent(30) { rng.range(1000, 4000) } else { 10 };
    let command = vec!["sim".to_owned(), ms, "0".to_owned(), ending_ms.to_string()];
    let builder = Builder::new(command).cwd("/").ntasks(1);
    let builder =
        builder.setattr("system.within", &json!(outer)).setattr("system.alloc-bypass", &json!({"R": r}));
    builder.build().expect("R is one").to_json()
}

/// A job that fits somewhere, and whether it runs until it is cancelled.
fn spec(nodes: u32, rng: &mut Rng) -> (String, bool) {
    let forever = rng.percent(20);
    let long = rng.percent(20);
    let ms = if long { rng.range(3000, 9000) } else { rng.range(0, 2000) };
    let status = if rng.percent(20) { 3 << 8 } else { 0 };
    // Some take their time when they are told to end.
    let ending_ms = if rng.percent(30) { rng.range(1000, 4000) } else { 10 };
    let ms = if forever { "forever".to_owned() } else { ms.to_string() };
    let command = vec!["sim".to_owned(), ms, status.to_string(), ending_ms.to_string()];
    let builder = Builder::new(command).cwd("/");
    let builder = match rng.range(0, 4) {
        0 => {
            let n = rng.range(1, u64::from(nodes) + 1) as u32;
            builder.nnodes(n).ntasks(n)
        }
        1 => builder.ntasks(1).cores_per_task(rng.range(1, 5) as u32),
        _ => builder.ntasks(rng.range(1, 5) as u32),
    };
    let builder = if rng.percent(15) { builder.duration(1.0) } else { builder };
    (builder.build().expect("sizes are positive").to_json(), forever)
}
