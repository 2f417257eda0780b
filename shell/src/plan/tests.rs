//! Plans of whole jobs: which tasks run where, and what they are told.

use super::*;
use crate::options::{Sink, Source, Spread};
use serde_json::{Value, json};

fn r(cores: &[(u32, &str)]) -> R {
    R::from_nodes(cores.iter().map(|(rank, cores)| RNode {
        rank: *rank,
        host: format!("c{rank}"),
        cores: cores.parse().unwrap(),
        gpus: "0-1".parse().unwrap(),
    }))
}

fn place(rank: u32) -> Place {
    let instance = Instance::of("here");
    Place {
        rank,
        instance,
        uri: "local:///r/local".into(),
        enclosing_id: None,
        instance_level: 0,
        slurm_conf: None,
    }
}

fn spec(resources: Value, count: Value, options: Value) -> Spec {
    let text = json!({
        "version": 1, "resources": [resources],
        "tasks": [{"command": ["/bin/a", "{{task.id}}"], "slot": "t", "count": count}],
        "attributes": {"system": {"duration": 0, "cwd": "/w", "shell": {"options": options}}},
    });
    Spec::parse(&text.to_string()).unwrap()
}

fn slot(count: u32, cores: u32, gpus: u32) -> Value {
    let mut with = vec![json!({"type": "core", "count": cores})];
    if gpus > 0 {
        with.push(json!({"type": "gpu", "count": gpus}));
    }
    json!({"type": "slot", "count": count, "label": "t", "with": with})
}

fn nodes(count: u32, slot: Value) -> Value {
    json!({"type": "node", "count": count, "with": [slot]})
}

#[test]
fn tasks_are_spread_as_slots_lie() {
    let two = r(&[(3, "0-3"), (5, "0-3")]);
    let four = r(&[(0, "0-3"), (1, "0-3"), (2, "0-3"), (3, "0-3")]);
    for (resources, count, options, r, rank, wanted) in [
        (slot(6, 1, 0), json!({"per_slot": 1}), json!({}), r(&[(3, "0-3"), (5, "4-5")]), 5, vec![4, 5]),
        (nodes(2, slot(2, 1, 0)), json!({"per_slot": 1}), json!({}), two.clone(), 5, vec![2, 3]),
        (nodes(2, slot(2, 2, 0)), json!({"total": 3}), json!({}), two.clone(), 5, vec![2]),
        (nodes(4, slot(2, 1, 0)), json!({"total": 6}), json!({}), four, 3, vec![5]),
        (nodes(2, slot(1, 4, 0)), json!({"total": 4}), json!({}), two.clone(), 3, vec![0, 1]),
        (
            nodes(2, slot(2, 1, 0)),
            json!({"per_slot": 1}),
            json!({"taskmap": {"scheme": "cyclic"}}),
            two.clone(),
            5,
            vec![1, 3],
        ),
        (
            nodes(2, slot(1, 1, 0)),
            json!({"per_slot": 1}),
            json!({"per-resource": {"type": "core"}}),
            two.clone(),
            5,
            vec![4, 5, 6, 7],
        ),
        (
            nodes(2, slot(2, 1, 0)),
            json!({"per_slot": 1}),
            json!({"taskmap": {"scheme": "hosts", "value": "c5,c3,c3,c5"}}),
            two,
            5,
            vec![0, 3],
        ),
    ] {
        let spec = spec(resources, count, options);
        let plan = plan(JobId(1), &spec, Numbers::default(), &r, &place(rank), "/r/job-1").unwrap();
        assert_eq!(plan.tasks, wanted, "{spec:?}");
    }
}

#[test]
fn a_task_is_told_who_it_is() {
    let spec = spec(nodes(2, slot(2, 2, 1)), json!({"per_slot": 1}), json!({}));
    let plan =
        plan(JobId(1), &spec, Numbers::default(), &r(&[(3, "0-3"), (5, "0-3")]), &place(5), "/r/job-1")
            .unwrap();
    let submitted = [("OUT".to_owned(), Some("{{name}}.{{task.id}}".to_owned()))].into();
    let base = crate::env::base(&submitted, false);
    let told: Vec<String> = plan
        .job_variables()
        .iter()
        .chain(plan.task_variables(1, &base, || Vendors::UNKNOWN).iter())
        .map(str::to_owned)
        .collect();
    for wanted in [
        "FLURM_URI=local:///r/local",
        "FLUX_JOB_ID=ƒ2",
        "FLUX_JOB_SIZE=4",
        "FLUX_JOB_NNODES=2",
        "FLUX_JOB_TMPDIR=/r/job-1",
        "FLUX_TASK_RANK=3",
        "FLUX_TASK_LOCAL_ID=1",
        "SLURM_JOB_NODELIST=c[3,5]",
        "SLURM_TASKS_PER_NODE=2(x2)",
        "SLURM_NTASKS_PER_NODE=2",
        "SLURM_JOB_CPUS_PER_NODE=4(x2)",
        "SLURM_NODEID=1",
        "SLURM_PROCID=3",
        "SLURM_CPUS_PER_TASK=2",
        "SLURMD_NODENAME=c5",
        "CUDA_VISIBLE_DEVICES=1",
        "OUT=a.3",
    ] {
        assert!(told.iter().any(|v| v == wanted), "{wanted} is missing in {told:?}");
    }
    assert_eq!(plan.command_of(0), ["/bin/a", "2"]);
    assert!(!told.iter().any(|v| v.starts_with("SLURM_JOBID=") || v.starts_with("SLURM_STEP_ID=")));
}

