//! Events of users' own: the leader passes them on to whoever listens, and keeps none.

use crate::cx::{Cx, asker};
use flurm_wire::event::{Event, Events, PAYLOAD_LEN_MAX, Publish, Published, Subscribe, TOPIC_LEN_MAX};
use flurm_wire::{Address, ErrorCode, Message, Topic, WireError};

/// Who may listen at a time.
const LISTENERS_MAX: usize = 1 << 14;
/// Beginnings of topics that one of them may name.
const TOPICS_MAX: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Exchange {
    seq: u64,
    listeners: Vec<Listener>,
}

#[derive(Debug)]
struct Listener {
    request: Message,
    /// Beginnings of topics; none means all.
    topics: Vec<String>,
}

impl Listener {
    fn wants(&self, topic: &str) -> bool {
        self.topics.is_empty() || self.topics.iter().any(|start| topic.starts_with(start))
    }
}

impl Exchange {
    pub fn request(&mut self, cx: &mut Cx, m: &Message) {
        // Nothing of this rests on a fact.
        let mut cx = cx.at_once();
        let answered = match &*m.topic {
            Publish::NAME => m.body().and_then(|publish| self.publish(&mut cx, m, publish)),
            Subscribe::NAME => m.body().and_then(|subscribe| self.subscribe(&mut cx, m, subscribe)),
            topic => Err(WireError::new(ErrorCode::NoService, format!("no service for {topic}"))),
        };
        if let Err(error) = answered {
            cx.refuse(m, error);
        }
    }

    fn publish(&mut self, cx: &mut Cx, m: &Message, publish: Publish) -> Result<(), WireError> {
        let Publish { topic, payload } = publish;
        let bad = |c: char| c.is_whitespace() || c.is_control();
        if topic.is_empty() || topic.len() > TOPIC_LEN_MAX || topic.contains(bad) {
            return Err(WireError::new(ErrorCode::Invalid, format!("`{topic}` is no topic of an event"))
                .hint("a topic is words with dots between, as app.phase.done"));
        }
        let len = m.payload.as_ref().map_or(0, |raw| raw.get().len());
        if len > PAYLOAD_LEN_MAX {
            return Err(WireError::new(ErrorCode::TooBig, format!("an event of {len} bytes is too large"))
                .hint("`flurm kvs put` takes what is large; the event can have its key"));
        }
        self.seq += 1;
        let event = Event { seq: self.seq, topic, payload };
        let events = Events { events: vec![event] };
        let to = self.listeners.iter().filter(|listener| listener.wants(&events.events[0].topic));
        let listeners = to.map(|listener| cx.respond_more(&listener.request, &events)).count();
        cx.respond(m, &Published { seq: self.seq, listeners });
        Ok(())
    }

    fn subscribe(&mut self, cx: &mut Cx, m: &Message, subscribe: Subscribe) -> Result<(), WireError> {
        let Subscribe { topics } = subscribe;
        if topics.len() > TOPICS_MAX || self.listeners.len() >= LISTENERS_MAX {
            return Err(WireError::new(ErrorCode::TooBig, "too many topics, or too many that listen"));
        }
        self.listeners.push(Listener { request: asker(m), topics });
        cx.respond_more(m, &Events { events: Vec::new() });
        Ok(())
    }

    pub fn cancel(&mut self, src: Address, tag: u64) {
        self.listeners.retain(|listener| (listener.request.src, listener.request.tag) != (src, tag));
    }

    /// No more events will come.
    pub fn end(&mut self, cx: &mut Cx) {
        for listener in std::mem::take(&mut self.listeners) {
            cx.at_once().respond(&listener.request, &Events { events: Vec::new() });
        }
    }
}
