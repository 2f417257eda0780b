//! `flurm exec`: run a command beside the brokers, outside the scheduler.

use crate::attach;
use crate::face::Face;
use crate::failure::{FAILED, Failure};
use crate::out;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flurm_client::{Client, Responses, job};
use flurm_types::{Environment, Idset, JobId, Rank};
use flurm_wire::job::List;
use flurm_wire::rexec::{Control, Run, RunOutput, Stream};
use flurm_wire::{Dest, ErrorCode, state};
use std::io::{self, Write};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// As ssh and Flux report a host that is not there.
const NO_SUCH_RANK: u8 = 68;

/// Run a command on brokers, outside the scheduler
#[derive(Debug, clap::Args)]
pub struct Args {
    /// On these brokers
    #[arg(short, long, alias = "rank", value_name = "RANKS|all", default_value = "all")]
    ranks: String,
    /// Not on these
    #[arg(short = 'x', long, value_name = "RANKS")]
    exclude: Option<String>,
    /// On the brokers of this job
    #[arg(short, long, value_name = "ID", conflicts_with = "ranks")]
    jobid: Option<JobId>,
    /// In this directory (default: ours)
    #[arg(short, long)]
    dir: Option<String>,
    /// Begin each line with the rank
    #[arg(short, long)]
    label_io: bool,
    /// Give the command no input
    #[arg(short, long)]
    noinput: bool,
    /// Say who ended how
    #[arg(short, long)]
    verbose: bool,
    /// Do not say who failed
    #[arg(short, long)]
    quiet: bool,
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        face.connected(async |client| self.exec(&client).await)
    }

    async fn exec(&self, client: &Client) -> Result<u8, Failure> {
        let ranks = self.ranks(client).await?;
        let cwd = match &self.dir {
            Some(dir) => Some(dir.clone()),
            None => std::env::current_dir().ok().and_then(|dir| dir.into_os_string().into_string().ok()),
        };
        let run = Run { command: self.command.clone(), cwd, environment: environment() };
        let (events, mut event) = mpsc::channel(64);
        let mut tags = Vec::new();
        for rank in ranks.iter().map(Rank) {
            let answers = client.stream(Dest::Rank(rank), &run).await?;
            tags.push((rank, answers.tag()));
            tokio::spawn(follow(answers, events.clone()));
        }
        drop(events);
        // Of a channel whose other end is gone nothing comes but its end.
        let mut input = Some(if self.noinput { mpsc::channel(1).1 } else { attach::read_stdin() });
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (mut code, mut lines) = (0, Lines { label: self.label_io, open: Vec::new() });
        loop {
            tokio::select! {
                biased;
                next = event.recv() => match next {
                    Some(outcome) => code = code.max(self.show(outcome, &mut lines)?),
                    None => return Ok(code),
                },
                _ = interrupt.recv() => control(client, &tags, |c| c.signum = Some(libc::SIGINT)).await,
                _ = terminate.recv() => control(client, &tags, |c| c.signum = Some(libc::SIGTERM)).await,
                chunk = next_chunk(&mut input) => {
                    let eof = chunk.is_none();
                    let data = chunk.unwrap_or_default();
                    control(client, &tags, |c| {
                        (c.stdin, c.base64, c.eof) = (Some(BASE64_STANDARD.encode(&data)), true, eof);
                    })
                    .await;
                    if eof {
                        input = None;
                    }
                }
            }
        }
    }

    async fn ranks(&self, client: &Client) -> Result<Idset, Failure> {
        let size = client.call(Dest::Leader, &state::Get {}).await?.size;
        let all = Idset::from_range(0..=size.saturating_sub(1));
        let mut ranks = match self.jobid {
            Some(id) => {
                let listed = job::list(client, &List { ids: vec![id], ..List::default() }).await?;
                listed.jobs.first().map(|job| job.ranks.clone()).unwrap_or_default()
            }
            None if self.ranks == "all" => all.clone(),
            None => Idset::parse_relaxed(&self.ranks)?,
        };
        if let Some(exclude) = &self.exclude {
            ranks = ranks.difference(&Idset::parse_relaxed(exclude)?);
        }
        if let Some(rank) = ranks.difference(&all).first() {
            return Err(Failure::new(format!("there is no rank {rank}: the instance has {size} brokers"))
                .hint(format!("ranks are {all}"))
                .code(NO_SUCH_RANK));
        }
        if ranks.is_empty() {
            return Err(Failure::new("no rank is left to run on").hint(format!("ranks are {all}")));
        }
        Ok(ranks)
    }

    /// Prints what a rank says; the exit code so far.
    fn show(&self, outcome: Outcome, lines: &mut Lines) -> Result<u8, Failure> {
        match outcome {
            Ok(RunOutput::Started { rank, pid }) => {
                if self.verbose {
                    crate::say!("{rank}: started process {pid}");
                }
                Ok(0)
            }
            Ok(RunOutput::Output { rank, stream, data, base64 }) => {
                let bytes = if base64 {
                    BASE64_STANDARD
                        .decode(&data)
                        .map_err(|e| Failure::new(format!("rank {rank} sent no base64: {e}")))?
                } else {
                    data.into_bytes()
                };
                lines.write(rank, stream, &bytes)?;
                Ok(0)
            }
            Ok(RunOutput::Exited { rank, status }) => {
                let code = out::exit_code(status);
                if (code != 0 && !self.quiet) || self.verbose {
                    crate::say!("{rank}: Exit {code}");
                }
                Ok(code)
            }
            Ok(RunOutput::Failed { rank, errno, text }) => {
                // The directory may be what is not there.
                let is_command = text.starts_with(self.command[0].as_str());
                crate::say!("error: rank {rank}: {text}");
                Ok(if errno == libc::ENOENT && is_command { 127 } else { 126 })
            }
            Err(failure) => Ok(failure.say()),
        }
    }
}

