//! Readers of `flurm-resource-graph`: any bytes are read or refused, and what was read is written and read again as
//! the same. And its matcher: whatever is asked for, nobody gets what is not free.

use flurm_jobspec::{Jobspec, shape};
use flurm_resource_graph::describe::Description;
use flurm_resource_graph::describe::Shape;
use flurm_resource_graph::{Criteria, Found, Graph, Mark, MatchOp, SlowDowns};
use flurm_types::{JobId, R, Timestamp};
use serde_json::json;

type Body = fn(&[u8]);

/// Name, body, and texts to start from.
pub const TARGETS: &[(&str, Body, &[&str])] = &[
    (
        "jgf",
        jgf,
        &[
            r#"{"graph":{"nodes":[{"id":"0","metadata":{"type":"cluster","name":"c","rank":-1,"paths":{"containment":"/c"}}},{"id":1,"metadata":{"type":"node","name":"n1","id":-1,"rank":0,"properties":{"p":""}}},{"id":"2","metadata":{"type":"socket","id":0,"properties":["a"]}},{"id":"3","metadata":{"type":"core","id":0}},{"id":"4","metadata":{"type":"gpu","id":0,"size":2}},{"id":"5","metadata":{"type":"memory","size":64,"unit":"GB"}}],"edges":[{"source":"0","target":"1","metadata":{"subsystem":"containment"}},{"source":1,"target":"2","metadata":{"name":{"containment":"contains"}}},{"source":"2","target":"3"},{"source":"2","target":"4"},{"source":"2","target":"5","metadata":{"subsystem":"power","relationship":"feeds"}},{"source":"1","target":"5"}]}}"#,
        ],
    ),
    (
        "r_with_graph",
        r_with_graph,
        &[
            r#"{"version":1,"execution":{"R_lite":[{"rank":"0-1","children":{"core":"0-1","gpu":"0"}}],"nodelist":["n[0-1]"],"starttime":0,"expiration":0},"scheduling":{"writer":"fluxion:jgf","graph":{"nodes":[{"id":"0","metadata":{"type":"cluster","name":"c","rank":-1,"paths":{"containment":"/c"}}},{"id":"1","metadata":{"type":"node","name":"n0","rank":0,"paths":{"containment":"/c/n0"}}},{"id":"2","metadata":{"type":"core","id":0,"rank":0,"size":2,"paths":{"containment":"/c/n0/core0"}}},{"id":"3","metadata":{"type":"gpu","id":0,"rank":0}},{"id":"4","metadata":{"type":"memory","id":0,"rank":0,"size":64,"unit":"GB","status":"down","paths":{"containment":"/c/n0/memory0"}}},{"id":"5","metadata":{"type":"licence","id":7,"size":9,"paths":{"containment":"/c/licence7"}}}],"edges":[{"source":"0","target":"1"},{"source":"1","target":"2"},{"source":"1","target":"3"},{"source":"1","target":"4"},{"source":"0","target":"5"}]}}}"#,
        ],
    ),
    (
        "general",
        general,
        &[
            "nodes=3 racks=2 sockets=2 numa=2 cores=4 threads=2 gpus=1 memory=7\nrack=1/node=2/slot=2/[core=1;memory=3]\nslot=2/[core=1;gpu=1]\nnumanode=2{x}/slot=1/pu=3\n[node=1{x}/slot=1{a}/core=1;slot=1-3{b}/[socket=1;core=2]]",
            "nodes=2 sockets=1 cores=3 memory=9\nslot=2/[core=1;memory=2-16:2:*]\nslot=1/memory=4{unit:MiB}\nnode=1{id:1}/slot=1/core=1{id:0-1}\nslot=1/rack=1/node=1",
        ],
    ),
    (
        "criteria",
        criteria,
        &[
            "status=down and (sched-now=allocated or not type=core) and rank=3",
            "jobid-alloc=ƒ2nd or property=x",
        ],
    ),
    (
        "slowdowns",
        slowdowns,
        &["unknown = 1.3\n[slowdown.memory]\nmemory = 1.9 # much\n'io' = 2\n[slowdown]\nfft = { x = 1e2 }\n"],
    ),
    (
        "hwloc",
        hwloc,
        &[
            "<?xml version=\"1.0\"?><!DOCTYPE topology SYSTEM \"hwloc2.dtd\"><topology version=\"2.0\"><object type=\"Machine\"><object type=\"Package\"><info name=\"a\" value=\"&lt;b&#65;\"/><object type=\"NUMANode\" local_memory=\"34359738368\"/><object type=\"Core\"><object type=\"PU\"/></object></object></object></topology>",
        ],
    ),
];

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

pub fn slowdowns(bytes: &[u8]) {
    if let Ok(table) = SlowDowns::parse(text(bytes)) {
        assert!(table.of("memory", "memory") >= 1.0 && table.gain("x", "y") <= 2.0);
    }
}

pub fn jgf(bytes: &[u8]) {
    if let Ok(description) = Description::from_jgf(text(bytes)) {
        check(&description);
    }
}

