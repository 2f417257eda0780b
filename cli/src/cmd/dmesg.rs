//! `flurm dmesg`: the broker's log ring.

use crate::face::Face;
use crate::failure::Failure;
use crate::out::Color;
use crate::{out, when};
use flurm_types::Rank;
use flurm_wire::Dest;
use flurm_wire::state::{Dmesg, LogLine};
use std::io::Write;

/// Print the broker's log
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on printing as lines come
    #[arg(short, long)]
    follow: bool,
    /// Forget the lines, printing none
    #[arg(short = 'C', long, conflicts_with = "follow")]
    clear: bool,
    /// Print the lines, then forget them
    #[arg(short = 'c', long, conflicts_with_all = ["follow", "clear"])]
    read_clear: bool,
    /// With --follow: only lines that come from now on
    #[arg(short, long, requires = "follow")]
    new: bool,
    /// Times as on a clock
    #[arg(short = 'H', long)]
    human: bool,
    /// Times as seconds since the line before
    #[arg(short, long)]
    delta: bool,
    /// Colour errors and warnings
    #[arg(short = 'L', long, value_enum, value_name = "WHEN", default_value_t, num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    color: Color,
    /// The log of this broker (default: the one we are connected to)
    #[arg(short, long)]
    rank: Option<u32>,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let client = face.connect()?;
        let dest = self.rank.map_or(Dest::Local, |rank| Dest::Rank(Rank(rank)));
        let body = Dmesg { follow: self.follow, clear: self.clear || self.read_clear };
        let mut out = out::stdout();
        let color = self.color.wanted();
        let mut before = None;
        for (at, lines) in client.stream(dest, &body)?.enumerate() {
            let lines = lines?.lines;
            // The first answer has what is there already.
            if self.clear || (self.new && at == 0) {
                before = lines.last().map(|line| line.time);
                continue;
            }
            for line in lines {
                let since = line.time.secs_since(before.unwrap_or(line.time));
                before = Some(line.time);
                let (on, off) = match line.level {
                    0..=3 if color => ("\x1b[31m", "\x1b[0m"),
                    4 if color => ("\x1b[33m", "\x1b[0m"),
                    _ => ("", ""),
                };
                writeln!(out, "{on}{}{off}", self.text(&line, since))?;
            }
            out.flush()?;
        }
        Ok(0)
    }

    fn text(&self, line: &LogLine, since: f64) -> String {
        let severity = severity(line.level);
        if self.delta {
            return format!("[{since:+13.6}] {}.{severity}[{}]: {}", line.component, line.rank, line.text);
        }
        let pattern = if self.human { "%b %d %H:%M:%S" } else { "%Y-%m-%dT%H:%M:%S.%6f%:z" };
        let time = when::zoned(line.time).strftime(pattern);
        format!("{time} {}.{}[{}]: {}", line.component, severity, line.rank, line.text)
    }
}

/// RFC 5424's words, the worst first.
pub const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

fn severity(level: u8) -> &'static str {
    SEVERITIES.get(usize::from(level)).unwrap_or(&"debug")
}
