//! What the options of `flurm run` and `submit` come down to.

use flurm_jobspec::build::Builder;
use flurm_jobspec::{Jobspec, Request};
use flurm_types::Environment;
use serde_json::{Value, json};
use std::sync::Arc;

fn job() -> Builder {
    Builder::new(vec!["/bin/hostname".into(), "-s".into()]).cwd("/tmp")
}

/// Nodes, slots, slots in a node, cores, GPUs, exclusive, tasks.
type Numbers = (Option<u32>, u32, Option<u32>, u32, u32, bool, u32);

fn numbers(jobspec: &Jobspec) -> Numbers {
    let Request { nodes, slots, slots_per_node, cores_per_slot, gpus_per_slot, exclusive, ntasks } =
        jobspec.request().expect("a V1 shape");
    (nodes, slots, slots_per_node, cores_per_slot, gpus_per_slot, exclusive, ntasks)
}

#[test]
fn options_of_size_become_slots() {
    let cases: &[(Builder, Numbers)] = &[
        (job(), (None, 1, None, 1, 0, false, 1)),
        (job().ntasks(4), (None, 4, None, 1, 0, false, 4)),
        (job().ntasks(4).cores_per_task(5).gpus_per_task(1), (None, 4, None, 5, 1, false, 4)),
        (job().nnodes(2), (Some(2), 2, Some(1), 1, 0, true, 2)),
        (job().nnodes(2).ntasks(4), (Some(2), 4, Some(2), 1, 0, false, 4)),
        (job().nnodes(2).ntasks(3), (Some(2), 4, Some(2), 1, 0, false, 3)),
        (job().nnodes(2).ntasks(2).exclusive(true), (Some(2), 2, Some(1), 1, 0, true, 2)),
        (job().ncores(8), (None, 8, None, 1, 0, false, 8)),
        (job().ncores(8).nnodes(2), (Some(2), 8, Some(4), 1, 0, false, 8)),
        (job().ncores(8).nnodes(2).gpus_per_node(1), (Some(2), 2, Some(1), 4, 1, false, 8)),
        (job().nnodes(2).tasks_per_node(3), (Some(2), 2, Some(1), 1, 0, true, 6)),
        (job().ncores(4).tasks_per_core(2), (None, 4, None, 1, 0, false, 8)),
        (job().nslots(6).cores_per_task(2), (None, 6, None, 2, 0, false, 1)),
        (job().nslots(6).nnodes(3), (Some(3), 6, Some(2), 1, 0, false, 3)),
    ];
    for (builder, expected) in cases {
        let jobspec = builder.clone().build().expect("good options");
        assert_eq!(numbers(&jobspec), *expected, "{}", jobspec.to_json());
        assert!(jobspec.is_v1(), "{:?}", jobspec.beyond_v1());
        assert_eq!(Jobspec::parse(&jobspec.to_json()).as_ref(), Ok(&jobspec));
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let cases: &[(Builder, &str)] = &[
        (job().nnodes(4).ntasks(2), "read jobspec at `.`: more nodes (4) than tasks (2)"),
        (job().ntasks(0), "read jobspec at `.`: the number of tasks is at least 1"),
        (job().exclusive(true), "read jobspec at `.`: exclusive needs the number of nodes"),
        (job().ncores(3).nnodes(2), "read jobspec at `.`: 3 cores cannot be shared evenly by 2 nodes"),
        (job().gpus_per_node(1), "read jobspec at `.`: GPUs on each node need the number of nodes"),
        (
            job().tasks_per_node(2),
            "read jobspec at `.`: tasks on each node or core need the number of nodes or cores",
        ),
        (
            job().ntasks(2).ncores(2),
            "read jobspec at `.`: sizes by task and by resource (cores, GPUs or tasks of a node or core) exclude each other",
        ),
        (job().ntasks(u32::MAX), "read jobspec at `.resources`: more than 4194304 slots"),
        (Builder::new(vec![]), "read jobspec at `.tasks[0].command`: expected at least one item"),
        (job().cwd("x"), "read jobspec at `.attributes.system.cwd`: expected an absolute path"),
        (
            job().duration(f64::NAN),
            "read jobspec at `.attributes.system.duration`: expected seconds or a duration, found null",
        ),
        (
            job().setattr("cwd.x", &json!(1)),
            "read jobspec at `.attributes`: set `system.cwd.x`: what is above it is not an object",
        ),
    ];
    for (builder, expected) in cases {
        let error = builder.clone().build().expect_err(expected);
        assert_eq!(error.to_string(), *expected);
    }
}

#[test]
fn attributes_are_set_by_path() {
    let environment: Environment = [("A".into(), Some("1".into())), ("B".into(), Some("2".into()))].into();
    let shared = Arc::new(environment);
    let jobspec = job()
        .name("mine")
        .queue("debug")
        .duration(90.0)
        .environment(shared.clone())
        .setattr("environment.B", &Value::Null)
        .setattr("user.tag", &json!(["x"]))
        .setattr(".user.other", &json!(1))
        .setattr("preemptible-after", &json!(60))
        .shell_option("output.stdout.type", json!("file"))
        .dependency("afterok:ƒ2nd".parse().expect("a dependency"))
        .build()
        .expect("good options");
    let attributes = jobspec.attributes();
    assert_eq!((jobspec.name().as_str(), attributes.queue.as_deref()), ("mine", Some("debug")));
    assert_eq!(attributes.duration, 90.0);
    assert_eq!(attributes.environment["B"], None);
    assert_eq!(attributes.shell_options["output"]["stdout"]["type"], "file");
    assert_eq!(attributes.other_system["preemptible-after"], 60);
    assert_eq!(Value::Object(attributes.user.clone()), json!({"other": 1, "tag": ["x"]}));
    assert_eq!(attributes.dependencies[0].description(), "afterok=ƒ2nd");
    assert_eq!(shared["B"].as_deref(), Some("2"), "the caller's environment is untouched");
}

#[test]
fn one_environment_is_shared_by_all_jobs() {
    let shared: Arc<Environment> = Arc::new([("A".into(), Some("1".into()))].into());
    let built = job().environment(shared.clone()).build().expect("good options");
    let text = built.to_json_without_environment();
    assert!(!text.contains("environment"));
    let read = Jobspec::parse_with_environment(&text, shared.clone()).expect("our own text");
    assert!(Arc::ptr_eq(&read.attributes().environment, &shared));
    assert!(Arc::ptr_eq(&built.attributes().environment, &shared));
    assert_eq!(read, built);
}

#[test]
fn an_option_of_the_shell_may_be_on_and_have_others_below_it() {
    let (on, size) = (("pty", serde_json::json!(1)), ("pty.size", serde_json::json!("30x90")));
    for options in [[on.clone(), size.clone()], [size, on]] {
        let builder = options
            .into_iter()
            .fold(Builder::new(vec!["a".into()]), |builder, (name, value)| builder.shell_option(name, value));
        let builder =
            builder.shell_option("signal.signum", 10.into()).shell_option("signal.timeleft", 9.into());
        let jobspec = builder.build().unwrap();
        let wanted = serde_json::json!({
            "pty": 1, "pty.size": "30x90", "signal": { "signum": 10, "timeleft": 9 },
        });
        assert_eq!(serde_json::Value::Object(jobspec.attributes().shell_options.clone()), wanted);
    }
}
