//! What can be typed into a query.

use crate::failure::Failure;
use crate::inventory::{self, Format, Sizes};
use crate::when;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use flurm_jobspec::build::Builder;
use flurm_jobspec::{Jobspec, JobspecError, Placement, shape};
use flurm_types::{Constraint, Idset};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A line of a query.
#[derive(Debug, Parser)]
#[command(name = "query", no_binary_name = true, disable_help_flag = true, disable_help_subcommand = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Begin anew with these resources: a file, or sizes as `flurm resource jgf` has them
    #[command(disable_help_flag = true)]
    Graph(Graph),
    /// Find resources for a job
    #[command(subcommand, disable_help_flag = true, disable_help_subcommand = true)]
    Match(Match),
    /// End a job, or take its reservation back
    Cancel { id: u64 },
    /// End a job on some ranks
    PartialCancel { id: u64, ranks: Idset },
    /// Print the paths of vertices: `type=core and sched-now=free`
    #[command(allow_hyphen_values = true)]
    Find {
        #[arg(required = true)]
        criteria: Vec<String>,
    },
    /// Say all about a vertex or a job
    Info {
        #[arg(value_name = "PATH|ID")]
        what: String,
    },
    /// Say of the nodes in a vertex that they are up, down, drained or no longer so
    SetStatus { path: String, status: Status },
    /// Give the nodes in a vertex a property
    SetProperty { path: String, property: String },
    /// Take a property from the nodes in a vertex
    UnsetProperty { path: String, property: String },
    /// Say the time, or go on to that time: seconds or a duration
    Time {
        #[arg(value_parser = when::duration)]
        at: Option<f64>,
    },
    /// Go on by so much time; alone: until the next thing happens
    Tick {
        #[arg(value_parser = when::duration)]
        by: Option<f64>,
    },
    /// List the jobs that hold or will hold something
    List,
    /// Count what there is and what is free
    Stat,
    /// List these commands
    Help,
    /// Leave
    Quit,
}

#[derive(Copy, Clone, Debug, ValueEnum)]
pub enum Status {
    Up,
    Down,
    Drain,
    Undrain,
}

/// Where resources come from.
#[derive(Debug, clap::Args)]
pub struct Graph {
    /// An R, a JSON graph, or hwloc's XML
    #[arg(conflicts_with = "Sizes")]
    pub file: Option<PathBuf>,
    #[arg(short, long, requires = "file")]
    pub format: Option<Format>,
    #[command(flatten)]
    pub sizes: Sizes,
}

#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
pub enum Match {
    /// Now, or not
    #[command(disable_help_flag = true)]
    Allocate(Wish),
    /// Now, or as soon as it can be had
    #[command(disable_help_flag = true)]
    AllocateOrelseReserve(Wish),
    /// Could it be had at all, with every node up and free?
    #[command(disable_help_flag = true)]
    Satisfiability(Wish),
    /// At this time, or not
    #[command(disable_help_flag = true)]
    Reserve {
        #[arg(value_parser = when::duration)]
        at: f64,
        #[command(flatten)]
        wish: Wish,
    },
}

/// What a job wants.
#[derive(Debug, clap::Args)]
pub struct Wish {
    /// A shape such as `node=2/slot=4/core`, or the file of a jobspec
    #[arg(value_name = "SHAPE|FILE")]
    what: Option<String>,
    #[arg(short = 'N', long)]
    nodes: Option<u32>,
    #[arg(short, long)]
    ntasks: Option<u32>,
    #[arg(short, long)]
    cores_per_task: Option<u32>,
    #[arg(short, long)]
    gpus_per_task: Option<u32>,
    #[arg(short = 'x', long)]
    exclusive: bool,
    /// Minutes, a duration, or a clock time, as with `run`
    #[arg(short, long)]
    time_limit: Option<String>,
    #[arg(long)]
    placement: Option<String>,
    /// Willing to share its sockets
    #[arg(long)]
    cosched: bool,
    #[arg(long)]
    cosched_class: Option<String>,
    #[arg(long, allow_hyphen_values = true)]
    requires: Vec<String>,
}

/// Reads lines; the definition is built once.
#[derive(Debug)]
pub struct Reader {
    definition: clap::Command,
}

impl Reader {
    pub fn new() -> Reader {
        Reader { definition: Line::command() }
    }

    /// The command on a line; none on one that is empty or a comment.
    pub fn read(&mut self, line: &str) -> Result<Option<Command>, Failure> {
        let words = shlex::split(line)
            .ok_or_else(|| Failure::usage("a quote is not closed").hint("quote as in a shell"))?;
        if words.is_empty() {
            return Ok(None);
        }
        let matches = self.definition.try_get_matches_from_mut(words).map_err(|error| said(&error))?;
        let line = Line::from_arg_matches(&matches).map_err(|error| said(&error))?;
        Ok(Some(line.command))
    }

    /// A line for each command.
    pub fn help(&self) -> Vec<String> {
        let mut rows = Vec::new();
        list(&self.definition, "", &mut rows);
        let width = rows.iter().map(|(usage, _)| usage.chars().count()).max().unwrap_or(0);
        rows.into_iter().map(|(usage, about)| format!("{usage:width$}  {about}")).collect()
    }
}

