//! What goes wrong, and when: a plan drawn from the seed before the world begins.

use crate::rng::Rng;
use flurm_types::Rank;

/// No fault lasts longer.
pub const FAULT_MS_MAX: u64 = 7_000;

#[derive(Copy, Clone, Debug)]
pub enum Fault {
    /// The link to the parent is reset; both sides dial or accept again.
    Cut { child: Rank },
    /// Nothing passes between a rank and its parent; a short one only delays.
    Partition { child: Rank, ms: u64 },
    /// The process is stopped and goes on later.
    Pause { rank: Rank, ms: u64 },
    /// The broker is killed and started again.
    Crash { rank: Rank, back_ms: u64 },
    /// The shell is killed, and its tasks with it.
    KillShell { rank: Rank },
    /// Every process is killed; another instance begins on the same log.
    NewInstance,
}

/// Faults with their times, the latest last.
pub fn plan(size: u32, until_ms: u64, rng: &mut Rng) -> Vec<(u64, Fault)> {
    let mut plan = Vec::new();
    for _ in 0..rng.range(0, 7) {
        let rank = Rank(rng.range(0, u64::from(size)) as u32);
        let child = Rank(rng.range(1, u64::from(size).max(2)) as u32);
        let fault = match rng.range(0, 12) {
            0..3 if size > 1 => Fault::Cut { child },
            3..5 if size > 1 => Fault::Partition { child, ms: rng.range(50, FAULT_MS_MAX) },
            5..7 => Fault::Pause { rank, ms: rng.range(50, FAULT_MS_MAX) },
            7 => Fault::KillShell { rank },
            8 if rng.percent(30) => Fault::NewInstance,
            9 => Fault::Crash { rank: Rank(0), back_ms: rng.range(50, FAULT_MS_MAX) },
            _ => Fault::Crash { rank, back_ms: rng.range(50, FAULT_MS_MAX) },
        };
        plan.push((rng.range(100, until_ms), fault));
    }
    if size > 1 && rng.percent(40) {
        let child = Rank(rng.range(1, u64::from(size)) as u32);
        plan.push((rng.range(1_000, 8_000), Fault::Partition { child, ms: rng.range(4_500, FAULT_MS_MAX) }));
    }
    plan.sort_by_key(|(at, _)| *at);
    plan
}
