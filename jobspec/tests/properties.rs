//! Whatever is built or read is written as one canonical text, which reads back as the same and fits the schema.

use flurm_jobspec::build::Builder;
use flurm_jobspec::{Cosched, Dependency, File, Group, Jobspec, SCHEMA};
use flurm_types::{Constraint, Environment};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

static VALIDATOR: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema is a schema")
});

/// Any JSON that users may leave somewhere.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e300..1e300_f64).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map("[a-z]{1,4}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn environment() -> impl Strategy<Value = Arc<Environment>> {
    btree_map("[A-Z_%()]{1,6}", option::of("[^\0]{0,8}"), 0..5).prop_map(Arc::new)
}

/// Options of size; many of them contradict each other.
fn sized() -> impl Strategy<Value = Builder> {
    let number = || option::weighted(0.4, 1..9_u32);
    let sizes = vec(number(), 9);
    let command = vec("[^\0]{1,6}", 1..4);
    (command, sizes, any::<bool>()).prop_map(|(command, sizes, exclusive)| {
        type Set = fn(Builder, u32) -> Builder;
        let setters: [Set; 9] = [
            Builder::nnodes,
            Builder::ntasks,
            Builder::nslots,
            Builder::cores_per_task,
            Builder::gpus_per_task,
            Builder::ncores,
            Builder::gpus_per_node,
            Builder::tasks_per_node,
            Builder::tasks_per_core,
        ];
        let chosen = setters.iter().zip(sizes).filter_map(|(set, size)| Some((set, size?)));
        chosen.fold(Builder::new(command).exclusive(exclusive), |builder, (set, size)| set(builder, size))
    })
}

fn counts() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (1..5_u32).prop_map(Value::from),
        1 => (1..5_u32, 0..9_u32).prop_map(|(min, more)| json!(format!("{min}-{}", min + more))),
        1 => (2..5_u32, 2..4_u32).prop_map(|(min, operand)| json!(format!("{min}+:{operand}:^"))),
        1 => (1..3_u32, 4..9_u32).prop_map(|(a, b)| json!(format!("[{a},{b}]"))),
        1 => (1..5_u32, 1..3_u32).prop_map(|(min, operand)| {
            json!({"min": min, "max": min + 7, "operator": "+", "operand": operand})
        }),
    ]
}

/// A tree without slots.
fn things() -> impl Strategy<Value = Value> {
    let kinds = proptest::sample::select(vec!["node", "socket", "core", "gpu", "memory", "rack"]);
    let vertex = (kinds, counts(), option::of(any::<bool>()))
        .prop_map(|(kind, count, exclusive)| {
            let mut vertex = json!({"type": kind, "count": count});
            if let Some(exclusive) = exclusive {
                vertex["exclusive"] = exclusive.into();
            }
            vertex
        })
        .boxed();
    vertex.clone().prop_recursive(3, 8, 3, move |inner| {
        (vertex.clone(), vec(inner, 1..3)).prop_map(|(mut vertex, with)| {
            vertex["with"] = with.into();
            vertex
        })
    })
}

/// A document of the general form: a slot somewhere in a chain of things.
fn general() -> impl Strategy<Value = Value> {
    let count = prop_oneof![
        (1..4_u32).prop_map(|n| json!({ "per_slot": n })),
        (1..40_u32).prop_map(|n| json!({ "total": n })),
        (1..4_u32).prop_map(|n| json!({ "per_resource": {"type": "socket", "count": n} })),
    ];
    (vec(things(), 1..3), vec(counts(), 0..3), counts(), count, json_value()).prop_map(
        |(inside, around, slots, count, user)| {
            let slot = json!({"type": "slot", "label": "s", "count": slots, "with": inside});
            let tree = around
                .into_iter()
                .fold(slot, |tree, count| json!({"type": "socket", "count": count, "with": [tree]}));
            json!({
                "version": 1,
                "resources": [tree],
                "tasks": [{"command": ["a"], "slot": "s", "count": count}],
                "attributes": {"system": {"kept": user.clone()}, "user": {"free": user}},
            })
        },
    )
}

fn check(jobspec: &Jobspec) -> Result<(), TestCaseError> {
    let written = jobspec.to_json();
    let read = Jobspec::parse(&written);
    prop_assert_eq!(read.as_ref(), Ok(jobspec));
    prop_assert_eq!(read.map(|read| read.to_json()), Ok(written.clone()));
    let value: Value = serde_json::from_str(&written).expect("JSON");
    prop_assert!(VALIDATOR.is_valid(&value), "{}", written);
    // serde_json's maps are ordered, so this is the text with sorted keys.
    prop_assert_eq!(value.to_string(), written);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_built_reads_back(
        builder in sized(),
        environment in environment(),
        (option, user) in (json_value(), json_value()),
        duration in prop_oneof![Just(0.0), 0.0..1e9_f64, Just(f64::INFINITY)],
        cosched in option::of((option::of("[a-z]{1,4}"), option::of(("[a-z0-9]{1,4}", 2..17_u32)))),
        (name, bytes) in (option::of(".{0,8}"), vec(any::<u8>(), 0..12)),
    ) {
        let builder = builder
            .environment(environment.clone())
            .duration(duration)
            .shell_option("a.b", option)
            .setattr("user.free", &user)
            .constraint(Constraint::parse_query("thin host:n[1-3]").expect("a query"))
            .dependency(Dependency::new("singleton", ""))
            .file("dir/data", &File::new(bytes, 0o600));
        let builder = match name {
            Some(name) => builder.name(name),
            None => builder,
        };
        let builder = match cosched {
            Some((class, group)) => {
                let group = group.map(|(name, size)| Group { name, size });
                builder.cosched(&Cosched { class, group })
            }
            None => builder,
        };
        let Ok(jobspec) = builder.build() else { return Ok(()) };
        prop_assert!(jobspec.is_v1(), "{:?}", jobspec.beyond_v1());
        check(&jobspec)?;
        let apart = Jobspec::parse_with_environment(&jobspec.to_json_without_environment(), environment);
        prop_assert_eq!(apart, Ok(jobspec));
    }

    #[test]
    fn what_is_read_reads_back(document in general()) {
        let text = document.to_string();
        prop_assert!(VALIDATOR.is_valid(&document), "{}", text);
        // Tasks for each socket are refused where there is none.
        if let Ok(jobspec) = Jobspec::parse(&text) {
            check(&jobspec)?;
        } else {
            prop_assert!(text.contains("per_resource"), "{}", text);
        }
    }
}
