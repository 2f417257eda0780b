//! What the instance has, and which of it can be used: inventory, online and offline, drained (RFC 44).
//!
//! The leader takes the inventory from its configuration, or gathers it rank by rank. It is a fact, so a broker that
//! is restarted on the same log within the same instance knows it again, while another instance on that log defines
//! its own. Drained is a fact as well and follows the host; so is the time at which a node ends, within the instance. Up and down follow the overlay and are not remembered.

use crate::cx::{Cx, asker};
use crate::door::CoreConfig;
use crate::jobs::Jobs;
use flurm_sched::ResourceChange;
use flurm_types::{Entry, Hostlist, Idset, R, Timestamp};
use flurm_wire::fact::{Fact, ResourceFact};
use flurm_wire::job::Done;
use flurm_wire::kvs::Node;
use flurm_wire::resource::{
    Drain, Drained, Eventlog, EventlogBatch, Expire, Expiring, Inventory, Lease, Status, StatusInfo, Undrain,
};
use flurm_wire::{Address, ErrorCode, Message, Topic, WireError};
use serde_json::json;
use std::collections::BTreeMap;

/// Entries of resource.eventlog that are kept; the oldest go first.
const EVENTLOG_ENTRIES_MAX: usize = 1 << 14;

/// What the log of an instance has to do with the one that starts on it.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Life {
    /// Nothing was there.
    First,
    /// The same instance: only its broker was restarted.
    Same,
    /// An earlier instance has left it.
    Another,
}

#[derive(Debug, Default)]
pub(crate) struct Resources {
    defined: bool,
    leading: bool,
    r: R,
    instance: Option<String>,
    gathered: BTreeMap<u32, R>,
    online: Idset,
    drained: BTreeMap<u32, Reason>,
    /// When the instance ends, if that is no longer what its configuration has.
    lease: Option<Timestamp>,
    /// Ranks that end before the instance.
    ends: BTreeMap<u32, Timestamp>,
    eventlog: Vec<Entry>,
    followers: Vec<Message>,
}

#[derive(Clone, Debug, PartialEq)]
struct Reason {
    text: String,
    since: Timestamp,
}

impl Resources {
    pub fn defined(&self) -> bool {
        self.defined
    }

    /// Ranks whose inventory has not come.
    pub fn unknown(&self, size: u32) -> Idset {
        (0..size).filter(|rank| !self.gathered.contains_key(rank)).collect()
    }

    pub fn drained_count(&self) -> u32 {
        self.drained.len() as u32
    }

    pub fn life(&self, instance_id: &str) -> Life {
        match &self.instance {
            None => Life::First,
            Some(id) if id == instance_id => Life::Same,
            Some(_) => Life::Another,
        }
    }

    /// A committed fact of ours; own ones have been applied when they were proposed.
    pub fn apply(&mut self, fact: &ResourceFact) {
        match fact {
            ResourceFact::Restart { r, instance } => {
                self.drained = drained_there(&self.drained, &self.r, r);
                // Whoever gave us the nodes now gave them for another time.
                self.ends = BTreeMap::new();
                self.lease = None;
                self.r = r.clone();
                self.instance = Some(instance.clone());
            }
            ResourceFact::Event(entry) => {
                self.apply_event(entry);
                if self.eventlog.len() >= EVENTLOG_ENTRIES_MAX {
                    self.eventlog.drain(..EVENTLOG_ENTRIES_MAX / 4);
                }
                self.eventlog.push(entry.clone());
            }
        }
    }

    fn apply_event(&mut self, entry: &Entry) {
        let context = |key: &str| entry.context.as_ref().and_then(|c| c.get(key)).and_then(|v| v.as_str());
        let ranks: Idset = context("idset").and_then(|text| text.parse().ok()).unwrap_or_default();
        let end = || {
            let secs = entry.context.as_ref().and_then(|context| context.get("expiration")?.as_f64());
            secs.and_then(|secs| Timestamp::ZERO.checked_add_secs(secs))
        };
        match entry.name.as_str() {
            "drain" => {
                let text = context("reason").unwrap_or_default();
                for rank in ranks.iter() {
                    let since = self.drained.get(&rank).map_or(entry.timestamp, |known| known.since);
                    self.drained.insert(rank, Reason { text: text.to_owned(), since });
                }
            }
            "undrain" => ranks.iter().for_each(|rank| {
                self.drained.remove(&rank);
            }),
            "expire" => {
                let end = end();
                for rank in ranks.iter() {
                    match end.filter(|end| !end.is_zero()) {
                        Some(end) => self.ends.insert(rank, end),
                        None => self.ends.remove(&rank),
                    };
                }
            }
            "resource-update" => {
                self.lease = end();
                self.r.expiration = self.lease.unwrap_or(self.r.expiration);
            }
            // `online`, `offline`, `restart` and `resource-define` are there to be read.
            _ => {}
        }
    }

