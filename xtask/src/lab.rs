//! `cargo xtask lab`: the real Slurm cluster of `tests/lab/slurm-testbed.sh`, with our binary in it.
//!
//! The script makes and destroys the cluster; here the built `flurm` and the templates are put where the cluster's
//! ordinary user finds them. That is his home: `/root` and `/tmp` of this machine do not exist inside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::source::workspace_root;

/// The cluster's ordinary user; the script makes him.
const USER: &str = "flurmer";

/// Runs one `lab` command; the answer is its exit code.
pub fn main(arguments: &[&str]) -> Result<u8, String> {
    match arguments {
        ["up", options @ ..] => up(options).map(|()| 0),
        ["down", options @ ..] => down(options),
        ["run", command @ ..] if !command.is_empty() => script("login", command)
            .env("STB_PATH", home()?.join("bin"))
            .status()
            .map_or_else(no_script, code),
        ["with", command @ ..] if !command.is_empty() => with(command),
        ["test", filter @ ..] => {
            // They bring up clusters of their own, one after the other.
            let mut cargo = Command::new("cargo");
            cargo.args(["test", "-p", "flurm-tests", "--test", "slurm_lab", "--"]).args(filter);
            cargo.env("FLURM_BIN", built_binary()?).env("FLURM_REQUIRE_LAB", "1");
            cargo.status().map_or_else(no_script, code)
        }
        [command, rest @ ..] => script(command, rest).status().map_or_else(no_script, code),
        [] => Err("lab: up, run, exec, status, with, test or down?".to_owned()),
    }
}

fn up(options: &[&str]) -> Result<(), String> {
    must_be_root()?;
    let flurm = built_binary()?;
    if Path::new(&cluster()).join("params").exists() {
        eprintln!("lab: the cluster is up; bringing the new binary only");
    } else {
        let status = script("up", options).status().map_err(|error| error.to_string())?;
        if !status.success() {
            return Err("the cluster did not come up".to_owned());
        }
    }
    let home = home()?;
    let bin = home.join("bin");
    let put = |from: &Path, to: &Path| -> Result<(), String> {
        // Written beside and renamed: a flurm that runs in the cluster keeps its own file.
        let new = to.with_extension("new");
        fs::create_dir_all(to.parent().expect("a file below a home")).map_err(|error| error.to_string())?;
        fs::copy(from, &new).map_err(|error| format!("{}: {error}", from.display()))?;
        fs::rename(&new, to).map_err(|error| format!("{}: {error}", to.display()))
    };
    put(&flurm, &bin.join("flurm"))?;
    let templates = fs::read_dir(workspace_root().join("templates"));
    for template in templates.into_iter().flatten().flatten() {
        put(&template.path(), &home.join("templates").join(template.file_name()))?;
    }
    println!("lab: {} in {}", flurm.display(), bin.display());
    Ok(())
}

/// Takes the cluster down, whether or not there is one, and what `up` put into the home.
fn down(options: &[&str]) -> Result<u8, String> {
    must_be_root()?;
    let status = script("down", options).status().map_or_else(no_script, code)?;
    if let Ok(home) = home() {
        for ours in ["bin/flurm", "templates"] {
            let path = home.join(ours);
            let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            if let Err(error) = gone
                && error.kind() != std::io::ErrorKind::NotFound
            {
                eprintln!("lab: {}: {error}", path.display());
            }
        }
    }
    Ok(status)
}

/// A cluster around one command. The trap is the shell's: it also holds when a signal ends the command.
fn with(command: &[&str]) -> Result<u8, String> {
    must_be_root()?;
    let xtask = std::env::current_exe().map_err(|error| error.to_string())?;
    let text = r#"
        xtask=$1; shift
        trap '"$xtask" lab down' EXIT
        trap 'kill "$child"; exit 130' INT
        trap 'kill "$child"; exit 143' TERM HUP
        "$xtask" lab down && "$xtask" lab up || exit 1
        "$@" & child=$!
        wait "$child"
    "#;
    let mut shell = Command::new("bash");
    shell.args(["-c", text, "lab"]).arg(xtask).args(command);
    shell.env("FLURM_BIN", built_binary()?);
    shell.status().map_or_else(no_script, code)
}

fn script(command: &str, arguments: &[&str]) -> Command {
    let mut script = Command::new(testbed());
    script.arg(command).args(arguments);
    script
}

fn testbed() -> PathBuf {
    workspace_root().join("tests/lab/slurm-testbed.sh")
}

fn cluster() -> String {
    std::env::var("STB_DIR").unwrap_or_else(|_| "/run/slurm-testbed".to_owned())
}

/// `$FLURM_BIN`, else what cargo built last.
fn built_binary() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("FLURM_BIN") {
        return Ok(PathBuf::from(path));
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace_root().join("target"), PathBuf::from);
    let built = ["debug", "release"].map(|profile| target.join(profile).join("flurm"));
    let newest = |path: &PathBuf| fs::metadata(path).and_then(|about| about.modified()).ok();
    let found = built.into_iter().filter(|path| newest(path).is_some()).max_by_key(newest);
    found.ok_or_else(|| format!("no flurm in {}: run `cargo build` first", target.display()))
}

fn home() -> Result<PathBuf, String> {
    let users = fs::read_to_string("/etc/passwd").map_err(|error| error.to_string())?;
    let line = users.lines().find(|line| line.split(':').next() == Some(USER));
    let home = line.and_then(|line| line.split(':').nth(5));
    home.map(PathBuf::from).ok_or_else(|| format!("there is no user {USER}: run `cargo xtask lab up` first"))
}

fn must_be_root() -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err("the Slurm lab needs root (namespaces, cgroups): run this as root or with sudo".to_owned())
}

fn code(status: ExitStatus) -> Result<u8, String> {
    // 255 is what a process ended by a signal answers here.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

fn no_script(error: std::io::Error) -> Result<u8, String> {
    Err(format!("tests/lab/slurm-testbed.sh does not run: {error}"))
}
