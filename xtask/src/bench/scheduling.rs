//! How long cycles take when many jobs wait, and how long a trace takes under each policy.

use std::sync::Arc;
use std::time::Instant;

use flurm_sched::simulate::{Report, Trace, run};
use flurm_sched::{Config, Policy, ResourceChange, Sched, SchedInput};
use flurm_types::{Idset, JobId, Now, R, RNode, Timestamp};
use serde_json::json;

use super::Effort;
use super::matching::{Lcg, inventory, jobspec};
use super::measure::{Figure, ms};

const NODES: u32 = 1000;

/// Cycles per figure.
const CYCLES: usize = 500;

pub fn scheduling(effort: Effort) -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    let pending: &[usize] = if effort == Effort::Quick { &[1000] } else { &[10_000, 100_000] };
    for pending in pending {
        for policy in [Policy::Fcfs, Policy::Easy, Policy::Hybrid { depth: 32 }] {
            figures.extend(cycles(*pending, policy));
        }
    }
    if let Some(path) = std::env::var_os("FLURM_BENCH_SWF") {
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        figures.extend(replay(&text)?);
    }
    Ok(figures)
}

/// Jobs on a full machine; one leaves at a time, and one comes.
fn cycles(pending: usize, policy: Policy) -> Vec<Figure> {
    let inventory = inventory(NODES);
    let ranks = inventory.ranks();
    let mut sched = Sched::new(policy);
    let (mut out, mut random) = (Vec::new(), Lcg(11));
    let now = |n: usize| Now { mono_ms: n as u64, wall: Timestamp::from_secs_f64(1e9 + n as f64) };
    let core = json!([{ "type": "core", "count": 1 }]);
    let shapes: Vec<_> = (0..64)
        .map(|_| {
            let size = if random.below(4) == 0 { 48 * (1 + random.below(32)) } else { 1 + random.below(48) };
            let duration = json!({ "duration": 60 * (1 + random.below(600)) });
            Arc::new(jobspec(size as u32, &core, false, &duration))
        })
        .collect();
    sched.step(now(0), SchedInput::Resource(ResourceChange::Define(inventory)), &mut out);
    sched.step(now(0), SchedInput::Resource(ResourceChange::Up(ranks.clone())), &mut out);
    let mut id = 0;
    let mut comes = |sched: &mut Sched, at: Now, out: &mut Vec<_>| {
        id += 1;
        let jobspec = Arc::clone(&shapes[id % shapes.len()]);
        let wish = SchedInput::Alloc { id: JobId(id as u64), jobspec, priority: 16, t_submit: at.wall };
        sched.step(at, wish, out);
    };
    (0..pending).for_each(|_| comes(&mut sched, now(0), &mut out));
    let mut running: Vec<JobId> = Vec::new();
    let mut samples = Vec::new();
    // The first cycles fill the machine and look at everybody once.
    let start = Instant::now();
    cycle(&mut sched, now(1), &mut out, &mut running);
    while sched.cut_short() {
        cycle(&mut sched, now(1), &mut out, &mut running);
    }
    let first = ms(start.elapsed());
    for n in 2..CYCLES + 2 {
        if !running.is_empty() {
            let id = running.swap_remove(random.below(running.len()));
            sched.step(now(n), SchedInput::Free { id, ranks: ranks.clone() }, &mut out);
        }
        comes(&mut sched, now(n), &mut out);
        loop {
            let start = Instant::now();
            cycle(&mut sched, now(n), &mut out, &mut running);
            samples.push(ms(start.elapsed()));
            if !sched.cut_short() {
                break;
            }
        }
    }
    vec![
        Figure::value(format!("{policy}, {pending} pending: all looked at once"), "ms", 1, first),
        Figure::samples(format!("{policy}, {pending} pending: a cycle"), "ms", samples),
    ]
}

fn cycle(sched: &mut Sched, now: Now, out: &mut Vec<flurm_sched::SchedOutput>, running: &mut Vec<JobId>) {
    sched.step(now, SchedInput::Cycle, out);
    running.extend(out.drain(..).filter_map(|said| match said {
        flurm_sched::SchedOutput::Alloc { id, .. } => Some(id),
        _ => None,
    }));
}

/// A trace on 256 nodes of one core, under each policy; the table is printed as well.
fn replay(text: &str) -> Result<Vec<Figure>, String> {
    let trace = Trace::parse(text).map_err(|error| error.to_string())?;
    let node =
        |rank| RNode { rank, host: format!("n{rank}"), cores: Idset::from_range(0..=0), gpus: Idset::new() };
    let machine = R::from_nodes((0..256).map(node));
    let (mut figures, mut reports) = (Vec::new(), Vec::new());
    for policy in
        [Policy::Fcfs, Policy::Sjf, Policy::Easy, Policy::Hybrid { depth: 32 }, Policy::Conservative]
    {
        let start = Instant::now();
        let run = run(&trace, &machine, &Config { policy, ..Config::default() }, |_| ());
        let what = format!("{policy}, {} jobs replayed", trace.jobs.len());
        figures.push(Figure::value(what, "s", trace.jobs.len(), start.elapsed().as_secs_f64()));
        reports.push((policy.to_string(), run.report()));
    }
    eprint!("{}", Report::table(&reports));
    Ok(figures)
}
