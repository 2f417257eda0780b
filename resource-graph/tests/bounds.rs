//! What would take too long to be tried out is refused, in words.

mod request;

use flurm_resource_graph::describe::Shape;
use flurm_resource_graph::{Found, Graph, MatchOp};
use flurm_types::{JobId, Timestamp};

#[test]
fn more_than_sixteen_ranges_are_refused_whatever_the_shape() {
    let hosts = "n[0-1]".parse().unwrap();
    let shape = Shape { hosts, racks: 1, sockets: 1, cores: 64, memory_gib: Some(10), ..Shape::default() };
    let graph = Graph::from_description(&shape.describe()).unwrap();
    for inside in ["core=1", "[core=1;memory=1{unit:MiB}]"] {
        let find = |ranges: u32, op| {
            let slots: Vec<String> = (0..ranges).map(|n| format!("slot=1-2{{s{n}}}/{inside}")).collect();
            graph.find(&request::jobspec(&[&format!("node=1/[{}]", slots.join(";"))]), op, Timestamp::ZERO)
        };
        for op in [MatchOp::Allocate, MatchOp::Satisfiability] {
            assert!(matches!(find(16, op), Found::Now(_)), "{inside}");
            assert_eq!(find(17, op), Found::Never("more than 16 counts are ranges".to_owned()), "{inside}");
        }
    }
}

#[test]
fn where_sums_suffice_but_nodes_do_not_it_is_said_how_many_have_room() {
    let hosts = "n[0-9]".parse().unwrap();
    let shape = Shape { hosts, racks: 1, sockets: 1, cores: 8, memory_gib: Some(10), ..Shape::default() };
    for placement in ["compact", "first", "high"] {
        let mut graph = Graph::from_description(&shape.describe()).unwrap();
        let find = |graph: &Graph, text: &str| {
            let jobspec = request::jobspec(&[text, &format!("@{placement}")]);
            (graph.find(&jobspec, MatchOp::Allocate, Timestamp::ZERO), jobspec)
        };
        // 3 GiB are left on each node: for one slot of 2 GiB, though 30 GiB would do for 15 of them.
        let (found, _) = find(&graph, "node=10/slot=1/[core=1;memory=7{unit:GiB}]");
        let Found::Now(r) = found else { panic!("{found:?}") };
        graph.take(JobId(1), &r);
        let (found, jobspec) = find(&graph, "slot=11/[core=1;memory=2{unit:GiB}]");
        assert_eq!(found, Found::NotNow, "{placement}");
        let why = graph.shortage(&jobspec, Timestamp::ZERO);
        assert!(why.ends_with("(free: 10)"), "{placement}: {why}");
        let (found, _) = find(&graph, "slot=10/[core=1;memory=2{unit:GiB}]");
        assert!(matches!(found, Found::Now(_)), "{placement}");
    }
}
