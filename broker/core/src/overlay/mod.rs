//! The tree of brokers: who is there, by which link, and who was lost.
//!
//! ```text
//! a child, seen from its parent           a parent, seen from its child
//!   Absent ── hello ──► Online              (dialled) ── PeerUp: hello ──► welcome: joined
//!   Online ── silence > lost_ms ──► Lost    joined ── silence > lost_ms ──► dialled again
//!   Online ── goodbye ──► Left              silence > orphan_ms ──► Orphaned
//!   Lost, Left ── hello ──► Online
//!   any ── hello while we leave ──► told goodbye
//! ```
//!
//! A parent welcomes only while it has a way to the leader itself, and welcomes again when it got a new one. So a
//! welcome always means: what was on its way may be gone, say again what the leader must know ([`Change::Joined`]).
//! Each broker keeps the set of ranks below it that are online and tells its parent when that changes; the leader's
//! set is the instance's. A broker that takes the place of another knows nobody at first: who was below the one before
//! it is *awaited* for the time that dialling it takes, and only then lost. Routing and open requests are the router's matter; what a loss means is the core's.

mod topology;

use crate::cx::{Cx, asker};
use crate::door::{CoreConfig, Output, Peer};
use flurm_types::{Idset, Rank};
use flurm_wire::overlay::{Goodbye, Health, Heartbeat, Hello, Ping, Pong, TreeStatus, Welcome};
use flurm_wire::{ClientId, Dest, ErrorCode, Message, WireError};
use std::collections::BTreeMap;
pub(crate) use topology::Topology;

/// How long a broker may need to dial its parent's successor: its pause between two calls, and the call.
const REDIAL_MS_MAX: u64 = 2_000;

/// What others must hear of; collected during a step and taken with [`Overlay::take_changes`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Online(Idset),
    /// `lost`: without a goodbye.
    Offline {
        ranks: Idset,
        lost: bool,
    },
    /// Messages on the link to this neighbour may have been lost.
    Cut(Rank),
    /// There is a way to the leader, the first one or a new one.
    Joined,
    /// The parent told us to leave.
    ToldToLeave {
        code: i32,
    },
    /// The parent has been silent for too long.
    Orphaned,
}

#[derive(Debug)]
pub(crate) struct Overlay {
    me: Rank,
    tree: Topology,
    parent: Option<Parent>,
    children: BTreeMap<Rank, Child>,
    /// Every rank at or below us: how it is, and since when.
    seen: BTreeMap<Rank, (Health, u64)>,
    online: Idset,
    changes: Vec<Change>,
    /// The parent has not heard of our present `online`.
    unsaid: bool,
    /// Whoever comes now is told to leave.
    leaving: Option<Goodbye>,
    ticked_ms: u64,
}

#[derive(Debug)]
struct Parent {
    rank: Rank,
    up: bool,
    welcomed: bool,
    heard_ms: u64,
    /// Was welcomed once; until then there is nothing to be orphaned of.
    known: bool,
}

#[derive(Debug, Default)]
struct Child {
    up: bool,
    /// The hello of the present link, to be answered (again).
    hello: Option<Message>,
    /// Has said hello once.
    known: bool,
    epoch: u64,
    heard_ms: u64,
    online: Idset,
    /// Of `online`: who was below the broker before this one and has not called it yet.
    awaited: Idset,
    /// Until then.
    awaited_ms: u64,
}

impl Overlay {
    pub fn new(config: &CoreConfig) -> Overlay {
        let tree = Topology::new(config.size, config.fanout);
        let me = config.rank;
        let parent = tree.parent(me).map(|rank| Parent {
            rank,
            up: false,
            welcomed: false,
            heard_ms: 0,
            known: false,
        });
        let mut seen = BTreeMap::new();
        let mut todo = vec![me];
        while let Some(rank) = todo.pop() {
            seen.insert(rank, (Health::Offline, 0));
            todo.extend(tree.children(rank));
        }
        Overlay {
            me,
            tree,
            parent,
            children: tree.children(me).map(|rank| (rank, Child::default())).collect(),
            seen,
            online: Idset::from(me.0),
            changes: Vec::new(),
            unsaid: false,
            leaving: None,
            ticked_ms: 0,
        }
    }

    pub fn start(&mut self, cx: &mut Cx) {
        let now = cx.now.mono_ms;
        self.ticked_ms = now;
        self.seen.values_mut().for_each(|seen| seen.1 = now);
        self.seen.insert(self.me, (Health::Full, now));
        if let Some(parent) = &mut self.parent {
            parent.heard_ms = now;
            cx.act(Output::Dial(parent.rank));
        } else {
            self.changes.push(Change::Joined);
        }
        if self.parent.is_some() || !self.children.is_empty() {
            cx.wake_at(now + cx.config.heartbeat_ms);
        }
    }

    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Ranks at or below us that are there.
    pub fn online(&self) -> &Idset {
        &self.online
    }

