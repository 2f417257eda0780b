//! Links between brokers and their parents: they come, carry, and are lost.

use super::*;

impl World {
    pub(super) fn partitioned(&self, child: Rank) -> Option<u64> {
        self.partitions.get(&child).copied().filter(|until| *until > self.now_ms)
    }

    pub(super) fn connect(&mut self, child: Rank, life: u64) {
        let broker = &self.brokers[child.0 as usize];
        let Some(parent) = broker.dialling.filter(|p| broker.life == life && !broker.links.contains_key(p))
        else {
            return;
        };
        let answers = self.brokers[parent.0 as usize].core.is_some() && self.partitioned(child).is_none();
        if !answers {
            let ms = self.rng.range(50, 300);
            return self.after(ms, Event::Connect(child, life));
        }
        self.number += 1;
        let id = self.number;
        // An old link that the parent has not missed yet is replaced.
        if let Some(old) = self.brokers[parent.0 as usize].links.insert(child, id) {
            self.links.get_mut(&old).expect("brokers know links that there are").open = false;
            self.input(parent, Input::PeerGone(Peer::Broker(child)));
        }
        self.brokers[child.0 as usize].links.insert(parent, id);
        let now = self.now_ms;
        self.links.insert(id, Link { child, parent, open: true, last_ms: [now, now] });
        self.note(|| format!("link {id} between {child} and {parent}"));
        self.input(parent, Input::PeerUp(Peer::Broker(child)));
        self.input(child, Input::PeerUp(Peer::Broker(parent)));
    }

    pub(super) fn send_link(&mut self, from: Rank, to: Rank, message: Message) {
        let Some(id) = self.brokers[from.0 as usize].links.get(&to).copied() else { return };
        let slow = self.rng.percent(2);
        let ms = if slow { self.rng.range(0, 200) } else { self.rng.range(0, 4) };
        let stalled = self.partitioned(from.max(to)).unwrap_or(0);
        let link = self.links.get_mut(&id).expect("brokers know links that there are");
        if link.open {
            let last = &mut link.last_ms[usize::from(to == link.child)];
            *last = (*last).max(self.now_ms + ms).max(stalled);
            let at = *last;
            self.at(at, Event::Arrive { link: id, to, message });
        }
    }

    /// The link is over at once; whoever is at its end hears of it a little later.
    pub(super) fn cut(&mut self, id: u64, tell: Option<Rank>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.open = false;
        let (child, parent) = (link.child, link.parent);
        for rank in [child, parent].into_iter().filter(|r| tell.is_none_or(|t| t == *r)) {
            let stalled = self.partitioned(child).unwrap_or(0);
            let at = (self.now_ms + self.rng.range(0, 20)).max(stalled);
            self.at(at, Event::LinkGone { link: id, at: rank });
        }
    }

    pub(super) fn link_gone(&mut self, id: u64, at: Rank) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.open = false;
        let peer = if link.child == at { link.parent } else { link.child };
        let broker = &mut self.brokers[at.0 as usize];
        if broker.links.get(&peer) != Some(&id) {
            return;
        }
        broker.links.remove(&peer);
        let (life, dials) = (broker.life, broker.dialling == Some(peer));
        self.input(at, Input::PeerGone(Peer::Broker(peer)));
        if dials {
            let ms = self.rng.range(1, 200);
            self.after(ms, Event::Connect(at, life));
        }
    }

    // Processes beside a broker
}
