//! First come, first served: the head of the queue runs or waits, and while it waits nobody passes it.
//!
//! A cycle costs a search for each job that leaves the queue and one for the job that does not fit. That one is
//! remembered, and cycles are free until something has changed for it.

use crate::{CYCLE_VISITS_MAX, Sched, SchedOutput};
use flurm_resource_graph::{Found, MatchOp};
use flurm_types::Now;
use serde_json::{Value, json};

/// Serves the queue from its head until a job has to wait.
pub(crate) fn cycle(sched: &mut Sched, now: Now, out: &mut Vec<SchedOutput>) {
    let mut visited = 0;
    while let Some(job) = sched.queue.head() {
        let id = job.id;
        if sched.waiting == Some(id) {
            return;
        }
        if visited >= CYCLE_VISITS_MAX {
            sched.cut_short = true;
            return;
        }
        let found = sched.graph.find_counting(&job.jobspec, MatchOp::Allocate, now.wall, &mut visited);
        match found {
            Found::Now(r) => {
                sched.graph.take(id, &r);
                let reason_was_given = sched.queue.remove(id).is_some_and(|job| job.annotated);
                let annotations = if reason_was_given { reason(Value::Null) } else { Value::Null };
                out.push(SchedOutput::Alloc { id, r, annotations });
            }
            Found::NotNow => {
                sched.waiting = Some(id);
                if !job.annotated {
                    let why = sched.graph.shortage(&job.jobspec);
                    sched.queue.annotated(id);
                    out.push(SchedOutput::Annotate { id, annotations: reason(why.into()) });
                }
                return;
            }
            Found::Never(note) => {
                sched.queue.remove(id);
                out.push(SchedOutput::Deny { id, note });
            }
        }
    }
}

fn reason(why: Value) -> Value {
    json!({ "sched": { "reason_pending": why } })
}
