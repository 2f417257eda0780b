//! Descriptions of resources: what is read, what is refused and why, and that nothing is lost on the way.

use flurm_resource_graph::describe::{Description, Shape};
use flurm_resource_graph::{Criteria, Graph, Mark};
use flurm_types::R;
use serde_json::{Value, json};

fn vertex(id: Value, metadata: Value) -> Value {
    json!({ "id": id, "metadata": metadata })
}

/// A graph with edges from each vertex to those listed behind it.
fn graph(vertices: &[Value], edges: &[(&str, &str)]) -> String {
    let edges: Vec<Value> = edges
        .iter()
        .map(|(source, target)| {
            json!({ "source": source, "target": target, "metadata": { "subsystem": "containment" } })
        })
        .collect();
    json!({ "graph": { "nodes": vertices, "edges": edges } }).to_string()
}

/// As a hand-made generator writes it: ids that are numbers in one place and texts in another, ranks only on nodes,
/// cores numbered through the node, properties as a map.
fn hand_made() -> String {
    let mut vertices = vec![vertex(
        json!(0),
        json!({ "type": "cluster", "basename": "c", "name": "c0", "id": 0,
        "rank": -1, "properties": {}, "paths": { "containment": "/c0" } }),
    )];
    let mut edges = Vec::new();
    for rank in 0..2 {
        let node = format!("n{rank}");
        vertices.push(vertex(
            json!(&node),
            json!({ "type": "node", "basename": "n", "name": node, "id": -1, "rank": rank,
            "properties": { "cosched": "" }, "paths": { "containment": format!("/c0/{node}") } }),
        ));
        edges.push(("0".to_owned(), node.clone()));
        for s in 0..2 {
            let socket = format!("{node}s{s}");
            let path = format!("/c0/{node}/socket{s}");
            vertices.push(vertex(
                json!(&socket),
                json!({ "type": "socket", "basename": "socket", "name": format!("socket{s}"),
                "id": s, "rank": -1, "properties": {}, "paths": { "containment": path } }),
            ));
            edges.push((node.clone(), socket.clone()));
            for c in s * 2..s * 2 + 2 {
                let core = format!("{node}c{c}");
                vertices.push(vertex(
                    json!(&core),
                    json!({ "type": "core", "name": format!("core{c}"), "id": c, "rank": -1,
                    "properties": null, "paths": { "containment": format!("{path}/core{c}") } }),
                ));
                edges.push((socket.clone(), core));
            }
        }
    }
    let edges: Vec<(&str, &str)> = edges.iter().map(|(a, b)| (&**a, &**b)).collect();
    graph(&vertices, &edges)
}

#[test]
fn a_hand_made_graph_becomes_an_inventory_with_sockets_and_properties() {
    let r = Description::from_jgf(&hand_made()).unwrap().to_r().unwrap();
    assert_eq!(
        r.to_json(),
        concat!(
            r#"{"version":1,"execution":{"R_lite":[{"rank":"0-1","children":{"core":"0-3"}}],"nodelist":["n[0-1]"],"#,
            r#""properties":{"cosched":"0-1"},"starttime":0.0,"expiration":0.0},"scheduling":{"writer":"TreePool","#,
            r#""children":[{"ranks":"0-1","topo":{"socket":[{"cores":"0-1"},{"cores":"2-3"}]}}]}}"#
        )
    );
}

/// As Fluxion writes it: texts of digits, racks, memory as a quantity, edges in the older form, names left out.
#[test]
fn racks_are_looked_through_and_cores_numbered_by_socket_get_numbers_of_the_node() {
    let vertices = [
        vertex(json!("0"), json!({ "type": "cluster", "paths": { "containment": "/cluster0" } })),
        vertex(json!("1"), json!({ "type": "rack", "id": 0 })),
        vertex(
            json!("2"),
            json!({ "type": "node", "name": "fat7", "rank": 3, "status": "down", "properties": ["big"] }),
        ),
        vertex(json!("3"), json!({ "type": "socket", "id": 0 })),
        vertex(json!("4"), json!({ "type": "socket", "id": 1 })),
        vertex(json!("5"), json!({ "type": "core", "id": 0 })),
        vertex(json!("6"), json!({ "type": "core", "id": 0 })),
        vertex(json!("7"), json!({ "type": "memory", "id": 0, "size": 4096, "unit": "MB" })),
        vertex(json!("8"), json!({ "type": "gpu", "id": 0 })),
        vertex(json!("9"), json!({ "type": "pu", "id": 0 })),
    ];
    let pairs = [(0, 1), (1, 2), (2, 3), (2, 4), (3, 5), (4, 6), (4, 7), (4, 8), (6, 9)];
    let edges: Vec<Value> = pairs
        .iter()
        .map(|(a, b)| {
            json!({ "source": a.to_string(), "target": b.to_string(),
            "metadata": { "name": { "containment": "contains" } } })
        })
        .collect();
    let text = json!({ "graph": { "nodes": vertices, "edges": edges } }).to_string();
    let description = Description::from_jgf(&text).unwrap();
    let r = description.to_r().unwrap();
    assert_eq!(
        (r.nodes[0].rank, &*r.nodes[0].host, r.nodes[0].cores.to_string()),
        (3, "fat7", "0-1".to_owned())
    );
    assert_eq!(
        (r.nodes[0].gpus.to_string(), r.topology[&3].sockets[1].memory_gib),
        ("0".to_owned(), Some(4))
    );
    assert_eq!(
        (r.properties["big"].to_string(), description.down().to_string()),
        ("3".to_owned(), "3".to_owned())
    );
}

