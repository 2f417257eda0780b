//! `flurm module`, `flurm plugin`: what the instance can be asked for, and what adds to this command.

use crate::face::Face;
use crate::failure::Failure;
use crate::out;
use crate::plugins::{COMMANDS, Plugins};
use flurm_types::Rank;
use flurm_wire::Dest;
use flurm_wire::state::Modules;
use std::io::Write;

/// See the services of the instance
#[derive(Debug, clap::Args)]
pub struct Module {
    #[command(subcommand)]
    command: ModuleCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ModuleCommand {
    List(List),
}

/// List the services of a broker, and how much they are used
///
/// They are built in: none can be loaded, removed or loaded again.
#[derive(Debug, clap::Args)]
struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Those of this broker (default: the one we are connected to)
    #[arg(short, long)]
    rank: Option<u32>,
}

impl Module {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        let ModuleCommand::List(List { json, rank }) = self.command;
        let dest = rank.map_or(Dest::Local, |rank| Dest::Rank(Rank(rank)));
        let services = face.connect()?.call(dest, &Modules {})?.services;
        if json {
            out::json(&services)?;
            return Ok(0);
        }
        let mut out = out::stdout();
        writeln!(out, "{:<14} {:<6} {:>9} {:>8}", "SERVICE", "RANKS", "REQUESTS", "IDLE")?;
        for service in services {
            let ranks = if service.leaders { "leader" } else { "all" };
            let idle = service.idle_secs.map_or_else(|| "-".to_owned(), |secs| format!("{secs:.0}s"));
            writeln!(out, "{:<14} {ranks:<6} {:>9} {idle:>8}", service.name, service.requests)?;
        }
        Ok(0)
    }
}

/// See the plug-ins of the commands that submit
#[derive(Debug, clap::Args)]
pub struct Plugin {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PluginCommand {
    List(Known),
}

/// List the plug-ins of a command with the options that they add
#[derive(Debug, clap::Args)]
struct Known {
    /// run, submit, bulksubmit, batch or alloc
    #[arg(default_value = "submit", value_parser = COMMANDS)]
    command: String,
}

impl Plugin {
    pub fn run(self) -> Result<u8, Failure> {
        let PluginCommand::List(Known { command }) = self.command;
        write!(out::stdout(), "{}", Plugins::load(&command)?.list())?;
        Ok(0)
    }
}
