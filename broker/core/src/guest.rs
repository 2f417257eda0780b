//! The shell of this rank: started, restarted, introduced to the leader, told to quit.
//!
//! ```text
//!   start ─► Starting ── hello ──► (waits for a way to the leader) ──► Ready ── link gone ──► Away
//!               ▲                                                        │                     │ hello: Ready
//!               └──────── a second later ◄── exited ─────────────────────┴─────────────────────┘
//! ```
//!
//! A shell that was there before this broker is found by its hello. When our way to the leader is new, the shell is
//! hung up on: it comes back with a new hello, and with it the leader learns what really runs there now.

use crate::cx::{Cx, asker};
use crate::door::{Guest, Output, Peer};
use flurm_types::Rank;
use flurm_wire::exec::ShellReady;
use flurm_wire::shell::{Hello, KillInitial, Quit, Welcome};
use flurm_wire::{Address, ClientId, Dest, Message, Topic};

/// A shell that lives shorter than this has failed to start.
const QUICK_MS: u64 = 5_000;
/// Starts that may fail one after the other.
const QUICK_DEATHS_MAX: u32 = 5;
const RESTART_MS: u64 = 1_000;
/// A shell that was told to quit ends its tasks within [`flurm_wire`]'s grace of 5 s; after this it is killed.
const QUIT_MS_MAX: u64 = 12_000;

#[derive(Debug, Default)]
pub(crate) struct Shell {
    client: Option<ClientId>,
    /// Its hello, until there is a way to the leader.
    early: Option<(Message, Hello)>,
    started_ms: u64,
    quick_deaths: u32,
    restart_ms: Option<u64>,
    /// Connected once and gone, without a word of its end.
    away_since_ms: Option<u64>,
    quit_deadline_ms: Option<u64>,
    gone: bool,
}

/// What became of the shell process.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// It was told to quit.
    Quit,
    /// It will be started again.
    Died,
    /// It does not stay up.
    Hopeless,
}

impl Shell {
    pub fn start(&mut self, cx: &mut Cx) {
        self.started_ms = cx.now.mono_ms;
        self.restart_ms = None;
        self.away_since_ms = None;
        cx.act(Output::StartGuest(Guest::Shell));
    }

    pub fn client(&self) -> Option<ClientId> {
        self.client
    }

    /// Was it told to quit, and has it?
    pub fn gone(&self) -> bool {
        self.gone
    }

    pub fn hello(&mut self, cx: &mut Cx, m: &Message, joined: bool) {
        match m.body() {
            Ok(hello) if joined || self.quit_deadline_ms.is_some() => self.register(cx, m, hello),
            Ok(hello) => self.early = Some((asker(m), hello)),
            Err(error) => cx.at_once().refuse(m, error),
        }
    }

    /// There is a way to the leader, perhaps a new one. Returns the connection to hang up on, if any.
    pub fn joined(&mut self, cx: &mut Cx) -> Option<ClientId> {
        match self.early.take() {
            Some((m, hello)) => {
                self.register(cx, &m, hello);
                None
            }
            None => self.client,
        }
    }

    fn register(&mut self, cx: &mut Cx, m: &Message, hello: Hello) {
        let client = m.src.client;
        if let Some(old) = self.client.replace(client).filter(|old| *old != client) {
            cx.act(Output::Close(Peer::Client(old)));
        }
        self.away_since_ms = None;
        let config = cx.config;
        let hostname = config.hosts.get(config.rank.0 as usize).cloned().unwrap_or_default();
        let welcome = Welcome {
            rank: config.rank,
            size: config.size,
            hostname,
            uri: config.uri.clone(),
            instance_id: config.instance_id.clone(),
            instance_level: config.instance_level,
            orphan_ms_max: config.orphan_ms_max,
            slurm_conf: crate::slurm::conf(config),
        };
        cx.at_once().respond(m, &welcome);
        if self.quit_deadline_ms.is_some() {
            return self.push(cx, &Quit {});
        }
        cx.at_once().tell(Dest::Leader, &ShellReady { rank: config.rank, jobs: hello.jobs });
    }

    /// A push: a request to that very client.
    pub fn push<T: Topic>(&self, cx: &mut Cx, body: &T) {
        if let Some(client) = self.client {
            let to = Address { rank: cx.config.rank, client };
            cx.at_once().tell(Dest::Client(to), body);
        }
    }

    pub fn signal_initial(&self, cx: &mut Cx, signum: i32, end: bool) {
        self.push(cx, &KillInitial { signum, end });
    }

    pub fn quit(&mut self, cx: &mut Cx) {
        if self.quit_deadline_ms.is_none() {
            let deadline = cx.now.mono_ms + QUIT_MS_MAX;
            self.quit_deadline_ms = Some(deadline);
            cx.wake_at(deadline);
            // Nothing to wait for: it died, and will not be started again.
            self.gone |= self.restart_ms.take().is_some();
            match self.early.take() {
                // It listens only once it is welcome.
                Some((m, hello)) => self.register(cx, &m, hello),
                None => self.push(cx, &Quit {}),
            }
        }
    }

    pub fn client_gone(&mut self, cx: &mut Cx, client: ClientId) {
        if self.early.as_ref().is_some_and(|(m, _)| m.src.client == client) {
            self.early = None;
        }
        if self.client == Some(client) {
            self.client = None;
            self.away_since_ms = Some(cx.now.mono_ms);
            cx.wake_at(cx.now.mono_ms + cx.config.orphan_ms_max);
            // A shell that we found rather than started ends without our being told by the kernel.
            self.gone |= self.quit_deadline_ms.is_some();
        }
    }

    pub fn exited(&mut self, cx: &mut Cx, status: i32) -> End {
        let now = cx.now.mono_ms;
        self.client = None;
        self.early = None;
        self.away_since_ms = None;
        if self.quit_deadline_ms.is_some() {
            self.gone = true;
            return End::Quit;
        }
        let how = match status & 0x7f {
            0 => format!("with exit code {}", status >> 8 & 0xff),
            signal => format!("by signal {signal}"),
        };
        let rank: Rank = cx.config.rank;
        cx.log(3, "shell", format!("the shell of rank {rank} ended {how}; tasks on this rank are lost"));
        self.quick_deaths =
            if now.saturating_sub(self.started_ms) < QUICK_MS { self.quick_deaths + 1 } else { 0 };
        if self.quick_deaths >= QUICK_DEATHS_MAX {
            cx.log(
                3,
                "shell",
                format!("the shell of rank {rank} ended {QUICK_DEATHS_MAX} times at its start"),
            );
            return End::Hopeless;
        }
        let at = if self.quick_deaths == 0 { now } else { now + RESTART_MS };
        self.restart_ms = Some(at);
        cx.wake_at(at);
        End::Died
    }

    pub fn tick(&mut self, cx: &mut Cx) {
        let now = cx.now.mono_ms;
        if self.restart_ms.is_some_and(|at| now >= at) {
            self.start(cx);
        }
        if self.quit_deadline_ms.is_some_and(|at| now >= at) && !self.gone {
            cx.log(4, "shell", "the shell does not quit: killed");
            cx.act(Output::KillGuest { guest: Guest::Shell, signum: 9 });
            self.gone = true;
        }
        let away = self.away_since_ms.is_some_and(|since| now >= since + cx.config.orphan_ms_max);
        if away && self.quit_deadline_ms.is_none() {
            // By now a shell that has lost us has ended as well.
            self.start(cx);
        }
    }
}