type Outcome = Result<RunOutput, Failure>;

async fn follow(mut answers: Responses<Run>, to: mpsc::Sender<Outcome>) {
    loop {
        let outcome = match answers.next().await {
            Ok(Some(output)) => Ok(output),
            Ok(None) => return,
            Err(e) => {
                let code = if e.code() == Some(ErrorCode::Unreachable) { NO_SUCH_RANK } else { FAILED };
                Err(Failure::from(e).code(code))
            }
        };
        let last = outcome.is_err();
        // Nobody listens any more when the command is over.
        if to.send(outcome).await.is_err() || last {
            return;
        }
    }
}

/// Tells all that still run; who has ended meanwhile refuses, and that is no news.
async fn control(client: &Client, tags: &[(Rank, u64)], fill: impl Fn(&mut Control)) {
    for (rank, tag) in tags {
        let mut control = Control { tag: *tag, signum: None, stdin: None, base64: false, eof: false };
        fill(&mut control);
        let _ = client.call(Dest::Rank(*rank), &control).await;
    }
}

async fn next_chunk(input: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}

/// Our environment, without what says where we are: a process on another node is elsewhere.
fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, Some(value.into_string().ok()?))))
        .filter(|(name, _)| name != "FLURM_URI" && name != "FLUX_URI")
        .collect()
}

/// Output of many ranks; with labels it is printed by lines.
struct Lines {
    label: bool,
    /// Whose line is not finished.
    open: Vec<(Rank, Stream)>,
}

impl Lines {
    fn write(&mut self, rank: Rank, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let mut text = Vec::with_capacity(bytes.len() + 16);
        if self.label {
            for line in bytes.split_inclusive(|b| *b == b'\n') {
                let whose = (rank, stream);
                match self.open.iter().position(|open| *open == whose) {
                    Some(at) => drop(self.open.remove(at)),
                    None => text.extend_from_slice(format!("{rank}: ").as_bytes()),
                }
                text.extend_from_slice(line);
                if !line.ends_with(b"\n") {
                    self.open.push(whose);
                }
            }
        } else {
            text.extend_from_slice(bytes);
        }
        match stream {
            Stream::Stdout => {
                let mut out = out::stdout();
                out.write_all(&text)?;
                out.flush()
            }
            Stream::Stderr => io::stderr().write_all(&text),
        }
    }
}
