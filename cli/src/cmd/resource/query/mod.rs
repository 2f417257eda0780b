//! `flurm resource query`: asking the matcher without an instance, by hand or from scripts that keep the answers.
//!
//! `command.rs` is what can be typed, `session.rs` does it.

mod command;
mod session;
#[cfg(test)]
mod tests;

use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::inventory::{self, Format, Inventory, Sizes};
use crate::out;
use flurm_jobspec::Placement;
use flurm_types::R;
use serde_json::json;
use session::{Answer, Session, Setup};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Ask the matcher what jobs would get, without an instance
///
/// Commands come from standard input, a line each; `help` lists them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The resources: an R, a JSON graph, or hwloc's XML
    #[arg(short = 'L', long = "load", value_name = "FILE")]
    load: Option<PathBuf>,
    /// How that file is written, if it is not clear: hwloc, jgf, R
    #[arg(short, long, value_name = "FORMAT", requires = "load", hide_possible_values = true)]
    format: Option<Format>,
    /// Where jobs go that do not say: first, low, high, locality, compact (the default), `spread[:SHARE]`
    #[arg(short = 'P', long, value_name = "PLACEMENT", default_value_t, hide_default_value = true)]
    placement: Placement,
    /// How much jobs that share sockets slow each other down (TOML), instead of guesses
    #[arg(long, value_name = "FILE")]
    slowdowns: Option<PathBuf>,
    /// Run this script, and fail when an answer is not the one that is written below its command
    #[arg(long, value_name = "SCRIPT", conflicts_with_all = ["verbose", "json"])]
    check: Option<PathBuf>,
    /// With --check: write the answers into the script instead
    #[arg(long, requires = "check")]
    update: bool,
    /// Print a line of JSON for each command
    #[arg(long)]
    json: bool,
    /// Say how long each match took
    #[arg(short, long)]
    verbose: bool,
    // Last, since its heading is for all that comes after.
    #[command(flatten)]
    sizes: Sizes,
}

/// What commands begin with in a script; other lines are answers.
const PROMPT: &str = "> ";

impl Args {
    pub fn run(self, _face: &Face) -> Result<u8, Failure> {
        if self.check.is_none() && self.load.as_deref() == Some(Path::new("-")) {
            return Err(Failure::usage("standard input has the commands")
                .hint("load a file: flurm resource query -L FILE < COMMANDS"));
        }
        let inventory = match (&self.load, self.sizes.are_given()) {
            (Some(_), true) => return Err(Failure::usage("sizes and --load exclude each other")),
            (Some(file), false) => Inventory::load(file, self.format, "node0")?,
            (None, true) => Inventory::from_shape(self.sizes.shape()?),
            // A script says itself what there is; so can who types.
            (None, false) => Inventory::read(R::default().to_json().as_bytes(), Some(Format::R), "")?,
        };
        let mut setup = Setup { placement: self.placement, ..Setup::default() };
        if let Some(path) = &self.slowdowns {
            setup.slowdowns = inventory::slowdowns(&inventory::read(path)?, &path.display().to_string())?;
        }
        if let Some(script) = &self.check {
            setup.folder = script.parent().unwrap_or(Path::new("")).to_owned();
        }
        let session = Session::new(setup, &inventory);
        // What was read is as large as the graph that was made of it.
        drop(inventory);
        match &self.check {
            Some(script) => self.check(script, session),
            None => self.converse(session),
        }
    }