#[test]
fn an_instance_is_told_the_slots_of_its_job_as_tasks() {
    let two = r(&[(3, "0-3"), (5, "0-3")]);
    let told = |command: Value, shape: Value, count: Value| {
        let text = json!({
            "version": 1, "resources": [shape], "tasks": [{"command": command, "slot": "t", "count": count}],
            "attributes": {"system": {"duration": 0, "queue": "short",
                "shell": {"options": {"per-resource": {"type": "node", "count": 1}}}}},
        });
        let spec = Spec::parse(&text.to_string()).unwrap();
        let plan = plan(JobId(1), &spec, Numbers::default(), &two, &place(3), "/r/job-1").unwrap();
        let all: Vec<String> = plan.job_variables().iter().map(str::to_owned).collect();
        let names = [
            "FLUX_JOB_SIZE=",
            "SLURM_NTASKS=",
            "SLURM_NPROCS=",
            "SLURM_TASKS_PER_NODE=",
            "SLURM_NTASKS_PER_NODE=",
            "SLURM_JOB_PARTITION=",
        ];
        let value = |name: &&str| all.iter().find_map(|v| v.strip_prefix(*name).map(str::to_owned));
        names.iter().map(|name| value(name).unwrap_or("-".into())).collect::<Vec<_>>().join(" ")
    };
    let start = json!(["/opt/flurm", "start", "--", "job.sh"]);
    assert_eq!(told(start.clone(), nodes(2, slot(2, 2, 0)), json!({"per_slot": 1})), "2 4 4 2(x2) 2 short");
    assert_eq!(told(start, nodes(2, slot(2, 1, 0)), json!({"total": 3})), "2 3 3 2,1 - short");
    // `run --tasks-per-node=1` asks for tasks, not for slots.
    let other = json!(["./flurm-like", "start"]);
    assert_eq!(told(other, nodes(2, slot(4, 1, 0)), json!({"per_slot": 1})), "2 2 2 1(x2) 1 short");
}

#[test]
fn nodes_on_one_host_are_known_by_their_names() {
    let on = |rank, r: &R| {
        let ids: Vec<_> = r.nodes.iter().map(|node| node.rank).collect();
        let spec = spec(nodes(ids.len() as u32, slot(1, 1, 0)), json!({"per_slot": 1}), json!({}));
        plan(JobId(1), &spec, Numbers::default(), r, &place(rank), "/r/job-1").unwrap()
    };
    let two = on(3, &r(&[(3, "0"), (5, "0")]));
    assert!(!two.shares_host("c3") && !two.shares_host("c3.example.org"));
    assert!(two.shares_host("c30") && two.shares_host("laptop"), "c3 is made up there");
    assert!(!on(3, &r(&[(3, "0")])).shares_host("laptop"), "there is nobody to share with");
    let mut twins = r(&[(3, "0"), (5, "0")]);
    twins.nodes.iter_mut().for_each(|node| node.host = "c3".into());
    assert!(on(3, &twins).shares_host("c3"));
}

