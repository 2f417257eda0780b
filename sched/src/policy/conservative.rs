//! Conservative backfilling: every job is promised a start when it comes, and nobody passes it if that would break
//! the promise. When somebody leaves early, promises are moved forward in the order of the queue, never back.

use crate::{Sched, SchedOutput, policy::hybrid};
use flurm_types::Now;

/// Jobs further down the queue are promised nothing yet: with so many before them it would not mean much, and what a
/// promise costs grows with their number.
const PROMISES_MAX: usize = 1 << 14;

pub(crate) fn cycle(sched: &mut Sched, now: Now, out: &mut Vec<SchedOutput>) {
    hybrid::cycle(sched, PROMISES_MAX, now, out);
}