#[test]
fn what_was_read_is_written_and_read_as_the_same() {
    let shape = Shape {
        hosts: "n[0-2]".parse().unwrap(),
        sockets: 2,
        cores: 3,
        gpus: 1,
        memory_gib: Some(28),
        properties: vec![("n1".to_owned(), "fat".to_owned())],
        ..Shape::default()
    };
    for description in [Description::from_r(&shape.to_r()), Description::from_jgf(&hand_made()).unwrap()] {
        let written = description.to_jgf();
        let read = Description::from_jgf(&written).unwrap();
        assert_eq!(read, description);
        assert_eq!(read.to_jgf(), written);
    }
    // By way of a description an inventory stays what it is.
    assert_eq!(Description::from_r(&shape.to_r()).to_r().unwrap(), shape.to_r());
}

#[test]
fn a_shape_with_every_level_comes_to_the_inventory_that_it_says() {
    let plain = Shape {
        hosts: "n[0-4]".parse().unwrap(),
        sockets: 2,
        cores: 4,
        gpus: 2,
        memory_gib: Some(33),
        properties: vec![("n4".to_owned(), "fat".to_owned())],
        ..Shape::default()
    };
    plain.check().unwrap();
    assert_eq!(plain.describe(), Description::from_r(&plain.to_r()), "without levels between");
    let full = Shape { racks: 2, numa: 2, l3: 4, threads: 2, ..plain.clone() };
    full.check().unwrap();
    let description = full.describe();
    assert_eq!(description.to_r().unwrap(), plain.to_r());
    assert_eq!(Description::from_jgf(&description.to_jgf()).unwrap(), description);
    assert_eq!(description.len() as u64, full.vertices());
    let jgf = description.to_jgf();
    for path in
        ["/cluster0/rack0/n2/socket1/numanode3/l3cache7/core7/pu15", "/cluster0/rack1/n3/socket0/gpu1"]
    {
        assert!(jgf.contains(&format!("\"{path}\"")), "{path}");
    }
}

#[test]
fn shapes_that_cannot_be_are_refused_with_the_limit() {
    let good = Shape { hosts: "n[0-3]".parse().unwrap(), sockets: 2, cores: 4, ..Shape::default() };
    let cases = [
        (Shape { hosts: "".parse().unwrap(), ..good.clone() }, "at least 1 node"),
        (Shape { hosts: "a,a".parse().unwrap(), ..good.clone() }, "host a is named twice"),
        (Shape { sockets: 0, ..good.clone() }, "a node has at least 1 socket"),
        (Shape { cores: 0, ..good.clone() }, "a socket has at least 1 core"),
        (Shape { cores: u32::MAX, ..good.clone() }, "a node has at most 65536 cores, not 8589934590"),
        (Shape { gpus: 40_000, ..good.clone() }, "a node has at most 65536 GPUs, not 80000"),
        (Shape { numa: 3, ..good.clone() }, "4 cores of a socket cannot be shared evenly by 3 NUMA domains"),
        (Shape { l3: 3, ..good.clone() }, "4 cores of a socket cannot be shared evenly by 3 L3 caches"),
        (
            Shape { numa: 4, l3: 2, ..good.clone() },
            "2 L3 caches of a socket cannot be shared evenly by 4 NUMA",
        ),
        (Shape { racks: 5, ..good.clone() }, "5 racks for 4 nodes"),
        (
            Shape { hosts: "n[0-9999]".parse().unwrap(), cores: 1000, ..good.clone() },
            "20030001 vertices (at most 8388608)",
        ),
        (
            Shape { properties: vec![("x".to_owned(), "p".to_owned())], ..good.clone() },
            "host x of property p is not there",
        ),
        (
            Shape { properties: vec![("n0".to_owned(), "a|b".to_owned())], ..good.clone() },
            "`a|b` is no property",
        ),
    ];
    for (shape, expected) in cases {
        let said = shape.check().unwrap_err();
        assert!(said.contains(expected), "{said}\nis not\n{expected}");
    }
    good.check().unwrap();
}

