//! Developer tasks, called as `cargo xtask TASK`.
//!
//! `layers` and `tidy` are also tests of this crate, so that a plain `cargo test` holds them. `lab` wraps the real
//! Slurm cluster of `tests/lab`, `bench` measures the built binary.

mod bench;
mod lab;
mod layers;
mod options;
mod source;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK

  layers                  every arrow between crates points to a strictly lower floor
  tidy                    rules of docs/style.md that a program can check
  lab up [OPTIONS]        a real Slurm cluster of 3 nodes on this machine, with flurm in it (as root)
  lab run CMD...          run CMD as the ordinary user on the login node
  lab exec NODE [-u USER] CMD...
  lab status | down       and every other command of tests/lab/slurm-testbed.sh
  lab with CMD...         up, run CMD here, down whatever CMD did
  lab test [ARGS...]      the tests that need the cluster
  options [COMMAND...]    the test of each of Flux's options fails when the option is ignored
  bench list              what can be measured
  bench NAME... [--json] [--quick]
";

fn main() -> ExitCode {
    if let Some(message) = options::front() {
        eprintln!("error: {message}");
        return ExitCode::FAILURE;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["layers"] => report("layers", &layers::check(&source::workspace_root())),
        ["tidy"] => report("tidy", &tidy::check(&source::workspace_root())),
        ["lab", rest @ ..] => lab::main(rest),
        ["options", only @ ..] => options::main(only),
        ["bench", rest @ ..] => bench::main(rest),
        // One of the processes of `bench fence`.
        ["fence-rank", rounds] => bench::fence_rank(rounds),
        // The one that `bench describe` has read a file.
        ["read-jgf", path] => bench::read_jgf(path),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn report(task: &str, findings: &[String]) -> Result<u8, String> {
    for finding in findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("{task}: nothing to say");
            Ok(0)
        }
        count => Err(format!("{task}: {count} findings")),
    }
}
