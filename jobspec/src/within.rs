//! Jobs within a job: steps, which run on a part of what another job has. Whoever submits one has chosen the part.

use crate::array;
use crate::error::JobspecError;
use crate::read::Object;
use flurm_types::{JobId, R};
use std::sync::Arc;

/// The key of the part, which is Flux's: no scheduler is asked.
pub(crate) const BYPASS: &str = "alloc-bypass";

/// Which job a job is within, and what it takes of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Within {
    pub id: JobId,
    pub r: Arc<R>,
}

/// One key is nothing without the other.
pub(crate) fn read(system: &mut Object<'_>) -> Result<Option<Within>, JobspecError> {
    let id = system.read("within", array::job)?;
    let r = system.read(BYPASS, |place, value| {
        let mut bypass = Object::open(place, value)?;
        let value = bypass.need("R")?;
        bypass.close()?;
        let r = R::from_value(&value).map_err(|error| place.key("R").error(error.to_string()))?;
        if r.is_empty() { place.key("R").fail("there is nothing in it") } else { Ok(Arc::new(r)) }
    })?;
    match (id, r) {
        (Some(id), Some(r)) => Ok(Some(Within { id, r })),
        (None, None) => Ok(None),
        (None, Some(_)) => system.fail(
            BYPASS,
            "only a job within another job has its R without the scheduler: `within` names that job",
        ),
        (Some(_), None) => {
            system.fail("within", "`alloc-bypass.R` says which part of that job's resources this one takes")
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Jobspec;
    use flurm_types::JobId;
    use serde_json::{Value, json};

    fn parse(system: &Value) -> Result<Jobspec, String> {
        let document = json!({
            "version": 1,
            "resources": [{"type": "slot", "count": 1, "label": "task", "with": [{"type": "core", "count": 1}]}],
            "tasks": [{"command": ["true"], "slot": "task", "count": {"per_slot": 1}}],
            "attributes": {"system": system},
        });
        Jobspec::parse(&document.to_string()).map_err(|e| e.to_string())
    }

    fn r() -> Value {
        json!({"version": 1, "execution": {
            "R_lite": [{"rank": "0-1", "children": {"core": "0"}}],
            "starttime": 0, "expiration": 0, "nodelist": ["a", "b"],
        }})
    }

    #[test]
    fn a_job_within_another_reads_back_as_it_was_written() {
        for id in [json!(7), json!("ƒ8"), json!("f8")] {
            let jobspec = parse(&json!({"within": id, "alloc-bypass": {"R": r()}})).unwrap();
            let within = jobspec.attributes().within.clone().unwrap();
            assert_eq!((within.id, within.r.nnodes(), within.r.ncores()), (JobId(7), 2, 2));
            assert_eq!(Jobspec::parse(&jobspec.to_json()).unwrap(), jobspec);
        }
    }

    #[test]
    fn half_of_it_or_what_such_a_job_cannot_have_is_refused() {
        let both = |more: Value| {
            let mut system = json!({"within": 7, "alloc-bypass": {"R": r()}});
            system.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            system
        };
        for (system, path, rule) in [
            (json!({"alloc-bypass": {"R": r()}}), "alloc-bypass", "`within` names that job"),
            (json!({"within": 7}), "within", "`alloc-bypass.R` says which part"),
            (both(json!({"alloc-bypass": {}})), "alloc-bypass", "`R` is missing"),
            (both(json!({"alloc-bypass": {"R": r(), "x": 1}})), "alloc-bypass", "unknown key `x`"),
            (both(json!({"alloc-bypass": {"R": {}}})), "alloc-bypass.R", ""),
            (both(json!({"within": true})), "within", "expected a job's id"),
            (both(json!({"array": {"index": 1}})), "within", "starts at once"),
            (
                both(json!({"dependencies": [{"scheme": "afterok", "value": "1"}]})),
                "within",
                "starts at once",
            ),
        ] {
            let error = parse(&system).unwrap_err();
            let place = format!("at `.attributes.system.{path}`");
            assert!(error.contains(&place) && error.contains(rule), "{error}");
        }
    }
}
