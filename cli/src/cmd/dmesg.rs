//! `flurm dmesg`: the broker's log ring.

use crate::face::Face;
use crate::failure::Failure;
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
    /// Times as on a clock
    #[arg(short = 'H', long)]
    human: bool,
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
        for lines in client.stream(dest, &body)? {
            if self.clear {
                continue;
            }
            for line in lines?.lines {
                writeln!(out, "{}", self.text(&line))?;
            }
            out.flush()?;
        }
        Ok(0)
    }

    fn text(&self, line: &LogLine) -> String {
        let pattern = if self.human { "%b %d %H:%M:%S" } else { "%Y-%m-%dT%H:%M:%S.%6f%:z" };
        let time = when::zoned(line.time).strftime(pattern);
        format!("{time} {}.{}[{}]: {}", line.component, severity(line.level), line.rank, line.text)
    }
}

/// RFC 5424's words.
fn severity(level: u8) -> &'static str {
    match level {
        0 => "emerg",
        1 => "alert",
        2 => "crit",
        3 => "err",
        4 => "warning",
        5 => "notice",
        6 => "info",
        _ => "debug",
    }
}
