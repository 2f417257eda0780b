//! Jobspecs from a line in the form of RFC 46: `node=2/[slot=1{t}/core=4;memory=8{unit:GiB}]`.

use flurm_jobspec::{Jobspec, shape};
use flurm_types::Constraint;
use serde_json::json;

/// A shape, seconds behind `t` and a placement behind `@` if wanted, and a constraint at the end.
pub fn jobspec(words: &[&str]) -> Jobspec {
    let (text, rest) = words.split_first().expect("a shape");
    let (mut duration, mut placement, mut query) = (0.0, None, String::new());
    for word in rest {
        match (word.strip_prefix('t'), word.strip_prefix('@')) {
            (Some(seconds), _) if query.is_empty() => duration = seconds.parse().expect("seconds"),
            (_, Some(name)) if query.is_empty() => placement = Some(name),
            _ => query.extend([word.trim_matches('"'), " "]),
        }
    }
    let (resources, labels) = shape::resources(text).expect(text);
    let constraint = Constraint::parse_query(&query).expect("a query");
    let task = |label: &String| json!({ "command": ["true"], "slot": label, "count": { "per_slot": 1 } });
    let mut system = json!({ "duration": duration, "constraints": constraint.to_json() });
    if let Some(placement) = placement {
        system["placement"] = placement.into();
    }
    let document = json!({
        "version": 1, "resources": resources, "attributes": { "system": system },
        "tasks": labels.iter().map(task).collect::<Vec<_>>(),
    });
    Jobspec::parse(&document.to_string()).expect(text)
}
