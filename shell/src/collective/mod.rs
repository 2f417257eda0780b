//! All-gathers among the shells of a job: each gives some bytes, and all get what all have given.
//!
//! The shells form a tree by their index in R, [`FANOUT`](gather::FANOUT) below each. A shell waits for the parts of its
//! children, sends one message with all of them to its parent, and hands its answer to its children. PMI and PMIx
//! exchange what they know through this; a collective has a name, and those of one name come one after the other.
//!
//! A part that comes before its job has been started here waits for it. A broker that is restarted in between loses
//! messages: they are sent again. Tasks that end without having taken part fail the collective for all.

mod gather;

pub(crate) use gather::Collectives;

use crate::plan::Plan;
use crate::shell::{Event, Key, Shell, Timer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flurm_client::ClientError;
use flurm_types::Rank;
use flurm_wire::shell::{Fence, FenceLost, Fenced, Part, PmixGet};
use flurm_wire::{Dest, ErrorCode, Message, WireError};
use gather::{Failure, Step};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a part waits for its job to start here, and how long a parent that cannot be reached is asked again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Jobs that are remembered after their end, for parts that come late.
const OVER_MAX: usize = 4096;
/// Before a parent is asked again.
const RETRY: Duration = Duration::from_millis(300);

/// What the shells have given, by index in R; or why it could not be had.
pub type Collected = Result<Vec<(u32, Vec<u8>)>, String>;

/// What children say of jobs that are not here: most have not been started yet, some are over.
#[derive(Debug, Default)]
pub(crate) struct Early {
    over: BTreeSet<Key>,
    by_job: BTreeMap<Key, Vec<Word>>,
    /// Until when, the first one first.
    until: VecDeque<(Instant, Key)>,
}

#[derive(Debug)]
enum Word {
    Part(Message, Fence),
    Lost(FenceLost),
    Get(Message, PmixGet),
}

impl Early {
    /// The older a job, the smaller its number.
    fn is_over(&mut self, key: Key) {
        self.over.insert(key);
        if self.over.len() > OVER_MAX {
            self.over.pop_first();
        }
    }

    fn keep(&mut self, key: Key, word: Word) {
        self.by_job.entry(key).or_default().push(word);
        self.until.push_back((Instant::now() + PATIENCE, key));
    }
}

/// A question to the parent that has no answer yet.
#[derive(Debug)]
pub(crate) struct Question {
    to: Rank,
    fence: Arc<Fence>,
    on_its_way: bool,
    /// When it was sent last.
    asked: Instant,
    /// Since when the parent cannot be reached.
    lost: Option<Instant>,
}

impl Question {
    /// It was lost. False if that goes on for too long; how long the parent had it before does not count.
    fn is_worth_another(&mut self, now: Instant) -> bool {
        if now.duration_since(self.asked) >= PATIENCE {
            self.lost = None;
        }
        now.duration_since(*self.lost.get_or_insert(now)) < PATIENCE
    }
}

impl Shell {
    /// Begins an all-gather among all shells of a job that have tasks; [`Event::Collected`] tells the end of it.
    pub(crate) fn collect(&mut self, key: Key, name: String, data: &[u8]) {
        let Some(job) = self.jobs.get(&key) else { return };
        let members = with_tasks(&job.plan);
        self.collect_among(key, name, members, data);
    }

    /// The same among some of them only, by index in R, ascending.
    pub(crate) fn collect_among(&mut self, key: Key, name: String, members: Vec<u32>, data: &[u8]) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        match job.collectives.enter(&name, members, BASE64.encode(data)) {
            Ok(step) => self.gathered(key, name, step),
            Err(why) => self.tell_collected(key, name, Err(why)),
        }
    }

    /// A child's parts.
    pub(crate) fn fence(&mut self, message: Message, fence: Fence) {
        let key = (fence.id, fence.attempt);
        let Some(job) = self.jobs.get_mut(&key) else {
            if self.early.over.contains(&key) {
                return self.refuse(message, WireError::new(ErrorCode::NotFound, ended_on(self.rank)));
            }
            return self.early.keep(key, Word::Part(message, fence));
        };
        if let Some(why) = job.collectives.is_left() {
            let error = WireError::new(ErrorCode::NotFound, why);
            return self.refuse(message, error);
        }
        let step = job.collectives.part(&fence.name, fence.seq, fence.from, fence.parts, message);
        self.gathered(key, fence.name, step);
    }

    /// A child cannot take part, or not any more.
    pub(crate) fn fence_lost(&mut self, lost: FenceLost) {
        let key = (lost.id, lost.attempt);
        let Some(job) = self.jobs.get_mut(&key) else {
            if !self.early.over.contains(&key) {
                self.early.keep(key, Word::Lost(lost));
            }
            return;
        };
        for failure in job.collectives.lost(lost.from, lost.name.as_deref(), &lost.why) {
            self.fence_failed(key, failure);
        }
    }

    /// A job could not even be begun here.
    pub(crate) fn never_came(&mut self, key: Key) {
        self.early.is_over(key);
        // They are refused now.
        self.take_early(key);
    }

    /// Parts that have waited for this job.
    pub(crate) fn take_early(&mut self, key: Key) {
        for word in self.early.by_job.remove(&key).unwrap_or_default() {
            match word {
                Word::Part(message, fence) => self.fence(message, fence),
                Word::Lost(lost) => self.fence_lost(lost),
                Word::Get(message, get) => self.pmix_get(message, get),
            }
        }
    }

    /// What a task elsewhere wants of one here, whose job is not here.
    pub(crate) fn pmix_get_early(&mut self, message: Message, get: PmixGet) {
        let key = (get.id, get.attempt);
        if self.early.over.contains(&key) {
            return self.refuse(message, WireError::new(ErrorCode::NotFound, ended_on(self.rank)));
        }
        self.early.keep(key, Word::Get(message, get));
    }

    pub(crate) fn early_expire(&mut self, now: Instant) {
        while let Some((until, key)) = self.early.until.front().copied()
            && until <= now
        {
            self.early.until.pop_front();
            for word in self.early.by_job.remove(&key).unwrap_or_default() {
                if let Word::Part(message, _) | Word::Get(message, _) = word {
                    let text = format!("{} has not started on rank {}", key.0.f58(), self.rank);
                    self.refuse(message, WireError::new(ErrorCode::TimedOut, text));
                }
            }
        }
    }

    /// The tasks of a job have ended here: nobody may wait for them any more.
    pub(crate) fn leave_collectives(&mut self, key: Key) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        job.questions.clear();
        if job.plan.nnodes == 1 {
            return;
        }
        let why = ended_on(self.rank);
        self.early.is_over(key);
        let (waiting, mut above) = job.collectives.leave(&why);
        if job.ended_in_order() {
            // Who has said goodbye is not waited for by anybody.
            above.clear();
        } else {
            above.extend(gather::parent(&with_tasks(&job.plan), job.plan.node_index));
        }
        let above: Vec<Rank> = above.iter().map(|index| Rank(job.r.nodes[*index as usize].rank)).collect();
        for message in waiting {
            self.refuse(message, WireError::new(ErrorCode::NotFound, why.clone()));
        }
        for to in above {
            self.tell_lost(key, to, None, why.clone());
        }
    }

    fn gathered(&mut self, key: Key, name: String, step: Step<Message>) {
        match step {
            Step::Wait => {}
            Step::Ask { to, seq, parts } => self.ask_parent(key, name, to, seq, parts),
            Step::Through { parts, waiting } => {
                let fenced = Fenced { parts };
                let raw = raw(&fenced);
                if !waiting.is_empty()
                    && let Some(job) = self.jobs.get_mut(&key)
                {
                    job.collectives.keep(&name, Arc::clone(&raw));
                }
                self.hand_down(waiting, &raw);
                self.tell_collected(key, name, decode(&fenced.parts));
            }
            Step::Again(message, answer) => self.hand_down(vec![message], &answer),
            Step::Refuse(message, why) => self.refuse(message, WireError::new(ErrorCode::Invalid, why)),
            Step::Fail(failure) => self.fence_failed(key, failure),
        }
    }

    fn ask_parent(&mut self, key: Key, name: String, to: u32, seq: u64, parts: Vec<Part>) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let to = Rank(job.r.nodes[to as usize].rank);
        let from = job.plan.node_index;
        let fence = Arc::new(Fence { id: key.0, attempt: key.1, name: name.clone(), seq, from, parts });
        job.questions
            .insert(name, Question { to, fence, on_its_way: false, asked: Instant::now(), lost: None });
        self.ask_again(key);
    }

    /// Sends whatever has no answer and is not on its way.
    pub(crate) fn ask_again(&mut self, key: Key) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let Some(client) = &self.client else {
            if !job.questions.is_empty() {
                self.timers.insert((Instant::now() + RETRY, key, Timer::Collective));
            }
            return;
        };
        for question in job.questions.values_mut().filter(|question| !question.on_its_way) {
            (question.on_its_way, question.asked) = (true, Instant::now());
            let (client, events) = (client.clone(), self.events.clone());
            let (to, fence) = (Dest::Rank(question.to), Arc::clone(&question.fence));
            tokio::spawn(async move {
                let answer = client.call(to, &*fence).await;
                let (name, seq) = (fence.name.clone(), fence.seq);
                // The shell may be leaving.
                let _ = events.send(Event::Fenced { key, name, seq, answer: Box::new(answer) });
            });
        }
    }

    /// The parent has answered, or the question was lost.
    pub(crate) fn fenced(&mut self, key: Key, name: String, seq: u64, answer: Result<Fenced, ClientError>) {
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let Some(question) = job.questions.get_mut(&name).filter(|q| q.fence.seq == seq) else { return };
        match answer {
            Ok(fenced) => {
                job.questions.remove(&name);
                let raw = raw(&fenced);
                let Some(waiting) = job.collectives.answered(&name, seq, Arc::clone(&raw)) else { return };
                self.hand_down(waiting, &raw);
                self.tell_collected(key, name, decode(&fenced.parts));
            }
            Err(error) if was_lost(&error) && question.is_worth_another(Instant::now()) => {
                question.on_its_way = false;
                self.timers.insert((Instant::now() + RETRY, key, Timer::Collective));
            }
            Err(error) => {
                job.questions.remove(&name);
                if let Some(failure) = job.collectives.refused(&name, seq, error.to_string()) {
                    self.fence_failed(key, failure);
                }
            }
        }
    }

    fn fence_failed(&mut self, key: Key, failure: Failure<Message>) {
        let Failure { name, why, own, waiting, parent } = failure;
        tracing::warn!(job = %key.0.f58(), name, why, "a collective of a job's shells failed");
        for message in waiting {
            self.refuse(message, WireError::new(ErrorCode::NotFound, why.clone()));
        }
        if let Some(job) = self.jobs.get_mut(&key) {
            job.questions.remove(&name);
            if let Some(parent) = parent {
                let parent = Rank(job.r.nodes[parent as usize].rank);
                self.tell_lost(key, parent, Some(name.clone()), why.clone());
            }
        }
        if own {
            self.tell_collected(key, name, Err(why));
        }
    }

    fn tell_lost(&self, key: Key, to: Rank, name: Option<String>, why: String) {
        let (Some(client), Some(job)) = (self.client.clone(), self.jobs.get(&key)) else { return };
        let lost = FenceLost { id: key.0, attempt: key.1, from: job.plan.node_index, name, why };
        tokio::spawn(async move {
            // If it does not get there, the parent waits until the leader ends the job.
            let _ = client.call(Dest::Rank(to), &lost).await;
        });
    }

    fn hand_down(&self, waiting: Vec<Message>, answer: &Arc<RawValue>) {
        for message in waiting {
            self.respond(message, Arc::clone(answer));
        }
    }

    fn tell_collected(&self, key: Key, name: String, result: Collected) {
        // The shell may be leaving.
        let _ = self.events.send(Event::Collected { key, name, result });
    }
}

