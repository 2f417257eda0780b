//! The world's only chance: a small generator whose numbers depend on the seed alone (splitmix64).

#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// At least `low`, less than `end`.
    pub fn range(&mut self, low: u64, end: u64) -> u64 {
        low + self.draw() % (end - low)
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.draw() % 100 < percent
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.range(0, all.len() as u64) as usize]
    }
}
