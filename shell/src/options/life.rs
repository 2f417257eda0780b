//! How tasks begin and end: limits, signals, time-outs. Pure.

use super::{Given, OptionError, bad, find, flag, plain};
use crate::sysmon;
use flurm_types::Fsd;
use serde_json::Value;
use std::time::Duration;

/// The signal of `--signal` when none is named, and the seconds before the end, as Flux has them.
pub(super) const WARNING: (i32, f64) = (libc::SIGUSR1, 60.0);

/// Real-time signals go to here.
const SIGNUM_MAX: i64 = 64;

pub(super) fn exit_timeout(given: &Given) -> Result<Option<f64>, OptionError> {
    match find(given, "exit-timeout") {
        None => Ok(Some(flurm_jobspec::EXIT_TIMEOUT_S)),
        Some(Value::Number(n)) if n.as_f64().is_some_and(|secs| secs >= 0.0) => Ok(n.as_f64()),
        Some(Value::String(s)) if s == "none" => Ok(None),
        Some(Value::String(s)) => match s.parse::<Fsd>() {
            Ok(fsd) => Ok(Some(fsd.as_secs())),
            Err(e) => bad("exit-timeout", e.to_string()),
        },
        Some(other) => bad("exit-timeout", format!("`{other}` is not a duration or none")),
    }
}

/// Between TERM and KILL when the job is ended; none: as long as the shell gives everybody.
pub(super) fn kill_timeout(given: &Given) -> Result<Option<Duration>, OptionError> {
    duration(given, "kill-timeout")
}

/// A time that comes to an end: seconds, or a duration as people type it.
pub(super) fn duration(given: &Given, name: &str) -> Result<Option<Duration>, OptionError> {
    let Some(value) = find(given, name) else { return Ok(None) };
    let seconds = match value {
        Value::Number(n) => n.as_f64(),
        Value::String(s) => s.parse::<Fsd>().ok().map(Fsd::as_secs),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    match seconds.and_then(|secs| Duration::try_from_secs_f64(secs).ok()) {
        Some(duration) => Ok(Some(duration)),
        None => bad(name, format!("`{}` is not a duration such as 10s", plain(value))),
    }
}

pub(super) fn warning(given: &Given) -> Result<Option<(i32, f64)>, OptionError> {
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

pub(super) fn limits(given: &Given) -> Result<Vec<(String, Option<u64>)>, OptionError> {
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

pub(super) fn oom_adjust(given: &Given) -> Result<Option<i32>, OptionError> {
    let Some(value) = find(given, "oom.adjust") else { return Ok(None) };
    let adjust = value.as_i64().and_then(|n| i32::try_from(n).ok()).filter(|n| (-1000..=1000).contains(n));
    match adjust {
        Some(adjust) => Ok(Some(adjust)),
        None => bad("oom.adjust", format!("`{}` is not a number from -1000 to 1000", plain(value))),
    }
}

pub(super) fn copy(given: &Given) -> Result<Option<u32>, OptionError> {
    let Some(value) = given.get("cc") else { return Ok(None) };
    match value.as_u64().and_then(|n| u32::try_from(n).ok()) {
        Some(number) => Ok(Some(number)),
        None => bad("cc", format!("`{}` is not the number of a copy", plain(value))),
    }
}

/// As `umask` takes it: octal.
pub(super) fn umask(given: &Given) -> Result<Option<u32>, OptionError> {
    let Some(value) = find(given, "umask") else { return Ok(None) };
    let text = plain(value);
    match u32::from_str_radix(&text, 8).ok().filter(|mask| *mask <= 0o777) {
        Some(mask) => Ok(Some(mask)),
        None => bad("umask", format!("`{text}` is not a mask from 000 to 777")),
    }
}

/// How often to look at what the job uses, to be said at its end.
pub(super) fn sysmon(given: &Given) -> Result<Option<Duration>, OptionError> {
    let period = match find(given, "sysmon.period") {
        None => None,
        Some(value) => match plain(value).parse::<Fsd>().ok().map(|fsd| fsd.as_secs()) {
            Some(secs) if secs >= 0.01 => Duration::try_from_secs_f64(secs).ok(),
            Some(_) | None => {
                return bad("sysmon.period", format!("`{}` is not a time of 0.01 s or more", plain(value)));
            }
        },
    };
    let asked = match find(given, "sysmon") {
        Some(Value::Object(_)) => true,
        _ => flag(given, "sysmon")?,
    };
    Ok((asked || period.is_some()).then(|| period.unwrap_or(sysmon::PERIOD)))
}

/// What `memory-watchdog` says.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Watch {
    Off,
    /// Against what the job has asked for.
    Request,
    /// Against so many bytes on each node.
    Bytes(u64),
}

pub(super) fn memory_watchdog(given: &Given) -> Result<Watch, OptionError> {
    let name = "memory-watchdog";
    match find(given, name) {
        None | Some(Value::Null | Value::Bool(false)) => Ok(Watch::Off),
        Some(Value::Bool(true)) => Ok(Watch::Request),
        Some(Value::Number(n)) if n.as_u64() == Some(0) => Ok(Watch::Off),
        Some(Value::Number(n)) if n.as_u64() == Some(1) => Ok(Watch::Request),
        Some(value) => match flurm_jobspec::size(value) {
            Some(bytes) => Ok(Watch::Bytes(bytes)),
            None => bad(
                name,
                format!("`{}` is not a size like 10G, or 1 for what the job has asked for", plain(value)),
            ),
        },
    }
}
