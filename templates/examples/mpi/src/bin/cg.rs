//! Memory-bound: conjugate gradients for Poisson's equation on a cube, in slabs. Each step streams five vectors through
//! memory; ranks exchange faces with their neighbours and two sums.
//!
//! The right side belongs to a solution that is known, and that must come out.

use flurm_mpi_examples::{Class, Random, share};
use mpi::collective::SystemOperation;
use mpi::point_to_point as p2p;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use std::process::ExitCode;
use std::time::Instant;

struct Slab<'a> {
    world: &'a SimpleCommunicator,
    n: usize,
    /// Layers here, without the one on each side that belongs to a neighbour.
    layers: usize,
}

impl Slab<'_> {
    fn zeros(&self) -> Vec<f64> {
        vec![0.0; (self.layers + 2) * self.n * self.n]
    }

    /// Fetches the neighbours' outermost layers.
    fn exchange(&self, v: &mut [f64]) {
        let (rank, size, face) = (self.world.rank(), self.world.size(), self.n * self.n);
        let (below, above) = (rank - 1, rank + 1);
        let end = v.len();
        // Even ones talk upwards first, odd ones downwards.
        for up in if rank % 2 == 0 { [true, false] } else { [false, true] } {
            let (other, ours, theirs) = if up {
                (above, end - 2 * face..end - face, end - face..end)
            } else {
                (below, face..2 * face, 0..face)
            };
            if (0..size).contains(&other) {
                let message = v[ours].to_vec();
                let other = self.world.process_at_rank(other);
                p2p::send_receive_into(&message[..], &other, &mut v[theirs], &other);
            }
        }
    }

    /// out = A v, seven points.
    fn apply(&self, v: &mut [f64], out: &mut [f64]) {
        self.exchange(v);
        let n = self.n;
        for z in 1..=self.layers {
            for y in 0..n {
                for x in 0..n {
                    let at = (z * n + y) * n + x;
                    let mut sum = 6.0 * v[at] - v[at - n * n] - v[at + n * n];
                    sum -= if x > 0 { v[at - 1] } else { 0.0 };
                    sum -= if x + 1 < n { v[at + 1] } else { 0.0 };
                    sum -= if y > 0 { v[at - n] } else { 0.0 };
                    sum -= if y + 1 < n { v[at + n] } else { 0.0 };
                    out[at] = sum;
                }
            }
        }
    }

    fn dot(&self, a: &[f64], b: &[f64]) -> f64 {
        let inner = self.n * self.n..a.len() - self.n * self.n;
        let mine: f64 = a[inner.clone()].iter().zip(&b[inner]).map(|(a, b)| a * b).sum();
        let mut all = 0.0;
        self.world.all_reduce_into(&mine, &mut all, SystemOperation::sum());
        all
    }
}

fn main() -> ExitCode {
    let Some(universe) = mpi::initialize() else { return ExitCode::FAILURE };
    let world = universe.world();
    let n = match Class::from_args() {
        Ok(Class::S) => 48,
        Ok(Class::W) => 96,
        Ok(Class::A) => 192,
        Err(text) => {
            eprintln!("error: {text}");
            return ExitCode::from(2);
        }
    };
    if world.size() as usize > n {
        eprintln!("error: class needs no more than {n} ranks");
        return ExitCode::from(2);
    }
    let before = Instant::now();
    let (from, to) = share(n, world.rank(), world.size());
    let slab = Slab { world: &world, n, layers: to - from };
    let mut known = slab.zeros();
    let mut random = Random::at(314_159_265, (from * n * n) as u64);
    known[n * n..(slab.layers + 1) * n * n].fill_with(|| random.number());
    let (mut r, mut q, mut x) = (slab.zeros(), slab.zeros(), slab.zeros());
    slab.apply(&mut known, &mut r);
    let mut p = r.clone();
    let mut rho = slab.dot(&r, &r);
    let end = rho * 1e-24;
    let mut steps = 0;
    while rho > end && steps < 10 * n {
        slab.apply(&mut p, &mut q);
        let alpha = rho / slab.dot(&p, &q);
        for i in 0..x.len() {
            x[i] += alpha * p[i];
            r[i] -= alpha * q[i];
        }
        let next = slab.dot(&r, &r);
        let beta = next / rho;
        rho = next;
        for i in 0..p.len() {
            p[i] = r[i] + beta * p[i];
        }
        steps += 1;
    }
    let inner = n * n..(slab.layers + 1) * n * n;
    let mine = inner.map(|i| (x[i] - known[i]).abs()).fold(0.0, f64::max);
    let mut error = 0.0;
    world.all_reduce_into(&mine, &mut error, SystemOperation::max());
    let right = error < 1e-8;
    if world.rank() == 0 {
        let verdict = if right { "ok" } else { "WRONG" };
        println!("cg size={} n={n} steps={steps} error={error:.1e} {verdict}", world.size());
        println!("cg seconds={:.3}", before.elapsed().as_secs_f64());
    }
    ExitCode::from(u8::from(!right))
}
