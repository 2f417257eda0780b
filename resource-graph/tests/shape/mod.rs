//! Jobspecs from a line: `node=2x/slot=3/core=2,gpu` is two whole nodes with three slots each.

use flurm_jobspec::Jobspec;
use flurm_types::Constraint;
use serde_json::{Value, json};

/// A jobspec of this shape; `x` behind a count is exclusive, `s` shared. An empty placement is none; `cosched:CLASS` and
/// `group:NAME:SIZE` are for jobs that share.
pub fn jobspec(shape: &str, duration: f64, placement: &str, constraint: &Constraint) -> Jobspec {
    let mut document = json!({
        "version": 1,
        "resources": vertices(shape),
        "tasks": [{ "command": ["true"], "slot": "task", "count": { "per_slot": 1 } }],
        "attributes": { "system": { "duration": duration, "constraints": constraint.to_json() } },
    });
    if let Some(class) = placement.strip_prefix("cosched:") {
        document["attributes"]["system"]["cosched-class"] = class.into();
    } else if let Some(group) = placement.strip_prefix("group:") {
        let (name, size) = group.split_once(':').expect("group:NAME:SIZE");
        document["attributes"]["system"]["cosched"] =
            json!({ "group": name, "size": size.parse::<u32>().expect(size) });
    } else if !placement.is_empty() {
        document["attributes"]["system"]["placement"] = placement.into();
    }
    Jobspec::parse(&document.to_string()).expect(shape)
}

fn vertices(shape: &str) -> Value {
    let (here, below) = shape.split_once('/').map_or((shape, None), |(here, below)| (here, Some(below)));
    let side_by_side = here.split(',').enumerate().map(|(n, vertex)| {
        let (kind, count) = vertex.split_once('=').unwrap_or((vertex, "1"));
        let mut value = json!({ "type": kind });
        let number = count.trim_end_matches(['x', 's']);
        value["count"] = number.parse::<u32>().map_or(json!(number), |number| json!(number));
        if count.ends_with(['x', 's']) {
            value["exclusive"] = json!(count.ends_with('x'));
        }
        if kind == "slot" {
            value["label"] = json!(format!("task{}", if n > 0 { n.to_string() } else { String::new() }));
        }
        if let Some(below) = below {
            value["with"] = vertices(below);
        }
        value
    });
    side_by_side.collect()
}
