//! Shell options (`-o`) that change something here; all others are refused. Pure.
//!
//! A typing error must not look like an option that works, and neither must an option of Flux that we do not have.

use flurm_types::{Fsd, Idset, TaskMap};
use serde_json::{Map, Value};

type Given = Map<String, Value>;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shell option `{name}`: {rule}")]
pub struct OptionError {
    pub name: String,
    pub rule: String,
}

fn bad<T>(name: &str, rule: impl Into<String>) -> Result<T, OptionError> {
    Err(OptionError { name: name.to_owned(), rule: rule.into() })
}

/// What a job's shell options come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub stdout: Sink,
    pub stderr: Sink,
    pub stdin: Source,
    pub append: bool,
    /// Whole lines only go out together.
    pub lines: [bool; 2],
    pub cpus: Affinity,
    pub gpus: Affinity,
    pub pmi: bool,
    pub exit_on_error: bool,
    pub exit_timeout_s: Option<f64>,
    /// Signal and seconds before the end of the job's time.
    pub warning: Option<(i32, f64)>,
    /// Name and soft limit; none is "unlimited".
    pub limits: Vec<(String, Option<u64>)>,
    pub oom_adjust: Option<i32>,
    pub taskmap: Order,
    /// Which one of many copies the job is: `{{cc}}` in its environment, so that all copies share theirs.
    pub copy: Option<u32>,
}

/// In which order nodes get tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    Block,
    Cyclic(u32),
    Manual(TaskMap),
}

/// Where output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// The job's `guest.output`.
    Log,
    File {
        template: String,
        label: bool,
    },
}

/// Where input comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Nothing,
    Service,
    File(String),
}

/// How cores or GPUs are shared out to the tasks of a rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spread {
    Off,
    /// Every task may use all.
    All,
    PerTask,
    /// Given by the user, in task order.
    Map(Vec<Idset>),
}

/// What `cpu-affinity` or `gpu-affinity` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Affinity {
    /// None: as it is best for this job.
    pub how: Option<Spread>,
    /// Say on each task's standard error what it gets.
    pub say: bool,
    /// And do nothing else.
    pub dry_run: bool,
}

/// The signal of `--signal` when none is named, and the seconds before the end, as Flux has them.
const WARNING: (i32, f64) = (libc::SIGUSR1, 60.0);

/// All there are, by their full names. `*` stands for names that are checked elsewhere.
const NAMES: &[&str] = &[
    "verbose",
    "cpu-affinity",
    "gpu-affinity",
    "exit-timeout",
    "exit-on-error",
    "signal",
    "signal.signum",
    "signal.timeleft",
    "output.mode",
    "output.limit",
    "output.stdout.type",
    "output.stdout.path",
    "output.stdout.label",
    "output.stdout.buffer.type",
    "output.stderr.type",
    "output.stderr.path",
    "output.stderr.label",
    "output.stderr.buffer.type",
    "input.stdin.type",
    "input.stdin.path",
    "mpi",
    "pmi",
    "taskmap.scheme",
    "taskmap.value",
    "rlimit.*",
    "oom.adjust",
    // Read by the jobspec: it changes the number of tasks.
    "per-resource.*",
    // The command line's own.
    "cc",
];

/// Real-time signals go to here.
const SIGNUM_MAX: i64 = 64;

/// What a job's options are read against.
#[derive(Debug, Copy, Clone)]
pub struct Context<'a> {
    pub ntasks: u32,
    pub gpus_per_slot: u32,
    pub command: &'a [String],
}

impl Options {
    /// # Errors
    /// An option that nobody knows, or a value that it cannot have.
    pub fn read(given: &Given, context: Context<'_>) -> Result<Options, OptionError> {
        for (name, value) in given {
            check_name(name, value)?;
        }
        flag(given, "verbose")?;
        check_output_limit(given)?;
        let stdout = sink(given, "stdout")?.unwrap_or(Sink::Log);
        let stderr = sink(given, "stderr")?.unwrap_or_else(|| stdout.clone());
        let mut gpus = affinity(given, "gpu-affinity")?;
        gpus.how.get_or_insert(if context.gpus_per_slot > 0 { Spread::PerTask } else { Spread::All });
        Ok(Options {
            stdin: source(given)?,
            append: append(given)?,
            lines: [lines(given, "stdout")?, lines(given, "stderr")?],
            cpus: affinity(given, "cpu-affinity")?,
            gpus,
            pmi: pmi(given, context)?,
            exit_on_error: flag(given, "exit-on-error")?,
            exit_timeout_s: exit_timeout(given)?,
            warning: warning(given)?,
            limits: limits(given)?,
            oom_adjust: oom_adjust(given)?,
            taskmap: taskmap(given)?,
            copy: copy(given)?,
            stdout,
            stderr,
        })
    }
}

