//! Shell options (`-o`): what they come to for a job. Pure.
//!
//! A typing error must not look like an option that works, and neither must an option of Flux that we do not have. All
//! names stand in [`table`]; what a value means stands in the module of its subject.

pub mod affinity;
pub mod hooks;
pub mod input;
pub mod life;
pub mod output;
pub mod pmi;
pub mod pty;
pub mod stage;
pub mod table;

pub use affinity::{Affinity, Order, Spread};
pub use hooks::Hooks;
pub use input::Source;
pub use life::Watch;
pub use output::Sink;
pub use pty::Pty;
pub use stage::StageIn;

use crate::template;
use serde_json::{Map, Value};
use std::time::Duration;

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
    /// Say what tasks are bound to.
    pub verbose: u64,
    pub stdout: Sink,
    pub stderr: Sink,
    pub stdin: Source,
    pub pty: Option<Pty>,
    pub append: bool,
    /// Tasks are followed under this name by clients here, and nothing is kept of what they say to no file.
    pub follow: Option<String>,
    /// `SLURM_*` is the submitter's, and the shell adds what differs from task to task.
    pub slurm_environment: bool,
    /// Path of the archive for output that is for no file.
    pub archive: Option<String>,
    /// Whole lines only go out together.
    pub lines: [bool; 2],
    pub cpus: Affinity,
    pub gpus: Affinity,
    pub pmi: pmi::Offer,
    pub exit_on_error: bool,
    pub exit_timeout_s: Option<f64>,
    /// Between TERM and KILL at its end; none: as everybody has it.
    pub kill_timeout: Option<Duration>,
    /// For how long output is collected; none: for as long as what went before is on its way.
    pub batch: Option<Duration>,
    /// Signal and seconds before the end of the job's time.
    pub warning: Option<(i32, f64)>,
    /// It is for the tasks alone.
    pub warning_alone: bool,
    /// Name and soft limit; none is "unlimited".
    pub limits: Vec<(String, Option<u64>)>,
    pub oom_adjust: Option<i32>,
    /// How often to look at what the job uses.
    pub sysmon: Option<Duration>,
    pub memory: Watch,
    /// None: the shell's own.
    pub umask: Option<u32>,
    pub taskmap: Order,
    pub hooks: Hooks,
    /// What is unpacked before tasks start.
    pub stage_in: Option<StageIn>,
    /// Which one of many copies the job is: `{{cc}}` in its environment, so that all copies share theirs.
    pub copy: Option<u32>,
}

/// What a job's options are read against.
#[derive(Debug, Copy, Clone)]
pub struct Context<'a> {
    pub ntasks: u32,
    pub gpus_per_slot: u32,
    pub command: &'a [String],
}

impl Options {
    /// Of files that are made for the job's output: nobody reads them whom its submitter keeps out.
    pub fn file_mode(&self) -> u32 {
        0o666 & !self.umask.unwrap_or(0)
    }

    /// # Errors
    /// An option that nobody knows, or a value that it cannot have.
    pub fn read(given: &Given, context: Context<'_>) -> Result<Options, OptionError> {
        for (name, value) in given {
            table::check(name, value)?;
        }
        output::check_limit(given)?;
        let (archive, kept) = output::archive(given)?;
        let stdout = output::sink(given, "stdout")?.unwrap_or(kept);
        let stderr = output::sink(given, "stderr")?.unwrap_or_else(|| stdout.clone());
        let mut stdin = input::source(given)?;
        let pty = pty::pty(given, context)?;
        if pty.as_ref().is_some_and(|pty| pty.interactive) {
            pty::check_interactive([&stdout, &stderr], &stdin)?;
            stdin = Source::Service;
        }
        if pty.is_some() {
            pty::check_streams(&stdout, &stderr)?;
        }
        if let Source::File(template) = &stdin {
            check_tags("input.stdin.path", template, true)?;
        }
        for (name, sink) in [("output.stdout.path", &stdout), ("output.stderr.path", &stderr)] {
            if let Sink::File { template, .. } = sink {
                check_tags(name, template, true)?;
            }
        }
        if let Some(template) = &archive {
            check_tags("output.archive", template, false)?;
        }
        let mut gpus = affinity::affinity(given, "gpu-affinity")?;
        gpus.how.get_or_insert(if context.gpus_per_slot > 0 { Spread::PerTask } else { Spread::All });
        Ok(Options {
            verbose: level(given, "verbose")?,
            stdin,
            pty,
            append: output::append(given)?,
            follow: output::follow(given, [&stdout, &stderr])?,
            slurm_environment: flag(given, "slurm-environment")?,
            archive,
            lines: [output::lines(given, "stdout")?, output::lines(given, "stderr")?],
            cpus: affinity::affinity(given, "cpu-affinity")?,
            gpus,
            pmi: pmi::pmi(given, context)?,
            exit_on_error: flag(given, "exit-on-error")?,
            exit_timeout_s: life::exit_timeout(given)?,
            kill_timeout: life::kill_timeout(given)?,
            batch: life::duration(given, "output.batch-timeout")?,
            warning: life::warning(given)?,
            warning_alone: flag(given, "signal.alone")?,
            limits: life::limits(given)?,
            oom_adjust: life::oom_adjust(given)?,
            sysmon: life::sysmon(given)?,
            memory: life::memory_watchdog(given)?,
            umask: life::umask(given)?,
            taskmap: affinity::taskmap(given)?,
            copy: life::copy(given)?,
            hooks: hooks::hooks(given)?,
            stage_in: stage::stage_in(given)?,
            stdout,
            stderr,
        })
    }
}

