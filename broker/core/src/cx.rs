//! What a service of the mind may do during a step: answer, tell, propose facts, ask to be woken, log.
//!
//! What a service says is held back until everything proposed so far is committed: invariant 3 holds here and
//! nowhere else. Only what rests on no fact (overlay, attributes, the log ring) may speak [at once](Cx::at_once).

use crate::door::{CoreConfig, Output};
use flurm_types::{Now, Rank};
use flurm_wire::fact::Fact;
use flurm_wire::state::LogLine;
use flurm_wire::{Address, ClientId, Dest, Kind, Message, Topic, WireError};
use serde::Serialize;
use std::collections::BTreeSet;

/// What one batch of inputs has led to so far; `lib.rs` turns it into outputs.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// To be routed now.
    pub direct: Vec<Message>,
    /// To be routed when the facts proposed before (this batch's included) are committed.
    pub held: Vec<Message>,
    pub facts: Vec<Fact>,
    /// Times at which somebody wants to be woken. Kept until they have come, so nobody needs to ask twice.
    pub wakes: BTreeSet<u64>,
    /// Wishes about links and guests.
    pub acts: Vec<Output>,
    pub lines: Vec<LogLine>,
}

pub(crate) struct Cx<'a> {
    pub now: Now,
    pub config: &'a CoreConfig,
    out: &'a mut Outbox,
    hold: bool,
}

impl<'a> Cx<'a> {
    pub fn new(now: Now, config: &'a CoreConfig, out: &'a mut Outbox) -> Cx<'a> {
        Cx { now, config, out, hold: true }
    }

    /// The same, for what rests on no fact.
    pub fn at_once(&mut self) -> Cx<'_> {
        Cx { now: self.now, config: self.config, out: self.out, hold: false }
    }

    /// This broker's own mind as a sender.
    pub fn me(&self) -> Address {
        Address { rank: self.config.rank, client: ClientId(0) }
    }

    /// The last answer to a request (or to what [`asker`] kept of it).
    pub fn respond<B: Serialize>(&mut self, request: &Message, body: &B) {
        let message = request.respond(self.me(), body, false);
        self.send(message);
    }

    /// An answer after which others follow.
    pub fn respond_more<B: Serialize>(&mut self, request: &Message, body: &B) {
        let message = request.respond(self.me(), body, true);
        self.send(message);
    }

    /// The end of a stream, without another answer.
    pub fn respond_end(&mut self, request: &Message) {
        let mut message = request.respond(self.me(), &(), false);
        message.payload = None;
        self.send(message);
    }

    pub fn refuse(&mut self, request: &Message, error: WireError) {
        let message = request.refuse(self.me(), error);
        self.send(message);
    }

    /// A request whose answer, if any, is of no interest.
    pub fn tell<T: Topic>(&mut self, dst: Dest, body: &T) {
        let message = Message::request(self.me(), dst, 0, body);
        self.send(message);
    }

    pub fn send(&mut self, message: Message) {
        // Tag 0 asked for no answer.
        if message.kind == Kind::Response && message.tag == 0 {
            return;
        }
        if self.hold {
            self.out.held.push(message);
        } else {
            self.out.direct.push(message);
        }
    }

    /// Adds a fact to this batch's record. Whoever proposes a fact has already applied it to its own state.
    pub fn propose(&mut self, fact: Fact) {
        self.out.facts.push(fact);
    }

    pub fn wake_at(&mut self, mono_ms: u64) {
        self.out.wakes.insert(mono_ms);
    }

    /// Something for the world to do about links or guests; it rests on no fact.
    pub fn act(&mut self, output: Output) {
        self.out.acts.push(output);
    }

    /// A line for the log ring (RFC 5424 levels: 3 error, 4 warning, 6 info, 7 debug).
    pub fn log(&mut self, level: u8, component: &str, text: impl Into<String>) {
        let rank: Rank = self.config.rank;
        self.out.lines.push(LogLine {
            time: self.now.wall,
            level,
            rank,
            component: component.to_owned(),
            text: text.into(),
        });
    }
}

/// What is worth keeping of a request that is answered later.
pub(crate) fn asker(request: &Message) -> Message {
    Message { payload: None, ..request.clone() }
}
