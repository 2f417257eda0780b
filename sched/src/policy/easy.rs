//! EASY backfilling: the first job that must wait gets a start, the time when those that run will have left enough.
//! Jobs behind it may run before, if it can start at that time all the same.
//!
//! Nothing is set aside for the one that waits. Whether a candidate delays it is tried out on what will be free then:
//! with the candidate still there, does it still fit? So candidates are refused only for that reason. If the job
//! waits for something that has no known end, nobody passes it.

use crate::{Sched, SchedOutput, group::Wants};
use flurm_resource_graph::{Graph, Room, are_apart};
use flurm_types::{JobId, Now, R, Timestamp};
use std::collections::BTreeMap;

/// The first job of a queue that must wait.
struct Head {
    id: JobId,
    wants: Wants,
    /// None if nobody knows when it can start.
    start: Option<Start>,
}

struct Start {
    at: Timestamp,
    /// What is free then, with everybody who will still be there.
    room: Room,
    /// What the head would get.
    r: R,
    /// What is free now and not part of that, made when it is needed.
    spare: Option<Room>,
}

impl Start {
    /// Will the head start as early if this is taken from now on?
    fn allows(&mut self, graph: &Graph, head: &Wants, taken: &R, visited: &mut usize) -> bool {
        if !taken.expiration.is_zero() && taken.expiration <= self.at || are_apart(taken, &self.r) {
            return true;
        }
        self.room.take(taken);
        let found = graph.fit(head, &self.room, self.at, visited);
        self.room.give_back(taken);
        found.is_some()
    }

    /// Somebody starts who is allowed to.
    fn started(&mut self, graph: &Graph, head: &Wants, taken: &R, visited: &mut usize) {
        if let Some(spare) = &mut self.spare {
            spare.take(taken);
        }
        if !taken.expiration.is_zero() && taken.expiration <= self.at {
            return;
        }
        self.room.take(taken);
        if !are_apart(taken, &self.r) {
            self.r = graph.fit(head, &self.room, self.at, visited).expect("it was allowed because this fits");
            self.spare = None;
        }
    }
}

pub(crate) fn cycle(sched: &mut Sched, now: Now, out: &mut Vec<SchedOutput>) {
    let (mut visited, mut after) = (0, None);
    let mut heads: BTreeMap<usize, Head> = BTreeMap::new();
    while let Some(job) = sched.queue.after(after) {
        after = Some(job.key);
        let (id, lane, wants, tried) = (job.id, job.lane, sched.wants(job), job.tried);
        let is_head = !heads.contains_key(&lane);
        if sched.is_stopped(lane) || !is_head && tried == sched.epoch {
            continue;
        }
        if sched.spent(visited) {
            return;
        }
        if !is_head && heads[&lane].start.is_none() {
            if heads.len() == sched.lanes() && heads.values().all(|head| head.start.is_none()) {
                return;
            }
            continue;
        }
        if !sched.is_possible(id, now, out) {
            continue;
        }
        match candidate(sched, &wants, now, &mut heads, &mut visited) {
            Some(r) => {
                for head in heads.values_mut() {
                    if let Some(start) = &mut head.start {
                        start.started(&sched.graph, &head.wants, &r, &mut visited);
                    }
                }
                sched.start(id, r, out);
            }
            None if is_head => {
                // Not counted: a cycle that spent all it has on this would never come to the others.
                let found = sched.graph.first_room(&wants, now.wall, &mut 0);
                if found.is_none() && !sched.graph.fits_open(&wants, now.wall) {
                    // It waits for nodes to come back, which does not depend on who else runs.
                    sched.wait(id, None, out);
                    continue;
                }
                let start = found.map(|(room, r)| Start { at: r.starttime, room, r, spare: None });
                sched.wait(id, start.as_ref().map(|start| start.at), out);
                sched.head_is(lane, id);
                heads.insert(lane, Head { id, wants, start });
            }
            None => sched.queue.set_tried(id, sched.epoch),
        }
    }
    debug_assert!(heads.values().all(|head| sched.queue.get(head.id).is_some()), "heads wait");
}

/// What a job can have now without delaying any of those who wait for their start.
fn candidate(
    sched: &Sched,
    wants: &Wants,
    now: Now,
    heads: &mut BTreeMap<usize, Head>,
    visited: &mut usize,
) -> Option<R> {
    let graph = &sched.graph;
    let r = graph.fit_now(wants, now.wall, visited)?;
    let refused = |(lane, head): (&usize, &mut Head)| {
        let start = head.start.as_mut()?;
        (!start.allows(graph, &head.wants, &r, visited)).then_some(*lane)
    };
    let Some(lane) = heads.iter_mut().find_map(refused) else { return Some(r) };
    // Elsewhere, then: not where the one who refused it wants to be.
    let start = heads.get_mut(&lane).and_then(|head| head.start.as_mut()).expect("it refused");
    let taken = &start.r;
    let spare = start.spare.get_or_insert_with(|| {
        let mut room = graph.room();
        room.take(taken);
        room
    });
    let r = graph.fit(wants, spare, now.wall, visited)?;
    let mut all = heads.values_mut().filter_map(|head| Some((head.start.as_mut()?, &head.wants)));
    all.all(|(start, head)| start.allows(graph, head, &r, visited)).then_some(r)
}