    /// Is there a way to the leader?
    pub fn joined(&self) -> bool {
        self.parent.as_ref().is_none_or(|p| p.welcomed)
    }

    pub fn parent(&self) -> Option<Rank> {
        self.parent.as_ref().map(|p| p.rank)
    }

    /// The neighbour on the way to a rank that is not ours.
    pub fn next_hop(&self, to: Rank) -> Option<Rank> {
        self.tree.child_towards(self.me, to).or(self.parent())
    }

    /// May a message leave for that neighbour?
    pub fn open(&self, neighbour: Rank) -> bool {
        match self.children.get(&neighbour) {
            Some(child) => child.up && child.hello.is_some(),
            None => self.parent.as_ref().is_some_and(|p| p.rank == neighbour && p.up),
        }
    }

    pub fn heard(&mut self, from: Rank, now_ms: u64) {
        if let Some(child) = self.children.get_mut(&from) {
            child.heard_ms = now_ms;
        } else if let Some(parent) = self.parent.as_mut().filter(|p| p.rank == from) {
            parent.heard_ms = now_ms;
        }
    }

    /// Words of neighbours may wait to be read: their silence begins now.
    pub fn unread(&mut self, now_ms: u64) {
        self.children.values_mut().filter(|c| c.up).for_each(|c| c.heard_ms = now_ms);
        self.parent.iter_mut().filter(|p| p.up).for_each(|p| p.heard_ms = now_ms);
    }

    pub fn peer_up(&mut self, cx: &mut Cx, rank: Rank) {
        let now = cx.now.mono_ms;
        self.cut(rank);
        self.heard(rank, now);
        if let Some(child) = self.children.get_mut(&rank) {
            child.up = true;
        } else if let Some(parent) = self.parent.as_mut().filter(|p| p.rank == rank) {
            parent.up = true;
            // Tag 1: the answer matters. Nobody else of this mind asks for answers.
            let message = Message::request(cx.me(), Dest::Rank(rank), 1, &self.own_hello(cx.config));
            cx.at_once().send(message);
            self.unsaid = false;
        } else {
            cx.log(4, "overlay", format!("rank {rank} is no neighbour of ours: its link is closed"));
            cx.act(Output::Close(Peer::Broker(rank)));
        }
    }

    pub fn peer_gone(&mut self, rank: Rank) {
        self.cut(rank);
    }

    /// The present link is over, if there was one; silence counts from its last word.
    fn cut(&mut self, rank: Rank) {
        let mut was_up = false;
        if let Some(child) = self.children.get_mut(&rank) {
            was_up = std::mem::take(&mut child.up);
            child.hello = None;
        } else if let Some(parent) = self.parent.as_mut().filter(|p| p.rank == rank) {
            was_up = std::mem::take(&mut parent.up);
            parent.welcomed = false;
        }
        if was_up {
            self.changes.push(Change::Cut(rank));
        }
    }

    pub fn hello(&mut self, cx: &mut Cx, m: &Message) {
        let hello: Hello = match m.body() {
            Ok(hello) => hello,
            Err(error) => return cx.at_once().refuse(m, error),
        };
        let joined = self.joined();
        let Some(child) = self.children.get_mut(&m.src.rank).filter(|c| c.up && hello.rank == m.src.rank)
        else {
            let error = WireError::new(
                ErrorCode::Invalid,
                format!("rank {} is no child of rank {}", m.src.rank, self.me),
            );
            return cx.at_once().refuse(m, error);
        };
        if hello.epoch < child.epoch {
            // A broker that was replaced and does not know it.
            cx.log(
                4,
                "overlay",
                format!("an older broker of rank {} came back: its link is closed", hello.rank),
            );
            cx.act(Output::Close(Peer::Broker(hello.rank)));
            return self.cut(m.src.rank);
        }
        let first = child.hello.is_none();
        if hello.epoch > child.epoch {
            // A new broker knows nothing of who was below the one before it, and they do not know it yet.
            child.awaited = child.online.clone();
            child.awaited_ms = cx.now.mono_ms + cx.config.lost_ms + REDIAL_MS_MAX;
        }
        child.epoch = hello.epoch;
        child.known = true;
        if first {
            child.hello = Some(asker(m));
            if let Some(goodbye) = &self.leaving {
                cx.at_once().tell(Dest::Rank(hello.rank), goodbye);
            } else if joined {
                let welcome = Welcome { rank: self.me, epoch: cx.config.epoch, leader: Rank(0) };
                cx.at_once().respond(m, &welcome);
            }
        }
        let (tree, top) = (self.tree, hello.rank);
        let below: Idset = hello
            .subtree
            .iter()
            .filter(|r| *r == top.0 || tree.child_towards(top, Rank(*r)).is_some())
            .collect();
        child.awaited = child.awaited.difference(&below).difference(&hello.lost);
        let below = below.union(&child.awaited);
        self.set_online(cx, top, below, &hello.lost);
    }

