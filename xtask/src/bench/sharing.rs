//! What sharing sockets does to a makespan: mixes of jobs that slow each other down, packed, spread and put together in
//! pairs. Everything is simulated, so the figures are the same on every machine.

use std::fmt::Write as _;

use flurm_jobspec::{Placement, Share};
use flurm_sched::simulate::{Report, Trace, run};
use flurm_sched::{Config, Policy};
use flurm_types::{Idset, R, RNode, Socket, Topology};

use super::Effort;
use super::matching::Lcg;
use super::measure::Figure;

const NODES: u32 = 16;

/// Cores of each of a node's two sockets.
const CORES: u32 = 10;

const MIXES: [(&str, &[&str]); 4] = [
    ("compute and memory", &["compute", "memory"]),
    ("compute", &["compute"]),
    ("memory", &["memory"]),
    ("compute, memory and io", &["compute", "memory", "io"]),
];

pub fn sharing(effort: Effort) -> Result<Vec<Figure>, String> {
    let jobs = if effort == Effort::Quick { 100 } else { 500 };
    let (mut figures, mut reports) = (Vec::new(), Vec::new());
    for (name, classes) in MIXES {
        let trace = mix(jobs, classes)?;
        let willing = trace.willing();
        for policy in [Policy::Fcfs, Policy::Easy] {
            let compact = play(&trace, policy, Placement::Compact);
            let spread = play(&trace, policy, Placement::Spread(Share::HALF));
            let cosched = play(&willing, policy, Placement::Compact);
            for (placement, report) in [("compact", &compact), ("spread", &spread), ("cosched", &cosched)] {
                let part = report.makespan_s / compact.makespan_s * 100.0;
                figures.push(Figure::value(format!("{name}: {policy}, {placement}"), "%", jobs, part));
                reports.push((format!("{name}: {policy}, {placement}"), report.clone()));
            }
        }
    }
    eprint!("{}", Report::table(&reports));
    Ok(figures)
}

/// Jobs of these classes in turns, all there at the beginning: 10 to 80 cores, 10 minutes to an hour if alone. They ask
/// for twice their time and ten minutes.
fn mix(jobs: usize, classes: &[&str]) -> Result<Trace, String> {
    let (mut random, mut text) = (Lcg(42), String::new());
    for n in 0..jobs {
        let (cores, secs) = ([10, 20, 40, 80][random.below(4)], 600 + random.below(3001));
        let (class, duration) = (classes[n % classes.len()], 2 * secs + 600);
        writeln!(
            text,
            r#"{{"submit":0,"runtime":{secs},"ntasks":{cores},"class":"{class}","duration":{duration}}}"#
        )
        .expect("a String takes every text");
    }
    Trace::parse(&text).map_err(|error| error.to_string())
}

fn play(trace: &Trace, policy: Policy, placement: Placement) -> Report {
    let mut machine = R::from_nodes((0..NODES).map(|rank| RNode {
        rank,
        host: format!("n{rank}"),
        cores: (0..2 * CORES).collect(),
        gpus: Idset::new(),
    }));
    let socket =
        |first: u32| Socket { cores: (first..first + CORES).collect(), gpus: Idset::new(), memory_gib: None };
    let sockets: std::sync::Arc<[Socket]> = [socket(0), socket(CORES)].into();
    machine.topology = (0..NODES).map(|rank| (rank, Topology { sockets: sockets.clone() })).collect();
    run(trace, &machine, &Config { policy, placement, ..Config::default() }, |_| ()).report()
}