    fn fact(&mut self, cx: &mut Cx, fact: ResourceFact) {
        self.apply(&fact);
        if let ResourceFact::Event(entry) = &fact {
            for follower in &self.followers {
                cx.respond_more(follower, &EventlogBatch { entries: vec![entry.clone()] });
            }
        }
        cx.propose(Fact::Resource(fact));
    }

    fn event(&mut self, cx: &mut Cx, name: &str, context: serde_json::Value) {
        let entry = Entry::new(cx.now.wall, name).with_context(context);
        self.fact(cx, ResourceFact::Event(entry));
    }

    /// We lead now.
    pub fn lead(&mut self, cx: &mut Cx, jobs: &mut Jobs) {
        self.leading = true;
        if self.life(&cx.config.instance_id) == Life::Same {
            self.tell_jobs(cx, jobs);
        } else if let Some(r) = cx.config.resources.clone() {
            self.define(cx, jobs, r, "configuration");
        } else {
            self.define_if_complete(cx, jobs);
        }
    }

    /// A rank says what it has.
    pub fn inventory(&mut self, cx: &mut Cx, jobs: &mut Jobs, r: R) {
        if cx.config.resources.is_some() {
            return;
        }
        for rank in r.ranks().iter() {
            let part = r.restrict(&Idset::from(rank));
            if self.defined {
                if self.r.node(rank) != part.node(rank) {
                    cx.log(4, "resource", format!("rank {rank} came back with other resources than it had"));
                }
            } else {
                self.gathered.insert(rank, part);
            }
        }
        self.define_if_complete(cx, jobs);
    }

    fn define_if_complete(&mut self, cx: &mut Cx, jobs: &mut Jobs) {
        if !self.leading || self.defined || self.gathered.len() < cx.config.size as usize {
            return;
        }
        let parts = std::mem::take(&mut self.gathered);
        let mut r = R::from_nodes(parts.values().flat_map(|part| part.nodes.iter().cloned()));
        for part in parts.into_values() {
            r.topology.extend(part.topology);
            for (name, ranks) in part.properties {
                r.properties.entry(name).or_default().union_with(&ranks);
            }
        }
        self.define(cx, jobs, r, "dynamic-discovery");
    }

    fn define(&mut self, cx: &mut Cx, jobs: &mut Jobs, r: R, method: &str) {
        let mut r = R { starttime: cx.config.starttime, expiration: cx.config.expiration, ..r };
        cx.config.site.mark(&mut r);
        let (ranks, nodelist) = (r.ranks().to_string(), r.hostlist().to_string());
        let online = self.online.to_string();
        let instance = cx.config.instance_id.clone();
        self.fact(cx, ResourceFact::Restart { r, instance });
        self.event(cx, "restart", json!({"ranks": ranks, "online": online, "nodelist": nodelist}));
        self.event(cx, "resource-define", json!({"method": method}));
        for text in cx.config.site.without_nodes(&self.r) {
            cx.log(4, "resource", text);
        }
        self.tell_jobs(cx, jobs);
    }

    fn tell_jobs(&mut self, cx: &mut Cx, jobs: &mut Jobs) {
        self.defined = true;
        jobs.resources(cx, ResourceChange::Define(self.r.clone()));
        let end = self.expiration(cx.config);
        if !end.is_zero() {
            jobs.resources(cx, ResourceChange::Expiration(end));
        }
        for Expiring { ranks, expiration } in self.expiring() {
            jobs.resources(cx, ResourceChange::NodeExpiration(ranks, expiration));
        }
        let drained = self.drained_ranks();
        if !drained.is_empty() {
            jobs.resources(cx, ResourceChange::Drain(drained));
        }
        let up = self.up();
        if !up.is_empty() {
            jobs.resources(cx, ResourceChange::Up(up));
        }
    }

    /// Brokers have come.
    pub fn online(&mut self, cx: &mut Cx, jobs: &mut Jobs, ranks: &Idset) {
        self.online.union_with(ranks);
        if self.defined {
            self.event(cx, "online", json!({"idset": ranks.to_string()}));
            jobs.resources(cx, ResourceChange::Up(ranks.intersection(&self.r.ranks())));
        }
    }

