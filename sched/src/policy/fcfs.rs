//! First come, first served: the head of a queue runs or waits, and while it waits nobody in that queue passes it.
//!
//! A cycle costs a search for each job that leaves the queue and one for each queue's head that does not fit. Those
//! are remembered, and cycles are free until something has changed for them.

use crate::{Sched, SchedOutput};
use flurm_resource_graph::{Found, MatchOp};
use flurm_types::Now;
use std::collections::BTreeSet;

/// Serves each queue from its head until a job has to wait.
pub(crate) fn cycle(sched: &mut Sched, now: Now, out: &mut Vec<SchedOutput>) {
    let (mut visited, mut after) = (0, None);
    let mut blocked: BTreeSet<usize> = BTreeSet::new();
    while blocked.len() < sched.lanes() {
        let Some(job) = sched.queue.after(after) else { return };
        after = Some(job.key);
        let (id, lane, wants, tried) = (job.id, job.lane, sched.wants(job), job.tried);
        if blocked.contains(&lane) || sched.is_stopped(lane) {
            continue;
        }
        if tried == sched.epoch {
            blocked.insert(lane);
            continue;
        }
        if sched.spent(visited) {
            return;
        }
        match sched.graph.find_counting(&wants, MatchOp::Allocate, now.wall, &mut visited) {
            Found::Now(r) => sched.start(id, r, out),
            Found::NotNow => {
                blocked.insert(lane);
                sched.wait(id, None, out);
            }
            Found::Never(note) => sched.deny(id, note, out),
        }
    }
}