/// A file name is better refused before there is a job.
fn check_tags(name: &str, template: &str, of_task: bool) -> Result<(), OptionError> {
    template::check(template, of_task).or_else(|unknown| bad(name, format!("`{template}`: {unknown}")))
}

/// As people type it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
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

/// How much of something: `-o name` is 1.
fn level(given: &Given, name: &str) -> Result<u64, OptionError> {
    match find(given, name).and_then(Value::as_u64) {
        Some(level) => Ok(level),
        None => flag(given, name).map(u64::from),
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
            (json!({ "nosetpgrp": 1 }), "nosetpgrp", "each task has a process group"),
            (json!({ "rlimit": 7 }), "rlimit", "names and values"),
            (json!({ "pty.ranks": "0-1" }), "pty.ranks", "there is no task 1"),
            (json!({ "pty": { "size": "24" } }), "pty.size", "ROWSxCOLUMNS"),
            (
                json!({ "pty.interactive": 1, "output.stdout.path": "o" }),
                "output.stdout.type",
                "for who attaches",
            ),
            (
                json!({ "pty": 1, "output": { "stderr": { "type": "file", "path": "e" } } }),
                "output.stderr.type",
                "leave --error away",
            ),
            (
                json!({ "output.stdout.path": "b.{{job.id}}" }),
                "output.stdout.path",
                "`{{job.id}}` is not a tag",
            ),
            (json!({ "output.archive": "a.{{task.id}}" }), "output.archive", "`{{task.id}}` is not a tag"),
            (json!({ "sysmon": { "period": "0.001s" } }), "sysmon.period", "0.01 s or more"),
            (json!({ "memory-watchdog": "much" }), "memory-watchdog", "`much` is not a size"),
            (json!({ "umask": "9" }), "umask", "`9` is not a mask"),
            (json!({ "exit-timeout": -1 }), "exit-timeout", "is not a duration"),
            (json!({ "kill-timeout": "none" }), "kill-timeout", "`none` is not a duration"),
            (json!({ "output": { "batch-timeout": "soon" } }), "output.batch-timeout", "is not a duration"),
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
            "umask": "0027", "per-resource": { "type": "core" }, "exit-timeout": "none", "taskmap": { "scheme": "cyclic" },
        });
        let options = read(&given).unwrap();
        assert_eq!((options.oom_adjust, options.warning), (Some(-5), Some((10, 60.0))));
        assert!(options.exit_on_error && matches!(options.stdout, Sink::File { label: true, .. }));
        let pty = read(&json!({ "pty": { "interactive": 1, "size": "50x132" } })).unwrap();
        assert_eq!(pty.stdin, Source::Service);
        let pty = pty.pty.unwrap();
        assert!(pty.has(0) && !pty.has(1) && pty.size.to_string() == "50x132");
        assert!(read(&json!({ "pty": 1 })).unwrap().pty.is_some_and(|pty| pty.has(7)));
        assert_eq!(read(&json!({ "pty": 0 })).unwrap().pty, None);
        let sized = read(&json!({ "pty": 1, "pty.size": "30x90" })).unwrap().pty.unwrap();
        assert!(sized.has(7) && sized.size.to_string() == "30x90");
        assert!(read(&json!({ "output.stdout.path": "{{id}}.{{task.id}}.{{cc}}" })).is_ok());
        assert_eq!((options.umask, options.exit_timeout_s), (Some(0o27), None));
        let times = read(&json!({ "kill-timeout": 0, "output.batch-timeout": "0.5s" })).unwrap();
        assert_eq!(
            (times.kill_timeout, times.batch),
            (Some(Duration::ZERO), Some(Duration::from_millis(500)))
        );
        assert_eq!(read(&json!({ "signal": 1 })).unwrap().warning, Some(life::WARNING));
    }
}
