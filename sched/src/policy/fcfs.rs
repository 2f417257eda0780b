//! First come, first served: the head of a queue runs or waits, and while it waits nobody in that queue passes it.
//!
//! A cycle costs a search for each job that leaves the queue and one for each queue's head that does not fit. Those
//! are remembered, and cycles are free until something has changed for them.

use crate::{Sched, SchedOutput, heads::Head};
use flurm_resource_graph::{Found, MatchOp};
use flurm_types::Now;

/// Serves each queue from its head until a job has to wait.
pub(crate) fn cycle(sched: &mut Sched, now: Now, out: &mut Vec<SchedOutput>) {
    let mut visited = 0;
    sched.heads.begin_epoch(sched.epoch);
    while let Some((key, id)) = sched.next_head() {
        if sched.spent(visited) {
            return;
        }
        let Some(job) = sched.queue.get(id) else { return };
        let (lane, wants) = (job.lane, sched.wants(job));
        if let Err(note) = sched.is_within(lane, &wants) {
            sched.deny(id, note, out);
            continue;
        }
        let excess = match sched.graph.find_counting(&wants, MatchOp::Allocate, now.wall, &mut visited) {
            Found::Now(r) => match sched.excess(lane, sched.load_of(id, &r)) {
                None => {
                    if !sched.start(id, r, now, out) {
                        sched.heads.pass(lane, key);
                    }
                    continue;
                }
                excess => excess,
            },
            Found::NotNow => None,
            Found::Never(note) => {
                sched.deny(id, note, out);
                continue;
            }
        };
        sched.heads.by_lane.insert(lane, Head { id, wants, key, start: None });
        sched.wait(now, id, None, excess, out, &mut visited);
    }
}
