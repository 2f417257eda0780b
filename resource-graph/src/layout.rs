//! What is where inside a node: the ids of its cores and GPUs, and the bits that stand for them.
//!
//! Cores are numbered socket by socket, so that a socket is a range of bits, whatever its cores' ids are.

use crate::containment::sockets_of;
use flurm_types::{Idset, RNode, Socket};
use std::ops::Range;

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
    pub(crate) whole: (Idset, Idset),
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
    pub(crate) fn of(&self, bits: impl Iterator<Item = usize>) -> Idset {
        bits.map(|bit| self.by_bit[bit]).collect()
    }

    /// The id of a bit.
    pub(crate) fn id(&self, bit: u32) -> u32 {
        self.by_bit[bit as usize]
    }

    /// The bit of an id.
    pub(crate) fn bit(&self, id: u32) -> Option<u32> {
        self.bits.binary_search_by_key(&id, |(id, _)| *id).ok().map(|at| self.bits[at].1)
    }

    /// The bits of those ids that are known here, as ranges: mostly neighbours have neighbours' ids.
    pub(crate) fn bits<'a>(&'a self, ids: &'a Idset) -> impl Iterator<Item = Range<usize>> + 'a {
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

impl Layout {
    pub(crate) fn new(node: &RNode, sockets: &[Socket]) -> Layout {
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
