//! EASY backfilling: the first job that must wait gets a start, the time when those that run will have left enough.
//! Jobs behind it may run before, if it can start at that time all the same.
//!
//! Nothing is set aside for the one that waits. Whether a candidate delays it is tried out on what will be free then:
//! with the candidate still there, does it still fit? So candidates are refused only for that reason. If the job
//! waits for something that has no known end, nobody passes it.
//!
//! Heads are looked for once in an epoch, and so is what their starts need. Candidates come by their shapes, so that a
//! cycle costs what has changed and not what waits.

use crate::{CYCLE_VISITS_MAX, Sched, SchedOutput, group::Wants, heads::Head, running::Load};
use flurm_resource_graph::{Graph, Room, Sought, are_apart};
use flurm_types::{JobId, Now, R, Timestamp};

/// When the first job of a queue starts, and what must be so at that time.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) at: Timestamp,
    /// When that was found out.
    seen: Timestamp,
    /// What is free then, with everybody who will still be there.
    room: Room,
    /// What the head would get.
    pub(crate) r: R,
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
        // Also if what it would get is still there: it is to be what a leader finds who takes over now.
        // Without another place it has the one that it had: whoever was allowed either left that alone or left another.
        if let Some(r) = graph.fit(head, &self.room, self.at, visited).filter(|r| *r != self.r) {
            self.r = r;
            self.spare = None;
        }
    }
}

pub(crate) fn cycle(sched: &mut Sched, now: Now, out: &mut Vec<SchedOutput>) {
    // Whoever is still there at the time when a head was to start has to be reckoned with again.
    let mut starts = sched.heads.by_lane.values().filter_map(|head| head.start.as_ref());
    if starts.any(|start| start.at <= now.wall && start.seen < start.at) {
        sched.epoch += 1;
    }
    sched.heads.begin_epoch(sched.epoch);
    sched.queue.begin_epoch(sched.epoch, sched.graph.free_cores());
    let mut visited = 0;
    while !sched.spent(visited) {
        let head = sched.next_head();
        let before = head.map(|(key, _)| key);
        if let Some(id) = next_candidate(sched, before, &mut visited) {
            backfill(sched, id, now, out, &mut visited);
        } else if let Some((_, id)) = head {
            serve(sched, id, now, out, &mut visited);
        } else {
            return;
        }
    }
}

/// The next job that might pass the head of its lane.
fn next_candidate(
    sched: &mut Sched,
    before: Option<crate::queue::Key>,
    visited: &mut usize,
) -> Option<JobId> {
    let Sched { queue, heads, config, graph, loads, .. } = sched;
    let is_closed = |lane: usize| {
        let head = heads.by_lane.get(&lane);
        head.is_some_and(|head| head.start.is_none()) || config.is_stopped(lane)
    };
    let is_over = |lane: usize, cores: u64| {
        let more = heads.load_ahead(lane).and(Load { jobs: 1, cores });
        config.queue(lane).is_some_and(|(_, queue)| !queue.running.allows(loads.of(lane).and(more)))
    };
    queue.next_untried(graph.free_cores(), before, is_closed, is_over, visited)
}

