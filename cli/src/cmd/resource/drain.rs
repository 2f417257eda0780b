//! `flurm resource drain`, `undrain`: take nodes out of service and back.

use super::{ask, status};
use crate::face::Face;
use crate::failure::Failure;
use crate::format;
use crate::out::{self, Script};
use flurm_wire::Dest;
use flurm_wire::resource;

const NAMED: format::Named = &[
    ("default", "{timestamp!d:%b%d %R::<12} {statex:<9} +:{ranks:<8} {reason:<30.30+} {nodelist}"),
    ("long", "{timestamp!D:<20} {statex:<9} +:{ranks:<8} +:{reason:<30} {nodelist}"),
];

/// Keep new jobs off nodes; without targets: list those
#[derive(Debug, clap::Args)]
pub struct Drain {
    /// Replace the reason of nodes that are drained already
    #[arg(short, long, conflicts_with = "update")]
    force: bool,
    /// The same, in Flux's newer word
    #[arg(short, long)]
    update: bool,
    /// List only these ranks or hosts
    #[arg(short, long, value_name = "TARGETS", conflicts_with = "targets")]
    include: Option<String>,
    /// List only nodes of these queues
    #[arg(short, long, value_name = "QUEUE,…", value_delimiter = ',', conflicts_with = "targets")]
    queue: Vec<String>,
    #[command(flatten)]
    format: format::Options,
    /// Ranks or hosts
    targets: Option<String>,
    /// Why
    reason: Vec<String>,
}

impl Drain {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let Some(targets) = self.targets else {
            let format = self.format.read("FLUX_RESOURCE_DRAIN_FORMAT_DEFAULT", NAMED, status::COLUMNS)?;
            let Some(format) = format else { return Ok(0) };
            let client = face.connect()?;
            let mut info = ask(&client)?;
            super::narrow(&client, &mut info, self.include.as_deref(), &self.queue)?;
            let mut rows = status::rows(&info, Script::of_locale());
            rows.retain(status::is_drained);
            format.print(&mut out::stdout(), &mut rows, !self.format.no_header, |_| None)?;
            return Ok(0);
        };
        let reason = self.reason.join(" ");
        let drain = resource::Drain { targets, reason, overwrite: self.force || self.update };
        face.connect()?.call(Dest::Leader, &drain)?;
        Ok(0)
    }
}

/// Let jobs use nodes again
#[derive(Debug, clap::Args)]
pub struct Undrain {
    /// Do not mind those that are not drained
    #[arg(short, long)]
    force: bool,
    /// Ranks or hosts
    targets: String,
    /// Why
    reason: Vec<String>,
}

impl Undrain {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let client = face.connect()?;
        let mut targets = self.targets;
        if self.force {
            let info = ask(&client)?;
            targets = super::targets(&targets, &info.all)?.intersection(&super::drained(&info)).to_string();
            if targets.is_empty() {
                return Ok(0);
            }
        }
        let undrain = resource::Undrain { targets, reason: self.reason.join(" ") };
        client.call(Dest::Leader, &undrain)?;
        Ok(0)
    }
}
