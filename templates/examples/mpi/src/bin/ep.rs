//! Compute-bound: pairs of Gaussian deviates, counted, after EP of the NAS benchmarks. Ranks talk once, at the end.
//!
//! The sums must be the published ones.

use flurm_mpi_examples::{Class, Random, close, share};
use mpi::collective::SystemOperation;
use mpi::traits::*;
use std::process::ExitCode;
use std::time::Instant;

const SEED: u64 = 271_828_183;
/// Pairs that are dealt out together.
const BATCH: u64 = 1 << 16;

fn main() -> ExitCode {
    let Some(universe) = mpi::initialize() else { return ExitCode::FAILURE };
    let world = universe.world();
    let (pairs, sx, sy) = match Class::from_args() {
        Ok(Class::S) => (1u64 << 24, -3.247834652034740e3, -6.958407078382297e3),
        Ok(Class::W) => (1 << 25, -2.863319731645753e3, -6.320053679109499e3),
        Ok(Class::A) => (1 << 28, -4.295875165629892e3, -1.580732573678431e4),
        Err(text) => {
            eprintln!("error: {text}");
            return ExitCode::from(2);
        }
    };
    let before = Instant::now();
    let (from, to) = share((pairs / BATCH) as usize, world.rank(), world.size());
    let mut mine = [0.0; 12];
    for batch in from..to {
        let mut random = Random::at(SEED, 2 * BATCH * batch as u64);
        for _ in 0..BATCH {
            let (x, y) = (2.0 * random.number() - 1.0, 2.0 * random.number() - 1.0);
            let t = x * x + y * y;
            if t <= 1.0 {
                let factor = (-2.0 * t.ln() / t).sqrt();
                let (x, y) = (x * factor, y * factor);
                mine[0] += x;
                mine[1] += y;
                mine[2 + x.abs().max(y.abs()) as usize] += 1.0;
            }
        }
    }
    let mut all = [0.0; 12];
    world.all_reduce_into(&mine[..], &mut all[..], SystemOperation::sum());
    let right = close(all[0], sx) && close(all[1], sy);
    if world.rank() == 0 {
        let (size, verdict) = (world.size(), if right { "ok" } else { "WRONG" });
        let counts: Vec<u64> = all[2..].iter().map(|n| *n as u64).collect();
        println!("ep size={size} sx={} sy={} counts={counts:?} {verdict}", all[0], all[1]);
        println!("ep seconds={:.3}", before.elapsed().as_secs_f64());
    }
    ExitCode::from(u8::from(!right))
}
