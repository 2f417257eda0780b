//! The job shell: one process per rank that runs the tasks of all jobs there.
//!
//! It stays small, so that starting a process from it is cheap, and it outlives its broker: jobs go on while a broker is
//! restarted, and the next broker on that node finds the shell. Which jobs run is the leader's decision; what a shell
//! knows of a job it forgets as soon as the leader has committed its end.
//!
//! | module | what it does | touches the world |
//! | --- | --- | --- |
//! | [`plan`], [`options`], [`template`], [`mod@env`], [`filter`] | jobspec and R to tasks, files, variables | no |
//! | `known` | what was read before | no |
//! | [`binding`] | cores and GPUs of each task | no |
//! | [`cpu`], [`gpu`] | core numbers to CPUs, GPUs to variables | read sysfs |
//! | [`limits`], [`refusal`] | limits of tasks; why a program does not start | look at this node |
//! | [`memory`], `sysmon` | what jobs use, and what ran out | reads `/proc` and cgroups |
//! | [`spawn`], [`launch`], `files` | processes, on launcher threads | yes |
//! | [`pty`] | terminals of tasks | yes |
//! | [`end`] | who belongs to whom; the end of all | yes |
//! | [`scratch`] | directories of jobs | yes |
//! | [`wrap`] | a task with the user's programs around it | yes |
//! | [`io`], `archive` | pipes, files, the output log, output archives | yes |
//! | `collective` | all-gathers among the shells of a job | yes |
//! | [`offer`], [`elf`] | which ways to PMI a program needs | reads programs |
//! | [`pmix`] | the PMIx server, a process of its own | yes |
//! | [`outbox`] | reports until they are acknowledged | no |
//! | [`shell`], `jobs`, `redirect`, `hooks`, `initial`, `pmi`, `rexec`, `link` | the loop that ties them together | yes |

mod archive;
pub mod binding;
mod collective;
pub mod cpu;
pub mod elf;
pub mod end;
pub mod env;
mod feed;
mod files;
pub mod filter;
mod follow;
pub mod gpu;
mod hooks;
mod initial;
pub mod io;
mod jobs;
mod known;
pub mod launch;
pub mod limits;
mod link;
pub mod memory;
pub mod offer;
pub mod options;
pub mod outbox;
mod pipes;
pub mod plan;
mod pmi;
pub mod pmix;
pub mod pty;
mod redirect;
pub mod refusal;
mod rexec;
pub mod scratch;
pub mod shell;
mod signals;
mod singletons;
pub mod spawn;
pub mod spec;
mod stage;
mod sysmon;
pub mod template;
pub mod wrap;

pub use pmi::library as pmi_library;
pub use shell::{ShellArgs, run};
