//! From one node to the next of those that have all that is needed, in either direction.

use crate::{
    allowed::Filter,
    at_least::{AtLeast, BRANCHES, LEVELS_MAX},
};
use std::cell::Cell;

/// Numbers that are asked about at once, at most.
pub(crate) const TERMS_MAX: usize = 5;

/// What nodes must have: at least so many of each.
#[derive(Debug, Copy, Clone)]
pub(crate) struct Query<'a> {
    terms: [(&'a AtLeast, u32); TERMS_MAX],
    used: usize,
    allowed: &'a Filter<'a>,
}

impl<'a> Query<'a> {
    /// The first term; it must ask for something.
    pub(crate) fn new(tree: &'a AtLeast, count: u32, allowed: &'a Filter<'a>) -> Query<'a> {
        debug_assert!(count > 0, "everybody has nothing");
        Query { terms: [(tree, count); TERMS_MAX], used: 1, allowed }
    }

    /// One more, unless it asks for nothing.
    pub(crate) fn and(mut self, tree: &'a AtLeast, count: u32) -> Query<'a> {
        if count > 0 {
            self.terms[self.used] = (tree, count);
            self.used += 1;
        }
        self
    }

    /// The branches of a vertex behind which there may be such nodes; those that are, on level 0.
    pub(crate) fn word(&self, level: usize, block: usize) -> u64 {
        let terms = self.terms[..self.used].iter();
        let word = terms.fold(u64::MAX, |word, (tree, count)| word & tree.word(level, block, *count));
        if word == 0 { 0 } else { word & self.allowed.word(level, block) }
    }
}

/// Words of nodes: where they begin, and which of the next 64 they are. Words without any are passed over.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    query: Query<'a>,
    /// Those that have this are left out.
    but: Option<Query<'a>>,
    from_top: bool,
    /// For each level the vertex where we are, and its branches where we were not yet.
    here: [(usize, u64); LEVELS_MAX],
    height: usize,
    visited: &'a Cell<usize>,
}

impl<'a> Words<'a> {
    /// Counts the vertices that it looks at.
    pub(crate) fn new(
        query: Query<'a>,
        but: Option<Query<'a>>,
        from_top: bool,
        visited: &'a Cell<usize>,
    ) -> Words<'a> {
        let height = query.terms[0].0.height();
        let mut here = [(0, 0); LEVELS_MAX];
        let mut words = Words { query, but, from_top, here, height, visited };
        here[height - 1] = (0, words.look(height - 1, 0));
        words.here = here;
        words
    }

    fn visit(&self) {
        self.visited.set(self.visited.get() + 1);
    }

    fn look(&self, level: usize, block: usize) -> u64 {
        self.visit();
        let word = self.query.word(level, block);
        match &self.but {
            // Above, some may be left out and others not.
            Some(but) if level == 0 && word != 0 => word & !but.word(level, block),
            _ => word,
        }
    }
}

impl Iterator for Words<'_> {
    type Item = (usize, u64);

    fn next(&mut self) -> Option<(usize, u64)> {
        loop {
            if self.here[0].1 != 0 {
                let (block, word) = std::mem::take(&mut self.here[0]);
                return Some((block * BRANCHES, word));
            }
            // Up to where there is a branch left, and one step into it.
            let level = (1..self.height).find(|level| self.here[*level].1 != 0)?;
            let (block, word) = &mut self.here[level];
            let branch = branch(*word, self.from_top);
            *word &= !(1 << branch);
            let below = *block * BRANCHES + branch;
            self.here[level - 1] = (below, self.look(level - 1, below));
        }
    }
}

/// The lowest bit of a word that has one, or the highest.
fn branch(word: u64, from_top: bool) -> usize {
    let zeros = if from_top { u64::BITS - 1 - word.leading_zeros() } else { word.trailing_zeros() };
    zeros as usize
}

/// The nodes of these words, one by one.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    words: Words<'a>,
    base: usize,
    left: u64,
}

impl<'a> From<Words<'a>> for Walk<'a> {
    fn from(words: Words<'a>) -> Walk<'a> {
        Walk { words, base: 0, left: 0 }
    }
}

impl Iterator for Walk<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.left == 0 {
            (self.base, self.left) = self.words.next()?;
        }
        // Whoever gets a node has a look at it.
        self.words.visit();
        let bit = branch(self.left, self.words.from_top);
        self.left &= !(1 << bit);
        Some(self.base + bit)
    }

    fn count(self) -> usize {
        self.left.count_ones() as usize
            + self.words.map(|(_, word)| word.count_ones() as usize).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::Idset;

    #[test]
    fn a_walk_finds_who_has_everything_in_either_direction() {
        let (mut cores, mut gpus) = (AtLeast::new((0..9000).map(|_| 8)), AtLeast::new((0..9000).map(|_| 2)));
        let (some_cores, some_gpus) = (|n: usize| (n * 7 % 9) as u32, |n: usize| (n * 5 / 3 % 3) as u32);
        for n in 0..9000 {
            cores.change(n, 0, some_cores(n));
            gpus.change(n, 0, some_gpus(n));
        }
        let allowed: Idset = "3-70,4000-8999".parse().unwrap();
        let filter = Filter::of(9000, &allowed);
        let visited = Cell::new(0);
        for (need, but) in [((5, 1), None), ((1, 0), Some((4, 0))), ((8, 2), None), ((2, 1), Some((2, 1)))] {
            let has = |n: usize, (c, g): (u32, u32)| some_cores(n) >= c && some_gpus(n) >= g;
            let mut expected: Vec<usize> = allowed.iter().map(|n| n as usize).collect();
            expected.retain(|n| has(*n, need) && !but.is_some_and(|but| has(*n, but)));
            let query = |(c, g)| Query::new(&cores, c, &filter).and(&gpus, g);
            let walk = |from_top| Walk::from(Words::new(query(need), but.map(query), from_top, &visited));
            assert_eq!(walk(false).collect::<Vec<_>>(), expected);
            assert_eq!(walk(false).count(), expected.len());
            expected.reverse();
            assert_eq!(walk(true).collect::<Vec<_>>(), expected);
        }
        assert!(visited.get() > 0);
    }
}
