//! The world: a clock, brokers, links, shells, users and one disk, moved by one queue of events.
//!
//! Every event has a time and a number; equal times go by number, so nothing is left to chance but the seed. A broker
//! is its mind and an inbox: what has come since its last turn is one batch, as in the real process. `links.rs` joins
//! brokers, `guests.rs` the processes beside them.

mod guests;
mod links;

use crate::disk::Disk;
use crate::faults::{FAULT_MS_MAX, Fault, plan};
use crate::invariants::{Broken, Checks, alive, all_end, nothing_lost, once, replay, whole};
use crate::rng::Rng;
use crate::shell::{self, Shell};
use crate::trace::Trace;
use crate::user::{self, User};
use flurm_core::{Core, CoreConfig, Guest, Hold, Input, Output, Peer, Role, Site};
use flurm_types::{Idset, Now, R, RNode, Rank, Timestamp};
use flurm_wire::{ClientId, Message, frame};
use std::collections::BTreeMap;

/// Faults and submissions fall into this time.
const FAULTY_MS: u64 = 15_000;
/// After it all must have come to its end.
const HEALED_MS: u64 = 120_000;
/// The instance must have ended this long after it was told to.
const ENDING_MS: u64 = 60_000;
const CORES: u32 = 4;
const START_MS: u64 = 1_000;

