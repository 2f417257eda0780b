//! Arrays: jobs of one submission that are counted, and of which only so many may run at a time.

use crate::error::{JobspecError, Place};
use crate::read::{Object, noun, positive};
use flurm_types::JobId;
use serde::Serialize;
use serde_json::Value;

/// A job's place in an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Array {
    /// The first job of the array; none: this is it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<JobId>,
    /// What tells the job from the others of the array.
    pub index: u32,
    /// How many there were, their least and largest index and what is between two of them, as the submitter has counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// So many of them may be scheduled or run at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<u32>,
}

pub(crate) fn read(place: &Place<'_>, value: Value) -> Result<Array, JobspecError> {
    let mut object = Object::open(place, value)?;
    let id = object.read("id", job)?;
    let index = number(&place.key("index"), &object.need("index")?)?;
    let mut count = |key| object.read(key, |place, value| number(place, &value));
    let (count, min, max, step) = (count("count")?, count("min")?, count("max")?, count("step")?);
    let throttle = object.read("throttle", |place, value| positive(place, &value))?;
    object.close()?;
    Ok(Array { id, index, count, min, max, step, throttle })
}

fn number(place: &Place<'_>, value: &Value) -> Result<u32, JobspecError> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| place.error(format!("expected a whole number, found {}", noun(value))))
}

/// A job's id, as a number or in any of its encodings.
pub(crate) fn job(place: &Place<'_>, value: Value) -> Result<JobId, JobspecError> {
    match &value {
        Value::Number(number) if number.is_u64() => Ok(JobId(number.as_u64().unwrap_or_default())),
        Value::String(text) => text.parse().map_err(|e: flurm_types::SyntaxError| place.error(e.to_string())),
        other => place.fail(format!("expected a job's id, found {}", noun(other))),
    }
}
