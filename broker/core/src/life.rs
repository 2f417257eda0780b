//! The broker's own life, from joining to its exit.
//!
//! ```text
//!   rank 0:  Join ─ role ─► Init ─► Quorum ─ all online, inventory known ─► Run ─┐
//!            ┌── the initial program has ended, a request, a signal ─────────────┘
//!            └─► Cleanup ─ no active job ─► Shutdown ─ children and shell gone ─► Finalize: exit
//!   others:  Join ─ welcome ─► Run ─ parent's goodbye, or no parent for too long ─► Shutdown ─► Finalize
//! ```
//!
//! The exit code of the instance is that of rank 0, which is its initial program's. Others end with 0, unless the instance
//! was ended from outside: then every one has a code that says so. A launcher that does not get rank 0's, since its node
//! is the one that failed, would otherwise take what it gets for success.

use crate::Core;
use crate::cx::{Cx, asker};
use crate::door::Output;
use flurm_types::{Entry, Fsd, Hostlist, Now, exit_code};
use flurm_wire::job::Done;
use flurm_wire::state::{BrokerState, FINISH, Get, Info, STARTLOG, Shutdown, Wait};
use flurm_wire::{Address, Dest, ErrorCode, Message, Topic, WireError};
use serde_json::json;

/// When nothing is said: enough for slow prologs on many nodes.
const JOIN_MS_DEFAULT: u64 = 120_000;
/// After this, or half of the time they have, the brokers that are still missing are named: a full node needs seconds
/// to start its brokers.
const JOIN_WARN_MS: u64 = 5_000;
/// An initial program that takes no HUP is ended for good.
const HUP_MS_MAX: u64 = 5_000;
/// Jobs end within seconds of being cancelled, and their epilogs have the rest of this time unless something else is said;
/// whatever holds them longer does not hold the instance.
const CLEANUP_MS_DEFAULT: u64 = 30_000;
/// For children to leave.
const SHUTDOWN_MS_MAX: u64 = 20_000;
/// Nobody waits longer than this for the states of one broker.
const WAITERS_MAX: usize = 1 << 14;

#[derive(Debug)]
pub(crate) struct Life {
    pub state: BrokerState,
    /// When the state was entered.
    since_ms: u64,
    started_ms: u64,
    join_ms_max: Option<u64>,
    join_warn_ms: u64,
    cleanup_ms_max: u64,
    missing_named: bool,
    initial: Initial,
    exit_code: i32,
    /// What has ended the instance from outside, as an exit code: a signal, or that others are out of reach. 0: nothing has.
    outside: i32,
    /// Somebody wants the instance to end: a signal or a request.
    stopping: bool,
    hup_again_ms: Option<u64>,
    waiters: Vec<(BrokerState, Message)>,
    pub exited: bool,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Initial {
    None,
    Waiting,
    Started,
    Ended,
}

impl Life {
    pub fn new(config: &crate::CoreConfig) -> Life {
        let timeout = |name| config.attributes.get(name).map(|text: &String| text.parse::<Fsd>());
        let cleanup_ms_max = match timeout("broker.cleanup-timeout") {
            Some(Ok(fsd)) => (fsd.as_secs() * 1000.0) as u64,
            None | Some(Err(_)) => CLEANUP_MS_DEFAULT,
        };
        let timeout = timeout("broker.join-timeout");
        let join_ms_max = match timeout {
            None | Some(Err(_)) => Some(JOIN_MS_DEFAULT),
            Some(Ok(fsd)) if fsd.is_infinite() || fsd == Fsd::ZERO => None,
            Some(Ok(fsd)) => Some((fsd.as_secs() * 1000.0) as u64),
        };
        Life {
            state: BrokerState::Join,
            since_ms: 0,
            started_ms: 0,
            join_ms_max,
            cleanup_ms_max,
            join_warn_ms: join_ms_max.map_or(JOIN_WARN_MS, |max| JOIN_WARN_MS.min(max / 2)),
            missing_named: false,
            initial: if config.initial_program.is_some() { Initial::Waiting } else { Initial::None },
            exit_code: 0,
            outside: 0,
            stopping: false,
            hup_again_ms: None,
            waiters: Vec::new(),
            exited: false,
        }
    }