    /// Brokers have gone.
    pub fn offline(&mut self, cx: &mut Cx, jobs: &mut Jobs, ranks: &Idset) {
        self.online = self.online.difference(ranks);
        if self.defined {
            self.event(cx, "offline", json!({"idset": ranks.to_string()}));
            jobs.resources(cx, ResourceChange::Down(ranks.intersection(&self.r.ranks())));
        }
    }

    /// When the instance ends; zero when it does not.
    pub fn expiration(&self, config: &CoreConfig) -> Timestamp {
        self.lease.unwrap_or(config.expiration)
    }

    fn up(&self) -> Idset {
        self.online.intersection(&self.r.ranks())
    }

    fn drained_ranks(&self) -> Idset {
        self.drained.keys().copied().collect()
    }

    pub fn request(&mut self, cx: &mut Cx, jobs: &mut Jobs, m: &Message) {
        let answered = match &*m.topic {
            Inventory::NAME => m.body::<Inventory>().map(|inventory| {
                self.inventory(cx, jobs, inventory.r);
                cx.respond(m, &Done {});
            }),
            Status::NAME => {
                cx.respond(m, &self.status(cx, jobs));
                Ok(())
            }
            Drain::NAME => {
                m.body().and_then(|drain| self.drain(cx, jobs, drain)).map(|()| cx.respond(m, &Done {}))
            }
            Undrain::NAME => {
                m.body().and_then(|undrain| self.undrain(cx, jobs, undrain)).map(|()| cx.respond(m, &Done {}))
            }
            Expire::NAME => {
                m.body().and_then(|expire| self.expire(cx, jobs, &expire)).map(|()| cx.respond(m, &Done {}))
            }
            Lease::NAME => m.body::<Lease>().map(|lease| {
                self.leased(cx, jobs, lease.expiration);
                cx.respond(m, &Done {});
            }),
            Eventlog::NAME => m.body::<Eventlog>().map(|wanted| {
                let batch = EventlogBatch { entries: self.eventlog.clone() };
                if wanted.follow {
                    cx.respond_more(m, &batch);
                    self.followers.push(asker(m));
                } else {
                    cx.respond(m, &batch);
                }
            }),
            topic => Err(WireError::new(ErrorCode::NoService, format!("no service for {topic}"))),
        };
        if let Err(error) = answered {
            cx.refuse(m, error);
        }
    }

    pub fn cancel(&mut self, src: Address, tag: u64) {
        self.followers.retain(|f| (f.src, f.tag) != (src, tag));
    }

    fn status(&self, cx: &Cx, jobs: &Jobs) -> StatusInfo {
        // Ranks drained together for one reason are shown together.
        let mut drained: Vec<Drained> = Vec::new();
        for (rank, reason) in &self.drained {
            match drained.iter_mut().find(|d| d.reason == reason.text && d.since == reason.since) {
                Some(known) => {
                    known.ranks.insert(*rank);
                }
                None => drained.push(Drained {
                    ranks: Idset::from(*rank),
                    reason: reason.text.clone(),
                    since: reason.since,
                }),
            }
        }
        StatusInfo {
            all: self.r.clone(),
            allocated: jobs.sched().graph().allocated(),
            up: jobs.sched().graph().up(),
            online: self.online.clone(),
            drained,
            expiration: self.expiration(cx.config),
            expiring: self.expiring(),
        }
    }

    /// Ranks that end together, together.
    fn expiring(&self) -> Vec<Expiring> {
        let mut ends: BTreeMap<Timestamp, Idset> = BTreeMap::new();
        for (rank, end) in self.ends.iter().filter(|(rank, _)| self.r.node(**rank).is_some()) {
            ends.entry(*end).or_default().insert(*rank);
        }
        ends.into_iter().map(|(expiration, ranks)| Expiring { ranks, expiration }).collect()
    }

    /// The job that this instance is ends at another time.
    fn leased(&mut self, cx: &mut Cx, jobs: &mut Jobs, end: Timestamp) {
        let before = self.expiration(cx.config);
        // As it will be read again from the log.
        let secs = end.as_secs_f64();
        let end = Timestamp::ZERO.checked_add_secs(secs).unwrap_or(end);
        if end != before {
            self.event(cx, "resource-update", json!({ "expiration": secs }));
            jobs.resources(cx, ResourceChange::Expiration(end));
            jobs.instance_ends_at(cx, before, end);
        }
    }

