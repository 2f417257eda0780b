//! `flurm uptime`: the instance in one line.

use crate::face::Face;
use crate::failure::Failure;
use crate::{out, when};
use flurm_wire::Dest;
use flurm_wire::state::{Get, Info};
use std::io::Write;

/// Say how the instance is and how long it has been there
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let info = face.connect()?.call(Dest::Leader, &Get {})?;
        if self.json {
            out::json(&info)?;
            return Ok(0);
        }
        let mut out = out::stdout();
        writeln!(out, "{}", line(&info))?;
        if !info.submission_enabled {
            writeln!(out, " Job submission is disabled")?;
        }
        if !info.scheduling_started {
            writeln!(out, " Scheduling is stopped")?;
        }
        Ok(0)
    }
}

fn line(info: &Info) -> String {
    let up = when::rough(info.now.secs_since(info.starttime));
    let clock = when::zoned(info.now).strftime("%H:%M:%S");
    let owner = out::user_name(info.owner);
    let mut line = format!(
        " {clock} {} {up},  owner {owner},  depth {},  size {}",
        info.state.name(),
        info.instance_level,
        info.size
    );
    if info.drained > 0 {
        line.push_str(&format!(",  {} drained", info.drained));
    }
    if info.online < info.size {
        line.push_str(&format!(",  {} offline", info.size - info.online));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use flurm_types::{Rank, Timestamp};
    use flurm_wire::state::BrokerState;

    #[test]
    fn the_line_names_what_is_missing() {
        let start = Timestamp(1_790_000_000_000_000);
        let info = Info {
            rank: Rank(0),
            state: BrokerState::Run,
            size: 8,
            online: 6,
            owner: u32::MAX - 7,
            starttime: start,
            now: Timestamp(start.0 + 7_560_000_000),
            expiration: Timestamp::ZERO,
            instance_level: 1,
            drained: 1,
            submission_enabled: true,
            scheduling_started: true,
            version: String::new(),
        };
        let line = line(&info);
        assert!(
            line.ends_with(" run 2.1h,  owner 4294967288,  depth 1,  size 8,  1 drained,  2 offline"),
            "{line}"
        );
    }
}