    pub fn start(&mut self, cx: &mut Cx) {
        self.started_ms = cx.now.mono_ms;
        self.since_ms = cx.now.mono_ms;
        cx.wake_at(self.started_ms + self.join_warn_ms);
        if let Some(max) = self.join_ms_max {
            cx.wake_at(self.started_ms + max);
        }
    }

    pub fn cancel(&mut self, src: Address, tag: u64) {
        self.waiters.retain(|(_, m)| (m.src, m.tag) != (src, tag));
    }
}

impl Core {
    /// `state.*`
    pub(crate) fn state_request(&mut self, now: Now, m: &Message) {
        let info = self.info(now);
        let Core { config, out, life, .. } = self;
        let mut cx = Cx::new(now, config, out);
        let mut cx = cx.at_once();
        match &*m.topic {
            Get::NAME => cx.respond(m, &info),
            Wait::NAME => match m.body::<Wait>() {
                Ok(wait) if life.state >= wait.state => cx.respond(m, &info),
                Ok(_) if life.waiters.len() >= WAITERS_MAX => {
                    let text = format!("{WAITERS_MAX} others wait for a state already");
                    cx.refuse(m, WireError::new(ErrorCode::Unavailable, text));
                }
                Ok(wait) => life.waiters.push((wait.state, asker(m))),
                Err(error) => cx.refuse(m, error),
            },
            Shutdown::NAME => {
                cx.respond(m, &Done {});
                self.stop(now, 0);
            }
            topic => {
                cx.refuse(m, WireError::new(ErrorCode::NoService, format!("no service for {topic}")));
            }
        }
    }

    /// The instance is to end; `code` is its exit code unless the initial program's end gives one.
    pub(crate) fn stop(&mut self, now: Now, code: i32) {
        let again = std::mem::replace(&mut self.life.stopping, true);
        // Who leaves already has the code for it; a launcher that is in a hurry then does not change it.
        if self.life.outside == 0 && self.life.state < BrokerState::Shutdown {
            self.life.outside = code;
        }
        if self.config.rank.0 == 0 {
            if !again {
                self.life.exit_code = code;
            }
        } else if self.overlay.joined() && !again {
            self.cx(now).at_once().tell(Dest::Leader, &Shutdown {});
        } else {
            // Nobody there to end the instance, or nobody who does: at least this broker ends.
            if self.life.state < BrokerState::Shutdown {
                self.life.exit_code = code;
            }
            self.leave(now);
        }
    }

    /// `shell.initial-exited`, or the end of the shell that ran it.
    pub(crate) fn initial_exited(&mut self, status: i32) {
        // A shell that is older than this broker may tell of a program that we have not asked it for.
        if matches!(self.life.initial, Initial::Started | Initial::Waiting) {
            self.life.initial = Initial::Ended;
            let signal = status & 0x7f;
            // A program that we end because a signal ends the instance has no say: the code is that signal's.
            let ours = self.life.stopping && self.life.exit_code != 0 && matches!(signal, 1 | 9);
            if !ours {
                self.life.exit_code = exit_code(status);
            }
        }
    }

    /// What this broker can conclude of its state; called until nothing follows any more.
    pub(crate) fn live(&mut self, now: Now) {
        loop {
            let before = self.life.state;
            match before {
                BrokerState::Join | BrokerState::Init | BrokerState::Quorum => self.come_up(now),
                BrokerState::Run => self.run(now),
                BrokerState::Cleanup => self.clean_up(now),
                BrokerState::Shutdown => self.shut_down(now),
                BrokerState::Finalize => {}
            }
            if self.life.state == before {
                return;
            }
        }
    }

    fn enter(&mut self, now: Now, state: BrokerState) {
        self.life.state = state;
        self.life.since_ms = now.mono_ms;
        let info = self.info(now);
        let Core { config, out, life, .. } = self;
        let mut cx = Cx::new(now, config, out);
        cx.log(6, "state", state.name());
        for (wanted, asker) in std::mem::take(&mut life.waiters) {
            if state >= wanted {
                cx.at_once().respond(&asker, &info);
            } else {
                life.waiters.push((wanted, asker));
            }
        }
    }

