//! Readers of `flurm-jobspec`: any bytes are read or refused, and what was read is written and read again as the same.

use flurm_jobspec::{Dependency, Jobspec, shape};
use serde_json::json;

type Body = fn(&[u8]);

/// Name, body, and texts to start from.
pub const TARGETS: &[(&str, Body, &[&str])] = &[
    (
        "jobspec",
        jobspec,
        &[
            r#"{"attributes":{"system":{"cwd":"/tmp","duration":3600.0,"environment":{"A":"1","B":null},"constraints":{"properties":["x"]},"dependencies":[{"scheme":"afterok","value":"ƒ2nd"}],"placement":"spread:1/3","job":{"name":"n"},"shell":{"options":{"per-resource":{"type":"node","count":2},"verbose":1}},"files":{"a":{"mode":33152,"encoding":"base64","data":"AP8="}},"queue":"q"},"user":{"k":[1]}},"resources":[{"type":"node","count":2,"exclusive":true,"with":[{"type":"slot","count":4,"label":"task","with":[{"type":"core","count":1},{"type":"gpu","count":1}]}]}],"tasks":[{"command":["hostname"],"slot":"task","count":{"per_slot":1}}],"version":1}"#,
            r#"{"attributes":{"system":{"cosched":{"class":"memory","group":"g","size":3}}},"resources":[{"type":"slot","count":{"min":2,"max":9,"operator":"+","operand":3},"label":"s","with":[{"type":"memory","count":"2-16:2:*","unit":"GiB"},{"type":"core","count":"1,4,8-9"}]}],"tasks":[{"command":"a 'b c'","slot":"s","count":{"total":7}}],"version":1}"#,
            "version: 1\nresources: [{type: slot, count: 2, label: t, with: [{type: core, count: 1}]}]\ntasks:\n  - command: [a, b]\n    slot: t\n    count: {per_slot: 1}\nattributes:\n  system: {duration: 1.5h}\n",
        ],
    ),
    (
        "dependency",
        dependency,
        &["afterok:ƒ2nd", "begin-time:1790000000.5", "string:x?type=in&scope=user", "singleton"],
    ),
    (
        "shape",
        resources,
        &[
            "node=4/slot=2{t}/[core=10;gpu=1]",
            "slot=2-8:2:*/node{x}",
            "[slot{a,-x}/core;slot{label:b}/[core=2;memory=4{unit:GiB,id:0-3}]]",
        ],
    ),
];

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

pub fn jobspec(bytes: &[u8]) {
    let Ok(jobspec) = Jobspec::parse(text(bytes)) else { return };
    let written = jobspec.to_json();
    let read = Jobspec::parse(&written);
    assert_eq!(read.as_ref(), Ok(&jobspec));
    assert_eq!(read.map(|read| read.to_json()), Ok(written));
    let environment = jobspec.attributes().environment.clone();
    let apart = Jobspec::parse_with_environment(&jobspec.to_json_without_environment(), environment);
    assert_eq!(apart.as_ref(), Ok(&jobspec));
    // A simple shape always has numbers, and its tasks are those that the general rule counts.
    let numbers = jobspec.request();
    assert!(!jobspec.is_v1() || numbers.is_some());
    if let Some(numbers) = numbers {
        assert_eq!(u64::from(numbers.ntasks), jobspec.tasks_min());
        assert_eq!(u64::from(numbers.slots), jobspec.slots_min());
    }
    assert!(!jobspec.command()[0].is_empty());
    let _ = (jobspec.name(), jobspec.task_count());
}

pub fn dependency(bytes: &[u8]) {
    if let Ok(dependency) = text(bytes).parse::<Dependency>() {
        let _ = (dependency.description(), dependency.job());
    }
}

pub fn resources(bytes: &[u8]) {
    let Ok((resources, slots)) = shape::resources(text(bytes)) else { return };
    let tasks =
        slots.iter().map(|slot| json!({ "command": ["x"], "slot": slot, "count": { "per_slot": 1 } }));
    let tasks: Vec<_> = tasks.collect();
    let document = json!({ "version": 1, "resources": resources, "tasks": tasks, "attributes": {} });
    jobspec(document.to_string().as_bytes());
}