#[test]
fn hosts_with_several_ranks_keep_them() {
    let r = R::parse(
        r#"{"version":1,"execution":{"R_lite":[{"rank":"0-1","children":{"core":"0-1"}}],
            "nodelist":["a,a"],"starttime":0,"expiration":0}}"#,
    )
    .unwrap();
    let again = Description::from_jgf(&Description::from_r(&r).to_jgf()).unwrap().to_r().unwrap();
    assert_eq!(again.nodes, r.nodes);
}

#[test]
fn bad_graphs_are_refused_with_the_vertex_or_place() {
    let v = |id: &str, kind: &str| vertex(json!(id), json!({ "type": kind, "id": 0, "name": id }));
    let with = |more: Value| {
        let mut metadata = json!({ "type": "core", "id": 0, "name": "x" });
        metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        graph(&[v("c", "cluster"), v("n", "node"), vertex(json!("x"), metadata)], &[("c", "n"), ("n", "x")])
    };
    let cases = [
        ("{}".to_owned(), "`.`: no `nodes`"),
        ("[]".to_owned(), "`line 1 column 1`: expected an object with `nodes` and `edges`"),
        ("{\n \"graph\": {\"nodes\": 7}}".to_owned(), "`line 2 column 21`: expected a list"),
        ("{} x".to_owned(), "`line 1 column 4`: something behind the end"),
        ("{\"a\": [1}".to_owned(), "`line 1 column 9`: expected `,` or `]`"),
        ("{\"a\": \"".to_owned(), "EOF while parsing a string"),
        ("{\"a\": 1,".to_owned(), "`line 1 column 9`: the text ends in the middle"),
        ("{\"graph\":".repeat(10), "`line 1 column 82`: graphs inside more than 8 others"),
        (json!({ "graph": { "edges": [] } }).to_string(), "`.`: no `nodes`"),
        (graph(&[v("a", "cluster"), v("a", "node")], &[]), "`a`: two vertices have this id"),
        (graph(&[v("a", "cluster"), v("b", "node")], &[]), "`b`: inside nothing, as is `a`"),
        (graph(&[v("a", "cluster")], &[("a", "b")]), "`a to b`: no vertex has the id `b`"),
        (graph(&[v("a", "cluster")], &[("a", "a")]), "`a to a`: an edge from a vertex to itself"),
        (graph(&[v("a", "x"), v("b", "x")], &[("a", "b"), ("b", "a")]), "`.`: nothing that is not inside"),
        (
            graph(&[v("r", "x"), v("a", "x"), v("b", "x")], &[("a", "b"), ("b", "a")]),
            "`a`: inside itself, by way of others",
        ),
        (
            graph(&[v("r", "x"), v("a", "x"), v("b", "x")], &[("r", "a"), ("r", "b"), ("a", "b")]),
            "`b`: inside 2 others at once",
        ),
        (with(json!({ "size": -1 })), "`x`: a size is from 0 to"),
        (with(json!({ "rank": -2 })), "`x`: -2 is no rank"),
        (with(json!({ "size": 1_000_000_000 })), "`x`: more than 65536 of type `core`"),
        (with(json!({ "size": 1_i64 << 41 })), "`x`: a size is from 0 to"),
        (with(json!({ "size": 1e9 })), "line 1 column"),
        (with(json!({ "rank": 4_294_967_295_u32 })), "`x`: 4294967295 is no rank"),
        (with(json!({ "type": "" })), "`x`: `type` is empty"),
        (with(json!({ "type": 7 })), "line 1 column"),
        (with(json!({ "status": [] })), "`x`: `status` is up or down"),
        (with(json!({ "name": "" })), "`x`: `` is not a name"),
        (
            graph(
                &[v("c", "cluster"), v("n", "node"), v("m", "node")],
                &[("c", "n"), ("c", "m"), ("n", "c")],
            ),
            "`.`: nothing that is not inside something else",
        ),
        (
            graph(
                &[
                    v("c", "cluster"),
                    vertex(json!(7), json!({ "type": "node", "name": "a" })),
                    vertex(json!("7"), json!({ "type": "node", "name": "b" })),
                ],
                &[],
            ),
            "`7`: two vertices have this id",
        ),
        (
            graph(
                &[
                    v("c", "cluster"),
                    vertex(json!("a"), json!({ "type": "node", "name": "n" })),
                    vertex(json!("b"), json!({ "type": "node", "name": "n" })),
                ],
                &[("c", "a"), ("c", "b")],
            ),
            "`c`: contains `n` twice",
        ),
        (
            json!({ "graph": { "nodes": [{ "id": -1, "metadata": { "type": "x" } }] } }).to_string(),
            "line 1 column",
        ),
        (json!({ "graph": { "nodes": [{ "id": "a" }] } }).to_string(), "missing field `metadata`"),
        (with(json!({ "properties": 7 })), "`x`: `properties` is a map of texts or a list of names"),
        (with(json!({ "name": "a/b" })), "`x`: `a/b` is not a name"),
        (
            with(json!({ "paths": { "containment": "/c/x" } })),
            "`x`: its path is `/c/n/x` by its names, but `/c/x`",
        ),
        (with(json!({ "type": "gpu" })), "`n`: a node without cores"),
        (with(json!({ "type": "memory", "unit": "parsec" })), "`x`: `parsec` is no unit of memory"),
        (graph(&[v("c", "cluster")], &[]), "`c`: no vertex of type `node` is in it"),
        (
            graph(&[v("c", "cluster"), v("n", "node"), v("m", "node")], &[("c", "n"), ("n", "m")]),
            "`m`: a node inside a node",
        ),
    ];
    for (text, expected) in cases {
        let error = Description::from_jgf(&text).and_then(|d| d.to_r()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\nis not\n{expected}");
    }
}

#[test]
fn a_machine_that_hwloc_saved_is_read() {
    let core = |n: u32| {
        format!(
            "<object type=\"Core\" os_index=\"{n}\"><object type=\"PU\" os_index=\"{n}\"/><object type='PU' os_index='9'/></object>"
        )
    };
    let package = |first: u32| {
        format!(
            "<object type=\"Package\"><info name=\"CPUModel\" value=\"a &lt;b&gt; &#x26;\"/><object type=\"NUMANode\" \
             local_memory=\"34359738368\"/><object type=\"L3Cache\">{}{}</object></object>",
            core(first),
            core(first + 1)
        )
    };
    let text = format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n<topology version=\"2.0\">\n<object \
         type=\"Machine\">{}{}<object type=\"PCIDev\"><object type=\"OSDev\" name=\"cuda0\" subtype=\"CUDA\"/>\
         <object type=\"OSDev\" name=\"opencl0d0\" subtype=\"OpenCL\"/></object></object>\n</topology>\n",
        package(0),
        package(2)
    );
    let description = Description::from_hwloc(&text, "n7").unwrap();
    let r = description.to_r().unwrap();
    assert_eq!((&*r.nodes[0].host, r.ncores(), r.ngpus()), ("n7", 4, 1));
    let sockets: Vec<_> =
        r.topology[&0].sockets.iter().map(|s| (s.cores.to_string(), s.memory_gib)).collect();
    assert_eq!(sockets[..2], [("0-1".to_owned(), Some(32)), ("2-3".to_owned(), Some(32))]);
    assert_eq!(Description::from_jgf(&description.to_jgf()), Ok(description));
    for (bad, said) in [
        ("", "`the end`: no object of type Machine"),
        ("<topology>\n<object type=\"Core\"/>", "`line 2`: the first object is not of type Machine"),
        ("<object type=\"Machine\">", "`the end`: an object has not ended"),
        ("</object>", "`line 1`: an object ends that has not begun"),
        ("<object type=", "`line 1`: a value without quotes"),
        ("<object type=\"&x;\"/>", "`line 1`: unknown entity `&x;`"),
    ] {
        let error = Description::from_hwloc(bad, "n").unwrap_err().to_string();
        assert!(error.ends_with(said), "{error}");
    }
}

