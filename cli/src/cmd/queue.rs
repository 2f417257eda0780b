//! `flurm queue`: queues and their limits, the gates for submission and scheduling, and waiting until nothing is left.

use crate::face::Face;
use crate::failure::Failure;
use crate::format::{self, Column, Value};
use crate::out::{self, Script};
use crate::when;
use clap::Subcommand;
use flurm_types::{R, counted};
use flurm_wire::Dest;
use flurm_wire::job::{Queue, QueueAct, QueueInfo, QueueStatus};
use std::io::Write;
use std::time::Duration;

/// Open and close queues, and wait for them
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List queues and their limits
    List(List),
    /// Say whether jobs are taken and started
    Status {
        /// Say how many wait and run, and who schedules
        #[arg(short, long)]
        verbose: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Take jobs again
    Enable(Turned),
    /// Take no more jobs
    Disable {
        /// Why, for those who are refused
        #[arg(short, long, default_value = "", hide_default_value = true)]
        message: String,
        #[command(flatten)]
        turned: Turned,
    },
    /// Start waiting jobs again
    Start(Turned),
    /// Start no more jobs; those that run go on
    Stop {
        /// Why, for those who ask
        #[arg(short, long, default_value = "", hide_default_value = true)]
        message: String,
        #[command(flatten)]
        turned: Turned,
    },
    /// Wait until there is no job
    Drain {
        /// Give up after this time
        #[arg(long, value_name = "DURATION", value_parser = when::duration)]
        timeout: Option<f64>,
        #[command(flatten)]
        which: Which,
    },
    /// Wait until no job runs
    Idle {
        /// Give up after this time
        #[arg(long, value_name = "DURATION", value_parser = when::duration)]
        timeout: Option<f64>,
        #[command(flatten)]
        which: Which,
    },
}

/// Which queues.
#[derive(Debug, clap::Args)]
struct Which {
    /// All queues
    #[arg(short, long, conflicts_with_all = ["queues", "named"])]
    all: bool,
    /// These queues
    #[arg(value_name = "QUEUE")]
    queues: Vec<String>,
    /// The same
    #[arg(short = 'q', long = "queue", value_name = "QUEUE,…", value_delimiter = ',', hide = true)]
    named: Vec<String>,
}

/// How gates are turned.
#[derive(Debug, clap::Args)]
struct Turned {
    /// Say how the queues are then in full
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    /// Do not say how the queues are then
    #[arg(long)]
    quiet: bool,
    /// Only until the instance starts anew (queues stay as they are here)
    #[arg(long, hide = true)]
    nocheckpoint: bool,
    #[command(flatten)]
    which: Which,
}

impl Which {
    fn ask(self, act: QueueAct) -> Queue {
        let queues = self.queues.into_iter().chain(self.named).collect();
        Queue { act, queues, all: self.all }
    }
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let turn = |turned: Turned, gate, act| {
            let said = match (turned.quiet, turned.verbose) {
                (true, _) => None,
                (false, false) => Some(Said { gate: Some(gate), verbose: false }),
                (false, true) => Some(Said { gate: None, verbose: true }),
            };
            (said, false, None, turned.which.ask(act))
        };
        let (said, json, timeout, ask) = match self.command {
            Command::List(list) => return list.run(face),
            Command::Status { verbose, json, which } => {
                (Some(Said { gate: None, verbose }), json, None, which.ask(QueueAct::Status))
            }
            Command::Enable(turned) => turn(turned, Door::Submission, QueueAct::Enable),
            Command::Disable { message, turned } => {
                turn(turned, Door::Submission, QueueAct::Disable { reason: message })
            }
            Command::Start(turned) => turn(turned, Door::Scheduling, QueueAct::Start),
            Command::Stop { message, turned } => {
                turn(turned, Door::Scheduling, QueueAct::Stop { reason: message })
            }
            Command::Drain { timeout, which } => (None, false, timeout, which.ask(QueueAct::Drain)),
            Command::Idle { timeout, which } => (None, false, timeout, which.ask(QueueAct::Idle)),
        };
        let client = face.connect()?;
        let status = client.run(async |client| match timeout {
            None => Ok(client.call(Dest::Leader, &ask).await?),
            Some(secs) => {
                let limit = Duration::from_secs_f64(secs.min(1e9));
                match tokio::time::timeout(limit, client.call(Dest::Leader, &ask)).await {
                    Ok(answer) => Ok(answer?),
                    Err(_) => Err(Failure::new(format!("there are still jobs after {}", when::rough(secs)))),
                }
            }
        })?;
        if json {
            out::json(&status)?;
        } else if let Some(said) = said {
            out::stdout().write_all(text(&status, &said).as_bytes())?;
        }
        Ok(0)
    }
}

