//! Programs of the user's around a job and around its tasks. Pure.

use super::{Given, OptionError, bad, find, text};
use flurm_types::Fsd;
use serde_json::Value;

/// How long one may take when nobody says.
const TIMEOUT_S: f64 = 300.0;

/// Names or paths, with tags to be filled in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hooks {
    pub prolog: Option<String>,
    pub epilog: Option<String>,
    pub task_prolog: Option<String>,
    pub task_epilog: Option<String>,
    /// None: as long as they like.
    pub timeout_s: Option<f64>,
}

pub(super) fn hooks(given: &Given) -> Result<Hooks, OptionError> {
    let program = |name: &str| match text(given, name)? {
        None | Some("none") => Ok(None),
        Some("") => bad(name, "is the path of a program, or none"),
        Some(program) => Ok(Some(program.to_owned())),
    };
    Ok(Hooks {
        prolog: program("prolog")?,
        epilog: program("epilog")?,
        task_prolog: program("task-prolog")?,
        task_epilog: program("task-epilog")?,
        timeout_s: timeout(given)?,
    })
}

fn timeout(given: &Given) -> Result<Option<f64>, OptionError> {
    let name = "hook-timeout";
    let seconds = match find(given, name) {
        None => return Ok(Some(TIMEOUT_S)),
        Some(Value::String(word)) if word == "none" => return Ok(None),
        Some(Value::String(word)) => {
            word.parse::<Fsd>().map(Fsd::as_secs).or_else(|e| bad(name, e.to_string()))?
        }
        Some(value) => match value.as_f64() {
            Some(seconds) => seconds,
            None => return bad(name, format!("`{value}` is not a duration or none")),
        },
    };
    match seconds {
        seconds if seconds > 0.0 && seconds.is_finite() => Ok(Some(seconds)),
        seconds if seconds.is_infinite() => Ok(None),
        _ => bad(name, "is a duration above 0, or none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(given: &Value) -> Result<Hooks, String> {
        hooks(given.as_object().unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_hook_is_a_program_or_none() {
        let some =
            read(&json!({ "prolog": "/p", "task-epilog": "e", "epilog": "none", "hook-timeout": "2s" }));
        let some = some.unwrap();
        assert_eq!((some.prolog.as_deref(), some.task_epilog.as_deref()), (Some("/p"), Some("e")));
        assert_eq!((some.epilog, some.task_prolog, some.timeout_s), (None, None, Some(2.0)));
        assert_eq!(read(&json!({})).unwrap(), Hooks { timeout_s: Some(TIMEOUT_S), ..Hooks::default() });
        assert_eq!(read(&json!({ "hook-timeout": "none" })).unwrap().timeout_s, None);
        for (given, rule) in [
            (json!({ "prolog": 1 }), "`prolog`: `1` is not a string"),
            (json!({ "epilog": "" }), "`epilog`: is the path"),
            (json!({ "hook-timeout": 0 }), "above 0"),
            (json!({ "hook-timeout": "soon" }), "`hook-timeout`"),
        ] {
            let text = read(&given).unwrap_err();
            assert!(text.contains(rule), "{text}");
        }
    }
}
