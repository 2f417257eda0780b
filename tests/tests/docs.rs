//! The sessions in the documentation are run, and print what the documentation says.
//!
//! What is in a fenced `console` block is as `transcript.rs` has it.
//! `$ flurm start …` at the head of a page boots the instance that the rest of the page talks to.

use flurm_tests::transcript::{run_line, steps};
use flurm_tests::{Instance, Options, bin_folder};
use std::path::PathBuf;

fn page(name: &str) {
    page_with(name, &[]);
}

/// With further arguments of `flurm start`.
fn page_with(name: &str, args: &[&str]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut steps = steps(&text, true).into_iter();
    let first = steps.next().expect("a session");
    assert!(
        first.command.starts_with("flurm start --test-size=4"),
        "{name}:{}: begins with its instance",
        first.line
    );
    let instance = Instance::with(Options {
        size: 4,
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        ..Options::default()
    });
    let bin = bin_folder(instance.dir.path());
    // As the initial program of the instance has it.
    let conf = instance.rundir(0).join("slurm/slurm.conf").display().to_string();
    let environment = [("FLURM_URI", instance.uri.as_str()), ("SLURM_CONF", &conf)];
    let mut wrong = Vec::new();
    for step in steps {
        let (code, lines) = run_line(&step.command, instance.dir.path(), &bin, &environment);
        if !step.is_met(code, &lines) {
            let (line, command) = (step.line, &step.command);
            wrong.push(format!("{name}:{line}: $ {command}\n  exit {code}, printed:\n{}", lines.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_readme_tells_the_truth() {
    page("README.md");
}

#[test]
fn the_first_session_runs_as_written() {
    page("docs/first-session.md");
}

#[test]
fn the_page_on_placement_runs_as_written() {
    page("docs/placement.md");
}

#[test]
fn the_example_of_a_configuration_starts_as_written() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/start.md");
    let text = std::fs::read_to_string(path).expect("the page");
    let block = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```\n").next());
    let config = Some(block.expect("an example").to_owned());
    let instance = Instance::with(Options { size: 4, config, ..Options::default() });
    for queue in ["batch", "debug", "pairs"] {
        assert_eq!(instance.ok(&["run", "-q", queue, "echo", queue]), queue);
    }
    assert!(!instance.stderr().contains("warning"), "{}", instance.stderr());
}

#[test]
fn the_page_on_slurms_commands_runs_as_written() {
    let installed =
        ["/usr/bin/sbatch", "/usr/sbin/munged"].iter().all(|program| std::path::Path::new(program).exists());
    if installed {
        return page_with("docs/slurm.md", &["--slurm"]);
    }
    assert!(std::env::var_os("FLURM_REQUIRE_LAB").is_none(), "Slurm's commands are missing");
    eprintln!("SKIPPED docs/slurm.md: Slurm's commands are missing; as root, `make test` installs them");
}

#[test]
fn the_commands_page_runs_as_written() {
    page("docs/cli.md");
}