/// A known name leads to each value, however deep the client has nested it.
fn check_name(name: &str, value: &Value) -> Result<(), OptionError> {
    let is_free = |top: &str| NAMES.iter().any(|known| known.strip_suffix(".*") == Some(top));
    // What is in there is for whoever reads it to refuse.
    if is_free(name) || name.rsplit_once('.').is_some_and(|(top, _)| is_free(top)) {
        return Ok(());
    }
    match value {
        Value::Object(deeper) if !deeper.is_empty() => {
            deeper.iter().try_for_each(|(part, value)| check_name(&format!("{name}.{part}"), value))
        }
        _ if NAMES.contains(&name) => Ok(()),
        _ => {
            let top = |name: &'_ str| name.split('.').next().map(str::to_owned);
            let near: Vec<&str> = NAMES.iter().filter(|known| top(known) == top(name)).copied().collect();
            let near =
                if near.is_empty() { String::new() } else { format!(" (there is {})", near.join(", ")) };
            bad(name, format!("is not known here{near}"))
        }
    }
}

fn oom_adjust(given: &Given) -> Result<Option<i32>, OptionError> {
    let Some(value) = find(given, "oom.adjust") else { return Ok(None) };
    let adjust = value.as_i64().and_then(|n| i32::try_from(n).ok()).filter(|n| (-1000..=1000).contains(n));
    match adjust {
        Some(adjust) => Ok(Some(adjust)),
        None => bad("oom.adjust", format!("`{}` is not a number from -1000 to 1000", plain(value))),
    }
}

fn copy(given: &Given) -> Result<Option<u32>, OptionError> {
    let Some(value) = given.get("cc") else { return Ok(None) };
    match value.as_u64().and_then(|n| u32::try_from(n).ok()) {
        Some(number) => Ok(Some(number)),
        None => bad("cc", format!("`{}` is not the number of a copy", plain(value))),
    }
}

/// As people type it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn source(given: &Given) -> Result<Source, OptionError> {
    match text(given, "input.stdin.type")? {
        None | Some("none") => Ok(Source::Nothing),
        Some("service") => Ok(Source::Service),
        Some("file") => match text(given, "input.stdin.path")? {
            Some(path) => Ok(Source::File(path.to_owned())),
            None => bad("input.stdin.type", "file needs input.stdin.path"),
        },
        Some(other) => bad("input.stdin.type", format!("`{other}` is not service or file")),
    }
}

fn append(given: &Given) -> Result<bool, OptionError> {
    match text(given, "output.mode")? {
        None | Some("truncate") => Ok(false),
        Some("append") => Ok(true),
        Some(other) => bad("output.mode", format!("`{other}` is not truncate or append")),
    }
}

fn taskmap(given: &Given) -> Result<Order, OptionError> {
    let value = text(given, "taskmap.value")?.unwrap_or("");
    match text(given, "taskmap.scheme")?.unwrap_or("block") {
        "block" => Ok(Order::Block),
        "cyclic" => match value.is_empty().then_some(1).or_else(|| value.parse().ok()) {
            Some(stride) if stride > 0 => Ok(Order::Cyclic(stride)),
            _ => bad("taskmap", format!("cyclic takes a number of tasks, not `{value}`")),
        },
        "manual" => match value.parse() {
            Ok(map) => Ok(Order::Manual(map)),
            Err(e) => bad("taskmap", e.to_string()),
        },
        scheme => bad("taskmap", format!("no scheme `{scheme}` (block, cyclic, manual)")),
    }
}

/// An option by its dotted name, however deep the client has nested it.
fn find<'a>(given: &'a Given, name: &str) -> Option<&'a Value> {
    if let Some(value) = given.get(name) {
        return Some(value);
    }
    let mut parts = name.split('.');
    let first = given.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

fn text<'a>(given: &'a Given, name: &str) -> Result<Option<&'a str>, OptionError> {
    match find(given, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => bad(name, format!("`{other}` is not a string")),
    }
}

/// `-o name` means 1.
fn flag(given: &Given, name: &str) -> Result<bool, OptionError> {
    match find(given, name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        Some(Value::Number(n)) if n.is_u64() => Ok(n.as_u64() != Some(0)),
        Some(other) => bad(name, format!("`{}` is not true or false, 1 or 0", plain(other))),
    }
}

