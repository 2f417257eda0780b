//! What it costs to read a machine from JGF, and to find a place for requests that only its tree knows.

use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use flurm_jobspec::{Jobspec, shape};
use flurm_resource_graph::describe::{Description, Document, Shape};
use flurm_resource_graph::{Found, Graph, MatchOp};
use flurm_types::{Idset, JobId, R, RNode, Timestamp};
use serde_json::json;

use super::Effort;
use super::matching::Lcg;
use super::measure::Figure;

/// Finds per figure at most, and the time after which fewer are enough.
const PAIRS_MAX: usize = 2_000;
const TIME_MAX_S: f64 = 0.5;

/// Requests that the fast matcher does not know; and one that never fits.
const REQUESTS: &[&str] = &[
    "slot=1/[core=1;memory=4]",
    "slot=64/[core=1;memory=2]",
    "node=4/slot=1/[core=12;memory=32]",
    "rack=2/node=4/slot=2/[core=4;gpu=1]",
    "rack=1{x}/node=1/slot=1/core=1",
    "numanode=8/slot=2/core=2",
    "slot=4/l3cache=1",
    "[node=1/slot=1{a}/[core=1;gpu=2];slot=32{b}/[core=2;memory=1]]",
    "slot=1/[core=49;memory=1]",
];

fn machine(nodes: u32, levels: bool) -> Shape {
    Shape {
        hosts: format!("n[0-{}]", nodes - 1).parse().expect("a hostlist"),
        sockets: 2,
        cores: 24,
        racks: if levels { nodes / 32 } else { 0 },
        numa: if levels { 2 } else { 0 },
        l3: if levels { 4 } else { 0 },
        gpus: u32::from(levels),
        memory_gib: levels.then_some(128),
        ..Shape::default()
    }
}

fn jobspec(text: &str) -> Jobspec {
    let (resources, labels) = shape::resources(text).expect(text);
    let task = |label: &String| json!({ "command": ["true"], "slot": label, "count": { "per_slot": 1 } });
    let document = json!({
        "version": 1, "resources": resources, "attributes": { "system": { "duration": 60 } },
        "tasks": labels.iter().map(task).collect::<Vec<_>>(),
    });
    Jobspec::parse(&document.to_string()).expect(text)
}

/// A line of what the kernel says of this process, in MiB.
fn memory_mib(key: &str) -> Result<f64, String> {
    let status = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).ok_or(format!("no {key}"))?;
    let kib: f64 = line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().map_err(|_| line.to_owned())?;
    Ok(kib / 1024.0)
}

/// Has a process of its own read a JGF; seconds and the most memory that it has had, in MiB.
fn read_elsewhere(text: &str) -> Result<(f64, f64), String> {
    let file = std::env::temp_dir().join(format!("flurm-bench-{}.json", std::process::id()));
    fs::write(&file, text).map_err(|error| error.to_string())?;
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let read = Command::new(me).arg("read-jgf").arg(&file).output();
    let _ = fs::remove_file(&file);
    let said = String::from_utf8_lossy(&read.map_err(|error| error.to_string())?.stdout).into_owned();
    let numbers: Option<Vec<f64>> = said.split_whitespace().map(|word| word.parse().ok()).collect();
    match numbers.as_deref() {
        Some([seconds, mib]) => Ok((*seconds, *mib)),
        _ => Err(format!("the reader said `{said}`")),
    }
}

/// That process: prints both.
pub fn read_jgf(path: &str) -> Result<u8, String> {
    let start = Instant::now();
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let document = Document::read(file).map_err(|error| error.to_string())?;
    let seconds = start.elapsed().as_secs_f64();
    black_box(document);
    println!("{seconds} {}", memory_mib("VmHWM")?);
    Ok(0)
}

/// Seconds and peak memory of reading, microseconds of finding.
pub fn describing(effort: Effort) -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    let nodes = if effort == Effort::Quick { 1024 } else { 16_384 };
    let text = machine(nodes, false).describe().to_jgf();
    let what = |what: &str| format!("{nodes} nodes x 2 x 24, {what}");
    figures.push(Figure::value(what("text of the JGF"), "MiB", 1, text.len() as f64 / f64::from(1 << 20)));
    let (seconds, mib) = read_elsewhere(&text)?;
    figures.push(Figure::value(what("JGF read from a file"), "s", 1, seconds));
    figures.push(Figure::value(what("most memory of the process that reads it"), "MiB", 1, mib));
    let description = Description::from_jgf(&text).map_err(|error| error.to_string())?;
    let start = Instant::now();
    let written = description.to_jgf();
    figures.push(Figure::value(what("JGF written"), "s", 1, start.elapsed().as_secs_f64()));
    assert_eq!(written.len(), text.len());
    drop((written, text));
    let start = Instant::now();
    let graph = Graph::from_description(&description).map_err(|error| error.to_string())?;
    figures.push(Figure::value(what("graph made of it"), "s", 1, start.elapsed().as_secs_f64()));
    drop((description, black_box(graph)));
    for nodes in if effort == Effort::Quick { &[1024][..] } else { &[1024, 16_384] } {
        matching(*nodes, &mut figures)?;
    }
    Ok(figures)
}

fn matching(nodes: u32, figures: &mut Vec<Figure>) -> Result<(), String> {
    let description = machine(nodes, true).describe();
    for fill in [0.0, 0.5, 0.95] {
        let mut graph = Graph::from_description(&description).map_err(|error| error.to_string())?;
        let mut random = Lcg(7);
        let mut order: Vec<u32> = (0..nodes * 48).collect();
        for n in (1..order.len()).rev() {
            order.swap(n, random.below(n + 1));
        }
        let held = (order.len() as f64 * fill) as usize;
        for (id, place) in (1_000_000..).zip(&order[..held]) {
            let (rank, core) = (place / 48, place % 48);
            let cores = Idset::from_range(core..=core);
            let part = RNode { rank, host: format!("n{rank}"), cores, gpus: Idset::new() };
            graph.take(JobId(id), &R::from_nodes([part]));
        }
        for text in REQUESTS {
            let jobspec = jobspec(text);
            let (mut samples, mut found) = (Vec::new(), "");
            let begin = Instant::now();
            while samples.len() < PAIRS_MAX && begin.elapsed().as_secs_f64() < TIME_MAX_S {
                let start = Instant::now();
                match graph.find(&jobspec, MatchOp::Allocate, Timestamp::ZERO) {
                    Found::Now(r) => {
                        graph.take(JobId(1), &r);
                        graph.give_back(JobId(1), &r.ranks());
                    }
                    Found::NotNow => found = " (not now)",
                    Found::Never(_) => found = " (never)",
                }
                samples.push(start.elapsed().as_secs_f64() * 1e6);
            }
            figures.push(Figure::samples(
                format!("{nodes} nodes, {:.0} %, {text}{found}", fill * 100.0),
                "us",
                samples,
            ));
        }
    }
    Ok(())
}
