//! What is free at some time, apart from the graph: for trying out what would be if jobs had ended or others begun.

use crate::{Graph, ask::Ask, counts::Counts, index::Index};
use flurm_jobspec::Jobspec;
use flurm_types::{Idset, R, Timestamp};

/// Free resources at some time. Only the graph that it is of can search it.
#[derive(Debug, Clone)]
pub struct Room {
    pub(crate) index: Index,
    /// Ranks where willing jobs are.
    pub(crate) shared: Idset,
}

impl Room {
    /// This is no longer free here.
    pub fn take(&mut self, r: &R) {
        self.index.set_parts_free(&r.nodes, false);
    }

    /// This is free here again.
    pub fn give_back(&mut self, r: &R) {
        self.index.set_parts_free(&r.nodes, true);
    }
}

impl Graph {
    /// What is free now, to be changed without changing the graph.
    #[must_use]
    pub fn room(&self) -> Room {
        Room { index: self.index.clone(), shared: self.shared() }
    }

    /// What a job would get out of this room if it began at this time. Does not ask whether it ever fits.
    #[must_use]
    pub fn fit(&self, jobspec: &Jobspec, room: &Room, at: Timestamp, visited: &mut usize) -> Option<R> {
        self.fit_index(jobspec, &room.index, &room.shared, at, visited)
    }

    /// The same, out of what is free now.
    #[must_use]
    pub fn fit_now(&self, jobspec: &Jobspec, now: Timestamp, visited: &mut usize) -> Option<R> {
        self.fit_index(jobspec, &self.index, &self.shared(), now, visited)
    }

    fn fit_index(
        &self,
        jobspec: &Jobspec,
        index: &Index,
        shared: &Idset,
        at: Timestamp,
        visited: &mut usize,
    ) -> Option<R> {
        let ask = Ask::of(jobspec, self.placement, &Counts::default()).ok()?;
        let (cores, gpus) = ask.total();
        if cores > index.cores_now || gpus > index.gpus_now {
            *visited += 1;
            return None;
        }
        let allowed = self.allowed(jobspec, at);
        self.most(jobspec, index, &allowed, shared, at, visited)
    }

    /// The first time at which jobs that run have left enough, if each leaves when its time is over, with what is
    /// free then and what this job would get. Jobs without a known end never leave.
    #[must_use]
    pub fn first_room(&self, jobspec: &Jobspec, now: Timestamp, visited: &mut usize) -> Option<(Room, R)> {
        let mut room = self.room();
        let mut ends = self.ends(now).into_iter().peekable();
        let mut at = now;
        loop {
            if let Some(r) = self.fit(jobspec, &room, at, visited) {
                return Some((room, r));
            }
            at = ends.peek()?.0;
            while let Some((_, parts)) = ends.next_if(|(end, _)| *end == at) {
                room.index.set_parts_free(parts, true);
                // Whoever shared a node with somebody else is gone from it, or will be soon.
                for part in parts {
                    room.shared.remove(part.rank);
                }
            }
        }
    }

    /// Would the job fit if nobody else were on the nodes that are open?
    #[must_use]
    pub fn fits_open(&self, jobspec: &Jobspec, now: Timestamp) -> bool {
        let mut room = Room { index: self.index.clone(), shared: Idset::new() };
        for held in self.held.values() {
            room.index.set_parts_free(&held.parts, true);
        }
        self.fit(jobspec, &room, now, &mut 0).is_some()
    }

    /// Is all of this free now, on open nodes?
    #[must_use]
    pub fn is_free_now(&self, r: &R) -> bool {
        self.index.mask(&r.nodes).is_in(&self.index.free_bits())
    }

    /// The same resources, from now on.
    #[must_use]
    pub fn begin(&self, jobspec: &Jobspec, r: R, now: Timestamp) -> R {
        let expiration = self.end_of(jobspec.attributes().duration, now, &r.ranks());
        R { starttime: now, expiration, ..r }
    }
}
