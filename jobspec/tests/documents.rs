//! Documents that are read, and documents that are refused with place and reason; the schema agrees on both.

use flurm_jobspec::{Count, Jobspec, Kind, Request, SCHEMA, TaskCount};
use serde_json::Value;

fn schema() -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema is a schema")
}

const V1: &str = r"
version: 1
resources:
  - type: node
    count: 4
    with:
      - type: slot
        count: 1
        label: task
        with:
          - {type: core, count: 5}
tasks:
  - {command: [./solver, in.nml], slot: task, count: {per_slot: 1}}
attributes:
  system: {duration: 3600, cwd: /scratch/u/run1, environment: {OMP_NUM_THREADS: '5', HOME: null}}
";

/// Half of each socket: 20 slots for 18 tasks.
const SPREAD: &str = r"
version: 1
resources:
  - type: socket
    count: 4
    with:
      - type: slot
        count: 5
        label: task
        with: [{type: core, count: 1}]
tasks: [{command: [./cg.D.64], slot: task, count: {total: 18}}]
attributes: {system: {duration: 0}}
";

#[test]
fn a_v1_jobspec_is_read_from_yaml() {
    let jobspec = Jobspec::parse(V1).expect("RFC 25");
    assert!(jobspec.is_v1());
    let expected = Request {
        nodes: Some(4),
        slots: 4,
        slots_per_node: Some(1),
        cores_per_slot: 5,
        gpus_per_slot: 0,
        exclusive: false,
        ntasks: 4,
    };
    assert_eq!(jobspec.request(), Some(expected));
    assert_eq!((jobspec.name().as_str(), jobspec.command()[1].as_str()), ("solver", "in.nml"));
    assert_eq!(
        (jobspec.attributes().duration, jobspec.attributes().cwd.as_str()),
        (3600.0, "/scratch/u/run1")
    );
    assert_eq!(jobspec.attributes().environment["HOME"], None);
    assert_eq!(
        jobspec.to_json(),
        concat!(
            r#"{"attributes":{"system":{"cwd":"/scratch/u/run1","duration":3600.0,"#,
            r#""environment":{"HOME":null,"OMP_NUM_THREADS":"5"}}},"#,
            r#""resources":[{"count":4,"type":"node","with":[{"count":1,"label":"task","type":"slot","#,
            r#""with":[{"count":5,"type":"core"}]}]}],"#,
            r#""tasks":[{"command":["./solver","in.nml"],"count":{"per_slot":1},"slot":"task"}],"version":1}"#
        )
    );
}

/// As RFC 14 writes the general form: another version, two slots side by side, no attributes.
const TWO_SLOTS: &str = r"
version: 999
resources:
  - type: node
    count: 1
    with:
      - {type: slot, label: reader, count: 10, with: [{type: core, count: 1}, {type: memory, count: {min: 4}, unit: GB}]}
      - {type: slot, label: db, count: 1, with: [{type: core, count: 6}]}
tasks:
  - {command: reader, slot: reader, count: {per_slot: 1}}
  - {command: db --fast, slot: db, count: {per_resource: {type: core, count: 2}}}
attributes:
";

#[test]
fn two_kinds_of_tasks_have_a_slot_each() {
    let jobspec = Jobspec::parse(TWO_SLOTS).expect("RFC 14");
    assert_eq!((jobspec.slots_min(), jobspec.tasks_min()), (11, 22));
    assert_eq!(jobspec.tasks()[1].command, ["db", "--fast"]);
    assert_eq!(jobspec.beyond_v1(), Some("a node of V1 holds one slot"));
    assert!(jobspec.to_json().ends_with(r#""version":1}"#));
}

#[test]
fn a_spread_over_sockets_is_read_though_v1_has_no_word_for_it() {
    let jobspec = Jobspec::parse(SPREAD).expect("RFC 14");
    assert_eq!(jobspec.beyond_v1(), Some("V1 has a slot at the top or in a node"));
    assert_eq!(jobspec.request(), None);
    assert_eq!((jobspec.slots_min(), jobspec.tasks_min()), (20, 18));
    let kinds: Vec<&Kind> = jobspec.resources()[0].walk().map(|resource| &resource.kind).collect();
    assert_eq!(kinds, [&Kind::Socket, &Kind::Slot, &Kind::Core]);
}

/// A document around a resource section, a count of tasks and system attributes.
fn document(resources: &str, count: &str, system: &str) -> String {
    format!(
        r#"{{"version":1,"resources":{resources},
            "tasks":[{{"command":["a"],"slot":"s","count":{count}}}],"attributes":{{"system":{system}}}}}"#
    )
}

