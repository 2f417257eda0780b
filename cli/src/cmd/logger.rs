//! `flurm logger`: a line for the broker's log.

use super::dmesg::SEVERITIES;
use crate::face::Face;
use crate::failure::Failure;
use flurm_types::Rank;
use flurm_wire::Dest;
use flurm_wire::state::Log;

/// Write a line into the broker's log
#[derive(Debug, clap::Args)]
pub struct Args {
    /// emerg, alert, crit, err, warning, notice, info or debug
    #[arg(short, long, value_name = "LEVEL", default_value = "notice", value_parser = severity)]
    severity: u8,
    /// Who says it
    #[arg(short = 'n', long, value_name = "NAME", default_value = "logger")]
    appname: String,
    /// In the log of this broker (default: the one we are connected to)
    #[arg(short, long)]
    rank: Option<u32>,
    #[arg(required = true, value_name = "MESSAGE", trailing_var_arg = true)]
    message: Vec<String>,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let dest = self.rank.map_or(Dest::Local, |rank| Dest::Rank(Rank(rank)));
        let log = Log { level: self.severity, component: self.appname, text: self.message.join(" ") };
        face.connect()?.call(dest, &log)?;
        Ok(0)
    }
}

fn severity(word: &str) -> Result<u8, String> {
    let at = SEVERITIES.iter().position(|name| *name == word);
    at.and_then(|at| u8::try_from(at).ok())
        .ok_or_else(|| format!("`{word}` is no severity (known: {})", SEVERITIES.join(", ")))
}