    fn expire(&mut self, cx: &mut Cx, jobs: &mut Jobs, wish: &Expire) -> Result<(), WireError> {
        let ranks = self.targets(&wish.targets)?;
        let end = wish.expiration;
        if !end.is_zero() && end <= cx.now.wall {
            let text = format!("{} cannot end in the past", self.hosts(&ranks));
            return Err(WireError::new(ErrorCode::Invalid, text)
                .hint("`flurm resource drain` keeps new jobs off nodes from now on"));
        }
        let context = json!({
            "idset": ranks.to_string(), "nodelist": self.hosts(&ranks), "expiration": end.as_secs_f64(),
        });
        self.event(cx, "expire", context);
        jobs.resources(cx, ResourceChange::NodeExpiration(ranks, end));
        Ok(())
    }

    fn drain(&mut self, cx: &mut Cx, jobs: &mut Jobs, drain: Drain) -> Result<(), WireError> {
        let ranks = self.targets(&drain.targets)?;
        let already = ranks.intersection(&self.drained_ranks());
        if !already.is_empty() && !drain.overwrite {
            let text = format!("{} already drained", self.hosts(&already));
            return Err(WireError::new(ErrorCode::Exists, text).hint("--update replaces the reason"));
        }
        let context = json!({
            "idset": ranks.to_string(), "nodelist": self.hosts(&ranks), "reason": drain.reason,
            "overwrite": i32::from(drain.overwrite),
        });
        self.event(cx, "drain", context);
        jobs.resources(cx, ResourceChange::Drain(ranks));
        Ok(())
    }

    fn undrain(&mut self, cx: &mut Cx, jobs: &mut Jobs, undrain: Undrain) -> Result<(), WireError> {
        let ranks = self.targets(&undrain.targets)?;
        let not = ranks.difference(&self.drained_ranks());
        if !not.is_empty() {
            return Err(WireError::new(ErrorCode::Invalid, format!("{} not drained", self.hosts(&not))));
        }
        let context = json!({
            "idset": ranks.to_string(), "nodelist": self.hosts(&ranks), "reason": undrain.reason,
        });
        self.event(cx, "undrain", context);
        jobs.resources(cx, ResourceChange::Undrain(ranks));
        Ok(())
    }

    /// Ranks by number or by host name.
    fn targets(&self, text: &str) -> Result<Idset, WireError> {
        let invalid = |what: String| WireError::new(ErrorCode::Invalid, what);
        let unknown = |what: String| WireError::new(ErrorCode::NotFound, what);
        let all = self.r.ranks();
        if let Ok(ranks) = text.parse::<Idset>() {
            let unknown_ranks = ranks.difference(&all);
            return match unknown_ranks.is_empty() {
                true if ranks.is_empty() => Err(invalid("no ranks given".to_owned())),
                true => Ok(ranks),
                false => Err(unknown(format!("no rank {unknown_ranks}: this instance has {all}"))),
            };
        }
        let hosts: Hostlist = text.parse().map_err(|e| invalid(format!("{e}")))?;
        let mut ranks = Idset::default();
        for host in &hosts {
            let before = ranks.len();
            ranks.extend(self.r.nodes.iter().filter(|n| n.host == *host).map(|n| n.rank));
            if ranks.len() == before && !self.r.nodes.iter().any(|n| n.host == *host) {
                return Err(unknown(format!("no host {host} in this instance")));
            }
        }
        Ok(ranks)
    }

    fn hosts(&self, ranks: &Idset) -> String {
        self.r.restrict(ranks).hostlist().to_string()
    }

    /// `resource.*` as the KVS shows it.
    pub fn lookup_kvs(&self, key: &str) -> Option<Node> {
        use flurm_wire::kvs::NodeKind::Value;
        match key {
            "resource" => Some(Node::Dir(vec![("R".to_owned(), Value), ("eventlog".to_owned(), Value)])),
            "resource.R" if self.instance.is_some() => Some(Node::Value(self.r.to_value())),
            "resource.eventlog" => {
                let lines: String = self.eventlog.iter().map(|e| e.to_line() + "\n").collect();
                Some(Node::Value(lines.into()))
            }
            _ => None,
        }
    }
}

/// Drained hosts stay drained when another instance numbers them anew.
fn drained_there(drained: &BTreeMap<u32, Reason>, old: &R, new: &R) -> BTreeMap<u32, Reason> {
    let hosts: BTreeMap<&str, &Reason> = drained
        .iter()
        .filter_map(|(rank, reason)| old.node(*rank).map(|node| (node.host.as_str(), reason)))
        .collect();
    let found =
        new.nodes.iter().filter_map(|node| Some((node.rank, (*hosts.get(node.host.as_str())?).clone())));
    found.collect()
}
