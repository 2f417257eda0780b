//! Where output goes. Pure.

use super::{Given, OptionError, bad, find, flag, plain, text};

/// Where output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// The job's `guest.output`.
    Log,
    /// A file for the output of many jobs.
    Archive,
    File {
        template: String,
        label: bool,
    },
}

pub(super) fn sink(given: &Given, stream: &str) -> Result<Option<Sink>, OptionError> {
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

/// The archive of the job, and where output goes that is not for a file.
pub(super) fn archive(given: &Given) -> Result<(Option<String>, Sink), OptionError> {
    Ok(match text(given, "output.archive")? {
        None => (None, Sink::Log),
        Some(path) => (Some(path.to_owned()), Sink::Archive),
    })
}

/// Under which name clients of this rank follow the tasks here; then nothing is kept.
pub(super) fn follow(given: &Given, sinks: [&Sink; 2]) -> Result<Option<String>, OptionError> {
    let name = "output.follow";
    match text(given, name)? {
        None => Ok(None),
        Some("") => bad(name, "expected a name"),
        Some(_) if sinks.iter().any(|sink| **sink == Sink::Archive) => {
            bad(name, "output is for an archive already (output.archive)")
        }
        Some(follow) => Ok(Some(follow.to_owned())),
    }
}

pub(super) fn append(given: &Given) -> Result<bool, OptionError> {
    match text(given, "output.mode")? {
        None | Some("truncate") => Ok(false),
        Some("append") => Ok(true),
        Some(other) => bad("output.mode", format!("`{other}` is not truncate or append")),
    }
}

pub(super) fn lines(given: &Given, stream: &str) -> Result<bool, OptionError> {
    let name = format!("output.{stream}.buffer.type");
    match text(given, &name)? {
        None | Some("line") => Ok(true),
        Some("none") => Ok(false),
        Some(other) => bad(&name, format!("`{other}` is not line or none")),
    }
}

/// The leader keeps the output; here it is only seen whether it can be had.
pub(super) fn check_limit(given: &Given) -> Result<(), OptionError> {
    let name = "output.limit";
    match find(given, name).map(|value| (value, flurm_jobspec::size(value))) {
        None => Ok(()),
        Some((value, None)) => bad(name, format!("`{}` is not a size like 10M", plain(value))),
        Some((_, Some(_))) => Ok(()),
    }
}