    fn come_up(&mut self, now: Now) {
        let leads = self.leads();
        if self.life.stopping && self.config.rank.0 == 0 {
            return self.enter(now, BrokerState::Cleanup);
        }
        match self.life.state {
            BrokerState::Join if leads => self.enter(now, BrokerState::Init),
            BrokerState::Init => self.enter(now, BrokerState::Quorum),
            BrokerState::Join if self.config.rank.0 != 0 && self.overlay.joined() => {
                return self.enter(now, BrokerState::Run);
            }
            BrokerState::Quorum if self.resources.defined() && self.missing().is_empty() => {
                return self.enter(now, BrokerState::Run);
            }
            _ => {}
        }
        let waited = now.mono_ms.saturating_sub(self.life.started_ms);
        if waited >= self.life.join_warn_ms && !self.life.missing_named {
            self.life.missing_named = true;
            let missing = self.missing();
            if !missing.is_empty() {
                let text = format!(
                    "waiting for {} of {} brokers: {}",
                    missing.len(),
                    self.config.size,
                    missing.unique()
                );
                // The leader names all that are missing, once.
                let level = if self.config.rank.0 == 0 { 4 } else { 6 };
                self.cx(now).log(level, "state", text);
            }
        }
        if self.life.join_ms_max.is_some_and(|max| waited >= max) {
            self.give_up(now, waited);
        }
    }

    fn give_up(&mut self, now: Now, waited: u64) {
        let missing = self.missing();
        let (size, secs) = (self.config.size, waited / 1000);
        let text = match self.overlay.parent() {
            Some(parent) => format!("no answer from rank {parent} ({missing}) for {secs} s"),
            None if missing.is_empty() => {
                let unknown = self.resources.unknown(size);
                format!(
                    "the resources of {} of {size} brokers are not known after {secs} s: {}",
                    unknown.len(),
                    self.hosts(&unknown)
                )
            }
            None => {
                let (count, hosts) = (missing.len(), missing.unique());
                format!("{count} of {size} brokers have not come within {secs} s: {hosts}")
            }
        };
        let mut cx = self.cx(now);
        cx.log(3, "state", text);
        cx.log(
            3,
            "state",
            "hint: look at the output of those brokers, or wait longer: -Sbroker.join-timeout=10m",
        );
        self.fail(now);
    }

    /// Ends this broker and those below it, since it cannot reach whom it needs.
    fn fail(&mut self, now: Now) {
        (self.life.exit_code, self.life.outside) = (1, 1);
        self.leave(now);
    }

    /// By the parent, with the code that it has for us.
    pub(crate) fn told_to_leave(&mut self, now: Now, code: i32) {
        if self.life.state < BrokerState::Shutdown {
            if code != 0 {
                self.life.outside = code;
            }
            self.life.exit_code = self.life.outside;
            self.leave(now);
        }
    }

    /// Hosts that are waited for.
    fn missing(&self) -> Hostlist {
        if let Some(parent) = self.overlay.parent() {
            return self.config.hosts.get(parent.0 as usize).cloned().into_iter().collect();
        }
        let online = self.overlay.online();
        (0..)
            .zip(&self.config.hosts)
            .filter(|(rank, _)| !online.contains(*rank))
            .map(|(_, h)| h.clone())
            .collect()
    }

    fn run(&mut self, now: Now) {
        let over = self.life.initial == Initial::Ended;
        if over || (self.life.stopping && self.config.rank.0 == 0) {
            return self.enter(now, BrokerState::Cleanup);
        }
        let Core { config, out, life, shell, slurm, .. } = self;
        let ready = shell.client().is_some() && !slurm.awaited(now.mono_ms);
        if let (Initial::Waiting, true, Some(program)) = (life.initial, ready, &config.initial_program) {
            life.initial = Initial::Started;
            let mut cx = Cx::new(now, config, out);
            shell.push(&mut cx, program);
        }
    }

    fn clean_up(&mut self, now: Now) {
        let entered = !std::mem::replace(&mut self.cleanup_begun, true);
        let Core { config, out, life, shell, jobs, .. } = self;
        let mut cx = Cx::new(now, config, out);
        if entered {
            jobs.stop(&mut cx);
            cx.wake_at(now.mono_ms.saturating_add(life.cleanup_ms_max));
            if life.initial == Initial::Started {
                shell.signal_initial(&mut cx, 1, false);
                life.hup_again_ms = Some(now.mono_ms + HUP_MS_MAX);
                cx.wake_at(now.mono_ms + HUP_MS_MAX);
            }
        }
        let runs = life.initial == Initial::Started;
        if runs && life.hup_again_ms.is_some_and(|at| now.mono_ms >= at) {
            life.hup_again_ms = None;
            shell.signal_initial(&mut cx, 9, true);
        }
        let late = now.mono_ms.saturating_sub(life.since_ms) >= life.cleanup_ms_max;
        if late {
            cx.log(
                4,
                "state",
                "jobs or their epilogs have not ended in time: the instance ends without them (-Sbroker.cleanup-timeout=)",
            );
        }
        if late || (!runs && jobs.idle()) {
            self.leave(now);
        }
    }

