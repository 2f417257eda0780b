//! Readers of `flurm-resource-graph`: any bytes are read or refused, and what was read is written and read again as
//! the same.

use flurm_resource_graph::describe::Description;
use flurm_resource_graph::{Graph, SlowDowns};

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

fn check(description: &Description) {
    let written = description.to_jgf();
    let read = Description::from_jgf(&written).expect("our own text");
    assert_eq!(read.to_jgf(), written);
    assert_eq!(&read, description);
    if let Ok(r) = description.to_r() {
        assert_eq!(read.to_r().as_ref(), Ok(&r));
        assert_eq!(Graph::from_r(&r).free().ncores(), r.ncores());
    }
}