/// The first job of a lane runs, or it is the head from now on.
fn serve(sched: &mut Sched, id: JobId, now: Now, out: &mut Vec<SchedOutput>, visited: &mut usize) {
    if !sched.is_possible(id, now, out, visited) {
        return;
    }
    let Some(job) = sched.queue.get(id) else { return };
    let (lane, key, wants) = (job.lane, job.key, sched.wants(job));
    let found = candidate(sched, &wants, now, visited).ok();
    let mut excess = found.as_ref().and_then(|r| sched.excess(lane, sched.load_of(id, r)));
    let start = match (found, &excess) {
        (Some(r), None) => {
            began(sched, &r, visited);
            if !sched.start(id, r, now, out) {
                sched.heads.pass(lane, key);
            }
            return;
        }
        (Some(_), Some(_)) => None,
        (None, _) => {
            let seeking = sched.heads.sought.take_if(|(sought, _)| *sought == id).map(|(_, seeking)| seeking);
            let found = sched.graph.first_room(&wants, now.wall, seeking, visited, CYCLE_VISITS_MAX);
            let found = match found {
                Sought::Found(found) => Some(found),
                Sought::None => None,
                Sought::Cut(seeking) => {
                    // Nobody is before it meanwhile, and the next cycle goes on from there.
                    sched.heads.sought = Some((id, seeking));
                    return;
                }
            };
            if found.is_none() && !sched.graph.fits_open(&wants, now.wall) {
                // It waits for nodes to come back, which does not depend on who else runs.
                sched.no_room(id);
                sched.heads.pass(lane, key);
                sched.wait(now, id, None, None, out, visited);
                return;
            }
            // Were there room, its queue would keep it back: that counts, whatever there is room for by now.
            excess = found.as_ref().and_then(|(_, r)| sched.excess(lane, sched.load_of(id, r)));
            let found = found.filter(|_| excess.is_none());
            found.map(|(room, r)| Start { at: r.starttime, seen: now.wall, room, r, spare: None })
        }
    };
    // Who has room now waits for the head of another lane, of which nobody knows how that goes on.
    // So does who wants what the head of another lane is to have: that one is not reckoned with.
    let apart = |r: &R| {
        let mut others = sched.heads.by_lane.iter().filter(|(other, _)| **other != lane);
        others.all(|(_, other)| other.start.as_ref().is_some_and(|start| are_apart(&start.r, r)))
    };
    let told = start.as_ref().filter(|start| start.at > now.wall && apart(&start.r)).map(|start| start.at);
    sched.wait(now, id, told, excess, out, visited);
    sched.heads.by_lane.insert(lane, Head { id, wants, key, start });
}

/// A job that is not the first of its lane runs now if it delays nobody who is.
fn backfill(sched: &mut Sched, id: JobId, now: Now, out: &mut Vec<SchedOutput>, visited: &mut usize) {
    if sched.heads.has(id) || !sched.is_possible(id, now, out, visited) {
        return;
    }
    let Some(job) = sched.queue.get(id) else { return };
    let (lane, wants) = (job.lane, sched.wants(job));
    let r = match candidate(sched, &wants, now, visited) {
        Ok(r) => r,
        Err(Refused::NoRoom) => return sched.no_room(id),
        Err(Refused::Delays) => return sched.queue.set_delay(id),
    };
    // What its queue may have at once must be enough for the head, too.
    if sched.excess(lane, sched.heads.load_ahead(lane).and(sched.load_of(id, &r))).is_some() {
        return sched.queue.put_off(id);
    }
    began(sched, &r, visited);
    sched.start(id, r, now, out);
}

/// What will be free at the starts of heads is less by what somebody takes now.
fn began(sched: &mut Sched, r: &R, visited: &mut usize) {
    for head in sched.heads.by_lane.values_mut() {
        if let Some(start) = &mut head.start {
            start.started(&sched.graph, &head.wants, r, visited);
        }
    }
    sched.queue.started();
}

/// Why a job does not run now.
enum Refused {
    NoRoom,
    /// Somebody who is the first of his queue would start later.
    Delays,
}

/// What a job can have now without delaying any of those who wait for their start.
fn candidate(sched: &mut Sched, wants: &Wants, now: Now, visited: &mut usize) -> Result<R, Refused> {
    let (graph, heads) = (&sched.graph, &mut sched.heads.by_lane);
    let r = graph.fit_now(wants, now.wall, visited).ok_or(Refused::NoRoom)?;
    let refused = |(lane, head): (&usize, &mut Head)| {
        let start = head.start.as_mut()?;
        (!start.allows(graph, &head.wants, &r, visited)).then_some(*lane)
    };
    let Some(lane) = heads.iter_mut().find_map(refused) else { return Ok(r) };
    // Elsewhere, then: not where the one who refused it wants to be.
    let start = heads.get_mut(&lane).and_then(|head| head.start.as_mut()).expect("it refused");
    let taken = &start.r;
    let spare = start.spare.get_or_insert_with(|| {
        let mut room = graph.room();
        room.take(taken);
        room
    });
    let r = graph.fit(wants, spare, now.wall, visited).ok_or(Refused::Delays)?;
    let mut all = heads.values_mut().filter_map(|head| Some((head.start.as_mut()?, &head.wants)));
    let allowed = all.all(|(start, head)| start.allows(graph, head, &r, visited));
    if allowed { Ok(r) } else { Err(Refused::Delays) }
}
