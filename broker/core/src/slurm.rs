//! The service that answers Slurm's commands on this rank: started, restarted, told to end. Nothing rests on it.
//!
//! ```text
//!   Off            start ─► Running ── ready ──► Running, ready
//!                              ▲                      │
//!                              └── at once, or after a quick death a second later ◄── exited
//! ```
//!
//! Jobs know nothing of its deaths. One that does not stay up is given up: then Slurm's commands are not answered here.

use crate::cx::Cx;
use crate::door::{CoreConfig, Guest, Output};
use flurm_wire::Message;
use flurm_wire::job::Done;
use flurm_wire::slurm::Ready;

/// What says whether there is one: `on`, or anything else.
pub(crate) const ATTRIBUTE: &str = "slurm.service";
/// One that lives shorter than this has failed to start.
const QUICK_MS: u64 = 5_000;
/// Starts that may fail one after the other.
const QUICK_DEATHS_MAX: u32 = 5;
const RESTART_MS: u64 = 1_000;
/// So long the initial program waits for it: it starts in a tenth of that.
const AWAITED_MS_MAX: u64 = 5_000;
/// Told to end, it does so at once, with its munged; after this it is killed.
const END_MS_MAX: u64 = 2_000;

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

#[derive(Debug, Default)]
pub(crate) struct Slurm {
    on: bool,
    runs: bool,
    ready: bool,
    started_ms: u64,
    awaited_until_ms: u64,
    quick_deaths: u32,
    restart_ms: Option<u64>,
    end_deadline_ms: Option<u64>,
}

/// Where it writes `slurm.conf` on this rank; none if there is no service.
pub(crate) fn conf(config: &CoreConfig) -> Option<String> {
    let of = |name: &str| config.attributes.get(name);
    of(ATTRIBUTE).filter(|set| *set == "on")?;
    Some(format!("{}/{}", of("rundir")?, flurm_wire::slurm::CONF))
}

impl Slurm {
    pub fn new(config: &CoreConfig) -> Slurm {
        Slurm { on: conf(config).is_some(), ..Slurm::default() }
    }

    pub fn start(&mut self, cx: &mut Cx) {
        if !self.on {
            return;
        }
        if self.awaited_until_ms == 0 {
            self.awaited_until_ms = cx.now.mono_ms + AWAITED_MS_MAX;
            cx.wake_at(self.awaited_until_ms);
        }
        self.started_ms = cx.now.mono_ms;
        self.restart_ms = None;
        self.runs = true;
        cx.act(Output::StartGuest(Guest::Slurm));
    }

    /// Is the initial program to wait, so that its first `sinfo` is answered?
    pub fn awaited(&self, now_ms: u64) -> bool {
        self.on && !self.ready && now_ms < self.awaited_until_ms
    }

    pub fn ready(&mut self, cx: &mut Cx, m: &Message) {
        match m.body::<Ready>() {
            Ok(Ready {}) => {
                self.ready = true;
                cx.at_once().respond(m, &Done {});
            }
            Err(error) => cx.at_once().refuse(m, error),
        }
    }

    pub fn end(&mut self, cx: &mut Cx) {
        self.restart_ms = None;
        if self.runs && self.end_deadline_ms.is_none() {
            let deadline = cx.now.mono_ms + END_MS_MAX;
            self.end_deadline_ms = Some(deadline);
            cx.wake_at(deadline);
            cx.act(Output::KillGuest { guest: Guest::Slurm, signum: SIGTERM });
        }
        self.on = false;
    }

    /// Has it ended, if there was one?
    pub fn gone(&self) -> bool {
        !self.runs
    }

    pub fn exited(&mut self, cx: &mut Cx, status: i32) {
        self.runs = false;
        if !self.on {
            return;
        }
        let now = cx.now.mono_ms;
        let how = match status & 0x7f {
            0 => format!("with exit code {}", status >> 8 & 0xff),
            signal => format!("by signal {signal}"),
        };
        let rank = cx.config.rank;
        self.quick_deaths =
            if now.saturating_sub(self.started_ms) < QUICK_MS { self.quick_deaths + 1 } else { 0 };
        if self.quick_deaths >= QUICK_DEATHS_MAX {
            self.on = false;
            let text = format!(
                "the Slurm service of rank {rank} ended {how}, {QUICK_DEATHS_MAX} times at its start: Slurm's \
                 commands are not answered"
            );
            return cx.log(3, "slurm", text);
        }
        cx.log(4, "slurm", format!("the Slurm service of rank {rank} ended {how}: it is started again"));
        let at = if self.quick_deaths < 2 { now } else { now + RESTART_MS };
        self.restart_ms = Some(at);
        cx.wake_at(at);
    }

    pub fn tick(&mut self, cx: &mut Cx) {
        let now = cx.now.mono_ms;
        if self.restart_ms.is_some_and(|at| now >= at) {
            self.start(cx);
        }
        if self.runs && self.end_deadline_ms.is_some_and(|at| now >= at) {
            cx.act(Output::KillGuest { guest: Guest::Slurm, signum: SIGKILL });
            self.runs = false;
        }
    }
}
