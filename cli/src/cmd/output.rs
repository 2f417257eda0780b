//! `flurm output`: the output of many jobs.

use crate::archive::Archive;
use crate::attach::{Printer, Stream};
use crate::face::Face;
use crate::failure::Failure;
use crate::outputs::{self, Archives};
use flurm_client::job;
use flurm_types::{Encoding, JobId};
use flurm_wire::archive::Instance;
use flurm_wire::job::List;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Get the output of many jobs
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Export(Export),
}

/// Write the output of jobs to files of their own, ID.out and ID.err
#[derive(Debug, clap::Args)]
pub struct Export {
    /// Made if it is not there
    dir: PathBuf,
    /// Just these jobs
    ids: Vec<JobId>,
    /// From this archive; no instance is needed
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Only jobs of this instance; without it, if there are several, each has a directory
    #[arg(long, value_name = "HEX", requires = "from")]
    instance: Option<Instance>,
    /// Begin each line with the task's rank
    #[arg(short, long)]
    label_io: bool,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        match self.command {
            Command::Export(args) => args.run(face),
        }
    }
}

impl Export {
    fn run(self, face: &Face) -> Result<u8, Failure> {
        let wrong = |e: io::Error| Failure::new(format!("cannot make {}: {e}", self.dir.display()));
        std::fs::create_dir_all(&self.dir).map_err(wrong)?;
        match &self.from {
            Some(path) => {
                let archive = Archive::open(path)?;
                let wanted =
                    |(of, _): &(Instance, JobId)| self.instance.is_none_or(|instance| *of == instance);
                let jobs: Vec<_> = if self.ids.is_empty() {
                    archive.jobs().filter(wanted).collect()
                } else {
                    self.ids.iter().map(|id| archive.find(*id, self.instance)).collect::<Result<_, _>>()?
                };
                // Their ids may be the same.
                let several = jobs.iter().any(|(of, _)| *of != jobs[0].0);
                for job in &jobs {
                    let dir = if several { self.dir.join(job.0.to_string()) } else { self.dir.clone() };
                    std::fs::create_dir_all(&dir).map_err(wrong)?;
                    let mut files = Files::new(&dir, job.1, self.label_io);
                    outputs::of_archive(&archive, *job, &mut |s, r: &str, b: &[u8]| files.take(s, r, b))?;
                    files.close()?;
                }
                say(jobs.len(), &self.dir);
                Ok(0)
            }
            None => face.connected(async |client| {
                let ids = if self.ids.is_empty() {
                    let all = job::list(&client, &List::default()).await?;
                    all.jobs.iter().map(|job| job.id).collect()
                } else {
                    self.ids.clone()
                };
                let (mut archives, mut written, mut code) = (Archives::default(), 0, 0);
                for id in &ids {
                    let mut files = Files::new(&self.dir, *id, self.label_io);
                    let take = &mut |s, r: &str, b: &[u8]| files.take(s, r, b);
                    let missing = outputs::of_instance(&client, &mut archives, *id, take).await?;
                    for failure in missing {
                        code = failure.within(&id.f58().to_string()).say();
                        // Where nothing is there nothing is made of it.
                        files.empty_too = false;
                    }
                    written += usize::from(files.close()?);
                }
                say(written, &self.dir);
                Ok(code)
            }),
        }
    }
}

fn say(jobs: usize, dir: &Path) {
    let jobs = if jobs == 1 { "1 job".to_owned() } else { format!("{jobs} jobs") };
    crate::say!("{jobs} written to {}", dir.display());
}

/// The files of one job. Every job has one for its standard output; one for its errors only if there were some.
struct Files {
    base: PathBuf,
    /// There is a file even if nothing was said.
    empty_too: bool,
    out: Option<BufWriter<File>>,
    err: Option<BufWriter<File>>,
    printer: Printer,
}

impl Files {
    fn new(dir: &Path, id: JobId, label: bool) -> Files {
        let base = dir.join(id.encode(Encoding::F58Plain));
        Files { base, empty_too: true, out: None, err: None, printer: Printer::new(label, None) }
    }

    fn take(&mut self, stream: Stream, ranks: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.printer.output(stream, ranks, bytes, false);
        self.write()
    }

    fn write(&mut self) -> Result<(), Failure> {
        for (stream, bytes) in self.printer.take() {
            let (file, ending) = match stream {
                Stream::Stdout => (&mut self.out, "out"),
                Stream::Stderr => (&mut self.err, "err"),
            };
            let path = self.base.with_extension(ending);
            let wrong = |e: io::Error| Failure::new(format!("cannot write {}: {e}", path.display()));
            let file = match file {
                Some(file) => file,
                None => file.insert(BufWriter::new(File::create(&path).map_err(wrong)?)),
            };
            file.write_all(&bytes).map_err(wrong)?;
        }
        Ok(())
    }

    /// True if there are any.
    fn close(mut self) -> Result<bool, Failure> {
        self.printer.close_lines();
        self.write()?;
        let wrong = |e: io::Error| Failure::new(format!("cannot write {}: {e}", self.base.display()));
        if self.out.is_none() && self.empty_too {
            self.out = Some(BufWriter::new(File::create(self.base.with_extension("out")).map_err(wrong)?));
        }
        let any = self.out.is_some() || self.err.is_some();
        let mut files = [self.out, self.err].into_iter().flatten();
        files.try_for_each(|mut file| file.flush()).map_err(wrong)?;
        Ok(any)
    }
}