pub fn hwloc(bytes: &[u8]) {
    if let Ok(description) = Description::from_hwloc(text(bytes), "n0") {
        check(&description);
    }
}

/// An inventory that carries a graph; and the same as what a job holds.
pub fn r_with_graph(bytes: &[u8]) {
    let Ok(r) = R::parse(text(bytes)) else { return };
    if r.ncores() + r.ngpus() > 1 << 12 {
        return;
    }
    let mut graph = Graph::from_r(&r);
    graph.mark(&r.ranks(), Mark::Up);
    assert_eq!((graph.free().ncores(), graph.free().ngpus()), (r.ncores(), r.ngpus()));
    let ranks = r.ranks().take(1);
    graph.take(JobId(1), &r);
    assert_eq!(graph.free().ncores(), 0);
    let left = r.restrict_with_graph(&ranks);
    let again = left.renumber();
    assert_eq!(left.ncores(), again.ncores());
    graph.redefine(&left);
    graph.give_back(JobId(1), &r.ranks());
    assert_eq!(graph.free().ncores(), left.ncores());
    for info in graph.select(&Criteria::Allocated(false)) {
        let found = graph.info(&info.path);
        // Only names that stand twice beside each other lead elsewhere.
        assert!(found.is_some_and(|found| found.name == info.name && found.taken == 0));
    }
    assert!(graph.select(&Criteria::Allocated(true)).is_empty());
}

/// Sizes of a machine in the first line, and in each other one a request in the form of RFC 46.
pub fn general(bytes: &[u8]) {
    let mut lines = text(bytes).lines();
    let mut machine = Shape { sockets: 1, cores: 1, ..Shape::default() };
    for (key, value) in lines.next().unwrap_or_default().split(' ').filter_map(|word| word.split_once('=')) {
        let Ok(number) = value.parse::<u32>().map(|number| number.min(4)) else { return };
        match key {
            "nodes" => machine.hosts = (0..number).map(|n| format!("n{n}")).collect(),
            "racks" => machine.racks = number,
            "sockets" => machine.sockets = number,
            "numa" => machine.numa = number,
            "l3" => machine.l3 = number,
            "cores" => machine.cores = number,
            "threads" => machine.threads = number,
            "gpus" => machine.gpus = number,
            "memory" => machine.memory_gib = Some(number.into()),
            _ => return,
        }
    }
    if machine.check().is_err() {
        return;
    }
    let mut graph = Graph::from_description(&machine.describe()).expect("the sizes were checked");
    let memory = Criteria::Kind("memory".to_owned());
    for (id, line) in (1..).map(JobId).zip(lines.take(4)) {
        let Ok((resources, labels)) = shape::resources(line) else { continue };
        let tasks: Vec<_> = labels
            .iter()
            .map(|label| json!({ "command": ["true"], "slot": label, "count": { "per_slot": 1 } }))
            .collect();
        let document = json!({
            "version": 1, "resources": resources, "tasks": tasks, "attributes": { "system": { "duration": 1 } },
        });
        let Ok(jobspec) = Jobspec::parse(&document.to_string()) else { continue };
        match graph.find(&jobspec, MatchOp::Allocate, Timestamp::ZERO) {
            Found::Now(r) => {
                assert!(r.is_subset(&graph.free()) && !r.is_empty());
                graph.take(id, &R::parse(&r.to_json()).expect("our own text"));
            }
            Found::NotNow => assert!(graph.shortage(&jobspec, Timestamp::ZERO).starts_with("waits for ")),
            Found::Never(why) => assert!(!why.is_empty()),
        }
        for info in graph.select(&memory) {
            assert!(info.taken <= info.size, "{}", info.path);
        }
    }
    for id in graph.holders().collect::<Vec<_>>() {
        graph.give_back(id, &graph.inventory().ranks());
    }
    assert!(graph.select(&Criteria::Allocated(true)).is_empty());
}

pub fn criteria(bytes: &[u8]) {
    if let Ok(criteria) = Criteria::parse(text(bytes)) {
        let r = Shape {
            hosts: ["n0".to_owned()].into_iter().collect(),
            sockets: 1,
            cores: 1,
            ..Shape::default()
        };
        let graph = Graph::from_r(&r.to_r());
        let not = Criteria::Not(Box::new(criteria.clone()));
        assert_eq!(graph.select(&criteria).len() + graph.select(&not).len(), 4);
    }
}

fn check(description: &Description) {
    let written = description.to_jgf();
    let read = Description::from_jgf(&written).expect("our own text");
    assert_eq!(read.to_jgf(), written);
    assert_eq!(&read, description);
    if let Ok(r) = description.to_r() {
        assert_eq!(read.to_r().as_ref(), Ok(&r));
        assert_eq!(Graph::from_r(&r).free().ncores(), r.ncores());
        let graph = Graph::from_description(description).expect("its inventory was read");
        assert_eq!(graph.free().ncores(), r.ncores());
        if description.len() < 256 {
            let all = graph.select(&Criteria::Allocated(false));
            assert!(all.iter().all(|info| graph.info(&info.path).is_some()));
        }
    }
}
