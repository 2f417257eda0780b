//! Promises for the first jobs that must wait, as many as the depth says; the others may pass if all promises hold.
//!
//! A promise is a start with certain cores, and it lasts from cycle to cycle: a job's promise is given up only for
//! one that is no later. It falls when a job with more priority comes (then for all behind that one), or when the
//! world breaks it: a node is lost, or somebody has not left in time.
//!
//! When somebody leaves early, promises are moved forward in the order of the queue. Only a job that could start before
//! his time would have been over is looked at for that, and only for such starts. When that has taken a few cycles, the
//! others keep what they were promised unless they can start at once.

use crate::{CYCLE_VISITS_MAX, Sched, SchedOutput, queue::Key};
use flurm_resource_graph::{Sought, Unit};
use flurm_types::{Now, Timestamp};

/// The end of what has no known end.
const NEVER: Timestamp = Timestamp(i64::MAX);

pub(crate) fn cycle(sched: &mut Sched, depth: usize, now: Now, out: &mut Vec<SchedOutput>) {
    let mut visited = 0;
    sched.promises.update(&sched.graph, now);
    start_due(sched, now, out);
    loop {
        if sched.spent(visited) {
            return;
        }
        let to_move = sched.promises.next_to_move();
        let fresh = if sched.promises.len() < depth {
            let Sched { promises, queue, config, epoch, .. } = &mut *sched;
            promises.next(queue, *epoch, |lane| !config.is_stopped(lane))
        } else {
            None
        };
        match (to_move, fresh) {
            (Some((key, before)), fresh) if fresh.is_none_or(|fresh| key < fresh) => {
                move_forward(sched, key, before, now, out, &mut visited);
            }
            (_, Some(key)) => look_at(sched, key, now, out, &mut visited),
            (_, None) => break,
        }
    }
    if sched.promises.all_tried() {
        sched.cut_short = true;
        return;
    }
    if sched.promises.len() < depth || sched.promises.is_stuck(sched.epoch) {
        sched.queue.forget_untried();
        return;
    }
    sched.queue.begin_epoch(sched.epoch, sched.graph.free_cores());
    while !sched.spent(visited) {
        let Sched { promises, queue, config, epoch, graph, .. } = &mut *sched;
        let is_closed = |lane| config.is_stopped(lane) || !promises.is_open(lane, *epoch);
        let Some(id) = queue.next_untried(graph.free_cores(), None, is_closed, |_, _| false, &mut visited)
        else {
            return;
        };
        let Some(key) = queue.get(id).map(|job| job.key) else { continue };
        if !promises.has(key) {
            backfill(sched, key, now, out, &mut visited);
        }
    }
}

/// Starts whose time has come, in the order of the queue.
fn start_due(sched: &mut Sched, now: Now, out: &mut Vec<SchedOutput>) {
    for key in sched.promises.due(now) {
        // Who starts late leaves late, which may break the promise of another one.
        let Some(r) = sched.promises.get(key) else { continue };
        let Some(job) = sched.queue.get(key.3) else { continue };
        let r = sched.graph.begin(&sched.wants(job), r.clone(), now.wall);
        if sched.graph.is_free_now(&r) && sched.graph.stands(&r) {
            let lane = job.lane;
            sched.promises.take(key);
            if !sched.start(key.3, r, now, out) {
                sched.promises.look_at(key, lane);
            }
        } else {
            sched.promises.drop(key);
        }
    }
}

