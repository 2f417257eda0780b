//! `flurm job`: everything about single jobs.

mod attach;
mod control;
mod eventlog;
mod id;
mod info;
mod memo;
mod output;
mod plumbing;
mod purge;
mod submit;
mod tasks;
mod wait;

pub use wait::code as exit_code;

use crate::face::Face;
use crate::failure::Failure;
use clap::Subcommand;

/// Look at jobs, follow them, signal them
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Submit(submit::Submit),
    Attach(attach::Args),
    Output(output::Args),
    Status(wait::Status),
    Last(id::Last),
    Info(info::Info),
    Eventlog(eventlog::Eventlog),
    WaitEvent(eventlog::WaitEvent),
    Id(id::Id),
    Wait(wait::Wait),
    Memo(memo::Memo),
    Urgency(control::Urgency),
    Kill(control::Kill),
    Killall(control::Killall),
    Raise(control::Raise),
    Raiseall(control::Raiseall),
    Purge(purge::Purge),
    Why(info::Why),
    Timeleft(info::Timeleft),
    Taskmap(tasks::Taskmap),
    Hostpids(tasks::Hostpids),
    List(plumbing::List),
    ListIds(plumbing::ListIds),
    ListInactive(plumbing::ListInactive),
    Stats(plumbing::Stats),
    /// The old place of `flurm cancel`
    #[command(hide = true)]
    Cancel(super::cancel::Args),
}

impl Args {
    pub fn run(self, face: &Face) -> Result<u8, Failure> {
        match self.command {
            Command::Submit(args) => args.run(face),
            Command::Attach(args) => args.run(face),
            Command::Output(args) => args.run(face),
            Command::Status(args) => args.run(face),
            Command::Last(args) => args.run(face),
            Command::Info(args) => args.run(face),
            Command::Eventlog(args) => args.run(face),
            Command::WaitEvent(args) => args.run(face),
            Command::Id(args) => args.run(face),
            Command::Wait(args) => args.run(face),
            Command::Memo(args) => args.run(face),
            Command::Urgency(args) => args.run(face),
            Command::Kill(args) => args.run(face),
            Command::Killall(args) => args.run(face),
            Command::Raise(args) => args.run(face),
            Command::Raiseall(args) => args.run(face),
            Command::Purge(args) => args.run(face),
            Command::Why(args) => args.run(face),
            Command::Timeleft(args) => args.run(face),
            Command::Taskmap(args) => args.run(face),
            Command::Hostpids(args) => args.run(face),
            Command::List(args) => args.run(face),
            Command::ListIds(args) => args.run(face),
            Command::ListInactive(args) => args.run(face),
            Command::Stats(args) => args.run(face),
            Command::Cancel(args) => args.run(face),
        }
    }
}
