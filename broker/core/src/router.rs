//! Which requests are open through this broker, and which clients are there.
//!
//! Every request that wants an answer is remembered by each broker on its way until its last answer passes back.
//! So when a link, a client or a shell goes, whoever waits across it is refused, and whoever works for it is told
//! to stop. Where a message goes next is decided in `lib.rs`, with the overlay's help.

use crate::door::Peer;
use flurm_types::Rank;
use flurm_wire::{Address, ClientId, Dest, ErrorCode, Kind, Message, WireError};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Requests one client may have open.
pub(crate) const OPEN_PER_CLIENT_MAX: usize = 1 << 16;

/// Who a request was handed to.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Via {
    /// A service of this mind.
    Mind,
    /// The shell of this rank, or another client.
    Client(ClientId),
    Broker(Rank),
}

#[derive(Debug)]
struct Open {
    topic: Cow<'static, str>,
    dst: Dest,
    via: Via,
}

#[derive(Debug, Default)]
pub(crate) struct Router {
    open: BTreeMap<(Address, u64), Open>,
    /// Connected clients, with the number of their open requests.
    clients: BTreeMap<ClientId, usize>,
}

impl Router {
    pub fn client_up(&mut self, client: ClientId) {
        self.clients.insert(client, 0);
    }

    pub fn has_client(&self, client: ClientId) -> bool {
        self.clients.contains_key(&client)
    }

    /// A request as the broker that takes it from a client sees it: with its true source.
    ///
    /// # Errors
    /// When the client has too many requests open.
    pub fn take_in(&self, me: Rank, client: ClientId, message: &mut Message) -> Result<(), WireError> {
        message.src = Address { rank: me, client };
        if message.dst == Dest::Local {
            message.dst = Dest::Rank(me);
        }
        let open = self.clients.get(&client).copied().unwrap_or(0);
        if message.kind == Kind::Request && open >= OPEN_PER_CLIENT_MAX {
            let text = format!("{open} requests of this client are not answered yet");
            return Err(WireError::new(ErrorCode::Unavailable, text));
        }
        Ok(())
    }

    /// Remembers a request until its last answer.
    pub fn opened(&mut self, me: Rank, message: &Message, via: Via) {
        // Tag 0 asks for no answer. Minds ask only their neighbours, which the overlay looks after.
        if message.tag == 0 || message.src.client == ClientId(0) {
            return;
        }
        let open = Open { topic: message.topic.clone(), dst: message.dst, via };
        let before = self.open.insert((message.src, message.tag), open);
        if before.is_none() && message.src.rank == me {
            *self.clients.entry(message.src.client).or_default() += 1;
        }
    }

    /// The request has had its last answer, or is no longer wanted; tells who worked on it.
    pub fn closed(&mut self, me: Rank, src: Address, tag: u64) -> Option<Via> {
        let open = self.open.remove(&(src, tag))?;
        if src.rank == me
            && let Some(count) = self.clients.get_mut(&src.client)
        {
            *count = count.saturating_sub(1);
        }
        Some(open.via)
    }

    /// A client has gone: its open requests, as messages that cancel them.
    pub fn client_gone(&mut self, me: Rank, client: ClientId) -> Vec<Message> {
        self.clients.remove(&client);
        let src = Address { rank: me, client };
        self.open.range((src, 0)..=(src, u64::MAX)).map(|(key, open)| cancel(*key, open)).collect()
    }

    /// A neighbour or a shell may have lost what was on its way: refusals for those who wait for something beyond it.
    pub fn refuse_all(&self, me: Rank, gone: Peer, text: &str) -> Vec<Message> {
        let via = match gone {
            Peer::Broker(rank) => Via::Broker(rank),
            Peer::Client(client) => Via::Client(client),
        };
        let error = WireError::new(ErrorCode::Unreachable, text);
        let me = Address { rank: me, client: ClientId(0) };
        let waiting = self.open.iter().filter(|(_, open)| open.via == via);
        waiting.map(|(key, open)| cancel(*key, open).refuse(me, error.clone())).collect()
    }

    /// The same event, for requests whose asker is beyond it: messages that cancel them.
    pub fn cancel_all(&self, from: impl Fn(Rank) -> bool) -> Vec<Message> {
        let gone = self.open.iter().filter(|((src, _), _)| from(src.rank));
        gone.map(|(key, open)| cancel(*key, open)).collect()
    }
}

fn cancel((src, tag): (Address, u64), open: &Open) -> Message {
    Message {
        v: flurm_wire::VERSION,
        kind: Kind::Cancel,
        topic: open.topic.clone(),
        src,
        dst: open.dst,
        tag,
        more: false,
        error: None,
        payload: None,
    }
}
