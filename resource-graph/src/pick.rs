//! Which cores and GPUs of a chosen node a job gets: those of one socket if they suffice, else piece by piece.

use crate::{
    ask::{Ask, Piece, Sockets},
    index::{Index, Span, View},
    place::{Share, socket_fits},
};
use flurm_types::RNode;
use std::ops::Range;

/// The cores and GPUs for the pieces of a share, out of what is free there.
pub(crate) fn pick(ask: &Ask<'_>, index: &Index, share: Share) -> RNode {
    let layout = index.layout(share.at);
    if ask.exclusive {
        return index.whole(share.at);
    }
    let need = ask.need(share.pieces);
    let mut picking = Picking { index, at: share.at, cores: Vec::new(), gpus: Vec::new() };
    if let Some(sockets) = ask.piece.sockets {
        picking.by_socket(ask, sockets, &layout.sockets, share.pieces);
    } else if let [whole] = layout.sockets.as_slice() {
        picking.cores_from(whole, need.cores);
        picking.gpus_from(whole, need.gpus);
    } else if let Some(socket) = picking.snuggest(&layout.sockets, need.cores, need.gpus) {
        picking.cores_from(socket, need.cores);
        picking.gpus_from(socket, need.gpus);
    } else {
        picking.piece_by_piece(&ask.piece, &layout.sockets, share.pieces);
    }
    picking.cores.sort_unstable();
    picking.gpus.sort_unstable();
    index.rnode(share.at, picking.cores.into_iter(), picking.gpus.into_iter())
}

/// What has been picked on one node so far.
struct Picking<'a> {
    index: &'a Index,
    at: usize,
    cores: Vec<usize>,
    gpus: Vec<usize>,
}

impl Picking<'_> {
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

    fn cores_left(&self, socket: &Span) -> u32 {
        self.index.count_cores(self.at, &self.cores_behind(socket))
    }

    fn gpus_left(&self, socket: &Span) -> u32 {
        self.index.count_gpus(self.at, &self.gpus_behind(socket))
    }

    /// The socket where this leaves the least behind, so that larger holes stay for larger jobs. A job without
    /// GPUs stays off the GPUs' cores if it can.
    fn snuggest<'s>(&self, sockets: &'s [Span], cores: u32, gpus: u32) -> Option<&'s Span> {
        let left = |socket: &Span| (self.gpus_left(socket), self.cores_left(socket));
        sockets
            .iter()
            .map(|socket| (left(socket), socket))
            .filter(|((free_gpus, free_cores), _)| *free_gpus >= gpus && *free_cores >= cores)
            .min_by_key(|(left, _)| *left)
            .map(|(_, socket)| socket)
    }

    fn cores_from(&mut self, socket: &Span, count: u32) {
        let (index, at) = (self.index, self.at);
        let free = self.cores_behind(socket).filter(|bit| index.is_core_free(at, *bit));
        self.cores.extend(free.take(count as usize));
    }

    fn gpus_from(&mut self, socket: &Span, count: u32) {
        let (index, at) = (self.index, self.at);
        let free = self.gpus_behind(socket).filter(|bit| index.is_gpu_free(at, *bit));
        self.gpus.extend(free.take(count as usize));
    }

    /// Takes from as many sockets as all pieces together have, what each must have or everything.
    fn by_socket(&mut self, ask: &Ask<'_>, sockets: Sockets, here: &[Span], pieces: u32) {
        let fitting =
            here.iter().filter(|span| socket_fits(ask, sockets, self.index, View::Now, self.at, span));
        let chosen: Vec<&Span> = fitting.take((pieces * sockets.count) as usize).collect();
        for socket in chosen {
            let Piece { cores, gpus, .. } = ask.piece;
            self.cores_from(socket, if sockets.whole { u32::MAX } else { cores });
            self.gpus_from(socket, if sockets.whole { u32::MAX } else { gpus });
        }
    }

    /// Fills socket after socket with whole pieces; those that find no socket of their own take what is left.
    fn piece_by_piece(&mut self, piece: &Piece, sockets: &[Span], pieces: u32) {
        let mut left = pieces;
        for socket in sockets {
            let fits = self.cores_left(socket) / piece.cores;
            let fits = self.gpus_left(socket).checked_div(piece.gpus).map_or(fits, |n| fits.min(n));
            let here = fits.min(left);
            self.cores_from(socket, here * piece.cores);
            self.gpus_from(socket, here * piece.gpus);
            left -= here;
        }
        let (mut cores, mut gpus) = (left * piece.cores, left * piece.gpus);
        // GPUs may be far from all free cores, but the cores may still be near each other.
        if let Some(socket) = self.snuggest(sockets, cores, 0) {
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
