//! A vector is summed over all ranks, and all have the sum.

use mpi::collective::SystemOperation;
use mpi::traits::*;
use std::process::ExitCode;

const LENGTH: usize = 1 << 16;

fn main() -> ExitCode {
    let Some(universe) = mpi::initialize() else { return ExitCode::FAILURE };
    let world = universe.world();
    let size = f64::from(world.size());
    let mine: Vec<f64> = (0..LENGTH).map(|i| f64::from(world.rank()) + 1.0 + i as f64).collect();
    let mut sum = vec![0.0; LENGTH];
    world.all_reduce_into(&mine[..], &mut sum[..], SystemOperation::sum());
    let expected = |i: usize| size * (size + 1.0) / 2.0 + size * i as f64;
    let wrong = (0..LENGTH).filter(|i| sum[*i] != expected(*i)).count() as u64;
    let mut wrong_anywhere = 0u64;
    world.all_reduce_into(&wrong, &mut wrong_anywhere, SystemOperation::sum());
    if world.rank() == 0 {
        let verdict = if wrong_anywhere == 0 { "ok" } else { "WRONG" };
        println!("allreduce size={size} sum={} {verdict}", sum[0]);
    }
    ExitCode::from(u8::from(wrong_anywhere > 0))
}