/// A gate of queues.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Door {
    Submission,
    Scheduling,
}

/// What is said of queues.
struct Said {
    /// Only this gate.
    gate: Option<Door>,
    verbose: bool,
}

fn text(status: &QueueStatus, said: &Said) -> String {
    let verbose = said.verbose;
    let shows = |gate| said.gate.is_none_or(|only| only == gate);
    let because = |reason: &Option<String>| match reason {
        Some(reason) if !reason.is_empty() => format!(": {reason}"),
        _ => String::new(),
    };
    let mut text = String::new();
    for queue in &status.queues {
        let name = if queue.name.is_empty() { String::new() } else { format!("{}: ", queue.name) };
        let mut say = |line: String| text.push_str(&format!("{name}{line}\n"));
        if shows(Door::Submission) {
            say(match queue.enabled {
                true => "Job submission is enabled".to_owned(),
                false => format!("Job submission is disabled{}", because(&queue.disable_reason)),
            });
        }
        if shows(Door::Scheduling) {
            say(match queue.started {
                true => "Scheduling is started".to_owned(),
                false => format!("Scheduling is stopped{}", because(&queue.stop_reason)),
            });
        }
        if verbose {
            say(counted(queue.pending, "pending job"));
            say(counted(queue.running, "running job"));
            if queue.priority != 0 {
                say(format!("Priority of its jobs: {:+}", queue.priority));
            }
            let most = [(queue.jobs_max, "job"), (queue.cores_max, "core")];
            let most: Vec<String> =
                most.into_iter().filter_map(|(max, what)| Some(counted(max?.into(), what))).collect();
            if !most.is_empty() {
                say(format!("At most {} at once", most.join(" and ")));
            }
        }
    }
    if verbose {
        text.push_str(&format!("Scheduler: {}\n", status.scheduler));
    }
    text
}

/// List queues and their limits
#[derive(Debug, clap::Args)]
struct List {
    /// Only these
    #[arg(short, long, value_name = "QUEUE,…", value_delimiter = ',')]
    queue: Vec<String>,
    #[command(flatten)]
    format: format::Options,
}

/// A queue with its part of the resources.
struct Row {
    queue: QueueInfo,
    all: R,
    free: R,
    script: Script,
}

impl Row {
    fn mark(&self, is_open: bool) -> Value {
        word(is_open, if self.script.ascii { ["y", "n"] } else { ["✔", "✗"] })
    }
}

