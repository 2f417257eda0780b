//! Taking cores and GPUs of a chosen node one after the other. Which ones, a policy says.

use crate::{
    allowed::Filter,
    ask::{Ask, Piece, Sockets},
    index::{Index, View},
    layout::{Layout, Span},
    place::Field,
};
use flurm_types::RNode;
use std::{cell::Cell, ops::Range};

/// What has been picked on one node so far.
pub(crate) struct Picking<'a> {
    index: &'a Index,
    at: usize,
    cores: Vec<usize>,
    gpus: Vec<usize>,
}

impl<'a> Picking<'a> {
    pub(crate) fn new(index: &'a Index, at: usize) -> Picking<'a> {
        Picking { index, at, cores: Vec::new(), gpus: Vec::new() }
    }

    /// What was picked, as an entry of an R.
    pub(crate) fn finish(mut self) -> RNode {
        self.cores.sort_unstable();
        self.gpus.sort_unstable();
        self.index.rnode(self.at, self.cores.into_iter(), self.gpus.into_iter())
    }

    pub(crate) fn layout(&self) -> &'a Layout {
        self.index.layout(self.at)
    }

    /// The sockets of the node.
    pub(crate) fn sockets(&self) -> &'a [Span] {
        &self.layout().sockets
    }

    /// Takes what is free in the order of these bits.
    pub(crate) fn cores_in_order(&mut self, bits: impl Iterator<Item = usize>, count: u32) {
        let (index, at) = (self.index, self.at);
        self.cores.reserve(self.layout().cores.len().min(count as usize));
        self.cores.extend(bits.filter(|bit| index.is_core_free(at, *bit)).take(count as usize));
    }

    pub(crate) fn gpus_in_order(&mut self, bits: impl Iterator<Item = usize>, count: u32) {
        let (index, at) = (self.index, self.at);
        self.gpus.extend(bits.filter(|bit| index.is_gpu_free(at, *bit)).take(count as usize));
    }

    /// Where in a socket the cores begin that were not looked at yet. Picks go upwards in each socket, so what is
    /// free behind the last of them is what is left.
    fn cores_behind(&self, socket: &Span) -> Range<usize> {
        let last = self.cores.iter().rfind(|bit| socket.cores.contains(bit));
        last.map_or(socket.cores.start, |bit| bit + 1)..socket.cores.end
    }

    fn gpus_behind(&self, socket: &Span) -> Range<usize> {
        let last = self.gpus.iter().rfind(|bit| socket.gpus.contains(bit));
        last.map_or(socket.gpus.start, |bit| bit + 1)..socket.gpus.end
    }

    pub(crate) fn cores_left(&self, socket: &Span) -> u32 {
        self.index.count_cores(self.at, &self.cores_behind(socket))
    }

    pub(crate) fn gpus_left(&self, socket: &Span) -> u32 {
        self.index.count_gpus(self.at, &self.gpus_behind(socket))
    }

    pub(crate) fn cores_from(&mut self, socket: &Span, count: u32) {
        let behind = self.cores_behind(socket);
        self.cores_in_order(behind, count);
    }

    pub(crate) fn gpus_from(&mut self, socket: &Span, count: u32) {
        let behind = self.gpus_behind(socket);
        self.gpus_in_order(behind, count);
    }

    /// Takes so many whole pieces from a socket that has them.
    pub(crate) fn pieces_from(&mut self, socket: &Span, piece: &Piece, pieces: u32) {
        self.cores_from(socket, pieces * piece.cores);
        self.gpus_from(socket, pieces * piece.gpus);
    }

    /// The socket where this leaves the least behind, so that larger holes stay for larger jobs. A job without
    /// GPUs stays off the GPUs' cores if it can.
    pub(crate) fn snuggest<'s>(
        &self,
        sockets: impl Iterator<Item = &'s Span>,
        cores: u32,
        gpus: u32,
    ) -> Option<&'s Span> {
        let left = |socket: &Span| (self.gpus_left(socket), self.cores_left(socket));
        sockets
            .map(|socket| (left(socket), socket))
            .filter(|((free_gpus, free_cores), _)| *free_gpus >= gpus && *free_cores >= cores)
            .min_by_key(|(left, _)| *left)
            .map(|(_, socket)| socket)
    }

    /// Takes from as many sockets as all pieces together have, what each must have or everything.
    pub(crate) fn by_socket(&mut self, ask: &Ask<'_>, sockets: Sockets, pieces: u32, from_top: bool) {
        let visited = Cell::new(0);
        let field =
            Field { ask, index: self.index, view: View::Now, allowed: &Filter::All, visited: &visited };
        let mut fitting: Vec<&Span> =
            self.sockets().iter().filter(|span| field.socket_fits(sockets, self.at, span)).collect();
        if from_top {
            fitting.reverse();
        }
        for socket in fitting.into_iter().take((pieces * sockets.count) as usize) {
            let Piece { cores, gpus, .. } = ask.piece;
            self.cores_from(socket, if sockets.whole { u32::MAX } else { cores });
            self.gpus_from(socket, if sockets.whole { u32::MAX } else { gpus });
        }
    }

    /// Fills socket after socket with whole pieces; those that find no socket of their own take what is left.
    pub(crate) fn piece_by_piece(&mut self, piece: &Piece, sockets: &[&Span], pieces: u32) {
        let mut left = pieces;
        for socket in sockets {
            let fits = self.cores_left(socket) / piece.cores;
            let fits = self.gpus_left(socket).checked_div(piece.gpus).map_or(fits, |n| fits.min(n));
            let here = fits.min(left);
            self.pieces_from(socket, piece, here);
            left -= here;
        }
        let (mut cores, mut gpus) = (left * piece.cores, left * piece.gpus);
        // GPUs may be far from all free cores, but the cores may still be near each other.
        if let Some(socket) = self.snuggest(sockets.iter().copied(), cores, 0) {
            self.cores_from(socket, cores);
            cores = 0;
        }
        for socket in sockets {
            let (some_cores, some_gpus) =
                (self.cores_left(socket).min(cores), self.gpus_left(socket).min(gpus));
            self.cores_from(socket, some_cores);
            self.gpus_from(socket, some_gpus);
            cores -= some_cores;
            gpus -= some_gpus;
        }
    }
}
