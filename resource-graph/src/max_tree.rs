//! A segment tree over nodes that knows the most any node below has free.
//!
//! Sums would promise too much: a hundred nodes with one free core each are no help to a job that needs ten on
//! one node. With the maximum, "the first node from here with at least k" is one walk down.

/// What a node has to give, or what one must have.
#[derive(Debug, Copy, Clone, Default, PartialEq, Eq)]
pub(crate) struct Peak {
    /// Free cores.
    pub(crate) cores: u32,
    /// Free GPUs.
    pub(crate) gpus: u32,
    /// All its cores if nothing of the node is taken, else 0.
    pub(crate) idle: u32,
    /// Free cores of the socket that has the most of them.
    pub(crate) socket: u32,
}

impl Peak {
    fn max(self, other: Peak) -> Peak {
        Peak {
            cores: self.cores.max(other.cores),
            gpus: self.gpus.max(other.gpus),
            idle: self.idle.max(other.idle),
            socket: self.socket.max(other.socket),
        }
    }

    pub(crate) fn covers(self, need: Peak) -> bool {
        self.cores >= need.cores
            && self.gpus >= need.gpus
            && self.idle >= need.idle
            && self.socket >= need.socket
    }
}

/// Leaves are nodes by position; every inner vertex is the maximum of its two children, each kind by itself.
#[derive(Debug, Clone)]
pub(crate) struct MaxTree {
    /// Number of leaves, a power of two; leaves beyond the last node have nothing.
    width: usize,
    /// The root at 1, the children of `i` at `2i` and `2i + 1`, the leaves from `width` on.
    peaks: Vec<Peak>,
}

impl MaxTree {
    pub(crate) fn new(leaves: &[Peak]) -> MaxTree {
        let width = leaves.len().next_power_of_two();
        let mut peaks = vec![Peak::default(); 2 * width];
        peaks[width..width + leaves.len()].copy_from_slice(leaves);
        for i in (1..width).rev() {
            peaks[i] = peaks[2 * i].max(peaks[2 * i + 1]);
        }
        MaxTree { width, peaks }
    }

    pub(crate) fn get(&self, leaf: usize) -> Peak {
        self.peaks[self.width + leaf]
    }

    pub(crate) fn set(&mut self, leaf: usize, peak: Peak) {
        let mut i = self.width + leaf;
        self.peaks[i] = peak;
        while i > 1 {
            i /= 2;
            let peak = self.peaks[2 * i].max(self.peaks[2 * i + 1]);
            if self.peaks[i] == peak {
                // Nothing changes further up either.
                return;
            }
            self.peaks[i] = peak;
        }
    }

    /// The first leaf from here on that covers the need, which must be more than nothing. Counts what it looks at.
    ///
    /// A vertex covers if its maxima do, which may come from different leaves when cores and GPUs are both
    /// needed. Then the walk goes on behind that vertex, so the answer is right, only later.
    pub(crate) fn first(&self, from: usize, need: Peak, visited: &mut usize) -> Option<usize> {
        if from >= self.width {
            return None;
        }
        let mut i = self.width + from;
        loop {
            *visited += 1;
            if self.peaks[i].covers(need) {
                if i >= self.width {
                    return Some(i - self.width);
                }
                i *= 2;
                continue;
            }
            // Behind this vertex: up while it is a right child, then its sibling.
            i >>= i.trailing_ones();
            if i == 0 {
                return None;
            }
            i += 1;
        }
    }

    /// The last leaf up to here that covers the need; as [`MaxTree::first`], the other way.
    pub(crate) fn last(&self, to: usize, need: Peak, visited: &mut usize) -> Option<usize> {
        let mut i = self.width + to.min(self.width - 1);
        loop {
            *visited += 1;
            if self.peaks[i].covers(need) {
                if i >= self.width {
                    return Some(i - self.width);
                }
                i = 2 * i + 1;
                continue;
            }
            // Before this vertex: up while it is a left child, then its sibling. The root has none, nor have
            // those on the left edge.
            if i.is_power_of_two() {
                return None;
            }
            i >>= i.trailing_zeros();
            i -= 1;
        }
    }
}