static COLUMNS: &[Column<Row>] = &[
    Column { name: "queue", header: "QUEUE", value: |row, _| row.queue.name.clone().into() },
    Column { name: "parent", header: "PARENT", value: |_, _| Value::Empty },
    Column { name: "queuem", header: "QUEUE", value: |row, _| marked(&row.queue).into() },
    Column {
        name: "submission",
        header: "SUBMIT",
        value: |row, _| word(row.queue.enabled, ["enabled", "disabled"]),
    },
    Column {
        name: "scheduling",
        header: "SCHED",
        value: |row, _| word(row.queue.started, ["started", "stopped"]),
    },
    Column { name: "enabled", header: "EN", value: |row, _| row.mark(row.queue.enabled) },
    Column { name: "enabled.ascii", header: "EN", value: |row, _| word(row.queue.enabled, ["y", "n"]) },
    Column { name: "started", header: "ST", value: |row, _| row.mark(row.queue.started) },
    Column { name: "started.ascii", header: "ST", value: |row, _| word(row.queue.started, ["y", "n"]) },
    Column { name: "pending", header: "PENDING", value: |row, _| Value::Int(row.queue.pending as i64) },
    Column { name: "running", header: "RUNNING", value: |row, _| Value::Int(row.queue.running as i64) },
    Column { name: "defaults.timelimit", header: "TDEFAULT", value: |row, _| time(row.queue.duration) },
    Column { name: "limits.timelimit", header: "TLIMIT", value: |row, _| time(row.queue.duration_max) },
    Column {
        name: "limits.range.nnodes",
        header: "NNODES",
        value: |row, _| range(row.queue.min.nnodes, row.queue.max.nnodes),
    },
    Column {
        name: "limits.range.ncores",
        header: "NCORES",
        value: |row, _| range(row.queue.min.ncores, row.queue.max.ncores),
    },
    Column {
        name: "limits.range.ngpus",
        header: "NGPUS",
        value: |row, _| range(row.queue.min.ngpus, row.queue.max.ngpus),
    },
    Column { name: "priority", header: "PRIO", value: |row, _| Value::Int(row.queue.priority) },
    Column { name: "limits.running.jobs", header: "RJOBS", value: |row, _| most(row.queue.jobs_max) },
    Column { name: "limits.running.cores", header: "RCORES", value: |row, _| most(row.queue.cores_max) },
    Column { name: "limits.min.nnodes", header: "MIN.NNODES", value: |row, _| least(row.queue.min.nnodes) },
    Column { name: "limits.max.nnodes", header: "MAX.NNODES", value: |row, _| most(row.queue.max.nnodes) },
    Column { name: "limits.min.ncores", header: "MIN.NCORES", value: |row, _| least(row.queue.min.ncores) },
    Column { name: "limits.max.ncores", header: "MAX.NCORES", value: |row, _| most(row.queue.max.ncores) },
    Column { name: "limits.min.ngpus", header: "MIN.NGPUS", value: |row, _| least(row.queue.min.ngpus) },
    Column { name: "limits.max.ngpus", header: "MAX.NGPUS", value: |row, _| most(row.queue.max.ngpus) },
    Column { name: "resources.all.nnodes", header: "NNODES", value: |row, _| row.all.nnodes().into() },
    Column { name: "resources.all.ncores", header: "NCORES", value: |row, _| row.all.ncores().into() },
    Column { name: "resources.all.ngpus", header: "NGPUS", value: |row, _| row.all.ngpus().into() },
    Column {
        name: "resources.all.nodelist",
        header: "NODELIST",
        value: |row, _| row.all.hostlist().to_string().into(),
    },
    Column { name: "resources.free.nnodes", header: "FREE", value: |row, _| row.free.nnodes().into() },
    Column { name: "resources.free.ncores", header: "CFREE", value: |row, _| row.free.ncores().into() },
    Column { name: "resources.free.ngpus", header: "GFREE", value: |row, _| row.free.ngpus().into() },
];

const NAMED: format::Named = &[
    (
        "default",
        "?:{queuem:<8.8} {enabled:>2.2} {started:>2.2} {defaults.timelimit!F:>8h} {limits.timelimit!F:>8h} \
         {limits.range.nnodes:>10} {limits.range.ncores:>10} {limits.range.ngpus:>10}",
    ),
    (
        "policy",
        "?:{queuem:<8.8} {submission:<8.8} {scheduling:<8.8} {defaults.timelimit!F:>8h} {limits.timelimit!F:>8h} \
         {priority:>5} {limits.running.jobs:>6} {limits.running.cores:>6} {pending:>8} {running:>8}",
    ),
    (
        "nodes",
        "?:{queuem:<8.8} {resources.all.nnodes:>6} {resources.all.ncores:>6} {resources.all.ngpus:>6} \
         {resources.free.nnodes:>6} {resources.free.ncores:>6} {resources.all.nodelist:h}",
    ),
];

