//! `flurm resource jgf`: resources as a graph, made of sizes or of another file.

use crate::face::Face;
use crate::failure::Failure;
use crate::inventory::{Format, Inventory, Sizes};
use crate::out;
use clap::ValueEnum;
use std::io::Write;
use std::path::PathBuf;

/// Write resources as a graph
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instead of sizes: those in this file (an R, a JSON graph, hwloc's XML); `-` is standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// How that file is written, if it is not clear: hwloc, jgf, R
    #[arg(short, long, value_name = "FORMAT", requires = "from", hide_possible_values = true)]
    format: Option<Format>,
    /// The node in a file of hwloc
    #[arg(long, value_name = "HOST", default_value = "node0", requires = "from")]
    name: String,
    /// What to write: jgf (the default), R, or R+jgf, an R with the graph in it
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "jgf",
        hide_default_value = true,
        hide_possible_values = true
    )]
    output: Output,
    // Last, since its heading is for all that comes after.
    #[command(flatten)]
    sizes: Sizes,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq, ValueEnum)]
enum Output {
    Jgf,
    #[value(name = "R")]
    R,
    #[value(name = "R+jgf")]
    RWithJgf,
}

impl Args {
    pub fn run(self, _face: &Face) -> Result<u8, Failure> {
        let inventory = match &self.from {
            None => Inventory::from_shape(self.sizes.shape()?),
            Some(_) if self.sizes.are_given() => {
                return Err(Failure::usage("sizes and --from exclude each other"));
            }
            Some(path) => Inventory::load(path, self.format, &self.name)?,
        };
        let text = match self.output {
            Output::Jgf => inventory.description().to_jgf(),
            Output::R => inventory.to_r(),
            Output::RWithJgf => inventory.to_r_with_jgf(),
        };
        let mut out = out::stdout();
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()?;
        Ok(0)
    }
}
