//! The flat form of an inventory that matching works on: bits for what is free, and what nodes have of it.
//!
//! Nodes have positions (0, 1, …) in the order of their ranks, which may have gaps. The cores of a node are
//! numbered socket by socket, so that a socket is a range of bits; nodes that look alike share that [`Layout`].

use crate::{
    allowed::Filter,
    at_least::AtLeast,
    containment::sockets_of,
    general::Pools,
    stock::{Peak, Stock},
};
use fixedbitset::FixedBitSet;
use flurm_types::{Idset, R, RNode, Socket};
use std::{borrow::Cow, collections::BTreeMap, ops::Range, sync::Arc};

/// Which of the two questions is asked of the index.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub(crate) enum View {
    /// What can be had now: free, up, not drained.
    Now,
    /// What could be had in an empty instance with all nodes up.
    Ever,
}

/// What is where inside a node.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Core ids by bit.
    pub(crate) cores: Ids,
    /// GPU ids by bit.
    pub(crate) gpus: Ids,
    /// At least one.
    pub(crate) sockets: Vec<Span>,
    /// Everything: all cores and all GPUs.
    whole: (Idset, Idset),
}

/// The bits of one socket, relative to its node.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) cores: Range<usize>,
    pub(crate) gpus: Range<usize>,
}

/// Logical ids and their bits, both ways.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    by_bit: Vec<u32>,
    /// Ascending by id.
    bits: Vec<(u32, u32)>,
}

impl Ids {
    fn new(by_bit: Vec<u32>) -> Ids {
        let mut bits: Vec<(u32, u32)> = by_bit.iter().copied().zip(0..).collect();
        bits.sort_unstable();
        Ids { by_bit, bits }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_bit.len()
    }

    /// The bits in the order of their ids.
    pub(crate) fn ascending(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.bits.iter().map(|(_, bit)| *bit as usize)
    }

    /// The ids of these bits.
    fn of(&self, bits: impl Iterator<Item = usize>) -> Idset {
        bits.map(|bit| self.by_bit[bit]).collect()
    }

    /// The bit of an id.
    pub(crate) fn bit(&self, id: u32) -> Option<u32> {
        self.bits.binary_search_by_key(&id, |(id, _)| *id).ok().map(|at| self.bits[at].1)
    }

    /// The bits of those ids that are known here, as ranges: mostly neighbours have neighbours' ids.
    fn bits<'a>(&'a self, ids: &'a Idset) -> impl Iterator<Item = Range<usize>> + 'a {
        ids.ranges().flat_map(|(lo, hi)| {
            let known = &self.bits[self.bits.partition_point(|(id, _)| *id < lo)..];
            let known = &known[..known.partition_point(|(id, _)| *id <= hi)];
            known.chunk_by(|one, next| one.1 + 1 == next.1).map(|run| {
                let first = run[0].1 as usize;
                first..first + run.len()
            })
        })
    }
}

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

/// Adds a bit to words, where neighbours mostly come one after the other.
fn put(words: &mut Vec<(usize, usize)>, bit: usize) {
    let (word, bit) = (bit / usize::BITS as usize, 1 << (bit % usize::BITS as usize));
    match words.last_mut() {
        Some((last, bits)) if *last == word => *bits |= bit,
        _ => words.push((word, bit)),
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

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) rank: u32,
    pub(crate) host: String,
    /// Place of its layout, which it may share with others.
    layout: usize,
    /// Its first bit among all cores.
    core0: usize,
    gpu0: usize,
}

/// What is there is shared between clones; what is free is each one's own.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    nodes: Arc<[Node]>,
    layouts: Arc<[Layout]>,
    ever: Arc<Stock>,
    /// Nodes where jobs may be put.
    open: AtLeast,
    free_cores: FixedBitSet,
    free_gpus: FixedBitSet,
    now: Stock,
    /// Sums over what `now` has, to tell at once that it cannot be enough.
    pub(crate) cores_now: u64,
    pub(crate) gpus_now: u64,
    /// Sockets of the node that has the most.
    most_sockets: u32,
    /// What is not said in cores and GPUs.
    pub(crate) pools: Pools,
}

