//! Jobs whose tasks are followed by clients on this rank: output goes to them alone, and input comes from them.
//!
//! ```text
//! name --follow--> awaited --job starts--> followed --gone--> over --taken--> forgotten
//!   `--job starts--> unheard: output waits, tasks after it --follow--> followed
//! ```
//!
//! Each name is a channel. Every follower gets all that comes while it is there, the first one also what came before. Room
//! comes back to the readers of the job's pipes when all followers have taken a byte; when there is none, it waits.

use crate::jobs::Phase;
use crate::shell::{Key, Shell};
use flurm_client::Client;
use flurm_types::JobId;
use flurm_wire::follow::{Feed, Follow, Followed, Signal, Took};
use flurm_wire::job::Stdin;
use flurm_wire::rexec::Stream;
use flurm_wire::{Address, ErrorCode, Message, WireError};
use std::collections::VecDeque;
use tokio::sync::mpsc;

/// Names of jobs that are over and that nobody has followed, the youngest of which are kept.
const UNHEARD_MAX: usize = 256;
/// Names that are followed and have no job.
const AWAITED_MAX: usize = 4096;
/// Input for a name that has no job yet.
const EARLY_INPUTS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Channel {
    /// None: nobody has started it yet.
    key: Option<Key>,
    /// What nobody has heard yet.
    waiting: VecDeque<Followed>,
    followers: Vec<Follower>,
    inputs: Vec<(Feed, Message)>,
    signals: Vec<i32>,
    /// Bytes of output so far.
    said: usize,
    /// Of them, for which the readers have got their room back.
    released: usize,
    over: bool,
}

#[derive(Debug)]
struct Follower {
    asker: (Address, u64),
    send: mpsc::UnboundedSender<Followed>,
    /// Bytes of the channel's output that it has taken, or that came before it.
    taken: usize,
}

impl Channel {
    /// Tells all followers, or keeps it for the first.
    fn tell(&mut self, what: Followed) {
        if self.followers.is_empty() {
            self.waiting.push_back(what);
            return;
        }
        let last = self.followers.len() - 1;
        for follower in &self.followers[..last] {
            // Whoever has gone says so.
            let _ = follower.send.send(what.clone());
        }
        let _ = self.followers[last].send.send(what);
    }

    /// Bytes that nobody has in hand any more.
    fn release(&mut self) -> usize {
        let taken = self.followers.iter().map(|follower| follower.taken).min();
        let taken = taken.unwrap_or_else(|| {
            let waits = self.waiting.iter().map(|what| match what {
                Followed::Output { data, base64, .. } => crate::io::length(data, *base64),
                _ => 0,
            });
            self.said - waits.sum::<usize>()
        });
        let more = taken.saturating_sub(self.released);
        self.released += more;
        more
    }
}

impl Shell {
    /// The name under which the job's tasks are followed.
    fn followed_as(&self, key: Key) -> Option<String> {
        self.jobs.get(&key)?.plan.options.follow.clone()
    }

    pub(crate) fn follow(&mut self, message: Message, Follow { name }: Follow) {
        let awaited = || self.channels.values().filter(|channel| channel.key.is_none()).count();
        if !self.channels.contains_key(&name) && awaited() >= AWAITED_MAX {
            let text = format!("{AWAITED_MAX} names are followed that no job has");
            return self.refuse(message, WireError::new(ErrorCode::Unavailable, text));
        }
        let Some(client) = self.client.clone() else { return };
        let channel = self.channels.entry(name.clone()).or_default();
        let (send, pieces) = mpsc::unbounded_channel();
        let asker = (message.src, message.tag);
        let first = channel.followers.is_empty();
        let taken = if first { channel.released } else { channel.said };
        // It hears nothing else before this.
        let _ = send.send(Followed::Ready {});
        if first {
            for what in std::mem::take(&mut channel.waiting) {
                let _ = send.send(what);
            }
        }
        tokio::spawn(pass_on(client, message, pieces));
        if !channel.over {
            channel.followers.push(Follower { asker, send, taken });
        } else {
            self.channels.remove(&name);
        }
    }

    pub(crate) fn follower_took(&mut self, message: &Message, Took { tag, bytes }: Took) {
        let asker = (message.src, tag);
        let find = |channel: &mut Channel| {
            let follower = channel.followers.iter_mut().find(|follower| follower.asker == asker)?;
            follower.taken = follower.taken.saturating_add(bytes).min(channel.said);
            Some((channel.key?, channel.release()))
        };
        if let Some((key, bytes)) = self.channels.values_mut().find_map(find) {
            self.make_room(key, bytes);
        }
    }

    /// The client listens no more, or is gone. What it had in hand is gone with it.
    pub(crate) fn follower_gone(&mut self, cancel: &Message) {
        let asker = (cancel.src, cancel.tag);
        let has = |channel: &Channel| channel.followers.iter().any(|follower| follower.asker == asker);
        let Some((name, channel)) = self.channels.iter_mut().find(|(_, channel)| has(channel)) else {
            return;
        };
        channel.followers.retain(|follower| follower.asker != asker);
        let Some(key) = channel.key else {
            if channel.followers.is_empty() {
                let name = name.clone();
                self.channels.remove(&name);
            }
            return;
        };
        let bytes = channel.release();
        self.make_room(key, bytes);
    }

