//! What must never be otherwise. One file each; a check sees committed facts, or what leaves a broker, as it happens.

pub mod alive;
pub mod all_end;
pub mod event_order;
pub mod held;
pub mod inactive_final;
pub mod no_overlap;
pub mod nothing_lost;
pub mod once;
pub mod replay;
pub mod whole;

use flurm_core::{Core, Input, Output, Peer};
use flurm_types::{Now, Rank};
use flurm_wire::fact::{Fact, JobFact};
use flurm_wire::{Address, ClientId, Dest, Message, Topic};

/// A broken invariant: its name and what was seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broken {
    pub invariant: &'static str,
    pub text: String,
}

pub(crate) fn broken(invariant: &'static str, text: String) -> Result<(), Broken> {
    Err(Broken { invariant, text })
}

/// Asks the leader's mind something that it can answer at once, over a connection of its own.
pub(crate) fn ask<T: Topic>(core: &mut Core, now: Now, body: &T) -> Option<T::Response> {
    let client = ClientId(u64::MAX);
    let message = Message::request(Address { rank: Rank(0), client }, Dest::Leader, 1, body);
    let mut out = Vec::new();
    core.step(now, Input::PeerUp(Peer::Client(client)), &mut out);
    core.step(now, Input::Message { from: Peer::Client(client), message }, &mut out);
    core.step(now, Input::BatchEnd, &mut out);
    core.step(now, Input::PeerGone(Peer::Client(client)), &mut out);
    out.iter().find_map(|output| match output {
        Output::Send { to: Peer::Client(to), message } if *to == client => message.body().ok(),
        _ => None,
    })
}

/// The checks that go on during a run.
#[derive(Debug, Default)]
pub struct Checks {
    pub no_overlap: no_overlap::NoOverlap,
    pub event_order: event_order::EventOrder,
    pub inactive_final: inactive_final::InactiveFinal,
    pub held: held::Held,
}

impl Checks {
    /// A record is durable.
    pub fn committed(&mut self, facts: &[Fact]) -> Result<(), Broken> {
        self.no_overlap.committed(facts)?;
        for fact in facts {
            self.held.committed(fact);
            if let Fact::Job(fact) = fact {
                self.job(fact)?;
            }
        }
        Ok(())
    }

    fn job(&mut self, fact: &JobFact) -> Result<(), Broken> {
        self.event_order.committed(fact)?;
        self.inactive_final.committed(fact)
    }

    /// A message leaves a broker.
    pub fn sent(&mut self, message: &Message) -> Result<(), Broken> {
        self.held.sent(message)
    }
}
