//! Which items have at least so many: numbers of many items, kept so that the next one with enough is a few words away.
//!
//! A tree with 64 branches. A vertex has a word for each count from 1 on: its bits are the branches below which some
//! item has at least that many. So several numbers are asked about at once by the AND of a word of each, with which a
//! walk (`walk.rs`) goes from the root to the items. At a leaf the answer is exact; above, the bits of a branch may
//! come from different items, which costs a look into 64 of them at most.
//!
//! The words of a vertex lie side by side. A number that changes from 5 to 29 is a pass over 24 neighbours on each
//! level, and as far up only as something is different.

use flurm_types::Idset;
use std::sync::Arc;

/// Branches of a vertex: the bits of a word.
pub(crate) const BRANCHES: usize = u64::BITS as usize;

/// Levels are never more, with items numbered by a `u32`.
pub(crate) const LEVELS_MAX: usize = 6;

#[derive(Debug, Clone)]
pub(crate) struct AtLeast {
    /// From the items up to the root, which is alone on its level.
    levels: Vec<Level>,
}

#[derive(Debug, Clone)]
struct Level {
    /// Where the words of each vertex start, and at last where they end. A vertex has as many as its largest item may
    /// count.
    starts: Arc<[usize]>,
    words: Vec<u64>,
}

impl Level {
    fn new(widths: &[u32]) -> Level {
        let mut end = 0;
        let ends = widths.iter().map(|width| {
            end += *width as usize;
            end
        });
        let starts = std::iter::once(0).chain(ends).collect();
        Level { starts, words: vec![0; end] }
    }
}

impl AtLeast {
    /// Items with a limit each, all at zero.
    pub(crate) fn new(limits: impl Iterator<Item = u32>) -> AtLeast {
        let mut widths: Vec<u32> = limits.collect();
        let mut levels = Vec::new();
        loop {
            let most = |items: &[u32]| items.iter().copied().max().unwrap_or(0);
            widths = widths.chunks(BRANCHES).map(most).collect();
            widths.resize(widths.len().max(1), 0);
            levels.push(Level::new(&widths));
            if widths.len() == 1 {
                return AtLeast { levels };
            }
        }
    }

    /// A plain set: the items below `len` with these numbers have one, the others none.
    pub(crate) fn of(len: usize, items: &Idset) -> AtLeast {
        let mut set = AtLeast::new(std::iter::repeat_n(1, len));
        for (lo, hi) in items.ranges() {
            let (mut lo, mut hi) = (lo as usize, hi as usize);
            for level in &mut set.levels {
                let (first, last) = (lo / BRANCHES, hi / BRANCHES);
                for (block, word) in (first..).zip(&mut level.words[first..=last]) {
                    let above = if block == first { u64::MAX << (lo % BRANCHES) } else { u64::MAX };
                    let below =
                        if block == last { u64::MAX >> (BRANCHES - 1 - hi % BRANCHES) } else { u64::MAX };
                    *word |= above & below;
                }
                (lo, hi) = (first, last);
            }
        }
        set
    }

    /// Levels of the tree, the same for equally many items.
    pub(crate) fn height(&self) -> usize {
        self.levels.len()
    }

    /// The branches of a vertex below which some item has at least so many; `count` is at least 1. Level 0 are the
    /// items.
    pub(crate) fn word(&self, level: usize, block: usize, count: u32) -> u64 {
        let Level { starts, words } = &self.levels[level];
        let at = starts[block] + count as usize - 1;
        if at < starts[block + 1] { words[at] } else { 0 }
    }

    /// Has an item at least so many?
    pub(crate) fn has(&self, item: usize, count: u32) -> bool {
        self.word(0, item / BRANCHES, count) >> (item % BRANCHES) & 1 == 1
    }

    /// The largest number of any item.
    pub(crate) fn most(&self) -> u32 {
        let root = &self.levels[self.levels.len() - 1].words;
        root.partition_point(|word| *word != 0) as u32
    }

    /// An item has another number than before.
    pub(crate) fn change(&mut self, item: usize, from: u32, to: u32) {
        let (lo, hi) = (from.min(to) as usize, from.max(to) as usize);
        if lo == hi {
            return;
        }
        let (mut block, bit) = (item / BRANCHES, 1 << (item % BRANCHES));
        let Level { starts, words } = &mut self.levels[0];
        // With others in all words, branches above stay what they are.
        let mut alone = false;
        for word in &mut words[starts[block] + lo..starts[block] + hi] {
            alone |= *word & !bit == 0;
            *word ^= bit;
        }
        if !alone {
            return;
        }
        for level in 1..self.levels.len() {
            let (below, above) = self.levels.split_at_mut(level);
            let (below, above) = (&below[level - 1], &mut above[0]);
            let bit = block % BRANCHES;
            let (from, to) = (below.starts[block], above.starts[block / BRANCHES]);
            block /= BRANCHES;
            let mut different = 0;
            let words = above.words[to + lo..to + hi].iter_mut();
            for (word, below) in words.zip(&below.words[from + lo..from + hi]) {
                let now = *word & !(1 << bit) | u64::from(*below != 0) << bit;
                different |= now ^ *word;
                *word = now;
            }
            if different == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_follow_the_numbers() {
        // Unequal limits, three levels.
        let limit = |item: usize| (item % 7) as u32 + if item == 5000 { 40 } else { 0 };
        let mut tree = AtLeast::new((0..5001).map(limit));
        assert_eq!((tree.height(), tree.most()), (3, 0));
        let mut numbers = vec![0; 5001];
        let mut random = 1_usize;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let item = (random >> 33) % numbers.len();
            let to = (random >> 13) as u32 % (limit(item) + 1);
            tree.change(item, numbers[item], to);
            numbers[item] = to;
        }
        assert_eq!(tree.most(), *numbers.iter().max().unwrap());
        for count in 1..50 {
            for (level, below) in [(0, 1), (1, 64), (2, 4096)] {
                for vertex in 0..5001_usize.div_ceil(below) {
                    let bit = tree.word(level, vertex / 64, count) >> (vertex % 64) & 1;
                    let items = &numbers[vertex * below..((vertex + 1) * below).min(numbers.len())];
                    let has = items.iter().any(|n| *n >= count);
                    assert_eq!(bit == 1, has, "{count} at {vertex} on {level}");
                }
            }
        }
    }

    #[test]
    fn a_set_is_the_same_however_it_is_made() {
        let ids: Idset = "0-63,65,127-300,4095-4097".parse().unwrap();
        let at_once = AtLeast::of(5000, &ids);
        let mut one_by_one = AtLeast::new(std::iter::repeat_n(1, 5000));
        ids.iter().for_each(|item| one_by_one.change(item as usize, 0, 1));
        for (a, b) in at_once.levels.iter().zip(&one_by_one.levels) {
            assert_eq!(a.words, b.words);
        }
        assert_eq!((AtLeast::of(0, &Idset::new()).most(), at_once.most()), (0, 1));
    }
}
