//! The command line: one definition, from which help, man pages and completions come.
//!
//! A file per command. Each has `Args`, what may be typed, and `Args::run`, which gives the exit code.

mod alloc;
mod archive;
mod attr;
mod batch;
mod bulksubmit;
mod cancel;
mod complete;
mod completion;
mod config;
mod dmesg;
mod dump;
mod env;
mod event;
mod exec;
mod external;
mod home;
mod hostlist;
pub mod job;
mod jobs;
mod jobspec;
mod kvs;
mod logger;
mod man;
mod module;
mod multi_prog;
mod outer;
mod output;
mod overlay;
mod pgrep;
mod ping;
mod pmix_server;
mod proxy;
mod pstree;
mod queue;
mod report;
mod resource;
mod retry;
mod rset;
mod run;
mod shell;
mod shutdown;
mod simulate;
mod slurm;
mod slurm_service;
mod start;
mod startlog;
mod strange;
mod submit;
mod task;
mod top;
mod trace;
mod update;
mod uptime;
mod uri;
mod version;
mod watch;

pub use start::broker_attributes;

use crate::face::Face;
use crate::failure::{Failure, renamed};
use crate::out;
use crate::plugins::{COMMANDS, Chosen, Plugins};
use clap::{Args as _, CommandFactory, FromArgMatches, Parser, Subcommand};
use flurm_client::uri::Level;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::sync::Arc;

/// A scheduler of your own inside a Slurm allocation.
#[derive(Debug, Parser)]
#[command(name = "flurm", disable_version_flag = true, help_template = TEMPLATE)]
pub struct Cli {
    /// Speak to the instance around this one; twice for the one around that
    #[arg(short, long, action = clap::ArgAction::Count)]
    parent: u8,
    /// Speak to the outermost instance
    #[arg(short, long, conflicts_with = "parent")]
    root: bool,
    /// Print versions, as `flurm version` does
    #[arg(short = 'V', long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

const TEMPLATE: &str = "{about}\n\n{usage-heading} {usage}{after-help}\n\nOptions:\n{options}";

/// Options of a command are defined when it is the one that is meant: to define those of all took 2 ms of every start.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Command {
    Start(start::Start),
    Doctor(start::Doctor),
    Run(run::Args),
    Submit(submit::Args),
    Bulksubmit(Box<bulksubmit::Args>),
    Batch(Box<batch::Args>),
    Alloc(Box<alloc::Args>),
    Cancel(cancel::Args),
    Retry(retry::Args),
    Update(update::Args),
    Jobspec(jobspec::Args),
    Jobs(jobs::Args),
    Job(job::Args),
    Output(output::Args),
    Pgrep(pgrep::Pgrep),
    Pkill(pgrep::Pkill),
    Pstree(pstree::Args),
    Top(top::Args),
    Watch(watch::Args),
    Event(event::Args),
    Exec(exec::Args),
    MultiProg(multi_prog::Args),
    Kvs(kvs::Args),
    Archive(archive::Args),
    Dump(dump::Dump),
    Restore(dump::Restore),
    Queue(queue::Args),
    Report(report::Args),
    Resource(resource::Args),
    Getattr(attr::Get),
    Setattr(attr::Set),
    Lsattr(attr::List),
    Uptime(uptime::Args),
    Startlog(startlog::Args),
    Uri(uri::Args),
    Proxy(proxy::Proxy),
    Env(env::Args),
    Hostlist(hostlist::Args),
    #[command(name = "R")]
    R(rset::Args),
    Overlay(overlay::Args),
    Ping(ping::Args),
    Config(config::Args),
    Dmesg(dmesg::Args),
    Logger(logger::Args),
    Module(module::Module),
    Plugin(module::Plugin),
    Shutdown(shutdown::Args),
    Simulate(simulate::Args),
    Trace(trace::Args),
    Slurm(slurm::Args),
    Outer(outer::Args),
    Version(version::Args),
    Completion(completion::Args),
    Man(man::Args),
    #[command(name = "__complete", hide = true)]
    Complete(complete::Args),
    #[command(hide = true)]
    Broker(start::Broker),
    #[command(hide = true)]
    Shell(shell::Args),
    #[command(hide = true)]
    Relay(proxy::Relay),
    #[command(hide = true)]
    Task(task::Args),
    #[command(hide = true)]
    PmixServer(pmix_server::Args),
    #[command(hide = true)]
    SlurmService(slurm_service::Args),
}