    /// Answers lines as they come. A person may err; a script that did has failed in the end.
    fn converse(&self, mut session: Session) -> Result<u8, Failure> {
        let mut input = io::stdin().lock();
        let typed = input.is_terminal() && io::stdout().is_terminal();
        let (mut line, mut code) = (String::new(), 0);
        for number in 1_usize.. {
            let mut out = out::stdout();
            if typed {
                out.write_all(PROMPT.as_bytes())?;
                out.flush()?;
            }
            line.clear();
            let read = input.read_line(&mut line);
            if read.map_err(|error| Failure::new(format!("cannot read line {number}: {error}")))? == 0 {
                // Whoever types next does so on a line of his own.
                if typed {
                    out.write_all(b"\n")?;
                }
                break;
            }
            let command = line.trim().strip_prefix(PROMPT).unwrap_or(line.trim());
            match session.answer(command) {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    self.print(&answer, &mut out)?;
                    if answer.is_last {
                        break;
                    }
                }
                Err(failure) => {
                    out.flush()?;
                    let place = if typed { failure } else { failure.within(&format!("line {number}")) };
                    if self.json {
                        out::json(&json!({ "error": place.said().0 }))?;
                    } else {
                        place.say();
                    }
                    code = if typed { 0 } else { FAILED };
                }
            }
            out.flush()?;
        }
        Ok(code)
    }

    fn print(&self, answer: &Answer, out: &mut out::Out) -> io::Result<()> {
        if self.json {
            let mut value = answer.value.clone();
            if let (true, Some(cost)) = (self.verbose, &answer.cost) {
                value["cost"] = json!(cost);
            }
            return writeln!(out, "{value}");
        }
        for line in &answer.lines {
            writeln!(out, "{line}")?;
        }
        match (&answer.cost, self.verbose) {
            (Some(cost), true) => writeln!(out, "# {cost}"),
            _ => Ok(()),
        }
    }

    fn check(&self, script: &Path, mut session: Session) -> Result<u8, Failure> {
        let written = inventory::read(script)?;
        // Whatever is no answer would be thrown away by --update.
        let first = (1..).zip(written.lines()).find(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        if let Some((line, _)) = first.filter(|(_, line)| !line.starts_with(PROMPT)) {
            return Err(Failure::new(format!("{}:{line}: no command comes before this", script.display()))
                .hint("in a script, commands begin with `> `, and answers stand below them"));
        }
        let (fresh, differences) = replay(&written, &mut session);
        if self.update {
            if fresh != written {
                inventory::write(script, &fresh)?;
            }
            return Ok(0);
        }
        let mut out = out::stdout();
        for difference in &differences {
            write!(out, "{}:{}: {}", script.display(), difference.line, difference.text)?;
        }
        Ok(if differences.is_empty() { 0 } else { FAILED })
    }
}

/// An answer that is not the one that is written.
#[derive(Debug)]
struct Difference {
    line: usize,
    text: String,
}

/// The script with the answers that the session gives, and where they are others than before.
fn replay(script: &str, session: &mut Session) -> (String, Vec<Difference>) {
    let (mut fresh, mut differences) = (String::new(), Vec::new());
    let mut lines = (1..).zip(script.lines()).peekable();
    let is_kept = |line: &str| line.is_empty() || line.starts_with('#') || line.starts_with(PROMPT);
    let mut is_over = false;
    while let Some((number, line)) = lines.next() {
        let command = line.strip_prefix(PROMPT);
        if command.is_some() || is_kept(line) || is_over {
            fresh.push_str(line);
            fresh.push('\n');
        }
        let mut before: Vec<&str> = Vec::new();
        if !is_over {
            while let Some((_, answer)) = lines.next_if(|(_, line)| !is_kept(line)) {
                before.push(answer);
            }
        }
        let now = match (command, is_over) {
            (Some(command), false) => spoken(session, command, &mut is_over),
            _ => Vec::new(),
        };
        now.iter().for_each(|line| fresh.extend([line, "\n"]));
        // Answers before the first command are nobody's.
        let stray = if command.is_none() && !is_kept(line) { Some(line) } else { None };
        let before: Vec<&str> = stray.into_iter().filter(|_| !is_over).chain(before).collect();
        if before != now {
            let mut text = format!("{line}\n");
            before.iter().for_each(|line| text.push_str(&format!("-{line}\n")));
            now.iter().for_each(|line| text.push_str(&format!("+{line}\n")));
            differences.push(Difference { line: number, text });
        }
    }
    (fresh, differences)
}

/// What the session says to a command, errors as well.
fn spoken(session: &mut Session, command: &str, is_over: &mut bool) -> Vec<String> {
    match session.answer(command) {
        Ok(None) => Vec::new(),
        Ok(Some(answer)) => {
            *is_over = answer.is_last;
            answer.lines
        }
        Err(failure) => {
            let (text, hint) = failure.said();
            let hint = hint.map(|hint| format!("hint: {hint}"));
            std::iter::once(format!("error: {text}")).chain(hint).collect()
        }
    }
}
