//! Is a job willing to share its sockets with another one that is willing, and what does it stress?

use crate::error::{JobspecError, Place};
use crate::read::{Object, noun, text};
use serde::Serialize;
use serde_json::Value;

/// A job that is willing. It has half of each of its sockets; the other half goes to one other willing job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cosched {
    /// What it stresses, such as `compute`, `memory` or `io`: pairs that hinder each other least are put together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// Takes `cosched` (true, or an object with a `class`) and `cosched-class` out of the attributes. `willing` says that the
/// placement was `cosched`.
pub(crate) fn read(system: &mut Object<'_>, willing: bool) -> Result<Option<Cosched>, JobspecError> {
    let said = system.read("cosched", |place, value| match value {
        Value::Bool(willing) => Ok(willing.then(Cosched::default)),
        Value::Object(_) => {
            let mut object = Object::open(place, value)?;
            let class = object.read("class", class)?;
            object.close()?;
            Ok(Some(Cosched { class }))
        }
        other => place.fail(format!("expected true, false or an object, found {}", noun(&other))),
    })?;
    let class = system.read("cosched-class", class)?;
    let said = said.flatten().or_else(|| (willing || class.is_some()).then(Cosched::default));
    Ok(said.map(|said| Cosched { class: class.or(said.class) }))
}

/// A name of letters, digits, `_` and `-`.
fn class(place: &Place<'_>, value: Value) -> Result<String, JobspecError> {
    let name = text(place, value)?;
    let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if good { Ok(name) } else { place.fail(format!("`{name}` is no class: letters, digits, `_` and `-`")) }
}