fn list(command: &clap::Command, above: &str, rows: &mut Vec<(String, String)>) {
    for inner in command.get_subcommands() {
        let mut usage = format!("{above}{}", inner.get_name());
        if inner.has_subcommands() {
            list(inner, &format!("{usage} "), rows);
            continue;
        }
        for arg in inner.get_positionals() {
            let name = arg.get_value_names().unwrap_or_default().first().map_or("", |name| name.as_str());
            usage.push_str(&if arg.is_required_set() { format!(" {name}") } else { format!(" [{name}]") });
        }
        rows.push((usage, inner.get_about().map(ToString::to_string).unwrap_or_default()));
    }
}

/// The first line of what clap has to say, which is the one that says what is wrong.
fn said(error: &clap::Error) -> Failure {
    if let (ErrorKind::InvalidSubcommand, Some(ContextValue::String(word))) =
        (error.kind(), error.get(ContextKind::InvalidSubcommand))
    {
        return Failure::usage(format!("no command is called {word}")).hint("`help` lists the commands");
    }
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or("").trim_start_matches("error: ").to_owned();
    // What is missing stands on the next line.
    let first = match lines.next() {
        Some(next) if first.ends_with(':') => format!("{first} {next}"),
        _ => first,
    };
    Failure::usage(first).hint("`help` lists the commands")
}

impl Wish {
    /// The jobspec; files are looked for in this folder.
    pub fn jobspec(&self, folder: &Path) -> Result<Jobspec, Failure> {
        let wrong = |error: JobspecError| Failure::usage(format!("cannot {error}"));
        let sizes = [self.nodes, self.ntasks, self.cores_per_task, self.gpus_per_task];
        let sized = self.exclusive || sizes.iter().any(Option::is_some);
        let attributes = self.attributes()?;
        match &self.what {
            Some(_) if sized => {
                Err(Failure::usage("a shape or file and the options of size exclude each other"))
            }
            Some(file) if is_file(file) => {
                let text = inventory::read_in(folder, Path::new(file))?;
                let jobspec = Jobspec::parse(&text).map_err(|error| wrong(error).within(file))?;
                if attributes.is_empty() {
                    return Ok(jobspec);
                }
                Err(Failure::usage("a jobspec has time, placement and constraints of its own")
                    .hint("leave the options out, or give a shape instead of a file"))
            }
            Some(text) => {
                let (resources, slots) = shape::resources(text)?;
                if slots.is_empty() {
                    return Err(Failure::usage(format!("no slot in `{text}`"))
                        .hint("a slot is what a task runs in: node=2/slot=4/core"));
                }
                let tasks: Vec<Value> = slots
                    .iter()
                    .map(|slot| json!({ "command": ["query"], "slot": slot, "count": { "per_slot": 1 } }))
                    .collect();
                let system: serde_json::Map<String, Value> = attributes.into_iter().collect();
                let document = json!({
                    "version": 1, "resources": resources, "tasks": tasks, "attributes": { "system": system },
                });
                Jobspec::parse(&document.to_string()).map_err(wrong)
            }
            None if !sized => Err(Failure::usage("what is wanted?")
                .hint("a shape (node=2/slot=4/core), the file of a jobspec, or -N, -n, -c, -g")),
            None => {
                let mut builder = Builder::new(vec!["query".to_owned()]).exclusive(self.exclusive);
                type Size = fn(Builder, u32) -> Builder;
                let set: [Size; 4] =
                    [Builder::nnodes, Builder::ntasks, Builder::cores_per_task, Builder::gpus_per_task];
                for (size, set) in sizes.into_iter().zip(set) {
                    builder = size.map_or(builder.clone(), |count| set(builder, count));
                }
                let set = |builder: Builder, (key, value): (String, Value)| builder.setattr(&key, &value);
                attributes.into_iter().fold(builder, set).build().map_err(wrong)
            }
        }
    }

    /// What options say of the job beside its size.
    fn attributes(&self) -> Result<Vec<(String, Value)>, Failure> {
        let mut attributes = Vec::new();
        let mut set = |key: &str, value: Value| attributes.push((key.to_owned(), value));
        if let Some(time) = &self.time_limit {
            let limit = when::time_limit(time)?;
            set("duration", json!(if limit.is_finite() { limit } else { 0.0 }));
        }
        if let Some(word) = &self.placement {
            if word != "cosched" {
                word.parse::<Placement>().map_err(Failure::usage)?;
            }
            set("placement", json!(word));
        }
        match &self.cosched_class {
            Some(class) => set("cosched-class", json!(class)),
            None if self.cosched => set("cosched", json!(true)),
            None => {}
        }
        let mut constraint = Constraint::default();
        for query in &self.requires {
            constraint = constraint.and(Constraint::parse_query(query)?);
        }
        if !self.requires.is_empty() {
            set("constraints", constraint.to_json());
        }
        Ok(attributes)
    }
}

/// A word that names a file and no shape.
fn is_file(word: &str) -> bool {
    word.starts_with(['/', '.']) || [".yaml", ".yml", ".json"].iter().any(|ending| word.ends_with(ending))
}
