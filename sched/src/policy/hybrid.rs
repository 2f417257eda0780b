//! Promises for the first jobs that must wait, as many as the depth says; the others may pass if all promises hold.
//!
//! A promise is a start with certain cores, and it lasts from cycle to cycle: a job's promise is given up only for
//! one that is no later. It falls when a job with more priority comes (then for all behind that one), or when the
//! world breaks it: a node is lost, or somebody has not left in time.

use crate::{Sched, SchedOutput};
use flurm_resource_graph::Plan;
use flurm_types::{JobId, Now};

pub(crate) fn cycle(sched: &mut Sched, depth: usize, now: Now, out: &mut Vec<SchedOutput>) {
    let mut visited = 0;
    let mut plan = sched.graph.plan(now.wall);
    keep_promises(sched, &mut plan, now, out);
    let (mut promised, mut after) = (0, None);
    while let Some(job) = sched.queue.after(after) {
        after = Some(job.key);
        let (id, lane, wants, tried) = (job.id, job.lane, sched.wants(job), job.tried);
        let promise = sched.promises.get(&id);
        let is_done = !sched.replan || sched.replanned.is_some_and(|last| job.key <= last);
        if promised < depth && promise.is_some() && is_done {
            promised += 1;
            continue;
        }
        if sched.is_stopped(lane) || promised >= depth && tried == sched.epoch {
            continue;
        }
        if sched.spent(visited) {
            return;
        }
        if !sched.is_possible(id, now, out) {
            continue;
        }
        if promised >= depth {
            let fits = sched.graph.fit_now(&wants, now.wall, &mut visited).is_some();
            let found =
                if fits { sched.graph.reserve_at(&plan, &wants, now.wall, &mut visited) } else { None };
            match found {
                Some(r) => {
                    sched.graph.reserve(&mut plan, &r);
                    sched.start(id, r, out);
                }
                None => sched.queue.set_tried(id, sched.epoch),
            }
            continue;
        }
        let old = sched.promises.remove(&id);
        if let Some(old) = &old {
            sched.graph.release(&mut plan, old);
        }
        match sched.graph.earliest(&plan, &wants, now.wall, &mut visited) {
            Some(r) => {
                sched.moved |= old.is_some_and(|old| r.starttime < old.starttime);
                sched.graph.reserve(&mut plan, &r);
                if r.starttime <= now.wall {
                    sched.start(id, r, out);
                } else {
                    promised += 1;
                    sched.wait(id, Some(r.starttime), out);
                    sched.promises.insert(id, r);
                }
                sched.replanned = after;
            }
            None => {
                sched.wait(id, None, out);
                if sched.graph.fits_open(&wants, now.wall) {
                    // It waits for somebody who has no known end, so whoever passed it might delay it.
                    return;
                }
            }
        }
    }
    // What one leaves behind when it moves forward may be of use to one ahead of it, so it is done once more.
    let moved = std::mem::take(&mut sched.moved);
    (sched.replan, sched.replanned) = (moved, None);
    sched.cut_short |= moved;
}

/// Starts whose time has come, and puts the other promises into the plan, in the order of the queue. What the world
/// has broken is forgotten.
fn keep_promises(sched: &mut Sched, plan: &mut Plan, now: Now, out: &mut Vec<SchedOutput>) {
    let mut jobs: Vec<_> =
        sched.promises.keys().filter_map(|id| Some((sched.queue.get(*id)?.key, *id))).collect();
    jobs.sort_unstable();
    let ids: Vec<JobId> = jobs.into_iter().map(|(_, id)| id).collect();
    for id in &ids {
        let due = sched.promises.get(id).is_some_and(|r| r.starttime <= now.wall);
        let lane = sched.queue.get(*id).map(|job| job.lane).expect("it is in the queue");
        if !due || sched.is_stopped(lane) {
            continue;
        }
        let r = sched.promises.remove(id).expect("it is due");
        let wants = sched.wants(sched.queue.get(*id).expect("it is in the queue"));
        let late = r.starttime < now.wall;
        let r = sched.graph.begin(&wants, r, now.wall);
        if sched.graph.is_free_now(&r) {
            sched.graph.reserve(plan, &r);
            sched.start(*id, r, out);
            // Who starts late leaves late.
            if late {
                sched.plan_again();
            }
        } else {
            sched.plan_again();
        }
    }
    for id in &ids {
        let Some(r) = sched.promises.get(id) else { continue };
        if sched.graph.is_free(plan, r) {
            sched.graph.reserve(plan, r);
        } else {
            sched.promises.remove(id);
            sched.plan_again();
        }
    }
}