/// A job that has a promise gets an earlier one, if there is one before this time.
fn move_forward(
    sched: &mut Sched,
    key: Key,
    before: Timestamp,
    now: Now,
    out: &mut Vec<SchedOutput>,
    visited: &mut usize,
) {
    sched.promises.has_tried(key);
    let Some(job) = sched.queue.get(key.3) else { return };
    let (lane, wants) = (job.lane, sched.wants(job));
    let before = if sched.promises.is_weary() {
        if sched.graph.fit_now(&wants, now.wall, visited).is_none() {
            return;
        }
        before.min(Timestamp(now.wall.0.saturating_add(1)))
    } else {
        before
    };
    let begin = *visited;
    let plan = sched.promises.plan();
    // What is too much for one cycle stays as it is.
    let visits_max = begin + CYCLE_VISITS_MAX;
    let sought = sched.graph.seek(plan, key.3, &wants, (now.wall, before), visited, visits_max);
    sched.promises.add_visits(*visited - begin);
    let Sought::Found(r) = sought else { return };
    let left = sched.promises.take(key).map_or(Timestamp::ZERO, |(r, _)| r.expiration);
    sched.promises.has_moved(left);
    // What it leaves is of use to those who were refused because of it.
    sched.epoch += 1;
    if r.starttime <= now.wall {
        sched.start(key.3, r, now, out);
    } else {
        sched.wait(now, key.3, Some(r.starttime), None, out, visited);
        let load = sched.load_of(key.3, &r);
        sched.promises.put(&sched.graph, key, lane, load, r);
    }
}

/// A job without a promise starts, or gets one.
fn look_at(sched: &mut Sched, key: Key, now: Now, out: &mut Vec<SchedOutput>, visited: &mut usize) {
    let id = key.3;
    if !sched.is_possible(id, now, out, visited) {
        return;
    }
    let Some(job) = sched.queue.get(id) else { return };
    let (lane, wants, shape, length) = (job.lane, sched.wants(job), job.shape, job.length);
    // Who shares nodes may join somebody who has come since.
    let is_alone = Unit::from(&wants).jobs().all(|job| job.attributes().cosched.is_none());
    let floors = sched.promises.floors();
    let (floor, visits_max) = (floors.of(shape, length), floors.visits_max(id));
    let from = if is_alone { floor.max(now.wall) } else { now.wall };
    let plan = sched.promises.plan();
    let sought = sched.graph.seek(plan, id, &wants, (from, NEVER), visited, visits_max);
    let (floors, start) = (
        sched.promises.floors(),
        match &sought {
            Sought::Found(r) => r.starttime,
            Sought::None => NEVER,
            Sought::Cut(at) => *at,
        },
    );
    floors.set(shape, length, start);
    if let Sought::Cut(_) = sought {
        floors.cut(id);
        return;
    }
    let Sought::Found(r) = sought else {
        sched.wait(now, id, None, None, out, visited);
        if sched.graph.fits_open(&wants, now.wall) {
            // It waits for somebody who has no known end, so whoever passed it might delay it.
            sched.promises.stick(key, lane, sched.epoch);
        } else {
            sched.promises.looked_at(key, lane);
        }
        return;
    };
    let load = sched.load_of(id, &r);
    let excess = sched.excess(lane, sched.promises.load(lane).and(load));
    if excess.is_some() {
        sched.wait(now, id, None, excess, out, visited);
        sched.promises.is_full(lane, sched.epoch);
        return;
    }
    sched.promises.looked_at(key, lane);
    if r.starttime <= now.wall {
        sched.start(id, r, now, out);
    } else {
        sched.wait(now, id, Some(r.starttime), None, out, visited);
        sched.promises.put(&sched.graph, key, lane, load, r);
    }
}

/// A job behind those with promises starts if that breaks none.
fn backfill(sched: &mut Sched, key: Key, now: Now, out: &mut Vec<SchedOutput>, visited: &mut usize) {
    let id = key.3;
    if !sched.is_possible(id, now, out, visited) {
        return;
    }
    let Some(job) = sched.queue.get(id) else { return };
    let (lane, length, wants) = (job.lane, job.length, sched.wants(job));
    if sched.graph.fit_now(&wants, now.wall, visited).is_none() {
        return sched.no_room(id);
    }
    let plan = sched.promises.plan();
    let Some(r) = sched.graph.reserve_at(plan, id, &wants, now.wall, visited) else {
        return sched.queue.set_failed(id, length);
    };
    if sched.excess(lane, sched.promises.load(lane).and(sched.load_of(id, &r))).is_some() {
        return sched.promises.is_full(lane, sched.epoch);
    }
    sched.start(id, r, now, out);
}