/// A connection between a process and its broker on the same node.
#[derive(Debug)]
struct Conn {
    rank: Rank,
    client: ClientId,
    who: Who,
    open: bool,
    /// When the last word arrives: to the broker, and from it.
    last_ms: [u64; 2],
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Who {
    Shell(Rank, u64),
    User(usize),
}

/// A connection between a broker and its parent.
#[derive(Debug)]
struct Link {
    child: Rank,
    parent: Rank,
    open: bool,
    /// When the last word arrives: at the parent, and at the child.
    last_ms: [u64; 2],
}

#[derive(Debug, Default)]
struct Broker {
    /// None: it is dead.
    core: Option<Core>,
    life: u64,
    inbox: Vec<Input>,
    /// A turn has been planned.
    turn: bool,
    wake_ms: Option<u64>,
    paused_until: u64,
    dialling: Option<Rank>,
    links: BTreeMap<Rank, u64>,
    /// Connections by client number.
    conns: BTreeMap<ClientId, u64>,
    exited: Option<i32>,
}

#[derive(Debug)]
enum Event {
    StartBroker(Rank),
    /// A broker handles what has come.
    Turn(Rank, u64),
    Input(Rank, u64, Input),
    Wake(Rank, u64, u64),
    Connect(Rank, u64),
    /// Something arrives over a link.
    Arrive {
        link: u64,
        to: Rank,
        message: Message,
    },
    LinkGone {
        link: u64,
        at: Rank,
    },
    Written(u64),
    /// Something arrives at a broker, or at a process beside it.
    FromGuest {
        conn: u64,
        message: Message,
    },
    ToGuest {
        conn: u64,
        message: Message,
    },
    HungUp {
        conn: u64,
    },
    StartShell(Rank),
    ShellConnects(Rank, u64),
    ShellStep(Rank, u64, shell::Step),
    ShellExits(Rank, u64, i32),
    UserConnects(usize),
    UserGoesOn(usize),
    Fault(Fault),
    Heal,
}

#[derive(Debug)]
pub struct World {
    now_ms: u64,
    number: u64,
    events: BTreeMap<(u64, u64), Event>,
    rng: Rng,
    pub trace: Trace,
    checks: Checks,
    hold: Hold,
    size: u32,
    fanout: u32,
    discovered: bool,
    site: Site,
    instance: u64,
    lives: u64,
    brokers: Vec<Broker>,
    shells: Vec<Option<Shell>>,
    users: Vec<User>,
    conns: BTreeMap<u64, Conn>,
    links: BTreeMap<u64, Link>,
    /// No links for these ranks until then.
    partitions: BTreeMap<Rank, u64>,
    disk: Disk,
    faulty: bool,
    ending: bool,
    /// How often a rank was given up, in the log, of a job whose processes lived on there.
    pub outlived: u64,
}

type Checked = Result<(), Broken>;

/// Any policy, and jobs placed in any way.
fn site(rng: &mut Rng) -> Site {
    let policies = ["fcfs", "sjf", "easy", "conservative", "hybrid:2"];
    let placements = ["compact", "first", "high", "locality", "spread:1/1"];
    let mut pick = |words: [&'static str; 5]| words[rng.range(0, 5) as usize];
    let policy = pick(policies).parse().expect("a policy");
    Site { policy, placement: pick(placements).parse().expect("a placement"), ..Site::default() }
}

impl World {
    pub fn new(seed: u64, hold: Hold, print: bool) -> World {
        let mut rng = Rng::new(seed);
        let size = rng.range(1, 6) as u32;
        let fanout = rng.range(1, 4) as u32;
        let users = (0..rng.range(1, 4)).map(|n| User::new(n, size, &mut rng)).collect::<Vec<_>>();
        let mut world = World {
            now_ms: START_MS,
            number: 0,
            events: BTreeMap::new(),
            trace: Trace::new(print),
            checks: Checks::default(),
            hold,
            size,
            fanout,
            discovered: rng.percent(50),
            site: site(&mut rng),
            instance: 1,
            lives: 0,
            brokers: (0..size).map(|_| Broker::default()).collect(),
            shells: (0..size).map(|_| None).collect(),
            users,
            conns: BTreeMap::new(),
            links: BTreeMap::new(),
            partitions: BTreeMap::new(),
            disk: Disk::default(),
            faulty: true,
            ending: false,
            outlived: 0,
            rng,
        };
        for rank in 0..size {
            let at = world.rng.range(0, 300);
            world.after(at, Event::StartBroker(Rank(rank)));
        }
        for user in 0..world.users.len() {
            let at = world.rng.range(0, 2_000);
            world.after(at, Event::UserConnects(user));
        }
        for (at, fault) in plan(size, FAULTY_MS, &mut world.rng) {
            world.after(at, Event::Fault(fault));
        }
        // By then the longest fault that has begun is over.
        world.after(FAULTY_MS + FAULT_MS_MAX, Event::Heal);
        world
    }

    /// From the beginning to the end of the instance.
    pub fn run(&mut self) -> Checked {
        let deadline = START_MS + FAULTY_MS + FAULT_MS_MAX + HEALED_MS;
        while self.faulty || !all_end::reached(&self.users, &self.checks.held) {
            if !self.next_event(deadline)? {
                return all_end::check(&self.users, &self.checks.held);
            }
        }
        self.look_back()?;
        self.end()
    }

    /// Everything is quiet: is what was promised there, and would a reader of the log agree?
    fn look_back(&mut self) -> Checked {
        // A last proposal may still be on its way to the disk, a last broker on its way back.
        let settle = self.now_ms + 5_000;
        while self.next_event(settle)? {}
        let (now, config) = (self.now(), self.config(Rank(0)));
        let core = self.brokers[0].core.as_mut().expect("the leader was healed");
        whole::check(core, now, self.size)?;
        let running = replay::list(core, now);
        let ids: Vec<_> = running.iter().map(|job| job.id).collect();
        nothing_lost::check(&self.users, &self.checks.held, &ids)?;
        replay::check(&running, config, self.disk.read_all(), now)
    }

    fn end(&mut self) -> Checked {
        self.ending = true;
        self.input(Rank(0), Input::Signal(15));
        let deadline = self.now_ms + ENDING_MS;
        while self.brokers.iter().any(|b| b.core.is_some()) {
            if !self.next_event(deadline)? {
                let left: Vec<usize> =
                    (0..self.brokers.len()).filter(|r| self.brokers[*r].core.is_some()).collect();
                return Err(Broken { invariant: "all_end", text: format!("brokers {left:?} do not end") });
            }
        }
        Ok(())
    }

    fn now(&self) -> Now {
        Now { mono_ms: self.now_ms, wall: Timestamp(1_700_000_000_000_000 + self.now_ms as i64 * 1000) }
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now_ms + ms, event);
    }

    fn at(&mut self, at_ms: u64, event: Event) {
        self.number += 1;
        self.events.insert((at_ms, self.number), event);
    }

    /// False: nothing happens before that time any more.
    fn next_event(&mut self, until_ms: u64) -> Result<bool, Broken> {
        match self.events.first_key_value() {
            Some(((at, _), _)) if *at <= until_ms => {}
            _ => return Ok(false),
        }
        let ((at, _), event) = self.events.pop_first().expect("it was just there");
        self.now_ms = at;
        self.happen(event)?;
        Ok(true)
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        let line = format!("{:>7} {}", self.now_ms, what());
        self.trace.line(line);
    }

    fn happen(&mut self, event: Event) -> Checked {
        match event {
            Event::StartBroker(rank) => self.start_broker(rank),
            Event::Turn(rank, life) => return self.turn(rank, life),
            Event::Input(rank, life, input) => {
                if self.lives_on(rank, life) {
                    self.input(rank, input);
                }
            }
            Event::Wake(rank, life, at) => {
                if self.lives_on(rank, life) && self.brokers[rank.0 as usize].wake_ms == Some(at) {
                    self.brokers[rank.0 as usize].wake_ms = None;
                    self.input(rank, Input::Wake);
                }
            }
            Event::Connect(child, life) => self.connect(child, life),
            Event::Arrive { link, to, message } => {
                let known = self.links.get(&link).filter(|l| l.open);
                if let Some(from) = known.map(|l| if l.child == to { l.parent } else { l.child }) {
                    self.input(to, Input::Message { from: Peer::Broker(from), message });
                }
            }
            Event::LinkGone { link, at } => self.link_gone(link, at),
            Event::Written(life) => return self.written(life),
            Event::FromGuest { conn, message } => {
                let known = self.conns.get(&conn).filter(|c| c.open).map(|c| (c.rank, c.client));
                if let Some((rank, client)) = known {
                    self.input(rank, Input::Message { from: Peer::Client(client), message });
                }
            }
            Event::ToGuest { conn, message } => return self.guest_receives(conn, &message),
            Event::HungUp { conn } => self.guest_hung_up(conn),
            Event::StartShell(rank) => self.start_shell(rank),
            Event::ShellConnects(rank, life) => self.shell_connects(rank, life),
            Event::ShellStep(rank, life, step) => {
                let wall = self.now().wall;
                if let Some(shell) = self.shells[rank.0 as usize].as_mut().filter(|s| s.life == life) {
                    let mut acts = Vec::new();
                    shell.step(step, wall, &mut acts);
                    self.shell_acts(rank, acts);
                }
            }
            Event::ShellExits(rank, life, status) => return self.shell_exits(rank, life, status),
            Event::UserConnects(user) => self.user_connects(user),
            Event::UserGoesOn(user) => {
                let mut acts = Vec::new();
                self.users[user].go_on(&mut self.rng, &mut acts);
                self.user_acts(user, acts);
            }
            Event::Fault(fault) => return self.fault(fault),
            Event::Heal => return self.heal(),
        }
        Ok(())
    }

    // Brokers

    fn config(&self, rank: Rank) -> CoreConfig {
        let host = |rank: u32| format!("node{rank}");
        let node = |rank: u32| RNode {
            rank,
            host: host(rank),
            cores: Idset::from_range(0..=CORES - 1),
            gpus: Idset::default(),
        };
        CoreConfig {
            rank,
            size: self.size,
            hosts: (0..self.size).map(host).collect(),
            fanout: self.fanout,
            instance_id: format!("instance{}", self.instance),
            instance_level: 0,
            owner: 1000,
            uri: format!("local:///sim/{rank}/local"),
            epoch: self.lives,
            starttime: Timestamp(1_700_000_000_000_000),
            expiration: Timestamp::ZERO,
            attributes: BTreeMap::new(),
            initial_program: None,
            heartbeat_ms: 1_000,
            lost_ms: 3_000,
            orphan_ms_max: 5_000,
            resources: (!self.discovered).then(|| R::from_nodes((0..self.size).map(node))),
            site: self.site.clone(),
            hold: self.hold,
        }
    }

    fn lives_on(&self, rank: Rank, life: u64) -> bool {
        let broker = &self.brokers[rank.0 as usize];
        broker.core.is_some() && broker.life == life
    }

    fn start_broker(&mut self, rank: Rank) {
        if self.brokers[rank.0 as usize].core.is_some() || self.ending {
            return;
        }
        self.lives += 1;
        let (config, life) = (self.config(rank), self.lives);
        self.note(|| format!("broker {rank} starts, life {life}"));
        self.brokers[rank.0 as usize] =
            Broker { core: Some(Core::new(config.clone(), life)), life, ..Broker::default() };
        if rank.0 == 0 {
            let records: Vec<_> = self.disk.read_all().collect();
            for (index, facts) in records {
                self.input(rank, Input::Committed { index, facts });
            }
            // Reading takes time, and words may come before it is done.
            let ms = self.rng.range(0, 50);
            self.after(ms, Event::Input(rank, life, Input::Role(Role::Leader { term: life })));
        }
        let cores = Idset::from_range(0..=CORES - 1);
        let node = RNode { rank: rank.0, host: format!("node{rank}"), cores, gpus: Idset::default() };
        let ms = self.rng.range(1, 80);
        self.after(ms, Event::Input(rank, life, Input::Inventory(R::from_nodes([node]))));
        self.input(rank, Input::BatchEnd);
    }

    /// Into the inbox; a turn is planned when none is.
    fn input(&mut self, rank: Rank, input: Input) {
        let turn_ms = self.rng.range(0, 2);
        let broker = &mut self.brokers[rank.0 as usize];
        if broker.core.is_none() {
            return;
        }
        broker.inbox.push(input);
        if !std::mem::replace(&mut broker.turn, true) {
            let (life, at) = (broker.life, broker.paused_until.max(self.now_ms + turn_ms));
            self.at(at, Event::Turn(rank, life));
        }
    }

    fn turn(&mut self, rank: Rank, life: u64) -> Checked {
        let now = self.now();
        if !self.lives_on(rank, life) {
            return Ok(());
        }
        let broker = &mut self.brokers[rank.0 as usize];
        if broker.paused_until > self.now_ms {
            let at = broker.paused_until;
            self.at(at, Event::Turn(rank, life));
            return Ok(());
        }
        broker.turn = false;
        let mut inputs = std::mem::take(&mut broker.inbox);
        inputs.retain(|input| !matches!(input, Input::BatchEnd));
        inputs.push(Input::BatchEnd);
        for input in inputs {
            let mut out = Vec::new();
            self.note(|| format!("{rank} ◄ {}", show_input(&input)));
            if let Some(core) = &mut self.brokers[rank.0 as usize].core {
                core.step(now, input, &mut out);
            }
            for output in out {
                self.note(|| format!("{rank} ► {}", show_output(&output)));
                self.perform(rank, output)?;
            }
        }
        Ok(())
    }

    fn perform(&mut self, rank: Rank, output: Output) -> Checked {
        let life = self.brokers[rank.0 as usize].life;
        match output {
            Output::Send { to, message } => {
                if rank.0 == 0 {
                    self.checks.sent(&message)?;
                }
                match to {
                    Peer::Broker(peer) => self.send_link(rank, peer, message),
                    Peer::Client(client) => self.send_guest(rank, client, message),
                }
            }
            Output::Propose { facts } => {
                if self.disk.propose(&facts) {
                    let ms = self.rng.range(1, 15);
                    self.after(ms, Event::Written(life));
                }
            }
            Output::ReadSpill { id, offset, len } => {
                let bytes = self.disk.read_spill(id, offset, len);
                let ms = self.rng.range(0, 15);
                self.after(ms, Event::Input(rank, life, Input::SpillRead { id, offset, bytes }));
            }
            Output::WakeAt { mono_ms } => {
                let at = mono_ms.max(self.now_ms);
                self.brokers[rank.0 as usize].wake_ms = Some(at);
                self.at(at, Event::Wake(rank, life, at));
            }
            Output::StartGuest(Guest::Shell) => {
                let ms = self.rng.range(1, 10);
                self.after(ms, Event::StartShell(rank));
            }
            Output::KillGuest { guest: Guest::Shell, signum } => {
                if let Some(shell) = &self.shells[rank.0 as usize] {
                    self.after(1, Event::ShellExits(rank, shell.life, signum));
                }
            }
            // Nothing of a job rests on it: here nobody uses Slurm's commands.
            Output::StartGuest(Guest::Slurm) | Output::KillGuest { guest: Guest::Slurm, .. } => {}
            Output::Close(Peer::Broker(peer)) => {
                let broker = &mut self.brokers[rank.0 as usize];
                broker.dialling = broker.dialling.filter(|d| *d != peer);
                if let Some(link) = broker.links.remove(&peer) {
                    self.cut(link, Some(peer));
                }
                self.input(rank, Input::PeerGone(Peer::Broker(peer)));
            }
            Output::Close(Peer::Client(client)) => {
                if let Some(conn) = self.brokers[rank.0 as usize].conns.remove(&client) {
                    self.hang_up(conn);
                }
                self.input(rank, Input::PeerGone(Peer::Client(client)));
            }
            Output::Dial(peer) => {
                self.brokers[rank.0 as usize].dialling = Some(peer);
                self.after(1, Event::Connect(rank, life));
            }
            Output::Exit { code } => {
                self.brokers[rank.0 as usize].exited = Some(code);
                self.kill_broker(rank, true)?;
                if !self.ending && !self.faulty {
                    self.after(500, Event::StartBroker(rank));
                }
            }
            Output::Log(_) => {}
        }
        Ok(())
    }

    /// The process is gone; `gently`: what it has sent still arrives.
    fn kill_broker(&mut self, rank: Rank, gently: bool) -> Checked {
        let broker = std::mem::take(&mut self.brokers[rank.0 as usize]);
        if broker.core.is_none() {
            self.brokers[rank.0 as usize] = broker;
            return Ok(());
        }
        self.brokers[rank.0 as usize].exited = broker.exited;
        for (peer, link) in broker.links {
            if gently {
                let at = self.links[&link].last_ms.iter().copied().fold(self.now_ms, u64::max) + 1;
                self.at(at, Event::LinkGone { link, at: peer });
            } else {
                self.cut(link, Some(peer));
            }
        }
        for conn in broker.conns.into_values() {
            self.hang_up(conn);
        }
        if rank.0 == 0 {
            for facts in self.disk.crash(&mut self.rng) {
                self.checks.committed(&facts)?;
            }
        }
        Ok(())
    }

    fn written(&mut self, life: u64) -> Checked {
        if !self.lives_on(Rank(0), life) {
            return Ok(());
        }
        let (records, more) = self.disk.written();
        for (index, facts) in records {
            self.checks.committed(&facts)?;
            self.outlived += alive::outlived(&facts, &self.shells);
            self.input(Rank(0), Input::Committed { index, facts });
        }
        if more {
            let ms = self.rng.range(1, 15);
            self.after(ms, Event::Written(life));
        }
        Ok(())
    }

    // Links

    fn fault(&mut self, fault: Fault) -> Checked {
        self.note(|| format!("fault: {fault:?}"));
        match fault {
            Fault::Cut { child } => {
                let broker = &self.brokers[child.0 as usize];
                let link = broker.dialling.and_then(|p| broker.links.get(&p).copied());
                if let Some(link) = link {
                    self.cut(link, None);
                }
            }
            Fault::Partition { child, ms } => {
                self.partitions.insert(child, self.now_ms + ms);
            }
            Fault::Pause { rank, ms } => {
                self.brokers[rank.0 as usize].paused_until = self.now_ms + ms;
            }
            Fault::Crash { rank, back_ms } => {
                self.kill_broker(rank, false)?;
                self.after(back_ms, Event::StartBroker(rank));
            }
            Fault::KillShell { rank } => {
                if let Some(shell) = &self.shells[rank.0 as usize] {
                    let life = shell.life;
                    return self.shell_exits(rank, life, 9);
                }
            }
            Fault::NewInstance => {
                for rank in (0..self.size).map(Rank) {
                    self.kill_broker(rank, false)?;
                    self.shells[rank.0 as usize] = None;
                }
                self.instance += 1;
                for rank in (0..self.size).map(Rank) {
                    let ms = self.rng.range(100, 1_000);
                    self.after(ms, Event::StartBroker(rank));
                }
            }
        }
        Ok(())
    }

    /// From now on nothing goes wrong any more, and who is dead comes back.
    fn heal(&mut self) -> Checked {
        self.note(|| "healed".to_owned());
        self.faulty = false;
        for rank in (0..self.size).map(Rank) {
            if self.brokers[rank.0 as usize].core.is_none() {
                self.after(200, Event::StartBroker(rank));
            }
        }
        Ok(())
    }
}

fn show_message(message: &Message) -> String {
    String::from_utf8(frame::encode(message)).expect("JSON is UTF-8")
}

fn show_input(input: &Input) -> String {
    match input {
        Input::Message { from, message } => format!("{from:?} {}", show_message(message)),
        Input::Committed { index, facts } => format!("Committed {index} ({} facts)", facts.len()),
        other => format!("{other:?}"),
    }
}

fn show_output(output: &Output) -> String {
    match output {
        Output::Send { to, message } => format!("{to:?} {}", show_message(message)),
        Output::Propose { facts } => {
            let record = flurm_wire::fact::encode_record(facts);
            format!("Propose {}", String::from_utf8(record).expect("JSON is UTF-8"))
        }
        other => format!("{other:?}"),
    }
}