    /// A job with that name has come.
    pub(crate) fn begin_channel(&mut self, key: Key) {
        let Some(name) = self.followed_as(key) else { return };
        let channel = self.channels.entry(name).or_default();
        channel.key = Some(key);
        let (inputs, signals) = (std::mem::take(&mut channel.inputs), std::mem::take(&mut channel.signals));
        for (feed, message) in inputs {
            self.feed(message, feed);
        }
        let Some(job) = self.jobs.get_mut(&key) else { return };
        if let Phase::Launching { signals: early, .. } = &mut job.phase {
            early.extend(signals);
        }
    }

    pub(crate) fn tell_followers(&mut self, key: Key, what: impl FnOnce(&crate::plan::Plan) -> Followed) {
        let Some(job) = self.jobs.get(&key) else { return };
        let Some(name) = &job.plan.options.follow else { return };
        if let Some(channel) = self.channels.get_mut(name) {
            channel.tell(what(&job.plan));
        }
    }

    /// True if the job's output is for those who follow it. No bytes are the end of the stream.
    pub(crate) fn output_followed(
        &mut self,
        key: Key,
        stream: Stream,
        task: u32,
        bytes: &mut Vec<u8>,
    ) -> bool {
        let Some(job) = self.jobs.get(&key) else { return false };
        let Some(name) = &job.plan.options.follow else { return false };
        let Some(channel) = self.channels.get_mut(name) else { return true };
        if bytes.is_empty() {
            channel.tell(Followed::End { task, stream });
            return true;
        }
        channel.said += bytes.len();
        let (data, base64) = crate::io::encode(std::mem::take(bytes));
        channel.tell(Followed::Output { task, stream, data, base64 });
        true
    }

    /// Nothing is left of the job.
    pub(crate) fn end_channel(&mut self, key: Key, status: i32) {
        if let Some(name) = self.followed_as(key) {
            self.close_channel(&name, status);
        }
    }

    fn close_channel(&mut self, name: &str, status: i32) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        channel.tell(Followed::Gone { status });
        if channel.followers.is_empty() {
            channel.over = true;
            self.unheard.push_back(name.to_owned());
            if self.unheard.len() > UNHEARD_MAX
                && let Some(oldest) = self.unheard.pop_front()
                && self.channels.get(&oldest).is_some_and(|channel| channel.over)
            {
                self.channels.remove(&oldest);
            }
        } else {
            self.channels.remove(name);
        }
    }

    /// It could not even be planned: whoever waits for it hears why.
    pub(crate) fn never_followed(&mut self, id: JobId, jobspec: &str, note: &str, status: i32) {
        let spec: Option<serde_json::Value> = serde_json::from_str(jobspec).ok();
        let options = spec.as_ref().map(|spec| &spec["attributes"]["system"]["shell"]["options"]);
        let nested = |options: &serde_json::Value| options["output"]["follow"].as_str().map(str::to_owned);
        let name = options.and_then(|o| o["output.follow"].as_str().map(str::to_owned).or_else(|| nested(o)));
        let Some(name) = name else { return };
        let channel = self.channels.entry(name.clone()).or_default();
        channel.key = Some((id, 0));
        channel.tell(Followed::Failed { note: note.to_owned(), status });
        self.close_channel(&name, status);
    }

    pub(crate) fn feed(&mut self, message: Message, feed: Feed) {
        let Some(channel) = self.channels.get_mut(&feed.name) else {
            let text = format!("nobody follows `{}` here", feed.name);
            return self.refuse(message, WireError::new(ErrorCode::NotFound, text));
        };
        let Some((id, _)) = channel.key else {
            if channel.inputs.len() < EARLY_INPUTS_MAX {
                return channel.inputs.push((feed, message));
            }
            let text = "the job does not run yet, and much input waits for it";
            return self.refuse(message, WireError::new(ErrorCode::Unavailable, text));
        };
        let Feed { tasks, data, base64, eof, window, .. } = feed;
        let ranks = tasks.map_or_else(|| "all".to_owned(), |tasks| tasks.to_string());
        self.stdin(Stdin { id, ranks, data, base64, eof, typed: false, window }, message);
    }

    pub(crate) fn signal_followed(&mut self, message: Message, Signal { name, signum }: Signal) {
        let Some(channel) = self.channels.get_mut(&name) else {
            let text = format!("nobody follows `{name}` here");
            return self.refuse(message, WireError::new(ErrorCode::NotFound, text));
        };
        match channel.key {
            None => channel.signals.push(signum),
            Some(key) => self.signal_here(key, signum),
        }
        self.respond(message, flurm_wire::job::Done {});
    }
}

/// Answers leave in the order in which they came.
async fn pass_on(client: Client, message: Message, mut pieces: mpsc::UnboundedReceiver<Followed>) {
    while let Some(what) = pieces.recv().await {
        let more = !matches!(what, Followed::Gone { .. });
        // A lost connection ends the stream.
        if client.respond(&message, &what, more).await.is_err() || !more {
            return;
        }
    }
}
