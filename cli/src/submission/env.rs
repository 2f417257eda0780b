//! The environment of tasks: rules of `--env`, `--env-remove` and `--env-file`, in the order they were typed.
//!
//! One begins with all of the caller's environment. `-PATTERN` removes, `NAME=VALUE` sets (`$OTHER` and `${OTHER}`
//! are filled in), `^FILE` has more rules, a bare pattern copies again what an earlier rule removed.

use crate::failure::Failure;
use clap::{Arg, ArgAction, ArgMatches};
use flurm_types::{Environment, matches};
use regex_lite::Regex;

/// Rules in the order they were typed.
#[derive(Clone, Debug, Default)]
pub struct EnvRules(Vec<String>);

/// Option, value name, what its values are turned into, help.
const OPTIONS: [(&str, &str, &str, &str); 3] = [
    (
        "env",
        "RULE",
        "",
        "Environment of the tasks: `NAME=VALUE`, `-PATTERN` removes, `PATTERN` copies, `^FILE` has rules",
    ),
    ("env-remove", "PATTERN", "-", "The same as --env=-PATTERN"),
    ("env-file", "FILE", "^", "The same as --env=^FILE"),
];

/// Files of rules name files of rules; nobody nests them this deep.
const FILES_DEEP_MAX: usize = 8;

impl clap::Args for EnvRules {
    fn augment_args(command: clap::Command) -> clap::Command {
        OPTIONS.iter().fold(command, |command, (name, value, _, help)| {
            let arg = Arg::new(*name).long(*name).value_name(*value).help(*help).help_heading("Environment");
            command.arg(arg.action(ArgAction::Append).allow_hyphen_values(true))
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for EnvRules {
    fn from_arg_matches(matches: &ArgMatches) -> Result<EnvRules, clap::Error> {
        let mut rules: Vec<(usize, String)> = Vec::new();
        for (name, _, sign, _) in OPTIONS {
            let values = matches.get_many::<String>(name).into_iter().flatten();
            let places = matches.indices_of(name).into_iter().flatten();
            rules.extend(places.zip(values).map(|(at, value)| (at, format!("{sign}{value}"))));
        }
        // Options of different names lose their common order otherwise.
        rules.sort();
        Ok(EnvRules(rules.into_iter().map(|(_, rule)| rule).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = EnvRules::from_arg_matches(matches)?;
        Ok(())
    }
}

impl EnvRules {
    /// Each as `--env` takes it.
    pub fn typed(&self) -> &[String] {
        &self.0
    }

    pub fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        self.0.iter_mut()
    }

    /// The environment that the rules make out of the caller's.
    pub fn apply(&self, caller: &Environment) -> Result<Environment, Failure> {
        let mut environment = caller.clone();
        for rule in &self.0 {
            apply(rule, caller, &mut environment, FILES_DEEP_MAX)?;
        }
        Ok(environment)
    }
}

/// Our own environment. What is not UTF-8 cannot be written into a jobspec and stays behind.
pub fn of_caller() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, Some(value.into_string().ok()?))))
        .filter(|(name, _)| !name.is_empty())
        .collect()
}

fn apply(
    rule: &str,
    caller: &Environment,
    environment: &mut Environment,
    deep: usize,
) -> Result<(), Failure> {
    if let Some(pattern) = rule.strip_prefix('-') {
        let pattern = Pattern::read(pattern)?;
        environment.retain(|name, _| !pattern.matches(name));
    } else if let Some(file) = rule.strip_prefix('^') {
        let bad =
            |what: &dyn std::fmt::Display| Failure::new(format!("cannot read rules from {file}: {what}"));
        if deep == 0 {
            return Err(bad(&"files of rules name each other"));
        }
        let text = std::fs::read_to_string(file).map_err(|e| bad(&e))?;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            apply(line, caller, environment, deep - 1)?;
        }
    } else if let Some((name, value)) = rule.split_once('=') {
        if name.is_empty() {
            return Err(Failure::usage(format!("`{rule}` sets no variable")));
        }
        let value = expand(value, environment, caller)?;
        environment.insert(name.to_owned(), Some(value));
    } else {
        let pattern = Pattern::read(rule)?;
        let copied = caller.iter().filter(|(name, _)| pattern.matches(name));
        environment.extend(copied.map(|(name, value)| (name.clone(), value.clone())));
    }
    Ok(())
}

