//! Pools are for one job after the other: what counts is how much is taken of them at a time.

mod request;

use flurm_resource_graph::describe::Shape;
use flurm_resource_graph::{Found, Graph, MatchOp};
use flurm_types::{JobId, R, Timestamp};

/// Two nodes, each with four cores and 10 GiB of memory.
fn graph() -> Graph {
    let hosts = "n[0-1]".parse().unwrap();
    let shape = Shape { hosts, racks: 1, sockets: 1, cores: 4, memory_gib: Some(10), ..Shape::default() };
    Graph::from_description(&shape.describe()).unwrap()
}

fn at(seconds: u32) -> Timestamp {
    Timestamp::ZERO.checked_add_secs(f64::from(seconds)).unwrap()
}

/// A core of a node with so much memory, from when to when: of those that are free now, always the same.
fn part(graph: &Graph, node: u32, gib: u32, (begin, end): (u32, u32)) -> R {
    let shape = format!("node=1/slot=1/[core=1;memory={gib}{{unit:GiB}}]");
    let job = request::jobspec(&[&shape, &format!("hosts:n{node}")]);
    let Found::Now(r) = graph.find(&job, MatchOp::Allocate, Timestamp::ZERO) else {
        panic!("{shape} on node {node}");
    };
    R { starttime: at(begin), expiration: at(end), ..r }
}

#[test]
fn two_that_follow_each_other_leave_to_a_third_what_each_of_them_leaves() {
    let graph = graph();
    let (one, two) = (part(&graph, 0, 6, (10, 20)), part(&graph, 0, 6, (20, 30)));
    let mut plan = graph.plan(at(1), [(JobId(1), &one), (JobId(2), &two)]);
    let mut start = |gib: u32, seconds: u32| {
        let shape = format!("node=1/slot=1/[core=1;memory={gib}{{unit:GiB}}]");
        let job = request::jobspec(&[&shape, &format!("t{seconds}"), "hosts:n0"]);
        let r = graph.earliest(&mut plan, JobId(9), &job, (at(1), at(1000)), &mut 0);
        r.map(|r| r.starttime)
    };
    assert_eq!(start(4, 100), Some(at(1)));
    assert_eq!(start(5, 100), Some(at(30)));
    assert_eq!(start(5, 9), Some(at(1)));
    assert_eq!(start(5, 10), Some(at(30)));
}

#[test]
fn a_long_promise_stands_beside_two_that_follow_each_other() {
    let mut graph = graph();
    let (now, next) = (part(&graph, 0, 6, (0, 10)), part(&graph, 0, 6, (10, 20)));
    graph.take(JobId(7), &now);
    let long = part(&graph, 0, 4, (5, 100));
    let promises = [(JobId(2), &next), (JobId(3), &long)];
    assert_eq!(graph.plan(at(1), promises).broken_by(JobId(7)), []);
    // One that has more of it than they leave breaks what is promised meanwhile, and nothing later.
    let more = R { nodes: Vec::new(), ..part(&graph, 0, 3, (0, 10)) };
    graph.take(JobId(8), &more);
    assert_eq!(graph.plan(at(1), promises).broken_by(JobId(8)), [JobId(3)]);
}

#[test]
fn who_has_nothing_of_a_pool_breaks_no_promise_of_it() {
    let mut graph = graph();
    let (one, two) = (part(&graph, 0, 6, (0, 20)), part(&graph, 0, 6, (5, 30)));
    let elsewhere = part(&graph, 1, 3, (0, 40));
    graph.take(JobId(7), &elsewhere);
    let plan = graph.plan(at(1), [(JobId(1), &one), (JobId(2), &two)]);
    assert_eq!(plan.broken_by(JobId(7)), []);
}