impl Index {
    /// All is free, and all nodes are closed.
    pub(crate) fn new(r: &R) -> Index {
        let mut layouts = Vec::new();
        let mut known: BTreeMap<(&Idset, &Idset, &[Socket]), usize> = BTreeMap::new();
        let mut nodes = Vec::with_capacity(r.nodes.len());
        let (mut core0, mut gpu0) = (0, 0);
        let mut limits = Vec::with_capacity(r.nodes.len());
        for node in &r.nodes {
            let sockets = r.topology.get(&node.rank).map_or(&[][..], |topology| &topology.sockets);
            let layout = *known.entry((&node.cores, &node.gpus, sockets)).or_insert_with(|| {
                layouts.push(Layout::new(node, sockets));
                layouts.len() - 1
            });
            nodes.push(Node { rank: node.rank, host: node.host.clone(), layout, core0, gpu0 });
            let Layout { cores, gpus, sockets, .. } = &layouts[layout];
            let ncores = cores.len() as u32;
            let peak = Peak { cores: ncores, gpus: gpus.len() as u32, idle: ncores };
            limits.push((peak, sockets.iter().map(|span| span.cores.len() as u32).collect::<Vec<_>>()));
            core0 += cores.len();
            gpu0 += gpus.len();
        }
        let (mut free_cores, mut free_gpus) =
            (FixedBitSet::with_capacity(core0), FixedBitSet::with_capacity(gpu0));
        free_cores.insert_range(..);
        free_gpus.insert_range(..);
        let now = Stock::new(&limits);
        let mut ever = now.clone();
        for (at, (peak, sockets)) in limits.into_iter().enumerate() {
            ever.set(at, peak, sockets.into_iter());
        }
        let most_sockets = layouts.iter().map(|layout| layout.sockets.len()).max().unwrap_or(0);
        Index {
            open: AtLeast::of(nodes.len(), &Idset::new()),
            now,
            ever: Arc::new(ever),
            nodes: nodes.into(),
            layouts: layouts.into(),
            free_cores,
            free_gpus,
            cores_now: 0,
            gpus_now: 0,
            most_sockets: most_sockets as u32,
            pools: Pools::default(),
        }
    }

    /// No count of anything that a job may have is above this.
    pub(crate) fn largest_count(&self) -> u32 {
        u32::try_from(self.free_cores.len().max(self.free_gpus.len())).unwrap_or(u32::MAX)
    }

    /// Cores of the largest socket, free or not.
    pub(crate) fn largest_socket(&self) -> u32 {
        self.ever.largest_socket()
    }

    /// Sockets of the node that has the most.
    pub(crate) fn most_sockets(&self) -> u32 {
        self.most_sockets
    }

    /// Number of nodes.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Where a rank stands.
    pub(crate) fn position(&self, rank: u32) -> Option<usize> {
        // Mostly ranks have no gaps.
        match self.nodes.get(rank as usize) {
            Some(node) if node.rank == rank => Some(rank as usize),
            _ => self.nodes.binary_search_by_key(&rank, |node| node.rank).ok(),
        }
    }

    /// How many nodes have a rank below this one.
    pub(crate) fn below(&self, rank: u32) -> usize {
        self.nodes.partition_point(|node| node.rank < rank)
    }

    pub(crate) fn layout(&self, at: usize) -> &Layout {
        &self.layouts[self.nodes[at].layout]
    }

    /// Nodes that look alike have the same.
    pub(crate) fn layout_number(&self, at: usize) -> usize {
        self.nodes[at].layout
    }

    /// Where the bits of a node begin among all cores and all GPUs.
    pub(crate) fn first_bits(&self, at: usize) -> (usize, usize) {
        (self.nodes[at].core0, self.nodes[at].gpu0)
    }

    /// The positions of those ranks that are here.
    pub(crate) fn positions(&self, ranks: &Idset) -> Idset {
        let mut out = Idset::new();
        for (lo, hi) in ranks.ranges() {
            // `hi + 1` cannot overflow: the largest u32 is never an id.
            let (start, end) = (self.below(lo) as u32, self.below(hi + 1) as u32);
            if start < end {
                out.union_with(&Idset::from_range(start..=end - 1));
            }
        }
        out
    }

