//! A token goes round; each rank adds its number to it.

use mpi::traits::*;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(universe) = mpi::initialize() else { return ExitCode::FAILURE };
    let world = universe.world();
    let (rank, size) = (world.rank(), world.size());
    let mut token = 0;
    if size > 1 {
        if rank > 0 {
            token = world.process_at_rank(rank - 1).receive::<i32>().0;
        }
        token += rank;
        world.process_at_rank((rank + 1) % size).send(&token);
        if rank == 0 {
            token = world.process_at_rank(size - 1).receive::<i32>().0;
        }
    }
    let right = rank > 0 || token == size * (size - 1) / 2;
    if rank == 0 {
        println!("ring size={size} token={token} {}", if right { "ok" } else { "WRONG" });
    }
    ExitCode::from(u8::from(!right))
}
