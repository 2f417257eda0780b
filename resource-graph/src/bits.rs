//! Cores and GPUs of all nodes as bits, without the trees to search them by.

use fixedbitset::FixedBitSet;
use std::ops::Range;

const BITS: usize = usize::BITS as usize;

/// Free cores and GPUs without the trees to search them by.
#[derive(Debug, Clone)]
pub(crate) struct Bits {
    pub(crate) cores: FixedBitSet,
    pub(crate) gpus: FixedBitSet,
}

/// Some cores and GPUs as words of bits, to be set or looked up in many [`Bits`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Mask {
    /// Which word, and its bits.
    cores: Vec<(usize, usize)>,
    gpus: Vec<(usize, usize)>,
    /// Were all parts on open nodes?
    all_open: bool,
}

/// The words of a range that is not empty, with its bits in each.
fn words_of(range: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
    let (first, last) = (range.start / BITS, (range.end - 1) / BITS);
    (first..=last).map(move |word| {
        let above = if word == first { usize::MAX << (range.start % BITS) } else { usize::MAX };
        let below = if word == last { usize::MAX >> (BITS - 1 - (range.end - 1) % BITS) } else { usize::MAX };
        (word, above & below)
    })
}

/// How many bits of a range are set.
fn ones(set: &FixedBitSet, range: Range<usize>) -> u32 {
    if range.is_empty() {
        return 0;
    }
    let words = set.as_slice();
    let (first, last) = (range.start / BITS, (range.end - 1) / BITS);
    if first == last {
        let mask = usize::MAX >> (BITS - range.len()) << (range.start % BITS);
        return (words[first] & mask).count_ones();
    }
    words_of(range).map(|(word, bits)| (words[word] & bits).count_ones()).sum()
}

/// Adds a range to words, where neighbours mostly come one after the other.
fn put(words: &mut Vec<(usize, usize)>, range: Range<usize>) {
    for (word, bits) in words_of(range) {
        match words.last_mut() {
            Some((last, known)) if *last == word => *known |= bits,
            _ => words.push((word, bits)),
        }
    }
}

/// One entry for each word, ascending.
fn in_order(words: &mut Vec<(usize, usize)>) {
    words.sort_unstable_by_key(|(word, _)| *word);
    words.dedup_by(|next, first| {
        let same = next.0 == first.0;
        first.1 |= if same { next.1 } else { 0 };
        same
    });
}

impl Bits {
    /// So many cores and GPUs, all free.
    pub(crate) fn new(cores: usize, gpus: usize) -> Bits {
        let mut bits =
            Bits { cores: FixedBitSet::with_capacity(cores), gpus: FixedBitSet::with_capacity(gpus) };
        bits.fill();
        bits
    }

    /// Everything is free.
    pub(crate) fn fill(&mut self) {
        self.cores.insert_range(..);
        self.gpus.insert_range(..);
    }

    /// Free cores of a range.
    pub(crate) fn count_cores(&self, range: Range<usize>) -> u32 {
        ones(&self.cores, range)
    }

    /// Free GPUs of a range.
    pub(crate) fn count_gpus(&self, range: Range<usize>) -> u32 {
        ones(&self.gpus, range)
    }

    /// How many cores and GPUs are free.
    pub(crate) fn count(&self) -> (u64, u64) {
        (self.cores.count_ones(..) as u64, self.gpus.count_ones(..) as u64)
    }

    /// Takes over what is free elsewhere, in the room that is there.
    pub(crate) fn copy(&mut self, other: &Bits) {
        self.cores.clone_from(&other.cores);
        self.gpus.clone_from(&other.gpus);
    }

    pub(crate) fn remove(&mut self, mask: &Mask) {
        for (set, words) in [(&mut self.cores, &mask.cores), (&mut self.gpus, &mask.gpus)] {
            let blocks = set.as_mut_slice();
            words.iter().for_each(|(word, bits)| blocks[*word] &= !bits);
        }
    }
}

impl Mask {
    /// Nothing, on open nodes.
    pub(crate) fn new() -> Mask {
        Mask { all_open: true, ..Mask::default() }
    }

    /// There is a part that is not on an open node.
    pub(crate) fn miss(&mut self) {
        self.all_open = false;
    }

    pub(crate) fn put_cores(&mut self, range: Range<usize>) {
        put(&mut self.cores, range);
    }

    pub(crate) fn put_gpus(&mut self, range: Range<usize>) {
        put(&mut self.gpus, range);
    }

    /// To be done when all is put.
    pub(crate) fn sorted(mut self) -> Mask {
        in_order(&mut self.cores);
        in_order(&mut self.gpus);
        self
    }

    /// How many cores and GPUs it has.
    pub(crate) fn count(&self) -> (u64, u64) {
        let ones =
            |words: &[(usize, usize)]| words.iter().map(|(_, bits)| u64::from(bits.count_ones())).sum();
        (ones(&self.cores), ones(&self.gpus))
    }

    /// Were all parts on open nodes?
    pub(crate) fn all_open(&self) -> bool {
        self.all_open
    }

    /// Do they have a core or GPU in common?
    pub(crate) fn overlaps(&self, other: &Mask) -> bool {
        let common = |one: &[(usize, usize)], other: &[(usize, usize)]| {
            let mut other = other.iter().peekable();
            one.iter().any(|(word, bits)| {
                while other.next_if(|(behind, _)| behind < word).is_some() {}
                other.peek().is_some_and(|(same, others)| same == word && bits & others != 0)
            })
        };
        common(&self.cores, &other.cores) || common(&self.gpus, &other.gpus)
    }

    /// Were all parts on open nodes, and are their bits set?
    pub(crate) fn is_in(&self, bits: &Bits) -> bool {
        let has = |set: &FixedBitSet, words: &[(usize, usize)]| {
            let blocks = set.as_slice();
            words.iter().all(|(word, mask)| blocks[*word] & mask == *mask)
        };
        self.all_open && has(&bits.cores, &self.cores) && has(&bits.gpus, &self.gpus)
    }
}

/// Calls for the first bit that differs, which tells how far it has seen to it, then for the first one from there on.
pub(crate) fn differing(one: &FixedBitSet, other: &FixedBitSet, mut see: impl FnMut(usize) -> usize) {
    let mut seen = 0;
    for (word, (one, other)) in one.as_slice().iter().zip(other.as_slice()).enumerate() {
        let mut differs = one ^ other;
        let first = word * BITS;
        loop {
            if seen >= first + BITS {
                break;
            }
            differs &= usize::MAX << seen.saturating_sub(first);
            if differs == 0 {
                break;
            }
            seen = see(first + differs.trailing_zeros() as usize);
        }
    }
}