    /// The nodes that are open.
    pub(crate) fn open(&self) -> Filter<'_> {
        Filter::In(Cow::Borrowed(&self.open))
    }

    fn is_open(&self, at: usize) -> bool {
        self.open.has(at, 1)
    }

    pub(crate) fn stock(&self, view: View) -> &Stock {
        match view {
            View::Now => &self.now,
            View::Ever => &self.ever,
        }
    }

    /// Free cores of a part of a node.
    pub(crate) fn count_cores(&self, at: usize, bits: &Range<usize>) -> u32 {
        ones(&self.free_cores, self.nodes[at].core0, bits)
    }

    /// Free GPUs of a part of a node.
    pub(crate) fn count_gpus(&self, at: usize, bits: &Range<usize>) -> u32 {
        ones(&self.free_gpus, self.nodes[at].gpu0, bits)
    }

    pub(crate) fn is_core_free(&self, at: usize, bit: usize) -> bool {
        self.free_cores.contains(self.nodes[at].core0 + bit)
    }

    pub(crate) fn is_gpu_free(&self, at: usize, bit: usize) -> bool {
        self.free_gpus.contains(self.nodes[at].gpu0 + bit)
    }

    /// These cores and GPUs of a node, as an entry of an R.
    pub(crate) fn rnode(
        &self,
        at: usize,
        cores: impl Iterator<Item = usize>,
        gpus: impl Iterator<Item = usize>,
    ) -> RNode {
        let (node, layout) = (&self.nodes[at], self.layout(at));
        RNode {
            rank: node.rank,
            host: node.host.clone(),
            cores: layout.cores.of(cores),
            gpus: layout.gpus.of(gpus),
        }
    }

    /// The cores and GPUs of a node that are free, or those that are not, whether the node is open or closed.
    pub(crate) fn part(&self, at: usize, free: bool) -> RNode {
        let layout = self.layout(at);
        self.rnode(
            at,
            (0..layout.cores.len()).filter(|bit| self.is_core_free(at, *bit) == free),
            (0..layout.gpus.len()).filter(|bit| self.is_gpu_free(at, *bit) == free),
        )
    }

    /// Everything on a node.
    pub(crate) fn whole(&self, at: usize) -> RNode {
        let (node, (cores, gpus)) = (&self.nodes[at], self.layout(at).whole.clone());
        RNode { rank: node.rank, host: node.host.clone(), cores, gpus }
    }

    /// Makes cores and GPUs of a node free, or not free. Ids that the node does not have are passed over.
    pub(crate) fn set_free(&mut self, at: usize, cores: &Idset, gpus: &Idset, free: bool) {
        let node = &self.nodes[at];
        let layout = &self.layouts[node.layout];
        for bits in layout.cores.bits(cores) {
            self.free_cores.set_range(node.core0 + bits.start..node.core0 + bits.end, free);
        }
        for bits in layout.gpus.bits(gpus) {
            self.free_gpus.set_range(node.gpu0 + bits.start..node.gpu0 + bits.end, free);
        }
        self.refresh(at);
    }

    /// Opens a node for jobs, or closes it.
    pub(crate) fn set_open(&mut self, at: usize, open: bool) {
        self.open.change(at, u32::from(self.is_open(at)), u32::from(open));
        self.refresh(at);
    }

    /// Takes parts away from what is free, or puts them back. Ranks that are not here are passed over.
    pub(crate) fn set_parts_free(&mut self, nodes: &[RNode], free: bool) {
        for node in nodes {
            if let Some(at) = self.position(node.rank) {
                self.set_free(at, &node.cores, &node.gpus, free);
            }
        }
    }

    /// Which cores and GPUs are free on open nodes.
    pub(crate) fn free_bits(&self) -> Bits {
        self.on_open(Bits { cores: self.free_cores.clone(), gpus: self.free_gpus.clone() })
    }

    /// All that is on open nodes.
    pub(crate) fn open_bits(&self) -> Bits {
        let (mut cores, mut gpus) = (self.free_cores.clone(), self.free_gpus.clone());
        cores.insert_range(..);
        gpus.insert_range(..);
        self.on_open(Bits { cores, gpus })
    }

    fn on_open(&self, mut bits: Bits) -> Bits {
        for at in (0..self.len()).filter(|at| !self.is_open(*at)) {
            let (node, layout) = (&self.nodes[at], self.layout(at));
            bits.cores.remove_range(node.core0..node.core0 + layout.cores.len());
            bits.gpus.remove_range(node.gpu0..node.gpu0 + layout.gpus.len());
        }
        bits
    }

    /// Makes exactly this free. Returns what it had to look at: only nodes that differ are brought in line.
    pub(crate) fn become_free(&mut self, bits: &Bits) -> usize {
        let nodes = &self.nodes;
        let mut changed = Vec::new();
        differing(&self.free_cores, &bits.cores, |bit| {
            let at = nodes.partition_point(|node| node.core0 <= bit) - 1;
            changed.push(at);
            nodes[at].core0 + self.layouts[nodes[at].layout].cores.len()
        });
        differing(&self.free_gpus, &bits.gpus, |bit| {
            // Of nodes without GPUs that have the same first bit, the last is the one that has it.
            let at = nodes.partition_point(|node| node.gpu0 <= bit) - 1;
            changed.push(at);
            nodes[at].gpu0 + self.layouts[nodes[at].layout].gpus.len()
        });
        self.free_cores.clone_from(&bits.cores);
        self.free_gpus.clone_from(&bits.gpus);
        changed.iter().for_each(|at| self.refresh(*at));
        1 + changed.len() + self.free_cores.as_slice().len() / 64
    }

    /// The same resources with everything free and all nodes open.
    pub(crate) fn all_free(&self) -> Index {
        let mut index = Index { now: (*self.ever).clone(), ..self.clone() };
        index.pools = self.pools.all_free();
        index.open = AtLeast::of(self.len(), &(0..self.len() as u32).collect());
        index.free_cores.insert_range(..);
        index.free_gpus.insert_range(..);
        index.cores_now = index.free_cores.len() as u64;
        index.gpus_now = index.free_gpus.len() as u64;
        index
    }

    /// Is a node open and nothing of it taken?
    pub(crate) fn is_idle(&self, at: usize) -> bool {
        self.now.peak(at).idle > 0
    }

    /// The bits of parts, as far as they are on open nodes.
    pub(crate) fn mask(&self, nodes: &[RNode]) -> Mask {
        let mut mask = Mask { all_open: true, ..Mask::default() };
        for node in nodes {
            let Some(at) = self.position(node.rank).filter(|at| self.is_open(*at)) else {
                mask.all_open = false;
                continue;
            };
            let (here, layout) = (&self.nodes[at], self.layout(at));
            layout.cores.bits(&node.cores).flatten().for_each(|bit| put(&mut mask.cores, here.core0 + bit));
            layout.gpus.bits(&node.gpus).flatten().for_each(|bit| put(&mut mask.gpus, here.gpu0 + bit));
        }
        in_order(&mut mask.cores);
        in_order(&mut mask.gpus);
        mask
    }

    /// Brings numbers and sums in line with the bits of a node.
    fn refresh(&mut self, at: usize) {
        let total = self.ever.peak(at);
        let (node, is_open) = (&self.nodes[at], self.is_open(at));
        let layout = &self.layouts[node.layout];
        let free = |bits: &FixedBitSet, first: usize, part: &Range<usize>| {
            if is_open { ones(bits, first, part) } else { 0 }
        };
        let cores = free(&self.free_cores, node.core0, &(0..layout.cores.len()));
        let sockets = layout.sockets.iter().map(|span| free(&self.free_cores, node.core0, &span.cores));
        let gpus = free(&self.free_gpus, node.gpu0, &(0..layout.gpus.len()));
        let idle = if (cores, gpus) == (total.cores, total.gpus) { total.idle } else { 0 };
        let peak = Peak { cores, gpus, idle };
        let before = self.now.set(at, peak, sockets);
        self.cores_now = self.cores_now - u64::from(before.cores) + u64::from(peak.cores);
        self.gpus_now = self.gpus_now - u64::from(before.gpus) + u64::from(peak.gpus);
    }
}

