//! What the examples share: who a process is, classes of sizes as the NAS benchmarks have them, and their random numbers.

/// A host's name and the CPUs this process may use, as the kernel tells them.
pub fn place() -> (String, String) {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    (host.trim().to_owned(), cpus.unwrap_or("?").trim().to_owned())
}

/// How large a problem is: `S` is for tests, each of the others takes a few times longer than the one before.
#[derive(Debug, Copy, Clone, Eq, PartialEq)]
pub enum Class {
    S,
    W,
    A,
}

impl Class {
    /// The program's first argument; `S` without one.
    ///
    /// # Errors
    /// It is none of the classes.
    pub fn from_args() -> Result<Class, String> {
        match std::env::args().nth(1).as_deref() {
            None | Some("S") => Ok(Class::S),
            Some("W") => Ok(Class::W),
            Some("A") => Ok(Class::A),
            Some(other) => Err(format!("`{other}` is not a class: S, W or A")),
        }
    }
}

/// The linear congruential generator of the NAS benchmarks: x' = a x mod 2^46.
#[derive(Debug, Copy, Clone)]
pub struct Random(u64);

const A: u64 = 1_220_703_125;
const MASK: u64 = (1 << 46) - 1;

fn times(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) & u128::from(MASK)) as u64
}

impl Random {
    /// The sequence that begins with `seed`, `steps` numbers later.
    pub fn at(seed: u64, mut steps: u64) -> Random {
        let (mut power, mut x) = (A, seed);
        while steps > 0 {
            if steps & 1 == 1 {
                x = times(x, power);
            }
            power = times(power, power);
            steps >>= 1;
        }
        Random(x)
    }

    /// The next number, between 0 and 1.
    pub fn number(&mut self) -> f64 {
        self.0 = times(self.0, A);
        self.0 as f64 / (1u64 << 46) as f64
    }
}

/// Which of `n` things rank `rank` of `size` has: from, to.
pub fn share(n: usize, rank: i32, size: i32) -> (usize, usize) {
    let (rank, size) = (rank as usize, size as usize);
    (n * rank / size, n * (rank + 1) / size)
}

/// Are two numbers the same but for rounding?
pub fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-8 * b.abs()
}
