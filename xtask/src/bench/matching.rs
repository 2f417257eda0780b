//! How fast a place is found, taken and given back.

use std::time::Instant;

use flurm_jobspec::Jobspec;
use flurm_resource_graph::{Found, Graph, Mark, MatchOp};
use flurm_types::{Idset, JobId, R, RNode, Socket, Timestamp, Topology};
use serde_json::{Value, json};

use super::Effort;
use super::measure::{Figure, times_ms};

/// Cores of a socket; a node has two.
const CORES: u32 = 24;

/// Finds per figure at most, and the time after which fewer are enough.
const PAIRS_MAX: usize = 20_000;
const TIME_MAX_S: f64 = 1.0;

/// A small generator of numbers that are the same on every run.
pub struct Lcg(pub u64);

impl Lcg {
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }
}

/// So many nodes of two sockets; a third of them have a property.
pub fn inventory(nodes: u32) -> R {
    let ids = |each: u32, s: u32| -> Idset { (s * each..(s + 1) * each).collect() };
    let socket = |s| Socket { cores: ids(CORES, s), gpus: ids(1, s), memory_gib: None };
    let inside = Topology { sockets: (0..2).map(socket).collect() };
    let node = |rank| RNode {
        rank,
        host: format!("n{rank}"),
        cores: (0..2 * CORES).collect(),
        gpus: (0..2).collect(),
    };
    let mut r = R::from_nodes((0..nodes).map(node));
    r.topology = (0..nodes).map(|rank| (rank, inside.clone())).collect();
    r.properties.insert("third".to_owned(), (0..nodes).filter(|rank| rank % 3 == 0).collect());
    r
}

/// A jobspec with these resources below `slot`, and further attributes.
pub fn jobspec(slots: u32, inside: &Value, node: bool, attributes: &Value) -> Jobspec {
    let slot = json!({ "type": "slot", "count": slots, "label": "task", "with": inside });
    let top =
        if node { json!({ "type": "node", "count": 1, "exclusive": true, "with": [slot] }) } else { slot };
    let document = json!({
        "version": 1, "resources": [top], "attributes": { "system": attributes },
        "tasks": [{ "command": ["true"], "slot": "task", "count": { "per_slot": 1 } }],
    });
    Jobspec::parse(&document.to_string()).expect("written here")
}

/// What is asked for, by name.
fn requests() -> Vec<(&'static str, Jobspec)> {
    let core = json!([{ "type": "core", "count": 1 }]);
    let with_gpu = json!([{ "type": "core", "count": 1 }, { "type": "gpu", "count": 1 }]);
    let third = json!({ "constraints": { "properties": ["third"] } });
    let spread = json!({ "placement": "spread" });
    vec![
        ("1 core", jobspec(1, &core, false, &json!({}))),
        ("20 cores", jobspec(20, &core, false, &json!({}))),
        ("full node", jobspec(1, &core, true, &json!({}))),
        ("spread, 12 of a socket", jobspec(12, &core, false, &spread)),
        ("core and GPU", jobspec(1, &with_gpu, false, &json!({}))),
        ("1 core, constraint", jobspec(1, &core, false, &third)),
        ("1 core, first", jobspec(1, &core, false, &json!({ "placement": "first" }))),
        ("200 cores", jobspec(200, &core, false, &json!({}))),
    ]
}

/// Takes cores in random order, a few at a time, until so much is held.
fn filled(nodes: u32, fill: f64) -> Graph {
    let inventory = inventory(nodes);
    let mut graph = Graph::from_r(&inventory);
    graph.mark(&inventory.ranks(), Mark::Up);
    let mut random = Lcg(7);
    let mut order: Vec<usize> = (0..inventory.ncores()).collect();
    for n in (1..order.len()).rev() {
        order.swap(n, random.below(n + 1));
    }
    let held = (order.len() as f64 * fill) as usize;
    for (id, place) in (1_000_000..).zip(&order[..held]) {
        let (rank, core) = (*place as u32 / (2 * CORES), *place as u32 % (2 * CORES));
        let cores = Idset::from_range(core..=core);
        let part = RNode { rank, host: format!("n{rank}"), cores, gpus: Idset::new() };
        graph.take(JobId(id), &R::from_nodes([part]));
    }
    graph
}

/// Microseconds of a find with take and give back, or of a find in vain; and of the reason why a whole node is not to
/// be had.
pub fn matching(effort: Effort) -> Result<Vec<Figure>, String> {
    let sizes: &[u32] = if effort == Effort::Quick { &[1024] } else { &[1024, 16_384] };
    let mut figures = Vec::new();
    for nodes in sizes {
        for fill in [0.0, 0.5, 0.95] {
            let mut graph = filled(*nodes, fill);
            for (name, jobspec) in requests() {
                let (mut samples, mut found) = (Vec::new(), false);
                let begin = Instant::now();
                while samples.len() < PAIRS_MAX && begin.elapsed().as_secs_f64() < TIME_MAX_S {
                    // Batches, since the clock itself takes a while.
                    let start = Instant::now();
                    for _ in 0..16 {
                        if let Found::Now(r) = graph.find(&jobspec, MatchOp::Allocate, Timestamp::ZERO) {
                            graph.take(JobId(1), &r);
                            graph.give_back(JobId(1), &r.ranks());
                            found = true;
                        }
                    }
                    samples.push(start.elapsed().as_secs_f64() * 1e6 / 16.0);
                }
                let vain = if found { "" } else { " (none)" };
                let what = format!("{nodes} nodes, {:.0} %, {name}{vain}", fill * 100.0);
                figures.push(Figure::samples(what, "us", samples));
            }
            let third = json!({ "constraints": { "properties": ["third"] } });
            let whole = jobspec(1, &json!([{ "type": "core", "count": 1 }]), true, &third);
            let samples = times_ms(1000, || {
                std::hint::black_box(graph.shortage(&whole, Timestamp::ZERO));
                Ok(())
            })?;
            let samples = samples.into_iter().map(|ms| ms * 1e3).collect();
            figures.push(Figure::samples(
                format!("{nodes} nodes, {:.0} %, why not", fill * 100.0),
                "us",
                samples,
            ));
        }
    }
    Ok(figures)
}
