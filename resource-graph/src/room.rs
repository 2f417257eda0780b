//! What is free at some time, apart from the graph: for trying out what would be if jobs had ended or others begun.

use crate::{
    Graph, Unit,
    ask::{Ask, Refusal},
    cosched::{self, Shared, Sharing},
    counts::Counts,
    general::given,
    index::{Index, View},
    place::{self, Field},
    plan::Sought,
};
use flurm_types::{R, Timestamp};
use std::cell::Cell;

/// Free resources at some time. Only the graph that it is of can search it.
#[derive(Debug, Clone)]
pub struct Room {
    pub(crate) index: Index,
    /// Where willing jobs are.
    pub(crate) shared: Shared,
}

/// How far a search for a first time has come.
#[derive(Debug)]
pub struct Seeking {
    /// When it was begun.
    now: Timestamp,
    /// There is not enough before this.
    at: Timestamp,
    /// What is free then.
    room: Room,
}

impl Room {
    /// This is no longer free here.
    pub fn take(&mut self, r: &R) {
        self.index.set_parts_free(&r.nodes, false);
        let portions = given::portions(self.index.pools.tree(), r);
        self.index.pools.set_free(&portions, false);
        if cosched::is_willing(r) {
            r.nodes.iter().for_each(|node| self.shared.add(node.rank));
        }
    }

    /// This is free here again.
    pub fn give_back(&mut self, r: &R) {
        self.index.set_parts_free(&r.nodes, true);
        let portions = given::portions(self.index.pools.tree(), r);
        self.index.pools.set_free(&portions, true);
        if cosched::is_willing(r) {
            r.nodes.iter().for_each(|node| self.shared.remove(node.rank));
        }
    }
}

impl Graph {
    /// What is free now, to be changed without changing the graph.
    #[must_use]
    pub fn room(&self) -> Room {
        Room { index: self.index.clone(), shared: self.tenants.shared() }
    }

    /// Cores that are free now.
    #[must_use]
    pub fn free_cores(&self) -> u64 {
        self.index.cores_now
    }

    /// What a unit would get out of this room if it began at this time. Does not ask whether it ever fits.
    #[must_use]
    pub fn fit<'a>(
        &self,
        unit: impl Into<Unit<'a>>,
        room: &Room,
        at: Timestamp,
        visited: &mut usize,
    ) -> Option<R> {
        self.fit_index(unit.into(), &room.index, || room.shared.sharing(), at, visited)
    }

    /// The same, out of what is free now.
    #[must_use]
    pub fn fit_now<'a>(&self, unit: impl Into<Unit<'a>>, now: Timestamp, visited: &mut usize) -> Option<R> {
        self.fit_index(unit.into(), &self.index, || self.sharing(), now, visited)
    }

    fn fit_index(
        &self,
        unit: Unit<'_>,
        index: &Index,
        sharing: impl FnOnce() -> Sharing,
        at: Timestamp,
        visited: &mut usize,
    ) -> Option<R> {
        let total = self.total(unit)?;
        let has_cores = total.cores <= index.cores_now && total.gpus <= index.gpus_now;
        if !has_cores || !index.pools.may_have(&total) {
            *visited += 1;
            return None;
        }
        self.in_index(unit, index, &sharing(), at, visited)
    }

    /// The first time at which jobs that run have left enough, if each leaves when its time is over, with what is
    /// free then and what this job would get. Jobs without a known end never leave. Goes on until so many are visited;
    /// then `seeking` goes on from there, as long as nobody begins or leaves.
    #[must_use]
    pub fn first_room<'a>(
        &self,
        unit: impl Into<Unit<'a>>,
        now: Timestamp,
        seeking: Option<Seeking>,
        visited: &mut usize,
        visits_max: usize,
    ) -> Sought<(Room, R), Seeking> {
        let unit = unit.into();
        let seeking = seeking.unwrap_or_else(|| Seeking { now, at: now, room: self.room() });
        let Seeking { now, mut at, mut room } = seeking;
        let ends = self.ends(now);
        let gone = ends.partition_point(|(end, ..)| *end <= at);
        let mut ends = ends.into_iter().skip(gone).peekable();
        loop {
            if let Some(r) = self.fit(unit, &room, at, visited) {
                return Sought::Found((room, r));
            }
            match ends.peek() {
                Some((end, ..)) => at = *end,
                None => return Sought::None,
            }
            while let Some((_, id, parts)) = ends.next_if(|(end, ..)| *end == at) {
                *visited += 8 * parts.len();
                room.index.set_parts_free(parts, true);
                self.close_again(&mut room.index);
                room.index.pools.set_free(&self.held[&id].portions, true);
                if let Some(ranks) = self.tenants.ranks_of(id) {
                    ranks.iter().for_each(|rank| room.shared.remove(rank));
                }
            }
            if *visited >= visits_max {
                return Sought::Cut(Seeking { now, at, room });
            }
        }
    }

    /// Would a unit fit if nobody else were on the nodes that are open?
    #[must_use]
    pub fn fits_open<'a>(&self, unit: impl Into<Unit<'a>>, now: Timestamp) -> bool {
        let unit = unit.into();
        if let Unit::Job(jobspec) = unit {
            let ask = match Ask::of(jobspec, self.placement, &Counts::default()) {
                Ok(ask) => ask,
                Err(Refusal::Shape(_)) => return self.general_fits_open(jobspec, now),
                Err(Refusal::Never(_)) => return false,
            };
            if self.closed.is_empty() {
                let allowed = self.allowed(jobspec, now).and(self.index.open());
                let (index, visited) = (&self.index, &Cell::new(0));
                let field = Field { ask: &ask, index, view: View::Ever, allowed: &allowed, visited };
                return place::place(field).is_some();
            }
        }
        let mut room = Room { index: self.index.clone(), shared: Shared::default() };
        room.index.become_free(&self.index.open_bits());
        self.close_again(&mut room.index);
        self.fit(unit, &room, now, &mut 0).is_some()
    }

    /// Is all of this free now, on open nodes, and could a job be there with those who share its nodes?
    #[must_use]
    pub fn is_free_now(&self, r: &R) -> bool {
        self.index.has(&self.index.mask(&r.nodes))
            && self.index.pools.have(&given::portions(self.index.pools.tree(), r))
            && self.may_be_there(r)
    }

    /// The same resources, from now on.
    #[must_use]
    pub fn begin<'a>(&self, unit: impl Into<Unit<'a>>, r: R, now: Timestamp) -> R {
        let expiration = self.end_of(unit.into().duration(), now, &r.nodes);
        R { starttime: now, expiration, ..r }
    }
}