    /// To Shutdown, from whatever state.
    pub(crate) fn leave(&mut self, now: Now) {
        if self.life.state >= BrokerState::Shutdown {
            return;
        }
        self.enter(now, BrokerState::Shutdown);
        if self.leads() {
            self.note_life(now, FINISH);
        }
        let Core { config, out, overlay, shell, slurm, life, .. } = self;
        let mut cx = Cx::new(now, config, out);
        // The end of the program says best what has become of it, if that is no success.
        let code = match (life.outside, life.exit_code) {
            (0, _) => 0,
            (outside, 0) => outside,
            (_, own) => own,
        };
        overlay.farewell_down(&mut cx, code);
        shell.quit(&mut cx);
        slurm.end(&mut cx);
        cx.wake_at(now.mono_ms + config.heartbeat_ms);
        cx.wake_at(now.mono_ms + SHUTDOWN_MS_MAX);
    }

    /// Keeps for who comes after us when the instance began and ended; one whose log goes with it has nobody.
    pub(crate) fn note_life(&mut self, now: Now, event: &str) {
        let of = |name| self.config.attributes.get(name);
        if of("statedir").is_none() || of("statedir") == of("rundir") {
            return;
        }
        let context = json!({ "version": env!("CARGO_PKG_VERSION"), "size": self.config.size });
        let line = Entry::new(now.wall, event).with_context(context).to_line() + "\n";
        let Core { config, out, kvs, .. } = self;
        kvs.keep_more(&mut Cx::new(now, config, out), STARTLOG, line);
    }

    /// The way to the leader is gone for good.
    pub(crate) fn orphaned(&mut self, now: Now) {
        if self.life.state < BrokerState::Shutdown {
            let parent = self.overlay.parent().expect("only ranks with a parent are orphaned");
            let text = format!("rank {parent} has been gone for too long: this broker ends");
            self.cx(now).log(3, "state", text);
            self.fail(now);
        }
    }

    fn shut_down(&mut self, now: Now) {
        let waited = now.mono_ms.saturating_sub(self.life.since_ms);
        let late = waited >= SHUTDOWN_MS_MAX;
        // A child that is just starting would call in vain for long. All start together, so it calls by the next
        // heartbeat, or has left by itself: a terminal's ^C is for all.
        let awaited = self.overlay.awaited() && waited < self.config.heartbeat_ms;
        let alone = (self.overlay.alone() && !awaited) || late;
        // What was promised is written first.
        let written = (self.in_flight.is_empty() && self.out.facts.is_empty()) || late;
        if !(alone && written && self.shell.gone() && self.slurm.gone()) {
            return;
        }
        self.enter(now, BrokerState::Finalize);
        let Core { config, out, overlay, ring, events, life, .. } = self;
        let mut cx = Cx::new(now, config, out);
        ring.end(&mut cx);
        events.end(&mut cx);
        overlay.farewell_up(&mut cx);
        life.exited = true;
    }

    /// After everything else of the step has left.
    pub(crate) fn exit_output(&mut self) -> Option<Output> {
        std::mem::take(&mut self.life.exited).then_some(Output::Exit { code: self.life.exit_code })
    }

    fn info(&self, now: Now) -> Info {
        let (submission_enabled, scheduling_started) = self.jobs.gates(&self.config.site);
        Info {
            rank: self.config.rank,
            state: self.life.state,
            size: self.config.size,
            online: self.overlay.online().len() as u32,
            owner: self.config.owner,
            starttime: self.config.starttime,
            now: now.wall,
            expiration: self.resources.expiration(&self.config),
            instance_level: self.config.instance_level,
            drained: self.resources.drained_count(),
            submission_enabled,
            scheduling_started,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
