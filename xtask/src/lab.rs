//! `cargo xtask lab`: the real Slurm cluster of `tests/lab/slurm-testbed.sh`, with our binary in it.
//!
//! The script makes and destroys the cluster; here the built `flurm` and the templates are put where the cluster's
//! ordinary user finds them: a folder of this cluster's own in his home (`/root` and `/tmp` of this machine do not
//! exist inside). It is his working folder there, and it goes when the cluster goes.

use std::fs;
use std::os::unix::fs::chown;
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
        ["run", command @ ..] if !command.is_empty() => {
            let folder = User::find()?.folder();
            let bin = folder.join("bin");
            script("login", command)
                .env("STB_CWD", folder)
                .env("STB_PATH", bin)
                .status()
                .map_or_else(no_script, code)
        }
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
    let user = User::find()?;
    let folder = user.folder();
    let bin = folder.join("bin");
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
        put(&template.path(), &folder.join("templates").join(template.file_name()))?;
    }
    for ours in [user.home.join("lab"), folder.clone()] {
        chown(&ours, Some(user.uid), Some(user.gid))
            .map_err(|error| format!("{}: {error}", ours.display()))?;
    }
    println!("lab: {} in {}", flurm.display(), bin.display());
    Ok(())
}

/// Takes the cluster down, whether or not there is one, with the user's folder for it.
fn down(options: &[&str]) -> Result<u8, String> {
    must_be_root()?;
    let status = script("down", options).status().map_or_else(no_script, code)?;
    if let Ok(user) = User::find()
        && let Err(error) = fs::remove_dir_all(user.folder())
        && error.kind() != std::io::ErrorKind::NotFound
    {
        eprintln!("lab: {}: {error}", user.folder().display());
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

/// The cluster's ordinary user, out of `/etc/passwd`.
struct User {
    uid: u32,
    gid: u32,
    home: PathBuf,
}

impl User {
    fn find() -> Result<User, String> {
        let users = fs::read_to_string("/etc/passwd").map_err(|error| error.to_string())?;
        let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let user = fields.filter(|fields| fields.len() >= 6).find(|fields| fields[0] == USER);
        let user = user.and_then(|fields| {
            Some(User { uid: fields[2].parse().ok()?, gid: fields[3].parse().ok()?, home: fields[5].into() })
        });
        user.ok_or_else(|| format!("there is no user {USER}: run `cargo xtask lab up` first"))
    }

    /// His folder for this cluster; clusters side by side have one each.
    fn folder(&self) -> PathBuf {
        let cluster = PathBuf::from(cluster());
        self.home.join("lab").join(cluster.file_name().unwrap_or_default())
    }
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