/// Calls for the first bit that differs, which tells how far it has seen to it, then for the first one from there on.
fn differing(one: &FixedBitSet, other: &FixedBitSet, mut see: impl FnMut(usize) -> usize) {
    let word_len = usize::BITS as usize;
    let mut seen = 0;
    for (word, (one, other)) in one.as_slice().iter().zip(other.as_slice()).enumerate() {
        let mut differs = one ^ other;
        let first = word * word_len;
        loop {
            if seen >= first + word_len {
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

/// How many bits of a range are set, which begins so far behind the first. Ranges are short, few words each.
fn ones(bits: &FixedBitSet, first: usize, part: &Range<usize>) -> u32 {
    const BITS: usize = usize::BITS as usize;
    if part.is_empty() {
        return 0;
    }
    let (start, last) = (first + part.start, first + part.end - 1);
    let words = &bits.as_slice()[start / BITS..=last / BITS];
    let (above, below) = (usize::MAX << (start % BITS), usize::MAX >> (BITS - 1 - last % BITS));
    match words {
        [one] => (one & above & below).count_ones(),
        [lowest, between @ .., highest] => {
            let between: u32 = between.iter().map(|word| word.count_ones()).sum();
            (lowest & above).count_ones() + between + (highest & below).count_ones()
        }
        [] => 0,
    }
}

impl Layout {
    fn new(node: &RNode, sockets: &[Socket]) -> Layout {
        let (mut cores, mut gpus, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        for socket in sockets_of(node, sockets) {
            let (core0, gpu0) = (cores.len(), gpus.len());
            cores.extend(socket.cores.iter());
            gpus.extend(socket.gpus.iter());
            spans.push(Span { cores: core0..cores.len(), gpus: gpu0..gpus.len() });
        }
        let whole = (node.cores.clone(), node.gpus.clone());
        Layout { cores: Ids::new(cores), gpus: Ids::new(gpus), sockets: spans, whole }
    }
}