/// Two packages of two domains each, where cores share caches and cards of three vendors are.
#[test]
fn domains_caches_and_cards_of_a_machine_are_where_hwloc_has_them() {
    let core = "<object type=\"Core\"><object type=\"PU\"/><object type=\"PU\"/></object>";
    let domain = |card: &str| {
        format!(
            "<object type=\"Group\"><object type=\"NUMANode\" local_memory=\"17179869184\"><page_type size=\"4096\" \
             count=\"1\"/></object><object type=\"L3Cache\">{core}{core}</object><object type=\"PCIDev\"><object \
             type=\"OSDev\" name=\"{card}\" osdev_type=\"5\"/><object type=\"OSDev\" name=\"opencl0d0\"/></object></object>"
        )
    };
    let package =
        |one: &str, two: &str| format!("<object type=\"Package\">{}{}</object>", domain(one), domain(two));
    let text = format!(
        "<topology version=\"2.0\"><object type=\"Machine\">{}{}</object></topology>",
        package("cuda0", "rsmi0"),
        package("ze0", "nvml0")
    );
    let description = Description::from_hwloc(&text, "n7").unwrap();
    let r = description.to_r().unwrap();
    assert_eq!((r.ncores(), r.ngpus(), r.topology[&0].sockets[1].memory_gib), (8, 3, Some(32)));
    let lines: Vec<String> =
        description.walk().take(14).map(|(depth, thing)| format!("{depth} {}", thing.name())).collect();
    assert_eq!(
        lines,
        [
            "0 cluster0",
            "1 n7",
            "2 socket0",
            "3 numanode0",
            "4 memory0",
            "4 l3cache0",
            "5 core0",
            "6 pu0",
            "6 pu1",
            "5 core1",
            "6 pu2",
            "6 pu3",
            "4 gpu0",
            "3 numanode1"
        ]
    );
    // Version 1 has cores in their domain.
    let old = format!(
        "<topology><object type=\"Machine\"><object type=\"NUMANode\" local_memory=\"1073741824\"><object \
         type=\"Socket\"><object type=\"Cache\" depth=\"3\">{core}</object></object></object></object></topology>"
    );
    let old = Description::from_hwloc(&old, "n7").unwrap();
    let lines: Vec<String> = old.walk().map(|(depth, thing)| format!("{depth} {}", thing.name())).collect();
    assert_eq!(
        lines,
        [
            "0 cluster0",
            "1 n7",
            "2 numanode0",
            "3 memory0",
            "3 socket0",
            "4 l3cache0",
            "5 core0",
            "6 pu0",
            "6 pu1"
        ]
    );
    assert_eq!(old.to_r().unwrap().topology[&0].sockets[0].memory_gib, Some(1));
}