/// The groups of `flurm --help`.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Jobs",
        &[
            "run",
            "submit",
            "bulksubmit",
            "batch",
            "alloc",
            "cancel",
            "update",
            "retry",
            "multi-prog",
            "jobspec",
        ],
    ),
    ("Looking", &["jobs", "job", "output", "watch", "top", "pstree", "pgrep", "pkill", "report"]),
    ("Resources and queues", &["resource", "queue", "hostlist", "R"]),
    (
        "The instance",
        &[
            "start", "doctor", "uptime", "startlog", "uri", "proxy", "env", "overlay", "ping", "exec", "kvs",
            "archive", "dump", "restore", "event", "getattr", "setattr", "lsattr", "config", "dmesg",
            "logger", "module", "plugin", "shutdown",
        ],
    ),
    ("Research", &["simulate", "trace"]),
    ("Slurm", &["slurm", "outer"]),
    ("This program", &["version", "completion", "man", "help"]),
];

/// The whole definition.
pub fn definition() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    let mut help = String::new();
    for (title, names) in GROUPS {
        help.push_str(&format!("{title}:\n"));
        for name in *names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            help.push_str(&format!("  {name:<11} {}\n", about.cloned().unwrap_or_default()));
        }
        help.push('\n');
    }
    Cli::command().after_help(help.trim_end().to_owned())
}

/// Does what the words say and gives the exit code.
pub fn main(words: impl IntoIterator<Item = OsString>) -> u8 {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let name = Face::name(words.first().map(OsString::as_os_str));
    if let Some(at) = mini(&words) {
        words.remove(at);
        let command = words.get(at).and_then(|word| word.to_str()).unwrap_or("run");
        crate::say!("hint: `mini` is left out now: `{name} {command}`");
    }
    let plugins = match submitting(&words).map_or_else(|| Ok(Plugins::default()), Plugins::load) {
        Ok(plugins) => Arc::new(plugins),
        Err(failure) => return failure.say(),
    };
    let command = match with_options_of(&plugins, command_for(&words)) {
        Ok(command) => command,
        Err(failure) => return failure.say(),
    };
    match parse_as(command, name, &words, &plugins).map(|cli| cli.run(name, &words)) {
        Ok(Ok(code)) => out::lost().map_or(code, |error| Failure::from(error).say()),
        Ok(Err(failure)) => failure.with_typed_id(&words).say(),
        Err(error) => {
            if error.kind() == clap::error::ErrorKind::InvalidSubcommand
                && let Some(external) = external::External::find(&words)
            {
                return external.run(name).unwrap_or_else(|failure| failure.say());
            }
            if let Some(failure) = strange::explain(&error, &words) {
                return failure.say();
            }
            print(&error, name);
            u8::try_from(error.exit_code()).unwrap_or(crate::failure::USAGE)
        }
    }
}

/// Help, or what clap says of a mistake, with commands in it by the name that we were called by.
fn print(error: &clap::Error, name: &str) {
    let text = error.render();
    let (text, plain) = (text.ansi().to_string(), text.to_string());
    // What goes wrong here is that nobody reads it.
    let _ = if error.use_stderr() {
        let seen = std::io::stderr().is_terminal();
        write!(std::io::stderr(), "{}", renamed(if seen { &text } else { &plain }, name))
    } else {
        let seen = std::io::stdout().is_terminal();
        write!(std::io::stdout(), "{}", renamed(if seen { &text } else { &plain }, name))
    };
}

