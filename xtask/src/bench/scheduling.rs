//! How long cycles take when many jobs wait, and how long a trace takes under each policy.

use std::sync::Arc;
use std::time::Instant;

use flurm_jobspec::Jobspec;
use flurm_sched::simulate::{Job, Report, Trace, run};
use flurm_sched::{Config, Policy, ResourceChange, Sched, SchedInput};
use flurm_types::{Idset, JobId, Now, R, RNode, Socket, Timestamp};
use serde_json::json;

use super::Effort;
use super::matching::{Lcg, inventory, jobspec};
use super::measure::{Figure, ms};

const NODES: u32 = 1000;

/// Cycles per figure.
const CYCLES: usize = 500;
const CYCLES_QUICK: usize = 50;

pub fn scheduling(effort: Effort) -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    let quick = effort == Effort::Quick;
    let pending: &[usize] = if quick { &[1000] } else { &[10_000, 100_000] };
    let cycles =
        |pending, policy, mix| cycles(pending, policy, mix, if quick { CYCLES_QUICK } else { CYCLES });
    let hybrid = Policy::Hybrid { depth: 32 };
    for pending in pending {
        for policy in [Policy::Fcfs, Policy::Easy, hybrid, Policy::Conservative] {
            figures.extend(cycles(*pending, policy, Mix::Shapes(64)));
        }
    }
    for policy in [hybrid, Policy::Conservative] {
        figures.extend(cycles(1000, policy, Mix::Memory(64)));
    }
    // Nothing that is known of one of them is of use for another.
    for policy in [Policy::Easy, hybrid] {
        figures.extend(cycles(pending[0], policy, Mix::Different));
    }
    figures.push(memory_replay(if quick { 200 } else { 2000 }));
    if let Some(path) = std::env::var_os("FLURM_BENCH_SWF") {
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        figures.extend(replay(&text)?);
    }
    Ok(figures)
}

/// Which jobs wait.
#[derive(Debug, Clone, Copy)]
enum Mix {
    /// Of so many shapes.
    Shapes(usize),
    /// The same, with memory for each core.
    Memory(usize),
    /// Each of its own size and length.
    Different,
}

impl Mix {
    fn job(self, id: usize, known: &mut Vec<Arc<Jobspec>>, random: &mut Lcg) -> Arc<Jobspec> {
        match self {
            Mix::Shapes(shapes) | Mix::Memory(shapes) if known.len() == shapes => {
                return Arc::clone(&known[id % shapes]);
            }
            Mix::Shapes(_) | Mix::Memory(_) | Mix::Different => {}
        }
        let core = json!({ "type": "core", "count": 1 });
        let core = match self {
            Mix::Shapes(_) | Mix::Different => json!([core]),
            // Three in four ask for less than there is for a core, the others for more.
            Mix::Memory(_) => {
                let gib = if random.below(4) == 0 { 8 } else { 1 + random.below(4) };
                json!([core, { "type": "memory", "count": gib, "unit": "GB" }])
            }
        };
        let (size, seconds) = match self {
            Mix::Shapes(_) | Mix::Memory(_) => {
                let nodes = random.below(4) == 0;
                let size = if nodes { 48 * (1 + random.below(32)) } else { 1 + random.below(48) };
                (size, 60 * (1 + random.below(600)))
            }
            Mix::Different => (1 + random.below(48 * 32), 60 + random.below(36_000)),
        };
        let job = Arc::new(jobspec(size as u32, &core, false, &json!({ "duration": seconds })));
        if let Mix::Shapes(_) | Mix::Memory(_) = self {
            known.push(Arc::clone(&job));
        }
        job
    }
}

/// The nodes, with 240 GiB on each if memory counts.
fn machine(memory: bool) -> R {
    let mut inventory = inventory(NODES);
    if memory {
        for topology in inventory.topology.values_mut() {
            let with = |socket: &Socket| Socket { memory_gib: Some(120), ..socket.clone() };
            topology.sockets = topology.sockets.iter().map(with).collect();
        }
    }
    inventory
}

