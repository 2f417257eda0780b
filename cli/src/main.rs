//! `flurm`, the one binary: the commands people type, and the roles of an instance (`broker`, `shell`).
//!
//! Each command is a file in `cmd/`. What they share: [`face`] (which instance, under which name), [`failure`]
//! (two lines and an exit code), [`attach`] (staying with a job), [`outputs`] and [`archive`] (what jobs have said), [`submission`] (what a job is),
//! [`logs`] (where our lines go), [`mod@format`] (columns of listings), [`inventory`] (resources without an instance), [`plugins`] (options of others), [`events`],
//! [`out`], [`signals`] and [`when`] (what is printed and typed).

mod archive;
mod attach;
mod cmd;
mod compat;
mod events;
mod face;
mod failure;
mod format;
mod inventory;
mod logs;
mod out;
mod outputs;
mod plugins;
mod progress;
mod signals;
mod submission;
mod tar;
mod watch;
mod when;

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cmd::main(std::env::args_os()))
}
