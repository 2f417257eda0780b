//! Terminals for tasks. Pure.

use super::{Context, Given, OptionError, Sink, Source, bad, find, flag, plain, text};
use flurm_types::Idset;

/// Which tasks have a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pty {
    /// None: all.
    ranks: Option<Idset>,
    /// Rank 0's is for somebody who types.
    pub interactive: bool,
    pub size: Size,
}

/// Of a terminal, in characters.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Size {
    pub rows: u16,
    pub cols: u16,
}

/// Until somebody says how large it is: the size that programs assume of a terminal that does not say.
pub const SIZE: Size = Size { rows: 24, cols: 80 };

impl Pty {
    pub fn has(&self, task: u32) -> bool {
        self.ranks.as_ref().is_none_or(|ranks| ranks.contains(task))
    }
}

impl std::str::FromStr for Size {
    type Err = ();

    fn from_str(text: &str) -> Result<Size, ()> {
        let (rows, cols) = text.split_once('x').ok_or(())?;
        Ok(Size { rows: rows.parse().map_err(drop)?, cols: cols.parse().map_err(drop)? })
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.rows, self.cols)
    }
}

pub(super) fn pty(given: &Given, context: Context<'_>) -> Result<Option<Pty>, OptionError> {
    let whole = match find(given, "pty") {
        Some(serde_json::Value::Object(_)) => false,
        _ => flag(given, "pty")?,
    };
    let (capture, interactive) = (flag(given, "pty.capture")?, flag(given, "pty.interactive")?);
    let given_ranks = ranks(given, context)?;
    let size = match text(given, "pty.size")?.map(|size| (size, size.parse())) {
        None => SIZE,
        Some((_, Ok(size))) => size,
        Some((size, Err(()))) => return bad("pty.size", format!("`{size}` is not ROWSxCOLUMNS")),
    };
    if !(whole || capture || interactive || given_ranks.is_some()) {
        return Ok(None);
    }
    let ranks = match given_ranks {
        Some(ranks) if interactive => ranks.map(|ranks| ranks.union(&0.into())),
        Some(ranks) => ranks,
        None if interactive && !whole => Some(0.into()),
        None => None,
    };
    Ok(Some(Pty { ranks, interactive, size }))
}

/// None inside: all.
fn ranks(given: &Given, context: Context<'_>) -> Result<Option<Option<Idset>>, OptionError> {
    let name = "pty.ranks";
    let Some(value) = find(given, name) else { return Ok(None) };
    let word = plain(value);
    if word == "all" {
        return Ok(Some(None));
    }
    let Ok(ranks) = Idset::parse_relaxed(&word) else {
        return bad(name, format!("`{word}` is not a set of tasks, or all"));
    };
    match ranks.last() {
        Some(last) if last >= context.ntasks => bad(name, format!("there is no task {last}")),
        _ => Ok(Some(Some(ranks))),
    }
}

/// A terminal has one stream, which goes where standard output does.
pub(super) fn check_streams(stdout: &Sink, stderr: &Sink) -> Result<(), OptionError> {
    if stdout == stderr {
        return Ok(());
    }
    bad(
        "output.stderr.type",
        "with a terminal (pty) standard error is the same as standard output; leave --error away",
    )
}

/// Who types at a terminal sees what it answers: neither goes to a file.
pub(super) fn check_interactive(sinks: [&Sink; 2], stdin: &Source) -> Result<(), OptionError> {
    let rule = "an interactive terminal is for who attaches to it (pty.interactive)";
    for sink in sinks {
        match sink {
            Sink::Log => {}
            Sink::File { .. } => return bad("output.stdout.type", format!("file: {rule}")),
            Sink::Archive => return bad("output.archive", rule),
        }
    }
    match stdin {
        Source::File(_) => bad("input.stdin.type", format!("file: {rule}")),
        Source::Nothing | Source::Service => Ok(()),
    }
}