fn sink(given: &Given, stream: &str) -> Result<Option<Sink>, OptionError> {
    let kind = format!("output.{stream}.type");
    match text(given, &kind)? {
        None if find(given, &format!("output.{stream}.path")).is_none() => {
            flag(given, &format!("output.{stream}.label"))?;
            Ok(None)
        }
        Some("kvs" | "term" | "none") => Ok(Some(Sink::Log)),
        None | Some("file") => {
            let path = format!("output.{stream}.path");
            let Some(template) = text(given, &path)? else {
                return bad(&kind, format!("file needs {path}"));
            };
            let label = flag(given, &format!("output.{stream}.label"))?;
            Ok(Some(Sink::File { template: template.to_owned(), label }))
        }
        Some(other) => bad(&kind, format!("`{other}` is not kvs or file")),
    }
}

fn lines(given: &Given, stream: &str) -> Result<bool, OptionError> {
    let name = format!("output.{stream}.buffer.type");
    match text(given, &name)? {
        None | Some("line") => Ok(true),
        Some("none") => Ok(false),
        Some(other) => bad(&name, format!("`{other}` is not line or none")),
    }
}

/// The leader keeps the output; here it is only seen whether it can be had.
fn check_output_limit(given: &Given) -> Result<(), OptionError> {
    let name = "output.limit";
    match find(given, name).map(|value| (value, flurm_jobspec::size(value))) {
        None => Ok(()),
        Some((value, None)) => bad(name, format!("`{}` is not a size like 10M", plain(value))),
        Some((value, Some(bytes))) if bytes > flurm_jobspec::OUTPUT_BYTES_KEPT_MAX => bad(
            name,
            format!("`{}` is more than the 1G that can be kept; output to a file has no limit", plain(value)),
        ),
        Some(_) => Ok(()),
    }
}

fn affinity(given: &Given, name: &str) -> Result<Affinity, OptionError> {
    let mut affinity = Affinity::default();
    let mut word = match find(given, name) {
        None => return Ok(affinity),
        Some(Value::Number(_)) => "on",
        Some(Value::String(word)) => word,
        Some(other) => return bad(name, format!("`{other}` is not a word")),
    };
    loop {
        let (first, rest) = word.split_once(',').unwrap_or((word, ""));
        match first {
            "verbose" => affinity.say = true,
            "dry-run" => (affinity.say, affinity.dry_run) = (true, true),
            _ => break,
        }
        if rest.is_empty() {
            return Ok(affinity);
        }
        word = rest;
    }
    affinity.how = Some(match word {
        "on" | "1" | "" => Spread::All,
        "off" | "0" => Spread::Off,
        "per-task" => Spread::PerTask,
        _ => match word.strip_prefix("map:") {
            Some(map) => Spread::Map(
                map.split(';')
                    .map(|part| Idset::parse_relaxed(part).or_else(|e| bad(name, e.to_string())))
                    .collect::<Result<_, _>>()?,
            ),
            None => {
                let known = "on, off, per-task or map:LIST;LIST, with verbose, or dry-run, in front";
                return bad(name, format!("`{word}` is not {known}"));
            }
        },
    });
    Ok(affinity)
}

/// A lone task hardly ever speaks PMI, and a socket for each of ten thousand small jobs is not free. So one task
/// gets PMI only when it starts an instance or when it is asked for.
fn pmi(given: &Given, context: Context<'_>) -> Result<bool, OptionError> {
    match text(given, "pmi")? {
        Some("off" | "none") => return Ok(false),
        Some(list) => {
            if let Some(word) = list.split(',').find(|word| !["simple", "pmi1", "pmi2"].contains(word)) {
                return bad("pmi", format!("`{word}` is not simple or off"));
            }
            return Ok(true);
        }
        None => {}
    }
    let program = context.command.first().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
    Ok(context.ntasks > 1 || find(given, "mpi").is_some() || program == "flurm" || program == "flux")
}

fn exit_timeout(given: &Given) -> Result<Option<f64>, OptionError> {
    match find(given, "exit-timeout") {
        None => Ok(None),
        Some(Value::Number(n)) if n.as_f64().is_some_and(|secs| secs >= 0.0) => Ok(n.as_f64()),
        Some(Value::String(s)) if s == "none" => Ok(None),
        Some(Value::String(s)) => match s.parse::<Fsd>() {
            Ok(fsd) => Ok(Some(fsd.as_secs())),
            Err(e) => bad("exit-timeout", e.to_string()),
        },
        Some(other) => bad("exit-timeout", format!("`{other}` is not a duration or none")),
    }
}

