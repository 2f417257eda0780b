//! Virtual time: a trace of jobs goes through the scheduler that a live instance uses, on any graph.
//!
//! `trace.rs` reads traces, `report.rs` makes figures out of a run, `draw.rs` tables, `svg.rs` pictures. Everything is a
//! function of the trace and the configuration: the same ones give the same bytes.

mod draw;
mod report;
mod svg;
mod trace;

pub use report::Report;
pub use trace::{Job, Trace, TraceError};

use crate::{Config, ResourceChange, Sched, SchedInput, SchedOutput};
use flurm_types::{JobId, Now, R, Timestamp};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// What became of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The trace's number for it.
    pub number: u64,
    /// When it was submitted.
    pub submit: Timestamp,
    /// Where and when it ran; none if it could never run here.
    pub ran: Option<Ran>,
    /// When it was first said to start, by policies that say so.
    pub promised: Option<Timestamp>,
}

/// Where and when a job ran.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// When it began.
    pub start: Timestamp,
    /// When it left.
    pub end: Timestamp,
    /// What it had.
    pub r: R,
}

/// A run of a trace under one configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What there was.
    pub inventory: R,
    /// In the order of the trace.
    pub outcomes: Vec<Outcome>,
}

/// What happens next, in the order of time; at the same time jobs leave before others come.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Leaves(usize),
    Comes(usize),
}

/// Runs a trace on an inventory. `progress` hears how many jobs are over, now and then.
#[must_use]
pub fn run(trace: &Trace, inventory: &R, config: &Config, mut progress: impl FnMut(usize)) -> Run {
    let mut sched = Sched::with_config(config.clone());
    let mut out = Vec::new();
    sched.step(Now::default(), SchedInput::Resource(ResourceChange::Define(inventory.clone())), &mut out);
    sched.step(Now::default(), SchedInput::Resource(ResourceChange::Up(inventory.ranks())), &mut out);
    let outcome = |job: &Job| Outcome { number: job.number, submit: job.submit, ran: None, promised: None };
    let mut outcomes: Vec<Outcome> = trace.jobs.iter().map(outcome).collect();
    let mut events: BinaryHeap<Reverse<(Timestamp, Event)>> =
        (0..).zip(&trace.jobs).map(|(n, job)| Reverse((job.submit, Event::Comes(n)))).collect();
    let mut over = 0;
    while let Some(Reverse((at, _))) = events.peek() {
        let now = clock(*at);
        while events.peek().is_some_and(|Reverse((time, _))| *time == now.wall) {
            let Reverse((_, event)) = events.pop().expect("there is one");
            match event {
                Event::Comes(n) => sched.step(now, comes(n, &trace.jobs[n]), &mut out),
                Event::Leaves(n) => {
                    over += 1;
                    let ran = outcomes[n].ran.as_ref().expect("it runs");
                    sched.step(now, SchedInput::Free { id: id(n), ranks: ran.r.ranks() }, &mut out);
                }
            }
        }
        loop {
            sched.step(now, SchedInput::Cycle, &mut out);
            if !sched.cut_short() {
                break;
            }
        }
        for said in out.drain(..) {
            match said {
                SchedOutput::Alloc { id, r, .. } => {
                    let n = place(id);
                    let end = end_of(&trace.jobs[n], &r);
                    events.push(Reverse((end, Event::Leaves(n))));
                    outcomes[n].ran = Some(Ran { start: now.wall, end, r });
                }
                SchedOutput::Annotate { id, .. } => {
                    let promised = &mut outcomes[place(id)].promised;
                    *promised = promised.or(sched.promised(id));
                }
                SchedOutput::Deny { .. } | SchedOutput::Canceled { .. } => over += 1,
            }
        }
        progress(over);
    }
    Run { inventory: inventory.clone(), outcomes }
}

/// Wall clock and the other one go together.
fn clock(wall: Timestamp) -> Now {
    Now { mono_ms: u64::try_from(wall.0 / 1000).unwrap_or(0), wall }
}

/// Ids go up with the place in the trace.
fn id(n: usize) -> JobId {
    JobId(n as u64)
}

fn place(id: JobId) -> usize {
    id.0 as usize
}

fn comes(n: usize, job: &Job) -> SchedInput {
    let jobspec = Arc::clone(&job.jobspec);
    SchedInput::Alloc { id: id(n), jobspec, priority: job.priority, t_submit: job.submit }
}

/// A job leaves when it is done, or when its time is over.
fn end_of(job: &Job, r: &R) -> Timestamp {
    let done = r.starttime.checked_add_secs(job.runtime_s).unwrap_or(Timestamp(i64::MAX));
    if r.expiration.is_zero() { done } else { done.min(r.expiration) }
}
