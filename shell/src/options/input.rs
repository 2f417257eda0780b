//! Where input comes from. Pure.

use super::{Given, OptionError, bad, text};

/// Where input comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Nothing,
    Service,
    File(String),
}

pub(super) fn source(given: &Given) -> Result<Source, OptionError> {
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