fn warning(given: &Given) -> Result<Option<(i32, f64)>, OptionError> {
    let signum = match find(given, "signal.signum") {
        None => None,
        Some(value) => match value.as_i64().filter(|n| (1..=SIGNUM_MAX).contains(n)) {
            Some(signum) => i32::try_from(signum).ok(),
            None => {
                let rule = format!("`{}` is not a signal from 1 to {SIGNUM_MAX}", plain(value));
                return bad("signal.signum", rule);
            }
        },
    };
    let left = match find(given, "signal.timeleft") {
        None => None,
        Some(value) => match value.as_f64().filter(|secs| *secs > 0.0) {
            Some(secs) => Some(secs),
            None => {
                let rule = format!("`{}` is not a number of seconds above 0", plain(value));
                return bad("signal.timeleft", rule);
            }
        },
    };
    let asked = match find(given, "signal") {
        Some(Value::Object(_)) => true,
        _ => flag(given, "signal")?,
    };
    let asked = asked || signum.is_some() || left.is_some();
    Ok(asked.then_some((signum.unwrap_or(WARNING.0), left.unwrap_or(WARNING.1))))
}

fn limits(given: &Given) -> Result<Vec<(String, Option<u64>)>, OptionError> {
    let Some(limits) = find(given, "rlimit") else { return Ok(Vec::new()) };
    let Value::Object(limits) = limits else { return bad("rlimit", "is a set of names and values") };
    let one = |(name, value): (&String, &Value)| match value {
        Value::String(s) if s == "unlimited" || s == "infinity" => Ok((name.clone(), None)),
        Value::Number(n) => match n.as_i64() {
            Some(-1) => Ok((name.clone(), None)),
            Some(n) if n >= 0 => Ok((name.clone(), Some(n.unsigned_abs()))),
            _ => bad(name, format!("`{n}` is not a limit")),
        },
        Value::String(s) if s.parse::<u64>().is_ok() => Ok((name.clone(), s.parse().ok())),
        other => bad(name, format!("`{other}` is not a limit")),
    };
    limits.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(given: &Value) -> Result<Options, String> {
        let command = ["a".to_owned()];
        let context = Context { ntasks: 1, gpus_per_slot: 0, command: &command };
        Options::read(given.as_object().unwrap(), context).map_err(|e| e.to_string())
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        for (given, name, rule) in [
            (json!({ "oom": { "adjust": "x" } }), "oom.adjust", "`x` is not a number from -1000 to 1000"),
            (json!({ "oom.adjust": 1001 }), "oom.adjust", "is not a number"),
            (json!({ "exit-on-error": "banana" }), "exit-on-error", "`banana` is not true or false"),
            (json!({ "verbose": "banana" }), "verbose", "is not true or false"),
            (json!({ "signal": { "signum": 999 } }), "signal.signum", "from 1 to 64"),
            (json!({ "signal": { "timeleft": 0 } }), "signal.timeleft", "seconds above 0"),
            (json!({ "signal": "banana" }), "signal", "is not true or false"),
            (json!({ "output": { "stdout": { "label": "banana" } } }), "output.stdout.label", "`banana`"),
            (
                json!({ "output": { "sdtout": { "path": "x" } } }),
                "output.sdtout.path",
                "there is output.mode",
            ),
            (json!({ "taskmap": "cyclic" }), "taskmap", "there is taskmap.scheme"),
            (json!({ "mpi": { "x": 1 } }), "mpi.x", "is not known here (there is mpi)"),
            (json!({ "pty": 1 }), "pty", "is not known here"),
            (json!({ "rlimit": 7 }), "rlimit", "names and values"),
            (json!({ "exit-timeout": -1 }), "exit-timeout", "is not a duration"),
        ] {
            let text = read(&given).unwrap_err();
            assert!(text.starts_with(&format!("shell option `{name}`: ")) && text.contains(rule), "{text}");
        }
    }

    #[test]
    fn what_works_is_taken() {
        let given = json!({
            "verbose": 2, "exit-on-error": 1, "signal": { "signum": 10 }, "oom.adjust": -5, "mpi": "none",
            "output": { "stdout": { "type": "file", "path": "o", "label": true } }, "rlimit": { "nofile": 64 },
            "per-resource": { "type": "core" }, "exit-timeout": "none", "taskmap": { "scheme": "cyclic" },
        });
        let options = read(&given).unwrap();
        assert_eq!((options.oom_adjust, options.warning), (Some(-5), Some((10, 60.0))));
        assert!(options.exit_on_error && matches!(options.stdout, Sink::File { label: true, .. }));
        assert_eq!(read(&json!({ "signal": 1 })).unwrap().warning, Some(WARNING));
    }
}