const SLOT: &str = r#"[{"type":"slot","count":2,"label":"s","with":[{"type":"core","count":1}]}]"#;
const ONE: &str = r#"{"per_slot":1}"#;

/// Resource sections, counts of tasks and system attributes that are good.
const ACCEPTED: &[(&str, &str, &str)] = &[
    (SLOT, ONE, "{}"),
    (SLOT, r#"{"total":7}"#, r#"{"duration":"1.5h"}"#),
    (SLOT, r#"{"per_resource":{"type":"core","count":2}}"#, r#"{"duration":"inf"}"#),
    (
        SLOT,
        ONE,
        r#"{"dependencies":[{"scheme":"afterok","value":"ƒ2nd"},{"scheme":"singleton","value":""}]}"#,
    ),
    (SLOT, ONE, r#"{"dependencies":[{"scheme":"string","value":"x","type":"in","scope":"user"}]}"#),
    (
        SLOT,
        ONE,
        r#"{"constraints":{"and":[{"properties":["thin","^fat"]},{"hostlist":["n[1-3]"]},{"not":[{"ranks":["0"]}]}]}}"#,
    ),
    (
        SLOT,
        ONE,
        r#"{"shell":{"options":{"per-resource":{"type":"node"},"verbose":1}},"job":{"name":"n","x":"y"}}"#,
    ),
    (
        SLOT,
        ONE,
        r##"{"files":{"run.sh":{"mode":33216,"encoding":"utf-8","size":12,"data":"#!/bin/sh\nls"}}}"##,
    ),
    (
        SLOT,
        ONE,
        r#"{"files":{"d":{"mode":16832},"d/l":{"mode":41471,"data":"../t"},"c":{"mode":33152,"data":{"a":1}}}}"#,
    ),
    (SLOT, ONE, r#"{"array":{"index":0,"throttle":5}}"#),
    (SLOT, ONE, r#"{"array":{"id":1234,"index":7},"retry-of":"ƒ2"}"#),
    (SLOT, ONE, r#"{"cosched":true}"#),
    (SLOT, ONE, r#"{"placement":"cosched","cosched-class":"io"}"#),
    (SLOT, ONE, r#"{"cosched":{"group":"coupled-1","size":16,"class":"memory"},"placement":"cosched"}"#),
    (SLOT, ONE, r#"{"cosched":{"group":"g"}}"#),
    (SLOT, ONE, r#"{"files":[{"path":"b","mode":33152,"encoding":"base64","data":"AP8="}]}"#),
    (SLOT, ONE, r#"{"unknown":{"kept":true},"preemptible-after":1.5,"batch":{"script":"s"},"queue":"q"}"#),
    (
        r#"[{"type":"slot","count":"2-16:2:*","label":"s","with":[{"type":"node","count":1,"exclusive":true}]}]"#,
        ONE,
        "{}",
    ),
    (
        r#"[{"type":"slot","count":{"min":2},"label":"s","with":[{"type":"core","count":"[1,4,8-9]"}]}]"#,
        ONE,
        "{}",
    ),
    (
        r#"[{"type":"slot","count":{"min":2,"max":9,"operator":"+","operand":3},"label":"s","with":[{"type":"memory","count":4,"unit":"GiB"}]}]"#,
        ONE,
        "{}",
    ),
    (
        r#"[{"type":"rack","count":1,"id":"2-3","with":[{"type":"slot","count":1,"label":"s","with":[{"type":"gpu","count":1}]}]}]"#,
        ONE,
        "{}",
    ),
];

#[test]
fn good_documents_are_read_and_written_and_fit_the_schema() {
    let schema = schema();
    let cases = ACCEPTED.iter().map(|(resources, count, system)| document(resources, count, system));
    for text in cases.chain([
        r#"{"version":1,"resources":[{"type":"slot","count":1,"label":"s","with":[{"type":"core","count":1}]}],
            "tasks":[{"command":"echo 'a b'","slot":"s","count":{"per_slot":1}}],"attributes":{}}"#.to_owned(),
    ]) {
        let jobspec = Jobspec::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let written = jobspec.to_json();
        assert_eq!(Jobspec::parse(&written).as_ref(), Ok(&jobspec), "{written}");
        for text in [&text, &written] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert!(schema.is_valid(&value), "{text}: {:?}", schema.iter_errors(&value).collect::<Vec<_>>());
        }
    }
}

/// As above, and the error.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    ("[]", ONE, "{}", ".resources`: expected at least one item"),
    (
        r#"[{"type":"slot","label":"s","count":1}]"#,
        ONE,
        "{}",
        ".resources[0]`: a slot needs `with`: it is made of resources",
    ),
    (
        r#"[{"type":"slot","count":1,"with":[{"type":"core","count":1}]}]"#,
        ONE,
        "{}",
        ".resources[0]`: a slot needs a `label`",
    ),
    (
        r#"[{"type":"slot","count":1,"label":"s","with":[{"type":"core","count":0}]}]"#,
        ONE,
        "{}",
        ".resources[0].with[0].count`: expected at least 1, found 0",
    ),
    (
        r#"[{"type":"slot","count":1,"label":"s","with":[{"type":"core","count":1.5}]}]"#,
        ONE,
        "{}",
        ".resources[0].with[0].count`: expected a whole number of at least 1, found 1.5",
    ),
    (
        r#"[{"type":"slot","count":1,"label":"s","with":[{"type":"core","count":4294967296}]}]"#,
        ONE,
        "{}",
        ".resources[0].with[0].count`: at most 4294967295, found 4294967296",
    ),
    (
        r#"[{"type":"slot","count":{"min":1,"operator":"*"},"label":"s","with":[{"type":"core","count":1}]}]"#,
        ONE,
        "{}",
        ".resources[0].count`: `operator` and `operand` come together",
    ),
    (
        r#"[{"type":"slot","count":"01","label":"s","with":[{"type":"core","count":1}]}]"#,
        ONE,
        "{}",
        ".resources[0].count`: read idset `01`: an id has no leading zeros (column 1)",
    ),
    (
        r#"[{"type":"slot","count":1,"label":"s","with":[{"type":"core","count":1,"colour":"red"}]}]"#,
        ONE,
        "{}",
        ".resources[0].with[0]`: unknown key `colour`",
    ),
    (SLOT, "{}", "{}", ".tasks[0].count`: expected one of `per_slot`, `total`, `per_resource`"),
    (
        SLOT,
        r#"{"per_slot":1,"total":2}"#,
        "{}",
        ".tasks[0].count`: expected one of `per_slot`, `total`, `per_resource`",
    ),
    (SLOT, ONE, r#"{"duration":-1}"#, ".attributes.system.duration`: a duration is not negative"),
    (
        SLOT,
        ONE,
        r#"{"duration":"soon"}"#,
        ".attributes.system.duration`: read duration `soon`: a duration starts with a number (column 1)",
    ),
    (
        SLOT,
        ONE,
        r#"{"environment":{"A":5}}"#,
        ".attributes.system.environment.A`: expected a string, found a number",
    ),
    (
        SLOT,
        ONE,
        r#"{"environment":{"A=B":"x"}}"#,
        ".attributes.system.environment`: `A=B` cannot be the name of a variable",
    ),
    (
        SLOT,
        ONE,
        r#"{"cosched":{"group":"a b"}}"#,
        ".attributes.system.cosched.group`: `a b` is no group: up to 64 letters, digits, `_` and `-`",
    ),
    (
        SLOT,
        ONE,
        r#"{"array":{"index":-1}}"#,
        ".attributes.system.array.index`: expected a whole number, found a number",
    ),
    (
        SLOT,
        ONE,
        r#"{"array":{"index":1,"throttle":0}}"#,
        ".attributes.system.array.throttle`: expected at least 1, found 0",
    ),
    (SLOT, ONE, r#"{"retry-of":[]}"#, ".attributes.system.retry-of`: expected a job's id, found a list"),
    (SLOT, ONE, r#"{"cosched":{"size":3}}"#, ".attributes.system.cosched.size`: only a group has a size"),
    (
        SLOT,
        ONE,
        r#"{"cosched":{"group":"g","size":1}}"#,
        ".attributes.system.cosched.size`: a group is of 2 to 16 jobs, not of 1",
    ),
    (
        SLOT,
        ONE,
        r#"{"cosched":{"group":"g","number":2}}"#,
        ".attributes.system.cosched`: unknown key `number`",
    ),
    (SLOT, ONE, r#"{"cwd":"here"}"#, ".attributes.system.cwd`: expected an absolute path"),
    (
        SLOT,
        ONE,
        r#"{"constraints":{"and":[{"properties":["a|b"]}]}}"#,
        ".attributes.system.constraints.and[0].properties[0]`: a property name cannot have `|`",
    ),
    (
        SLOT,
        ONE,
        r#"{"dependencies":[{"scheme":"afterok"}]}"#,
        ".attributes.system.dependencies[0]`: `value` is missing",
    ),
    (SLOT, ONE, r#"{"job":{"name":5}}"#, ".attributes.system.job.name`: expected a string, found a number"),
    (
        SLOT,
        ONE,
        r#"{"files":{"a":{"mode":33152,"encoding":"blobvec","data":[]}}}"#,
        ".attributes.system.files.a.encoding`: `blobvec` cannot be read; use utf-8 or base64",
    ),
    (
        SLOT,
        ONE,
        r#"{"shell":{"options":{"per-resource":{"type":"slot"}}}}"#,
        ".attributes.system.shell.options.per-resource.type`: for tasks in each slot use `per_slot`",
    ),
];

/// What a schema cannot see.
const REFUSED_BY_THE_READER: &[(&str, &str, &str, &str)] = &[
    (
        r#"[{"type":"slot","count":1,"label":"t","with":[{"type":"core","count":1}]}]"#,
        ONE,
        "{}",
        ".tasks[0].slot`: no slot is labelled `s`",
    ),
    (
        r#"[{"type":"slot","count":1,"label":"s","with":[{"type":"slot","count":1,"label":"t","with":[{"type":"core","count":1}]}]}]"#,
        ONE,
        "{}",
        ".resources[0].with[0]`: a slot inside a slot",
    ),
    (
        r#"[{"type":"slot","count":"9-2","label":"s","with":[{"type":"core","count":1}]}]"#,
        ONE,
        "{}",
        ".resources[0].count`: the end of a range is not before its start",
    ),
    (
        r#"[{"type":"slot","count":"1+:1:*","label":"s","with":[{"type":"core","count":1}]}]"#,
        ONE,
        "{}",
        ".resources[0].count`: the operand of * and ^ is at least 2",
    ),
    (
        r#"[{"type":"node","count":1000000,"with":[{"type":"slot","count":1000000,"label":"s","with":[{"type":"core","count":1}]}]}]"#,
        ONE,
        "{}",
        ".resources`: more than 4194304 slots",
    ),
    (SLOT, r#"{"per_slot":4000000}"#, "{}", ".tasks`: more than 4194304 tasks"),
    (
        SLOT,
        r#"{"per_resource":{"type":"gpu","count":1}}"#,
        "{}",
        ".tasks[0].count`: no gpu is in or around the slot",
    ),
    (
        SLOT,
        ONE,
        r#"{"dependencies":[{"scheme":"afterok","value":"0x"}]}"#,
        ".attributes.system.dependencies[0].value`: ",
    ),
    (
        SLOT,
        ONE,
        r#"{"files":{"../a":{"mode":33152}}}"#,
        ".attributes.system.files`: `../a` is not a relative path without `..`",
    ),
    (
        SLOT,
        ONE,
        r#"{"files":{"a":{"mode":33152,"encoding":"utf-8","size":3,"data":"ab"}}}"#,
        ".attributes.system.files.a.size`: 3 does not fit the data, which has 2",
    ),
];

#[test]
fn bad_documents_are_refused_with_place_and_reason() {
    let schema = schema();
    let seen = REFUSED.iter().map(|case| (case, false));
    for ((resources, count, system, expected), valid) in
        seen.chain(REFUSED_BY_THE_READER.iter().map(|case| (case, true)))
    {
        let text = document(resources, count, system);
        let error = Jobspec::parse(&text).expect_err(&text).to_string();
        assert!(error.starts_with(&format!("read jobspec at `{expected}")), "{error}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(schema.is_valid(&value), valid, "{text}");
    }
}

#[test]
fn the_documents_of_the_manual_are_read() {
    let manual = include_str!("../../docs/formats.md");
    let blocks = |language: &'static str| {
        manual.split("\n```").skip(1).step_by(2).filter_map(move |block| block.strip_prefix(language))
    };
    let jobspecs: Vec<&str> = blocks("yaml\n").collect();
    assert_eq!(jobspecs.len(), 2);
    for text in jobspecs {
        Jobspec::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    }
    for text in blocks("json\n") {
        flurm_types::R::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    }
}

#[test]
fn texts_that_are_no_documents_are_refused_in_one_line() {
    let deep = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
    let bomb = (0..12).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |bomb, level| {
        let links = vec![format!("*a{level}"); 10].join(", ");
        format!("{bomb}a{}: &a{} [{links}]\n", level + 1, level + 1)
    });
    let wide = document(&format!("[{}]", vec![r#"{"type":"core","count":1}"#; 2000].join(",")), ONE, "{}");
    let nested = format!(
        r#"[{}{}{}]"#,
        r#"{"type":"x","count":1,"with":["#.repeat(17),
        r#"{"type":"core","count":1}"#,
        "]}".repeat(17)
    );
    let nested = document(&nested, ONE, "{}");
    let second = format!("{V1}---\n{V1}");
    let cases: &[(&str, &str)] = &[
        ("", "."),
        ("{", "."),
        ("[1]", "."),
        ("a: [", "."),
        ("version: 1", "."),
        ("{\"version\":2}", ".version"),
        (&deep, "."),
        (&bomb, "."),
        (&second, "."),
        (&wide, ".resources"),
        (&nested, ".resources[0]"),
    ];
    for (text, place) in cases {
        let error = Jobspec::parse(text).expect_err(text);
        assert!(error.path.starts_with(place) && !error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn counts_know_which_numbers_will_do() {
    let cases: &[(&str, u32, &[u32], Option<u32>)] = &[
        ("4", 4, &[4], Some(4)),
        (r#""4""#, 4, &[4], Some(4)),
        (r#""2-5""#, 2, &[2, 3, 4, 5], Some(5)),
        (r#""2-16:2:*""#, 2, &[2, 4, 8, 16], Some(16)),
        (r#""2+:2:^""#, 2, &[2, 4, 16], Some(65536)),
        (r#""4+:2""#, 4, &[4, 6, 8, 10, 12, 14, 16, 18], Some(100_000)),
        (r#""1,4,8-9""#, 1, &[1, 4, 8, 9], Some(9)),
        (r#"{"min":3,"max":9,"operator":"+","operand":4}"#, 3, &[3, 7], Some(7)),
    ];
    for (text, min, allowed, largest) in cases {
        let resources =
            format!(r#"[{{"type":"slot","count":{text},"label":"s","with":[{{"type":"core","count":1}}]}}]"#);
        let jobspec = Jobspec::parse(&document(&resources, ONE, "{}")).expect(text);
        let count: &Count = &jobspec.resources()[0].count;
        assert_eq!(count.min(), *min, "{text}");
        assert_eq!((1..20).filter(|n| count.allows(*n)).collect::<Vec<_>>(), *allowed, "{text}");
        assert_eq!(count.largest_up_to(100_000), *largest, "{text}");
    }
}

#[test]
fn the_shell_option_of_flux_tools_counts_tasks() {
    let system = r#"{"shell":{"options":{"per-resource":{"type":"node","count":3}}}}"#;
    let resources = r#"[{"type":"node","count":2,"exclusive":true,"with":[{"type":"slot","count":1,"label":"s","with":[{"type":"core","count":1}]}]}]"#;
    let jobspec = Jobspec::parse(&document(resources, ONE, system)).expect("as Flux writes it");
    assert_eq!(jobspec.task_count(), TaskCount::PerResource { kind: Kind::Node, count: 3 });
    assert_eq!(jobspec.request().map(|request| (request.ntasks, request.exclusive)), Some((6, true)));
}
