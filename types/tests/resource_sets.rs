//! R: reading what people and other tools write, and the algebra of sets.

use flurm_types::{R, Timestamp};

const TWO_NODES: &str = r#"{"version":1,
 "execution":{
   "R_lite":[{"rank":"1-2","children":{"core":"0-9"}}],
   "nodelist":["node[101-102]"],
   "nslots":20,
   "properties":{"cosched":"2"},
   "starttime":1790000000.0,"expiration":1790003600.0}}"#;

const WITH_SOCKETS: &str = r#"{"version":1,"execution":{"R_lite":[{"rank":"0-3","children":{"core":"0-19","gpu":"0-1"}}],
  "nodelist":["a","b","c[1-2]"],"starttime":0,"expiration":0},
  "scheduling":{"writer":"TreePool","children":[{"ranks":"0-3","topo":{"socket":[
     {"cores":"0-9","gpus":"0","memory":28},{"cores":"10-19","gpus":"1","memory":28}]}}]}}"#;

fn r(text: &str) -> R {
    R::parse(text).expect(text)
}

#[test]
fn an_allocation_is_read_and_written_in_normal_form() {
    let set = r(TWO_NODES);
    assert_eq!((set.nnodes(), set.ncores(), set.nslots), (2, 20, Some(20)));
    assert_eq!(set.node(2).map(|node| node.host.as_str()), Some("node102"));
    assert_eq!(set.expiration, Timestamp(1_790_003_600_000_000));
    assert_eq!(
        set.to_json(),
        concat!(
            r#"{"version":1,"execution":{"R_lite":[{"rank":"1-2","children":{"core":"0-9"}}],"#,
            r#""nodelist":["node[101-102]"],"nslots":20,"properties":{"cosched":"2"},"#,
            r#""starttime":1790000000.0,"expiration":1790003600.0}}"#
        )
    );
}

#[test]
fn topology_survives_reading_and_writing() {
    let set = r(WITH_SOCKETS);
    assert_eq!(set.topology[&3].sockets[1].cores.to_string(), "10-19");
    assert_eq!(r(&set.to_json()), set);
    assert!(set.to_json().contains(r#""writer":"TreePool""#));
}
