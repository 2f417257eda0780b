//! What a job waits for before it may be scheduled (RFC 26).

use crate::error::{JobspecError, Place};
use crate::read::{Object, text};
use flurm_types::{JobId, SyntaxError};
use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::str::FromStr;

/// One thing to wait for (RFC 26). Whether its scheme is known here is the job manager's matter.
#[derive(Debug, Clone, PartialEq)]
pub struct Dependency {
    pub scheme: String,
    pub value: String,
    /// Other keys, as written.
    pub options: Map<String, Value>,
}

/// Schemes whose value is the id of a job.
const OF_JOBS: &[&str] = &["after", "afterstart", "afterany", "afterok", "afternotok", "afterexcept"];

/// Is the scheme one about a job? With `-one` behind it the first job of an array is meant alone, not all of the array.
fn is_of_job(scheme: &str) -> bool {
    OF_JOBS.contains(&scheme.strip_suffix("-one").unwrap_or(scheme))
}

impl Dependency {
    #[must_use]
    pub fn new(scheme: impl Into<String>, value: impl Into<String>) -> Dependency {
        Dependency { scheme: scheme.into(), value: value.into(), options: Map::new() }
    }

    /// As the events `dependency-add` and `dependency-remove` name it: `afterok=ƒ2nd`.
    #[must_use]
    pub fn description(&self) -> String {
        format!("{}={}", self.scheme, self.value)
    }

    /// The job it names, if the scheme is one about jobs.
    #[must_use]
    pub fn job(&self) -> Option<JobId> {
        is_of_job(&self.scheme).then(|| self.value.parse().ok())?
    }

    pub(crate) fn read(place: &Place<'_>, value: Value) -> Result<Dependency, JobspecError> {
        let mut object = Object::open(place, value)?;
        let scheme = text(&place.key("scheme"), object.need("scheme")?)?;
        let value = text(&place.key("value"), object.need("value")?)?;
        let dependency = Dependency { scheme, value, options: object.rest() };
        dependency.check().map_err(|(key, rule)| place.key(key).error(rule))?;
        Ok(dependency)
    }

    /// The rules of the schemes that we know: which key breaks which.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.scheme.is_empty() || !self.scheme.chars().all(good) {
            return Err(("scheme", "a scheme is made of letters, digits, - and _".to_owned()));
        }
        let one_of = |key: &'static str, words: &[&str]| {
            let found = self.options.get(key).and_then(Value::as_str);
            if found.is_some_and(|found| words.contains(&found)) {
                Ok(())
            } else {
                Err((key, format!("expected one of {}", words.join(", "))))
            }
        };
        match self.scheme.as_str() {
            scheme if is_of_job(scheme) => match self.value.parse::<JobId>() {
                Ok(_) => Ok(()),
                Err(error) => Err(("value", error.to_string())),
            },
            "begin-time" => match self.value.parse::<f64>() {
                Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(()),
                _ => Err(("value", "expected seconds since 1970".to_owned())),
            },
            "string" | "fluid" => {
                one_of("type", &["in", "out", "inout"])?;
                one_of("scope", &["user", "system", "global"])
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for Dependency {
    type Err = SyntaxError;

    /// The command line's form: `scheme:value?key=val&key=val`, or just `scheme`.
    fn from_str(uri: &str) -> Result<Dependency, SyntaxError> {
        let fail = |rule: String| SyntaxError::new("dependency", uri, 0, rule);
        let (scheme, rest) = uri.split_once(':').unwrap_or((uri, ""));
        let (value, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut dependency = Dependency::new(scheme, value);
        for pair in query.split(['&', ';']).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if matches!(key, "" | "scheme" | "value") {
                return Err(fail(format!("`{pair}` cannot follow the `?`")));
            }
            dependency.options.insert(key.to_owned(), Value::from(value));
        }
        dependency.check().map_err(|(key, rule)| fail(format!("{key}: {rule}")))?;
        Ok(dependency)
    }
}

impl Serialize for Dependency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = self.options.clone();
        map.insert("scheme".to_owned(), Value::from(self.scheme.as_str()));
        map.insert("value".to_owned(), Value::from(self.value.as_str()));
        map.serialize(serializer)
    }
}