#[test]
fn an_inventory_with_a_graph_gives_the_same_graph_as_the_description() {
    let shape = Shape {
        hosts: "n[0-3]".parse().unwrap(),
        racks: 2,
        sockets: 2,
        cores: 3,
        gpus: 1,
        memory_gib: Some(28),
        ..Shape::default()
    };
    let description = shape.describe();
    let mut r = description.to_r().unwrap();
    r.scheduling = Some(serde_json::from_str(&description.to_jgf()).unwrap());
    let read = R::parse(&r.to_json()).unwrap();
    assert_eq!(read.topology, r.topology);
    let mut graph = Graph::from_r(&read);
    graph.mark(&r.ranks(), Mark::Up);
    let all = Criteria::Not(Box::new(Criteria::Kind("none".to_owned())));
    assert_eq!(graph.select(&all), Graph::from_description(&description).unwrap().select(&all));
    // A part of it is the same part of the graph, whatever its ranks are called.
    let part = r.restrict_with_graph(&"1,3".parse().unwrap()).renumber();
    let paths: Vec<String> = Graph::from_r(&part)
        .select(&Criteria::parse("type=node or type=rack").unwrap())
        .into_iter()
        .map(|info| format!("{} {:?}", info.path, info.rank))
        .collect();
    assert_eq!(
        paths,
        [
            "/cluster0/rack0 None",
            "/cluster0/rack0/n1 Some(0)",
            "/cluster0/rack1 None",
            "/cluster0/rack1/n3 Some(1)"
        ]
    );
    // Fewer cores than the graph says, another node that it does not know, and no graph at all.
    let mut fewer = r.clone();
    fewer.nodes[0].cores = "0,4".parse().unwrap();
    fewer.nodes[1].rank = 9;
    let graph = Graph::from_r(&R { nodes: R::from_nodes(fewer.nodes).nodes, ..r.clone() });
    assert_eq!(graph.select(&Criteria::parse("type=core and rank=0").unwrap()).len(), 2);
    assert_eq!(graph.info("/cluster0/n1").unwrap().rank, Some(9));
    let none = R { scheduling: Some(json!({ "writer": "somebody" }).into()), ..r };
    assert_eq!(Graph::from_r(&none).info("/cluster0/n0/socket1/memory1").unwrap().size, 28 << 30);
}
