//! One broker's mind: messages, commits and time in, messages, proposals and wishes out. No I/O, no clock.
//!
//! [`Core::step`] is all there is. An input is handled at once; what it leads to is gathered in an outbox, and when
//! the batch ends the facts in it become one proposal. What services say waits until everything proposed before it
//! is committed, then it is routed: here, to a client of this node, or to the next broker up or down the tree.
//!
//! * `overlay/`: the tree, who is there; `router.rs`: open requests and clients.
//! * `jobs/`: submission, the job manager, the scheduler, execution; `resource.rs`: what they work on.
//! * `kvs/`, `services/`: what else can be asked. `guest.rs`: the shell. `slurm.rs`: who answers Slurm's commands. `life.rs`: from joining to the exit.
//!
//! Only the leader (rank 0) has jobs, resources and KVS; all other brokers pass messages on.

mod cx;
mod door;
mod guest;
mod jobs;
mod kvs;
mod life;
mod overlay;
mod resource;
mod router;
mod services;
mod site;
mod slurm;

pub use door::{CoreConfig, Guest, Hold, Input, Output, Peer, Role};
pub use site::{Queue, Rules, Site, Size};

use cx::{Cx, Outbox};
use flurm_types::{Hostlist, Idset, Now, R, Rank};
use flurm_wire::fact::Fact;
use flurm_wire::resource::Inventory;
use flurm_wire::shell::InitialExited;
use flurm_wire::state::{BrokerState, Modules, START};
use flurm_wire::{Address, ClientId, Dest, ErrorCode, Kind, Message, Topic, WireError};
use guest::{End, Shell};
use jobs::Jobs;
use kvs::Kvs;
use life::Life;
use overlay::{Change, Overlay};
use resource::{Life as LogLife, Resources};
use router::{Router, Via};
use services::attr::Attributes;
use services::event::Exchange;
use services::log::LogRing;
use services::tally::{Tally, is_leaders};
use slurm::Slurm;
use std::collections::VecDeque;

/// Answers that wait for the log; over this, clients are refused until it has caught up.
const HELD_MAX: usize = 1 << 17;
/// Requests for the leader that came before it had read its log.
const EARLY_MAX: usize = 1 << 14;

/// Where in the key-value store it stands what jobs were seen to do to each other.
const SLOWDOWNS: &str = "sched.slowdowns";

/// The mind of one broker.
#[derive(Debug)]
pub struct Core {
    config: CoreConfig,
    started: bool,
    role: Option<Role>,
    out: Outbox,
    overlay: Overlay,
    router: Router,
    jobs: Jobs,
    resources: Resources,
    kvs: Kvs,
    attributes: Attributes,
    ring: LogRing,
    events: Exchange,
    tally: Tally,
    shell: Shell,
    slurm: Slurm,
    life: Life,
    cleanup_begun: bool,
    /// Messages by the proposal that they wait for, oldest first.
    in_flight: VecDeque<Vec<Message>>,
    held: usize,
    early: Vec<Message>,
    /// The next wake that was asked for.
    wake_ms: Option<u64>,
    own_inventory: Option<R>,
    /// When ranks that have not come back since our restart are lost.
    absent_ms: Option<u64>,
}

impl Core {
    /// A mind that has not seen anything yet. Equal values and equal inputs give equal outputs.
    pub fn new(config: CoreConfig, seed: u64) -> Core {
        Core {
            started: false,
            role: None,
            out: Outbox::default(),
            overlay: Overlay::new(&config),
            router: Router::default(),
            jobs: Jobs::new(&config, seed),
            resources: Resources::default(),
            kvs: Kvs::new(config.owner),
            attributes: Attributes::new(&config),
            ring: LogRing::default(),
            events: Exchange::default(),
            tally: Tally::default(),
            shell: Shell::default(),
            slurm: Slurm::new(&config),
            life: Life::new(&config),
            cleanup_begun: false,
            in_flight: VecDeque::new(),
            held: 0,
            early: Vec::new(),
            wake_ms: None,
            own_inventory: None,
            absent_ms: None,
            config,
        }
    }

