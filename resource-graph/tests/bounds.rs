//! What would take too long to be tried out is refused, in words.

mod request;

use flurm_resource_graph::describe::Shape;
use flurm_resource_graph::{Found, Graph, MatchOp};
use flurm_types::Timestamp;

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