/// Which names are meant.
enum Pattern<'a> {
    /// As a shell has it.
    Glob(&'a str),
    /// `/EXPRESSION/`, from the beginning of the name on, as Python's `match` has it.
    Expression(Regex),
}

impl Pattern<'_> {
    fn read(text: &str) -> Result<Pattern<'_>, Failure> {
        let Some(expression) = text.strip_prefix('/') else { return Ok(Pattern::Glob(text)) };
        let expression = expression.strip_suffix('/').unwrap_or(expression);
        let bad = |e| Failure::usage(format!("`{text}` is no regular expression: {e}"));
        Regex::new(&format!("^(?:{expression})")).map(Pattern::Expression).map_err(bad)
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Pattern::Glob(pattern) => matches(pattern, name),
            Pattern::Expression(expression) => expression.is_match(name),
        }
    }
}

/// `$NAME` and `${NAME}` filled in, from what the job has so far, else from what the caller has; `$$` is a dollar.
fn expand(text: &str, environment: &Environment, caller: &Environment) -> Result<String, Failure> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(behind) = after.strip_prefix('$') {
            out.push('$');
            rest = behind;
            continue;
        }
        let (name, behind) = match after.strip_prefix('{') {
            Some(inside) => inside
                .split_once('}')
                .ok_or_else(|| Failure::usage(format!("a `${{` is not closed in `{text}`")))?,
            None => {
                let len = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                after.split_at(len)
            }
        };
        if name.is_empty() {
            return Err(Failure::usage(format!("a `$` names no variable in `{text}`"))
                .hint("write `$$` for a dollar"));
        }
        let value = environment.get(name).or_else(|| caller.get(name)).and_then(Option::as_deref);
        out.push_str(value.ok_or_else(|| Failure::usage(format!("`${name}` in `{text}` is not set")))?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        rules: EnvRules,
    }

    fn applied(words: &[&str]) -> Result<String, Failure> {
        let caller = [("HOME", "/h"), ("PATH", "/bin"), ("SLURM_ID", "1"), ("SLURM_N", "2")];
        let caller: Environment =
            caller.into_iter().map(|(n, v)| (n.to_owned(), Some(v.to_owned()))).collect();
        let line = Line::parse_from([&["x"], words].concat());
        let pair = |(name, value): (String, Option<String>)| format!("{name}={}", value.unwrap_or_default());
        Ok(line.rules.apply(&caller)?.into_iter().map(pair).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn rules_hold_in_the_order_they_were_typed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rules");
        std::fs::write(&file, "# some\n-SLURM_*\nB=2\n").unwrap();
        let file = format!("--env-file={}", file.display());
        for (words, result) in [
            (&[] as &[&str], "HOME=/h PATH=/bin SLURM_ID=1 SLURM_N=2"),
            (&["--env=-*", "--env=A=1"], "A=1"),
            (&["--env=A=1", "--env-remove=*"], ""),
            (&["--env-remove=*", "--env=PATH"], "PATH=/bin"),
            (&["--env=-*", "--env=P=$PATH:/x", "--env=Q=${P}$$"], "P=/bin:/x Q=/bin:/x$"),
            (&["--env-remove=SLURM_?", "--env", "-[HP]A*"], "HOME=/h SLURM_ID=1"),
            (&["--env-remove=/SLURM_[A-Z]+$/", "--env-remove=/OME/"], "HOME=/h PATH=/bin"),
            (&[file.as_str()], "B=2 HOME=/h PATH=/bin"),
        ] {
            assert_eq!(applied(words).as_deref(), Ok(result), "{words:?}");
        }
        for words in [["--env=A=$NOPE"], ["--env=A=${X"], ["--env=/re(/"], ["--env==x"], ["--env=^/no/such"]]
        {
            assert!(applied(&words).is_err(), "{words:?}");
        }
    }
}
