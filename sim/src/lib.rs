//! A seeded world around the mind of a broker: many minds, links, shells, users and a disk, with faults.
//!
//! What is simulated is what runs: minds are [`flurm_core::Core`], all else is a few numbers. One seed decides
//! everything: the tree, the jobs, when each message arrives and what goes wrong. A run has three phases.
//!
//! 1. *Safety*: links are cut or silent, brokers are paused, killed (with a torn last write) and started again,
//!    shells are killed, sometimes the whole instance. Links are TCP: in order and without holes while they last;
//!    what is on its way when one breaks is lost. Users and shells say again what was refused or cut off, so
//!    minds see repetitions, and after each break they see them in another order.
//! 2. *Liveness*: faults stop. Everything asked must be answered and every job must end.
//! 3. *The end*: the log is replayed and compared, and the instance is told to end.
//!
//! Invariants stand in `invariants/`, one a file. A failure names its seed; the same seed and build give the same
//! trace to the byte:
//!
//! ```console
//! $ FLURM_SIM_SEED=17 cargo test -p flurm-sim -- --nocapture     # that seed alone, its trace printed
//! $ FLURM_SIM_SEEDS=5000 cargo test -p flurm-sim                 # more seeds than usual
//! ```

pub mod disk;
pub mod faults;
pub mod invariants;
pub mod rng;
pub mod shell;
pub mod trace;
pub mod user;
pub mod world;

use flurm_core::Hold;
use invariants::Broken;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// What a run has come to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    pub seed: u64,
    /// Of everything that went into a mind or came out of one.
    pub trace: u64,
    pub broken: Option<Broken>,
    /// How often a job was given up on a rank where its processes lived on.
    pub outlived: u64,
    /// The end of the trace.
    pub tail: Vec<String>,
}

/// Runs the world of a seed; `print` shows its trace on standard error.
pub fn run(seed: u64, hold: Hold, print: bool) -> Outcome {
    let mut world = World::new(seed, hold, print);
    let broken = match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(result) => result.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
            Some(Broken { invariant: "panic", text: text.unwrap_or_default() })
        }
    };
    Outcome { seed, trace: world.trace.hash(), broken, outlived: world.outlived, tail: world.trace.tail() }
}
