//! An instance to measure: the release binary, several brokers on this machine, made-up nodes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::source::workspace_root;

/// Ends when dropped.
pub struct Instance {
    pub uri: String,
    child: Child,
    config: PathBuf,
}

/// The binary to measure: `$FLURM_BIN`, else the release build. Figures of a debug build would say nothing.
pub fn flurm() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("FLURM_BIN") {
        return Ok(path.into());
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace_root().join("target"), PathBuf::from);
    let path = target.join("release/flurm");
    if path.exists() { Ok(path) } else { Err(format!("no {}: run `make build` first", path.display())) }
}

/// `flurm ARGS…` with nothing of another instance or launcher in its environment.
pub fn command(arguments: &[&str]) -> Result<Command, String> {
    let mut command = Command::new(flurm()?);
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let known = ["FLURM_", "FLUX_", "SLURM_", "PMI_", "PMIX_"];
        if name.to_str().is_some_and(|name| known.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// Runs a command that must succeed; its standard output.
pub fn output(mut command: Command) -> Result<String, String> {
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A file that gives each of `size` brokers `cores` cores.
pub fn config(size: u32, cores: u32) -> Result<PathBuf, String> {
    let path = std::env::temp_dir().join(format!("flurm-bench-{}-{size}.toml", std::process::id()));
    let text = format!("[fake-resources]\nnnodes = {size}\ncores-per-node = {cores}\nsockets-per-node = 2\n");
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

impl Instance {
    pub fn start(size: u32, cores: u32, more: &[&str]) -> Result<Instance, String> {
        Instance::on(config(size, cores)?, size, more)
    }

    /// With more in its configuration.
    pub fn configured(size: u32, cores: u32, toml: &str) -> Result<Instance, String> {
        let path = config(size, cores)?;
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        std::fs::write(&path, format!("{text}{toml}")).map_err(|error| error.to_string())?;
        Instance::on(path, size, &[])
    }

    fn on(config: PathBuf, size: u32, more: &[&str]) -> Result<Instance, String> {
        let size = format!("--test-size={size}");
        let mut command = command(&["start", &size, "--config-path"])?;
        command.arg(&config).args(more).args(["--", "sh", "-c", "echo $FLURM_URI; exec cat"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        let mut uri = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut uri).map_err(|error| error.to_string())?;
        let instance = Instance { uri: uri.trim().to_owned(), child, config };
        if instance.uri.is_empty() { Err("the instance did not start".to_owned()) } else { Ok(instance) }
    }

    pub fn command(&self, arguments: &[&str]) -> Result<Command, String> {
        let mut command = command(arguments)?;
        command.env("FLURM_URI", &self.uri);
        Ok(command)
    }

    pub fn run(&self, arguments: &[&str]) -> Result<String, String> {
        output(self.command(arguments)?)
    }

    /// Process of a broker.
    pub fn broker(&self, rank: u32) -> Result<u32, String> {
        let mut command = command(&["getattr", "broker.pid"])?;
        command.env("FLURM_URI", self.uri_of(rank));
        output(command)?.parse().map_err(|error| format!("broker.pid: {error}"))
    }

    /// Address of another broker: all of them have their folders side by side on this machine.
    fn uri_of(&self, rank: u32) -> String {
        let path = Path::new(self.uri.trim_start_matches("local://"));
        let instance = path.parent().and_then(Path::parent).unwrap_or(path);
        format!("local://{}/{rank}/local", instance.display())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The initial program is `cat`: the end of its input is the end of the instance.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}
