//! Archives that are unpacked before tasks start. Pure.

use super::{Given, OptionError, bad, check_tags, find, flag, plain};
use flurm_wire::files::{self, MAIN};
use serde_json::Value;

/// Which archives, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageIn {
    pub names: Vec<String>,
    /// Only what matches.
    pub pattern: Option<String>,
    /// A directory, with tags to be filled in.
    pub destination: String,
    /// It is the same directory on all nodes, so one of them unpacks.
    pub shared: bool,
}

pub(super) fn stage_in(given: &Given) -> Result<Option<StageIn>, OptionError> {
    let word = |name: &str| find(given, name).map(plain).filter(|text| !text.is_empty());
    let names = word("stage-in.names");
    let pattern = word("stage-in.pattern");
    let destination = word("stage-in.destination");
    let asked = match find(given, "stage-in") {
        Some(Value::Object(_)) => true,
        _ => flag(given, "stage-in")?,
    };
    if !asked && names.is_none() && pattern.is_none() && destination.is_none() {
        return Ok(None);
    }
    let names: Vec<String> = names.as_deref().unwrap_or(MAIN).split(',').map(str::to_owned).collect();
    for name in &names {
        files::check_name(name).or_else(|e| bad("stage-in.names", e.to_string()))?;
    }
    let destination = destination.unwrap_or_else(|| "{{tmpdir}}".to_owned());
    let (shared, path) = match destination.split_once(':') {
        Some(("global" | "shared", path)) => (true, path),
        Some(("local", path)) => (false, path),
        Some(_) | None => (false, destination.as_str()),
    };
    if path.is_empty() {
        return bad("stage-in.destination", "is a directory, with local: or global: in front");
    }
    check_tags("stage-in.destination", path, false)?;
    Ok(Some(StageIn { names, pattern, destination: path.to_owned(), shared }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(given: &Value) -> Result<Option<StageIn>, String> {
        stage_in(given.as_object().unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn archives_and_their_place_are_read() {
        assert_eq!(read(&json!({})), Ok(None));
        assert_eq!(read(&json!({ "stage-in": 0 })), Ok(None));
        let main = StageIn {
            names: vec!["main".into()],
            pattern: None,
            destination: "{{tmpdir}}".into(),
            shared: false,
        };
        assert_eq!(read(&json!({ "stage-in": 1 })), Ok(Some(main.clone())));
        let nested = json!({ "stage-in": { "names": "a,2", "pattern": "*.dat", "destination": "/x:y" } });
        let wanted = StageIn {
            names: vec!["a".into(), "2".into()],
            pattern: Some("*.dat".into()),
            destination: "/x:y".into(),
            shared: false,
        };
        assert_eq!(read(&nested), Ok(Some(wanted)));
        for (given, shared) in [("local:/x/{{id}}", false), ("global:/x/{{id}}", true)] {
            let read = read(&json!({ "stage-in.destination": given })).unwrap().unwrap();
            assert_eq!((read.destination.as_str(), read.shared), ("/x/{{id}}", shared));
        }
        for (given, rule) in [
            (json!({ "stage-in.names": "a/b" }), "`stage-in.names`: `a/b` is no name"),
            (json!({ "stage-in.destination": "local:" }), "is a directory"),
            (json!({ "stage-in.destination": "{{task.id}}" }), "is not a tag"),
            (json!({ "stage-in": "banana" }), "`stage-in`: `banana`"),
        ] {
            let text = read(&given).unwrap_err();
            assert!(text.contains(rule), "{text}");
        }
    }
}