    fn own_hello(&self, config: &CoreConfig) -> Hello {
        let lost = self.seen.iter().filter(|(_, (health, _))| *health == Health::Lost);
        Hello {
            rank: self.me,
            epoch: config.epoch,
            subtree: self.online.clone(),
            lost: lost.map(|(rank, _)| rank.0).collect(),
        }
    }

    /// The parent's answer to our hello, or its news that it has a new way to the leader.
    pub fn welcome(&mut self, cx: &mut Cx, m: &Message) {
        let Some(parent) = self.parent.as_mut().filter(|p| p.rank == m.src.rank && p.up) else { return };
        if let Some(error) = &m.error {
            cx.log(3, "overlay", format!("rank {} does not take us: {}", m.src.rank, error.text));
            return;
        }
        parent.welcomed = true;
        parent.known = true;
        self.changes.push(Change::Joined);
        let welcome = Welcome { rank: self.me, epoch: cx.config.epoch, leader: Rank(0) };
        for child in self.children.values() {
            if let Some(hello) = child.hello.as_ref().filter(|_| child.up) {
                cx.at_once().respond(hello, &welcome);
            }
        }
    }

    pub fn goodbye(&mut self, cx: &mut Cx, from: Rank, code: i32) {
        if self.parent() == Some(from) {
            self.changes.push(Change::ToldToLeave { code });
        } else if self.children.contains_key(&from) {
            self.set_online(cx, from, Idset::default(), &Idset::default());
        }
    }

    /// Tell all children to leave, those that are still to come as well.
    pub fn farewell_down(&mut self, cx: &mut Cx, code: i32) {
        let goodbye = Goodbye { code };
        let children: Vec<Rank> = self.children.keys().copied().filter(|c| self.open(*c)).collect();
        for child in children {
            cx.at_once().tell(Dest::Rank(child), &goodbye);
        }
        self.leaving = Some(goodbye);
    }

    /// Tell the parent that we leave, which is the last it hears.
    pub fn farewell_up(&mut self, cx: &mut Cx) {
        self.unsaid = false;
        if let Some(parent) = self.parent().filter(|p| self.open(*p)) {
            cx.at_once().tell(Dest::Rank(parent), &Goodbye::default());
        }
    }

    /// Have all below us left, or been lost?
    pub fn alone(&self) -> bool {
        self.online.len() == 1
    }

    /// Is there a child that has never come?
    pub fn awaited(&self) -> bool {
        self.children.values().any(|child| !child.known)
    }

    /// Heartbeats out, silence noticed.
    pub fn tick(&mut self, cx: &mut Cx) {
        let now = cx.now.mono_ms;
        let (heartbeat, lost) = (cx.config.heartbeat_ms, cx.config.lost_ms);
        let slept = now.saturating_sub(self.ticked_ms);
        if slept < heartbeat || (self.parent.is_none() && self.children.is_empty()) {
            return;
        }
        self.ticked_ms = now;
        cx.wake_at(now + heartbeat);
        // Time in which we did not run ourselves was not their silence: their words wait to be read.
        let own = slept - heartbeat;
        if own > heartbeat {
            let neighbours = self.children.values_mut().map(|child| &mut child.heard_ms);
            for heard in neighbours.chain(self.parent.iter_mut().map(|parent| &mut parent.heard_ms)) {
                *heard = (*heard + own).min(now);
            }
        }
        let children: Vec<Rank> = self.children.keys().copied().collect();
        for rank in children {
            let child = &self.children[&rank];
            let silent = now.saturating_sub(child.heard_ms) > lost;
            if silent && child.up {
                cx.act(Output::Close(Peer::Broker(rank)));
                self.cut(rank);
            }
            let child = &self.children[&rank];
            let late = now >= child.awaited_ms;
            let lost = match silent {
                true => child.online.clone(),
                false if late => child.awaited.clone(),
                false => Idset::default(),
            };
            if !lost.is_empty() {
                let below = child.online.difference(&lost);
                self.set_online(cx, rank, below, &lost);
            }
            if self.open(rank) {
                cx.at_once().tell(Dest::Rank(rank), &Heartbeat {});
            }
        }
        self.tick_parent(cx);
    }

