//! `flurm job output`: what a job has said.

use crate::archive::Archive;
use crate::attach::{Printer, Stream};
use crate::face::Face;
use crate::failure::Failure;
use crate::outputs::{self, Archives};
use flurm_types::JobId;
use flurm_wire::archive::Instance;
use std::path::PathBuf;

/// Print what a job has said so far: from its log, its files or its archive
#[derive(Debug, clap::Args)]
pub struct Args {
    id: JobId,
    /// Look only into this archive; no instance is needed
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// In an archive that several instances have written to: the job of this one
    #[arg(long, value_name = "HEX", requires = "from")]
    instance: Option<Instance>,
    /// Begin each line with the task's rank
    #[arg(short, long)]
    label_io: bool,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let mut printer = Printer::new(self.label_io, None);
        let mut take = |stream: Stream, ranks: &str, bytes: &[u8]| {
            printer.output(stream, ranks, bytes, false);
            printer.flush()
        };
        let mut code = 0;
        match &self.from {
            Some(path) => {
                let archive = Archive::open(path)?;
                outputs::of_archive(&archive, archive.find(self.id, self.instance)?, &mut take)?;
            }
            None => {
                let (id, take) = (self.id, &mut take);
                code = face.connected(async move |client| {
                    let missing = outputs::of_instance(&client, &mut Archives::default(), id, take).await?;
                    Ok(missing.iter().map(Failure::say).max().unwrap_or(0))
                })?;
            }
        }
        printer.finish()?;
        Ok(code)
    }
}