/// Seconds for a trace of jobs that ask for memory, under `conservative`.
fn memory_replay(count: usize) -> Figure {
    let (mut random, mut known) = (Lcg(5), Vec::new());
    let jobs = (0..count).map(|n| {
        let jobspec = Mix::Memory(256).job(n, &mut known, &mut random);
        let asked = jobspec.attributes().duration;
        Job {
            number: n as u64,
            submit: Timestamp::from_secs_f64(1e9 + n as f64),
            // Most leave early.
            runtime_s: (asked * (1 + random.below(100)) as f64 / 100.0).ceil(),
            priority: 16,
            waited_s: None,
            beside: std::collections::BTreeMap::new(),
            class: None,
            jobspec,
        }
    });
    let trace = Trace { jobs: jobs.collect(), ..Trace::default() };
    let config = Config { policy: Policy::Conservative, ..Config::default() };
    let start = Instant::now();
    let run = run(&trace, &machine(true), &config, |_| ());
    assert!(run.outcomes.iter().all(|job| job.ran.is_some()), "each of them fits");
    let what = format!("conservative, {count} jobs with memory replayed");
    Figure::value(what, "s", count, start.elapsed().as_secs_f64())
}

/// Jobs on a full machine; one leaves at a time, and one comes.
fn cycles(pending: usize, policy: Policy, mix: Mix, count: usize) -> Vec<Figure> {
    let inventory = machine(matches!(mix, Mix::Memory(_)));
    let ranks = inventory.ranks();
    let mut sched = Sched::new(policy);
    let (mut out, mut random) = (Vec::new(), Lcg(11));
    let now = |n: usize| Now { mono_ms: n as u64, wall: Timestamp::from_secs_f64(1e9 + n as f64) };
    sched.step(now(0), SchedInput::Resource(ResourceChange::Define(inventory)), &mut out);
    sched.step(now(0), SchedInput::Resource(ResourceChange::Up(ranks.clone())), &mut out);
    let (mut id, mut known) = (0, Vec::new());
    let mut comes = |sched: &mut Sched, at: Now, random: &mut Lcg, out: &mut Vec<_>| {
        id += 1;
        let jobspec = mix.job(id, &mut known, random);
        let wish = SchedInput::Alloc { id: JobId(id as u64), jobspec, priority: 16, t_submit: at.wall };
        sched.step(at, wish, out);
    };
    (0..pending).for_each(|_| comes(&mut sched, now(0), &mut random, &mut out));
    let mut running: Vec<JobId> = Vec::new();
    // The first cycles fill the machine and look at everybody once.
    let mut first = Vec::new();
    let mut timed = |sched: &mut Sched, n: usize, running: &mut Vec<JobId>, samples: &mut Vec<f64>| {
        loop {
            let start = Instant::now();
            cycle(sched, now(n), &mut out, running);
            samples.push(ms(start.elapsed()));
            if !sched.cut_short() {
                break;
            }
        }
    };
    timed(&mut sched, 1, &mut running, &mut first);
    let (mut samples, mut told) = (Vec::new(), Vec::new());
    for n in 2..count + 2 {
        if !running.is_empty() {
            let id = running.swap_remove(random.below(running.len()));
            sched.step(now(n), SchedInput::Free { id, ranks: ranks.clone() }, &mut told);
        }
        comes(&mut sched, now(n), &mut random, &mut told);
        timed(&mut sched, n, &mut running, &mut samples);
    }
    let mix = match mix {
        Mix::Shapes(shapes) => format!("pending of {shapes} shapes"),
        Mix::Memory(shapes) => format!("pending of {shapes} shapes with memory"),
        Mix::Different => "different ones pending".to_owned(),
    };
    let what = format!("{policy}, {pending} {mix}");
    vec![
        Figure::value(format!("{what}: all looked at once"), "ms", 1, first.iter().sum()),
        Figure::samples(format!("{what}: a cycle of these"), "ms", first),
        Figure::samples(format!("{what}: a cycle"), "ms", samples),
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
