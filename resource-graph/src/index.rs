//! The flat form of an inventory that matching works on: bits for what is free, and what nodes have of it.
//!
//! Nodes have positions (0, 1, …) in the order of their ranks, which may have gaps. Nodes that look alike share a
//! [`Layout`].

use crate::{
    allowed::Filter,
    at_least::AtLeast,
    bits::{Bits, Mask, differing},
    general::Pools,
    layout::Layout,
    stock::{Peak, Stock},
};
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
    free: Bits,
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
        let now = Stock::new(&limits);
        let mut ever = now.clone();
        for (at, (peak, sockets)) in limits.into_iter().enumerate() {
            ever.set(at, peak.gpus, sockets.into_iter(), peak);
        }
        let most_sockets = layouts.iter().map(|layout| layout.sockets.len()).max().unwrap_or(0);
        Index {
            open: AtLeast::of(nodes.len(), &Idset::new()),
            now,
            ever: Arc::new(ever),
            nodes: nodes.into(),
            layouts: layouts.into(),
            free: Bits::new(core0, gpu0),
            cores_now: 0,
            gpus_now: 0,
            most_sockets: most_sockets as u32,
            pools: Pools::default(),
        }
    }

    /// No count of anything that a job may have is above this.
    pub(crate) fn largest_count(&self) -> u32 {
        u32::try_from(self.free.cores.len().max(self.free.gpus.len())).unwrap_or(u32::MAX)
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
        let first = self.nodes[at].core0;
        self.free.count_cores(first + bits.start..first + bits.end)
    }

    /// Free GPUs of a part of a node.
    pub(crate) fn count_gpus(&self, at: usize, bits: &Range<usize>) -> u32 {
        let first = self.nodes[at].gpu0;
        self.free.count_gpus(first + bits.start..first + bits.end)
    }

    pub(crate) fn is_core_free(&self, at: usize, bit: usize) -> bool {
        self.free.cores.contains(self.nodes[at].core0 + bit)
    }

    pub(crate) fn is_gpu_free(&self, at: usize, bit: usize) -> bool {
        self.free.gpus.contains(self.nodes[at].gpu0 + bit)
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
            self.free.cores.set_range(node.core0 + bits.start..node.core0 + bits.end, free);
        }
        for bits in layout.gpus.bits(gpus) {
            self.free.gpus.set_range(node.gpu0 + bits.start..node.gpu0 + bits.end, free);
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

    /// Which cores and GPUs are free, on open nodes and others.
    pub(crate) fn bits(&self) -> &Bits {
        &self.free
    }

    /// All cores and GPUs.
    pub(crate) fn all_bits(&self) -> Bits {
        Bits::new(self.free.cores.len(), self.free.gpus.len())
    }

    /// All that is on open nodes.
    pub(crate) fn open_bits(&self) -> Bits {
        let mut bits = self.all_bits();
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
        differing(&self.free.cores, &bits.cores, |bit| {
            let at = nodes.partition_point(|node| node.core0 <= bit) - 1;
            changed.push(at);
            nodes[at].core0 + self.layouts[nodes[at].layout].cores.len()
        });
        differing(&self.free.gpus, &bits.gpus, |bit| {
            // Of nodes without GPUs that have the same first bit, the last is the one that has it.
            let at = nodes.partition_point(|node| node.gpu0 <= bit) - 1;
            changed.push(at);
            nodes[at].gpu0 + self.layouts[nodes[at].layout].gpus.len()
        });
        self.free.copy(bits);
        changed.iter().for_each(|at| self.refresh(*at));
        1 + changed.len() + self.free.cores.as_slice().len() / 64
    }

    /// The same resources with everything free and all nodes open.
    pub(crate) fn all_free(&self) -> Index {
        let mut index = Index { now: (*self.ever).clone(), ..self.clone() };
        index.pools = self.pools.all_free();
        index.open = AtLeast::of(self.len(), &(0..self.len() as u32).collect());
        index.free.fill();
        index.cores_now = index.free.cores.len() as u64;
        index.gpus_now = index.free.gpus.len() as u64;
        index
    }

    /// Is a node open and nothing of it taken?
    pub(crate) fn is_idle(&self, at: usize) -> bool {
        self.now.peak(at).idle > 0
    }

    /// Is all of this free, and on open nodes?
    pub(crate) fn has(&self, mask: &Mask) -> bool {
        mask.is_in(&self.free)
    }

    /// The bits of parts, as far as they are on open nodes.
    pub(crate) fn mask(&self, nodes: &[RNode]) -> Mask {
        let mut mask = Mask::new();
        for node in nodes {
            let Some(at) = self.position(node.rank).filter(|at| self.is_open(*at)) else {
                mask.miss();
                continue;
            };
            let (here, layout) = (&self.nodes[at], self.layout(at));
            for bits in layout.cores.bits(&node.cores) {
                mask.put_cores(here.core0 + bits.start..here.core0 + bits.end);
            }
            for bits in layout.gpus.bits(&node.gpus) {
                mask.put_gpus(here.gpu0 + bits.start..here.gpu0 + bits.end);
            }
        }
        mask.sorted()
    }

    /// Brings numbers and sums in line with the bits of a node.
    fn refresh(&mut self, at: usize) {
        let (node, is_open) = (&self.nodes[at], self.is_open(at));
        let layout = &self.layouts[node.layout];
        let (first, bits) = (node.core0, &self.free);
        let free = |part: &Range<usize>| {
            if is_open { bits.count_cores(first + part.start..first + part.end) } else { 0 }
        };
        let sockets = layout.sockets.iter().map(|span| free(&span.cores));
        let gpus = if is_open { bits.count_gpus(node.gpu0..node.gpu0 + layout.gpus.len()) } else { 0 };
        let (before, peak) = self.now.set(at, gpus, sockets, self.ever.peak(at));
        self.cores_now = self.cores_now - u64::from(before.cores) + u64::from(peak.cores);
        self.gpus_now = self.gpus_now - u64::from(before.gpus) + u64::from(peak.gpus);
    }
}