    /// One input, and what it leads to.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        if !std::mem::replace(&mut self.started, true) {
            self.start(now, out);
        }
        match input {
            Input::Message { from, message } => self.ingress(now, from, message, out),
            Input::PeerUp(Peer::Broker(rank)) => {
                self.with_overlay(now, |overlay, cx| overlay.peer_up(cx, rank))
            }
            Input::PeerUp(Peer::Client(client)) => self.router.client_up(client),
            Input::PeerGone(Peer::Broker(rank)) => self.overlay.peer_gone(rank),
            Input::PeerGone(Peer::Client(client)) => self.client_gone(now, client, out),
            Input::Wake => self.wake(now),
            Input::Unread => self.overlay.unread(now.mono_ms),
            Input::Committed { facts, .. } => self.committed(now, &facts, out),
            Input::Role(role) => self.take_role(now, role, out),
            Input::GuestExited { guest: Guest::Shell, status } => self.shell_exited(now, status),
            Input::GuestExited { guest: Guest::Slurm, status } => {
                let Core { config, out, slurm, .. } = self;
                slurm.exited(&mut Cx::new(now, config, out), status);
            }
            Input::Signal(signum) => self.signal(now, signum),
            Input::Inventory(r) => {
                self.own_inventory = Some(r);
                self.tell_inventory(now);
            }
            Input::SpillRead { id, offset, bytes } => self.jobs.spill_read(id, offset, &bytes),
            Input::SpillFailed { id, why } => {
                let Core { config, out, jobs, .. } = self;
                jobs.spill_failed(&mut Cx::new(now, config, out), id, &why);
            }
            Input::BatchEnd => self.batch_end(now, out),
        }
        self.changes(now, out);
        self.flush(now, out);
    }

    fn start(&mut self, now: Now, out: &mut Vec<Output>) {
        let Core { config, out: outbox, overlay, shell, slurm, life, .. } = self;
        let mut cx = Cx::new(now, config, outbox);
        life.start(&mut cx);
        shell.start(&mut cx);
        slurm.start(&mut cx);
        overlay.start(&mut cx);
        self.changes(now, out);
    }

    fn cx(&mut self, now: Now) -> Cx<'_> {
        Cx::new(now, &self.config, &mut self.out)
    }

    fn with_overlay(&mut self, now: Now, f: impl FnOnce(&mut Overlay, &mut Cx)) {
        f(&mut self.overlay, &mut Cx::new(now, &self.config, &mut self.out));
    }

    fn me(&self) -> Address {
        Address { rank: self.config.rank, client: ClientId(0) }
    }

    fn leads(&self) -> bool {
        matches!(self.role, Some(Role::Leader { .. }))
    }

    fn ingress(&mut self, now: Now, from: Peer, mut message: Message, out: &mut Vec<Output>) {
        match from {
            Peer::Client(client) => {
                if !self.router.has_client(client) {
                    self.router.client_up(client);
                }
                let shell = self.shell.client() == Some(client);
                let taken = self.router.take_in(self.config.rank, client, &mut message);
                if let Err(error) = taken {
                    let refusal = message.refuse(self.me(), error);
                    return self.route(now, refusal, out);
                }
                if self.held > HELD_MAX && message.kind == Kind::Request && !shell {
                    let error = WireError::new(ErrorCode::Unavailable, "the log is far behind");
                    let refusal = message.refuse(self.me(), error.hint("try again in a moment"));
                    return self.route(now, refusal, out);
                }
            }
            Peer::Broker(rank) => {
                self.overlay.heard(rank, now.mono_ms);
                if overlay::of_link(&message) {
                    // Said by the neighbour itself, whatever the envelope claims.
                    message.src.rank = rank;
                    return self.link_message(now, &message);
                }
                if !self.overlay.open(rank) {
                    return;
                }
            }
        }
        self.route(now, message, out);
    }

    /// One hop further, or to its receiver here.
    fn route(&mut self, now: Now, message: Message, out: &mut Vec<Output>) {
        let me = self.config.rank;
        let to = match message.dst {
            Dest::Local => me,
            Dest::Leader => Rank(0),
            Dest::Rank(rank) => rank,
            Dest::Client(address) => address.rank,
        };
        if to == me {
            return self.deliver(now, message, out);
        }
        if message.kind != Kind::Request {
            self.close(&message);
        }
        let hop = if to.0 < self.config.size { self.overlay.next_hop(to) } else { None };
        match hop.filter(|hop| self.overlay.open(*hop)) {
            Some(hop) => {
                if message.kind == Kind::Request {
                    self.router.opened(me, &message, Via::Broker(hop));
                }
                out.push(Output::Send { to: Peer::Broker(hop), message });
            }
            None if message.kind == Kind::Request && message.tag != 0 => {
                let text = if to.0 < self.config.size {
                    let host = self.config.hosts.get(to.0 as usize).map_or("?", String::as_str);
                    format!("rank {to} ({host}) cannot be reached")
                } else {
                    format!("no rank {to}: this instance has ranks 0-{}", self.config.size - 1)
                };
                let refusal = message.refuse(self.me(), WireError::new(ErrorCode::Unreachable, text));
                self.route(now, refusal, out);
            }
            None => {}
        }
    }

    /// A last answer or a cancellation ends what is remembered of its request.
    fn close(&mut self, message: &Message) -> Option<Via> {
        let me = self.config.rank;
        match (message.kind, message.dst) {
            (Kind::Response, Dest::Client(asker)) if !message.more => {
                self.router.closed(me, asker, message.tag)
            }
            (Kind::Cancel, _) => self.router.closed(me, message.src, message.tag),
            (Kind::Request | Kind::Response, _) => None,
        }
    }

    fn deliver(&mut self, now: Now, message: Message, out: &mut Vec<Output>) {
        let me = self.config.rank;
        let via = self.close(&message);
        match (message.kind, message.dst) {
            (Kind::Response, Dest::Client(Address { client: ClientId(0), .. })) => {
                let Core { config, out, jobs, .. } = self;
                jobs.answered(&mut Cx::new(now, config, out), &message);
            }
            (Kind::Response | Kind::Request, Dest::Client(Address { client, .. })) => {
                let to_client = self.router.has_client(client);
                if to_client {
                    if message.kind == Kind::Request {
                        self.router.opened(me, &message, Via::Client(client));
                    }
                    out.push(Output::Send { to: Peer::Client(client), message });
                } else if message.kind == Kind::Request && message.tag != 0 {
                    let error = WireError::new(ErrorCode::NotFound, "that client has gone");
                    let refusal = message.refuse(self.me(), error);
                    self.route(now, refusal, out);
                }
            }
            (Kind::Request, _) if for_shell(&message.topic) => {
                self.tally.count(now, &message.topic);
                self.hand_to_shell(now, message, out);
            }
            (Kind::Request, _) => {
                self.tally.count(now, &message.topic);
                self.router.opened(me, &message, Via::Mind);
                self.serve(now, &message);
            }
            (Kind::Cancel, _) => match via {
                Some(Via::Client(client)) => out.push(Output::Send { to: Peer::Client(client), message }),
                Some(Via::Mind) => self.cancel(message.src, message.tag),
                Some(Via::Broker(_)) | None => {}
            },
            // Answers go to clients, and to the mind as one of them.
            (Kind::Response, _) => {}
        }
    }

    fn hand_to_shell(&mut self, now: Now, message: Message, out: &mut Vec<Output>) {
        match self.shell.client() {
            Some(client) => {
                self.router.opened(self.config.rank, &message, Via::Client(client));
                out.push(Output::Send { to: Peer::Client(client), message });
            }
            None if message.tag != 0 => {
                let text = format!("rank {} has no shell at the moment", self.config.rank);
                let refusal = message.refuse(self.me(), WireError::new(ErrorCode::Unavailable, text));
                self.route(now, refusal, out);
            }
            // What the leader owes is sent again when the shell says hello.
            None => {}
        }
    }

    fn serve(&mut self, now: Now, m: &Message) {
        let service = m.topic.split('.').next().unwrap_or_default();
        if is_leaders(service) && !self.leads() {
            return self.serve_later(now, m);
        }
        let up = self.life.state >= BrokerState::Run;
        let Core {
            config,
            out,
            overlay,
            jobs,
            resources,
            kvs,
            attributes,
            ring,
            events,
            tally,
            shell,
            slurm,
            ..
        } = self;
        let mut cx = Cx::new(now, config, out);
        match (service, &*m.topic) {
            ("job-ingest", _) if !up => {
                let error = WireError::new(ErrorCode::Unavailable, "the instance is not up yet");
                cx.refuse(m, error.hint("wait for it: flurm uptime"));
            }
            ("job-ingest" | "job-manager" | "job-info" | "job-list" | "exec" | "sched", _) => {
                jobs.request(&mut cx, m)
            }
            ("resource", _) => resources.request(&mut cx, jobs, m),
            ("kvs", _) => {
                let views = |key: &str| resources.lookup_kvs(key).or_else(|| jobs.lookup_kvs(key));
                kvs.request(&mut cx, m, &views);
            }
            ("attr", _) => attributes.request(&mut cx, m),
            ("log", _) => ring.request(&mut cx, m),
            ("event", _) => events.request(&mut cx, m),
            (_, Modules::NAME) => tally.request(&mut cx, m),
            ("state", _) => self.state_request(now, m),
            (_, "overlay.status") => {
                let status = overlay.status(config, now.mono_ms);
                cx.at_once().respond(m, &status);
            }
            (_, "broker.ping") => overlay::ping(&mut cx, m),
            (_, flurm_wire::shell::Hello::NAME) => {
                let joined = overlay.joined() && (config.rank.0 != 0 || self.role.is_some());
                shell.hello(&mut cx, m, joined);
            }
            (_, flurm_wire::slurm::Ready::NAME) => slurm.ready(&mut cx, m),
            (_, InitialExited::NAME) => {
                let exited = m.body::<InitialExited>();
                match &exited {
                    Ok(_) => cx.at_once().respond(m, &flurm_wire::job::Done {}),
                    Err(error) => cx.at_once().refuse(m, error.clone()),
                }
                if let Ok(exited) = exited {
                    self.initial_exited(exited.status);
                }
            }
            _ => {
                let error = WireError::new(ErrorCode::NoService, format!("no service for {}", m.topic));
                cx.at_once().refuse(m, error);
            }
        }
    }

    /// Rank 0 may be asked before it has read its log; nobody else leads.
    fn serve_later(&mut self, now: Now, m: &Message) {
        if self.config.rank.0 == 0 && self.role.is_none() && self.early.len() < EARLY_MAX {
            self.early.push(m.clone());
        } else {
            let text = format!("rank {} does not lead", self.config.rank);
            self.cx(now).at_once().refuse(m, WireError::new(ErrorCode::Unavailable, text));
        }
    }

    /// The asker no longer wants answers; whoever keeps that request forgets it.
    fn cancel(&mut self, src: Address, tag: u64) {
        self.early.retain(|m| (m.src, m.tag) != (src, tag));
        self.jobs.cancel(src, tag);
        self.resources.cancel(src, tag);
        self.kvs.cancel(src, tag);
        self.ring.cancel(src, tag);
        self.events.cancel(src, tag);
        self.life.cancel(src, tag);
    }

    fn link_message(&mut self, now: Now, m: &Message) {
        use flurm_wire::overlay::{Goodbye, Hello};
        let Core { config, out, overlay, .. } = self;
        let mut cx = Cx::new(now, config, out);
        match (m.kind, &*m.topic) {
            (Kind::Request, Hello::NAME) => overlay.hello(&mut cx, m),
            (Kind::Response, Hello::NAME) => overlay.welcome(&mut cx, m),
            (Kind::Request, Goodbye::NAME) => {
                let goodbye: Goodbye = m.body().unwrap_or_default();
                overlay.goodbye(&mut cx, m.src.rank, goodbye.code);
            }
            // A heartbeat has done its work by being heard.
            _ => {}
        }
    }

    /// What the overlay has noticed.
    fn changes(&mut self, now: Now, out: &mut Vec<Output>) {
        for change in self.overlay.take_changes() {
            match change {
                Change::Cut(rank) => self.cut(now, rank, out),
                Change::Joined => {
                    self.tell_inventory(now);
                    // Rank 0 has always joined; its shell waits for the role.
                    if self.config.rank.0 != 0 {
                        self.shell_joined(now, out);
                    }
                }
                Change::ToldToLeave { code } => self.told_to_leave(now, code),
                Change::Orphaned => self.orphaned(now),
                Change::Online(ranks) => {
                    let hosts = self.hosts(&ranks);
                    let Core { config, out, jobs, resources, .. } = self;
                    let mut cx = Cx::new(now, config, out);
                    if config.rank.0 == 0 {
                        cx.log(6, "overlay", format!("online: {ranks} ({hosts})"));
                        resources.online(&mut cx, jobs, &ranks);
                    }
                }
                Change::Offline { ranks, lost } => {
                    let hosts = self.hosts(&ranks);
                    let leads = self.leads();
                    // When all leave, no job is left to hear of it, and the next life begins with who is there then.
                    let ending = self.life.state >= BrokerState::Shutdown;
                    let Core { config, out, jobs, resources, .. } = self;
                    let mut cx = Cx::new(now, config, out);
                    if lost {
                        cx.log(4, "overlay", format!("lost: {ranks} ({hosts})"));
                    }
                    if ending {
                        continue;
                    }
                    if config.rank.0 == 0 {
                        resources.offline(&mut cx, jobs, &ranks);
                    }
                    if leads {
                        ranks.iter().for_each(|rank| jobs.rank_lost(&mut cx, Rank(rank)));
                    }
                }
            }
        }
    }

    /// The hosts of these ranks, each of them once.
    fn hosts(&self, ranks: &Idset) -> Hostlist {
        let all: Hostlist =
            ranks.iter().filter_map(|rank| self.config.hosts.get(rank as usize).cloned()).collect();
        all.unique()
    }

    /// Messages on that link may be gone: who waits across it is told, who works for the other side stops.
    fn cut(&mut self, now: Now, rank: Rank, out: &mut Vec<Output>) {
        let host = self.config.hosts.get(rank.0 as usize).map_or("?", String::as_str);
        let text = format!("the way through rank {rank} ({host}) was cut");
        let overlay = &self.overlay;
        let beyond = |asker: Rank| asker != self.config.rank && overlay.next_hop(asker) == Some(rank);
        let cancels = self.router.cancel_all(beyond);
        let refusals = self.router.refuse_all(self.config.rank, Peer::Broker(rank), &text);
        for message in cancels.into_iter().chain(refusals) {
            self.route(now, message, out);
        }
    }

    fn client_gone(&mut self, now: Now, client: ClientId, out: &mut Vec<Output>) {
        let text = format!("the shell of rank {} was cut off", self.config.rank);
        let refusals = self.router.refuse_all(self.config.rank, Peer::Client(client), &text);
        let cancels = self.router.client_gone(self.config.rank, client);
        for message in refusals.into_iter().chain(cancels) {
            self.route(now, message, out);
        }
        let Core { config, out, shell, .. } = self;
        shell.client_gone(&mut Cx::new(now, config, out), client);
    }

    /// The leader is to learn what runs here: from a hello that waits, or from a new one.
    fn shell_joined(&mut self, now: Now, out: &mut Vec<Output>) {
        let Core { config, out: outbox, shell, .. } = self;
        if let Some(client) = shell.joined(&mut Cx::new(now, config, outbox)) {
            out.push(Output::Close(Peer::Client(client)));
            self.client_gone(now, client, out);
        }
    }

    fn shell_exited(&mut self, now: Now, status: i32) {
        let Core { config, out, shell, .. } = self;
        let end = shell.exited(&mut Cx::new(now, config, out), status);
        match end {
            End::Quit => {}
            // The initial program has ended with its shell.
            End::Died => self.initial_exited(1 << 8),
            End::Hopeless if self.config.rank.0 == 0 => {
                self.initial_exited(1 << 8);
                self.stop(now, 1);
            }
            End::Hopeless => self.leave(now),
        }
    }

    fn signal(&mut self, now: Now, signum: i32) {
        const HUP: i32 = 1;
        const INT: i32 = 2;
        const TERM: i32 = 15;
        if matches!(signum, HUP | INT | TERM) {
            self.cx(now).log(6, "state", format!("signal {signum}: the instance ends"));
            self.stop(now, 128 + signum);
        }
    }

    fn tell_inventory(&mut self, now: Now) {
        let Some(r) = &self.own_inventory else { return };
        if self.config.resources.is_some() {
            return;
        }
        let r = r.clone();
        if self.config.rank.0 == 0 {
            let Core { config, out, jobs, resources, .. } = self;
            resources.inventory(&mut Cx::new(now, config, out), jobs, r);
        } else if self.overlay.joined() {
            self.cx(now).at_once().tell(Dest::Leader, &Inventory { r });
        }
    }

    fn wake(&mut self, now: Now) {
        self.out.wakes = self.out.wakes.split_off(&(now.mono_ms + 1));
        self.wake_ms = None;
        let Core { config, out, overlay, shell, slurm, .. } = self;
        let mut cx = Cx::new(now, config, out);
        overlay.tick(&mut cx);
        shell.tick(&mut cx);
        slurm.tick(&mut cx);
        if self.absent_ms.is_some_and(|at| now.mono_ms >= at) {
            self.absent_ms = None;
            let online = self.overlay.online().clone();
            for rank in (0..self.config.size).filter(|rank| !online.contains(*rank)) {
                let Core { config, out, jobs, .. } = self;
                jobs.rank_lost(&mut Cx::new(now, config, out), Rank(rank));
            }
        }
    }

    fn committed(&mut self, now: Now, facts: &[Fact], out: &mut Vec<Output>) {
        if self.leads() {
            // Ours: the state has it since it was proposed.
            let released = self.in_flight.pop_front().unwrap_or_default();
            self.held -= released.len();
            released.into_iter().for_each(|message| self.route(now, message, out));
            return;
        }
        for fact in facts {
            match fact {
                Fact::Job(fact) => self.jobs.apply(fact),
                Fact::Kvs(fact) => self.kvs.apply(fact),
                Fact::Resource(fact) => self.resources.apply(fact),
            }
        }
    }

    fn take_role(&mut self, now: Now, role: Role, out: &mut Vec<Output>) {
        let led = self.leads();
        self.role = Some(role);
        if led || !self.leads() {
            return;
        }
        let Core { config, out: outbox, jobs, resources, overlay, kvs, .. } = self;
        let mut cx = Cx::new(now, config, outbox);
        let life = resources.life(&config.instance_id);
        if life == LogLife::Another {
            jobs.restart(&mut cx);
        }
        if let Some(learnt) = kvs.kept(SLOWDOWNS) {
            jobs.remember(&mut cx, learnt);
        }
        jobs.lead(&mut cx);
        if life == LogLife::Same {
            // The broker before us may have given up ranks that still run what they ran then.
            jobs.expect_shells(&(0..config.size).collect());
        }
        resources.online(&mut cx, jobs, overlay.online());
        resources.lead(&mut cx, jobs);
        if life == LogLife::Same {
            // Brokers of before come back, or their jobs have lost them.
            let at = now.mono_ms + config.lost_ms.max(config.orphan_ms_max) + config.lost_ms;
            self.absent_ms = Some(at);
            cx.wake_at(at);
        }
        self.shell_joined(now, out);
        self.note_life(now, START);
        for message in std::mem::take(&mut self.early) {
            self.serve(now, &message);
        }
        self.flush(now, out);
    }

    /// One proposal with all facts of the batch; what was said without facts leaves as soon as it may.
    fn batch_end(&mut self, now: Now, out: &mut Vec<Output>) {
        loop {
            self.changes(now, out);
            if self.leads() {
                let Core { config, out, jobs, kvs, .. } = self;
                let mut cx = Cx::new(now, config, out);
                jobs.settle(&mut cx);
                if let Some(learnt) = jobs.learnt() {
                    kvs.keep(&mut cx, SLOWDOWNS, learnt);
                }
            }
            self.live(now);
            self.with_overlay(now, Overlay::settle);
            let held = std::mem::take(&mut self.out.held);
            let facts = std::mem::take(&mut self.out.facts);
            if !facts.is_empty() {
                out.push(Output::Propose { facts });
                self.in_flight.push_back(Vec::new());
            }
            let free = self.in_flight.is_empty() || self.config.hold == Hold::Never;
            if free {
                let quiet = held.is_empty();
                held.into_iter().for_each(|message| self.route(now, message, out));
                if quiet || !self.in_flight.is_empty() {
                    return;
                }
            } else {
                self.held += held.len();
                self.in_flight.back_mut().expect("not free, so something is in flight").extend(held);
                return;
            }
        }
    }

    /// What may leave at once leaves; the rest waits for the end of the batch.
    fn flush(&mut self, now: Now, out: &mut Vec<Output>) {
        loop {
            let lines = std::mem::take(&mut self.out.lines);
            if !lines.is_empty() {
                let Core { config, out: outbox, ring, .. } = self;
                ring.add(&mut Cx::new(now, config, outbox), &lines);
                out.extend(lines.into_iter().map(Output::Log));
            }
            let direct = std::mem::take(&mut self.out.direct);
            if direct.is_empty() && self.out.lines.is_empty() {
                break;
            }
            direct.into_iter().for_each(|message| self.route(now, message, out));
        }
        out.append(&mut self.out.acts);
        let next = self.out.wakes.first().copied();
        if next != self.wake_ms
            && let Some(mono_ms) = next
        {
            self.wake_ms = next;
            out.push(Output::WakeAt { mono_ms });
        }
        out.extend(self.exit_output());
    }
}

/// Topics that the shell of the addressed rank serves; the rest of `shell.*` is for its broker.
fn for_shell(topic: &str) -> bool {
    topic.starts_with("rexec.")
        || (topic.starts_with("shell.")
            && topic != flurm_wire::shell::Hello::NAME
            && topic != InitialExited::NAME)
}
