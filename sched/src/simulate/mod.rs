//! Virtual time: a trace of jobs goes through the scheduler that a live instance uses, on any graph.
//!
//! `trace.rs` reads traces and `export.rs` writes them, `contention.rs` says how jobs slow each other down, `report.rs`
//! makes figures out of a run, `draw.rs` tables, `svg.rs` pictures. Everything is a function of the trace and the
//! configuration: the same ones give the same bytes.

mod contention;
mod draw;
mod export;
mod report;
mod svg;
mod trace;

pub use report::Report;
pub use trace::{Job, Trace, TraceError, time};

use crate::{Config, ResourceChange, Sched, SchedInput, SchedOutput};
use contention::{Contention, End};
use flurm_resource_graph::SlowDowns;
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
    /// How long it runs alone.
    pub runtime_s: f64,
    /// Where and when it ran; none if it could never run here.
    pub ran: Option<Ran>,
    /// When it was first said to start, by policies that say so.
    pub promised: Option<Timestamp>,
    /// Why it was turned down.
    pub refused: Option<String>,
}

/// Where and when a job ran.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// When it began.
    pub start: Timestamp,
    /// When it left.
    pub end: Timestamp,
    /// Its time was over before its work was done.
    pub cut_off: bool,
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
    /// The job, and how often its end was said.
    Leaves(usize, u32),
    Comes(usize),
    /// The scheduler has something to do.
    Due,
}

/// Runs a trace on an inventory. `progress` hears how many jobs are over, now and then. Jobs slow each other down as
/// the configuration says.
#[must_use]
pub fn run(trace: &Trace, inventory: &R, config: &Config, progress: impl FnMut(usize)) -> Run {
    run_with(trace, inventory, config, &config.slowdowns, progress)
}

/// The same, with jobs that slow each other down in another way than the scheduler expects.
#[must_use]
pub fn run_with(
    trace: &Trace,
    inventory: &R,
    config: &Config,
    truth: &SlowDowns,
    mut progress: impl FnMut(usize),
) -> Run {
    let mut sched = Sched::with_config(config.clone());
    let mut out = Vec::new();
    sched.step(Now::default(), SchedInput::Resource(ResourceChange::Define(inventory.clone())), &mut out);
    sched.step(Now::default(), SchedInput::Resource(ResourceChange::Up(inventory.ranks())), &mut out);
    let mut outcomes: Vec<Outcome> = trace.jobs.iter().map(|job| outcome(job, truth)).collect();
    let classes = trace.jobs.iter().filter_map(|job| job.class.as_deref());
    let mut going = Contention::new(inventory, classes, truth);
    let mut events: BinaryHeap<Reverse<(Timestamp, Event)>> =
        (0..).zip(&trace.jobs).map(|(n, job)| Reverse((job.submit, Event::Comes(n)))).collect();
    let mut over = 0;
    while let Some(Reverse((at, _))) = events.peek() {
        let now = clock(*at);
        while events.peek().is_some_and(|Reverse((time, _))| *time == now.wall) {
            let Reverse((at, event)) = events.pop().expect("there is one");
            match event {
                Event::Due => {}
                Event::Comes(n) => sched.step(now, comes(n, &trace.jobs[n]), &mut out),
                Event::Leaves(job, said) if going.is_over(End { job, at, said }) => {
                    over += 1;
                    let ran = outcomes[job].ran.as_mut().expect("it runs");
                    (ran.end, ran.cut_off) = (at, !going.leaves(job, at));
                    sched.step(now, SchedInput::Free { id: id(job), ranks: ran.r.ranks() }, &mut out);
                }
                Event::Leaves(..) => {}
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
                    let job = &trace.jobs[n];
                    going.begins(n, job.class.as_deref(), outcomes[n].runtime_s, &r);
                    outcomes[n].ran = Some(Ran { start: now.wall, end: now.wall, cut_off: false, r });
                }
                SchedOutput::Annotate { id, .. } => {
                    let promised = &mut outcomes[place(id)].promised;
                    *promised = promised.or(sched.promised(id));
                }
                SchedOutput::Deny { id, note } => {
                    over += 1;
                    outcomes[place(id)].refused = Some(note);
                }
                SchedOutput::Canceled { .. } => over += 1,
                SchedOutput::Learnt { .. } => {}
            }
        }
        let ends = going.ends(now.wall);
        events.extend(ends.into_iter().map(|end| Reverse((end.at, Event::Leaves(end.job, end.said)))));
        if let Some(due) = sched.wakes_at().filter(|due| *due > now.wall)
            && events.peek().is_some_and(|Reverse((next, _))| *next > due)
        {
            events.push(Reverse((due, Event::Due)));
        }
        progress(over);
    }
    Run { inventory: inventory.clone(), outcomes }
}

fn outcome(job: &Job, truth: &SlowDowns) -> Outcome {
    let Job { number, submit, .. } = *job;
    Outcome { number, submit, runtime_s: job.alone_s(truth), ran: None, promised: None, refused: None }
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
