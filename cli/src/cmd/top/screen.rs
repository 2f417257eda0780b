//! What the screen of `flurm top` shows, as lines; nothing here knows of terminals or instances.

use crate::cmd::jobs::inside::{self, Inside};
use crate::cmd::jobs::{Row, colour_of};
use crate::format::Format;
use crate::out::Script;
use crate::when;
use flurm_types::JobId;
use flurm_wire::state::Info;
use std::ops::Range;

/// What is known of an instance.
pub struct Facts {
    pub path: String,
    pub info: Info,
    pub inside: Inside,
    /// Those that run, then those that wait.
    pub rows: Vec<Row>,
    /// Jobs beyond the rows.
    pub more: bool,
}

/// How it is looked at.
#[derive(Debug, Default)]
pub struct Look {
    pub rows: usize,
    pub cols: usize,
    pub colour: bool,
    /// Say what became of the jobs that are over.
    pub detail: bool,
    /// Only jobs of this queue.
    pub queue: Option<String>,
    pub selected: Option<JobId>,
    /// What went wrong with the last key.
    pub message: Option<String>,
}

pub const FORMAT: &str = "{id.f58:>12} ?:{queue:<8.8} {username:<8.8} {status_abbrev:>2.2} {ntasks:>6} {nnodes:>6h} \
                          {contextual_time!F:>8h} {name}";

/// Lines of the screen that are no jobs: six above, the header, the help below.
pub const FRAME: usize = 9;

/// `[`, `]` and the name before them.
const BAR_FRAME: usize = 9;

const KEYS: &str = "j k move   h l queue   d detail   Enter open   q back, quit";

const REVERSE: &str = "\x1b[7m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// The whole screen, a line for each of its rows or fewer.
pub fn draw(facts: &Facts, look: &Look, format: &Format<Row>) -> Vec<String> {
    let script = facts.rows.first().map_or_else(Script::of_locale, |row| row.view.script);
    let mut lines = vec![title(facts, look, script)];
    let inside = &facts.inside;
    let (all, used, down) = (inside.all(), inside.allocated(), inside.down());
    for (name, all, used, down) in [
        ("nodes", all.nnodes(), used.nnodes(), down.nnodes()),
        ("cores", all.ncores(), used.ncores(), down.ncores()),
        ("gpus", all.ngpus(), used.ngpus(), down.ngpus()),
    ] {
        lines.push(bar(name, [all, used, down], look.cols));
    }
    lines.push(counts(facts, look));
    lines.push(state(facts));
    lines.push(String::new());
    let (header, texts) = format.lines(&facts.rows.iter().collect::<Vec<_>>());
    lines.push(painted(&cut(header.trim_end(), look.cols), BOLD, look));
    let room = look.rows.saturating_sub(lines.len() + 1);
    let shown = visible(&facts.rows, look.selected, room);
    lines.extend(
        facts
            .rows
            .iter()
            .zip(&texts)
            .skip(shown.start)
            .take(shown.len())
            .map(|(row, text)| job(row, text, look)),
    );
    while lines.len() + 1 < look.rows {
        lines.push(String::new());
    }
    lines.push(match (&look.message, facts.more) {
        (Some(message), _) => cut(message, look.cols),
        (None, true) => cut(&format!("{KEYS}   (more jobs than fit)"), look.cols),
        (None, false) => cut(KEYS, look.cols),
    });
    lines.truncate(look.rows);
    lines
}

fn title(facts: &Facts, look: &Look, script: Script) -> String {
    let left = match facts.info.expiration.is_zero() {
        true if script.ascii => "no limit".to_owned(),
        true => "∞".to_owned(),
        false => format!("{} left", when::hms(facts.info.expiration.secs_since(facts.info.now))),
    };
    let room = look.cols.saturating_sub(left.chars().count() + 1);
    let path = cut(&facts.path, room);
    painted(&format!("{path:<room$} {left}"), BOLD, look)
}

/// Used ones grow from the left, those that are down from the right.
fn bar(name: &str, [all, used, down]: [usize; 3], cols: usize) -> String {
    let width = cols.saturating_sub(BAR_FRAME);
    let label = format!(" {used}/{all}");
    let inner = width.saturating_sub(label.len());
    let part = |n: usize| if all == 0 { 0 } else { (n * inner).div_ceil(all) };
    let right = part(down).min(inner);
    let left = part(used).min(inner - right);
    let free = inner - left - right;
    format!("{name:>6} [{}{}{}{label}]", "|".repeat(left), " ".repeat(free), "x".repeat(right))
}

fn counts(facts: &Facts, look: &Look) -> String {
    let stats = &facts.inside.stats;
    let over = match look.detail {
        false => format!("{} inactive", stats.inactive),
        true => format!(
            "{} completed, {} failed, {} canceled, {} timeout",
            stats.completed, stats.failed, stats.canceled, stats.timeout
        ),
    };
    let queue = look.queue.as_ref().map_or_else(String::new, |queue| format!("queue {queue}: "));
    cut(&format!(" {queue}{} pending, {} running, {over}", stats.pending(), stats.running()), look.cols)
}

fn state(facts: &Facts) -> String {
    let info = &facts.info;
    let up = when::rough(info.now.secs_since(info.starttime));
    let clock = when::zoned(info.now).strftime("%H:%M:%S");
    let mut line = format!(
        " size {}, depth {}, up {up}, {clock}, flurm {}",
        info.size, info.instance_level, info.version
    );
    for (n, what) in [(info.drained, "drained"), (info.size.saturating_sub(info.online), "offline")] {
        if n > 0 {
            line.push_str(&format!(", {n} {what}"));
        }
    }
    line
}

/// So many rows that the selected one is among them.
fn visible(rows: &[Row], selected: Option<JobId>, room: usize) -> Range<usize> {
    let at = rows.iter().position(|row| Some(row.job.id) == selected).unwrap_or(0);
    let from = (at + 1).saturating_sub(room);
    from..rows.len().min(from + room)
}

fn job(row: &Row, text: &str, look: &Look) -> String {
    let text = cut(text.trim_end(), look.cols);
    if Some(row.job.id) == look.selected {
        // Seen as well where there are no colours.
        return format!("{REVERSE}{text:<0$}{PLAIN}", look.cols);
    }
    if inside::uri(&row.job).is_some() {
        return painted(&text, BOLD, look);
    }
    match colour_of(row.status()) {
        Some(colour) => painted(&text, colour, look),
        None => text,
    }
}

fn painted(text: &str, with: &str, look: &Look) -> String {
    if look.colour { format!("{with}{text}{PLAIN}") } else { text.to_owned() }
}

fn cut(text: &str, cols: usize) -> String {
    text.chars().take(cols).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_what_is_used_and_what_is_down() {
        for (numbers, cols, text) in [
            ([4, 2, 1], 25, "cores [||||||   xxx 2/4]"),
            ([0, 0, 0], 25, "cores [             0/0]"),
            ([3, 3, 0], 25, "cores [|||||||||||| 3/3]"),
            ([2, 1, 0], 4, "cores [ 1/2]"),
        ] {
            assert_eq!(bar("cores", numbers, cols).trim_start(), text, "{numbers:?}");
        }
    }
}