/// The default one with a star.
fn marked(queue: &QueueInfo) -> String {
    format!("{}{}", queue.name, if queue.default { "*" } else { "" })
}

fn word(is: bool, words: [&'static str; 2]) -> Value {
    if is { words[0].into() } else { words[1].into() }
}

fn time(secs: Option<f64>) -> Value {
    secs.map_or_else(|| "inf".into(), Value::Float)
}

fn least(min: Option<u32>) -> Value {
    min.unwrap_or(0).to_string().into()
}

fn most(max: Option<u32>) -> Value {
    max.map_or_else(|| "inf".into(), |max| max.to_string().into())
}

fn range(min: Option<u32>, max: Option<u32>) -> Value {
    let max = max.map_or_else(|| "inf".to_owned(), |max| max.to_string());
    format!("{}-{max}", min.unwrap_or(0)).into()
}

impl List {
    fn run(self, face: &Face) -> Result<u8, Failure> {
        let format = self.format.read("FLUX_QUEUE_LIST_FORMAT_DEFAULT", NAMED, COLUMNS)?;
        let Some(format) = format else { return Ok(0) };
        let client = face.connect()?;
        let ask = Queue { act: QueueAct::Status, queues: self.queue, all: false };
        let status = client.call(Dest::Leader, &ask)?;
        let info = super::resource::ask(&client)?;
        let share = super::resource::Share::of(&info, when::now());
        let script = Script::of_locale();
        let row = |queue: QueueInfo| {
            let (all, free) = (info.all.restrict(&queue.ranks), share.free.restrict(&queue.ranks));
            Row { all, free, queue, script }
        };
        let mut rows: Vec<Row> = status.queues.into_iter().map(row).collect();
        format.print(&mut out::stdout(), &mut rows, !self.format.no_header, |_| None)?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed() -> QueueInfo {
        QueueInfo {
            name: "batch".into(),
            disable_reason: Some("maintenance".into()),
            started: true,
            pending: 2,
            ..QueueInfo::default()
        }
    }

    fn plain(verbose: bool) -> Said {
        Said { gate: None, verbose }
    }

    #[test]
    fn a_closed_gate_says_why() {
        let mut status = QueueStatus {
            enabled: false,
            disable_reason: None,
            started: true,
            stop_reason: None,
            pending: 2,
            running: 0,
            queues: vec![closed()],
            scheduler: "built-in, fcfs".into(),
        };
        assert_eq!(
            text(&status, &plain(false)),
            "batch: Job submission is disabled: maintenance\nbatch: Scheduling is started\n"
        );
        status.queues[0].name = String::new();
        assert_eq!(
            text(&status, &plain(true)),
            "Job submission is disabled: maintenance\nScheduling is started\n2 pending jobs\n0 running jobs\n\
             Scheduler: built-in, fcfs\n"
        );
        let queue = &mut status.queues[0];
        (queue.pending, queue.priority, queue.jobs_max, queue.cores_max) = (1, 10, Some(1), Some(96));
        assert!(text(&status, &plain(true)).contains(
            "\n1 pending job\n0 running jobs\nPriority of its jobs: +10\nAt most 1 job and 96 cores at once\n"
        ));
    }

    #[test]
    fn the_named_formats_can_be_read_and_show_limits() {
        for (name, text) in NAMED {
            assert!(format::Format::parse(text, COLUMNS).is_ok(), "{name}");
        }
        assert!(matches!(range(None, Some(4)), Value::Text(text) if text == "0-4"));
        assert_eq!(marked(&QueueInfo { default: true, ..closed() }), "batch*");
    }
}