/// Where `mini` stands, which Flux's commands of submission once had before them.
fn mini(words: &[OsString]) -> Option<usize> {
    let at = (1..words.len()).find(|at| !words[*at].as_encoded_bytes().starts_with(b"-"))?;
    (words[at] == "mini").then_some(at)
}

/// The command of submission that is meant, if it is one.
fn submitting(words: &[OsString]) -> Option<&'static str> {
    let word = words.iter().skip(1).find(|word| !word.as_encoded_bytes().starts_with(b"-"))?;
    COMMANDS.into_iter().find(|command| word == command)
}

fn command_for(words: &[OsString]) -> clap::Command {
    // Help is all that needs the groups; every other start does without them.
    let asks_help =
        words.iter().skip(1).take(1).any(|word| word == "help" || word == "--help" || word == "-h");
    if asks_help { definition() } else { Cli::command() }
}

fn with_options_of(plugins: &Plugins, mut command: clap::Command) -> Result<clap::Command, Failure> {
    if !plugins.is_empty()
        && let Some(inner) = command.find_subcommand_mut(plugins.command())
    {
        *inner = plugins.add_options(defined(plugins.command()))?;
    }
    Ok(command)
}

/// A command of submission with its own options, which those of plug-ins follow.
fn defined(name: &str) -> clap::Command {
    let new = clap::Command::new;
    match name {
        "run" => run::Args::augment_args(new("run")),
        "submit" => submit::Args::augment_args(new("submit")),
        "bulksubmit" => bulksubmit::Args::augment_args(new("bulksubmit")),
        "batch" => batch::Args::augment_args(new("batch")),
        _ => alloc::Args::augment_args(new("alloc")),
    }
}

fn parse_as(
    command: clap::Command,
    name: &'static str,
    words: &[OsString],
    plugins: &Arc<Plugins>,
) -> Result<Cli, clap::Error> {
    let matches = command.name(name).bin_name(name).try_get_matches_from(words)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let Some((chosen, _)) = cli.plugins()
        && let Some((_, matches)) = matches.subcommand()
    {
        *chosen = plugins.chosen(matches);
    }
    Ok(cli)
}

#[cfg(test)]
fn parse(name: &'static str, words: &[OsString]) -> Result<Cli, clap::Error> {
    parse_as(command_for(words), name, words, &Arc::default())
}

impl Cli {
    /// Where a command that submits keeps its plug-ins, and whether only their list is wanted.
    fn plugins(&mut self) -> Option<(&mut Chosen, bool)> {
        let options = match self.command.as_mut()? {
            Command::Run(args) => &mut args.options,
            Command::Submit(args) => &mut args.options,
            Command::Bulksubmit(args) => &mut args.options,
            Command::Batch(args) => return Some((&mut args.instance.chosen, args.instance.list_plugins)),
            Command::Alloc(args) => return Some((&mut args.instance.chosen, args.instance.list_plugins)),
            _ => return None,
        };
        Some((&mut options.chosen, options.list_plugins))
    }