#[test]
fn options_work_or_are_refused() {
    let with = |options: Value| {
        let spec = spec(slot(1, 1, 0), json!({"per_slot": 1}), options);
        plan(JobId(1), &spec, Numbers::default(), &r(&[(0, "0")]), &place(0), "/r/job-1")
            .map(|plan| plan.options)
    };
    let plain = with(json!({})).unwrap();
    assert_eq!((&plain.stdin, &plain.stdout, plain.pmi.wire), (&Source::Nothing, &Sink::Log, false));
    let file = with(json!({"output": {"stdout": {"type": "file", "path": "o"}}})).unwrap();
    assert_eq!(file.stderr, Sink::File { template: "o".into(), label: false }, "stderr follows stdout");
    assert!(with(json!({"mpi": "intel"})).unwrap().pmi.wire);
    assert!(with(json!({"output": {"limit": "1G"}})).is_ok());
    assert_eq!(with(json!({"exit-timeout": "2m"})).unwrap().exit_timeout_s, Some(120.0));
    let map = with(json!({"cpu-affinity": "dry-run,map:0-1;4"})).unwrap().cpus.clone();
    assert_eq!(map.how, Some(Spread::Map(vec!["0-1".parse().unwrap(), "4".parse().unwrap()])));
    assert!(map.say && map.dry_run);
    for bad in [
        json!({"nosetpgrp": 1}),
        json!({"outptu": {}}),
        json!({"pmi": "pmix3"}),
        json!({"cpu-affinity": "sometimes"}),
        json!({"cpu-affinity": "verbose,sometimes"}),
        json!({"taskmap": {"scheme": "random"}}),
        json!({"taskmap": {"scheme": "manual", "value": "0-7"}}),
        json!({"output": {"stdout": {"type": "file"}}}),
        json!({"rlimit": {"core": "much"}}),
    ] {
        assert!(with(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn a_list_of_hosts_says_which_and_not_how_many() {
    let two = r(&[(3, "0-1"), (5, "0-1")]);
    let with = |hosts: &str| {
        let options = json!({"taskmap": {"scheme": "hosts", "value": hosts}});
        let spec = spec(nodes(2, slot(2, 1, 0)), json!({"per_slot": 1}), options);
        plan(JobId(1), &spec, Numbers::default(), &two, &place(3), "/r/job-1").map(|plan| plan.map.nodes())
    };
    let set = |text: &str| text.parse::<Idset>().unwrap();
    assert_eq!(with("c[5,3]").unwrap(), [set("1,3"), set("0,2")]);
    for (hosts, wrong) in
        [("c5", "0 tasks for c3, where the job has 2"), ("c9,c3", "`c9` is no node of this job")]
    {
        let text = with(hosts).unwrap_err().to_string();
        assert!(text.contains(wrong), "{text}");
    }
}

#[test]
fn another_copy_is_planned_without_reading_its_jobspec() {
    let of = |number: u32| {
        let text = json!({
            "version": 1, "resources": [slot(1, 1, 0)],
            "tasks": [{"command": ["/bin/a"], "slot": "t", "count": {"per_slot": 1}}],
            "attributes": {"system": {
                "duration": 0, "cwd": "/w", "array": {"id": 5, "count": 9, "index": number},
                "shell": {"options": {"cc": number}},
            }},
        });
        Spec::parse(&text.to_string()).unwrap()
    };
    let planned = |spec: &Spec, copy| {
        let plan = plan(
            JobId(1),
            spec,
            Numbers { copy, ..Numbers::default() },
            &r(&[(0, "0")]),
            &place(0),
            "/r/job-1",
        )
        .unwrap();
        let variables: Vec<String> = plan.job_variables().iter().map(str::to_owned).collect();
        (plan.copy, plan.with_tags(None, |tags| tags.copy), variables)
    };
    let three = of(3);
    assert!(three.is_copy());
    assert_eq!(planned(&three, Some(7)), planned(&of(7), None));
    assert_ne!(planned(&three, None), planned(&of(7), None));
}

#[test]
fn a_job_of_slurms_commands_is_told_what_slurm_tells() {
    let text = json!({
        "version": 1, "resources": [nodes(2, slot(1, 4, 1))],
        "tasks": [{"command": ["a"], "slot": "t", "count": {"total": 1}}],
        "attributes": {"system": {"duration": 0, "slurm": {
            "ntasks": 3, "cpus-per-task": 2, "environment": {"SLURM_NTASKS": "3", "SLURM_CLUSTER_NAME": "flurm"}}}},
    });
    let spec = Spec::parse(&text.to_string()).unwrap();
    let numbers = Numbers { copy: None, job: 12, array: 0 };
    let r = r(&[(0, "0-3"), (1, "0-3")]);
    let plan = plan(JobId(7), &spec, numbers, &r, &place(0), "/t").unwrap();
    let variables: Vec<&str> = plan.job_variables().iter().filter(|v| v.starts_with("SLURM")).collect();
    for wanted in [
        "SLURM_JOB_ID=12",
        "SLURM_JOBID=12",
        "SLURM_NODELIST=c[0-1]",
        "SLURM_JOB_NODELIST=c[0-1]",
        "SLURM_TASKS_PER_NODE=2,1",
        "SLURM_JOB_CPUS_PER_NODE=4(x2)",
        "SLURM_NTASKS=3",
        "SLURM_CLUSTER_NAME=flurm",
        "SLURM_JOB_GPUS=0,1",
        "SLURM_GTIDS=0",
    ] {
        assert!(variables.contains(&wanted), "{wanted}: {variables:#?}");
    }
    // Nobody has asked for so many, so steps are not told that somebody has.
    assert!(!variables.iter().any(|v| v.starts_with("SLURM_CPUS_PER_TASK=")), "{variables:#?}");
    assert_eq!(plan.tasks, [0]);
    let numbers = Numbers { copy: None, job: 12, array: 0 };
    let other = plan_of_rank(&spec, numbers, &r, 1);
    assert!(other.tasks.is_empty(), "the script runs on the first node");
}

fn plan_of_rank(spec: &Spec, numbers: Numbers, r: &R, rank: u32) -> Plan {
    plan(JobId(7), spec, numbers, r, &place(rank), "/t").unwrap()
}