/// The root of the tree over all nodes that take part, by index in R.
pub(crate) fn first(plan: &Plan) -> Option<u32> {
    with_tasks(plan).first().copied()
}

/// All nodes that take part, by index in R.
fn with_tasks(plan: &Plan) -> Vec<u32> {
    match plan.nnodes {
        1 => vec![0],
        _ => {
            let tasks = plan.map.nodes();
            (0..).zip(&tasks).filter(|(_, tasks)| !tasks.is_empty()).map(|(index, _)| index).collect()
        }
    }
}

fn ended_on(rank: Rank) -> String {
    format!("the tasks on rank {rank} have ended")
}

fn raw(fenced: &Fenced) -> Arc<RawValue> {
    serde_json::value::to_raw_value(fenced).expect("numbers and text are JSON").into()
}

fn decode(parts: &[Part]) -> Collected {
    let decode = |Part(from, data): &Part| match BASE64.decode(data) {
        Ok(bytes) => Ok((*from, bytes)),
        Err(error) => Err(format!("read the part of rank {from} of the job: {error}")),
    };
    parts.iter().map(decode).collect()
}

/// May the same question be answered a little later?
fn was_lost(error: &ClientError) -> bool {
    matches!(error, ClientError::Lost)
        || matches!(error.code(), Some(ErrorCode::Unreachable | ErrorCode::Unavailable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_asked_again_for_a_while_from_its_loss_on() {
        let start = Instant::now();
        let fence = Fence {
            id: flurm_types::JobId(1),
            attempt: 0,
            name: "x".into(),
            seq: 0,
            from: 1,
            parts: Vec::new(),
        };
        let mut question =
            Question { to: Rank(0), fence: Arc::new(fence), on_its_way: true, asked: start, lost: None };
        // The parent has waited for others for an hour.
        let loss = start + Duration::from_secs(3600);
        assert!(question.is_worth_another(loss));
        question.asked = loss + PATIENCE / 2;
        assert!(question.is_worth_another(question.asked));
        question.asked = loss + PATIENCE;
        assert!(!question.is_worth_another(question.asked));
    }
}
