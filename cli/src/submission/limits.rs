//! Limits of the tasks: rules of `--rlimit`.
//!
//! Tasks get our soft limits, as far as the node allows them, but for those that belong to a node ([`OF_NODE`]): `ulimit -s
//! unlimited` before a submission is meant for the job. `name` and patterns copy ours, `name=value` sets, `-pattern` takes
//! back: then tasks keep the limit of the node they run on.

use crate::failure::Failure;
use flurm_types::matches;
use rustix::process::{Resource, getrlimit};
use serde_json::{Map, Value};

/// Names as users and shells write them.
const LIMITS: [(&str, Resource); 15] = [
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

/// Flux's second name of a limit.
const OTHER_NAMES: [(&str, &str); 1] = [("ofile", "nofile")];

/// Limits that a node sets for itself, and Flux leaves to it as well.
const OF_NODE: [&str; 7] = ["memlock", "nofile", "msgqueue", "nice", "rtprio", "rttime", "sigpending"];

/// What the rules come down to; empty when there are none.
pub fn limits(rules: &[String]) -> Result<Map<String, Value>, Failure> {
    let of_job = LIMITS.iter().filter(|(name, _)| !OF_NODE.contains(name));
    let mut limits: Map<String, Value> =
        of_job.map(|(name, limit)| ((*name).to_owned(), own(*limit))).collect();
    for rule in rules.iter().flat_map(|rule| rule.split(',')) {
        if let Some(pattern) = rule.strip_prefix('-') {
            let pattern = known(pattern)?;
            limits.retain(|name: &String, _: &mut Value| !matches(&pattern, name));
        } else if let Some((name, value)) = rule.split_once('=') {
            let name = known(name)?;
            let value = match value {
                "unlimited" | "infinity" | "inf" => Value::from(-1),
                number => number.parse::<u64>().map(Value::from).map_err(|_| {
                    Failure::usage(format!("`{value}` is no limit")).hint("a number, or `unlimited`")
                })?,
            };
            limits.insert(name, value);
        } else {
            let pattern = known(rule)?;
            for (name, resource) in LIMITS.iter().filter(|(name, _)| matches(&pattern, name)) {
                limits.insert((*name).to_owned(), own(*resource));
            }
        }
    }
    Ok(limits)
}

/// Our soft limit.
fn own(resource: Resource) -> Value {
    getrlimit(resource).current.map_or(Value::from(-1), Value::from)
}

/// A name or pattern that means at least one limit, in small letters.
fn known(pattern: &str) -> Result<String, Failure> {
    let small = pattern.to_ascii_lowercase();
    let small =
        OTHER_NAMES.iter().find(|(other, _)| *other == small).map_or(small, |(_, own)| (*own).to_owned());
    if LIMITS.iter().any(|(name, _)| matches(&small, name)) {
        return Ok(small);
    }
    let names: Vec<&str> = LIMITS.iter().map(|(name, _)| *name).collect();
    Err(Failure::usage(format!("there is no limit `{pattern}`"))
        .hint(format!("limits are {}", names.join(" "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(rules: &[&str]) -> Result<String, Failure> {
        let rules: Vec<String> = rules.iter().map(|r| (*r).to_owned()).collect();
        limits(&rules).map(|map| Value::Object(map).to_string())
    }

    #[test]
    fn limits_are_set_copied_and_taken_back() {
        for (given, result) in [
            (&["-*"] as &[&str], "{}"),
            (&["-*", "core=0", "STACK=unlimited"], r#"{"core":0,"stack":-1}"#),
            (&["-*", "ofile=100"], r#"{"nofile":100}"#),
            (&["*", "-*"], "{}"),
            (&["-*,core=1,cpu=2", "-c*"], "{}"),
        ] {
            assert_eq!(rules(given).as_deref(), Ok(result), "{given:?}");
        }
        let names = |text: String| {
            serde_json::from_str::<Map<String, Value>>(&text).unwrap().into_iter().map(|(n, _)| n)
        };
        let of_job: Vec<String> = names(rules(&[]).unwrap()).collect();
        assert_eq!(of_job, ["as", "core", "cpu", "data", "fsize", "nproc", "rss", "stack"]);
        assert!(rules(&["stack"]).unwrap().contains("stack"));
        assert!(rules(&["bogus"]).is_err() && rules(&["core=x"]).is_err());
    }
}
