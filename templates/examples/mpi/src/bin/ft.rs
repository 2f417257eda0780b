//! Communication-bound: a wave equation in three dimensions by Fourier transforms, after FT of the NAS benchmarks. Each
//! step moves the whole array between all ranks.
//!
//! The checksums must be the published ones. The number of ranks divides the edge of the cube.

use flurm_mpi_examples::{Class, Random, close};
use mpi::collective::SystemOperation;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use std::f64::consts::PI;
use std::process::ExitCode;
use std::time::Instant;

const SEED: u64 = 314_159_265;
const ALPHA: f64 = 1e-6;

/// Checksums of class S by step: nobody has to believe that ours are right.
const PUBLISHED: [(f64, f64); 6] = [
    (5.546087004964e2, 4.845363331978e2),
    (5.546385409189e2, 4.865304269511e2),
    (5.546148406171e2, 4.883910722336e2),
    (5.545423607415e2, 4.901273169046e2),
    (5.544255039624e2, 4.917475857993e2),
    (5.542683411902e2, 4.932597244941e2),
];

type Complex = [f64; 2];

fn mul(a: Complex, b: Complex) -> Complex {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

/// In place, by halves; `sign` is -1 forward and 1 back, without scaling.
fn fft(line: &mut [Complex], sign: f64) {
    let n = line.len();
    let mut j = 0;
    for i in 1..n {
        let mut bit = n >> 1;
        while j & bit != 0 {
            j ^= bit;
            bit >>= 1;
        }
        j |= bit;
        if i < j {
            line.swap(i, j);
        }
    }
    let mut len = 2;
    while len <= n {
        for k in 0..len / 2 {
            let angle = sign * 2.0 * PI * k as f64 / len as f64;
            let w = [angle.cos(), angle.sin()];
            for at in (k..n).step_by(len) {
                let (a, b) = (line[at], mul(line[at + len / 2], w));
                line[at] = [a[0] + b[0], a[1] + b[1]];
                line[at + len / 2] = [a[0] - b[0], a[1] - b[1]];
            }
        }
        len *= 2;
    }
}

struct Cube<'a> {
    world: &'a SimpleCommunicator,
    n: usize,
    /// Planes of each rank.
    planes: usize,
}

impl Cube<'_> {
    /// Lines along the fastest index, then along the one above it.
    fn planes(&self, v: &mut [Complex], sign: f64) {
        let n = self.n;
        let mut line = vec![[0.0; 2]; n];
        for plane in v.chunks_exact_mut(n * n) {
            plane.chunks_exact_mut(n).for_each(|line| fft(line, sign));
            for x in 0..n {
                (0..n).for_each(|y| line[y] = plane[y * n + x]);
                fft(&mut line, sign);
                (0..n).for_each(|y| plane[y * n + x] = line[y]);
            }
        }
    }

    /// Lines along the fastest index alone.
    fn lines(&self, v: &mut [Complex], sign: f64) {
        v.chunks_exact_mut(self.n).for_each(|line| fft(line, sign));
    }

    /// From planes of z, with (z, y, x), to planes of x, with (x, y, z): all to all. The way back is the same way.
    fn turn(&self, v: &[Complex]) -> Vec<Complex> {
        let (n, planes, size) = (self.n, self.planes, self.world.size() as usize);
        let block = planes * n * planes;
        let mut send = vec![0.0; 2 * v.len()];
        let mut receive = vec![0.0; 2 * v.len()];
        for to in 0..size {
            for (z, y, x) in places(planes, n, planes) {
                let from = v[(z * n + y) * n + to * planes + x];
                let at = 2 * (to * block + (x * n + y) * planes + z);
                send[at..at + 2].copy_from_slice(&from);
            }
        }
        self.world.all_to_all_into(&send[..], &mut receive[..]);
        let mut out = vec![[0.0; 2]; v.len()];
        for from in 0..size {
            for (x, y, z) in places(planes, n, planes) {
                let at = 2 * (from * block + (x * n + y) * planes + z);
                out[(x * n + y) * n + from * planes + z] = [receive[at], receive[at + 1]];
            }
        }
        out
    }
}

fn places(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}

fn main() -> ExitCode {
    let Some(universe) = mpi::initialize() else { return ExitCode::FAILURE };
    let world = universe.world();
    let (n, published) = match Class::from_args() {
        Ok(Class::S) => (64, &PUBLISHED[..]),
        Ok(Class::W) => (128, &[][..]),
        Ok(Class::A) => (256, &[][..]),
        Err(text) => {
            eprintln!("error: {text}");
            return ExitCode::from(2);
        }
    };
    let (rank, size) = (world.rank() as usize, world.size() as usize);
    if n % size != 0 {
        eprintln!("error: {size} ranks do not divide {n}");
        return ExitCode::from(2);
    }
    let before = Instant::now();
    let cube = Cube { world: &world, n, planes: n / size };
    let first = rank * cube.planes;
    let mut random = Random::at(SEED, (2 * first * n * n) as u64);
    let mut u: Vec<Complex> = (0..cube.planes * n * n).map(|_| [random.number(), random.number()]).collect();
    let given: f64 = total(&world, u.iter().map(|c| c[0] * c[0] + c[1] * c[1]).sum());
    cube.planes(&mut u, -1.0);
    let mut u = cube.turn(&u);
    cube.lines(&mut u, -1.0);
    let points = (n * n * n) as f64;
    let spectrum: f64 = total(&world, u.iter().map(|c| c[0] * c[0] + c[1] * c[1]).sum());
    // Parseval: the transform keeps what there is.
    let mut right = close(spectrum, given * points);
    let wave = |i: usize| ((i + n / 2) % n) as f64 - (n / 2) as f64;
    for step in 1..=6 {
        let mut w = u.clone();
        for (x, y, z) in places(cube.planes, n, n) {
            let k2 = wave(first + x).powi(2) + wave(y).powi(2) + wave(z).powi(2);
            let factor = (-4.0 * ALPHA * PI * PI * k2 * f64::from(step)).exp();
            let at = (x * n + y) * n + z;
            w[at] = [w[at][0] * factor, w[at][1] * factor];
        }
        cube.lines(&mut w, 1.0);
        let mut w = cube.turn(&w);
        cube.planes(&mut w, 1.0);
        let mut mine = [0.0; 2];
        for j in 1..=1024 {
            let (x, y, z) = (j % n, 3 * j % n, 5 * j % n);
            if (first..first + cube.planes).contains(&z) {
                let c = w[((z - first) * n + y) * n + x];
                mine = [mine[0] + c[0] / points, mine[1] + c[1] / points];
            }
        }
        let sum = [total(&world, mine[0]), total(&world, mine[1])];
        if let Some((re, im)) = published.get(step as usize - 1) {
            right &= close(sum[0], *re) && close(sum[1], *im);
        }
        if rank == 0 {
            println!("ft step={step} checksum={:.9e},{:.9e}", sum[0], sum[1]);
        }
    }
    if rank == 0 {
        println!("ft size={size} n={n} {}", if right { "ok" } else { "WRONG" });
        println!("ft seconds={:.3}", before.elapsed().as_secs_f64());
    }
    ExitCode::from(u8::from(!right))
}

fn total(world: &SimpleCommunicator, mine: f64) -> f64 {
    let mut all = 0.0;
    world.all_reduce_into(&mine, &mut all, SystemOperation::sum());
    all
}
