//! The shortest job first, by the time that jobs ask for; who asks for no time is last. The order is the queue's
//! (`queue.rs`); how it is served is as with first come, first served: nobody passes the shortest.

use crate::{Sched, SchedOutput, policy::fcfs};
use flurm_types::Now;

pub(crate) fn cycle(sched: &mut Sched, now: Now, out: &mut Vec<SchedOutput>) {
    fcfs::cycle(sched, now, out);
}