    fn tick_parent(&mut self, cx: &mut Cx) {
        let now = cx.now.mono_ms;
        let Some(parent) = &mut self.parent else { return };
        let (rank, up) = (parent.rank, parent.up);
        let silence = now.saturating_sub(parent.heard_ms);
        if up && silence > cx.config.lost_ms {
            // Gone from now on: there is the same time to find it again as after a link that was closed.
            parent.heard_ms = now;
            cx.log(4, "overlay", format!("rank {rank} is silent: dialled again"));
            cx.act(Output::Close(Peer::Broker(rank)));
            cx.act(Output::Dial(rank));
            self.cut(rank);
            return;
        }
        if up {
            cx.at_once().tell(Dest::Rank(rank), &Heartbeat {});
        }
        if parent.known && !parent.welcomed && silence > cx.config.orphan_ms_max {
            self.changes.push(Change::Orphaned);
        }
    }

    /// News of the subtree go up once per batch, however many children have come.
    pub fn settle(&mut self, cx: &mut Cx) {
        if self.unsaid
            && let Some(parent) = self.parent.as_ref().filter(|p| p.welcomed)
        {
            self.unsaid = false;
            let (to, hello) = (Dest::Rank(parent.rank), self.own_hello(cx.config));
            cx.at_once().tell(to, &hello);
        }
    }

    /// What is below a child from now on; who went is in `lost`, or has left in order.
    fn set_online(&mut self, cx: &mut Cx, child: Rank, below: Idset, lost: &Idset) {
        let now = cx.now.mono_ms;
        let known = self.children.get_mut(&child).expect("callers have looked the child up");
        let before = std::mem::replace(&mut known.online, below.clone());
        known.awaited = known.awaited.intersection(&below);
        let (come, gone) = (below.difference(&before), before.difference(&below));
        if come.is_empty() && gone.is_empty() {
            return;
        }
        let left = gone.difference(lost);
        let lost = gone.difference(&left);
        for (ranks, health) in [(&come, Health::Full), (&left, Health::Offline), (&lost, Health::Lost)] {
            self.seen.extend(ranks.iter().map(|rank| (Rank(rank), (health, now))));
        }
        self.online = self.online.difference(&gone).union(&come);
        self.unsaid = true;
        for (ranks, lost) in [(left, false), (lost, true)] {
            if !ranks.is_empty() {
                self.changes.push(Change::Offline { ranks, lost });
            }
        }
        if !come.is_empty() {
            self.changes.push(Change::Online(come));
        }
    }

    /// Health of us and all below, as far as we know.
    pub fn status(&self, config: &CoreConfig, now_ms: u64) -> TreeStatus {
        self.status_of(self.me, config, now_ms)
    }

    fn status_of(&self, rank: Rank, config: &CoreConfig, now_ms: u64) -> TreeStatus {
        let children: Vec<TreeStatus> =
            self.tree.children(rank).map(|child| self.status_of(child, config, now_ms)).collect();
        let (own, since_ms) = self.seen.get(&rank).copied().unwrap_or((Health::Offline, 0));
        let status = if own == Health::Full {
            let worst = |found: &[Health]| children.iter().any(|c| found.contains(&c.status));
            if worst(&[Health::Lost, Health::Degraded]) {
                Health::Degraded
            } else if worst(&[Health::Offline, Health::Partial]) {
                Health::Partial
            } else {
                Health::Full
            }
        } else {
            own
        };
        let own_secs = now_ms.saturating_sub(since_ms) as f64 / 1000.0;
        // A broker's state is as old as the last change at or below it.
        let for_secs = children.iter().map(|c| c.for_secs).fold(own_secs, f64::min);
        let host = config.hosts.get(rank.0 as usize).cloned().unwrap_or_default();
        TreeStatus { rank, host, status, for_secs, children }
    }
}

/// `broker.ping`, answered by the addressed broker.
pub(crate) fn ping(cx: &mut Cx, m: &Message) {
    match m.body::<Ping>() {
        Ok(Ping { seq, pad }) => {
            let rank = cx.config.rank;
            let host = cx.config.hosts.get(rank.0 as usize).cloned().unwrap_or_default();
            let pong = Pong { seq, rank, host, pad, time: cx.now.wall };
            cx.at_once().respond(m, &pong);
        }
        Err(error) => cx.at_once().refuse(m, error),
    }
}

/// Is this message one of a neighbour's mind about the link itself?
pub(crate) fn of_link(m: &Message) -> bool {
    m.src.client == ClientId(0) && m.topic.starts_with("overlay.") && m.topic != "overlay.status"
}