    fn run(mut self, name: &'static str, words: &[OsString]) -> Result<u8, Failure> {
        let level = match (self.root, self.parent) {
            (true, _) => Level::Root,
            (false, 0) => Level::Own,
            (false, n) => Level::Parent(n.into()),
        };
        let face = Face { name, level };
        if self.version {
            return version::Args {}.run(&face);
        }
        if let Some((chosen, true)) = self.plugins() {
            write!(out::stdout(), "{}", chosen.plugins().list())?;
            return Ok(0);
        }
        match self.command {
            None => home::run(&face),
            Some(Command::Start(args)) => args.run(&face),
            Some(Command::Doctor(args)) => args.run(&face),
            Some(Command::Run(args)) => args.run(&face),
            Some(Command::Submit(args)) => args.run(&face),
            Some(Command::Bulksubmit(args)) => args.run(&face),
            Some(Command::Batch(args)) => args.run(&face, words),
            Some(Command::Alloc(args)) => args.run(&face),
            Some(Command::Update(args)) => args.run(&face),
            Some(Command::Cancel(args)) => args.run(&face),
            Some(Command::Retry(args)) => args.run(&face),
            Some(Command::Jobspec(args)) => args.run(&face),
            Some(Command::Jobs(args)) => args.run(&face),
            Some(Command::Job(args)) => args.run(&face),
            Some(Command::Output(args)) => args.run(&face),
            Some(Command::Pgrep(args)) => args.run(&face),
            Some(Command::Pkill(args)) => args.run(&face),
            Some(Command::Pstree(args)) => args.run(&face),
            Some(Command::Top(args)) => args.run(&face),
            Some(Command::Watch(args)) => args.run(&face),
            Some(Command::Event(args)) => args.run(&face),
            Some(Command::Exec(args)) => args.run(&face),
            Some(Command::MultiProg(args)) => args.run(&face),
            Some(Command::Kvs(args)) => args.run(&face),
            Some(Command::Archive(args)) => args.run(&face),
            Some(Command::Dump(args)) => args.run(&face),
            Some(Command::Restore(args)) => args.run(&face),
            Some(Command::Queue(args)) => args.run(&face),
            Some(Command::Report(args)) => args.run(&face),
            Some(Command::Resource(args)) => args.run(&face),
            Some(Command::Getattr(args)) => args.run(&face),
            Some(Command::Setattr(args)) => args.run(&face),
            Some(Command::Lsattr(args)) => args.run(&face),
            Some(Command::Uptime(args)) => args.run(&face),
            Some(Command::Startlog(args)) => args.run(&face),
            Some(Command::Uri(args)) => args.run(&face),
            Some(Command::Proxy(args)) => args.run(&face),
            Some(Command::Env(args)) => args.run(&face),
            Some(Command::Hostlist(args)) => args.run(&face),
            Some(Command::R(args)) => args.run(&face),
            Some(Command::Relay(args)) => args.run(&face),
            Some(Command::Overlay(args)) => args.run(&face),
            Some(Command::Ping(args)) => args.run(&face),
            Some(Command::Config(args)) => args.run(&face),
            Some(Command::Dmesg(args)) => args.run(&face),
            Some(Command::Logger(args)) => args.run(&face),
            Some(Command::Module(args)) => args.run(&face),
            Some(Command::Plugin(args)) => args.run(),
            Some(Command::Shutdown(args)) => args.run(&face),
            Some(Command::Simulate(args)) => args.run(&face),
            Some(Command::Trace(args)) => args.run(&face),
            Some(Command::Slurm(args)) => args.run(&face),
            Some(Command::Outer(args)) => args.run(&face),
            Some(Command::Version(args)) => args.run(&face),
            Some(Command::Completion(args)) => args.run(&face),
            Some(Command::Complete(args)) => args.run(&face),
            Some(Command::Man(args)) => args.run(&face),
            Some(Command::Broker(args)) => args.run(&face),
            Some(Command::Shell(args)) => args.run(&face),
            Some(Command::Task(args)) => args.run(&face),
            Some(Command::PmixServer(args)) => args.run(&face),
            Some(Command::SlurmService(args)) => args.run(&face),
        }
    }
}

#[cfg(test)]
mod page;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_in_one_group_of_the_help() {
        let mut command = Cli::command();
        command.build();
        let there: BTreeSet<&str> =
            command.get_subcommands().filter(|c| !c.is_hide_set()).map(clap::Command::get_name).collect();
        let listed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), there);
        assert_eq!(listed.len(), there.len(), "one is listed twice");
    }

    #[test]
    fn words_that_mean_nothing_are_refused() {
        let code = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            parse("flurm", &words).err().map(|e| e.exit_code())
        };
        assert_eq!(code(&["flurm", "jobs", "--no-such-option"]), Some(2));
        assert_eq!(code(&["flurm", "no-such-command"]), Some(2));
        // Long options cannot be shortened.
        assert_eq!(code(&["flurm", "jobs", "--no-head"]), Some(2));
        assert_eq!(code(&["flurm", "jobs", "--no-header"]), None);
        assert_eq!(code(&["flurm", "--help"]), Some(0));
    }
}
