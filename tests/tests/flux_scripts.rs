//! Scripts as Flux users have them, run unchanged with `flux` as the name of our binary.
//!
//! Each file of `flux/` is a script for bash; a line `#> TEXT` is a line that it prints there, in order, `[..]` anything
//! within it. Each gets four nodes with four cores.

use flurm_tests::transcript::line_matches;
use flurm_tests::{Instance, Options, flurm_bin, run};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines that speak to `flux`, in all scripts together: fewer would be no habit of a user.
const LINES_MIN: usize = 60;

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("flux")
}

fn script(name: &str) {
    let path = scripts().join(name).with_extension("sh");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#> ")).collect();
    let instance = Instance::with(Options { size: 4, ..Options::default() });
    let dir = instance.dir.path();
    let bin = dir.join("linked");
    std::fs::create_dir(&bin).expect("a directory");
    std::os::unix::fs::symlink(flurm_bin(), bin.join("flux")).expect("a link");
    let folder = dir.join("work");
    std::fs::create_dir(&folder).expect("a directory");
    let mut command = Command::new("bash");
    command.arg(&path).current_dir(&folder).env("FLUX_URI", &instance.uri).env_remove("FLURM_URI");
    command.env("LC_ALL", "C.UTF-8").env("NO_COLOR", "1");
    let old = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{old}", bin.display()));
    let ran = run(command, b"");
    let printed: Vec<&str> = ran.stdout.lines().map(str::trim_end).collect();
    let first = (0..expected.len().max(printed.len())).find(
        |at| !matches!((expected.get(*at), printed.get(*at)), (Some(e), Some(p)) if line_matches(e, p)),
    );
    if let Some(at) = first {
        panic!(
            "{name}.sh: line {} of its output should be {:?}, is {:?}\n--- printed\n{}\n--- errors\n{}",
            at + 1,
            expected.get(at),
            printed.get(at),
            ran.stdout,
            ran.stderr
        );
    }
}

/// Makes a test of each, and knows them all.
macro_rules! each {
    ($($name:ident),+ $(,)?) => {
        $(#[test] fn $name() { script(stringify!($name)); })+

        const ALL: &[&str] = &[$(stringify!($name)),+];
    };
}

each!(
    alloc,
    batch,
    bulk,
    chain,
    change,
    effects,
    ensemble,
    exec,
    front,
    jobs,
    mailbox,
    named,
    options_job,
    options_jobs,
    options_kvs,
    options_misc,
    options_queue,
    options_run,
    queue,
    resource,
    services,
    wait
);

#[test]
fn every_script_is_run_and_they_are_many_lines() {
    let mut lines = 0;
    for entry in std::fs::read_dir(scripts()).expect("the folder of scripts") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(ALL.contains(&name.as_str()), "{name}.sh is in no test");
        let text = std::fs::read_to_string(&path).expect("a script");
        lines += text.lines().filter(|line| !line.starts_with('#') && line.contains("flux ")).count();
    }
    assert!(lines >= LINES_MIN, "{lines} lines");
}
