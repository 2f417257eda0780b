//! Who is here: one line from each rank. With a number as argument: fails unless that many are.

use flurm_mpi_examples::place;
use mpi::traits::*;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(universe) = mpi::initialize() else { return ExitCode::FAILURE };
    let world = universe.world();
    let (host, cpus) = place();
    println!("hello rank={} size={} host={host} cpus={cpus}", world.rank(), world.size());
    let expected = std::env::args().nth(1);
    let right = expected.is_none_or(|expected| expected == world.size().to_string());
    ExitCode::from(if right { 0 } else { 3 })
}
